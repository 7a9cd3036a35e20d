"""Small epidemics on random networks."""

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


def daily_rates(network):
    """Return ``(n_days, n_people, n_people)``: probability that the first infects the second."""
    rate = np.zeros((network.n_days, network.n_people, network.n_people))
    rate[network.day, network.first, network.second] = network.forward_prob
    rate[network.day, network.second, network.first] = network.backward_prob
    return rate
