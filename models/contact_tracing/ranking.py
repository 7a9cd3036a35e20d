"""Whom to test first: rankings of people from the contacts and results so far.

Every ranking is called as ``ranking(history, day, rng)`` each morning, from the first day of
contacts on, and returns scores ``(n_people,)``, the highest to be tested first; ties are broken at
random by whoever asks. Those with a memory are copied before a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats

from .daily import ContactsByDay, DayContacts, taken
from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic
from .mean_field_days import Cases, mean_field_days
from .observations import Observations
from .propagation import RiskResult, infer
from .simulation import Outbreak


class Ranking(Protocol):
    """What every ranking is."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores ``(n_people,)`` on the morning of a day."""
        ...


class History:
    """What is known on the morning of a day: contacts of earlier days, and results of tests.

    Parameters
    ----------
    network
        All contacts that may take place.
    outbreak
        The truth, for the oracle alone.
    false_positive, false_negative
        Error probabilities of the tests: of S shown as I, and of I shown as S; R is always seen.

    Attributes
    ----------
    n_people : int
    days : list of DayContacts
        Contacts known to have taken place.
    tests : Cases
        Person, day and result (0 S, 1 I, 2 R) of each test.
    onset : NDArray
        ``(n_people,)`` day on which a person was tested because of symptoms, -1 if never.
    """

    def __init__(
        self,
        network: ContactNetwork,
        outbreak: Outbreak,
        *,
        false_positive: float = 0.0,
        false_negative: float = 0.0,
    ) -> None:
        self.n_people, self.outbreak = network.n_people, outbreak
        self.days: list[DayContacts] = []
        none = np.empty(0, np.int64)
        self.tests = Cases(none, none, none)
        self.onset = np.full(self.n_people, -1)
        self._network, self._by_day = network, ContactsByDay(network)
        self._known = np.zeros(network.n_contacts, bool)
        self._likelihood = np.array([
            [1.0 - false_positive, false_negative, 0.0],
            [false_positive, 1.0 - false_negative, 0.0],
            [0.0, 0.0, 1.0],
        ])  # fmt: skip

    def possible(self, day: int) -> DayContacts:
        """Return the contacts that a day would have."""
        return self._by_day[day]

    def add_day(self, known: NDArray[np.bool_]) -> None:
        """Add the next day, of whose possible contacts some are known to have taken place."""
        day = len(self.days)
        rows = self._by_day.order[slice(*self._by_day.start[day : day + 2])]
        self._known[rows] = known
        self.days.append(self._by_day[day].select(known))

    def add_tests(self, person: NDArray[np.int64], day: int, state: NDArray[np.int64]) -> None:
        """Add the results of a day."""
        new = (person, np.full(len(person), day), state)
        self.tests = Cases._make(
            np.concatenate([old, added]) for old, added in zip(self.tests, new)
        )

    def observations(self) -> Observations:
        """Return the tests with their likelihoods."""
        return Observations(*self.tests[:2], self._likelihood[self.tests.state])

    def network(self, first_day: int = 0) -> ContactNetwork:
        """Return the known contacts from a day on, the days keeping their numbers."""
        rows = np.flatnonzero(self._known & (self._network.day >= first_day))
        return replace(
            self._network,
            first=self._network.first[rows],
            second=self._network.second[rows],
            day=self._network.day[rows],
            forward_prob=taken(self._network.forward_prob, rows),
            backward_prob=taken(self._network.backward_prob, rows),
            n_days=len(self.days),
        )

    def last_seen(self, state: int) -> NDArray[np.int64]:
        """Return the last day on which each person was seen in a state, -1 for never."""
        last = np.full(self.n_people, -1)
        mine = self.tests.state == state
        np.maximum.at(last, self.tests.person[mine], self.tests.day[mine])
        return last


@dataclass
class RandomRanking:
    """Everybody alike."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        return np.zeros(history.n_people)


@dataclass
class ContactTracing:
    """Number of recent encounters with people who recently tested positive."""

    delay: int = 5
    """Days that count as recent."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        first = max(0, day - self.delay)
        sick = np.zeros(history.n_people, bool)
        recent = (history.tests.state == INFECTED) & (history.tests.day >= first)
        sick[history.tests.person[recent]] = True
        scores = np.zeros(history.n_people)
        for contacts in history.days[first:day]:
            source, target, _ = contacts.directed()
            scores += np.bincount(target[sick[source]], minlength=history.n_people)
        return scores


