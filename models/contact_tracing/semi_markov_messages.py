"""Messages of one person whose infectivity depends on the days since infection, without zeros.

As :mod:`models.contact_tracing.markov_messages`, but every row has its own transmission
probabilities: O(d + columns) a row for a neighbour met on ``d`` days, one factor a row for one met
once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inference.kernels import kernel

from .markov_messages import ROUNDING
from .row_messages import row_answer, row_factor

_LOW, _HIGH = 1e-200, 1e200


@kernel
def take_in_singles_by_row(
    base: int,
    n_days: int,
    start: Any,
    rate: Any,
    profile: Any,
    message: Any,
    event_of_day: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    first_of_row: Any,
    own: Any,
    log_boost: Any,
    logs: Any,
    n_sources: Any,
    plain: Any,
    extra: Any,
) -> Any:
    """Start the products with the people met once.

    ``log_boost`` is scratch, ``(rows, events)``; returns as
    :func:`models.contact_tracing.markov_messages.take_in_singles`.
    """
    constant = rate.size == 1
    log_escape, infected, product = logs[0], logs[1], logs[2]
    log_escape[0] = 0.0
    for day in range(n_days):
        p = event_of_day[day]
        if p < 0:
            continue
        for r in range(n_rows):
            log_boost[r, p] = 0.0
            product[r] = 1.0
        x, sources, escape, sum_escape = 0.0, 0, 1.0, 0.0
        for slot in range(start[base + day], start[base + day + 1]):
            odds, boost = np.float64(message[slot, 0]), np.float64(message[slot, 1])
            transmit = np.float64(rate[0] if constant else rate[slot])
            if not (odds < np.inf and boost < np.inf):
                return False, 0.0, 0.0
            b = 1.0 / (1.0 + odds)
            x = x * b + odds * b
            sources += int(odds > 0.0)
            escape *= b
            if escape < _LOW:
                sum_escape += math.log(escape)
                escape = 1.0
            for r in range(n_rows):
                if cut[r] > p:
                    break
                t = transmit * profile[day - first_of_row[r] + 1]
                product[r] *= (1.0 - t) + t * boost
                if not (_LOW < product[r] < _HIGH):
                    if not product[r] > 0.0:
                        return False, 0.0, 0.0
                    log_boost[r, p] += math.log(product[r])
                    product[r] = 1.0
        n_sources[p] = sources
        infected[p] = x
        log_escape[p + 1] = log_escape[p] + sum_escape + math.log(escape)
        for r in range(n_rows):
            if cut[r] <= p and product[r] != 1.0:
                log_boost[r, p] += math.log(product[r])
    top = log_escape[n_events]
    for r in range(n_rows):
        reached = log_escape[cut[r]]
        top = max(top, reached)
        for p in range(cut[r], n_events):
            reached += log_boost[r, p]
            top = max(top, reached)
    for r in range(n_rows):
        reached = log_escape[cut[r]] - top
        event = event_of_row[r]
        # the product is with the escape on the day of infection, the difference without it
        ratio = 0.0
        if event >= 0 and infected[event] > 0.0:
            ratio = infected[event] * math.exp(log_escape[event] - log_escape[event + 1])
        for j in range(cut[r], n_events + 1):
            plain[r, j] = math.exp(reached) if own[r, j] > 0.0 else 0.0
            extra[r, j] = ratio * plain[r, j]
            if j < n_events:
                reached += log_boost[r, j]
    return True, math.exp(log_escape[n_events] - top), top


@kernel
def take_in_repeated_by_row(
    d: int,
    offset: int,
    start: int,
    rate: Any,
    profile: Any,
    message: Any,
    day: Any,
    place: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    first_of_row: Any,
    own: Any,
    g: Any,
    n_sources: Any,
    plain: Any,
    extra: Any,
) -> bool:
    """Multiply the products by a neighbour met on ``d`` days; return whether it holds no zero."""
    if not np.float64(message[start + 2 * d]) > 0.0:
        return False
    for v in range(d):
        n_sources[place[v]] += np.float64(message[start + v]) > 0.0
    for r in range(n_rows):
        p = cut[r]
        first = row_factor(
            first_of_row[r], p, day, place, offset, d, rate, profile, start, message, n_events, g
        )
        for j in range(p, n_events + 1):
            if not g[j] > 0.0:
                if own[r, j] > 0.0:
                    return False
                continue
            extra[r, j] = extra[r, j] * (g[j] + first) + plain[r, j] * first
            plain[r, j] *= g[j]
    return True


@kernel
def answer_single_by_row(
    odds: float,
    boost: float,
    transmit: float,
    profile: Any,
    share: float,
    day: int,
    p: int,
    n_rows: int,
    cut: Any,
    first_of_row: Any,
    n_sources: Any,
    still: Any,
    sums: Any,
) -> Any:
    """Return ``first``, ``first + tail`` and ``never`` for a person met once, on event ``p``."""
    first, silent = 0.0, 0.0
    for r in range(n_rows):
        if cut[r] > p:
            break
        t = transmit * profile[day - first_of_row[r] + 1]
        freed = still[r, p] / ((1.0 - t) + t * boost)
        first += t * freed
        silent += (1.0 - t) * freed
    plain, extra = sums[3, p], sums[4, p]
    blame = 0.0
    if n_sources[p] - (odds > 0.0) > 0:
        blame = max(extra - plain * odds, ROUNDING * extra)
    never = silent + sums[1, p] + blame + (share * plain + sums[2, p]) * (1.0 + odds)
    return first, first + silent + sums[1, p] + plain + extra, never


@kernel
def answer_repeated_by_row(
    d: int,
    offset: int,
    start: int,
    rate: Any,
    profile: Any,
    message: Any,
    day: Any,
    place: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    first_of_row: Any,
    outside_share: Any,
    belief: Any,
    own_plain: Any,
    own_extra: Any,
    belief_never: float,
    n_sources: Any,
    g: Any,
    row: Any,
    suffix: Any,
    answer: Any,
) -> None:
    """Fill in ``answer`` (``first``, ``tail``, ``never``) for a neighbour met on ``d`` days."""
    answer[: 2 * d] = 0.0
    answer[2 * d] = belief_never / np.float64(message[start + 2 * d])
    for r in range(n_rows):
        p, event = cut[r], event_of_row[r]
        first = row_factor(
            first_of_row[r], p, day, place, offset, d, rate, profile, start, message, n_events, g
        )
        met = False
        for v in range(d):
            met = met or place[v] == event
        same_day = 0.0
        if event >= 0 and met:
            other_source = n_sources[event] - (first > 0.0) > 0
            share = outside_share[event]
            for j in range(p, n_events + 1):
                row[j] = 0.0
                if not g[j] > 0.0:  # where no history is possible
                    continue
                without, both = 1.0 / g[j], 1.0 / (g[j] + first)
                held, blamed = own_plain[r, j], own_extra[r, j]
                same_day += (held + blamed) * both
                if other_source:
                    row[j] = max(blamed - held * first * without, ROUNDING * blamed) * both
                row[j] += share * held * without
        else:
            for j in range(p, n_events + 1):
                row[j] = belief[r, j] / g[j] if g[j] > 0.0 else 0.0
        row_answer(
            first_of_row[r],
            p,
            day,
            place,
            offset,
            d,
            rate,
            profile,
            row,
            same_day,
            n_events,
            suffix,
            answer,
        )
