"""The parallel schedule: exact on trees, the fixed point of the sequential one on loops."""

import numpy as np
import pytest
from contact_cases import pairs_of_tree, random_epidemic, random_network, random_tests

from graphs.contacts import proximity_contacts
from graphs.temporal import ContactNetwork
from inference.status import CavityWarning
from models.contact_tracing import Epidemic, Observations, infer
from models.contact_tracing.exact import exact_posterior
from models.contact_tracing.pair_layout import Messages, pair_layout, start_messages
from models.contact_tracing.parallel_layout import block_plan, pack, unpack
from models.contact_tracing.simulation import simulate

N, N_DAYS = 6, 6
PERFECT = {"false_positive": 0.0, "false_negative": 0.0}


def parallel(network, observations, epidemic, **options):
    return infer(
        network, observations, epidemic, **{"schedule": "parallel", "n_blocks": 3, **options}
    )


def assert_exact(network, observations, epidemic, **options):
    result = parallel(network, observations, epidemic, tol=1e-14, **options)
    exact = exact_posterior(network, observations, epidemic)
    np.testing.assert_allclose(result.state_prob, exact.state_prob, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        result.infection_day_prob, exact.infection_day_prob, rtol=0, atol=1e-12
    )
    assert result.log_evidence == pytest.approx(exact.log_evidence, abs=1e-12)
    return result


def loopy_case():
    """Pairs that meet once and pairs that meet again, full of triangles."""
    n, n_days = 200, 8
    network = proximity_contacts(n, n_days, transmission_prob=0.05, seed=0)
    epidemic = Epidemic(0.02, 0.1, self_infection_prob=1e-3)
    state = simulate(network, epidemic, seed=1).states()
    rng = np.random.default_rng(2)
    person, day = rng.integers(n, size=30), rng.integers(1, n_days + 1, size=30)
    tests = Observations.from_tests(
        person, day, state[person, day] == 1, false_positive=0.02, false_negative=0.1
    )
    return network, tests, epidemic


@pytest.mark.parametrize("markov", [True, False])
@pytest.mark.parametrize("perfect", [False, True])
@pytest.mark.parametrize("daily", [0.15, 0.8])
def test_trees_are_exact(markov, perfect, daily):
    # few days of contact: mostly pairs that meet once; two shapes, to be compiled once each
    n = N if markov else N - 1
    for seed in range(6):
        rng = np.random.default_rng([seed, markov, perfect])
        network = random_network(
            pairs_of_tree(n, np.random.default_rng(seed % 2)),
            n,
            N_DAYS,
            rng,
            daily=daily,
            certain=0.3 if perfect else 0.0,
            symmetric=seed % 3 == 0,
        )
        epidemic = random_epidemic(
            N_DAYS, rng, markov=markov, self_infection=0.03 * (seed % 3), n_people=n
        )
        tests = random_tests(network, epidemic, rng, **PERFECT if perfect else {})
        assert_exact(network, tests, epidemic)


def test_one_block_needs_more_steps_for_the_same_answer():
    rng = np.random.default_rng(1)
    network = random_network(pairs_of_tree(N, rng), N, N_DAYS, rng, daily=0.5)
    epidemic = random_epidemic(N_DAYS, rng)
    tests = random_tests(network, epidemic, rng)
    together = assert_exact(network, tests, epidemic, n_blocks=1)
    in_blocks = assert_exact(network, tests, epidemic)
    assert in_blocks.n_steps < together.n_steps


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_loopy_fixed_point_is_that_of_the_sequential_schedule(dtype):
    network, tests, epidemic = loopy_case()
    expected = infer(network, tests, epidemic, tol=1e-13)
    tol, error = (1e-10, 1e-8) if dtype == np.float64 else (1e-6, 2e-5)
    result = parallel(network, tests, epidemic, message_dtype=dtype, tol=tol, n_blocks=8)
    assert result.state_prob.dtype == dtype
    np.testing.assert_allclose(result.state_prob, expected.state_prob, rtol=0, atol=error)
    assert result.log_evidence == pytest.approx(expected.log_evidence, abs=100 * error)
    # both write the same messages, so either can go on from the other
    again = infer(network, tests, epidemic, warm_start=result, message_dtype=dtype, tol=10 * error)
    assert again.n_steps <= 2


@pytest.mark.slow
def test_damping_leads_to_the_same_point_and_no_convergence_is_said():
    case = loopy_case()
    expected = infer(*case, tol=1e-13)
    damped = parallel(*case, tol=1e-10, n_blocks=8, damping=0.4)
    np.testing.assert_allclose(damped.state_prob, expected.state_prob, rtol=0, atol=1e-8)
    assert damped.log_evidence == pytest.approx(expected.log_evidence, abs=1e-8)
    with pytest.warns(CavityWarning, match="MAX_STEPS"):
        stopped = parallel(*case, tol=1e-10, n_blocks=8, max_steps=2)
    assert stopped.n_steps == 2
    assert stopped.residual > 1e-10


