"""Belief and survey propagation: trees, closed forms, dense formulas, both schedules."""

import numpy as np
import pytest

from inference.kernels import random_state, uniform
from inference.message_passing.clause_messages import bethe, propagate
from inference.status import CavityWarning, ConvergenceError, Status
from models.ksat import (
    Formula,
    belief_propagation,
    exact_marginals,
    propagate_units,
    random_formula,
    survey_propagation,
)


def hypertree(k, n_most, seed):
    """Clauses of k literals; each new one shares one variable with those before."""
    rng = np.random.default_rng(seed)
    clauses, n = [list(range(k))], k
    while n + k - 1 <= n_most:
        clauses.append([int(rng.integers(n)), *range(n, n + k - 1)])
        n += k - 1
    signed = [[(v + 1) * int(rng.choice([-1, 1])) for v in clause] for clause in clauses]
    return Formula.from_clauses(signed, n), rng.normal(size=n)


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_trees_are_exact(k, schedule):
    for seed in range(20):
        formula, normal = hypertree(k, 15, seed)
        for field in (0.0, normal):
            exact = exact_marginals(formula, field=field)
            found = belief_propagation(formula, field=field, schedule=schedule, tol=1e-13)
            assert found.status is Status.CONVERGED
            np.testing.assert_allclose(found.marginals, exact.marginals, rtol=0, atol=1e-10)
            assert found.log_partition == pytest.approx(exact.log_partition, abs=1e-10)


def test_survey_propagation_without_its_joker_is_belief_propagation():
    formula, _ = hypertree(3, 15, 3)
    exact = exact_marginals(formula)
    found = survey_propagation(formula, rho=0.0)
    np.testing.assert_allclose(found.biases[:, 0], exact.marginals, atol=1e-10)
    np.testing.assert_allclose(found.biases.sum(axis=1), 1, atol=1e-14)
    assert found.complexity == pytest.approx(exact.log_partition, abs=1e-10)


@pytest.mark.parametrize("field", [0.0, 0.3, -40.0])
def test_a_variable_in_six_thousand_clauses_loses_nothing(field):
    # products of so many messages are far below the smallest float; fields saturate messages
    half = 3000
    formula = Formula.from_clauses(
        [[1, 2 + i] for i in range(half)] + [[-1, 2 + half + i] for i in range(half)]
    )
    free = np.logaddexp(field, -field)
    plus = field + half * free + half * field  # the second half is forced to +1
    minus = -field + half * field + half * free
    found = belief_propagation(formula, field=field)
    assert found.status is Status.CONVERGED
    assert found.log_partition == pytest.approx(np.logaddexp(plus, minus), rel=1e-12)
    assert found.marginals[0] == pytest.approx(1 / (1 + np.exp(minus - plus)), rel=1e-9)


@pytest.mark.parametrize("schedule", ["sequential", "parallel"])
def test_unit_clauses_give_exact_zeros_and_ones(schedule):
    chain = [[1], *([-i, i + 1] for i in range(1, 5)), [-5, -6], [7, 8]]
    found = belief_propagation(Formula.from_clauses(chain), schedule=schedule, field=0.5)
    assert found.marginals[:6].tolist() == [1, 1, 1, 1, 1, 0]
    exact = exact_marginals(Formula.from_clauses(chain), field=0.5)
    assert found.log_partition == pytest.approx(exact.log_partition, abs=1e-12)
    surveys = survey_propagation(Formula.from_clauses(chain), schedule=schedule)
    assert surveys.biases[:6].tolist() == [[1, 0, 0]] * 5 + [[0, 1, 0]]
    np.testing.assert_allclose(surveys.biases[6:], [[0, 0, 1]] * 2, atol=1e-8)


def test_hard_messages_without_units_are_exact():
    # x1 = x2 = x3 by clauses of two, none of one: fixed by the fields alone
    ring = [[-1, 2], [-2, 1], [-2, 3], [-3, 2]]
    tree = Formula.from_clauses(ring[:1] + ring[2:3])
    exact = exact_marginals(tree, field=[300.0, -1.0, 0.2])
    found = belief_propagation(tree, field=[300.0, -1.0, 0.2])
    np.testing.assert_allclose(found.marginals, exact.marginals, atol=1e-12)
    assert found.log_partition == pytest.approx(exact.log_partition, abs=1e-10)


