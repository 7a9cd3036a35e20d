"""Pairs that meet on one day alone: a constant number of operations for each message.

The factor of such a neighbour is constant in each of a few regions of the grid ``(a, y)``: infected
and recovered by the day of the contact; infectious on it; infected on it; infected later. So sums
over a region are taken once for a person and a day, and each neighbour divides its own factor out.
A factor that is exactly zero is not divided out: the sum then runs over the cells in which it is
the only zero.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .node_products import (
    SHIFT,
    NodeLogs,
    PersonWeights,
    finite,
    first_infected,
    log_ratio,
    products,
    safe_log,
)
from .parallel_layout import SingleSlots


class _Factors(NamedTuple):
    """The factor of a neighbour in the regions of the grid, ``(n_slots,)`` or ``(n_slots, .)``."""

    later: jax.Array
    """Infected later than the day of the contact, or on it without that neighbour."""
    over: jax.Array
    """Recovered by the day of the contact; or infected on it, with that neighbour."""
    open: jax.Array
    """Infectious on the day of the contact, ``(n_slots, 1 or n_days + 1)`` by ``a``."""


class _Regions(NamedTuple):
    """Sums of a person's weights over regions, for each day, ``(people, n_days)``."""

    over: jax.Array
    open: jax.Array
    """``(people, n_days, 1 or n_days + 1)``"""
    one: jax.Array
    """Infected on the day: ``prod G1``."""
    both: jax.Array
    """``prod G0``"""
    excess: jax.Array
    """``prod G0 - prod G1``"""
    later: jax.Array
    scale: jax.Array


def add_single(
    logs: NodeLogs, messages: jax.Array, slots: SingleSlots, rate: jax.Array
) -> NodeLogs:
    """Multiply the products over neighbours by those met once.

    Parameters
    ----------
    logs
        Products over the other neighbours.
    messages
        ``(n_slots, 3)``: first, tail, never.
    slots
        Of the block.
    rate
        ``(n_slots, 1 or n_days + 1)``: probability to infect the neighbour, by ``a`` or for all.
    """
    n_days, n_people = logs.one.shape[0] - 1, logs.one.shape[1]
    factor = _factors(messages, rate)
    ratio = log_ratio(factor.later, messages[:, 0])
    cell = slots.receiver * n_days + slots.day

    def on_day(values: jax.Array) -> jax.Array:
        flat = jax.ops.segment_sum(values, cell, (n_people + 1) * n_days, indices_are_sorted=True)
        return flat[: n_people * n_days].reshape(n_people, n_days, *values.shape[1:])

    def zero(log: jax.Array) -> jax.Array:
        return on_day(jnp.isneginf(log).astype(jnp.int32))

    later, over, open_ = safe_log(factor.later), safe_log(factor.over), safe_log(factor.open)
    zeros_later, zeros_over = zero(later), zero(over)
    zeros = _on_grid(zeros_later, zeros_over, zero(open_)) * ((1 << SHIFT) + 1)
    # on the day of infection by a contact of that day, G0 is the factor of those who recovered
    differ = (zeros_over - zeros_later) << SHIFT
    zeros = zeros + _next_day(differ)
    own = _on_grid(on_day(finite(later)), on_day(finite(over)), on_day(finite(open_)))
    return NodeLogs(
        logs.one + own,
        logs.ratio + _next_day(on_day(finite(ratio))),
        logs.zeros + zeros,
        logs.never + on_day(finite(later)).sum(axis=1),
        logs.zeros_never + zeros_later.sum(axis=1),
        logs.sources + _next_day(on_day((messages[:, 0] > 0.0).astype(jnp.int32))),
    )


