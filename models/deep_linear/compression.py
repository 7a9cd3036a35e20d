"""Everything the posterior needs of the data, rotated: after this the samples are gone.

With ``K = U diag(Lam) U^T`` of rank ``r`` the evidence and the predictions depend on the targets
only through ``Y U`` (D x r) and one residual, so a million rows of ten inputs cost as much as ten.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array, positive_semidefinite, same_length
from inference.precision import require_x64

from .arrays import checked_arrays, checked_targets, scaled_inputs
from .theory import Architecture

_LARGEST = 1e150
_RANK_TOLERANCE = 1e-10  # singular values of X below this share of the largest are rounding
_KERNEL_TOLERANCE = 1e-12  # the same for eigenvalues of a given kernel, which hold its rounding
_SYMMETRY_TOLERANCE = 1e-8


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CompressedData:
    """A data set in the eigenbasis of its kernel; build it with `compress` or `compress_kernel`.

    Attributes
    ----------
    eigenvalues
        Positive eigenvalues of the kernel, descending, shape ``(r,)``.
    targets
        Targets in the eigenbasis, outputs first, ``(D, r)``.
    residual
        Squared norm of the targets outside the range of the kernel, scalar.
    n_samples
        Number of training rows ``P`` (static).
    test_features
        ``(r, m)``: kernel between eigenvectors and test points, or None.
    test_variance
        ``(m,)``: test kernel diagonal, or None.
    test_remainder
        ``(m, q)``: a factor of what the test kernel has outside the training range; None where
        only the diagonal of the test kernel is known (or no test points).
    basis
        ``(r, n_features)``: orthonormal input directions behind the eigenvalues, by which
        `with_test_inputs` finds test features; None for a precomputed kernel.
    """

    eigenvalues: jax.Array
    targets: jax.Array
    residual: jax.Array
    n_samples: int = field(metadata={"static": True})
    test_features: jax.Array | None = None
    test_variance: jax.Array | None = None
    test_remainder: jax.Array | None = None
    basis: jax.Array | None = None

    @property
    def rank(self) -> int:
        """Rank ``r`` of the kernel."""
        return int(self.eigenvalues.shape[0])

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``D``."""
        return int(self.targets.shape[0])

    @property
    def training_part(self) -> CompressedData:
        """The same data without test points (one compiled program serves every test set)."""
        return CompressedData(self.eigenvalues, self.targets, self.residual, self.n_samples)


def compress(
    x: ArrayLike, y: ArrayLike, architecture: Architecture, x_test: ArrayLike | None = None
) -> CompressedData:
    """Compress inputs and targets; neither centred nor scaled (the model has mean zero: do both).

    Parameters
    ----------
    x
        Training inputs, ``(n, n_inputs)``, one example a row.
    y
        Training targets, ``(n, D)``, or ``(n,)`` for one output.
    architecture
        Supplies ``D``, the first precision ``lambda_0`` and ``bias_scale``.
    x_test
        Test inputs, ``(m, n_inputs)``.

    Returns
    -------
    CompressedData

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If shapes do not fit, an entry is not finite, or all inputs are zero.

    Notes
    -----
    One triangular factorisation of ``[X | Y]`` and an SVD of its small block: O(n n_inputs^2),
    as accurate as the SVD of ``X`` and without its ``(n, n_inputs)`` left vectors.

    Examples
    --------
    >>> import numpy as np
    >>> data = compress(np.eye(3), [1.0, 2.0, 3.0], Architecture((5,)))
    >>> data.eigenvalues.round(6)
    Array([0.333333, 0.333333, 0.333333], dtype=float64)
    """
    require_x64("compress")
    inputs, targets, tests = checked_arrays(x, y, architecture, x_test)
    _check_squares("x", inputs)
    _check_squares("y", targets)
    n_samples = inputs.shape[0]
    scaled = scaled_inputs(inputs, architecture)
    n_features = scaled.shape[1]
    outside_norm = 0.0
    if n_samples > n_features:
        triangle = np.asarray(np.linalg.qr(np.hstack([scaled, targets]), mode="r"))
        outside_norm = float(np.sum(triangle[n_features:, n_features:] ** 2))
        scaled, targets = triangle[:n_features, :n_features], triangle[:n_features, n_features:]
    left, singular, right = np.linalg.svd(scaled, full_matrices=False)
    kept = singular > _RANK_TOLERANCE * singular[0]
    if not kept.any():
        raise ValueError("x: expected an input that is not zero, got all zeros")
    rotated = left.T @ targets
    outside_norm += float(np.sum(rotated[~kept] ** 2))
    data = _assemble(singular[kept] ** 2, rotated[kept].T, outside_norm, n_samples, right[kept])
    return data if tests is None else with_test_inputs(data, tests, architecture)


