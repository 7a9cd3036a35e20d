"""Local entropy of formulas against their solutions, counted by distance."""

import itertools

import numpy as np
import pytest

from inference.status import CavityWarning, ConvergenceError, Status
from models.ksat import Formula, count_solutions, local_entropy, random_formula

TREE = Formula.from_clauses([[1, -2, 3], [3, 4], [-4, 5, -6, 7], [7, -8], [-1, 9, 10]], 11)
"""Its clauses and variables form no loop; the last variable is in no clause."""


def all_solutions(formula):
    states = np.array(list(itertools.product([-1, 1], repeat=formula.n_variables)), np.int8)
    satisfied = np.ones(len(states), bool)
    for index in range(formula.n_clauses):
        literals = np.array(formula.clause(index))
        satisfied &= (states[:, np.abs(literals) - 1] == np.sign(literals)).any(axis=1)
    return states[satisfied]


def count_around(solutions, reference, coupling):
    """Free entropy, distance and local entropy a variable."""
    n = solutions.shape[1]
    overlaps = solutions.astype(float) @ reference
    weights = np.exp(coupling * (overlaps - n))
    free_entropy = np.log(weights.sum()) / n + coupling
    overlap = float(weights @ overlaps / weights.sum() / n)
    return free_entropy, (1 - overlap) / 2, free_entropy - coupling * overlap


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
@pytest.mark.parametrize("seed", range(3))
def test_on_a_tree_it_is_exact(schedule, seed):
    solutions = all_solutions(TREE)
    assert len(solutions) == count_solutions(TREE)
    reference = np.random.default_rng(seed).choice([-1, 1], 11)
    couplings = [0.0, 0.3, 1.0, 3.0]
    found = local_entropy(TREE, reference, couplings, schedule=schedule, tol=1e-13)
    assert (found.status == Status.CONVERGED).all()
    exact = np.array([count_around(solutions, reference, gamma) for gamma in couplings]).T
    np.testing.assert_allclose(found.free_entropy, exact[0], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.distance, exact[1], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found.local_entropy, exact[2], rtol=0, atol=1e-11)
    # unit clauses decide variables, and count in the distance
    forced = Formula.from_clauses([*map(TREE.clause, range(5)), [2], [11]], 11)
    exact = count_around(all_solutions(forced), reference, 0.4)
    found = local_entropy(forced, reference, 0.4, schedule=schedule, tol=1e-13)
    assert (found.free_entropy, found.distance, found.local_entropy) == pytest.approx(exact)


def errors_at(density, n_variables=16, n_instances=15):
    """Errors around a solution and around a random point; of the first moment around the latter."""
    errors, annealed = [], []
    for seed in range(n_instances):
        formula = random_formula(n_variables, round(density * n_variables), 3, seed=seed)
        solutions = all_solutions(formula)
        if not len(solutions):
            continue
        rng = np.random.default_rng(seed)
        places = solutions[rng.integers(len(solutions))], rng.choice([-1, 1], n_variables)
        for reference in places:
            found = local_entropy(formula, reference, 0.4, damping=0.3)
            exact = count_around(solutions, reference, 0.4)
            got = np.array([found.free_entropy, found.distance, found.local_entropy])
            errors.append(got - exact)
        first_moment = np.log(2 * np.cosh(0.4)) + formula.clause_density * np.log(7 / 8)
        annealed.append(first_moment - exact[0])
    assert len(annealed) >= 10
    return np.array(errors), np.array(annealed)


def test_errors_are_small_and_grow_with_the_density_of_clauses():
    size = {}
    for density in (1.0, 2.0, 3.0):
        errors, annealed = errors_at(density)
        size[density] = np.abs(errors).mean(axis=0)
        of_random = errors[1::2, 0]
        assert np.square(of_random).mean() < np.square(annealed).mean() / 4
    assert (size[1.0] < size[2.0]).all()
    assert (size[2.0] < size[3.0]).all()


def test_it_is_the_legendre_transform_of_the_free_entropy():
    formula = random_formula(300, 900, 3, seed=0)
    reference = np.random.default_rng(0).choice([-1, 1], 300)
    step = 1e-4
    around = 0.5 + step * np.arange(-1, 2)
    found = local_entropy(formula, reference, around, tol=1e-13)
    overlap = 1 - 2 * found.distance
    np.testing.assert_allclose(
        found.local_entropy, found.free_entropy - around * overlap, rtol=0, atol=1e-14
    )
    slope = (found.free_entropy[2] - found.free_entropy[0]) / (2 * step)
    assert slope == pytest.approx(overlap[1], abs=1e-7)  # up to the square of the step


def test_a_curve_is_its_points():
    formula = random_formula(200, 400, 3, seed=1)
    reference = np.ones(200)
    couplings = [0.0, 0.4, 0.8]
    curve = local_entropy(formula, reference, couplings, tol=1e-12)
    for i, gamma in enumerate(couplings):
        point = local_entropy(formula, reference, gamma, tol=1e-12)
        assert np.shape(point.distance) == ()
        for one, many in zip(point[:4], curve[:4]):
            assert float(one) == pytest.approx(many[i], abs=1e-10)
    assert (np.diff(curve.distance) < 0).all()


def test_failures_are_told_and_count_nothing():
    refuted = Formula.from_clauses([[1], [-1, 2], [-2, -1]])
    with pytest.warns(CavityWarning, match="local entropy: CONTRADICTION"):
        found = local_entropy(refuted, [1, 1], [0.0, 0.5])
    assert (found.status == Status.CONTRADICTION).all()
    assert (found.local_entropy == -np.inf).all()
    assert (found.free_entropy == -np.inf).all()
    assert (found.distance == 0.5).all()
    with pytest.raises(ConvergenceError, match="local entropy"):
        local_entropy(refuted, [1, 1], 0.0, on_failure="raise")
    formula = random_formula(200, 800, 3, seed=0)
    with pytest.warns(CavityWarning, match="local entropy: MAX_STEPS"):
        short = local_entropy(formula, np.ones(200), 0.1, max_steps=2)
    assert (short.status, short.n_steps) == (Status.MAX_STEPS, 2)


@pytest.mark.parametrize(
    ("coupling", "message"),
    [
        (-0.1, "coupling: expected increasing numbers of at least 0"),
        ([0.5, 0.5], "coupling: expected increasing numbers"),
        (np.nan, "coupling: expected finite numbers"),
        ([0.1, np.inf], "coupling: expected finite numbers"),
        ([], "coupling: expected at least one entry"),
    ],
)
def test_bad_couplings_are_named(coupling, message):
    with pytest.raises(ValueError, match=message):
        local_entropy(TREE, np.ones(11), coupling)


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        (np.ones(10), {}, "reference: expected"),
        (np.zeros(11), {}, "reference: expected"),
        (np.ones(11), {"tol": 0.0}, "tol: expected a positive"),
        (np.ones(11), {"damping": 1.0}, "damping: expected a number"),
        (np.ones(11), {"on_failure": "no"}, "on_failure: expected"),
    ],
)
def test_bad_arguments_are_named(reference, options, message):
    with pytest.raises(ValueError, match=message):
        local_entropy(TREE, reference, 0.5, **options)
