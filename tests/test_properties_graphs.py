"""What holds for every graph that is drawn and every file that is written, at random sizes."""

import csv
import functools
import itertools

import hypothesis.strategies as st
import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from graphs import ContactNetwork, FactorGraph, PairwiseGraph, contacts, generators
from graphs.contact_files import read_contacts, read_tests
from graphs.formats import read_dimacs, write_dimacs

few = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEED = st.integers(0, 2**32 - 1)
NETWORKS = {
    "static": functools.partial(contacts.static_contacts, mean_degree=4),
    "fresh": functools.partial(contacts.fresh_contacts, mean_degree=4),
    "proximity": contacts.proximity_contacts,
    "household": contacts.household_contacts,
}


def has_repeat(row):
    return len(set(row)) < len(row)


def clause_tables(n_variables, n_rows, k, seed):
    """Return the tables of variables of all generators that take these sizes."""
    planted = generators.planted_clauses(n_variables, n_rows, k, seed=seed)[0]
    return [
        abs(generators.random_clauses(n_variables, n_rows, k, seed=seed)) - 1,
        abs(planted) - 1,
        generators.erdos_renyi_factor_graph(n_variables, n_rows, k, seed=seed),
    ]


@few
@given(st.integers(4, 30), st.integers(0, 60), st.integers(1, 4), SEED)
def test_rows_of_random_wirings_hold_different_variables(n_variables, n_rows, k, seed):
    for table in clause_tables(n_variables, n_rows, k, seed):
        assert table.shape == (n_rows, k)
        assert not any(map(has_repeat, table.tolist()))
        assert set(table.ravel().tolist()) <= set(range(n_variables))


@few
@given(st.integers(4, 30), st.integers(0, 80), st.integers(1, 4), SEED)
def test_planted_assignments_satisfy_every_clause(n_variables, n_clauses, k, seed):
    clauses, spins = generators.planted_clauses(n_variables, n_clauses, k, seed=seed)
    for clause in clauses.tolist():
        assert any((literal > 0) == (spins[abs(literal) - 1] > 0) for literal in clause)


@few
@given(st.integers(2, 12), st.integers(0, 4), st.integers(1, 4), SEED)
def test_regular_wirings_have_one_degree_and_one_arity(blocks, degree, k, seed):
    n_variables = blocks * k
    table = generators.regular_factor_graph(n_variables, degree, k, seed=seed)
    assert table.shape == (blocks * degree, k)
    assert not any(map(has_repeat, table.tolist()))
    assert np.bincount(table.ravel(), minlength=n_variables).tolist() == [degree] * n_variables


@few
@given(st.lists(st.integers(3, 6), min_size=1, max_size=3), st.booleans())
def test_lattices_are_grids(shape, periodic):
    edges = generators.lattice_edges(tuple(shape), periodic)
    ours = {frozenset(edge) for edge in edges.tolist()}
    place = {site: i for i, site in enumerate(np.ndindex(*shape))}
    grid = nx.grid_graph(shape[::-1], periodic=periodic)
    # networkx has plain numbers as nodes in one dimension
    sites = [[site if isinstance(site, tuple) else (site,) for site in e] for e in grid.edges]
    theirs = {frozenset(place[site] for site in edge) for edge in sites}
    assert ours == theirs
    assert len(ours) == len(edges)


@few
@given(st.integers(1, 40), SEED)
def test_trees_are_trees(n_nodes, seed):
    tree = nx.Graph(generators.random_tree_edges(n_nodes, seed).tolist())
    tree.add_nodes_from(range(n_nodes))
    assert tree.number_of_nodes() == n_nodes
    assert nx.is_tree(tree)


@few
@given(st.integers(1, 12), st.integers(1, 4), SEED)
def test_hypertrees_are_trees_of_variables_and_factors(n_factors, k, seed):
    table = generators.random_hypertree(n_factors, k, seed)
    n_variables = n_factors * (k - 1) + 1
    tree = nx.Graph((("v", v), ("f", a)) for a, row in enumerate(table.tolist()) for v in row)
    assert tree.number_of_nodes() == n_variables + n_factors
    assert nx.is_tree(tree)


