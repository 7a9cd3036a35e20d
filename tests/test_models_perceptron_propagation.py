"""Belief propagation of perceptrons: single patterns, convolutions, both schedules, failures."""

import itertools

import numpy as np
import pytest
from scipy.special import log_ndtr
from suite_helpers import assert_z

from inference.status import CavityWarning, ConvergenceError, Status
from models.perceptron import (
    Problem,
    belief_propagation,
    exact_marginals,
    random_patterns,
    teacher_student,
)

SCHEDULES = ["sequential", "parallel"]
KINDS = [(1, False), (3, False), (3, True)]
COLLAPSING = (19, 0.6, 2)
"""Inputs, load and seed of a problem with solutions on which Gaussian messages polarise."""


def one_pattern(n_hidden, tree, label, seed):
    """A single pattern of 15 weights: a star, where messages are exact."""
    n_inputs = 15 if n_hidden == 1 else 5
    rng = np.random.default_rng(seed)
    pattern = 1 - 2 * rng.integers(0, 2, (1, n_inputs * (n_hidden if tree else 1)))
    problem = Problem(pattern, [label], n_hidden=n_hidden, tree=tree)
    return problem, rng.normal(size=problem.weights_shape)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("label", [1, -1])
@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_one_pattern_is_exact(n_hidden, tree, label, schedule):
    problem, normal = one_pattern(n_hidden, tree, label, 0)
    for field in (0.0, 0.5, normal, 3 * normal):
        exact = exact_marginals(problem, field=field)
        found = belief_propagation(problem, field=field, method="exact", schedule=schedule)
        assert found.status is Status.CONVERGED
        assert found.free_entropy == pytest.approx(exact.log_partition, abs=1e-9)
        np.testing.assert_allclose(found.magnetizations, exact.magnetizations, atol=1e-10)
        np.testing.assert_allclose(
            np.tanh(found.fields + field), found.magnetizations, rtol=0, atol=1e-15
        )


def test_the_star_without_field_is_half_of_all_configurations():
    # by symmetry: (ln 2**14) / 15 = .646937, the number on record
    problem, _ = one_pattern(1, False, 1, 0)
    found = belief_propagation(problem, method="exact")
    assert found.free_entropy == pytest.approx(14 * np.log(2), abs=1e-12)


