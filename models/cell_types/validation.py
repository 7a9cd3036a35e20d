"""Whether inferred types agree with independent data, or with each other, more than by chance."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from inference.checks import Floats, one_of, positive_int, same_length

from .profile_matching import (
    MIN_COMMON,
    TRANSFORMS,
    Match,
    Transform,
    best_pairs,
    correlations,
    match_profiles,
    standardised,
)
from .profiles import Fit

_MOST_ORDERS = math.factorial(9)
_ROUNDING = 1e-12


class PermutationTest(NamedTuple):
    """How often matched profiles would correlate as well if genes had no names."""

    match: Match
    """What was tested."""
    p_value: float
    """Of the mean matched correlation."""
    type_p_value: Floats
    """``(n_types,)``: of each type's correlation with its partner; NaN without one."""
    type_p_holm: Floats
    """``(n_types,)``: the same, corrected by Holm for the number of types."""
    null: Floats
    """``(n_permutations,)`` mean matched correlations under permuted genes, matched anew."""
    exact: bool
    """Whether these are all permutations (the identity among them) or random ones."""


class Ceiling(NamedTuple):
    """How well a reference agrees with itself: more, no fit can be expected to reach."""

    types: tuple[str, ...]
    """Names of the types, sorted."""
    correlation: Floats
    """``(n_types,)`` of two halves of the cells, mean over splits."""
    mean_correlation: float
    """Mean over types and splits."""
    spread: float
    """Standard deviation of the mean over splits; 0 for one split."""
    n_matched_right: Floats
    """``(n_splits,)``: how many types were paired with themselves."""


class Stability(NamedTuple):
    """How much solutions differ: one row each, the first is the reference."""

    solution: tuple[str, ...]
    """``"spectral"``, ``"random 1"``, ...; ``"fit 2: spectral"`` if there are several fits."""
    elbo_gap: Floats
    """``(n_solutions,)`` nats below the reference; of other data it means nothing."""
    near_tie: NDArray[np.bool_]
    """``(n_solutions,)``: whether the bound tells it from the best of its own fit."""
    map_cosine: Floats
    """``(n_solutions, n_types)`` cosine of each type's map to that of the reference; NaN for types
    without a partner."""
    profile_correlation: Floats
    """``(n_solutions, n_types)`` Pearson correlation of the profiles (fractions) over genes."""

    def least(self) -> tuple[Floats, Floats]:
        """Return the smallest cosine and correlation of each type among solutions as good."""
        return (
            np.min(self.map_cosine[self.near_tie], axis=0),
            np.min(self.profile_correlation[self.near_tie], axis=0),
        )

    def columns(self) -> dict[str, list[Any]]:
        """Return ``{column: rows}``, a summary that every DataFrame can be made of."""
        table: dict[str, list[Any]] = {
            "solution": list(self.solution),
            "elbo_gap": self.elbo_gap.tolist(),
            "near_tie": self.near_tie.tolist(),
        }
        for name in ("map_cosine", "profile_correlation"):
            # NaN too where a profile is constant
            rows = np.ma.masked_invalid(getattr(self, name))
            table[f"{name}_mean"] = rows.mean(axis=1).filled(np.nan).tolist()
            table[f"{name}_min"] = rows.min(axis=1).filled(np.nan).tolist()
        return table


