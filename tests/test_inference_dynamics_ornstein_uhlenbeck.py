"""Exact steps of linear systems against matrix exponentials and the joint law of whole paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from scipy.stats import multivariate_normal
from suite_helpers import assert_z

from inference.dynamics import (
    exact_transition,
    log_prob_of_moments,
    path_moments,
    sample_steps,
    solve_lyapunov,
)
from inference.status import PrecisionError

DRIFT = np.array([[1.3, 0.4, 0.0], [-0.9, 0.8, 0.5], [0.2, -0.3, 2.0]])
NOISE = np.array([[0.5, 0.1, 0.0], [0.1, 1.1, 0.0], [0.0, 0.0, 0.3]])
COVARIANCE = np.asarray(solve_lyapunov(DRIFT, 2.0 * NOISE)) if jax.config.jax_enable_x64 else None
MEAN = np.array([0.3, -1.0, 2.0])
UNEVEN = np.array([0.0, 0.2, 0.25, 1.0, 1.2, 3.0])


def van_loan(interval):
    """Propagator and covariance from one exponential of twice the size."""
    n = len(DRIFT)
    block = np.block([[DRIFT, 2.0 * NOISE], [np.zeros((n, n)), -DRIFT.T]]) * interval
    exponential = scipy.linalg.expm(block)
    propagator = exponential[n:, n:].T
    return propagator, propagator @ exponential[:n, n:]


def joint_law(times, drift=DRIFT, covariance=COVARIANCE):
    """Covariance of all points of a path."""
    blocks = [
        [
            scipy.linalg.expm(-drift * (t - s)) @ covariance
            if t >= s
            else covariance @ scipy.linalg.expm(-drift.T * (s - t))
            for s in times
        ]
        for t in times
    ]
    return np.block(blocks)


@pytest.mark.parametrize("interval", [1e-3, 0.2, 1.0])
def test_a_step_is_that_of_the_matrix_exponential(interval):
    law = exact_transition(DRIFT, COVARIANCE, interval)
    propagator, covariance = van_loan(interval)
    np.testing.assert_allclose(law.propagator, propagator, rtol=0, atol=1e-13)
    np.testing.assert_allclose(law.covariance, covariance, rtol=0, atol=1e-13)


@pytest.mark.parametrize("interval", [0.7, 4.0, 30.0])
def test_two_steps_are_one_of_twice_the_length(interval):
    one = exact_transition(DRIFT, COVARIANCE, interval)
    two = exact_transition(DRIFT, COVARIANCE, 2.0 * interval)
    np.testing.assert_allclose(two.propagator, one.propagator @ one.propagator, atol=1e-14)
    noise = one.propagator @ one.covariance @ one.propagator.T + one.covariance
    np.testing.assert_allclose(two.covariance, noise, rtol=1e-13, atol=1e-15)


def test_short_steps_keep_their_digits_and_long_ones_forget():
    # to second order: E - 1 = -A t, noise 2 D t - (A D + D A^T) t^2
    t = 1e-9
    short = exact_transition(DRIFT, COVARIANCE, t)
    np.testing.assert_allclose(short.change, -DRIFT * t, rtol=1e-8, atol=1e-18)
    expected = 2.0 * NOISE * t - (DRIFT @ NOISE + NOISE @ DRIFT.T) * t**2
    np.testing.assert_allclose(short.covariance, expected, rtol=0, atol=1e-14 * t)
    long = exact_transition(DRIFT, COVARIANCE, 1e9)
    np.testing.assert_allclose(long.propagator, np.zeros((3, 3)), rtol=0, atol=1e-15)
    np.testing.assert_allclose(long.covariance, COVARIANCE, rtol=1e-14)


@pytest.mark.parametrize("times", [UNEVEN, 0.3 * np.arange(7), 1e3 + 0.3 * np.arange(7)])
@pytest.mark.parametrize("start", ["stationary", "given"])
def test_the_density_of_a_path_is_that_of_all_its_points(times, start):
    path = np.random.default_rng(0).normal(size=(len(times), 3)) + MEAN
    law = multivariate_normal(cov=joint_law(times - times[0]))
    expected = law.logpdf((path - MEAN).ravel())
    if start == "given":
        expected -= multivariate_normal(MEAN, COVARIANCE).logpdf(path[0])
    moments = path_moments(times, path)
    found = log_prob_of_moments(moments, DRIFT, COVARIANCE, MEAN, start=start)
    assert float(found) == pytest.approx(expected, rel=1e-10)


def test_equal_steps_are_found_and_uneven_ones_kept():
    path = np.zeros((len(UNEVEN), 1))
    np.testing.assert_allclose(path_moments(UNEVEN, path).interval, [0.05, 0.2, 0.75, 1.8])
    np.testing.assert_array_equal(path_moments(UNEVEN, path).n_steps, [1, 2, 1, 1])
    grid = 1e4 + 1e-3 * np.arange(2000)  # differences are all unequal by rounding
    moments = path_moments(grid, np.zeros((2000, 1)))
    assert moments.interval.shape == (1,)
    assert float(moments.interval[0]) == pytest.approx(1e-3, rel=1e-9)


def test_paths_add_up_and_a_mean_far_from_zero_costs_no_digits():
    paths = np.random.default_rng(1).normal(size=(4, len(UNEVEN), 3))

    def density(paths, mean):
        return float(log_prob_of_moments(path_moments(UNEVEN, paths), DRIFT, COVARIANCE, mean))

    together = density(paths, MEAN)
    assert together == pytest.approx(sum(density(path, MEAN) for path in paths), rel=1e-12)
    assert density(paths + 2.0**20, MEAN + 2.0**20) == pytest.approx(together, rel=1e-9)


def test_gradients_in_parameters_and_path_are_those_of_finite_differences():
    path = np.random.default_rng(2).normal(size=(len(UNEVEN), 3))

    @jax.jit
    def density(drift, noise, mean, path):
        moments = path_moments(UNEVEN, path)
        return log_prob_of_moments(moments, drift, solve_lyapunov(drift, 2.0 * noise), mean)

    at = (DRIFT, NOISE, MEAN, path)
    gradients = jax.jit(jax.grad(density, argnums=range(4)))(*at)
    rng = np.random.default_rng(3)
    for argument, gradient in enumerate(gradients):
        way = rng.normal(size=np.shape(at[argument]))
        if argument == 1:
            way = way + way.T
        values = [
            density(*at[:argument], at[argument] + h * way, *at[argument + 1 :])
            for h in (1e-5, -1e-5)
        ]
        slope = float(values[0] - values[1]) / 2e-5
        assert float((gradient * way).sum()) == pytest.approx(slope, rel=1e-7, abs=1e-7)


def test_times_may_be_traced():
    path = np.random.default_rng(2).normal(size=(len(UNEVEN), 3))

    @jax.jit
    def density(times):
        return log_prob_of_moments(path_moments(times, path), DRIFT, COVARIANCE)

    whole = log_prob_of_moments(path_moments(UNEVEN, path), DRIFT, COVARIANCE)
    assert float(density(UNEVEN)) == pytest.approx(float(whole), rel=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("times", [0.4 * np.arange(4), UNEVEN])
def test_paths_have_the_covariances_of_the_joint_law(times, key):
    n = 20_000
    start = jnp.tile(jnp.array([1.0, -1.0, 0.5]), (n, 1))
    intervals = np.diff(times)
    if np.allclose(intervals, intervals[0]):
        law = exact_transition(DRIFT, COVARIANCE, intervals[0])
        steps = sample_steps(law, start, len(intervals), key=key)
    else:
        law = jax.vmap(lambda t: exact_transition(DRIFT, COVARIANCE, t))(intervals)
        steps = sample_steps(law, start, key=key)
    assert steps.shape == (len(intervals), n, 3)
    flat = np.asarray(steps).swapaxes(0, 1).reshape(n, -1)
    since = times[1:] - times[0]
    forget = np.concatenate([scipy.linalg.expm(-DRIFT * t) for t in since])
    mean = forget @ np.asarray(start[0])
    covariance = joint_law(since) - forget @ COVARIANCE @ forget.T
    assert_z(flat.mean(axis=0), mean, np.sqrt(np.diag(covariance) / n))
    deviation = flat - mean
    variance = covariance**2 + np.outer(np.diag(covariance), np.diag(covariance))
    assert_z(deviation.T @ deviation / n, covariance, np.sqrt(variance / n), limit=4.5)


def test_what_does_not_fit_is_refused():
    path = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"times: expected increasing numbers, got 1 and then 0.5"):
        path_moments([0.0, 1.0, 0.5], path)
    with pytest.raises(ValueError, match="times: expected at least two, got one"):
        path_moments([0.0], path[:1])
    with pytest.raises(ValueError, match="path: expected 2 points as in times, got 3"):
        path_moments([0.0, 1.0], path)
    with pytest.raises(ValueError, match="path: expected finite numbers, got nan"):
        path_moments([0.0, 1.0], [[np.nan], [0.0]])
    moments = path_moments([0.0, 1.0, 2.0], path)
    with pytest.raises(ValueError, match="start: expected one of stationary, given"):
        log_prob_of_moments(moments, np.eye(2), np.eye(2), start="zero")
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="density of a path"):
        path_moments([0.0, 1.0, 2.0], path)