@pytest.mark.parametrize("markov", [True, False])
def test_no_tests_no_evidence(markov):
    rng = np.random.default_rng(3)
    n = N if markov else N - 1
    network = random_network(pairs_of_tree(n, rng), n, N_DAYS, rng)
    epidemic = random_epidemic(N_DAYS, rng, markov=markov, self_infection=0.03, n_people=n)
    result = parallel(network, Observations.none(), epidemic, tol=1e-14)
    assert abs(result.log_evidence) < 1e-12


@pytest.mark.parametrize("days", [[2], [2, 4]])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_contradiction_is_reported_not_smoothed(days, dtype):
    network = ContactNetwork.from_events(
        [0] * len(days), [1] * len(days), days, 0.5, n_people=N, n_days=N_DAYS, symmetric=True
    )
    seen = Observations.of_states([0, 1], [3, 4], [0, 1])
    options = {"message_dtype": dtype}
    seeds = np.array([0.1, 0.0, 0.1, 0.1, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"person (0|1): the evidence is contradictory"):
        parallel(network, seen, Epidemic(seeds, 0.1), **options)
    # a trace of infection from outside makes it possible, if unlikely
    free = Epidemic(seeds, 0.1, self_infection_prob=1e-9)
    exact = exact_posterior(network, seen, free)
    result = parallel(network, seen, free, **options)
    np.testing.assert_allclose(result.state_prob, exact.state_prob, rtol=0, atol=1e-6)


@pytest.mark.parametrize("days", [[1], [1, 3]])
def test_a_faint_source_beside_a_strong_one_is_not_lost(days):
    # person 1 answers before it hears that person 2 is healthy: were person 0 lost to rounding,
    # the answer would exclude the only history there is
    source, day = np.repeat([0, 2], len(days)), np.tile(days, 2)
    prob = np.where(source == 0, 1e-30, 0.9)
    network = ContactNetwork.from_events(
        source, np.ones(len(source), int), day, prob, n_people=N, n_days=N_DAYS
    )
    epidemic = Epidemic(np.array([0.5, 0.0, 0.5, 0.5, 0.5, 0.5]), 0.1)
    seen = Observations.of_states([1, 2], [2, 4], [1, 0])
    expected = infer(network, seen, epidemic)
    assert expected.state_prob[0, 1, 1] == pytest.approx(1.0)
    for dtype in (np.float64, np.float32):
        result = parallel(network, seen, epidemic, message_dtype=dtype)
        np.testing.assert_allclose(result.state_prob, expected.state_prob, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_hub_in_both_precisions():
    n = 801
    hub = ContactNetwork.from_events(
        np.zeros(2 * (n - 1), int),
        np.tile(np.arange(1, n), 2),
        np.concatenate([np.tile([1, 2], (n - 1) // 2), np.tile([3, 2], (n - 1) // 2)]),
        0.05,
        n_people=n,
        n_days=6,
        symmetric=True,
    )
    seen = Observations.of_states([5], [3], [1])
    epidemic = Epidemic(1e-4, 0.1)
    expected = infer(hub, seen, epidemic, tol=1e-12)
    double = parallel(hub, seen, epidemic, tol=1e-12)
    np.testing.assert_allclose(double.state_prob, expected.state_prob, rtol=0, atol=1e-11)
    single = parallel(hub, seen, epidemic, message_dtype=np.float32)
    np.testing.assert_allclose(single.state_prob, expected.state_prob, rtol=0, atol=2e-5)


def test_infinite_ratios_survive_the_way_through_the_blocks():
    network = proximity_contacts(40, 5, transmission_prob=0.1, seed=1)
    pairs = pair_layout(network, n_blocks=4)
    rng = np.random.default_rng(4)
    start = start_messages(pairs, np.float64)
    odds = rng.choice([0.0, 0.3, np.inf], size=len(start.single))
    boost = 1.0 + rng.random(len(odds))
    odds[::7], boost[::7] = 0.0, np.inf
    messages = Messages(np.stack([odds, boost], axis=1), rng.random(start.repeated.shape))
    plan = block_plan(pairs, 40, 5, 4)
    pack(unpack(messages, pairs, plan), pairs, plan, start)
    np.testing.assert_allclose(start.single, messages.single, rtol=1e-14)
    np.testing.assert_array_equal(start.repeated, messages.repeated)


def test_one_infectivity_of_all_people():
    rng = np.random.default_rng(5)
    network = random_network(pairs_of_tree(N - 1, rng), N - 1, N_DAYS, rng, daily=0.4)
    epidemic = Epidemic(0.2, 0.2, infectivity=np.linspace(0.2, 0.9, N_DAYS + 1))
    assert_exact(network, random_tests(network, epidemic, rng), epidemic)