def single_outgoing(
    logs: NodeLogs,
    messages: jax.Array,
    slots: SingleSlots,
    rate: jax.Array,
    weights: PersonWeights,
) -> jax.Array:
    """Return the messages to those met once, ``(n_slots, 3)``, the largest number 1."""
    n_days, n_people = logs.one.shape[0] - 1, logs.one.shape[1]
    factor = _factors(messages, rate)
    cell = jnp.clip(slots.receiver * n_days + slots.day, 0, n_people * n_days - 1)

    def of_slot(table: jax.Array) -> jax.Array:
        return jnp.take(table.reshape(n_people * n_days, *table.shape[2:]), cell, axis=0)

    def sums(n_zeros: jax.Array) -> _Regions:
        return _regions(logs, weights, n_zeros, rate.shape[1] > 1)

    # the sums, and those over the cells in which one factor is zero: for whom that factor is
    tables = jax.vmap(sums)(jnp.arange(2))
    whole, holes = (_Regions(*pair) for pair in zip(*map(jax.vmap(of_slot), tables)))
    some_zero = (factor.later == 0.0) | (factor.open == 0.0).any(axis=1)
    top = jnp.where(some_zero, jnp.maximum(whole.scale, holes.scale), whole.scale)
    lift = [jnp.where(jnp.isneginf(r.scale), 0.0, jnp.exp(r.scale - top)) for r in (whole, holes)]
    lift[1] = jnp.where(some_zero, lift[1], 0.0)

    def divided(whole_sum: jax.Array, hole_sum: jax.Array, by: jax.Array) -> jax.Array:
        scale, hole_scale = (x.reshape(-1, *[1] * (by.ndim - 1)) for x in lift)
        some = by > 0.0
        return jnp.where(some, whole_sum * scale / jnp.where(some, by, 1.0), hole_sum * hole_scale)

    first = messages[:, 0]
    one = divided(whole.one, holes.one, factor.later)
    both = divided(whole.both, holes.both, factor.over)
    safe_later = jnp.where(factor.later > 0.0, factor.later, 1.0)
    excess = divided(whole.excess - whole.one * first / safe_later, holes.excess, factor.over)
    excess = jnp.where((factor.later == 0.0) & (first > 0.0), both - one, excess)
    # as in `without`: other sources have a weight, even where rounding swallowed it
    others = of_slot(logs.sources[:, 1:]) - (first > 0.0)
    excess = jnp.where(others > 0, jnp.maximum(excess, float(np.finfo(one.dtype).eps) * both), 0.0)
    open_ = divided(whole.open, holes.open, factor.open)
    over = divided(whole.over, holes.over, factor.over)
    later = divided(whole.later, holes.later, factor.later)
    outside = of_slot(weights.outside[:, 1:])
    spared = (open_ * (1.0 - rate)).sum(axis=1) + over
    outgoing = jnp.stack(
        [
            (open_ * rate).sum(axis=1),
            spared + both,
            spared + excess + outside * one + later,
        ],
        axis=1,
    )
    total = outgoing.max(axis=1, keepdims=True)
    return outgoing / jnp.where(total > 0.0, total, 1.0)


def _factors(messages: jax.Array, rate: jax.Array) -> _Factors:
    first, tail, never = messages[:, 0], messages[:, 1], messages[:, 2]
    open_ = first[:, None] + rate * tail[:, None] + (1.0 - rate) * never[:, None]
    return _Factors(never, never + first, open_)


def _on_grid(later: jax.Array, over: jax.Array, open_: jax.Array) -> jax.Array:
    """Return sums over the days of contacts as ``(n_days + 1, people, n_days + 1)``."""
    n_days = later.shape[1]
    before = jnp.pad(jnp.cumsum(later, axis=1), ((0, 0), (1, 0)))
    after = jnp.pad(jnp.cumsum(over[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))
    day, row = jnp.arange(n_days)[:, None], jnp.arange(n_days + 1)
    masked = jnp.where(row <= day, open_, jnp.zeros_like(open_))
    between = jnp.pad(jnp.cumsum(masked, axis=1), ((0, 0), (1, 0), (0, 0)))
    return before + after.T[:, :, None] + between.swapaxes(0, 1)


def _next_day(values: jax.Array) -> jax.Array:
    """Return sums over the days of contacts by the row of those infected on that day."""
    return jnp.pad(values, ((0, 0), (1, 0)))


def _regions(logs: NodeLogs, weights: PersonWeights, n_zeros: jax.Array, by_row: bool) -> _Regions:
    product = products(logs, weights, n_zeros)
    joint = first_infected(product, weights)
    n_days = joint.shape[0] - 1
    ended = jnp.cumsum(joint.sum(axis=2), axis=0)[:-1].T
    infectious = jnp.cumsum(joint[::-1], axis=0)[::-1][1:].swapaxes(0, 1)
    infectious = jnp.where(jnp.arange(n_days + 1) <= jnp.arange(n_days)[:, None], infectious, 0.0)
    rows = joint.sum(axis=0)[:, 2:]
    rest = jnp.pad(jnp.cumsum(rows[:, ::-1], axis=1)[:, ::-1], ((0, 0), (0, 1)))

    def on_day(values: jax.Array) -> jax.Array:
        return (weights.grid * values).sum(axis=0)[:, 1:]

    return _Regions(
        ended,
        infectious if by_row else infectious.sum(axis=2, keepdims=True),
        on_day(product.one),
        on_day(product.both),
        on_day(product.excess),
        rest + (weights.never * product.never)[:, None],
        jnp.broadcast_to(product.scale[:, None], ended.shape),
    )
