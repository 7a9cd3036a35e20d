"""The joint chain of a few people against the sum over all their histories."""

import itertools
import re

import contact_cases as cases
import jax
import numpy as np
import pytest
from contact_enumeration import enumerated_posterior

from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_log_evidence, exact_posterior

TRIANGLE = np.array(list(itertools.combinations(range(3), 2)))


def assert_same(network, observations, epidemic):
    result = exact_posterior(network, observations, epidemic)
    state_prob, infection_day_prob, log_evidence = enumerated_posterior(
        network, observations, epidemic
    )
    np.testing.assert_allclose(result.state_prob, state_prob, rtol=0, atol=1e-13)
    np.testing.assert_allclose(result.infection_day_prob, infection_day_prob, rtol=0, atol=1e-13)
    assert result.log_evidence == pytest.approx(log_evidence, abs=1e-12)


@pytest.mark.parametrize("markov", [True, False])
@pytest.mark.parametrize("self_infection", ["none", "number", "table"])
@pytest.mark.parametrize("per_person", [False, True])
def test_all_histories_of_three_people(markov, self_infection, per_person):
    rng = np.random.default_rng([markov, len(self_infection), per_person])
    network = cases.random_network(TRIANGLE, 3, 3, rng, certain=0.2)
    outside = {"none": 0.0, "number": 0.05, "table": rng.uniform(0.0, 0.1, (3, 3))}
    epidemic = cases.random_epidemic(
        3,
        rng,
        markov=markov,
        self_infection=outside[self_infection],
        n_people=3 if per_person else None,
    )
    assert_same(network, cases.random_tests(network, epidemic, rng, 4), epidemic)


def test_people_may_recover_before_they_are_ever_infectious():
    rng = np.random.default_rng(1)
    network = cases.random_network(TRIANGLE, 3, 3, rng)
    epidemic = Epidemic(0.2, recovery_survival=[1.0, 0.6, 0.5, 0.0, 0.0], self_infection_prob=0.1)
    tests = Observations.of_states([0], [1], [2])
    assert_same(network, tests, epidemic)


def test_a_window_that_starts_in_the_middle_and_a_bias_towards_health():
    rng = np.random.default_rng(2)
    network = cases.random_network(TRIANGLE, 3, 3, rng)
    start = rng.dirichlet(np.ones(3), size=3)
    epidemic = Epidemic(0.5, 0.3, initial_state_prob=start, susceptible_bias=1.22)
    assert_same(network, cases.random_tests(network, epidemic, rng), epidemic)


@pytest.mark.parametrize("watched", [None, [0, 1]])
@pytest.mark.parametrize("background", [0.0, 0.1])
def test_symptoms(watched, background):
    rng = np.random.default_rng(3)
    network = cases.random_network(TRIANGLE, 3, 3, rng)
    tests = Observations.from_tests([2], [3], [True], false_negative=0.2).with_symptoms(
        [1],
        [2],
        symptom_prob=0.7,
        delay=[0.1, 0.3, 0.6],
        background_prob=background,
        watched=watched,
        last_day=None if background else 2,
    )
    assert_same(network, tests, cases.random_epidemic(3, rng, self_infection=0.02))


def test_without_contacts_the_infection_day_is_geometric():
    network = ContactNetwork.from_events([0], [1], [0], 0.0, n_days=10)
    result = exact_posterior(
        network, Observations.none(), Epidemic(0.1, 0.0, self_infection_prob=0.1)
    )
    expected = [0.1, *0.09 * 0.9 ** np.arange(10), 0.9**11]
    np.testing.assert_allclose(result.infection_day_prob[1], expected, rtol=0, atol=1e-14)
    assert abs(result.log_evidence) < 1e-14


