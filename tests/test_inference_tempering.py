"""Tempered sequential Monte Carlo against integrals and moments in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from suite_helpers import assert_z

from inference import tempering
from inference.status import Status
from inference.tempering import tempered_smc

N_ISLANDS, N_PARTICLES = 16, 64
SHAPES = (0.5, 1.5, 4.0)


def normal(x, scale):
    """Normalised: the reference."""
    scale = jnp.broadcast_to(scale, x.shape)
    return -0.5 * jnp.sum((x / scale) ** 2 + jnp.log(2 * jnp.pi * scale**2))


def log_gammas(x, shapes, bound):
    """Skewed, with a long left tail; the integral is the product of Gamma(a) without a bound."""
    return jnp.where(x[0] > bound, jnp.sum(shapes * x - jnp.exp(x)), jnp.nan)


def two_normals(x, locations, scales, log_masses):
    """Of the given integrals; ten coordinates everywhere, so that one program serves all tests."""
    each = jax.vmap(lambda location, scale: normal(x - location, scale))(locations, scales)
    return jax.scipy.special.logsumexp(each + log_masses)


def first_axis(*values):
    """Points of ten coordinates, zero but for the first."""
    return jnp.zeros((len(values), 10)).at[:, 0].set(jnp.array(values))


def start(key, dim, scale):
    return scale * jax.random.normal(jax.random.fold_in(key, 1), (N_ISLANDS, N_PARTICLES, dim))


def island_mean(found, statistic):
    """Mean of a statistic ``(islands, particles, ...)`` and its error from independent islands."""
    weights = np.exp(found.log_island_weights)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    means = np.asarray(statistic).mean(axis=1)
    mean = np.tensordot(weights, means, 1)
    n = len(weights)
    error = np.sqrt(np.tensordot(weights**2, (means - mean) ** 2, 1) * n / (n - 1))
    return mean, error


def skewed(key, bound=-np.inf):
    return tempered_smc(
        log_gammas,
        normal,
        start(key, 3, 2.0),
        key=key,
        target_args=(jnp.array(SHAPES), bound),
        reference_args=(2.0,),
    )


def gaussians(key, reference_scale, locations, scales, log_masses):
    return tempered_smc(
        two_normals,
        normal,
        start(key, 10, reference_scale),
        key=key,
        target_args=(jnp.asarray(locations), jnp.array(scales), jnp.array(log_masses)),
        reference_args=(reference_scale,),
    )


@pytest.mark.statistical
def test_evidence_and_moments_of_a_shifted_gaussian_in_ten_dimensions(key):
    location, scale, log_integral = np.linspace(-1.0, 1.5, 10), 0.5, -123.0
    locations = np.stack([location, np.zeros(10)])
    found = gaussians(key, jnp.ones(10), locations, [scale, 1.0], [log_integral, -np.inf])
    assert found.status is Status.CONVERGED
    assert found.particles.shape == (N_ISLANDS, N_PARTICLES, 10)
    assert 3 < found.n_stages < 60
    assert 0.6 < found.acceptance < 0.99  # the step is steered to 0.8
    assert_z(found.log_evidence, log_integral, found.log_evidence_error)
    assert found.log_evidence_error < 0.3
    x = np.asarray(found.particles)
    mean, error = island_mean(found, x)
    assert_z(mean, location, error)
    variance, error = island_mean(found, (x - location) ** 2)
    assert_z(variance, scale**2, error)


@pytest.mark.statistical
def test_evidence_and_its_error_are_calibrated_on_a_skewed_target():
    exact, n_seeds = sum(map(math.lgamma, SHAPES)), 20
    differences, errors = [], []
    for seed in range(n_seeds):
        found = skewed(jax.random.key(seed))
        assert found.status is Status.CONVERGED
        differences.append(found.log_evidence - exact)
        errors.append(found.log_evidence_error)
    differences, errors = np.array(differences), np.array(errors)
    assert np.all(np.abs(differences / errors) < 4)
    # squared differences over squared errors of 15 degrees of freedom each: an F ratio
    ratio = np.mean(differences**2) / np.mean(errors**2)
    degrees = n_seeds, n_seeds * (N_ISLANDS - 1)
    low, high = scipy.stats.f(*degrees).ppf([5e-5, 1 - 5e-5])
    assert low < ratio < high
    assert_z(differences.mean(), 0.0, math.sqrt(np.mean(errors**2) / n_seeds))


@pytest.mark.statistical
def test_moments_of_a_skewed_target(key):
    # E x = psi(a), Var x = psi'(a)
    found = skewed(key)
    x = np.asarray(found.particles)
    psi = scipy.special.digamma(SHAPES)
    mean, error = island_mean(found, x)
    assert_z(mean, psi, error)
    variance, error = island_mean(found, (x - psi) ** 2)
    assert_z(variance, scipy.special.polygamma(1, SHAPES), error)


@pytest.mark.statistical
def test_two_modes_keep_their_masses(key):
    # 8 standard deviations apart: no move crosses, the broad reference must fill both
    masses, broad = np.array([0.3, 1.2]), jnp.ones(10).at[0].set(5.0)
    found = gaussians(key, broad, first_axis(4.0, -4.0), [1.0, 1.0], np.log(masses))
    assert found.status is Status.CONVERGED
    assert_z(found.log_evidence, math.log(masses.sum()), found.log_evidence_error)
    right, error = island_mean(found, np.asarray(found.particles)[..., 0] > 0)
    assert_z(right, masses[0] / masses.sum(), error)


def test_a_target_that_is_the_reference_takes_one_step(key):
    found = gaussians(key, 2 * jnp.ones(10), first_axis(0.0, 0.0), [2.0, 1.0], [7.5, -np.inf])
    assert found.n_stages == 1
    assert found.status is Status.CONVERGED
    assert found.log_evidence == pytest.approx(7.5, abs=1e-12)
    assert found.log_evidence_error < 1e-12


def test_islands_that_disagree_are_reported(key):
    # a heavy mode in the tail of the reference: few islands hold a particle that finds it
    found = gaussians(key, jnp.ones(10), first_axis(0.0, 5.0), [1.0, 0.5], [0.0, 9.0])
    assert found.status is Status.UNRELIABLE_WEIGHTS
    shares = np.exp(found.log_island_weights)
    assert 1 / np.sum(shares**2) < N_ISLANDS / 2


@pytest.mark.statistical
def test_a_target_that_is_nan_outside_of_its_support(key):
    # NaN is no mass: above the bound an incomplete Gamma function is left of the first factor
    bound = -2.0
    found = skewed(key, bound)
    assert found.status is Status.CONVERGED
    exact = sum(map(math.lgamma, SHAPES))
    exact += math.log(scipy.special.gammaincc(SHAPES[0], math.exp(bound)))
    assert_z(found.log_evidence, exact, found.log_evidence_error)
    assert np.all(np.asarray(found.particles)[..., 0] > bound)


def test_a_target_that_is_nan_everywhere_is_reported(key):
    found = skewed(key, np.inf)
    assert found.status is Status.NON_FINITE
    assert np.isnan(found.log_evidence)
    assert found.log_evidence_error == np.inf
    assert np.isfinite(found.particles).all()


def test_a_target_out_of_reach_is_reported(key, monkeypatch):
    monkeypatch.setattr(tempering, "_MAX_STAGES", 1)
    found = skewed(key)
    assert found.status is Status.MAX_STEPS
    assert found.n_stages == 1
    # the evidence of an intermediate temperature is not what was asked for
    assert np.isnan(found.log_evidence)
    assert found.log_evidence_error == np.inf


def test_a_key_gives_one_result(key):
    one, same, other = (skewed(k) for k in (key, key, jax.random.fold_in(key, 2)))
    assert one.log_evidence == same.log_evidence != other.log_evidence
    np.testing.assert_array_equal(one.particles, same.particles)


def test_a_single_island_has_no_error_estimate(key):
    with pytest.raises(ValueError, match=r"particles: .* at least two islands.* got \(1, 8, 2\)"):
        tempered_smc(lambda x: 0.0, lambda x: 0.0, jnp.zeros((1, 8, 2)), key=key)
