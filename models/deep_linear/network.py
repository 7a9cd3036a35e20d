"""The network as NumPyro models: its weights, its mixing matrix alone, or its function values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpyro
from numpy.typing import ArrayLike
from numpyro import distributions as dist

from inference.checks import one_of, positive

from .arrays import checked_arrays, scaled_inputs
from .coordinates import MixingCoordinates, Network, mixing_factor, mixing_matrix
from .given import Data, given_mixing
from .theory import Architecture

Likelihood = Literal["normal", "logistic", "student_t"]
_STUDENT_DOF = 4.0


def weights_model(
    x: ArrayLike,
    y: ArrayLike | None,
    architecture: Architecture,
    beta: float,
    x_test: ArrayLike | None = None,
) -> None:
    """Sample every weight: the network as it is usually written, the reference for samplers.

    Parameters
    ----------
    x
        Inputs, ``(n, n_inputs)``.
    y
        Targets, ``(n, D)`` or ``(n,)``; None for the prior predictive.
    architecture
        The network.
    beta
        Noise precision, finite.
    x_test
        Where ``f`` is recorded, ``(m, n_inputs)``; at ``x`` if None.

    Notes
    -----
    Sites: ``w0 .. wL`` standard normal (non-centred), ``b0`` where there is a bias, and ``y``.
    Deterministics: ``weights_l``, the physical weights ``(N_{l+1}, N_l)``; ``bias``; ``mixing``,
    the matrix ``Q``; ``f``, ``(m, D)``.
    Single weights are defined up to rotations of the hidden layers only: monitor ``mixing`` and
    ``f``.
    """
    inputs, targets, tests = checked_arrays(x, y, architecture, x_test)
    scale = noise_scale(beta)
    fan_in = (inputs.shape[1], *architecture.widths)
    fan_out = (*architecture.widths, architecture.n_outputs)
    weights = []
    for layer, (rows, columns) in enumerate(zip(fan_out, fan_in)):
        white = numpyro.sample(f"w{layer}", dist.Normal(0, 1).expand((rows, columns)).to_event(2))
        physical = white / math.sqrt(architecture.precisions[layer])
        weights.append(numpyro.deterministic(f"weights_{layer}", physical))
    bias: jax.Array | float = 0.0
    if architecture.bias_scale:
        white = numpyro.sample("b0", dist.Normal(0, 1).expand((fan_out[0],)).to_event(1))
        bias = numpyro.deterministic("bias", architecture.bias_scale * white)
    numpyro.deterministic("mixing", effective_mixing(weights))
    output = _forward(weights, bias, inputs)
    numpyro.deterministic("f", output if tests is None else _forward(weights, bias, tests))
    numpyro.sample("y", dist.Normal(output, scale).to_event(2), obs=targets)


def collapsed_model(data: Data, architecture: Network, beta: float) -> None:
    """Sample the mixing matrix alone; weights and function values are integrated out exactly.

    Parameters
    ----------
    data
        From `compress` or `compress_kernel`.
    architecture
        The network, with at least one hidden layer.
    beta
        Noise precision.

    Raises
    ------
    ValueError
        If the architecture has no hidden layer.

    Notes
    -----
    Site ``coordinates`` (the standardised Bartlett entries of every layer), factor ``evidence``,
    deterministic ``mixing``. The cost of a gradient depends neither on the widths nor on the
    number of samples.
    """
    if not architecture.widths:
        raise ValueError(
            "architecture: expected a hidden layer, got none: Q is constant, nothing is left to "
            "sample; posterior(...) is exact"
        )
    coordinates = numpyro.sample("coordinates", MixingCoordinates(architecture))
    mixing = numpyro.deterministic("mixing", mixing_matrix(coordinates, architecture))
    numpyro.factor("evidence", given_mixing(data).log_evidence(mixing, data.training_part, beta))


def function_model(
    x: ArrayLike,
    y: ArrayLike | None,
    architecture: Architecture,
    *,
    beta: float | None = None,
    likelihood: Likelihood = "normal",
    x_test: ArrayLike | None = None,
) -> None:
    """Sample the mixing matrix and the function values: for likelihoods that are not Gaussian.

    Parameters
    ----------
    x, y, architecture, x_test
        As in `weights_model`; for ``"logistic"`` the targets are 0 or 1.
    beta
        Noise precision (squared inverse scale) of ``"normal"`` and ``"student_t"``; None for
        ``"logistic"``.
    likelihood
        ``"normal"``, ``"logistic"`` (independent Bernoulli outputs) or ``"student_t"`` (4 degrees
        of freedom).

    Raises
    ------
    ValueError
        If ``likelihood`` is unknown, or ``beta`` is missing or superfluous.

    Notes
    -----
    ``S = B Z C^T`` with ``B B^T`` the kernel of training and test inputs together, ``Z`` standard
    normal and ``C C^T = Q``: sites ``coordinates`` (with hidden layers), ``z`` and ``y``,
    deterministics ``mixing`` and ``f``.
    """
    one_of("likelihood", likelihood, ("normal", "logistic", "student_t"))
    if (beta is None) != (likelihood == "logistic"):
        raise ValueError(
            f"beta: expected {'None' if likelihood == 'logistic' else 'a number'} for the "
            f"{likelihood} likelihood, got {beta}"
        )
    inputs, targets, tests = checked_arrays(x, y, architecture, x_test)
    factor = _kernel_factor(inputs, tests, architecture)
    if architecture.widths:
        coordinates = numpyro.sample("coordinates", MixingCoordinates(architecture))
        root = mixing_factor(coordinates, architecture)
    else:
        root = jnp.eye(architecture.n_outputs)
    numpyro.deterministic("mixing", root @ root.T)
    shape = (factor.shape[1], root.shape[1])
    z = numpyro.sample("z", dist.Normal(0, 1).expand(shape).to_event(2))
    values = factor @ z @ root.T
    n = inputs.shape[0]
    output = values[:n]
    numpyro.deterministic("f", output if tests is None else values[n:])
    law: dist.Distribution
    if beta is None:
        law = dist.Bernoulli(logits=output)
    elif likelihood == "normal":
        law = dist.Normal(output, noise_scale(beta))
    else:
        law = dist.StudentT(_STUDENT_DOF, output, noise_scale(beta))
    numpyro.sample("y", law.to_event(2), obs=targets)


def effective_mixing(weights: Sequence[ArrayLike]) -> jax.Array:
    """Return the mixing matrix that a set of weights realises.

    Parameters
    ----------
    weights
        Physical weights ``[W_0, ..., W_L]``, ``W_l`` of shape ``(..., N_{l+1}, N_l)`` with any
        common leading axes (chains, draws).

    Returns
    -------
    Array
        ``Q = A A^T`` with ``A = W_L / sqrt(N_L) ... W_1 / sqrt(N_1)``, ``(..., D, D)``.

    Raises
    ------
    ValueError
        If the list is empty or neighbouring layers do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> effective_mixing([np.ones((2, 3)), np.array([[3.0, 4.0]])]).round(12).tolist()
    [[12.5]]
    """
    layers = [jnp.asarray(w) for w in weights]
    if not layers:
        raise ValueError("weights: expected [W_0, ..., W_L], got an empty list")
    for index, (lower, upper) in enumerate(itertools.pairwise(layers)):
        if lower.ndim < 2 or upper.shape[-1] != lower.shape[-2]:
            raise ValueError(
                f"weights[{index + 1}]: expected {lower.shape[-2:][0]} columns as weights[{index}] "
                f"has rows, got shape {upper.shape}"
            )
    n_outputs = layers[-1].shape[-2]
    product = jnp.broadcast_to(jnp.eye(n_outputs), (*layers[-1].shape[:-2], n_outputs, n_outputs))
    for layer in layers[:0:-1]:
        product = product @ (layer / math.sqrt(layer.shape[-1]))
    return product @ jnp.swapaxes(product, -1, -2)


def _forward(weights: Sequence[jax.Array], bias: jax.Array | float, x: jax.Array) -> jax.Array:
    """Return the outputs ``(n, D)``; ``bias (N_1,)`` is added after the first matrix."""
    h = x @ weights[0].T / math.sqrt(x.shape[1]) + bias
    for w in weights[1:]:
        h = h @ w.T / math.sqrt(w.shape[1])
    return h


def _kernel_factor(
    inputs: jax.Array, tests: jax.Array | None, architecture: Architecture
) -> jax.Array:
    """Return ``B`` of least width, ``B B^T`` the kernel of training and test inputs."""
    stacked = jnp.asarray(inputs if tests is None else jnp.concatenate([inputs, tests]))
    scaled = scaled_inputs(stacked, architecture)
    if scaled.shape[0] >= scaled.shape[1]:
        return scaled
    left, singular, _ = jnp.linalg.svd(scaled, full_matrices=False)
    return left * singular


def noise_scale(beta: float) -> jax.Array:
    """Return the standard deviation of the noise of precision ``beta``, which must be positive."""
    checked = beta if isinstance(beta, jax.core.Tracer) else positive("beta", beta)
    return 1 / jnp.sqrt(checked)
