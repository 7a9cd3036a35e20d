"""Given the mixing matrix the network is a Gaussian process: its evidence and its predictions.

All formulas live in the eigenbasis ``(Lam_p)`` of the kernel and the eigenbasis of the mixing
matrix, ``Q = V diag(g) V^T``. With ``T = 1 / beta``, ``Z = V^T Y U`` and ``s_dp = g_d Lam_p + T``

    log Z(Q) = -1/2 sum_dp [log s_dp + Z_dp^2 / s_dp]
               - beta res / 2 + D (P - r)/2 log beta - D P/2 log 2 pi.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp

from .compression import CompressedData


@jax.custom_vjp
def log_evidence_given_mixing(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> jax.Array:
    """Return ``log p(Y | Q)``, the log marginal likelihood of the targets given ``Q``.

    Parameters
    ----------
    mixing
        Symmetric positive semi-definite ``Q``, ``(D, D)``; use ``vmap`` for many.
    data
        From `compress` or `compress_kernel`.
    beta
        Noise precision; infinity only for a kernel of full rank.

    Returns
    -------
    Array
        Scalar, nats, of the normalised Gaussian likelihood.

    Notes
    -----
    Cost O(D^3 + D^2 r). The gradient is ``V [(z Lam) z^T - diag_d sum_p Lam_p / s_dp] V^T / 2``
    with ``z = Z / s``: no division by eigenvalue gaps, so it is exact where eigenvalues of ``Q``
    coincide (automatic differentiation of ``eigh`` is NaN there). It is first order only: for a
    Hessian use `log_evidence_cholesky`.
    """
    return _value_and_residuals(mixing, data, beta)[0]


def _eigenbasis(mixing: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, clipped at zero against rounding, and eigenvectors."""
    if mixing.shape[-1] == 1:
        return mixing[..., 0], jnp.ones_like(mixing)
    values, vectors = jnp.linalg.eigh(mixing)
    return jnp.maximum(values, 0.0), vectors


