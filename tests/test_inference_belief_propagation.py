"""Belief propagation against enumeration, one schedule against the other, and contradictions."""

import functools

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from graphs.factor_graph import FactorGraph
from graphs.generators import lattice_edges, random_clauses, random_hypertree, random_tree_edges
from inference.kernels import random_state
from inference.message_passing.belief_propagation import belief_propagation
from inference.message_passing.clause_messages import bethe, log_products, propagate
from inference.message_passing.clause_system import clause_system
from inference.message_passing.factors import ClauseFactors, IsingFactors, TableFactors
from inference.status import CavityWarning, ConvergenceError, Status

float32 = pytest.mark.float32
both = pytest.mark.parametrize("schedule", ["parallel", "sequential"])
INF = np.inf
TIGHT = 1e-14  # a sum minus a part of it is the rest up to rounding


def enumerate_all(n, factors, log_field):
    """Return log Z and marginals ``(n, q)`` of ``(variables, log table)`` pairs, term by term."""
    q = log_field.shape[1]
    log_joint = np.zeros((q,) * n)
    singles = [((i,), row) for i, row in enumerate(log_field)]
    for variables, table in [*factors, *singles]:
        shape = [q if i in variables else 1 for i in range(n)]
        log_joint = log_joint + table.transpose(np.argsort(variables)).reshape(shape)
    log_z = logsumexp(log_joint)
    joint = np.exp(log_joint - log_z)
    axes = range(n)
    return log_z, np.array([joint.sum(axis=tuple(a for a in axes if a != i)) for i in axes])


def enumerate_spins(n, factors, field):
    """Return log Z and P(+1), each a function of ``(variables, log table)``, spin -1 first."""
    field = np.broadcast_to(field, (n,))
    log_z, marginals = enumerate_all(n, factors, np.stack([-field, field], axis=1))
    return log_z, marginals[:, 1]


def coupling_tables(edges, coupling):
    return [(tuple(e), j * np.array([[1.0, -1.0], [-1.0, 1.0]])) for e, j in zip(edges, coupling)]


