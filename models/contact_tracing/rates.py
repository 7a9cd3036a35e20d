"""The numbers of an epidemic as arrays that JAX can trace, with some of them as free parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from .epidemic import Epidemic

PARAMETERS = ("transmission_prob", "recovery_prob", "seed_prob", "self_infection_prob")
"""Names that a mapping of free parameters may hold."""


class Rates(NamedTuple):
    """What drives an epidemic; the first axis of a table is 1, or the people."""

    start: jax.Array
    """``(., 3)``: probabilities of S, I, R on day 0."""
    survival: jax.Array
    """``(., n_days + 2)``: ``P(D >= d)``."""
    profile: jax.Array
    """``(., n_days + 1)``: infectivity ``d`` days after the infection."""
    escape: jax.Array
    """``(., n_days)``: probability to escape infection from outside."""
    transmission: jax.Array
    """``(.)``: factor of the network's transmission probabilities, of the person who transmits."""
    susceptible_bias: jax.Array
    """Factor of the weight of those never infected."""


def epidemic_rates(
    parameters: Mapping[str, ArrayLike], epidemic: Epidemic, n_people: int, n_days: int
) -> Rates:
    """Return the rates of ``epidemic`` with some of its numbers replaced.

    Parameters
    ----------
    parameters
        Any of :data:`PARAMETERS`, each a number or ``(n_people,)``, traced or not.
        ``transmission_prob`` multiplies the probabilities of the network: it is the probability
        itself on a network that was built with 1.
    epidemic
        Holds everything else.
    n_people, n_days
        Size of the network.

    Raises
    ------
    ValueError
        If a name is unknown, a shape does not fit, or a parameter replaces what the epidemic does
        not have: one recovery probability, one probability to start infected.
    """
    unknown = sorted(set(parameters) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"parameters: expected any of {', '.join(PARAMETERS)}; got {unknown[0]}")
    epidemic.check_people(n_people)
    if "recovery_prob" in parameters and epidemic.recovery_survival is not None:
        raise ValueError("recovery_prob: expected no such parameter beside recovery_survival")
    if "seed_prob" in parameters and epidemic.initial_state_prob is not None:
        raise ValueError("seed_prob: expected no such parameter beside initial_state_prob")
    free = {name: _per_person(name, value, n_people) for name, value in parameters.items()}
    rates = Rates(
        jnp.asarray(epidemic.start()),
        jnp.asarray(epidemic.survival(n_days)),
        jnp.asarray(epidemic.profile(n_days)),
        jnp.asarray(epidemic.escape(n_days)),
        free.get("transmission_prob", jnp.ones(1)),
        jnp.asarray(epidemic.susceptible_bias),
    )
    if "recovery_prob" in free:
        stay = 1.0 - free["recovery_prob"][:, None]
        geometric = jnp.cumprod(jnp.broadcast_to(stay, (len(stay), n_days)), axis=1)
        rates = rates._replace(
            survival=jnp.concatenate([jnp.ones((len(stay), 2)), geometric], axis=1)
        )
    if "seed_prob" in free:
        seed = free["seed_prob"]
        rates = rates._replace(start=jnp.stack([1.0 - seed, seed, jnp.zeros_like(seed)], axis=1))
    if "self_infection_prob" in free:
        outside = free["self_infection_prob"][:, None]
        rates = rates._replace(escape=jnp.broadcast_to(1.0 - outside, (len(outside), n_days)))
    return rates


def for_everybody(rates: Rates, n_people: int) -> Rates:
    """Return the rates with a row for each person in every table."""
    rows = {
        name: jnp.broadcast_to(table, (n_people, *table.shape[1:]))
        for name, table in rates._asdict().items()
        if table.ndim
    }
    return rates._replace(**rows)


def _per_person(name: str, value: Any, n_people: int) -> jax.Array:
    array = jnp.atleast_1d(jnp.asarray(value, dtype=float))
    if array.ndim > 1 or len(array) not in (1, n_people):
        raise ValueError(
            f"{name}: expected one number, or one for each of {n_people} people, got shape "
            f"{np.shape(value)}"
        )
    return array
