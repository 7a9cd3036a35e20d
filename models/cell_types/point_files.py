"""Tables of cells as comma-separated text: a refusal names file, line and column."""

from __future__ import annotations

import os
from array import array

import numpy as np

from .points import AngleUnit, Outside, Points, Window
from .text_tables import finite_number, numbered_rows, refuse

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
    rows = numbered_rows(name, _header, "cells below a header gene,x,y")
    header = next(rows)[1]
    place = header.index("gene")
    others = [i for i in range(len(header)) if i != place]
    numbers = {header[i]: array("d") for i in others}
    columns = [(i, numbers[header[i]].append) for i in others]
    for line, row in rows:
        label = row[place].strip()
        if not label:
            refuse(name, line, "column 'gene': expected the name of a gene, got ''")
        genes.append(shared.setdefault(label, label))  # one object for all cells of a gene
        for i, append in columns:
            append(finite_number(row[i], name, line, header[i]))
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


def _header(path: str, line: int, names: list[str]) -> None:
    for needed in _NEEDED:
        if needed not in names:
            refuse(path, line, f"header: expected a column {needed!r}, got {', '.join(names)}")
