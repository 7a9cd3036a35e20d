"""What is known about the people: tests of any kind, and the onset of symptoms.

Everything here becomes a factor of each person's own weight over its infection and recovery day, so
no algorithm needs to know where a piece of evidence came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, same_length

from .epidemic import probabilities


class Symptoms(NamedTuple):
    """The law of symptoms and who showed them.

    A watched person that is infected shows symptoms with probability ``symptom_prob``, ``d`` days
    after the day of the contact with probability ``delay_prob[d]``, if it is still infected then.
    """

    person: NDArray[np.int64]
    """``(n_onsets,)`` people who showed symptoms."""
    day: NDArray[np.int64]
    """``(n_onsets,)`` days on which they did."""
    watched: NDArray[np.int64] | None
    """People whose symptoms would be known; None is everybody."""
    last_day: int | None
    """Last day on which symptoms would be known; None is the horizon."""
    symptom_prob: float
    delay_prob: Floats
    background_prob: float
    """Daily probability of the same symptoms from another cause."""
    excused: NDArray[np.int64]
    """People that are not watched because they have been ill before."""
    oldest_seed: int
    """Whoever was infected before day 0 was so on one of so many last days, each as likely."""


@dataclass(frozen=True)
class Observations:
    """Tests and symptoms.

    Parameters
    ----------
    person
        ``(n_tests,)`` indices, the rows of every result.
    day
        ``(n_tests,)`` days from 0 to ``n_days``; a test reads the state of that day.
    likelihood
        ``(n_tests, 3)`` or ``(3,)``: probability of what was seen, given that the person is
        susceptible, infected, recovered.
    symptoms
        See :meth:`with_symptoms`.

    Raises
    ------
    TypeError, ValueError
        If an index or a day is negative or not an integer, a likelihood is not a probability or
        allows no state, or the lengths differ.

    Examples
    --------
    >>> from models.contact_tracing import Observations
    >>> tests = Observations.from_tests([3, 5], [2, 2], [True, False], false_negative=0.1)
    >>> tests.likelihood.tolist()
    [[0.0, 0.9, 0.0], [1.0, 0.1, 1.0]]
    """

    person: NDArray[np.int64]
    day: NDArray[np.int64]
    likelihood: Floats
    symptoms: Symptoms | None = None

    def __post_init__(self) -> None:
        """Check and convert the arrays."""
        person, day = whole_numbers("person", self.person), whole_numbers("day", self.day)
        same_length("day", len(day), "person", len(person))
        if len(person):
            likelihood = probabilities("likelihood", self.likelihood, ndim=(1, 2))
            likelihood = np.array(np.broadcast_to(likelihood, (len(person), 3)))
            empty = np.flatnonzero(likelihood.max(axis=1) == 0.0)
            if empty.size:
                raise ValueError(
                    f"likelihood: expected a possible state, got (0, 0, 0) for person "
                    f"{person[empty[0]]} on day {day[empty[0]]}"
                )
        else:
            likelihood = np.empty((0, 3))
        for name, value in (("person", person), ("day", day), ("likelihood", likelihood)):
            object.__setattr__(self, name, value)

    @classmethod
    def none(cls) -> Observations:
        """Return no observation at all."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3)))

    @classmethod
    def from_tests(
        cls,
        person: ArrayLike,
        day: ArrayLike,
        positive: ArrayLike,
        *,
        false_positive: ArrayLike = 0.0,
        false_negative: ArrayLike = 0.0,
    ) -> Observations:
        """Return tests for being infected on their day.

        Parameters
        ----------
        person, day
            As for the class.
        positive
            ``(n_tests,)`` booleans.
        false_positive
            Probability of a positive result for somebody susceptible or recovered: a number, or
            one for each test.
        false_negative
            Probability of a negative result for somebody infected.

        Raises
        ------
        TypeError, ValueError
            As for the class, or if ``positive`` is not boolean.
        """
        indices = whole_numbers("person", person)
        shown = np.atleast_1d(np.asarray(positive))
        if shown.size and not np.isin(shown, (0, 1)).all():
            raise ValueError(f"positive: expected True or False, got {positive!r:.60}")
        same_length("positive", len(shown), "person", len(indices))
        shown = shown.astype(bool)
        false_alarm = _per_test("false_positive", false_positive, len(indices))
        missed = _per_test("false_negative", false_negative, len(indices))
        outside = np.where(shown, false_alarm, 1.0 - false_alarm)
        inside = np.where(shown, 1.0 - missed, missed)
        return cls(indices, np.asarray(day), np.stack([outside, inside, outside], axis=1))

    @classmethod
    def of_states(cls, person: ArrayLike, day: ArrayLike, state: ArrayLike) -> Observations:
        """Return perfect readings of states: 0 susceptible, 1 infected, 2 recovered.

        Raises
        ------
        TypeError, ValueError
            As for the class, or if a state is none of the three.
        """
        states = whole_numbers("state", state)
        if np.any(states > 2):
            raise ValueError(f"state: expected 0, 1 or 2, got {states.max()}")
        return cls(np.asarray(person), np.asarray(day), np.eye(3)[states])

    def with_symptoms(
        self,
        person: ArrayLike,
        day: ArrayLike,
        *,
        symptom_prob: float,
        delay: int | ArrayLike,
        background_prob: float = 0.0,
        watched: ArrayLike | None = None,
        last_day: int | None = None,
    ) -> Observations:
        """Return these observations and the days on which symptoms appeared, or did not.

        Testing those who fall ill is no random sample: read as one, the tests say that the
        epidemic is several times its size. This likelihood says why those people were tested, and
        counts the silence of the others as evidence too.

        Parameters
        ----------
        person, day
            ``(n_onsets,)``: who fell ill and when, once a person; everybody else watched did not.
        symptom_prob
            Probability that an infection causes symptoms.
        delay
            Days from the infecting contact to the onset: an integer, or the probabilities of 0, 1,
            2, ... days, which sum to 1. Symptoms appear only while still infected.
        background_prob
            Daily probability of the same symptoms from another cause; at 0 whoever falls ill is
            infected.
        watched
            Indices of the people whose symptoms would be known; None is everybody.
        last_day
            Last day on which they would be known; None is the horizon.

        Raises
        ------
        TypeError, ValueError
            If a number is no probability, a person falls ill twice, without being watched, or
            after the last day.
        """
        who, when = whole_numbers("person", person), whole_numbers("day", day)
        same_length("day", len(when), "person", len(who))
        if len(np.unique(who)) != len(who):
            raise ValueError("person: expected the first onset of each person, got one twice")
        delays = np.asarray(delay)
        if delays.ndim == 0:
            delays = np.eye(int(whole_numbers("delay", delays)[0]) + 1)[-1]
        delays = probabilities("delay", delays, ndim=1)
        if abs(delays.sum() - 1.0) > 1e-9:
            raise ValueError(f"delay: expected probabilities that sum to 1, got {delays.sum():.6g}")
        known = None if watched is None else np.unique(whole_numbers("watched", watched))
        if known is not None and not np.isin(who, known).all():
            raise ValueError("person: expected everybody with symptoms to be watched")
        if last_day is not None and np.any(when > last_day):
            raise ValueError(f"day: expected onsets up to day {last_day}, got {when.max()}")
        law = Symptoms(
            who,
            when,
            known,
            last_day,
            float(probabilities("symptom_prob", symptom_prob, ndim=0)),
            delays,
            float(probabilities("background_prob", background_prob, ndim=0)),
            np.empty(0, np.int64),
            1,
        )
        return replace(self, symptoms=law)

    def __add__(self, other: Observations) -> Observations:
        """Return both sets of tests; at most one of them may hold symptoms."""
        if self.symptoms is not None and other.symptoms is not None:
            raise ValueError("symptoms: expected them in at most one of the two")
        return Observations(
            np.concatenate([self.person, other.person]),
            np.concatenate([self.day, other.day]),
            np.concatenate([self.likelihood, other.likelihood]),
            self.symptoms or other.symptoms,
        )

    def since(self, first_day: int, *, inclusive: bool = True) -> Observations:
        """Return what was observed from a day on (or after it), counted from that day.

        Those who fell ill earlier are no longer watched, and whoever was infected before the first
        day was so on an unknown one of the days from which symptoms can still come.
        """
        late = self.day >= first_day if inclusive else self.day > first_day
        law = self.symptoms
        if law is not None:
            new = law.day >= first_day if inclusive else law.day > first_day
            law = law._replace(
                person=law.person[new],
                day=law.day[new] - first_day,
                excused=np.concatenate([law.excused, law.person[~new]]),
                last_day=None if law.last_day is None else law.last_day - first_day,
                oldest_seed=max(1, len(law.delay_prob) - 1),
            )
        return Observations(
            self.person[late], self.day[late] - first_day, self.likelihood[late], law
        )

    def check(self, n_people: int, n_days: int, people: Sequence[Any] | None = None) -> None:
        """Raise unless everything fits a network and no two perfect tests contradict each other.

        Raises
        ------
        ValueError
            If a person is unknown, a day beyond the horizon, or the tests of one person on one day
            exclude every state. The message names person and day.
        """
        symptoms = self.symptoms
        who = [("person", self.person)]
        when = [self.day]
        if symptoms is not None:
            who.append(("symptoms", symptoms.person))
            when.append(symptoms.day)
            if symptoms.watched is not None:
                who.append(("watched", symptoms.watched))
        for name, persons in who:
            if persons.size and persons.max() >= n_people:
                raise ValueError(
                    f"{name}: expected an index below n_people = {n_people}, got {persons.max()}"
                )
        for days in when:
            if days.size and days.max() > n_days:
                raise ValueError(
                    f"day: expected observations up to the horizon, day {n_days}, got {days.max()}"
                )
        place = self.person * (n_days + 1) + self.day
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        if starts.size:
            joint = np.multiply.reduceat(self.likelihood[order], starts, axis=0)
            clash = np.flatnonzero(joint.max(axis=1) == 0.0)
            if clash.size:
                test = order[starts[clash[0]]]
                label = people[self.person[test]] if people is not None else self.person[test]
                raise ValueError(
                    f"tests of person {label} on day {self.day[test]} contradict each other: "
                    "no state explains them all"
                )


def whole_numbers(name: str, value: ArrayLike) -> NDArray[np.int64]:
    """Return ``value`` as an int64 vector of numbers of at least 0.

    Raises
    ------
    TypeError, ValueError
        If an entry is not a whole number or is negative, or there are several axes.
    """
    array = np.atleast_1d(np.asarray(value))
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected a vector, got shape {array.shape}")
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name}: expected integers, got {value!r:.60}")
    wrong = ~(array >= 0) | (array != np.floor(array))
    if wrong.any():
        raise ValueError(
            f"{name}: expected integers of at least 0, got {array[wrong][0]} "
            f"at {int(np.argmax(wrong))}"
        )
    return array.astype(np.int64)


def _per_test(name: str, value: ArrayLike, n_tests: int) -> Floats:
    array = probabilities(name, value, ndim=(0, 1))
    if array.ndim:
        same_length(name, len(array), "person", n_tests)
    return np.broadcast_to(array, (n_tests,))
