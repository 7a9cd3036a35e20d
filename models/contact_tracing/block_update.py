"""One update of all people of a block: what they believe, and what they tell the others.

A message about ``d`` common days is ``2 d + 1`` numbers, ``first``, ``tail`` and ``never`` of
:mod:`models.contact_tracing.pair_layout`, here with an entry for each day.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from .node_products import (
    Incoming,
    NodeLogs,
    PersonWeights,
    at_age,
    first_infected,
    incoming,
    node_logs,
    of_receiver,
    products,
    without,
)
from .parallel_layout import BlockMessages, RepeatedSlots, SingleSlots
from .single_contacts import add_single, single_outgoing


class Block(NamedTuple):
    """What one step of the scan over blocks is handed."""

    repeated: RepeatedSlots
    single: SingleSlots
    weights: PersonWeights
    last_share: jax.Array
    """``(people, n_days + 1)``: by ``a``, the part of ``weights.grid[-1]`` that recovers on the
    last day; the rest does later."""
    profile: jax.Array
    """``(people or 1, n_days + 1)``"""
    transmission: jax.Array
    """``(people or 1,)``: factor of the transmission probabilities of a person."""


class Beliefs(NamedTuple):
    """What the people of a block believe of themselves."""

    log_z: jax.Array
    """``(people,)``: logarithm of the sum of each person's weights; minus infinity if zero."""
    infection_day: jax.Array
    """``(people, n_days + 2)``"""
    state: jax.Array
    """``(people, n_days + 1, 3)``"""


class Heard(NamedTuple):
    """What a block has heard, before it answers."""

    logs: NodeLogs
    slots: Incoming
    rate: jax.Array
    """Of the repeated slots, ``(n_slots, n_days)``."""
    profile: jax.Array
    single_rate: jax.Array
    """``(n_slots, 1 or n_days + 1)``: probability to infect whom one meets once, by ``a``."""


def hear(messages: BlockMessages, block: Block, *, markov: bool) -> Heard:
    """Return the products over all neighbours of everybody in the block."""
    receiver, single = block.repeated.receiver, block.single
    rate = block.repeated.rate * of_receiver(block.transmission, receiver)[:, None]
    profile = of_receiver(block.profile, receiver)
    slots = incoming(messages.first, messages.tail, messages.never, rate, profile)
    logs = node_logs(slots, receiver, len(block.weights.never))
    single_rate = _single_rate(block, markov=markov)
    if single.receiver.size:
        logs = add_single(logs, messages.single, single, single_rate)
    return Heard(logs, slots, rate, profile, single_rate)


def _single_rate(block: Block, *, markov: bool) -> jax.Array:
    single = block.single
    rate = (single.rate * of_receiver(block.transmission, single.receiver))[:, None]
    if markov:
        return rate
    own = of_receiver(block.profile, single.receiver)
    age = single.day[:, None] + 1 - jnp.arange(own.shape[1])
    own = jnp.broadcast_to(own, age.shape)
    return rate * jnp.take_along_axis(own, jnp.clip(age, 0), axis=1)


def beliefs(heard: Heard, block: Block) -> Beliefs:
    """Return what everybody in the block believes."""
    weights = block.weights
    product = products(heard.logs, weights)
    joint = first_infected(product, weights)
    never = weights.never * product.never
    by_day = jnp.concatenate([joint.sum(axis=0), never[:, None]], axis=1)
    z = by_day.sum(axis=1)
    safe = jnp.where(z > 0.0, z, 1.0)
    log_z = jnp.where(z > 0.0, jnp.log(safe) + product.scale + weights.log_unit, -jnp.inf)
    infected = by_day / safe[:, None]
    on_last_day = (joint[-1] * block.last_share).sum(axis=1)
    recovered = joint.sum(axis=2).at[-1].set(on_last_day).T / safe[:, None]
    susceptible = jnp.cumsum(infected[:, ::-1], axis=1)[:, ::-1][:, 1:]
    removed = jnp.cumsum(recovered, axis=1)
    ill = jnp.maximum(jnp.cumsum(infected, axis=1)[:, :-1] - removed, 0.0)
    return Beliefs(log_z, infected, jnp.stack([susceptible, ill, removed], axis=-1))


def answer(heard: Heard, messages: BlockMessages, block: Block) -> BlockMessages:
    """Return what the block tells, in the order of the slots it hears from."""
    first, tail, never = _repeated_outgoing(heard, block)
    single = messages.single
    if single.size:
        single = single_outgoing(heard.logs, single, block.single, heard.single_rate, block.weights)
    return BlockMessages(first, tail, never, single)


def _repeated_outgoing(heard: Heard, block: Block) -> tuple[jax.Array, jax.Array, jax.Array]:
    receiver, slots = block.repeated.receiver, heard.slots
    others = without(heard.logs, slots, receiver)
    weights = PersonWeights(
        jnp.take(block.weights.grid, receiver, axis=1, mode="clip"),
        *(jnp.take(x, receiver, axis=0, mode="clip") for x in block.weights[1:]),
    )
    product = products(others, weights)
    joint = first_infected(product, weights)
    n_days = heard.rate.shape[1]
    day_a = jnp.arange(n_days + 1)

    def day(
        open_end: jax.Array, today: tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        joint_y, alive_x, alive_y, rate_x, x = today
        open_end = open_end + joint_y  # infectious beyond day x
        reached = jnp.where(day_a <= x, open_end, 0.0)
        hit = rate_x[:, None] * at_age(heard.profile, x)
        first = (reached * alive_x * hit).sum(axis=1)
        return open_end, (first, (reached * alive_y).sum(axis=1))

    days = (joint[1:], slots.alive[:-1], slots.alive[1:], heard.rate.T, jnp.arange(n_days))
    _, (first, spared) = jax.lax.scan(day, jnp.zeros_like(joint[0]), days, reverse=True)
    finished = jnp.cumsum((joint * slots.alive).sum(axis=2), axis=0)
    caught = (weights.grid * product.both).sum(axis=0)[:, 1:].T
    tail = spared + finished[:-1] + caught
    never = finished[-1] + weights.never * product.never
    total = jnp.maximum(never + first.sum(axis=0), tail.max(axis=0))
    total = jnp.where(total > 0.0, total, 1.0)
    return (first / total).T, (tail / total).T, never / total
