"""The fixed-point driver against closed forms: value, residual, number of steps, status."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inference.fixed_point import fixed_point, largest_change
from inference.status import Status

float32 = pytest.mark.float32
TOL = 1e-5  # reachable in single precision


def affine(x, key, slope, shift):
    return slope * x + shift


@float32
@pytest.mark.parametrize("damping", [0.0, 0.3, 0.9])
def test_a_scalar_contraction_converges_at_its_exact_rate(key, damping):
    # x - x* shrinks by rate = damping + (1 - damping) slope, the residual is (1 - slope)|x - x*|
    slope, shift, start = 0.5, 1.5, 10.0
    limit = shift / (1 - slope)
    result = fixed_point(
        affine, jnp.array(start), key=key, args=(slope, shift), tol=TOL, damping=damping
    )
    rate = damping + (1 - damping) * slope
    first_residual = (1 - slope) * abs(start - limit)
    n_steps = math.ceil(math.log(TOL / first_residual) / math.log(rate)) + 1
    assert Status(int(result.status)) is Status.CONVERGED
    assert int(result.n_steps) == n_steps
    assert float(result.value) == pytest.approx(limit, abs=10 * TOL)
    # the residual belongs to the state before the last step
    assert float(result.residual) == pytest.approx(
        first_residual * rate ** (n_steps - 1), rel=0, abs=1e-6
    )


@float32
def test_damping_is_the_share_of_the_old_state(key):
    result = fixed_point(
        lambda x, _: 4.0 + 0 * x, jnp.array(1.0), key=key, max_steps=1, damping=0.25
    )
    assert float(result.value) == 0.25 * 1.0 + 0.75 * 4.0
    assert float(result.residual) == 3.0


def test_cosine_ends_at_the_dottie_number(key):
    result = fixed_point(lambda x, _: jnp.cos(x), jnp.array(1.0), key=key, tol=1e-13)
    assert float(result.value) == pytest.approx(0.7390851332151606, abs=1e-12)


def test_a_linear_map_solves_its_linear_system(key):
    matrix = jax.random.normal(key, (6, 6))
    matrix = 0.9 * matrix / jnp.linalg.norm(matrix, 2)
    shift = jax.random.normal(jax.random.fold_in(key, 1), (6,))
    result = fixed_point(
        lambda x, _, a, b: a @ x + b, jnp.zeros(6), key=key, args=(matrix, shift), tol=1e-12
    )
    expected = np.linalg.solve(np.eye(6) - np.asarray(matrix), np.asarray(shift))
    np.testing.assert_allclose(result.value, expected, atol=1e-11)


@float32
def test_the_state_may_be_a_pytree_and_keeps_its_dtypes(key):
    init = {"a": jnp.zeros(2, jnp.float32), "b": (jnp.ones((1, 2), jnp.float16),)}
    result = fixed_point(
        lambda s, _: {"a": 0.5 * s["a"] + 1, "b": (0.25 * s["b"][0],)}, init, key=key, tol=1e-2
    )
    assert jax.tree.map(lambda x: x.dtype, result.value) == jax.tree.map(lambda x: x.dtype, init)
    np.testing.assert_allclose(result.value["a"], 2.0, atol=0.05)
    np.testing.assert_allclose(result.value["b"][0], 0.0, atol=0.05)


@float32
def test_the_step_limit_is_reported(key):
    result = fixed_point(affine, jnp.array(0.0), key=key, args=(1.0, 1.0), max_steps=7)
    assert Status(int(result.status)) is Status.MAX_STEPS
    assert int(result.n_steps) == 7
    assert float(result.value) == 7.0
    assert float(result.residual) == 1.0


@float32
@pytest.mark.parametrize(
    ("tol", "status", "n_steps"), [(0.75, Status.MAX_STEPS, 7), (1.0, Status.CONVERGED, 1)]
)
def test_the_tolerance_itself_still_counts_as_converged(key, tol, status, n_steps):
    # the residual is 1 at every step
    result = fixed_point(affine, jnp.array(0.0), key=key, args=(1.0, 1.0), tol=tol, max_steps=7)
    assert Status(int(result.status)) is status
    assert int(result.n_steps) == n_steps


@float32
@pytest.mark.parametrize("poison", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_non_finite_update_stops_and_keeps_the_last_finite_state(key, poison):
    def step(x, _):
        return jnp.where(x[0] >= 3, jnp.array([1.0, poison]), x + 1)

    result = fixed_point(step, jnp.zeros(2), key=key)
    assert Status(int(result.status)) is Status.NON_FINITE
    np.testing.assert_array_equal(result.value, [3.0, 3.0])
    assert int(result.n_steps) == 4
    assert np.isnan(result.residual)


@float32
def test_step_t_draws_from_the_key_folded_with_t(key):
    result = fixed_point(
        lambda x, key_t: x + jax.random.normal(key_t), jnp.array(0.0), key=key, max_steps=3
    )
    draws = [jax.random.normal(jax.random.fold_in(key, t)) for t in range(3)]
    assert float(result.value) == pytest.approx(float(sum(draws)), rel=1e-6)


def test_vmap_equals_a_loop_with_every_element_its_own_status(key):
    slopes = jnp.array([0.1, 0.8, 2.0, 1.0])  # the last two diverge and stand off

    def run(slope):
        return fixed_point(
            lambda x, _, a: jnp.where(x > 1e6, jnp.nan, a * x + 1.0),
            jnp.array(0.0),
            key=key,
            args=(slope,),
            max_steps=150,
        )

    batched = jax.vmap(run)(slopes)
    for i, slope in enumerate(slopes):
        for got, expected in zip(batched, run(slope), strict=True):
            np.testing.assert_allclose(got[i], expected, rtol=1e-14)
    assert [Status(int(code)).name for code in batched.status] == [
        "CONVERGED",
        "CONVERGED",
        "NON_FINITE",
        "MAX_STEPS",
    ]


def test_new_numbers_of_the_same_shape_do_not_retrace(key):
    calls = []

    def step(x, _, slope):
        calls.append(None)
        return slope * x + 1.0

    def run(start, slope, **settings):
        return fixed_point(step, jnp.full(3, start), key=key, args=(jnp.array(slope),), **settings)

    first = run(0.0, 0.5)
    n_traced = len(calls)
    assert n_traced >= 1
    second = run(1.0, 0.25, tol=1e-6, max_steps=50, damping=0.5)
    assert len(calls) == n_traced
    assert float(first.value[0]) == pytest.approx(2.0, abs=1e-7)
    assert float(second.value[0]) == pytest.approx(4 / 3, abs=1e-5)
    fixed_point(step, jnp.zeros(4), key=key, args=(jnp.array(0.5),))
    assert len(calls) > n_traced, "a new shape must retrace, else this test counts nothing"


def test_the_distance_decides_what_small_means(key):
    def first_entry(update, state):
        return jnp.abs(update[0] - state[0])

    init = jnp.array([0.0, 1.0])
    result = fixed_point(
        lambda x, _: x * jnp.array([1.0, 0.9]), init, key=key, distance=first_entry
    )
    assert int(result.n_steps) == 1
    assert Status(int(result.status)) is Status.CONVERGED


@float32
def test_the_default_distance_looks_at_every_leaf():
    state = {"a": jnp.array([1.0, 0.0]), "b": jnp.array([[3.0]])}
    update = {"a": jnp.array([1.0, -5.0]), "b": jnp.array([[4.0]])}
    assert float(largest_change(update, state)) == 5.0


def change_of_tanh(update, state):
    return jnp.max(jnp.abs(jnp.tanh(update) - jnp.tanh(state)))


@float32
@pytest.mark.parametrize("damping", [0.0, 0.5])
def test_infinities_are_values_where_the_distance_is_bounded(key, damping):
    def step(x, _):  # entries: to infinity and to stay, from infinity, from one to the other, none
        return jnp.array([jnp.inf, 2.0, -jnp.inf, 0.5 * x[3]])

    init = jnp.array([0.0, jnp.inf, jnp.inf, 1.0])
    settings = {"key": key, "tol": TOL, "damping": damping}
    result = fixed_point(step, init, distance=change_of_tanh, **settings)
    assert Status(int(result.status)) is Status.CONVERGED
    assert float(result.residual) <= TOL
    np.testing.assert_allclose(result.value, [np.inf, 2.0, -np.inf, 0.0], atol=10 * TOL)
    refused = fixed_point(step, init, **settings)
    assert Status(int(refused.status)) is Status.NON_FINITE
    np.testing.assert_array_equal(refused.value, init)


@float32
def test_without_damping_the_update_is_taken_to_the_last_bit(key):
    # 0.1 + (0.3 - 0.1) is not 0.3
    result = fixed_point(lambda x, _: 0 * x + 0.3, jnp.array(0.1), key=key, max_steps=1)
    assert result.value == jnp.array(0.3)


def test_the_driver_is_differentiable_in_forward_mode(key):
    # d/da of the root of x = a x + 1 is 1 / (1 - a)^2
    def root(slope):
        return fixed_point(
            affine, jnp.array(0.0), key=key, args=(slope, 1.0), tol=1e-13, max_steps=200
        ).value

    assert float(jax.jacfwd(root)(0.5)) == pytest.approx(4.0, rel=1e-9)


@float32
@pytest.mark.parametrize("damping", [-0.1, 1.0, float("nan")])
def test_damping_outside_the_unit_interval_is_refused(key, damping):
    with pytest.raises(ValueError, match=rf"damping: expected .*\[0, 1\), got {damping}"):
        fixed_point(affine, jnp.array(0.0), key=key, args=(0.5, 1.0), damping=damping)


@float32
def test_a_step_limit_below_one_is_refused(key):
    with pytest.raises(ValueError, match="max_steps: expected at least 1, got 0"):
        fixed_point(affine, jnp.array(0.0), key=key, args=(0.5, 1.0), max_steps=0)


@float32
def test_a_raw_key_is_refused():
    with pytest.raises(TypeError, match="key: expected a key"):
        fixed_point(affine, jnp.array(0.0), key=jax.random.PRNGKey(0), args=(0.5, 1.0))


@float32
def test_settings_may_be_traced(key):
    @jax.jit
    def run(damping, max_steps):
        return fixed_point(
            affine, jnp.array(0.0), key=key, args=(0.5, 1.0), damping=damping, max_steps=max_steps
        )

    assert int(run(0.5, 3).n_steps) == 3
