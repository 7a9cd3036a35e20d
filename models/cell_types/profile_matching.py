"""Which inferred type is which type of an independent reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from inference.checks import Floats, one_of, positive_int

from .profile_tables import Integers, as_profile_table, join_genes

Transform = Literal["fraction", "raw", "logratio"]
TRANSFORMS = ("fraction", "raw", "logratio")
MIN_COMMON = 30
_PSEUDO_SHARE = 1e-3


class Match(NamedTuple):
    """Inferred types, each with at most one type of the reference."""

    types: tuple[str, ...]
    """Names of the inferred types."""
    reference_types: tuple[str, ...]
    """Names of the types of the reference."""
    partner: Integers
    """``(n_types,)``: the reference type of each inferred one, -1 for none."""
    correlation: Floats
    """``(n_types,)`` Pearson correlation with the partner; NaN for types without one."""
    table: Floats
    """``(n_types, n_reference_types)`` correlations; NaN where a profile is constant."""
    genes: tuple[str, ...]
    """Common genes, as ``inferred`` spells and orders them."""
    n_genes: int
    """Distinct genes of ``inferred``."""
    n_reference_genes: int
    """Distinct genes of ``reference``."""
    n_merged: int
    """Columns that were added to another one of the same symbol."""
    profiles: Floats
    """``(n_types, n_common)`` that were compared, after the transformation."""
    reference: Floats
    """``(n_reference_types, n_common)``, after the transformation."""

    @property
    def mean_correlation(self) -> float:
        """Mean of the correlations of all types with a partner."""
        return float(self.correlation[self.partner >= 0].mean())

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Inferred types without a partner: too many, or with a constant profile."""
        return tuple(name for name, j in zip(self.types, self.partner) if j < 0)

    @property
    def unmatched_reference(self) -> tuple[str, ...]:
        """Reference types without a partner."""
        taken = set(self.partner.tolist())
        return tuple(name for j, name in enumerate(self.reference_types) if j not in taken)


def match_profiles(
    inferred: Any,
    reference: Any,
    *,
    genes: Sequence[Any] | None = None,
    reference_genes: Sequence[Any] | None = None,
    transform: Transform = "fraction",
    min_common: int = MIN_COMMON,
) -> Match:
    """Pair inferred types with those of a reference so that their profiles correlate best.

    Parameters
    ----------
    inferred, reference
        A `Fit`, a `ProfileTable` (see `read_profiles`), a DataFrame of types by genes, or a
        ``(n_types, n_genes)`` array. Entries are expected numbers of cells or mean expression,
        not logarithms (undo those of normalised single-cell data by ``expm1`` before averaging).
    genes, reference_genes
        Symbols of the columns, if the tables have none. Symbols are joined without regard to case,
        columns of one symbol are added up. For two arrays of one width ``genes`` are those of both;
        without any they are joined column by column.
    transform
        What is correlated. ``"fraction"``: each type's share of a gene. ``"logratio"``: the log of
        that share (0.001 added) over its geometric mean over types. ``"raw"``: the entries, which
        mixes up types with how abundant genes are, and abundance means different things in
        images and in sequencing: do not report that one alone.
    min_common
        Fewer common genes are an error.

    Returns
    -------
    Match
        The sum of correlations is the largest of all pairings (Hungarian algorithm). The numbers
        of types may differ; then some stay unmatched, as do types with a constant profile.

    Raises
    ------
    TypeError, ValueError
        If a table is none, an entry is negative (but for ``"raw"``), too few genes are common, or
        all profiles of a table are constant.

    See Also
    --------
    permutation_test : Whether such correlations could be chance.

    Examples
    --------
    >>> from models.cell_types import match_profiles
    >>> found = [[9, 1, 2, 1, 4], [1, 8, 1, 3, 2], [2, 1, 1, 7, 6]]
    >>> known = [[2, 1, 1, 6, 7], [7, 2, 1, 2, 3], [1, 9, 3, 2, 1]]
    >>> match = match_profiles(found, known, transform="raw", min_common=5)
    >>> match.partner.tolist(), round(match.mean_correlation, 3)
    ([1, 2, 0], 0.948)
    """
    one_of("transform", transform, TRANSFORMS)
    least = positive_int("min_common", min_common)
    first = as_profile_table("inferred", inferred, genes)
    second = as_profile_table("reference", reference, reference_genes)
    same_width = first.values.shape[1] == second.values.shape[1]
    if genes is not None and second.genes is None and same_width:
        second = second._replace(genes=first.genes)
    joined = join_genes(first, second, least)
    profiles = transformed("inferred", joined.values, transform)
    known = transformed("reference", joined.reference, transform)
    table = correlations(profiles, known)
    partner = best_pairs(table)
    matched = partner >= 0
    correlation = np.full(len(partner), np.nan)
    correlation[matched] = table[matched, partner[matched]]
    return Match(
        types=first.types,
        reference_types=second.types,
        partner=partner,
        correlation=correlation,
        table=table,
        genes=joined.genes,
        n_genes=joined.n_genes,
        n_reference_genes=joined.n_reference_genes,
        n_merged=joined.n_merged,
        profiles=profiles,
        reference=known,
    )


def transformed(name: str, values: Floats, transform: Transform) -> Floats:
    """Return profiles that can be compared, see `match_profiles`.

    A gene that no type expresses has even shares.

    Raises
    ------
    ValueError
        If an entry is negative, or a profile varies in no type.
    """
    if transform != "raw":
        if values.min() < 0:
            row, column = (int(i) for i in np.argwhere(values < 0)[0])
            raise ValueError(
                f"{name}: expected numbers of at least 0, got {values[row, column]:g} of type {row}"
                "; logarithms or z-scores have no shares"
            )
        if len(values) < 2:
            raise ValueError(
                f"{name}: expected at least two types to share genes, got one; use 'raw'"
            )
        total = values.sum(axis=0)
        values = np.where(total > 0, values / np.where(total > 0, total, 1.0), 1.0 / len(values))
    if transform == "logratio":
        log_share = np.log(values + _PSEUDO_SHARE)
        values = log_share - log_share.mean(axis=0)
    if not np.any(np.linalg.norm(standardised(values), axis=1) > 0):
        raise ValueError(
            f"{name}: expected profiles that vary over the {values.shape[1]} common genes, all "
            "are constant"
        )
    return values


def correlations(profiles: Floats, reference: Floats) -> Floats:
    """Return Pearson correlations of all rows, NaN where one is constant."""
    first, second = standardised(profiles), standardised(reference)
    table = np.clip(first @ second.T, -1.0, 1.0)
    table[~first.any(axis=1)] = np.nan
    table[:, ~second.any(axis=1)] = np.nan
    return table


def standardised(rows: Floats) -> Floats:
    """Return rows of mean 0 and length 1; rows that are constant up to rounding are 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    rounding = 1e-13 * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > rounding, centred / np.where(length > rounding, length, 1.0), 0.0)


def best_pairs(table: Floats) -> Integers:
    """Return the column of each row in the pairing of largest sum, -1 for none.

    Rows and columns of NaN take no part.
    """
    rows = np.flatnonzero(~np.isnan(table).all(axis=1))
    columns = np.flatnonzero(~np.isnan(table).all(axis=0))
    partner = np.full(len(table), -1, np.int64)
    first, second = linear_sum_assignment(-table[np.ix_(rows, columns)])
    partner[rows[first]] = columns[second]
    return partner
