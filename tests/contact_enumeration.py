"""Every history of a few people with its probability, from the definition of the model.

The oracle of what is random or approximate: it shares nothing with the library but the meaning of
an epidemic's parameters.
"""

import itertools

import numpy as np
from contact_cases import daily_rates


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
    risk = daily_rates(network)
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
            lasts = 1.0
            if a <= n_days:
                end = 0.0 if c == n_days + 1 else survival[person, c - a + 1]
                lasts = survival[person, c - a] - end
            susceptible, infected, recovered = start[person]
            if a == 0:
                chance *= infected * lasts + (recovered if c == 0 else 0.0)
            else:
                chance *= susceptible * np.prod(avoid[: a - 1]) * lasts
                chance *= 1.0 - avoid[a - 1] if a <= n_days else epidemic.susceptible_bias
        chances.append(chance)
    return np.array(paths), np.array(chances)


def state_table(paths, n_days):
    """Return the indicators of S, I, R on each day, ``(n, n_people, n_days + 1, 3)``."""
    day = np.arange(n_days + 1)
    a, c = paths[..., 0, None], paths[..., 1, None]
    return np.stack([day < a, (a <= day) & (day < c), c <= day], axis=-1).astype(float)


def enumerated_posterior(network, observations, epidemic):
    """Return state probabilities, probabilities of infection days ``a``, and the log-evidence."""
    n_days = network.n_days
    paths, chances = enumerate_histories(network, epidemic)
    states = state_table(paths, n_days)
    for person, day, likelihood in zip(
        observations.person, observations.day, observations.likelihood
    ):
        chances = chances * (states[:, person, day] @ likelihood)
    if observations.symptoms is not None:
        for person in range(network.n_people):
            seen = {
                times: symptom_likelihood(observations.symptoms, person, *times, n_days)
                for times in histories(n_days)
            }
            chances = chances * [seen[a, c] for a, c in paths[:, person].tolist()]
    evidence = chances.sum()
    infection = paths[:, :, 0, None] == np.arange(n_days + 2)
    return (
        np.tensordot(chances / evidence, states, axes=1),
        np.tensordot(chances / evidence, infection, axes=1),
        float(np.log(evidence)),
    )


def symptom_likelihood(symptoms, person, a, c, n_days):
    """Return the probability of what is known of a person's symptoms, given its times."""
    watched = symptoms is not None and (symptoms.watched is None or person in symptoms.watched)
    if not watched:
        return 1.0

    def from_infection(day):
        waited = day - (a - 1)
        shown = a <= day < c and waited < len(symptoms.delay_prob)
        return symptoms.symptom_prob * symptoms.delay_prob[waited] if shown else 0.0

    last_day = n_days if symptoms.last_day is None else min(symptoms.last_day, n_days)
    onset = dict(zip(symptoms.person, symptoms.day)).get(person)
    end = last_day + 1 if onset is None else onset
    quiet = (1.0 - sum(map(from_infection, range(end)))) * (1.0 - symptoms.background_prob) ** end
    if onset is None:
        return quiet
    other = symptoms.background_prob
    return quiet * other + (1.0 - other) ** (end + 1) * from_infection(onset)
