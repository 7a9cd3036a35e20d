"""Convolutional networks: sampled weights, dense formulas and reference numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
import pytest
import scipy.stats
from numpyro.handlers import seed
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import log_density as log_density_of_model
from suite_helpers import assert_z

from inference.comparison import compare_table
from inference.interop import posterior_array, to_arviz
from inference.status import Status
from models.deep_linear import (
    Architecture,
    ConvArchitecture,
    ConvLayer,
    compress,
    conv_collapsed_model,
    conv_posterior,
    conv_prior,
    conv_weights_model,
    infinite_width,
    log_evidence_given_mixing,
    minimizer,
    posterior,
    proportional_saddle,
)
from models.deep_linear.conv_conditional import (
    as_mean,
    checked_images,
    conv_data,
    draw,
    log_density,
    log_evidence,
    log_evidence_smooth,
    mean,
    misfit,
    moments,
    patches,
    require_test_patches,
)
from models.deep_linear.coordinates import layout, mixing_matrix
from models.deep_linear.joint import joint

# section 5.C: reference numbers by two quadratures
X = np.array([[1.0, 0.5, -0.3, 0.8], [-0.6, 0.9, 0.4, 0.1], [0.2, -1.1, 0.7, 0.5]])[:, None]
Y = np.array([0.8, -0.5, 0.6])
X_TEST = np.array([[[0.4, 0.3, -0.2, 1.2]]])
SMALL = ConvArchitecture(4, ConvLayer(2, 3, stride=2))
BETA = 10.0

CIRCULAR = ConvLayer(3, 4, padding="circular")
PRIORS = {
    "one axis, circular": ConvArchitecture(5, CIRCULAR),
    "two layers, circular": ConvArchitecture(
        5,
        (CIRCULAR, ConvLayer(2, 3, padding="circular")),
        in_channels=2,
        n_outputs=2,
        precisions=(1.0, 2.0, 0.5),
    ),
    "strides and zeros": ConvArchitecture(
        6, (ConvLayer(3, 3, 2, "zero"), ConvLayer(3, 4, 2, "zero"))
    ),
    "two axes, valid": ConvArchitecture((4, 4), ConvLayer((2, 2), 3, stride=2)),
    "two axes, two layers": ConvArchitecture(
        (3, 3),
        (ConvLayer((2, 2), 3, padding="circular"), ConvLayer((2, 2), 2, padding="circular")),
    ),
    "pooled, circular": ConvArchitecture(
        5, (CIRCULAR, ConvLayer(2, 3, padding="circular")), readout="gap"
    ),
    "pooled, zeros": ConvArchitecture(
        5,
        (ConvLayer(3, 4, padding="zero"), ConvLayer(3, 3, padding="zero")),
        n_outputs=2,
        readout="gap",
    ),
    "a bottleneck": ConvArchitecture(
        9, (ConvLayer(3, 4), ConvLayer(2, 1, padding="zero"), ConvLayer(3, 2, stride=2))
    ),
}
STATISTICS = (
    lambda f: f[:, 0, 0],
    lambda f: f[:, 0, -1] * f[:, 1, 0],
    lambda f: np.abs(f[:, 2, 0]),
    lambda f: (f**2).sum(axis=(1, 2)),
)


def inputs(network, n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, network.in_channels, *network.input_shape))


@pytest.fixture(scope="module")
def problem():
    """A network with everything in it, a renormaliser, data and test points."""
    network = ConvArchitecture(
        5, ConvLayer(3, 4, padding="zero"), in_channels=2, n_outputs=2, precisions=(2.0, 0.5)
    )
    rng = np.random.default_rng(1)
    x, x_test, y = inputs(network, 6, 2), inputs(network, 3, 3), rng.normal(size=(6, 2))
    root = rng.normal(size=(10, 4))
    data = conv_data(x, y, network, x_test)
    return network, data, root @ root.T / 10, (x, y, x_test)


def dense_covariance(network, mixing, one, other):
    """sum_ii' B[(d,i),(e,i')] p_i p_i' with loops; (n, D, m, D)."""
    reads = network.reads(0)
    scale = reads.shape[1] * network.in_channels * network.precisions[0]
    blocks = np.asarray(mixing).reshape(network.n_outputs, len(reads), network.n_outputs, -1)
    total = np.zeros((len(one), network.n_outputs, len(other), network.n_outputs))
    for i, row in enumerate(reads):
        for k, column in enumerate(reads):
            for a, b in zip(row, column):
                if a >= 0 and b >= 0:
                    kernel = one.reshape(*one.shape[:2], -1)[:, :, a]
                    kernel = kernel @ other.reshape(*other.shape[:2], -1)[:, :, b].T / scale
                    total += np.einsum("de,mn->mdne", blocks[:, i, :, k], kernel)
    return total


