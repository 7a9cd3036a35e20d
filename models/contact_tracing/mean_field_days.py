"""Mean field: probabilities walked forward through the days, overwritten by what was observed.

The heuristic of Baker et al., PNAS 118 e2106548118 (2021): a person found infected counts as
infected for some days before, which is all that it infers about the past.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats, one_of
from inference.status import Status

from .daily import ContactsByDay, DayContacts
from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic
from .observations import Observations

Start = Literal["susceptible", "seed"]
_UNTOLD = -1


class MeanField(NamedTuple):
    """Approximate marginals."""

    state_prob: Floats
    """``(n_people, n_days + 1, 3)``: S, I, R; before the window everybody is as at its start."""
    residual: float
    """Zero: one pass through the days is all."""
    n_steps: int
    """Days."""
    status: Status


def mean_field(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    window: int | None = None,
    delay: int = 5,
    start: Start = "susceptible",
    source_days: tuple[int, int] | None = None,
) -> MeanField:
    """Return everybody's probabilities by mean field.

    Parameters
    ----------
    network
        The contacts.
    observations
        Tests. One that favours a single state counts as that state; a negative one, which tells S
        from R in no way, as S, or as R once the person was found infected. Symptoms are refused.
    epidemic
        The laws: Markov, ``susceptible_bias`` plays no part.
    window
        Days to go back from the horizon; None goes back to day 0.
    delay
        Days for which somebody found infected counts as infected before.
    start
        At the start of the window everybody is susceptible, as in the publication, or in state S, I
        or R with the probabilities of ``epidemic``.
    source_days
        ``(most, least)``: so many days before somebody is found infected, the people it met are
        made likelier, such that one infection is expected to come from them. None leaves that out.

    Returns
    -------
    MeanField
        Probabilities of all days.

    Raises
    ------
    ValueError
        If something does not fit the network, the epidemic is not Markov, or there are symptoms.

    Notes
    -----
    The probability to be infected is the sum over the contacts of the day, clipped at 1. Tests are
    read in the order of their days, those of one day in the order in which they are given, and the
    last one counts.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations, mean_field
    >>> network = ContactNetwork.from_events([0], [1], [0], 0.1, n_days=2)
    >>> sick = Observations.of_states([0], [2], [1])
    >>> mean_field(network, sick, Epidemic(0.01, recovery_prob=0.0)).state_prob[1, 2].tolist()
    [0.9, 0.1, 0.0]
    """
    n, n_days = network.n_people, network.n_days
    observations.check(n, n_days, network.people)
    epidemic.check_people(n)
    if observations.symptoms is not None:
        raise ValueError("symptoms: mean field reads tests only")
    first = 0 if window is None else max(0, n_days - _whole("window", window))
    cases = in_order(read_states(observations))
    contacts = ContactsByDay(network)
    begin = np.array([[1.0, 0.0, 0.0]]) if start == "susceptible" else epidemic.start()
    one_of("start", start, ("susceptible", "seed"))
    days = mean_field_days(
        contacts.__getitem__, cases, epidemic, n, first, n_days,
        delay=_whole("delay", delay), start=begin, source_days=source_days,
    )  # fmt: skip
    early = np.broadcast_to(begin[:, None], (n, first, 3))
    return MeanField(np.concatenate([early, days], axis=1), 0.0, n_days - first, Status.CONVERGED)


class Cases(NamedTuple):
    """Who was seen in which state when."""

    person: NDArray[np.int64]
    day: NDArray[np.int64]
    state: NDArray[np.int64]
    """0 S, 1 I, 2 R."""


def read_states(observations: Observations) -> Cases:
    """Return the state that each test favours; tests that favour none are left out."""
    susceptible, infected, recovered = observations.likelihood.T
    state = np.full(len(observations.person), _UNTOLD)
    state[(susceptible > infected) & (susceptible >= recovered)] = SUSCEPTIBLE
    state[(recovered > infected) & (recovered > susceptible)] = RECOVERED
    state[(infected > susceptible) & (infected > recovered)] = INFECTED
    never_ill = int(observations.day.max(initial=0)) + 1
    found = np.full(int(observations.person.max(initial=0)) + 1, never_ill)
    ill = state == INFECTED
    np.minimum.at(found, observations.person[ill], observations.day[ill])
    open_ = (state == SUSCEPTIBLE) & (susceptible == recovered)
    state[open_ & (observations.day > found[observations.person])] = RECOVERED
    told = state != _UNTOLD
    return Cases(observations.person[told], observations.day[told], state[told])


def in_order(cases: Cases) -> Cases:
    """Return the cases by day, those of one day in the order given."""
    order = np.argsort(cases.day, kind="stable")
    return Cases(*(column[order] for column in cases))


def mean_field_days(
    contacts: Callable[[int], DayContacts],
    cases: Cases,
    epidemic: Epidemic,
    n_people: int,
    first: int,
    last: int,
    *,
    delay: int,
    start: Floats,
    source_days: tuple[int, int] | None = None,
) -> Floats:
    """Return the probabilities from the first to the last day, ``(n_people, days, 3)``.

    Parameters
    ----------
    contacts
        The contacts of a day.
    cases
        In the order in which they are to be read.
    epidemic
        As in :func:`mean_field`.
    n_people, first, last
        Sizes and days.
    delay, source_days
        As in :func:`mean_field`.
    start
        ``(1 or n_people, 3)``, on the first day.

    Raises
    ------
    ValueError
        If the epidemic is not Markov.
    """
    if not epidemic.is_markov:
        raise ValueError("epidemic: mean field needs recovery_prob, and no infectivity by age")
    recovery = np.asarray(epidemic.recovery_prob)
    prob = np.empty((last - first + 1, 3, n_people))
    now = np.array(np.broadcast_to(start.T, (3, n_people)))
    sources = [] if source_days is None else _sources(contacts, cases, source_days, first, last)
    outside = 1.0 - epidemic.escape(last)
    for day in range(first, last + 1):
        _observe(now, cases, day, delay)
        for met, exposure, earliest, latest in sources:
            if earliest <= day <= latest:
                _trace_back(now, met, exposure)
        prob[day - first] = now
        if day < last:
            source, target, rate = contacts(day).directed()
            pressure = np.bincount(target, rate * now[INFECTED, source], n_people)
            risk = np.minimum(pressure + outside[:, day], 1.0)
            healthy, ill, past = now
            now = np.stack([
                healthy * (1.0 - risk), ill * (1.0 - recovery) + healthy * risk,
                past + recovery * ill,
            ])  # fmt: skip
    return prob.transpose(2, 0, 1)


def _observe(now: Floats, cases: Cases, day: int, delay: int) -> None:
    """Overwrite the probabilities of those who were seen."""
    person, seen, state = cases
    applies = np.where(
        state == SUSCEPTIBLE,
        day <= seen,
        np.where(state == INFECTED, (seen - delay <= day) & (day <= seen), day >= seen),
    )
    # of several assignments to one place the last one counts
    now[:, person[applies]] = np.eye(3)[state[applies]].T


def _sources(
    contacts: Callable[[int], DayContacts],
    cases: Cases,
    source_days: tuple[int, int],
    first: int,
    last: int,
) -> list[tuple[NDArray[np.int32], Floats, int, int]]:
    """Return, for each person found infected, whom it met, how exposed it was, and the days."""
    most, least = (_whole("source_days", days) for days in source_days)
    if least > most:
        raise ValueError(f"source_days: expected most >= least, got {source_days}")
    found = []
    for person, seen, state in zip(*cases):
        if state != INFECTED:
            continue
        days = range(max(first, seen - most), seen - least + 1)
        met: list[NDArray[np.int32]] = []
        rates: list[Floats] = []
        for day in days[: max(0, last - days.start)]:
            source, target, rate = contacts(day).directed()
            mine = target == person
            met.append(source[mine])
            rates.append(rate[mine])
        if met:
            who, place = np.unique(np.concatenate(met), return_inverse=True)
            exposure: Floats = np.bincount(place, np.concatenate(rates), len(who)).astype(
                np.float64
            )
            found.append((who, exposure, days[0], days[-1]))
    return found


def _trace_back(now: Floats, met: NDArray[np.int32], exposure: Floats) -> None:
    """Scale the probabilities of possible sources such that one infection is expected."""
    before = now[INFECTED, met]
    expected = float(exposure @ before)
    if expected == 0.0:
        return
    # who is certainly infected stays so, however many possible sources there are
    after = np.where(before < 1.0, np.minimum(before / expected, 1.0), 1.0)
    rest = np.divide(1.0 - after, 1.0 - before, out=np.zeros_like(after), where=before < 1.0)
    now[:, met] *= rest
    now[INFECTED, met] = after


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or int(value) != value or value < 0:
        raise ValueError(f"{name}: expected a number of days of at least 0, got {value!r}")
    return int(value)
