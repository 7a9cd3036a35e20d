"""Contacts day by day: against tables filled row by row, and every way back to the input."""

import tracemalloc

import networkx as nx
import numpy as np
import pytest

from graphs.contacts import fresh_contacts, random_tree_contacts
from graphs.temporal import ContactNetwork

N_PEOPLE, N_DAYS, N_ROWS = 12, 5, 400
SYMMETRIC = pytest.mark.parametrize("symmetric", [False, True])


def random_rows(seed, n_rows=N_ROWS):
    rng = np.random.default_rng(seed)
    source = rng.integers(0, N_PEOPLE, n_rows)
    target = (source + rng.integers(1, N_PEOPLE, n_rows)) % N_PEOPLE
    return source, target, rng.integers(0, N_DAYS, n_rows), rng.random(n_rows)


def build(rows, **options):
    return ContactNetwork.from_events(*rows, n_people=N_PEOPLE, n_days=N_DAYS, **options)


def table(network):
    """Return the probabilities as ``(source, target, day)``."""
    dense = np.zeros((network.n_people, network.n_people, network.n_days))
    dense[network.first, network.second, network.day] = network.forward_prob
    dense[network.second, network.first, network.day] = network.backward_prob
    return dense


def assert_same(got, expected):
    assert (got.n_people, got.n_days) == (expected.n_people, expected.n_days)
    assert list(got.people) == list(expected.people)
    for name in ("first", "second", "day", "forward_prob", "backward_prob"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
        assert getattr(got, name).dtype == getattr(expected, name).dtype


@SYMMETRIC
@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("n_rows", [5, N_ROWS])
def test_rows_of_a_pair_and_day_are_combined(symmetric, common, n_rows):
    source, target, day, prob = random_rows(1, n_rows)
    if common:
        prob[:] = 0.3
    network = build((source, target, day, 0.3 if common else prob), symmetric=symmetric)
    escape = np.ones((N_PEOPLE, N_PEOPLE, N_DAYS))
    for row in range(n_rows):
        escape[source[row], target[row], day[row]] *= 1.0 - prob[row]
        if symmetric:
            escape[target[row], source[row], day[row]] *= 1.0 - prob[row]
    # at most 3 of 400 rows over 660 places, and roundings of one ulp each
    np.testing.assert_allclose(table(network), 1.0 - escape, rtol=0, atol=1e-14)
    pairs = {
        (min(i, j), max(i, j), x)
        for i, j, x in zip(source.tolist(), target.tolist(), day.tolist(), strict=True)
    }
    listed = list(
        zip(network.first.tolist(), network.second.tolist(), network.day.tolist(), strict=True)
    )
    assert listed == sorted(pairs)


def test_a_single_row_keeps_its_number_and_one_stays_one():
    tiny = [1e-300, 0.1, 1.0, 1.0, 0.7, 1e-17, 1e-17]
    network = ContactNetwork.from_events(
        [0, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 4, 5, 5], [0] * 7, tiny, n_people=6
    )
    assert network.forward_prob.tolist() == [1e-300, 0.1, 1.0, 1.0, pytest.approx(2e-17, rel=1e-15)]
    assert not network.backward_prob.any()


@SYMMETRIC
def test_one_probability_for_all_is_one_number_in_memory(symmetric):
    rows = ([0, 1, 1, 2], [1, 0, 2, 1], [0, 0, 1, 1])
    if symmetric:
        rows = tuple(column[::2] for column in rows)
    for prob in (0.25, np.full(len(rows[0]), 0.25)):
        network = ContactNetwork.from_events(*rows, prob, symmetric=symmetric)
        assert network.common_prob == 0.25
        assert network.forward_prob.strides == network.backward_prob.strides == (0,)
        assert table(network).sum() == 1.0
        assert network.window(1, 3).common_prob == 0.25
    one_way = ContactNetwork.from_events([0, 1], [1, 2], [0, 0], 0.25)
    assert one_way.common_prob is None
    repeated = ContactNetwork.from_events([0, 0, 0], [1, 1, 2], [0, 0, 0], 0.25, symmetric=True)
    assert repeated.common_prob is None
    assert repeated.forward_prob.tolist() == [pytest.approx(0.4375, abs=1e-16), 0.25]


def test_memory_of_contacts_that_are_all_alike():
    big = fresh_contacts(20_000, 14, seed=0)
    first, second = big.first.copy(), big.second.copy()
    day = big.day.astype(np.int32)
    tracemalloc.start()
    network = ContactNetwork.from_events(
        first, second, day, 0.02, n_people=20_000, n_days=14, symmetric=True
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert_same(network, big)
    chunks = 100e6  # temporaries of 4 million rows, whatever the size
    assert peak < (8 + 10 + 4 + 2) * big.n_contacts + chunks
    kept = sum(column.nbytes for column in (network.first, network.second, network.day))
    assert kept == 10 * big.n_contacts


def test_integers_are_indices_where_they_can_be():
    complete = ContactNetwork.from_events([2, 0], [1, 2], [0, 0], 0.1)
    assert complete.people == range(3)
    assert complete.first.tolist() == [0, 1]
    given = ContactNetwork.from_events([7], [3], [0], 0.1, n_people=9)
    assert (given.people, given.first[0], given.second[0]) == (range(9), 3, 7)
    unsigned = ContactNetwork.from_events(np.array([7], np.uint8), [3], [0], 0.1, n_people=9)
    assert unsigned.first[0] == 3


@pytest.mark.parametrize(
    ("source", "target", "people"),
    [
        ([7, 3, 7], [5, 7, 900], (7, 5, 3, 900)),
        ([-1, 0], [0, 1], (-1, 0, 1)),
        (["b", "a"], ["a", "c"], ("b", "a", "c")),
        (np.array(["b", "a"]), np.array(["a", "c"]), ("b", "a", "c")),
        (["1", 1], [1, "2"], ("1", 1, "2")),
        ([(0, 1), (1, 1)], [(0, 2), (0, 1)], ((0, 1), (0, 2), (1, 1))),
    ],
)
def test_other_labels_are_numbered_as_they_appear(source, target, people):
    network = ContactNetwork.from_events(source, target, range(len(source)), 0.1)
    assert network.people == people
    places = [[people.index(label) for label in end] for end in (_list(source), _list(target))]
    assert network.index_of(_list(source)).tolist() == places[0]
    for day, pair in enumerate(zip(*places, strict=True)):
        row = network.day.tolist().index(day)
        assert (network.first[row], network.second[row]) == tuple(sorted(pair))


def _list(labels):
    return labels.tolist() if isinstance(labels, np.ndarray) else labels


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (([0, 1], [1, 1], [0, 0], 0.1), {}, ValueError, r"different people, got 1 twice at row 1"),
        ((["a"], ["a"], [0], 0.1), {}, ValueError, r"different people, got 'a' twice at row 0"),
        (([0], [1, 2], [0], 0.1), {}, ValueError, r"target: expected 1 rows as in source, got 2"),
        (([0], [1], [0, 1], 0.1), {}, ValueError, r"day: expected 1 rows .* got shape \(2,\)"),
        (([0], [1], [-2], 0.1), {}, ValueError, r"day: .* at least 0, got -2 at row 0"),
        (([0, 1], [1, 0], [0, 1.5], 0.1), {}, ValueError, r"day: .* whole days, got 1.5 at row 1"),
        (([0], [1], [np.nan], 0.1), {}, ValueError, r"day: expected whole days, got nan at row 0"),
        (([0], [1], ["mon"], 0.1), {}, TypeError, r"day: expected integers"),
        (([0], [1], [3], 0.1), {"n_days": 3}, ValueError, r"below n_days = 3, got 3 at row 0"),
        (([0], [1], [40000], 0.1), {}, ValueError, r"day: .* 32767, got 40000 at row 0"),
        (([0], [1], [0], 0.1), {"n_days": 0}, ValueError, r"n_days: .* at least 1, got 0"),
        (([0], [1], [0], 1.5), {}, ValueError, r"transmission_prob: .* \[0, 1\], got 1.5$"),
        (([0, 1], [1, 0], [0, 0], [0.1, -0.1]), {}, ValueError, r"got -0.1 at row 1"),
        (([0], [1], [0], [np.nan]), {}, ValueError, r"transmission_prob: .* got nan at row 0"),
        (([0], [1], [0], [0.1, 0.2]), {}, ValueError, r"one number or 1, got shape \(2,\)"),
        (([0], [1], [0], "much"), {}, TypeError, r"transmission_prob: expected numbers"),
        (([0, 5], [1, 1], [0, 0], 0.1), {"n_people": 3}, ValueError, r"got 5 and 1 at row 1"),
        (([-1], [1], [0], 0.1), {"n_people": 3}, ValueError, r"got -1 and 1 at row 0"),
        (([0], [1], [0], 0.1), {"n_people": -1}, ValueError, r"n_people: expected an integer"),
        ((["a"], ["b"], [0], 0.1), {"n_people": 1}, ValueError, r"n_people: expected 2.* got 1"),
        (([0.5], [1], [0], 0.1), {}, TypeError, r"source: expected integers or text as labels"),
        ((["a"], [np.nan], [0], 0.1), {}, TypeError, r"target: expected integers or text"),
        ((["a"], [None], [0], 0.1), {}, ValueError, r"expected labels, got None at row 0"),
        (([["a"]], [["b"]], [0], 0.1), {}, TypeError, r"hashable labels, got \['a'\] at row 0"),
        (([], [], [], 0.1), {}, ValueError, r"n_people: .* there is no contact"),
        (([], [], [], 0.1), {"n_people": 2}, ValueError, r"n_days: .* there is no contact"),
        (([0], [1], [0], 0.1), {"n_people": 2**31 - 1, "n_days": 2}, ValueError, r"below 2\*\*62"),
    ],
)
def test_bad_rows_are_refused_by_row_and_value(rows, options, error, message):
    with pytest.raises(error, match=message):
        ContactNetwork.from_events(*rows, **options)


