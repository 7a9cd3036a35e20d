"""What the verbs of a system share: parsing of arguments, tables in, strict JSON and CSV out."""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.checks import Floats

METHODS = ("auto", "quadrature", "laplace", "smc", "prior")


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

    table = read_table(path)
    inputs = tuple(name for name in table.columns if name not in targets)
    x, y = table.select(inputs), table.select(targets)
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

    table = read_table(path)
    missing = [name for name in inputs if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path}:1: expected a column for every input, {', '.join(map(repr, missing))} missing;"
            f" the table has {', '.join(map(repr, table.columns))}"
        )
    known = all(name in table.columns for name in targets)
    return table.select(inputs), table.select(targets) if known else None


def write_columns(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Write columns of numbers, each as it reads back."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([repr(float(v)) for v in row] for row in zip(*columns.values()))


def plain(value: Any) -> Any:
    """Return what strict JSON can hold; infinities and NaN become strings ``float`` can read."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def names(text: str) -> tuple[str, ...]:
    """Parse distinct names, ``a,b``."""
    found = tuple(name.strip() for name in text.split(","))
    if not all(found) or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(
            f"expected distinct names separated by commas, got {text!r}"
        )
    return found


def widths(text: str) -> tuple[int, ...]:
    """Parse hidden widths, ``10,10`` or ``none``."""
    if text.strip().lower() in ("", "none"):
        return ()
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as fault:
        raise argparse.ArgumentTypeError(
            f"expected whole numbers separated by commas, or 'none'; got {text!r}"
        ) from fault


def precisions(text: str) -> float | tuple[float, ...]:
    """Parse one weight precision or one a weight matrix, ``1,0.5``."""
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError as fault:
        raise argparse.ArgumentTypeError(
            f"expected numbers separated by commas, got {text!r}"
        ) from fault
    return numbers if len(numbers) > 1 else numbers[0]