def _value_and_residuals(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    strengths, basis = _eigenbasis(mixing)
    rotated = basis.T @ data.targets
    scale = strengths[:, None] * data.eigenvalues + 1.0 / beta
    value = -0.5 * jnp.sum(jnp.log(scale) + rotated**2 / scale) + _outside_range(data, beta)
    return value, (basis, strengths, rotated / scale, scale)


def _outside_range(data: CompressedData, beta: jax.Array | float) -> jax.Array | float:
    """Return the terms without ``Q``; a kernel of full rank keeps only the constant."""
    constant = -0.5 * data.n_outputs * data.n_samples * math.log(2 * math.pi)
    n_null = data.n_outputs * (data.n_samples - data.rank)
    if n_null == 0:
        return constant
    return constant - 0.5 * beta * data.residual + 0.5 * n_null * jnp.log(beta)


def _forward(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> tuple[jax.Array, tuple[object, ...]]:
    value, residuals = _value_and_residuals(mixing, data, beta)
    return value, (residuals, data, jnp.asarray(beta, value.dtype))


def _backward(
    saved: tuple[tuple[jax.Array, ...], CompressedData, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, CompressedData, jax.Array]:
    (basis, strengths, pull, scale), data, beta = saved
    weighted = pull * data.eigenvalues
    inner = weighted @ pull.T - jnp.diag(jnp.sum(data.eigenvalues / scale, axis=1))
    d_mixing = 0.5 * basis @ inner @ basis.T
    excess = pull**2 - 1.0 / scale  # twice the derivative with respect to each scale
    d_temperature = 0.5 * jnp.sum(excess)
    n_null = data.n_outputs * (data.n_samples - data.rank)
    d_beta = -d_temperature / beta**2
    if n_null:
        d_beta = d_beta - 0.5 * data.residual + 0.5 * n_null / beta
    d_residual = -0.5 * beta if n_null else jnp.zeros_like(beta)
    unused = jax.tree_util.tree_map(jnp.zeros_like, data)
    d_data = dataclasses.replace(
        unused,
        eigenvalues=cotangent * 0.5 * (strengths @ excess),
        targets=-cotangent * (basis @ pull),
        residual=cotangent * d_residual,
    )
    return cotangent * d_mixing, d_data, cotangent * d_beta


log_evidence_given_mixing.defvjp(_forward, _backward)


def log_evidence_cholesky(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> jax.Array:
    """Return `log_evidence_given_mixing` by ``r`` Cholesky factorisations of ``D x D`` matrices.

    Slower, O(r D^3), but differentiable to any order, also where eigenvalues of ``Q`` coincide:
    the route to Hessians. Same arguments and value.
    """
    factors, whitened = _whitened_targets(mixing, data, beta)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factors, axis1=-2, axis2=-1)))
    return -0.5 * (log_det + jnp.sum(whitened**2)) + _outside_range(data, beta)


def misfit(mixing: jax.Array, data: CompressedData, beta: jax.Array | float) -> jax.Array:
    """Return ``vec(Y)^T (Q (x) K + I / beta)^{-1} vec(Y) / 2``, differentiable to any order."""
    _, whitened = _whitened_targets(mixing, data, beta)
    inside = 0.5 * jnp.sum(whitened**2)
    return inside if data.rank == data.n_samples else inside + 0.5 * beta * data.residual


def _whitened_targets(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Cholesky factors of ``Lam_p Q + I / beta`` and the targets whitened by them."""
    identity = jnp.eye(data.n_outputs, dtype=mixing.dtype)
    factors = jnp.linalg.cholesky(data.eigenvalues[:, None, None] * mixing + identity / beta)
    return factors, jax.scipy.linalg.solve_triangular(
        factors, data.targets.T[..., None], lower=True
    )


def regression_coefficients(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> jax.Array:
    """Return ``B(Q)``, ``(D, r)``: the predictive mean is ``B(Q) test_features``."""
    strengths, basis = _eigenbasis(mixing)
    return basis @ (_gain(strengths, data, beta) * (basis.T @ data.targets))


def regression_mean(coefficients: jax.Array, data: CompressedData) -> jax.Array:
    """Return the predictive mean ``(m, D)`` that coefficients ``(D, r)`` stand for."""
    return require_test_points(data)[0].T @ coefficients.T


def conditional_moments(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> tuple[jax.Array, jax.Array]:
    """Return mean ``(m, D)`` and per-point covariance ``(m, D, D)`` of the function given ``Q``."""
    mean, basis, spread = _diagonal_moments(mixing, data, beta)
    return mean, jnp.einsum("dk,mk,ek->mde", basis, spread, basis)


def _diagonal_moments(
    mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean ``(m, D)``, eigenvectors ``V`` of ``Q``, variances ``(m, D)`` in that basis."""
    features, variance = require_test_points(data)
    strengths, basis = _eigenbasis(mixing)
    gain = _gain(strengths, data, beta)
    mean = features.T @ (basis @ (gain * (basis.T @ data.targets))).T
    spread = strengths * variance[:, None] - (strengths[:, None] * gain @ features**2).T
    return mean, basis, jnp.maximum(spread, 0.0)


def _gain(strengths: jax.Array, data: CompressedData, beta: jax.Array | float) -> jax.Array:
    """``g_d / s_dp``, ``(D, r)``; zero where both vanish."""
    scale = strengths[:, None] * data.eigenvalues + 1.0 / beta
    return jnp.where(scale > 0, strengths[:, None] / jnp.where(scale > 0, scale, 1.0), 0.0)


def conditional_draw(
    key: jax.Array, mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> jax.Array:
    """Draw the latent function at all test points given ``Q``, jointly, ``(m, D)``.

    Notes
    -----
    In the kernel's eigenbasis the posterior is independent across ``p``; what the test kernel has
    outside the training range keeps its prior and enters through ``data.test_remainder``.
    """
    features, variance = require_test_points(data)
    strengths, basis = _eigenbasis(mixing)
    gain = _gain(strengths, data, beta)
    inside_key, outside_key = jax.random.split(key)
    amplitude = jnp.sqrt(gain / (beta * data.eigenvalues))
    noise = amplitude * jax.random.normal(inside_key, gain.shape, gain.dtype)
    inside = features.T @ (gain * (basis.T @ data.targets) + noise).T
    if data.test_remainder is None:
        explained = jnp.sum(features**2 / data.eigenvalues[:, None], axis=0)
        spread = jnp.sqrt(jnp.maximum(variance - explained, 0.0))[:, None]
        outside = spread * jax.random.normal(outside_key, inside.shape, inside.dtype)
    else:
        shape = (data.test_remainder.shape[1], data.n_outputs)
        outside = data.test_remainder @ jax.random.normal(outside_key, shape, inside.dtype)
    return (inside + outside * jnp.sqrt(strengths)) @ basis.T


def conditional_log_density(
    y: jax.Array, mixing: jax.Array, data: CompressedData, beta: jax.Array | float
) -> jax.Array:
    """Return ``log p(y_a | Q, Y)`` at every test point, ``(m,)``: observation noise included.

    Parameters
    ----------
    y
        Observations at the test points, ``(m, D)``.
    mixing, data, beta
        As in `log_evidence_given_mixing`.
    """
    mean, basis, spread = _diagonal_moments(mixing, data, beta)
    total = spread + 1.0 / beta  # the noise is diagonal in every basis
    deviations = (y - mean) @ basis
    terms = deviations**2 / total + jnp.log(total)
    return -0.5 * (jnp.sum(terms, axis=-1) + data.n_outputs * math.log(2 * math.pi))


def require_test_points(data: CompressedData) -> tuple[jax.Array, jax.Array]:
    """Return test features ``(r, m)`` and test variances ``(m,)``.

    Raises
    ------
    ValueError
        If the data were compressed without test inputs.
    """
    if data.test_features is None or data.test_variance is None:
        raise ValueError(
            "data: expected test inputs, got none; hand x_test to compress (or cross_kernel and "
            "test_kernel to compress_kernel)"
        )
    return data.test_features, data.test_variance
