"""``cavity ksat VERB``: satisfiability of formulas in DIMACS files."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.ksat import Formula

METHODS = ("auto", "survey", "reinforce", "local")
SATISFIABLE, UNSATISFIABLE, UNKNOWN = 10, 20, 0
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
    add("--seed", type=int, default=0, help="seed of all random numbers (default 0)")
    add(
        "--time-limit",
        type=float,
        metavar="SECONDS",
        help="give up the search after this time (default: after five rounds of growing work)",
    )
    add(
        "--marginals",
        type=Path,
        metavar="OUT.csv",
        help="also write P(variable is true) over all solutions, by belief propagation",
    )
    add("--quiet", action="store_true", help="draw no progress bar")


def _solve(arguments: argparse.Namespace) -> int:
    _check_output(arguments.marginals)  # not after the long work

    from ._session import held_interrupts, start_jax

    formula = None
    try:
        with held_interrupts() as pressed:
            start_jax()
            from inference.checks import positive
            from models.ksat import Formula, Satisfiability, solve

            if arguments.time_limit is not None:
                positive("--time-limit", arguments.time_limit)
            progress = False if arguments.quiet else None
            formula = Formula.from_dimacs(arguments.formula)
            _comment(
                f"{arguments.formula}: {formula.n_variables} variables, {formula.n_clauses} clauses"
            )
            if arguments.marginals and not pressed:
                _write_marginals(arguments, formula, lambda: bool(pressed), progress)
            result = solve(
                formula,
                method=arguments.method,
                seed=arguments.seed,
                time_limit=arguments.time_limit,
                should_stop=lambda: bool(pressed),
                progress=progress,
            )
    except KeyboardInterrupt:  # pressed twice
        _comment("interrupted at once")
        print("s UNKNOWN", flush=True)
        return UNKNOWN
    except MemoryError as fault:
        size = f": {formula.n_variables} variables, {formula.n_clauses} clauses" if formula else ""
        raise ValueError(f"{arguments.formula}{size}: too large for the memory") from fault
    culprit = result.stats.pop("culprit", None)
    for name, value in result.stats.items():
        _comment(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}")
    if result.status is Satisfiability.UNSATISFIABLE:
        _comment(f"unit propagation violates {_clause(formula, culprit)}")
        print("s UNSATISFIABLE")
        return UNSATISFIABLE
    n_violated = formula.energy(result.assignment)  # on the clauses of the file, whoever found it
    if n_violated:
        _comment(f"{'interrupted: ' if pressed else ''}{n_violated} violated clauses at best")
        print("s UNKNOWN")
        return UNKNOWN
    print("s SATISFIABLE")
    print(_values(result.assignment))
    return SATISFIABLE


def _comment(text: str) -> None:
    print(f"c {text}", flush=True)  # a pipe too sees how far a long run is


def _check_output(path: Path | None) -> None:
    if path and not path.parent.is_dir():
        raise ValueError(f"{path}: there is no folder {path.parent}")
    if path and path.is_dir():
        raise ValueError(f"{path}: expected a file to write, got a folder")


def _clause(formula: Formula, index: int) -> str:
    """Name a clause by its place in the file, counted from 1, and its literals."""
    return " ".join([f"clause {index + 1}:", *map(str, formula.clause(index)), "0"])


def _values(assignment: Any) -> str:
    """Return the ``v`` lines."""
    lines, line = [], "v"
    for number, spin in enumerate(assignment.tolist(), start=1):
        literal = f" {number * spin}"
        if len(line) + len(literal) > _LINE:
            lines.append(line)
            line = "v"
        line += literal
    return "\n".join([*lines, f"{line} 0"])


def _write_marginals(
    arguments: argparse.Namespace,
    formula: Formula,
    should_stop: Callable[[], bool],
    progress: bool | None,
) -> None:
    from inference.status import Status
    from models.ksat import belief_propagation

    path = arguments.marginals
    result = belief_propagation(
        formula,
        seed=arguments.seed,
        on_failure="ignore",
        should_stop=should_stop,
        progress=progress,
    )
    if result.status is Status.CONTRADICTION:
        _comment(f"{path}: not written, belief propagation: {result.status.message}")
        if result.culprit >= 0:
            _comment(f"contradiction at {_clause(formula, result.culprit)}")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variable", "probability"])
        writer.writerows(
            [number, repr(value)] for number, value in enumerate(result.marginals.tolist(), start=1)
        )
    _comment(f"{path}: marginals by belief propagation, {result.n_steps} sweeps")
    _comment(f"Bethe log number of solutions {result.log_partition:.6g} nats")
    if result.status is not Status.CONVERGED:
        _comment(
            f"warning: {result.status.message}: change {result.residual:.2g} in the last sweep"
        )
