"""Graphs of couplings and currents: Schnakenberg's decomposition against the entropy production."""

import networkx as nx
import numpy as np
import pytest

from graphs.currents import coupling_graph, current_graph, cycle_affinities
from inference.dynamics import entropy_production, stationary_law
from models.mesoscopic import SpinSystem


def three_states(w12, w23, w31, w21, w32, w13):
    """Return the column generator of three states from rates i -> j."""
    off = np.array([[0.0, w21, w31], [w12, 0.0, w32], [w13, w23, 0.0]])
    return off - np.diag(off.sum(axis=0))


def random_generator(seed, n=7, share=1.0):
    """Return a generator in which some pairs have no transitions; a ring keeps it in one piece."""
    rng = np.random.default_rng(seed)
    there = np.triu(rng.random((n, n)) < share, 1)
    there |= there.T
    ring = np.roll(np.eye(n, dtype=bool), 1, axis=0)
    off = rng.uniform(0.1, 2.0, (n, n)) * (there | ring | ring.T)
    np.fill_diagonal(off, 0.0)
    return off - np.diag(off.sum(axis=0))


def decomposed(generator):
    law = np.asarray(stationary_law(generator))
    graph = current_graph(generator, law)
    return graph, cycle_affinities(graph), float(entropy_production(generator, law))


