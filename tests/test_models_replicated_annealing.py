"""Replicated annealing of perceptrons, committees and formulas: solving, books, going on."""

import functools
import itertools

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_rel

from inference.monte_carlo.annealed_search import ReplicatedState
from inference.schedules import constant, linear
from inference.status import Status
from models import ksat, perceptron
from models.ksat import Formula, planted_formula, random_formula
from models.perceptron import Problem, random_patterns, teacher_student

KERNELS = ["metropolis", "rejection-reduced"]
CENTRES = ["traced", "explicit"]
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
every_centre = pytest.mark.parametrize("centre", CENTRES)


def signs(shape, seed):
    return (1 - 2 * np.random.default_rng(seed).integers(0, 2, shape)).astype(np.int8)


def plain_energy(problem, weights):
    """Count pattern by pattern in plain Python."""
    wrong = 0
    for row, label in zip(problem.patterns.tolist(), problem.labels.tolist()):
        votes = 0
        for unit, unit_weights in enumerate(weights.reshape(problem.n_hidden, -1).tolist()):
            start = unit * problem.n_inputs if problem.tree else 0
            total = sum(x * w for x, w in zip(row[start:], unit_weights))
            votes += 1 if total > 0 else -1
        wrong += votes * label < 0
    return wrong


@every_kernel
@every_centre
@pytest.mark.parametrize(("n_hidden", "tree"), [(1, False), (3, True), (5, False)])
def test_machines_are_taught(n_hidden, tree, centre, kernel):
    # labels of both signs: a teacher's
    problem, _ = teacher_student(51, 0.25, n_hidden=n_hidden, tree=tree, seed=1)
    assert set(problem.labels.tolist()) == {1, -1}
    found = perceptron.replicated_annealing(problem, centre=centre, kernel=kernel, seed=2)
    assert found.status is Status.CONVERGED
    assert found.weights.shape == problem.weights_shape
    assert found.weights.dtype == np.int8
    assert found.energy == plain_energy(problem, found.weights) == 0
    assert found.replicas.shape == (3, *problem.weights_shape)
    n_sweeps = len(found.trace.beta)
    assert 3 * problem.n_weights * (n_sweeps - 1) < found.n_steps
    assert found.n_steps <= 3 * problem.n_weights * n_sweeps
    assert found.trace.energies[-1].min() == 0
    assert (found.trace.energies[:-1] > 0).all()
    assert found.state.n_sweeps == n_sweeps
    # standing there, it goes nowhere
    again = perceptron.replicated_annealing(
        problem, centre=centre, kernel=kernel, init=found.state, n_sweeps=2000
    )
    assert (again.n_steps, again.energy, len(again.trace.beta)) == (0, 0, 0)
    np.testing.assert_array_equal(again.weights, found.weights)


@every_kernel
@every_centre
def test_hard_problems_end_with_their_best_energy(centre, kernel):
    problem = random_patterns(31, 2.0, n_hidden=3, seed=0)
    options = {"centre": centre, "kernel": kernel, "n_replicas": 5, "n_sweeps": 80}
    found = perceptron.replicated_annealing(problem, **options)
    assert found.status is Status.MAX_STEPS
    energies = [plain_energy(problem, weights) for weights in found.replicas]
    assert energies == found.trace.energies.min(axis=0).tolist()
    assert 0 < found.energy == plain_energy(problem, found.weights) <= min(energies)
    assert found.energy < found.trace.energies[0].min()
    assert found.n_steps == 80 * 5 * problem.n_weights
    np.testing.assert_allclose(found.trace.beta, np.linspace(0.5, 4.0, 80), rtol=1e-6)
    np.testing.assert_allclose(found.trace.coupling, np.linspace(0.3, 1.2, 80), rtol=1e-6)
    assert found.trace.energies.shape == (80, 5)
    assert found.trace.accept_prob.shape == (80,)
    assert found.state.centre.shape == ((93,) if centre == "explicit" else (0,))
    same = perceptron.replicated_annealing(problem, **options)
    other = perceptron.replicated_annealing(problem, **options, seed=1)
    np.testing.assert_array_equal(found.trace.energies, same.trace.energies)
    assert (found.trace.energies != other.trace.energies).any()


@every_centre
def test_the_lowest_energy_of_small_problems_is_found(centre):
    for seed in range(5):
        problem = random_patterns(9, 2.5, seed=seed)
        weights = np.array(list(itertools.product([1, -1], repeat=9)))
        lowest = min(problem.energy(w) for w in weights)
        found = perceptron.replicated_annealing(problem, n_sweeps=500, seed=seed, centre=centre)
        assert found.energy == lowest


@pytest.mark.parametrize("n_replicas", [1, 2, 4])
@every_kernel
def test_any_number_of_replicas_will_do(n_replicas, kernel):
    formula, _ = planted_formula(100, 300, 3, seed=0)
    for centre in CENTRES:
        found = ksat.replicated_annealing(
            formula, n_replicas=n_replicas, kernel=kernel, centre=centre, n_sweeps=500
        )
        assert found.energy == formula.energy(found.assignment) == 0
        assert found.replicas.shape == (n_replicas, 100)


