"""How the infection starts, lasts and spreads, in the coordinates that every algorithm here shares.

Person ``i`` is infected by a contact of day ``t_i`` (-1: before day 0; never: beyond the horizon)
and infectious until the end of day ``g_i >= t_i``. On day ``t`` it is susceptible if ``t_i >= t``,
infected if ``t_i < t <= g_i``, recovered if ``g_i < t``. Arrays count both times from zero:
``a = t_i + 1`` and ``c = g_i + 1``, each from 0 to ``n_days + 1``; ``a = n_days + 1`` is never, and
``c = n_days + 1`` is any later day than the horizon.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array, positive

SUSCEPTIBLE, INFECTED, RECOVERED = 0, 1, 2
"""Places of the states on the last axis of every ``state_prob``."""


@dataclass(frozen=True)
class Epidemic:
    """Parameters of a susceptible-infected-recovered epidemic with daily steps.

    Parameters
    ----------
    seed_prob
        Probability to be infected before day 0: a number, or ``(n_people,)``.
    recovery_prob
        Daily probability to recover, from the first infectious day on: a number, or
        ``(n_people,)``. Give this (the Markov model) or ``recovery_survival``.
    recovery_survival
        ``P(D >= d)`` for ``d = 0, 1, ...``, where ``D = g - t`` is the number of infectious days:
        ``(n,)`` or ``(n_people, n)`` with ``n >= n_days + 2``. The Markov model is
        ``[1, 1, 1 - r, (1 - r)**2, ...]``.
    infectivity
        Factor of the transmission probability ``d`` days after the infection, ``(n,)`` or
        ``(n_people, n)`` with ``n >= n_days + 1``; entry 0 is never used, zeros are a latent time,
        None is 1 on every day.
    self_infection_prob
        Daily probability to be infected from outside the network: a number, ``(n_people,)`` or
        ``(n_people, n_days)``.
    initial_state_prob
        ``(n_people, 3)``: probabilities to be susceptible, infected, recovered on day 0, in place
        of ``seed_prob``, for a window that starts in the middle of an epidemic.
    susceptible_bias
        Factor of the weight of those never infected, at its neutral 1 a proper model. Values above
        1 tilt the beliefs towards health; the evidence then loses its meaning.

    Raises
    ------
    TypeError, ValueError
        If a probability is outside [0, 1] or not finite, a survival function does not start at 1
        or increases, or not exactly one law of recovery is given.

    Notes
    -----
    The model of Baker et al., PNAS 118 e2106548118 (2021), arXiv 2009.09422.

    Examples
    --------
    >>> from models.contact_tracing import Epidemic
    >>> Epidemic(seed_prob=0.01, recovery_prob=0.1).is_markov
    True
    """

    seed_prob: ArrayLike
    recovery_prob: ArrayLike | None = None
    recovery_survival: ArrayLike | None = field(default=None, kw_only=True)
    infectivity: ArrayLike | None = field(default=None, kw_only=True)
    self_infection_prob: ArrayLike = field(default=0.0, kw_only=True)
    initial_state_prob: ArrayLike | None = field(default=None, kw_only=True)
    susceptible_bias: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        """Check every value that can be checked without the number of people and days."""

        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        keep("seed_prob", probabilities("seed_prob", self.seed_prob, ndim=(0, 1)))
        keep(
            "self_infection_prob",
            probabilities("self_infection_prob", self.self_infection_prob, ndim=(0, 1, 2)),
        )
        if (self.recovery_prob is None) == (self.recovery_survival is None):
            raise ValueError(
                "recovery_prob, recovery_survival: expected exactly one of the two, got "
                + ("neither" if self.recovery_prob is None else "both")
            )
        if self.recovery_prob is not None:
            keep("recovery_prob", probabilities("recovery_prob", self.recovery_prob, ndim=(0, 1)))
        if self.recovery_survival is not None:
            keep("recovery_survival", _survival(self.recovery_survival))
        if self.infectivity is not None:
            keep("infectivity", probabilities("infectivity", self.infectivity, ndim=(1, 2)))
        if self.initial_state_prob is not None:
            start = probabilities("initial_state_prob", self.initial_state_prob, ndim=2)
            if start.shape[1] != 3 or not np.allclose(start.sum(axis=1), 1.0, atol=1e-6):
                raise ValueError(
                    "initial_state_prob: expected (n_people, 3) with rows that sum to 1, got "
                    f"shape {start.shape}"
                )
            keep("initial_state_prob", start)
        keep("susceptible_bias", positive("susceptible_bias", self.susceptible_bias))

    @property
    def is_markov(self) -> bool:
        """Whether infectious people are alike, however long ago they were infected."""
        return self.recovery_prob is not None and self.infectivity is None

    def survival(self, n_days: int) -> Floats:
        """Return ``P(D >= d)`` for ``d = 0 .. n_days + 1``: ``(1 or n_people, n_days + 2)``.

        Raises
        ------
        ValueError
            If ``recovery_survival`` is too short for so many days.
        """
        if self.recovery_survival is not None:
            return _long_enough("recovery_survival", self.recovery_survival, n_days + 2)
        stay = 1.0 - np.atleast_1d(np.asarray(self.recovery_prob))[:, None]
        return np.hstack([np.ones_like(stay), stay ** np.arange(n_days + 1)])

    def profile(self, n_days: int) -> Floats:
        """Return the infectivity ``d = 0 .. n_days`` days after infection: ``(1 or n_people, ..)``.

        Raises
        ------
        ValueError
            If ``infectivity`` is too short for so many days.
        """
        if self.infectivity is None:
            return np.ones((1, n_days + 1))
        return _long_enough("infectivity", self.infectivity, n_days + 1)

    def escape(self, n_days: int) -> Floats:
        """Return the probability to escape infection from outside: ``(1 or n_people, n_days)``.

        Raises
        ------
        ValueError
            If a table of self-infection has another number of days.
        """
        outside = np.asarray(self.self_infection_prob)
        if outside.ndim == 2 and outside.shape[1] != n_days:
            raise ValueError(
                f"self_infection_prob: expected {n_days} days, got shape {outside.shape}"
            )
        columns = outside if outside.ndim == 2 else np.atleast_1d(outside)[:, None]
        return np.broadcast_to(1.0 - columns, (columns.shape[0], n_days))

    def start(self) -> Floats:
        """Return the probabilities of S, I and R on day 0: ``(1 or n_people, 3)``."""
        if self.initial_state_prob is not None:
            return np.asarray(self.initial_state_prob)
        seed = np.atleast_1d(np.asarray(self.seed_prob))
        return np.stack([1.0 - seed, seed, np.zeros_like(seed)], axis=1)

    def check_people(self, n_people: int) -> None:
        """Raise ``ValueError`` if a value is given per person, for another number of people."""
        for name, table in (
            ("seed_prob", np.atleast_1d(np.asarray(self.seed_prob))),
            ("recovery_prob, recovery_survival", self.survival(0)),
            ("infectivity", self.profile(0)),
            ("self_infection_prob", np.atleast_1d(np.asarray(self.self_infection_prob))),
            ("initial_state_prob", self.start()),
        ):
            if len(table) not in (1, n_people):
                raise ValueError(
                    f"{name}: expected one value, or one for each of {n_people} people, "
                    f"got {len(table)}"
                )


def probabilities(name: str, value: ArrayLike, *, ndim: int | tuple[int, ...]) -> Floats:
    """Return ``value`` as a float64 array of numbers in [0, 1].

    Raises
    ------
    TypeError, ValueError
        As :func:`inference.checks.finite_array`, or if a number is outside.
    """
    array = finite_array(name, value, ndim=ndim)
    outside = (array < 0.0) | (array > 1.0)
    if outside.any():
        where = tuple(int(i) for i in np.argwhere(outside)[0])
        place = f" at {where[0] if len(where) == 1 else where}" if where else ""
        raise ValueError(f"{name}: expected probabilities in [0, 1], got {array[where]}{place}")
    return array


def _survival(value: ArrayLike) -> Floats:
    survival = probabilities("recovery_survival", value, ndim=(1, 2))
    if not np.all(survival[..., 0] == 1.0) or np.any(np.diff(survival, axis=-1) > 0.0):
        raise ValueError(
            "recovery_survival: expected P(D >= d), which is 1 at d = 0 and never increases"
        )
    return survival


def _long_enough(name: str, value: ArrayLike, least: int) -> Floats:
    table = np.atleast_2d(np.asarray(value))
    if table.shape[1] < least:
        raise ValueError(
            f"{name}: expected at least {least} entries for this many days, got {table.shape[1]}"
        )
    return table[:, :least]
