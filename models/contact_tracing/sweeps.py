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

from .exact_update import update_exactly
from .markov_messages import (
    answer_repeated,
    answer_single,
    rescale,
    sum_for_singles,
    take_in_repeated,
    take_in_singles,
)
from .node_grid import lay_grid, merge_weights, record_belief
from .semi_markov_messages import (
    answer_repeated_by_row,
    answer_single_by_row,
    take_in_repeated_by_row,
    take_in_singles_by_row,
)
from .sending import send_repeated, send_single

_RESCALE_EVERY = 8


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
            change, terms = update_exactly(
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
                norm = send_single(
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
            norm = send_repeated(
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