@every_centre
def test_a_centre_that_is_better_than_its_replicas_is_the_answer(centre):
    problem, teacher = teacher_student(31, 1.0, seed=3)
    start = np.repeat(teacher[None], 3, axis=0)
    for replica in range(3):  # each wrong where the others are right
        start[replica, 10 * replica : 10 * replica + 10] *= -1
    levels = [problem.energy(weights) for weights in start]
    assert min(levels) > 0
    found = perceptron.replicated_annealing(
        problem, init=start, centre=centre, should_stop=lambda: True
    )
    np.testing.assert_array_equal(found.weights, teacher)
    assert (found.energy, found.status, found.n_steps) == (0, Status.CONVERGED, 0)
    np.testing.assert_array_equal(found.replicas, start)
    # a replica that is as good comes first
    start[1] = teacher
    solved = perceptron.replicated_annealing(problem, init=start, centre=centre)
    assert solved.n_steps == solved.energy == 0


SUBJECTS = {
    "committee": (
        perceptron.replicated_annealing,
        lambda: random_patterns(31, 1.5, n_hidden=3, seed=0),
    ),
    "formula": (ksat.replicated_annealing, lambda: random_formula(100, 1100, 4, seed=0)),
}


@every_kernel
@every_centre
@pytest.mark.parametrize("name", SUBJECTS)
def test_a_run_in_parts_is_the_run_in_one(name, centre, kernel):
    anneal, make = SUBJECTS[name]
    subject = make()
    betas, couplings = linear(0.5, 4.0, 200), linear(0.3, 1.2, 200)
    options = {"centre": centre, "kernel": kernel, "seed": 5}
    whole = anneal(subject, n_sweeps=200, **options)
    assert whole.energy > 0
    parts = [anneal(subject, n_sweeps=60, betas=betas, couplings=couplings, **options)]
    held = [np.array(part) for part in parts[0].state]
    # another seed means nothing to a state; this part is stopped from outside
    asked = itertools.count()
    options["seed"] = 77
    parts.append(
        anneal(
            subject, n_sweeps=200, init=parts[0].state, **options,
            should_stop=lambda: next(asked) == 2,
        )
    )  # fmt: skip
    assert 61 <= parts[1].state.n_sweeps < 200
    # stopped before its first sweep, a part changes nothing
    idle = anneal(subject, n_sweeps=200, init=parts[1].state, should_stop=lambda: True, **options)
    for ours, theirs in zip(idle.state, parts[1].state):
        np.testing.assert_array_equal(ours, theirs)
    assert (idle.energy, idle.n_steps) == (parts[1].energy, 0)
    parts.append(anneal(subject, n_sweeps=200, init=idle.state, **options))
    for ours, theirs in zip(whole.trace, zip(*(part.trace for part in parts))):
        np.testing.assert_array_equal(ours, np.concatenate(theirs))
    for ours, theirs in zip(whole.state, parts[-1].state):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(whole.replicas, parts[-1].replicas)
    np.testing.assert_array_equal(whole.weights, parts[-1].weights)
    assert whole.n_steps == sum(part.n_steps for part in parts)
    # going on left the first state alone: it can be taken again
    for ours, theirs in zip(held, parts[0].state):
        np.testing.assert_array_equal(ours, theirs)
    again = anneal(subject, n_sweeps=200, init=parts[0].state, **options)
    np.testing.assert_array_equal(again.state.replicas, whole.state.replicas)


@functools.cache
def solved(name, n_problems=20):
    """Of how many perceptrons of 401 weights at load 0.3, for 3 x 300 sweeps' proposals at most."""
    found = []
    for seed in range(n_problems):
        problem = random_patterns(401, 0.3, seed=seed)
        if name == "alone":
            result = perceptron.simulated_annealing(problem, n_sweeps=900, seed=seed)
        else:
            options = {"couplings": constant(0.0)} if name == "independent" else dict([name])
            result = perceptron.replicated_annealing(problem, n_sweeps=300, seed=seed, **options)
        assert result.n_steps <= 900 * 401
        assert problem.energy(result.weights) == result.energy
        found.append(result.energy == 0)
    return sum(found)


@pytest.mark.statistical
@pytest.mark.parametrize(
    "name", [*(("centre", c) for c in CENTRES), ("kernel", "rejection-reduced")]
)
@pytest.mark.parametrize("peer", ["alone", "independent"])
def test_replicas_solve_what_their_peers_do_not_with_as_many_proposals(name, peer):
    ours, theirs = solved(name), solved(peer)
    table = [[ours, 20 - ours], [theirs, 20 - theirs]]
    assert fisher_exact(table, alternative="greater").pvalue < 1e-3


@functools.cache
def left(name):
    """Violated clauses of random 4-SAT at 9 clauses a variable, 3 x 300 sweeps' proposals."""
    energies = []
    for seed in range(20):
        formula = random_formula(1000, 9000, 4, seed=seed)
        if name == "alone":
            result = ksat.simulated_annealing(formula, n_sweeps=900, seed=seed)
        else:
            options = {"couplings": constant(0.0)} if name == "independent" else {"kernel": name}
            result = ksat.replicated_annealing(formula, n_sweeps=300, seed=seed, **options)
        assert formula.energy(result.assignment) == result.energy
        energies.append(result.energy)
    return np.array(energies)


