"""Profiles of types as comma-separated text."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from .profile_tables import ProfileTable
from .text_tables import finite_number, numbered_rows, refuse

Rows = Iterator[tuple[int, list[str]]]
_LARGEST = 1e150
VALUE_COLUMNS = ("value", "beta", "fraction")


def read_profiles(path: str | os.PathLike[str]) -> ProfileTable:
    r"""Read what each type expresses.

    Parameters
    ----------
    path
        A UTF-8 file in one of two forms. Long: a header with ``type``, ``gene`` and one of
        ``value``, ``beta`` and ``fraction`` (the first of these that is there counts, other
        columns are passed over), one row a type and gene, as ``profiles.csv`` of ``cavity
        cell-types fit``. Wide: the first column is ``gene``, each other column is a type. Empty
        lines are skipped.

    Returns
    -------
    ProfileTable
        Types and genes as they first appear. A wide table may have a gene twice.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        ``PATH:LINE: ...`` for the first cell that cannot be read, or a type and gene that are
        there twice or not at all.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from models.cell_types import read_profiles
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "reference.csv")
    ...     _ = path.write_text("gene,Sst,Pvalb\nGad1,3,4\nCalb2,0,0.5\n")
    ...     table = read_profiles(path)
    >>> table.types, table.genes, table.values.tolist()
    (('Sst', 'Pvalb'), ('Gad1', 'Calb2'), [[3.0, 0.0], [4.0, 0.5]])
    """
    name = os.fspath(path)
    rows = numbered_rows(name, _header, "profiles below a header", lower=False)
    header = next(rows)[1]
    low = [column.lower() for column in header]
    return _long(name, low, rows) if _is_long(low) else _wide(name, header, rows)


def _is_long(names: list[str]) -> bool:
    return "type" in names and "gene" in names and any(v in names for v in VALUE_COLUMNS)


def _header(path: str, line: int, names: list[str]) -> None:
    low = [name.lower() for name in names]
    if _is_long(low) or (low[0] == "gene" and len(low) > 1):
        return
    refuse(
        path,
        line,
        f"header: expected type,gene,{'|'.join(VALUE_COLUMNS)}, or gene and one column a type, "
        f"got {', '.join(names)[:60]}",
    )


def _wide(path: str, header: list[str], rows: Rows) -> ProfileTable:
    genes, values = [], []
    for line, row in rows:
        genes.append(_label(row[0], path, line, "gene"))
        values.append(
            [_value(cell, path, line, column) for column, cell in zip(header[1:], row[1:])]
        )
    return ProfileTable(tuple(header[1:]), tuple(genes), np.array(values).T)


def _long(path: str, header: list[str], rows: Rows) -> ProfileTable:
    column = next(name for name in VALUE_COLUMNS if name in header)
    place = [header.index(name) for name in ("type", "gene", column)]
    entries: dict[tuple[str, str], float] = {}
    for line, row in rows:
        kind, gene, cell = (row[i] for i in place)
        entry = _label(kind, path, line, "type"), _label(gene, path, line, "gene")
        if entry in entries:
            refuse(
                path, line, f"expected each type and gene once, got {entry[0]}, {entry[1]} again"
            )
        entries[entry] = _value(cell, path, line, column)
    types = tuple(dict.fromkeys(kind for kind, _ in entries))
    genes = tuple(dict.fromkeys(gene for _, gene in entries))
    for kind in types:
        for gene in genes:
            if (kind, gene) not in entries:
                refuse(path, line, f"expected all genes of all types, got no {gene} of type {kind}")
    values = np.array([[entries[kind, gene] for gene in genes] for kind in types])
    return ProfileTable(types, genes, values)


def _value(cell: str, path: str, line: int, column: str) -> float:
    number = finite_number(cell, path, line, column)
    if abs(number) > _LARGEST:  # sums and squares of larger ones overflow
        refuse(path, line, f"column {column!r}: expected at most {_LARGEST:g}, got {number:g}")
    return number


def _label(cell: str, path: str, line: int, column: str) -> str:
    label = cell.strip()
    if not label:
        refuse(path, line, f"column {column!r}: expected a name, got {cell!r}")
    return label
