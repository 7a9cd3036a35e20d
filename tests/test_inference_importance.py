"""Modes, Student-t mixtures and importance sampling against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from suite_helpers import assert_z

from inference.importance import (
    Modes,
    StudentMixture,
    find_modes,
    importance_sample,
    laplace_mixture,
    mixture_log_prob,
    sample_mixture,
    weigh,
)
from inference.status import Status

DOF = 8  # of the Student-t proposals
SHAPES = (1.5, 4.0)

# two Gaussians twelve standard deviations apart: what one adds at the other's mode is exp(-60)
LOG_MASSES = np.array([0.4, 1.3])
LOCATIONS = np.array([[-5.0, 1.0], [6.0, 3.0]])
COVARIANCES = np.array([[[0.5, 0.2], [0.2, 1.0]], [[1.5, -0.3], [-0.3, 0.8]]])


def two_gaussians(x, log_masses, locations, precisions):
    """Two Gaussians of the given log-integrals."""
    offsets = x - locations
    quadratic = jnp.einsum("ki,kij,kj->k", offsets, precisions, offsets)
    log_norms = 0.5 * jnp.linalg.slogdet(precisions)[1] - x.size / 2 * math.log(2 * math.pi)
    return jax.scipy.special.logsumexp(log_masses + log_norms - 0.5 * quadratic)


TWO_GAUSSIANS = tuple(map(jnp.array, (LOG_MASSES, LOCATIONS, np.linalg.inv(COVARIANCES))))
CORNERS = np.array([[a, b] for a in (-8.0, -2.0, 4.0, 9.0) for b in (-1.0, 6.0)])


def log_gammas(x, shapes):
    """Skewed; the integral is the product of Gamma(a), the mode at log a has precision a."""
    return jnp.sum(shapes * x - jnp.exp(x))


def power_law(x, p, bound):
    return jnp.where(x[0] > bound, -p * jnp.log1p(x[0] ** 2), jnp.nan)


# a little narrower than the power law with p = 4.5, which has the same tails
NARROW = StudentMixture(jnp.zeros(1), jnp.zeros((1, 1)), jnp.full((1, 1, 1), 0.3))


# --- modes ---------------------------------------------------------------------------------------


def test_both_modes_are_found_once():
    modes = find_modes(two_gaussians, CORNERS, args=TWO_GAUSSIANS)
    log_norms = -0.5 * np.linalg.slogdet(2 * np.pi * COVARIANCES)[1]
    order = np.argsort(-(LOG_MASSES + log_norms))  # highest first
    # the gradient is below 1e-6, hence the point within 1e-6 standard deviations
    np.testing.assert_allclose(modes.points, LOCATIONS[order], rtol=0, atol=1e-5)
    np.testing.assert_allclose(modes.values, (LOG_MASSES + log_norms)[order], rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        modes.precisions, np.linalg.inv(COVARIANCES)[order], rtol=0, atol=1e-9
    )


def test_mode_of_a_skewed_density():
    modes = find_modes(log_gammas, np.zeros((3, 2)), args=(jnp.array(SHAPES),))
    np.testing.assert_allclose(modes.points, [np.log(SHAPES)], rtol=0, atol=1e-5)
    np.testing.assert_allclose(modes.precisions, [np.diag(SHAPES)], rtol=0, atol=1e-5)


def test_modes_without_mass_are_dropped():
    args = (jnp.array([0.4, 0.4 - 31.0]), *TWO_GAUSSIANS[1:])
    modes = find_modes(two_gaussians, CORNERS, args=args)
    np.testing.assert_allclose(modes.points, LOCATIONS[:1], rtol=0, atol=1e-5)


def test_a_flat_direction_keeps_a_least_precision():
    modes = find_modes(lambda x: -0.5 * (9 * x[0] ** 2 + 0.01 * x[1] ** 2), np.ones((1, 2)))
    np.testing.assert_allclose(modes.precisions, [np.diag([9.0, 0.2])], rtol=0, atol=1e-10)


def test_the_hessian_may_come_from_another_function():
    modes = find_modes(
        lambda x: -jnp.sum(x**2), np.ones((1, 2)), hessian_of=lambda x: -2 * jnp.sum(x**2)
    )
    np.testing.assert_allclose(modes.precisions, [4 * np.eye(2)], rtol=1e-12)


def test_starts_outside_of_the_support_are_skipped():
    starts = np.array([[-1.0], [2.0], [np.nan]])
    modes = find_modes(lambda x: 3 * jnp.log(x[0]) - x[0], starts)
    np.testing.assert_allclose(modes.points, [[3.0]], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match=r"^starts: expected a finite log-density"):
        find_modes(lambda x: 3 * jnp.log(x[0]) - x[0], starts[:1])


# --- the mixture ---------------------------------------------------------------------------------


def both_components():
    modes = find_modes(two_gaussians, CORNERS, args=TWO_GAUSSIANS)
    return laplace_mixture(modes), modes


def test_laplace_weights_are_the_masses_of_gaussians():
    mixture, modes = both_components()
    order = [int(np.argmin(np.linalg.norm(LOCATIONS - x, axis=1))) for x in modes.points]
    np.testing.assert_allclose(
        mixture.log_weights, scipy.special.log_softmax(LOG_MASSES)[order], rtol=0, atol=1e-8
    )
    np.testing.assert_array_equal(mixture.locations, modes.points)
    squares = mixture.scales @ jnp.swapaxes(mixture.scales, 1, 2)
    np.testing.assert_allclose(squares, COVARIANCES[order], rtol=0, atol=1e-8)


def test_density_of_the_mixture_against_scipy():
    mixture, _ = both_components()
    x = np.random.default_rng(0).normal(scale=6.0, size=(30, 2))
    each = [
        scipy.stats.multivariate_t(location, scale @ scale.T, df=DOF).logpdf(x)
        for location, scale in zip(np.asarray(mixture.locations), np.asarray(mixture.scales))
    ]
    expected = scipy.special.logsumexp(np.array(each).T + mixture.log_weights, axis=1)
    np.testing.assert_allclose(mixture_log_prob(mixture, jnp.asarray(x)), expected, rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2])
def test_density_of_the_mixture_is_normalised(dim):
    # x = sinh u makes the tails |x|^-(8 + dim) exponential: exp(-8 |u|), below 1e-13 outside of 6
    # with scales near one; analytic for |Im u| < 1: the trapezoid error is exp(-2 pi / 0.1)
    mixture = StudentMixture(
        jnp.log(jnp.array([0.3, 0.7])),
        jnp.array([[-0.5, 0.3], [1.0, 0.2]])[:, :dim],
        jnp.array([[[0.8, 0.0], [0.3, 1.2]], [[1.1, 0.0], [-0.5, 0.7]]])[:, :dim, :dim],
    )
    u = np.arange(-6.0, 6.0, 0.1)
    axis, log_jacobian = np.sinh(u), np.log(np.cosh(u) * 0.1)
    grid = np.stack(np.meshgrid(*[axis] * dim, indexing="ij"), axis=-1).reshape(-1, dim)
    weights = np.sum(np.meshgrid(*[log_jacobian] * dim, indexing="ij"), axis=0).ravel()
    log_density = np.asarray(mixture_log_prob(mixture, jnp.asarray(grid)))
    assert abs(scipy.special.logsumexp(log_density + weights)) < 1e-9


@pytest.mark.statistical
def test_samples_of_the_mixture_are_student(key):
    n = 20_000
    mixture, _ = both_components()
    draws = np.asarray(sample_mixture(key, mixture, n))
    assert draws.shape == (n, 2)
    # at 11 standard deviations a Student-t of 8 degrees has a tail of 1e-6: no draw is misplaced
    left = draws[:, 0] < 0.5
    share = scipy.special.softmax(LOG_MASSES)[0]
    assert_z(left.mean(), share, math.sqrt(share * (1 - share) / n))
    for chosen, location, covariance in zip((left, ~left), LOCATIONS, COVARIANCES):
        offset = draws[chosen] - location
        for i in (0, 1):
            marginal = offset[:, i] / math.sqrt(covariance[i, i])
            assert scipy.stats.kstest(marginal, scipy.stats.t(DOF).cdf).pvalue > 1e-3
        # one radius for both coordinates: the squared distance is 2 F(2, 8)
        squared = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        assert scipy.stats.kstest(squared / 2, scipy.stats.f(2, DOF).cdf).pvalue > 1e-3


# --- evidence ------------------------------------------------------------------------------------


@pytest.mark.statistical
def test_evidence_of_two_gaussians(key):
    mixture, _ = both_components()
    found = importance_sample(two_gaussians, mixture, key=key, n_draws=4000, args=TWO_GAUSSIANS)
    assert found.status is Status.CONVERGED
    exact = scipy.special.logsumexp(LOG_MASSES)
    assert_z(found.log_evidence, exact, found.log_evidence_error, ess=found.ess)
    assert found.log_evidence_error < 0.02
    # mass on the left, with the error of a ratio of weighted sums
    weights = np.exp(found.log_weights)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    left = np.asarray(found.draws)[:, 0] < 0.5
    share = weights @ left
    error = math.sqrt(np.sum(weights**2 * (left - share) ** 2))
    assert_z(share, scipy.special.softmax(LOG_MASSES)[0], error)


@pytest.mark.statistical
def test_evidence_and_its_error_are_calibrated():
    # a skewed target, 200 independent seeds: the z-scores are standard normal up to terms of
    # order 1 / sqrt(ESS)
    args = (jnp.array(SHAPES),)
    mixture = laplace_mixture(find_modes(log_gammas, np.zeros((1, 2)), args=args))
    exact, psi = sum(map(math.lgamma, SHAPES)), scipy.special.digamma(SHAPES)
    n_seeds, z, z_mean = 200, [], []
    for seed in range(n_seeds):
        found = importance_sample(
            log_gammas, mixture, key=jax.random.key(seed), n_draws=1000, args=args
        )
        assert found.status is Status.CONVERGED
        z.append((found.log_evidence - exact) / found.log_evidence_error)
        weights, draws = np.exp(found.log_weights), np.asarray(found.draws)
        mean = weights @ draws
        z_mean.append((mean - psi) / np.sqrt(weights**2 @ (draws - mean) ** 2))
    low, high = np.sqrt(scipy.stats.chi2(n_seeds).ppf([5e-5, 1 - 5e-5]) / n_seeds)
    for scores in (np.array(z), *np.array(z_mean).T):
        assert np.abs(scores).max() < 4.5
        assert low < np.sqrt(np.mean(scores**2)) < high
        assert abs(scores.mean()) * math.sqrt(n_seeds) < 4


@pytest.mark.statistical
def test_a_target_that_is_nan_outside_of_its_support(key):
    # NaN is no mass: half of the integral of (1 + x^2)^-p is left
    p = 4.5
    found = importance_sample(power_law, NARROW, key=key, n_draws=4000, args=(p, 0.0))
    assert found.status is Status.CONVERGED
    exact = math.lgamma(p - 0.5) - math.lgamma(p) + math.log(math.pi) / 2 - math.log(2)
    assert_z(found.log_evidence, exact, found.log_evidence_error, ess=found.ess)
    weights = np.exp(found.log_weights)
    assert np.all(weights[np.asarray(found.draws)[:, 0] <= 0] == 0)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_a_key_gives_one_result(key):
    mixture, _ = both_components()
    one, same, other = (
        importance_sample(two_gaussians, mixture, key=k, n_draws=4000, args=TWO_GAUSSIANS)
        for k in (key, key, jax.random.fold_in(key, 1))
    )
    assert one.log_evidence == same.log_evidence != other.log_evidence
    np.testing.assert_array_equal(one.draws, same.draws)


# --- the verdict ---------------------------------------------------------------------------------


@pytest.mark.statistical
def test_a_target_with_heavier_tails_is_reported(key):
    # Cauchy against a narrow Student-t of 8 degrees: the weights grow as |x|^7, tail index 7/8
    found = importance_sample(power_law, NARROW, key=key, n_draws=4000, args=(1.0, -np.inf))
    assert found.pareto_k > 0.7
    assert found.status is Status.UNRELIABLE_WEIGHTS


@pytest.mark.parametrize(
    ("k", "status"), [(0.5, Status.CONVERGED), (0.85, Status.UNRELIABLE_WEIGHTS)]
)
def test_the_tail_index_alone_decides_where_many_draws_count(k, status):
    # quantiles of the Pareto law P(w > t) = t^(-1/k); the fit to its 424 largest of 20 000 is
    # uncertain by (1 + k) / sqrt(424) if they are random, and quantiles scatter less
    n = 20_000
    found = weigh(np.zeros((n, 1)), -k * np.log((np.arange(n) + 0.5) / n))
    assert found.ess > 100
    assert abs(found.pareto_k - k) < 0.09
    assert found.status is status


@pytest.mark.statistical
def test_a_proposal_with_lighter_tails_is_reported():
    # normal draws for a normal target three times as wide: tail index 1 - 1/9
    draws = np.random.default_rng(1).normal(size=(20_000, 1))
    found = weigh(draws, 4 / 9 * draws[:, 0] ** 2 - math.log(3))
    assert found.pareto_k > 0.7
    assert found.status is Status.UNRELIABLE_WEIGHTS


def test_too_few_effective_draws_are_reported():
    found = weigh(np.zeros((99, 1)), np.zeros(99))
    assert found.ess == pytest.approx(99)
    assert found.status is Status.UNRELIABLE_WEIGHTS
    found = weigh(np.zeros((100, 1)), np.zeros(100))
    assert found.status is Status.CONVERGED


def test_one_draw_that_holds_everything_is_reported():
    ratios = np.zeros(1000)
    ratios[7] = 800.0
    found = weigh(np.zeros((1000, 1)), ratios)
    assert found.ess == pytest.approx(1.0)
    assert found.status is Status.UNRELIABLE_WEIGHTS
    assert found.log_evidence == pytest.approx(800 - math.log(1000))


def test_weights_in_closed_form():
    ratios = np.random.default_rng(2).normal(size=500)
    found = weigh(np.zeros((500, 1)), ratios + 1000.0)  # beyond the range of exp
    weights = np.exp(ratios)
    assert found.log_evidence == pytest.approx(1000 + math.log(weights.mean()), abs=1e-12)
    standard_error = weights.std(ddof=1) / math.sqrt(500) / weights.mean()
    assert found.log_evidence_error == pytest.approx(standard_error, rel=1e-10)
    assert found.ess == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)
    np.testing.assert_allclose(np.exp(found.log_weights), weights / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("nothing", [np.nan, -np.inf])
def test_draws_without_mass_only_count(nothing):
    ratios = np.random.default_rng(3).normal(size=600)
    ratios[::3] = nothing
    found = weigh(np.zeros((600, 1)), ratios)
    weights = np.exp(np.where(np.isfinite(ratios), ratios, -np.inf))
    assert found.status is Status.CONVERGED
    assert found.log_evidence == pytest.approx(math.log(weights.mean()), abs=1e-12)
    assert found.log_evidence_error == pytest.approx(
        weights.std(ddof=1) / math.sqrt(600) / weights.mean(), rel=1e-10
    )
    assert np.all(np.asarray(found.log_weights)[::3] == -np.inf)


@pytest.mark.parametrize("bad", [-np.inf, np.nan, np.inf])
def test_weights_that_sum_to_nothing_are_reported(bad):
    ratios = np.zeros(200) if bad == np.inf else np.full(200, bad)
    ratios[3] = bad
    found = weigh(np.zeros((200, 1)), ratios)
    assert found.status is Status.NON_FINITE
    assert np.isnan(found.log_evidence)
    assert found.log_evidence_error == np.inf
    assert found.ess == 0
    assert np.exp(found.log_weights).sum() == pytest.approx(1.0)


def test_modes_are_a_plain_tuple():
    # built by hand: one mode, Laplace mass irrelevant for a single one
    modes = Modes(np.zeros((1, 2)), np.array([-123.0]), np.diag([4.0, 1.0])[None])
    mixture = laplace_mixture(modes)
    assert float(mixture.log_weights[0]) == 0.0
    np.testing.assert_allclose(mixture.scales, [np.diag([0.5, 1.0])], rtol=1e-14)
