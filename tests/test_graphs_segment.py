"""Segment reductions against loops: empty segments, infinities, zeros, batches, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st
from jax.test_util import check_grads

from graphs.segment import (
    leave_one_out_product,
    leave_one_out_sum,
    segment_logsumexp,
    segment_max,
    segment_sum,
)

INF = np.inf
IDS = np.array([3, 0, 3, 5, 0, 3, 1, 0])  # segments 2, 4 and 6 are empty
N = 7
REDUCTIONS = {
    segment_sum: lambda rows: rows.sum(axis=0),
    segment_max: lambda rows: rows.max(axis=0, initial=-INF),
    segment_logsumexp: lambda rows: (
        scipy.special.logsumexp(rows, axis=0) if len(rows) else np.full(rows.shape[1:], -INF)
    ),
}


def total_without_one(rows):
    return rows.sum(axis=0)


def product_without_one(rows):
    return rows.prod(axis=0)


LEAVE_ONE_OUT = {leave_one_out_sum: total_without_one, leave_one_out_product: product_without_one}


def by_loop(function, values, ids=IDS, n=N):
    """Return the reduction, or the reduction of all others, computed edge by edge."""
    values = np.asarray(values)
    with np.errstate(invalid="ignore"):
        if function in REDUCTIONS:
            return np.array([REDUCTIONS[function](values[ids == s]) for s in range(n)])
        edges = np.arange(len(ids))
        return np.array(
            [LEAVE_ONE_OUT[function](values[(ids == ids[e]) & (edges != e)]) for e in edges]
        )


FUNCTIONS = [*REDUCTIONS, *LEAVE_ONE_OUT]
everywhere = pytest.mark.parametrize("function", FUNCTIONS)


def close(got, expected):
    eps = float(jnp.finfo(got.dtype).eps)
    np.testing.assert_allclose(got, expected, rtol=100 * eps, atol=100 * eps)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.float32
@everywhere
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_the_reductions_are_loops(function, batch, rng):
    values = rng.normal(size=(len(IDS), *batch))
    got = function(jnp.asarray(values), jnp.asarray(IDS), N)
    assert got.dtype == jnp.result_type(float)
    close(got, by_loop(function, values))


@pytest.mark.float32
@everywhere
def test_jit_and_vmap_change_nothing(function, rng):
    values = jnp.asarray(rng.normal(size=(len(IDS), 3)))
    expected = function(values, IDS, N)
    jitted = jax.jit(lambda values, ids: function(values, ids, N))
    np.testing.assert_array_equal(jitted(values, IDS), expected)
    for axis in (0, 1):
        mapped = jax.vmap(lambda column: function(column, IDS, N), axis, axis)
        close(mapped(values if axis else values.T), expected if axis else expected.T)
    ids = jnp.stack([jnp.asarray(IDS), jnp.asarray(IDS[::-1].copy())])
    pairs = jax.vmap(lambda ids: function(values, ids, N))(ids)
    close(pairs[0], expected)
    close(pairs[1], by_loop(function, values, IDS[::-1]))


@pytest.mark.float32
@everywhere
def test_nothing_at_all(function):
    assert function(jnp.zeros((0, 2)), jnp.zeros(0, int), 3).shape == (
        (3, 2) if function in REDUCTIONS else (0, 2)
    )
    assert function(jnp.zeros((0, 2)), jnp.zeros(0, int), 0).shape == (0, 2)


@pytest.mark.float32
def test_logsumexp_of_extremes():
    values = jnp.array([3e4, 3e4, -INF, -INF, INF, 1.0, -3e4, INF])
    ids = jnp.array([0, 0, 1, 1, 2, 2, 3, 4])
    got = segment_logsumexp(values, ids, 6)
    np.testing.assert_allclose(got, [3e4 + np.log(2), -INF, INF, -3e4, INF, -INF])
    assert jnp.isnan(segment_logsumexp(jnp.array([jnp.nan, 0.0]), jnp.array([0, 1]), 2)).tolist()


def test_the_gradient_of_logsumexp_is_a_softmax(rng):
    values = jnp.asarray(rng.normal(size=len(IDS))).at[2].set(-INF).at[6].set(-INF)
    gradient = jax.jacobian(lambda v: segment_logsumexp(v, IDS, N))(values)
    expected = np.zeros((N, len(IDS)))
    for segment in (0, 3, 5):
        inside = segment == IDS
        expected[segment, inside] = scipy.special.softmax(values[inside])
    close(gradient, expected)


entries = st.sampled_from([INF, -INF, 0.0, -0.0, 1.0, -2.0, 0.5, 3.0])


@given(st.lists(st.tuples(st.integers(0, 2), entries, entries), max_size=7))
def test_infinities_and_zeros_are_exact(edges):
    # padded by edges in segments of their own: one program for all examples
    edges = [*edges, *((3 + i, 1.0, 1.0) for i in range(7 - len(edges)))]
    ids = np.array([edge[0] for edge in edges])
    values = np.array([edge[1:] for edge in edges])
    got = leave_one_out_sum(jnp.asarray(values), jnp.asarray(ids), 10)
    np.testing.assert_allclose(got, by_loop(leave_one_out_sum, values, ids, 10), atol=1e-14)
    got = leave_one_out_product(jnp.asarray(values), jnp.asarray(ids), 10)
    np.testing.assert_allclose(got, by_loop(leave_one_out_product, values, ids, 10), rtol=1e-14)


@pytest.mark.float32
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, INF], [INF, INF, 3.0]),
        ([1.0, -INF, 2.0], [-INF, 3.0, -INF]),
        ([INF, INF, 1.0], [INF, INF, INF]),
        ([INF, -INF, 1.0], [-INF, INF, np.nan]),
        ([INF, np.nan, 1.0], [np.nan, np.nan, np.nan]),
        ([0.0, np.nan, 1.0], [np.nan, np.nan, np.nan]),
    ],
)
def test_what_remains_beside_an_infinity(values, expected):
    np.testing.assert_array_equal(
        leave_one_out_sum(jnp.array(values), jnp.zeros(3, int), 1), jnp.array(expected)
    )


@pytest.mark.float32
def test_an_infinity_elsewhere_changes_no_other_segment(rng):
    values = jnp.asarray(rng.normal(size=(len(IDS), 2)))
    finite = leave_one_out_sum(values, IDS, N)
    infinite = leave_one_out_sum(values.at[6].set(INF), IDS, N)
    np.testing.assert_array_equal(np.delete(finite, 6, 0), np.delete(infinite, 6, 0))


def test_the_finite_path_is_one_sum_and_one_gather():
    program = jax.make_jaxpr(lambda v: leave_one_out_sum(v, IDS, N).sum())(jnp.ones(len(IDS)))
    (inner,) = (
        e.params["jaxpr"] for e in program.eqns if e.params.get("name") == "leave_one_out_sum"
    )
    (choice,) = (e for e in inner.eqns if e.primitive.name == "cond")
    finite, infinite = (str(branch) for branch in choice.params["branches"])
    assert (finite.count("scatter-add["), finite.count("gather[")) == (1, 1)
    assert (infinite.count("scatter-add["), infinite.count("gather[")) == (3, 3)
    outside = [e for e in inner.eqns if e is not choice]
    assert not any("scatter" in str(e) or "gather" in str(e) for e in outside)


@pytest.mark.float32
def test_products_neither_overflow_nor_underflow():
    limits = jnp.finfo(jnp.result_type(float))
    tiny, huge = float(limits.tiny) * 4096, float(limits.max) / 4096
    values = jnp.array([tiny, tiny, tiny, huge, huge, huge, -1.0])
    got = leave_one_out_product(values, jnp.zeros(7, int), 1)
    eps = float(limits.eps)
    expected = [*[-huge * (tiny * huge) ** 2] * 3, *[-tiny * (tiny * huge) ** 2] * 3]
    np.testing.assert_allclose(got[:6], expected, rtol=8000 * eps)
    np.testing.assert_allclose(got[6], (tiny * huge) ** 3, rtol=8000 * eps)


@pytest.mark.parametrize(
    "values",
    [
        [0.3, -1.2, 2.0, 0.7, 1.1, -0.4, 0.9, 1.5],
        [0.0, -1.2, 2.0, 0.7, 0.0, -0.4, 0.9, 1.5],
        [0.0, 0.0, 0.0, 0.7, 0.0, -0.4, 0.0, 1.5],
        [0.0] * 8,
    ],
)
def test_derivatives_of_the_product_are_exact_also_at_zeros(values):
    values = jnp.array(values)
    edges = np.arange(len(IDS))
    expected = np.zeros((len(IDS), len(IDS)))
    for e in edges:
        for f in edges[(IDS[e] == IDS) & (edges != e)]:
            rest = (IDS[e] == IDS) & (edges != e) & (edges != f)
            expected[e, f] = np.prod(values[rest])
    for jacobian in (jax.jacfwd, jax.jacrev):
        close(jacobian(lambda v: leave_one_out_product(v, IDS, N))(values), expected)


@pytest.mark.parametrize("function", [f for f in FUNCTIONS if f is not segment_max])
def test_derivatives_agree_with_differences(function, rng):
    values = jnp.asarray(rng.normal(size=(len(IDS), 2)))
    filled = np.unique(IDS)  # the differences of -inf are no oracle

    def flat(values):
        result = function(values, IDS, N)
        return result[filled] if function in REDUCTIONS else result

    check_grads(flat, (values,), order=1, modes=["fwd", "rev"], atol=1e-5, rtol=1e-5)


@pytest.mark.float32
@everywhere
def test_gradients_are_finite_where_the_values_are(function):
    values = jnp.array([0.0, 0.0, 1.0, -1.0, 2.0, 0.0, 0.0, 3.0])

    def finite_part(values):
        result = function(values, IDS, N)
        return jnp.where(jnp.isfinite(result), result, 0).sum()

    assert jnp.isfinite(jax.grad(finite_part)(values)).all()


@pytest.mark.float32
def test_integers_and_narrow_floats_keep_their_type(rng):
    counts = jnp.asarray(rng.integers(0, 9, len(IDS)), jnp.int32)
    for function in (segment_sum, leave_one_out_sum):
        assert function(counts, IDS, N).dtype == jnp.int32
        np.testing.assert_array_equal(
            function(counts, IDS, N), by_loop(function, np.asarray(counts))
        )
    narrow = jnp.asarray(rng.normal(size=len(IDS)), jnp.float32)
    for function in FUNCTIONS:
        assert function(narrow, IDS, N).dtype == jnp.float32
        assert function(narrow.at[0].set(INF), IDS, N).dtype == jnp.float32


@pytest.mark.float32
@everywhere
def test_ids_that_do_not_fit_are_refused(function):
    with pytest.raises(ValueError, match=r"^segment_ids: .* shape \(2,\) and .* shape \(3, 1\)"):
        function(jnp.ones((3, 1)), jnp.zeros(2, int), 1)
    with pytest.raises(ValueError, match=r"^segment_ids: .* shape \(\)"):
        function(jnp.ones(()), jnp.zeros((), int), 1)
    with pytest.raises(TypeError, match=r"^segment_ids: expected integers, got .* float"):
        function(jnp.ones(2), jnp.zeros(2), 1)
