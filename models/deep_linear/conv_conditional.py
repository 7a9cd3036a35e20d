"""Given its local renormaliser a convolutional network is a Gaussian process on patches.

With ``p_i(x)`` the patch that site ``i`` of the first hidden layer reads, divided by
``sqrt(M_0 C_0 lambda_0)``, and ``B = B_1`` over (output, site) pairs,

    Cov(f_d(x), f_e(x')) = sum_{i, i'} B[(d, i), (e, i')] p_i(x) . p_i'(x').

Nothing diagonalises all patch kernels at once, so the evidence is one ``D P x D P`` Cholesky
factorisation: O((D P)^3 + (D P)^2 S_1 q) for patches of ``q`` numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from numpy.typing import ArrayLike

from .arrays import checked, checked_targets
from .conv_architecture import ConvArchitecture


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ConvData:
    """A data set as the patches that the first layer reads; build it with `conv_data`.

    Attributes
    ----------
    patches
        ``(P, S_1, q)``: scaled so that their inner products are the patch kernels.
    targets
        ``(P, D)``.
    test_patches
        ``(m, S_1, q)``, or None.
    """

    patches: jax.Array
    targets: jax.Array
    test_patches: jax.Array | None = None

    @property
    def n_samples(self) -> int:
        """Number of training examples ``P``."""
        return int(self.patches.shape[0])

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``D``."""
        return int(self.targets.shape[1])

    @property
    def training_part(self) -> ConvData:
        """The same data without test points."""
        return replace(self, test_patches=None)


def conv_data(
    x: ArrayLike, y: ArrayLike, architecture: ConvArchitecture, x_test: ArrayLike | None = None
) -> ConvData:
    """Cut inputs into the patches that the first layer reads.

    Parameters
    ----------
    x
        ``(n, in_channels, *input_shape)``.
    y
        ``(n, D)``, or ``(n,)`` for one output.
    architecture
        The network.
    x_test
        ``(m, in_channels, *input_shape)``.

    Returns
    -------
    ConvData

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit, an entry is not finite, or all inputs are zero.
    """
    inputs = checked_images("x", x, architecture)
    targets = checked_targets(y, architecture.n_outputs, inputs.shape[0], "x")
    train = patches(inputs, architecture)
    if isinstance(train, np.ndarray) and not train.any():
        raise ValueError("x: expected an input that is not zero where a mask reads it")
    if x_test is None:
        return ConvData(jnp.asarray(train), jnp.asarray(targets))
    tests = patches(checked_images("x_test", x_test, architecture), architecture)
    return ConvData(jnp.asarray(train), jnp.asarray(targets), jnp.asarray(tests))


def checked_images(name: str, value: ArrayLike, architecture: ConvArchitecture) -> Any:
    """Return inputs as ``(n, in_channels, S_0)``.

    Raises
    ------
    TypeError, ValueError
        If the shape is not ``(n, in_channels, *input_shape)`` or an entry is not finite.
    """
    if not isinstance(architecture, ConvArchitecture):
        raise TypeError(
            f"architecture: expected a ConvArchitecture, got {type(architecture).__name__}"
        )
    expected = (architecture.in_channels, *architecture.input_shape)
    images = checked(name, value, (1 + len(expected),))
    if images.shape[1:] != expected:
        raise ValueError(
            f"{name}: expected shape (n, {', '.join(map(str, expected))}) as in "
            f"architecture (n, in_channels, *input_shape), got {images.shape}"
        )
    return images.reshape(images.shape[0], expected[0], -1)


def patches(images: Any, architecture: ConvArchitecture) -> Any:
    """Return scaled patches ``(n, S_1, M_0 C_0)`` of inputs ``(n, C_0, S_0)``."""
    reads = architecture.reads(0)
    numbers = np if isinstance(images, np.ndarray) else jnp
    cut = numbers.moveaxis(images[:, :, np.maximum(reads, 0)] * (reads >= 0), 1, 2)
    size = reads.shape[1] * architecture.in_channels
    return cut.reshape(cut.shape[0], reads.shape[0], size) / math.sqrt(
        size * architecture.precisions[0]
    )


def _seen(mixing: jax.Array, patches: jax.Array, n_outputs: int) -> jax.Array:
    """``sum_i' B[(d,i),(e,i')] p_i'``, ``(D, S, D, n, q)``: patches seen through B."""
    n_sites = patches.shape[1]
    by_pair = mixing.reshape(n_outputs, n_sites, n_outputs, n_sites)
    return jnp.einsum("diej,njc->dienc", by_pair, patches)