def with_test_inputs(
    data: CompressedData, x_test: ArrayLike, architecture: Architecture
) -> CompressedData:
    """Return the same training data with other test inputs.

    Parameters
    ----------
    data
        From `compress` (a precomputed kernel does not know its inputs).
    x_test
        Test inputs, ``(m, n_inputs)``.
    architecture
        The one that `compress` was given.

    Returns
    -------
    CompressedData

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, an entry is not finite, or the data come from a kernel.

    Examples
    --------
    >>> import numpy as np
    >>> data = compress(np.eye(3), [1.0, 2.0, 3.0], Architecture((5,)))
    >>> with_test_inputs(data, np.ones((2, 3)), Architecture((5,))).test_features.shape
    (3, 2)
    """
    if data.basis is None:
        raise ValueError(
            "data: expected data from compress, got those of a precomputed kernel; hand "
            "cross_kernel and test_kernel to compress_kernel"
        )
    basis, singular = np.asarray(data.basis), np.sqrt(np.asarray(data.eigenvalues))
    tests = finite_array("x_test", np.asarray(x_test), ndim=2)
    n_inputs = basis.shape[1] - bool(architecture.bias_scale)
    if tests.shape[1] != n_inputs:
        raise ValueError(f"x_test: expected {n_inputs} columns as in x, got {tests.shape[1]}")
    _check_squares("x_test", tests)
    tests = scaled_inputs(tests, architecture)
    coordinates = tests @ basis.T
    full = basis.shape[0] == basis.shape[1]
    remainder = np.zeros((len(tests), 0)) if full else tests - coordinates @ basis
    return dataclasses.replace(
        data,
        test_features=jnp.asarray((coordinates * singular).T),
        test_variance=jnp.asarray(np.sum(tests**2, axis=1)),
        test_remainder=jnp.asarray(remainder),
    )


