"""Half-edges: each edge both ways, its reverse known, in the order of networkx."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from graphs.pairwise import PairwiseGraph


@pytest.mark.float32
def test_every_edge_has_two_halves():
    graph = PairwiseGraph.from_edges([[3, 0], [0, 1], [1, 3]], n_nodes=5)
    assert graph.source.dtype == graph.target.dtype == graph.reverse.dtype == jnp.int32
    assert graph.source.tolist() == [3, 0, 1, 0, 1, 3]
    assert graph.target.tolist() == [0, 1, 3, 3, 0, 1]
    assert graph.reverse.tolist() == [3, 4, 5, 0, 1, 2]
    assert (graph.n_edges, graph.n_nodes) == (3, 5)


@pytest.mark.parametrize("seed", range(4))
def test_half_edges_of_a_random_graph(seed):
    drawn = nx.gnp_random_graph(20, 0.2, seed=seed)
    graph = PairwiseGraph.from_edges(list(drawn.edges), n_nodes=20)
    np.testing.assert_array_equal(graph.source[graph.reverse], graph.target)
    np.testing.assert_array_equal(graph.target[graph.reverse], graph.source)
    np.testing.assert_array_equal(graph.reverse[graph.reverse], np.arange(2 * graph.n_edges))
    offsets, half_edges = graph.incoming()
    for node in range(20):
        mine = half_edges[offsets[node] : offsets[node + 1]]
        assert (graph.target[mine] == node).all()
        assert sorted(graph.source[mine].tolist()) == sorted(drawn.adj[node])
    assert offsets.dtype == half_edges.dtype == np.int64


@pytest.mark.float32
def test_a_graph_is_a_pytree_that_compiles_once_a_shape():
    traces = []

    @jax.jit
    def neighbours(graph, values):
        traces.append(graph.n_nodes)
        return jnp.zeros(graph.n_nodes).at[graph.target].add(values[graph.source])

    path = PairwiseGraph.from_edges([[0, 1], [1, 2]], n_nodes=3)
    assert neighbours(path, jnp.array([1.0, 2.0, 4.0])).tolist() == [2, 5, 2]
    star = PairwiseGraph.from_edges([[2, 1], [2, 0]], n_nodes=3)
    assert neighbours(star, jnp.array([1.0, 2.0, 4.0])).tolist() == [4, 4, 3]
    assert traces == [3]


@pytest.mark.float32
def test_a_graph_without_edges():
    for edges in ([], np.zeros((0, 2), int)):
        graph = PairwiseGraph.from_edges(edges, n_nodes=2)
        assert graph.reverse.shape == (0,)
        assert graph.incoming()[0].tolist() == [0, 0, 0]
    assert PairwiseGraph.from_networkx(nx.Graph())[0].n_nodes == 0


def test_networkx_and_back():
    start = nx.Graph()
    start.add_nodes_from(["c", "a", ("b", 1), "alone"])
    start.add_edge("a", "c", weight=2.0)
    start.add_edge(("b", 1), "c", weight=3.0)
    graph, nodes = PairwiseGraph.from_networkx(start)
    assert nodes == ("c", "a", ("b", 1), "alone")
    weights = {frozenset(edge): weight for *edge, weight in start.edges(data="weight")}
    over_edges = [weight for *_, weight in start.edges(data="weight")]
    for e, weight in enumerate([*over_edges, *over_edges]):
        assert weights[frozenset((nodes[graph.source[e]], nodes[graph.target[e]]))] == weight
    back = graph.to_networkx(nodes)
    assert list(back) == list(start)
    assert set(map(frozenset, back.edges)) == set(weights)
    assert list(graph.to_networkx()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("edges", "n_nodes", "error", "message"),
    [
        ([[0, 3]], 3, ValueError, r"edges: .* from 0 to 2, got 3 at \(0, 1\)"),
        ([[0, 1], [2, 2]], 3, ValueError, r"edges: expected two different nodes, got 2 twice at 1"),
        ([[0, 1], [1, 0]], 3, ValueError, r"edges: expected each edge once, got \(0, 1\) twice"),
        ([[0, 1, 2]], 3, ValueError, r"edges: expected shape \(n_edges, 2\), got \(1, 3\)"),
        ([0, 1], 3, ValueError, r"edges: expected 2-dimensional, got shape \(2,\)"),
        ([[0.0, 1.0]], 3, TypeError, r"edges: .* integers, got the type float64"),
        ([[0, 1]], -1, ValueError, r"n_nodes: .* at least 0, got -1"),
    ],
)
def test_edges_that_are_none_are_refused(edges, n_nodes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        PairwiseGraph.from_edges(edges, n_nodes=n_nodes)


def test_networkx_graphs_that_are_not_simple_are_refused():
    with pytest.raises(TypeError, match=r"^graph: expected an undirected networkx graph"):
        PairwiseGraph.from_networkx(nx.DiGraph([(0, 1)]))
    with pytest.raises(TypeError, match=r"^graph: .* got \[\]"):
        PairwiseGraph.from_networkx([])
    with pytest.raises(ValueError, match=r"got 1 twice at 1"):
        PairwiseGraph.from_networkx(nx.Graph([(0, 1), (1, 1)]))
    with pytest.raises(ValueError, match=r"got \(0, 1\) twice"):
        PairwiseGraph.from_networkx(nx.MultiGraph([(0, 1), (1, 0)]))


def test_labels_of_another_graph_are_refused():
    graph = PairwiseGraph.from_edges([[0, 1]], n_nodes=2)
    with pytest.raises(ValueError, match=r"^nodes: expected 2 labels, got 1"):
        graph.to_networkx(["a"])
