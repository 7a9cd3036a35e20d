"""The driver of all dynamics: the same path however it is cut, and sums that do not stall."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inference.dynamics import Checkpoint, simulate
from inference.dynamics.driver import add_to, empty_sums, total
from inference.status import Status

pytestmark = pytest.mark.float32

N_STEPS = 101


def relax(state, key, rate):
    """A pytree of noise, a counter of integers and a key of its own."""
    noise = jax.random.normal(key, state["x"].shape, state["x"].dtype)
    inner = jax.random.fold_in(state["key"], 1)
    return {"x": (1 - rate) * state["x"] + noise, "n": state["n"] + 1, "key": inner}


def first(dtype=float):
    return {"x": jnp.zeros(3, dtype), "n": jnp.array(0), "key": jax.random.key(5)}


def largest(state, rate):
    return {"largest": state["x"].max(), "n": state["n"]}


def square(state, rate):
    return state["x"] ** 2


def run(init, n_steps, *, key=None, **options):
    return simulate(
        relax, init, key=key, n_steps=n_steps, args=(0.1,), observe=largest, accumulate=square,
        save_every=7, **options,
    )  # fmt: skip


def by_hand(key, n_steps):
    """Return states after every step, without a loop of JAX."""
    state, states = first(), []
    for t in range(n_steps):
        state = relax(state, jax.random.fold_in(key, t), 0.1)
        states.append(state)
    return states


def assert_same(a, b):
    for x, y in zip(jax.tree_util.tree_leaves(a), jax.tree_util.tree_leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def whole():
    return run(first(), N_STEPS, key=jax.random.key(1))


def test_the_path_is_that_of_a_plain_loop(whole):
    states = by_hand(jax.random.key(1), N_STEPS)
    eps = float(jnp.finfo(jnp.zeros(()).dtype).eps)
    x = np.array([state["x"] for state in states])
    np.testing.assert_allclose(whole.final.state["x"], x[-1], rtol=0, atol=100 * eps)
    np.testing.assert_allclose(whole.values["largest"], x[6::7].max(axis=1), rtol=0, atol=100 * eps)
    np.testing.assert_array_equal(whole.values["n"], np.arange(7, N_STEPS + 1, 7))
    np.testing.assert_allclose(whole.sums, (x**2).sum(axis=0), rtol=200 * eps)
    np.testing.assert_array_equal(whole.times, np.arange(7, N_STEPS + 1, 7))
    assert (whole.n_steps, whole.status) == (N_STEPS, Status.CONVERGED)


@pytest.mark.parametrize("chunk_size", [1, 5, 7, 64])
def test_chunks_change_no_bit(whole, chunk_size):
    cut = run(first(), N_STEPS, key=jax.random.key(1), chunk_size=chunk_size)
    assert_same((cut[:3], cut.final), (whole[:3], whole.final))


@pytest.mark.parametrize("n_before", [1, 7, 50])
def test_a_resumed_run_is_an_unbroken_one_bit_for_bit(whole, n_before):
    before = run(first(), n_before, key=jax.random.key(1))
    after = run(before.final, N_STEPS - n_before)
    assert_same((after.final, after.sums), (whole.final, whole.sums))
    joined = jax.tree_util.tree_map(
        lambda a, b: jnp.concatenate([a, b]), (before.times, before.values),
        (after.times, after.values),
    )  # fmt: skip
    assert_same(joined, (whole.times, whole.values))


def test_burn_in_is_forgotten_and_nothing_else(whole):
    before = run(first(), 50, key=jax.random.key(1))
    after = run(before.final.restarted(), N_STEPS - 50)
    assert_same(after.final.state, whole.final.state)
    np.testing.assert_allclose(after.sums + before.sums, whole.sums, rtol=1e-5)
    assert (after.sums < whole.sums).all()


def test_other_parameters_and_lengths_do_not_compile_anew():
    n_traces = []

    def step(x, key, rate):
        n_traces.append(1)
        return x + rate

    for n_steps, rate in ((3, 1.0), (50, 2.0), (1000, 0.5)):
        out = simulate(step, 0.0, key=jax.random.key(0), n_steps=n_steps, args=(rate,))
        assert float(out.final.state) == n_steps * rate
        if n_steps == 3:
            once = len(n_traces)
    assert len(n_traces) == once


def test_sums_in_single_precision_do_not_stall():
    # 1 + 1e-8 is 1: a plain sum would stay at 1
    sums = empty_sums(jax.ShapeDtypeStruct((), jnp.float32))
    narrow = jax.tree_util.tree_map(lambda leaf: leaf.astype(jnp.float32), sums)
    start = add_to(narrow, jnp.float32(1.0))
    many = jax.jit(
        lambda s: jax.lax.fori_loop(0, 100_000, lambda _, s: add_to(s, jnp.float32(1e-8)), s)
    )(start)
    assert abs(float(total(many)) - 1.001) < 2e-7


def test_a_run_ends_where_it_is_told_to_whatever_the_chunks():
    for chunk_size in (1, 4, None):
        out = simulate(
            lambda x, key: x + 1, 0, key=jax.random.key(0), n_steps=100, chunk_size=chunk_size,
            stop_when=lambda x: x >= 37, observe=lambda x: x,
        )  # fmt: skip
        assert (out.n_steps, int(out.final.state), out.status) == (37, 37, Status.CONVERGED)
        np.testing.assert_array_equal(out.values, np.arange(1, 38))
    never = simulate(
        lambda x, key: x + 1, 0, key=jax.random.key(0), n_steps=10, stop_when=lambda x: x > 99
    )
    assert never.status is Status.MAX_STEPS


def test_should_stop_ends_a_run_that_can_go_on():
    answers = iter([False, False, True])
    part = run(first(), N_STEPS, key=jax.random.key(1), chunk_size=4,
               should_stop=lambda: next(answers))  # fmt: skip
    assert part.n_steps == 8
    rest = run(part.final, N_STEPS - 8)
    assert_same(rest.final, run(first(), N_STEPS, key=jax.random.key(1)).final)


def test_a_state_that_is_not_finite_is_reported():
    out = simulate(lambda x, key: x * 10, 1.0, key=jax.random.key(0), n_steps=1000, chunk_size=400)
    assert out.status is Status.NON_FINITE
    assert out.n_steps == 400


def test_nothing_is_kept_of_a_run_shorter_than_the_spacing():
    out = run(first(), 3, key=jax.random.key(0))
    assert out.times.shape == (0,)
    assert out.values["largest"].shape == (0,)
    assert isinstance(out.final, Checkpoint)


@pytest.mark.parametrize(
    ("options", "fault", "message"),
    [
        ({"key": None}, TypeError, "key: expected a key"),
        ({"key": 3}, TypeError, "key: expected a key"),
        ({"n_steps": 0}, ValueError, "n_steps: expected an integer"),
        ({"n_steps": 2**31}, ValueError, "n_steps: expected at most"),
        ({"save_every": 0}, ValueError, "save_every: expected an integer"),
        ({"chunk_size": 0}, ValueError, "chunk_size: expected an integer"),
        ({"dt": 0.0}, ValueError, "dt: expected a positive"),
    ],
)
def test_bad_input_is_refused_at_once(options, fault, message):
    given = {"key": jax.random.key(0), "n_steps": 5, **options}
    with pytest.raises(fault, match=message):
        simulate(lambda x, key: x, 0.0, **given)


def test_a_run_that_goes_on_has_a_key_and_sums_of_its_own(whole):
    with pytest.raises(ValueError, match="key: expected None"):
        run(whole.final, 5, key=jax.random.key(0))
    with pytest.raises(ValueError, match="accumulate: expected what"):
        simulate(relax, whole.final, n_steps=5, args=(0.1,))
