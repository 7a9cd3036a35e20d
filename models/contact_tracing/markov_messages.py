"""Messages of one person when all its infectious days are alike: no division by zero can occur.

Every function works on the merged grid of :mod:`models.contact_tracing.node_grid`. ``plain`` and
``extra`` are the products over the neighbours of ``G`` and of ``G + first`` (on its day) less that
of ``G``: sums and products of positive numbers, so that a risk of 1e-9 keeps all its digits. A
person that received an exact zero goes to :mod:`models.contact_tracing.row_messages` instead.

Where a loop starts at an index, ``max(.., 0)`` tells the compiler that it is not negative, and the
loop becomes vector code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inference.kernels import kernel

_LOW, _HIGH = 1e-200, 1e200
ROUNDING = 1e-17
"""What a difference is floored at, as a share of the larger term, when it must be positive."""


@kernel
def take_in_singles(
    base: int,
    n_days: int,
    start: Any,
    rate: Any,
    message: Any,
    event_of_day: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    own: Any,
    outside: Any,
    logs: Any,
    n_sources: Any,
    plain: Any,
    extra: Any,
) -> Any:
    """Start the products with the people met once.

    Returns whether they hold no zero, the product for never being infected, and the log of what all
    were divided by.
    """
    log_boost, log_escape, infected = logs[0], logs[1], logs[2]
    log_boost[0] = 0.0
    log_escape[0] = 0.0
    constant = rate.size == 1
    any_single = False
    for day in range(n_days):
        p = event_of_day[day]
        if p < 0:
            continue
        product_boost, product_escape, x = 1.0, 1.0, 0.0
        sum_boost, sum_escape = 0.0, 0.0
        sources = 0
        for slot in range(start[base + day], start[base + day + 1]):
            odds, boost = np.float64(message[slot, 0]), np.float64(message[slot, 1])
            transmit = np.float64(rate[0] if constant else rate[slot])
            factor = (1.0 - transmit) + transmit * boost
            if not (factor > 0.0 and factor < np.inf and odds < np.inf):
                return False, 0.0, 0.0
            b = 1.0 / (1.0 + odds)
            x = x * b + odds * b
            sources += int(odds > 0.0)
            product_boost *= factor
            product_escape *= b
            any_single = True
            if not (_LOW < product_boost < _HIGH):
                sum_boost += math.log(product_boost)
                product_boost = 1.0
            if product_escape < _LOW:
                sum_escape += math.log(product_escape)
                product_escape = 1.0
        n_sources[p] = sources
        infected[p] = x
        log_boost[p + 1] = log_boost[p] + sum_boost
        log_escape[p + 1] = log_escape[p] + sum_escape
        if product_boost != 1.0:
            log_boost[p + 1] += math.log(product_boost)
        if product_escape != 1.0:
            log_escape[p + 1] += math.log(product_escape)
    if not any_single:
        for r in range(n_rows):
            for j in range(cut[r], n_events + 1):
                plain[r, j] = 1.0 if own[r, j] > 0.0 else 0.0
                extra[r, j] = 0.0
        return True, 1.0, 0.0
    top_row, top_column = log_escape[n_events], log_boost[0]
    for p in range(n_events + 1):
        top_row = max(top_row, log_escape[p] - log_boost[p])
        top_column = max(top_column, log_boost[p])
    for j in range(n_events + 1):
        logs[3, j] = math.exp(log_boost[j] - top_column)
    for r in range(n_rows):
        p = max(cut[r], 0)
        scale = math.exp(log_escape[p] - log_boost[p] - top_row)
        event = event_of_row[r]
        scale_extra = 0.0
        if event >= 0 and infected[event] > 0.0:
            scale_extra = infected[event] * math.exp(log_escape[event] - log_boost[p] - top_row)
        for j in range(p, n_events + 1):
            alive = logs[3, j] if own[r, j] > 0.0 else 0.0
            plain[r, j] = scale * alive
            extra[r, j] = scale_extra * alive
    log_scale = top_row + top_column
    return True, math.exp(log_escape[n_events] - log_scale), log_scale


@kernel
def take_in_repeated(
    d: int,
    offset: int,
    start: int,
    rate: Any,
    message: Any,
    place: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    g: Any,
    n_sources: Any,
    plain: Any,
    extra: Any,
) -> bool:
    """Multiply the products by a neighbour met on ``d`` days; return whether it holds no zero."""
    constant = rate.size == 1
    never = np.float64(message[start + 2 * d])
    if not never > 0.0:
        return False
    escape = never
    for j in range(n_events + 1):
        g[j] = never
    v = d
    for r in range(n_rows - 1, -1, -1):
        p = max(cut[r], 0)
        while v > 0 and place[v - 1] >= p:
            v -= 1
            first = np.float64(message[start + v])
            tail = np.float64(message[start + d + v])
            transmit = np.float64(rate[0] if constant else rate[offset + v])
            if transmit == 1.0 and not first + tail > 0.0:
                return False
            shift, stay = first + transmit * tail, 1.0 - transmit
            escape += first
            q = max(place[v], 0)
            for j in range(q + 1, n_events + 1):
                g[j] = shift + stay * g[j]
            for j in range(q + 1):
                g[j] = escape
        event = event_of_row[r]
        if event < 0:
            for j in range(p, n_events + 1):
                plain[r, j] *= g[j]
        elif v > 0 and place[v - 1] == event:
            first = np.float64(message[start + v - 1])
            n_sources[event] += first > 0.0
            for j in range(p, n_events + 1):
                extra[r, j] = extra[r, j] * (g[j] + first) + plain[r, j] * first
                plain[r, j] *= g[j]
        else:
            for j in range(p, n_events + 1):
                extra[r, j] *= g[j]
                plain[r, j] *= g[j]
    return True


@kernel
def rescale(n_rows: int, n_events: int, cut: Any, plain: Any, extra: Any, never: float) -> float:
    """Divide the products by their largest entry and return it."""
    top = never
    for r in range(n_rows):
        for j in range(cut[r], n_events + 1):
            top = max(top, plain[r, j], extra[r, j])
    if top > 0.0:
        scale = 1.0 / top
        for r in range(n_rows):
            for j in range(cut[r], n_events + 1):
                plain[r, j] *= scale
                extra[r, j] *= scale
    return top


@kernel
def sum_for_singles(
    n_rows: int,
    n_events: int,
    cut: Any,
    event_of_row: Any,
    row_of_event: Any,
    belief: Any,
    own_plain: Any,
    own_extra: Any,
    never: float,
    up_to: Any,
    beyond: Any,
    sums: Any,
) -> None:
    """Fill in what all people met once on one event day are answered with, ``sums[:, event]``.

    Belief over infection before the day and still infectious on it (``beyond[r, event]`` in row
    ``r``), before and no more (``up_to``), later; weight of an infection on the day itself, without
    and with a culprit.
    """
    for r in range(n_rows):
        total = 0.0
        for j in range(cut[r], n_events):
            total += belief[r, j]
            up_to[r, j] = total
        total = 0.0
        for j in range(n_events, cut[r], -1):
            total += belief[r, j]
            beyond[r, j - 1] = total
        beyond[r, n_events] = total + belief[r, cut[r]]  # the whole row
    for p in range(n_events):
        still, over, later = 0.0, 0.0, never
        for r in range(n_rows):
            if cut[r] <= p:
                over += up_to[r, p]
                still += beyond[r, p]
            elif event_of_row[r] != p:
                later += beyond[r, n_events]
        plain, extra = 0.0, 0.0
        for j in range(p + 1, n_events + 1):
            plain += own_plain[row_of_event[p], j]
            extra += own_extra[row_of_event[p], j]
        sums[0, p], sums[1, p], sums[2, p], sums[3, p], sums[4, p] = (
            still,
            over,
            later,
            plain,
            extra,
        )


@kernel
def answer_single(
    odds: float,
    boost: float,
    transmit: float,
    share: float,
    p: int,
    n_sources: Any,
    sums: Any,
) -> Any:
    """Return ``first``, ``first + tail`` and ``never`` for a person met once, on event ``p``."""
    still = sums[0, p] / ((1.0 - transmit) + transmit * boost)
    plain, extra = sums[3, p], sums[4, p]
    blame = 0.0
    if n_sources[p] - (odds > 0.0) > 0:  # else no other neighbour can have infected it that day
        blame = max(extra - plain * odds, ROUNDING * extra)
    first = transmit * still
    never = (still - first) + sums[1, p] + blame + (share * plain + sums[2, p]) * (1.0 + odds)
    return first, still + sums[1, p] + plain + extra, never


@kernel
def answer_repeated(
    d: int,
    offset: int,
    start: int,
    rate: Any,
    message: Any,
    place: Any,
    n_events: int,
    n_rows: int,
    cut: Any,
    event_of_row: Any,
    outside_share: Any,
    belief: Any,
    own_plain: Any,
    own_extra: Any,
    belief_never: float,
    n_sources: Any,
    g: Any,
    block: Any,
    reach: Any,
    answer: Any,
) -> None:
    """Fill in ``answer`` (``first``, ``tail``, ``never``) for a neighbour met on ``d`` days.

    ``g`` is ``(d + 1, columns)``; ``reach[j]``: not yet transmitted, infectious past ``j`` events.
    """
    constant = rate.size == 1
    in_never = np.float64(message[start + 2 * d])
    escape = in_never
    for j in range(n_events + 1):
        g[d, j] = in_never
        block[j] = 0.0
        reach[j] = 0.0
    for v in range(d - 1, -1, -1):
        first = np.float64(message[start + v])
        transmit = np.float64(rate[0] if constant else rate[offset + v])
        shift = first + transmit * np.float64(message[start + d + v])
        stay = 1.0 - transmit
        escape += first
        q = max(place[v], 0)
        for j in range(q + 1, n_events + 1):
            g[v, j] = shift + stay * g[v + 1, j]
        for j in range(q + 1):
            g[v, j] = escape
    v = 0
    filled = False
    for r in range(n_rows):
        p = max(cut[r], 0)
        event = event_of_row[r]
        if not (v < d and event >= 0 and place[v] == event):
            for j in range(p, n_events + 1):
                block[j] += belief[r, j]
            filled = True
            continue
        if filled:
            for j in range(n_events + 1):
                reach[j] += block[j] / g[v, j]
                block[j] = 0.0
            filled = False
        transmit = np.float64(rate[0] if constant else rate[offset + v])
        first = np.float64(message[start + v])
        other_source = n_sources[event] - (first > 0.0) > 0
        share = outside_share[event]
        stay = 1.0 - transmit
        active, spent = 0.0, 0.0
        for j in range(p):
            spent += reach[j]
        for j in range(p, n_events + 1):
            active += reach[j]
        answer[v] = transmit * active
        later = 0.0
        v += 1
        for j in range(p, n_events + 1):
            without = 1.0 / g[v, j]
            both = 1.0 / (g[v, j] + first)
            plain, extra = own_plain[r, j], own_extra[r, j]
            later += (plain + extra) * both
            blame = 0.0
            if other_source:
                blame = max(extra - plain * first * without, ROUNDING * extra) * both
            reach[j] = stay * reach[j] + blame + share * plain * without
        answer[d + v - 1] = spent + stay * active + later
    if filled:
        for j in range(n_events + 1):
            reach[j] += block[j] / g[v, j]
    total = belief_never / in_never
    for j in range(n_events + 1):
        total += reach[j]
    answer[2 * d] = total
