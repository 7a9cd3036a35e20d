"""Yesterday's messages as the start of today's: same people, a day more, perhaps a day less."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphs.temporal import ContactNetwork
from inference.kernels import kernel

from .pair_layout import START_ODDS, Messages, PairLayout, run_starts, start_messages

_FLOOR = 1e-12
"""Old zeros may rest on evidence that has left the window, so none of them is believed."""


def carry_over(
    old_network: ContactNetwork,
    old_layout: PairLayout,
    old_messages: Messages,
    network: ContactNetwork,
    layout: PairLayout,
    *,
    shift: int,
    dtype: Any,
) -> Messages:
    """Return messages of a new layout that say what the old ones did about the common days.

    Parameters
    ----------
    old_network, old_layout, old_messages
        Of the earlier run, over the same people.
    network, layout
        Of the run to come.
    shift
        Day of the old network that is day 0 of the new one.
    dtype
        Precision of the new messages.

    Returns
    -------
    Messages
        O(contacts). Pairs and days without an old message start as in
        :func:`models.contact_tracing.pair_layout.start_messages`.
    """
    messages = start_messages(layout, dtype)
    _copy(
        *_rows(old_network),
        run_starts(old_network.first, old_network.second),
        old_network.n_days,
        tuple(old_layout),
        tuple(old_messages),
        *_rows(network),
        run_starts(network.first, network.second),
        network.n_days,
        tuple(layout),
        tuple(messages),
        shift,
    )
    return messages


def _rows(network: ContactNetwork) -> tuple[Any, Any, Any]:
    return network.first, network.second, network.day


@kernel
def _slots_of_pair(
    row: int,
    d: int,
    first: Any,
    second: Any,
    day: Any,
    n_days: int,
    next_single: Any,
    next_repeated: Any,
) -> Any:
    """Return the slots of both directions of the next pair in order of the network."""
    i, k = np.int64(first[row]), np.int64(second[row])
    if d == 1:
        at_i, at_k = i * n_days + day[row], k * n_days + day[row]
        slots = next_single[at_i], next_single[at_k]
        next_single[at_i] += 1
        next_single[at_k] += 1
    else:
        slots = next_repeated[i], next_repeated[k]
        next_repeated[i] += 1
        next_repeated[k] += 1
    return slots


@kernel
def _copy(
    old_first: Any,
    old_second: Any,
    old_day: Any,
    old_runs: Any,
    old_n_days: int,
    old_layout: Any,
    old_messages: Any,
    first: Any,
    second: Any,
    day: Any,
    runs: Any,
    n_days: int,
    layout: Any,
    messages: Any,
    shift: int,
) -> None:
    """Walk through the pairs of both networks side by side."""
    old_single, old_repeated = old_layout[0][:-1].copy(), old_layout[3][:-1].copy()
    next_single, next_repeated = layout[0][:-1].copy(), layout[3][:-1].copy()
    old_offset, offset = old_layout[5], layout[5]
    old_pair = 0
    n_old = old_runs.size - 1
    most = max(n_days, old_n_days) + 1
    firsts, tails = np.empty(most), np.empty(most)
    for pair in range(runs.size - 1):
        row, d = runs[pair], runs[pair + 1] - runs[pair]
        i, k = first[row], second[row]
        slots = _slots_of_pair(row, d, first, second, day, n_days, next_single, next_repeated)
        while old_pair < n_old:
            old_row = old_runs[old_pair]
            old_i, old_k = old_first[old_row], old_second[old_row]
            if old_i > i or (old_i == i and old_k >= k):
                break
            _slots_of_pair(
                old_row,
                old_runs[old_pair + 1] - old_row,
                old_first,
                old_second,
                old_day,
                old_n_days,
                old_single,
                old_repeated,
            )
            old_pair += 1
        if old_pair == n_old:
            continue
        old_row = old_runs[old_pair]
        if old_first[old_row] != i or old_second[old_row] != k:
            continue
        old_d = old_runs[old_pair + 1] - old_row
        old_slots = _slots_of_pair(
            old_row, old_d, old_first, old_second, old_day, old_n_days, old_single, old_repeated
        )
        old_pair += 1
        for way in range(2):
            old_slot, slot = old_slots[way], slots[way]
            if old_d == 1:
                odds, boost = old_messages[0][old_slot, 0], old_messages[0][old_slot, 1]
                if not (odds < np.inf and boost < np.inf):
                    continue
                never = 1.0 / (1.0 + odds)
                firsts[0] = odds * never
                tails[0] = max(boost - firsts[0], 0.0)
            else:
                start = 2 * old_offset[old_slot] + old_slot
                for v in range(old_d):
                    firsts[v] = old_messages[1][start + v]
                    tails[v] = old_messages[1][start + old_d + v]
                never = np.float64(old_messages[1][start + 2 * old_d])
            never = max(never, _FLOOR)
            _write(
                d,
                slot,
                offset,
                day[row : row + d],
                old_day[old_row : old_row + old_d],
                shift,
                firsts,
                tails,
                never,
                messages,
            )


@kernel
def _write(
    d: int,
    slot: int,
    offset: Any,
    day: Any,
    old_day: Any,
    shift: int,
    firsts: Any,
    tails: Any,
    never: float,
    messages: Any,
) -> None:
    """Write a message in which the common days have their old numbers."""
    start = 2 * offset[slot] + slot if d > 1 else 0
    w = 0
    for v in range(d):
        while w < old_day.size and old_day[w] < day[v] + shift:
            w += 1
        first, tail = START_ODDS * never / d, never
        if w < old_day.size and old_day[w] == day[v] + shift:
            first, tail = max(firsts[w], _FLOOR), max(tails[w], _FLOOR)
        if d == 1:
            messages[0][slot, 0] = first / never
            messages[0][slot, 1] = (first + tail) / (first + never)
        else:
            messages[1][start + v] = first
            messages[1][start + d + v] = tail
    if d > 1:
        messages[1][start + 2 * d] = never
