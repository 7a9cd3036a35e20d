"""Solvers: what they claim is true, what they should solve they solve, and they say what failed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.message_passing.decimation import DecimationEnd
from models.ksat import (
    Formula,
    Satisfiability,
    compile_kernels,
    count_solutions,
    decimate,
    local_search,
    planted_formula,
    propagate_units,
    random_formula,
    reinforce,
    solve,
)

SATISFIABLE = Satisfiability.SATISFIABLE
UNSATISFIABLE = Satisfiability.UNSATISFIABLE
UNKNOWN = Satisfiability.UNKNOWN
N = 6
CLAUSES = st.lists(
    st.lists(st.integers(-N, N).filter(bool), min_size=1, max_size=8), min_size=0, max_size=30
)
IMPOSSIBLE = [[a, b, c] for a in (1, -1) for b in (2, -2) for c in (3, -3)]


@pytest.fixture(scope="module", autouse=True)
def _compiled():
    """Compile first: a time limit of a tenth of a second is for the search alone."""
    compile_kernels()


def violated(formula, assignment):
    """Count in plain Python."""
    return sum(
        all(assignment[abs(literal) - 1] != np.sign(literal) for literal in formula.clause(a))
        for a in range(formula.n_clauses)
    )


def satisfiable(formula):
    """Ask a complete solver."""
    solver = pytest.importorskip("pycryptosat", reason="comes with the extra dev").Solver()
    solver.add_clauses([formula.clause(a) for a in range(formula.n_clauses)])
    return solver.solve()[0]


@given(CLAUSES)
def test_small_formulas_get_right_answers(clauses):
    formula = Formula.from_clauses(clauses, N)
    n_solutions = count_solutions(formula)
    result = solve(formula, time_limit=0.1)
    assert result.energy == violated(formula, result.assignment)
    if n_solutions:
        assert result.status is SATISFIABLE
        assert result.energy == 0
    else:
        assert result.status in (UNKNOWN, UNSATISFIABLE)
        assert result.energy > 0
        forced = propagate_units(formula).culprit >= 0
        assert (result.status is UNSATISFIABLE) == forced


def test_ordinary_formulas_are_solved_at_once():
    n_satisfiable = 0
    for index in range(220):
        n = (50, 100, 250)[index % 3]
        alpha = (3.0, 3.5, 4.0)[index // 3 % 3]
        formula = random_formula(n, round(alpha * n), 3, seed=index)
        if local_search(formula, max_flips=2_000_000, seed=index).energy:
            assert not satisfiable(formula), f"seed {index} has a solution that was not found"
            continue
        n_satisfiable += 1
        result = solve(formula, seed=index)
        assert result.status is SATISFIABLE
        assert violated(formula, result.assignment) == 0
        # work, not time: a million flips take a fifth of a second
        assert result.stats["n_flips"] < 4_000_000
    assert n_satisfiable >= 200


def test_an_impossible_formula_is_unknown_without_a_proof():
    for method in ("auto", "local", "survey", "reinforce"):
        result = solve(Formula.from_clauses(IMPOSSIBLE), method=method, time_limit=0.1)
        assert result.status is UNKNOWN
        assert result.energy == 1


def test_unit_propagation_proves():
    for clauses in ([[]], [[1], [-1]], [[1, 2], [-2], [-1, 3], [-3]], [[1, 1], [-1, -1]]):
        result = solve(Formula.from_clauses(clauses))
        assert result.status is UNSATISFIABLE
        assert result.energy >= 1
        assert 0 <= result.stats["culprit"] < len(clauses)


def test_trivial_formulas():
    for formula in (
        Formula.from_clauses([]),
        Formula.from_clauses([], n_variables=3),
        Formula.from_clauses([[1, -1]], n_variables=2),
        Formula.from_clauses([[2], [2, 2]], n_variables=2),
    ):
        result = solve(formula)
        assert result.status is SATISFIABLE
        assert result.assignment.shape == (formula.n_variables,)
        assert set(result.assignment.tolist()) <= {1, -1}


@pytest.mark.parametrize("method", ["auto", "local", "survey", "reinforce"])
def test_every_method_solves_and_repeats_itself(method):
    formula = random_formula(2000, 8000, 3, seed=1)
    one, two = solve(formula, method=method, seed=3), solve(formula, method=method, seed=3)
    assert one.status is SATISFIABLE
    assert violated(formula, one.assignment) == 0
    np.testing.assert_array_equal(one.assignment, two.assignment)
    one.stats.pop("seconds"), two.stats.pop("seconds")
    assert one.stats == two.stats
    other = solve(formula, method=method, seed=4)
    assert (other.assignment != one.assignment).any()


def test_mixed_lengths_are_solved():
    rng = np.random.default_rng(0)
    planted = rng.choice([-1, 1], 500)
    clauses = []
    for length in range(1, 9):
        for _ in range(10 if length == 1 else 60 * length):
            variables = rng.choice(500, length, replace=False)
            signs = rng.choice([-1, 1], length)
            signs[0] = planted[variables[0]]
            clauses.append(((variables + 1) * signs).tolist())
    formula = Formula.from_clauses(clauses, 500)
    for method in ("auto", "local", "survey", "reinforce"):
        result = solve(formula, method=method)
        assert result.status is SATISFIABLE
        assert violated(formula, result.assignment) == 0


def test_the_hard_ones_of_the_recipe():
    # 3-SAT at 4.2: backtracking survey propagation; 4-SAT at 9.5: reinforcement within 200 sweeps
    hard = random_formula(10_000, 42_000, 3, seed=0)
    result = solve(hard)
    assert result.status is SATISFIABLE
    assert result.stats["n_sweeps"] < 3000
    four = random_formula(10_000, 95_000, 4, seed=0)
    reinforced = reinforce(four)
    assert reinforced.status is SATISFIABLE
    assert reinforced.stats["n_sweeps"] < 200


def test_a_decimation_violates_nothing_and_is_easy_to_finish():
    formula = random_formula(5000, 20_900, 3, seed=2)
    partial = decimate(formula)
    assert partial.end is DecimationEnd.PARAMAGNETIC
    assert 0 < (partial.values != 0).sum() < 5000
    system = formula.system
    for a in range(system.n_clauses):
        codes = system.literals[system.offsets[a] : system.offsets[a + 1]]
        values = partial.values[codes >> 1] * (1 - 2 * (codes & 1))
        # true somewhere, or at least two literals open: units have been propagated
        assert (values == 1).any() or (values == 0).sum() >= 2
    start = np.where(partial.values == 0, 1, partial.values)
    finished = local_search(formula, init=start, max_flips=2_000_000)
    assert finished.energy < 20


def test_belief_propagation_guides_too():
    partial = decimate(random_formula(2000, 7000, 3, seed=0), guide="belief", fraction=0.05)
    assert partial.end is DecimationEnd.ALL_FIXED


def test_decimation_says_why_it_ended():
    assert decimate(random_formula(500, 1000, 3, seed=0)).end is DecimationEnd.PARAMAGNETIC
    assert decimate(Formula.from_clauses([[1], [1, 2]], 3)).end is DecimationEnd.ALL_FIXED
    refuted = decimate(Formula.from_clauses([[1], [-1]]))
    assert refuted.end is DecimationEnd.CONTRADICTION
    assert refuted.culprit in (0, 1)
    hard = random_formula(3000, 12_900, 3, seed=0)
    assert decimate(hard, max_sweeps=3).end is DecimationEnd.NOT_CONVERGED
    assert decimate(hard, time_limit=1e-9).end is DecimationEnd.STOPPED


def test_a_long_run_reports_its_best_and_keeps_to_its_limit():
    formula = random_formula(2000, 9200, 3, seed=0)  # beyond the threshold: no solution
    heard = []
    result = solve(
        formula, time_limit=1.0, on_improvement=lambda energy, spins: heard.append((energy, spins))
    )
    assert result.status is UNKNOWN
    energies = [energy for energy, _ in heard]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] == result.energy == violated(formula, heard[-1][1])


@pytest.mark.parametrize("method", ["auto", "local", "survey", "reinforce"])
def test_a_search_can_be_ended(method):
    formula = random_formula(2000, 9200, 3, seed=0)
    asked = []

    def soon():
        asked.append(1)
        return len(asked) > 3

    result = solve(formula, method=method, should_stop=soon)
    assert result.status is UNKNOWN
    assert result.energy == violated(formula, result.assignment) > 0
    assert 3 < len(asked) < 20


@pytest.mark.parametrize("rule", ["probsat", "walksat"])
def test_local_search_goes_on_from_where_it_is_told(rule):
    formula, planted = planted_formula(1000, 4000, 3, seed=0)
    assert local_search(formula, init=planted, rule=rule).stats["n_flips"] == 0
    result = local_search(formula, rule=rule, seed=1)
    assert result.status is SATISFIABLE
    assert violated(formula, result.assignment) == 0
    cut = local_search(random_formula(1000, 4600, 3, seed=0), rule=rule, max_flips=1000)
    assert cut.stats["n_flips"] == 1000
    assert cut.energy == violated(random_formula(1000, 4600, 3, seed=0), cut.assignment)


@pytest.mark.parametrize(
    ("call", "arguments", "message"),
    [
        (solve, {"method": "magic"}, "method: expected one of"),
        (solve, {"time_limit": 0.0}, "time_limit: expected a positive"),
        (solve, {"seed": -1}, "seed: expected an integer"),
        (decimate, {"guide": "magic"}, "guide: expected one of"),
        (decimate, {"fraction": 0.0}, "fraction: expected"),
        (decimate, {"backtracking": 0.5}, "backtracking: expected"),
        (decimate, {"tol": -1.0}, "tol: expected"),
        (decimate, {"max_sweeps": 0}, "max_sweeps: expected"),
        (reinforce, {"rate": 1.0}, "rate: expected"),
        (reinforce, {"patience": 0}, "patience: expected"),
        (local_search, {"rule": "magic"}, "rule: expected one of"),
        (local_search, {"noise": 1.5}, "noise: expected a probability"),
        (local_search, {"max_flips": 0}, "max_flips: expected"),
        (local_search, {"init": [1, 2]}, "init: expected shape"),
    ],
)
def test_bad_arguments_are_named(call, arguments, message):
    with pytest.raises(ValueError, match=message):
        call(random_formula(20, 60, 3, seed=0), **arguments)


COMPILED = """
import json, sys
from numba.core.dispatcher import Dispatcher
import models.ksat as ksat

def signatures():
    ours = ("inference.", "models.ksat")
    modules = [module for name, module in sys.modules.items() if name.startswith(ours)]
    return {
        f"{d.py_func.__module__}.{d.__name__}": len(d.signatures)
        for m in modules for d in vars(m).values() if isinstance(d, Dispatcher)
    }

ksat.compile_kernels()
before = signatures()
for k, alpha in ((3, 4.1), (4, 9.3)):
    for method in ("local", "survey", "reinforce"):
        formula = ksat.random_formula(500, round(alpha * 500), k, seed=0)
        ksat.solve(formula, method=method, time_limit=1)
ksat.survey_propagation(ksat.random_formula(500, 2000, 3, seed=0))
print(json.dumps([name for name, n in signatures().items() if n != before.get(name, 0)]))
"""


def test_nothing_is_left_to_compile_afterwards():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED],
        cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == "[]"
