"""Epidemics, observations and their weights: what they mean, and what is refused."""

import numpy as np
import pytest
from contact_enumeration import enumerated_posterior

from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations, infer
from models.contact_tracing.node_weights import node_weights, state_factor


def test_weights_of_one_person_are_its_histories():
    """Alone, a person's posterior is its weights, the escape of the day of infection included."""
    network = ContactNetwork.from_events([0], [1], [0], 0.0, n_people=2, n_days=4)
    epidemic = Epidemic(
        np.array([0.2, 0.3]),
        recovery_survival=np.array([[1, 1, 0.8, 0.5, 0.3, 0.1], [1, 0.9, 0.9, 0.5, 0.2, 0.2]]),
        self_infection_prob=np.array([[0.1, 0.2, 0.0, 0.3], [0.05, 0.05, 0.5, 0.0]]),
    )
    tests = Observations.from_tests(
        [0, 1, 1], [2, 3, 4], [1, 0, 1], false_positive=0.1, false_negative=0.2
    )
    state_prob, infection, log_evidence = enumerated_posterior(network, tests, epidemic)
    weights = node_weights(epidemic, tests, 2, 4)
    outside = np.hstack([np.ones((2, 1)), 1.0 - weights.escape, np.ones((2, 1))])
    mass = weights.table[weights.table_of_person].sum(axis=2) * outside
    np.testing.assert_allclose(mass / mass.sum(axis=1, keepdims=True), infection, atol=1e-14)
    assert np.log(mass.sum(axis=1)).sum() == pytest.approx(log_evidence, abs=1e-13)
    result = infer(network, tests, epidemic)
    np.testing.assert_allclose(result.state_prob, state_prob, atol=1e-14)


def test_untested_people_share_a_table():
    tests = Observations.from_tests([3], [2], [True], false_positive=0.1)
    weights = node_weights(Epidemic(0.1, 0.2), tests, 1000, 5)
    assert len(weights.table) == 2
    assert np.flatnonzero(weights.table_of_person).tolist() == [3]


def test_markov_survival_is_geometric():
    np.testing.assert_allclose(
        Epidemic(0.1, 0.25).survival(3), [[1.0, 1.0, 0.75, 0.75**2, 0.75**3]]
    )


def test_state_factor_reads_the_day():
    factor = state_factor(np.array([0.1, 0.2, 0.3]), 2, 3)
    assert factor[3, 4] == 0.1  # infected by a contact of day 2 at the earliest: still susceptible
    assert factor[2, 3] == 0.2
    assert factor[1, 2] == 0.3


def test_bias_towards_health_tilts():
    network = ContactNetwork.from_events([0], [1], [0], 0.0, n_people=2, n_days=2)
    tilted = infer(network, Observations.none(), Epidemic(0.2, 0.1, susceptible_bias=3.0))
    assert tilted.infection_day_prob[0, -1] == pytest.approx(2.4 / 2.6)


