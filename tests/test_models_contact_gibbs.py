import numpy as np
import pytest
from contact_cases import random_epidemic, random_network, random_tests
from contact_enumeration import enumerate_histories
from suite_helpers import assert_z

from graphs.temporal import ContactNetwork
from inference.interop import posterior_array
from inference.status import ConvergenceError, Status
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_posterior
from models.contact_tracing.gibbs_kernel import meetings, n_broken
from models.contact_tracing.gibbs_sampler import gibbs

TRIANGLES = [(0, 1), (1, 2), (0, 2), (2, 3), (0, 3)]


def agrees(got, exact):
    moved = got.standard_error > 0
    ess = got.diagnostics.ess[~np.isnan(got.diagnostics.ess)]
    assert_z(
        got.state_prob[moved],
        exact.state_prob[moved],
        got.standard_error[moved],
        limit=4.5,
        ess=ess,
    )
    # what no chain ever visited must be rare
    np.testing.assert_allclose(got.state_prob[~moved], exact.state_prob[~moved], atol=5e-4)
    assert got.status == Status.CONVERGED


@pytest.mark.statistical
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("markov", [True, False])
def test_exact_on_loops(seed, markov):
    rng = np.random.default_rng(seed)
    network = random_network(TRIANGLES, 4, 4, rng)
    epidemic = random_epidemic(
        4,
        rng,
        markov=markov,
        self_infection=0.03 * (seed % 3 > 0),
        n_people=4 if seed % 2 else None,
    )
    noisy = seed < 3
    tests = random_tests(
        network, epidemic, rng, false_positive=0.05 * noisy, false_negative=0.2 * noisy
    )
    got = gibbs(network, tests, epidemic, num_samples=10_000, seed=seed, progress=False)
    agrees(got, exact_posterior(network, tests, epidemic))


@pytest.mark.statistical
def test_symptoms_and_a_window_that_starts_in_the_middle():
    rng = np.random.default_rng(11)
    network = random_network(TRIANGLES, 4, 4, rng)
    epidemic = Epidemic(
        0.1, 0.3, initial_state_prob=[[0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [1, 0, 0], [0.3, 0.3, 0.4]]
    )
    tests = Observations.from_tests([1], [4], [True], false_positive=0.1)
    known = tests.with_symptoms([2], [3], symptom_prob=0.6, delay=[0.2, 0.5, 0.3])
    got = gibbs(network, known, epidemic, num_samples=10_000, seed=1, progress=False)
    agrees(got, exact_posterior(network, known, epidemic))


@pytest.mark.statistical
def test_certain_transmissions_that_leave_ways_around():
    # 0 infects 2 for certain unless it comes too late; every person can also be a seed
    network = ContactNetwork.from_events(
        [0, 1, 2, 1, 0], [2, 2, 1, 0, 1], [1, 0, 2, 2, 0], [1.0, 0.4, 1.0, 0.3, 0.5], n_days=4
    )
    epidemic = Epidemic([0.2, 0.3, 0.2], 0.4, self_infection_prob=0.05)
    tests = Observations.from_tests([2, 1], [3, 4], [True, False], false_negative=0.2)
    got = gibbs(network, tests, epidemic, num_samples=20_000, seed=2, progress=False)
    agrees(got, exact_posterior(network, tests, epidemic))


def test_finds_the_only_possible_history():
    n = 8
    line = np.arange(n - 1)
    network = ContactNetwork.from_events(line, line + 1, line, 0.01, n_people=n, n_days=n)
    seeds = np.zeros(n)
    seeds[0] = 1e-6
    # the last one is ill: the infection must have come all the way from the first
    tests = Observations.of_states([n - 1], [n - 1], [1])
    got = gibbs(network, tests, Epidemic(seeds, 0.0), num_warmup=0, num_samples=40, progress=False)
    assert np.all(got.infection_day_prob[np.arange(n), np.arange(n)] == 1.0)


def test_contradictory_evidence_is_an_error():
    network = ContactNetwork.from_events([0], [1], [2], 0.5, n_days=4, symmetric=True)
    tests = Observations.of_states([0, 1], [3, 4], [0, 1])
    with pytest.raises(ConvergenceError, match="no history without contradiction"):
        gibbs(network, tests, Epidemic([0.1, 0.0], 0.2), progress=False)
    alone = Observations.of_states([1, 1], [1, 3], [2, 0])
    with pytest.raises(ValueError, match="person 1: its observations are impossible"):
        gibbs(network, alone, Epidemic(0.1, 0.2), progress=False)


def test_broken_certainties_are_those_of_impossible_histories():
    rng = np.random.default_rng(4)
    network = random_network([(0, 1), (1, 2), (0, 2)], 3, 3, rng, daily=0.5, certain=0.4)
    epidemic = Epidemic(0.3, 0.3)
    paths, chances = enumerate_histories(network, epidemic)
    met = meetings(network)
    broken = np.array([
        n_broken(
            met.start, met.other, met.rate_in, epidemic.profile(3),
            np.ascontiguousarray(epidemic.escape(3)), *path.T.copy(),
        )
        for path in paths
    ])  # fmt: skip
    # with a duration of no day, which this law of recovery excludes, the enumeration has no weight
    lasts = np.all((paths[..., 1] > paths[..., 0]) | (paths[..., 0] == 4), axis=1)
    np.testing.assert_array_equal(broken[lasts] == 0, chances[lasts] > 0)
    assert 10 < np.sum(broken[lasts] > 0) < len(paths)


def test_draws_are_what_the_means_are_of():
    rng = np.random.default_rng(0)
    network = random_network(TRIANGLES, 4, 4, rng)
    epidemic = Epidemic(0.2, 0.3)
    tests = random_tests(network, epidemic, rng)
    options = dict(num_warmup=20, num_samples=100, num_chains=3, progress=False, keep_draws=True)
    one = gibbs(network, tests, epidemic, thinning=2, seed=5, **options)
    assert one.infection_day.shape == (3, 100, 4)
    assert one.n_steps >= 220
    day = np.arange(5)
    infected = (one.infection_day[..., None] <= day) & (day < one.recovery_day[..., None])
    np.testing.assert_allclose(infected.mean(axis=(0, 1)), one.state_prob[:, :, 1], atol=1e-12)
    np.testing.assert_array_equal(
        posterior_array(one.to_arviz(), "infection_day"), one.infection_day
    )
    again = gibbs(network, tests, epidemic, thinning=2, seed=5, **options)
    np.testing.assert_array_equal(one.recovery_day, again.recovery_day)
    # every second draw of the chain that keeps all of them
    every = gibbs(network, tests, epidemic, seed=5, **{**options, "num_samples": 200})
    np.testing.assert_array_equal(every.infection_day[:, 1::2], one.infection_day)


def test_bad_input():
    network = ContactNetwork.from_events([0], [1], [0], 0.5)
    none, epidemic = Observations.none(), Epidemic(0.1, 0.1)
    for name, value in (
        ("num_warmup", -1), ("num_samples", 10), ("num_chains", 0), ("thinning", 0.5),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name}: expected"):
            gibbs(network, none, epidemic, **{name: value}, progress=False)
    small = gibbs(network, none, epidemic, num_samples=40, progress=False)
    with pytest.raises(ValueError, match="draws: none were kept"):
        small.to_arviz()
