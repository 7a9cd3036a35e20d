"""One person after another: take in what the neighbours sent, believe, answer.

The compiled loop of the sequential schedule. People of one block may be updated by several threads
at once: what they send to each other waits until the block is done, so the numbers do not depend on
the threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inference.kernels import kernel

from .markov_messages import (
    answer_repeated,
    answer_single,
    rescale,
    sum_for_singles,
    take_in_repeated,
    take_in_singles,
)
from .node_grid import lay_grid, merge_weights, record_belief
from .row_messages import exact_answers
from .semi_markov_messages import (
    answer_repeated_by_row,
    answer_single_by_row,
    take_in_repeated_by_row,
    take_in_singles_by_row,
)

_RESCALE_EVERY = 8


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
def update_people(
    begin: int,
    end: int,
    step: int,
    n_days: int,
    layout: Any,
    messages: Any,
    table: Any,
    table_of_person: Any,
    escape_table: Any,
    profile_table: Any,
    markov: bool,
    damping: float,
    tiny: float,
    waiting: Any,
    counts: Any,
    infection_prob: Any,
    state_prob: Any,
) -> Any:
    """Update the people ``begin, begin + step, ..`` before ``end``.

    Returns
    -------
    tuple
        Largest change of a probability of being susceptible or recovered, the people's terms of the
        Bethe log-evidence, and the first person without a possible history, or -1.
    """
    (
        single_start,
        single_reverse,
        single_rate,
        repeated_start,
        repeated_reverse,
        offset,
        days,
        repeated_rate,
    ) = layout
    single, repeated = messages
    single_slot, single_value, repeated_slot, repeated_value = waiting
    counts[:] = 0
    size = n_days + 2
    event_of_day = np.empty(size, np.int64)
    column_of, row_of, cut = (
        np.empty(size, np.int64),
        np.empty(size, np.int64),
        np.empty(size, np.int64),
    )
    event_of_row, row_of_event = np.empty(size, np.int64), np.empty(size, np.int64)
    first_of_row, place = np.empty(size, np.int64), np.empty(size, np.int64)
    n_sources = np.empty(size, np.int64)
    own, outside = np.empty((size, size)), np.empty((size, size))
    plain, extra = np.empty((size, size)), np.empty((size, size))
    belief, own_plain, own_extra = (
        np.empty((size, size)),
        np.empty((size, size)),
        np.empty((size, size)),
    )
    g, scratch = np.empty((size, size)), np.empty((max(size, 4), size))
    vector, block, reach, share = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    recovery, sums, answer = np.empty(size), np.empty((5, size)), np.empty(2 * size)
    residual, log_evidence = 0.0, 0.0
    for person in range(begin, end, step):
        weight = table[table_of_person[person]]
        escape = escape_table[person if len(escape_table) > 1 else 0]
        profile = profile_table[person if len(profile_table) > 1 else 0]
        n_events, n_rows = lay_grid(
            person,
            n_days,
            single_start,
            repeated_start,
            offset,
            days,
            escape,
            markov,
            event_of_day,
            column_of,
            row_of,
            cut,
            event_of_row,
            row_of_event,
            first_of_row,
        )
        merge_weights(weight, escape, n_days, n_rows, n_events, row_of, column_of, own, outside)
        base = person * n_days
        if markov:
            good, never, log_scale = take_in_singles(
                base,
                n_days,
                single_start,
                single_rate,
                single,
                event_of_day,
                n_events,
                n_rows,
                cut,
                event_of_row,
                own,
                outside,
                scratch,
                n_sources,
                plain,
                extra,
            )
        else:
            good, never, log_scale = take_in_singles_by_row(
                base,
                n_days,
                single_start,
                single_rate,
                profile,
                single,
                event_of_day,
                n_events,
                n_rows,
                cut,
                event_of_row,
                first_of_row,
                own,
                g,
                scratch,
                n_sources,
                plain,
                extra,
            )
        for slot in range(repeated_start[person], repeated_start[person + 1]):
            if not good:
                break
            d, start = offset[slot + 1] - offset[slot], 2 * offset[slot] + slot
            day = days[offset[slot] : offset[slot + 1]]
            for v in range(d):
                place[v] = event_of_day[day[v]]
            if markov:
                good = take_in_repeated(
                    d,
                    offset[slot],
                    start,
                    repeated_rate,
                    repeated,
                    place,
                    n_events,
                    n_rows,
                    cut,
                    event_of_row,
                    vector,
                    n_sources,
                    plain,
                    extra,
                )
            else:
                good = take_in_repeated_by_row(
                    d,
                    offset[slot],
                    start,
                    repeated_rate,
                    profile,
                    repeated,
                    day,
                    place,
                    n_events,
                    n_rows,
                    cut,
                    event_of_row,
                    first_of_row,
                    own,
                    vector,
                    n_sources,
                    plain,
                    extra,
                )
            never *= repeated[start + 2 * d]
            if (slot - repeated_start[person]) % _RESCALE_EVERY == _RESCALE_EVERY - 1:
                top = rescale(n_rows, n_events, cut, plain, extra, never)
                good = good and top > 0.0
                never /= top
                log_scale += math.log(top)
        total = 0.0
        if good:
            change, total = record_belief(
                weight,
                escape,
                n_days,
                row_of,
                column_of,
                plain,
                extra,
                never * weight[n_days + 1, n_days + 1],
                infection_prob[person],
                state_prob[person],
                recovery,
            )
        if not (total > 0.0 and total < np.inf):
            change, terms = _update_exactly(
                person,
                n_days,
                layout,
                messages,
                weight,
                escape,
                profile,
                damping,
                tiny,
                waiting,
                counts,
                infection_prob[person],
                state_prob[person],
                own,
                outside,
                n_rows,
                n_events,
                cut,
                first_of_row,
                event_of_day,
                row_of,
                column_of,
                plain,
                extra,
                recovery,
            )
            if change < 0.0:
                return residual, log_evidence, person
            residual = max(residual, change)
            log_evidence += terms
            continue
        residual = max(residual, change)
        log_evidence += math.log(total) + log_scale
        for r in range(n_rows):
            for j in range(cut[r], n_events + 1):
                own_plain[r, j] = own[r, j] * plain[r, j]
                own_extra[r, j] = own[r, j] * extra[r, j]
                belief[r, j] = own_extra[r, j] + outside[r, j] * plain[r, j]
        for day in range(n_days):
            if event_of_day[day] >= 0:
                share[event_of_day[day]] = 1.0 - escape[day]
        belief_never = never * weight[n_days + 1, n_days + 1]
        ratio = 1.0
        if single_start[base + n_days] > single_start[base]:
            sum_for_singles(
                n_rows,
                n_events,
                cut,
                event_of_row,
                row_of_event,
                belief,
                own_plain,
                own_extra,
                belief_never,
                scratch,
                g,
                sums,
            )
        for day in range(n_days):
            p = event_of_day[day]
            for slot in range(single_start[base + day], single_start[base + day + 1]):
                odds, boost = np.float64(single[slot, 0]), np.float64(single[slot, 1])
                rate = np.float64(single_rate[0] if single_rate.size == 1 else single_rate[slot])
                if markov:
                    first, either, nothing = answer_single(
                        odds, boost, rate, share[p], p, n_sources, sums
                    )
                else:
                    first, either, nothing = answer_single_by_row(
                        odds,
                        boost,
                        rate,
                        profile,
                        share[p],
                        day,
                        p,
                        n_rows,
                        cut,
                        first_of_row,
                        n_sources,
                        g,
                        sums,
                    )
                norm = _send_single(
                    single_reverse[slot],
                    first,
                    either,
                    nothing,
                    single,
                    damping,
                    tiny,
                    single_slot,
                    single_value,
                    counts,
                )
                ratio *= norm / total
                if not 1e-200 < ratio < 1e200:
                    log_evidence += 0.5 * math.log(ratio)
                    ratio = 1.0
        for slot in range(repeated_start[person], repeated_start[person + 1]):
            d, start = offset[slot + 1] - offset[slot], 2 * offset[slot] + slot
            day_of = days[offset[slot] : offset[slot + 1]]
            for v in range(d):
                place[v] = event_of_day[day_of[v]]
            if markov:
                answer_repeated(
                    d,
                    offset[slot],
                    start,
                    repeated_rate,
                    repeated,
                    place,
                    n_events,
                    n_rows,
                    cut,
                    event_of_row,
                    share,
                    belief,
                    own_plain,
                    own_extra,
                    belief_never,
                    n_sources,
                    g,
                    block,
                    reach,
                    answer,
                )
            else:
                answer_repeated_by_row(
                    d,
                    offset[slot],
                    start,
                    repeated_rate,
                    profile,
                    repeated,
                    day_of,
                    place,
                    n_events,
                    n_rows,
                    cut,
                    event_of_row,
                    first_of_row,
                    share,
                    belief,
                    own_plain,
                    own_extra,
                    belief_never,
                    n_sources,
                    vector,
                    block,
                    reach,
                    answer,
                )
            norm = _send_repeated(
                repeated_reverse[slot],
                d,
                answer,
                offset,
                repeated,
                damping,
                tiny,
                repeated_slot,
                repeated_value,
                counts,
            )
            ratio *= norm / total
            if not 1e-200 < ratio < 1e200:
                log_evidence += 0.5 * math.log(ratio)
                ratio = 1.0
        log_evidence += 0.5 * math.log(ratio)
    return residual, log_evidence, -1


@kernel
def _held(value: float, tiny: float) -> float:
    """Keep a positive finite number positive and finite in the precision of the messages."""
    return min(max(value, tiny), 1.0 / tiny) if value > 0.0 else 0.0


@kernel
def _send_single(
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
        odds = _held(first / never, tiny) if never > 0.0 else np.inf
        boost = _held(either / norm, tiny)
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
def _send_repeated(
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
        value = _held(answer[entry] / norm, tiny)
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


@kernel
def _update_exactly(
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
        norm = _send_single(
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
        norm = _send_repeated(
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
