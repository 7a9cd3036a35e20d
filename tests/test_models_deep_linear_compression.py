"""The data in the eigenbasis of its kernel, against the dense kernel that it stands for.

The basis is free up to signs and rotations among equal eigenvalues, so what is compared are the
matrices that do not depend on it: ``Y^T g(K) K(X, Xs)`` and its kin, for enough functions ``g`` to
determine every eigenvalue's part.
"""

import dataclasses

import jax
import numpy as np
import pytest

from inference.status import PrecisionError
from models.deep_linear import Architecture, CompressedData, compress, compress_kernel

LAMBDA_0 = 1.7
N_OUTPUTS = 3
N_TEST = 4
NETWORK = Architecture((5,), n_outputs=N_OUTPUTS, precisions=(LAMBDA_0, 1.0))
RIDGES = (0.03, 0.4, 5.0)  # comparable with the eigenvalues

# rows, columns and rank of X: tall, wide, square, between N0 and N0 + D, of low rank, smallest
SHAPES = [
    (12, 4, 4),
    (4, 12, 4),
    (6, 6, 6),
    (8, 6, 6),
    (12, 5, 2),
    (5, 12, 2),
    (9, 8, 3),
    (1, 1, 1),
]
SHAPE_IDS = [f"P={p}, N0={n}, rank={r}" for p, n, r in SHAPES]


def random_inputs(n_samples, n_inputs, rank, *, seed=0):
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(rank, n_inputs))
    x = rng.normal(size=(n_samples, rank)) @ basis
    y = rng.normal(size=(n_samples, N_OUTPUTS))
    # one test point in the span of the training inputs, the others anywhere
    x_test = np.vstack([rng.normal(size=rank) @ basis, rng.normal(size=(N_TEST - 1, n_inputs))])
    return x, y, x_test


def dense_kernel(a, b, lambda_0=LAMBDA_0):
    return a @ b.T / (lambda_0 * a.shape[1])


def invariants(data, ridge):
    """What regression with any noise reads off: seen through the compressed data."""
    resolvent = 1 / (np.asarray(data.eigenvalues) + ridge)
    targets, features = np.asarray(data.targets), np.asarray(data.test_features)
    return {
        "coefficients": (targets * resolvent) @ features,
        "explained": (features.T * resolvent) @ features,
        "targets": np.trace((targets * resolvent) @ targets.T) + data.residual / ridge,
    }


def dense_invariants(kernel, y, cross, ridge):
    solve = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
    return {
        "coefficients": y.T @ solve @ cross,
        "explained": cross.T @ solve @ cross,
        "targets": np.trace(y.T @ solve @ y),
    }


def assert_stands_for(data, kernel, y, cross, test_kernel):
    for ridge in RIDGES:
        found, expected = invariants(data, ridge), dense_invariants(kernel, y, cross, ridge)
        for name, value in expected.items():
            # rounding of the inverse: condition number < 1e4 at these ridges
            np.testing.assert_allclose(found[name], value, rtol=1e-11, atol=1e-11, err_msg=name)
    np.testing.assert_allclose(data.test_variance, np.diag(test_kernel), rtol=1e-12)


@pytest.mark.parametrize(("n_samples", "n_inputs", "rank"), SHAPES, ids=SHAPE_IDS)
def test_compressed_inputs_stand_for_their_dense_kernel(n_samples, n_inputs, rank):
    x, y, x_test = random_inputs(n_samples, n_inputs, rank)
    data = compress(x, y, NETWORK, x_test)
    kernel, cross = dense_kernel(x, x), dense_kernel(x, x_test)
    test_kernel = dense_kernel(x_test, x_test)

    assert (data.rank, data.n_outputs, data.n_samples) == (rank, N_OUTPUTS, n_samples)
    assert data.targets.shape == (N_OUTPUTS, rank)
    assert data.test_features.shape == (rank, N_TEST)
    assert data.test_variance.shape == (N_TEST,)
    values, vectors = np.linalg.eigh(kernel)
    values, vectors = values[::-1][:rank], vectors[:, ::-1][:, :rank]
    np.testing.assert_allclose(data.eigenvalues, values, rtol=1e-11)
    # up to signs: these eigenvalues are simple
    np.testing.assert_allclose(np.abs(data.targets), np.abs(y.T @ vectors), atol=1e-10)
    np.testing.assert_allclose(np.abs(data.test_features), np.abs(vectors.T @ cross), atol=1e-10)
    outside = y - vectors @ (vectors.T @ y)
    np.testing.assert_allclose(data.residual, np.sum(outside**2), rtol=1e-11, atol=1e-20)
    assert_stands_for(data, kernel, y, cross, test_kernel)
    # inside the training range and outside it together: the whole test kernel
    features, remainder = np.asarray(data.test_features), np.asarray(data.test_remainder)
    inside = (features.T / np.asarray(data.eigenvalues)) @ features
    np.testing.assert_allclose(inside + remainder @ remainder.T, test_kernel, atol=1e-12)


