"""The laws of function values and mixing matrices against networks of plain NumPy and SciPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import scipy.special
import scipy.stats
from numpyro import distributions as dist
from numpyro.infer import MCMC, NUTS, Predictive
from suite_helpers import assert_z

from inference.gaussian_mixture import GaussianScaleMixture
from inference.interop import diagnostics
from models.deep_linear import Architecture, mixing_prior, prior

KERNEL = np.array([[1.0, 0.4, 0.2], [0.4, 0.8, -0.1], [0.2, -0.1, 1.2]])
INPUTS = np.random.default_rng(7).normal(size=(3, 4))
N_DRAWS = 20_000  # of everything, so that equal shapes share their compiled programs


def kernel_of(inputs, architecture):
    return inputs @ inputs.T / (architecture.precisions[0] * inputs.shape[1])


def network_outputs(rng, n, inputs, architecture):
    """Outputs ``(n, inputs, D)`` of ``n`` networks: Gaussian weights, matrix products, no more."""
    hidden = np.broadcast_to(inputs.T, (n, *inputs.T.shape))
    for precision, rows in zip(
        architecture.precisions, (*architecture.widths, architecture.n_outputs)
    ):
        fan_in = hidden.shape[1]
        weights = rng.normal(scale=precision**-0.5, size=(n, rows, fan_in))
        hidden = np.einsum("nij,njk->nik", weights, hidden) / math.sqrt(fan_in)
    return hidden.transpose(0, 2, 1)


# --- function values against weight space --------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("n_outputs", "widths", "precisions"),
    [
        (1, (3,), 1.0),
        (1, (4, 2), (0.7, 1.3, 2.0)),
        (2, (5,), (1.5, 0.6)),
        (2, (4, 3), 1.0),
        (3, (2,), 1.0),
        (3, (5, 2, 4), (0.5, 2.0, 0.8, 1.2)),
        (2, (3, 9), 1.0),
    ],
)
def test_prior_is_the_law_of_the_network(key, n_outputs, widths, precisions):
    network = Architecture(widths, n_outputs=n_outputs, precisions=precisions)
    law = prior(kernel_of(INPUTS, network), network)
    drawn = np.asarray(law.sample(key, (N_DRAWS,)))
    forward = network_outputs(np.random.default_rng(11), N_DRAWS, INPUTS, network)
    assert drawn.shape == (N_DRAWS, 3, n_outputs)
    for statistic in (
        lambda s: s[:, 0, 0],
        lambda s: s[:, 0, 0] * s[:, 1, -1],
        lambda s: (s**2).sum(axis=(1, 2)),
        lambda s: s.max(axis=(1, 2)),
    ):
        found = scipy.stats.ks_2samp(statistic(drawn), statistic(forward), method="asymp")
        assert found.pvalue > 1e-3


@pytest.mark.statistical
@pytest.mark.parametrize(("widths", "kurtosis"), [((3,), 5.0), ((4, 2), 9.0)])
def test_kurtosis_is_that_of_the_network(widths, kurtosis):
    network = Architecture(widths, precisions=2.0)
    law = prior(kernel_of(INPUTS, network), network)
    assert law.kurtosis.shape == law.event_shape == (3, 1)
    np.testing.assert_allclose(law.kurtosis, kurtosis, rtol=1e-14)
    n = 400_000
    values = network_outputs(np.random.default_rng(12), n, INPUTS[:1], network)[:, 0, 0]
    fourth = (values / math.sqrt(float(law.variance[0, 0]))) ** 4
    # exact: E s^8 = 105 E q^4, and E g^4 = prod_j (1 + 2j/N) for each layer
    eighth = 105 * math.prod(1 + 2 * j / width for width in widths for j in range(4))
    assert_z(fourth.mean(), law.kurtosis[0, 0], math.sqrt((eighth - kurtosis**2) / n))


@pytest.mark.statistical
def test_characteristic_function_is_that_of_the_network():
    network = Architecture((5,), n_outputs=2, precisions=(0.8, 1.7))
    law = prior(kernel_of(INPUTS, network), network)
    rng = np.random.default_rng(13)
    values = network_outputs(rng, 100_000, INPUTS, network)
    for frequency in rng.normal(scale=0.8, size=(5, 3, 2)):
        wave = np.cos(np.einsum("nij,ij->n", values, frequency))
        assert_z(
            wave.mean(),
            law.characteristic_function(frequency),
            wave.std() / math.sqrt(wave.size),
        )


def test_characteristic_function_of_one_output_is_a_gamma_transform():
    # E exp(-q c / 2) of a Gamma of shape N/2 and rate N lambda/2, with c = t^T K t
    law = prior(KERNEL, Architecture((5,), precisions=(1.0, 2.0)))
    frequency = np.array([0.3, -1.2, 2.0])
    expected = (1 + frequency @ KERNEL @ frequency / (5 * 2.0)) ** (-5 / 2)
    got = law.characteristic_function(frequency[:, None])
    assert float(got) == pytest.approx(expected, rel=1e-13)


def test_characteristic_function_without_hidden_layers_is_gaussian():
    law = prior(KERNEL, Architecture((), n_outputs=2))
    frequency = np.array([[0.3, 0.1], [-1.2, 0.4], [0.5, 0.7]])
    exponent = sum(column @ KERNEL @ column for column in frequency.T)
    got = law.characteristic_function(frequency)
    assert float(got) == pytest.approx(math.exp(-exponent / 2), rel=1e-13)


def test_what_the_characteristic_function_cannot_do():
    with pytest.raises(NotImplementedError, match=r"one hidden layer only; average.*mixing_prior"):
        prior(KERNEL, Architecture((4, 3))).characteristic_function(np.ones((3, 1)))
    with pytest.raises(ValueError, match=r"^t: expected shape \(3, 2\), got \(2, 3\)"):
        prior(KERNEL, Architecture((4,), n_outputs=2)).characteristic_function(np.ones((2, 3)))


def test_variance_and_shapes():
    network = Architecture((4, 3), n_outputs=2, precisions=(9.0, 0.5, 8.0))
    law = prior(KERNEL, network)
    assert law.architecture == network
    assert law.event_shape == law.mean.shape == (3, 2)
    assert law.batch_shape == ()
    np.testing.assert_array_equal(law.mean, 0.0)
    np.testing.assert_allclose(law.variance, np.diag(KERNEL)[:, None] * [0.25, 0.25], rtol=1e-14)


def test_rows_of_a_singular_kernel_are_dependent(key):
    inputs = np.random.default_rng(0).normal(size=(4, 2))
    law = prior(inputs @ inputs.T, Architecture((3,), n_outputs=2))
    values = law.sample(key, (N_DRAWS,))
    outside = np.linalg.qr(inputs, mode="complete")[0][:, 2:]
    # the root of an eigenvalue of the size of rounding is 1e-8
    assert np.abs(np.einsum("ij,nik->njk", outside, values)).max() < 1e-6


# --- density of the function values --------------------------------------------------------------


def test_density_against_the_bessel_form():
    # one layer, N = 3, P = 2: p(s) = 2 b^a / (Gamma(a) 2 pi |K|^(1/2)) (rho/2b)^(nu/2) K_nu
    kernel, values = np.array([[1.0, 0.4], [0.4, 0.8]]), np.array([0.5, -0.2])
    a = b = 3 / 2
    nu, rho = a - 1, values @ np.linalg.solve(kernel, values)
    bessel = scipy.special.kv(nu, math.sqrt(2 * b * rho))
    density = 2 * b**a / (math.gamma(a) * 2 * math.pi * math.sqrt(np.linalg.det(kernel)))
    density *= (rho / (2 * b)) ** (nu / 2) * bessel
    got = prior(kernel, Architecture((3,))).log_prob(values[:, None])
    assert float(got) == pytest.approx(math.log(density), abs=1e-12)
    assert round(float(got), 6) == -1.740866  # what the documentation shows


def test_density_without_hidden_layers_is_gaussian():
    values = np.array([0.7, -0.3, 1.1])
    got = prior(KERNEL, Architecture(())).log_prob(values[:, None])
    exact = scipy.stats.multivariate_normal.logpdf(values, cov=KERNEL)
    assert float(got) == pytest.approx(exact, abs=1e-12)


def test_density_diverges_at_the_origin_of_a_narrow_network():
    origin = np.zeros((3, 1))
    assert prior(KERNEL, Architecture((3,))).log_prob(origin) == np.inf
    assert np.isfinite(prior(KERNEL, Architecture((4,))).log_prob(origin))


def test_density_compiles_batches_and_travels():
    law = prior(KERNEL, Architecture((5,)))
    values = np.random.default_rng(1).normal(size=(6, 3, 1))
    eager = law.log_prob(values)
    assert eager.shape == (6,)
    # the law itself is an argument: a pytree
    compiled = jax.jit(lambda law, values: jax.vmap(law.log_prob)(values))
    np.testing.assert_allclose(compiled(law, values), eager, rtol=1e-13)


@pytest.mark.parametrize("n_outputs", [2, 3])
def test_no_density_of_several_outputs(n_outputs):
    law = prior(KERNEL, Architecture((5,), n_outputs=n_outputs))
    with pytest.raises(NotImplementedError, match="no closed density; sample the scale"):
        law.log_prob(np.ones((3, n_outputs)))


def gram_of_rank_five(seed):
    inputs = np.random.default_rng(seed).normal(size=(6, 5))
    return inputs @ inputs.T


@pytest.mark.parametrize(
    "kernel", [np.diag([1.0, 0.5, 1e-15]), np.ones((2, 2)), *map(gram_of_rank_five, range(3))]
)
def test_no_density_on_a_singular_kernel(kernel):
    # its zero eigenvalue is rounding of either sign; that must not depend on luck
    network, values = Architecture((9,)), np.ones((len(kernel), 1))
    law = prior(kernel, network)
    compiled = jax.jit(lambda values: prior(kernel, network).log_prob(values))
    for log_prob in (law.log_prob, jax.jit(law.log_prob), compiled):
        with pytest.raises(ValueError, match=r"^kernel: expected full rank.*singular kernel"):
            log_prob(values)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], "symmetric"),
        ([[1.0, 0.5, 0.1], [0.5, 1.0, 0.2]], r"square matrix, got shape \(2, 3\)"),
        ([[1.0, 2.0], [2.0, 1.0]], r"positive semi-definite matrix, got the eigenvalue -1"),
        ([[1.0, np.nan], [np.nan, 1.0]], r"finite numbers, got nan at index \(0, 1\)"),
        ([1.0, 2.0], r"2-dimensional array, got shape \(2,\)"),
    ],
)
def test_other_kernels_are_refused(kernel, message):
    with pytest.raises(ValueError, match=rf"^kernel: .*{message}"):
        prior(kernel, Architecture((3,)))


def test_rounding_of_a_kernel_is_accepted():
    kernel = KERNEL.copy()
    kernel[0, 1] += 1e-9
    values = np.ones((3, 1))
    expected = prior(KERNEL, Architecture((5,))).log_prob(values)
    got = prior(kernel, Architecture((5,))).log_prob(values)
    assert float(got) == pytest.approx(float(expected), abs=1e-8)


# --- in NumPyro ----------------------------------------------------------------------------------


@pytest.mark.statistical
def test_function_values_are_a_sample_site(key):
    # vectorised over keys; the second moment of the values is E Q (x) K
    network = Architecture((6,), n_outputs=2)

    def model():
        values = numpyro.sample("values", prior(KERNEL, network))
        numpyro.sample("target", dist.Normal(values, 0.5).to_event(2))

    draws = Predictive(model, num_samples=N_DRAWS, parallel=True)(key)
    assert draws["values"].shape == draws["target"].shape == (N_DRAWS, 3, 2)
    flat = np.asarray(draws["values"]).reshape(-1, 6)
    products = np.einsum("ni,nj->nij", flat, flat)
    assert_z(
        products.mean(axis=0),
        np.kron(KERNEL, np.eye(2)),
        products.std(axis=0) / math.sqrt(N_DRAWS),
    )


@pytest.mark.statistical
def test_nuts_samples_the_prior(key):
    # wider than the inputs are many, so that the density is bounded
    def model():
        numpyro.sample("values", prior(KERNEL, Architecture((8,))))

    chain = MCMC(NUTS(model), num_warmup=300, num_samples=1200, progress_bar=False)
    chain.run(key)
    squares = np.asarray(chain.get_samples()["values"])[..., 0] ** 2
    found = diagnostics(squares[None])
    assert_z(found.mean, np.diag(KERNEL), found.mcse, ess=found.ess)


# --- the mixing matrix ---------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("n_outputs", "widths", "precisions"),
    [(2, (4, 3), (9.0, 0.5, 1.6)), (1, (3,), (1.0, 2.0)), (3, (2,), 1.0)],
)
def test_mixing_moments_of_samples(key, n_outputs, widths, precisions):
    law = mixing_prior(Architecture(widths, n_outputs=n_outputs, precisions=precisions))
    draws = np.asarray(law.sample(key, (N_DRAWS,)))
    assert draws.shape == (N_DRAWS, n_outputs, n_outputs)
    assert law.event_shape == law.mean.shape == law.variance.shape == (n_outputs, n_outputs)
    np.testing.assert_array_equal(draws, draws.transpose(0, 2, 1))
    assert_z(draws.mean(axis=0), law.mean, draws.std(axis=0) / math.sqrt(N_DRAWS))
    squares = (draws - np.asarray(law.mean)) ** 2
    assert_z(squares.mean(axis=0), law.variance, squares.std(axis=0) / math.sqrt(N_DRAWS))


def test_mixing_variance_in_closed_form():
    # E Q_11^2 = (1 + 2/4)(1 + 2/3) = 5/2, and E Q_12^2 = 2/3 for widths (4, 3)
    law = mixing_prior(Architecture((4, 3), n_outputs=2))
    np.testing.assert_allclose(law.variance, [[3 / 2, 2 / 3], [2 / 3, 3 / 2]], rtol=1e-14)


def test_mixing_density_of_one_layer_is_a_scaled_chi_square():
    q = np.array([1e-6, 0.02, 0.5, 1.0, 4.0, 30.0])
    law = mixing_prior(Architecture((5,), precisions=(3.0, 2.0)))
    expected = scipy.stats.chi2.logpdf(q, 5, scale=1 / (5 * 2.0))
    np.testing.assert_allclose(law.log_prob(q[:, None, None]), expected, rtol=1e-12)


def test_mixing_density_of_two_layers_is_normalised():
    # the density of q itself; trapezoid rule in x = log q, as in the tests of the theory
    spacing = 0.15
    x = np.arange(-30.0, 8.0, spacing)
    law = mixing_prior(Architecture((4, 3), precisions=(1.0, 0.5, 1.5)))
    log_density = law.log_prob(np.exp(x)[:, None, None])
    assert abs(scipy.special.logsumexp(log_density + x) + math.log(spacing)) < 1e-10


def test_mixing_densities_that_are_not_there():
    with pytest.raises(NotImplementedError, match="sample MixingCoordinates"):
        mixing_prior(Architecture((5,), n_outputs=2)).log_prob(np.eye(2))
    with pytest.raises(ValueError, match="without hidden layers q = 1"):
        mixing_prior(Architecture(())).log_prob(np.ones((1, 1)))


def test_mixing_matrix_without_hidden_layers_is_the_identity(key):
    law = mixing_prior(Architecture((), n_outputs=3))
    np.testing.assert_array_equal(law.sample(key, (2,)), np.broadcast_to(np.eye(3), (2, 3, 3)))
    np.testing.assert_array_equal(law.mean, np.eye(3))
    np.testing.assert_array_equal(law.variance, np.zeros((3, 3)))


# --- scale mixtures in general -------------------------------------------------------------------


class InverseGammaScale(dist.InverseGamma):
    """The scale that makes a Gaussian a Student-t."""

    def log_gaussian_average(self, rho, n):
        a, b = self.concentration, self.rate
        log_gammas = scipy.special.gammaln(a + n / 2) - scipy.special.gammaln(a)
        return (
            a * math.log(b)
            + log_gammas
            - n / 2 * math.log(2 * math.pi)
            - (a + n / 2) * jnp.log(b + rho / 2)
        )


def test_an_inverse_gamma_scale_gives_a_student_t():
    a, b = 5.0, 2.0
    law = GaussianScaleMixture(InverseGammaScale(a, b), KERNEL)
    assert law.event_shape == (3,)
    values = np.random.default_rng(2).normal(size=(20, 3))
    exact = scipy.stats.multivariate_t(shape=KERNEL * b / a, df=2 * a)
    np.testing.assert_allclose(law.log_prob(values), exact.logpdf(values), rtol=1e-12)
    assert law.log_prob(values[0]).shape == ()


@pytest.mark.statistical
def test_samples_of_a_scalar_mixture(key):
    a, b = 5.0, 2.0
    law = GaussianScaleMixture(InverseGammaScale(a, b), KERNEL)
    draws = np.asarray(law.sample(key, (N_DRAWS,)))
    assert draws.shape == (N_DRAWS, 3)
    covariance = KERNEL * b / (a - 1)
    products = np.einsum("ni,nj->nij", draws, draws)
    assert_z(products.mean(axis=0), covariance, products.std(axis=0) / math.sqrt(N_DRAWS))
    np.testing.assert_allclose(law.variance, np.diag(covariance), rtol=1e-14)
    np.testing.assert_array_equal(law.mean, np.zeros(3))
    # one scale for all entries: a projection is a Student-t, not a sum of independent ones
    direction = np.array([1.0, -2.0, 0.5])
    scale = math.sqrt(direction @ KERNEL @ direction * b / a)
    found = scipy.stats.kstest(draws @ direction, scipy.stats.t(df=2 * a, scale=scale).cdf)
    assert found.pvalue > 1e-3


@pytest.mark.statistical
def test_samples_of_a_matrix_mixture(key):
    # a scale that is not isotropic, and a constant: the values are Gaussian
    scale = np.array([[0.5, 0.2], [0.2, 0.3]])
    law = GaussianScaleMixture(dist.Delta(scale, event_dim=2), KERNEL)
    assert law.event_shape == (3, 2)
    draws = np.asarray(law.sample(key, (N_DRAWS,))).reshape(N_DRAWS, 6)
    products = np.einsum("ni,nj->nij", draws, draws)
    expected = np.kron(KERNEL, scale)
    assert_z(products.mean(axis=0), expected, products.std(axis=0) / math.sqrt(N_DRAWS))
    np.testing.assert_allclose(np.ravel(law.variance), np.diag(expected), rtol=1e-12)


@pytest.mark.parametrize("mixing", [dist.Gamma(2.0, 2.0), dist.Delta(np.eye(2), event_dim=2)])
def test_a_mixture_without_an_average_has_no_density(mixing):
    law = GaussianScaleMixture(mixing, KERNEL)
    with pytest.raises(NotImplementedError, match="condition on it"):
        law.log_prob(np.ones(law.event_shape))


@pytest.mark.parametrize("shape", [(2,), (2, 3), (2, 2, 2)])
def test_a_scale_that_is_no_square_matrix_is_refused(shape):
    mixing = dist.HalfNormal(1.0).expand(shape).to_event(len(shape))
    with pytest.raises(ValueError, match=r"^mixing: expected event shape \(\) or \(D, D\)"):
        GaussianScaleMixture(mixing, KERNEL)


def test_no_density_where_a_layer_is_narrower_than_the_outputs():
    architecture = Architecture((4, 2), n_outputs=3)
    message = r"architecture: expected widths of at least 3 .* got \(4, 2\): .* singular Wishart"
    with pytest.raises(ValueError, match=message):
        prior(np.eye(2), architecture).log_prob(jnp.zeros((2, 3)))
    with pytest.raises(ValueError, match=message):
        mixing_prior(architecture).log_prob(jnp.eye(3))
