"""The compiled sweep of Gibbs sampling: one person's whole path after another's.

Given everybody else's days, a person's pair of infection and recovery day has a finite table of
probabilities: its own weight, what its contacts did to it, and what it did to those of them who
were infected or escaped on the days of their contacts. Certainties (factors of zero) are counted
beside the logarithms, so that a path may break some at a price while a first history is sought.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checks import Floats
from inference.kernels import RandomState, kernel, next_float

FORBIDDEN = -1e6
"""Log price of breaking a certainty, once none is broken: exp(-1e6) is 0."""


class Meetings(NamedTuple):
    """Contacts of each person on each day, seen from both sides."""

    start: NDArray[np.int64]
    """``(n_people * n_days + 1,)``: those of person ``i`` on day ``x`` from ``i * n_days + x``."""
    other: NDArray[np.int32]
    rate_in: Floats
    """Probability that the other infects the person."""
    rate_out: Floats


def meetings(network: ContactNetwork) -> Meetings:
    """Return the contacts in the order of persons and days."""
    n, n_days = network.n_people, network.n_days
    owner = np.concatenate([network.first, network.second])
    place = owner.astype(np.int64) * n_days + np.tile(network.day, 2)
    order = np.argsort(place, kind="stable")
    out = np.concatenate([network.forward_prob, network.backward_prob])
    into = np.concatenate([network.backward_prob, network.forward_prob])
    return Meetings(
        np.searchsorted(place[order], np.arange(n * n_days + 1)),
        np.concatenate([network.second, network.first])[order],
        into[order],
        out[order],
    )


@kernel
def infection_chance(
    person: int, day: int, but: int, start: Any, other: Any, rate_in: Floats, profile: Floats,
    escape: Floats, infection: Any, recovery: Any,
) -> float:  # fmt: skip
    """Return the probability to be infected on a day by anybody but one, from outside included."""
    chance = 1.0 - escape[min(person, escape.shape[0] - 1), day]
    row = person * escape.shape[1] + day
    for m in range(start[row], start[row + 1]):
        k = other[m]
        if k != but and infection[k] <= day < recovery[k]:
            rate = rate_in[m] * profile[min(k, profile.shape[0] - 1), day - infection[k] + 1]
            chance += (1.0 - chance) * rate
    return chance


@kernel
def n_broken(
    start: Any, other: Any, rate_in: Floats, profile: Floats, escape: Floats, infection: Any,
    recovery: Any,
) -> int:  # fmt: skip
    """Return how many certainties a history breaks: infections from nowhere, and escapes."""
    n_days = escape.shape[1]
    broken = 0
    for i in range(infection.size):
        for day in range(min(infection[i], n_days)):
            chance = infection_chance(
                i, day, -1, start, other, rate_in, profile, escape, infection, recovery
            )
            if infection[i] == day + 1:
                broken += chance == 0.0
            else:
                broken += chance == 1.0
    return broken


@kernel
def sweep(
    start: Any, other: Any, rate_in: Floats, rate_out: Floats, profile: Floats, escape: Floats,
    log_table: Floats, kind: Any, price: float, power: float,
    infection: Any, recovery: Any, state: RandomState,
) -> None:  # fmt: skip
    """Draw everybody's days anew, one person after another.

    ``price`` is the logarithm of the weight of each certainty broken; all other factors are raised
    to ``power``, 1 when the chain is to be right.
    """
    n_days, n_people = escape.shape[1], infection.size
    never = n_days + 1
    most = 0
    for i in range(n_people):
        most = max(most, start[(i + 1) * n_days] - start[i * n_days])
    item_day, item_rate = np.empty(most, np.int64), np.empty(most)
    item_rest = np.empty(most)
    log_weight, broken = np.empty(n_days + 2), np.zeros(n_days + 2, np.int64)
    weights = np.empty((n_days + 2, n_days + 2))
    gain, eased = np.empty(n_days), np.empty(n_days, np.int64)
    one_row = profile.shape[0] == 1
    ageless = True
    for d in range(1, profile.shape[1]):
        ageless = ageless and profile[0, d] == profile[0, 1]
    ageless = ageless and one_row
    for i in range(n_people):
        own_profile = profile[min(i, profile.shape[0] - 1)]
        keep = escape[min(i, escape.shape[0] - 1)]
        # what the others did to this person, for each day of infection
        spared, passed = 0.0, 0
        log_weight[0], broken[0] = 0.0, 0
        n_items = 0
        for day in range(n_days):
            risk, outside = 0.0, 1.0 - keep[day]
            row = i * n_days + day
            for m in range(start[row], start[row + 1]):
                k = other[m]
                if infection[k] <= day:
                    if day < recovery[k]:
                        rate = rate_in[m]
                        rate *= profile[min(k, profile.shape[0] - 1), day - infection[k] + 1]
                        risk += (1.0 - risk) * rate
                    continue
                if rate_out[m] == 0.0:
                    continue
                item_day[n_items], item_rate[n_items] = day, rate_out[m]
                item_rest[n_items] = -1.0  # the other escaped
                if infection[k] == day + 1:
                    item_rest[n_items] = infection_chance(
                        k, day, i, start, other, rate_in, profile, escape, infection, recovery
                    )
                n_items += 1
            chance = risk + (1.0 - risk) * outside
            log_weight[day + 1], broken[day + 1] = spared, passed
            if chance > 0.0:
                log_weight[day + 1] += np.log(chance)
            else:
                broken[day + 1] += 1
            # the escape from outside is in the person's own weight
            if risk < 1.0:
                spared += np.log1p(-risk)
            else:
                passed += 1
        log_weight[never], broken[never] = spared, passed
        # what it does to the others, for each pair of days
        table = log_table[kind[i]]
        largest = -np.inf
        for a in range(n_days + 2):
            if a == 0 or (a <= n_days and not ageless):
                gain[:] = 0.0
                eased[:] = 0
                for item in range(n_items):
                    day = item_day[item]
                    if day < a:
                        continue
                    rate = item_rate[item] * own_profile[1 if ageless else day - a + 1]
                    rest = item_rest[item]
                    if rest < 0.0:
                        if rate < 1.0:
                            gain[day] += np.log1p(-rate)
                        else:
                            eased[day] -= 1
                    elif rest > 0.0:
                        gain[day] += np.log((rest + (1.0 - rest) * rate) / rest)
                    elif rate > 0.0:
                        gain[day] += np.log(rate)
                        eased[day] += 1
            value, count = log_weight[a], broken[a]
            for c in range(a, n_days + 2):
                if a < c <= n_days:
                    value += gain[c - 1]
                    count -= eased[c - 1]
                weights[a, c] = power * (table[a, c] + value) + price * count
                largest = max(largest, weights[a, c])
        infection[i], recovery[i] = _drawn(weights, largest, next_float(state))


@kernel
def _drawn(weights: Floats, largest: float, uniform: float) -> Any:
    """Return a place of a table of log weights, its upper triangle, drawn in proportion to them."""
    total, size = 0.0, weights.shape[0]
    for a in range(size):
        for c in range(a, size):
            weights[a, c] = np.exp(weights[a, c] - largest)
            total += weights[a, c]
    left, place = uniform * total, (0, 0)
    for a in range(size):
        for c in range(a, size):
            if weights[a, c] > 0.0:
                place = (a, c)  # the last possible one, if rounding leaves a rest
                left -= weights[a, c]
                if left < 0.0:
                    return place
    return place


@kernel
def count(infection: Any, recovery: Any, infected_on: Any, recovered_on: Any, total: Any) -> None:
    """Add a history to the counts of everybody's days and of the number infected on each day."""
    for i in range(infection.size):
        infected_on[i, infection[i]] += 1
        recovered_on[i, recovery[i]] += 1
        for day in range(infection[i], min(recovery[i], total.size)):
            total[day] += 1
