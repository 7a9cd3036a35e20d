"""Simulation-based calibration: where the truth lies among posterior draws, over many data sets."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .checks import Floats, finite_array


class Calibration(NamedTuple):
    """Whether the truth lies anywhere in its posterior with the probability that this gives it."""

    quantity: str
    n: int
    """Data sets."""
    distance: float
    """Largest distance of the distribution of places from the uniform one."""
    p_value: float
    """Of Kolmogorov and Smirnov's test."""


def places(truth: ArrayLike, draws: ArrayLike, rng: np.random.Generator) -> Floats:
    """Return where true values lie among posterior draws, as shares.

    Parameters
    ----------
    truth
        Values ``(...)`` that were drawn from the prior.
    draws
        ``(draw, ...)`` from the posterior given data simulated at the truth. Draws of a chain must
        be far enough apart to be independent.
    rng
        Breaks ties, and spreads each rank over the interval that it stands for.

    Returns
    -------
    ndarray
        ``(...)``, uniform between 0 and 1 if the draws are from the posterior.

    Notes
    -----
    The rank of the truth among independent draws is uniform (Talts et al., arXiv 1804.06788); a
    uniform number within each rank makes its law continuous, also where values are discrete.
    """
    value, sample = np.asarray(truth, np.float64), np.asarray(draws, np.float64)
    below = (sample < value).sum(axis=0)
    tied = (sample == value).sum(axis=0)
    rank = below + rng.integers(0, tied + 1)
    return np.asarray((rank + rng.random(rank.shape)) / (len(sample) + 1))


def places_among(law: ArrayLike, drawn: ArrayLike, rng: np.random.Generator) -> Floats:
    """Return where draws lie in the distribution function of their discrete law.

    Parameters
    ----------
    law
        ``(n_states,)`` probabilities.
    drawn
        ``(n,)`` numbers of the states drawn.
    rng
        Spreads each draw over the interval of its state.

    Returns
    -------
    ndarray
        ``(n,)``, uniform between 0 and 1 if the draws follow the law.
    """
    prob, state = np.asarray(law, np.float64), np.asarray(drawn)
    return np.asarray(np.cumsum(prob)[state] - rng.random(len(state)) * prob[state])


def calibration(quantity: str, where: ArrayLike) -> Calibration:
    """Judge places of independent data sets; see `places`.

    Parameters
    ----------
    quantity
        Name in the table.
    where
        ``(n,)`` shares between 0 and 1, from draws or from an exact distribution function.

    Raises
    ------
    ValueError
        If there are none, or they are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> calibration("x", np.random.default_rng(0).random(200)).p_value > 1e-3
    True
    >>> calibration("x", np.random.default_rng(0).random(200) ** 2).p_value < 1e-3
    True
    """
    found = stats.kstest(finite_array(quantity, where, ndim=1), "uniform")
    return Calibration(quantity, np.size(where), float(found.statistic), float(found.pvalue))