@pytest.mark.parametrize(("n_samples", "n_inputs", "rank"), SHAPES, ids=SHAPE_IDS)
def test_a_precomputed_kernel_gives_the_same_as_its_inputs(n_samples, n_inputs, rank):
    x, y, x_test = random_inputs(n_samples, n_inputs, rank, seed=1)
    kernel, cross = dense_kernel(x, x), dense_kernel(x, x_test)
    test_kernel = dense_kernel(x_test, x_test)
    data, reference = (
        compress_kernel(kernel, y, cross, test_kernel),
        compress(x, y, NETWORK, x_test),
    )

    assert (data.rank, data.n_outputs, data.n_samples) == (rank, N_OUTPUTS, n_samples)
    np.testing.assert_allclose(data.eigenvalues, reference.eigenvalues, rtol=1e-10)
    np.testing.assert_allclose(data.residual, reference.residual, rtol=1e-9, atol=1e-20)
    assert_stands_for(data, kernel, y, cross, test_kernel)
    # the remainders are two factors of one matrix; sqrt(1e-16) enters through the eigenvalues
    remainders = [np.asarray(d.test_remainder) for d in (data, reference)]
    products = [remainder @ remainder.T for remainder in remainders]
    np.testing.assert_allclose(*products, atol=1e-12)


def test_the_first_precision_divides_the_kernel():
    x, y, x_test = random_inputs(5, 3, 3)
    one, four = (
        compress(x, y, Architecture((2, 2), N_OUTPUTS, precisions=(precision, 7.0, 0.3)), x_test)
        for precision in (1.0, 4.0)
    )
    np.testing.assert_allclose(four.eigenvalues, one.eigenvalues / 4, rtol=1e-12)
    np.testing.assert_allclose(four.test_features, one.test_features / 4, rtol=1e-11)
    np.testing.assert_allclose(four.test_variance, one.test_variance / 4, rtol=1e-12)
    np.testing.assert_allclose(four.residual, one.residual, rtol=1e-12)
    np.testing.assert_allclose(one.test_variance, np.sum(x_test**2, axis=1) / 3, rtol=1e-12)


@pytest.mark.parametrize(("n_samples", "n_inputs", "rank"), [(12, 4, 4), (4, 12, 4), (7, 9, 2)])
@pytest.mark.parametrize("route", ["inputs", "kernel"])
def test_the_joint_covariance_of_test_points_is_the_dense_one(n_samples, n_inputs, rank, route):
    x, y, x_test = random_inputs(n_samples, n_inputs, rank, seed=2)
    kernel, cross = dense_kernel(x, x), dense_kernel(x, x_test)
    test_kernel = dense_kernel(x_test, x_test)
    data = (
        compress(x, y, NETWORK, x_test)
        if route == "inputs"
        else compress_kernel(kernel, y, cross, test_kernel)
    )
    mixing = np.array([[1.3, 0.4, -0.2], [0.4, 0.7, 0.1], [-0.2, 0.1, 0.5]])
    noise = 0.2
    # dense: Cov(f* | Q, Y) with Cov(S) = Q (x) K, outputs slow
    both = np.kron(mixing, kernel) + noise * np.eye(N_OUTPUTS * n_samples)
    towards = np.kron(mixing, cross)
    dense = np.kron(mixing, test_kernel) - towards.T @ np.linalg.solve(both, towards)
    # compressed: in the eigenbasis of Q every direction is a Gaussian process of its own
    features, remainder = np.asarray(data.test_features), np.asarray(data.test_remainder)
    eigenvalues = np.asarray(data.eigenvalues)
    strengths, basis = np.linalg.eigh(mixing)
    compressed = sum(
        np.kron(
            np.outer(basis[:, k], basis[:, k]),
            g * ((features.T / eigenvalues) @ features + remainder @ remainder.T)
            - g**2 * (features.T / (g * eigenvalues + noise)) @ features,
        )
        for k, g in enumerate(strengths)
    )
    np.testing.assert_allclose(compressed, dense, atol=1e-12)


