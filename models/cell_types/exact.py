"""Exact posteriors of small problems, against which samplers and approximations are checked.

Given the type of every cell all integrals are closed, so what is left is a sum over types. With
known maps the weights of a gene depend on its cells only through the number of each type, and the
sum runs over those numbers, cell after cell: exact for hundreds of cells of two types. With unknown
maps it runs over all ways to split every count among the types.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, logsumexp

from inference.checks import Floats, positive, positive_int

from .counts import Counts, as_counts
from .emissions import Emission, stochastic_rows
from .likelihood import log_density
from .points import Points

MAX_ADDITIONS = 5 * 10**8
"""Of logarithms, in `exact_weights`: a few seconds."""
MAX_SPLITS = 2**22
"""Of the counts among the types, in `exact_posterior`: some ten seconds."""
_BLOCK = 2**14


class ExactWeights(NamedTuple):
    """Posterior of the expected numbers of cells of each type, the maps being known."""

    log_evidence: Floats
    """``(n_genes,)`` log probability of a gene's counts, or log density of its cells in their
    order, in nats."""
    mean: Floats
    """``(n_genes, n_types)``."""
    covariance: Floats
    """``(n_genes, n_types, n_types)``."""

    @property
    def sd(self) -> Floats:
        """``(n_genes, n_types)`` standard deviations."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))


class ExactPosterior(NamedTuple):
    """Posterior of memberships and maps, in quantities that no order of the types changes."""

    log_evidence: float
    """Log probability of the cells in their order, in nats; ``Fit.elbo`` is a lower bound of it."""
    overlap: Floats
    """``(n_genes, n_genes)`` means of ``membership membership.T``."""
    intensity: Floats
    """``(n_genes, n_bins)`` means of ``membership maps``, the density of a gene's cells."""
    intensity_sd: Floats
    """``(n_genes, n_bins)`` standard deviations of the same."""


def exact_weights(
    counts: Counts | ArrayLike, maps: ArrayLike, *, shape: float, rate: float
) -> ExactWeights:
    """Return the exact posterior of a gene's weights at known maps, for every gene.

    Parameters
    ----------
    counts
        ``(n_genes, n_bins)``, each Poisson with mean ``beta maps`` (times the exposure).
    maps
        ``(n_types, n_bins)``, rows sum to 1.
    shape, rate
        Of the Gamma prior of every weight, positive.

    Returns
    -------
    ExactWeights
        Evidence, means and covariances; `beta_given_maps` gives the mode, for any size.

    Raises
    ------
    TypeError, ValueError
        If the counts are no counts, rows are no probabilities, cells lie where all maps are 0, a
        number is not positive, or the sums have more than `MAX_ADDITIONS` terms.

    Notes
    -----
    ``n (n + 1)**(n_types - 1)`` additions of logarithms and type for a gene of ``n`` cells, all of
    positive numbers: nothing cancels.

    Examples
    --------
    >>> from models.cell_types import exact_weights
    >>> maps = [[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]
    >>> found = exact_weights([[4, 3, 1, 0]], maps, shape=1.5, rate=0.5)
    >>> found.log_evidence.round(6).tolist(), found.mean.round(3).tolist()
    ([-7.220897], [[5.778, 1.555]])
    """
    data = as_counts(counts)
    phi = stochastic_rows("maps", np.asarray(maps), data.n_bins)
    exposure = np.ones(data.values.shape) if data.exposure is None else data.exposure
    _check_additions(data.values.sum(axis=1), len(phi))
    lost = (data.values.sum(axis=0) > 0) & ~phi.any(axis=0)
    if lost.any():
        raise ValueError(f"maps: expected none of {int(lost.sum())} bins with cells to be 0 in all")
    with np.errstate(divide="ignore"):
        log_maps, log_exposure = np.log(phi.T), np.log(exposure)
    laws = (
        (np.repeat(log_maps + scale[:, None], row, axis=0), gammaln(row + 1.0).sum())
        for row, scale in zip(data.values, log_exposure)
    )
    return _weights(laws, exposure @ phi.T, shape, rate)


