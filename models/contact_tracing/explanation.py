"""Which contacts carry a person's risk: the posterior of who infected it, and when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats

from .epidemic import Epidemic
from .node_weights import NodeWeights
from .pair_layout import Messages, PairLayout
from .row_messages import row_factor


@dataclass(frozen=True, eq=False)
class Explanation:
    """The ways in which one person may have been infected.

    Two people may transmit on the same day, so the probabilities of contacts can add up to a little
    more than that of being infected by one.
    """

    person: Any
    contact: NDArray[np.int64]
    """``(n,)`` indices of the people met, the most probable source first."""
    day: NDArray[np.int64]
    """``(n,)`` days of the meetings (of the window, if there is one)."""
    prob: Floats
    """``(n,)`` posterior probability that this meeting infected the person."""
    initial_prob: float
    """Infected before the first day."""
    outside_prob: float
    """Infected from outside the network."""
    never_prob: float
    """Not infected within the horizon."""
    people: Any = field(repr=False)

    def table(self) -> list[tuple[Any, int, float]]:
        """Return rows of label, day and probability, the most probable first."""
        return [
            (self.people[k], int(day), float(prob))
            for k, day, prob in zip(self.contact, self.day, self.prob)
        ]


def explain_person(
    person: int,
    network: ContactNetwork,
    epidemic: Epidemic,
    weights: NodeWeights,
    layout: PairLayout,
    messages: Messages,
) -> Explanation:
    """Return the probability of every way in which a person may have been infected.

    A contact ``k`` of day ``x`` did it with probability proportional to the weight of an infection
    on that day in which ``k`` transmits first then and the others do not before.
    """
    n_days = network.n_days
    neighbours = _neighbours(person, n_days, layout, messages)
    n = len(neighbours)
    size = n_days + 1
    g, first = np.ones((n, size, size)), np.zeros((n, size))
    profiles = epidemic.profile(n_days)
    profile = np.ascontiguousarray(profiles[person if len(profiles) > 1 else 0])
    vector = np.empty(size)
    for place, (_, days, rate, message) in enumerate(neighbours):
        for a in range(size):
            first[place, a] = row_factor(
                a, a, days, days, 0, len(days), rate, profile, 0, message, n_days, vector
            )
            g[place, a, a:] = vector[a:]
    both = g + first[:, :, None]
    table = weights.table[weights.table_of_person[person]]
    weight = table[:size, :size].copy()
    weight[:, -1] += table[:size, -1]  # no contact tells the last two ends apart
    escape = weights.escape[person if len(weights.escape) > 1 else 0]
    stay = np.concatenate([[0.0], escape])[:, None]
    blame = np.zeros((n, size))
    for place in range(n):
        others = np.prod(np.delete(both, place, axis=0), axis=0)
        blame[place] = first[place] * (weight * others).sum(axis=1)
    everything, nothing = np.prod(both, axis=0), np.prod(g, axis=0)
    belief = (weight * (everything - stay * nothing)).sum(axis=1)
    outside = (weight * (1.0 - stay) * everything).sum(axis=1)
    never = table[-1, -1] * np.prod([message[-1] for *_, message in neighbours])
    total = belief.sum() + never
    contact = np.repeat([k for k, *_ in neighbours], [len(days) for _, days, *_ in neighbours])
    day = np.concatenate([days for _, days, *_ in neighbours]) if n else np.empty(0, np.int64)
    of = np.repeat(np.arange(n), [len(days) for _, days, *_ in neighbours])
    prob = blame[of, day + 1] / total
    order = np.argsort(-prob, kind="stable")
    return Explanation(
        network.people[person],
        contact.astype(np.int64)[order],
        day.astype(np.int64)[order],
        prob[order],
        float(belief[0] / total),
        float(outside[1:].sum() / total),
        float(never / total),
        network.people,
    )


def _neighbours(
    person: int, n_days: int, layout: PairLayout, messages: Messages
) -> list[tuple[int, NDArray[np.int64], Floats, Floats]]:
    """Return who was met, the days, this person's transmission probabilities, and the message."""
    found = []
    for day in range(n_days):
        at = person * n_days + day
        for slot in range(layout.single_start[at], layout.single_start[at + 1]):
            there = _plain(layout.single_reverse[slot])
            other = int(np.searchsorted(layout.single_start, there, side="right") - 1) // n_days
            odds, boost = (float(number) for number in messages.single[slot])
            message = np.array([0.0, 1.0, 0.0])
            if boost < np.inf:
                first = odds / (1.0 + odds) if odds < np.inf else 1.0
                message = np.array([first, max(boost - first, 0.0), 1.0 / (1.0 + odds)])
            rate = layout.single_rate[0 if layout.single_rate.size == 1 else slot]
            found.append((other, np.array([day]), np.array([float(rate)]), message))
    for slot in range(layout.repeated_start[person], layout.repeated_start[person + 1]):
        there = _plain(layout.repeated_reverse[slot])
        other = int(np.searchsorted(layout.repeated_start, there, side="right") - 1)
        begin, end = layout.repeated_offset[slot], layout.repeated_offset[slot + 1]
        days = layout.repeated_day[begin:end].astype(np.int64)
        rates = layout.repeated_rate
        rate = np.full(len(days), rates[0]) if rates.size == 1 else rates[begin:end]
        message = messages.repeated[2 * begin + slot : 2 * end + slot + 1]
        found.append((other, days, rate.astype(np.float64), message.astype(np.float64)))
    return found


def _plain(slot: int) -> int:
    return int(slot) if slot >= 0 else int(~slot)
