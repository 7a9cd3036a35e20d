"""Small-coupling dynamic cavity: each person is a chain of three states in the field of the others.

To first order in the transmission probabilities a neighbour enters a person's chain through two
numbers a contact: how likely it is infected, and how much the person's staying healthy is worth to
it. One update costs O(days) a pair (Braunstein, Catania, Dall'Asta, Mariani, Mazza, Tarabolo,
arXiv 2306.03829).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats, positive, positive_int
from inference.kernels import kernel
from inference.status import OnFailure, Status, check_on_failure, report_status

from .epidemic import Epidemic
from .observations import Observations

_MOST = 1.0 - 1e-12
"""Largest transmission probability: its logarithm is the coupling."""
_FIRST_GUESS = 0.5
"""Probability that a neighbour is infected before the first sweep; 0 might contradict a test."""
_EXPONENT = 600.0


class SmallCoupling(NamedTuple):
    """Approximate marginals."""

    state_prob: Floats
    """``(n_people, n_days + 1, 3)``: S, I, R."""
    residual: float
    """Largest change of a message in the last sweep; those above 1 by their share."""
    n_steps: int
    """Sweeps, without those averaged."""
    status: Status


def small_coupling(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    damping: float = 0.3,
    tol: float = 1e-6,
    max_steps: int = 200,
    average_steps: int = 0,
    on_failure: OnFailure = "warn",
) -> SmallCoupling:
    """Return everybody's probabilities by the small-coupling dynamic cavity method.

    Parameters
    ----------
    network
        The contacts.
    observations
        Tests; symptoms, which no chain of three states can read, are refused.
    epidemic
        The laws: Markov, ``susceptible_bias`` plays no part.
    damping
        In [0, 1): share of the old message that is kept.
    tol
        Largest change of a message at which the sweeps end.
    max_steps
        Most sweeps.
    average_steps
        If the sweeps do not converge, so many more are done and the messages averaged over them.
    on_failure
        Whether to warn, raise or say nothing if the sweeps do not converge.

    Returns
    -------
    SmallCoupling
        The error grows as the square of the transmission probabilities; above 0.1 or so use
        belief propagation.

    Raises
    ------
    ConvergenceError
        If asked for.
    ValueError
        If an argument is out of range, something does not fit the network, the epidemic is not
        Markov, there are symptoms, or no history of a person is possible.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations, small_coupling
    >>> network = ContactNetwork.from_events([0], [1], [0], 0.05, n_days=2)
    >>> sick = Observations.of_states([1], [2], [1])
    >>> result = small_coupling(network, sick, Epidemic([0.5, 0.2], recovery_prob=0.1))
    >>> result.state_prob[:, 0, 1].round(2).tolist()  # exactly 0.55 and 0.9
    [0.56, 0.9]
    """
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    positive("tol", tol)
    positive_int("max_steps", max_steps)
    if average_steps:
        positive_int("average_steps", average_steps)
    check_on_failure(on_failure)
    chains = _chains(network, observations, epidemic)
    message = np.zeros((network.n_contacts, 2, 2))
    message[:, :, 0] = _FIRST_GUESS
    state_prob = np.empty((network.n_people, network.n_days + 1, 3))
    n_steps, residual = 0, np.inf
    while residual > tol and n_steps < max_steps:
        residual = _swept(network, chains, message, damping, state_prob)
        n_steps += 1
    if residual > tol and average_steps:
        mean = np.zeros_like(message)
        for _ in range(average_steps):
            _swept(network, chains, message, damping, state_prob)
            mean += message / average_steps
        message = mean
    status = Status.CONVERGED if residual <= tol else Status.MAX_STEPS
    _swept(network, chains, message, 1.0, state_prob)
    report_status(status, "small coupling", on_failure=on_failure)
    return SmallCoupling(state_prob, residual, n_steps, status)


class _Chains(NamedTuple):
    """What every person's chain needs."""

    person_start: NDArray[np.int64]
    """``(n_people + 1,)``: the neighbours of each person, in ``pair`` and ``side``."""
    pair: NDArray[np.int64]
    side: NDArray[np.int64]
    """0 if the person is the first of the pair, 1 if the second."""
    pair_start: NDArray[np.int64]
    """``(n_pairs + 1,)``: the contacts of each pair."""
    day: NDArray[np.int64]
    coupling: Floats
    """``(n_contacts, 2)``: log-probability that the person of that side does not transmit."""
    start: Floats
    recovery: Floats
    escape: Floats
    likelihood: Floats
    """``(n_people, n_days + 1, 3)``"""


def _chains(network: ContactNetwork, observations: Observations, epidemic: Epidemic) -> _Chains:
    n, n_days = network.n_people, network.n_days
    observations.check(n, n_days, network.people)
    epidemic.check_people(n)
    if not epidemic.is_markov:
        raise ValueError("epidemic: small coupling needs recovery_prob, and no infectivity by age")
    if observations.symptoms is not None:
        raise ValueError("symptoms: small coupling reads tests only")
    new_pair = np.ones(network.n_contacts, bool)
    new_pair[1:] = (np.diff(network.first) != 0) | (np.diff(network.second) != 0)
    heads = np.flatnonzero(new_pair)
    owner = np.concatenate([network.first[heads], network.second[heads]])
    order = np.argsort(owner, kind="stable")
    likelihood = np.ones((n, n_days + 1, 3))
    np.multiply.at(likelihood, (observations.person, observations.day), observations.likelihood)
    rate = np.stack([network.forward_prob, network.backward_prob], axis=1)
    return _Chains(
        np.searchsorted(owner[order], np.arange(n + 1)),
        order % max(1, len(heads)),
        order // max(1, len(heads)),
        np.append(heads, network.n_contacts),
        network.day.astype(np.int64),
        np.log1p(-np.minimum(rate, _MOST)),
        np.ascontiguousarray(epidemic.start()),
        np.atleast_1d(np.asarray(epidemic.recovery_prob, dtype=np.float64)),
        np.ascontiguousarray(epidemic.escape(n_days)),
        likelihood,
    )