def exact_weights_points(
    points: Points, emissions: Sequence[Emission], *, shape: float, rate: float
) -> ExactWeights:
    """Return the exact posterior of a gene's weights at known densities of its cells.

    Parameters
    ----------
    points
        The cells.
    emissions
        One of positions and any number of marks.
    shape, rate
        Of the Gamma prior of every weight, positive.

    Returns
    -------
    ExactWeights
        As `exact_weights`, which it is in the limit of small bins.

    Raises
    ------
    TypeError, ValueError
        If a mark is missing, no type explains a cell, a number is not positive, or the sums have
        more than `MAX_ADDITIONS` terms.
    """
    n_genes, n_types = len(points.genes), emissions[0].n_types
    _check_additions(np.bincount(points.gene, minlength=n_genes), n_types)
    log_law = log_density(points, emissions)
    impossible = ~np.isfinite(log_law.max(axis=1))
    if impossible.any():
        raise ValueError(f"points: no type explains the cell in row {int(np.argmax(impossible))}")
    laws = ((log_law[points.gene == gene], 0.0) for gene in range(n_genes))
    return _weights(laws, np.ones((n_genes, n_types)), shape, rate)


def exact_posterior(
    counts: Counts | ArrayLike,
    n_types: int,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
) -> ExactPosterior:
    """Return exact moments of the posterior that `gibbs`, `mixture_model` and `cavi` are about.

    Parameters
    ----------
    counts
        ``(n_genes, n_bins)``: some ten cells.
    n_types
        Number of types.
    concentration, map_concentration
        Of the Dirichlet laws of memberships and maps.

    Returns
    -------
    ExactPosterior
        Evidence and moments.

    Raises
    ------
    TypeError, ValueError
        If the counts are no counts, a number is not positive, or there are more than `MAX_SPLITS`
        ways to split the counts among the types.

    Examples
    --------
    >>> from models.cell_types import exact_posterior
    >>> table = [[2, 1, 0], [0, 1, 2], [1, 0, 2]]
    >>> found = exact_posterior(table, 2, concentration=0.5, map_concentration=0.8)
    >>> round(found.log_evidence, 9), found.overlap[0].round(6).tolist()
    (-10.711410364, [0.753032, 0.434814, 0.464557])
    """
    data = as_counts(counts)
    if data.exposure is not None:
        raise ValueError("counts: expected no exposure; the posterior is for even exposure")
    size = positive_int("n_types", n_types)
    alpha = positive("concentration", concentration)
    eta = positive("map_concentration", map_concentration)
    n_splits = math.prod(math.comb(int(x) + size - 1, size - 1) for x in data.values.ravel())
    if n_splits > MAX_SPLITS:
        raise ValueError(
            f"counts: expected at most {MAX_SPLITS} ways to split them among {size} types, got "
            f"{n_splits:.3g}; draw from the posterior instead (gibbs)"
        )
    n_genes, n_bins = data.values.shape
    n_cells = data.values.sum(axis=1)
    sums = _Sums()
    for log_number, by_gene, by_bin in _splits(data.values, size, n_splits):
        in_type = by_bin.sum(axis=2)
        log_weight = log_number + gammaln(alpha + by_gene).sum(axis=(1, 2))
        log_weight += gammaln(eta + by_bin).sum(axis=(1, 2))
        log_weight -= gammaln(n_bins * eta + in_type).sum(axis=1)
        total = size * alpha + n_cells[:, None]
        share = (alpha + by_gene) / total
        share_square = share * (alpha + by_gene + 1.0) / (total + 1.0)
        all_of_type = (n_bins * eta + in_type)[:, :, None]
        place = (eta + by_bin) / all_of_type
        place_square = place * (eta + by_bin + 1.0) / (all_of_type + 1.0)
        overlap = share @ share.transpose(0, 2, 1)
        overlap[:, range(n_genes), range(n_genes)] = share_square.sum(axis=2)
        mean = share @ place
        # E share_k share_l E place_k place_l: of two types both are products but for the first,
        # negatively correlated by the total
        between = total[:, :1] / (total[:, :1] + 1.0)
        square = between * (mean**2 - share**2 @ place**2) + share_square @ place_square
        sums.add(log_weight, overlap, mean, square)
    constant = n_genes * (gammaln(size * alpha) - size * gammaln(alpha))
    constant += size * (gammaln(n_bins * eta) - n_bins * gammaln(eta))
    constant -= gammaln(size * alpha + n_cells).sum()
    log_total, (overlap, mean, square) = sums.means()
    sd = np.sqrt(np.maximum(square - mean**2, 0.0))
    return ExactPosterior(float(log_total + constant), overlap, mean, sd)


