import numpy as np
import pytest
from contact_cases import pairs_of_tree, random_epidemic, random_network, random_tests
from contact_enumeration import enumerated_posterior
from dense_contacts import dense_propagation

from graphs.contacts import fresh_contacts
from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_posterior
from models.contact_tracing.node_weights import node_weights


def dense(network, observations, epidemic, **options):
    weights = node_weights(epidemic, observations, network.n_people, network.n_days)
    return dense_propagation(network, weights, **options)


@pytest.mark.parametrize("seed", range(8))
def test_exact_on_trees_with_certain_contacts_and_perfect_tests(seed):
    rng = np.random.default_rng(seed)
    network = random_network(pairs_of_tree(5, rng), 5, 5, rng, certain=0.3 * (seed % 2))
    epidemic = random_epidemic(5, rng, self_infection=0.03 * (seed % 3 > 0))
    noisy = seed < 4
    tests = random_tests(
        network, epidemic, rng, false_positive=0.05 * noisy, false_negative=0.2 * noisy
    )
    got, exact = dense(network, tests, epidemic), exact_posterior(network, tests, epidemic)
    np.testing.assert_allclose(got.state_prob, exact.state_prob, atol=1e-12)
    np.testing.assert_allclose(got.infection_day_prob, exact.infection_day_prob, atol=1e-12)
    np.testing.assert_allclose(got.log_evidence, exact.log_evidence, atol=1e-12)


def test_exact_on_a_pair_by_enumeration():
    network = ContactNetwork.from_events([0, 1, 0], [1, 0, 1], [0, 1, 2], [0.4, 0.3, 1.0])
    epidemic = Epidemic([0.3, 0.1], 0.3, self_infection_prob=0.1)
    tests = Observations.from_tests([1], [3], [True], false_positive=0.1, false_negative=0.2)
    got = dense(network, tests, epidemic)
    state_prob, _, log_evidence = enumerated_posterior(network, tests, epidemic)
    np.testing.assert_allclose(got.state_prob, state_prob, atol=1e-13)
    np.testing.assert_allclose(got.log_evidence, log_evidence, atol=1e-13)


@pytest.mark.slow
def test_many_neighbours_do_not_underflow():
    network = fresh_contacts(300, 30, seed=0, mean_degree=15)
    got = dense(network, Observations.none(), Epidemic(0.01, 0.1), max_steps=3)
    assert np.isfinite(got.log_evidence)
    assert np.isfinite(got.state_prob).all()


def test_an_impossible_history_is_an_error():
    network = ContactNetwork.from_events([0], [1], [2], 0.5, n_days=4, symmetric=True)
    tests = Observations.of_states([0, 1], [3, 4], [0, 1])
    with pytest.raises(ValueError, match="no history is possible"):
        dense(network, tests, Epidemic([0.1, 0.0], 0.2))
