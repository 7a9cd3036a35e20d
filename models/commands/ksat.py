"""``cavity ksat VERB``: satisfiability of formulas in DIMACS files."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        help="give up after this time (default: after five rounds of growing work)",
    )
    add(
        "--marginals",
        type=Path,
        metavar="OUT.csv",
        help="also write P(variable is true) over all solutions, by belief propagation",
    )
    add("--quiet", action="store_true", help="draw no progress bar")


def _solve(arguments: argparse.Namespace) -> int:
    if arguments.marginals and not arguments.marginals.parent.is_dir():  # not after the long work
        raise ValueError(f"{arguments.marginals}: there is no folder {arguments.marginals.parent}")

    from ._session import start_jax

    start_jax()
    from models.ksat import Formula, Satisfiability, solve

    progress = False if arguments.quiet else None
    fewest: list[int] = []
    try:
        formula = Formula.from_dimacs(arguments.formula)
        print(
            f"c {arguments.formula}: {formula.n_variables} variables, {formula.n_clauses} clauses"
        )
        if arguments.marginals:
            _write_marginals(formula, arguments.marginals, arguments.seed, progress)
        result = solve(
            formula,
            method=arguments.method,
            seed=arguments.seed,
            time_limit=arguments.time_limit,
            on_improvement=lambda energy, _: fewest.append(energy),
            progress=progress,
        )
    except KeyboardInterrupt:
        if fewest:
            print(f"c interrupted: {fewest[-1]} violated clauses at best")
        else:
            print("c interrupted before the search began")
        print("s UNKNOWN", flush=True)
        return UNKNOWN
    for name, value in result.stats.items():
        print(f"c {name} {value:.3f}" if isinstance(value, float) else f"c {name} {value}")
    if result.status is Satisfiability.UNSATISFIABLE:
        culprit = result.stats["culprit"]
        print(f"c unit propagation violates clause {culprit + 1}: {formula.clause(culprit)}")
        print("s UNSATISFIABLE")
        return UNSATISFIABLE
    if result.status is Satisfiability.UNKNOWN:
        print(f"c {result.energy} violated clauses at best")
        print("s UNKNOWN")
        return UNKNOWN
    print("s SATISFIABLE")
    print(_values(result.assignment))
    return SATISFIABLE


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


def _write_marginals(formula: Formula, path: Path, seed: int, progress: bool | None) -> None:
    from inference.status import Status
    from models.ksat import belief_propagation

    result = belief_propagation(formula, seed=seed, on_failure="ignore", progress=progress)
    if result.status is Status.CONTRADICTION:
        print(f"c {path}: not written, belief propagation: {result.status.message}")
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["variable", "probability"])
        writer.writerows(
            [number, repr(value)] for number, value in enumerate(result.marginals.tolist(), start=1)
        )
    print(f"c {path}: marginals by belief propagation, {result.n_steps} sweeps")
    print(f"c Bethe log number of solutions {result.log_partition:.6g} nats")
    if result.status is not Status.CONVERGED:
        print(f"c warning: {result.status.message}: change {result.residual:.2g} in the last sweep")
