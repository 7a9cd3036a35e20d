"""Perceptron and committee problems: energies by loops, enumeration, generators, bad input."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.perceptron import (
    Problem,
    enumerate_solutions,
    exact_marginals,
    random_patterns,
    teacher_student,
)

KINDS = [(1, False), (3, False), (3, True)]


def random_problem(n_inputs, n_patterns, n_hidden, tree, seed):
    """Patterns and labels that are both random."""
    rng = np.random.default_rng(seed)
    width = n_inputs * (n_hidden if tree else 1)
    patterns = rng.choice([-1, 1], (n_patterns, width))
    return Problem(patterns, rng.choice([-1, 1], n_patterns), n_hidden=n_hidden, tree=tree)


def count_errors(problem, weights):
    """Go through patterns, units and inputs one after another."""
    flat, n, errors = np.ravel(weights).tolist(), problem.n_inputs, 0
    for pattern, label in zip(problem.patterns.tolist(), problem.labels.tolist()):
        vote = 0
        for unit in range(problem.n_hidden):
            start = unit * n if problem.tree else 0
            total = sum(pattern[start + i] * flat[unit * n + i] for i in range(n))
            vote += 1 if total > 0 else -1
        errors += vote * label < 0
    return errors


def all_solutions(problem):
    """Every configuration without errors; the first weight changes fastest."""
    every = itertools.product([-1, 1], repeat=problem.n_weights)
    found = [w[::-1] for w in every if count_errors(problem, w[::-1]) == 0]
    return np.array(found, dtype=int).reshape(-1, problem.n_weights)


@given(
    kind=st.sampled_from(KINDS),
    half=st.integers(0, 4),
    n_patterns=st.integers(1, 8),
    seed=st.integers(0, 10**6),
)
def test_the_energy_is_that_of_plain_loops(kind, half, n_patterns, seed):
    problem = random_problem(2 * half + 1, n_patterns, *kind, seed)
    weights = np.random.default_rng(seed).choice([-1, 1], problem.weights_shape)
    assert problem.energy(weights) == count_errors(problem, weights)
    # an odd machine answers the opposite of the opposite weights
    assert problem.energy(-weights) == n_patterns - problem.energy(weights)


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_sizes_and_stabilities(n_hidden, tree):
    problem = random_problem(5, 6, n_hidden, tree, 0)
    assert (problem.n_patterns, problem.n_inputs, problem.n_weights) == (6, 5, 5 * n_hidden)
    assert problem.weights_shape == ((5,) if n_hidden == 1 else (3, 5))
    assert problem.load == 6 / (5 * n_hidden)
    weights = np.random.default_rng(1).choice([-1, 1], problem.weights_shape)
    rows = weights.reshape(n_hidden, 5)
    for a in range(6):
        for k in range(n_hidden):
            inputs = problem.patterns[a, 5 * k : 5 * k + 5] if tree else problem.patterns[a]
            expected = problem.labels[a] * int(inputs.astype(int) @ rows[k])
            assert problem.stabilities(weights)[a, k] == expected


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_enumeration_is_that_of_plain_loops(n_hidden, tree, seed):
    n_inputs = 11 if n_hidden == 1 else 3
    problem, _ = teacher_student(n_inputs, 0.4, n_hidden=n_hidden, tree=tree, seed=seed)
    expected = all_solutions(problem)
    solutions = enumerate_solutions(problem)
    assert 0 < len(expected) == solutions.n_solutions < 2**problem.n_weights
    assert solutions.weights().shape == (len(expected), *problem.weights_shape)
    np.testing.assert_array_equal(solutions.weights().reshape(len(expected), -1), expected)
    reference = np.random.default_rng(seed).choice([-1, 1], problem.weights_shape)
    by_loop = [sum(w != r for w, r in zip(row, reference.ravel())) for row in expected]
    assert solutions.distances(reference).tolist() == by_loop
    field = np.random.default_rng(seed + 10).normal(size=problem.weights_shape)
    shares = np.exp(expected @ field.ravel())
    exact = exact_marginals(problem, field=field)
    assert exact.n_solutions == len(expected)
    assert exact.log_partition == pytest.approx(np.log(shares.sum()), rel=1e-13)
    means = (shares @ expected / shares.sum()).reshape(problem.weights_shape)
    np.testing.assert_allclose(exact.magnetizations, means, atol=1e-13)


def test_strong_fields_do_not_overflow():
    problem = random_problem(7, 2, 1, False, 0)
    best = enumerate_solutions(problem).weights()[-1]
    exact = exact_marginals(problem, field=1e4 * best)
    assert exact.log_partition == pytest.approx(7e4, rel=1e-14)
    np.testing.assert_array_equal(exact.magnetizations, best)


def test_enumeration_grows_beyond_its_first_thousand():
    # by symmetry half of all weights solve one pattern
    problem = random_patterns(15, 1 / 15, seed=0)
    assert enumerate_solutions(problem).n_solutions == 2**14


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_contradictory_patterns_have_no_solution(n_hidden, tree):
    row = [1, -1, 1] * (n_hidden if tree else 1)
    problem = Problem([row, row], [1, -1], n_hidden=n_hidden, tree=tree)
    solutions = enumerate_solutions(problem)
    assert solutions.n_solutions == 0
    assert solutions.weights().shape == (0, *problem.weights_shape)
    assert solutions.distances(np.ones(problem.weights_shape, int)).shape == (0,)
    exact = exact_marginals(problem, field=0.3)
    assert exact.n_solutions == 0
    assert exact.log_partition == -np.inf
    assert (exact.magnetizations == 0).all()


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_random_patterns_follow_their_recipe(n_hidden, tree):
    problem = random_patterns(21, 0.31, n_hidden=n_hidden, tree=tree, seed=5)
    n_patterns = round(0.31 * 21 * n_hidden)
    width = 21 * (n_hidden if tree else 1)
    expected = 1 - 2 * np.random.default_rng(5).integers(0, 2, (n_patterns, width))
    np.testing.assert_array_equal(problem.patterns, expected)
    assert (problem.labels == 1).all()
    assert (problem.n_hidden, problem.tree) == (n_hidden, tree)


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_a_teacher_makes_no_error(n_hidden, tree):
    problem, teacher = teacher_student(21, 2.0, n_hidden=n_hidden, tree=tree, seed=3)
    assert teacher.shape == problem.weights_shape
    assert count_errors(problem, teacher) == problem.energy(teacher) == 0
    assert problem.energy(-teacher) == problem.n_patterns
    assert set(problem.labels.tolist()) == {-1, 1}
    again, same = teacher_student(21, 2.0, n_hidden=n_hidden, tree=tree, seed=3)
    np.testing.assert_array_equal(again.patterns, problem.patterns)
    np.testing.assert_array_equal(same, teacher)
    other = random_patterns(21, 2.0, n_hidden=n_hidden, tree=tree, seed=3)
    np.testing.assert_array_equal(other.patterns, problem.patterns)


def test_problems_and_solutions_print_their_sizes():
    assert repr(random_patterns(5, 1, seed=0)) == "Problem(n_inputs=5, n_patterns=5)"
    tree = random_patterns(5, 1, n_hidden=3, tree=True, seed=0)
    assert repr(tree) == "Problem(n_inputs=5, n_patterns=15, n_hidden=3, tree=True)"


GOOD = [[1, 1, -1], [1, -1, 1]]


@pytest.mark.parametrize(
    ("patterns", "labels", "options", "message"),
    [
        ([[1, 1], [1, -1]], [1, 1], {}, "patterns: expected an odd number of inputs a unit, got 2"),
        ([[1, 0, 1], [1, 1, 1]], [1, 1], {}, r"patterns: expected \+1 or -1, got 0 .*\(0, 1\)"),
        ([[1, np.nan, 1]], [1], {}, r"patterns: expected \+1 or -1, got nan"),
        (GOOD, [1, 2], {}, r"labels: expected \+1 or -1, got 2 at index 1"),
        ([1, 1, -1], [1], {}, "patterns: expected a 2-dimensional"),
        (np.ones((0, 3)), [], {}, "patterns: expected at least one, got shape"),
        (GOOD, [[1, 1]], {}, "labels: expected a 1-dimensional"),
        (GOOD, [1, 1, 1], {}, "labels: expected 2 rows as in patterns, got 3"),
        (GOOD, [1, 1], {"n_hidden": 2}, "n_hidden: expected an odd number of units, got 2"),
        (GOOD, [1, 1], {"n_hidden": 0}, "n_hidden: expected an integer"),
        (GOOD, [1, 1], {"n_hidden": 1.0}, "n_hidden: expected an integer"),
        (np.ones((2, 10)), [1, 1], {"n_hidden": 3, "tree": True}, "patterns: expected n_hidden"),
        (np.ones((2, 6)), [1, 1], {"n_hidden": 3, "tree": True}, "odd number of inputs a unit"),
    ],
)  # fmt: skip
def test_bad_problems_are_named(patterns, labels, options, message):
    with pytest.raises(ValueError, match=message):
        Problem(patterns, labels, **options)


@pytest.mark.parametrize("patterns", [[["a", "b", "c"]], [[True, False, True]], [[1j, 1, 1]]])
def test_patterns_that_are_no_numbers_are_refused(patterns):
    with pytest.raises(TypeError, match="patterns: expected an array of ±1"):
        Problem(patterns, [1])


def test_ragged_patterns_are_named():
    with pytest.raises(ValueError, match="patterns: expected rows of equal length"):
        Problem([[1, 1, 1], [1]], [1, 1])


@pytest.mark.parametrize("generator", [random_patterns, teacher_student])
@pytest.mark.parametrize(
    ("n_inputs", "load", "options", "message"),
    [
        (4, 0.5, {}, "odd number of inputs"),
        (0, 0.5, {}, "n_inputs: expected an integer"),
        (5.0, 0.5, {}, "n_inputs: expected an integer"),
        (5, 0.0, {}, "load: expected a positive finite number, got 0"),
        (5, -1.0, {}, "load: expected a positive"),
        (5, np.nan, {}, "load: expected a positive"),
        (5, np.inf, {}, "load: expected a positive"),
        (5, 0.05, {}, "load: expected at least one pattern"),
        (5, 0.5, {"n_hidden": 2}, "n_hidden: expected an odd number"),
        (5, 0.5, {"n_hidden": -1}, "n_hidden: expected an integer"),
    ],
)
def test_bad_sizes_are_named(generator, n_inputs, load, options, message):
    with pytest.raises(ValueError, match=message):
        generator(n_inputs, load, seed=0, **options)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), r"weights: expected shape \(7,\), got \(5,\)"),
        (np.ones((1, 7)), "weights: expected a 1-dimensional"),
        (np.zeros(7), r"weights: expected \+1 or -1, got 0.0"),
    ],
)
def test_bad_weights_are_named(weights, message):
    problem = random_patterns(7, 0.5, seed=0)
    with pytest.raises(ValueError, match=message):
        problem.energy(weights)
    with pytest.raises(ValueError, match=message.replace("weights", "reference")):
        enumerate_solutions(problem).distances(weights)


def test_weights_of_a_committee_are_a_matrix():
    problem = random_patterns(7, 0.5, n_hidden=3, seed=0)
    with pytest.raises(ValueError, match="weights: expected a 2-dimensional"):
        problem.energy(np.ones(21))
    with pytest.raises(ValueError, match=r"field: expected a number or shape \(3, 7\)"):
        exact_marginals(problem, field=np.ones((7, 3)))


def test_too_many_weights_are_refused():
    for problem in (random_patterns(27, 0.5, seed=0), random_patterns(9, 0.5, n_hidden=3, seed=0)):
        with pytest.raises(ValueError, match="problem: expected at most 25 weights"):
            enumerate_solutions(problem)
