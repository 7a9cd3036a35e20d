"""Generators draw from the distributions that they claim."""

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from suite_helpers import assert_z

from graphs.factor_graph import FactorGraph
from graphs.generators import (
    erdos_renyi_factor_graph,
    lattice_edges,
    planted_clauses,
    random_clauses,
    random_hypertree,
    random_tree_edges,
    regular_factor_graph,
)
from graphs.pairwise import PairwiseGraph


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


@pytest.mark.statistical
def test_factors_of_random_graphs_are_uniform_sets():
    table = erdos_renyi_factor_graph(6, 40_000, 3, seed=0)
    assert table.shape == (40_000, 3)
    seen, counts = np.unique((1 << table).sum(axis=1), return_counts=True)
    assert len(seen) == math.comb(6, 3)
    assert_uniform(counts)
    degrees = np.bincount(erdos_renyi_factor_graph(30_000, 20_000, 3, seed=1).ravel())
    assert_z(degrees.var(), 2.0, 2.0 * np.sqrt(2.5 / 30_000))  # Poisson: kurtosis 3 + 1/2


@pytest.mark.parametrize(
    ("n", "degree", "k"),
    [(300, 3, 3), (100, 12, 6), (7, 6, 7), (8, 5, 8), (5, 4, 5), (6, 1, 3), (6, 0, 3), (4, 5, 1)],
)
@pytest.mark.parametrize("seed", range(3))
def test_regular_graphs_are_regular(n, degree, k, seed):
    table = regular_factor_graph(n, degree, k, seed=seed)
    assert table.shape == (n * degree // k, k)
    assert (np.bincount(table.ravel(), minlength=n) == degree).all()
    FactorGraph.from_table(table, n_variables=n)  # refuses a variable twice in a factor
    np.testing.assert_array_equal(table, regular_factor_graph(n, degree, k, seed=seed))


@pytest.mark.statistical
def test_neighbours_in_regular_graphs_are_unrelated():
    n, degree, k = 6_000, 4, 4
    table = np.sort(regular_factor_graph(n, degree, k, seed=0), axis=1)
    labels_apart = np.diff(table, axis=1)
    expected = n * degree * (k - 1) / (n - 1)
    assert_z((labels_apart == 1).sum(), expected, expected**0.5)


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (4, 3), (2, 5), (3, 3, 4), (1, 6), (2, 2, 2)])
@pytest.mark.parametrize("periodic", [True, False])
def test_lattices_are_those_of_networkx(shape, periodic):
    edges = lattice_edges(shape, periodic)
    grid = nx.grid_graph(shape[::-1], periodic=[periodic and n > 2 for n in shape[::-1]])
    nodes = list(itertools.product(*map(range, shape)))  # row-major
    if len(shape) == 1:  # bare numbers in networkx
        grid = nx.relabel_nodes(grid, {i: (i,) for i in grid})
    expected = set(map(frozenset, grid.edges))
    assert {frozenset((nodes[i], nodes[j])) for i, j in edges} == expected
    assert len(edges) == len(expected)
    if periodic:
        degrees = np.bincount(edges.ravel(), minlength=len(nodes))
        assert (degrees == sum(min(n - 1, 2) for n in shape)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 500])
@pytest.mark.parametrize("seed", range(3))
def test_random_trees_are_trees(n, seed):
    edges = random_tree_edges(n, seed)
    assert edges.shape == (n - 1, 2)
    assert nx.is_tree(PairwiseGraph.from_edges(edges, n_nodes=n).to_networkx())


@pytest.mark.statistical
def test_random_trees_are_uniform():
    rng = np.random.default_rng(0)
    draws = [random_tree_edges(5, rng) for _ in range(25_000)]
    codes = [tuple(sorted(map(tuple, np.sort(edges, axis=1).tolist()))) for edges in draws]
    trees, counts = np.unique(np.array(codes).reshape(-1, 8), axis=0, return_counts=True)
    assert len(trees) == 5**3
    assert_uniform(counts)


def test_the_decoded_tree_is_that_of_networkx():
    for n in (2, 5, 30):
        sequence = np.random.default_rng(n).integers(0, n, n - 2)
        expected = nx.from_prufer_sequence(sequence.tolist())
        drawn = nx.Graph(random_tree_edges(n, np.random.default_rng(n)).tolist())
        assert nx.utils.edges_equal(drawn.edges, expected.edges)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("n_factors", [1, 2, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_hypertrees_are_trees(n_factors, k, seed):
    table = random_hypertree(n_factors, k, seed)
    assert table.shape == (n_factors, k)
    n_variables = n_factors * (k - 1) + 1
    assert set(table.ravel().tolist()) == set(range(n_variables))
    graph = FactorGraph.from_table(table, n_variables=n_variables)
    assert nx.is_tree(graph.to_networkx())


def test_a_hypertree_without_factors_is_empty():
    assert random_hypertree(0, 3, seed=0).shape == (0, 3)


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: erdos_renyi_factor_graph(2, 5, 3, seed=0), "n_variables: .* at least 3, got 2"),
        (lambda: erdos_renyi_factor_graph(5, -1, 3, seed=0), "n_factors: .* got -1"),
        (lambda: erdos_renyi_factor_graph(5, 1, 3, seed="a"), "seed: .* got 'a'"),
        (lambda: regular_factor_graph(4, 2, 3, seed=0), r"degree: .* got 4 \* 2 and k = 3"),
        (lambda: regular_factor_graph(3, 4, 4, seed=0), "n_variables: .* at least 4, got 3"),
        (lambda: regular_factor_graph(4, -1, 2, seed=0), "degree: .* got -1"),
        (lambda: regular_factor_graph(4, 1, 0, seed=0), "k: .* at least 1, got 0"),
        (lambda: lattice_edges(()), "shape: .* at least one axis"),
        (lambda: lattice_edges((3, 0)), "shape: .* at least 1, got 0"),
        (lambda: random_tree_edges(0, 0), "n_nodes: .* at least 1, got 0"),
        (lambda: random_tree_edges(3, -1), "seed: .* got -1"),
        (lambda: random_hypertree(-1, 3, 0), "n_factors: .* got -1"),
        (lambda: random_hypertree(3, 0, 0), "k: .* at least 1, got 0"),
        (lambda: random_hypertree(2**20, 2**20, 0), "n_factors .* at most 2147483647"),
    ],
)
def test_graphs_that_cannot_be_drawn_are_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
