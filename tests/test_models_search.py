"""Entropy-driven searches of perceptrons, committees and formulas: what they solve, and say."""

import numpy as np
import pytest

from inference.monte_carlo.entropy_driven import random_walk
from inference.status import Status
from models import ksat, perceptron
from models.ksat import Formula, random_formula
from models.perceptron import Problem, random_patterns

COUPLING = np.arctanh(0.6)


def assert_solved(problem, found):
    assert found.status is Status.CONVERGED
    assert found.energy == problem.energy(found.weights) == 0
    assert_sound(found.trace)


def assert_sound(trace):
    """No NaN, and no accepted move that lowers the free entropy."""
    for column in trace:
        assert not np.isnan(np.asarray(column, float)).any()
    moved = trace.n_flips[1:] > 0
    before, after = trace.free_entropy[:-1], trace.free_entropy[1:]
    assert (after[moved] >= before[moved]).all()
    assert (np.diff(trace.coupling)[moved] == 0).all()
    assert (np.diff(trace.step) >= 0).all()
    assert (np.diff(trace.n_sweeps) >= 0).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("proposals", "most"), [("heuristic", 60), ("random", 400)])
def test_single_flips_solve_small_perceptrons_as_on_record(proposals, most, seed):
    problem = random_patterns(101, 0.3, seed=seed)
    found = perceptron.entropy_driven_monte_carlo(
        problem, proposals=proposals, couplings=COUPLING, largest_batch=0.0, max_steps=most,
        seed=seed,
    )  # fmt: skip
    assert_solved(problem, found)
    assert (found.trace.n_flips <= 1).all()
    assert 5 < found.n_steps == found.trace.step[-1] <= most


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("load", [0.3, 0.6])
def test_the_defaults_solve_perceptrons(load, seed):
    problem = random_patterns(401, load, seed=seed)
    found = perceptron.entropy_driven_monte_carlo(problem, seed=seed)
    assert_solved(problem, found)
    assert found.weights.dtype == np.int8
    assert found.trace.n_flips.max() > 1


