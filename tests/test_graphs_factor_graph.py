"""Factor graphs: the wiring is checked once, sorted by factor, and comes back from networkx."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from graphs.factor_graph import FactorGraph, NodeIndex


def small():
    """Six edges, given out of order; variable 3 is alone and factor 1 is empty."""
    return FactorGraph.from_edges(
        [4, 0, 1, 2, 0, 4], [2, 0, 0, 2, 3, 0], n_variables=5, n_factors=4
    )


@pytest.mark.float32
def test_edges_are_grouped_by_factor_in_their_order():
    graph = small()
    assert graph.edge_variable.dtype == graph.edge_factor.dtype == jnp.int32
    assert graph.edge_factor.tolist() == [0, 0, 0, 2, 2, 3]
    assert graph.edge_variable.tolist() == [0, 1, 4, 4, 2, 0]
    assert graph.n_edges == 6
    assert graph.arities().tolist() == [3, 0, 2, 1]
    assert graph.factor_offsets().tolist() == [0, 3, 3, 5, 6]
    offsets, edges = graph.edges_by_variable()
    assert offsets.tolist() == [0, 2, 3, 4, 4, 6]
    assert edges.tolist() == [0, 5, 1, 4, 2, 3]
    assert graph.factor_offsets().dtype == offsets.dtype == edges.dtype == np.int64


@pytest.mark.parametrize("seed", range(5))
def test_both_groupings_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    n_variables, n_factors = 12, 9
    variable, factor = np.nonzero(rng.random((n_variables, n_factors)) < 0.3)
    shuffled = rng.permutation(len(variable))
    variable, factor = variable[shuffled], factor[shuffled]
    graph = FactorGraph.from_edges(variable, factor, n_variables=n_variables, n_factors=n_factors)
    offsets = graph.factor_offsets()
    for a in range(n_factors):
        inside = graph.edge_variable[offsets[a] : offsets[a + 1]]
        assert inside.tolist() == variable[factor == a].tolist()
    offsets, edges = graph.edges_by_variable()
    for i in range(n_variables):
        mine = edges[offsets[i] : offsets[i + 1]]
        assert mine.tolist() == np.flatnonzero(graph.edge_variable == i).tolist()


@pytest.mark.float32
def test_a_table_is_a_graph_of_one_arity():
    table = np.array([[3, 0, 1], [1, 2, 4]])
    graph = FactorGraph.from_table(table, n_variables=6)
    assert graph.edge_variable.reshape(2, 3).tolist() == table.tolist()
    assert graph.arities().tolist() == [3, 3]
    same = FactorGraph.from_edges(table.ravel(), [0] * 3 + [1] * 3, n_variables=6, n_factors=2)
    assert same.edge_variable.tolist() == graph.edge_variable.tolist()
    assert jax.tree.structure(same) == jax.tree.structure(graph)
    assert FactorGraph.from_table(np.zeros((0, 3), int), n_variables=0).n_factors == 0


@pytest.mark.float32
def test_a_graph_is_a_pytree_that_compiles_once_a_shape():
    traces = []

    @jax.jit
    def degrees(graph):
        traces.append(graph.n_edges)
        return jnp.bincount(graph.edge_variable, length=graph.n_variables)

    assert degrees(small()).tolist() == [2, 1, 1, 0, 2]
    other = FactorGraph.from_edges([1] * 3 + [2] * 3, [0, 1, 2] * 2, n_variables=5, n_factors=4)
    assert degrees(other).tolist() == [0, 3, 3, 0, 0]
    assert traces == [6]
    leaves, structure = jax.tree.flatten(small())
    assert [leaf.shape for leaf in leaves] == [(6,), (6,)]
    assert jax.tree.unflatten(structure, leaves).n_factors == 4


def test_networkx_and_back():
    graph = small()
    converted = graph.to_networkx()
    assert converted.nodes["x3"] == {"kind": "variable", "bipartite": 0}
    assert converted.nodes["f1"] == {"kind": "factor", "bipartite": 1}
    assert nx.is_bipartite(converted)
    assert converted.number_of_edges() == 6
    for kind in ("kind", "bipartite"):
        back, index = FactorGraph.from_networkx(converted, kind=kind)
        for one, other in zip(jax.tree.leaves(back), jax.tree.leaves(graph)):
            np.testing.assert_array_equal(one, other)
        assert jax.tree.structure(back) == jax.tree.structure(graph)
        assert index.variables == ("x0", "x1", "x2", "x3", "x4")
        assert index.factor_index == {"f0": 0, "f1": 1, "f2": 2, "f3": 3}


@pytest.mark.parametrize("seed", range(3))
def test_labels_survive_the_round_trip(seed):
    start = nx.bipartite.random_graph(7, 5, 0.4, seed=seed)
    labels = [(i, "node") if i % 2 else frozenset({i}) for i in range(12)]
    order = np.random.default_rng(seed).permutation(12).tolist()
    shuffled = nx.Graph()
    shuffled.add_nodes_from((labels[i], {"side": i >= 7}) for i in order)
    shuffled.add_edges_from((labels[i], labels[j]) for i, j in start.edges)
    graph, index = FactorGraph.from_networkx(shuffled, kind="side")
    assert index.variables == tuple(labels[i] for i in order if i < 7)
    back = graph.to_networkx(index, kind="side")
    assert set(map(frozenset, back.edges)) == set(map(frozenset, shuffled.edges))
    assert set(back) == set(shuffled)
    again, same = FactorGraph.from_networkx(back, kind="side")
    assert same == index
    np.testing.assert_array_equal(again.edge_variable, graph.edge_variable)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"variable": [0, 3]}, ValueError, r"variable: expected an index from 0 to 2, got 3 at 1"),
        ({"variable": [-1, 0]}, ValueError, r"variable: .* got -1 at 0"),
        ({"variable": [0.0, 1.0]}, TypeError, r"variable: .* integers, got the type float64"),
        ({"variable": [[0, 1]]}, ValueError, r"variable: .* got shape \(1, 2\)"),
        ({"variable": [0, 1, 2]}, ValueError, r"factor: expected 3 entries .*, got 2"),
        ({"factor": [0, 2]}, ValueError, r"factor: expected an index from 0 to 1, got 2 at 1"),
        ({"factor": np.uint64([0, 2**64 - 1])}, ValueError, r"factor: .* below 2\*\*63"),
        ({"variable": [2, 2]}, ValueError, r"variable: .* got variable 2 twice in factor 1"),
        ({"n_variables": 0}, ValueError, r"variable: expected no entry"),
        ({"n_variables": -1}, ValueError, r"n_variables: .* at least 0, got -1"),
        ({"n_factors": 2.0}, ValueError, r"n_factors: .* integer"),
        ({"n_factors": 2**31}, ValueError, r"n_factors: .* at most 2147483647"),
    ],
)
def test_edges_that_are_none_are_refused(changed, error, message):
    arguments = {"variable": [0, 1], "factor": [1, 1], "n_variables": 3, "n_factors": 2}
    with pytest.raises(error, match=f"^{message}"):
        FactorGraph.from_edges(**{**arguments, **changed})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0, 1], [2, 2]], r"variables: .* at most once .* got \[2, 2\] in factor 1"),
        ([[0, 1], [1, 3]], r"variables: .* from 0 to 2, got 3 at \(1, 1\)"),
        ([[0, 1], [1]], r"variables: expected an array of integers"),
        ([0, 1], r"variables: expected 2-dimensional"),
    ],
)
def test_tables_that_are_none_are_refused(table, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        FactorGraph.from_table(table, n_variables=3)


def attributed(*edges, factors=("f", "g"), create_using=nx.Graph):
    graph = nx.Graph(edges) if create_using is nx.Graph else create_using(edges)
    for node in graph:
        graph.nodes[node]["kind"] = "factor" if node in factors else "variable"
    return graph


def test_networkx_graphs_that_are_no_factor_graphs_are_refused():
    with pytest.raises(
        ValueError, match=r"^graph: .* kind='variable' or 'factor' .* None at .*'a'"
    ):
        FactorGraph.from_networkx(nx.Graph([("a", "f")]))
    with pytest.raises(ValueError, match=r"^graph: .* got factors 'f' and 'g'"):
        FactorGraph.from_networkx(attributed(("a", "f"), ("f", "g")))
    with pytest.raises(ValueError, match=r"^graph: .* got variables 'a' and 'b'"):
        FactorGraph.from_networkx(attributed(("a", "f"), ("a", "b")))
    with pytest.raises(ValueError, match=r"^graph: .* no parallel edges"):
        FactorGraph.from_networkx(
            attributed(("a", "f"), ("a", "f"), ("b", "f"), create_using=nx.MultiGraph)
        )
    with pytest.raises(TypeError, match=r"^graph: expected an undirected"):
        FactorGraph.from_networkx(attributed(("a", "f"), create_using=nx.DiGraph))
    with pytest.raises(TypeError, match=r"^graph: .* got \[\]"):
        FactorGraph.from_networkx([])


def test_an_index_of_another_graph_is_refused():
    index = NodeIndex.from_labels(("a", "b"), ("f",))
    with pytest.raises(ValueError, match=r"^index: .* 5 variables and 4 factors, got 2 and 1"):
        small().to_networkx(index)