@pytest.mark.parametrize("call", [belief_propagation, survey_propagation])
def test_a_contradiction_names_its_clause(call):
    formula = Formula.from_clauses([[1, 2], [3], [-3, 4], [-4, -3]])
    with pytest.warns(CavityWarning, match=r"clause [23] \(-[34], -?[34]\): CONTRADICTION"):
        found = call(formula)
    assert found.status is Status.CONTRADICTION
    assert found.culprit in (2, 3)
    assert (found.log_partition if call is belief_propagation else found.complexity) == -np.inf
    with pytest.raises(ConvergenceError, match="clause"):
        call(formula, on_failure="raise")
    empty = call(Formula.from_clauses([[1, 2], []]), on_failure="ignore")
    assert empty.culprit == 1


def test_both_schedules_reach_one_fixed_point():
    agreed = 0
    for seed in range(5):
        formula = random_formula(400, 800, 3, seed=seed)
        field = 0.5 * np.random.default_rng(seed).normal(size=400)
        one = belief_propagation(formula, field=field, tol=1e-12, on_failure="ignore")
        two = belief_propagation(
            formula, field=field, schedule="parallel", damping=0.3, tol=1e-12, max_steps=3000,
            on_failure="ignore",
        )  # fmt: skip
        if one.status is two.status is Status.CONVERGED:
            agreed += 1
            np.testing.assert_allclose(one.marginals, two.marginals, atol=1e-8)
            assert one.log_partition == pytest.approx(two.log_partition, rel=1e-10)
    assert agreed >= 4
    formula = random_formula(1000, 4200, 3, seed=2)
    surveys = [
        survey_propagation(formula, tol=1e-12, damping=damping, schedule=schedule, max_steps=5000)
        for schedule, damping in (("sequential", 0.0), ("sequential", 0.3), ("parallel", 0.4))
    ]
    assert all(found.status is Status.CONVERGED for found in surveys)
    for other in surveys[1:]:
        np.testing.assert_allclose(other.biases, surveys[0].biases, atol=1e-8)
        assert other.complexity == pytest.approx(surveys[0].complexity, abs=1e-6)


def test_surveys_of_zero_stay_zero():
    for schedule in ("sequential", "parallel"):
        found = survey_propagation(
            random_formula(500, 2100, 3, seed=0), init=0.0, schedule=schedule
        )
        assert found.status is Status.CONVERGED
        assert found.complexity == 0.0
        assert (found.biases == [0, 0, 1]).all()
    below = survey_propagation(random_formula(2000, 6000, 3, seed=0))
    np.testing.assert_allclose(below.biases[:, 2], 1, atol=1e-6)


def test_the_complexity_equals_the_formula_of_the_paper():
    formula = random_formula(300, 1260, 3, seed=1)
    system = formula.system
    om = uniform(system.n_edges, 0.0, 1.0, random_state(4))
    reached = propagate(
        system, om, rho=1.0, tol=1e-13, max_steps=5000, state=random_state(0), reshuffle=True
    )
    assert reached.status is Status.CONVERGED
    eta = (1 - reached.om).reshape(-1, 3)
    codes = system.literals.reshape(-1, 3)
    asked = np.ones(2 * 300)
    np.multiply.at(asked, codes, 1 - eta)
    same = asked[codes] / (1 - eta)  # over the other clauses that ask for the same sign
    opposite = asked[codes ^ 1]
    unsatisfying, satisfying = (1 - opposite) * same, (1 - same) * opposite
    norms = unsatisfying + satisfying + same * opposite
    ratio = unsatisfying / norms
    for place in range(3):  # the survey equation itself, mu eq. of cs/0212002
        others = [i for i in range(3) if i != place]
        np.testing.assert_allclose(eta[:, place], ratio[:, others].prod(axis=1), atol=1e-11)
    degree = np.bincount(codes.ravel() >> 1, minlength=300)
    clauses = np.log(norms.prod(axis=1) - unsatisfying.prod(axis=1)).sum()
    plus, minus = asked[0::2], asked[1::2]
    variables = ((degree - 1) * np.log(plus + minus - plus * minus)).sum()
    assert bethe(system, reached.om, rho=1.0) == pytest.approx(clauses - variables, abs=1e-9)


