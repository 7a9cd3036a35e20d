"""``cavity ksat VERB``: satisfiability of formulas in DIMACS files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ._arguments import add_common, add_output, bar, positive, say
from ._results import as_json, report, write_table, write_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.ksat import Formula

METHODS = ("auto", "survey", "reinforce", "local")
SATISFIABLE, UNSATISFIABLE, UNKNOWN = 10, 20, 0
_VERDICTS = {SATISFIABLE: "SATISFIABLE", UNSATISFIABLE: "UNSATISFIABLE", UNKNOWN: "UNKNOWN"}
_LINE = 78


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the system and their arguments."""
    verbs = parser.add_subparsers(metavar="VERB", required=True, dest="verb")
    solve = verbs.add_parser(
        "solve",
        help="look for a solution of a DIMACS CNF file",
        description=(
            "Look for a satisfying assignment by local search, reinforced belief propagation and "
            "survey propagation. Output and exit codes are those of the SAT competitions: "
            "10 satisfiable, 20 unsatisfiable (only if unit propagation shows it), 0 unknown."
        ),
    )
    solve.set_defaults(handler=_solve)
    add = solve.add_argument
    add("formula", metavar="FORMULA.cnf", help="file in DIMACS CNF format")
    add("--method", choices=METHODS, default="auto", help="default: auto, all in turns")
    add(
        "--time-limit",
        type=positive,
        metavar="SECONDS",
        help="give up the search after this time (default: after five rounds of growing work)",
    )
    add_output(
        solve,
        "--marginals",
        "OUT.csv",
        "also write P(variable is true) over all solutions, by belief propagation",
    )
    add_common(solve, "SOLUTION.txt", "write the lines s and v here, not on standard output")


def _solve(arguments: argparse.Namespace) -> int:
    from ._session import held_interrupts, start_jax

    size = ""
    try:
        with held_interrupts() as pressed:
            start_jax()
            from models.ksat import Formula, Satisfiability, solve

            formula = Formula.from_dimacs(arguments.formula)
            size = f"{formula.n_variables} variables, {formula.n_clauses} clauses"
            _comment(arguments, f"{arguments.formula}: {size}")
            if arguments.marginals and not pressed:
                _write_marginals(arguments, formula, lambda: bool(pressed))
            result = solve(
                formula,
                method=arguments.method,
                seed=arguments.seed,
                time_limit=arguments.time_limit,
                should_stop=lambda: bool(pressed),
                progress=bar(arguments),
            )
    except KeyboardInterrupt:  # pressed twice: of all verbs this one has a word for it
        _comment(arguments, "interrupted at once")
        return _answer(arguments, UNKNOWN)
    except MemoryError as fault:
        raise MemoryError(f"{arguments.formula}{size and f': {size}'}") from fault
    culprit = result.stats.pop("culprit", None)
    for name, value in result.stats.items():
        shown = f"{value:.3f}" if isinstance(value, float) else value
        _comment(arguments, f"{name} {shown}")
    known = {
        "formula": arguments.formula,
        "n_variables": formula.n_variables,
        "n_clauses": formula.n_clauses,
        "method": arguments.method,
        "interrupted": bool(pressed),
        "stats": result.stats,
    }
    if result.status is Satisfiability.UNSATISFIABLE:
        _comment(arguments, f"unit propagation violates {_clause(formula, culprit)}")
        return _answer(arguments, UNSATISFIABLE, **known)
    n_violated = formula.energy(result.assignment)  # on the clauses of the file, whoever found it
    known["n_violated"] = n_violated
    if n_violated:
        stopped = "interrupted: " if pressed else ""
        _comment(arguments, f"{stopped}{n_violated} violated clauses at best")
        return _answer(arguments, UNKNOWN, **known)
    values = [i * spin for i, spin in enumerate(result.assignment.tolist(), start=1)]
    return _answer(arguments, SATISFIABLE, literals=values, **known)


def _answer(
    arguments: argparse.Namespace, code: int, *, literals: list[int] | None = None, **known: Any
) -> int:
    """Print or write the verdict and return its exit code."""
    lines = [f"s {_VERDICTS[code]}"]
    if literals is not None:
        lines += _values(literals)
    if arguments.out:
        write_text(arguments.out, "\n".join(lines))
    if arguments.json:
        print(as_json(report(arguments, _VERDICTS[code], assignment=literals, **known)))
    elif not arguments.out:
        print("\n".join(lines), flush=True)
    return code


def _comment(arguments: argparse.Namespace, text: str) -> None:
    """Print a comment line, which among JSON has no place on standard output."""
    if arguments.json:
        say(arguments, text)
    elif not arguments.quiet:
        print(f"c {text}", flush=True)  # a pipe too sees how far a long run is


def _clause(formula: Formula, index: int) -> str:
    """Name a clause by its place in the file, counted from 1, and its literals."""
    return " ".join([f"clause {index + 1}:", *map(str, formula.clause(index)), "0"])


def _values(literals: list[int]) -> list[str]:
    """Return the ``v`` lines."""
    lines, line = [], "v"
    for literal in literals:
        word = f" {literal}"
        if len(line) + len(word) > _LINE:
            lines.append(line)
            line = "v"
        line += word
    return [*lines, f"{line} 0"]


def _write_marginals(
    arguments: argparse.Namespace, formula: Formula, should_stop: Callable[[], bool]
) -> None:
    from inference.status import Status
    from models.ksat import belief_propagation

    path = arguments.marginals
    result = belief_propagation(
        formula,
        seed=arguments.seed,
        on_failure="ignore",
        should_stop=should_stop,
        progress=bar(arguments),
    )
    if result.status is Status.CONTRADICTION:
        _comment(arguments, f"{path}: not written, belief propagation: {result.status.message}")
        if result.culprit >= 0:
            _comment(arguments, f"contradiction at {_clause(formula, result.culprit)}")
        return
    rows = enumerate(result.marginals.tolist(), start=1)
    write_table(path, ["variable", "probability"], rows)
    _comment(arguments, f"{path}: marginals by belief propagation, {result.n_steps} sweeps")
    _comment(arguments, f"Bethe log number of solutions {result.log_partition:.6g} nats")
    if result.status is not Status.CONVERGED:
        _comment(
            arguments,
            f"warning: {result.status.message}: change {result.residual:.2g} in the last sweep",
        )
