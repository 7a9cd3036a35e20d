"""What a person hears from all it meets, as products over the grid of its own two days.

``a`` is the first day of being infected and ``y`` the first of being recovered, both from 0 to
``n_days`` (recovered later counts as ``n_days``; never infected is kept apart). From each neighbour
comes the probability ``G1[a, y]`` of what it may do while the person is not infected by it before
day ``a``, and ``G0``, not before day ``a - 1``: the person is infected on day ``a - 1`` with the
weight ``prod G0 - prod G1`` (Baker et al., arXiv 2009.09422). Factors that are exactly zero are
counted, the others are added as logarithms, so a neighbour can be taken out again exactly.

Arrays of the grid are ``(n_days + 1, people or slots, n_days + 1)``, the day ``y`` first.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SHIFT = 16
"""Two counts of zeros in one integer: those of ``G1`` below, those of ``G0`` above."""


class NodeLogs(NamedTuple):
    """Products over neighbours of the factors that are not zero, and how many are."""

    one: jax.Array
    """``sum log G1``"""
    ratio: jax.Array
    """``sum log(G0 / G1)``; ``log G0`` where ``G1`` is zero."""
    zeros: jax.Array
    """Number of zeros, see :data:`SHIFT`."""
    never: jax.Array
    """``(people or slots,)``: ``sum log`` of the factors of never being infected."""
    zeros_never: jax.Array
    sources: jax.Array
    """``(people or slots, n_days + 1)``: number of neighbours that may infect on day ``a - 1``."""


class PersonWeights(NamedTuple):
    """Own weights of the people of a block."""

    grid: jax.Array
    """``(n_days + 1, people, n_days + 1)``"""
    never: jax.Array
    """``(people,)``"""
    log_unit: jax.Array
    """``(people,)``: logarithm of the number that all weights were divided by."""
    outside: jax.Array
    """``(people, n_days + 1)``: probability of infection from outside on day ``a - 1``, 1 in row
    0, the infection before the first day."""


class Incoming(NamedTuple):
    """The factors of one neighbour, a slot a row."""

    one: jax.Array
    """``log G1``, minus infinity for zero."""
    ratio: jax.Array
    """``log(G0 / G1)``; ``log G0`` where ``G1`` is zero."""
    never: jax.Array
    """``(slots,)``: logarithm of the factor of never being infected."""
    source: jax.Array
    """``(slots, n_days + 1)``: whether it may infect on day ``a - 1``."""
    alive: jax.Array
    """Probability not to have infected the neighbour before day ``y``."""


def safe_log(value: jax.Array) -> jax.Array:
    """Return the logarithm, minus infinity at zero with a gradient of zero."""
    positive = value > 0.0
    return jnp.where(positive, jnp.log(jnp.where(positive, value, 1.0)), -jnp.inf)


def finite(log: jax.Array) -> jax.Array:
    """Return 0 in place of minus infinity."""
    return jnp.where(jnp.isneginf(log), 0.0, log)


def log_ratio(one: jax.Array, first: jax.Array) -> jax.Array:
    """Return ``log((one + first) / one)``, or ``log first`` where ``one`` is zero."""
    positive = one > 0.0
    ratio = jnp.log1p(first / jnp.where(positive, one, 1.0))
    return jnp.where(positive, ratio, safe_log(jnp.where(positive, 1.0, first)))


def incoming(
    first: jax.Array, tail: jax.Array, never: jax.Array, rate: jax.Array, profile: jax.Array
) -> Incoming:
    """Return the factors of repeated pairs from their messages.

    Parameters
    ----------
    first, tail, never
        ``(n_slots, n_days)`` twice and ``(n_slots,)``.
    rate
        ``(n_slots, n_days)``: probability to infect the neighbour.
    profile
        ``(n_slots or 1, n_days + 1)``: infectivity of the receiver, by days since infection.
    """
    n_days = first.shape[1]
    day_a = jnp.arange(n_days + 1)
    later = jnp.cumsum(jnp.pad(first, ((0, 0), (0, 1)))[:, ::-1], axis=1)[:, ::-1]
    after = later + never[:, None]
    before = jnp.pad(first, ((0, 0), (1, 0)))

    def day(
        carry: tuple[jax.Array, jax.Array, jax.Array],
        today: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        alive, heard, stopped = carry
        first_x, tail_x, rate_x, x = today
        hit = rate_x[:, None] * at_age(profile, x)
        heard = heard + jnp.where(day_a <= x, first_x[:, None], 0.0)
        stopped = stopped + hit * alive * (heard + tail_x[:, None])
        alive = alive * (1.0 - hit)
        return (alive, heard, stopped), (stopped + alive * after, alive)

    nothing = jnp.zeros_like(after)
    start = (nothing + 1.0, nothing, nothing)
    days = (first.T, tail.T, rate.T, jnp.arange(n_days))
    _, (one, alive) = jax.lax.scan(day, start, days)
    one = jnp.concatenate([after[None], one])
    alive = jnp.concatenate([start[0][None], alive])
    ratio = log_ratio(one, jnp.broadcast_to(before, one.shape))
    return Incoming(safe_log(one), ratio, safe_log(never), before > 0.0, alive)


def at_age(profile: jax.Array, day: jax.Array) -> jax.Array:
    """Return the infectivity on a day by ``a``, ``(n_slots or 1, n_days + 1)``; 0 if not yet."""
    age = day + 1 - jnp.arange(profile.shape[1])
    return jnp.where(age > 0, profile[:, jnp.clip(age, 0)], 0.0)


def zero_counts(one: jax.Array, ratio: jax.Array) -> jax.Array:
    """Return the zeros of ``G1`` and ``G0`` of one neighbour, packed."""
    no_one = jnp.isneginf(one).astype(jnp.int32)
    return no_one + (jnp.isneginf(ratio).astype(jnp.int32) << SHIFT)


def node_logs(slots: Incoming, receiver: jax.Array, n_people: int) -> NodeLogs:
    """Return the products over the slots of each person; ``receiver`` is sorted."""

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values, receiver, n_people + 1, indices_are_sorted=True)[:-1]

    over_days = jax.vmap(total)
    return NodeLogs(
        over_days(finite(slots.one)),
        over_days(finite(slots.ratio)),
        over_days(zero_counts(slots.one, slots.ratio)),
        total(finite(slots.never)),
        total(jnp.isneginf(slots.never).astype(jnp.int32)),
        total(slots.source.astype(jnp.int32)),
    )


def without(logs: NodeLogs, slots: Incoming, receiver: jax.Array) -> NodeLogs:
    """Return, for every slot, the products over all other slots of its receiver."""

    def heard(table: jax.Array, axis: int = 0) -> jax.Array:
        return jnp.take(table, receiver, axis=axis, mode="clip")

    zeros = heard(logs.zeros, 1) - zero_counts(slots.one, slots.ratio)
    sources = heard(logs.sources) - slots.source
    own_ratio = finite(slots.ratio)
    ratio = heard(logs.ratio, 1) - own_ratio
    # what rounding swallowed is small, not nothing: nothing would exclude what can happen
    swallowed = float(np.finfo(ratio.dtype).eps) * own_ratio
    positive = jnp.where(sources > 0, jnp.maximum(ratio, swallowed), 0.0)
    return NodeLogs(
        heard(logs.one, 1) - finite(slots.one),
        jnp.where(zeros & ((1 << SHIFT) - 1) == 0, positive, ratio),
        zeros,
        heard(logs.never) - finite(slots.never),
        heard(logs.zeros_never) - jnp.isneginf(slots.never),
        sources,
    )


class Products(NamedTuple):
    """Products over neighbours divided by ``exp(scale)``."""

    one: jax.Array
    """``prod G1``"""
    both: jax.Array
    """``prod G0``"""
    excess: jax.Array
    """``prod G0 - prod G1``, without cancellation."""
    never: jax.Array
    scale: jax.Array
    """``(people or slots,)``: logarithm of the largest product that has a weight."""


def products(logs: NodeLogs, weights: PersonWeights, n_zeros: int | jax.Array = 0) -> Products:
    """Return the products in which exactly ``n_zeros`` factors are zero, those left out."""
    zeros_one = (logs.zeros & ((1 << SHIFT) - 1)) - n_zeros
    zeros_both = (logs.zeros >> SHIFT) - n_zeros
    has_weight = weights.grid > 0.0
    log_both = jnp.where((zeros_both == 0) & has_weight, logs.one + logs.ratio, -jnp.inf)
    log_one = jnp.where((zeros_one == 0) & has_weight, logs.one, -jnp.inf)
    possible = (logs.zeros_never == n_zeros) & (weights.never > 0.0)
    log_never = jnp.where(possible, logs.never, -jnp.inf)
    scale = jnp.maximum(jnp.maximum(log_both, log_one).max(axis=(0, 2)), log_never)
    scale = jax.lax.stop_gradient(jnp.where(jnp.isneginf(scale), 0.0, scale))
    one, both = jnp.exp(log_one - scale[:, None]), jnp.exp(log_both - scale[:, None])
    small = (zeros_one == 0) & (logs.ratio < 1.0)
    excess = jnp.where(small, one * jnp.expm1(jnp.where(small, logs.ratio, 0.0)), both - one)
    return Products(one, both, excess, jnp.exp(log_never - scale), scale)


def first_infected(product: Products, weights: PersonWeights) -> jax.Array:
    """Return the weights of infection on each day and not before."""
    return weights.grid * (product.excess + weights.outside * product.one)


def of_receiver(table: jax.Array, receiver: jax.Array) -> jax.Array:
    """Return a row of a table of people for each slot; one row stays one row."""
    return table if len(table) == 1 else jnp.take(table, receiver, axis=0, mode="clip")
