"""The days that matter to one person: a table of its possible times, reduced without loss.

Between two days on which a person meets anybody, its contacts cannot tell one day from the other.
Columns (the end of the infectious days) are therefore merged between these *event days*; so are
rows (the day of infection), except that the row of an infection on an event day stands alone. With
infectivity that depends on the days since infection rows stay apart. Rows of days on which nobody
could infect the person are left out.

A cell ``(r, j)``: infection as in row ``r``, infectious past the first ``j`` event days. Its weight
without the contacts is ``own`` where a contact is to blame and ``outside`` where none is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.kernels import kernel

NO_EVENT = -1


@kernel
def lay_grid(
    person: int,
    n_days: int,
    single_start: Any,
    repeated_start: Any,
    repeated_offset: Any,
    repeated_day: Any,
    escape: Any,
    merge_rows: bool,
    event_of_day: Any,
    column_of: Any,
    row_of: Any,
    cut: Any,
    event_of_row: Any,
    row_of_event: Any,
    first_of_row: Any,
) -> Any:
    """Fill in the maps between days and the merged grid; return the numbers of events and rows.

    ``cut[r]``: number of event days before the infection of row ``r`` (its own included);
    ``first_of_row[r]``: its first ``a``; ``row_of[a]``: -1 if nobody could infect the person then.
    """
    event_of_day[:n_days] = NO_EVENT
    base = person * n_days
    for day in range(n_days):
        if single_start[base + day + 1] > single_start[base + day]:
            event_of_day[day] = 0
    for entry in range(
        repeated_offset[repeated_start[person]], repeated_offset[repeated_start[person + 1]]
    ):
        event_of_day[repeated_day[entry]] = 0
    n_events = 0
    n_rows = 0
    last_plain = -1
    for a in range(n_days + 1):
        if a > 0 and event_of_day[a - 1] != NO_EVENT:
            event_of_day[a - 1] = n_events
            row_of_event[n_events] = n_rows
            event_of_row[n_rows] = n_events
            n_events += 1
            cut[n_rows] = n_events
            first_of_row[n_rows] = a
            row_of[a] = n_rows
            n_rows += 1
            last_plain = -1
        elif a > 0 and escape[a - 1] == 1.0:
            row_of[a] = -1
        elif merge_rows and last_plain >= 0:
            row_of[a] = last_plain
        else:
            last_plain = n_rows
            event_of_row[n_rows] = NO_EVENT
            cut[n_rows] = n_events
            first_of_row[n_rows] = a
            row_of[a] = n_rows
            n_rows += 1
        column_of[a] = n_events
    column_of[n_days + 1] = n_events
    return n_events, n_rows


@kernel
def merge_weights(
    weight: Any,
    escape: Any,
    n_days: int,
    n_rows: int,
    n_events: int,
    row_of: Any,
    column_of: Any,
    own: Any,
    outside: Any,
) -> None:
    """Sum the weights of merged days into ``own`` and, times the outside infection, ``outside``."""
    for r in range(n_rows):
        for j in range(n_events + 1):
            own[r, j] = 0.0
            outside[r, j] = 0.0
    for a in range(n_days + 1):
        r = row_of[a]
        if r < 0:
            continue
        share = 1.0 if a == 0 else 1.0 - escape[a - 1]
        for c in range(a, n_days + 2):
            own[r, column_of[c]] += weight[a, c]
            outside[r, column_of[c]] += share * weight[a, c]


@kernel
def record_belief(
    weight: Any,
    escape: Any,
    n_days: int,
    row_of: Any,
    column_of: Any,
    plain: Any,
    extra: Any,
    never: float,
    infection_prob: Any,
    state_prob: Any,
    recovery: Any,
) -> Any:
    """Spread the belief over the days, write it down; return its largest change and its sum.

    ``plain`` is the product over contacts that none of them infected the person up to its day of
    infection, ``extra`` the probability that the first to do so did it on that day.
    """
    total = never
    recovery[: n_days + 2] = 0.0
    for a in range(n_days + 1):
        r = row_of[a]
        sum_of_row = 0.0
        if r >= 0:
            share = 1.0 if a == 0 else 1.0 - escape[a - 1]
            for c in range(a, n_days + 2):
                j = column_of[c]
                belief = weight[a, c] * (extra[r, j] + share * plain[r, j])
                recovery[c] += belief
                sum_of_row += belief
        infection_prob[a] = sum_of_row
        total += sum_of_row
    if not (total > 0.0 and total < np.inf):
        return 0.0, total
    scale = 1.0 / total
    for a in range(n_days + 1):
        infection_prob[a] *= scale
    infection_prob[n_days + 1] = never * scale
    change = 0.0
    recovered = 0.0
    susceptible = never * scale
    # sums from both ends, so that neither of two small probabilities is a difference
    for day in range(n_days, -1, -1):
        change = max(change, abs(susceptible - state_prob[day, 0]))
        state_prob[day, 0] = susceptible
        susceptible += infection_prob[day]
    for day in range(n_days + 1):
        recovered += recovery[day] * scale
        change = max(change, abs(recovered - state_prob[day, 2]))
        state_prob[day, 2] = recovered
        state_prob[day, 1] = max(0.0, 1.0 - recovered - state_prob[day, 0])
    return change, total
