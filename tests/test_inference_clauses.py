"""The compiled parts under the K-SAT solvers, each against a plain recomputation."""

import itertools

import numpy as np
import pytest

from inference.kernels import random_state, uniform
from inference.message_passing.clause_messages import (
    bethe,
    biases,
    literal_weights,
    log_products,
    propagate,
    sweeps,
)
from inference.message_passing.clause_system import (
    clause_system,
    n_violated,
    occurrences,
    residual,
)
from inference.message_passing.decimation import _supports, decimate_clauses
from inference.message_passing.reinforcement import reinforce_clauses
from inference.message_passing.surveys import propagate_in_parallel
from inference.message_passing.unit_propagation import assign, release, unassigned
from inference.monte_carlo.local_search import random_spins, start_walk, walk
from inference.status import Status

RULES = ("probsat", "walksat")


def random_system(n, m, lengths, seed):
    rng = np.random.default_rng(seed)
    clauses = []
    for _ in range(m):
        variables = rng.choice(n, rng.choice(lengths), replace=False)
        clauses.append((variables + 1) * rng.choice([-1, 1], len(variables)))
    return built(clauses, n)


def built(clauses, n):
    offsets = np.cumsum([0, *map(len, clauses)])
    flat = np.concatenate([np.asarray(c, dtype=int) for c in clauses]) if clauses else []
    return clause_system(flat, offsets, n)


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
def test_products_after_a_thousand_sweeps_are_those_of_the_messages(rho):
    system = random_system(300, 1000, [3, 4, 5], 0)
    om = uniform(system.n_edges, 0.1, 1.0, random_state(0))
    products, zeros = np.empty(600), np.zeros(600, np.int32)
    order = np.arange(system.n_clauses, dtype=np.int32)
    # 19 sweeps since they were formed anew, as many as ever happen, after many before
    for n_sweeps in (1000, 19):
        sweeps(
            system.offsets, system.literals, om, np.ones(600), products, zeros, order,
            random_state(1), rho, 0.0, 0.0, 0.0, n_sweeps, True, system.longest,
        )  # fmt: skip
    assert not zeros.any()
    ratio = products[0::2] / products[1::2]
    logs = log_products(system, om)
    np.testing.assert_allclose(ratio, np.exp(logs[0::2] - logs[1::2]), rtol=1e-12)


def test_one_sequential_sweep_is_the_equation_applied_clause_by_clause():
    system = random_system(12, 18, [2, 3, 5], 3)
    om = uniform(system.n_edges, 0.1, 1.0, random_state(0))
    field = np.linspace(-1, 1, 12)
    for rho, weights in ((1.0, np.ones(24)), (0.0, literal_weights(field))):
        expected = om.copy()
        for clause in range(system.n_clauses):
            edges = np.arange(system.offsets[clause], system.offsets[clause + 1])
            q = []
            for edge in edges:
                code = system.literals[edge]
                same = np.setdiff1d(np.flatnonzero(system.literals == code), [edge])
                ps = weights[code] * np.prod(expected[same])
                pu = weights[code ^ 1] * np.prod(expected[system.literals == code ^ 1])
                z = (1 - rho * pu) * ps
                q.append(z / (z + pu))
            for place, edge in enumerate(edges):
                expected[edge] = 1 - np.prod(np.delete(q, place))
        found = propagate(
            system, om.copy(), rho=rho, weights=weights, tol=1e-300, max_steps=1,
            state=random_state(0), reshuffle=False,
        )  # fmt: skip
        np.testing.assert_allclose(found.om, expected, rtol=1e-12, atol=1e-15)
        assert found.residual == pytest.approx(np.abs(expected - om).max())


def test_messages_stay_probabilities():
    # above 1 by a rounding error, the log of a survey's 1 - P would be that of a negative number
    system = random_system(3000, 12_750, [3], 0)
    om = uniform(system.n_edges, 0.0, 1.0, random_state(0))
    found = propagate(system, om, rho=1.0, tol=1e-6, max_steps=1000, state=random_state(0))
    assert found.om.max() <= 1.0
    assert biases(system, found.om, rho=1.0).min() >= 0.0
    assert np.isfinite(bethe(system, found.om, rho=1.0))


def test_exact_zeros_come_and_go():
    # unit clauses send messages of exactly zero, also to variables in many clauses
    clauses = [[1], [-1, 2], [-2, 3, 4], [-3, 5], [2, -5], [3, 4, -1], [-4, 6, 7]]
    system, n = built(clauses, 7), 7
    solutions = [
        spins
        for spins in itertools.product([1, -1], repeat=n)
        if all(any(spins[abs(v) - 1] == np.sign(v) for v in clause) for clause in clauses)
    ]
    for start in (np.ones(system.n_edges), np.zeros(system.n_edges) + 0.5):
        found = propagate(system, start, rho=0.0, tol=1e-13, max_steps=2000, state=random_state(0))
        assert found.status is Status.CONVERGED
        shares = biases(system, found.om, rho=0.0)
        assert shares[0].tolist() == [1, 0, 0]
        assert shares[1].tolist() == [1, 0, 0]
        assert np.isfinite(bethe(system, found.om, rho=0.0))
    tree = built([[1], [-1, 2], [-2, 3, 4]], 4)
    found = propagate(
        tree, np.full(tree.n_edges, 0.7), rho=0.0, tol=1e-14, max_steps=100, state=random_state(0)
    )
    assert bethe(tree, found.om, rho=0.0) == pytest.approx(np.log(3), abs=1e-14)
    assert len(solutions) > 0


