"""Replicated stochastic gradient descent: its rules in slow plain Python, and what replicas add."""

import math

import numpy as np
import pytest

from inference.kernels import next_float, random_state, shuffle
from inference.status import Status
from models.perceptron.problem import Problem, random_patterns, teacher_student
from models.perceptron.replicated_descent import DescentState, replicated_sgd

MACHINES = [(1, False), (3, True), (3, False), (5, False)]
VARIANTS = ["tanh", "hard", "corrected", "continuous"]
# sums of these are exact in any order, and fields can be exactly 0
SETTINGS = {"learning_rate": 0.75, "strength": 0.25, "coupling": 0.25, "coupling_step": 0.125}


def sign(field, before):
    return 1 if field > 0 else -1 if field < 0 else before


def units(problem, weights, pattern):
    """Return the weighted sums of the units times the label."""
    sums = []
    for unit, row in enumerate(weights):
        start = unit * problem.n_inputs if problem.tree else 0
        seen = problem.patterns[pattern, start : start + problem.n_inputs]
        sums.append(int(problem.labels[pattern]) * sum(int(x) * w for x, w in zip(seen, row)))
    return sums


def count_errors(problem, weights):
    votes = [
        sum(1 if s > 0 else -1 for s in units(problem, weights, pattern))
        for pattern in range(problem.n_patterns)
    ]
    return sum(vote < 0 for vote in votes)


def taught(problem, weights, pattern):
    """Return the units that a pattern teaches: the fewest, and of these the least wrong."""
    sums = units(problem, weights, pattern)
    n_right = sum(s > 0 for s in sums)
    wrong = sorted((-s, unit) for unit, s in enumerate(sums) if s < 0)
    missing = (len(sums) + 1) // 2 - n_right
    return [unit for _, unit in wrong[: max(0, missing)]]


def attraction(variant, gamma, n_replicas, total, weight):
    if variant == "continuous":
        return total / n_replicas - weight
    bent = gamma * total
    if variant == "hard":
        return max(-1.0, min(1.0, bent)) - weight
    worth = math.tanh(gamma * n_replicas) if variant == "corrected" else 1.0
    return math.tanh(bent) - worth * weight


def slow_descent(problem, y, n_epochs, batch_size, variant, centre, seed):
    """Follow the rules weight by weight, drawing the same random numbers."""
    eta, strength, gamma = (SETTINGS[k] for k in ("learning_rate", "strength", "coupling"))
    random = random_state(seed)
    cells = [(k, i) for k in range(problem.n_hidden) for i in range(problem.n_inputs)]
    start = np.array([1 if next_float(random) < 0.5 else -1 for _ in cells])
    start = start.reshape(problem.n_hidden, -1).tolist()
    weights = [[row[:] for row in start] for _ in range(y)]
    fields = [[[float(w) for w in row] for row in start] for _ in range(y)]
    middle_fields = [[float(w) for w in row] for row in start]
    middle = [row[:] for row in start]
    trace = []
    for _ in range(n_epochs):
        orders = [np.arange(problem.n_patterns) for _ in range(y)]
        for order in orders:
            shuffle(order, random)
        for first in range(0, problem.n_patterns, batch_size):
            turns = np.arange(y)
            shuffle(turns, random)
            for r in turns:
                totals = {(k, i): sum(weights[s][k][i] for s in range(y)) for k, i in cells}
                lessons = [
                    (k, a)
                    for a in orders[r][first : first + batch_size]
                    for k in taught(problem, weights[r], a)
                ]
                for k, i in cells:
                    column = k * problem.n_inputs + i if problem.tree else i
                    fields[r][k][i] += sum(
                        eta * int(problem.labels[a]) * int(problem.patterns[a, column])
                        for unit, a in lessons
                        if unit == k
                    )
                    w = sign(fields[r][k][i], weights[r][k][i])
                    if centre == "explicit":
                        shift = strength * (middle[k][i] - w) / 2
                        fields[r][k][i] += shift
                        middle_fields[k][i] -= shift
                        middle[k][i] = sign(middle_fields[k][i], middle[k][i])
                    elif y > 1:
                        fields[r][k][i] += strength * attraction(variant, gamma, y, totals[k, i], w)
                    weights[r][k][i] = sign(fields[r][k][i], w)
        if centre == "implicit":
            for k, i in cells:
                middle[k][i] = sign(sum(weights[s][k][i] for s in range(y)), weights[0][k][i])
        errors = [count_errors(problem, w) for w in weights]
        pairs = [(r, s) for r in range(y) for s in range(r)]
        overlap = [np.mean(np.multiply(weights[r], weights[s])) for r, s in pairs] or [1.0]
        trace.append(
            (gamma, min(errors), np.mean(errors), count_errors(problem, middle), np.mean(overlap))
        )
        gamma += SETTINGS["coupling_step"]
        if min(trace[-1][1], trace[-1][3]) == 0:
            break
    return np.array(fields), np.array(weights), np.array(middle), np.array(trace)