def test_a_diagonal_test_kernel_keeps_everything_per_point():
    x, y, x_test = random_inputs(5, 8, 5)
    kernel, cross = dense_kernel(x, x), dense_kernel(x, x_test)
    test_kernel = dense_kernel(x_test, x_test)
    full = compress_kernel(kernel, y, cross, test_kernel)
    diagonal = compress_kernel(kernel, y, cross, np.diag(test_kernel))
    assert diagonal.test_remainder is None
    np.testing.assert_array_equal(diagonal.test_variance, full.test_variance)
    np.testing.assert_array_equal(diagonal.test_features, full.test_features)


def test_a_vector_of_targets_is_one_output():
    x, y, _ = random_inputs(6, 3, 3)
    network = Architecture((4,))
    for one, other in [
        (compress(x, y[:, 0], network), compress(x, y[:, :1], network)),
        (
            compress_kernel(dense_kernel(x, x), y[:, 0]),
            compress_kernel(dense_kernel(x, x), y[:, :1]),
        ),
    ]:
        assert one.targets.shape == (1, 3)
        jax.tree.map(np.testing.assert_array_equal, one, other)


def test_without_test_points_there_are_none():
    x, y, x_test = random_inputs(6, 3, 3)
    data = compress(x, y, NETWORK)
    assert data.test_features is data.test_variance is data.test_remainder is None
    with_tests = compress(x, y, NETWORK, x_test)
    assert with_tests.test_features is not None
    jax.tree.map(np.testing.assert_array_equal, with_tests.training_part, data.training_part)
    kernel_only = compress_kernel(dense_kernel(x, x), y)
    assert kernel_only.test_features is kernel_only.test_variance is None


def test_a_kernel_of_full_rank_leaves_no_residual():
    x, y, _ = random_inputs(4, 9, 4)
    assert compress(x, y, NETWORK).residual == 0.0
    assert compress_kernel(dense_kernel(x, x), y).residual == 0.0


def test_the_rank_counts_singular_values_above_rounding():
    # singular values 1 and s: of X kept above 1e-10, of a kernel above 1e-12 = (1e-6)^2
    rng = np.random.default_rng(3)
    left = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    right = np.linalg.qr(rng.normal(size=(4, 2)))[0]
    y = rng.normal(size=(6, N_OUTPUTS))
    for small, from_inputs, from_kernel in [(1e-5, 2, 2), (1e-8, 2, 1), (1e-12, 1, 1)]:
        x = left @ np.diag([1.0, small]) @ right.T
        assert compress(x, y, NETWORK).rank == from_inputs
        assert compress_kernel(dense_kernel(x, x), y).rank == from_kernel
    dropped = y - np.outer(left[:, 0], left[:, 0] @ y)
    np.testing.assert_allclose(compress(x, y, NETWORK).residual, np.sum(dropped**2), rtol=1e-10)


def test_the_order_of_the_samples_does_not_matter():
    x, y, x_test = random_inputs(9, 4, 4)
    order = np.random.default_rng(4).permutation(9)
    data, shuffled = (compress(x[i], y[i], NETWORK, x_test) for i in (np.arange(9), order))
    for ridge in RIDGES:
        one, other = invariants(data, ridge), invariants(shuffled, ridge)
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, rtol=1e-11, atol=1e-12)


