"""Given the mixing matrix: evidence, predictions, draws and gradients, against dense formulas.

The oracle is the multivariate normal ``N(0, Q (x) K + I / beta)`` written out in NumPy and SciPy:
``np.kron(Q, K)`` on targets stored outputs first, ``Y.T.reshape(-1)``.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from suite_helpers import assert_z

from models.deep_linear import (
    Architecture,
    CompressedData,
    compress,
    compress_kernel,
    log_evidence_given_mixing,
)
from models.deep_linear.conditional import (
    conditional_draw,
    conditional_log_density,
    conditional_moments,
    log_evidence_cholesky,
    regression_coefficients,
    require_test_points,
)

BETA = 3.0
N_TEST = 3
# tall (every direction but 4 outside the range), wide (all inside), and of rank 4 in both
SHAPES = {"P > N0": (9, 4, 4), "P < N0": (4, 9, 4), "low rank": (7, 6, 4)}
# one set of eigenvalues a size, D = 3 with two of them equal, and their rotation
STRENGTHS = {1: [0.6], 2: [0.3, 1.7], 3: [0.5, 0.5, 1.4]}


def mixing_of(strengths, *, seed=5):
    size = len(strengths)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]
    return (basis * strengths) @ basis.T


class Problem:
    """Inputs and targets, compressed and as dense kernels."""

    def __init__(self, shape, n_outputs, *, seed=0):
        n_samples, n_inputs, rank = SHAPES[shape]
        rng = np.random.default_rng(seed)
        basis = rng.normal(size=(rank, n_inputs))
        x = rng.normal(size=(n_samples, rank)) @ basis
        x_test = np.vstack([rng.normal(size=rank) @ basis, rng.normal(size=(2, n_inputs))])
        self.y = rng.normal(size=(n_samples, n_outputs))
        self.y_test = rng.normal(size=(N_TEST, n_outputs))
        self.kernel, self.cross, self.test_kernel = (
            a @ b.T / (2.0 * n_inputs) for a, b in [(x, x), (x, x_test), (x_test, x_test)]
        )
        network = Architecture((3,), n_outputs, precisions=(2.0, 1.0))
        self.data = compress(x, self.y, network, x_test)

    def covariance(self, mixing, beta):
        both = np.kron(mixing, self.kernel)
        return both + np.eye(len(both)) / beta

    def log_evidence(self, mixing, beta, y=None):
        targets = (self.y if y is None else y).T.reshape(-1)
        return scipy.stats.multivariate_normal(cov=self.covariance(mixing, beta)).logpdf(targets)

    def test_moments(self, mixing, beta):
        """Mean ``(D m,)`` and covariance ``(D m, D m)`` of the function, outputs slow."""
        towards = np.kron(mixing, self.cross)
        gain = np.linalg.solve(self.covariance(mixing, beta), towards).T
        mean = gain @ self.y.T.reshape(-1)
        return mean, np.kron(mixing, self.test_kernel) - gain @ towards


@pytest.fixture(scope="module")
def problems():
    return {(s, d): Problem(s, d) for s in SHAPES for d in STRENGTHS}


ALL = pytest.mark.parametrize("n_outputs", STRENGTHS)
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES)

evidence = jax.jit(log_evidence_given_mixing)
evidence_cholesky = jax.jit(log_evidence_cholesky)
moments = jax.jit(conditional_moments)
gradients = jax.jit(jax.value_and_grad(log_evidence_given_mixing, argnums=(0, 1, 2)))
gradients_cholesky = jax.jit(jax.value_and_grad(log_evidence_cholesky, argnums=(0, 1, 2)))


@EVERY_SHAPE
@ALL
def test_evidence_is_the_dense_gaussian(problems, shape, n_outputs):
    problem, mixing = problems[shape, n_outputs], mixing_of(STRENGTHS[n_outputs])
    expected = problem.log_evidence(mixing, BETA)
    # both sides round at 1e-16 times a condition number below 1e3
    assert evidence(mixing, problem.data, BETA) == pytest.approx(expected, rel=1e-12)
    assert evidence_cholesky(mixing, problem.data, BETA) == pytest.approx(expected, rel=1e-12)


@EVERY_SHAPE
@ALL
def test_predictions_are_the_dense_regression(problems, shape, n_outputs):
    problem, mixing = problems[shape, n_outputs], mixing_of(STRENGTHS[n_outputs])
    mean, covariance = moments(mixing, problem.data, BETA)
    dense_mean, dense_covariance = problem.test_moments(mixing, BETA)
    assert mean.shape == (N_TEST, n_outputs)
    assert covariance.shape == (N_TEST, n_outputs, n_outputs)
    np.testing.assert_allclose(mean, dense_mean.reshape(n_outputs, N_TEST).T, atol=1e-12)
    by_output = dense_covariance.reshape(n_outputs, N_TEST, n_outputs, N_TEST)
    np.testing.assert_allclose(covariance, np.einsum("dmem->mde", by_output), atol=1e-12)
    # the density of an observation adds its noise
    found = conditional_log_density(jnp.asarray(problem.y_test), mixing, problem.data, BETA)
    expected = [
        scipy.stats.multivariate_normal(
            mean=dense_mean.reshape(n_outputs, N_TEST)[:, a],
            cov=by_output[:, a, :, a] + np.eye(n_outputs) / BETA,
        ).logpdf(problem.y_test[a])
        for a in range(N_TEST)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("strengths", [[0.0, 0.0, 1.2], [0.0, 0.4, 0.9], [0.0, 0.0, 0.0]])
def test_a_singular_mixing_matrix_is_fine_at_finite_noise(problems, strengths):
    problem, mixing = problems["P > N0", 3], mixing_of(strengths)
    expected = problem.log_evidence(mixing, BETA)
    value, slopes = gradients(mixing, problem.data, BETA)
    assert value == pytest.approx(expected, rel=1e-12)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    dense_mean, dense_covariance = problem.test_moments(mixing, BETA)
    mean, covariance = moments(mixing, problem.data, BETA)
    np.testing.assert_allclose(mean, dense_mean.reshape(3, N_TEST).T, atol=1e-12)
    blocks = np.einsum("dmem->mde", dense_covariance.reshape(3, N_TEST, 3, N_TEST))
    np.testing.assert_allclose(covariance, blocks, atol=1e-12)


@ALL
def test_targets_without_noise(problems, n_outputs):
    problem, mixing = problems["P < N0", n_outputs], mixing_of(STRENGTHS[n_outputs])
    expected = problem.log_evidence(mixing, np.inf)
    value, (d_mixing, d_data, d_beta) = gradients(mixing, problem.data, np.inf)
    assert value == pytest.approx(expected, rel=1e-12)
    reference = gradients_cholesky(mixing, problem.data, np.inf)[1]
    np.testing.assert_allclose(d_mixing, reference[0], rtol=1e-9)
    np.testing.assert_allclose(d_data.eigenvalues, reference[1].eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(d_data.targets, reference[1].targets, rtol=1e-9)
    assert d_beta == 0.0
    mean, covariance = moments(mixing, problem.data, np.inf)
    _, dense_covariance = problem.test_moments(mixing, np.inf)
    # the mean does not know Q: Y^T K^-1 K(X, Xs)
    without_mixing = problem.cross.T @ np.linalg.solve(problem.kernel, problem.y)
    np.testing.assert_allclose(mean, without_mixing, atol=1e-11)
    by_output = dense_covariance.reshape(n_outputs, N_TEST, n_outputs, N_TEST)
    np.testing.assert_allclose(covariance, np.einsum("dmem->mde", by_output), atol=1e-11)


def test_a_singular_mixing_matrix_without_noise_predicts_within_its_range(problems):
    # the limit T -> 0, where the null direction is exactly null: 0 / 0 must not appear
    problem, mixing = problems["P < N0", 3], np.diag([0.0, 0.7, 1.2])
    limit = regression_coefficients(mixing, problem.data, 1e13)
    found = regression_coefficients(mixing, problem.data, np.inf)
    assert not found[0].any()
    np.testing.assert_allclose(found, limit, rtol=1e-8)
    mean, covariance = moments(mixing, problem.data, np.inf)
    mean_limit, covariance_limit = moments(mixing, problem.data, 1e13)
    np.testing.assert_allclose(mean, mean_limit, atol=1e-9)
    np.testing.assert_allclose(covariance, covariance_limit, atol=1e-9)


N_DRAWS = 20_000


@partial(jax.jit, static_argnames="n")
def draw_many(key, mixing, data, beta, n=N_DRAWS):
    draws = jax.vmap(conditional_draw, in_axes=(0, None, None, None))
    return draws(jax.random.split(key, n), mixing, data, beta)


def assert_gaussian(draws, mean, covariance):
    """Compare moments of draws ``(n, k)``; the errors are those of a Gaussian sample."""
    n = len(draws)
    variance = np.diag(covariance)
    assert_z(draws.mean(axis=0), mean, np.sqrt(variance / n))
    shifted = draws - mean
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert_z(shifted.T @ shifted / n, covariance, error)
    # Gaussian: the fourth moment of every coordinate is 3, with the standard error sqrt(96 / n)
    assert_z(np.mean(shifted**4, axis=0) / variance**2, 3.0, np.sqrt(96 / n))


@pytest.mark.statistical
@pytest.mark.parametrize("beta", [BETA, np.inf])
def test_draws_have_the_joint_dense_moments(problems, key, beta):
    problem, mixing = problems["P < N0", 2], mixing_of(STRENGTHS[2])
    draws = np.asarray(draw_many(key, mixing, problem.data, beta))
    assert draws.shape == (N_DRAWS, N_TEST, 2)
    mean, covariance = problem.test_moments(mixing, beta)
    if beta == np.inf:
        # the first test point lies in the span of the inputs: there the function is known
        np.testing.assert_allclose(draws[:, 0], np.broadcast_to(draws[0, 0], (N_DRAWS, 2)))
        np.testing.assert_allclose(draws[0, 0], mean.reshape(2, N_TEST)[:, 0], atol=1e-11)
        draws = draws[:, 1:]
        rest = np.array([1, 2, 4, 5])
        mean, covariance = mean[rest], covariance[np.ix_(rest, rest)]
    assert_gaussian(np.moveaxis(draws, 2, 1).reshape(N_DRAWS, -1), mean, covariance)


@pytest.mark.statistical
def test_draws_of_a_singular_mixing_matrix(problems, key):
    problem, mixing = problems["P > N0", 2], mixing_of([0.0, 1.7])
    draws = np.asarray(draw_many(key, mixing, problem.data, BETA))
    mean, covariance = problem.test_moments(mixing, BETA)
    # one direction of output space: the other is zero up to the root of rounding
    null = np.linalg.eigh(mixing)[1][:, 0]
    assert np.abs(draws @ null).max() < 1e-6
    along = np.linalg.eigh(mixing)[1][:, 1]
    lift = np.kron(along[None], np.eye(N_TEST))
    assert_gaussian(draws @ along, lift @ mean, lift @ covariance @ lift.T)


@pytest.mark.statistical
def test_draws_from_a_diagonal_test_kernel_are_exact_per_point(problems, key):
    problem, mixing = problems["P < N0", 2], mixing_of(STRENGTHS[2])
    diagonal = compress_kernel(
        problem.kernel, problem.y, problem.cross, np.diag(problem.test_kernel)
    )
    draws = np.asarray(draw_many(key, mixing, diagonal, BETA))
    mean, covariance = problem.test_moments(mixing, BETA)
    for a in range(N_TEST):
        own = np.array([a, N_TEST + a])
        assert_gaussian(draws[:, a], mean[own], covariance[np.ix_(own, own)])
    # between points: what the training range determines, and nothing else
    explained = problem.cross.T @ np.linalg.solve(problem.kernel, problem.cross)
    inside = covariance - np.kron(mixing, problem.test_kernel - explained)
    shifted = np.moveaxis(draws, 2, 1).reshape(N_DRAWS, -1) - mean
    across = ~np.kron(np.ones((2, 2)), np.eye(N_TEST)).astype(bool)
    variance = np.diag(covariance)
    error = np.sqrt((np.outer(variance, variance) + inside**2) / N_DRAWS)
    assert_z((shifted.T @ shifted / N_DRAWS)[across], inside[across], error[across])


# --- gradients -------------------------------------------------------------------------------


@EVERY_SHAPE
@ALL
@pytest.mark.parametrize("at", ["generic", "identity"])
def test_the_gradient_is_that_of_the_cholesky_form(problems, shape, n_outputs, at):
    problem = problems[shape, n_outputs]
    mixing = mixing_of(STRENGTHS[n_outputs]) if at == "generic" else np.eye(n_outputs)
    value, (d_mixing, d_data, d_beta) = gradients(mixing, problem.data, BETA)
    expected, (e_mixing, e_data, e_beta) = gradients_cholesky(mixing, problem.data, BETA)
    assert value == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(d_mixing, e_mixing, atol=1e-9)
    np.testing.assert_allclose(d_mixing, np.asarray(d_mixing).T, atol=1e-13)
    assert d_beta == pytest.approx(float(e_beta), abs=1e-9)
    assert isinstance(d_data, CompressedData)
    for name in ("eigenvalues", "targets", "residual"):
        found, reference = getattr(d_data, name), getattr(e_data, name)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, reference, atol=1e-9, err_msg=name)
    for name in ("test_features", "test_variance", "test_remainder"):
        assert not np.asarray(getattr(d_data, name)).any()


def derivative(f, step):
    """Central difference of fourth order at zero."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