def clause_tables(clauses):
    tables = []
    for literals in clauses:
        signs = np.sign(literals)
        table = np.zeros((2,) * len(literals))
        table[tuple((1 - signs) // 2)] = -INF  # all literals false
        tables.append((tuple(np.abs(literals) - 1), table))
    return tables


def clause_graph(clauses, n):
    literals = np.concatenate([np.asarray(c, dtype=int) for c in clauses])
    factor = np.repeat(np.arange(len(clauses)), [len(c) for c in clauses])
    graph = FactorGraph.from_edges(
        np.abs(literals) - 1, factor, n_variables=n, n_factors=len(clauses)
    )
    return graph, ClauseFactors.from_signs(graph, np.sign(literals))


def table_graph(factors, n):
    variable = np.concatenate([np.asarray(variables, int) for variables, _ in factors])
    factor = np.repeat(np.arange(len(factors)), [len(variables) for variables, _ in factors])
    return FactorGraph.from_edges(variable, factor, n_variables=n, n_factors=len(factors))


def assert_exact(result, log_z, marginals, tol):
    assert Status(int(result.status)) is Status.CONVERGED
    assert int(result.culprit) == -1
    np.testing.assert_allclose(result.marginals, marginals, rtol=0, atol=tol)
    assert float(result.log_partition) == pytest.approx(log_z, abs=tol)


@both
@pytest.mark.parametrize("seed", range(20))
def test_ising_trees_are_exact(schedule, seed):
    n = 12
    rng = np.random.default_rng(seed)
    edges = random_tree_edges(n, seed)
    coupling, field = rng.normal(size=n - 1), rng.normal(size=n)
    graph = FactorGraph.from_table(edges, n_variables=n)
    result = belief_propagation(
        graph, IsingFactors.from_couplings(coupling), field=field, schedule=schedule, tol=TIGHT
    )
    assert int(result.n_steps) <= n
    assert_exact(result, *enumerate_spins(n, coupling_tables(edges, coupling), field), 1e-12)


ARITIES = {2: [1, 2, 3, 4, 2, 3, 1, 4], 3: [3, 1, 4, 2, 2, 1], 5: [2, 3, 1, 4, 1]}


def random_tables_on_a_tree(q, seed):
    """Return factors on a hypertree, a third of the weights zero, one configuration possible."""
    rng = np.random.default_rng(seed)
    arities = rng.permutation(ARITIES[q])  # the same arities: one program serves all seeds
    n = 1 + sum(k - 1 for k in arities)
    hidden = rng.integers(0, q, n)
    label = rng.permutation(n)
    factors, used = [], 1
    for k in arities:
        variables = [rng.integers(used), *range(used, used + k - 1)]
        used += k - 1
        variables = label[rng.permutation(variables)]
        table = rng.exponential(size=(q,) * k) * (rng.random((q,) * k) > 1 / 3)
        table[tuple(hidden[variables])] += 0.1
        factors.append((tuple(int(v) for v in variables), table))
    return n, factors, rng.normal(size=(n, q))


@both
@pytest.mark.parametrize("q", [2, 3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_tables_on_hypertrees_are_exact(schedule, q, seed):
    n, factors, field = random_tables_on_a_tree(q, seed)
    rule = TableFactors.from_tables([table for _, table in factors])
    result = belief_propagation(
        table_graph(factors, n), rule, field=field, schedule=schedule, tol=TIGHT
    )
    with np.errstate(divide="ignore"):
        logs = [(variables, np.log(table)) for variables, table in factors]
    assert_exact(result, *enumerate_all(n, logs, field), 1e-10)


@both
@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(5))
def test_clauses_on_hypertrees_are_exact(schedule, k, seed):
    m = {2: 12, 3: 6, 4: 4, 5: 3}[k]
    n = 1 + m * (k - 1)
    rng = np.random.default_rng(seed)
    wiring = random_hypertree(m, k, seed)
    clauses = (wiring + 1) * rng.choice([-1, 1], size=wiring.shape)
    graph, factors = clause_graph(clauses, n)
    for field in (np.zeros(n), rng.normal(size=n)):
        result = belief_propagation(graph, factors, field=field, schedule=schedule, tol=TIGHT)
        assert_exact(result, *enumerate_spins(n, clause_tables(clauses), field), 1e-10)


@both
@pytest.mark.parametrize("seed", range(5))
def test_clauses_of_mixed_length_and_units_give_exact_certainties(schedule, seed):
    # units force x0 and, through the clauses of two, x1 and x2; the rest stays open
    rng = np.random.default_rng(seed)
    clauses = [[1], [-1, 2], [-2, 3, -4], [4, 5, 6, 7, -8], [9]]
    order = rng.permutation(len(clauses))
    clauses = [np.array(clauses[a]) for a in order]
    field = rng.normal(size=9)
    graph, factors = clause_graph(clauses, 9)
    result = belief_propagation(graph, factors, field=field, schedule=schedule, tol=TIGHT)
    assert_exact(result, *enumerate_spins(9, clause_tables(clauses), field), 1e-12)
    np.testing.assert_array_equal(np.asarray(result.marginals)[[0, 1, 8]], 1.0)


@both
def test_a_chain_of_constraints_hands_on_certainty(schedule):
    n = 12
    signs = np.where(np.arange(n - 1) % 3 == 1, -1.0, 1.0)
    spins = np.cumprod([1.0, *signs])
    graph = FactorGraph.from_table(lattice_edges((n,), periodic=False), n_variables=n)
    factors = IsingFactors.from_couplings(INF * signs)
    pinned = belief_propagation(graph, factors, field=[INF, *[0.0] * (n - 1)], schedule=schedule)
    np.testing.assert_array_equal(pinned.marginals, (1 + spins) / 2)
    assert float(pinned.log_partition) == pytest.approx(0.0, abs=1e-12)
    # one free end: two configurations, weighed by the sum of fields
    field = np.linspace(-1, 1, n) ** 2
    both_ways = belief_propagation(graph, factors, field=field, schedule=schedule, tol=TIGHT)
    total = float(field @ spins)
    assert float(both_ways.log_partition) == pytest.approx(np.logaddexp(total, -total), abs=1e-12)
    expected = 1 / (1 + np.exp(-2 * total * spins))
    np.testing.assert_allclose(both_ways.marginals, expected, atol=1e-12)


@both
def test_an_infinite_field_is_conditioning(schedule):
    n = 12
    edges = random_tree_edges(n, 3)
    coupling = np.random.default_rng(3).normal(size=n - 1)
    field = np.linspace(-1, 1, n)
    pinned = field.copy()
    pinned[[2, 5]] = INF, -INF
    tables = coupling_tables(edges, coupling)
    allowed = [((2,), np.array([-INF, 0.0])), ((5,), np.array([0.0, -INF]))]
    log_z, plus = enumerate_spins(n, [*tables, *allowed], np.where(np.isinf(pinned), 0, field))
    result = belief_propagation(
        FactorGraph.from_table(edges, n_variables=n),
        IsingFactors.from_couplings(coupling),
        field=pinned,
        schedule=schedule,
        tol=TIGHT,
    )
    assert_exact(result, log_z, plus, 1e-12)


@both
@pytest.mark.parametrize("strength", [3.0, 100.0, 1e4])
def test_nearly_certain_is_not_certain(schedule, strength):
    # (x0 or x1 or x2) and strong fields against it: probabilities are beyond the range of floats
    graph, factors = clause_graph([np.array([1, 2, 3])], 3)
    field = -strength * np.array([1.0, 1.5, 1.25])
    result = belief_propagation(graph, factors, field=field, schedule=schedule, tol=TIGHT)
    assert_exact(result, *enumerate_spins(3, clause_tables([np.array([1, 2, 3])]), field), 1e-10)
    assert np.isfinite(result.messages).all()


@float32
@both
def test_without_couplings_every_configuration_counts_once(schedule):
    n = 12
    graph = FactorGraph.from_table(lattice_edges((n,), periodic=True), n_variables=n)
    result = belief_propagation(
        graph, IsingFactors.from_couplings(np.zeros(n)), schedule=schedule, tol=1e-6
    )
    assert float(result.log_partition) == pytest.approx(n * np.log(2), rel=1e-6)
    np.testing.assert_allclose(result.marginals, 0.5)


@both
def test_variables_without_factors_and_factors_without_variables(schedule):
    empty = FactorGraph.from_edges([], [], n_variables=3, n_factors=0)
    field = np.array([0.5, 0.0, -1.0])
    log_z = np.log(2 * np.cosh(field)).sum()
    expected = 1 / (1 + np.exp(-2 * field))
    factors = ClauseFactors.from_signs(empty, np.zeros(0))
    result = belief_propagation(empty, factors, field=field, schedule=schedule)
    assert_exact(result, log_z, expected, 1e-14)
    graph = FactorGraph.from_edges([1], [1], n_variables=3, n_factors=2)
    factors = TableFactors.from_tables([3.0, [1.0, 2.0]])  # the first is a constant
    field = np.stack([-field, field], axis=1)
    result = belief_propagation(graph, factors, field=field, schedule=schedule, tol=TIGHT)
    log_tables = [((), np.array(np.log(3.0))), ((1,), np.log([1.0, 2.0]))]
    assert_exact(result, *enumerate_all(3, log_tables, field), 1e-14)


@pytest.fixture(scope="module")
def grid():
    """A frustrated 3x3 grid on which both schedules converge."""
    rng = np.random.default_rng(1)
    edges = lattice_edges((3, 3), periodic=False)
    coupling, field = 0.6 * rng.choice([-1, 1], size=len(edges)), 0.3 * rng.normal(size=9)
    graph = FactorGraph.from_table(edges, n_variables=9)
    return graph, IsingFactors.from_couplings(coupling), field


def test_the_step_limit_is_reported(grid):
    graph, factors, field = grid
    run = functools.partial(belief_propagation, graph, factors, field=field, max_steps=1)
    for schedule in ("parallel", "sequential"):
        with pytest.warns(CavityWarning, match="belief propagation: MAX_STEPS"):
            result = run(schedule=schedule)
        assert Status(int(result.status)) is Status.MAX_STEPS
        assert int(result.n_steps) == 1
        assert float(result.residual) > 1e-8
        with pytest.raises(ConvergenceError, match="MAX_STEPS"):
            run(schedule=schedule, on_failure="raise")
        run(schedule=schedule, on_failure="ignore")


def test_every_way_leads_to_the_same_fixed_point(grid):
    graph, factors, field = grid
    run = functools.partial(belief_propagation, graph, factors, field=field, tol=1e-11)
    reference = run()
    assert 1 < int(reference.n_steps) < 100
    for settings in (
        {"schedule": "sequential"},
        {"schedule": "sequential", "damping": 0.5},
        {"damping": 0.5},
        {"damping": 0.9},
        {"init": np.random.default_rng(0).normal(size=graph.n_edges)},
    ):
        other = run(**settings)
        np.testing.assert_allclose(other.messages, reference.messages, atol=1e-8)
        np.testing.assert_allclose(other.marginals, reference.marginals, atol=1e-8)
        assert float(other.log_partition) == pytest.approx(float(reference.log_partition), abs=1e-8)
    tables = factors.to_tables()
    logs = np.stack([-field, field], axis=1)
    for schedule in ("parallel", "sequential"):
        other = belief_propagation(graph, tables, field=logs, schedule=schedule, tol=1e-11)
        np.testing.assert_allclose(other.marginals[:, 1], reference.marginals, atol=1e-8)
        assert float(other.log_partition) == pytest.approx(float(reference.log_partition), abs=1e-8)
    warm = run(init=reference.messages, tol=1e-8)
    assert int(warm.n_steps) == 1


def test_damping_keeps_its_share_of_the_old_message(grid):
    graph, factors, field = grid
    start = np.random.default_rng(2).normal(size=graph.n_edges)
    run = functools.partial(
        belief_propagation,
        graph,
        factors,
        field=field,
        init=start,
        max_steps=1,
        on_failure="ignore",
    )
    whole = np.asarray(run().messages)
    np.testing.assert_allclose(run(damping=0.25).messages, 0.25 * start + 0.75 * whole, atol=1e-14)


def ring_edges(n):
    return np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)


def test_a_single_loop_is_nearly_right():
    n = 12
    rng = np.random.default_rng(0)
    coupling, field = rng.uniform(1.5, 2.0, n), 0.2 * rng.normal(size=n)
    graph = FactorGraph.from_table(ring_edges(n), n_variables=n)
    spins = np.array([1.0, -1.0])
    product = np.eye(2)
    for i, j in enumerate(coupling):
        product = product @ np.diag(np.exp(field[i] * spins)) @ np.exp(j * np.outer(spins, spins))
    exact = np.log(np.trace(product))
    one, two = (
        belief_propagation(
            graph,
            IsingFactors.from_couplings(coupling),
            field=field,
            schedule=schedule,
            tol=1e-12,
        )
        for schedule in ("parallel", "sequential")
    )
    np.testing.assert_allclose(one.messages, two.messages, atol=1e-8)
    assert float(one.log_partition) == pytest.approx(float(two.log_partition), abs=1e-8)
    assert 0.01 < abs(float(one.log_partition) - exact) < 0.5
    # Z is the trace of the product, of which Bethe keeps the largest eigenvalue
    assert float(one.log_partition) == pytest.approx(
        np.log(np.abs(np.linalg.eigvals(product)).max()), abs=1e-8
    )


def test_random_formulas_agree_with_the_compiled_clause_sweeps():
    n, m = 1000, 3000
    clauses = random_clauses(n, m, 3, seed=0)
    field = 0.2 * np.random.default_rng(0).normal(size=n)
    system = clause_system(clauses.ravel(), 3 * np.arange(m + 1), n)
    weights = np.exp(np.stack([-field, field], axis=1).ravel())
    reference = propagate(
        system, np.full(3 * m, 0.5), rho=0.0, weights=weights, tol=1e-13, max_steps=1000,
        state=random_state(0),
    )  # fmt: skip
    logs = log_products(system, reference.om)
    plus = 1 / (1 + np.exp(-2 * field + logs[0::2] - logs[1::2]))
    graph, factors = clause_graph(clauses, n)
    for settings in ({"damping": 0.3}, {"schedule": "sequential"}):
        result = belief_propagation(graph, factors, field=field, tol=1e-12, **settings)
        np.testing.assert_allclose(result.marginals, plus, atol=1e-9)
        expected = bethe(system, reference.om, rho=0.0, field=field)
        assert float(result.log_partition) == pytest.approx(expected, abs=1e-7)


CONTRADICTIONS = {  # but for the first, of the same lengths: one program serves all
    "a clause without literals": ([[1, 2], []], {"factor": [1]}),
    "a literal and its negation": ([[2], [-2], [5], [1, 3], [4, 6], [4, 5, 6]], {"variable": [1]}),
    "through a chain": ([[1], [-3], [5], [-1, 2], [-2, 3], [4, 5, 6]], {"variable": [0, 1, 2]}),
    "all literals refused": (
        [[-1], [-2], [-3], [1, 2, 3], [4, 5], [5, 6]],
        {"variable": [0, 1, 2]},
    ),
    "beside a third clause": ([[1], [-1], [5], [1, 2, 3], [4, 5], [4, 6]], {"variable": [0]}),
}


@both
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_contradictions_are_found_and_placed(schedule, name):
    clauses, places = CONTRADICTIONS[name]
    graph, factors = clause_graph(clauses, 6)
    with pytest.warns(CavityWarning, match=rf"at ({'|'.join(places)}) \d: CONTRADICTION"):
        result = belief_propagation(graph, factors, schedule=schedule)
    assert Status(int(result.status)) is Status.CONTRADICTION
    nodes = places.get("variable", []) + [6 + a for a in places.get("factor", [])]
    assert int(result.culprit) in nodes
    assert float(result.log_partition) == -INF
    with pytest.raises(ConvergenceError, match="CONTRADICTION"):
        belief_propagation(graph, factors, schedule=schedule, on_failure="raise")


@both
def test_contradictions_of_tables_fields_and_couplings(schedule):
    run = functools.partial(belief_propagation, schedule=schedule, on_failure="ignore")
    n = 12
    # a chain of equals between opposite ends
    chain = FactorGraph.from_table(ring_edges(n)[:-1], n_variables=n)
    ends = np.array([INF, *[0.0] * (n - 2), -INF])
    result = run(chain, IsingFactors.from_couplings([INF] * (n - 1)), field=ends)
    assert Status(int(result.status)) is Status.CONTRADICTION
    assert 0 <= int(result.culprit) < n
    # a ring with one pair of opposites has no configuration; it shows once a spin is known
    ring = FactorGraph.from_table(ring_edges(n), n_variables=n)
    opposite = IsingFactors.from_couplings([INF] * (n - 1) + [-INF])
    result = run(ring, opposite, field=[INF, *[0.0] * (n - 1)])
    assert Status(int(result.status)) is Status.CONTRADICTION
    pair = FactorGraph.from_table([[0, 1]], n_variables=2)
    equal = TableFactors.from_tables([np.eye(2)])
    result = run(pair, equal, field=np.array([[-INF, 0.0], [0.0, -INF]]))
    assert Status(int(result.status)) is Status.CONTRADICTION
    assert int(result.culprit) in (0, 1)
    # a factor that allows nothing, and a variable that may be nothing
    nothing = TableFactors.from_tables([np.zeros((2, 2))])
    assert int(run(pair, nothing).culprit) == 2
    refused = np.array([[0.0, 0.0], [-INF, -INF]])
    assert int(run(pair, TableFactors.from_tables([np.ones((2, 2))]), field=refused).culprit) == 1


def test_bounded_turns_change_no_number(grid, monkeypatch, key):
    graph, factors, field = grid
    logs = np.stack([-field, field], axis=1)
    runs = {
        "couplings": functools.partial(belief_propagation, graph, factors, field=field),
        "tables": functools.partial(belief_propagation, graph, factors.to_tables(), field=logs),
    }
    whole = {name: run(schedule="sequential", key=key) for name, run in runs.items()}
    monkeypatch.setattr("inference.message_passing.sequential._TERMS_A_CALL", 1)
    for name, run in runs.items():
        for got, expected in zip(run(schedule="sequential", key=key), whole[name], strict=True):
            np.testing.assert_array_equal(got, expected)
    other = runs["couplings"](schedule="sequential", key=jax.random.fold_in(key, 1))
    assert not np.array_equal(other.messages, whole["couplings"].messages)