def _swept(
    network: ContactNetwork, chains: _Chains, message: Floats, damping: float, state_prob: Floats
) -> float:
    """Renew every message once and fill in the marginals; return the largest change."""
    change, empty = _sweep(*chains, message, damping, state_prob)
    if empty >= 0:
        raise ValueError(f"person {network.people[empty]}: no history is possible given its tests")
    return float(change)


@kernel
def _sweep(
    person_start: Any, pair: Any, side: Any, pair_start: Any, day: Any, coupling: Floats,
    start: Floats, recovery: Floats, escape: Floats, likelihood: Floats, message: Floats,
    damping: float, state_prob: Floats,
) -> Any:  # fmt: skip
    """Renew the messages of one person after another.

    ``message[contact, side]`` comes from the person of that side: its probability to be infected,
    and what it gains if the other stays unable to infect it.
    """
    n, n_columns = likelihood.shape[0], likelihood.shape[1]
    total, field = np.zeros((n_columns, 2)), np.zeros((n_columns, 2))
    outcome, back = np.empty((n_columns, 4)), np.empty((n_columns, 3))
    change = 0.0
    for i in range(n):
        total[:] = 0.0
        for k in range(person_start[i], person_start[i + 1]):
            mine = side[k]
            for row in range(pair_start[pair[k]], pair_start[pair[k] + 1]):
                total[day[row], 0] += coupling[row, 1 - mine] * message[row, 1 - mine, 0]
                total[day[row], 1] += coupling[row, mine] * message[row, 1 - mine, 1]
        own = (
            start[min(i, start.shape[0] - 1)], recovery[min(i, recovery.shape[0] - 1)],
            escape[min(i, escape.shape[0] - 1)], likelihood[i],
        )  # fmt: skip
        if not _chain(own[0], own[1], own[2], own[3], total, back, outcome):
            return change, i
        state_prob[i] = outcome[:, :3]
        for k in range(person_start[i], person_start[i + 1]):
            mine = side[k]
            field[:] = total
            for row in range(pair_start[pair[k]], pair_start[pair[k] + 1]):
                field[day[row], 0] -= coupling[row, 1 - mine] * message[row, 1 - mine, 0]
                field[day[row], 1] -= coupling[row, mine] * message[row, 1 - mine, 1]
            if not _chain(own[0], own[1], own[2], own[3], field, back, outcome):
                return change, i
            for row in range(pair_start[pair[k]], pair_start[pair[k] + 1]):
                for part in range(2):
                    new = outcome[day[row], 1 if part == 0 else 3]
                    old = message[row, mine, part]
                    change = max(change, abs(new - old) / max(1.0, abs(new)))
                    message[row, mine, part] = damping * old + (1.0 - damping) * new
    return change, -1


@kernel
def _chain(
    start: Floats, recovery: float, escape: Floats, likelihood: Floats, field: Floats,
    back: Floats, outcome: Floats,
) -> bool:  # fmt: skip
    """Fill ``outcome[t]`` with P(S), P(I), P(R) and the gain; return whether that is possible.

    ``field[t]`` are the logarithms of the probability not to be infected and of the factor of the
    others' states if infected.
    """
    last = likelihood.shape[0] - 1
    for state in range(3):
        back[last, state] = likelihood[last, state]
    for t in range(last - 1, -1, -1):
        stay = _bounded_exp(field[t, 0]) * escape[t]
        worth = _bounded_exp(field[t, 1]) * likelihood[t, 1]
        s, i, r = back[t + 1]
        back[t, 0] = likelihood[t, 0] * (stay * s + (1.0 - stay) * i)
        back[t, 1] = worth * ((1.0 - recovery) * i + recovery * r)
        back[t, 2] = likelihood[t, 2] * r
        scale = max(back[t, 0], back[t, 1], back[t, 2])
        if not scale > 0.0:
            return False
        for state in range(3):
            back[t, state] /= scale
    s, i, r = start
    for t in range(last + 1):
        z = s * back[t, 0] + i * back[t, 1] + r * back[t, 2]
        if not z > 0.0:
            return False
        outcome[t, 0], outcome[t, 1], outcome[t, 2] = (
            s * back[t, 0] / z, i * back[t, 1] / z, r * back[t, 2] / z,
        )  # fmt: skip
        outcome[t, 3] = 0.0
        if t == last:
            break
        stay = _bounded_exp(field[t, 0]) * escape[t]
        worth = _bounded_exp(field[t, 1]) * likelihood[t, 1]
        healthy = s * stay * likelihood[t, 0]
        sick = s * (1.0 - stay) * likelihood[t, 0] + i * worth * (1.0 - recovery)
        past = i * worth * recovery + r * likelihood[t, 2]
        z = healthy * back[t + 1, 0] + sick * back[t + 1, 1] + past * back[t + 1, 2]
        outcome[t, 3] = healthy * (back[t + 1, 0] - back[t + 1, 1]) / z
        scale = healthy + sick + past
        s, i, r = healthy / scale, sick / scale, past / scale
    return True


@kernel
def _bounded_exp(x: float) -> float:
    """Return exp(x), within the range of a float."""
    return np.exp(min(max(x, -_EXPONENT), _EXPONENT))