def test_it_is_a_pytree_with_the_number_of_samples_static():
    x, y, x_test = random_inputs(6, 3, 3)
    data = compress(x, y, NETWORK, x_test)
    leaves, structure = jax.tree.flatten(data)
    assert len(leaves) == 7
    again = jax.tree.unflatten(structure, leaves)
    assert isinstance(again, CompressedData)
    assert again.n_samples == 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.n_samples = 7
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == np.float64 for leaf in leaves)


def test_the_example_in_the_docstring():
    # X = 1, lambda_0 = 1, N0 = 3: K = I / 3
    data = compress(np.eye(3), [1.0, 2.0, 3.0], Architecture((5,)))
    np.testing.assert_allclose(data.eigenvalues, np.full(3, 1 / 3), rtol=1e-14)


X, Y, X_TEST = random_inputs(5, 3, 3)
NAN, INF = np.nan, np.inf


def spoiled(array, value):
    return np.where(np.arange(array.size).reshape(array.shape) == array.size // 2, value, array)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (spoiled(X, NAN), Y),
            ValueError,
            r"x: expected finite numbers, got nan at index \(2, 1\)",
        ),
        ((spoiled(X, INF), Y), ValueError, r"x: expected finite numbers, got inf"),
        ((X, spoiled(Y, NAN)), ValueError, r"y: expected finite numbers, got nan"),
        ((X, spoiled(Y, -INF)), ValueError, r"y: expected finite numbers, got -inf"),
        ((X, Y, spoiled(X_TEST, NAN)), ValueError, r"x_test: expected finite numbers, got nan"),
        ((X, Y[:, :2]), ValueError, r"y: expected 3 columns as in architecture.n_outputs, got 2"),
        ((X, Y[:, 0]), ValueError, r"y: expected 3 columns as in architecture.n_outputs, got 1"),
        ((X, Y[:4]), ValueError, r"y: expected 5 rows as in x, got 4"),
        (
            (X, Y[None]),
            ValueError,
            r"y: expected a 1-dimensional or 2-dim.*, got shape \(1, 5, 3\)",
        ),
        ((X, Y, X_TEST[:, :2]), ValueError, r"x_test: expected 3 columns as in x, got 2"),
        ((X, Y, X_TEST[0]), ValueError, r"x_test: expected a 2-dimensional.*, got shape \(3,\)"),
        ((X[:, 0], Y), ValueError, r"x: expected a 2-dimensional array, got shape \(5,\)"),
        ((X[:0], Y[:0]), ValueError, r"x: expected at least one entry, got shape \(0, 3\)"),
        ((X[:, :0], Y), ValueError, r"x: expected at least one entry, got shape \(5, 0\)"),
        ((X, Y, X_TEST[:0]), ValueError, r"x_test: expected at least one entry"),
        ((0 * X, Y), ValueError, r"x: expected an input that is not zero, got all zeros"),
        ((0 * X[:2], Y[:2]), ValueError, r"x: expected an input that is not zero, got all zeros"),
        (([["a"]], Y), TypeError, r"x: expected an array of numbers, got"),
        ((X, [["a"]]), TypeError, r"y: expected an array of numbers, got"),
    ],
)
def test_bad_inputs_are_named(arguments, error, message):
    x, y, *rest = arguments
    with pytest.raises(error, match=f"^{message}"):
        compress(x, y, NETWORK, *rest)