@pytest.mark.parametrize("clauses", [[[1], [-1]], [[1], [-1, 2], [-2, -1]]])
def test_contradictions_are_found_by_both_schedules(clauses):
    system = built(clauses, 2)
    start = np.full(system.n_edges, 0.5)
    for found in (
        propagate(system, start.copy(), rho=1.0, tol=1e-9, max_steps=99, state=random_state(0)),
        propagate_in_parallel(system, start, rho=1.0, tol=1e-9, max_steps=99),
    ):
        assert found.status is Status.CONTRADICTION
        assert 0 <= found.culprit < len(clauses)


def test_the_floor_is_for_solvers_alone():
    system = built([[1], [-1, 2]], 2)
    kept = propagate(
        system, np.full(3, 0.5), rho=1.0, floor=1e-3, tol=1e-9, max_steps=99, state=random_state(0)
    )
    assert kept.om.min() == 1e-3
    exact = propagate(
        system, np.full(3, 0.5), rho=1.0, tol=1e-9, max_steps=99, state=random_state(0)
    )
    assert exact.om.min() == 0.0


def counted(system, values):
    """Return the numbers of true and of open literals of every clause."""
    codes, starts = system.literals, system.offsets[:-1]
    is_true = values[codes >> 1] == 1 - 2 * (codes & 1)
    is_open = values[codes >> 1] == 0
    return np.add.reduceat(is_true.astype(int), starts), np.add.reduceat(
        is_open.astype(int), starts
    )


def test_unit_propagation_keeps_its_counts_and_takes_back():
    rng = np.random.default_rng(0)
    for seed in range(20):
        system = random_system(30, 60, [2, 3, 4], seed)
        where, partial = occurrences(system), unassigned(system)
        codes = 2 * rng.permutation(30)[:6] + rng.integers(0, 2, 6)
        culprit = assign(system, where, partial, codes)

        n_true, n_open = counted(system, partial.values)
        np.testing.assert_array_equal(partial.n_true, n_true)
        np.testing.assert_array_equal(partial.n_open, n_open)
        if culprit >= 0:
            assert n_true[culprit] == n_open[culprit] == 0
        else:
            assert not ((n_true == 0) & (n_open <= 1)).any()
        fixed = np.flatnonzero(partial.values).astype(np.int32)
        release(system, where, partial, fixed[::2])
        np.testing.assert_array_equal(partial.n_true, counted(system, partial.values)[0])
        release(system, where, partial, fixed[1::2])
        fresh = unassigned(system)
        for got, expected in zip(partial, fresh):
            np.testing.assert_array_equal(got, expected)


def test_a_residual_has_the_energy_of_the_whole():
    rng = np.random.default_rng(1)
    for seed in range(10):
        system = random_system(20, 50, [1, 2, 3], seed)
        values = rng.choice([-1, 0, 0, 1], 20).astype(np.int8)
        left = residual(system, values)
        inner = rng.choice([-1, 1], len(left.variables)).astype(np.int8)
        spins = values.copy()
        spins[left.variables] = inner
        assert n_violated(left.system, inner) == n_violated(system, spins)
        np.testing.assert_array_equal(
            left.variables[left.system.literals >> 1], system.literals[left.edges] >> 1
        )