def _weights(
    laws: Iterator[tuple[Floats, float]], exposure: Floats, shape: float, rate: float
) -> ExactWeights:
    """Return the posterior from each gene's log densities of its cells, and a log to subtract."""
    a, b = positive("shape", shape), positive("rate", rate)
    log_evidence, means, covariances = [], [], []
    for (log_law, constant), seen in zip(laws, exposure + b):
        log_number, number = _numbers_of_types(log_law)
        log_gamma = gammaln(a + number) - (a + number) * np.log(seen)
        log_weight = log_number + (log_gamma + a * np.log(b) - gammaln(a)).sum(axis=1)
        evidence = logsumexp(log_weight)
        weight = np.exp(log_weight - evidence)
        given = (a + number) / seen
        mean = weight @ given
        spread = given - mean
        within = np.diag(weight @ (given / seen))
        log_evidence.append(evidence - constant)
        means.append(mean)
        covariances.append((weight[:, None] * spread).T @ spread + within)
    return ExactWeights(np.array(log_evidence), np.array(means), np.array(covariances))


def _numbers_of_types(log_law: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Sum the densities of cells over their types, given how many there are of each type.

    Returns log sums ``(n_numbers,)`` and the numbers ``(n_numbers, n_types)``.
    """
    n_cells, n_types = log_law.shape
    table = np.full((n_cells + 1,) * (n_types - 1), -np.inf)  # axes: all types but the last
    table[(0,) * (n_types - 1)] = 0.0
    for row in log_law:
        grown = np.asarray(table + row[-1])
        for k in range(n_types - 1):
            one_more = np.moveaxis(grown, k, 0)[1:]
            np.logaddexp(one_more, np.moveaxis(table, k, 0)[:-1] + row[k], out=one_more)
        table = grown
    others = np.indices(table.shape).reshape(n_types - 1, table.size).T
    last = n_cells - others.sum(axis=1)
    possible = last >= 0
    return table.ravel()[possible], np.column_stack([others, last])[possible]


def _check_additions(n_cells: NDArray[np.int64], n_types: int) -> None:
    additions = sum(n * (n + 1) ** (n_types - 1) * n_types for n in n_cells.tolist())
    if additions > MAX_ADDITIONS:
        raise ValueError(
            f"expected at most {MAX_ADDITIONS:g} additions, got {additions:.3g} for up to "
            f"{n_cells.max()} cells of {n_types} types; sample, or take the mode (beta_given_maps)"
        )


def _splits(
    values: NDArray[np.int32], n_types: int, n_splits: int
) -> Iterator[tuple[Floats, Floats, Floats]]:
    """Yield blocks of splits: log numbers of assignments, and the cells by gene and by bin.

    ``(n,)``, ``(n, n_genes, n_types)`` and ``(n, n_types, n_bins)``.
    """
    places = np.argwhere(values)
    parts = [_compositions(int(values[g, v]), n_types) for g, v in places]
    logs = [gammaln(part.sum(axis=1) + 1.0) - gammaln(part + 1.0).sum(axis=1) for part in parts]
    sizes = [len(part) for part in parts]
    n_genes, n_bins = values.shape
    for begin in range(0, n_splits, _BLOCK):
        index = np.arange(begin, min(begin + _BLOCK, n_splits))
        log_number = np.zeros(len(index))
        by_gene = np.zeros((len(index), n_genes, n_types))
        by_bin = np.zeros((len(index), n_types, n_bins))
        for (g, v), part, log, size in zip(places, parts, logs, sizes):
            index, choice = np.divmod(index, size)
            log_number += log[choice]
            by_gene[:, g] += part[choice]
            by_bin[:, :, v] += part[choice]
        yield log_number, by_gene, by_bin


def _compositions(number: int, n_parts: int) -> Floats:
    """Return all ways to write a number as an ordered sum, ``(n_ways, n_parts)``."""
    bars = itertools.combinations(range(number + n_parts - 1), n_parts - 1)
    ends = [(-1, *places, number + n_parts - 1) for places in bars]
    return np.diff(np.array(ends), axis=1) - 1.0


class _Sums:
    """Means under weights that come in blocks, as logarithms of any size."""

    def __init__(self) -> None:
        self.top, self.total = -np.inf, 0.0
        self.weighted: list[Floats] = []

    def add(self, log_weight: Floats, *values: Floats) -> None:
        """Add blocks ``(n, ...)`` of values with ``(n,)`` weights."""
        top = max(self.top, float(log_weight.max()))
        weight, shrink = np.exp(log_weight - top), np.exp(self.top - top)
        block = [np.tensordot(weight, value, 1) for value in values]
        old = self.weighted or [np.zeros(value.shape[1:]) for value in values]
        self.weighted = [shrink * one + other for one, other in zip(old, block)]
        self.total = shrink * self.total + weight.sum()
        self.top = top

    def means(self) -> tuple[float, list[Floats]]:
        """Return the log of the sum of the weights, and the means."""
        return self.top + float(np.log(self.total)), [one / self.total for one in self.weighted]
