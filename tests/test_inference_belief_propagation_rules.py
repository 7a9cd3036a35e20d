"""Belief propagation inside JAX, with rules of one's own, in single precision, and bad input."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from graphs.factor_graph import FactorGraph
from graphs.generators import lattice_edges, random_clauses, random_tree_edges
from inference.message_passing.belief_propagation import belief_propagation
from inference.message_passing.factors import ClauseFactors, IsingFactors, TableFactors
from inference.status import Status

float32 = pytest.mark.float32
INF = np.inf
SINGLE = 1e-5


@pytest.fixture(scope="module")
def tree():
    n = 12
    rng = np.random.default_rng(0)
    graph = FactorGraph.from_table(random_tree_edges(n, 0), n_variables=n)
    factors = IsingFactors.from_couplings(jnp.asarray(rng.normal(size=n - 1)))
    return graph, factors, rng.normal(size=(n, 3))


def run(graph, factors, field, **settings):
    settings = {"tol": SINGLE, "on_failure": "ignore", **settings}
    return belief_propagation(graph, factors, field=field, **settings)


@float32
def test_vmap_and_the_trailing_batch_are_a_loop(tree):
    graph, factors, fields = tree
    fields = jnp.asarray(fields)
    mapped = jax.vmap(lambda field: run(graph, factors, field), in_axes=1)(fields)
    batch = run(graph, factors, fields)
    assert batch.messages.shape == (graph.n_edges, 3)
    assert batch.status.shape == ()
    for b in range(3):
        single = run(graph, factors, fields[:, b])
        for got, expected in (
            (mapped.marginals[b], single.marginals),
            (batch.marginals[:, b], single.marginals),
            (mapped.log_partition[b], single.log_partition),
            (batch.log_partition[b], single.log_partition),
        ):
            np.testing.assert_allclose(got, expected, rtol=20 * SINGLE, atol=20 * SINGLE)
        assert int(mapped.n_steps[b]) == int(single.n_steps)
    assert int(batch.n_steps) == int(mapped.n_steps.max())


@float32
def test_in_a_batch_only_what_contradicts_itself_is_impossible():
    graph = FactorGraph.from_edges([0, 0, 1], [0, 1, 1], n_variables=2, n_factors=2)
    factors = ClauseFactors.from_signs(graph, [1, -1, 1])  # x0, and then x1
    fields = jnp.array([[0.0, 0.0], [0.5, -INF]])
    result = run(graph, factors, fields)
    assert Status(int(result.status)) is Status.CONTRADICTION
    assert float(result.log_partition[1]) == -INF
    mapped = jax.vmap(lambda field: run(graph, factors, field), in_axes=1)(fields)
    assert mapped.status.tolist() == [Status.CONVERGED, Status.CONTRADICTION]
    assert mapped.culprit[0] == -1
    assert mapped.culprit[1] >= 0
    np.testing.assert_array_equal(mapped.marginals[0], [1.0, 1.0])
    assert float(mapped.log_partition[0]) == pytest.approx(0.5, abs=1e-6)


@float32
def test_clauses_in_single_precision():
    # the fixed point of the double precision run, in the types of the input
    clauses = random_clauses(200, 400, 3, seed=1)
    graph = FactorGraph.from_table(np.abs(clauses) - 1, n_variables=200)
    factors = ClauseFactors.from_signs(graph, np.sign(clauses).ravel())
    field = np.linspace(-0.5, 0.5, 200, dtype=np.float32)
    result = run(graph, factors, field, tol=1e-6)
    assert {result.messages.dtype, result.marginals.dtype} == {jnp.dtype(jnp.float32)}
    assert result.log_partition.dtype == jnp.result_type(float)
    assert Status(int(result.status)) is Status.CONVERGED
    double = run(graph, factors, field.astype(float), tol=1e-6, schedule="sequential")
    np.testing.assert_allclose(result.marginals, double.marginals, atol=2e-5)
    assert float(result.log_partition) == pytest.approx(float(double.log_partition), rel=1e-5)


@float32
@pytest.mark.parametrize("strength", [3.0, 60.0, 1e3])
def test_strong_fields_do_not_become_certainties_in_single_precision(strength):
    graph = FactorGraph.from_table([[0, 1, 2]], n_variables=3)
    factors = ClauseFactors.from_signs(graph, [1, 1, 1])
    field = -strength * np.array([1.0, 1.5, 1.25], np.float32)
    result = run(graph, factors, field)
    assert np.isfinite(result.messages).all()
    spins = 2 * np.array(list(np.ndindex(2, 2, 2))[1:]) - 1  # all but the refused configuration
    expected = np.logaddexp.reduce(spins @ field.astype(float))
    assert float(result.log_partition) == pytest.approx(expected, rel=1e-5)


def test_derivatives_of_the_log_partition_are_magnetisations(tree):
    graph, factors, fields = tree
    field = jnp.asarray(fields[:, 0])
    gradient = jax.jacfwd(lambda f: run(graph, factors, f, tol=1e-14).log_partition)(field)
    magnetisation = 2 * run(graph, factors, field, tol=1e-14).marginals - 1
    np.testing.assert_allclose(gradient, magnetisation, atol=1e-12)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Parity:
    """exp(strength * product of three spins): a rule as a user writes one."""

    n_states: ClassVar[None] = None
    strength: jax.Array
    calls: ClassVar[list] = []

    def check(self, graph):
        if set(graph.arities()) != {3}:
            raise ValueError("graph: expected three spins in every factor")

    def factor_to_variable(self, graph, cavity):
        self.calls.append(cavity.shape)
        m = jnp.tanh(cavity).reshape(-1, 3)
        others = jnp.stack([m[:, 1] * m[:, 2], m[:, 0] * m[:, 2], m[:, 0] * m[:, 1]], axis=1)
        return jnp.arctanh(jnp.tanh(self.strength)[:, None] * others).ravel()

    def log_normalizer(self, graph, cavity):
        mean = jnp.tanh(cavity).reshape(-1, 3).prod(axis=1)
        return jnp.log(jnp.cosh(self.strength) + jnp.sinh(self.strength) * mean)


@float32
def test_a_rule_of_ones_own_and_no_retracing():
    graph = FactorGraph.from_table([[0, 1, 2], [2, 3, 4]], n_variables=5)
    strength = jnp.array([0.7, -0.4])
    field = jnp.linspace(-1, 1, 5)
    spins = np.array([1.0, -1.0])
    product = np.einsum("i,j,k->ijk", spins, spins, spins)
    tables = TableFactors.from_tables([np.exp(s * product) for s in np.asarray(strength)])
    expected = run(graph, tables, jnp.stack([field, -field], axis=1))
    result = run(graph, Parity(strength), field)
    np.testing.assert_allclose(result.marginals, expected.marginals[:, 0], atol=SINGLE)
    assert float(result.log_partition) == pytest.approx(float(expected.log_partition), rel=1e-5)
    n_traced = len(Parity.calls)
    assert n_traced >= 1
    other = FactorGraph.from_table([[4, 1, 0], [3, 2, 1]], n_variables=5)
    run(other, Parity(2 * strength), -field, damping=0.5, tol=1e-3, max_steps=50)
    assert len(Parity.calls) == n_traced
    run(FactorGraph.from_table([[0, 1, 2]], n_variables=5), Parity(strength[:1]), field)
    assert len(Parity.calls) > n_traced, "a new shape must retrace, else this test counts nothing"
    with pytest.raises(ValueError, match=r"factors: .* knows IsingFactors, .* got Parity"):
        run(graph, Parity(strength), field, schedule="sequential")
    with pytest.raises(ValueError, match="graph: expected three spins"):
        run(FactorGraph.from_table([[0, 1]], n_variables=2), Parity(strength), 0.0)


@float32
def test_a_rule_that_returns_nan_is_no_contradiction():
    graph = FactorGraph.from_table([[0, 1, 2]], n_variables=3)
    result = run(graph, Parity(jnp.array([jnp.nan])), 0.5)
    assert Status(int(result.status)) is Status.NON_FINITE
    assert int(result.culprit) == -1
    assert np.isnan(result.log_partition)
    np.testing.assert_array_equal(result.messages, 0.0)


@jax.jit
def both_answers(rule, graph, cavity):
    return rule.factor_to_variable(graph, cavity), rule.log_normalizer(graph, cavity)


def answers(rule, graph, cavity):
    return [np.asarray(answer) for answer in both_answers(rule, graph, jnp.asarray(cavity))]


def test_the_closed_forms_are_their_tables():
    # messages of single factors, at random, extreme and certain beliefs
    rng = np.random.default_rng(0)
    values = np.array([0.0, 1e-9, -1e-4, 0.3, -2.0, 17.0, -400.0, 1e4, INF, -INF])
    cavity = rng.choice(values, size=(400, 4))
    coupling = rng.choice(values, size=400)
    wiring = 4 * np.arange(400)[:, None] + np.arange(4)
    clause_graph = FactorGraph.from_table(wiring, n_variables=1600)
    clauses = ClauseFactors.from_signs(clause_graph, rng.choice([-1, 1], size=1600))
    pair_graph = FactorGraph.from_table(wiring[:, :2], n_variables=1600)
    for graph, rule, h, atol in (
        (clause_graph, clauses, cavity.ravel(), 1e-11),  # logs of tables are up to 2e4
        (pair_graph, IsingFactors.from_couplings(coupling), cavity[:, :2].ravel(), 1e-11),
        (clause_graph, clauses, np.clip(cavity, -20, 20).ravel(), 1e-14),
    ):
        logs = np.stack([-np.logaddexp(0, 2 * h), -np.logaddexp(0, -2 * h)], axis=1)
        table_rule = rule.to_tables()
        got, normalizer = answers(rule, graph, h)
        expected, table_normalizer = answers(table_rule, graph, logs)
        expected = (expected[:, 1] - expected[:, 0]) / 2
        known = ~np.isnan(expected)  # two certain beliefs that a certain factor refuses
        assert known.mean() > 0.9
        np.testing.assert_allclose(got[known], expected[known], rtol=1e-12, atol=atol)
        np.testing.assert_allclose(normalizer, table_normalizer, rtol=1e-12, atol=atol)


def test_small_couplings_keep_their_digits():
    graph = FactorGraph.from_table([[0, 1]], n_variables=2)
    factors = IsingFactors.from_couplings([1e-9])
    message = factors.factor_to_variable(graph, jnp.array([2e-7, 40.0]))
    np.testing.assert_allclose(message, [1e-9, 2e-16], rtol=1e-13)


@float32
def test_the_sequential_schedule_needs_concrete_arrays(tree):
    graph, factors, fields = tree
    with pytest.raises(TypeError, match='schedule: "sequential" runs compiled loops'):
        jax.jit(lambda f: run(graph, factors, f, schedule="sequential"))(fields[:, 0])
    with pytest.raises(
        ValueError, match=r'field: schedule="sequential" takes one field, got .*3\)'
    ):
        run(graph, factors, fields, schedule="sequential")


def test_long_clauses_have_no_tables():
    graph = FactorGraph.from_table([range(9)], n_variables=9)
    factors = ClauseFactors.from_signs(graph, np.ones(9))
    assert float(run(graph, factors, 0.0).log_partition) == pytest.approx(np.log(2**9 - 1))
    with pytest.raises(ValueError, match=r"factors: clauses of at most 8 .* got 9; .*clause_mess"):
        run(graph, factors, 0.0, schedule="sequential")


TABLES = [np.ones((3, 3))] * 4


def ring():
    return FactorGraph.from_table(lattice_edges((4,), periodic=True), n_variables=4)


def ising():
    return IsingFactors.from_couplings(np.ones(4))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"field": np.zeros(5)}, r"field: expected a number or shape \(4, ...\), got \(5,\)"),
        ({"field": [0.0, np.nan, 0.0, 0.0]}, "field: expected no NaN"),
        ({"field": 1j}, "field: expected real numbers"),
        ({"schedule": "random"}, "schedule: expected one of parallel, sequential; got 'random'"),
        ({"damping": 1.0}, r"damping: expected .*\[0, 1\), got 1.0"),
        ({"damping": -0.1, "schedule": "sequential"}, "damping: expected"),
        ({"tol": -1.0}, "tol: expected a number of at least 0, got -1.0"),
        ({"tol": np.nan}, "tol: expected"),
        ({"max_steps": 0}, "max_steps: expected an integer of at least 1, got 0"),
        ({"max_steps": 1.5}, "max_steps: expected an integer"),
        ({"init": np.zeros(7)}, r"init: expected messages of shape \(8,\), got \(7,\)"),
        ({"init": [0.0] * 7 + [np.nan]}, r"init: expected messages, got nan at index \(7,\)"),
        ({"on_failure": "explode"}, "on_failure: expected"),
    ],
)
def test_bad_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        belief_propagation(ring(), ising(), **settings)


@pytest.mark.parametrize(
    ("field", "match"),
    [
        (0.5, r"field: expected log weights of shape \(4, 3\) or 0, got shape \(\)"),
        (np.zeros((4, 2)), r"field: expected log weights of shape \(4, 3\)"),
        (np.full((4, 3), INF), "field: expected log weights below infinity"),
    ],
)
def test_bad_fields_of_categorical_variables_are_named(field, match):
    with pytest.raises(ValueError, match=match):
        belief_propagation(ring(), TableFactors.from_tables(TABLES), field=field)


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: IsingFactors.from_couplings([[1.0]]), "coupling: expected one number"),
        (lambda: IsingFactors.from_couplings(["x"]), "coupling: expected one number"),
        (lambda: IsingFactors.from_couplings([1.0, np.nan]), "coupling: got NaN at index 1"),
        (lambda: ClauseFactors.from_signs(ring(), np.ones(7)), r"sign: expected shape \(8,\)"),
        (
            lambda: ClauseFactors.from_signs(ring(), [1] * 7 + [0]),
            "sign: expected .1 .* 0 at index 7",
        ),
        (lambda: TableFactors.from_tables([[1.0, -1.0]]), "tables: expected finite weights of at"),
        (lambda: TableFactors.from_tables([[1.0, INF]]), "tables: expected finite weights"),
        (lambda: TableFactors.from_tables([np.ones((2, 3))]), r"tables: .* one length .*\[2, 3\]"),
        (lambda: TableFactors.from_tables([1.0]), "tables: .* give n_states"),
        (lambda: TableFactors.from_log_tables([[0.0, np.nan]]), "tables: expected log weights"),
        (lambda: TableFactors.from_tables([[1.0, 1.0]], n_states=3), r"tables: .*\[2, 3\]"),
    ],
)
def test_bad_factors_are_named(build, match):
    with pytest.raises(ValueError, match=match):
        build()


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (
            lambda: IsingFactors.from_couplings([1.0]),
            r"coupling: expected shape \(4,\), one for each fac",
        ),
        (lambda: TableFactors.from_tables(TABLES[:3]), "graph: expected 3 factors, got 4"),
        (
            lambda: TableFactors.from_tables([*TABLES[:3], np.ones(3)]),
            "graph: expected 1 variables in factor 3, got 2",
        ),
    ],
)
def test_factors_that_do_not_fit_the_graph_are_refused(build, match):
    with pytest.raises(ValueError, match=match):
        belief_propagation(ring(), build())


def test_a_raw_key_is_refused():
    with pytest.raises(TypeError, match="key: expected a key"):
        belief_propagation(ring(), ising(), key=jax.random.PRNGKey(0))
