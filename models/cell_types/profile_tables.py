"""Expression profiles of types as tables, from whatever holds them, joined by gene symbol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats, finite_array, same_length

from .profiles import Fit

Integers = NDArray[np.int64]


class ProfileTable(NamedTuple):
    """What each type expresses."""

    types: tuple[str, ...]
    """Names of the rows."""
    genes: tuple[str, ...] | None
    """Names of the columns; None if they have none."""
    values: Floats
    """``(n_types, n_genes)``."""


class Joined(NamedTuple):
    """Two tables over the genes that both have."""

    genes: tuple[str, ...]
    """Common genes, spelled and ordered as in the first table."""
    values: Floats
    """``(n_types, n_common)`` of the first table."""
    reference: Floats
    """``(n_reference_types, n_common)`` of the second."""
    n_genes: int
    """Distinct genes of the first table."""
    n_reference_genes: int
    """Distinct genes of the second."""
    n_merged: int
    """Columns of both tables that were added to another one of the same symbol."""


def as_profile_table(name: str, data: Any, genes: Sequence[Any] | None = None) -> ProfileTable:
    """Return profiles as a table.

    Parameters
    ----------
    name
        What messages call it.
    data
        A `Fit` (expected numbers of cells), a `ProfileTable`, a DataFrame of types by genes, or a
        ``(n_types, n_genes)`` array.
    genes
        ``(n_genes,)`` names of the columns, instead of those that ``data`` has.

    Raises
    ------
    TypeError, ValueError
        If an entry is no finite number, or there is not one name a column.
    """
    if isinstance(data, Fit):
        data = ProfileTable(
            tuple(f"type {k}" for k in range(data.n_types)), data.genes, data.beta.T
        )
    elif hasattr(data, "columns") and hasattr(data, "index"):
        data = ProfileTable(_texts(data.index), _texts(data.columns), np.asarray(data))
    if not isinstance(data, ProfileTable):
        values = finite_array(name, data, ndim=2)
        data = ProfileTable(_texts(range(len(values))), None, values)
    values = finite_array(name, data.values, ndim=2)
    names = data.genes if genes is None else _texts(genes)
    if names is not None and len(names) != values.shape[1]:
        raise ValueError(
            f"{name}: expected {len(names)} columns as in genes, got {values.shape[1]}"
        )
    same_length(name, len(values), "types", len(data.types))
    return ProfileTable(data.types, names, values)


def join_genes(first: ProfileTable, second: ProfileTable, least: int) -> Joined:
    """Return two tables over the genes they share; symbols match in any case, doubles add up.

    Tables without names are joined column by column.

    Raises
    ------
    ValueError
        If only one has names, or fewer than ``least`` genes are common.
    """
    if (first.genes is None) != (second.genes is None):
        raise ValueError("genes, reference_genes: expected names for both tables or neither")
    if first.genes is None or second.genes is None:
        if first.values.shape[1] != second.values.shape[1]:
            raise ValueError(
                f"reference: expected {first.values.shape[1]} genes as in inferred, got "
                f"{second.values.shape[1]}; name them to join the tables"
            )
        names = _texts(range(first.values.shape[1]))
        first, second = first._replace(genes=names), second._replace(genes=names)
    left, right = _merged(first), _merged(second)
    common = [key for key in left if key in right]
    if len(common) < least:
        raise ValueError(
            f"genes: expected at least {least} common ones, got {len(common)} of {len(left)} and "
            f"{len(right)}; see that both tables use the same symbols, or lower min_common"
        )
    n_merged = first.values.shape[1] - len(left) + second.values.shape[1] - len(right)
    return Joined(
        genes=tuple(left[key][0] for key in common),
        values=np.column_stack([left[key][1] for key in common]),
        reference=np.column_stack([right[key][1] for key in common]),
        n_genes=len(left),
        n_reference_genes=len(right),
        n_merged=n_merged,
    )


def _merged(table: ProfileTable) -> dict[str, tuple[str, Floats]]:
    """Return ``{symbol in one case: (symbol, column)}``, columns of one symbol added up."""
    found: dict[str, tuple[str, Floats]] = {}
    for gene, column in zip(table.genes or (), table.values.T):
        key = gene.strip().casefold()
        name, total = found.get(key, (gene.strip(), np.zeros(len(column))))
        found[key] = name, total + column
    return found


def _texts(names: Any) -> tuple[str, ...]:
    return tuple(str(name) for name in names)