def permutation_test(
    inferred: Any,
    reference: Any = None,
    *,
    genes: Sequence[Any] | None = None,
    reference_genes: Sequence[Any] | None = None,
    transform: Transform = "fraction",
    min_common: int = MIN_COMMON,
    n_permutations: int = 999,
    exact: bool | None = None,
    seed: int = 0,
) -> PermutationTest:
    """Test whether profiles agree with a reference more than they would by chance.

    Parameters
    ----------
    inferred, reference, genes, reference_genes, transform, min_common
        As for `match_profiles`; or ``inferred`` is what that returned and ``reference`` None.
    n_permutations
        Random permutations of the genes of the reference; the smallest p-value is
        ``1 / (n_permutations + 1)``.
    exact
        Whether to go through all permutations, for at most nine genes; None does so if there are
        no more of them than ``n_permutations``.
    seed
        Of the permutations.

    Returns
    -------
    PermutationTest
        Types are matched anew under every permutation: the pairing was chosen to fit, and chance
        is given the same choice. A type's own p-value compares with its best correlation to any
        reference type.

    Raises
    ------
    TypeError, ValueError
        As `match_profiles`, or if there are too many genes for ``exact``.

    Notes
    -----
    The p-value is ``(1 + n_as_large) / (1 + n_permutations)``, or the share of all permutations
    that are as large.

    Examples
    --------
    >>> from models.cell_types import permutation_test
    >>> found = [[9, 1, 2, 1, 4], [1, 8, 1, 3, 2], [2, 1, 1, 7, 6]]
    >>> known = [[2, 1, 1, 6, 7], [7, 2, 1, 2, 3], [1, 9, 3, 2, 1]]
    >>> test = permutation_test(found, known, transform="raw", min_common=5)
    >>> test.exact, len(test.null), round(test.p_value * 120)
    (True, 120, 2)
    """
    if isinstance(inferred, Match):
        if reference is not None:
            raise ValueError("reference: expected none along with a Match, got one")
        match = inferred
    else:
        match = match_profiles(
            inferred,
            reference,
            genes=genes,
            reference_genes=reference_genes,
            transform=transform,
            min_common=min_common,
        )
    n_random, n_genes = positive_int("n_permutations", n_permutations), len(match.genes)
    n_orders = math.factorial(min(n_genes, 20))
    if exact and n_orders > _MOST_ORDERS:
        raise ValueError(f"exact: expected at most 9 common genes, got {n_genes}")
    every = exact if exact is not None else n_orders <= n_random
    kept = match.partner >= 0
    usable = ~np.isnan(match.table).all(axis=1)
    first = standardised(match.profiles)[usable]
    second = standardised(match.reference)
    second = second[second.any(axis=1)]
    orders: Iterator[Any] = (
        permutations(range(n_genes)) if every else _random_orders(n_genes, n_random, seed)
    )
    null, best = [], []
    for order in orders:
        table = first @ second[:, order].T
        null.append(table[linear_sum_assignment(-table)].mean())
        best.append(table.max(axis=1))
    sampled = 0 if every else 1
    total = len(null) + sampled

    def share(values: Floats, observed: Any) -> Any:
        return (sampled + (values >= observed - _ROUNDING).sum(axis=0)) / total

    type_p = np.full(len(match.types), np.nan)
    type_p[usable] = share(np.array(best), match.correlation[usable])
    type_p[~kept] = np.nan
    return PermutationTest(
        match=match,
        p_value=float(share(np.array(null), match.mean_correlation)),
        type_p_value=type_p,
        type_p_holm=holm(type_p),
        null=np.array(null),
        exact=bool(every),
    )


