"""The equation of Lyapunov against SciPy, Kronecker products, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from inference.dynamics import solve_lyapunov
from inference.status import PrecisionError


def stable(d, seed, *, gap=0.1):
    """A matrix without symmetry whose slowest eigenvalue has this real part."""
    matrix = np.random.default_rng(seed).normal(size=(d, d))
    return matrix + (gap - np.linalg.eigvals(matrix).real.min()) * np.eye(d)


def square(d, seed):
    return np.random.default_rng([seed, 1]).normal(size=(d, d))


@pytest.mark.parametrize("d", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy_and_leaves_no_residual(d, seed):
    drift, rhs = stable(d, seed), square(d, seed)
    found = np.asarray(solve_lyapunov(drift, rhs))
    scale = np.abs(drift).max() * np.abs(found).max() * d
    assert np.abs(drift @ found + found @ drift.T - rhs).max() < 1e-14 * scale
    other = scipy.linalg.solve_continuous_lyapunov(drift, rhs)
    np.testing.assert_allclose(found, other, rtol=0, atol=1e-10 * np.abs(other).max())


def test_a_drift_without_a_basis_of_eigenvectors():
    drift = 0.5 * np.eye(6) + np.eye(6, k=1)
    rhs = np.eye(6)
    kron = np.kron(drift, np.eye(6)) + np.kron(np.eye(6), drift)
    expected = np.linalg.solve(kron, rhs.ravel()).reshape(6, 6)
    np.testing.assert_allclose(solve_lyapunov(drift, rhs), expected, rtol=1e-11)


@pytest.mark.parametrize("ratio", [1e3, 1e8])
def test_eigenvalues_far_apart(ratio):
    drift = np.diag([1.0 / ratio, 1.0, ratio])
    found = solve_lyapunov(drift, 2.0 * np.eye(3))
    np.testing.assert_allclose(found, np.diag([ratio, 1.0, 1.0 / ratio]), rtol=1e-12, atol=1e-300)


def test_all_derivatives_are_those_of_finite_differences():
    drift, rhs, weight = stable(4, 0, gap=0.5), square(4, 0), square(4, 9)

    @jax.jit
    def loss(drift, rhs):
        return (weight * solve_lyapunov(drift, rhs) ** 2).sum()

    slope = jax.jit(jax.grad(loss, argnums=(0, 1)))
    found = slope(drift, rhs)
    for argument, gradient in enumerate(found):
        for index in np.ndindex(4, 4):
            bump = np.zeros((4, 4))
            bump[index] = 1e-5
            up, down = [drift, rhs], [drift, rhs]
            up[argument], down[argument] = up[argument] + bump, down[argument] - bump
            difference = (loss(*up) - loss(*down)) / 2e-5
            assert float(gradient[index]) == pytest.approx(float(difference), abs=1e-7, rel=1e-7)


def test_derivatives_go_forwards_and_to_second_order():
    drift, rhs = jnp.asarray(stable(3, 0, gap=0.5)), square(3, 0)
    way = jnp.asarray(square(3, 8))

    def slope(drift):
        return jax.jvp(lambda a: solve_lyapunov(a, rhs), (drift,), (way,))[1].sum()

    @jax.jit
    def both(drift):
        return slope(drift), jax.grad(slope)(drift)

    _, found = both(drift)
    difference = (both(drift + 1e-5 * way)[0] - both(drift - 1e-5 * way)[0]) / 2e-5
    assert float((found * way).sum()) == pytest.approx(float(difference), rel=1e-7)
    twice = solve_lyapunov(drift + 1e-5 * way, rhs) - solve_lyapunov(drift - 1e-5 * way, rhs)
    assert float(both(drift)[0]) == pytest.approx(float(twice.sum()) / 2e-5, rel=1e-7)


def test_the_cotangents_are_those_of_the_formula():
    drift, noise, cotangent = stable(5, 1), square(5, 1), square(5, 2)
    rhs, cotangent = noise @ noise.T, cotangent + cotangent.T
    covariance, pull = jax.vjp(solve_lyapunov, drift, rhs)
    y = scipy.linalg.solve_continuous_lyapunov(drift.T, cotangent)
    of_drift, of_rhs = pull(jnp.asarray(cotangent))
    np.testing.assert_allclose(of_rhs, y, rtol=0, atol=1e-11 * np.abs(y).max())
    expected = -2.0 * y @ np.asarray(covariance)
    np.testing.assert_allclose(of_drift, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_vmap_is_the_loop_in_value_and_gradient():
    drifts = np.stack([stable(3, seed) for seed in range(4)])
    rhs = np.eye(3)
    both = jax.value_and_grad(lambda drift: solve_lyapunov(drift, rhs).sum())
    one, all_at_once = jax.jit(both), jax.jit(jax.vmap(both))
    for batched, each in zip(all_at_once(drifts), zip(*map(one, drifts))):
        np.testing.assert_allclose(batched, np.stack(each), rtol=1e-12)


@pytest.mark.parametrize("drift", [[[-1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]]])
def test_a_drift_that_is_not_stable_is_not_a_number(drift):
    assert np.isnan(solve_lyapunov(drift, np.eye(2))).all()


def test_what_does_not_fit_is_refused():
    for drift, rhs in ((np.eye(2), np.eye(3)), (np.ones((2, 3)), np.ones((2, 3))), (1.0, 1.0)):
        with pytest.raises(ValueError, match="drift and rhs: expected square matrices of one size"):
            solve_lyapunov(drift, rhs)
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="equation of Lyapunov"):
        solve_lyapunov(np.eye(2), np.eye(2))
