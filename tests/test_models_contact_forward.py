import numpy as np
import pytest
from contact_cases import pairs_of_tree, random_epidemic, random_network
from contact_enumeration import enumerated_posterior

from graphs.contacts import proximity_contacts
from graphs.temporal import ContactNetwork
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_posterior
from models.contact_tracing.forward import dynamic_message_passing, forecast
from models.contact_tracing.simulation import simulate


def check(got, exact):
    np.testing.assert_allclose(got.state_prob, exact.state_prob, atol=1e-12)
    np.testing.assert_allclose(got.infection_day_prob, exact.infection_day_prob, atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("markov", [True, False])
def test_exact_on_trees_without_observations(seed, markov):
    rng = np.random.default_rng(seed)
    n, n_days = (6, 6) if markov else (4, 4)
    # gaps between contacts, pairs that meet once, certain transmission, infection from outside
    network = random_network(
        pairs_of_tree(n, rng),
        n,
        n_days,
        rng,
        daily=rng.choice([0.1, 0.7]),
        certain=0.3 * (seed % 2),
    )
    epidemic = random_epidemic(
        n_days, rng, markov=markov, self_infection=0.05 * (seed % 3 > 0), n_people=n
    )
    check(
        dynamic_message_passing(network, epidemic),
        exact_posterior(network, Observations.none(), epidemic),
    )


def test_certain_infections_leave_no_division_by_zero():
    network = ContactNetwork.from_events([0, 1, 0, 1, 2], [1, 0, 2, 2, 1], [0, 1, 1, 2, 3], 1.0)
    epidemic = Epidemic([1.0, 0.0, 0.2], 0.3)
    # a triangle in space, a tree in time: who infects whom is certain
    got = dynamic_message_passing(network, epidemic)
    state_prob, _, _ = enumerated_posterior(network, Observations.none(), epidemic)
    np.testing.assert_allclose(got.state_prob[:2], state_prob[:2], atol=1e-12)
    assert np.isfinite(got.state_prob).all()


def test_a_window_that_starts_in_the_middle():
    network = ContactNetwork.from_events([0, 1, 1], [1, 0, 2], [0, 1, 2], [0.5, 0.3, 0.7])
    epidemic = Epidemic(
        0.0, 0.3, initial_state_prob=[[0.2, 0.5, 0.3], [0.7, 0.2, 0.1], [1.0, 0.0, 0.0]]
    )
    check(
        dynamic_message_passing(network, epidemic),
        exact_posterior(network, Observations.none(), epidemic),
    )


@pytest.mark.statistical
def test_many_epidemics_on_a_sparse_network():
    network = proximity_contacts(2000, 10, transmission_prob=0.02, seed=0)
    epidemic = Epidemic(0.05, 0.2, self_infection_prob=0.001)
    runs = [np.bincount(simulate(network, epidemic, seed=s).state_on(10)) for s in range(300)]
    expected = dynamic_message_passing(network, epidemic).state_prob[:, 10].sum(axis=0)
    error = np.std(runs, axis=0) / np.sqrt(len(runs))
    # loops of contacts count an infection that returns; at this transmission a share below 1 %
    susceptible = np.mean(runs, axis=0)[0]
    assert abs(susceptible - expected[0]) < 4 * error[0] + 0.01 * (2000 - susceptible)


def test_forecast_goes_on_where_a_forward_pass_stops_if_states_are_independent():
    rng = np.random.default_rng(3)
    network = random_network([(0, 1), (2, 3)], 4, 6, rng, daily=1.0)
    epidemic = Epidemic(0.2, 0.3, self_infection_prob=0.02)
    # pairs that meet only on the first three days, others only on the last three
    early, late = network.first == 0, network.first == 2
    split = lambda rows: ContactNetwork.from_events(  # noqa: E731
        network.first[rows], network.second[rows], network.day[rows], 0.4,
        n_people=4, n_days=6, symmetric=True,
    )  # fmt: skip
    both = split((early & (network.day < 3)) | (late & (network.day >= 3)))
    whole = dynamic_message_passing(both, epidemic)
    today = dynamic_message_passing(both.window(0, 3), epidemic).state_prob[:, -1]
    later = forecast(both.window(3, 3), today.astype(np.float32), epidemic)
    np.testing.assert_allclose(later.state_prob, whole.state_prob[:, 3:], atol=1e-6)


def test_bad_input():
    network = ContactNetwork.from_events([0], [1], [0], 0.5)
    epidemic = Epidemic(0.1, 0.1)
    with pytest.raises(ValueError, match=r"state_prob: expected shape \(2, 3\)"):
        forecast(network, np.ones((3, 3)) / 3, epidemic)
    with pytest.raises(ValueError, match="sum to 1"):
        forecast(network, np.ones((2, 3)), epidemic)
    with pytest.raises(ValueError, match="2 people"):
        dynamic_message_passing(network, Epidemic([0.1, 0.1, 0.1], 0.1))
