"""Rows of comma-separated text; a refusal names file, line and column."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

HeaderCheck = Callable[[str, int, list[str]], None]


def numbered_rows(
    path: str, check_header: HeaderCheck, expected: str, *, lower: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield the header as names, then line and cells of each row that is not empty.

    Parameters
    ----------
    path
        A UTF-8 file.
    check_header
        Called with path, line and names; refuses those that it cannot use.
    expected
        What the file should hold, for the message where it holds none.
    lower
        Whether names are given in lower case.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        ``PATH:LINE: ...`` for the first defect.
    """
    width = 0
    line = 1
    n_rows = 0
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line = reader.line_num
                if not row:
                    continue
                if not width:
                    width = len(row)
                    names = [cell.strip().lower() if lower else cell.strip() for cell in row]
                    check_header(path, line, names)
                    _check_distinct(path, line, names)
                    yield line, names
                    continue
                if len(row) != width:
                    refuse(path, line, f"expected {width} cells as in the header, got {len(row)}")
                n_rows += 1
                yield line, row
    except UnicodeDecodeError:
        _refuse_bytes(path)
    except csv.Error as fault:
        line = max(reader.line_num, 1)
        refuse(path, line, f"expected comma-separated values, got a defect: {fault}")
    if not n_rows:
        refuse(path, line, f"expected {expected}, got none")


def finite_number(cell: str, path: str, line: int, column: str) -> float:
    """Return a cell as a number.

    Raises
    ------
    ValueError
        ``PATH:LINE: column ...`` if it is no finite one.
    """
    try:
        number = float(cell)
    except ValueError:
        number = np.nan
    # float() also reads "1_0", which no other program takes for a number
    if not abs(number) < np.inf or "_" in cell:
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        refuse(path, line, f"column {column!r}: expected a finite number, got {shown!r}")
    return number


def refuse(path: str, line: int, message: str) -> NoReturn:
    """Raise ``ValueError`` that begins with the place."""
    raise ValueError(f"{path}:{line}: {message}") from None


def _check_distinct(path: str, line: int, names: list[str]) -> None:
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            refuse(path, line, f"header: expected each column once and named, got {name!r}")


def _refuse_bytes(path: str) -> NoReturn:
    data = Path(path).read_bytes()
    line = 1
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line += data[: fault.start].count(b"\n")
    refuse(path, line, "expected UTF-8 text, got other bytes")
