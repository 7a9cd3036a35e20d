"""Formulas: what goes in, energies against plain loops, enumeration against plain counting."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.ksat import (
    THRESHOLDS,
    Formula,
    annealed_entropy,
    count_solutions,
    exact_marginals,
    first_moment_threshold,
    planted_formula,
    random_formula,
)

N = 5
CLAUSES = st.lists(
    st.lists(st.integers(-N, N).filter(bool), min_size=0, max_size=8), min_size=0, max_size=12
)


def satisfied(clause, spins):
    return any(spins[abs(literal) - 1] == np.sign(literal) for literal in clause)


def solutions(clauses, n):
    for spins in itertools.product([1, -1], repeat=n):
        if all(satisfied(clause, spins) for clause in clauses):
            yield spins


@given(CLAUSES)
def test_energies_and_counts_are_those_of_plain_loops(clauses):
    formula = Formula.from_clauses(clauses, N)
    for spins in ([1, -1, 1, 1, -1], [-1] * N):
        assert formula.energy(spins) == sum(not satisfied(clause, spins) for clause in clauses)
    found = list(solutions(clauses, N))
    assert count_solutions(formula) == len(found)
    field = np.array([0.3, -0.2, 0.0, 1.0, -0.7])
    exact = exact_marginals(formula, field=field)
    assert exact.n_solutions == len(found)
    if not found:
        assert exact.log_partition == -math.inf
        assert np.isnan(exact.marginals).all()
        return
    weights = np.exp(np.array(found) @ field)
    plus = (np.array(found) == 1).T @ weights / weights.sum()
    np.testing.assert_allclose(exact.log_partition, np.log(weights.sum()), rtol=1e-12)
    np.testing.assert_allclose(exact.marginals, plus, rtol=1e-12, atol=1e-15)


@given(CLAUSES)
def test_the_wiring_drops_tautologies_and_repetitions_alone(clauses):
    system = Formula.from_clauses(clauses, N).system
    expected = [
        (index, set(clause))
        for index, clause in enumerate(clauses)
        if not any(-literal in clause for literal in clause)
    ]
    got = [
        (
            int(system.sources[a]),
            {
                (int(code >> 1) + 1) * (1 - 2 * int(code & 1))
                for code in system.literals[system.offsets[a] : system.offsets[a + 1]]
            },
        )
        for a in range(system.n_clauses)
    ]
    assert got == expected
    assert system.n_edges == sum(len(literals) for _, literals in expected)


def test_a_formula_survives_a_file_and_names_its_parts(tmp_path):
    formula = Formula.from_clauses([[1, -2, 2], [], [3, 3], [-4]], n_variables=6)
    formula.to_dimacs(tmp_path / "f.cnf", comments=["written by a test"])
    again = Formula.from_dimacs(tmp_path / "f.cnf")
    assert again.n_variables == 6
    assert again.n_clauses == 4
    assert [again.clause(a) for a in range(4)] == [(1, -2, 2), (), (3, 3), (-4,)]
    assert repr(again) == "Formula(n_variables=6, n_clauses=4)"


def test_the_factor_graph_has_signed_edges():
    graph = Formula.from_clauses([[1, -2], [2, 3]]).to_networkx()
    assert graph.number_of_nodes() == 5
    assert graph[("c", 0)][("v", 1)]["sign"] == -1
    assert graph[("c", 1)][("v", 2)]["sign"] == 1
    assert {data["bipartite"] for _, data in graph.nodes(data=True)} == {0, 1}


def test_random_formulas_are_those_of_the_recipe():
    rng = np.random.default_rng(5)
    n, m, k = 6, 40, 3
    variables = rng.integers(0, n, (m, k))
    while True:
        bad = np.array([len(set(row)) < k for row in variables.tolist()])
        if not bad.any():
            break
        variables[bad] = rng.integers(0, n, (int(bad.sum()), k))
    signs = 1 - 2 * rng.integers(0, 2, (m, k))
    formula = random_formula(n, m, k, seed=5)
    np.testing.assert_array_equal(formula.literals.reshape(m, k), (variables + 1) * signs)
    assert formula.clause_density == m / n


def test_a_planted_solution_solves():
    formula, planted = planted_formula(200, 2000, 3, seed=1)
    assert formula.energy(planted) == 0
    assert formula.energy(-planted) > 0


@pytest.mark.parametrize(
    ("clauses", "n", "error", "message"),
    [
        ([[1, 0]], None, ValueError, "clauses: clause 0: expected literals other than 0"),
        ([[1], [2, -7]], 3, ValueError, "clause 1: expected variables up to n_variables = 3, got "),
        ([[1.5]], None, TypeError, "clauses: clause 0: expected integers, got 1.5"),
        ([[True]], None, TypeError, "clauses: clause 0: expected integers, got True"),
        ([[2**31]], None, ValueError, "below 2\\*\\*31"),
        ([[1]], -1, ValueError, "n_variables: expected"),
    ],
)
def test_bad_clauses_are_named(clauses, n, error, message):
    with pytest.raises(error, match=message):
        Formula.from_clauses(clauses, n)


@pytest.mark.parametrize(
    ("spins", "message"),
    [
        ([1, 1], r"assignment: expected shape \(3,\), got \(2,\)"),
        ([1, 0, 1], "assignment: expected \\+1 or -1, got 0 at index 1"),
        ([1, 1, np.nan], "got nan at index 2"),
    ],
)
def test_bad_assignments_are_named(spins, message):
    with pytest.raises(ValueError, match=message):
        Formula.from_clauses([[1, 2, 3]]).energy(spins)


def test_large_formulas_are_not_enumerated():
    with pytest.raises(ValueError, match="formula: expected at most 24 variables, got 25"):
        count_solutions(random_formula(25, 10, 3, seed=0))
    with pytest.raises(ValueError, match=r"field: expected a number or shape \(4,\)"):
        exact_marginals(random_formula(4, 5, 3, seed=0), field=[1.0, 2.0])


def test_the_annealed_entropy_is_the_log_of_the_mean_count():
    n, m, k = 6, 9, 3
    counts = [count_solutions(random_formula(n, m, k, seed=seed)) for seed in range(2000)]
    error = np.std(counts) / math.sqrt(len(counts))
    mean = math.exp(n * annealed_entropy(k, m / n))
    assert abs(np.mean(counts) - mean) < 4 * error
    assert annealed_entropy(k, first_moment_threshold(k)) == pytest.approx(0, abs=1e-14)
    for clause_length, thresholds in THRESHOLDS.items():
        known = [value for value in thresholds if not math.isnan(value)]
        assert max(known) == thresholds.satisfiability <= first_moment_threshold(clause_length)


@pytest.mark.parametrize(
    "call", [lambda: annealed_entropy(0, 1.0), lambda: annealed_entropy(3, -1.0)]
)
def test_bad_densities_are_refused(call):
    with pytest.raises(ValueError, match="expected"):
        call()