def test_observations_add_up():
    one = Observations.from_tests([1], [2], [True], false_negative=0.1)
    two = Observations.of_states([3], [4], [2])
    both = one + two
    assert both.person.tolist() == [1, 3]
    assert both.likelihood.tolist() == [[0.0, 0.9, 0.0], [0.0, 0.0, 1.0]]
    ill = two.with_symptoms([1], [1], symptom_prob=0.5, delay=2)
    assert (one + ill).symptoms is ill.symptoms
    with pytest.raises(ValueError, match="symptoms: expected them in at most one"):
        ill + ill
    assert both.since(3).day.tolist() == [1]
    assert both.since(4, inclusive=False).person.size == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"seed_prob": 1.5, "recovery_prob": 0.1},
            r"seed_prob: expected probabilities in \[0, 1\]",
        ),
        ({"seed_prob": np.nan, "recovery_prob": 0.1}, "seed_prob: expected finite numbers"),
        ({"seed_prob": 0.1}, "expected exactly one of the two, got neither"),
        (
            {"seed_prob": 0.1, "recovery_prob": 0.1, "recovery_survival": [1, 1, 0.5]},
            "expected exactly one of the two, got both",
        ),
        ({"seed_prob": 0.1, "recovery_prob": [0.1, -0.2]}, "recovery_prob: .* got -0.2 at 1"),
        ({"seed_prob": 0.1, "recovery_survival": [1, 0.5, 0.6]}, "never increases"),
        ({"seed_prob": 0.1, "recovery_survival": [0.9, 0.5]}, "which is 1 at d = 0"),
        (
            {"seed_prob": 0.1, "recovery_prob": 0.1, "initial_state_prob": [[0.5, 0.2, 0.2]]},
            "rows that sum to 1",
        ),
        ({"seed_prob": 0.1, "recovery_prob": 0.1, "susceptible_bias": 0}, "susceptible_bias"),
    ],
)
def test_bad_epidemics(arguments, message):
    with pytest.raises(ValueError, match=message):
        Epidemic(**arguments)


@pytest.mark.parametrize(
    ("epidemic", "message"),
    [
        (Epidemic([0.1, 0.2, 0.3], 0.1), "seed_prob: expected one value, or one for each of 2"),
        (Epidemic(0.1, recovery_survival=[1, 1, 0.5]), "recovery_survival: expected at least 6"),
        (Epidemic(0.1, 0.1, infectivity=[0, 1]), "infectivity: expected at least 5 entries"),
        (Epidemic(0.1, 0.1, self_infection_prob=[[0.1] * 3]), "self_infection_prob: expected 4"),
    ],
)
def test_epidemics_that_do_not_fit(epidemic, message):
    network = ContactNetwork.from_events([0], [1], [0], 0.3, n_people=2, n_days=4)
    with pytest.raises(ValueError, match=message):
        infer(network, Observations.none(), epidemic)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [-1], [True]), "day: expected integers of at least 0, got -1"),
        (([0], [1.5], [True]), "day: expected integers of at least 0, got 1.5"),
        (([-1], [1], [True]), "person: expected integers of at least 0"),
        (([0], [1], [2]), "positive: expected True or False"),
        (([0, 1], [1], [True, False]), "day: expected 2 rows as in person, got 1"),
        (([0], [1], [True, False]), "positive: expected 1 rows as in person, got 2"),
    ],
)
def test_bad_tests(arguments, message):
    with pytest.raises(ValueError, match=message):
        Observations.from_tests(*arguments)


def test_bad_likelihoods():
    with pytest.raises(ValueError, match=r"got \(0, 0, 0\) for person 4 on day 2"):
        Observations([4], [2], [0.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="likelihood: expected probabilities"):
        Observations([4], [2], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="false_positive: expected 1 rows"):
        Observations.from_tests([4], [2], [True], false_positive=[0.1, 0.2])
    with pytest.raises(TypeError, match="person: expected integers, got 'Ada'"):
        Observations.from_tests("Ada", [2], [True])
    with pytest.raises(ValueError, match="state: expected 0, 1 or 2, got 3"):
        Observations.of_states([0], [1], [3])


def test_observations_that_do_not_fit():
    network = ContactNetwork.from_events(["a", "b"], ["b", "c"], [0, 3], 0.3)
    epidemic = Epidemic(0.1, 0.1)
    with pytest.raises(ValueError, match="person: expected an index below n_people = 3, got 7"):
        infer(network, Observations.from_tests([7], [1], [True]), epidemic)
    with pytest.raises(ValueError, match="up to the horizon, day 4, got 5"):
        infer(network, Observations.from_tests([1], [5], [True]), epidemic)
    clash = Observations.from_tests([1, 2, 1], [2, 2, 2], [True, True, False])
    with pytest.raises(ValueError, match="tests of person b on day 2 contradict each other"):
        infer(network, clash, epidemic)
