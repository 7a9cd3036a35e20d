"""The update of a person that received exact zeros, without a division."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inference.kernels import kernel

from .node_grid import record_belief
from .row_messages import exact_answers
from .sending import send_repeated, send_single


@kernel
def update_exactly(
    person: int,
    n_days: int,
    layout: Any,
    messages: Any,
    weight: Any,
    escape: Any,
    profile: Any,
    damping: float,
    tiny: float,
    waiting: Any,
    counts: Any,
    infection_prob: Any,
    state_prob: Any,
    own: Any,
    outside: Any,
    n_rows: int,
    n_events: int,
    cut: Any,
    first_of_row: Any,
    event_of_day: Any,
    row_of: Any,
    column_of: Any,
    plain: Any,
    extra: Any,
    recovery: Any,
) -> Any:
    """Update a person that received exact zeros; a negative change: no history is possible."""
    single_start, single_reverse, single_rate = layout[0], layout[1], layout[2]
    repeated_start, repeated_reverse, offset = layout[3], layout[4], layout[5]
    single, repeated = messages
    base = person * n_days
    n_single = single_start[base + n_days] - single_start[base]
    slots = repeated_start[person + 1] - repeated_start[person]
    begin = offset[repeated_start[person]]
    n_entries = n_single + offset[repeated_start[person + 1]] - begin
    n = n_single + slots
    starts = np.zeros(n + 1, np.int64)
    day, place = np.empty(n_entries, np.int64), np.empty(n_entries, np.int64)
    rate = np.empty(n_entries + 1)  # never of size 1, which would mean one rate for all
    message = np.empty(2 * n_entries + n)
    at = 0
    for x in range(n_days):
        for slot in range(single_start[base + x], single_start[base + x + 1]):
            odds, boost = np.float64(single[slot, 0]), np.float64(single[slot, 1])
            first, never, tail = 0.0, 0.0, 1.0
            if boost < np.inf:
                never = 1.0 / (1.0 + odds)
                first = odds * never if odds < np.inf else 1.0
                tail = max(boost - first, 0.0)
            message[3 * at], message[3 * at + 1], message[3 * at + 2] = first, tail, never
            day[at], place[at] = x, event_of_day[x]
            rate[at] = single_rate[0 if single_rate.size == 1 else slot]
            at += 1
            starts[at] = at
    for slot in range(repeated_start[person], repeated_start[person + 1]):
        d = offset[slot + 1] - offset[slot]
        place_in = starts[at]
        for v in range(d):
            entry = offset[slot] + v
            day[place_in + v] = layout[6][entry]
            place[place_in + v] = event_of_day[layout[6][entry]]
            rate[place_in + v] = layout[7][0 if layout[7].size == 1 else entry]
        for entry in range(2 * d + 1):
            message[2 * place_in + at + entry] = repeated[2 * offset[slot] + slot + entry]
        at += 1
        starts[at] = place_in + d
    answer, logs = np.empty(message.size), np.empty(n)
    never_weight = weight[n_days + 1, n_days + 1]
    total, never, log_total = exact_answers(
        own,
        outside,
        never_weight,
        n_rows,
        n_events,
        cut,
        first_of_row,
        profile,
        n,
        starts,
        day,
        place,
        rate,
        message,
        plain,
        extra,
        answer,
        logs,
    )
    if not total > 0.0:
        return -1.0, 0.0
    change, _ = record_belief(
        weight,
        escape,
        n_days,
        row_of,
        column_of,
        plain,
        extra,
        never,
        infection_prob,
        state_prob,
        recovery,
    )
    terms = math.log(total) + log_total
    half_pairs = 0.0
    at = 0
    for slot in range(single_start[base], single_start[base + n_days]):
        norm = send_single(
            single_reverse[slot],
            answer[3 * at],
            answer[3 * at] + answer[3 * at + 1],
            answer[3 * at + 2],
            single,
            damping,
            tiny,
            waiting[0],
            waiting[1],
            counts,
        )
        half_pairs += math.log(norm) + logs[at] - terms
        at += 1
    for slot in range(repeated_start[person], repeated_start[person + 1]):
        d = offset[slot + 1] - offset[slot]
        begin = 2 * starts[at] + at
        norm = send_repeated(
            repeated_reverse[slot],
            d,
            answer[begin : begin + 2 * d + 1],
            offset,
            repeated,
            damping,
            tiny,
            waiting[2],
            waiting[3],
            counts,
        )
        half_pairs += math.log(norm) + logs[at] - terms
        at += 1
    return change, terms + 0.5 * half_pairs