def test_the_free_entropies_are_those_of_belief_propagation():
    problem = random_patterns(201, 0.4, seed=0)
    found = perceptron.entropy_driven_monte_carlo(problem, couplings=COUPLING, tol=1e-6)
    reference = found.walk.reference
    around = perceptron.local_entropy(problem, reference, COUPLING, method="amp")
    # the search runs in single precision; messages are stationary points, so the error is smaller
    assert found.trace.free_entropy[-1] == pytest.approx(201 * around.free_entropy, abs=1e-3)
    assert found.trace.local_entropy[-1] == pytest.approx(201 * around.local_entropy, abs=1e-2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("tree", [False, True])
@pytest.mark.parametrize("proposals", ["heuristic", "random"])
def test_committees_are_solved(tree, seed, proposals):
    problem = random_patterns(21, 0.3, n_hidden=3, tree=tree, seed=seed)
    found = perceptron.entropy_driven_monte_carlo(problem, proposals=proposals, seed=seed)
    assert_solved(problem, found)
    assert found.weights.shape == (3, 21)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_variables", [100, 200])
def test_formulas_are_solved(n_variables, seed):
    formula = random_formula(n_variables, 8 * n_variables, 4, seed=seed)
    found = ksat.entropy_driven_monte_carlo(formula, seed=seed)
    assert_solved(formula, found)
    np.testing.assert_array_equal(found.weights, found.assignment)


@pytest.mark.parametrize("proposals", ["heuristic", "random"])
def test_unit_clauses_are_propagated_first(proposals):
    rest = random_formula(60, 300, 4, seed=0)
    clauses = [list(rest.clause(i)) for i in range(rest.n_clauses)]
    formula = Formula.from_clauses([[-3], [3, 7], *clauses], 60)
    found = ksat.entropy_driven_monte_carlo(formula, proposals=proposals)
    assert_solved(formula, found)
    assert found.assignment[2] == -1
    assert found.assignment[6] == 1
    assert len(found.walk.reference) <= 58


@pytest.mark.parametrize("proposals", ["heuristic", "random"])
def test_a_formula_that_units_decide_needs_no_step(proposals):
    formula = Formula.from_clauses([[1], [-1, 2], [-2, -3]])
    found = ksat.entropy_driven_monte_carlo(formula, proposals=proposals)
    assert found.assignment.tolist() == [1, 1, -1]
    assert (found.energy, found.n_steps, found.status) == (0, 0, Status.CONVERGED)
    free = ksat.entropy_driven_monte_carlo(Formula.from_clauses([], 3), proposals=proposals)
    assert (free.energy, free.n_steps, len(free.assignment)) == (0, 0, 3)


def test_a_refuted_formula_is_a_contradiction():
    formula = Formula.from_clauses([[1], [-1, 2], [-2, -1], [2, 3]])
    found = ksat.entropy_driven_monte_carlo(formula)
    assert found.status is Status.CONTRADICTION
    assert found.energy == formula.energy(found.assignment) >= 1
    assert set(found.assignment.tolist()) <= {-1, 1}
    assert found.trace is found.walk is None
    assert found.n_steps == 0


@pytest.mark.parametrize("proposals", ["heuristic", "random"])
@pytest.mark.parametrize(("n_hidden", "max_steps"), [(1, 100), (3, 40)])
def test_contradictory_patterns_stay_unsolved(n_hidden, max_steps, proposals):
    row = 1 - 2 * np.random.default_rng(0).integers(0, 2, 15)
    problem = Problem([row, row], [1, -1], n_hidden=n_hidden)
    found = perceptron.entropy_driven_monte_carlo(problem, proposals=proposals, max_steps=max_steps)
    assert found.status is Status.MAX_STEPS
    assert found.energy == problem.energy(found.weights) == 1
    assert found.n_steps == max_steps
    assert_sound(found.trace)


@pytest.mark.parametrize("couplings", [0.3, 1000.0])
def test_formulas_without_solutions_stay_unsolved(couplings):
    # all signs of two variables; the coupling of 1000 is beyond what messages can represent
    formula = Formula.from_clauses([[1, 2], [1, -2], [-1, 2], [-1, -2], [3, 4, 5]])
    found = ksat.entropy_driven_monte_carlo(formula, couplings=couplings, max_steps=30)
    assert found.status is Status.MAX_STEPS
    assert found.energy == formula.energy(found.assignment) == 1
    assert_sound(found.trace)


def test_a_start_can_be_given():
    problem = random_patterns(101, 0.3, seed=0)
    solution = perceptron.entropy_driven_monte_carlo(problem).weights
    again = perceptron.entropy_driven_monte_carlo(problem, init=solution)
    assert (again.n_steps, again.energy) == (0, 0)
    np.testing.assert_array_equal(again.weights, solution)
    near = solution.copy()
    near[:5] *= -1
    kept = near.copy()
    found = perceptron.entropy_driven_monte_carlo(problem, init=near)
    assert_solved(problem, found)
    np.testing.assert_array_equal(near, kept)
    assert found.trace.energy[0] == problem.energy(near)
    formula = random_formula(100, 700, 4, seed=0)
    found = ksat.entropy_driven_monte_carlo(formula, init=np.ones(100))
    assert found.trace.energy[0] == formula.energy(np.ones(100))
    assert_solved(formula, found)


def test_a_start_on_a_committee_is_a_matrix():
    problem = random_patterns(21, 0.3, n_hidden=3, seed=0)
    start = np.random.default_rng(0).choice([-1, 1], (3, 21))
    found = perceptron.entropy_driven_monte_carlo(problem, init=start)
    assert found.trace.energy[0] == problem.energy(start)


CASES = {
    "perceptron": (perceptron, random_patterns(101, 0.7, seed=0)),
    "committee": (perceptron, random_patterns(15, 0.7, n_hidden=3, seed=1)),
    "formula": (ksat, random_formula(100, 930, 4, seed=0)),
}


@pytest.mark.parametrize("case", CASES)
def test_a_search_that_goes_on_is_one_that_never_stopped(case):
    system, problem = CASES[case]
    whole = system.entropy_driven_monte_carlo(problem, max_steps=30, seed=2)
    first = system.entropy_driven_monte_carlo(problem, max_steps=7, seed=2)
    assert first.status is Status.MAX_STEPS
    found = system.entropy_driven_monte_carlo(problem, max_steps=23, seed=2, init=first.walk)
    assert first.n_steps + found.n_steps == whole.n_steps > 7
    np.testing.assert_array_equal(found.weights, whole.weights)
    assert found.energy == whole.energy
    for one, other in zip(found.trace, whole.trace):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("case", CASES)
def test_seeds_reproduce_and_differ(case):
    system, problem = CASES[case]
    first, same, other = (
        system.entropy_driven_monte_carlo(problem, max_steps=5, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.walk.reference, same.walk.reference)
    assert not np.array_equal(first.walk.reference, other.walk.reference)


def test_a_search_stops_when_told():
    found = perceptron.entropy_driven_monte_carlo(
        random_patterns(101, 0.3, seed=0), should_stop=lambda: True
    )
    assert (found.n_steps, found.status) == (0, Status.MAX_STEPS)
    assert found.energy > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"couplings": 0.0}, "couplings: expected positive numbers"),
        ({"couplings": [0.5, -1.0]}, "couplings: expected positive numbers"),
        ({"couplings": np.nan}, "couplings: expected finite numbers"),
        ({"couplings": [0.5, np.inf]}, "couplings: expected finite numbers"),
        ({"couplings": []}, "couplings: expected at least one entry"),
        ({"proposals": "best"}, "proposals: expected one of random, heuristic"),
        ({"largest_batch": 1.1}, "largest_batch: expected a number"),
        ({"patience": 0}, "patience: expected an integer"),
        ({"max_steps": 0}, "max_steps: expected an integer"),
        ({"tol": 0.0}, "tol: expected a positive"),
        ({"tol": np.nan}, "tol: expected a positive"),
        ({"init": np.ones(7)}, "init: expected"),
        ({"init": random_walk(7, 0)}, "init: expected a walk on a problem of this size"),
    ],
)
def test_bad_arguments_are_named(case, options, message):
    system, problem = CASES[case]
    with pytest.raises(ValueError, match=message):
        system.entropy_driven_monte_carlo(problem, **options)


