"""Epidemics on a network of contacts, drawn from the model.

Every random number belongs to a person, or to a contact and its day, not to its place in a stream:
two runs of one seed differ only through the contacts that one of them lacks. Policies compared on
the same seeds therefore face the same epidemic until, and wherever, they change it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats
from inference.kernels import kernel

from .daily import ContactsByDay, DayContacts
from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic

_START, _DURATION, _OUTSIDE, _CONTACT = range(4)
"""What a random number is for."""


class Outbreak(NamedTuple):
    """One epidemic, in the coordinates of :mod:`models.contact_tracing.epidemic`."""

    infection_day: NDArray[np.int32]
    """``(n_people,)`` first day of being infected, ``a``; ``n_days + 1`` is never."""
    recovery_day: NDArray[np.int32]
    """``(n_people,)`` first day of being recovered, ``c``; ``n_days + 1`` is after the horizon."""
    infector: NDArray[np.int32]
    """``(n_people,)`` who infected each person; -1 for patients zero, infections from outside the
    network, and people never infected."""
    n_days: int

    def state_on(self, day: int) -> NDArray[np.int8]:
        """Return everybody's state on a day, ``(n_people,)``: 0 S, 1 I, 2 R."""
        infected = np.where(day >= self.infection_day, INFECTED, SUSCEPTIBLE)
        return np.where(day >= self.recovery_day, RECOVERED, infected).astype(np.int8)

    def states(self) -> NDArray[np.int8]:
        """Return the states of all days, ``(n_people, n_days + 1)``."""
        return np.stack([self.state_on(day) for day in range(self.n_days + 1)], axis=1)


class Simulation:
    """An epidemic that moves on by a day whenever it is handed the contacts of that day.

    Parameters
    ----------
    epidemic
        Its laws. ``susceptible_bias`` plays no part.
    n_people, n_days
        Sizes.
    seed
        Of the random numbers: an integer of at least 0, or a generator to draw one from.
    n_seeds
        Exactly so many patients zero, uniformly at random, in place of ``seed_prob``.

    Attributes
    ----------
    day : int
        Today; contacts of earlier days have had their effect.
    outbreak : Outbreak
        What has happened. Recovery days lie ahead for those infected today.

    Raises
    ------
    TypeError, ValueError
        If sizes do not fit or ``n_seeds`` is no number of people.
    """

    def __init__(
        self,
        epidemic: Epidemic,
        n_people: int,
        n_days: int,
        *,
        seed: int | np.random.Generator,
        n_seeds: int | None = None,
    ) -> None:
        epidemic.check_people(n_people)
        self._key = _key(seed)
        self._survival = np.ascontiguousarray(epidemic.survival(n_days))
        self._profile = np.ascontiguousarray(epidemic.profile(n_days))
        self._escape = np.ascontiguousarray(epidemic.escape(n_days))
        never = n_days + 1
        infection = np.full(n_people, never, np.int32)
        recovery = np.full(n_people, never, np.int32)
        start = np.ascontiguousarray(epidemic.start())
        draws = _draws(self._key, _START, n_people, 0)
        if n_seeds is not None:
            if isinstance(n_seeds, bool) or not 0 <= int(n_seeds) <= n_people:
                raise ValueError(
                    f"n_seeds: expected a number of people from 0 to {n_people}, got {n_seeds!r}"
                )
            chosen = np.argsort(draws, kind="stable")[: int(n_seeds)]
            start = np.tile([1.0, 0.0, 0.0], (n_people, 1))
            start[chosen] = [0.0, 1.0, 0.0]
        _begin(self._key, start, draws, self._survival, infection, recovery)
        self.day = 0
        self.outbreak = Outbreak(infection, recovery, np.full(n_people, -1, np.int32), n_days)

    def advance(
        self, contacts: DayContacts, *, isolated: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int32]:
        """Let the contacts of today have their effect and move on to the next day.

        Parameters
        ----------
        contacts
            Of today.
        isolated
            ``(n_people,)``: whose contacts do not take place.

        Returns
        -------
        ndarray
            Who was infected, in increasing order.

        Raises
        ------
        ValueError
            If the horizon is reached.
        """
        done = self.outbreak
        if self.day >= done.n_days:
            raise ValueError(f"advance: expected a day before the horizon, day {done.n_days}")
        if isolated is None:
            isolated = np.zeros(len(done.infection_day), np.bool_)
        infected: NDArray[np.int32] = _day(
            self._key, self.day, contacts.first, contacts.second, contacts.forward_prob,
            contacts.backward_prob, isolated, self._survival, self._profile, self._escape,
            done.infection_day, done.recovery_day, done.infector,
        )  # fmt: skip
        self.day += 1
        return infected