def test_the_published_chain_of_three_seen_infected_at_the_end():
    # numbers printed by the doctest of github.com/sibyl-team/sib
    day = np.repeat(np.arange(10), 2)
    network = ContactNetwork.from_events(
        np.tile([0, 1], 10), np.tile([1, 2], 10), day, 0.2, symmetric=True
    )
    epidemic = Epidemic(0.01, 0.0, self_infection_prob=0.01)
    seen = Observations.of_states([0, 1, 2], [10, 10, 10], [1, 1, 1])
    result = exact_posterior(network, seen, epidemic)
    end = [0.0636352, 0.0749014, 0.0849232, 0.092888, 0.0983994, 0.101366, 0.101936, 0.100455,
           0.0974703, 0.0937401, 0.090285, 0.0]  # fmt: skip
    middle = [0.0773335, 0.105156, 0.122317, 0.130322, 0.130341, 0.123266, 0.1098, 0.0905592,
              0.0662309, 0.0377971, 0.00687738, 0.0]  # fmt: skip
    np.testing.assert_allclose(result.infection_day_prob, [end, middle, end], rtol=0, atol=6e-7)


@pytest.mark.parametrize("markov", [True, False])
def test_gradients_are_finite_differences(markov):
    rng = np.random.default_rng(4)
    network = cases.random_network(TRIANGLE, 3, 4, rng)
    epidemic = cases.random_epidemic(4, rng, markov=markov, self_infection=0.02)
    tests = cases.random_tests(network, epidemic, rng)
    parameters = {"transmission_prob": 0.8, "seed_prob": rng.uniform(0.1, 0.3, 3)}
    if markov:
        parameters |= {"recovery_prob": 0.3, "self_infection_prob": 0.05}

    def evidence(values):
        return exact_log_evidence(values, network, tests, epidemic)

    gradient = jax.grad(evidence)(parameters)
    step = 1e-5
    for name, value in parameters.items():
        for index in np.ndindex(np.shape(value)):
            nudge = np.zeros(np.shape(value))
            nudge[index] = step
            ends = [float(evidence(parameters | {name: value + sign * nudge})) for sign in (1, -1)]
            expected = (ends[0] - ends[1]) / (2 * step)
            assert float(gradient[name][index]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_parameters_replace_those_of_the_epidemic():
    rng = np.random.default_rng(5)
    network = cases.random_network(TRIANGLE, 3, 4, rng)
    halved = ContactNetwork.from_events(
        *network.events()[:3], 0.5 * network.events().transmission_prob, n_people=3, n_days=4
    )
    tests = cases.random_tests(network, Epidemic(0.2, 0.3), rng)
    parameters = {
        "transmission_prob": 0.5,
        "recovery_prob": 0.3,
        "seed_prob": 0.2,
        "self_infection_prob": 0.01,
    }
    got = exact_log_evidence(parameters, network, tests, Epidemic(0.9, 0.9))
    expected = exact_posterior(halved, tests, Epidemic(0.2, 0.3, self_infection_prob=0.01))
    assert float(got) == pytest.approx(expected.log_evidence, abs=1e-12)


def test_what_does_not_fit_is_refused():
    pair = ContactNetwork.from_events([0], [1], [0], 0.5)
    nothing, epidemic = Observations.none(), Epidemic(0.1, 0.1)
    line = ContactNetwork.from_events(np.arange(29), np.arange(1, 30), [0] * 29, 0.5, n_days=3)
    with pytest.raises(ValueError, match=re.escape("4**30 states, 1.09e+12 GiB; use infer")):
        exact_posterior(line, nothing, epidemic)
    with pytest.raises(ValueError, match="probability 0"):
        exact_posterior(pair, Observations.of_states([0], [1], [1]), Epidemic(0.0, 0.1))
    with pytest.raises(ValueError, match="parameters: expected any of"):
        exact_log_evidence({"beta": 0.1}, pair, nothing, epidemic)
    with pytest.raises(ValueError, match="one for each of 2 people"):
        exact_log_evidence({"seed_prob": [0.1, 0.1, 0.1]}, pair, nothing, epidemic)
    lasting = Epidemic(0.1, recovery_survival=[1.0, 1.0, 0.5])
    with pytest.raises(ValueError, match="beside recovery_survival"):
        exact_log_evidence({"recovery_prob": 0.1}, pair, nothing, lasting)
    window = Epidemic(0.1, 0.1, initial_state_prob=[[1.0, 0.0, 0.0]])
    with pytest.raises(ValueError, match="beside initial_state_prob"):
        exact_log_evidence({"seed_prob": 0.1}, pair, nothing, window)
