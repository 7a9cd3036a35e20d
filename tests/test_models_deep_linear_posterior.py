"""The posterior by every method against tables, SciPy, dense formulas and each other.

Tables A and B were computed twice elsewhere (log-space convolution and mpmath; two coordinate
systems in three dimensions). `ScalarOracle` is a third way for one output: SciPy's densities and
dense matrices on a fine grid of ``log q``.
"""

import math
import warnings
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from suite_helpers import assert_z

import inference.importance as importance_module
import models.deep_linear.exact as exact_module
import models.deep_linear.solvers as solvers_module
from inference.importance import StudentMixture
from inference.quadrature import trapezoid
from inference.status import CavityWarning, ConvergenceError, PrecisionError, Status
from models.deep_linear import (
    Architecture,
    compress,
    compress_kernel,
    infinite_width,
    posterior,
    prior,
)
from models.deep_linear.predictive import Nodes, summarise

# three training points and two test points; the tables know the first four
K = np.array(
    [
        [1.0, 0.4, 0.2, 0.3, 0.1],
        [0.4, 0.8, -0.1, 0.25, -0.2],
        [0.2, -0.1, 1.2, 0.5, 0.4],
        [0.3, 0.25, 0.5, 0.9, 0.3],
        [0.1, -0.2, 0.4, 0.3, 1.1],
    ]
)
KERNEL, CROSS, TEST_KERNEL = PARTS = K[:3, :3], K[:3, 3:], K[3:, 3:]
Y_ONE = np.array([0.7, -0.3, 1.1])
Y_TWO = np.array([[0.7, -0.3, 1.1], [0.2, 0.9, -0.4]]).T
BETA = 10.0


def compressed(y):
    return compress_kernel(KERNEL, y, CROSS, TEST_KERNEL)


ONE, TWO = compressed(Y_ONE), compressed(Y_TWO)  # one and two outputs
FIVE, TEN = Architecture((5,)), Architecture((10,), n_outputs=2)

# widths, precisions, then log p(S = y), log Z, E q, Var q, E f*, Var f*, E log q
TABLE_A = {
    ((5,), 1.0): (
        *(-3.455209105071, -3.496876568081, 0.8534325242302, 0.2547066094677),
        *(0.4049476805464, 0.519667073831, -0.3281416549595),
    ),
    ((4, 7), (1, 1, 2)): (
        *(-3.649360087259, -3.527319123826, 0.5165111683244, 0.1417337984647),
        *(0.3811082534555, 0.3232427590452, -0.8887599233522),
    ),
    ((5, 3, 6), 1.0): (
        *(-3.757778351324, -3.673798469726, 0.731977726305, 0.5447117134504),
        *(0.387764995744, 0.448945032048, -0.6613669633),
    ),
    ((100,), 1.0): (
        *(-3.376031452512, -3.479126841991, 0.9867799376084, 0.0194638763327),
        *(0.4167813905679, 0.597709255091, -0.023332896254),
    ),
}
# N, then log Z; E Q00, Q01, Q11; E f*; Var f*_0, Cov, Var f*_1
TABLE_B = {
    4: (
        *(-6.682911995735, 0.878798962664, -0.139863762251, 0.746429462327),
        *(0.386779636408, 0.080632307133, 0.534491814145, -0.0811798480744, 0.456774554945),
    ),
    10: (
        *(-6.624183269490, 0.909861485796, -0.0613304302361, 0.858165142592),
        *(0.405714791622, 0.101207760724, 0.552501713468, -0.035664624004, 0.522289144518),
    ),
}


class ScalarOracle:
    """The posterior of one output and at most two hidden layers, on a grid of ``x = log q``.

    A trapezoid sum of an analytic integrand that vanishes at both ends: exact to rounding at ten
    points a standard deviation.
    """

    def __init__(self, parts, y, widths, beta, *, precisions=(1.0,), grid=(-25.0, 6.0, 6001)):
        kernel, cross, test_kernel = (np.atleast_2d(part) for part in parts)
        x = np.linspace(*grid)
        self.q, temperature = np.exp(x), 1 / beta
        covariance = self.q[:, None, None] * kernel + temperature * np.eye(len(kernel))
        inverse = np.linalg.inv(covariance)
        log_likelihood = -0.5 * (
            np.einsum("m,qmn,n->q", y, inverse, y)
            + np.linalg.slogdet(covariance)[1]
            + len(y) * np.log(2 * np.pi)
        )
        log_joint = self.log_prior(x, widths, precisions) + log_likelihood
        weights = np.exp(log_joint - log_joint.max())
        assert max(weights[0], weights[-1]) < 1e-16, "the grid holds all the mass"
        self.log_evidence = log_joint.max() + np.log(weights.sum() * (x[1] - x[0]))
        self.weights = weights / weights.sum()
        towards = self.q[:, None, None] * cross
        self.means = np.einsum("qma,qmn,n->qa", towards, inverse, y)
        reduction = np.einsum("qma,qmn,qnb->qab", towards, inverse, towards)
        self.covariances = self.q[:, None, None] * test_kernel - reduction
        self.temperature = temperature

    @staticmethod
    def log_prior(x, widths, precisions):
        shapes = np.array(widths) / 2
        log_rate = np.sum(np.log(shapes * precisions))
        if len(widths) == 1:
            (a,) = shapes
            return a * (log_rate + x) - np.exp(log_rate + x) - scipy.special.gammaln(a)
        a, b = shapes  # the product of two Gammas is a Bessel function
        log_z = log_rate + x
        root = 2 * np.exp(log_z / 2)
        bessel = np.log(scipy.special.kve(a - b, root)) - root
        return np.log(2) + (a + b) / 2 * log_z + bessel - scipy.special.gammaln(shapes).sum()

    def expectation(self, values):
        return np.tensordot(self.weights, values, axes=1)

    @property
    def mean(self):
        return self.expectation(self.means)

    @property
    def covariance(self):
        shifts = self.means - self.mean
        return self.expectation(self.covariances + shifts[:, :, None] * shifts[:, None, :])

    def log_prob(self, y):
        variances = np.diagonal(self.covariances, axis1=1, axis2=2) + self.temperature
        density = scipy.stats.norm.pdf(y, self.means, np.sqrt(variances))
        return np.log(self.expectation(density))

    def cdf(self, q):
        # the trapezoid sum up to the middle of a cell
        return np.interp(np.log(q), np.log(self.q), np.cumsum(self.weights) - self.weights / 2)


