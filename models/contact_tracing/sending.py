"""Where the answers of a person go: to the others, at once or when their block is done."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.kernels import kernel


@kernel
def count_waiting(begin: int, end: int, step: int, n_days: int, layout: Any) -> Any:
    """Return how many single slots, and entries of repeated messages, wait for these people."""
    single_start, single_reverse = layout[0], layout[1]
    repeated_start, repeated_reverse, offset = layout[3], layout[4], layout[5]
    singles, slots, entries = 0, 0, 0
    for person in range(begin, end, step):
        for slot in range(single_start[person * n_days], single_start[(person + 1) * n_days]):
            singles += single_reverse[slot] < 0
        for slot in range(repeated_start[person], repeated_start[person + 1]):
            if repeated_reverse[slot] < 0:
                slots += 1
                entries += 2 * (offset[slot + 1] - offset[slot]) + 1
    return singles, slots, entries


@kernel
def deliver_waiting(waiting: Any, counts: Any, offset: Any, single: Any, repeated: Any) -> None:
    """Write what people of one block sent to each other."""
    single_slot, single_value, repeated_slot, repeated_value = waiting
    for place in range(counts[0]):
        single[single_slot[place]] = single_value[place]
    read = 0
    for place in range(counts[1]):
        slot = repeated_slot[place]
        start = 2 * offset[slot] + slot
        for entry in range(2 * (offset[slot + 1] - offset[slot]) + 1):
            repeated[start + entry] = repeated_value[read + entry]
        read += 2 * (offset[slot + 1] - offset[slot]) + 1


@kernel
def held(value: float, tiny: float) -> float:
    """Keep a positive finite number positive and finite in the precision of the messages."""
    return min(max(value, tiny), 1.0 / tiny) if value > 0.0 else 0.0


@kernel
def send_single(
    target: int,
    first: float,
    either: float,
    never: float,
    single: Any,
    damping: float,
    tiny: float,
    waiting_slot: Any,
    waiting_value: Any,
    counts: Any,
) -> float:
    """Write a message of one day and return what it was divided by."""
    norm = first + never
    slot = target if target >= 0 else ~target
    if norm > 0.0:
        odds = held(first / never, tiny) if never > 0.0 else np.inf
        boost = held(either / norm, tiny)
    else:
        norm, odds, boost = either, 0.0, np.inf
    if damping > 0.0:
        old, old_boost = np.float64(single[slot, 0]), np.float64(single[slot, 1])
        if old < np.inf and old_boost < np.inf and odds < np.inf and boost < np.inf:
            stay = damping / (1.0 + old) + (1.0 - damping) / (1.0 + odds)
            move = damping * old / (1.0 + old) + (1.0 - damping) * odds / (1.0 + odds)
            odds = move / stay
            boost = damping * old_boost + (1.0 - damping) * boost
    if target >= 0:
        single[slot, 0] = odds
        single[slot, 1] = boost
    else:
        waiting_slot[counts[0]] = slot
        waiting_value[counts[0], 0] = odds
        waiting_value[counts[0], 1] = boost
        counts[0] += 1
    return norm


@kernel
def send_repeated(
    target: int,
    d: int,
    answer: Any,
    offset: Any,
    repeated: Any,
    damping: float,
    tiny: float,
    waiting_slot: Any,
    waiting_value: Any,
    counts: Any,
) -> float:
    """Write a message of several days and return what it was divided by."""
    firsts, tail = answer[2 * d], 0.0
    for v in range(d):
        firsts += answer[v]
        tail = max(tail, answer[d + v])
    norm = max(firsts, tail)
    slot = target if target >= 0 else ~target
    start = 2 * offset[slot] + slot
    for entry in range(2 * d + 1):
        value = held(answer[entry] / norm, tiny)
        if damping > 0.0:
            value = damping * np.float64(repeated[start + entry]) + (1.0 - damping) * value
        if target >= 0:
            repeated[start + entry] = value
        else:
            waiting_value[counts[2] + entry] = value
    if target < 0:
        waiting_slot[counts[1]] = slot
        counts[1] += 1
        counts[2] += 2 * d + 1
    return norm
