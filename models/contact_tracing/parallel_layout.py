"""Message slots in blocks of people, padded to arrays that a compiled program can step through.

Person ``i`` is number ``i // n_blocks`` of block ``i % n_blocks``. A slot holds what one person
hears from another; it lies in the block of the one who hears. Pairs that meet again have tables
with an entry for each day, zero where they do not meet.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .pair_layout import Messages, PairLayout


class RepeatedSlots(NamedTuple):
    """Slots of pairs that meet on several days, ``(n_blocks, n_slots)``."""

    receiver: Any
    """Place in the block of who hears; beyond the last person for padding."""
    reverse: Any
    """Flat index of the slot of the other direction; beyond the last slot for padding."""
    rate: Any
    """``(n_blocks, n_slots, n_days)``: probability that who hears infects the other one."""


class SingleSlots(NamedTuple):
    """Slots of pairs that meet on one day, ``(n_blocks, n_slots)``."""

    receiver: Any
    reverse: Any
    day: Any
    rate: Any


class BlockLayout(NamedTuple):
    """All slots of a network; nothing in it changes while messages pass."""

    repeated: RepeatedSlots
    single: SingleSlots


class BlockMessages(NamedTuple):
    """Compressed messages, one row a slot; see :mod:`models.contact_tracing.pair_layout`."""

    first: jax.Array
    """``(n_repeated, n_days)``"""
    tail: jax.Array
    """``(n_repeated, n_days)``"""
    never: jax.Array
    """``(n_repeated,)``"""
    single: jax.Array
    """``(n_single, 3)``: first, tail and never."""


class BlockPlan(NamedTuple):
    """The blocks, and where in them the slots of a :class:`PairLayout` are."""

    layout: BlockLayout
    single: NDArray[np.int64]
    """``(n_single,)`` flat places of the slots."""
    single_day: NDArray[np.int64] | None
    """Days of those slots if they lie among the repeated ones, else None."""
    repeated: NDArray[np.int64]
    """``(n_repeated,)``"""
    entry: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Places and days of the entries of the repeated slots."""


def block_plan(
    layout: PairLayout, n_people: int, n_days: int, n_blocks: int, *, merged: bool = False
) -> BlockPlan:
    """Lay the slots out in blocks.

    Parameters
    ----------
    layout
        The slots, sorted by receiver, and by day for pairs that meet once.
    n_people, n_days
        Sizes.
    n_blocks
        Number of blocks, at most ``n_people``.
    merged
        Treat pairs that meet once as if they met again: a program of half the size, faster only
        for few contacts.

    Raises
    ------
    ValueError
        If there are more slots, padding included, than 32-bit indices.
    """
    cell = np.repeat(np.arange(n_people * n_days), np.diff(layout.single_start))
    once, day = cell // n_days, cell % n_days
    again = np.repeat(np.arange(n_people), np.diff(layout.repeated_start))
    back_once, back_again = (
        np.where(back < 0, ~back, back) for back in (layout.single_reverse, layout.repeated_reverse)
    )
    n_once = len(once) if merged else 0
    place, receiver, reverse = _slots(
        np.concatenate([once[:n_once], again]),
        np.concatenate([back_once[:n_once], back_again + n_once]),
        n_people,
        n_blocks,
    )
    rate = np.zeros((receiver.size, n_days), layout.repeated_rate.dtype)
    place, again_place = place[:n_once], place[n_once:]
    entry = np.repeat(again_place, np.diff(layout.repeated_offset)), layout.repeated_day.astype(int)
    rate[entry] = layout.repeated_rate
    if merged:
        rate[place, day] = layout.single_rate
    repeated = RepeatedSlots(receiver, reverse, rate.reshape(*receiver.shape, n_days))

    single_place, receiver, reverse = _slots(once[n_once:], back_once[n_once:], n_people, n_blocks)
    days = np.zeros(receiver.size, np.int32)
    rates = np.zeros(receiver.size, layout.single_rate.dtype)
    if not merged:
        place = single_place
        days[place], rates[place] = day, layout.single_rate
    single = SingleSlots(
        receiver, reverse, days.reshape(receiver.shape), rates.reshape(receiver.shape)
    )
    return BlockPlan(
        BlockLayout(repeated, single), place, day if merged else None, again_place, entry
    )


