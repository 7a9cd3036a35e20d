"""Free coordinates of the mixing matrix: density, samples and matrices against chi and normal."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

from models.deep_linear import Architecture
from models.deep_linear.coordinates import (
    MixingCoordinates,
    layout,
    mixing_factor,
    mixing_matrix,
)

EPS = np.finfo(float).eps
N_DRAWS = 20_000


def eigenvalues_and_entries(q):
    """What is compared of two laws: largest eigenvalue, trace, and an entry off the diagonal."""
    largest = np.linalg.eigvalsh(q)[:, -1]
    return largest, np.trace(q, axis1=1, axis2=2), q[:, 0, -1]


def products_of_gaussians(rng, architecture):
    """The mixing matrix of networks: ``A A^T`` with ``A = W_L ... W_1``, scaled, in NumPy."""
    product = np.broadcast_to(
        np.eye(architecture.n_outputs), (N_DRAWS, *[architecture.n_outputs] * 2)
    )
    for width, precision in zip(architecture.widths[::-1], architecture.precisions[:0:-1]):
        weights = rng.normal(size=(N_DRAWS, product.shape[2], width))
        product = np.einsum("nij,njk->nik", product, weights) / math.sqrt(width * precision)
    return np.einsum("nik,njk->nij", product, product)


# --- density -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "n_outputs", "size"),
    [((1,), 1, 1), ((2,), 1, 1), ((10**6,), 1, 1), ((5, 1), 1, 2), ((3,), 2, 3), ((1,), 2, 2)],
)
def test_density_is_normalised(widths, n_outputs, size):
    # Tails: exp(sqrt(k/2) e) to the left, doubly exponential or Gaussian elsewhere: exp(-37) is
    # left out. The error of the trapezoid rule is twice the characteristic function at 2 pi over
    # the spacing: 2 |Gamma(k/2 + 22i)| / Gamma(k/2) and 2 exp(-2 pi^2 / 0.36), both below 1e-11.
    architecture = Architecture(widths, n_outputs=n_outputs)
    degrees = layout(architecture).degrees
    assert degrees.size == size
    spacing = np.minimum(0.6, np.where(degrees > 0, math.pi / 22 * np.sqrt(2 * degrees), 0.6))
    axes = [
        np.arange(-37 * math.sqrt(2 / k) - 9 if k else -9, 9, h) for k, h in zip(degrees, spacing)
    ]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, size)
    log_density = MixingCoordinates(architecture).log_prob(grid)
    assert abs(scipy.special.logsumexp(log_density) + np.log(spacing).sum()) < 1e-10


@pytest.mark.parametrize("dof", [1, 2, 3, 7, 15, 16, 17, 100, 10**6])
def test_density_is_that_of_a_chi_variable(dof):
    # c = sqrt(k) exp(e / sqrt(2k)), hence p(e) = p(c) c / sqrt(2k); 40 digits
    e = np.array([-8.0, -3.0, -0.5, 0.0, 1.0, 3.0])
    got = MixingCoordinates(Architecture((dof,))).log_prob(jnp.asarray(e)[:, None])
    with mpmath.workdps(40):
        k = mpmath.mpf(dof)
        for point, value in zip(e, np.asarray(got)):
            c = mpmath.sqrt(k) * mpmath.exp(mpmath.mpf(float(point)) / mpmath.sqrt(2 * k))
            log_chi = (1 - k / 2) * mpmath.log(2) - mpmath.loggamma(k / 2)
            log_chi += (k - 1) * mpmath.log(c) - c**2 / 2
            exact = float(log_chi + mpmath.log(c) - mpmath.log(2 * k) / 2)
            # terms of the size of log Gamma(8), and a difference of two of 2 delta, times k / 2
            limit = 4 * EPS * (8 + abs(exact) + dof * abs(point) / math.sqrt(2 * dof))
            assert abs(value - exact) < limit


def test_density_of_several_coordinates_is_a_product():
    # one layer of 5 units under 2 outputs: chi_5 and chi_4 on the diagonal, one normal; below it
    # the same of 3 units
    architecture = Architecture((3, 5), n_outputs=2)
    x = np.random.default_rng(3).normal(size=(7, 6))
    expected = np.zeros(7)
    for column, dof in zip((0, 1, 3, 4), (5, 4, 3, 2)):
        c = math.sqrt(dof) * np.exp(x[:, column] / math.sqrt(2 * dof))
        expected += scipy.stats.chi.logpdf(c, dof) + np.log(c / math.sqrt(2 * dof))
    expected += scipy.stats.norm.logpdf(x[:, [2, 5]]).sum(axis=1)
    law = MixingCoordinates(architecture)
    assert law.event_shape == (6,)
    np.testing.assert_allclose(law.log_prob(jnp.asarray(x)), expected, rtol=1e-13)
    np.testing.assert_allclose(jax.jit(law.log_prob)(x[0]), expected[0], rtol=1e-13)


def test_gradient_is_that_of_the_chi_variable():
    # d/de log p = sqrt(k/2) (1 - exp(2 delta)) with delta = e / sqrt(2k)
    e = jnp.linspace(-6.0, 3.0, 10)
    law = MixingCoordinates(Architecture((5,)))
    slope = jax.vmap(jax.grad(law.log_prob))(e[:, None])[:, 0]
    exact = math.sqrt(5 / 2) * (1 - np.exp(2 * np.asarray(e) / math.sqrt(10)))
    np.testing.assert_allclose(slope, exact, rtol=1e-13, atol=1e-13)


def test_layout_without_hidden_layers_is_empty(key):
    architecture = Architecture((), n_outputs=3)
    law = MixingCoordinates(architecture)
    assert law.event_shape == (0,)
    draws = law.sample(key, (4,))
    np.testing.assert_array_equal(law.log_prob(draws), np.zeros(4))
    np.testing.assert_array_equal(
        mixing_matrix(draws, architecture), np.broadcast_to(np.eye(3), (4, 3, 3))
    )


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("width", [2, 10**6])
def test_samples_are_chi_and_normal(key, width):
    # a layer of `width` units under two outputs: chi_N, chi_{N-1} and a normal, independent
    x = np.asarray(MixingCoordinates(Architecture((width,), n_outputs=2)).sample(key, (N_DRAWS,)))
    assert x.shape == (N_DRAWS, 3)
    for column, dof in ((0, width), (1, width - 1)):
        c = math.sqrt(dof) * np.exp(x[:, column] / math.sqrt(2 * dof))
        assert scipy.stats.kstest(c, scipy.stats.chi(dof).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(x[:, 2], scipy.stats.norm.cdf).pvalue > 1e-3
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert scipy.stats.spearmanr(x[:, one], x[:, other]).pvalue > 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize(("widths", "n_outputs"), [((4, 3), 2), ((2,), 3), ((5, 2, 4), 3)])
def test_matrices_have_the_law_of_products_of_weights(key, widths, n_outputs):
    architecture = Architecture(widths, n_outputs=n_outputs, precisions=(3.0, *[0.8] * len(widths)))
    x = MixingCoordinates(architecture).sample(key, (N_DRAWS,))
    q = np.asarray(mixing_matrix(x, architecture))
    reference = products_of_gaussians(np.random.default_rng(5), architecture)
    for ours, theirs in zip(eigenvalues_and_entries(q), eigenvalues_and_entries(reference)):
        assert scipy.stats.ks_2samp(ours, theirs, method="asymp").pvalue > 1e-3


@pytest.mark.statistical
def test_the_law_is_orthogonally_invariant(key):
    architecture = Architecture((4, 3), n_outputs=2)
    q = np.asarray(
        mixing_matrix(MixingCoordinates(architecture).sample(key, (N_DRAWS,)), architecture)
    )
    angle = 0.6
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    rotated = rotation @ q[: N_DRAWS // 2] @ rotation.T
    for i, j in ((0, 0), (0, 1), (1, 1)):
        found = scipy.stats.ks_2samp(rotated[:, i, j], q[N_DRAWS // 2 :, i, j], method="asymp")
        assert found.pvalue > 1e-3


@pytest.mark.statistical
def test_the_order_of_layers_does_not_change_the_law(key):
    values = []
    for i, widths in enumerate([(3, 9), (9, 3)]):
        architecture = Architecture(widths, n_outputs=2)
        x = MixingCoordinates(architecture).sample(jax.random.fold_in(key, i), (N_DRAWS,))
        values.append(np.linalg.eigvalsh(mixing_matrix(x, architecture)))
    for one, other in zip(values[0].T, values[1].T):
        assert scipy.stats.ks_2samp(one, other, method="asymp").pvalue > 1e-3


# --- matrices ------------------------------------------------------------------------------------


def chi(e, dof):
    return math.sqrt(dof) * math.exp(e / math.sqrt(2 * dof))


def test_one_output_multiplies_scalars():
    architecture = Architecture((3, 8), precisions=(7.0, 0.5, 2.0))
    top, bottom = 0.3, -1.1
    expected = chi(top, 8) ** 2 / (8 * 2.0) * chi(bottom, 3) ** 2 / (3 * 0.5)
    q = mixing_matrix(jnp.array([top, bottom]), architecture)
    assert q.shape == (1, 1)
    assert float(q[0, 0]) == pytest.approx(expected, rel=1e-14)


def test_matrix_is_the_product_of_bartlett_factors():
    # from the top layer down, diagonal entries first
    architecture = Architecture((3, 8), n_outputs=2, precisions=(7.0, 0.5, 2.0))
    x = [0.3, -1.1, 0.7, 0.2, 0.5, -0.4]
    top = np.array([[chi(x[0], 8), 0.0], [x[2], chi(x[1], 7)]]) / math.sqrt(8 * 2.0)
    bottom = np.array([[chi(x[3], 3), 0.0], [x[5], chi(x[4], 2)]]) / math.sqrt(3 * 0.5)
    factor = top @ bottom
    np.testing.assert_allclose(mixing_factor(jnp.array(x), architecture), factor, rtol=1e-14)
    np.testing.assert_allclose(
        mixing_matrix(jnp.array(x), architecture), factor @ factor.T, rtol=1e-14
    )


def test_matrix_of_three_outputs():
    architecture = Architecture((6,), n_outputs=3)
    x = [0.3, -1.1, 0.7, 0.2, 0.5, -0.4]
    factor = np.diag([chi(x[0], 6), chi(x[1], 5), chi(x[2], 4)])
    factor[1, 0], factor[2, 0], factor[2, 1] = x[3:]
    q = mixing_matrix(jnp.array(x), architecture)
    np.testing.assert_allclose(q, factor @ factor.T / 6, rtol=1e-14)


def test_a_narrow_layer_gives_a_trapezoid():
    # two units under three outputs: two columns; the layer below has two rows only
    architecture = Architecture((5, 2), n_outputs=3)
    x = [0.3, -1.1, 0.7, 0.2, 0.5, 0.1, -0.6, 0.9]
    top = np.array([[chi(x[0], 2), 0.0], [x[2], chi(x[1], 1)], [x[3], x[4]]]) / math.sqrt(2)
    bottom = np.array([[chi(x[5], 5), 0.0], [x[7], chi(x[6], 4)]]) / math.sqrt(5)
    factor = mixing_factor(jnp.array(x), architecture)
    assert factor.shape == (3, 2)
    np.testing.assert_allclose(factor, top @ bottom, rtol=1e-13)


@pytest.mark.parametrize(
    ("widths", "rank"), [((2,), 2), ((5, 2, 4), 2), ((1, 9), 1), ((9, 1), 1), ((3, 7), 3)]
)
def test_rank_is_the_smallest_width(widths, rank):
    architecture = Architecture(widths, n_outputs=3)
    x = np.random.default_rng(6).normal(size=(20, layout(architecture).size))
    values = np.linalg.eigvalsh(mixing_matrix(x, architecture))[:, ::-1]
    # forming A A^T rounds to EPS of the largest eigenvalue
    assert np.abs(values[:, rank:] / values[:, :1]).max(initial=0) < 100 * EPS
    assert (values[:, :rank] / values[:, :1]).min() > 1e-6


def test_matrices_batch(key):
    architecture = Architecture((4, 3), n_outputs=2)
    x = jax.random.normal(key, (2, 5, 6))
    batch = jax.jit(mixing_matrix, static_argnums=1)(x, architecture)
    assert batch.shape == (2, 5, 2, 2)
    each = jax.jit(jax.vmap(jax.vmap(lambda row: mixing_matrix(row, architecture))))(x)
    np.testing.assert_allclose(each, batch, rtol=1e-13)