# truncation step^4 f'''''/30 and rounding 1e-14/step, both below 1e-9 for these numbers of order 1
STEP, DIFFERENCE_TOLERANCE = 1e-3, 1e-8


@EVERY_SHAPE
def test_the_gradient_is_the_slope_of_the_dense_evidence(problems, shape):
    problem, mixing = problems[shape, 3], mixing_of(STRENGTHS[3])
    data = moved_targets(problem, 0.0)
    d_mixing, d_data, d_beta = gradients(mixing, data, BETA)[1]
    rng = np.random.default_rng(6)
    for _ in range(3):
        towards = rng.normal(size=(3, 3)) / 10
        path = partial(moved_evidence, problem, mixing, towards + towards.T)
        expected = float(np.sum(d_mixing * (towards + towards.T)))
        assert derivative(path, STEP) == pytest.approx(expected, abs=DIFFERENCE_TOLERANCE)
    slope = derivative(lambda h: problem.log_evidence(mixing, BETA + h), STEP)
    assert d_beta == pytest.approx(slope, abs=DIFFERENCE_TOLERANCE)
    # moving the targets moves both their part in the range and the residual
    towards = rng.normal(size=problem.y.shape) / 10
    dense = derivative(lambda h: problem.log_evidence(mixing, BETA, problem.y + h * towards), STEP)
    found = derivative(lambda h: evidence(mixing, moved_targets(problem, h * towards), BETA), STEP)
    assert found == pytest.approx(dense, abs=DIFFERENCE_TOLERANCE)
    rotated = moved_targets(problem, towards).targets - data.targets
    d_residual = derivative(lambda h: moved_targets(problem, h * towards).residual, STEP)
    chained = np.sum(d_data.targets * rotated) + d_data.residual * d_residual
    assert chained == pytest.approx(dense, abs=DIFFERENCE_TOLERANCE)
    # and scaling the kernel scales every eigenvalue
    slope = derivative(lambda h: problem.log_evidence(mixing * np.exp(h), BETA), STEP)
    scaled = np.sum(d_data.eigenvalues * data.eigenvalues)
    assert scaled == pytest.approx(slope, abs=DIFFERENCE_TOLERANCE)


