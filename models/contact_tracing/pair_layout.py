"""Contacts as message slots: pairs that meet once apart from pairs that meet again.

A message from ``k`` to ``i`` about their ``d`` common days ``x_0 < x_1 < ..`` is ``2 d + 1``
numbers, exactly, because ``k`` must be infected before it transmits:

- ``first[s]``: ``k`` transmits first on ``x_s``, ``i`` not having infected ``k`` before;
- ``tail[u]``: no transmission up to ``x_u``, given that ``i`` transmits on ``x_u``;
- ``never``: neither ever transmits to the other.

A pair that meets once keeps two ratios of its three numbers, ``odds = first / never`` and
``boost = (first + tail) / (first + never)``.

Every directed slot lies with its receiver: a person reads its own slots in a row, and writes what
it sends into the slots that ``reverse`` names. A negative number there, ``~slot``, marks a receiver
that is updated at the same time (in one block), so that the write must wait.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.kernels import kernel

START_ODDS = 0.01
"""Messages start with full support, so that zero weight always means contradicted evidence."""


class PairLayout(NamedTuple):
    """The slots of all messages; none of it changes while messages pass."""

    single_start: NDArray[np.int64]
    """``(n_people * n_days + 1,)``: slots of the people who meet ``i`` only on day ``x`` are
    ``single_start[i * n_days + x]`` to the next."""
    single_reverse: NDArray[np.int32]
    """``(n_single,)``"""
    single_rate: NDArray[np.floating]
    """``(n_single,)`` or ``(1,)`` if all are equal: probability that the receiver of the slot
    infects the other one."""
    repeated_start: NDArray[np.int64]
    """``(n_people + 1,)``"""
    repeated_reverse: NDArray[np.int32]
    """``(n_repeated,)``"""
    repeated_offset: NDArray[np.int64]
    """``(n_repeated + 1,)``: common days of slot ``e`` are ``repeated_day[offset[e]:offset[e+1]]``;
    its message starts at ``2 offset[e] + e``: ``first``, ``tail``, ``never``."""
    repeated_day: NDArray[np.int16]
    repeated_rate: NDArray[np.floating]


class Messages(NamedTuple):
    """The messages of a layout, of any precision."""

    single: NDArray[np.floating]
    """``(n_single, 2)``: odds and boost."""
    repeated: NDArray[np.floating]
    """``(sum of 2 d + 1,)``"""


def pair_layout(
    network: ContactNetwork, *, n_blocks: int | None = None, dtype: Any = np.float64
) -> PairLayout:
    """Return the slots of a network.

    Parameters
    ----------
    network
        Contacts, one row for each pair and day.
    n_blocks
        Person ``i`` is in block ``i % n_blocks``; None: nobody is updated at the same time.
    dtype
        Precision of the transmission probabilities.

    Returns
    -------
    PairLayout
        O(n_contacts) to build and to hold.

    Raises
    ------
    ValueError
        If there are more slots than 32-bit indices.
    """
    n_people, n_days = network.n_people, network.n_days
    runs = run_starts(network.first, network.second)
    lengths = np.diff(runs)
    n_single = 2 * int(np.count_nonzero(lengths == 1))
    n_repeated = 2 * int(np.count_nonzero(lengths > 1))
    if max(n_single, n_repeated) >= 2**31:
        raise ValueError(
            f"network: expected fewer than 2**30 pairs, got {len(lengths)}; use a shorter window "
            "or split the people with ContactNetwork.partition"
        )
    constant = network.common_prob
    single_start = np.zeros(n_people * n_days + 1, np.int64)
    repeated_start = np.zeros(n_people + 1, np.int64)
    _count(network.first, network.second, network.day, runs, n_days, single_start, repeated_start)
    np.cumsum(single_start, out=single_start)
    np.cumsum(repeated_start, out=repeated_start)
    single_reverse = np.empty(n_single, np.int32)
    repeated_reverse = np.empty(n_repeated, np.int32)
    n_entries = 2 * int(lengths[lengths > 1].sum())
    repeated_offset = np.zeros(n_repeated + 1, np.int64)
    repeated_day = np.empty(n_entries, np.int16)
    n_rates = (n_single, n_entries) if constant is None else (1, 1)
    single_rate, repeated_rate = (np.full(n, constant or 0.0, dtype) for n in n_rates)
    _fill(
        network.first,
        network.second,
        network.day,
        network.forward_prob,
        network.backward_prob,
        runs,
        n_days,
        n_blocks or 0,
        single_start,
        repeated_start,
        single_reverse,
        repeated_reverse,
        repeated_offset,
        repeated_day,
        single_rate,
        repeated_rate,
        constant is None,
    )
    return PairLayout(
        single_start,
        single_reverse,
        single_rate,
        repeated_start,
        repeated_reverse,
        repeated_offset,
        repeated_day,
        repeated_rate,
    )


def start_messages(layout: PairLayout, dtype: Any) -> Messages:
    """Return messages that hardly say anything and exclude nothing."""
    single = np.empty((len(layout.single_reverse), 2), dtype)
    single[:, 0] = START_ODDS
    single[:, 1] = 1.0
    offset = layout.repeated_offset
    size = 2 * int(offset[-1]) + len(layout.repeated_reverse)
    repeated = np.empty(size, dtype)
    _fill_start(offset, repeated)
    return Messages(single, repeated)


@kernel
def run_starts(first: Any, second: Any) -> Any:
    """Return where each pair starts in sorted contacts, and the end."""
    n = first.size
    count = 0
    for row in range(n):
        if row == 0 or first[row] != first[row - 1] or second[row] != second[row - 1]:
            count += 1
    starts = np.empty(count + 1, np.int64)
    count = 0
    for row in range(n):
        if row == 0 or first[row] != first[row - 1] or second[row] != second[row - 1]:
            starts[count] = row
            count += 1
    starts[count] = n
    return starts


@kernel
def _count(
    first: Any,
    second: Any,
    day: Any,
    runs: Any,
    n_days: int,
    single_start: Any,
    repeated_start: Any,
) -> None:
    """Count the slots of every person (and day), one place further on."""
    for pair in range(runs.size - 1):
        row = runs[pair]
        i, k = np.int64(first[row]), np.int64(second[row])
        if runs[pair + 1] - row == 1:
            single_start[i * n_days + day[row] + 1] += 1
            single_start[k * n_days + day[row] + 1] += 1
        else:
            repeated_start[i + 1] += 1
            repeated_start[k + 1] += 1


@kernel
def _fill(
    first: Any,
    second: Any,
    day: Any,
    forward: Any,
    backward: Any,
    runs: Any,
    n_days: int,
    n_blocks: int,
    single_start: Any,
    repeated_start: Any,
    single_reverse: Any,
    repeated_reverse: Any,
    repeated_offset: Any,
    repeated_day: Any,
    single_rate: Any,
    repeated_rate: Any,
    own_rates: bool,
) -> None:
    """Give every direction of every pair its slot."""
    next_single = single_start[:-1].astype(np.int32)
    next_repeated = repeated_start[:-1].astype(np.int32)
    for pair in range(runs.size - 1):  # how many days each repeated slot has
        d = runs[pair + 1] - runs[pair]
        if d > 1:
            for person in (first[runs[pair]], second[runs[pair]]):
                repeated_offset[next_repeated[person] + 1] = d
                next_repeated[person] += 1
    for slot in range(repeated_offset.size - 1):
        repeated_offset[slot + 1] += repeated_offset[slot]
    next_repeated = repeated_start[:-1].astype(np.int32)
    for pair in range(runs.size - 1):
        row, end = runs[pair], runs[pair + 1]
        i, k = np.int64(first[row]), np.int64(second[row])
        together = n_blocks > 0 and i % n_blocks == k % n_blocks
        if end - row == 1:
            at_i, at_k = i * n_days + day[row], k * n_days + day[row]
            slot_i, slot_k = next_single[at_i], next_single[at_k]
            next_single[at_i] += 1
            next_single[at_k] += 1
            single_reverse[slot_i] = ~slot_k if together else slot_k
            single_reverse[slot_k] = ~slot_i if together else slot_i
            if own_rates:
                single_rate[slot_i] = forward[row]
                single_rate[slot_k] = backward[row]
            continue
        slot_i, slot_k = next_repeated[i], next_repeated[k]
        next_repeated[i] += 1
        next_repeated[k] += 1
        repeated_reverse[slot_i] = ~slot_k if together else slot_k
        repeated_reverse[slot_k] = ~slot_i if together else slot_i
        for place in range(end - row):
            in_i, in_k = repeated_offset[slot_i] + place, repeated_offset[slot_k] + place
            repeated_day[in_i] = day[row + place]
            repeated_day[in_k] = day[row + place]
            if own_rates:
                repeated_rate[in_i] = forward[row + place]
                repeated_rate[in_k] = backward[row + place]


@kernel
def _fill_start(offset: Any, repeated: Any) -> None:
    for slot in range(offset.size - 1):
        d = offset[slot + 1] - offset[slot]
        base = 2 * offset[slot] + slot
        for place in range(d):
            repeated[base + place] = START_ODDS / d
            repeated[base + d + place] = 1.0
        repeated[base + 2 * d] = 1.0
