"""Short steps of Langevin systems: laws and heat against those of the discrete chain itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from suite_helpers import assert_z

from inference.dynamics import euler_maruyama
from inference.status import Status

ROTATION = np.array([[1.0, -0.7], [0.7, 1.0]])
MIXED = np.array([[1.3, 0.4], [-0.9, 0.8]])
NOISE = np.array([[0.5, 0.1], [0.1, 1.1]])


def linear(s, drift):
    return -drift @ s


def discrete(drift, noise, dt):
    """Covariance and heat rate of the chain of short steps, exactly."""
    propagator = np.eye(2) - drift * dt
    covariance = scipy.linalg.solve_discrete_lyapunov(propagator, 2.0 * noise * dt)
    crossed = propagator @ covariance  # <s' s>
    inverse = np.linalg.inv(noise)
    # -1/2 <(A s + A s') D^-1 (s' - s)>
    heat = 0.5 * np.trace(drift.T @ inverse @ (crossed.T - crossed))
    return covariance, heat / dt


def start_of(key, covariance, n_chains):
    root = np.linalg.cholesky(covariance)
    return jax.random.normal(key, (n_chains, 2)) @ root.T


@pytest.mark.statistical
@pytest.mark.parametrize(("drift", "noise"), [(ROTATION, np.eye(2)), (MIXED, NOISE)])
def test_heat_and_covariance_are_those_of_the_discrete_chain(drift, noise, key):
    dt, n_chains = 0.05, 1000
    covariance, heat = discrete(drift, noise, dt)
    start = start_of(jax.random.fold_in(key, 1), covariance, n_chains)
    run = euler_maruyama(linear, noise, start, key=key, n_steps=400, dt=dt, args=(drift,))
    assert run.status is Status.CONVERGED
    assert_z(run.entropy_production, heat, run.standard_error)
    last = np.asarray(run.final.state.position)
    found = last.T @ last / n_chains
    spread = np.sqrt(covariance**2 + np.outer(np.diag(covariance), np.diag(covariance)))
    assert_z(found, covariance, spread / np.sqrt(n_chains))


@pytest.mark.float32
@pytest.mark.statistical
def test_the_rotation_has_the_rate_of_the_continuous_system(key):
    start = jax.random.normal(jax.random.fold_in(key, 1), (4000, 2))
    run = euler_maruyama(linear, 1.0, start, key=key, n_steps=400, dt=0.01, args=(ROTATION,))
    _, biased = discrete(ROTATION, np.eye(2), 0.01)
    assert abs(biased - 0.98) < 0.01
    assert_z(run.entropy_production, biased, run.standard_error)


@pytest.mark.statistical
def test_the_product_of_ito_is_too_large_by_the_trace_of_the_drift(key):
    dt, n_steps = 0.01, 300
    covariance, heat = discrete(MIXED, NOISE, dt)
    start = start_of(jax.random.fold_in(key, 1), covariance, 1000)
    run = euler_maruyama(
        linear, NOISE, start, key=key, n_steps=n_steps, dt=dt, args=(MIXED,), save_every=1
    )
    path = np.concatenate([np.asarray(start)[None], np.asarray(run.positions)])
    force = -path @ MIXED.T @ np.linalg.inv(NOISE)
    moves = np.diff(path, axis=0)
    time = n_steps * dt
    middle = (0.5 * (force[1:] + force[:-1]) * moves).sum(axis=(0, 2)) / time
    np.testing.assert_allclose(run.heat_rate, middle, rtol=1e-9, atol=1e-12)
    ito = (force[:-1] * moves).sum(axis=(0, 2)) / time
    error = ito.std(ddof=1) / np.sqrt(len(ito))
    # exact for the discrete chain: the force times its own mean step
    exact = np.trace(MIXED.T @ np.linalg.inv(NOISE) @ MIXED @ covariance)
    assert_z(ito.mean(), exact, error)
    assert exact - heat == pytest.approx(np.trace(MIXED), rel=0.02)
    assert exact - heat > 20 * error


def circling(s, turn):
    """Keeps the standard normal law, whatever the diffusion, and turns it round."""
    noise, slope = uneven(s), 0.6 * s / (1.0 + s**2) ** 2
    return slope - noise * s + turn * jnp.array([s[1], -s[0]])


def uneven(s, *_):
    return 0.5 + 0.3 * s**2 / (1.0 + s**2)


@pytest.mark.statistical
@pytest.mark.parametrize("turn", [0.0, 0.8])
def test_noise_that_depends_on_the_state(turn, key):
    dt = 0.01
    start = jax.random.normal(jax.random.fold_in(key, 1), (4000, 2))
    run = euler_maruyama(
        circling, uneven, start, key=key, n_steps=600, dt=dt, burn_in=1.0, args=(turn,)
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    inverse = 1.0 / (0.5 + 0.3 * nodes**2 / (1.0 + nodes**2))
    exact = 2.0 * turn**2 * (weights @ nodes**2) * (weights @ inverse)
    # the law of short steps is off in proportion to the step
    assert abs(float(run.entropy_production) - exact) < 4 * float(run.standard_error) + 2 * dt
    last = np.asarray(run.final.state.position)
    assert abs((last**2).mean() - 1.0) < 4 * np.sqrt(2 / last.size) + 2 * dt


def test_a_resumed_run_is_the_same_bit_for_bit(key):
    start = jax.random.normal(key, (16, 2))
    options = {"dt": 0.1, "args": (ROTATION,)}
    whole = euler_maruyama(linear, 1.0, start, key=key, n_steps=30, burn_in=1.0, **options)
    part = euler_maruyama(linear, 1.0, start, key=key, n_steps=12, burn_in=1.0, **options)
    rest = euler_maruyama(linear, 1.0, part.final, n_steps=18, **options)
    np.testing.assert_array_equal(whole.final.state.position, rest.final.state.position)
    np.testing.assert_array_equal(whole.heat_rate, rest.heat_rate)
    assert int(whole.final.step) == 40


def test_a_step_that_is_too_long_is_reported(key):
    start = jnp.ones((4, 2))
    run = euler_maruyama(
        linear, 1.0, start, key=key, n_steps=5000, dt=30.0, burn_in=30_000.0, args=(ROTATION,)
    )
    assert run.status is Status.NON_FINITE


@pytest.mark.parametrize(
    ("diffusion", "sentence"),
    [
        (0.0, "diffusion: expected positive numbers, got 0"),
        ([1.0, -1.0], "diffusion: expected positive numbers, got -1"),
        ([1.0, 1.0, 1.0], r"diffusion: expected a number or shape \(2,\) or \(2, 2\)"),
        ([[1.0, 0.5], [0.4, 1.0]], "diffusion: expected a symmetric matrix"),
        ([[1.0, 2.0], [2.0, 1.0]], "diffusion: expected a positive definite matrix, got the eig"),
        (np.nan, "diffusion: expected finite numbers, got nan"),
        (lambda s: 1.0 + s[::-1] ** 2, "each depend on their own coordinate alone"),
        (lambda s: -s, "diffusion: expected positive numbers, got -1"),
        (lambda s: s[:1], r"diffusion: expected a function to shape \(2,\), got \(1,\)"),
    ],
)
def test_what_is_no_diffusion_is_refused(diffusion, sentence, key):
    with pytest.raises(ValueError, match=sentence):
        euler_maruyama(lambda s: -s, diffusion, jnp.ones((2, 2)), key=key, n_steps=1, dt=0.1)


def test_other_bad_input_is_refused(key):
    options = {"key": key, "n_steps": 1, "dt": 0.1}
    with pytest.raises(ValueError, match="init: expected at least two chains"):
        euler_maruyama(linear, 1.0, jnp.ones((1, 2)), args=(ROTATION,), **options)
    with pytest.raises(ValueError, match="init: expected finite numbers, got nan"):
        euler_maruyama(linear, 1.0, np.full((2, 2), np.nan), args=(ROTATION,), **options)
    with pytest.raises(ValueError, match="dt: expected a positive"):
        euler_maruyama(linear, 1.0, jnp.ones((2, 2)), args=(ROTATION,), **options | {"dt": 0.0})
    with pytest.raises(ValueError, match="burn_in: expected a finite number"):
        euler_maruyama(linear, 1.0, jnp.ones((2, 2)), args=(ROTATION,), burn_in=-1.0, **options)