@dataclass
class DigitalContactTracing:
    """Contacts of yesterday's positives, all alike, behind the known positives."""

    delay: int = 5
    """Days for which contacts are remembered."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        positive = history.tests.state == INFECTED
        sick = np.zeros(history.n_people, bool)
        sick[history.tests.person[positive & (history.tests.day == day - 1)]] = True
        scores = np.zeros(history.n_people)
        for contacts in history.days[max(0, day - self.delay) : day]:
            source, target, _ = contacts.directed()
            scores[target[sick[source]]] = 1.0
        scores[history.tests.person[positive]] = history.n_people
        return scores


@dataclass
class InformedTracing:
    """Expected infections by contacts that can have transmitted, first and second neighbours.

    A contact counts if its source was found infected some day, was seen susceptible on no day
    after it, nor recovered before, and its target was not seen susceptible since.
    """

    delay: int = 5
    """Days for which contacts are remembered."""
    second: bool = True
    """Whether to count paths of two contacts, one after the other."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        n = history.n_people
        healthy, sick = history.last_seen(SUSCEPTIBLE), history.last_seen(INFECTED) >= 0
        past = np.full(n, day)
        tests = history.tests
        gone = tests.state == RECOVERED
        np.minimum.at(past, tests.person[gone], tests.day[gone])
        direct, indirect = np.zeros(n), np.zeros(n)
        for met in range(max(0, day - self.delay), day):
            source, target, prob = history.days[met].directed()
            able = (healthy[source] < met) & (met < past[source]) & (healthy[target] <= met)
            if self.second:
                indirect += np.bincount(target, able * prob * direct[source], n)
            direct += np.bincount(target, able * prob * sick[source], n)
        scores = direct + indirect
        scores[past < day] = -1.0
        return scores


@dataclass
class MeanFieldRanking:
    """Probability to be infected by :func:`models.contact_tracing.mean_field_days`."""

    epidemic: Epidemic
    window: int = 15
    delay: int = 5

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        first = max(0, day - self.window)
        prob = mean_field_days(
            history.days.__getitem__, history.tests, self.epidemic, history.n_people, first, day,
            delay=self.delay, start=np.array([[1.0, 0.0, 0.0]]),
        )  # fmt: skip
        return prob[:, -1, INFECTED]


@dataclass
class PropagationRanking:
    """Probability to be infected by :func:`models.contact_tracing.infer`, from day to day.

    The messages of yesterday are the start of today's, and the window starts from what was believed
    on its first day. With ``symptom_prob`` the reason of the tests of people with symptoms is part
    of the likelihood: so likely are symptoms, so many days after infection.
    """

    epidemic: Epidemic
    """Infection from outside should be possible, if only with tiny probability: contacts may be
    unknown."""
    window: int = 21
    max_steps: int = 10
    tol: float = 1e-3
    damping: float = 0.0
    recent: int | None = None
    """Rank by the probability to have been infected within so many days, in place of that to be
    infected today."""
    symptom_prob: float | None = None
    symptom_delay: int = 6
    """Days from the infecting contact to the symptoms."""
    previous: RiskResult | None = field(default=None, repr=False, compare=False)
    """Memory of the last call."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        result = infer(
            history.network(max(0, day - self.window)), self._known(history, day), self.epidemic,
            message_dtype=np.float32, window=self.window, warm_start=self.previous,
            damping=self.damping, tol=self.tol, max_steps=self.max_steps, on_failure="ignore",
            progress=False,
        )  # fmt: skip
        self.previous = result
        if self.recent is None:
            return result.state_prob[:, -1, INFECTED].astype(np.float64)
        newly = result.infection_day_prob[:, :-1][:, -self.recent :]
        return newly.sum(axis=1, dtype=np.float64)

    def _known(self, history: History, day: int) -> Observations:
        tests = history.observations()
        if self.symptom_prob is None:
            return tests
        # whoever was found otherwise is watched no more
        ill = history.onset >= 0
        watched = ill | (history.last_seen(INFECTED) < 0)
        return tests.with_symptoms(
            np.flatnonzero(ill), history.onset[ill], symptom_prob=self.symptom_prob,
            delay=self.symptom_delay, watched=np.flatnonzero(watched), last_day=day - 1,
        )  # fmt: skip


@dataclass
class OracleRanking:
    """The truth: infected people first."""

    def __call__(self, history: History, day: int, rng: np.random.Generator) -> Floats:
        """Return scores; see :class:`Ranking`."""
        return (history.outbreak.state_on(day) == INFECTED).astype(np.float64)
