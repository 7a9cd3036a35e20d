"""Generated contacts: the recorded counts, the draws written out once more, and their means."""

import math

import numpy as np
import pytest
from suite_helpers import assert_z

from graphs.contacts import (
    Groups,
    fresh_contacts,
    household_contacts,
    household_groups,
    proximity_contacts,
    random_positions,
    random_tree_contacts,
    static_contacts,
)

GENERATORS = [
    static_contacts,
    fresh_contacts,
    proximity_contacts,
    household_contacts,
    random_tree_contacts,
]
SCALE = math.sqrt(10 / (2 * math.pi))


def rows(network):
    return list(
        zip(network.first.tolist(), network.second.tolist(), network.day.tolist(), strict=True)
    )


def pairs(network):
    return {(first, second) for first, second, _ in rows(network)}


@pytest.mark.parametrize(
    ("generator", "n_people", "n_days", "n_contacts", "n_pairs"),
    [
        (static_contacts, 1000, 15, 74_445, 4_963),
        (static_contacts, 1000, 30, 148_890, 4_963),
        (static_contacts, 10_000, 15, 749_535, 49_969),
        (fresh_contacts, 1000, 15, 74_562, 69_577),
        (fresh_contacts, 1000, 30, 149_106, 129_522),
        (proximity_contacts, 1000, 15, 64_498, 24_752),
        (proximity_contacts, 1000, 30, 129_026, 32_716),
    ],
)
def test_recorded_counts_of_seed_zero(generator, n_people, n_days, n_contacts, n_pairs):
    network = generator(n_people, n_days, seed=0)
    assert network.n_contacts == n_contacts
    assert len(np.unique(network.first.astype(np.int64) * n_people + network.second)) == n_pairs
    assert network.common_prob == 0.02


def test_static_draws_written_out():
    stubs = np.random.default_rng(3).permutation([person for person in range(15) for _ in "abc"])
    expected = set()
    for one, other in zip(stubs[::2].tolist(), stubs[1::2].tolist()):  # 45 stubs: one is left
        if one != other:
            expected |= {(min(one, other), max(one, other), day) for day in range(4)}
    assert rows(static_contacts(15, 4, seed=3, mean_degree=3)) == sorted(expected)


def test_fresh_draws_written_out():
    rng = np.random.default_rng(4)
    expected = set()
    for day in range(3):
        one, other = (rng.integers(0, 20, 40).tolist() for _ in range(2))
        expected |= {
            (min(pair), max(pair), day)
            for pair in zip(one, other, strict=True)
            if len({*pair}) == 2
        }
    assert rows(fresh_contacts(20, 3, seed=4, mean_degree=4)) == sorted(expected)


def test_near_draws_written_out():
    rng = np.random.default_rng(5)
    points = [[x * math.sqrt(30) for x in point] for point in rng.random((30, 2)).tolist()]
    np.testing.assert_array_equal(points, random_positions(30, seed=5))
    apart = {
        (i, j): math.dist(points[i], points[j])
        for i in range(30)
        for j in range(i + 1, 30)
        if math.dist(points[i], points[j]) <= 5 * 0.4
    }
    expected = []
    for day in range(6):
        for (pair, distance), draw in zip(apart.items(), rng.random(len(apart)).tolist()):
            if draw < math.exp(-distance / 0.4):
                expected.append((*pair, day))
    assert rows(proximity_contacts(30, 6, seed=5, scale=0.4)) == sorted(expected)


def test_positions_may_be_given():
    positions = np.array([[0.0, 0.0], [0.0, 1e-9], [100.0, 0.0]])
    network = proximity_contacts(3, 50, seed=0, positions=positions)
    assert rows(network) == [(0, 1, day) for day in range(50)]
    for bad in (positions[:2], positions * np.nan, positions[:, :1]):
        with pytest.raises(ValueError, match="positions: expected finite numbers"):
            proximity_contacts(3, 50, seed=0, positions=bad)