def dense_problem(problem, beta):
    network, _, mixing, (x, y, x_test) = problem
    n, m, d = len(x), len(x_test), network.n_outputs
    gram = dense_covariance(network, mixing, x, x).reshape(n * d, n * d) + np.eye(n * d) / beta
    cross = dense_covariance(network, mixing, x_test, x).reshape(m * d, n * d)
    prior = dense_covariance(network, mixing, x_test, x_test).reshape(m * d, m * d)
    center = cross @ np.linalg.solve(gram, y.ravel())
    return gram, center.reshape(m, d), prior - cross @ np.linalg.solve(gram, cross.T)


# --- the prior -----------------------------------------------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("network", PRIORS.values(), ids=PRIORS)
def test_the_prior_is_the_law_of_the_network(network, key):
    x = inputs(network, 3)
    keys = jax.random.split(key)
    law = conv_prior(x, network)
    ours = np.asarray(law.sample(keys[0], (20_000,)))
    run = numpyro.infer.Predictive(conv_weights_model, num_samples=10_000)
    theirs = np.asarray(run(keys[1], x, None, network, 1.0)["f"])
    for statistic in STATISTICS:
        found = scipy.stats.ks_2samp(statistic(ours), statistic(theirs), method="asymp")
        assert found.pvalue > 1e-3
    squared = ours**2
    assert_z(squared.mean(0), law.variance, squared.std(0) / len(ours) ** 0.5)
    assert law.mean.shape == law.event_shape == (3, network.n_outputs)


def test_the_covariance_given_the_renormaliser(problem):
    network, _, mixing, (x, _, _) = problem
    law = conv_prior(x, network)
    expected = dense_covariance(network, mixing, x, x)
    np.testing.assert_allclose(law.covariance_given(mixing), expected, atol=1e-13)
    n, d = law.event_shape
    mean = dense_covariance(network, network.mean_matrix, x, x).reshape(n * d, -1)
    np.testing.assert_allclose(law.variance.ravel(), np.diagonal(mean), rtol=1e-12)


@pytest.mark.statistical
@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_the_characteristic_function_of_one_layer(readout, key):
    network = ConvArchitecture(5, CIRCULAR, n_outputs=2, precisions=(1.0, 0.5), readout=readout)
    law = conv_prior(inputs(network, 3), network)
    draws = np.asarray(law.sample(key, (40_000,)))
    for t in np.random.default_rng(4).normal(size=(5, *law.event_shape)):
        waves = np.cos(np.einsum("snd,nd->s", draws, t))
        assert_z(waves.mean(), law.characteristic_function(t), waves.std() / len(waves) ** 0.5)


def test_what_the_prior_cannot_say():
    network = PRIORS["two layers, circular"]
    law = conv_prior(inputs(network, 3), network)
    with pytest.raises(NotImplementedError, match="one hidden layer"):
        law.characteristic_function(np.zeros(law.event_shape))
    with pytest.raises(NotImplementedError, match="conv_posterior"):
        law.log_prob(jnp.zeros(law.event_shape))
    with pytest.raises(ValueError, match=r"t: expected shape \(3, 2\)"):
        law.characteristic_function(np.zeros(3))


@pytest.mark.statistical
def test_roots_of_the_renormaliser_are_drawn(key):
    law = conv_prior(X, SMALL)
    root = np.asarray(law.sample_root(key, (20_000,)))
    product = root @ root.transpose(0, 2, 1)
    assert_z(product.mean(0), SMALL.mean_matrix, product.std(0) / 20_000**0.5)


# --- given the renormaliser ----------------------------------------------------------------------