@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_supports_are_the_messages_that_the_freed_variable_would_get(rho):
    system = random_system(15, 35, [3, 4], 5)
    where, partial = occurrences(system), unassigned(system)
    assert assign(system, where, partial, [0, 5, 8]) == -1
    om = uniform(system.n_edges, 0.2, 1.0, random_state(2))
    written = om.copy()
    support = _supports(
        system.offsets, system.literals, where.offsets, where.edges, where.clauses,
        partial.values, partial.n_true, written, rho, 1e-10,
    )  # fmt: skip
    assert (np.isinf(support) == (partial.values == 0)).all()
    for variable in np.flatnonzero(partial.values):
        freed = partial.values.copy()
        freed[variable] = 0
        active = residual(system, partial.values)
        back = residual(system, freed)
        logs = np.zeros(2 * system.n_variables)  # of the messages that were active before
        np.add.at(logs, system.literals[active.edges], np.log(om[active.edges]))
        asked = np.ones(2)
        for edge in back.edges[system.literals[back.edges] >> 1 == variable]:
            clause = np.searchsorted(system.offsets, edge, side="right") - 1
            q = 1.0
            for other in range(system.offsets[clause], system.offsets[clause + 1]):
                code = system.literals[other]
                if other == edge or partial.values[code >> 1]:
                    continue
                own = np.log(om[other]) if other in active.edges else 0.0
                ps, pu = np.exp(logs[code] - own), np.exp(logs[code ^ 1])
                z = (1 - rho * pu) * ps
                q *= z / (z + pu)
            asked[system.literals[edge] & 1] *= max(1 - q, 1e-10)
            assert written[edge] == pytest.approx(max(1 - q, 1e-10), rel=1e-9)
        plus, minus = asked[1] * (1 - rho * asked[0]), asked[0] * (1 - rho * asked[1])
        total = plus + minus + rho * asked.prod()
        expected = (plus - minus) / total * partial.values[variable]
        assert support[variable] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_a_walk_keeps_its_books(rule):
    system = random_system(200, 900, [1, 2, 3, 4, 7], 4)
    walker = start_walk(system, random_spins(200, random_state(0)))
    seen = []
    for n_flips in (1, 10, 1000, 5000):
        found = walk(system, walker, state=random_state(n_flips), max_flips=n_flips, rule=rule)
        spins = walker.spins
        truth = spins[system.literals >> 1] == 1 - 2 * (system.literals & 1)
        n_true = np.add.reduceat(truth.astype(int), system.offsets[:-1])
        np.testing.assert_array_equal(walker.true_counts[:, 0], n_true)
        alone = np.zeros(200, int)
        for clause in np.flatnonzero(n_true == 1):
            edges = slice(system.offsets[clause], system.offsets[clause + 1])
            (code,) = system.literals[edges][truth[edges]]
            assert walker.true_counts[clause, 1] == code >> 1
            alone[code >> 1] += 1
        np.testing.assert_array_equal(walker.breaks, alone)
        n_bad = int(walker.counters[0])
        assert sorted(walker.violated[:n_bad]) == np.flatnonzero(n_true == 0).tolist()
        assert found.n_steps == n_flips
        assert found.energy == n_violated(system, found.configuration)
        seen.append(found.energy)
    assert seen == sorted(seen, reverse=True)


def test_probsat_flips_in_proportion_to_its_weights():
    # one violated clause of two variables; flipping the first breaks two clauses, the second none
    clauses = [[1, 2], [-1, 3], [-1, 4]]
    system = built(clauses, 4)
    start = np.array([-1, -1, -1, -1], np.int8)
    n_draws, first = 4000, 0
    for seed in range(n_draws):
        walker = start_walk(system, start)
        walk(system, walker, state=random_state(seed), max_flips=1)
        first += int(walker.spins[0] == 1)
    weight = (0.9 + 2) ** -2.06 / ((0.9 + 2) ** -2.06 + 0.9**-2.06)
    error = np.sqrt(n_draws * weight * (1 - weight))
    assert abs(first - n_draws * weight) < 4 * error


@pytest.mark.parametrize(("noise", "share"), [(0.0, 0.0), (1.0, 0.5), (0.6, 0.3)])
def test_walksat_is_greedy_but_for_its_noise(noise, share):
    # flipping variable 1 breaks two clauses, variable 2 one
    system = built([[1, 2], [-1, 3], [-1, 4], [-2, 3]], 4)
    start = np.array([-1, -1, -1, -1], np.int8)
    n_draws, first = 4000, 0
    for seed in range(n_draws):
        walker = start_walk(system, start)
        walk(system, walker, state=random_state(seed), max_flips=1, rule="walksat", noise=noise)
        first += int(walker.spins[0] == 1)
    error = np.sqrt(n_draws * share * (1 - share))
    assert abs(first - n_draws * share) <= 4 * error


def test_an_interrupted_walk_goes_on():
    system = random_system(500, 2050, [3], 0)
    state, parts = random_state(7), random_state(7)
    spins = random_spins(500, random_state(1))
    whole = walk(system, start_walk(system, spins), state=state, max_flips=2000)
    walker = start_walk(system, spins)
    for _ in range(4):
        part = walk(system, walker, state=parts, max_flips=500)
    np.testing.assert_array_equal(whole.configuration, part.configuration)
    np.testing.assert_array_equal(whole.walker.spins, part.walker.spins)


def test_reinforcement_and_decimation_return_what_they_count():
    system = random_system(1000, 3800, [3], 1)
    found = reinforce_clauses(system, state=random_state(0))
    assert found.energy == n_violated(system, found.configuration) == 0
    hopeless = random_system(300, 2000, [3], 1)
    failed = reinforce_clauses(hopeless, state=random_state(0), max_steps=50)
    assert failed.energy == n_violated(hopeless, failed.configuration) > 0
    partial = decimate_clauses(system, state=random_state(0), backtracking=0.0, fraction=0.1)
    left = residual(system, partial.values)
    assert np.diff(left.system.offsets).min(initial=2) >= 2  # nothing violated, no unit left
