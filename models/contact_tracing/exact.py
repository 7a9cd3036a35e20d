"""The exact posterior of a few people: the joint chain of all their states, day by day.

The law of the joint state is a tensor with one axis a person. A day acts on it in place. First each
susceptible person in turn is infected or escapes: those infected today are a state of their own,
which infects nobody yet, so the order of the people does not matter and nobody needs the joint
successors of a joint state. Then everybody ages by a day or recovers. Probabilities of states are
derivatives of the log-evidence with respect to a factor of one state of one person on one day.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from graphs.temporal import ContactNetwork
from inference.checks import Floats
from inference.precision import require_x64
from inference.status import Status

from .epidemic import INFECTED, RECOVERED, SUSCEPTIBLE, Epidemic
from .observations import Observations, Symptoms
from .rates import Rates, epidemic_rates, for_everybody

MAX_BYTES = 2**31
"""Largest memory that the joint chain may take."""

Sources = tuple[tuple[int, ...], ...]


class ExactPosterior(NamedTuple):
    """Exact answers about a few people."""

    state_prob: Floats
    """``(n_people, n_days + 1, 3)``: probabilities of S, I, R on each day."""
    infection_day_prob: Floats
    """``(n_people, n_days + 2)``: before day 0, by a contact of day 0, 1, ..., never."""
    log_evidence: float
    """Log-probability of the observations."""
    status: Status


class _Chain(NamedTuple):
    """The states of a person are S, infected today, infected (by age, or of any age), R."""

    contacts: Floats
    """``(n_days, n_people, n_people)``: probability that the first infects the second."""
    emission: Floats
    """``(n_days + 1, n_people, n_states)``: likelihood of what was observed that day."""
    sources: Sources
    """People who ever meet each person."""


def exact_posterior(
    network: ContactNetwork, observations: Observations, epidemic: Epidemic
) -> ExactPosterior:
    """Return the exact posterior of every person's state on every day.

    Parameters
    ----------
    network
        Contacts of a few people: memory grows as ``4**n_people`` in the Markov model without
        symptoms, else as ``(n_days + 4)**n_people``.
    observations, epidemic
        See :class:`Observations` and :class:`Epidemic`.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    ValueError
        If the chain takes more than :data:`MAX_BYTES`, something does not fit the network, or the
        observations are impossible.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations
    >>> from models.contact_tracing.exact import exact_posterior
    >>> network = ContactNetwork.from_events([0], [1], [0], 0.5, n_days=1)
    >>> sick = Observations.of_states([1], [1], [1])
    >>> result = exact_posterior(network, sick, Epidemic(seed_prob=0.1, recovery_prob=0.0))
    >>> result.state_prob[0, 0].round(6).tolist()
    [0.62069, 0.37931, 0.0]
    """
    chain = _joint_chain(network, observations, epidemic)
    rates = epidemic_rates({}, epidemic, network.n_people, network.n_days)
    ones = jnp.ones(chain.emission.shape)
    value, joint = _value_and_factors(ones, rates, chain.contacts, chain.emission, chain.sources)
    log_evidence, joint = float(value), np.asarray(joint)
    if not np.isfinite(log_evidence):
        raise ValueError("observations: expected a possible history, got evidence of probability 0")
    state_prob = np.stack(
        [joint[:, :, 0], joint[:, :, 1:-1].sum(axis=2), joint[:, :, -1]], axis=-1
    ).transpose(1, 0, 2)
    healthy = state_prob[:, :, SUSCEPTIBLE]
    ends = np.pad(healthy, ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    return ExactPosterior(state_prob, ends[:, :-1] - ends[:, 1:], log_evidence, Status.CONVERGED)


def exact_log_evidence(
    parameters: Mapping[str, ArrayLike],
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
) -> jax.Array:
    """Return the exact log-probability of the observations, differentiable in the parameters.

    Parameters
    ----------
    parameters
        Any of ``transmission_prob`` (a factor of the network's probabilities), ``recovery_prob``,
        ``seed_prob``, ``self_infection_prob``, each a number or one for each person; they replace
        those of ``epidemic``.
    network, observations, epidemic
        As in :func:`exact_posterior`.

    Returns
    -------
    jax.Array
        A scalar, minus infinity if the observations are impossible.

    Raises
    ------
    PrecisionError, ValueError
        As :func:`exact_posterior`, or if a parameter is unknown or has a wrong shape.
    """
    chain = _joint_chain(network, observations, epidemic)
    rates = epidemic_rates(parameters, epidemic, network.n_people, network.n_days)
    ones = jnp.ones(chain.emission.shape)
    return _log_evidence(ones, rates, chain.contacts, chain.emission, chain.sources)


def _joint_chain(network: ContactNetwork, observations: Observations, epidemic: Epidemic) -> _Chain:
    require_x64("the exact posterior")
    n, n_days = network.n_people, network.n_days
    observations.check(n, n_days, network.people)
    by_age = not epidemic.is_markov or observations.symptoms is not None
    n_ages = n_days + 2 if by_age else 2
    # the adjoint pass keeps a tensor a day, and a few a person within a day
    log_bytes = n * math.log2(n_ages + 2) + math.log2(8 * (n_days + 4 * n + 4))
    if log_bytes > math.log2(MAX_BYTES):
        raise ValueError(
            f"n_people: expected a joint chain of at most {MAX_BYTES / 2**30:g} GiB, got "
            f"{n_ages + 2}**{n} states, {2.0 ** min(log_bytes - 30, 999.0):.3g} GiB; "
            "use infer or gibbs"
        )
    contacts = np.zeros((n_days, n, n))
    contacts[network.day, network.first, network.second] = network.forward_prob
    contacts[network.day, network.second, network.first] = network.backward_prob
    sources = tuple(tuple(map(int, np.flatnonzero(column))) for column in contacts.max(axis=0).T)
    emission = _test_likelihood(observations, n, n_days, n_ages)
    if observations.symptoms is not None:
        factor = _symptom_likelihood(observations.symptoms, n, n_days)
        emission[:, :, [0, -1]] *= factor[:, :, :1]
        emission[:, :, 2:-1] *= factor[:, :, 1:]
    return _Chain(contacts, emission, sources)


def _test_likelihood(observations: Observations, n: int, n_days: int, n_ages: int) -> Floats:
    by_state = np.ones((n_days + 1, n, 3))
    np.multiply.at(by_state, (observations.day, observations.person), observations.likelihood)
    read = [SUSCEPTIBLE, *[INFECTED] * n_ages, RECOVERED]
    return by_state[:, :, read]


def _symptom_likelihood(symptoms: Symptoms, n: int, n_days: int) -> Floats:
    """Return the factor of each day: first for those not infected, then by age from 1 on.

    What falls ill on a day is conditioned on not having fallen ill before, so the factors of the
    days multiply to the law of the onset.
    """
    delay = np.zeros(n_days + 2)
    known = symptoms.delay_prob[: n_days + 2]
    delay[: len(known)] = symptoms.symptom_prob * known
    delay[0] = 0.0  # nobody is infected yet on the day of the contact
    still_well = 1.0 - np.cumsum(delay)[:-1]
    possible = still_well > 1e-12
    hazard = np.where(possible, delay[1:] / np.where(possible, still_well, 1.0), 0.0)
    well = (1.0 - symptoms.background_prob) * (1.0 - np.concatenate([[0.0], hazard]))
    factor = np.ones((n_days + 1, n, n_days + 2))
    watched = np.arange(n) if symptoms.watched is None else symptoms.watched
    last_day = n_days if symptoms.last_day is None else min(symptoms.last_day, n_days)
    onset = dict(zip(symptoms.person.tolist(), symptoms.day.tolist()))
    for person in watched.tolist():
        end = onset.get(person, last_day + 1)
        factor[:end, person] = well
        if person in onset:
            factor[end, person] = 1.0 - well
    return factor


@partial(jax.jit, static_argnames="sources")
def _log_evidence(
    factor: jax.Array,
    rates: Rates,
    contacts: jax.Array,
    emission: jax.Array,
    sources: Sources,
) -> jax.Array:
    """Return the log-evidence; ``factor`` multiplies ``emission``."""
    n_days, n = contacts.shape[:2]
    n_ages = emission.shape[-1] - 2
    rates = for_everybody(rates, n)
    step = _ageing(rates.survival, n_ages)
    infectivity = _infectivity(rates, n_ages)
    # rare observations of one person must not underflow among those of all the others
    largest = emission.max(axis=-1, keepdims=True)
    scale = jnp.where(largest > 0.0, largest, 1.0)
    weight = (emission / scale * factor).at[n_days, :, 0].multiply(rates.susceptible_bias)

    def live_on(joint: jax.Array, weight_today: jax.Array) -> tuple[jax.Array, jax.Array]:
        # each product moves the first axis to the end: n of them restore the order
        for person in range(n):
            joint = jnp.tensordot(joint, step[person] * weight_today[person], ((0,), (0,)))
        total = joint.sum()
        return joint / jnp.where(total > 0.0, total, 1.0), jnp.log(total)

    @jax.checkpoint
    def advance(
        joint: jax.Array, today: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        meetings, escape, weight_today = today
        for person in range(n):
            spared = escape[person]
            for source in sources[person]:
                risk = meetings[source, person] * infectivity[source]
                spared = spared * _on_axis(1.0 - risk, source, n)
            joint = _expose(joint, spared, person)
        return live_on(joint, weight_today)

    first = jnp.ones(())
    for person in range(n):
        s, i, r = rates.start[person]
        own = jnp.zeros(n_ages + 2).at[jnp.array([0, 1, -1])].set(jnp.stack([s, i, r]))
        first = first[..., None] * own
    joint, log_first = live_on(first, weight[0])
    today = (contacts, rates.escape.T, weight[1:])
    _, log_rest = jax.lax.scan(advance, joint, today)
    return log_first + log_rest.sum() + jnp.log(scale).sum()


_value_and_factors = jax.jit(jax.value_and_grad(_log_evidence), static_argnums=4)


def _expose(joint: jax.Array, spared: jax.Array, person: int) -> jax.Array:
    """Move a susceptible person to infected today, unless it is spared."""
    n_states = joint.shape[person]
    susceptible = jax.lax.slice_in_dim(joint, 0, 1, axis=person)
    state = _on_axis(jnp.arange(n_states), person, joint.ndim)
    kept = jnp.where(state == 0, spared, 1.0) * joint
    return kept + jnp.where(state == 1, (1.0 - spared) * susceptible, 0.0)


def _ageing(survival: jax.Array, n_ages: int) -> jax.Array:
    """Return ``(n_people, n_states, n_states)``: the law of the state after a night."""
    lived = survival[:, : n_ages + 1]
    alive = lived[:, :-1] > 0.0
    stay = jnp.where(alive, lived[:, 1:] / jnp.where(alive, lived[:, :-1], 1.0), 0.0)
    stay = jnp.pad(stay, ((0, 0), (0, n_ages - stay.shape[1])))
    target = jnp.minimum(jnp.arange(2, n_ages + 2), n_ages)
    ages = jnp.arange(1, n_ages + 1)
    step = jnp.zeros((len(survival), n_ages + 2, n_ages + 2))
    step = step.at[:, 0, 0].set(1.0).at[:, -1, -1].set(1.0)
    return step.at[:, ages, target].add(stay).at[:, ages, -1].add(1.0 - stay)


def _infectivity(rates: Rates, n_ages: int) -> jax.Array:
    """Return ``(n_people, n_states)``: factor of a person's transmission in each state."""
    ages = rates.profile[:, 1:n_ages]
    ages = jnp.pad(ages, ((0, 0), (2, n_ages - ages.shape[1])))
    return rates.transmission[:, None] * ages


def _on_axis(vector: jax.Array, axis: int, ndim: int) -> jax.Array:
    return vector.reshape([-1 if place == axis else 1 for place in range(ndim)])
