"""Dynamic message passing: where an epidemic goes, before anything is observed.

A message of a pair is the probability that one of the two has not yet infected the other, in a
world where nobody infects the first through the second. Pairs that have not met are free of each
other, so a pair costs something from its first to its last contact only (Lokhov, Mezard, Ohta,
Zdeborova, PRE 90, 012801 (2014); with recovery by age and infection from outside).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats
from inference.status import Status

from .daily import ContactsByDay
from .epidemic import Epidemic, probabilities


class Forward(NamedTuple):
    """Marginals without observations."""

    state_prob: Floats
    """``(n_people, n_days + 1, 3)``: probabilities of S, I, R on each day."""
    infection_day_prob: Floats
    """``(n_people, n_days + 2)``: before day 0, by a contact of day 0, 1, ..., never."""
    log_evidence: float
    """Zero: nothing is observed."""
    residual: float
    """Zero: one pass through the days is all."""
    n_steps: int
    """Days."""
    status: Status


def dynamic_message_passing(network: ContactNetwork, epidemic: Epidemic) -> Forward:
    """Return everybody's probabilities on every day, before any observation.

    Parameters
    ----------
    network
        The contacts.
    epidemic
        The laws; ``susceptible_bias`` plays no part.

    Returns
    -------
    Forward
        Exact if the pairs that meet form a forest; with loops, an approximation that counts an
        infection that returns to where it came from.

    Raises
    ------
    ValueError
        If the parameters do not fit the network.

    Notes
    -----
    O(contacts + pairs x days between their first and last contact) operations; recovery or
    infectivity by age cost the number of days times more.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, dynamic_message_passing
    >>> network = ContactNetwork.from_events([0], [1], [0], 0.5)
    >>> result = dynamic_message_passing(network, Epidemic([0.2, 0.0], recovery_prob=0.1))
    >>> result.infection_day_prob[1].round(3).tolist()
    [0.0, 0.1, 0.9]
    """
    epidemic.check_people(network.n_people)
    n, n_days = network.n_people, network.n_days
    start = np.broadcast_to(epidemic.start(), (n, 3))
    escape = np.broadcast_to(epidemic.escape(n_days), (n, n_days))
    people = _People(start, epidemic.survival(n_days), n_days)
    pairs = _Pairs(network, people, epidemic)
    for day in range(n_days):
        pairs.meet(day)
        people.step(day, escape[:, day] * people.outside, pairs.log_escape, pairs.n_certain)
        pairs.step(day)
    infection = people.infection
    infection[:, -1] = people.susceptible
    return Forward(people.states(), infection, 0.0, 0.0, n_days, Status.CONVERGED)


def forecast(network: ContactNetwork, state_prob: ArrayLike, epidemic: Epidemic) -> Forward:
    """Return everybody's probabilities after today, from those of today.

    Parameters
    ----------
    network
        The contacts to come; day 0 is today.
    state_prob
        ``(n_people, 3)``: probabilities of S, I, R today, such as those of the last day of an
        inference.
    epidemic
        The laws; ``seed_prob`` and ``susceptible_bias`` play no part.

    Returns
    -------
    Forward
        As :func:`dynamic_message_passing`.

    Raises
    ------
    TypeError, ValueError
        If ``state_prob`` are no probabilities of that shape, or something does not fit the network.

    Notes
    -----
    Today's states are taken for independent, and, where infectivity or recovery depend on the time
    since infection, those infected for just infected.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, forecast
    >>> tomorrow = ContactNetwork.from_events([0], [1], [0], 0.5)
    >>> today = [[0.0, 0.4, 0.6], [1.0, 0.0, 0.0]]
    >>> risk = forecast(tomorrow, today, Epidemic(0.0, 0.1))
    >>> risk.state_prob[1, 1].round(3).tolist()
    [0.8, 0.2, 0.0]
    """
    today = probabilities("state_prob", state_prob, ndim=2)
    if today.shape != (network.n_people, 3):
        raise ValueError(f"state_prob: expected shape ({network.n_people}, 3), got {today.shape}")
    total = today.sum(axis=1, keepdims=True)
    if np.any(np.abs(total - 1.0) > 1e-3):
        raise ValueError("state_prob: expected rows that sum to 1")
    # rounding of single precision
    return dynamic_message_passing(network, replace(epidemic, initial_state_prob=today / total))


class _People:
    """Marginals of the people up to a day."""

    def __init__(self, start: Floats, survival: Floats, n_days: int) -> None:
        n = len(start)
        self.survival = survival
        self.outside = start[:, 0].copy()
        """Probability to be infected neither at the start nor from outside so far."""
        self.susceptible = start[:, 0].copy()
        self.infection = np.zeros((n, n_days + 2))
        self.infection[:, 0] = start[:, 1]
        self.recovered = start[:, 2]

    def infected(self, day: int) -> Floats:
        """Return the probability of I on a day, ``(n_people,)``."""
        lasts = self.survival[:, day + 1 : 0 : -1]
        return np.asarray((self.infection[:, : day + 1] * lasts).sum(axis=1))

    def step(
        self, day: int, outside: Floats, log_escape: Floats, certain: NDArray[np.int64]
    ) -> None:
        """Move on by a day."""
        self.outside = outside
        susceptible = np.where(certain > 0, 0.0, outside * np.exp(log_escape))
        self.infection[:, day + 1] = self.susceptible - susceptible
        self.susceptible = susceptible

    def states(self) -> Floats:
        """Return the probabilities of all days; those recovered on day 0 are no infection."""
        n_days = self.infection.shape[1] - 2
        infected = np.stack([self.infected(day) for day in range(n_days + 1)], axis=1)
        ever = np.cumsum(self.infection[:, :-1], axis=1) + self.recovered[:, None]
        states = np.stack([1.0 - ever, infected, ever - infected], axis=-1)
        self.infection[:, 0] += self.recovered
        return states


class _Pairs:
    """Messages of the pairs that have met and will meet again, both ways.

    ``mass[e, d]`` is the probability that the source of ``e`` was infected on day ``d`` and has not
    infected the target, whether or not it has recovered since. In the Markov model the only column
    is the probability that it is infected and has not infected the target.
    """

    def __init__(self, network: ContactNetwork, people: _People, epidemic: Epidemic) -> None:
        n, n_days = network.n_people, network.n_days
        self.people, self.contacts = people, ContactsByDay(network)
        self.log_escape, self.n_certain = np.zeros(n), np.zeros(n, np.int64)
        self.markov = epidemic.is_markov
        self.stay = np.broadcast_to(people.survival[:, 2], n) if n_days else np.ones(n)
        """Probability to be infected for another day, in the Markov model."""
        table = epidemic.profile(n_days) * people.survival[:, :-1]
        self.infectious = np.broadcast_to(table, (n, n_days + 1))
        """Infectivity so many days after infection, times the probability not to have recovered."""
        self.profile = np.broadcast_to(epidemic.profile(n_days), (n, n_days + 1))
        new_pair = np.ones(network.n_contacts, bool)
        new_pair[1:] = (np.diff(network.first) != 0) | (np.diff(network.second) != 0)
        self.pair_of_row = (np.cumsum(new_pair) - 1)[self.contacts.order]
        heads = np.flatnonzero(new_pair)
        self.people_of_pair = np.stack([network.first[heads], network.second[heads]])
        self.ends = network.day[np.append(heads[1:], network.n_contacts) - 1]
        self.by_start = np.argsort(network.day[heads], kind="stable")
        self.first_of_day = np.searchsorted(
            network.day[heads][self.by_start], np.arange(n_days + 1)
        )
        self.place = np.empty(len(heads), np.int64)
        self.pair = np.empty(0, np.int64)
        self.escape_prob = np.empty((2, 0))
        self.mass = np.empty((2, 0, 1 if self.markov else n_days + 1))
        self.susceptible = np.empty((2, 0))
        """Probability of the source to be susceptible."""

    def meet(self, day: int) -> None:
        """Let the contacts of a day transmit."""
        self._begin(day)
        rows = slice(*self.contacts.start[day : day + 2])
        today = self.contacts[day]
        edge = self.place[self.pair_of_row[rows]]
        for way, (source, target, rate) in enumerate(
            (
                (today.first, today.second, today.forward_prob),
                (today.second, today.first, today.backward_prob),
            )
        ):
            mass = self.mass[way, edge]
            if self.markov:
                sent = rate * mass[:, 0]
                self.mass[way, edge, 0] *= 1.0 - rate
            else:
                mass = mass[:, : day + 1]
                sent = rate * (mass * self.infectious[source, day + 1 : 0 : -1]).sum(axis=1)
                spared = 1.0 - rate[:, None] * self.profile[source, day + 1 : 0 : -1]
                self.mass[way, edge, : day + 1] = mass * spared
            before = self.escape_prob[way, edge]
            after = np.maximum(before - sent, 0.0)
            self.escape_prob[way, edge] = after
            n = len(self.log_escape)
            change = _log(after) - _log(before)
            self.log_escape += np.bincount(target, change, n)
            self.n_certain += np.bincount(target[(after == 0.0) & (before > 0.0)], minlength=n)

    def step(self, day: int) -> None:
        """Move on by a day, after the people have."""
        source, reverse = self.people_of_pair[:, self.pair], self.escape_prob[::-1]
        others = np.exp(self.log_escape[source] - _log(reverse)) * self.people.outside[source]
        susceptible = np.where(self.n_certain[source] > (reverse == 0.0), 0.0, others)
        infected = self.susceptible - susceptible
        if self.markov:
            self.mass[:, :, 0] = self.mass[:, :, 0] * self.stay[source] + infected
        else:
            self.mass[:, :, day + 1] = infected
        goes_on = self.ends[self.pair] > day
        self._keep(goes_on, susceptible)

    def _begin(self, day: int) -> None:
        """Add the pairs that meet for the first time: so far they are free of each other."""
        new = self.by_start[slice(*self.first_of_day[day : day + 2])]
        source = self.people_of_pair[:, new]
        mass = np.zeros((*source.shape, self.mass.shape[2]))
        if self.markov:
            mass[:, :, 0] = self.people.infected(day)[source]
        else:
            mass[:, :, : day + 1] = self.people.infection[source, : day + 1]
        self.pair = np.concatenate([self.pair, new])
        self.place[self.pair] = np.arange(len(self.pair))
        self.escape_prob = np.hstack([self.escape_prob, np.ones(source.shape)])
        self.mass = np.concatenate([self.mass, mass], axis=1)
        self.susceptible = np.hstack([self.susceptible, self.people.susceptible[source]])

    def _keep(self, which: NDArray[np.bool_], susceptible: Floats) -> None:
        self.pair = self.pair[which]
        self.escape_prob = self.escape_prob[:, which]
        self.mass = self.mass[:, which]
        self.susceptible = susceptible[:, which]


def _log(values: Floats) -> Floats:
    """Return the logarithm, 0 of 0: certain transmissions are counted apart."""
    return np.log(np.where(values > 0.0, values, 1.0))
