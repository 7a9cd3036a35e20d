"""The likelihood of cells and of counts; both are Poisson, and one is the other in bins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln, logsumexp, xlogy

from inference.checks import Floats, finite_array

from .counts import Counts
from .emissions import Emission
from .points import Points


def log_likelihood_points(points: Points, beta: ArrayLike, emissions: Sequence[Emission]) -> float:
    r"""Return the log likelihood of cells in continuous space.

    .. math:: \sum_i \log \sum_k \beta_{g_i k} f_k(x_i, m_i) - \sum_{gk} \beta_{gk}

    Parameters
    ----------
    points
        The cells.
    beta
        ``(n_genes, n_types)`` expected number of cells of each type in the image of each gene.
    emissions
        Their product is the density :math:`f_k` of a cell: one of the position, and any number of
        marks.

    Returns
    -------
    float
        In nats, for cells in the order given (no ``- log n!``), density by area and by unit of
        every mark. Minus infinity if a cell is impossible.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number of ``beta`` is negative, or a mark is missing.

    Notes
    -----
    Poisson processes add, and as every density integrates to 1 over the window the expected number
    of all cells is the sum of ``beta``.

    Examples
    --------
    >>> from models.cell_types import Bins, GridDensity, Points, Window, log_likelihood_points
    >>> square = Window((0.0, 2.0), (0.0, 1.0))
    >>> cells = Points.from_labels(["a", "a"], [[0.5, 0.5], [1.5, 0.5]], window=square)
    >>> halves = GridDensity(Bins(square, 2, 1), [[0.5, 0.5]])
    >>> log_likelihood_points(cells, [[2.0]], [halves])  # an intensity of 1
    -2.0
    """
    rates = checked_beta(beta, len(points.genes))
    log_rate = log_rates(points, rates, emissions)
    return float(logsumexp(log_rate, axis=1).sum() - rates.sum())


def log_likelihood_counts(counts: Counts, beta: ArrayLike, maps: ArrayLike) -> float:
    r"""Return the log probability of counts, ``X[g, v] ~ Poisson((beta maps)[g, v])``.

    Parameters
    ----------
    counts
        With ``exposure``, the intensity of every entry is multiplied by it.
    beta
        ``(n_genes, n_types)`` expected number of cells.
    maps
        ``(n_types, n_bins)`` share of each type's cells in each bin.

    Returns
    -------
    float
        In nats, with ``- log X!``. Minus infinity if there are cells where none can be.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree or a number is negative.

    Notes
    -----
    `log_likelihood_points` with the density ``maps / area`` is this plus
    ``sum(log X!) - sum(X log area)``.

    Examples
    --------
    >>> from models.cell_types import Counts, log_likelihood_counts
    >>> maps = [[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]
    >>> round(log_likelihood_counts(Counts([[4, 3, 1, 0]]), [[8.0, 0.0]], maps), 6)
    -4.615908
    """
    rates = checked_beta(beta, counts.n_genes)
    shares = finite_array("maps", maps, ndim=2)
    if shares.shape != (rates.shape[1], counts.n_bins) or shares.min() < 0:
        raise ValueError(
            f"maps: expected numbers of at least 0 of shape {(rates.shape[1], counts.n_bins)}, got "
            f"shape {shares.shape}, smallest {shares.min():g}"
        )
    intensity = rates @ shares
    if counts.exposure is not None:
        intensity = intensity * counts.exposure
    terms = xlogy(counts.values, intensity) - intensity - gammaln(counts.values + 1.0)
    return float(terms.sum())


def responsibilities(points: Points, beta: ArrayLike, emissions: Sequence[Emission]) -> Floats:
    """Return the probability of each type for each cell, ``(n_cells, n_types)``.

    Parameters are those of `log_likelihood_points`.

    Raises
    ------
    TypeError, ValueError
        As `log_likelihood_points`, or if a cell is impossible under every type.
    """
    log_rate = log_rates(points, checked_beta(beta, len(points.genes)), emissions)
    top = log_rate.max(axis=1, keepdims=True)
    if np.isneginf(top).any():
        row = int(np.argmin(top))
        gene = points.genes[points.gene[row]]
        raise ValueError(f"points: no type explains the cell in row {row}, gene {gene}")
    weight = np.exp(log_rate - top)
    return weight / weight.sum(axis=1, keepdims=True)


def log_density(points: Points, emissions: Sequence[Emission]) -> Floats:
    """Return the log density of each cell under each type, ``(n_cells, n_types)``.

    Raises
    ------
    ValueError
        If there is no emission or they disagree about the number of types.
    """
    sizes = {emission.n_types for emission in emissions}
    if len(sizes) != 1:
        raise ValueError(f"emissions: expected one number of types, got {sorted(sizes)}")
    # the arrays of an emission are its own
    total: Floats = emissions[0].log_density(points)
    for place, emission in enumerate(emissions[1:]):
        total = np.add(total, emission.log_density(points), out=total if place else None)
    return total


def checked_beta(beta: ArrayLike, n_genes: int) -> Floats:
    """Return ``(n_genes, n_types)`` expected numbers of cells.

    Raises
    ------
    TypeError, ValueError
        If they are not.
    """
    rates = finite_array("beta", beta, ndim=2)
    if len(rates) != n_genes or rates.min() < 0:
        raise ValueError(
            f"beta: expected numbers of at least 0 in {n_genes} rows, one a gene, got shape "
            f"{rates.shape}, smallest {rates.min():g}"
        )
    return rates


def log_rates(points: Points, rates: Floats, emissions: Sequence[Emission]) -> Floats:
    """Return the log intensity of each type at each cell, ``(n_cells, n_types)``.

    Raises
    ------
    ValueError
        If the emissions have another number of types than the rates.
    """
    density = log_density(points, emissions)
    if density.shape[1] != rates.shape[1]:
        raise ValueError(
            f"beta: expected {density.shape[1]} columns, one a type, got {rates.shape[1]}"
        )
    with np.errstate(divide="ignore"):
        log_rate: Floats = np.log(rates)[points.gene]
    log_rate += density
    return log_rate