def moved_evidence(problem, mixing, towards, h):
    return problem.log_evidence(mixing + h * towards, BETA)


def moved_targets(problem, shift):
    return compress_kernel(problem.kernel, problem.y + shift)


def test_the_hessian_of_the_cholesky_form_is_the_slope_of_the_gradient(problems):
    problem = problems["P > N0", 3]
    # two equal eigenvalues and three: automatic differentiation of eigh has no value here
    for mixing in (np.eye(3), mixing_of(STRENGTHS[3])):
        hessian = jax.jit(jax.hessian(log_evidence_cholesky))(mixing, problem.data, BETA)
        assert np.isfinite(hessian).all()
        rng = np.random.default_rng(7)
        for _ in range(2):
            towards = rng.normal(size=(3, 3))
            towards = (towards + towards.T) / 10

            def slope_at(h, mixing=mixing, towards=towards):
                return np.asarray(gradients(mixing + h * towards, problem.data, BETA)[1][0])

            expected = derivative(slope_at, STEP)
            found = np.einsum("abcd,cd->ab", hessian, towards)
            np.testing.assert_allclose(found, expected, atol=DIFFERENCE_TOLERANCE)


def test_cotangents_scale_every_gradient(problems):
    # f(Q, data, beta)^2 has the gradient 2 f f': the rule must multiply by the cotangent everywhere
    problem, mixing = problems["low rank", 2], mixing_of(STRENGTHS[2])
    squared = jax.grad(lambda *a: log_evidence_given_mixing(*a) ** 2, argnums=(0, 1, 2))
    value, plain = gradients(mixing, problem.data, BETA)
    for found, single in zip(
        jax.tree.leaves(squared(mixing, problem.data, BETA)), jax.tree.leaves(plain)
    ):
        np.testing.assert_allclose(found, 2 * value * single, rtol=1e-12, atol=1e-12)