def brute_message(problem, unit, site, cavity):
    """Sum the weight of every configuration that the pattern allows, by the sign of one weight."""
    flat = cavity.ravel()
    chosen = unit * problem.n_inputs + site
    sums = {1: 0.0, -1: 0.0}
    for weights in itertools.product([-1, 1], repeat=problem.n_weights):
        if problem.energy(np.reshape(weights, problem.weights_shape)) == 0:
            others = flat @ weights - flat[chosen] * weights[chosen]
            sums[weights[chosen]] += np.exp(others)
    return 0.5 * np.log(sums[1] / sums[-1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("label", [1, -1])
@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_convolutions_are_sums_over_all_configurations(n_hidden, tree, label, schedule):
    n_inputs = 7 if n_hidden == 1 else 3
    rng = np.random.default_rng(3)
    pattern = rng.choice([-1, 1], (1, n_inputs * (n_hidden if tree else 1)))
    problem = Problem(pattern, [label], n_hidden=n_hidden, tree=tree)
    cavity = 1.5 * rng.normal(size=problem.weights_shape)
    # of a single pattern the cavity field is the external one
    found = belief_propagation(
        problem, field=cavity, method="exact", schedule=schedule, max_steps=1, on_failure="ignore"
    )
    messages = found.messages.reshape(n_hidden, n_inputs)
    for unit, site in ((0, 0), (n_hidden - 1, n_inputs - 1), (n_hidden // 2, 1)):
        expected = brute_message(problem, unit, site, cavity)
        assert messages[unit, site] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_gaussian_messages_are_ratios_of_two_error_functions(schedule):
    problem, cavity = one_pattern(1, False, -1, 4)
    found = belief_propagation(
        problem, field=cavity, schedule=schedule, max_steps=1, on_failure="ignore"
    )
    x = -problem.patterns[0].astype(float)  # the label absorbed
    m = np.tanh(cavity)
    for i in range(15):
        rest = np.arange(15) != i
        mean, deviation = (x * m)[rest].sum(), np.sqrt((1 - m[rest] ** 2).sum())
        for_plus, for_minus = (log_ndtr((mean + s * x[i]) / deviation) for s in (1, -1))
        expected = 0.5 * (for_plus - for_minus)
        assert found.messages[0, 0, i] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("n_hidden", "tree", "method"),
    [*((*kind, method) for kind in KINDS for method in ("gaussian", "exact")), (1, False, "amp")],
)
def test_both_schedules_reach_one_fixed_point(n_hidden, tree, method):
    n_inputs = 41 if n_hidden == 1 else 15
    problem = random_patterns(n_inputs, 0.3, n_hidden=n_hidden, tree=tree, seed=1)
    field = 0.3 * np.random.default_rng(0).normal(size=problem.weights_shape)
    one, two = (
        belief_propagation(
            problem, field=field, method=method, schedule=schedule, damping=0.4, tol=1e-12,
            on_failure="raise",
        )
        for schedule in SCHEDULES
    )  # fmt: skip
    np.testing.assert_allclose(one.magnetizations, two.magnetizations, rtol=0, atol=1e-9)
    np.testing.assert_allclose(one.fields, two.fields, rtol=0, atol=1e-9)
    assert one.free_entropy == pytest.approx(two.free_entropy, abs=1e-9)
    # a fixed point does not know the damping
    bare = belief_propagation(problem, field=field, method=method, init=one.messages, tol=1e-10)
    assert bare.n_steps == 1
    np.testing.assert_allclose(bare.magnetizations, one.magnetizations, rtol=0, atol=1e-9)


@pytest.mark.parametrize("other", ["amp", "exact"])
def test_approximations_of_gaussian_sums_vanish_as_one_over_size(other):
    # corrections to the density: four times as many inputs, a quarter (0.0013 -> 0.0003)
    gaps = []
    for n_inputs in (51, 201):
        problems = [random_patterns(n_inputs, 0.3, seed=seed) for seed in range(4)]
        densities = [
            [belief_propagation(p, method=m, tol=1e-8).free_entropy / n_inputs for p in problems]
            for m in ("gaussian", other)
        ]
        gaps.append(np.abs(np.diff(densities, axis=0)).mean())
    assert 2 < gaps[0] / gaps[1] < 8
    assert gaps[0] < 0.003


@pytest.mark.parametrize(("load", "expected"), [(0.3, 0.474829), (0.6, 0.227785)])
def test_large_machines_have_the_replica_symmetric_entropy(load, expected):
    densities = [
        belief_propagation(random_patterns(2001, load, seed=seed), method="amp").free_entropy / 2001
        for seed in range(6)
    ]
    assert np.mean(densities) == pytest.approx(expected, abs=0.01)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize(
    ("load", "expected", "spread"), [(0.8, 0.4548210, 0.0052), (1.2, 0.6686614, 0.0087)]
)
def test_students_overlap_with_their_teacher_as_replicas_say(load, expected, spread):
    # the spread of a single sample of this size, from twelve others: .0015 and .0025 times sqrt(12)
    overlaps = []
    for seed in range(4):
        problem, teacher = teacher_student(5001, load, seed=seed)
        found = belief_propagation(problem, method="amp", tol=1e-5)
        assert found.status is Status.CONVERGED
        overlaps.append(float(found.magnetizations @ teacher) / 5001)
    assert_z(np.mean(overlaps), expected, spread / np.sqrt(len(overlaps)))


@pytest.mark.parametrize("seed", range(3))
def test_beyond_the_spinodal_the_teacher_is_found(seed):
    problem, teacher = teacher_student(2001, 1.6, seed=seed)
    messages = None
    for _ in range(100):  # to zero errors and not beyond: decided weights have no Gaussian sums
        found = belief_propagation(
            problem, method="amp", init=messages, max_steps=1, on_failure="ignore"
        )
        messages = found.messages
        weights = np.where(found.magnetizations > 0, 1, -1)
        if problem.energy(weights) == 0:
            break
    np.testing.assert_array_equal(weights, teacher)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_collapse_is_told(schedule):
    n_inputs, load, seed = COLLAPSING
    problem = random_patterns(n_inputs, load, seed=seed)
    assert exact_marginals(problem).n_solutions > 100
    with pytest.warns(CavityWarning, match="belief propagation: COLLAPSED: messages saturated"):
        found = belief_propagation(problem, schedule=schedule)
    assert found.status is Status.COLLAPSED
    assert found.free_entropy == -np.inf
    assert np.abs(found.messages).max() == 30
    assert np.isfinite(found.magnetizations).all()
    with pytest.raises(ConvergenceError, match="COLLAPSED"):
        belief_propagation(problem, schedule=schedule, on_failure="raise")


def test_what_did_not_collapse_is_a_possible_count():
    # polarised states count anything: every one of them must be flagged
    flagged = 0
    for seed in range(60):
        problem = random_patterns(7, 0.5, seed=seed)
        found = belief_propagation(problem, on_failure="ignore")
        flagged += found.status is Status.COLLAPSED
        if found.status is Status.CONVERGED:
            assert 0 < found.free_entropy < 7 * np.log(2)
            error = found.free_entropy - exact_marginals(problem).log_partition
            assert abs(error) / 7 < 0.15  # the Bethe error of so few weights: .034 rms, .12 at most
    assert 10 <= flagged <= 25


@pytest.mark.parametrize("method", ["gaussian", "exact", "amp"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("field", [0.0, 2.0, 20.0])
def test_contradictory_patterns_make_no_nan(method, schedule, field):
    row = 1 - 2 * np.random.default_rng(0).integers(0, 2, 15)
    problem = Problem([row, row], [1, -1])
    found = belief_propagation(
        problem, field=field, method=method, schedule=schedule, on_failure="ignore"
    )
    assert not np.isnan(found.free_entropy)
    assert np.isfinite(found.magnetizations).all()
    assert np.isfinite(found.fields).all()
    assert not np.isnan(found.residual)
    if method != "amp" and field == 0.0:  # pinned or dense messages can miss it
        assert found.status is not Status.CONVERGED
        assert found.free_entropy == -np.inf or found.status is Status.MAX_STEPS


@pytest.mark.parametrize("method", ["gaussian", "exact", "amp"])
def test_strong_fields_pin_weights(method):
    problem, teacher = teacher_student(15, 0.3, seed=0)
    found = belief_propagation(problem, field=8.0 * teacher, method=method)
    # nothing but the teacher and, as exp(-16) each, what differs in one weight
    assert found.status is Status.CONVERGED
    assert found.free_entropy == pytest.approx(8 * 15, abs=1e-5)
    np.testing.assert_allclose(found.magnetizations, teacher, atol=1e-6)


@pytest.mark.parametrize("method", ["gaussian", "exact", "amp"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_unfinished_runs_go_on(method, schedule):
    problem = random_patterns(41, 0.3, seed=0)
    with pytest.warns(CavityWarning, match="belief propagation: MAX_STEPS"):
        first = belief_propagation(problem, method=method, schedule=schedule, max_steps=3)
    assert first.status is Status.MAX_STEPS
    assert first.n_steps == 3
    assert first.residual > 1e-10
    before = [np.array(part) for part in np.atleast_1d(first.messages)] if method != "amp" else None
    rest = belief_propagation(problem, method=method, schedule=schedule, init=first.messages)
    whole = belief_propagation(problem, method=method, schedule=schedule)
    assert rest.status is whole.status is Status.CONVERGED
    assert rest.n_steps < whole.n_steps <= rest.n_steps + 10
    assert rest.residual <= 1e-10
    np.testing.assert_allclose(rest.magnetizations, whole.magnetizations, atol=1e-8)
    if before is not None:  # what was handed in is left alone
        np.testing.assert_array_equal(np.array(before), first.messages)
    again = belief_propagation(problem, method=method, schedule=schedule, init=whole.messages)
    assert again.n_steps == 1


@pytest.mark.parametrize("method", ["gaussian", "amp"])
def test_a_run_stops_when_told(method):
    problem = random_patterns(41, 0.3, seed=0)
    with pytest.warns(CavityWarning, match="MAX_STEPS"):
        found = belief_propagation(problem, method=method, should_stop=lambda: True)
    assert found.status is Status.MAX_STEPS
    assert found.n_steps == 0


def test_seeds_order_the_sweeps_but_not_the_answer():
    problem = random_patterns(41, 0.4, seed=0)
    first, same, other = (belief_propagation(problem, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.messages, same.messages)
    assert not np.array_equal(first.messages, other.messages)
    np.testing.assert_allclose(first.magnetizations, other.magnetizations, atol=1e-8)


MATRIX = np.zeros((4, 1, 15))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"damping": 1.0}, r"damping: expected a number in \[0, 1\)"),
        ({"damping": -0.1}, "damping: expected a number"),
        ({"damping": np.nan}, "damping: expected a number"),
        ({"tol": 0.0}, "tol: expected a positive"),
        ({"tol": np.nan}, "tol: expected a positive"),
        ({"max_steps": 0}, "max_steps: expected an integer"),
        ({"method": "bp"}, "method: expected one of gaussian, exact, amp; got 'bp'"),
        ({"schedule": "random"}, "schedule: expected one of sequential, parallel"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"on_failure": "shout"}, "on_failure: expected"),
        ({"field": np.nan}, "field: expected finite numbers"),
        ({"field": [0.0] * 14 + [np.inf]}, "field: expected finite numbers"),
        ({"field": np.zeros(14)}, r"field: expected a number or shape \(15,\), got \(14,\)"),
        ({"field": np.zeros((1, 15))}, "field: expected"),
        ({"init": MATRIX[:3]}, r"init: expected messages of shape \(4, 1, 15\), got \(3, 1, 15\)"),
        ({"init": MATRIX[0]}, "init: expected a 3-dimensional"),
        ({"init": np.full_like(MATRIX, np.nan)}, "init: expected finite numbers"),
        ({"init": MATRIX, "method": "amp"}, "init: expected the messages of 'amp'"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        belief_propagation(random_patterns(15, 0.3, seed=0), **options)


def test_messages_of_another_method_or_problem_are_refused():
    problem = random_patterns(15, 0.3, seed=0)
    dense = belief_propagation(problem, method="amp").messages
    with pytest.raises(TypeError, match="init: expected an array of numbers"):
        belief_propagation(problem, init=dense)
    with pytest.raises(ValueError, match="init: expected the messages of 'amp' on a problem of"):
        belief_propagation(random_patterns(17, 0.3, seed=0), method="amp", init=dense)


def test_dense_messages_are_for_perceptrons():
    with pytest.raises(ValueError, match="method: expected 'gaussian' or 'exact' for 3 hidden"):
        belief_propagation(random_patterns(5, 0.3, n_hidden=3, seed=0), method="amp")


def test_fields_that_decide_every_weight_are_refused():
    with pytest.raises(ValueError, match="field: expected numbers up to 20 in size, got 21"):
        belief_propagation(random_patterns(5, 1.0, seed=0), field=-21.0)
