"""Generators draw from the distributions that they claim."""

import itertools

import numpy as np
import pytest
from suite_helpers import assert_z

from graphs.generators import planted_clauses, random_clauses


def recipe(n, m, k, seed):
    """The published generator, transcribed alone."""
    rng = np.random.default_rng(seed)
    v = rng.integers(0, n, (m, k))
    while True:
        bad = [a for a in range(m) if len(set(v[a].tolist())) < k]
        if not bad:
            break
        v[bad] = rng.integers(0, n, (len(bad), k))
    j = 1 - 2 * rng.integers(0, 2, (m, k))
    return (v + 1) * j


@pytest.mark.parametrize(
    ("n", "m", "k"), [(1, 4, 1), (3, 50, 3), (7, 40, 5), (200, 840, 3), (1000, 9500, 4), (9, 0, 2)]
)
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_random_clauses_follow_the_recipe_bit_for_bit(n, m, k, seed):
    clauses = random_clauses(n, m, k, seed=seed)
    assert clauses.dtype == np.int64
    np.testing.assert_array_equal(clauses, recipe(n, m, k, seed))


def test_a_generator_is_advanced():
    rng = np.random.default_rng(3)
    first, second = (random_clauses(20, 30, 3, seed=rng) for _ in range(2))
    np.testing.assert_array_equal(first, random_clauses(20, 30, 3, seed=3))
    assert (first != second).any()


def assert_uniform(counts, *, limit=5.0):
    """Assert equal expected counts: each cell, and their chi-square."""
    n_cells, total = counts.size, counts.sum()
    share = 1 / n_cells
    assert_z(counts, total * share, np.sqrt(total * share * (1 - share)), limit=limit)
    chi_square = ((counts - total * share) ** 2).sum() / (total * share)
    assert_z(chi_square, n_cells - 1, np.sqrt(2 * (n_cells - 1)), limit=limit)


@pytest.mark.statistical
@pytest.mark.parametrize("k", [2, 3, 5])
def test_random_clauses_are_uniform(k):
    clauses = random_clauses(6, 60_000, k, seed=k)
    assert_uniform(np.bincount(np.abs(clauses).ravel(), minlength=7)[1:])
    patterns = (clauses > 0) @ (1 << np.arange(k))
    assert_uniform(np.bincount(patterns, minlength=2**k))
    subsets = (1 << (np.abs(clauses) - 1)).sum(axis=1)
    seen, counts = np.unique(subsets, return_counts=True)
    assert len(seen) == len(list(itertools.combinations(range(6), k)))
    assert_uniform(counts)


@pytest.mark.statistical
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_planted_clauses_are_uniform_among_the_satisfied(k):
    clauses, assignment = planted_clauses(400, 62_000, k, seed=k)
    assert assignment.dtype == np.int8
    assert set(assignment.tolist()) == {-1, 1}
    satisfied = np.sign(clauses) == assignment[np.abs(clauses) - 1]
    assert satisfied.any(axis=1).all()
    counts = np.bincount(satisfied @ (1 << np.arange(k)), minlength=2**k)
    assert counts[0] == 0
    if k > 1:
        assert_uniform(counts[1:])
    assert_uniform(np.bincount(np.abs(clauses).ravel(), minlength=401)[1:])
    assert_z(assignment.mean(), 0.0, 400**-0.5)


REFUSED = [
    ({"n_variables": 2}, "n_variables: .* at least 3, got 2"),
    ({"n_variables": 10.0}, "n_variables: .* integer"),
    ({"n_variables": 2**31}, "n_variables: .* at most 2147483647"),
    ({"n_clauses": -1}, "n_clauses: .* at least 0, got -1"),
    ({"k": 0}, "k: .* at least 1, got 0"),
    ({"k": True}, "k: .* integer"),
    ({"n_variables": 20, "k": 20}, "k: .* got 20 of 20 .* probability 2e-08"),
    ({"seed": -1}, "seed: .* at least 0 .* got -1"),
    ({"seed": None}, "seed: .* got None"),
    ({"seed": 1.5}, "seed: .* got 1.5"),
]


@pytest.mark.parametrize(("changed", "message"), REFUSED)
@pytest.mark.parametrize("generate", [random_clauses, planted_clauses])
def test_clauses_that_cannot_be_drawn_are_refused(generate, changed, message):
    arguments = {"n_variables": 10, "n_clauses": 5, "k": 3, "seed": 0, **changed}
    with pytest.raises(ValueError, match=f"^{message}"):
        generate(**arguments)