def unpack(messages: Messages, pairs: PairLayout, plan: BlockPlan) -> BlockMessages:
    """Return messages of a :class:`PairLayout` by blocks; padding says nothing."""
    n_slots, dtype = plan.layout.repeated.receiver.size, messages.single.dtype
    first = np.zeros((n_slots, plan.layout.repeated.rate.shape[-1]), dtype)
    tail, never = np.ones_like(first), np.ones(n_slots, dtype)
    in_first, in_tail, in_never = _entries(pairs)
    first[plan.entry] = messages.repeated[in_first]
    tail[plan.entry] = messages.repeated[in_tail]
    never[plan.repeated] = messages.repeated[in_never]
    single = np.ones((plan.layout.single.receiver.size, 3), dtype)
    single[:, 0] = 0.0
    odds, boost = messages.single.T
    own = np.zeros((len(odds), 3), dtype)
    own[:, 0] = np.where(np.isinf(odds), 1.0, odds / np.where(np.isinf(odds), 1.0, 1.0 + odds))
    own[:, 1] = np.maximum(boost - own[:, 0], 0.0)
    own[:, 2] = 1.0 / (1.0 + odds)
    own[np.isinf(boost)] = [0.0, 1.0, 0.0]
    if plan.single_day is None:
        single[plan.single] = own
    else:
        at = plan.single, plan.single_day
        first[at], tail[at], never[plan.single] = own.T
    return BlockMessages(*map(jnp.asarray, (first, tail, never, single)))


def pack(blocks: BlockMessages, pairs: PairLayout, plan: BlockPlan, messages: Messages) -> None:
    """Write messages by blocks back into ``messages``: undo `unpack` of an unmerged plan."""
    in_first, in_tail, in_never = _entries(pairs)
    messages.repeated[in_first] = np.asarray(blocks.first)[plan.entry]
    messages.repeated[in_tail] = np.asarray(blocks.tail)[plan.entry]
    messages.repeated[in_never] = np.asarray(blocks.never)[plan.repeated]
    first, tail, never = np.asarray(blocks.single, np.float64)[plan.single].T
    tiny = float(np.finfo(messages.single.dtype).tiny) * 4.0
    norm = first + never

    def held(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
        ratio = above / np.where(below > 0.0, below, 1.0)
        ratio = np.where(ratio > 0.0, np.clip(ratio, tiny, 1.0 / tiny), 0.0)
        return np.where(below > 0.0, ratio, np.inf)

    messages.single[:, 0] = np.where(norm > 0.0, held(first, never), 0.0)
    messages.single[:, 1] = held(first + tail, norm)


def padded(table: NDArray[Any]) -> NDArray[Any]:
    """Return the table with spare rows, so that similar networks share a compiled program."""
    spare = _rounded(len(table)) - len(table)
    return np.pad(table, [(0, spare)] + [(0, 0)] * (table.ndim - 1), mode="edge")


def by_block(table: Any, n_people: int, n_blocks: int) -> Any:
    """Return ``(n_blocks, n_local or 1, ...)`` from rows of all people or one of them all."""
    xp = np if isinstance(table, np.ndarray) else jnp
    if len(table) == 1:
        return xp.broadcast_to(table, (n_blocks, *table.shape))
    n_local = -(-n_people // n_blocks)
    spare = [(0, n_local * n_blocks - n_people)] + [(0, 0)] * (table.ndim - 1)
    full = xp.pad(table, spare, mode="edge")
    return xp.swapaxes(full.reshape(n_local, n_blocks, *table.shape[1:]), 0, 1)


def by_person(table: Any, n_people: int) -> Any:
    """Undo :func:`by_block`, ``(n_people, ...)``."""
    return table.swapaxes(0, 1).reshape(-1, *table.shape[2:])[:n_people]


def _slots(
    person: NDArray[np.int64], reverse: NDArray[np.int64], n_people: int, n_blocks: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return the flat place of each slot, receivers and reverse places by block."""
    block, local = person % n_blocks, person // n_blocks
    order = np.argsort(block * np.int64(n_people) + local, kind="stable")
    sizes = np.bincount(block, minlength=n_blocks)
    width = _rounded(int(sizes.max(initial=0)))
    if n_blocks * width >= 2**31:
        raise ValueError(
            f"network: expected fewer than 2**31 slots, got {n_blocks * width}; use a shorter "
            "window or split the people with ContactNetwork.partition"
        )
    starts = np.cumsum(sizes) - sizes
    place = np.empty(len(person), np.int64)
    place[order] = np.arange(len(person)) + (np.arange(n_blocks) * width - starts)[block[order]]
    receiver = np.full((n_blocks, width), -(-n_people // n_blocks), np.int32)
    receiver.reshape(-1)[place] = local
    back = np.full((n_blocks, width), n_blocks * width, np.int32)
    back.reshape(-1)[place] = place[reverse]
    return place, receiver, back


def _rounded(size: int) -> int:
    """Return a size that is at most an eighth larger, so that similar networks share a program."""
    step = max(16, 1 << max(size.bit_length() - 3, 0))
    return -(-size // step) * step


def _entries(
    pairs: PairLayout,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return where ``first``, ``tail`` and ``never`` are among the repeated messages."""
    offset = pairs.repeated_offset
    d = np.diff(offset)
    slot = np.repeat(np.arange(len(d)), d)
    first = np.arange(offset[-1]) + offset[slot] + slot
    return first, first + d[slot], 2 * offset[1:] + np.arange(len(d))