def simulate(
    network: ContactNetwork,
    epidemic: Epidemic,
    *,
    seed: int | np.random.Generator,
    n_seeds: int | None = None,
) -> Outbreak:
    """Draw an epidemic.

    Parameters
    ----------
    network
        Contacts and their transmission probabilities.
    epidemic
        The laws of start, recovery, infectivity and self-infection; ``susceptible_bias`` plays no
        part.
    seed
        An integer of at least 0, or a generator to draw one from.
    n_seeds
        Exactly so many patients zero, uniformly at random, in place of ``seed_prob``.

    Returns
    -------
    Outbreak
        Infection and recovery day and infector of everybody.

    Raises
    ------
    TypeError, ValueError
        If sizes do not fit, or ``seed`` or ``n_seeds`` is out of range.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, simulate
    >>> network = ContactNetwork.from_events([0, 1], [1, 2], [0, 1], 1.0)
    >>> outbreak = simulate(network, Epidemic([1.0, 0.0, 0.0], 0.0), seed=0)
    >>> outbreak.infection_day.tolist(), outbreak.infector.tolist()
    ([0, 1, 2], [-1, 0, 1])
    """
    simulation = Simulation(epidemic, network.n_people, network.n_days, seed=seed, n_seeds=n_seeds)
    contacts = ContactsByDay(network)
    for day in range(network.n_days):
        simulation.advance(contacts[day])
    return simulation.outbreak


def personal_draws(seed: int, purpose: int, n_people: int, day: int = 0) -> Floats:
    """Return uniform numbers that belong to a seed, a purpose, a person and a day.

    Parameters
    ----------
    seed
        As in :func:`simulate`, whose own numbers have the purposes 0 to 3.
    purpose
        Any number of at least 4.
    n_people, day
        How many, and of which day.

    Returns
    -------
    ndarray
        ``(n_people,)`` in [0, 1).
    """
    draws: Floats = _draws(_key(seed), purpose, n_people, day)
    return draws


def _key(seed: int | np.random.Generator) -> np.uint64:
    if isinstance(seed, np.random.Generator):
        return np.uint64(seed.integers(0, 2**63))
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise TypeError(f"seed: expected an integer or a numpy Generator, got {seed!r:.60}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed: expected an integer from 0 to 2**64 - 1, got {seed}")
    return np.random.SeedSequence(int(seed)).generate_state(1, np.uint64)[0]


@kernel
def _mixed(word: Any) -> Any:
    """Return the bits of SplitMix64's finaliser (Steele, Lea and Flood, OOPSLA 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@kernel
def _uniform(key: Any, purpose: int, first: int, second: int, day: int) -> float:
    """Return the number in [0, 1) that belongs to these four."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    word = _mixed(key + golden * np.uint64(purpose + 1))
    word = _mixed((word ^ np.uint64(first)) + golden)
    word = _mixed((word ^ np.uint64(second)) + golden)
    word = _mixed((word ^ np.uint64(day)) + golden)
    return (word >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def _draws(key: Any, purpose: int, n_people: int, day: int) -> Floats:
    draws = np.empty(n_people)
    for person in range(n_people):
        draws[person] = _uniform(key, purpose, person, 0, day)
    return draws


@kernel
def _recovery(key: Any, person: int, day: int, survival: Floats) -> int:
    """Return the recovery day of somebody infected from ``day`` on, at most the horizon's."""
    drawn = _uniform(key, _DURATION, person, 0, 0)
    row = min(person, survival.shape[0] - 1)
    never = survival.shape[1] - 1
    duration = 0
    while day + duration < never and survival[row, duration + 1] > drawn:
        duration += 1
    return day + duration


@kernel
def _begin(
    key: Any, start: Floats, draws: Floats, survival: Floats, infection: Any, recovery: Any
) -> None:
    for person in range(infection.size):
        row = min(person, start.shape[0] - 1)
        if draws[person] < start[row, 1]:
            infection[person] = 0
            recovery[person] = _recovery(key, person, 0, survival)
        elif draws[person] < start[row, 1] + start[row, 2]:
            infection[person] = 0
            recovery[person] = 0


@kernel
def _day(
    key: Any, day: int, first: Any, second: Any, forward: Floats, backward: Floats, isolated: Any,
    survival: Floats, profile: Floats, escape: Floats, infection: Any, recovery: Any, infector: Any,
) -> Any:  # fmt: skip
    """Infect by the contacts of a day and from outside; return who was infected."""
    n_people = infection.size
    # of several who transmit on one day each is the infector with equal probability: given that
    # u < p, u / p is uniform
    least = np.full(n_people, 2.0)
    for row in range(first.size):
        i, j = first[row], second[row]
        if isolated[i] or isolated[j]:
            continue
        for source, target, chance in ((i, j, forward[row]), (j, i, backward[row])):
            if infection[source] > day or recovery[source] <= day or infection[target] <= day:
                continue
            since = day - infection[source] + 1
            chance *= profile[min(source, profile.shape[0] - 1), since]
            drawn = _uniform(key, _CONTACT, source, target, day)
            if drawn < chance and drawn / chance < least[target]:
                least[target] = drawn / chance
                infector[target] = source
    for person in range(n_people):
        outside = 1.0 - escape[min(person, escape.shape[0] - 1), day]
        if outside > 0.0 and infection[person] > day:
            drawn = _uniform(key, _OUTSIDE, person, 0, day)
            if drawn < outside and drawn / outside < least[person]:
                least[person] = drawn / outside
                infector[person] = -1
    for person in range(n_people):
        if least[person] < 2.0:
            infection[person] = day + 1
            recovery[person] = _recovery(key, person, day + 1, survival)
    return np.flatnonzero(least < 2.0).astype(np.int32)