@pytest.mark.parametrize("n_replicas", [1, 2, 3])
@pytest.mark.parametrize(("variant", "centre"), [*((v, "implicit") for v in VARIANTS),
                                                 ("tanh", "explicit")])  # fmt: skip
@pytest.mark.parametrize(("n_hidden", "tree"), MACHINES)
def test_the_compiled_epochs_follow_the_rules(n_hidden, tree, variant, centre, n_replicas):
    # labels of both signs, and a last batch of two patterns
    problem, _ = teacher_student(9, 17 / (9 * n_hidden), n_hidden=n_hidden, tree=tree, seed=3)
    assert problem.n_patterns == 17
    assert set(problem.labels.tolist()) == {1, -1}
    fields, weights, middle, trace = slow_descent(problem, n_replicas, 4, 5, variant, centre, 1)
    found = replicated_sgd(
        problem, n_replicas=n_replicas, n_epochs=4, batch_size=5, variant=variant, centre=centre,
        seed=1, **SETTINGS,
    )  # fmt: skip
    np.testing.assert_array_equal(found.state.weights, weights)
    np.testing.assert_array_equal(found.state.centre, middle)
    np.testing.assert_allclose(np.array(found.trace).T, trace, rtol=1e-12)
    # sums of some forty numbers of order one
    np.testing.assert_allclose(found.state.fields, fields, rtol=0, atol=1e-13)
    assert found.n_steps == found.state.n_epochs == len(trace)


@pytest.mark.parametrize("n_replicas", [1, 4])
def test_the_weights_returned_are_the_best_seen(n_replicas):
    problem = random_patterns(51, 1.2, n_hidden=3, seed=0)
    found = replicated_sgd(problem, n_replicas=n_replicas, n_epochs=60, batch_size=20)
    assert found.status is Status.MAX_STEPS
    assert found.n_steps == 60
    least = min(found.trace.least_errors.min(), found.trace.centre_errors.min())
    assert found.energy == count_errors(problem, found.weights.tolist()) == least > 0
    assert found.weights.dtype == np.int8
    assert least < found.trace.least_errors[-1] or least < found.trace.least_errors[0]


def test_one_wrong_pattern_teaches_as_few_units_as_can_be():
    # sums of the units: +3, -1, -3, then -1, -1, -3, both wrong: one and two units have to learn
    start = np.ones((3, 3), np.int8)
    one = Problem([[1, 1, 1, 1, -1, -1, -1, -1, -1]], [1], n_hidden=3, tree=True)
    two = Problem([[1, -1, -1, 1, -1, -1, -1, -1, -1]], [1], n_hidden=3, tree=True)
    for problem, taught_units in ((one, [1]), (two, [0, 1])):
        found = replicated_sgd(problem, n_replicas=1, init=start, learning_rate=2.5)
        learned = np.ones((3, 3))
        learned[taught_units] += 2.5 * problem.unit_inputs[0, taught_units]
        np.testing.assert_array_equal(found.state.fields[0], learned)
        assert (found.energy, found.n_steps) == (0, 1)


