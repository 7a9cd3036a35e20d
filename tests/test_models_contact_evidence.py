"""The differentiable evidence: exact on trees, its gradient that of the value everywhere."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contact_cases import pairs_of_tree, random_epidemic, random_network, random_tests
from scipy import optimize, special

from graphs.temporal import ContactNetwork
from inference.status import Status
from models.contact_tracing import Epidemic, Observations, evidence_problem
from models.contact_tracing.evidence import (
    fit_epidemic,
    log_evidence,
    log_evidence_and_status,
)
from models.contact_tracing.evidence_problem import likelihood_tables, prior_tables
from models.contact_tracing.exact import exact_log_evidence
from models.contact_tracing.node_weights import node_weights
from models.contact_tracing.rates import epidemic_rates

N, N_DAYS = 6, 6  # one size for most, so that it is compiled once
K4 = np.array(list(itertools.combinations(range(4), 2)))
bethe = partial(log_evidence, n_blocks=3)


def case(pairs, seed, *, markov=True, **options):
    rng = np.random.default_rng(seed)
    network = random_network(pairs, N, N_DAYS, rng, **options)
    epidemic = random_epidemic(N_DAYS, rng, markov=markov, self_infection=0.03)
    return network, random_tests(network, epidemic, rng), epidemic


def differences(function, parameters, step=1e-5):
    slopes = {}
    for name, value in parameters.items():
        slopes[name] = np.zeros(np.shape(value))
        for index in np.ndindex(np.shape(value)):
            nudge = np.zeros(np.shape(value))
            nudge[index] = step
            up, down = (
                float(function(parameters | {name: value + sign * nudge})) for sign in (1, -1)
            )
            slopes[name][index] = (up - down) / (2 * step)
    return slopes


@pytest.mark.parametrize("per_person", [False, True])
@pytest.mark.parametrize("markov", [True, False])
def test_own_weights_are_those_of_the_compiled_schedule(markov, per_person):
    rng = np.random.default_rng([markov, per_person])
    n = 5 if per_person else None
    epidemic = random_epidemic(4, rng, markov=markov, self_infection=0.1, n_people=n)
    tests = Observations.from_tests([0, 2, 2], [1, 3, 4], [True, False, True], false_negative=0.3)
    tests = tests.with_symptoms([1], [3], symptom_prob=0.6, delay=[0.0, 0.4, 0.6], watched=[1, 3])
    expected = node_weights(epidemic, tests, 5, 4)
    prior = prior_tables(epidemic_rates({}, epidemic, 5, 4), 4)
    likelihood, kind = likelihood_tables(tests, 5, 4)
    np.testing.assert_allclose(
        np.broadcast_to(prior, (5, 6, 6)) * likelihood[kind],
        expected.table[expected.table_of_person],
        rtol=1e-13,
        atol=1e-16,
    )


def test_own_weights_of_a_window_and_a_tilted_prior():
    start = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    epidemic = Epidemic(0.5, 0.3, initial_state_prob=start, susceptible_bias=1.22)
    expected = node_weights(epidemic, Observations.none(), 3, 4)
    prior = prior_tables(epidemic_rates({}, epidemic, 3, 4), 4)
    np.testing.assert_allclose(prior, expected.table[expected.table_of_person], rtol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_are_exact_on_trees(seed):
    network, tests, epidemic = case(pairs_of_tree(N, np.random.default_rng(0)), seed, daily=0.4)
    seeds = np.random.default_rng(seed).uniform(0.1, 0.3, N)
    parameters = {
        "transmission_prob": 0.8,
        "recovery_prob": 0.25,
        "seed_prob": seeds,
        "self_infection_prob": 0.02,
    }
    arguments = (network, tests, epidemic)
    value, slope = jax.value_and_grad(bethe)(parameters, *arguments)
    exact, exact_slope = jax.value_and_grad(exact_log_evidence)(parameters, *arguments)
    assert float(value) == pytest.approx(float(exact), abs=1e-12)
    for name in parameters:
        np.testing.assert_allclose(slope[name], exact_slope[name], rtol=1e-10, atol=1e-11)


@pytest.mark.slow
def test_pairs_that_meet_once_apart_from_the_others(monkeypatch):
    network, tests, epidemic = case(pairs_of_tree(N, np.random.default_rng(0)), 1, daily=0.2)
    parameters = {"transmission_prob": 0.8, "recovery_prob": 0.25}
    together, slope = jax.value_and_grad(bethe)(parameters, network, tests, epidemic)
    monkeypatch.setattr(evidence_problem, "_FEW_CONTACTS", 0)
    apart, slope_apart = jax.value_and_grad(bethe)(parameters, network, tests, epidemic)
    assert float(apart) == pytest.approx(float(together), abs=1e-12)
    for name in parameters:
        assert float(slope_apart[name]) == pytest.approx(float(slope[name]), rel=1e-10)


@pytest.mark.slow
def test_infectivity_that_changes():
    network, tests, epidemic = case(pairs_of_tree(N - 1, np.random.default_rng(0)), 5, markov=False)
    value, slope = jax.value_and_grad(bethe)({"transmission_prob": 0.7}, network, tests, epidemic)

    def exact(prob):
        return float(exact_log_evidence({"transmission_prob": prob}, network, tests, epidemic))

    assert float(value) == pytest.approx(exact(0.7), abs=1e-12)
    expected = (exact(0.7 + 1e-5) - exact(0.7 - 1e-5)) / 2e-5
    assert float(slope["transmission_prob"]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.slow
def test_on_loops_the_frozen_gradient_is_that_of_the_whole():
    network, tests, epidemic = case(K4, 6, daily=0.5)
    parameters = {
        "transmission_prob": 0.8,
        "recovery_prob": 0.25,
        "seed_prob": np.random.default_rng(6).uniform(0.1, 0.3, N),
        "self_infection_prob": 0.02,
    }
    evidence = partial(
        bethe, network=network, observations=tests, epidemic=epidemic, tol=1e-13, damping=0.3
    )
    slope = jax.grad(lambda values: evidence(values))(parameters)
    expected = differences(lambda values: evidence(values), parameters)
    for name in parameters:
        np.testing.assert_allclose(slope[name], expected[name], rtol=1e-6, atol=1e-7)
    # and it differs from the exact one: what is tested is the Bethe evidence
    exact = jax.grad(exact_log_evidence)(parameters, network, tests, epidemic)
    assert abs(float(exact["recovery_prob"] - slope["recovery_prob"])) > 1e-3


def test_inside_compiled_and_vectorised_code():
    network, tests, epidemic = case(pairs_of_tree(N, np.random.default_rng(0)), 7)

    def evidence(prob):
        return bethe({"transmission_prob": prob}, network, tests, epidemic)

    probs = jnp.array([0.2, 0.5, 0.9])
    compiled = jax.jit(jax.vmap(evidence))(probs)
    np.testing.assert_allclose(compiled, [evidence(prob) for prob in probs], rtol=1e-9)


def test_how_it_ended_is_said():
    network, tests, epidemic = case(K4, 6, daily=0.5)
    evidence = partial(log_evidence_and_status, network=network, epidemic=epidemic, n_blocks=3)
    assert int(evidence({}, observations=tests)[1]) == Status.CONVERGED
    value, status = evidence({}, observations=tests, max_steps=1)
    assert int(status) == Status.MAX_STEPS
    assert np.isfinite(float(value))
    pair = ContactNetwork.from_events([0], [1], [2], 0.5, n_people=N, n_days=N_DAYS)
    wrong = Observations.of_states([0, 1], [6, 4], [0, 1])
    never_seed = Epidemic(np.array([0.1, 0.0, 0.1, 0.1, 0.1, 0.1]), 0.1)
    value, status = log_evidence_and_status({}, pair, wrong, never_seed, n_blocks=3)
    assert int(status) == Status.CONTRADICTION
    assert float(value) == -np.inf


@pytest.mark.slow
def test_the_fit_finds_the_maximum_of_the_exact_evidence_and_its_curvature():
    network, tests, _ = case(pairs_of_tree(N, np.random.default_rng(0)), 8)
    prior = {"transmission_prob": (2.0, 3.0), "seed_prob": (2.0, 8.0)}
    start = Epidemic(0.1, 0.3)
    largest = max(network.forward_prob.max(), network.backward_prob.max())
    upper = np.array([1.0 / largest, 1.0])
    fit = fit_epidemic(network, tests, start, parameters=tuple(prior), priors=prior, tol=1e-7)
    assert fit.status is Status.CONVERGED
    assert list(fit.estimates) == list(prior)
    assert float(fit.epidemic.recovery_prob) == 0.3
    assert float(fit.epidemic.seed_prob) == fit.estimates["seed_prob"]

    @jax.jit
    def objective(logits):
        share = jax.nn.sigmoid(logits)
        parameters = dict(zip(prior, upper * share))
        (a, b), (c, d) = (np.array(ab) - 1.0 for ab in prior.values())
        density = a * jnp.log(share[0]) + b * jnp.log1p(-share[0])
        density += c * jnp.log(share[1]) + d * jnp.log1p(-share[1])
        return -density - exact_log_evidence(parameters, network, tests, start)

    best = optimize.minimize(
        jax.value_and_grad(objective), np.zeros(2), jac=True, options={"gtol": 1e-9}
    )
    share = special.expit(best.x)
    np.testing.assert_allclose(list(fit.estimates.values()), upper * share, rtol=1e-5)
    hessian = jax.jacfwd(jax.grad(objective))(best.x)
    expected = upper * share * (1.0 - share) * np.sqrt(np.diag(np.linalg.inv(hessian)))
    np.testing.assert_allclose(list(fit.standard_errors.values()), expected, rtol=1e-4)
    exact = exact_log_evidence(fit.estimates, network, tests, start)
    assert fit.log_evidence == pytest.approx(float(exact), abs=1e-8)


def test_what_nothing_determines_has_an_infinite_error():
    network, _, epidemic = case(pairs_of_tree(N, np.random.default_rng(0)), 9)
    fit = fit_epidemic(network, Observations.none(), epidemic)
    assert list(fit.standard_errors.values()) == [np.inf] * 3
    assert abs(fit.log_evidence) < 1e-8


def test_what_does_not_fit_is_refused():
    network, tests, epidemic = case(K4, 6)
    with pytest.raises(ValueError, match="parameters: expected any of transmission_prob"):
        bethe({"beta": 0.1}, network, tests, epidemic)
    with pytest.raises(ValueError, match="damping: expected"):
        bethe({}, network, tests, epidemic, damping=1.0)
    with pytest.raises(ValueError, match="tol: expected a positive finite number"):
        bethe({}, network, tests, epidemic, tol=0.0)
    with pytest.raises(ValueError, match="n_people = 6, got 9"):
        bethe({}, network, Observations.of_states([9], [1], [0]), epidemic)
    with pytest.raises(ValueError, match=r"parameters: expected any of .* got beta"):
        fit_epidemic(network, tests, epidemic, parameters=["beta"])
    with pytest.raises(ValueError, match="priors: expected positive numbers"):
        fit_epidemic(network, tests, epidemic, priors={"seed_prob": (0.0, 1.0)})
    silent = ContactNetwork.from_events([0], [1], [0], 0.0)
    with pytest.raises(ValueError, match="a contact that can transmit"):
        fit_epidemic(silent, Observations.none(), epidemic)
    with pytest.raises(ValueError, match="a possible history"):
        fit_epidemic(network, Observations.of_states([0, 0], [1, 2], [2, 1]), epidemic)