def _covariance(seen: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Covariance of the noisy targets, ``(D P, D P)``, output slow."""
    size = data.n_outputs * data.n_samples
    covariance = jnp.einsum("mic,dienc->dmen", data.patches, seen).reshape(size, size)
    return covariance + jnp.eye(size, dtype=covariance.dtype) / beta


def _factorised(
    mixing: jax.Array, data: ConvData, beta: jax.Array | float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Patches seen through B, Cholesky factor of the noisy covariance, whitened targets."""
    seen = _seen(mixing, data.patches, data.n_outputs)
    factor = jnp.linalg.cholesky(_covariance(seen, data, beta))
    return seen, factor, solve_triangular(factor, data.targets.T.ravel(), lower=True)


def log_evidence(mixing: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Return ``log p(Y | B)`` of the normalised Gaussian likelihood, nats.

    Notes
    -----
    Its gradient is first order only; `log_evidence_smooth` may be differentiated again.
    """
    return _log_normal(
        _covariance(_seen(mixing, data.patches, data.n_outputs), data, beta), data.targets.T.ravel()
    )


def log_evidence_smooth(mixing: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Return `log_evidence` in a form that is differentiable to any order, at twice the cost."""
    _, factor, white = _factorised(mixing, data, beta)
    return _log_density_of(factor, white)


def _log_density_of(factor: jax.Array, white: jax.Array) -> jax.Array:
    log_det = jnp.sum(jnp.log(jnp.diagonal(factor)))
    return -0.5 * jnp.sum(white**2) - log_det - 0.5 * white.size * math.log(2 * math.pi)


@jax.custom_vjp
def _log_normal(covariance: jax.Array, y: jax.Array) -> jax.Array:
    """``log N(y; 0, covariance)``, whose gradient reuses one inverse."""
    factor = jnp.linalg.cholesky(covariance)
    return _log_density_of(factor, solve_triangular(factor, y, lower=True))


def _log_normal_forward(
    covariance: jax.Array, y: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    factor = jnp.linalg.cholesky(covariance)
    white = solve_triangular(factor, y, lower=True)
    return _log_density_of(factor, white), (factor, white)


def _log_normal_backward(
    saved: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    factor, white = saved
    pull = solve_triangular(factor, white, lower=True, trans="T")
    precision = cho_solve((factor, True), jnp.eye(white.size, dtype=white.dtype))
    return 0.5 * cotangent * (jnp.outer(pull, pull) - precision), -cotangent * pull


_log_normal.defvjp(_log_normal_forward, _log_normal_backward)


def misfit(mixing: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Return half of the targets' squared norm under their covariance given ``B``."""
    return 0.5 * jnp.sum(_factorised(mixing, data, beta)[2] ** 2)


def mean(mixing: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Return the predictive mean at the test points given ``B``, ``(m, D)``."""
    seen, factor, white = _factorised(mixing, data, beta)
    return _mean(_cross(seen, data), factor, white)


def as_mean(mean: jax.Array, _data: ConvData) -> jax.Array:
    """Return what `mean` returned: it has no shorter form that could be averaged."""
    return mean


def _cross(seen: jax.Array, data: ConvData) -> jax.Array:
    """Covariance of test and training values, ``(m, D, D P)``."""
    cross = jnp.einsum("mic,dienc->mden", require_test_patches(data), seen)
    return cross.reshape(*cross.shape[:2], -1)


def _mean(cross: jax.Array, factor: jax.Array, white: jax.Array) -> jax.Array:
    return cross @ solve_triangular(factor, white, lower=True, trans="T")


def moments(
    mixing: jax.Array, data: ConvData, beta: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Return mean ``(m, D)`` and per-point covariance ``(m, D, D)`` of the function given ``B``."""
    tests = require_test_patches(data)
    seen, factor, white = _factorised(mixing, data, beta)
    cross = _cross(seen, data)
    n_test, n_outputs = cross.shape[:2]
    # products and sums: as contractions these would be thousands of tiny matrix products
    seen_test = _seen(mixing, tests, n_outputs)
    prior = jnp.sum(jnp.moveaxis(tests, 0, 1)[None, :, None] * seen_test, axis=(1, 4))
    explained = solve_triangular(factor, cross.reshape(-1, cross.shape[-1]).T, lower=True)
    explained = explained.reshape(-1, n_test, n_outputs)
    known = jnp.sum(explained[..., :, None] * explained[..., None, :], axis=0)
    return _mean(cross, factor, white), jnp.moveaxis(prior, -1, 0) - known


def draw(key: jax.Array, mixing: jax.Array, data: ConvData, beta: jax.Array | float) -> jax.Array:
    """Draw the latent function at all test points given ``B``, jointly, ``(m, D)``.

    Notes
    -----
    A prior draw of weights, corrected by what it gets wrong on the training data (Matheron's
    rule): no covariance of the test points is ever formed.
    """
    tests = require_test_patches(data)
    weight_key, noise_key = jax.random.split(key)
    seen, factor, _ = _factorised(mixing, data, beta)
    values, vectors = jnp.linalg.eigh(mixing)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0.0))
    white = jax.random.normal(weight_key, (root.shape[1], tests.shape[2]), root.dtype)
    weights = (root @ white).reshape(data.n_outputs, tests.shape[1], tests.shape[2])
    prior_train = jnp.einsum("nic,dic->dn", data.patches, weights)
    prior_test = jnp.einsum("mic,dic->md", tests, weights)
    noise = jax.random.normal(noise_key, prior_train.shape, prior_train.dtype) / jnp.sqrt(beta)
    missing = (data.targets.T - prior_train - noise).ravel()
    return prior_test + _cross(seen, data) @ cho_solve((factor, True), missing)


def log_density(
    y: jax.Array, mixing: jax.Array, data: ConvData, beta: jax.Array | float
) -> jax.Array:
    """Return ``log p(y_a | B, Y)`` at every test point, ``(m,)``: observation noise included."""
    center, covariance = moments(mixing, data, beta)
    total = covariance + jnp.eye(data.n_outputs, dtype=covariance.dtype) / beta
    factor = jnp.linalg.cholesky(total)
    white = solve_triangular(factor, (y - center)[..., None], lower=True)[..., 0]
    log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), -1)
    constant = 0.5 * data.n_outputs * math.log(2 * math.pi)
    return -0.5 * jnp.sum(white**2, axis=-1) - log_det - constant


def require_test_patches(data: ConvData) -> jax.Array:
    """Return the patches of the test points, ``(m, S_1, q)``.

    Raises
    ------
    ValueError
        If the data were built without test inputs.
    """
    if data.test_patches is None:
        raise ValueError("data: expected test inputs, got none; hand x_test to conv_posterior")
    return data.test_patches