DRAWS = {
    "random_clauses": lambda seed: generators.random_clauses(30, 40, 3, seed=seed),
    "planted_clauses": lambda seed: generators.planted_clauses(30, 40, 3, seed=seed)[0],
    "erdos_renyi": lambda seed: generators.erdos_renyi_factor_graph(30, 40, 3, seed=seed),
    "regular": lambda seed: generators.regular_factor_graph(30, 4, 3, seed=seed),
    "tree": lambda seed: generators.random_tree_edges(40, seed),
    "hypertree": lambda seed: generators.random_hypertree(20, 3, seed),
    "positions": lambda seed: contacts.random_positions(40, seed),
    "groups": lambda seed: contacts.household_groups(60, seed=seed).workplace,
    **{
        name: lambda seed, draw=draw: np.concatenate(
            [(net := draw(40, 3, seed=seed)).first, net.second, net.day]
        )
        for name, draw in NETWORKS.items()
    },
    "tree_contacts": lambda seed: contacts.random_tree_contacts(40, 3, seed=seed).forward_prob,
}


@pytest.mark.parametrize("name", DRAWS)
@settings(few, max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_a_seed_is_the_draw_and_another_one_another_draw(name, seed):
    draw = DRAWS[name]
    first = draw(seed)
    np.testing.assert_array_equal(first, draw(seed))
    # 40 bits and more would have to agree by chance
    assert not np.array_equal(first, draw(seed + 1))
    generator = np.random.default_rng(seed)
    np.testing.assert_array_equal(first, draw(generator))
    assert not np.array_equal(first, draw(generator)), "the generator was not advanced"


@pytest.mark.parametrize("name", NETWORKS)
@few
@given(n_people=st.integers(2, 30), n_days=st.integers(1, 9), prob=st.floats(0.0, 0.3), seed=SEED)
def test_contacts_are_of_two_people_at_most_once_a_day(name, n_people, n_days, prob, seed):
    network = NETWORKS[name](n_people, n_days, transmission_prob=prob, seed=seed)
    assert (network.n_people, network.n_days) == (n_people, n_days)
    met = list(zip(network.day.tolist(), network.first.tolist(), network.second.tolist()))
    assert all(0 <= a < b < n_people and 0 <= day < n_days for day, a, b in met)
    assert not has_repeat(met)
    # a pair that was drawn twice may have escaped each time: (1 - p)^n
    for way in (network.forward_prob, network.backward_prob):
        assert ((way >= prob - 1e-12) & (way <= 1.0)).all()
    if name == "static":
        by_day = [{(a, b) for d, a, b in met if d == day} for day in range(n_days)]
        assert all(pairs == by_day[0] for pairs in by_day)


@few
@given(st.integers(2, 30), st.integers(1, 6), SEED)
def test_households_meet_every_day(n_people, n_days, seed):
    groups = contacts.household_groups(n_people, seed=seed)
    network = contacts.household_contacts(n_people, n_days, seed=seed, groups=groups)
    met = set(zip(network.day.tolist(), network.first.tolist(), network.second.tolist()))
    for a, b in itertools.combinations(range(n_people), 2):
        if groups.household[a] == groups.household[b]:
            assert all((day, a, b) in met for day in range(n_days))


@few
@given(st.integers(1, 30), st.integers(1, 6), SEED)
def test_contacts_on_trees_have_no_loops(n_people, n_days, seed):
    network = contacts.random_tree_contacts(n_people, n_days, seed=seed)
    met = nx.Graph(zip(network.first.tolist(), network.second.tolist()))
    met.add_nodes_from(range(n_people))
    assert nx.is_forest(met)


# --------------------------------------------------------------------------- there and back


def same_network(one, other):
    assert (one.n_people, one.n_days) == (other.n_people, other.n_days)
    for name in ("first", "second", "day", "forward_prob", "backward_prob"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@few
@given(st.integers(2, 12), st.integers(2, 8), SEED, st.data())
def test_networks_come_back_from_networkx_and_from_their_pieces(n_people, n_days, seed, data):
    network = contacts.random_tree_contacts(n_people, n_days, seed=seed)
    cut = data.draw(st.integers(1, n_days - 1))
    same_network(network, network.window(0, cut).extended(network.window(cut, n_days - cut)))
    same_network(network, network.scaled(0.5).scaled(2.0))
    back = ContactNetwork.from_networkx(network.to_networkx(), n_days=n_days)
    same_network(network, back)
    events = network.events()
    again = ContactNetwork.from_events(*events, n_people=n_people, n_days=n_days)
    same_network(network, again)


@few
@given(st.integers(4, 12), st.integers(0, 12), st.integers(1, 4), SEED)
def test_factor_graphs_come_back_from_networkx(n_variables, n_factors, k, seed):
    table = generators.erdos_renyi_factor_graph(n_variables, n_factors, k, seed=seed)
    graph = FactorGraph.from_table(table, n_variables=n_variables)
    back, index = FactorGraph.from_networkx(graph.to_networkx())

    def edges(wiring, variables, factors):
        ends = zip(np.asarray(wiring.edge_variable).tolist(), wiring.edge_factor.tolist())
        return {(variables[v], factors[a]) for v, a in ends}

    wanted = {(int(v), a) for a, row in enumerate(table) for v in row}
    assert edges(graph, range(n_variables), range(n_factors)) == wanted
    named = nx.Graph((f"x{v}", f"f{a}") for v, a in wanted)
    # the way back numbers the nodes in an order of its own, which the index knows
    found = nx.Graph(edges(back, index.variables, index.factors))
    assert (back.n_variables, back.n_factors) == (n_variables, n_factors)
    assert {frozenset(edge) for edge in found.edges} == {frozenset(edge) for edge in named.edges}


@few
@given(st.integers(1, 20), SEED)
def test_graphs_of_pairs_come_back_from_networkx(n_nodes, seed):
    edges = generators.random_tree_edges(n_nodes, seed)
    graph = PairwiseGraph.from_edges(edges, n_nodes=n_nodes)
    back, nodes = PairwiseGraph.from_networkx(graph.to_networkx())

    def pairs(wiring, names):
        ends = zip(np.asarray(wiring.source).tolist(), np.asarray(wiring.target).tolist())
        return {(names[a], names[b]) for a, b in ends}

    wanted = {(a, b) for a, b in edges.tolist()} | {(b, a) for a, b in edges.tolist()}
    assert pairs(graph, range(n_nodes)) == wanted == pairs(back, nodes)
    np.testing.assert_array_equal(graph.source[graph.reverse], graph.target)


@few
@given(
    st.integers(1, 12), st.lists(st.lists(st.integers(1, 12), max_size=5), max_size=8), st.data()
)
def test_formulas_come_back_from_any_layout_of_their_file(tmp_path, n, rows, data):
    signs = st.sampled_from([-1, 1])
    clauses = [[(1 + v % n) * data.draw(signs) for v in row] for row in rows]
    literals = [literal for clause in clauses for literal in clause]
    offsets = np.cumsum([0, *map(len, clauses)])
    path = tmp_path / "formula.cnf"
    write_dimacs(path, literals, offsets, n, comments=["drawn"])
    # the same tokens with other white space, and comments between lines
    gap = st.sampled_from([" ", "\t", "\n", "\r\n", "  ", "\nc 1 0\n", "\n\n"])
    tokens = [str(token) for clause in clauses for token in [*clause, 0]]
    free = f"c\np cnf {n} {len(clauses)}\n" + "".join(token + data.draw(gap) for token in tokens)
    other = tmp_path / "other.cnf"
    other.write_text(free, newline="")
    for file in (path, other):
        found = read_dimacs(file)
        assert found.n_variables == n
        assert found.literals.tolist() == literals
        assert found.offsets.tolist() == offsets.tolist()


LABEL = st.text(st.characters(exclude_categories=("C",)), min_size=1, max_size=6).map(str.strip)
LABEL = (LABEL | st.sampled_from(["a,b", 'say "x"', "two\nlines", "0", "β"])).filter(bool)
PROB = st.floats(0.0, 1.0)


def written(path, header, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@few
@given(st.lists(st.tuples(LABEL, LABEL, st.integers(0, 5000), PROB), min_size=1), st.booleans())
def test_contacts_come_back_from_their_table(tmp_path, rows, with_prob):
    rows = [row for row in rows if row[0] != row[1]] or [("a", "b", 0, 0.5)]
    width = 4 if with_prob else 3
    header = ("person_a", "person_b", "day", "transmission")[:width]
    found = read_contacts(written(tmp_path / "c.csv", header, [row[:width] for row in rows]))
    a, b, day, prob = zip(*rows)
    assert (tuple(found.person_a), tuple(found.person_b)) == (a, b)
    assert tuple(found.day) == day
    assert (found.transmission is None) is not with_prob
    if with_prob:
        assert tuple(found.transmission) == prob


@few
@given(st.lists(st.tuples(LABEL, st.integers(0, 5000), st.booleans(), PROB, PROB), min_size=1))
def test_tests_come_back_from_their_table(tmp_path, rows):
    header = ("person", "day", "result", "false_positive", "false_negative")
    words = ("negative", "positive")
    said = [(who, day, words[result], fp, fn) for who, day, result, fp, fn in rows]
    found = read_tests(written(tmp_path / "t.csv", header, said))
    columns = (found.person, found.day, found.positive, found.false_positive, found.false_negative)
    assert [tuple(row) for row in zip(*columns)] == rows