def dense_predictive(mixing, parts, y, beta):
    """Mean ``(D m,)`` and covariance ``(D m, D m)`` given ``Q``, outputs slow."""
    kernel, cross, test_kernel = parts
    both = np.kron(mixing, kernel)
    towards = np.kron(mixing, cross)
    gain = np.linalg.solve(both + np.eye(len(both)) / beta, towards).T
    return gain @ y.T.reshape(-1), np.kron(mixing, test_kernel) - gain @ towards


def teacher(n_outputs, n_layers, width, n_samples, beta, signal=1.0, *, seed=0, n_inputs=20):
    """A linear teacher with noise: what the sampling methods are made for."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_samples, n_inputs))
    w = rng.normal(size=(n_inputs, n_outputs))
    noise = rng.normal(size=(n_samples, n_outputs))
    y = signal * x @ w / np.sqrt(n_inputs) + noise / np.sqrt(beta)
    architecture = Architecture((width,) * n_layers, n_outputs=n_outputs)
    return compress(x, y, architecture, x[:2]), architecture, beta


@pytest.fixture(scope="module")
def exact_one():
    return posterior(ONE, FIVE, BETA)


@pytest.fixture(scope="module")
def exact_two():
    return posterior(TWO, TEN, BETA)


# outputs, layers, width, samples, noise precision, signal
DEEP = (3, 2, 10, 200, 100.0, 3.0)  # 12 coordinates


# --- quadrature against tables and oracles ---------------------------------------------------


@pytest.mark.parametrize(("widths", "precisions"), TABLE_A)
def test_table_of_one_output(widths, precisions):
    log_prior, log_z, q_mean, q_variance, f_mean, f_variance, log_q = TABLE_A[widths, precisions]
    architecture = Architecture(widths, precisions=precisions)
    result = posterior(ONE, architecture, BETA)
    assert (result.status, result.method) == (Status.CONVERGED, "quadrature")
    assert result.log_evidence_error == 0.0
    assert result.ess is result.pareto_k is None
    # the table's own last digit
    assert result.log_evidence == pytest.approx(log_z, rel=1e-8)
    assert float(result.mixing_mean[0, 0]) == pytest.approx(q_mean, rel=1e-8)
    assert float(result.mixing_variance[0, 0]) == pytest.approx(q_variance, rel=1e-8)
    prediction = result.predict()  # the table knows the first test point
    assert float(prediction.mean[0, 0]) == pytest.approx(f_mean, rel=1e-8)
    assert float(prediction.covariance[0, 0, 0]) == pytest.approx(f_variance, rel=1e-8)
    assert float(prediction.mean_error[0, 0]) == 0.0
    value, error = result.expectation(lambda q: jnp.log(q[0, 0]))
    assert float(value) == pytest.approx(log_q, rel=1e-8)
    assert float(error) == 0.0
    # without noise the evidence is the prior density
    noise_free = posterior(ONE, architecture, math.inf)
    assert noise_free.log_evidence == pytest.approx(log_prior, rel=1e-8)
    density = prior(KERNEL, architecture).log_prob(Y_ONE[:, None])
    assert noise_free.log_evidence == pytest.approx(float(density), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("width", TABLE_B)
def test_table_of_two_outputs(width):
    log_z, q00, q01, q11, f0, f1, v0, c, v1 = TABLE_B[width]
    result = posterior(TWO, Architecture((width,), n_outputs=2), BETA)
    assert (result.status, result.method) == (Status.CONVERGED, "quadrature")
    assert result.log_evidence == pytest.approx(log_z, rel=1e-8)
    np.testing.assert_allclose(result.mixing_mean, [[q00, q01], [q01, q11]], rtol=1e-8)
    prediction = result.predict()
    np.testing.assert_allclose(prediction.mean[0], [f0, f1], rtol=1e-8)
    np.testing.assert_allclose(prediction.covariance[0], [[v0, c], [c, v1]], rtol=1e-8)


CASES = {
    # targets, widths, beta, upper precisions
    "one layer": (Y_ONE, (5,), BETA, (1.0,)),
    "two layers": (Y_ONE, (4, 7), 3.0, (0.5, 2.5)),
    "no signal": (0 * Y_ONE, (5,), BETA, (1.0,)),
    "strong signal": (20 * Y_ONE, (5,), 50.0, (1.0,)),
    "mostly noise": (Y_ONE, (3,), 1e-3, (1.0,)),
    "one neuron": (Y_ONE, (1,), BETA, (1.0,)),
}


@pytest.mark.parametrize("case", CASES)
def test_one_output_against_scipy(case):
    y, widths, beta, precisions = CASES[case]
    # a single neuron's density falls off as exp(x / 2): the grid must reach far to the left
    oracle = ScalarOracle(PARTS, y, widths, beta, precisions=precisions, grid=(-80.0, 9.0, 17_801))
    # the first precision is in the kernel already and has no part
    architecture = Architecture(widths, precisions=(0.3, *precisions))
    result = posterior(compressed(y), architecture, beta)
    assert result.status is Status.CONVERGED
    assert result.log_evidence == pytest.approx(oracle.log_evidence, rel=1e-10)
    q_mean = oracle.expectation(oracle.q)
    q_variance = oracle.expectation((oracle.q - q_mean) ** 2)
    assert float(result.mixing_mean[0, 0]) == pytest.approx(q_mean, rel=1e-9)
    assert float(result.mixing_variance[0, 0]) == pytest.approx(q_variance, rel=1e-9)
    prediction = result.predict()
    np.testing.assert_allclose(prediction.mean[:, 0], oracle.mean, rtol=1e-9, atol=1e-12)
    variances = np.diag(oracle.covariance)
    np.testing.assert_allclose(prediction.covariance[:, 0, 0], variances, rtol=1e-9)
    for shift in (-2.0, 0.0, 0.5):
        at = oracle.mean + shift * np.sqrt(variances)
        found = prediction.log_prob(at)
        np.testing.assert_allclose(found, oracle.log_prob(at), rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(prediction.log_prob(at[:, None]), found)


def test_the_example_in_the_docstring():
    parts = KERNEL[:2, :2], np.zeros((2, 1)), 1.0
    oracle = ScalarOracle(parts, Y_ONE[:2], (5,), 10.0)
    assert round(oracle.log_evidence, 6) == -2.122124


def test_only_the_product_of_upper_precisions_and_no_order_of_layers_matters():
    reference = posterior(ONE, Architecture((4, 7), precisions=(1, 1, 2)), BETA)
    for widths, precisions in [
        ((4, 7), (9, 2, 1)),
        ((7, 4), (1, 1, 2)),
        ((7, 4), (1, 0.25, 8)),
    ]:
        other = posterior(ONE, Architecture(widths, precisions=precisions), BETA)
        assert other.log_evidence == pytest.approx(reference.log_evidence, rel=1e-12)
        np.testing.assert_allclose(other.mixing_mean, reference.mixing_mean, rtol=1e-12)


def test_units_change_nothing():
    # f -> c f: targets times c, kernel times c^2, noise precision over c^2
    c = 7.0
    scaled = compress_kernel(c**2 * KERNEL, c * Y_ONE, c**2 * CROSS, c**2 * TEST_KERNEL)
    one, other = posterior(ONE, FIVE, BETA), posterior(scaled, FIVE, BETA / c**2)
    assert other.log_evidence == pytest.approx(one.log_evidence - 3 * math.log(c), rel=1e-11)
    np.testing.assert_allclose(other.mixing_mean, one.mixing_mean, rtol=1e-11)
    np.testing.assert_allclose(other.predict().mean, c * one.predict().mean, rtol=1e-11)


def test_a_singular_mixing_matrix():
    # one neuron, two outputs: Q = w w^T with w ~ N(0, 1), so integrate over w in the plane
    axis = np.linspace(-8, 8, 161)
    w = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    mixing = w[:, :, None] * w[:, None, :]
    covariance = np.einsum("qde,mn->qdmen", mixing, KERNEL).reshape(-1, 6, 6)
    covariance += np.eye(6) / BETA
    y = Y_TWO.T.reshape(-1)
    quadratic = np.einsum("m,qmn,n->q", y, np.linalg.inv(covariance), y)
    log_joint = -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + np.sum(w**2, axis=1))
    log_joint -= 4 * np.log(2 * np.pi)
    weights = np.exp(log_joint)
    log_z = np.log(weights.sum() * (axis[1] - axis[0]) ** 2)

    result = posterior(TWO, Architecture((1,), n_outputs=2), BETA, method="quadrature")
    assert result.status is Status.CONVERGED
    assert result.log_evidence == pytest.approx(log_z, rel=1e-9)
    expected = np.tensordot(weights / weights.sum(), mixing, axes=1)
    np.testing.assert_allclose(result.mixing_mean, expected, rtol=1e-8)


# --- limits and symmetries -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_outputs", "widths"), [(1, (10**6,)), (1, (10**6, 10**6)), (2, (10**6,))]
)
def test_very_wide_is_infinitely_wide(n_outputs, widths):
    data = ONE if n_outputs == 1 else TWO
    precisions = (1.0, 0.5, 3.0)[: len(widths) + 1]
    architecture = Architecture(widths, n_outputs, precisions)
    wide, limit = posterior(data, architecture, BETA), infinite_width(data, architecture, BETA)
    # corrections are of order 1 / N
    np.testing.assert_allclose(wide.predict().mean, limit.predict().mean, atol=1e-5)
    assert abs(wide.log_evidence - limit.log_evidence) < 1e-4
    assert wide.log_evidence != limit.log_evidence


def test_infinitely_wide_is_a_gaussian_process():
    architecture = Architecture((3, 4), 2, precisions=(9.0, 0.5, 3.0))
    limit = infinite_width(TWO, architecture, BETA)
    scale = 1 / 1.5
    np.testing.assert_array_equal(limit.mixing_mean, scale * np.eye(2))
    np.testing.assert_array_equal(limit.mixing_variance, np.zeros((2, 2)))
    covariance = scale * KERNEL + np.eye(3) / BETA
    per_output = [scipy.stats.multivariate_normal(cov=covariance).logpdf(y) for y in Y_TWO.T]
    assert limit.log_evidence == pytest.approx(sum(per_output), rel=1e-12)
    mean, covariance = dense_predictive(scale * np.eye(2), PARTS, Y_TWO, BETA)
    prediction = limit.predict()
    np.testing.assert_allclose(prediction.mean, mean.reshape(2, 2).T, rtol=1e-11)
    per_point = np.einsum("dmem->mde", covariance.reshape(2, 2, 2, 2))
    np.testing.assert_allclose(prediction.covariance, per_point, rtol=1e-11, atol=1e-13)
    assert (limit.method, limit.status) == ("quadrature", Status.CONVERGED)
    assert infinite_width(TWO, architecture, math.inf).log_evidence == pytest.approx(
        sum(scipy.stats.multivariate_normal(cov=scale * KERNEL).logpdf(y) for y in Y_TWO.T),
        rel=1e-12,
    )


@pytest.mark.parametrize(("n_samples", "n_inputs"), [(9, 3), (3, 9)])
def test_no_hidden_layer_is_bayesian_linear_regression(n_samples, n_inputs):
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(n_samples, n_inputs)), rng.normal(size=(4, n_inputs))
    y = rng.normal(size=(n_samples, 2))
    lambda_0, beta = 1.7, 4.0
    architecture = Architecture((), n_outputs=2, precisions=lambda_0)
    result = posterior(compress(x, y, architecture, x_test), architecture, beta)
    # in weight space: f = W x / sqrt(N0), W ~ N(0, 1 / lambda_0)
    features, test_features = x / np.sqrt(n_inputs), x_test / np.sqrt(n_inputs)
    precision = beta * features.T @ features + lambda_0 * np.eye(n_inputs)
    weights = np.linalg.solve(precision, beta * features.T @ y)
    variance = np.einsum("ai,ij,aj->a", test_features, np.linalg.inv(precision), test_features)
    covariance = features @ features.T / lambda_0 + np.eye(n_samples) / beta
    log_z = sum(scipy.stats.multivariate_normal(cov=covariance).logpdf(column) for column in y.T)
    assert result.log_evidence == pytest.approx(log_z, rel=1e-12)
    prediction = result.predict()
    np.testing.assert_allclose(prediction.mean, test_features @ weights, atol=1e-12)
    expected = variance[:, None, None] * np.eye(2)
    np.testing.assert_allclose(prediction.covariance, expected, atol=1e-12)
    y_test = rng.normal(size=(4, 2))
    total = np.sqrt(variance + 1 / beta)[:, None]
    log_prob = scipy.stats.norm.logpdf(y_test, test_features @ weights, total).sum(axis=1)
    np.testing.assert_allclose(prediction.log_prob(y_test), log_prob, rtol=1e-11)
    np.testing.assert_array_equal(result.mixing_mean, np.eye(2))
    np.testing.assert_array_equal(result.sample_mixing(jax.random.key(0), 3), [np.eye(2)] * 3)


@pytest.mark.parametrize("method", ["quadrature", "laplace", "smc", "nuts", "prior", "auto"])
def test_no_hidden_layer_leaves_nothing_to_sample(method):
    result = posterior(ONE, Architecture(()), BETA, method=method)
    covariance = KERNEL + np.eye(3) / BETA
    expected = scipy.stats.multivariate_normal(cov=covariance).logpdf(Y_ONE)
    assert result.log_evidence == pytest.approx(expected, rel=1e-12)
    assert (result.log_evidence_error, result.status) == (0.0, Status.CONVERGED)


@pytest.mark.parametrize("n_outputs", [1, 2])
def test_without_noise_the_mean_does_not_know_the_widths(n_outputs):
    data, y = (ONE, Y_ONE[:, None]) if n_outputs == 1 else (TWO, Y_TWO)
    expected = CROSS.T @ np.linalg.solve(KERNEL, y)
    networks = [(5,), (2,), (4, 7), (100,)] if n_outputs == 1 else [(10,), (10**6,)]
    for widths in networks:
        result = posterior(data, Architecture(widths, n_outputs), math.inf)
        assert result.status is Status.CONVERGED
        np.testing.assert_allclose(result.predict().mean, expected, rtol=1e-10)
        # what is renormalised is the covariance: E Q times that of the Gaussian process
        left = np.diag(TEST_KERNEL - CROSS.T @ np.linalg.solve(KERNEL, CROSS))
        covariance = np.asarray(result.mixing_mean) * left[:, None, None]
        np.testing.assert_allclose(result.predict().covariance, covariance, rtol=1e-9)


def test_rotated_outputs_have_a_rotated_posterior(exact_two):
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    reference = exact_two
    rotated = posterior(compressed(Y_TWO @ rotation.T), TEN, BETA)
    assert rotated.log_evidence == pytest.approx(reference.log_evidence, rel=1e-10)
    expected = rotation @ np.asarray(reference.mixing_mean) @ rotation.T
    np.testing.assert_allclose(rotated.mixing_mean, expected, atol=1e-10)
    expected = np.asarray(reference.predict().mean) @ rotation.T
    np.testing.assert_allclose(rotated.predict().mean, expected, atol=1e-10)


# --- weighted nodes: averages, errors, predictions, draws ------------------------------------


@pytest.fixture(scope="module")
def made_up():
    """Invent weighted mixing matrices of two outputs, and the data they predict from."""
    rng = np.random.default_rng(1)
    n = 136  # not a multiple of the group that the code handles at a time
    factors = rng.normal(size=(n, 2, 2)) / 1.5
    mixing = factors @ np.swapaxes(factors, 1, 2)
    weights = rng.exponential(size=n)
    y = rng.normal(size=(3, 2))
    return mixing, weights / weights.sum(), y


def result_of(made_up, block, *, data=None):
    mixing, weights, y = made_up
    nodes = Nodes(jnp.asarray(mixing), jnp.log(weights), block=block)
    data = compressed(y) if data is None else data
    asked = (data, TEN, BETA)
    return summarise(nodes, asked, method="made up", status=Status.CONVERGED)


def dense_mixture(made_up):
    mixing, weights, y = made_up
    parts = [dense_predictive(q, PARTS, y, BETA) for q in mixing]
    means, covariances = (np.array(part) for part in zip(*parts))
    mean = weights @ means
    shifts = means - mean
    total = np.tensordot(weights, covariances + shifts[:, :, None] * shifts[:, None], axes=1)
    return mean, total, means, covariances


@pytest.mark.parametrize("block", [0, 1, 8])
def test_predictions_are_the_dense_mixture(made_up, block):
    mixing, weights, _ = made_up
    result = result_of(made_up, block)
    prediction = result.predict()
    mean, total, means, covariances = dense_mixture(made_up)
    by_point = total.reshape(2, 2, 2, 2)  # output, point, output, point
    np.testing.assert_allclose(prediction.mean, mean.reshape(2, 2).T, rtol=1e-11)
    expected = np.einsum("dmem->mde", by_point)
    np.testing.assert_allclose(prediction.covariance, expected, rtol=1e-11, atol=1e-13)
    y_test = np.random.default_rng(2).normal(size=(2, 2))
    for point in range(2):
        own = [point, 2 + point]
        density = [
            scipy.stats.multivariate_normal(m[own], c[np.ix_(own, own)] + np.eye(2) / BETA).pdf(
                y_test[point]
            )
            for m, c in zip(means, covariances)
        ]
        found = float(prediction.log_prob(y_test)[point])
        assert found == pytest.approx(np.log(weights @ density), rel=1e-11)
    # errors: none, of independent draws, of independent blocks
    average = np.tensordot(weights, mixing, axes=1)
    np.testing.assert_allclose(result.mixing_mean, average, rtol=1e-12)
    np.testing.assert_allclose(
        result.mixing_variance, np.tensordot(weights, (mixing - average) ** 2, axes=1), rtol=1e-12
    )
    for values, value, found in [
        (means, mean.reshape(2, 2).T, prediction.mean_error),
        (mixing, average, result.expectation(lambda q: q)[1]),
    ]:
        centre = np.tensordot(weights, values, axes=1)
        scaled = weights.reshape(-1, *(1,) * (values.ndim - 1)) * (values - centre)
        n_blocks = len(weights) // max(block, 1)
        sums = scaled.reshape(n_blocks, max(block, 1), *values.shape[1:]).sum(axis=1)
        error = np.sqrt(np.sum(sums**2, axis=0)) * (block > 0)
        error = error.reshape(2, 2).T if values is means else error
        assert found.shape == value.shape
        np.testing.assert_allclose(found, error, rtol=1e-11)


@pytest.mark.statistical
def test_draws_of_the_function_have_the_dense_joint_moments(made_up, key):
    prediction = result_of(made_up, 1).predict()
    n = 20_000
    draws = np.asarray(prediction.sample(key, n))
    assert draws.shape == (n, 2, 2)
    mean, total, _, _ = dense_mixture(made_up)
    flat = np.moveaxis(draws, 2, 1).reshape(n, 4)
    assert_z(flat.mean(axis=0), mean, np.sqrt(np.diag(total) / n))
    products = (flat - mean)[:, :, None] * (flat - mean)[:, None, :]
    assert_z(products.mean(axis=0), total, products.std(axis=0) / np.sqrt(n))
    by_point = np.einsum("nmd,nme->mde", draws - prediction.mean, draws - prediction.mean) / n
    error = np.einsum("ndmem->nmde", products.reshape(n, 2, 2, 2, 2)).std(axis=0) / np.sqrt(n)
    assert_z(by_point, prediction.covariance, error)


@pytest.mark.statistical
def test_all_points_of_a_draw_share_their_mixing_matrix(made_up, key):
    # the fourth moment across points tells a shared Q from one of each point's own
    prediction = result_of(made_up, 1).predict()
    n = 20_000
    draws = np.asarray(prediction.sample(key, n))
    mean, _, means, covariances = dense_mixture(made_up)
    shifts = means - mean
    # E (f_a - m_a)^2 (f_b - m_b)^2 of a Gaussian with mean shift: output 0 at both points
    v, c = covariances[:, [0, 1], [0, 1]], covariances[:, 0, 1]
    u = shifts[:, [0, 1]]
    second = v + u**2
    fourth = second[:, 0] * second[:, 1] + 2 * c**2 + 4 * c * u[:, 0] * u[:, 1]
    weights = made_up[1]
    squares = np.prod((draws[:, :, 0] - mean[:2]) ** 2, axis=1)
    assert_z(squares.mean(), weights @ fourth, squares.std() / np.sqrt(n))


@pytest.mark.statistical
@pytest.mark.parametrize("case", ["one layer", "two layers"])
def test_mixing_drawn_from_quadrature_has_the_exact_distribution(case, key):
    y, widths, beta, precisions = CASES[case]
    oracle = ScalarOracle(PARTS, y, widths, beta, precisions=precisions)
    result = posterior(compressed(y), Architecture(widths, precisions=(1.0, *precisions)), beta)
    draws = result.sample_mixing(key, 5000)
    assert draws.shape == (5000, 1, 1)
    # draws fall between the nodes of the lattice, too
    assert len(np.unique(draws)) > 4990
    assert scipy.stats.kstest(np.asarray(draws[:, 0, 0]), oracle.cdf).pvalue > 1e-3


@pytest.mark.statistical
def test_mixing_drawn_in_two_dimensions_has_the_exact_moments(exact_two, key):
    result = exact_two
    n = 20_000
    draws = np.asarray(result.sample_mixing(key, n))
    assert (np.linalg.eigvalsh(draws) > 0).all()
    assert_z(draws.mean(axis=0), result.mixing_mean, np.sqrt(result.mixing_variance / n))
    squares = (draws - np.asarray(result.mixing_mean)) ** 2
    assert_z(squares.mean(axis=0), result.mixing_variance, squares.std(axis=0) / np.sqrt(n))


@pytest.mark.statistical
def test_functions_drawn_after_quadrature(exact_one, key):
    oracle = ScalarOracle(PARTS, Y_ONE, (5,), BETA)
    n = 20_000
    draws = np.asarray(exact_one.predict().sample(key, n))[:, :, 0]
    assert_z(draws.mean(axis=0), oracle.mean, np.sqrt(np.diag(oracle.covariance) / n))
    products = (draws - oracle.mean)[:, :, None] * (draws - oracle.mean)[:, None, :]
    assert_z(products.mean(axis=0), oracle.covariance, products.std(axis=0) / np.sqrt(n))


def test_the_same_key_gives_the_same_draws(exact_one):
    keys = jax.random.key(0), jax.random.key(4)
    one, again, default, other = (
        posterior(ONE, FIVE, BETA, method="laplace", key=key, n_draws=N_FEW)
        for key in (keys[0], keys[0], None, keys[1])
    )
    assert one.log_evidence == again.log_evidence == default.log_evidence != other.log_evidence
    np.testing.assert_array_equal(one.nodes.mixing, again.nodes.mixing)
    prediction = exact_one.predict()
    for draw in (exact_one.sample_mixing, prediction.sample):
        first, second, third = (np.asarray(draw(key, 20_000)) for key in (*keys, keys[0]))
        np.testing.assert_array_equal(first, third)
        assert (first != second).all()


# --- importance sampling ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def deep():
    """Return twelve coordinates with much data, and their answer by importance sampling."""
    asked = teacher(*DEEP)
    return asked, posterior(*asked, method="laplace", on_failure="raise")


LAPLACE = {
    "D=1, L=2": ((1, 2, 20, 200, 100.0), 0.4),
    "D=3, L=2": (DEEP, 0.4),
    "D=5, L=2": ((5, 2, 20, 200, 25.0), 0.1),  # 30 coordinates
}


@pytest.mark.parametrize(
    ("instance", "least"),
    [pytest.param(*v, id=k, marks=[pytest.mark.slow] * ("D=5" in k)) for k, v in LAPLACE.items()],
)
@pytest.mark.statistical
def test_laplace_keeps_enough_of_its_draws(instance, least):
    for seed in range(3):
        result = posterior(*teacher(*instance, seed=seed), method="laplace")
        assert result.ess >= least * 20_000
        assert result.pareto_k < 0.7
        assert result.status is Status.CONVERGED


@pytest.mark.statistical
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_laplace_agrees_with_quadrature(n_outputs, exact_two):
    exact = exact_two if n_outputs == 2 else posterior(*teacher(1, 2, 20, 200, 100.0))
    for seed in range(3):
        found = posterior(
            exact.data, exact.architecture, exact.beta, method="laplace", key=jax.random.key(seed)
        )
        assert_z(found.log_evidence, exact.log_evidence, found.log_evidence_error)
        value, error = found.expectation(lambda q: q)
        np.testing.assert_array_equal(value, found.mixing_mean)
        assert_z(value, exact.mixing_mean, error)
        mean = found.mixing_mean
        value, error = found.expectation(lambda q, mean=mean: (q - mean) ** 2)
        np.testing.assert_allclose(value, found.mixing_variance, rtol=1e-12)
        assert_z(value, exact.mixing_variance, error)
        prediction = found.predict()
        assert_z(prediction.mean, exact.predict().mean, prediction.mean_error)


N_KEYS, N_FEW = 200, 1000


@pytest.mark.statistical
def test_errors_of_importance_sampling_are_calibrated(exact_one):
    # in units of the stated errors those of 200 runs are standard normal: a chi-square of 200
    def numbers(result):
        log_q, log_q_error = result.expectation(lambda q: jnp.log(q[0, 0]))
        prediction = result.predict()
        values = [result.log_evidence, log_q, *prediction.mean[:, 0]]
        errors = [result.log_evidence_error, log_q_error, *prediction.mean_error[:, 0]]
        return np.array(values, float), np.array(errors, float)

    exact, _ = numbers(exact_one)
    z = []
    for seed in range(N_KEYS):
        key = jax.random.key(seed)
        found = posterior(ONE, FIVE, BETA, method="laplace", key=key, n_draws=N_FEW)
        value, error = numbers(found)
        z.append((value - exact) / error)
    squares = np.sum(np.square(z), axis=0)
    low, high = scipy.stats.chi2(N_KEYS).ppf([1e-5, 1 - 1e-5])
    assert (squares > low).all()
    assert (squares < high).all()
    assert_z(np.mean(z, axis=0), 0.0, 1 / np.sqrt(N_KEYS))


@pytest.mark.statistical
def test_prior_draws_suffice_for_weak_data(exact_one, key):
    found = posterior(ONE, FIVE, BETA, method="prior", key=key, n_draws=N_FEW)
    assert (found.method, found.status) == ("prior", Status.CONVERGED)
    assert_z(found.log_evidence, exact_one.log_evidence, found.log_evidence_error)
    assert_z(found.mixing_mean, exact_one.mixing_mean, found.expectation(lambda q: q)[1])


def test_prior_draws_fail_loudly_for_strong_data(deep):
    asked, reference = deep
    with pytest.warns(CavityWarning, match="UNRELIABLE_WEIGHTS.*dominated by a few draws") as seen:
        result = posterior(*asked, method="prior")
    assert seen[0].filename == __file__, "the warning points to the caller"
    assert result.status is Status.UNRELIABLE_WEIGHTS
    assert (result.method, result.ess < 100) == ("prior", True)
    assert abs(result.log_evidence - reference.log_evidence) > 5, "the trap is real"
    with pytest.raises(ConvergenceError, match=r"^posterior\(method='prior'\): UNRELIABLE_WEIGHTS"):
        posterior(*asked, method="prior", on_failure="raise")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        silent = posterior(*asked, method="prior", on_failure="ignore")
    assert silent.status is Status.UNRELIABLE_WEIGHTS


# --- two modes -------------------------------------------------------------------------------

BIMODAL_DATA = np.sqrt(2568.591831)
LOW_MODE = 12.41808642  # N q below it
BIMODAL_MASS = {50: 0.772, 200: 0.794, 800: 0.799}
BIMODAL = compress_kernel([[1.0]], [BIMODAL_DATA])


def bimodal(width):
    return BIMODAL, Architecture((width, width), precisions=(1, 1, width)), width / 100


def bimodal_oracle(width):
    # q of order 1 / N; the modes' logarithms are 0.1 wide at N = 800
    log_n = np.log(width)
    return ScalarOracle(
        (1.0, 0.0, 1.0),
        np.array([BIMODAL_DATA]),
        (width, width),
        width / 100,
        precisions=(1, width),
        grid=(-8.0 - log_n, 7.0 - log_n, 15_001),
    )


def low_mode(width):
    return lambda q: jnp.where(q[0, 0] < LOW_MODE / width, 1.0, 0.0)


@pytest.mark.parametrize("width", BIMODAL_MASS)
def test_quadrature_sees_both_modes(width, key):
    oracle = bimodal_oracle(width)
    below = oracle.expectation(oracle.q < LOW_MODE / width)
    # half a cell of the oracle's grid around the valley
    assert below == pytest.approx(BIMODAL_MASS[width], abs=5e-4)
    result = posterior(*bimodal(width))
    assert (result.method, result.status) == ("quadrature", Status.CONVERGED)
    assert result.log_evidence == pytest.approx(oracle.log_evidence, rel=1e-12)
    expected = oracle.expectation(oracle.q)
    assert float(result.mixing_mean[0, 0]) == pytest.approx(expected, rel=1e-9)
    # a jump inside a cell is seen at its nodes alone: at most the heaviest node's weight off
    heaviest = float(jnp.exp(result.nodes.log_weights).max())
    mass, _ = result.expectation(low_mode(width))
    assert float(mass) == pytest.approx(below, abs=heaviest / 2)
    n = 20_000
    drawn = np.mean(np.asarray(result.sample_mixing(key, n)) < LOW_MODE / width)
    assert_z(drawn, below, np.sqrt(below * (1 - below) / n))


@pytest.mark.statistical
def test_importance_sampling_finds_both_modes(key):
    width = 200
    oracle = bimodal_oracle(width)
    below = oracle.expectation(oracle.q < LOW_MODE / width)
    assert below == pytest.approx(0.794, abs=0.02)
    result = posterior(*bimodal(width), method="laplace", key=key)
    assert result.status is Status.CONVERGED
    assert_z(result.log_evidence, oracle.log_evidence, result.log_evidence_error)
    mass, mass_error = result.expectation(low_mode(width))
    assert_z(mass, below, mass_error)
    mean, error = result.expectation(lambda q: q[0, 0])
    assert_z(mean, oracle.expectation(oracle.q), error)
    n = 20_000
    drawn = np.mean(np.asarray(result.sample_mixing(key, n)) < LOW_MODE / width)
    # two errors: of the weighted draws, and of drawing from them
    assert_z(drawn, below, np.sqrt(mass_error**2 + below * (1 - below) / n))


# --- tempering, NUTS, and the choice among all -----------------------------------------------


@pytest.mark.statistical
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_tempering_agrees_with_quadrature(n_outputs, exact_one, exact_two, key):
    exact = exact_one if n_outputs == 1 else exact_two
    found = posterior(exact.data, exact.architecture, BETA, method="smc", key=key)
    assert (found.method, found.status) == ("smc", Status.CONVERGED)
    assert found.pareto_k is None
    assert found.ess > 100
    assert found.log_evidence_error < 0.1
    assert_z(found.log_evidence, exact.log_evidence, found.log_evidence_error)
    assert_z(found.mixing_mean, exact.mixing_mean, found.expectation(lambda q: q)[1])
    prediction = found.predict()
    assert_z(prediction.mean, exact.predict().mean, prediction.mean_error)


@pytest.mark.statistical
def test_tempering_agrees_with_importance_sampling(deep, key):
    asked, reference = deep
    found = posterior(*asked, method="smc", key=key)
    error = np.hypot(found.log_evidence_error, reference.log_evidence_error)
    assert_z(found.log_evidence, reference.log_evidence, error)
    (value, error), (expected, margin) = (r.expectation(lambda q: q) for r in (found, reference))
    assert_z(value, expected, np.hypot(error, margin))


def test_particles_of_many_coordinates_need_little_memory(key):
    # 465 coordinates, a local renormaliser of 30 sites: one matrix a particle would be 3.5 GB
    dim = 465
    reference = StudentMixture(jnp.zeros(1), jnp.zeros((1, dim)), jnp.eye(dim)[None])
    program = jax.jit(solvers_module.reference_particles).lower(key, reference).compile()
    memory = program.memory_analysis()
    assert memory.temp_size_in_bytes < 5e8
    particles = program(key, reference)
    assert particles.shape == (16, 128, dim)
    # islands are independent: none repeats another
    assert len(np.unique(np.asarray(particles[:, 0, 0]))) == 16
    variance = particles.var() * 6 / 8  # Student's t of 8 degrees of freedom: 8/6
    assert variance == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
@pytest.mark.statistical
def test_errors_of_tempering_are_calibrated(exact_one):
    mean, variance = exact_one.mixing_mean[0, 0], exact_one.mixing_variance[0, 0]
    exact = np.array([exact_one.log_evidence, mean, variance])
    z = []
    for seed in range(60):
        found = posterior(ONE, FIVE, BETA, method="smc", key=jax.random.key(seed))
        value, error = found.expectation(lambda q: jnp.stack([q[0, 0], (q[0, 0] - mean) ** 2]))
        values = np.array([found.log_evidence, *value])
        z.append((values - exact) / np.array([found.log_evidence_error, *error]))
    # the error comes from 16 islands: Student's t of 15 degrees of freedom
    reference = np.random.default_rng(0).standard_t(15, size=(100_000, len(z)))
    low, high = np.quantile(np.sum(reference**2, axis=1), [1e-4, 1 - 1e-4])
    squares = np.sum(np.square(z), axis=0)
    assert (squares > low).all()
    assert (squares < high).all()
    assert_z(np.mean(z, axis=0), 0.0, np.sqrt(15 / 13 / len(z)))


def test_auto_takes_the_first_method_that_fits(deep, monkeypatch):
    asked, reference = deep
    assert posterior(ONE, Architecture((5, 3, 6)), BETA).method == "quadrature"
    assert posterior(TWO, TEN, BETA).method == "quadrature"
    chosen = posterior(*asked)
    assert (chosen.method, chosen.status) == ("laplace", Status.CONVERGED)
    assert chosen.log_evidence == reference.log_evidence
    # weights that are not to be trusted: the next
    monkeypatch.setattr(importance_module, "MIN_ESS", 20_000.0)
    moved_on = posterior(*asked)
    assert (moved_on.method, moved_on.status) == ("smc", Status.CONVERGED)
    monkeypatch.undo()
    # too many coordinates for a fixed proposal
    monkeypatch.setattr(solvers_module, "_MAX_LAPLACE_DIMENSION", 11)
    assert posterior(*asked).method == "smc"


@pytest.mark.slow
@pytest.mark.statistical
def test_auto_moves_on_where_importance_sampling_fails():
    asked = teacher(5, 3, 10, 200, 100.0, 2.0, seed=1)
    failed = posterior(*asked, method="laplace", on_failure="ignore", n_draws=2000)
    assert failed.status is Status.UNRELIABLE_WEIGHTS
    found = posterior(*asked, n_draws=2000)
    assert (found.method, found.status) == ("smc", Status.CONVERGED)
    again = posterior(*asked, method="smc", key=jax.random.key(1))
    error = np.hypot(found.log_evidence_error, again.log_evidence_error)
    assert error < 0.2
    assert_z(found.log_evidence, again.log_evidence, error)


@pytest.mark.slow
def test_a_lattice_that_does_not_resolve_is_reported():
    # two neurons for two outputs: the chi-square of one degree of freedom reaches far
    asked = (TWO, Architecture((2,), n_outputs=2), BETA)
    with pytest.warns(CavityWarning, match="TRUNCATED: the integration grid does not resolve"):
        result = posterior(*asked, method="quadrature")
    assert result.status is Status.TRUNCATED


def test_auto_moves_on_from_a_lattice_that_does_not_resolve(exact_two, monkeypatch):
    monkeypatch.setattr(exact_module, "trapezoid", partial(trapezoid, max_nodes=20_000))
    with pytest.raises(ConvergenceError, match=r"^posterior\(method='quadrature'\): TRUNCATED"):
        posterior(TWO, TEN, BETA, method="quadrature", on_failure="raise")
    found = posterior(TWO, TEN, BETA)
    assert (found.method, found.status) == ("laplace", Status.CONVERGED)
    assert_z(found.log_evidence, exact_two.log_evidence, found.log_evidence_error)


# --- shapes and bad input --------------------------------------------------------------------


def test_shapes_of_three_outputs(deep):
    (data, _, _), result = deep
    key = jax.random.key(0)
    assert isinstance(result.log_evidence, float)
    assert isinstance(result.log_evidence_error, float)
    assert isinstance(result.status, Status)
    assert isinstance(result.ess, float)
    assert isinstance(result.pareto_k, float)
    assert result.mixing_mean.shape == result.mixing_variance.shape == (3, 3)
    np.testing.assert_array_equal(result.mixing_mean, np.asarray(result.mixing_mean).T)
    assert result.sample_mixing(key, 7).shape == (7, 3, 3)
    value, error = result.expectation(jnp.trace)
    assert value.shape == error.shape == ()
    assert float(value) == pytest.approx(np.trace(result.mixing_mean), rel=1e-12)
    value, error = result.expectation(jnp.linalg.eigvalsh)
    assert value.shape == error.shape == (3,)
    assert float(result.expectation(lambda q: 3)[0]) == pytest.approx(3.0, rel=1e-12)
    prediction = result.predict()
    m = data.test_variance.size
    assert prediction.mean.shape == prediction.mean_error.shape == (m, 3)
    assert prediction.covariance.shape == (m, 3, 3)
    assert prediction.sample(key, 7).shape == (7, m, 3)
    assert prediction.log_prob(np.zeros((m, 3))).shape == (m,)
    with pytest.raises(ValueError, match=r"^y: expected shape \(2, 3\), got \(2, 2\)"):
        prediction.log_prob(np.zeros((m, 2)))
    with pytest.raises(ValueError, match=r"^y: expected finite numbers, got nan"):
        prediction.log_prob(np.full((m, 3), np.nan))
    with pytest.raises(TypeError, match=r"^key: expected a key from jax.random.key"):
        prediction.sample(jax.random.PRNGKey(0), 7)
    with pytest.raises(TypeError, match=r"^key: expected a key from jax.random.key"):
        result.sample_mixing(0, 7)


def test_predictions_need_test_points():
    result = posterior(ONE.training_part, FIVE, BETA)
    with pytest.raises(ValueError, match=r"^data: expected test inputs, got none; hand x_test"):
        result.predict()


def test_a_function_that_is_known_has_no_density():
    # noise-free: the training points say everything about themselves
    again = compress_kernel(KERNEL, Y_ONE, KERNEL[:, 1:], KERNEL[1:, 1:])
    prediction = posterior(again, FIVE, math.inf).predict()
    np.testing.assert_allclose(prediction.mean[:, 0], Y_ONE[1:], rtol=1e-12)
    np.testing.assert_allclose(prediction.covariance, np.zeros((2, 1, 1)), atol=1e-14)
    with pytest.raises(ValueError, match=r"^y: expected test points with a density, got point 0"):
        prediction.log_prob(Y_ONE[1:])
    # and leave the others free
    oracle = ScalarOracle(PARTS, Y_ONE, (5,), math.inf)
    found = posterior(ONE, FIVE, math.inf).predict().log_prob([0.4, -1.0])
    np.testing.assert_allclose(found, oracle.log_prob([0.4, -1.0]), rtol=1e-9)


DEPENDENT = compressed(Y_ONE[:, None] * [1.0, -2.0])
LOW_RANK = compress(np.eye(3)[:, :2], Y_ONE, Architecture((5,)))


@pytest.mark.parametrize(
    ("data", "architecture", "beta", "options", "error", "message"),
    [
        (ONE, FIVE, 0.0, {}, ValueError, "beta: expected a positive number, got 0"),
        (ONE, FIVE, -1.0, {}, ValueError, "beta: expected a positive number, got -1"),
        (ONE, FIVE, math.nan, {}, ValueError, "beta: expected a positive number, got nan"),
        (ONE, FIVE, -math.inf, {}, ValueError, "beta: expected a positive number, got -inf"),
        (ONE, FIVE, "warm", {}, TypeError, "beta: expected a positive number, got 'warm'"),
        (LOW_RANK, FIVE, math.inf, {}, ValueError, "beta: .* full rank, got rank 2 for 3 samples"),
        (
            TWO,
            Architecture((3, 1), n_outputs=2),
            math.inf,
            {},
            ValueError,
            r"beta: .* widths of at least 2 .* got \(3, 1\): Q is singular, .* Wisharts",
        ),
        # the density of Q diverges where the targets vanish and N - n_null + 1 <= P
        (
            DEPENDENT,
            Architecture((3,), n_outputs=2),
            math.inf,
            {},
            ValueError,
            r"beta: .* linearly independent targets, got rank 1 for 2 outputs \(the evidence is ",
        ),
        (
            compressed(0 * Y_ONE),
            Architecture((3,)),
            math.inf,
            {},
            ValueError,
            "beta: .* got rank 0 for 1 outputs",
        ),
        (
            ONE,
            FIVE,
            BETA,
            {"method": "vi"},
            ValueError,
            "method: expected one of auto, quadrature, laplace, smc, nuts, prior; got 'vi'",
        ),
        (
            TWO,
            FIVE,
            BETA,
            {},
            ValueError,
            "architecture.n_outputs: expected 2 as the data have, got 1",
        ),
        (
            ONE,
            FIVE,
            BETA,
            {"on_failure": "shrug"},
            ValueError,
            "on_failure: expected 'warn', 'raise' or 'ignore', got 'shrug'",
        ),
        (
            teacher(*DEEP)[0],
            Architecture((10, 10), n_outputs=3),
            BETA,
            {"method": "quadrature"},
            ValueError,
            r"method: quadrature needs one output or at most 3 coordinates, got 12 .*'laplace'",
        ),
        (
            ONE,
            FIVE,
            BETA,
            {"key": jax.random.PRNGKey(0)},
            TypeError,
            r"key: expected a key from jax.random.key\(seed\), .* not PRNGKey",
        ),
        (ONE, FIVE, BETA, {"key": 0}, TypeError, "key: expected a key from jax.random.key"),
        (
            ONE,
            FIVE,
            BETA,
            {"key": jax.random.split(jax.random.key(0))},
            TypeError,
            "key: expected a key from jax.random.key",
        ),
        (ONE, FIVE, BETA, {"n_draws": 0}, ValueError, "n_draws: expected an integer of at least 1"),
        (ONE, FIVE, BETA, {"n_draws": 1e3}, ValueError, "n_draws: expected an integer"),
    ],
)
def test_bad_input_is_named(data, architecture, beta, options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        posterior(data, architecture, beta, **options)


def test_targets_of_zero_without_noise_where_the_evidence_is_finite():
    # N = 4 > P = 3: E (2 pi q)^(-3/2) |K|^(-1/2) by the Mellin transform of a Gamma
    log_moment = scipy.special.gammaln(2 - 1.5) - scipy.special.gammaln(2) + 1.5 * np.log(2)
    log_det = np.linalg.slogdet(2 * np.pi * KERNEL)[1]
    result = posterior(compressed(0 * Y_ONE), Architecture((4,)), math.inf)
    assert result.log_evidence == pytest.approx(log_moment - 0.5 * log_det, rel=1e-10)


def test_bad_input_of_the_infinite_limit_is_named():
    with pytest.raises(ValueError, match=r"^beta: expected a positive number, got 0"):
        infinite_width(ONE, FIVE, 0.0)
    with pytest.raises(ValueError, match=r"^beta: .* full rank, got rank 2 for 3 samples"):
        infinite_width(LOW_RANK, FIVE, math.inf)


def test_single_precision_is_refused():
    with jax.enable_x64(False):
        with pytest.raises(PrecisionError, match=r"^posterior needs double precision"):
            posterior(ONE, FIVE, BETA)
        with pytest.raises(PrecisionError, match=r"^infinite_width needs double precision"):
            infinite_width(ONE, FIVE, BETA)
