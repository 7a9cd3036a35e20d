"""Belief propagation in blocks of people who are updated together: the schedule of accelerators.

Inside a block everybody answers to the messages at its start, blocks follow one another, so the
result does not depend on how many threads or devices work. A few blocks converge almost like one
person after the other. Everything is one compiled loop over arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import Floats
from inference.precision import require_x64
from inference.status import Status

from .block_update import Beliefs, Block, answer, beliefs, hear
from .node_products import PersonWeights
from .node_weights import NodeWeights
from .pair_layout import Messages, PairLayout
from .parallel_layout import (
    BlockLayout,
    BlockMessages,
    RepeatedSlots,
    SingleSlots,
    block_plan,
    by_block,
    by_person,
    pack,
    padded,
    unpack,
)
from .sequential import STALL_RATIO, STALL_STEPS, Swept


class Drive(NamedTuple):
    """What the messages of a network obey, all of it differentiable."""

    table: Any
    """``(n_tables, n_days + 2, n_days + 2)``: own weights ``w[a, c]``."""
    table_of_person: Any
    """``(n_people,)``"""
    outside: Any
    """``(1 or n_people, n_days)``: daily probability of infection from outside."""
    profile: Any
    """``(1 or n_people, n_days + 1)``: infectivity by days since infection."""
    transmission: Any
    """``(1 or n_people,)``: factor of the transmission probabilities, of who transmits."""


class Solution(NamedTuple):
    """The same inside compiled code, by blocks."""

    messages: BlockMessages
    beliefs: Beliefs
    log_evidence: jax.Array
    residual: jax.Array
    n_steps: jax.Array
    contradiction: jax.Array
    """``(n_people,)`` booleans."""


def parallel_sweeps(
    pairs: PairLayout,
    messages: Messages,
    weights: NodeWeights,
    profile: Floats,
    *,
    markov: bool,
    n_days: int,
    damping: float,
    tol: float,
    max_steps: int,
    n_blocks: int,
) -> Swept:
    """Update everybody again and again, in place of ``messages``, until the beliefs stand still.

    Parameters
    ----------
    pairs, messages
        Of the network; the messages are changed. All is computed in their precision.
    weights
        Everybody's own weights.
    profile
        ``(1 or n_people, n_days + 1)`` infectivity.
    markov
        Whether the profile is 1 throughout.
    n_days
        Horizon.
    damping
        Share of the old message that is kept, to begin with; more when the steps stall.
    tol
        Largest change of a probability of a state in the last step.
    max_steps
        Largest number of steps; in each everybody is updated once.
    n_blocks
        Person ``i`` is updated in block ``i % n_blocks``; 1 updates all people at once, which
        needs more steps and may not converge where contacts are clustered.

    Returns
    -------
    Swept
        Time and memory of a step grow with the number of pairs that meet again times
        ``n_days**2``, and of the others as their number.

    Raises
    ------
    PrecisionError
        If the messages are float64 and JAX runs in single precision.
    """
    dtype = messages.single.dtype
    if dtype == np.float64:
        require_x64("the parallel schedule with float64 messages")
    n_people = len(weights.table_of_person)
    plan = block_plan(pairs, n_people, n_days, min(n_blocks, n_people))
    drive = Drive(
        padded(weights.table.astype(dtype)),
        weights.table_of_person,
        (1.0 - weights.escape).astype(dtype),
        np.asarray(profile, dtype),
        np.ones(1, dtype),
    )
    start = unpack(messages, pairs, plan)
    options = {"n_people": n_people, "markov": markov}
    solution = solve(plan.layout, drive, start, tol, max_steps, damping, **options)
    pack(solution.messages, pairs, plan, messages)
    wrong = np.flatnonzero(solution.contradiction)
    residual, log_evidence = float(solution.residual), float(solution.log_evidence)
    if wrong.size:
        status, log_evidence = Status.CONTRADICTION, -np.inf
    elif not np.isfinite(residual) or not np.isfinite(log_evidence):
        status = Status.NON_FINITE
    else:
        status = Status.CONVERGED if residual <= tol else Status.MAX_STEPS
    return Swept(
        np.asarray(by_person(solution.beliefs.state, n_people)),
        np.asarray(by_person(solution.beliefs.infection_day, n_people)),
        log_evidence,
        residual,
        int(solution.n_steps),
        status,
        int(wrong[0]) if wrong.size else -1,
    )


@partial(jax.jit, static_argnames=("n_people", "markov"))
def solve(
    layout: BlockLayout,
    drive: Drive,
    messages: BlockMessages,
    tol: jax.Array,
    max_steps: jax.Array,
    damping: jax.Array,
    *,
    n_people: int,
    markov: bool,
) -> Solution:
    """Iterate until the beliefs stand still; return what everybody believes in the end."""
    messages, residual, n_steps, contradiction = iterate(
        layout, drive, messages, tol, max_steps, damping, n_people=n_people, markov=markov
    )
    found = frozen_beliefs(layout, drive, messages, n_people=n_people, markov=markov)
    last = jnp.isneginf(by_person(found.log_z, n_people))
    contradiction = jnp.where(contradiction.any(), contradiction, last)
    log_evidence = bethe(layout, messages, found, n_people)
    return Solution(messages, found, log_evidence, residual, n_steps, contradiction)


class _Iteration(NamedTuple):
    messages: BlockMessages
    found: Beliefs
    residual: jax.Array
    n_steps: jax.Array
    damping: jax.Array
    residual_before: jax.Array
    """Where it was last asked whether the beliefs come to rest."""


@partial(jax.jit, static_argnames=("n_people", "markov"))
def iterate(
    layout: BlockLayout,
    drive: Drive,
    messages: BlockMessages,
    tol: jax.Array,
    max_steps: jax.Array,
    damping: jax.Array,
    *,
    n_people: int,
    markov: bool,
) -> tuple[BlockMessages, jax.Array, jax.Array, jax.Array]:
    """Iterate until the beliefs stand still, a weight is zero, or a number is not finite.

    Returns
    -------
    tuple
        Messages, last change of a belief, number of steps, and ``(n_people,)`` whose weight is
        zero.
    """
    n_blocks = layout.repeated.receiver.shape[0]
    block_of, parts = _over_blocks(layout, drive, n_people)
    real = by_block(jnp.arange(n_people), n_people, n_blocks)
    real = real == jnp.arange(n_blocks)[:, None] + n_blocks * jnp.arange(real.shape[1])

    def update(
        carry: tuple[BlockMessages, jax.Array], numbered: tuple[jax.Array, Any]
    ) -> tuple[tuple[BlockMessages, jax.Array], Beliefs]:
        (messages, damping), number, block = carry, numbered[0], block_of(*numbered[1])
        received = _of_block(messages, number, n_blocks)
        heard = hear(received, block, markov=markov)
        sent = answer(heard, received, block)
        return (_send(messages, sent, block, damping), damping), beliefs(heard, block)

    def sweep(messages: BlockMessages, damping: jax.Array) -> tuple[BlockMessages, Beliefs]:
        (messages, _), found = jax.lax.scan(
            update, (messages, damping), (jnp.arange(n_blocks), parts)
        )
        return messages, found

    def impossible(found: Beliefs) -> jax.Array:
        return jnp.isneginf(found.log_z) & real

    def proceed(carry: _Iteration) -> jax.Array:
        going = (carry.n_steps < max_steps) & (carry.residual > tol)
        return going & ~impossible(carry.found).any()

    def advance(carry: _Iteration) -> _Iteration:
        messages, new = sweep(carry.messages, carry.damping)
        change = jnp.abs(new.state - carry.found.state).max(axis=(2, 3))
        residual, step = jnp.where(real, change, 0.0).max(), carry.n_steps + 1
        asked = step % STALL_STEPS == 0
        stalled = asked & (residual > STALL_RATIO * carry.residual_before)
        stronger = jnp.where(carry.damping < 0.3, 0.3, 0.5 * (1.0 + carry.damping))
        return _Iteration(
            messages,
            new,
            residual,
            step,
            jnp.where(stalled, stronger, carry.damping),
            jnp.where(asked, residual, carry.residual_before),
        )

    shape = (*real.shape, drive.outside.shape[1] + 2)
    dtype = drive.table.dtype
    nothing = Beliefs(
        jnp.zeros(shape[:2], dtype),
        jnp.zeros(shape, dtype),
        jnp.zeros((*shape[:2], shape[2] - 1, 3), dtype),
    )
    infinite = jnp.array(jnp.inf, dtype)
    start = _Iteration(
        messages, nothing, infinite, jnp.array(0), jnp.asarray(damping, dtype), infinite
    )
    end = jax.lax.while_loop(proceed, advance, start)
    return end.messages, end.residual, end.n_steps, by_person(impossible(end.found), n_people)


@partial(jax.jit, static_argnames=("n_people", "markov"))
def frozen_beliefs(
    layout: BlockLayout, drive: Drive, messages: BlockMessages, *, n_people: int, markov: bool
) -> Beliefs:
    """Return what everybody believes of given messages, by blocks."""
    n_blocks = layout.repeated.receiver.shape[0]

    block_of, parts = _over_blocks(layout, drive, n_people)

    @jax.checkpoint
    def believe(numbered: tuple[jax.Array, Any]) -> Beliefs:
        number, block = numbered[0], block_of(*numbered[1])
        return beliefs(hear(_of_block(messages, number, n_blocks), block, markov=markov), block)

    return jax.lax.map(believe, (jnp.arange(n_blocks), parts))


def bethe(layout: BlockLayout, messages: BlockMessages, found: Beliefs, n_people: int) -> jax.Array:
    """Return the Bethe log-evidence ``sum_i log z_i - sum_(ij) log z_ij``.

    ``z_ij`` is the sum of ``m_ij(s, u) m_ji(u, s)``. Of the tables only the compressed numbers are
    needed: where ``s < u`` one message is ``first`` at ``s`` whatever ``u``, and the other adds up
    to its ``tail`` at ``s``.

    At the fixed point the sum depends on no message, so its derivative is the one at fixed
    messages.
    """

    def agreement(one: tuple[jax.Array, ...], other: tuple[jax.Array, ...]) -> jax.Array:
        first, tail, never = one
        other_first, other_tail, other_never = other
        met = first * other_tail + other_first * tail + first * other_first
        return met.sum(axis=1) + never * other_never

    def half_sum(messages: tuple[jax.Array, ...], reverse: jax.Array) -> jax.Array:
        real = reverse.reshape(-1) < reverse.size
        other = tuple(jnp.take(x, reverse.reshape(-1), axis=0, mode="clip") for x in messages)
        z = jnp.where(real, agreement(messages, other), 1.0)
        return 0.5 * jnp.log(z).sum()

    once = (messages.single[:, :1], messages.single[:, 1:2], messages.single[:, 2])
    pairs = half_sum(messages[:3], layout.repeated.reverse) + half_sum(once, layout.single.reverse)
    return by_person(found.log_z, n_people).sum() - pairs


class _Tables(NamedTuple):
    """The own weights of :class:`Drive` divided by the largest of each table."""

    grid: jax.Array
    """``(n_tables, n_days + 1, n_days + 1)``: by ``y`` and ``a``; the last ``y`` holds whoever
    recovers on the last day or later."""
    last_share: jax.Array
    """``(n_tables, n_days + 1)``: the part of the last ``y`` that recovers on the last day."""
    never: jax.Array
    log_unit: jax.Array


def _tables(table: jax.Array) -> _Tables:
    top = jax.lax.stop_gradient(table.max(axis=(1, 2)))
    top = jnp.where(top > 0.0, top, 1.0)
    table = table / top[:, None, None]
    beyond = table[:, :-1, -2] + table[:, :-1, -1]
    share = table[:, :-1, -2] / jnp.where(beyond > 0.0, beyond, 1.0)
    grid = table[:, :-1, :-1].at[:, :, -1].set(beyond).swapaxes(1, 2)
    return _Tables(grid, share, table[:, -1, -1], jnp.log(top))


def _over_blocks(
    layout: BlockLayout, drive: Drive, n_people: int
) -> tuple[Callable[..., Block], tuple[Any, ...]]:
    """Return how to make a block of what a scan over blocks is handed, and the latter."""
    n_blocks = layout.repeated.receiver.shape[0]
    tables = _tables(drive.table)
    outside = jnp.pad(drive.outside, ((0, 0), (1, 0)), constant_values=1.0)
    people = (drive.table_of_person, outside, drive.profile, drive.transmission)

    def block(
        repeated: RepeatedSlots,
        single: SingleSlots,
        kind: jax.Array,
        outside: jax.Array,
        profile: jax.Array,
        transmission: jax.Array,
    ) -> Block:
        weights = PersonWeights(
            tables.grid[kind].swapaxes(0, 1),
            tables.never[kind],
            tables.log_unit[kind],
            jnp.broadcast_to(outside, (len(kind), outside.shape[1])),
        )
        share = tables.last_share[kind]
        return Block(repeated, single, weights, share, profile, transmission)

    return block, (*layout, *(by_block(jnp.asarray(x), n_people, n_blocks) for x in people))


def _of_block(messages: BlockMessages, number: jax.Array, n_blocks: int) -> BlockMessages:
    """Return the messages that a block hears."""
    sizes = [len(table) // n_blocks for table in messages]
    return BlockMessages(
        *(
            jax.lax.dynamic_slice_in_dim(table, number * size, size)
            for table, size in zip(messages, sizes)
        )
    )


def _send(
    messages: BlockMessages, sent: BlockMessages, block: Block, damping: jax.Array
) -> BlockMessages:
    """Put the answers of a block into the slots of those who hear them."""
    repeated, single = block.repeated.reverse, block.single.reverse

    def put(table: jax.Array, new: jax.Array, slot: jax.Array) -> jax.Array:
        old = jnp.take(table, slot, axis=0, mode="clip")
        return table.at[slot].set(new + damping * (old - new), mode="drop")

    return BlockMessages(
        put(messages.first, sent.first, repeated),
        put(messages.tail, sent.tail, repeated),
        put(messages.never, sent.never, repeated),
        put(messages.single, sent.single, single),
    )