def test_vectorised_is_a_loop_and_compiled_is_eager(problems):
    problem = problems["P > N0", 3]
    scales = np.array([0.5, 1.0, 2.0, 3.0])
    stack = jnp.asarray(scales[:, None, None] * mixing_of(STRENGTHS[3]))
    many = jax.vmap(log_evidence_given_mixing, in_axes=(0, None, None))
    each = [float(evidence(mixing, problem.data, BETA)) for mixing in stack]
    np.testing.assert_allclose(many(stack, problem.data, BETA), each, rtol=1e-13)
    eager = [float(log_evidence_given_mixing(mixing, problem.data, BETA)) for mixing in stack]
    np.testing.assert_allclose(eager, each, rtol=1e-13)
    slopes = jax.vmap(jax.grad(log_evidence_given_mixing), in_axes=(0, None, None))
    one_by_one = [gradients(mixing, problem.data, BETA)[1][0] for mixing in stack]
    np.testing.assert_allclose(slopes(stack, problem.data, BETA), one_by_one, atol=1e-12)
    # and over the noise
    over_beta = jax.vmap(log_evidence_given_mixing, in_axes=(None, None, 0))
    each = [problem.log_evidence(np.asarray(stack[0]), beta) for beta in scales]
    np.testing.assert_allclose(over_beta(stack[0], problem.data, scales), each, rtol=1e-12)


