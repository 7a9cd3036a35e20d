"""Every history of a few people with its probability, from the definition of the model.

The oracle of what is random or approximate: it shares nothing with the library but the meaning of
an epidemic's parameters.
"""

import itertools

import numpy as np


def histories(n_days):
    """Return every pair of infection and recovery day of one person."""
    never = n_days + 1
    return [(a, c) for a in range(never) for c in range(a, never + 1)] + [(never, never)]


def enumerate_histories(network, epidemic):
    """Return all histories ``(n, n_people, 2)`` of a network and their prior probabilities."""
    n, n_days = network.n_people, network.n_days
    start = np.broadcast_to(epidemic.start(), (n, 3))
    survival = np.broadcast_to(epidemic.survival(n_days), (n, n_days + 2))
    profile = np.broadcast_to(epidemic.profile(n_days), (n, n_days + 1))
    escape = np.broadcast_to(epidemic.escape(n_days), (n, n_days))
    risk = np.zeros((n_days, n, n))
    risk[network.day, network.first, network.second] = network.forward_prob
    risk[network.day, network.second, network.first] = network.backward_prob
    paths = list(itertools.product(histories(n_days), repeat=n))
    chances = []
    for path in paths:
        chance = 1.0
        for person, (a, c) in enumerate(path):
            avoid = [
                escape[person, x]
                * np.prod([
                    1.0 - risk[x, k, person] * profile[k, x - ak + 1]
                    for k, (ak, ck) in enumerate(path)
                    if ak <= x < ck
                ])
                for x in range(n_days)
            ]  # fmt: skip
            chance *= _start(start[person], a, c)
            chance *= np.prod(avoid[: max(0, a - 1)]) if a <= n_days else np.prod(avoid)
            if 0 < a <= n_days:
                chance *= 1.0 - avoid[a - 1]
            if a <= n_days and not (a == 0 and c == 0 and start[person, 2]):
                lasts = survival[person, c - a]
                chance *= lasts if c == n_days + 1 else lasts - survival[person, c - a + 1]
        chances.append(chance)
    return np.array(paths), np.array(chances)


def _start(start, a, c):
    if a > 0:
        return start[0]
    return start[2] if c == 0 and start[2] else start[1]


def state_table(paths, n_days):
    """Return the indicators of S, I, R on each day, ``(n, n_people, n_days + 1, 3)``."""
    day = np.arange(n_days + 1)
    a, c = paths[..., 0, None], paths[..., 1, None]
    return np.stack([day < a, (a <= day) & (day < c), c <= day], axis=-1).astype(float)


def enumerated_posterior(network, observations, epidemic):
    """Return state probabilities ``(n_people, n_days + 1, 3)`` and the log-evidence."""
    paths, chances = enumerate_histories(network, epidemic)
    states = state_table(paths, network.n_days)
    for person, day, likelihood in zip(
        observations.person, observations.day, observations.likelihood
    ):
        chances = chances * (states[:, person, day] @ likelihood)
    evidence = chances.sum()
    return np.tensordot(chances / evidence, states, axes=1), float(np.log(evidence))