def test_no_contacts_at_all():
    network = ContactNetwork.from_events([], [], [], 0.1, n_people=3, n_days=4)
    assert (network.n_contacts, network.people, network.common_prob) == (0, range(3), None)
    assert all(len(column) == 0 for column in network.events())
    assert [part.network.n_people for part in network.partition(2)] == [2, 1]
    assert network.window(2, 9).extended(network).n_days == 13


@SYMMETRIC
def test_events_are_sorted_by_day_and_lead_back(symmetric):
    network = build(random_rows(2), symmetric=symmetric)
    events = network.events()
    assert (np.diff(events.day) >= 0).all()
    assert len(events.day) == np.count_nonzero(table(network))
    np.testing.assert_array_equal(
        table(network)[events.source, events.target, events.day], events.transmission_prob
    )
    backward = events.source > events.target
    assert (np.lexsort((backward, events.day)) == np.arange(len(backward))).all()
    assert_same(build(events), network)


def test_probabilities_are_scaled():
    network = build(random_rows(6))
    half = network.scaled(0.5)
    np.testing.assert_array_equal(table(half), 0.5 * table(network))
    alike = build((*random_rows(6, 5)[:3], 0.25), symmetric=True)
    assert alike.scaled(4.0).common_prob == 1.0
    assert alike.scaled(4.0).forward_prob.strides == (0,)
    for factor in (4.1, -0.1, np.nan, np.inf):
        with pytest.raises(ValueError, match="factor: expected a number of at least 0"):
            alike.scaled(factor)