def test_evidence_is_that_of_the_dense_gaussian(problem):
    _, data, mixing, (_, y, _) = problem
    gram, _, _ = dense_problem(problem, 3.0)
    expected = scipy.stats.multivariate_normal(np.zeros(y.size), gram).logpdf(y.ravel())
    np.testing.assert_allclose(log_evidence(mixing, data, 3.0), expected, rtol=1e-12)
    np.testing.assert_allclose(log_evidence_smooth(mixing, data, 3.0), expected, rtol=1e-12)
    quadratic = 0.5 * y.ravel() @ np.linalg.solve(gram, y.ravel())
    np.testing.assert_allclose(misfit(mixing, data, 3.0), quadratic, rtol=1e-12)
    assert (data.n_samples, data.n_outputs) == y.shape


def test_the_gradient_is_that_of_automatic_differentiation(problem):
    _, data, mixing, _ = problem
    ours = jax.grad(log_evidence, argnums=(0, 1, 2))(mixing, data, 3.0)
    theirs = jax.grad(log_evidence_smooth, argnums=(0, 1, 2))(mixing, data, 3.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), ours, theirs)


def test_moments_and_densities_are_the_dense_ones(problem):
    network, data, mixing, _ = problem
    _, center, covariance = dense_problem(problem, 3.0)
    d = network.n_outputs
    blocks = np.array([covariance[i : i + d, i : i + d] for i in range(0, len(covariance), d)])
    found_mean, found_covariance = moments(mixing, data, 3.0)
    np.testing.assert_allclose(found_mean, center, rtol=1e-10)
    np.testing.assert_allclose(found_covariance, blocks, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(as_mean(mean(mixing, data, 3.0), data), center, rtol=1e-10)
    y = np.random.default_rng(5).normal(size=center.shape)
    expected = [
        scipy.stats.multivariate_normal(center[i], blocks[i] + np.eye(d) / 3.0).logpdf(y[i])
        for i in range(len(y))
    ]
    np.testing.assert_allclose(log_density(jnp.asarray(y), mixing, data, 3.0), expected, rtol=1e-10)


@pytest.mark.statistical
def test_draws_have_the_joint_moments(problem, key):
    _, data, mixing, _ = problem
    _, center, covariance = dense_problem(problem, 3.0)
    n = 20_000
    found = np.asarray(jax.vmap(lambda k: draw(k, mixing, data, 3.0))(jax.random.split(key, n)))
    flat = found.reshape(n, -1)
    assert_z(flat.mean(0), center.ravel(), flat.std(0) / n**0.5)
    products = np.einsum("si,sj->sij", flat - center.ravel(), flat - center.ravel())
    assert_z(products.mean(0), covariance, products.std(0) / n**0.5)


def test_without_test_points(problem, small):
    _, data, _, _ = problem
    with pytest.raises(ValueError, match=r"test inputs.*x_test"):
        require_test_patches(data.training_part)
    with pytest.raises(ValueError, match="test inputs"):
        small.at(small.data.training_part).predict()


def test_patches_of_numpy_and_of_traced_inputs_agree(problem):
    network, data, _, (x, _, _) = problem
    images = checked_images("x", x, network)
    traced = jax.jit(lambda images: patches(images, network))(images)
    np.testing.assert_allclose(traced, data.patches, rtol=1e-15)


# --- the posterior -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return conv_posterior(X, Y, SMALL, BETA, x_test=X_TEST)


def test_reference_numbers(small):
    assert small.status is Status.CONVERGED
    assert small.method == "quadrature"
    rtol = 1e-8
    np.testing.assert_allclose(small.log_evidence, -2.80394407779, rtol=rtol)
    expected = [[0.498454757749, -0.033109383846], [-0.033109383846, 0.464780057385]]
    np.testing.assert_allclose(small.mixing_mean, expected, rtol=rtol)
    predicted = small.predict()
    np.testing.assert_allclose(predicted.mean, [[0.516414929995]], rtol=rtol)
    np.testing.assert_allclose(predicted.covariance, [[[0.144300024462]]], rtol=rtol)


@pytest.mark.slow
@pytest.mark.statistical
@pytest.mark.parametrize("method", ["laplace", "smc", "prior", "nuts"])
def test_every_method_agrees_with_quadrature(small, method, key):
    found = conv_posterior(X, Y, SMALL, BETA, x_test=X_TEST, method=method, key=key, progress=False)
    assert found.status is Status.CONVERGED
    if method != "nuts":
        assert_z(found.log_evidence, small.log_evidence, found.log_evidence_error)
    value, error = found.expectation(lambda b: b)
    assert_z(value, small.mixing_mean, error)
    predicted, exact = found.predict(), small.predict()
    assert_z(predicted.mean, exact.mean, predicted.mean_error)
    draws = np.asarray(found.predict().sample(key, 4000))[:, 0, 0]
    assert_z(draws.mean(), exact.mean[0, 0], draws.std() / 4000**0.5)
    y = np.array([[0.3]])
    np.testing.assert_allclose(predicted.log_prob(y), exact.log_prob(y), atol=0.05)


def test_the_collapsed_model_is_the_joint_density():
    coordinates = np.random.default_rng(6).normal(size=layout(SMALL).size)
    model = seed(conv_collapsed_model, jax.random.key(0))
    found, sites = log_density_of_model(
        model, (X, Y, SMALL, BETA), {}, {"coordinates": jnp.asarray(coordinates)}
    )
    expected = joint(SMALL)(jnp.asarray(coordinates), conv_data(X, Y, SMALL), BETA)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    mixing = mixing_matrix(jnp.asarray(coordinates), SMALL)
    np.testing.assert_allclose(sites["mixing"]["value"], mixing, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.statistical
def test_weights_agree_with_quadrature(small, key):
    mcmc = MCMC(
        NUTS(conv_weights_model, target_accept_prob=0.9),
        num_warmup=1000,
        num_samples=2000,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(key, X, Y, SMALL, BETA, X_TEST)
    draws = to_arviz(mcmc)
    analytic = {f"E B[{i},{j}]": small.mixing_mean[i, j] for i, j in ((0, 0), (0, 1), (1, 1))}
    mixing = posterior_array(draws, "mixing")
    sampled = {f"E B[{i},{j}]": mixing[..., i, j] for i, j in ((0, 0), (0, 1), (1, 1))}
    analytic["E f"] = small.predict().mean[0, 0]
    sampled["E f"] = posterior_array(draws, "f")[..., 0, 0]
    table = compare_table(analytic, sampled)
    assert table.worst_z < 4, table
    assert not table.failures(), table


def test_pooled_circular_networks_are_fully_connected():
    """The chain of Wisharts over sites, integrated as it stands, against the scalar law."""
    network = PRIORS["pooled, circular"]
    x, y = inputs(network, 3), np.array([0.8, -0.5, 0.6])
    local = posterior(conv_data(x, y, network), network, BETA, method="quadrature")
    # the mean over sites of the patches' sums is that of the inputs, whatever the mask
    averages = x.mean(axis=2)
    reduced = Architecture((4, 3))
    expected = posterior(compress(averages, y, reduced), reduced, BETA)
    assert local.mixing_mean.shape == (5, 5)
    np.testing.assert_allclose(local.log_evidence, expected.log_evidence, rtol=1e-10)
    np.testing.assert_allclose(
        local.mixing_mean, np.full((5, 5), expected.mixing_mean[0, 0] / 25), rtol=1e-8
    )
    x_test = inputs(network, 2, 7)
    found = conv_posterior(x, y, network, BETA, x_test=x_test)
    assert found.architecture == reduced
    np.testing.assert_allclose(found.log_evidence, expected.log_evidence, rtol=1e-10)
    tested = posterior(compress(averages, y, reduced, x_test.mean(axis=2)), reduced, BETA)
    np.testing.assert_allclose(found.predict().mean, tested.predict().mean, rtol=1e-9)
    np.testing.assert_allclose(found.predict().covariance, tested.predict().covariance, rtol=1e-9)


@pytest.mark.parametrize("readout", ["flatten", "gap"])
def test_a_mask_of_one_on_one_site_is_fully_connected(readout):
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(3, 4)), rng.normal(size=(3, 2))
    precisions = (2.0, 0.5, 3.0)
    layers = (ConvLayer(1, 6), ConvLayer(1, 5))
    network = ConvArchitecture(1, layers, 4, 2, precisions, readout)
    reduced = Architecture((6, 5), 2, precisions)
    coordinates = jnp.asarray(rng.normal(size=layout(reduced).size))
    mixing = mixing_matrix(coordinates, network)
    np.testing.assert_allclose(mixing, mixing_matrix(coordinates, reduced), rtol=1e-14)
    data = conv_data(x[..., None], y, network)
    expected = log_evidence_given_mixing(mixing, compress(x, y, reduced), BETA)
    np.testing.assert_allclose(log_evidence(mixing, data, BETA), expected, rtol=1e-12)
    found = conv_posterior(x[..., None], y, network, BETA, method="prior", on_failure="ignore")
    assert found.architecture.widths == (6, 5)
    again = log_evidence_given_mixing(mixing, found.data, BETA)
    np.testing.assert_allclose(again, expected, rtol=1e-12)


def test_infinitely_many_channels():
    data = conv_data(X, Y, SMALL, X_TEST)
    limit = infinite_width(data, SMALL, BETA)
    np.testing.assert_allclose(limit.mixing_mean, np.eye(2) / 2)
    np.testing.assert_allclose(
        limit.log_evidence, log_evidence(jnp.eye(2) / 2, data, BETA), rtol=1e-14
    )
    wide = conv_posterior(X, Y, SMALL.widened(10**6), BETA, x_test=X_TEST)
    assert abs(wide.log_evidence - limit.log_evidence) < 1e-4
    np.testing.assert_allclose(wide.predict().mean, limit.predict().mean, atol=1e-5)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (X[:, 0], Y, "x: expected"),
        (X[..., :3], Y, r"x: expected shape \(n, 1, 4\)"),
        (np.full_like(X, np.nan), Y, "x: .*finite"),
        (X, Y[:2], "y"),
        (X, np.stack([Y, Y], 1), "y: expected 1 columns"),
        (X, np.array([0.0, np.inf, 1.0]), "y: .*finite"),
        (0 * X, Y, "x: expected an input that is not zero"),
    ],
)
def test_bad_data(x, y, message):
    with pytest.raises(ValueError, match=message):
        conv_posterior(x, y, SMALL, BETA)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf])
