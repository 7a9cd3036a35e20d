"""A person's own weight over the days of infection and recovery: prior, law of recovery, evidence.

The contacts enter elsewhere; here is all that concerns one person alone, as a table ``w[a, c]`` in
the coordinates of :mod:`models.contact_tracing.epidemic`. People about whom nothing differs share a
table.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats

from .epidemic import Epidemic
from .observations import Observations, Symptoms

_UNWATCHED, _SILENT, _FIRST_ONSET = 0, 1, 2
"""Codes of what is known of a person's symptoms; an onset on day s has the code 2 + s."""


class NodeWeights(NamedTuple):
    """Weights of all people, ``table[table_of_person[i]]`` for person ``i``."""

    table: Floats
    """``(n_tables, n_days + 2, n_days + 2)``: ``w[a, c]``, zero for ``c < a``; the row of those
    never infected has a weight in its last column alone. The escape from infection from outside up
    to the day before infection is in it, that on the day itself is not (arXiv 2009.09422)."""
    table_of_person: NDArray[np.int32]
    """``(n_people,)``"""
    escape: Floats
    """``(1 or n_people, n_days)``: daily probability to escape infection from outside."""


def node_weights(
    epidemic: Epidemic, observations: Observations, n_people: int, n_days: int
) -> NodeWeights:
    """Return everybody's weight over ``(a, c)``.

    Parameters
    ----------
    epidemic
        Prior, law of recovery and infection from outside.
    observations
        Tests and symptoms, already checked against ``n_people`` and ``n_days``.
    n_people, n_days
        Sizes.

    Returns
    -------
    NodeWeights
        One table for each kind of untested people and one for each tested person.

    Raises
    ------
    ValueError
        If a value of the epidemic is given for another number of people or too few days.
    """
    epidemic.check_people(n_people)
    table, kind = _prior_tables(epidemic, n_people, n_days)
    if observations.symptoms is not None:
        table, kind = _with_symptoms(table, kind, observations.symptoms, n_days)
    tested, place = np.unique(observations.person, return_inverse=True)
    own = table[kind[tested]]
    for test, row in enumerate(place):
        own[row] *= state_factor(observations.likelihood[test], int(observations.day[test]), n_days)
    kind[tested] = len(table) + np.arange(len(tested))
    return NodeWeights(np.concatenate([table, own]), kind, epidemic.escape(n_days))


def state_factor(likelihood: Floats, day: int, n_days: int) -> Floats:
    """Return the likelihood of a reading of the state on ``day`` at every ``(a, c)``."""
    a, c = _coordinates(n_days)
    susceptible, infected, recovered = likelihood
    return np.where(a > day, susceptible, np.where(c > day, infected, recovered))


def _coordinates(n_days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    days = np.arange(n_days + 2)
    return days[:, None], days[None, :]


def _prior_tables(
    epidemic: Epidemic, n_people: int, n_days: int
) -> tuple[Floats, NDArray[np.int32]]:
    """Return a table for each different set of parameters, and which one each person has."""
    parameters = [epidemic.start(), epidemic.survival(n_days), epidemic.escape(n_days)]
    kind = np.zeros(n_people, np.int32)
    if any(len(rows) > 1 for rows in parameters):
        rows = np.hstack([np.broadcast_to(p, (n_people, p.shape[1])) for p in parameters])
        distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
        kind = inverse.reshape(-1).astype(np.int32)
    else:
        distinct = np.hstack(parameters)
    start, survival, escape = np.split(distinct, [3, n_days + 5], axis=1)
    table = np.zeros((len(distinct), n_days + 2, n_days + 2))
    # probability to be infected by day t at the earliest, for t = 0 .. n_days
    waiting = start[:, :1] * np.cumprod(np.hstack([np.ones((len(start), 1)), escape]), axis=1)
    prior = np.hstack([start[:, 1:2], waiting[:, :-1]])
    lasts = -np.diff(survival, axis=1)
    for a in range(n_days + 1):
        table[:, a, a:-1] = prior[:, a, None] * lasts[:, : n_days + 1 - a]
        table[:, a, -1] = prior[:, a] * survival[:, n_days + 1 - a]
    table[:, -1, -1] = waiting[:, -1] * epidemic.susceptible_bias
    table[:, 0, 0] += start[:, 2]  # recovered before the first day
    return table, kind


def _with_symptoms(
    table: Floats, kind: NDArray[np.int32], symptoms: Symptoms, n_days: int
) -> tuple[Floats, NDArray[np.int32]]:
    """Return the tables times the likelihood of each person's symptoms, or of their absence."""
    code = np.full(len(kind), _UNWATCHED)
    code[slice(None) if symptoms.watched is None else symptoms.watched] = _SILENT
    code[symptoms.excused] = _UNWATCHED
    code[symptoms.person] = _FIRST_ONSET + symptoms.day
    factors = _symptom_factors(symptoms, n_days)
    pairs, inverse = np.unique(np.stack([kind, code], axis=1), axis=0, return_inverse=True)
    tables = table[pairs[:, 0]] * factors[pairs[:, 1]]
    return tables, inverse.reshape(-1).astype(np.int32)


def _symptom_factors(symptoms: Symptoms, n_days: int) -> Floats:
    """Return the likelihood of each code of symptoms at every ``(a, c)``.

    The first onset comes from the infection or from another cause, whichever is earlier.
    """
    a, c = _coordinates(n_days)
    last = n_days if symptoms.last_day is None else min(symptoms.last_day, n_days)
    other = symptoms.background_prob
    factors = np.ones((_FIRST_ONSET + last + 1, n_days + 2, n_days + 2))
    delays = np.append(symptoms.delay_prob, 0.0)
    before = np.zeros((n_days + 2, n_days + 2))  # probability of an onset on an earlier day
    for day in range(last + 1):
        waited = np.clip(day - a + 1, 0, len(delays) - 1)
        delay = delays[waited]
        ages = np.clip(day + np.arange(1, symptoms.oldest_seed + 1), 0, len(delays) - 1)
        delay[0] = delays[ages].mean()
        onset = symptoms.symptom_prob * delay * ((a <= day) & (day < c))
        factors[_FIRST_ONSET + day] = (1.0 - other) ** day * (
            (1.0 - other) * onset + other * (1.0 - before)
        )
        before = before + onset
    factors[_SILENT] = (1.0 - other) ** (last + 1) * (1.0 - before)
    return factors