def test_people_meet_ten_others_a_day():
    n_people, n_days = 3000, 8
    fresh = fresh_contacts(n_people, n_days, seed=1).n_contacts
    # of the 5 N draws of a day, 5 are of one person twice and 5 * 5 repeat a pair, in the mean
    lost = 30.0 * n_days
    assert_z(5 * n_people * n_days - fresh, lost, math.sqrt(lost))


def test_households_meet_every_day_and_colleagues_on_working_days():
    groups = household_groups(60, seed=2)
    network = household_contacts(
        60, 9, seed=2, workplace_contacts=1e9, random_contacts=0, transmission_prob=0.3
    )
    home, work = groups.household, groups.workplace
    expected = {}
    for i in range(60):
        for j in range(i + 1, 60):
            for day in range(9):
                escape = 1.0
                if home[i] == home[j]:
                    escape *= 1 - 0.6
                if work[i] == work[j] >= 0 and day % 7 < 5:
                    escape *= 1 - 0.3
                if escape < 1:
                    expected[i, j, day] = 1 - escape
    assert rows(network) == sorted(expected)
    np.testing.assert_allclose(
        network.forward_prob, [expected[row] for row in rows(network)], atol=1e-15
    )
    np.testing.assert_array_equal(network.forward_prob, network.backward_prob)