KERNEL, CROSS, TEST_KERNEL = (
    dense_kernel(X, X),
    dense_kernel(X, X_TEST),
    dense_kernel(X_TEST, X_TEST),
)
ASYMMETRIC = KERNEL + 1e-6 * np.triu(np.ones((5, 5)), 1)
INDEFINITE = KERNEL - 1e-3 * np.eye(5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((spoiled(KERNEL, NAN), Y), ValueError, r"kernel: expected finite numbers, got nan"),
        ((KERNEL, spoiled(Y, INF)), ValueError, r"y: expected finite numbers, got inf"),
        ((KERNEL[:4], Y), ValueError, r"kernel: expected a square matrix, got shape \(4, 5\)"),
        ((KERNEL[0], Y), ValueError, r"kernel: expected a 2-dimensional array, got shape \(5,\)"),
        ((KERNEL[:0, :0], Y[:0]), ValueError, r"kernel: expected at least one entry"),
        ((KERNEL, Y[:3]), ValueError, r"y: expected 5 rows as in kernel, got 3"),
        ((KERNEL, Y[:, :0]), ValueError, r"y: expected at least one entry, got shape \(5, 0\)"),
        (
            (ASYMMETRIC, Y),
            ValueError,
            r"kernel: expected a symmetric .* differ by 1e-06; symmetrise",
        ),
        ((INDEFINITE, Y), ValueError, r"kernel: expected a positive semi-definite .* -0.001"),
        ((0 * KERNEL, Y), ValueError, r"kernel: expected a kernel that is not zero, got all zeros"),
        ((KERNEL, Y, CROSS), ValueError, r"cross_kernel, test_kernel: expected both or neither"),
        ((KERNEL, Y, None, TEST_KERNEL), ValueError, r"cross_kernel, test_kernel: expected both"),
        (
            (KERNEL, Y, CROSS[:4], TEST_KERNEL),
            ValueError,
            r"cross_kernel: expected 5 rows as in ker",
        ),
        (
            (KERNEL, Y, CROSS[:, 0], TEST_KERNEL),
            ValueError,
            r"cross_kernel: expected a 2-dimension",
        ),
        (
            (KERNEL, Y, spoiled(CROSS, NAN), TEST_KERNEL),
            ValueError,
            r"cross_kernel: expected finite",
        ),
        (
            (KERNEL, Y, CROSS, TEST_KERNEL[:3]),
            ValueError,
            r"test_kernel: expected shape \(4, 4\) or \(4,\) to fit cross_kernel, got \(3, 4\)",
        ),
        (
            (KERNEL, Y, CROSS, TEST_KERNEL[0, :3]),
            ValueError,
            r"test_kernel: expected shape \(4, 4\)",
        ),
        (
            (KERNEL, Y, CROSS, spoiled(TEST_KERNEL, NAN)),
            ValueError,
            r"test_kernel: expected finite numbers, got nan",
        ),
        (
            (KERNEL, Y, CROSS, TEST_KERNEL + np.triu(np.ones((4, 4)), 1)),
            ValueError,
            r"test_kernel: expected a symmetric matrix",
        ),
        # too small a variance at one point for what the training points say of it
        (
            (KERNEL, Y, CROSS, 0.9 * np.diag(TEST_KERNEL)),
            ValueError,
            r"test_kernel: expected kernel, cross_kernel and test_kernel to be blocks of one",
        ),
        # every variance is possible, their correlations are not
        (
            (np.eye(2), [1.0, 1.0], [[0.6, -0.6], [0.0, 0.0]], [[0.5, 0.4], [0.4, 0.5]]),
            ValueError,
            r"test_kernel: expected kernel, .* got the eigenvalue -0.62 of their Schur complement",
        ),
        (("K", Y), TypeError, r"kernel: expected an array of numbers, got 'K'"),
    ],
)
def test_bad_kernels_are_named(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        compress_kernel(*arguments)


def test_rounding_of_a_kernel_is_accepted():
    # 1e-9 of the largest entry: rounding by the rule of 1e-8
    rough = KERNEL + 1e-9 * np.abs(KERNEL).max() * np.triu(np.ones((5, 5)), 1)
    data, reference = compress_kernel(rough, Y), compress_kernel(KERNEL, Y)
    assert data.rank >= reference.rank == 3
    np.testing.assert_allclose(data.eigenvalues[:3], reference.eigenvalues, rtol=1e-6)


def test_single_precision_is_refused():
    with jax.enable_x64(False):
        with pytest.raises(PrecisionError, match=r"^compress needs double precision"):
            compress(X, Y, NETWORK)
        with pytest.raises(PrecisionError, match=r"^compress_kernel needs double precision"):
            compress_kernel(KERNEL, Y)