# equal replicas whose fields no pattern moves: one of two opposite labels is always wrong, at a
# rate of 1e-12, and the full batch keeps replicas equal. A weight w = 1 has the field, after m
# epochs, 1 - m lambda (1 - tanh(gamma y)); hard: the cut tanh; corrected, continuous: 1.
@pytest.mark.parametrize(
    ("variant", "decay"),
    [
        ("tanh", 1 - math.tanh(0.6)),
        ("hard", 0.4),
        ("corrected", 0.0),
        ("continuous", 0.0),
    ],
)
def test_equal_replicas_feel_what_the_formula_says(variant, decay):
    row = [1, -1, 1, 1, -1]
    problem = Problem([row, row], [1, -1])
    found = replicated_sgd(
        problem, n_replicas=3, n_epochs=5, batch_size=10, learning_rate=1e-12, strength=0.1,
        coupling=0.2, coupling_step=0.0, variant=variant, init=[1] * 5,
    )  # fmt: skip
    np.testing.assert_allclose(found.state.fields, 1 - 5 * 0.1 * decay, rtol=0, atol=1e-10)
    assert (found.trace.overlap == 1).all()
    assert found.energy == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_replica_learns_alone(variant):
    problem = random_patterns(31, 1.0, n_hidden=3, seed=1)
    free = replicated_sgd(problem, n_replicas=1, n_epochs=30, batch_size=10, strength=0.0)
    bound = replicated_sgd(problem, n_replicas=1, n_epochs=30, batch_size=10, variant=variant)
    np.testing.assert_array_equal(bound.state.fields, free.state.fields)
    assert (free.trace.overlap == 1).all()
    np.testing.assert_array_equal(free.trace.centre_errors, free.trace.least_errors)


@pytest.mark.parametrize("centre", ["implicit", "explicit"])
@pytest.mark.parametrize("n_replicas", [2, 3])
def test_flipped_inputs_flip_the_weights(n_replicas, centre):
    # also where replicas tie: no sign is preferred anywhere
    problem = random_patterns(21, 1.0, n_hidden=3, tree=True, seed=2)
    generator = np.random.default_rng(0)
    start = generator.choice([-1, 1], (3, 21))
    flips = generator.choice([-1, 1], (3, 21))
    mirrored = Problem(problem.patterns * flips.ravel(), problem.labels, n_hidden=3, tree=True)
    options = {"n_replicas": n_replicas, "n_epochs": 20, "batch_size": 6, "centre": centre,
               "variant": "continuous", "strength": 1.0}  # fmt: skip
    found = replicated_sgd(problem, init=start, **options)
    image = replicated_sgd(mirrored, init=start * flips, **options)
    np.testing.assert_array_equal(image.weights, found.weights * flips)
    np.testing.assert_array_equal(image.state.fields, found.state.fields * flips)
    np.testing.assert_array_equal(image.state.centre, found.state.centre * flips)


@pytest.mark.parametrize("centre", ["implicit", "explicit"])
def test_a_run_in_parts_is_the_run_in_one(centre):
    problem = random_patterns(51, 0.8, n_hidden=3, seed=0)
    options = {"n_replicas": 3, "batch_size": 25, "seed": 4, "centre": centre}
    whole = replicated_sgd(problem, n_epochs=12, **options)
    asked = iter([False] * 5 + [True])
    first = replicated_sgd(problem, should_stop=lambda: next(asked), **options)
    assert first.n_steps == 5
    kept = [np.copy(part) for part in first.state]
    last = replicated_sgd(problem, n_epochs=7, init=first.state, **options)
    for before, after in zip(kept, first.state):
        np.testing.assert_array_equal(before, after)
    for once, again in zip(whole.state, last.state):
        np.testing.assert_array_equal(once, again)
    for once, *parts in zip(whole.trace, first.trace, last.trace):
        np.testing.assert_array_equal(once, np.concatenate(parts))
    np.testing.assert_array_equal(whole.weights, last.weights)
    assert whole.trace.coupling[-1] == pytest.approx(0.05 + 11 * 0.001, rel=1e-14)