def test_mean_numbers_of_colleagues_and_of_others():
    n_people, n_days = 4000, 7
    alone = Groups(np.arange(n_people), np.arange(n_people) // 20)
    network = household_contacts(
        n_people, n_days, seed=3, groups=alone, workplace_contacts=4.0, random_contacts=0
    )
    candidates = 5 * 200 * 190
    share = 4.0 / 19.0
    spread = math.sqrt(candidates * share * (1 - share))
    assert_z(network.n_contacts, candidates * share, spread)
    assert network.day.max() == 4
    assert network.common_prob == 0.02
    nobody = Groups(np.arange(n_people), np.full(n_people, -1))
    passing = household_contacts(n_people, n_days, seed=3, groups=nobody, random_contacts=4)
    draws = 2 * n_people * n_days
    lost = draws * (1 / n_people) + n_days * (2 * n_people) ** 2 / n_people**2
    assert_z(draws - passing.n_contacts, lost, math.sqrt(lost))


def test_groups_are_drawn_as_asked():
    n_people = 20_000
    groups = household_groups(n_people, seed=6)
    sizes = np.bincount(groups.household)[:-1]  # the last one is cut
    for size, share in enumerate((0.3, 0.35, 0.15, 0.15, 0.05), start=1):
        expected = share * len(sizes)
        assert_z(np.sum(sizes == size), expected, math.sqrt(expected * (1 - share)))
    assert (np.diff(groups.household) >= 0).all()
    working = groups.workplace[groups.workplace >= 0]
    assert len(working) == 12_000
    assert set(np.bincount(working).tolist()) == {20}
    at_work = groups.workplace >= 0
    together = (groups.household[1:] == groups.household[:-1]) & at_work[1:] & at_work[:-1]
    same_home = groups.household[1:] == groups.household[:-1]
    n = same_home.sum()
    # two pairs that share a person have covariance 0.6**3 - 0.6**4
    assert_z(together.sum(), 0.36 * n, math.sqrt((0.36 * 0.64 + 2 * 0.0864) * n))


def test_trees_have_no_loop_and_two_probabilities_a_contact():
    degree = np.zeros(6)
    for seed in range(20):
        network = random_tree_contacts(6, 6, seed=seed, contact_prob=1.0)
        assert len(pairs(network)) == 5
        assert network.n_contacts == 30
        parents = {second: first for first, second in pairs(network)}
        assert sorted(parents) == [1, 2, 3, 4, 5]  # one earlier neighbour each: a tree
        for prob in (network.forward_prob, network.backward_prob):
            assert prob.min() >= 0.1
            assert prob.max() <= 0.7
        assert (network.forward_prob != network.backward_prob).all()
        for first, second in pairs(network):
            degree[[first, second]] += 1
    assert degree[0] > degree[5]
    assert random_tree_contacts(1, 3, seed=0).n_contacts == 0


def test_tree_probabilities_are_uniform_and_independent():
    network = random_tree_contacts(2000, 10, seed=1, prob_range=(0.2, 0.4), contact_prob=0.3)
    n = network.n_contacts
    assert_z(n, 1999 * 3.0, math.sqrt(1999 * 10 * 0.21))
    spread = 0.2 / math.sqrt(12)
    there, back = ((p - 0.3) / spread for p in (network.forward_prob, network.backward_prob))
    assert_z(there.mean(), 0.0, 1 / math.sqrt(n))
    assert_z(back.mean(), 0.0, 1 / math.sqrt(n))
    assert_z((there * back).mean(), 0.0, 1 / math.sqrt(n))
    assert_z((there**2).mean(), 1.0, math.sqrt(0.8 / n))  # kurtosis 9/5


@pytest.mark.parametrize("generator", GENERATORS)
def test_seeds_and_sizes(generator):
    network = generator(40, 9, seed=7)
    assert (network.n_people, network.n_days, network.people) == (40, 9, range(40))
    assert (network.first < network.second).all()
    assert len(set(rows(network))) == network.n_contacts
    assert rows(generator(40, 9, seed=7)) == rows(network)
    assert rows(generator(40, 9, seed=np.random.default_rng(7))) == rows(network)
    assert rows(generator(40, 9, seed=8)) != rows(network)
    assert generator(1, 2, seed=0).n_contacts == 0
    for bad in ((0, 5), (5, 0), (2.5, 5), (5, 40_000)):
        with pytest.raises(ValueError, match="expected an integer of at"):
            generator(*bad, seed=0)
    for seed in (-1, None, 0.5):
        with pytest.raises(ValueError, match="seed: expected an integer"):
            generator(5, 5, seed=seed)


@pytest.mark.parametrize(
    ("generator", "options", "message"),
    [
        (static_contacts, {"mean_degree": -1}, "mean_degree: expected an integer"),
        (static_contacts, {"transmission_prob": 1.2}, "transmission_prob: .* got 1.2"),
        (fresh_contacts, {"mean_degree": 1.5}, "mean_degree: expected an integer"),
        (proximity_contacts, {"scale": 0.0}, "scale: expected a positive finite number"),
        (proximity_contacts, {"scale": math.nan}, "scale: expected a positive finite number"),
        (household_contacts, {"household_factor": -1.0}, "household_factor"),
        (household_contacts, {"workplace_contacts": math.inf}, "workplace_contacts"),
        (household_contacts, {"random_contacts": -1}, "random_contacts: expected an integer"),
        (household_contacts, {"groups": Groups(np.zeros(2, int), np.zeros(5, int))}, "5 people"),
        (random_tree_contacts, {"prob_range": (0.5, 1.5)}, "prob_range: .* got 1.5"),
        (random_tree_contacts, {"prob_range": (0.5, 0.1)}, "prob_range"),
        (random_tree_contacts, {"prob_range": (0.5,)}, "prob_range"),
        (random_tree_contacts, {"contact_prob": -0.1}, "contact_prob: .* got -0.1"),
    ],
)
def test_bad_options(generator, options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        generator(5, 3, seed=0, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"household_size_prob": (0.5, 0.4)}, "household_size_prob: expected probabilities of sum"),
        ({"household_size_prob": (1.5, -0.5)}, "household_size_prob: .* got 1.5"),
        ({"working_share": 2.0}, "working_share: .* got 2.0"),
        ({"workplace_size": 0}, "workplace_size: expected an integer"),
    ],
)
def test_bad_groups(options, message):
    with pytest.raises(ValueError, match=message):
        household_groups(5, seed=0, **options)
