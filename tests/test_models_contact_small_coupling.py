import numpy as np
import pytest
from contact_cases import daily_rates, pairs_of_tree, random_network, random_tests

from graphs.temporal import ContactNetwork
from inference.status import ConvergenceError, Status
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_posterior
from models.contact_tracing.small_coupling_cavity import small_coupling


def dense_equations(network, observations, epidemic, n_steps=120, damping=0.3):
    """Iterate the equations of arXiv 2306.03829 with matrices, all pairs at once."""
    n, n_days = network.n_people, network.n_days
    rate = daily_rates(network)
    nu = np.log1p(-rate)
    start = np.broadcast_to(epidemic.start(), (n, 3))
    r = np.broadcast_to(epidemic.recovery_prob, n)
    keep = np.broadcast_to(epidemic.escape(n_days), (n, n_days))
    ell = np.ones((n, n_days + 1, 3))
    for i, day, likelihood in zip(observations.person, observations.day, observations.likelihood):
        ell[i, day] *= likelihood
    m, mu = np.full((n_days, n, n), 0.5), np.zeros((n_days, n, n))

    def chain(i, skip):
        others = [k for k in range(n) if k != skip]
        forward, matrices = [start[i]], []
        for t in range(n_days):
            h = sum(nu[t, k, i] * m[t, k, i] for k in others)
            eta = sum(nu[t, i, k] * mu[t, k, i] for k in others)
            stay = np.exp(h) * keep[i, t]
            matrices.append(
                np.array([
                    [stay, 1 - stay, 0], [0, (1 - r[i]) * np.exp(eta), r[i] * np.exp(eta)],
                    [0, 0, 1],
                ]) * ell[i, t][:, None]
            )  # fmt: skip
            forward.append(forward[-1] @ matrices[-1])
        backward = [ell[i, n_days]]
        for matrix in matrices[::-1]:
            backward.insert(0, matrix @ backward[0])
        z = forward[0] @ backward[0]
        joint = np.array(forward) * np.array(backward) / z
        gain = [forward[t][0] * matrices[t][0, 0] * (backward[t + 1][0] - backward[t + 1][1]) / z
                for t in range(n_days)]  # fmt: skip
        return joint, np.array(gain)

    for _ in range(n_steps):
        new_m, new_mu = m.copy(), mu.copy()
        for i in range(n):
            for j in range(n):
                if rate[:, i, j].any() or rate[:, j, i].any():
                    joint, new_mu[:, i, j] = chain(i, j)
                    new_m[:, i, j] = joint[:-1, 1]
        m, mu = damping * m + (1 - damping) * new_m, damping * mu + (1 - damping) * new_mu
    return np.array([chain(i, None)[0] for i in range(n)])


def case(seed, scale, pairs=None):
    rng = np.random.default_rng(seed)
    pairs = pairs_of_tree(5, rng) if pairs is None else pairs
    network = random_network(pairs, 5, 5, rng, low=0.1 * scale, high=0.7 * scale)
    epidemic = Epidemic(rng.uniform(0.1, 0.3, 5), 0.3, self_infection_prob=0.02)
    return network, random_tests(network, epidemic, rng), epidemic


@pytest.mark.parametrize("seed", range(4))
def test_fixed_point_of_the_published_equations(seed):
    triangle = [(0, 1), (1, 2), (0, 2), (2, 3), (3, 4)]
    network, tests, epidemic = case(seed, 0.3, triangle if seed % 2 else None)
    got = small_coupling(network, tests, epidemic, tol=1e-13, max_steps=2000)
    assert got.status == Status.CONVERGED
    expected = dense_equations(network, tests, epidemic)
    np.testing.assert_allclose(got.state_prob, expected, atol=1e-10)
    np.testing.assert_allclose(got.state_prob.sum(axis=2), 1.0, atol=1e-12)


@pytest.mark.slow
def test_error_is_of_second_order_in_the_transmission():
    ratios, errors = [], []
    for seed in range(12):
        error = []
        for scale in (0.01, 0.02):
            network, tests, epidemic = case(seed, scale)
            got = small_coupling(network, tests, epidemic, tol=1e-12, max_steps=2000)
            exact = exact_posterior(network, tests, epidemic)
            error.append(np.abs(got.state_prob - exact.state_prob).max())
        ratios.append(error[1] / error[0])
        errors.append(error[0])
    # 4 in the limit, 2 if the method were right to zeroth order only
    assert 3.5 < np.median(ratios) < 4.5, ratios
    assert max(errors) < 1e-3


def test_exact_without_contacts():
    network = ContactNetwork.from_events([0], [1], [0], 0.0, n_people=4, n_days=6)
    tests = Observations.from_tests(
        [0, 1, 1], [4, 2, 6], [True, True, False], false_positive=0.1, false_negative=0.2
    )
    epidemic = Epidemic([0.1, 0.2, 0.3, 0.0], [0.1, 0.3, 1.0, 0.2], self_infection_prob=0.05)
    got = small_coupling(network, tests, epidemic)
    expected = exact_posterior(network, tests, epidemic).state_prob
    np.testing.assert_allclose(got.state_prob, expected, atol=1e-12)


def test_what_does_not_converge_says_so_and_is_averaged():
    network, tests, epidemic = case(0, 1.0, [(i, j) for i in range(5) for j in range(i)])
    with pytest.raises(ConvergenceError, match="small coupling: MAX_STEPS"):
        small_coupling(network, tests, epidemic, max_steps=2, on_failure="raise")
    got = small_coupling(
        network, tests, epidemic, max_steps=3, average_steps=200, on_failure="ignore"
    )
    assert got.status == Status.MAX_STEPS
    limit = small_coupling(network, tests, epidemic, tol=1e-10, max_steps=5000)
    np.testing.assert_allclose(got.state_prob, limit.state_prob, atol=0.05)


def test_bad_input():
    network = ContactNetwork.from_events(["ann"], ["bob"], [0], 0.5, n_days=4)
    none, epidemic = Observations.none(), Epidemic(0.1, 0.1)
    with pytest.raises(ValueError, match="recovery_prob"):
        small_coupling(network, none, Epidemic(0.1, 0.1, infectivity=[0, 1, 1, 1, 1]))
    onset = none.with_symptoms([0], [2], symptom_prob=0.5, delay=1)
    with pytest.raises(ValueError, match="symptoms"):
        small_coupling(network, onset, epidemic)
    impossible = Observations.of_states([1, 1], [1, 3], [2, 0])
    with pytest.raises(ValueError, match="person bob: no history is possible"):
        small_coupling(network, impossible, epidemic)
    for name, value in (("damping", 1.0), ("tol", 0.0), ("max_steps", 0)):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            small_coupling(network, none, epidemic, **{name: value})
