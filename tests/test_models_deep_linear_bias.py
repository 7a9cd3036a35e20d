"""Biases after the first weight matrix, and one posterior asked about several test sets."""

import jax
import numpy as np
import numpyro.infer
import pytest
import scipy.stats
from numpyro.handlers import seed, trace
from suite_helpers import assert_z

from models.deep_linear import (
    Architecture,
    compress,
    compress_kernel,
    function_model,
    posterior,
    prior,
    weights_model,
    with_test_inputs,
)
from models.deep_linear.arrays import checked, scaled_inputs

SIGMA = 0.7
NETWORK = Architecture((4, 3), n_outputs=2, precisions=(1.5, 0.5, 2.0), bias_scale=SIGMA)
SCALAR = Architecture((5,), precisions=(2.0, 1.0), bias_scale=SIGMA)
BETA = 4.0


def data(n=6, n_inputs=3, n_test=3):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, n_inputs)), rng.normal(size=n), rng.normal(size=(n_test, n_inputs))


def kernel(a, b, network):
    return a @ b.T / (network.precisions[0] * a.shape[1]) + network.bias_scale**2


@pytest.mark.parametrize("n", [2, 6, 20])
def test_a_bias_is_a_constant_added_to_the_kernel(n):
    x, y, x_test = data(n)
    given = posterior(compress(x, y, SCALAR, x_test), SCALAR, BETA)
    blocks = kernel(x, x, SCALAR), y, kernel(x, x_test, SCALAR), kernel(x_test, x_test, SCALAR)
    expected = posterior(compress_kernel(*blocks), SCALAR, BETA)
    np.testing.assert_allclose(given.log_evidence, expected.log_evidence, rtol=1e-10)
    np.testing.assert_allclose(given.mixing_mean, expected.mixing_mean, rtol=1e-9)
    ours, theirs = given.predict(), expected.predict()
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-9)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-9)
    without = posterior(
        compress(x, y, SCALAR, x_test), Architecture((5,), precisions=(2.0, 1.0)), BETA
    )
    np.testing.assert_allclose(without.log_evidence, expected.log_evidence, rtol=1e-10)


def test_linear_regression_with_an_intercept():
    x, y, _ = data()
    network = Architecture((), precisions=2.0, bias_scale=SIGMA)
    design = np.hstack([x / np.sqrt(2.0 * x.shape[1]), np.full((len(x), 1), SIGMA)])
    covariance = design @ design.T + np.eye(len(x)) / BETA
    expected = scipy.stats.multivariate_normal(np.zeros(len(x)), covariance).logpdf(y)
    found = posterior(compress(x, y, network), network, BETA).log_evidence
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.statistical
def test_the_prior_is_the_law_of_the_weights(key):
    x, _, _ = data(3)
    keys = jax.random.split(key)
    ours = np.asarray(prior(kernel(x, x, NETWORK), NETWORK).sample(keys[0], (20_000,)))
    run = numpyro.infer.Predictive(weights_model, num_samples=10_000)
    theirs = np.asarray(run(keys[1], x, None, NETWORK, BETA)["f"])
    for statistic in (
        lambda f: f[:, 0, 0],
        lambda f: f[:, 0, 0] * f[:, 2, 1],
        lambda f: f.mean(axis=(1, 2)),
        lambda f: (f**2).sum(axis=(1, 2)),
    ):
        found = scipy.stats.ks_2samp(statistic(ours), statistic(theirs), method="asymp")
        assert found.pvalue > 1e-3
    assert_z((theirs**2).mean(0), prior(kernel(x, x, NETWORK), NETWORK).variance,
             (theirs**2).std(0) / 100)  # fmt: skip


def test_sites_of_the_models():
    x, _, x_test = data()
    sites = trace(seed(weights_model, jax.random.key(0))).get_trace(x, None, NETWORK, BETA, x_test)
    assert sites["b0"]["value"].shape == (4,)
    np.testing.assert_allclose(sites["bias"]["value"], SIGMA * sites["b0"]["value"])
    h = x_test @ sites["weights_0"]["value"].T / np.sqrt(3) + sites["bias"]["value"]
    f = h @ sites["weights_1"]["value"].T / 2 @ sites["weights_2"]["value"].T / np.sqrt(3)
    np.testing.assert_allclose(sites["f"]["value"], f, rtol=1e-12)
    plain = Architecture((4, 3), 2, (1.5, 0.5, 2.0))
    assert "b0" not in trace(seed(weights_model, jax.random.key(0))).get_trace(x, None, plain, BETA)


@pytest.mark.parametrize("n", [2, 6])
def test_the_function_model_has_the_kernel_with_the_bias(n):
    """f is linear in z, with S = B Z C^T: its Jacobian squared is Q (x) K."""
    x, _, _ = data(n)
    sites = trace(seed(function_model, jax.random.key(0))).get_trace(x, None, SCALAR, beta=BETA)
    coordinates, z = sites["coordinates"]["value"], sites["z"]["value"]

    def f(z):
        fixed = numpyro.handlers.substitute(
            seed(function_model, jax.random.key(0)), {"coordinates": coordinates, "z": z}
        )
        return trace(fixed).get_trace(x, None, SCALAR, beta=BETA)["f"]["value"].ravel()

    jacobian = np.asarray(jax.jacobian(f)(z)).reshape(n, -1)
    q = float(sites["mixing"]["value"][0, 0])
    np.testing.assert_allclose(jacobian @ jacobian.T, q * kernel(x, x, SCALAR), rtol=1e-10)


def test_scaled_inputs_of_numpy_and_jax_agree():
    x, _, _ = data()
    features = scaled_inputs(x, SCALAR)
    np.testing.assert_allclose(features @ features.T, kernel(x, x, SCALAR), rtol=1e-13)
    traced = jax.jit(lambda x: scaled_inputs(x, SCALAR))(checked("x", x, (2,)))
    np.testing.assert_allclose(traced, features, rtol=1e-15)


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, (0.1, 0.2)])
def test_bad_bias_scales(value):
    with pytest.raises(ValueError, match="bias_scale"):
        Architecture((5,), bias_scale=value)


# --- other test points ---------------------------------------------------------------------------


@pytest.mark.parametrize("network", [SCALAR, Architecture((5,), precisions=(2.0, 1.0))])
def test_new_test_inputs_are_as_good_as_given_ones(network):
    x, y, x_test = data(2)
    at_once = compress(x, y, network, x_test)
    later = with_test_inputs(compress(x, y, network), x_test, network)
    jax.tree.map(np.testing.assert_array_equal, later, at_once)
    result = posterior(compress(x, y, network), network, BETA)
    expected = posterior(at_once, network, BETA).predict()
    found = result.at(later).predict()
    np.testing.assert_array_equal(found.mean, expected.mean)
    np.testing.assert_array_equal(found.covariance, expected.covariance)


def test_a_posterior_answers_for_its_own_data_alone():
    x, y, x_test = data()
    result = posterior(compress(x, y, SCALAR), SCALAR, BETA)
    with pytest.raises(ValueError, match="data: expected the training data of this posterior"):
        result.at(compress(x, -y, SCALAR, x_test))
    with pytest.raises(ValueError, match="x_test: expected 3 columns"):
        with_test_inputs(result.data, x_test[:, :2], SCALAR)
    with pytest.raises(ValueError, match=r"x_test: .*finite"):
        with_test_inputs(result.data, np.full((1, 3), np.nan), SCALAR)
    given = compress_kernel(kernel(x, x, SCALAR), y)
    with pytest.raises(ValueError, match="data: expected data from compress"):
        with_test_inputs(given, x_test, SCALAR)