class TestThreeStates:
    def test_uniform_cycle(self):
        generator = three_states(2.0, 2.0, 2.0, 0.5, 0.5, 0.5)
        graph, found, production = decomposed(generator)
        assert set(graph.edges) == {(0, 1), (1, 2), (2, 0)}
        assert found.affinity == pytest.approx([3 * np.log(4.0)], rel=1e-14)
        assert found.current == pytest.approx([0.5], rel=1e-14)
        assert found.entropy_production == pytest.approx(2.0794415416798357, rel=1e-14)
        assert production == pytest.approx(2.0794415416798357, rel=1e-14)

    def test_uneven_cycle(self):
        generator = three_states(1.0, 2.0, 3.0, 0.5, 0.7, 0.2)
        graph, found, _ = decomposed(generator)
        (cycle,) = found.cycles
        assert cycle in {(0, 1, 2), (1, 2, 0), (2, 0, 1)}
        assert found.current == pytest.approx([0.4178999295278365], rel=1e-13)
        assert found.affinity == pytest.approx([np.log(6.0 / (0.5 * 0.7 * 0.2))], rel=1e-13)
        assert found.entropy_production == pytest.approx(1.860080737951638, rel=1e-13)
        for *_, current in graph.edges(data="current"):
            assert current == pytest.approx(0.4178999295278365, rel=1e-13)
        expected = [0.55320648, 0.27061311, 0.17618041]
        assert [graph.nodes[i]["prob"] for i in range(3)] == pytest.approx(expected, abs=5e-9)

    def test_the_other_way_round(self):
        _, found, _ = decomposed(three_states(0.5, 0.5, 0.5, 2.0, 2.0, 2.0))
        (cycle,) = found.cycles
        assert cycle in {(0, 2, 1), (2, 1, 0), (1, 0, 2)}
        assert found.affinity[0] > 0


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_cycles_sum_to_the_entropy_production(seed, share):
    generator = random_generator(seed, share=share)
    graph, found, production = decomposed(generator)
    # the number of independent cycles, and each one once around with the affinity of its rates
    assert len(found.cycles) == graph.number_of_edges() - len(generator) + 1
    for cycle, affinity in zip(found.cycles, found.affinity):
        assert len(set(cycle)) == len(cycle) >= 3
        steps = list(zip(cycle, (*cycle[1:], cycle[0])))
        ahead = sum(np.log(generator[after, before]) for before, after in steps)
        back = sum(np.log(generator[before, after]) for before, after in steps)
        assert affinity == pytest.approx(ahead - back, abs=1e-12)
    assert (found.current >= 0).all()
    assert found.entropy_production == pytest.approx(production, abs=1e-12)
    over_edges = sum(e["current"] * e["affinity"] for *_, e in graph.edges(data=True))
    assert over_edges == pytest.approx(production, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_spin_systems(n):
    rng = np.random.default_rng(n)
    couplings = rng.standard_normal((n, n))
    np.fill_diagonal(couplings, 0.0)
    system = SpinSystem(couplings, bias=rng.standard_normal(n))
    graph = current_graph(system.generator(), system.stationary())
    found = cycle_affinities(graph)
    assert graph.number_of_edges() == n * 2 ** (n - 1)
    assert len(found.cycles) == n * 2 ** (n - 1) - 2**n + 1
    expected = float(system.entropy_production())
    assert found.entropy_production == pytest.approx(expected, abs=1e-12)


def test_what_flows_in_flows_out():
    graph, found, _ = decomposed(random_generator(0))
    for node in graph:
        gained = sum(current for *_, current in graph.in_edges(node, data="current"))
        lost = sum(current for *_, current in graph.out_edges(node, data="current"))
        assert gained == pytest.approx(lost, abs=1e-14)
    # an edge carries the currents of the cycles through it
    carried = nx.DiGraph(graph)
    nx.set_edge_attributes(carried, 0.0, "carried")
    for cycle, current in zip(found.cycles, found.current):
        for before, after in zip(cycle, (*cycle[1:], cycle[0])):
            if carried.has_edge(before, after):
                carried[before][after]["carried"] += current
            else:
                carried[after][before]["carried"] -= current
    for *_, edge in carried.edges(data=True):
        assert edge["carried"] == pytest.approx(edge["current"], abs=1e-14)


def test_a_reversible_process_has_no_currents():
    rng = np.random.default_rng(1)
    law = rng.dirichlet(np.ones(6))
    symmetric = rng.uniform(0.1, 1.0, (6, 6))
    off = (symmetric + symmetric.T) / law
    np.fill_diagonal(off, 0.0)
    generator = off - np.diag(off.sum(axis=0))
    found = cycle_affinities(current_graph(generator, law))
    assert abs(found.affinity).max() < 1e-13
    assert found.current.max() < 1e-13
    assert found.entropy_production < 1e-24


def test_two_separate_pieces():
    piece = three_states(1.0, 2.0, 3.0, 0.5, 0.7, 0.2)
    generator = np.kron(np.eye(2), piece)
    law = np.tile(np.asarray(stationary_law(piece)), 2) / 2
    found = cycle_affinities(current_graph(generator, law))
    assert len(found.cycles) == 2
    assert found.entropy_production == pytest.approx(1.860080737951638, rel=1e-13)


def test_a_transition_without_a_way_back():
    generator = three_states(1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
    graph = current_graph(generator, np.full(3, 1 / 3))
    assert all(np.isinf(affinity) for *_, affinity in graph.edges(data="affinity"))
    with pytest.raises(ValueError, match="expected a way back of every transition"):
        cycle_affinities(graph)


def test_coupling_graph():
    couplings = np.array([[0.0, 2.0, 0.0], [-1.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    graph = coupling_graph(couplings)
    assert sorted(graph.edges(data="weight")) == [(0, 1, -1.0), (1, 0, 2.0), (2, 1, 0.5)]
    np.testing.assert_array_equal(nx.to_numpy_array(graph, nodelist=range(3)).T, couplings)
    assert list(coupling_graph(np.zeros((2, 2)), "ab").nodes) == ["a", "b"]


@pytest.mark.parametrize(
    ("generator", "law", "message"),
    [
        (np.zeros((2, 3)), [0.5, 0.5], r"square matrix, got shape \(2, 3\)"),
        ([[np.nan, 0.0], [0.0, 0.0]], [0.5, 0.5], "finite"),
        ([[1.0, -1.0], [-1.0, 1.0]], [0.5, 0.5], "got -1 from 1 to 0"),
        ([[-1.0, 1.0], [2.0, -2.0]], [0.5, 0.5], "columns that sum to 0"),
        ([[-1.0, 2.0], [1.0, -2.0]], [0.5, 0.5], "it moves at a rate of 0.5"),
        ([[-1.0, 2.0], [1.0, -2.0]], [1.0], r"2 probabilities, got shape \(1,\)"),
        ([[-1.0, 2.0], [1.0, -2.0]], [0.5, 0.6], "sum to 1"),
        ([[-1.0, 2.0], [1.0, -2.0]], [np.nan, 1.0], "sum to 1"),
    ],
)
def test_faults(generator, law, message):
    with pytest.raises(ValueError, match=message):
        current_graph(generator, law)


def test_faults_of_names_and_types():
    with pytest.raises(ValueError, match="2 distinct names"):
        coupling_graph(np.zeros((2, 2)), names=["a", "a"])
    with pytest.raises(TypeError, match="matrix of numbers"):
        coupling_graph([["a", "b"], ["c", "d"]])
