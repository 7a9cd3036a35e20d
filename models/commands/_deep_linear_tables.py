"""What the verbs of deep linear networks share: arguments, and tables of examples."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

from ._arguments import names, number

if TYPE_CHECKING:
    from inference.checks import Floats
    from inference.storage import Table

_LARGEST = 1e150
METHODS = ("auto", "quadrature", "laplace", "smc", "prior")


def add_shared(verb: argparse.ArgumentParser) -> None:
    """Add the arguments that both verbs have."""
    add = verb.add_argument
    add("train", metavar="TRAIN.csv", help="table with one header line, one example a row")
    add("--targets", type=names, required=True, metavar="A,B", help="columns to predict")
    add(
        "--precisions",
        type=precisions,
        default=1.0,
        metavar="L0,L1,..",
        help="weight precisions: one for all layers, or one a weight matrix (default 1)",
    )
    add(
        "--method",
        choices=METHODS,
        default="auto",
        help="how to integrate over Q (default: auto, by the number of dimensions)",
    )


def inputs_and_targets(
    path: str, targets: tuple[str, ...]
) -> tuple[tuple[str, ...], Floats, Floats]:
    """Read a table; return the names of its inputs, the inputs and the targets.

    Raises
    ------
    OSError, ValueError
        As `read_table`, or if a target is no column or no input is left.
    """
    from inference.storage import read_table

    table = _checked(path, read_table(path))
    inputs = tuple(name for name in table.columns if name not in targets)
    try:
        x, y = table.select(inputs), table.select(targets)
    except ValueError as fault:
        raise ValueError(f"{path}:1: header: {fault}") from None
    if not inputs:
        raise ValueError(f"{path}: every column is a target, no input is left")
    return inputs, x, y


def new_inputs(
    path: str, inputs: tuple[str, ...], targets: tuple[str, ...]
) -> tuple[Floats, Floats | None]:
    """Read a table for predictions; return its inputs and, if it has them all, the targets.

    Raises
    ------
    OSError, ValueError
        As `read_table`, or if an input is missing.
    """
    from inference.storage import read_table

    table = _checked(path, read_table(path))
    missing = [name for name in inputs if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path}:1: expected a column for every input, {', '.join(map(repr, missing))} missing;"
            f" the table has {', '.join(map(repr, table.columns))}"
        )
    known = all(name in table.columns for name in targets)
    return table.select(inputs), table.select(targets) if known else None


def _checked(path: str, table: Table) -> Table:
    """Refuse numbers whose squares overflow."""
    for name, column in zip(table.columns, table.values.T):
        if abs(column).max() > _LARGEST:
            raise ValueError(
                f"{path}: column {name!r}: expected numbers of at most {_LARGEST:g}, got "
                f"{abs(column).max():g}; choose other units"
            )
    return table


def widths(text: str) -> tuple[int, ...]:
    """Parse hidden widths, ``10,10`` or ``none``."""
    if text.strip().lower() in ("", "none"):
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected whole numbers separated by commas, or 'none'; got {text!r}"
        )
    return tuple(map(int, parts))


_precision = number("positive numbers separated by commas", lambda value: 0.0 < value < math.inf)


def precisions(text: str) -> float | tuple[float, ...]:
    """Parse one weight precision or one a weight matrix, ``1,0.5``."""
    found = tuple(map(_precision, text.split(",")))
    return found if len(found) > 1 else found[0]
