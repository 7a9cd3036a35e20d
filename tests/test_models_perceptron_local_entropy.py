"""Local entropy of perceptrons against the solutions themselves, counted by distance."""

import numpy as np
import pytest

from inference.status import CavityWarning, ConvergenceError, Status
from models.perceptron import (
    Problem,
    belief_propagation,
    enumerate_solutions,
    exact_marginals,
    local_entropy,
    random_patterns,
    teacher_student,
)

KINDS = [(1, False), (3, False), (3, True)]


def count_around(problem, reference, coupling):
    """Free entropy, distance and local entropy a weight, from the distances of all solutions."""
    n = problem.n_weights
    overlaps = n - 2.0 * enumerate_solutions(problem).distances(reference)
    weights = np.exp(coupling * (overlaps - n))
    free_entropy = np.log(weights.sum()) / n + coupling
    overlap = float(weights @ overlaps / weights.sum() / n)
    return free_entropy, (1 - overlap) / 2, free_entropy - coupling * overlap


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_around_one_pattern_it_is_exact(n_hidden, tree, schedule):
    n_inputs = 15 if n_hidden == 1 else 5
    problem = random_patterns(n_inputs, 1 / 15, n_hidden=n_hidden, tree=tree, seed=0)
    assert problem.n_patterns == 1
    reference = np.random.default_rng(1).choice([-1, 1], problem.weights_shape)
    couplings = [0.0, 0.3, 1.0, 3.0]
    found = local_entropy(
        problem, reference, couplings, method="exact", schedule=schedule, tol=1e-12
    )
    exact = np.array([count_around(problem, reference, gamma) for gamma in couplings]).T
    assert (found.status == Status.CONVERGED).all()
    np.testing.assert_allclose(found.free_entropy, exact[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.distance, exact[1], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.local_entropy, exact[2], rtol=0, atol=1e-11)


def bethe_errors(load, n_inputs=19, n_instances=20):
    """Errors of free entropy, distance, local entropy around a solution and a random point."""
    errors = []
    for seed in range(n_instances):
        problem, _ = teacher_student(n_inputs, load, seed=seed)
        solutions = enumerate_solutions(problem).weights()
        rng = np.random.default_rng(seed)
        references = solutions[rng.integers(len(solutions))], rng.choice([-1, 1], n_inputs)
        for reference in references:
            found = local_entropy(problem, reference, [0.25, 0.5], on_failure="ignore")
            for i in np.flatnonzero(found.status == Status.CONVERGED):
                exact = count_around(problem, reference, found.coupling[i])
                errors.append(
                    np.array([found.free_entropy[i], found.distance[i], found.local_entropy[i]])
                    - exact
                )
    assert len(errors) >= 0.9 * 4 * n_instances
    return np.array(errors)


@pytest.mark.slow
def test_errors_are_small_and_grow_with_the_load():
    # independent figures at n = 19: bias below .005 and rms .01 at load .3, rms .02-.03 at .6
    errors = {load: bethe_errors(load) for load in (0.15, 0.3, 0.6)}
    size = {load: np.abs(of_load).mean(axis=0) for load, of_load in errors.items()}
    rms = {load: np.sqrt((of_load**2).mean(axis=0)) for load, of_load in errors.items()}
    assert (size[0.15] < size[0.3]).all()
    assert (size[0.3] < size[0.6]).all()
    assert (rms[0.3] < 0.015).all()
    assert (rms[0.6] < 0.045).all()
    assert (np.abs(errors[0.3].mean(axis=0)) < 0.005).all()


@pytest.mark.parametrize("method", ["gaussian", "amp"])
def test_it_is_the_legendre_transform_of_the_free_entropy(method):
    problem, teacher = teacher_student(101, 0.4, seed=0)
    step = 1e-4
    around = 0.7 + step * np.arange(-1, 2)
    found = local_entropy(problem, teacher, around, method=method, tol=1e-13)
    overlap = 1 - 2 * found.distance
    np.testing.assert_allclose(
        found.local_entropy, found.free_entropy - around * overlap, rtol=0, atol=1e-14
    )
    # messages are stationary points of the Bethe free entropy: the overlap is its derivative, and
    # the local entropy has the slope -gamma against the overlap, both up to the square of the step
    slope = (found.free_entropy[2] - found.free_entropy[0]) / (2 * step)
    if method == "gaussian":  # Gaussian sums only approximate: up to their error, of order 1/n
        assert slope == pytest.approx(overlap[1], abs=2e-3)
    else:
        assert slope == pytest.approx(overlap[1], abs=1e-6)


def test_exact_sums_have_an_exact_derivative():
    problem, teacher = teacher_student(31, 0.2, seed=0)
    step = 1e-4
    found = local_entropy(
        problem, teacher, 0.5 + step * np.arange(-1, 2), method="exact", tol=1e-13
    )
    slope = (found.free_entropy[2] - found.free_entropy[0]) / (2 * step)
    # the third derivative is of order one: an error of step**2
    assert slope == pytest.approx(1 - 2 * found.distance[1], abs=1e-7)


@pytest.mark.parametrize(("n_hidden", "tree"), KINDS)
def test_a_curve_is_its_points(n_hidden, tree):
    n_inputs = 101 if n_hidden == 1 else 21
    problem, teacher = teacher_student(n_inputs, 0.3, n_hidden=n_hidden, tree=tree, seed=2)
    couplings = [0.0, 0.4, 0.8]
    curve = local_entropy(problem, teacher, couplings, tol=1e-11)
    for i, gamma in enumerate(couplings):
        point = local_entropy(problem, teacher, gamma, tol=1e-11)
        assert np.shape(point.local_entropy) == ()
        for one, many in zip(point, curve):
            assert many.shape == (3,)
            assert one.dtype == many.dtype
        for name in ("coupling", "distance", "local_entropy", "free_entropy"):
            assert getattr(point, name) == pytest.approx(getattr(curve, name)[i], abs=1e-9)
    assert (np.diff(curve.distance) < 0).all()
    assert (np.diff(curve.local_entropy) < 0).all()
    assert (curve.local_entropy > 0).all()


def test_without_coupling_it_counts_all_solutions():
    problem = random_patterns(101, 0.3, seed=0)
    reference = np.random.default_rng(0).choice([-1, 1], 101)
    found = local_entropy(problem, reference, 0.0)
    total = belief_propagation(problem, tol=1e-8).free_entropy / 101
    assert found.local_entropy == found.free_entropy == pytest.approx(total, abs=1e-12)


def test_a_dense_region_is_denser_than_a_typical_one():
    # where exact counting finds the most neighbours, so do messages
    agreed = []
    for seed in range(10):
        problem, _ = teacher_student(19, 0.3, seed=seed)
        solutions = enumerate_solutions(problem)
        weights = solutions.weights()[:: max(1, solutions.n_solutions // 200)]
        neighbours = [np.count_nonzero(solutions.distances(w) <= 3) for w in weights]
        extremes = weights[np.argmax(neighbours)], weights[np.argmin(neighbours)]
        found = [local_entropy(problem, w, 0.8).free_entropy for w in extremes]
        exact = [count_around(problem, w, 0.8)[0] for w in extremes]
        assert exact[0] > exact[1]
        agreed.append(found[0] > found[1])
    assert all(agreed)


def test_failures_are_told_and_count_nothing():
    row = 1 - 2 * np.random.default_rng(0).integers(0, 2, 15)
    problem = Problem([row, row], [1, -1])
    assert exact_marginals(problem).n_solutions == 0
    with pytest.warns(CavityWarning, match="local entropy: COLLAPSED"):
        found = local_entropy(problem, row, [0.0, 0.1])
    collapsed = found.status == Status.COLLAPSED
    assert collapsed[0]
    assert (found.local_entropy[collapsed] == -np.inf).all()
    assert (found.free_entropy[collapsed] == -np.inf).all()
    assert np.isfinite(found.distance).all()
    with pytest.raises(ConvergenceError, match="local entropy"):
        local_entropy(problem, row, 0.0, on_failure="raise")
    with pytest.warns(CavityWarning, match="local entropy: MAX_STEPS"):
        short = local_entropy(random_patterns(101, 0.5, seed=0), np.ones(101), 0.1, max_steps=2)
    assert (short.status, short.n_steps) == (Status.MAX_STEPS, 2)
    assert short.residual > 1e-8


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        (-0.1, "coupling: expected increasing numbers of at least 0"),
        ([0.5, 0.2], "coupling: expected increasing numbers"),
        ([0.5, 0.5], "coupling: expected increasing numbers"),
        (np.nan, "coupling: expected finite numbers"),
        ([0.1, np.inf], "coupling: expected finite numbers"),
        ([], "coupling: expected at least one entry"),
        ([[0.1]], "coupling: expected a 0-dimensional or 1-dimensional"),
    ],
)
def test_bad_couplings_are_named(coupling, message):
    with pytest.raises(ValueError, match=message):
        local_entropy(random_patterns(15, 0.3, seed=0), np.ones(15), coupling)


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        (np.ones(14), {}, r"reference: expected shape \(15,\), got \(14,\)"),
        (np.zeros(15), {}, r"reference: expected \+1 or -1, got 0.0"),
        (np.ones(15), {"tol": -1.0}, "tol: expected a positive"),
        (np.ones(15), {"damping": 2.0}, "damping: expected a number"),
        (np.ones(15), {"method": "exakt"}, "method: expected one of"),
        (np.ones(15), {"on_failure": "no"}, "on_failure: expected"),
    ],
)
def test_bad_arguments_are_named(reference, options, message):
    with pytest.raises(ValueError, match=message):
        local_entropy(random_patterns(15, 0.3, seed=0), reference, 0.5, **options)
