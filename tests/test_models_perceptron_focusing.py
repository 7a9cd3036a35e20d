"""Focusing against stars of replicas, plain recursions, and belief propagation."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import log_ndtr

from inference.status import Status
from models.perceptron import belief_propagation, enumerate_solutions, random_patterns
from models.perceptron.focusing import around_centre, focus, focusing_bp
from models.perceptron.protocols import (
    check_protocol,
    pseudo_reinforcement,
    scoping,
    standard_reinforcement,
)


def star(field, coupling, n_replicas):
    """Return every state of one weight of some replicas and their centre, with its probability."""
    states = np.array(list(itertools.product([1, -1], repeat=n_replicas + 1)))
    replicas, centre = states[:, :-1], states[:, -1]
    logs = field * replicas.sum(1) + coupling * centre * replicas.sum(1)
    return replicas, centre, np.exp(logs) / np.exp(logs).sum()


@pytest.mark.parametrize("coupling", [0.3, 1.7])
@pytest.mark.parametrize("n_replicas", [1, 2, 4])
@pytest.mark.parametrize("field", [-0.8, 0.05, 2.5])
def test_one_weight_of_a_star_of_replicas(field, coupling, n_replicas):
    replicas, centre, probs = star(field, coupling, n_replicas)
    pull = focus(np.array([field]), coupling, n_replicas)
    # all that a replica hears: its own field and what comes through the centre
    assert np.tanh(field + pull[0]) == pytest.approx(probs @ replicas[:, 0], abs=1e-12)
    overlap, entropy = around_centre(
        np.array([field]), pull, coupling, n_replicas,
        float(np.logaddexp(field + pull[0], -field - pull[0])),
    )  # fmt: skip
    assert overlap == pytest.approx(probs @ (replicas[:, 0] * centre), abs=1e-12)
    # the mean over the centre of the log-partition of one replica given the centre
    given = {s: np.logaddexp(field + coupling * s, -field - coupling * s) for s in (1, -1)}
    free_entropy = sum(probs[centre == s].sum() * given[s] for s in (1, -1))
    assert entropy == pytest.approx(free_entropy - coupling * overlap, abs=1e-12)


def test_infinite_coupling_is_the_limit_of_strong_ones():
    fields = np.random.default_rng(0).normal(size=50)
    np.testing.assert_allclose(focus(fields, 40.0, 3.0), focus(fields, np.inf, 3.0), atol=1e-12)
    pull = 2.0 * fields
    np.testing.assert_array_equal(focus(fields, np.inf, 3.0), pull)
    strong = around_centre(fields, pull, 40.0, 3.0, 7.0)
    infinite = around_centre(fields, pull, np.inf, 3.0, 7.0)
    np.testing.assert_allclose(strong, infinite, atol=1e-10)
    assert infinite[0] == 1.0


@pytest.mark.parametrize("method", ["amp", "gaussian", "exact"])
def test_one_replica_is_belief_propagation(method):
    problem = random_patterns(41, 0.3, seed=0)
    focused = focusing_bp(
        problem, scoping([0.4, 1.3], 1.0), method=method, max_sweeps=400, tol=1e-7,
        stop_at_solution=False,
    )  # fmt: skip
    plain = belief_propagation(problem, method=method, tol=1e-9)
    messages = focused.state.messages
    fields = messages.fields if method == "amp" else messages.sum(axis=0)[0]
    np.testing.assert_allclose(fields, plain.fields, atol=1e-5)
    # the free entropy given the centre: that of all, and the log of how many centres there are
    for coupling, entropy, overlap in zip(*(focused.trace[i] for i in (0, 3, 2)), strict=True):
        heard = np.tanh(coupling) * np.tanh(plain.fields)
        shares = np.stack([(1 + heard) / 2, (1 - heard) / 2])
        centres = -(shares * np.log(shares)).sum()
        free_entropy = plain.free_entropy / 41 + np.log(2 * np.cosh(coupling)) - centres / 41
        assert overlap == pytest.approx(np.tanh(coupling), abs=1e-6)
        assert entropy == pytest.approx(free_entropy - coupling * overlap, abs=1e-5)


def test_infinite_coupling_reproduces_classical_reinforcement():
    """The old recipe, in plain NumPy: add ``rho / (1 - rho)`` times the field of the patterns."""
    problem = random_patterns(201, 99 / 201, seed=1)  # odd: no field is zero
    patterns = problem.patterns.astype(float)
    n, damping, step = 201, 0.5, 0.05
    fields, responses, external = np.zeros(n), np.zeros(problem.n_patterns), np.zeros(n)
    errors = []
    for rho in np.arange(0, 1 - step / 2, step):
        m = np.tanh(fields + rho / (1 - rho) * fields)
        v = 1 - np.mean(m**2)
        z = (patterns @ m / math.sqrt(n) - v * responses) / math.sqrt(v)
        responses = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z)) / math.sqrt(v)
        slope = np.sum(responses * (responses + z / math.sqrt(v))) / n
        new = patterns.T @ responses / math.sqrt(n) + slope * m
        fields = damping * fields + (1 - damping) * new
        external = rho / (1 - rho) * fields
        errors.append(problem.energy(np.where(fields + external >= 0, 1, -1)))
    found = focusing_bp(problem, standard_reinforcement(step), stop_at_solution=False)
    assert found.trace.energy.tolist() == errors
    scale = np.abs(fields).max()
    np.testing.assert_allclose(found.state.messages.fields, fields, atol=1e-3 * scale)


def test_protocols_are_those_of_the_paper():
    standard = standard_reinforcement(0.25)
    np.testing.assert_allclose(standard, [[np.inf, 1], [np.inf, 4 / 3], [np.inf, 2], [np.inf, 4]])
    pseudo = pseudo_reinforcement(0.25)
    rho = np.array([0.0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(pseudo[:, 0], np.arctanh(np.sqrt(rho)))
    np.testing.assert_allclose(pseudo[:, 1], (2 - rho) / (1 - rho))
    np.testing.assert_allclose(pseudo_reinforcement(0.25, exponent=0.0), standard)
    np.testing.assert_array_equal(scoping([0.5, 1.0], 21), [[0.5, 21], [1.0, 21]])


@pytest.mark.parametrize("seed", range(3))
def test_the_default_solves_a_thousand_weights(seed):
    problem = random_patterns(1001, 0.6, seed=seed)
    found = focusing_bp(problem, seed=seed)
    assert found.status is Status.CONVERGED
    assert found.energy == problem.energy(found.weights) == 0
    assert found.n_steps <= 100
    assert found.trace.energy[-1] == 0
    assert (found.trace.energy[:-1] > 0).all()


def test_a_failed_default_starts_again_with_half_the_step():
    problem = random_patterns(1001, 0.72, seed=0)
    first = focusing_bp(problem, standard_reinforcement(0.01))
    assert first.energy > 0
    assert first.status is Status.MAX_STEPS
    again = focusing_bp(problem)
    assert again.n_steps > 100
    assert again.energy == 0


@pytest.mark.parametrize("tree", [False, True])
def test_committees_are_solved(tree):
    problem = random_patterns(101, 0.3, n_hidden=5, tree=tree, seed=0)
    found = focusing_bp(problem)
    assert found.energy == problem.energy(found.weights) == 0
    assert found.weights.shape == (5, 101)


@pytest.mark.parametrize("method", ["amp", "gaussian"])
def test_a_run_in_parts_is_the_run_in_one(method):
    problem = random_patterns(101, 0.6, seed=0)
    protocol = pseudo_reinforcement(0.05)
    options = {"method": method, "stop_at_solution": False}
    whole = focusing_bp(problem, protocol, **options)
    first = focusing_bp(problem, protocol[:7], **options)
    second = focusing_bp(problem, protocol[7:], init=first.state, **options)
    for joined, part, other in zip(whole.trace, first.trace, second.trace, strict=True):
        if joined is not whole.trace.n_sweeps:
            np.testing.assert_array_equal(joined, np.concatenate([part, other]))
    np.testing.assert_array_equal(whole.state.generator, second.state.generator)
    again = focusing_bp(problem, protocol[7:], init=first.state, **options)
    np.testing.assert_array_equal(again.trace.energy, second.trace.energy)  # left as it was


def test_nothing_is_found_where_nothing_is():
    seed = next(
        s for s in range(99) if not enumerate_solutions(random_patterns(9, 1.2, seed=s))[0].size
    )
    found = focusing_bp(random_patterns(9, 1.2, seed=seed))
    assert found.energy > 0
    assert found.status is Status.MAX_STEPS
    assert all(np.isfinite(column).all() for column in found.trace[1:])


def test_a_stop_before_the_first_step_returns_weights():
    problem = random_patterns(21, 0.5, seed=0)
    found = focusing_bp(problem, should_stop=lambda: True)
    assert found.n_steps == 0
    assert found.energy == problem.energy(found.weights)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": [[0.5, 0.5]]}, "protocol: expected finite numbers of replicas"),
        ({"protocol": [[-0.5, 2]]}, "protocol: expected couplings"),
        ({"protocol": [[np.nan, 2]]}, "protocol: expected couplings"),
        ({"protocol": [1.0, 2.0]}, "protocol: expected rows"),
        ({"protocol": np.zeros((0, 2))}, "protocol: expected rows"),
        ({"damping": 1.0}, "damping: expected"),
        ({"max_sweeps": 0}, "max_sweeps: expected"),
        ({"tol": 0.0}, "tol: expected"),
        ({"spread": -1.0}, "spread: expected"),
        ({"method": "bethe"}, "method: expected"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        focusing_bp(random_patterns(21, 0.5, seed=0), **options)


def test_bad_protocols_and_states_are_refused():
    for call in (
        lambda: standard_reinforcement(0.0),
        lambda: standard_reinforcement(1.0),
        lambda: pseudo_reinforcement(0.1, exponent=0.6),
        lambda: scoping([0.1], 0.5),
        lambda: check_protocol([[1.0, np.inf]]),
    ):
        with pytest.raises(ValueError, match="expected"):
            call()
    committee = random_patterns(5, 0.5, n_hidden=3, seed=0)
    with pytest.raises(ValueError, match="method: expected 'gaussian' or 'exact'"):
        focusing_bp(committee, method="amp")
    for method in ("amp", "gaussian"):
        other = focusing_bp(random_patterns(7, 0.5, seed=0), method=method).state
        with pytest.raises(ValueError, match="init: expected"):
            focusing_bp(random_patterns(21, 0.5, seed=0), method=method, init=other)
