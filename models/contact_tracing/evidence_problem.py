"""Contacts and observations as arrays from which the evidence follows for any parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats, positive_int

from .epidemic import Epidemic
from .node_weights import node_weights
from .observations import Observations
from .pair_layout import PairLayout, pair_layout, start_messages
from .parallel import Drive, bethe, frozen_beliefs
from .parallel_layout import BlockMessages, BlockPlan, block_plan, padded, unpack
from .rates import Rates, epidemic_rates

_N_BLOCKS, _PEOPLE_PER_BLOCK, _FEW_CONTACTS = 16, 32, 2000


class Problem(NamedTuple):
    """Contacts and observations, prepared for any parameters."""

    pairs: PairLayout
    plan: BlockPlan
    start: BlockMessages
    likelihood: Floats
    """``(n_tables, n_days + 2, n_days + 2)``: probability of a person's own observations given
    ``(a, c)``."""
    table_of_person: NDArray[np.int32]
    epidemic: Epidemic
    n_people: int
    n_days: int

    @property
    def options(self) -> dict[str, Any]:
        """Static arguments of the compiled functions."""
        return {"n_people": self.n_people, "markov": self.epidemic.infectivity is None}


def prepare(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    n_blocks: int | None = None,
) -> Problem:
    """Return all that does not depend on the parameters.

    Raises
    ------
    ValueError
        If the observations do not fit the network.
    """
    n, n_days = network.n_people, network.n_days
    observations.check(n, n_days, network.people)
    if n_blocks is None:
        n_blocks = max(1, min(_N_BLOCKS, n // _PEOPLE_PER_BLOCK))
    n_blocks = min(positive_int("n_blocks", n_blocks), n)
    pairs = pair_layout(network)
    plan = block_plan(pairs, n, n_days, n_blocks, merged=network.n_contacts <= _FEW_CONTACTS)
    start = unpack(start_messages(pairs, np.float64), pairs, plan)
    likelihood, kind = likelihood_tables(observations, n, n_days)
    return Problem(pairs, plan, start, padded(likelihood), kind, epidemic, n, n_days)


def likelihood_tables(
    observations: Observations, n_people: int, n_days: int
) -> tuple[Floats, NDArray[np.int32]]:
    """Return the factor of each person's own observations at every ``(a, c)``.

    Own weights are prior times likelihood. Under a reference epidemic in which every history has a
    weight, the prior can be divided out again.
    """
    left = np.linspace(1.0, 0.0, n_days + 3)[:-1]
    reference = Epidemic(0.5, recovery_survival=left, self_infection_prob=1.0 / (n_days + 2))
    prior = node_weights(reference, Observations.none(), n_people, n_days).table[0]
    weighted = node_weights(reference, observations, n_people, n_days)
    return weighted.table / np.where(prior > 0.0, prior, 1.0), weighted.table_of_person


def prior_tables(rates: Rates, n_days: int) -> jax.Array:
    """Return own weights without observations, ``(1 or n_people, n_days + 2, n_days + 2)``.

    The twin of :func:`models.contact_tracing.node_weights.node_weights` that JAX can trace.
    """
    start, survival, escape = rates.start, rates.survival, rates.escape
    waiting = jnp.cumprod(jnp.pad(escape, ((0, 0), (1, 0)), constant_values=1.0), axis=1)
    waiting = start[:, :1] * waiting
    rows = max(map(len, (start, survival, escape)))
    infected = jnp.concatenate(
        [jnp.broadcast_to(x, (rows, x.shape[1])) for x in (start[:, 1:2], waiting[:, :-1])], axis=1
    )
    lasts = -jnp.diff(survival, axis=1)
    a, c = jnp.arange(n_days + 1)[:, None], jnp.arange(n_days + 1)
    duration = jnp.where(c >= a, lasts[:, jnp.clip(c - a, 0)], 0.0)
    beyond = survival[:, n_days + 1 - a]
    table = infected[:, :, None] * jnp.concatenate([duration, beyond], axis=2)
    table = table.at[:, 0, 0].add(start[:, 2])
    table = jnp.pad(table, ((0, 0), (0, 1), (0, 0)))
    return table.at[:, -1, -1].set(waiting[:, -1] * rates.susceptible_bias)


def problem_drive(parameters: Mapping[str, ArrayLike], problem: Problem) -> Drive:
    """Return what the messages obey under some parameters."""
    rates = epidemic_rates(parameters, problem.epidemic, problem.n_people, problem.n_days)
    prior = prior_tables(rates, problem.n_days)
    kind = problem.table_of_person
    if len(prior) == 1:
        table = prior * problem.likelihood
    else:
        table, kind = prior * problem.likelihood[kind], np.arange(len(prior), dtype=np.int32)
    return Drive(table, kind, 1.0 - rates.escape, rates.profile, rates.transmission)


def frozen_evidence(
    layout: Any, drive: Drive, messages: BlockMessages, *, n_people: int, markov: bool
) -> jax.Array:
    """Return the Bethe log-evidence at given messages."""
    found = frozen_beliefs(layout, drive, messages, n_people=n_people, markov=markov)
    return bethe(layout, messages, found, n_people)