def test_windows_put_together_are_the_network():
    network = build(random_rows(3))
    dense = table(network)
    np.testing.assert_array_equal(table(network.window(1, 3)), dense[:, :, 1:4])
    late = table(network.window(3, 4))
    np.testing.assert_array_equal(late[:, :, :2], dense[:, :, 3:])
    assert not late[:, :, 2:].any()
    assert_same(network.window(0, 2).extended(network.window(2, 3)), network)
    alike = build((*random_rows(3)[:3], 1.0), symmetric=True)
    both = alike.window(0, 2).extended(alike.window(2, 3))
    assert_same(both, alike)
    assert both.common_prob == 1.0
    assert network.window(50_000, 1).n_contacts == 0
    for bad in ((-1, 2), (0, 0), (0.5, 1)):
        with pytest.raises(ValueError, match="expected an integer of at least"):
            network.window(*bad)


def test_a_later_day_brings_new_people():
    before = ContactNetwork.from_events(["ann"], ["bob"], [1], [0.1])
    after = ContactNetwork.from_events(["cid", "bob"], ["ann", "ann"], [0, 2], [0.2, 0.3])
    both = before.extended(after)
    assert (both.people, both.n_days) == (("ann", "bob", "cid"), 5)
    expected = ContactNetwork.from_events(
        ["ann", "cid", "bob"], ["bob", "ann", "ann"], [1, 2, 4], [0.1, 0.2, 0.3]
    )
    assert_same(both, expected)
    numbered = ContactNetwork.from_events([0], [1], [0], 0.1)
    sparse = ContactNetwork.from_events([1, 9], [7, 1], [0, 0], 0.2)
    assert numbered.extended(sparse).people == (0, 1, 7, 9)
    assert numbered.extended(numbered).people == range(2)


