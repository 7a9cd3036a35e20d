"""Small epidemics on random networks, and all their histories one by one."""

import itertools

import numpy as np

from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.simulation import simulate


def pairs_of_tree(n_people, rng):
    """Return the pairs of a random recursive tree, ``(n_people - 1, 2)``."""
    return np.array([(rng.integers(child), child) for child in range(1, n_people)])


def random_network(
    pairs, n_people, n_days, rng, *, low=0.1, high=0.7, daily=0.7, certain=0.0, symmetric=False
):
    """Let pairs meet on some days, with random probabilities or, now and then, 1."""
    met = rng.random((len(pairs), n_days)) < daily
    met[np.arange(len(pairs)), rng.integers(n_days, size=len(pairs))] = True
    pair, day = np.nonzero(met)
    first, second = np.asarray(pairs)[pair].T
    prob = rng.uniform(low, high, (2, len(pair)))
    prob[rng.random(prob.shape) < certain] = 1.0
    if symmetric:
        prob[1] = prob[0]
    return ContactNetwork.from_events(
        np.concatenate([first, second]),
        np.concatenate([second, first]),
        np.concatenate([day, day]),
        prob.ravel(),
        n_people=n_people,
        n_days=n_days,
    )


def random_epidemic(n_days, rng, *, markov=True, self_infection=0.0, n_people=None):
    """Return a Markov epidemic, or one with random recovery and infectivity, per person or not."""
    if markov:
        per_person = {} if n_people is None else {"size": n_people}
        seed, recovery = rng.uniform(0.05, 0.3, **per_person), rng.uniform(0.1, 0.5, **per_person)
        return Epidemic(seed, recovery, self_infection_prob=self_infection)
    shape = () if n_people is None else (n_people,)
    hazard = rng.uniform(0.0, 0.6, (*shape, n_days + 1))
    survival = np.concatenate([np.ones((*shape, 1)), np.cumprod(1.0 - hazard, axis=-1)], axis=-1)
    return Epidemic(
        0.15,
        recovery_survival=survival,
        infectivity=rng.uniform(0.0, 1.0, (*shape, n_days + 1)),
        self_infection_prob=self_infection,
    )


def random_tests(network, epidemic, rng, n_tests=6, *, false_positive=0.05, false_negative=0.2):
    """Return random tests of a history that can have happened."""
    state = simulate(network, epidemic, seed=rng).states()
    person = rng.integers(network.n_people, size=n_tests)
    day = rng.integers(network.n_days + 1, size=n_tests)
    infected = state[person, day] == 1
    chance = np.where(infected, 1.0 - false_negative, false_positive)
    return Observations.from_tests(
        person,
        day,
        rng.random(n_tests) < chance,
        false_positive=false_positive,
        false_negative=false_negative,
    )


def tables(network, epidemic):
    """Return start, survival, infectivity and escape of every person."""
    n, n_days = network.n_people, network.n_days
    parts = (
        epidemic.start(),
        epidemic.survival(n_days),
        epidemic.profile(n_days),
        epidemic.escape(n_days),
    )
    return tuple(np.broadcast_to(part, (n, part.shape[1])) for part in parts)


def daily_rates(network):
    """Return ``(n_days, n_people, n_people)``: probability that the first infects the second."""
    rate = np.zeros((network.n_days, network.n_people, network.n_people))
    rate[network.day, network.first, network.second] = network.forward_prob
    rate[network.day, network.second, network.first] = network.backward_prob
    return rate


def all_histories(network, observations, epidemic):
    """Return ``state_prob, infection_day_prob, log_evidence`` by summing over every history."""
    n, n_days = network.n_people, network.n_days
    start, survival, profile, escape = tables(network, epidemic)
    rate = daily_rates(network)
    never = n_days + 1
    times = [(a, c) for a in range(never) for c in range(a, never + 1)] + [(never, never)]
    state_prob = np.zeros((n, n_days + 1, 3))
    infection_day_prob = np.zeros((n, n_days + 2))

    def state(a, c, day):
        return 0 if day < a else 1 if day < c else 2

    def own_weight(i, a, c):
        weight = start[i, 1 if a == 0 else 0]
        if a == never:
            weight *= epidemic.susceptible_bias
        elif c == never:
            weight *= survival[i, never - a]
        else:
            weight *= survival[i, c - a] - survival[i, c - a + 1]
        if a == c == 0:
            weight += start[i, 2]
        for person, day, likelihood in zip(
            observations.person, observations.day, observations.likelihood
        ):
            if person == i:
                weight *= likelihood[state(a, c, day)]
        return weight * symptom_likelihood(observations.symptoms, i, a, c, n_days)

    own = [[own_weight(i, a, c) for a, c in times] for i in range(n)]
    for history in itertools.product(range(len(times)), repeat=n):
        weight = np.prod([own[i][which] for i, which in enumerate(history)])
        if weight == 0.0:
            continue
        for day in range(n_days):
            for i, which in enumerate(history):
                a = times[which][0]
                if a <= day:
                    continue
                spared = escape[i, day]
                for j, other in enumerate(history):
                    b, e = times[other]
                    if b <= day < e:
                        spared *= 1.0 - rate[day, j, i] * profile[j, day - b + 1]
                weight *= spared if a > day + 1 else 1.0 - spared
        for i, which in enumerate(history):
            a, c = times[which]
            infection_day_prob[i, a] += weight
            for day in range(n_days + 1):
                state_prob[i, day, state(a, c, day)] += weight
    total = infection_day_prob[0].sum()
    return state_prob / total, infection_day_prob / total, np.log(total)


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
