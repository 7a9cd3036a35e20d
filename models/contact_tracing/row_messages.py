"""Messages row by row: any infectivity in the days since infection, and exact zeros.

A row holds one day of infection, hence its own transmission probabilities, and costs O(d + columns)
a neighbour. :func:`exact_answers` never divides: it combines the products of all neighbours before
and after one, where ``(plain, extra)`` and ``(g, first)`` combine to
``(plain g, extra (g + first) + plain first)``, sums of positive numbers. It is the way for the
people that perfect tests or certain transmission leave with exact zeros, and says which of them
have no possible history left.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inference.kernels import kernel


@kernel
def row_factor(
    a: int,
    p: int,
    day: Any,
    place: Any,
    offset: int,
    d: int,
    rate: Any,
    profile: Any,
    start: int,
    message: Any,
    n_events: int,
    g: Any,
) -> float:
    """Fill in ``g`` for the row of infection at ``a`` and return ``first`` of the day ``a - 1``.

    ``p`` is the cut of the row, ``day`` and ``place`` hold the days and events of the neighbour.
    """
    constant = rate.size == 1
    v0 = 0
    while v0 < d and place[v0] < p:
        v0 += 1
    later_firsts = 0.0
    for v in range(v0, d):
        later_firsts += np.float64(message[start + v])
    escape = np.float64(message[start + 2 * d]) + later_firsts
    reached, alive, firsts = 0.0, 1.0, 0.0
    j = p
    for v in range(v0, d):
        while j <= place[v]:
            g[j] = reached + alive * escape
            j += 1
        transmit = np.float64(rate[0] if constant else rate[offset + v]) * profile[day[v] - a + 1]
        firsts += np.float64(message[start + v])
        reached += transmit * alive * (firsts + np.float64(message[start + d + v]))
        alive *= 1.0 - transmit
    while j <= n_events:
        g[j] = reached + alive * escape
        j += 1
    if v0 > 0 and a > 0 and day[v0 - 1] == a - 1:
        return np.float64(message[start + v0 - 1])
    return 0.0


@kernel
def row_answer(
    a: int,
    p: int,
    day: Any,
    place: Any,
    offset: int,
    d: int,
    rate: Any,
    profile: Any,
    row: Any,
    same_day: float,
    n_events: int,
    suffix: Any,
    answer: Any,
) -> None:
    """Add to ``answer`` what a row of cavity weights says to a neighbour.

    ``same_day`` is the weight of an infection on the day ``a - 1`` by anybody, if they met then.
    """
    constant = rate.size == 1
    v0 = 0
    while v0 < d and place[v0] < p:
        v0 += 1
    if v0 > 0 and a > 0 and day[v0 - 1] == a - 1:
        answer[d + v0 - 1] += same_day
    suffix[n_events + 1] = 0.0
    for j in range(n_events, p - 1, -1):
        suffix[j] = suffix[j + 1] + row[j]
    finished, alive = 0.0, 1.0
    j = p
    for v in range(v0, d):
        while j <= place[v]:
            finished += alive * row[j]
            j += 1
        transmit = np.float64(rate[0] if constant else rate[offset + v]) * profile[day[v] - a + 1]
        answer[v] += transmit * alive * suffix[j]
        alive *= 1.0 - transmit
        answer[d + v] += finished + alive * suffix[j]
    answer[2 * d] += finished + alive * suffix[j]


@kernel
def exact_answers(
    own: Any,
    outside: Any,
    weight_never: float,
    n_rows: int,
    n_events: int,
    cut: Any,
    first_of_row: Any,
    profile: Any,
    n_neighbours: int,
    offset: Any,
    day: Any,
    place: Any,
    rate: Any,
    message: Any,
    plain: Any,
    extra: Any,
    answer: Any,
    logs: Any,
) -> Any:
    """Update a person that received exact zeros; return its weight, that of never, the log scale.

    Neighbour ``n`` has the days ``day[offset[n]:offset[n + 1]]`` and the message that starts at
    ``2 offset[n] + n``; ``answer`` is laid out like ``message`` and ``logs[n]`` the log of what it
    was divided by. ``plain`` and ``extra`` receive the products over all neighbours. The weight is
    exactly zero if and only if the evidence leaves the person no history.
    """
    before_plain = np.zeros((n_neighbours + 1, n_rows, n_events + 1))
    before_extra = np.zeros((n_neighbours + 1, n_rows, n_events + 1))
    before_never = np.ones(n_neighbours + 1)
    before_log = np.zeros(n_neighbours + 1)
    g, row, suffix = np.empty(n_events + 1), np.empty(n_events + 1), np.empty(n_events + 2)
    for r in range(n_rows):
        for j in range(cut[r], n_events + 1):
            before_plain[0, r, j] = 1.0 if own[r, j] > 0.0 else 0.0
    before_never[0] = 1.0 if weight_never > 0.0 else 0.0
    for n in range(n_neighbours):
        start, d = 2 * offset[n] + n, offset[n + 1] - offset[n]
        here, there = day[offset[n] : offset[n + 1]], place[offset[n] : offset[n + 1]]
        before_never[n + 1] = before_never[n] * message[start + 2 * d]
        top = before_never[n + 1]
        for r in range(n_rows):
            p = cut[r]
            first = row_factor(
                first_of_row[r],
                p,
                here,
                there,
                offset[n],
                d,
                rate,
                profile,
                start,
                message,
                n_events,
                g,
            )
            for j in range(p, n_events + 1):
                held, blamed = before_plain[n, r, j], before_extra[n, r, j]
                before_extra[n + 1, r, j] = blamed * (g[j] + first) + held * first
                before_plain[n + 1, r, j] = held * g[j]
                top = max(top, before_plain[n + 1, r, j], before_extra[n + 1, r, j])
        if not top > 0.0:
            return 0.0, 0.0, 0.0
        before_log[n + 1] = before_log[n] + math.log(top)
        before_never[n + 1] /= top
        before_plain[n + 1] /= top
        before_extra[n + 1] /= top
    total = weight_never * before_never[n_neighbours]
    for r in range(n_rows):
        for j in range(cut[r], n_events + 1):
            plain[r, j] = before_plain[n_neighbours, r, j]
            extra[r, j] = before_extra[n_neighbours, r, j]
            total += own[r, j] * extra[r, j] + outside[r, j] * plain[r, j]
    if not total > 0.0:
        return 0.0, 0.0, 0.0
    after_plain = before_plain[0].copy()
    after_extra = np.zeros((n_rows, n_events + 1))
    after_never, after_log = 1.0, 0.0
    answer[: 2 * offset[n_neighbours] + n_neighbours] = 0.0
    for n in range(n_neighbours - 1, -1, -1):
        start, d = 2 * offset[n] + n, offset[n + 1] - offset[n]
        here, there = day[offset[n] : offset[n + 1]], place[offset[n] : offset[n + 1]]
        reply = answer[start : start + 2 * d + 1]
        reply[2 * d] = weight_never * before_never[n] * after_never
        after_never *= message[start + 2 * d]
        top = after_never
        for r in range(n_rows):
            a, p = first_of_row[r], cut[r]
            same_day = 0.0
            for j in range(p, n_events + 1):
                lead, trail = before_plain[n, r, j], after_plain[r, j]
                blamed = before_extra[n, r, j] * (after_extra[r, j] + trail)
                blamed += lead * after_extra[r, j]
                row[j] = own[r, j] * blamed + outside[r, j] * lead * trail
                same_day += own[r, j] * (blamed + lead * trail)
            row_answer(
                a,
                p,
                here,
                there,
                offset[n],
                d,
                rate,
                profile,
                row,
                same_day,
                n_events,
                suffix,
                reply,
            )
            first = row_factor(
                a, p, here, there, offset[n], d, rate, profile, start, message, n_events, g
            )
            for j in range(p, n_events + 1):
                after_extra[r, j] = after_extra[r, j] * (g[j] + first) + after_plain[r, j] * first
                after_plain[r, j] *= g[j]
                top = max(top, after_plain[r, j], after_extra[r, j])
        logs[n] = before_log[n] + after_log
        if top > 0.0:
            after_log += math.log(top)
            after_never /= top
            after_plain /= top
            after_extra /= top
    return total, weight_never * before_never[n_neighbours], before_log[n_neighbours]
