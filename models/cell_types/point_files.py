"""Tables of cells as comma-separated text: a refusal names file, line and column."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from .points import AngleUnit, Outside, Points, Window

_NEEDED = ("gene", "x", "y")


def read_points(
    path: str | os.PathLike[str],
    *,
    window: Window | None = None,
    outside: Outside = "raise",
    angle_unit: AngleUnit = "radians",
) -> Points:
    r"""Read cells, ``gene,x,y`` and any number of marks.

    Parameters
    ----------
    path
        A UTF-8 file whose first line names the columns, in any order. Genes are text; all other
        columns are numbers, those besides ``x`` and ``y`` marks (see `Points`). Empty lines are
        skipped.
    window, outside, angle_unit
        As for `Points.from_labels`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        ``PATH:LINE: column 'x': expected ..., got ...`` for the first cell that cannot be read, or
        ``PATH: ...`` for what `Points` refuses.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from models.cell_types import read_points
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "points.csv")
    ...     _ = path.write_text("gene,x,y,size\nGad1,0,0,8.5\nSst,3,2,9\n")
    ...     points = read_points(path)
    >>> points.genes, points.marks["size"].tolist()
    (('Gad1', 'Sst'), [8.5, 9.0])
    """
    name = os.fspath(path)
    genes: list[str] = []
    shared: dict[str, str] = {}
    rows = _rows(name)
    header = next(rows)[1]
    place = header.index("gene")
    others = [i for i in range(len(header)) if i != place]
    numbers = {header[i]: array("d") for i in others}
    columns = [(i, numbers[header[i]].append) for i in others]
    for line, row in rows:
        label = row[place].strip()
        if not label:
            _stop(name, line, "column 'gene': expected the name of a gene, got ''")
        genes.append(shared.setdefault(label, label))  # one object for all cells of a gene
        for i, append in columns:
            append(_number(row[i], name, line, header[i]))
    position = np.column_stack([numbers.pop("x"), numbers.pop("y")])
    try:
        return Points.from_labels(
            genes,
            position,
            marks={mark: np.array(value) for mark, value in numbers.items()},
            window=window,
            outside=outside,
            angle_unit=angle_unit,
        )
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from None


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the header as names, then line and cells of each row that is not empty."""
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
                    yield line, _header(path, line, row)
                    continue
                if len(row) != width:
                    _stop(path, line, f"expected {width} cells as in the header, got {len(row)}")
                n_rows += 1
                yield line, row
    except UnicodeDecodeError:
        _refuse_bytes(path)
    except csv.Error as fault:
        line = max(reader.line_num, 1)
        _stop(path, line, f"expected comma-separated values, got a defect: {fault}")
    if not n_rows:
        _stop(path, line, "expected cells below a header gene,x,y, got none")


def _header(path: str, line: int, row: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in row]
    for needed in _NEEDED:
        if needed not in names:
            _stop(path, line, f"header: expected a column {needed!r}, got {', '.join(names)}")
    for i, name in enumerate(names):
        if not name or name in names[:i]:
            _stop(path, line, f"header: expected each column once and named, got {name!r}")
    return names


def _number(cell: str, path: str, line: int, column: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = np.nan
    # float() also reads "1_0", which no other program takes for a number
    if not abs(number) < np.inf or "_" in cell:
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        _stop(path, line, f"column {column!r}: expected a finite number, got {shown!r}")
    return number


def _refuse_bytes(path: str) -> NoReturn:
    data = Path(path).read_bytes()
    line = 1
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as fault:
        line += data[: fault.start].count(b"\n")
    _stop(path, line, "expected UTF-8 text, got other bytes")


def _stop(path: str, line: int, message: str) -> NoReturn:
    raise ValueError(f"{path}:{line}: {message}") from None