def compress_kernel(
    kernel: ArrayLike,
    y: ArrayLike,
    cross_kernel: ArrayLike | None = None,
    test_kernel: ArrayLike | None = None,
) -> CompressedData:
    """Compress a precomputed kernel, which already contains ``1 / (lambda_0 N_0)``.

    Parameters
    ----------
    kernel
        Kernel of the training inputs, ``(n, n)``, symmetric positive semi-definite; with what a
        bias adds, if there is one.
    y
        Training targets, ``(n, D)`` or ``(n,)``.
    cross_kernel
        Kernel of training against test inputs, ``(n, m)``.
    test_kernel
        Kernel of the test inputs, ``(m, m)``, or its diagonal ``(m,)``. With the diagonal alone,
        joint draws at several test points take what the training range does not determine as
        independent between points; everything per point is exact.

    Returns
    -------
    CompressedData

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If shapes do not fit, an entry is not finite, the kernel is not symmetric (1e-8) or not
        positive (1e-8), is zero, or the three kernels are not parts of one positive kernel.

    Examples
    --------
    >>> data = compress_kernel([[2.0, 0.0], [0.0, 1.0]], [1.0, -1.0], [[1.0], [0.5]], [1.0])
    >>> data.rank, data.test_features.shape
    (2, (2, 1))
    """
    require_x64("compress_kernel")
    gram = positive_semidefinite("kernel", kernel)
    n_samples = gram.shape[0]
    targets = checked_targets(y, None, n_samples, "kernel")
    if (cross_kernel is None) != (test_kernel is None):
        raise ValueError(
            "cross_kernel, test_kernel: expected both or neither, got one; "
            "test_kernel may be its diagonal"
        )
    eigenvalues, vectors = np.linalg.eigh(gram)
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    kept = eigenvalues > _KERNEL_TOLERANCE * eigenvalues[0]
    if not kept.any():
        raise ValueError("kernel: expected a kernel that is not zero, got all zeros")
    rotated = targets.T @ vectors
    outside_norm = float(np.sum(rotated[:, ~kept] ** 2))
    eigenvalues, vectors, rotated = eigenvalues[kept], vectors[:, kept], rotated[:, kept]

    data = _assemble(eigenvalues, rotated, outside_norm, n_samples, None)
    if cross_kernel is None or test_kernel is None:
        return data
    cross = finite_array("cross_kernel", cross_kernel, ndim=2)
    same_length("cross_kernel", cross.shape[0], "kernel", n_samples)
    features = vectors.T @ cross
    variance, remainder = _test_kernel(test_kernel, features, eigenvalues)
    return dataclasses.replace(
        data,
        test_features=jnp.asarray(features),
        test_variance=jnp.asarray(variance),
        test_remainder=None if remainder is None else jnp.asarray(remainder),
    )


def _test_kernel(
    test_kernel: ArrayLike, features: Floats, eigenvalues: Floats
) -> tuple[Floats, Floats | None]:
    """Return the test kernel's diagonal and a factor of its part outside the training range."""
    given = finite_array("test_kernel", test_kernel, ndim=(1, 2))
    n_test = features.shape[1]
    if given.shape not in ((n_test,), (n_test, n_test)):
        raise ValueError(
            f"test_kernel: expected shape ({n_test}, {n_test}) or ({n_test},) to fit "
            f"cross_kernel, got {given.shape}"
        )
    variance = given if given.ndim == 1 else np.diagonal(given)
    explained = np.sum(features**2 / eigenvalues[:, None], axis=0)
    excess = float(np.max(explained - variance))
    if excess > _SYMMETRY_TOLERANCE * max(float(np.max(np.abs(variance))), float(explained.max())):
        raise ValueError(
            "test_kernel: expected kernel, cross_kernel and test_kernel to be blocks of one "
            f"positive kernel, got a conditional variance of {-excess:.6g}"
        )
    if given.ndim == 1:
        return variance, None
    schur = positive_semidefinite("test_kernel", given) - (features.T / eigenvalues) @ features
    values, vectors = np.linalg.eigh((schur + schur.T) / 2)
    if values[0] < -_SYMMETRY_TOLERANCE * np.abs(given).max():
        raise ValueError(
            "test_kernel: expected kernel, cross_kernel and test_kernel to be blocks of one "
            f"positive kernel, got the eigenvalue {values[0]:.6g} of their Schur complement"
        )
    return variance, vectors * np.sqrt(np.maximum(values, 0.0))


def _check_squares(name: str, values: Floats) -> None:
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        raise ValueError(
            f"{name}: expected numbers of at most {_LARGEST:g}, whose squares are finite, got "
            f"{largest:g}; choose other units"
        )


def _assemble(
    eigenvalues: Floats, targets: Floats, outside_norm: float, n_samples: int, basis: Floats | None
) -> CompressedData:
    full_rank = eigenvalues.shape[0] == n_samples
    return CompressedData(
        eigenvalues=jnp.asarray(eigenvalues),
        targets=jnp.asarray(targets),
        residual=jnp.asarray(0.0 if full_rank else outside_norm),
        n_samples=n_samples,
        basis=None if basis is None else jnp.asarray(basis),
    )