def test_batches_above_the_number_of_patterns_are_full_ones():
    problem = random_patterns(31, 1.0, n_hidden=3, seed=0)
    full = replicated_sgd(problem, n_epochs=10, batch_size=problem.n_patterns)
    more = replicated_sgd(problem, n_epochs=10, batch_size=10**6)
    np.testing.assert_array_equal(full.state.fields, more.state.fields)
    # replicas that start as one and see the same patterns stay one, unless batches differ
    free = replicated_sgd(problem, n_epochs=10, batch_size=10**6, strength=0.0)
    assert (free.trace.overlap == 1).all()
    small = replicated_sgd(problem, n_epochs=10, batch_size=10, strength=0.0)
    assert (small.trace.overlap < 1).all()


def test_a_solved_start_needs_no_epoch():
    problem, teacher = teacher_student(31, 0.5, n_hidden=3, seed=0)
    found = replicated_sgd(problem, init=teacher)
    assert (found.energy, found.n_steps, found.status) == (0, 0, Status.CONVERGED)
    np.testing.assert_array_equal(found.weights, teacher)
    assert all(len(column) == 0 for column in found.trace)


def test_couplings_without_bound_are_signs():
    problem = random_patterns(31, 0.9, n_hidden=3, seed=0)
    runs = [
        replicated_sgd(problem, n_replicas=2, n_epochs=20, batch_size=9, coupling=c)
        for c in (1e3, 1e308)
    ]
    np.testing.assert_array_equal(runs[0].state.fields, runs[1].state.fields)
    assert np.isfinite(runs[0].state.fields).all()


@pytest.mark.parametrize("seed", range(3))
def test_replicas_solve_what_one_does_not(seed):
    problem = random_patterns(151, 0.5, n_hidden=5, seed=seed)
    together = replicated_sgd(problem, batch_size=37, seed=seed)
    alone = replicated_sgd(problem, n_replicas=1, batch_size=37, seed=seed)
    assert together.status is Status.CONVERGED
    assert together.energy == count_errors(problem, together.weights.tolist()) == 0
    assert alone.status is Status.MAX_STEPS
    assert alone.energy > 5


@pytest.mark.parametrize(
    "options", [{}, {"n_replicas": 1}, {"variant": "corrected"}, {"centre": "explicit"}]
)
def test_light_loads_are_solved_by_all(options):
    found = replicated_sgd(random_patterns(321, 0.125, n_hidden=5, seed=0), **options)
    assert found.status is Status.CONVERGED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_replicas": 0}, "n_replicas: expected an integer of at least 1"),
        ({"n_epochs": 2.5}, "n_epochs: expected an integer"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1"),
        ({"learning_rate": -1.0}, "learning_rate: expected a positive finite number"),
        ({"learning_rate": math.nan}, "learning_rate: expected"),
        ({"strength": -0.1}, "strength: expected a finite number of at least 0"),
        ({"strength": math.nan}, "strength: expected"),
        ({"coupling": math.inf}, "coupling: expected a finite"),
        ({"coupling_step": -1e-3}, "coupling_step: expected a finite"),
        ({"variant": "soft"}, "variant: expected one of tanh, hard"),
        ({"centre": "none"}, "centre: expected one of implicit"),
        ({"seed": -1}, "seed: expected"),
        ({"init": [1, 1, 1]}, r"init: expected shape \(5,\)"),
        ({"init": [1, 1, 0, 1, 1]}, "init: expected \\+1 or -1"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        replicated_sgd(random_patterns(5, 1.0, seed=0), **options)


def test_bad_types_and_states_are_named():
    problem = random_patterns(5, 2.0, seed=0)
    with pytest.raises(TypeError, match="strength: expected a number, got None"):
        replicated_sgd(problem, strength=None)
    state = replicated_sgd(problem, n_replicas=2, n_epochs=1).state
    assert isinstance(state, DescentState)
    with pytest.raises(ValueError, match=r"init: expected a state of fields \(3, 1, 5\)"):
        replicated_sgd(problem, n_replicas=3, init=state)
