"""The trapezoid rule on growing lattices against integrals in closed form."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from inference.quadrature import trapezoid
from inference.status import PrecisionError, Status

# the rule leaves out points 38 nats below the peak, and sums up to 1e5 rounded terms
EXACT = 1e-12


def gaussian(points, location, factor):
    """Unnormalised: location plus factor times a standard normal."""
    white = jnp.linalg.solve(factor, (points - location).T)
    return -0.5 * jnp.sum(white**2, axis=0)


def log_gammas(points, shapes, mixing):
    """Independent log-Gammas behind a linear map of unit determinant; integral prod Gamma(a)."""
    x = points @ mixing
    return jnp.sum(shapes * x - jnp.exp(x), axis=-1)


def two_gaussians(points, far, width, log_height):
    """A standard normal at the origin, and another one of some width and height."""
    near = -0.5 * jnp.sum(points**2, axis=-1)
    return jnp.logaddexp(near, log_height - 0.5 * jnp.sum((points - far) ** 2, axis=-1) / width**2)


def log_integral_of_two(dim, width, log_height):
    return dim / 2 * math.log(2 * math.pi) + math.log1p(math.exp(log_height) * width**dim)


def random_factor(dim, seed):
    rng = np.random.default_rng(seed)
    return np.linalg.qr(rng.normal(size=(dim, dim)))[0] * np.exp(rng.uniform(-1, 1, dim))


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_correlated_gaussians_and_their_moments(dim):
    location, factor = np.arange(1.0, dim + 1), random_factor(dim, dim)
    covariance = factor @ factor.T
    # neither the mode nor the whitening is exact
    whitening = np.linalg.cholesky(covariance) * 1.2
    rule = trapezoid(
        gaussian, location[None] + 0.1, whitening, args=(jnp.array(location), jnp.array(factor))
    )
    exact = dim / 2 * math.log(2 * math.pi) + np.linalg.slogdet(factor)[1]
    assert rule.status is Status.CONVERGED
    assert abs(rule.log_integral - exact) < EXACT
    assert rule.change <= 1e-9
    assert scipy.special.logsumexp(rule.log_weights) == pytest.approx(rule.log_integral, abs=EXACT)
    weights = np.exp(rule.log_weights - rule.log_integral)
    mean = weights @ rule.nodes
    spread = np.einsum("n,ni,nj->ij", weights, rule.nodes - mean, rule.nodes - mean)
    np.testing.assert_allclose(mean, location, rtol=0, atol=EXACT)
    # squares of 8 standard deviations are left out: 64 exp(-38)
    np.testing.assert_allclose(spread, covariance, rtol=0, atol=10 * EXACT)


@pytest.mark.slow
@pytest.mark.parametrize("shapes", [(0.5,), (1.0,), (0.5, 1.0), (1.0, 1.5, 20.0)])
def test_long_exponential_tails(shapes):
    # shape 1/2 is chi-square of one degree: its logarithm decays as exp(x / 2) to the left
    dim = len(shapes)
    mixing = np.tril(np.full((dim, dim), 0.3), -1) + np.eye(dim)
    mode = np.linalg.solve(mixing.T, np.log(shapes))
    whitening = np.linalg.inv(mixing.T) / np.sqrt(shapes)
    args = (jnp.array(shapes), jnp.array(mixing))
    rule = trapezoid(log_gammas, mode[None], whitening, args=args)
    assert rule.status is Status.CONVERGED
    exact = sum(math.lgamma(a) for a in shapes)
    # the tail beyond exp(-38) of the peak: 38 of its decay lengths in each of the dimensions
    assert abs(rule.log_integral - exact) < EXACT
    # E x = psi(a) in the coordinates before the map
    mean = np.exp(rule.log_weights - rule.log_integral) @ rule.nodes @ mixing
    np.testing.assert_allclose(mean, scipy.special.digamma(shapes), rtol=0, atol=10 * EXACT)


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_two_modes_far_apart(dim):
    far, width, log_height = np.full(dim, 60.0), 0.8, 1.0
    modes = np.stack([far, np.zeros(dim)])
    args = (jnp.array(far), width, log_height)
    rule = trapezoid(two_gaussians, modes, width * np.eye(dim), args=args)
    assert rule.status is Status.CONVERGED
    exact = log_integral_of_two(dim, width, log_height)
    assert abs(rule.log_integral - exact) < EXACT
    # a mode that is not given is not found
    alone = trapezoid(two_gaussians, modes[:1], width * np.eye(dim), args=args)
    only = log_height + dim * math.log(width) + dim / 2 * math.log(2 * math.pi)
    assert abs(alone.log_integral - only) < EXACT


@pytest.mark.parametrize("width", [20.0, 0.05])
def test_two_scales_at_one_mode(width):
    # a spike on a broad base: the lattice of one must resolve the other
    log_height = -math.log(width)
    args = (jnp.zeros(1), width, log_height)
    rule = trapezoid(two_gaussians, np.zeros((1, 1)), np.eye(1), args=args)
    assert rule.status is Status.CONVERGED
    assert abs(rule.log_integral - log_integral_of_two(1, width, log_height)) < EXACT


@pytest.mark.parametrize("tol", [1.0, 1e-2, 1e-4, 1e-8])
def test_change_bounds_the_error(tol):
    # six times too wide a whitening, so that each tolerance ends at another spacing
    args = (jnp.array([2.0]), jnp.eye(1))
    rule = trapezoid(log_gammas, np.full((1, 1), 0.9), np.full((1, 1), 6.0), args=args, tol=tol)
    assert rule.status is Status.CONVERGED
    assert rule.change <= tol
    # the integral of exp(2x - e^x) is one
    assert abs(rule.log_integral) <= rule.change + EXACT


def test_a_tighter_tolerance_takes_a_finer_lattice():
    args = (jnp.array([2.0]), jnp.eye(1))
    cells = [
        trapezoid(log_gammas, np.full((1, 1), 0.9), np.full((1, 1), 6.0), args=args, tol=tol).cell[
            0, 0
        ]
        for tol in (1e-1, 1e-10)
    ]
    ratio = cells[0] / cells[1]
    assert ratio >= 2
    assert math.log2(ratio) == round(math.log2(ratio))


def test_a_tolerance_below_rounding_refines_nothing():
    # a log-evidence of a million samples: one rounding of it is 1e-10, whatever the tolerance;
    # at spacing 0.4 the rule is exact for a normal, so that the first halving confirms it
    def far_down(points, offset):
        return offset - 0.5 * points[:, 0] ** 2

    for offset in -1e6 - 0.037 * np.arange(40):
        rule = trapezoid(far_down, np.zeros((1, 1)), np.eye(1), args=(offset,), tol=1e-13)
        assert rule.status is Status.CONVERGED
        assert rule.cell[0, 0] == 0.2
        exact = offset + 0.5 * math.log(2 * math.pi)
        assert abs(rule.log_integral - exact) <= 4 * np.spacing(1e6)


def test_nodes_lie_on_the_lattice():
    location, factor = np.array([1.0, 2.0]), random_factor(2, 5)
    rule = trapezoid(
        gaussian, location[None], factor, args=(jnp.array(location), jnp.array(factor))
    )
    steps = np.linalg.solve(rule.cell, (rule.nodes - location).T)
    assert np.abs(steps - np.rint(steps)).max() < 1e-9
    assert len(np.unique(np.rint(steps), axis=1).T) == len(rule.nodes)


def test_what_is_not_a_number_has_no_mass():
    # the logarithm of x is NaN left of zero; five derivatives of x^5 e^-x vanish there
    def gamma_density(points):
        return 5 * jnp.log(points[:, 0]) - points[:, 0]

    rule = trapezoid(gamma_density, np.array([[5.0]]), np.array([[math.sqrt(5)]]))
    assert rule.status is Status.CONVERGED
    assert abs(rule.log_integral - math.log(120)) < 1e-8
    assert rule.nodes.min() > 0


@pytest.mark.parametrize("max_nodes", [1, 1000])
def test_a_small_budget_is_reported(max_nodes):
    args = (jnp.zeros(2), jnp.eye(2))
    rule = trapezoid(gaussian, np.zeros((1, 2)), np.eye(2), args=args, max_nodes=max_nodes)
    assert rule.status is Status.TRUNCATED
    assert not rule.change <= 1e-9
    assert np.isfinite(rule.log_integral)


def test_an_accepted_tolerance_within_the_budget_converges():
    args = (jnp.zeros(2), jnp.eye(2))
    unlimited = trapezoid(gaussian, np.zeros((1, 2)), np.eye(2), args=args)
    assert unlimited.status is Status.CONVERGED
    budget = 2 * len(unlimited.nodes)
    rule = trapezoid(gaussian, np.zeros((1, 2)), np.eye(2), args=args, max_nodes=budget)
    assert rule.status is Status.CONVERGED
    np.testing.assert_array_equal(rule.log_weights, unlimited.log_weights)


@pytest.mark.parametrize("log_height", [math.log(2000.0), math.log(0.1)])
def test_a_mode_between_the_lattice_points_is_reported(log_height):
    # a thousandth as wide as the first one, and half a lattice step away from any point
    far = 10.03
    args = (jnp.full(1, far), 1e-3, log_height)
    rule = trapezoid(two_gaussians, np.array([[0.0], [far]]), np.eye(1), args=args)
    assert rule.status is Status.TRUNCATED
    # whitened at the narrow one, the same lattice resolves both
    rule = trapezoid(two_gaussians, np.array([[far], [0.0]]), np.full((1, 1), 1e-3), args=args)
    assert rule.status is Status.CONVERGED
    assert abs(rule.log_integral - log_integral_of_two(1, 1e-3, log_height)) < EXACT


def test_a_pole_is_reported():
    def with_a_pole(points):
        x = points[:, 0]
        return jnp.where(jnp.abs(x - 0.2) < 1e-9, jnp.inf, -0.5 * x**2)

    rule = trapezoid(with_a_pole, np.zeros((1, 1)), np.eye(1))
    assert rule.status is Status.NON_FINITE
    # the last lattice without the pole is kept: spacing 0.4
    assert rule.cell[0, 0] == pytest.approx(0.4)
    assert abs(rule.log_integral - 0.5 * math.log(2 * math.pi)) < EXACT


@pytest.mark.parametrize(
    ("modes", "whitening", "message"),
    [
        (np.zeros((1, 4)), np.eye(4), r"^modes: expected 1 to 3 dimensions, got 4"),
        (np.zeros((1, 2)), np.eye(3), r"^whitening: expected shape \(2, 2\), got \(3, 3\)"),
        (np.zeros((1, 2)), np.ones(2), r"^whitening: expected shape \(2, 2\), got \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(modes, whitening, message):
    with pytest.raises(ValueError, match=message):
        trapezoid(gaussian, modes, whitening, args=(jnp.zeros(2), jnp.eye(2)))


def test_a_density_without_mass_at_its_mode_is_refused():
    def nothing(points):
        return jnp.where(points[:, 0] > 1e6, 0.0, -jnp.inf)

    with pytest.raises(ValueError, match=r"^modes: expected a finite log-density at a mode"):
        trapezoid(nothing, np.zeros((1, 1)), np.eye(1))


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="trapezoid needs double"):
        trapezoid(gaussian, np.zeros((1, 1)), np.eye(1), args=(jnp.zeros(1), jnp.eye(1)))