def holm(p_value: ArrayLike) -> Floats:
    """Return p-values corrected by Holm's method; NaN are left out and stay.

    Examples
    --------
    >>> from models.cell_types.validation import holm
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_value, np.float64)
    corrected = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    factor = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(factor * p[order]), 1.0)
    return corrected


def split_half_ceiling(
    cells: Any,
    labels: Sequence[Any],
    *,
    genes: Sequence[Any] | None = None,
    among: Sequence[Any] | None = None,
    transform: Transform = "fraction",
    n_splits: int = 10,
    seed: int = 0,
) -> Ceiling:
    """Return how well the halves of a reference agree.

    Parameters
    ----------
    cells
        ``(n_cells, n_genes)`` expression of single cells, an array or a sparse matrix.
    labels
        ``(n_cells,)`` type of each cell; a type needs at least two.
    genes
        Symbols of the columns, needed for ``among``.
    among
        Symbols to restrict the comparison to, as ``match.genes`` of what the ceiling is for.
    transform
        As for `match_profiles`.
    n_splits
        How often the cells of each type are split at random.
    seed
        Of the splits.

    Returns
    -------
    Ceiling
        Mean profiles of one half, matched to those of the other.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a type has one cell only, or no gene is left.
    """
    one_of("transform", transform, TRANSFORMS)
    number = positive_int("n_splits", n_splits)
    same_length("labels", len(labels), "cells", cells.shape[0])
    names, kind = np.unique(np.asarray([str(label) for label in labels]), return_inverse=True)
    lonely = np.bincount(kind) < 2
    if lonely.any():
        raise ValueError(f"labels: expected at least two cells a type, got one {names[lonely][0]}")
    columns = _chosen(cells.shape[1], genes, among)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        # ranks of random numbers within a type: odd ranks are one half, even ones the other
        order = np.lexsort((rng.random(len(kind)), kind))
        side = np.empty(len(kind), np.int64)
        start = np.searchsorted(kind[order], kind[order])
        side[order] = (np.arange(len(kind)) - start) % 2
        halves = [_means(cells, kind, side == half, len(names))[:, columns] for half in (0, 1)]
        found.append(match_profiles(*halves, transform=transform, min_common=1))
    own = np.array([[match.table[k, k] for k in range(len(names))] for match in found])
    means = own.mean(axis=1)
    right = [np.sum(match.partner == np.arange(len(names))) for match in found]
    return Ceiling(
        types=tuple(names.tolist()),
        correlation=own.mean(axis=0),
        mean_correlation=float(means.mean()),
        spread=float(means.std()),
        n_matched_right=np.array(right, np.float64),
    )


def stability(fits: Fit | Sequence[Fit]) -> Stability:
    """Compare all solutions of a fit, or of several fits, with the first one.

    Parameters
    ----------
    fits
        One fit, whose starts are compared; or several, of the same genes and bins, as from
        different keys, halves of the cells or numbers of types.

    Returns
    -------
    Stability
        Types are matched to those of the first fit by the cosine of their maps.

    Raises
    ------
    ValueError
        If there is no fit, or genes or bins differ.
    """
    every = [fits] if isinstance(fits, Fit) else list(fits)
    if not every:
        raise ValueError("fits: expected at least one, got none")
    base = every[0]
    names: list[str] = []
    gaps, ties, cosines, profile_r = [], [], [], []
    for number, one in enumerate(every, start=1):
        if one.genes != base.genes or one.maps.shape[1] != base.maps.shape[1]:
            raise ValueError(
                f"fits: expected the genes and bins of the first, fit {number} differs"
            )
        for solution in one.solutions:
            cosine = _unit(base.maps) @ _unit(solution.maps).T
            partner = best_pairs(cosine)
            matched = np.flatnonzero(partner >= 0)
            other = partner[matched]
            row = np.full((2, base.n_types), np.nan)
            row[0, matched] = cosine[matched, other]
            table = correlations(base.membership.T, solution.membership.T)
            row[1, matched] = table[matched, other]
            names.append(solution.start if len(every) == 1 else f"fit {number}: {solution.start}")
            gaps.append(base.elbo - solution.elbo)
            ties.append(solution.elbo > one.elbo - one.near_tie_gap)
            cosines.append(row[0])
            profile_r.append(row[1])
    return Stability(
        tuple(names), np.array(gaps), np.array(ties), np.array(cosines), np.array(profile_r)
    )


def _random_orders(n_genes: int, n_random: int, seed: int) -> Iterator[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    for _ in range(n_random):
        yield rng.permutation(n_genes)


def _means(cells: Any, kind: NDArray[Any], chosen: NDArray[np.bool_], n_types: int) -> Floats:
    """Return the mean expression of each type over chosen cells, ``(n_types, n_genes)``."""
    member = np.zeros((n_types, len(kind)))
    member[kind[chosen], np.flatnonzero(chosen)] = 1.0
    return np.asarray((cells.T @ member.T).T / member.sum(axis=1, keepdims=True), np.float64)


def _chosen(
    n_genes: int, genes: Sequence[Any] | None, among: Sequence[Any] | None
) -> NDArray[np.int64]:
    if among is None:
        return np.arange(n_genes)
    if genes is None:
        raise ValueError("genes: expected the symbols of the columns along with among, got none")
    same_length("genes", len(genes), "the columns of cells", n_genes)
    wanted = {str(gene).strip().casefold() for gene in among}
    columns = [i for i, gene in enumerate(genes) if str(gene).strip().casefold() in wanted]
    if not columns:
        raise ValueError("among: expected symbols that cells have, got none of them")
    return np.array(columns)


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