@pytest.mark.slow
def test_the_complexity_near_the_threshold_is_that_on_record():
    found = survey_propagation(random_formula(100_000, 420_000, 3, seed=0), tol=1e-6)
    assert found.status is Status.CONVERGED
    assert 0.0055 < found.complexity / 100_000 < 0.0070
    beyond = survey_propagation(random_formula(20_000, 86_000, 3, seed=0), tol=1e-6)
    assert beyond.complexity < 0


def test_bethe_beats_the_annealed_estimate_on_loopy_formulas():
    n, m = 18, 50
    errors, annealed = [], []
    for seed in range(20):
        formula = random_formula(n, m, 3, seed=seed)
        exact = exact_marginals(formula)
        if not exact.n_solutions:
            continue
        found = belief_propagation(formula, damping=0.3, on_failure="ignore")
        assert found.status is Status.CONVERGED
        errors.append((found.log_partition - exact.log_partition) / n)
        annealed.append(np.log(2) + m / n * np.log(7 / 8) - exact.log_partition / n)
    assert len(errors) >= 15
    assert np.sqrt(np.mean(np.square(errors))) < np.sqrt(np.mean(np.square(annealed))) / 3


def test_the_numbers_of_the_recipe():
    # ln Z / n of one instance each, measured independently of this code
    for k, alpha, expected in ((3, 3.5, 0.20278), (4, 9.0, 0.10120)):
        n = 10_000
        found = belief_propagation(random_formula(n, round(alpha * n), k, seed=0))
        assert found.log_partition / n == pytest.approx(expected, abs=5e-6)


def test_an_unfinished_run_says_so():
    formula = random_formula(1000, 4000, 3, seed=0)
    with pytest.warns(CavityWarning, match="belief propagation: MAX_STEPS"):
        found = belief_propagation(formula, max_steps=2)
    assert found.status is Status.MAX_STEPS
    assert found.n_steps == 2
    assert found.residual > 1e-8
    again = belief_propagation(formula, max_steps=2, on_failure="ignore")
    np.testing.assert_array_equal(again.marginals, found.marginals)
    with pytest.warns(CavityWarning, match="belief propagation: MAX_STEPS"):
        stopped = belief_propagation(formula, should_stop=lambda: True)
    assert (stopped.status, stopped.n_steps) == (Status.MAX_STEPS, 0)


def test_variables_in_no_clause_are_free():
    found = belief_propagation(Formula.from_clauses([[1, 2]], n_variables=4), field=0.1)
    assert found.marginals[3] == pytest.approx(1 / (1 + np.exp(-0.2)))
    assert found.log_partition == pytest.approx(
        exact_marginals(Formula.from_clauses([[1, 2]], n_variables=4), field=0.1).log_partition
    )
    nothing = belief_propagation(Formula.from_clauses([]))
    assert nothing.log_partition == 0.0
    assert nothing.status is Status.CONVERGED


def test_units_propagate_through_long_chains():
    n = 100_000
    units = propagate_units(Formula.from_clauses([[1], *([-i, i + 1] for i in range(1, n))]))
    assert units.culprit == -1
    assert (units.values == 1).all()
    assert units.left.system.n_clauses == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"field": [0.0, 1.0]}, "field: expected a number or shape"),
        ({"field": np.inf}, "field: expected finite numbers"),
        ({"schedule": "random"}, "schedule: expected one of"),
        ({"damping": 1.0}, "damping: expected a number in"),
        ({"tol": 0.0}, "tol: expected a positive"),
        ({"max_steps": 0}, "max_steps: expected an integer"),
        ({"seed": -1}, "seed: expected an integer"),
        ({"on_failure": "shout"}, "on_failure: expected"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        belief_propagation(random_formula(10, 20, 3, seed=0), **arguments)


@pytest.mark.parametrize("arguments", [{"rho": 1.5}, {"init": -0.1}, {"rho": np.nan}])
def test_bad_surveys_are_named(arguments):
    with pytest.raises(ValueError, match=f"{next(iter(arguments))}: expected a number in"):
        survey_propagation(random_formula(10, 20, 3, seed=0), **arguments)