@pytest.mark.slow
@pytest.mark.statistical
@every_kernel
@pytest.mark.parametrize("peer", ["alone", "independent"])
def test_replicas_of_formulas_violate_fewer_clauses_with_as_many_proposals(kernel, peer):
    assert ttest_rel(left(kernel), left(peer), alternative="less").pvalue < 1e-3


@every_kernel
@every_centre
def test_formulas_of_four_literals_are_solved(kernel, centre):
    for seed in range(3):
        formula = random_formula(500, 3500, 4, seed=seed)
        found = ksat.replicated_annealing(formula, kernel=kernel, centre=centre, seed=seed)
        assert (found.energy, found.status) == (0, Status.CONVERGED)
        assert formula.energy(found.assignment) == 0
        assert found.weights is found.assignment


@every_kernel
def test_odd_formulas(kernel):
    for clauses, n, energy in (
        ([], 0, 0), ([[]], 0, 1), ([], 3, 0), ([[1, -1]], 2, 0), ([[], [1]], 1, 1),
        ([[1], [-1]], 1, 1), ([[1], [-1, 2], [2, 2], [3, -3], [-1, -2, -3]], 4, 0),
    ):  # fmt: skip
        for centre in CENTRES:
            found = ksat.replicated_annealing(
                Formula.from_clauses(clauses, n), n_sweeps=20, centre=centre, kernel=kernel
            )
            assert found.energy == energy
            assert found.assignment.shape == (n,)
            assert found.status is (Status.MAX_STEPS if energy else Status.CONVERGED)
            assert np.isfinite(found.trace.accept_prob).all()


def small_state(centre="traced", n=5):
    problem = Problem(np.ones((2, n)), [1, -1])
    return perceptron.replicated_annealing(problem, n_sweeps=3, centre=centre).state


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_replicas": 0}, ValueError, "n_replicas: expected an integer of at least 1, got 0"),
        ({"n_replicas": 2.5}, ValueError, "n_replicas: expected"),
        ({"n_sweeps": 0}, ValueError, "n_sweeps: expected an integer of at least 1, got 0"),
        ({"seed": -1}, ValueError, "seed: expected"),
        ({"centre": "mean"}, ValueError, "centre: expected one of traced, explicit; got 'mean'"),
        ({"kernel": "slow"}, ValueError, "kernel: expected one of metropolis, rejection-reduced"),
        ({"betas": 2.0}, TypeError, "betas: expected a function of the sweep, got 2.0"),
        ({"betas": constant(-1.0)}, ValueError, "betas: expected numbers from 0"),
        ({"couplings": [1.0]}, TypeError, "couplings: expected a function of the sweep"),
        ({"couplings": constant(-1.0)}, ValueError, "couplings: expected numbers from 0"),
        ({"couplings": constant(np.nan)}, ValueError, "couplings: expected finite numbers"),
        ({"couplings": lambda step: step[:2]}, ValueError, "couplings: expected 7 numbers"),
        ({"init": np.ones(5)}, ValueError, "init: expected a 2-dimensional array"),
        ({"init": np.ones((2, 5))}, ValueError, "init: expected replicas of shape \\(3, 5\\)"),
        ({"init": np.ones((3, 4))}, ValueError, "init: expected replicas of shape"),
        ({"init": np.zeros((3, 5))}, ValueError, "init: expected \\+1 or -1"),
        ({"init": "here"}, TypeError, "init: expected an array of ±1"),
        ({"init": small_state("explicit")}, ValueError, "init: expected a state with centre='tra"),
        (
            {"init": small_state(), "centre": "explicit"}, ValueError,
            "init: expected a state with centre='explicit', got one with a centre of shape",
        ),
        ({"init": small_state(n=7)}, ValueError, "init: expected replicas of shape \\(3, 5\\)"),
        ({"init": small_state(), "n_replicas": 2}, ValueError, "init: expected replicas of shape"),
        ({"init": small_state(), "n_sweeps": 3}, ValueError, "n_sweeps: expected more than the 3"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(options, error, message):
    problem = Problem(np.ones((2, 5)), [1, -1])
    formula = random_formula(5, 20, 3, seed=0)
    for search, subject in (
        (perceptron.replicated_annealing, problem), (ksat.replicated_annealing, formula),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            search(subject, **{"n_sweeps": 7, **options})


def test_bad_starts_of_a_committee_are_refused():
    problem = random_patterns(5, 1.0, n_hidden=3, seed=0)
    for start, message in (
        (np.ones((3, 15)), "init: expected a 3-dimensional array"),
        (np.ones((3, 5, 3)), "init: expected replicas of shape \\(3, 5\\), got \\(5, 3\\)"),
    ):
        with pytest.raises(ValueError, match=message):
            perceptron.replicated_annealing(problem, init=start)
    good = perceptron.replicated_annealing(problem, init=signs((3, 3, 5), 0), n_sweeps=2)
    assert isinstance(good.state, ReplicatedState)
