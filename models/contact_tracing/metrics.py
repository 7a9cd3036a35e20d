"""How an epidemic went, and how good risks and rankings were."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, rankdata

from inference.checks import Floats, finite_array, positive_int, same_length

from .epidemic import probabilities
from .simulation import Outbreak

Integers = NDArray[np.int64]


class Curves(NamedTuple):
    """Numbers of people on each day, ``(n_days + 1,)``."""

    susceptible: Integers
    infected: Integers
    recovered: Integers

    @property
    def cumulative(self) -> Integers:
        """Number of people infected so far."""
        return self.infected + self.recovered


class Reproduction(NamedTuple):
    """Effective reproduction number by day of infection."""

    number: Floats
    """``(n_days + 1,)`` mean number of people infected, up to the horizon, by those who were first
    infected on each day; NaN where there are none. The last days are cut short by the horizon."""
    n_infected: Integers
    """``(n_days + 1,)`` people first infected on each day."""


class Calibration(NamedTuple):
    """Predicted probabilities against what happened, by bins of the prediction."""

    predicted: Floats
    """``(n_bins,)`` mean prediction of each bin with entries."""
    share: Floats
    """Share of the event."""
    low: Floats
    high: Floats
    """Bounds of the share if the predictions are right and the events independent."""
    n_entries: Integers


def curves(outbreak: Outbreak) -> Curves:
    """Return the numbers of susceptible, infected and recovered people on each day."""
    size = outbreak.n_days + 2
    ever = np.cumsum(np.bincount(outbreak.infection_day, minlength=size))[:-1]
    over = np.cumsum(np.bincount(outbreak.recovery_day, minlength=size))[:-1]
    return Curves(len(outbreak.infection_day) - ever, ever - over, over)


def effective_reproduction(outbreak: Outbreak) -> Reproduction:
    """Return how many people those infected on each day went on to infect."""
    size = outbreak.n_days + 2
    infected = np.bincount(outbreak.infection_day, minlength=size)[:-1]
    source = outbreak.infector[outbreak.infector >= 0]
    caused = np.bincount(outbreak.infection_day[source], minlength=size)[:-1]
    number = np.full(size - 1, np.nan)
    np.divide(caused, infected, out=number, where=infected > 0)
    return Reproduction(number, infected)


def roc_auc(scores: ArrayLike, positive: ArrayLike) -> float:
    """Return the probability that a positive one scores higher than a negative one, ties half.

    Parameters
    ----------
    scores
        ``(n,)``
    positive
        ``(n,)`` booleans.

    Returns
    -------
    float
        Area under the receiver operating characteristic; NaN without both kinds.

    Raises
    ------
    TypeError, ValueError
        If the arguments are no such vectors of one length.

    Examples
    --------
    >>> from models.contact_tracing.metrics import roc_auc
    >>> roc_auc([0.1, 0.4, 0.4, 0.9], [False, False, True, True])
    0.875
    """
    values, kind = _scored(scores, positive)
    n_positive = int(kind.sum())
    n_pairs = n_positive * (len(kind) - n_positive)
    if n_pairs == 0:
        return float("nan")
    ranks = rankdata(values)[kind].sum()
    return float((ranks - n_positive * (n_positive + 1) / 2) / n_pairs)


def precision_at(scores: ArrayLike, positive: ArrayLike, k: int) -> float:
    """Return the expected share of positives among the ``k`` highest scores, ties drawn at random.

    Parameters
    ----------
    scores, positive
        As in :func:`roc_auc`.
    k
        From 1 to the number of scores.

    Raises
    ------
    TypeError, ValueError
        As :func:`roc_auc`, or if ``k`` is out of range.

    Examples
    --------
    >>> from models.contact_tracing.metrics import precision_at
    >>> precision_at([0.1, 0.4, 0.4, 0.9], [False, False, True, True], 2)
    0.75
    """
    values, kind = _scored(scores, positive)
    if positive_int("k", k) > len(values):
        raise ValueError(f"k: expected at most {len(values)}, got {k}")
    border = np.partition(values, -k)[-k]
    above, tied = values > border, values == border
    from_tied = (k - above.sum()) * kind[tied].mean()
    return float((kind[above].sum() + from_tied) / k)


def calibration_curve(
    prob: ArrayLike, outcome: ArrayLike, *, n_bins: int = 10, level: float = 0.95
) -> Calibration:
    """Return predicted probabilities against shares, with binomial bounds.

    Parameters
    ----------
    prob
        ``(n,)`` predicted probabilities.
    outcome
        ``(n,)`` booleans.
    n_bins
        Bins of equal numbers of predictions; equal ones stay together.
    level
        Probability of the bounds.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or lengths differ.
    """
    predictions = probabilities("prob", prob, ndim=1)
    values, kind = _scored(predictions, outcome)
    positive_int("n_bins", n_bins)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    edges = np.unique(np.quantile(values, np.arange(1, n_bins) / n_bins))
    place = np.searchsorted(edges, values, side="right")
    count = np.bincount(place, minlength=len(edges) + 1)
    filled = count > 0
    n = count[filled]
    predicted = np.bincount(place, values, len(count))[filled] / n
    share = np.bincount(place, kind, len(count))[filled] / n
    low, high = binom.interval(level, n, np.clip(predicted, 0.0, 1.0)) / n
    return Calibration(predicted, share, low, high, n)


def log_score(state_prob: ArrayLike, state: ArrayLike, *, least: float = 0.0) -> float:
    """Return the mean logarithm of the probability of what is true, in nats; higher is better.

    Parameters
    ----------
    state_prob
        ``(n, 3)`` probabilities of S, I, R.
    state
        ``(n,)`` true states 0, 1 or 2.
    least
        Smaller probabilities count as this, so that one surprise does not decide.

    Raises
    ------
    TypeError, ValueError
        If the arguments are out of range.
    """
    prob = probabilities("state_prob", state_prob, ndim=2)
    truth = np.asarray(state)
    if prob.shape[1] != 3 or truth.ndim != 1 or not np.isin(truth, (0, 1, 2)).all():
        raise ValueError("state_prob, state: expected (n, 3) and (n,) states 0, 1 or 2")
    same_length("state", len(truth), "state_prob", len(prob))
    with np.errstate(divide="ignore"):
        scores = np.log(np.maximum(prob[np.arange(len(truth)), truth], least))
    return float(scores.mean())


def _scored(scores: ArrayLike, positive: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    values = finite_array("scores", scores, ndim=1)
    kind = np.asarray(positive)
    if kind.ndim != 1 or not np.isin(kind, (0, 1)).all():
        raise ValueError("positive: expected a vector of True and False")
    same_length("positive", len(kind), "scores", len(values))
    return values, kind.astype(bool)