def test_bad_precision(beta):
    with pytest.raises(ValueError, match="beta"):
        conv_posterior(X, Y, SMALL, beta)


def test_other_bad_input():
    with pytest.raises(ValueError, match="x_test: expected shape"):
        conv_posterior(X, Y, SMALL, BETA, x_test=X_TEST[..., :3])
    with pytest.raises(ValueError, match="method"):
        conv_posterior(X, Y, SMALL, BETA, method="exact")
    big = ConvArchitecture(8, ConvLayer(2, 9))
    with pytest.raises(ValueError, match="quadrature needs one output or at most 3"):
        conv_posterior(inputs(big, 3), Y, big, BETA, method="quadrature")
    with pytest.raises(ValueError, match="x: expected shape"):
        conv_prior(X[..., :3], SMALL)


def test_networks_and_data_of_two_kinds():
    convolutional, flat = conv_data(X, Y, SMALL), compress(X[:, 0], Y, Architecture((3,)))
    other = ConvArchitecture(4, ConvLayer(2, 3))  # three sites instead of two
    pairs = [(convolutional, Architecture((3,))), (convolutional, other), (flat, SMALL)]
    for data, network in pairs:
        for solve in (posterior, infinite_width, minimizer, proportional_saddle):
            with pytest.raises(
                ValueError, match=r"architecture: expected .* rows as the data have"
            ):
                solve(data, network, BETA)
    for call in (conv_posterior, conv_weights_model, conv_collapsed_model):
        with pytest.raises(TypeError, match="architecture: expected a ConvArchitecture, got Arch"):
            call(X, Y, Architecture((3,)), BETA)
    with pytest.raises(TypeError, match="architecture: expected a ConvArchitecture, got None"):
        conv_prior(X, None)
    for solve in (posterior, minimizer):
        with pytest.raises(TypeError, match="architecture: expected an Architecture or a Conv"):
            solve(flat, (3,), BETA)
        with pytest.raises(TypeError, match="data: expected the result of compress"):
            solve(X[:, 0], Architecture((3,)), BETA)