def test_new_numbers_do_not_compile_again(problems):
    problem = problems["P > N0", 3]
    traced = []

    @jax.jit
    def counted(mixing, data, beta):
        traced.append(None)
        return log_evidence_given_mixing(mixing, data, beta)

    other = Problem("P > N0", 3, seed=1)
    for data, beta in [(problem.data, 1.0), (problem.data, 2.0), (other.data, 3.0)]:
        counted(mixing_of(STRENGTHS[3]), data, beta)
    assert len(traced) == 1


def test_nothing_of_the_size_of_the_samples_is_left(problems):
    rng = np.random.default_rng(8)
    data = compress(rng.normal(size=(1000, 4)), rng.normal(size=(1000, 3)), Architecture((3,), 3))
    program = str(
        jax.make_jaxpr(jax.value_and_grad(log_evidence_given_mixing))(np.eye(3), data, 1.0)
    )
    shapes = re.findall(r"f64\[([\d,]*)\]", program)
    sizes = [np.prod([int(n) for n in shape.split(",") if n]) for shape in shapes]
    assert "3,4" in shapes, "the program was read"
    assert max(sizes) <= 4 * 4  # inputs by inputs


def test_missing_test_points_are_said():
    data = compress(np.eye(2), [1.0, 2.0], Architecture((3,)))
    for function in (require_test_points, partial(conditional_moments, np.eye(1), beta=1.0)):
        with pytest.raises(ValueError, match=r"^data: expected test inputs, got none; hand x_test"):
            function(data=data)
