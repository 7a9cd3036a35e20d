"""Estimates from independent chains: ratios, standard errors, and whether a start is forgotten."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from inference.checks import Floats

_SIGNIFICANT = 1e-4


class Estimate(NamedTuple):
    """A mean and its standard error, arrays of one shape."""

    value: Floats
    standard_error: Floats


class Relaxation(NamedTuple):
    """Whether the averages over the first and the second half of a run agree."""

    z: Floats
    """Standardised differences, second half minus first: all spins, the state function, and the
    correlations of pairs if there are any."""
    p_value: float
    """Of the largest, corrected for their number (Bonferroni)."""
    relaxed: bool
    """Whether the differences can be chance: ``p_value`` of at least 1e-4."""


def estimate(integrals: Floats, times: Floats) -> Estimate:
    """Return the average over all time of all chains.

    Parameters
    ----------
    integrals
        ``(..., n_chains)`` over the time of each chain.
    times
        ``(n_chains,)``, or ``(n_groups,)`` with groups for chains.

    Returns
    -------
    Estimate
        Of a ratio of means; standard error by the delta method.
    """
    n_chains = times.size
    value = integrals.sum(axis=-1) / times.sum()
    residuals = integrals - value[..., None] * times
    error = np.sqrt(n_chains / (n_chains - 1) * (residuals**2).sum(axis=-1)) / times.sum()
    return Estimate(value, error)


def relaxation(early: Floats, late: Floats) -> Relaxation:
    """Compare averages ``(n_quantities, n_chains)`` over two halves, paired by chain.

    A start that is not forgotten moves the first half more than the second.
    """
    change = late - early
    n_chains = change.shape[1]
    error = change.std(axis=1, ddof=1) / np.sqrt(n_chains)
    # what never changes, as a spin that is frozen in all chains, does not tell
    z = np.divide(change.mean(axis=1), error, out=np.zeros_like(error), where=error > 0)
    p_value = float(min(1.0, 2.0 * z.size * norm.sf(np.abs(z).max())))
    return Relaxation(z, p_value, p_value >= _SIGNIFICANT)


def effective_sample_size(
    mean: NDArray[np.float64], square: NDArray[np.float64], error: NDArray[np.float64]
) -> Floats:
    """Return how many independent states have this standard error of a mean.

    Zero variance has no answer: NaN.
    """
    variance = np.maximum(square - mean**2, 0.0)
    return np.divide(variance, error**2, out=np.full_like(variance, np.nan), where=error > 0)
