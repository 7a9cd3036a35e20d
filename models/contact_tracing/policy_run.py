"""One epidemic against one policy of testing and isolation.

A day: the ranking scores everybody from the contacts and results of earlier days, those with the
highest scores are tested, and some of those with symptoms; whoever tests positive meets nobody from
that day on, so contacts of the day take place without them, and the epidemic moves on (Baker et
al., PNAS 118 e2106548118 (2021)).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats

from .epidemic import INFECTED, SUSCEPTIBLE, Epidemic, probabilities
from .metrics import curves, roc_auc
from .observations import whole_numbers
from .ranking import History, Ranking
from .simulation import Outbreak, Simulation, personal_draws

_APP, _SYMPTOMS, _ERROR, _EXTRA, _TIES, _RANKING = range(16, 22)
"""What a random number of a person is for, beside those of the epidemic."""


@dataclass(frozen=True)
class Campaign:
    """What is done against an epidemic, whatever the ranking.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.
    """

    start_day: int = 10
    """First day of tests."""
    n_ranked: int = 15
    """Tests a day for the highest scores."""
    n_random: int = 0
    """Further tests a day for anybody not yet found."""
    symptom_prob: float = 0.5
    """Share of the infected that is tested because of symptoms."""
    symptom_delay: int = 5
    """Days from the first day of being infected to symptoms; shown only if still infected."""
    adoption: float = 1.0
    """Share of the people with the app; contacts are known if both have it."""
    false_positive: float = 0.0
    """Probability that a susceptible person tests positive."""
    false_negative: float = 0.0
    """Probability that an infected person tests negative, as if susceptible."""
    households: ArrayLike | None = field(default=None, compare=False)
    """``(n_people,)`` household of each person; None is everybody alone."""
    isolate_household: bool = False
    """Whether the household of a positive is isolated, too."""
    test_household: bool = False
    """Whether it is tested on the same day, if not tested yet that day."""

    def __post_init__(self) -> None:
        """Check everything that can be checked without a network."""
        for name in ("start_day", "n_ranked", "n_random", "symptom_delay"):
            whole_numbers(name, getattr(self, name))
        for name in ("symptom_prob", "adoption", "false_positive", "false_negative"):
            probabilities(name, getattr(self, name), ndim=0)
        needed = self.isolate_household or self.test_household
        if needed and self.households is None:
            raise ValueError("households: expected the household of each person, got None")

    def household_of(self, n_people: int) -> NDArray[np.int64] | None:
        """Return the households, checked against the number of people."""
        if self.households is None:
            return None
        household = whole_numbers("households", self.households)
        if len(household) != n_people:
            raise ValueError(
                f"households: expected one for each of {n_people} people, got {len(household)}"
            )
        return household


class Run(NamedTuple):
    """One epidemic under one policy; arrays ``(n_days + 1,)`` unless said otherwise."""

    infected: NDArray[np.int64]
    """People infected, isolated or not."""
    recovered: NDArray[np.int64]
    free: NDArray[np.int64]
    """Infected people who are not isolated, on the evening of each day."""
    isolated: NDArray[np.int64]
    """People isolated, on the evening of each day."""
    ranked: NDArray[np.int64]
    """Tests by rank, up to the end of the epidemic."""
    ranked_positive: NDArray[np.int64]
    """Positive ones among them."""
    found: NDArray[np.int64]
    """Positive tests of all kinds."""
    auc: Floats
    """Of the scores, for being infected, among people not yet found; NaN without both kinds, and on
    days without ranking."""
    outbreak: Outbreak


def run_policy(
    ranking: Ranking,
    network: ContactNetwork,
    epidemic: Epidemic,
    campaign: Campaign,
    *,
    seed: int,
    n_seeds: int | None = None,
) -> Run:
    """Let an epidemic run against a policy.

    Parameters
    ----------
    ranking
        One of :mod:`models.contact_tracing.ranking`, or any such function; copied before use.
    network
        The contacts that take place if nobody is isolated.
    epidemic, n_seeds, seed
        As in :func:`models.contact_tracing.simulate`. Symptoms, apps and errors of tests have
        random numbers of their own for each person and day: they do not depend on the policy.
    campaign
        The tests and what follows from them.

    Returns
    -------
    Run
        What happened.

    Raises
    ------
    TypeError, ValueError
        If something does not fit the network, or the ranking returns no score a person.
    """
    loop = _Loop(copy.deepcopy(ranking), network, epidemic, campaign, seed, n_seeds)
    for day in range(network.n_days + 1):
        loop.day(day)
        if loop.is_over(day):
            break
    return loop.result()


class _Loop:
    """One run, day by day."""

    def __init__(
        self,
        ranking: Ranking,
        network: ContactNetwork,
        epidemic: Epidemic,
        campaign: Campaign,
        seed: int,
        n_seeds: int | None,
    ) -> None:
        n, n_days = network.n_people, network.n_days
        self.ranking, self.campaign, self.seed, self.n_days = ranking, campaign, seed, n_days
        self.household = campaign.household_of(n)
        self.simulation = Simulation(epidemic, n, n_days, seed=seed, n_seeds=n_seeds)
        self.history = History(
            network, self.simulation.outbreak,
            false_positive=campaign.false_positive, false_negative=campaign.false_negative,
        )  # fmt: skip
        self.has_app = self.draws(_APP) < campaign.adoption
        self.shows = self.draws(_SYMPTOMS) < campaign.symptom_prob
        self.isolated = np.zeros(n, bool)
        self.closed = np.zeros(n, bool)
        """Seen infected or recovered: not tested again."""
        self.outside = bool(np.any(epidemic.escape(n_days) < 1.0))
        self.counts = np.zeros((5, n_days + 1), np.int64)
        """Free, isolated, ranked, ranked positive, found."""
        self.auc = np.full(n_days + 1, np.nan)
        self.last = 0

    def draws(self, purpose: int, day: int = 0) -> Floats:
        """Return everybody's random numbers for a purpose and a day."""
        return personal_draws(self.seed, purpose, len(self.history.onset), day)

    def day(self, day: int) -> None:
        """Rank, test, isolate, and let the contacts of the day have their effect."""
        campaign, state = self.campaign, self.simulation.outbreak.state_on(day)
        self.last = day
        tested = np.zeros(len(state), bool)
        found = np.zeros(len(state), bool)
        scores = self.scores(day)
        if day >= campaign.start_day:
            self.auc[day] = roc_auc(scores[~self.closed], (state == INFECTED)[~self.closed])
            chosen = self.highest(scores, campaign.n_ranked, ~self.closed, _TIES, day)
            found |= self.test(chosen, day, state, tested)
            self.counts[2:4, day] = chosen.sum(), found.sum()
            first_ill = self.simulation.outbreak.infection_day == day - campaign.symptom_delay
            ill = first_ill & (state == INFECTED) & self.shows & ~self.closed
            self.history.onset[ill] = day
            found |= self.test(ill, day, state, tested)
            anybody = self.highest(
                np.zeros(len(state)), campaign.n_random, ~self.closed & ~tested, _EXTRA, day
            )
            found |= self.test(anybody, day, state, tested)
            self.isolate(found, day, state, tested)
        free = (state == INFECTED) & ~self.isolated
        self.counts[[0, 1], day] = free.sum(), self.isolated.sum()
        if day < self.n_days:
            contacts = self.history.possible(day)
            takes_place = ~self.isolated[contacts.first] & ~self.isolated[contacts.second]
            known = takes_place & self.has_app[contacts.first] & self.has_app[contacts.second]
            self.history.add_day(known)
            self.simulation.advance(contacts.select(takes_place))

    def scores(self, day: int) -> Floats:
        """Return the scores of the morning; before the first contacts everybody is alike."""
        n = len(self.isolated)
        if day == 0:
            return np.zeros(n)
        rng = np.random.default_rng([self.seed, _RANKING, day])
        scores = np.asarray(self.ranking(self.history, day, rng), dtype=np.float64)
        if scores.shape != (n,) or not np.isfinite(scores).all():
            raise ValueError(
                f"ranking: expected {n} finite scores on day {day}, got shape {scores.shape}"
            )
        return scores

    def highest(
        self, scores: Floats, number: int, allowed: NDArray[np.bool_], purpose: int, day: int
    ) -> NDArray[np.bool_]:
        """Return who has the highest scores of those allowed, ties at random."""
        order = np.lexsort((self.draws(purpose, day), -scores, ~allowed))[:number]
        chosen = np.zeros(len(scores), bool)
        chosen[order] = True
        return chosen & allowed

    def test(
        self, who: NDArray[np.bool_], day: int, state: NDArray[np.int8], tested: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Test those not tested today; return who is positive."""
        who = who & ~tested
        tested |= who
        wrong = self.draws(_ERROR, day)
        result = state.astype(np.int64)
        result[(state == SUSCEPTIBLE) & (wrong < self.campaign.false_positive)] = INFECTED
        result[(state == INFECTED) & (wrong < self.campaign.false_negative)] = SUSCEPTIBLE
        person = np.flatnonzero(who)
        self.history.add_tests(person, day, result[person])
        self.closed |= who & (result != SUSCEPTIBLE)
        return who & (result == INFECTED)

    def isolate(
        self,
        found: NDArray[np.bool_],
        day: int,
        state: NDArray[np.int8],
        tested: NDArray[np.bool_],
    ) -> None:
        """Isolate the positives and, if the campaign says so, test and isolate their households."""
        campaign = self.campaign
        if self.household is not None and campaign.test_household:
            at_home = np.isin(self.household, self.household[found]) & ~self.closed
            found = found | self.test(at_home, day, state, tested)
        self.counts[4, day] = found.sum()
        self.isolated |= found
        if self.household is not None and campaign.isolate_household:
            self.isolated |= np.isin(self.household, self.household[found])

    def is_over(self, day: int) -> bool:
        """Return whether nothing can happen any more: nobody infected, none to come from outside.

        False alarms would go on isolating people, so with those the run goes on.
        """
        done = self.simulation.outbreak
        ended = not np.any(done.state_on(min(day + 1, self.n_days)) == INFECTED)
        return ended and not self.outside and self.campaign.false_positive == 0.0

    def result(self) -> Run:
        """Return what happened; after the end of an epidemic nothing changes."""
        outbreak = self.simulation.outbreak
        numbers = curves(outbreak)
        free, isolated, ranked, positive, found = self.counts
        isolated[self.last + 1 :] = isolated[self.last]
        return Run(
            numbers.infected, numbers.recovered, free, isolated, ranked, positive, found,
            self.auc, outbreak,
        )  # fmt: skip