def test_starts_that_are_no_spins_and_bad_dampings_are_named():
    with pytest.raises(ValueError, match=r"init: expected \+1 or -1"):
        perceptron.entropy_driven_monte_carlo(random_patterns(9, 0.5, seed=0), init=np.zeros(9))
    formula = random_formula(9, 20, 3, seed=0)
    with pytest.raises(ValueError, match="init: expected"):
        ksat.entropy_driven_monte_carlo(formula, init=np.zeros(9))
    with pytest.raises(ValueError, match="damping: expected a number"):
        ksat.entropy_driven_monte_carlo(formula, damping=1.0)


def test_walks_of_other_problems_are_named():
    walk = perceptron.entropy_driven_monte_carlo(random_patterns(51, 0.6, seed=0), max_steps=1).walk
    with pytest.raises(ValueError, match="init: expected a walk on a problem of this size, 51"):
        perceptron.entropy_driven_monte_carlo(random_patterns(51, 0.7, seed=0), init=walk)
    formulas = (random_formula(50, m, 4, seed=0) for m in (440, 420))
    walk = ksat.entropy_driven_monte_carlo(next(formulas), max_steps=1).walk
    with pytest.raises(ValueError, match="init: expected a walk on a problem of this size, 50"):
        ksat.entropy_driven_monte_carlo(next(formulas), init=walk)