@pytest.mark.parametrize("parts", [1, 3, N_PEOPLE, [1, 0, 2] * 4])
@pytest.mark.parametrize("common", [False, True])
def test_the_union_of_the_parts_is_the_network(parts, common):
    source, target, day, prob = random_rows(4, 60)
    network = build((source, target, day, 1.0 if common else prob), symmetric=common)
    pieces = network.partition(parts)
    dense = table(network)
    union, times = np.zeros_like(dense), np.zeros_like(dense)
    for piece in pieces:
        members = np.concatenate([piece.owned, piece.halo])
        assert piece.network.people == tuple(members.tolist())
        assert (piece.network.common_prob is None) != common
        place = np.ix_(members, members)
        union[place] = np.maximum(union[place], table(piece.network))
        times[place] += table(piece.network) > 0.0
        # complete for those owned, and nothing else in the halo than whom they meet
        np.testing.assert_array_equal(
            table(piece.network)[: len(piece.owned)], dense[np.ix_(piece.owned, members)]
        )
        met = (dense[piece.owned] + dense[:, piece.owned].swapaxes(0, 1)).sum(axis=(0, 2)) > 0
        assert set(piece.halo) == set(np.flatnonzero(met)) - set(piece.owned)
    assert sorted(np.concatenate([piece.owned for piece in pieces])) == list(range(N_PEOPLE))
    np.testing.assert_array_equal(union, dense)
    part_of = np.empty(N_PEOPLE, int)
    for index, piece in enumerate(pieces):
        part_of[piece.owned] = index
    between = part_of[:, None] != part_of
    np.testing.assert_array_equal(times, (dense > 0) * (1 + between[:, :, None]))


@pytest.mark.parametrize("parts", [0, [0, 1], [-1] * N_PEOPLE, 2.5, [0.5] * N_PEOPLE])
def test_parts_that_are_no_parts(parts):
    with pytest.raises((TypeError, ValueError), match="parts: expected"):
        build(random_rows(4)).partition(parts)


def test_networkx_and_back():
    network = random_tree_contacts(8, 5, seed=3)
    graph = network.to_networkx()
    assert graph.number_of_edges() == len(network.events().day)
    assert_same(ContactNetwork.from_networkx(graph), network)
    named = ContactNetwork.from_events(["b", "a"], ["a", "c"], [0, 1], [0.1, 0.2], n_days=4)
    assert_same(ContactNetwork.from_networkx(named.to_networkx()), named)


def test_networkx_graphs_of_every_kind():
    graph = nx.MultiGraph()
    graph.add_nodes_from("abc")
    graph.add_edge("b", "a", day=[0, 2], transmission_prob=0.1)
    graph.add_edge("a", "b", day=np.int64(2), transmission_prob=0.5)
    network = ContactNetwork.from_networkx(graph)
    assert (network.people, network.n_days) == (("a", "b", "c"), 3)
    assert network.forward_prob.tolist() == [0.1, pytest.approx(0.55, abs=1e-15)]
    assert network.backward_prob.tolist() == network.forward_prob.tolist()
    static = ContactNetwork.from_networkx(
        nx.DiGraph([(1, 0), (2, 1)]), transmission_prob=0.3, n_days=2
    )
    assert static.people == range(3)
    assert static.events().source.tolist() == [1, 2, 1, 2]
    assert ContactNetwork.from_networkx(nx.empty_graph(3), n_days=2).n_contacts == 0


@pytest.mark.parametrize(
    ("edges", "options", "error", "message"),
    [
        ([("a", "b", {})], {}, ValueError, "n_days: .* no edge has the attribute 'day'"),
        ([("a", "b", {"day": 1})], {}, ValueError, r"\('a', 'b'\): .* 'transmission_prob'"),
        ([("a", "b", {"day": 1.5})], {"transmission_prob": 0.1}, TypeError, "got 1.5"),
        ([("a", "b", {"day": "1"})], {"transmission_prob": 0.1}, TypeError, "got '1'"),
        ([("a", "b", {"day": [1, -1]})], {"transmission_prob": 0.1}, ValueError, "got -1"),
        ([("a", "b", {"day": 1})], {"transmission_prob": 2}, ValueError, "got 2.0"),
        ([("a", "b", {"day": 1, "p": "x"})], {"transmission_prob": "p"}, TypeError, "got 'x'"),
        ([("a", "a", {"day": 1})], {"transmission_prob": 0.1}, ValueError, "two different people"),
        ([("a", "b", {"day": 1}), ("b", "c", {})], {"transmission_prob": 0.1}, ValueError, "'c'"),
        ([("a", "b", {"day": 4})], {"transmission_prob": 0.1, "n_days": 4}, ValueError, "got 4"),
    ],
)
def test_edges_that_are_no_contacts(edges, options, error, message):
    with pytest.raises(error, match=message):
        ContactNetwork.from_networkx(nx.Graph(edges), **options)
    with pytest.raises(TypeError, match="graph: expected a networkx graph"):
        ContactNetwork.from_networkx([(0, 1)])


def test_people_that_are_not_there_and_numbers_that_may_not_change():
    network = build(random_rows(5))
    assert network.index_of(np.array([3, 0])).tolist() == [3, 0]
    for label in ("3", N_PEOPLE, [0]):
        with pytest.raises(ValueError, match="labels: expected people of the network"):
            network.index_of([0, label])
    with pytest.raises(ValueError, match="read-only"):
        network.forward_prob[0] = 0.5
