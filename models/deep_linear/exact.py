"""Posteriors without sampling error: a constant mixing matrix, or quadrature."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats
from inference.quadrature import trapezoid
from inference.status import Status

from .compression import CompressedData
from .conditional import log_evidence_given_mixing
from .coordinates import Network, mixing_matrix
from .given import Data, given_mixing
from .joint import joint_batch, joint_modes
from .predictive import Nodes, PosteriorResult, summarise
from .theory import Architecture, half_widths, log_product_density

_NEGLIGIBLE = 60.0  # modes this many nats below the highest hold nothing

_UNRESOLVED = 0.01  # nats


def scalar(data: Data) -> bool:
    """Whether ``Q`` is one number, whose exact density is known at every depth."""
    return isinstance(data, CompressedData) and data.n_outputs == 1


def by_constant(data: Data, architecture: Network, beta: float) -> PosteriorResult:
    """Return the posterior with ``Q`` at its prior mean: no hidden layer, or infinite widths."""
    mixing = jnp.asarray(architecture.mean_matrix)
    value = float(given_mixing(data).log_evidence(mixing, data.training_part, beta))
    return summarise(
        Nodes(mixing[None], jnp.zeros(1), block=0),
        (data, architecture, beta),
        method="quadrature",
        status=Status.CONVERGED,
        log_evidence=value,
        log_evidence_error=0.0,
    )


def by_quadrature(data: Data, architecture: Network, beta: float) -> PosteriorResult:
    """Return the posterior by the trapezoid rule in ``log q`` or in whitened coordinates."""
    train: Any = data.training_part
    if scalar(data) and isinstance(architecture, Architecture):
        args = (half_widths(architecture), math.log(architecture.mean_mixing), train, beta)
        modes, whitening = _scalar_modes(architecture, train, beta, args)
        rule = trapezoid(_log_scale_density, modes, whitening, args=args, tol=1e-11)
        mixing = np.exp(rule.nodes)[..., None]
    else:
        found = joint_modes(train, architecture, beta)
        whitening = np.linalg.cholesky(np.linalg.inv(found.precisions[0]))
        rule = trapezoid(
            joint_batch(architecture), found.points, whitening, args=(train, beta), tol=1e-9
        )
        mixing = np.asarray(mixing_matrix(jnp.asarray(rule.nodes), architecture))
    # a power of two, so that one compiled program serves lattices of many sizes
    padding = (1 << max(len(mixing) - 1, 511).bit_length()) - len(mixing)
    log_weights = np.pad(
        rule.log_weights - rule.log_integral, (0, padding), constant_values=-np.inf
    )
    coordinates = np.concatenate([rule.nodes, np.repeat(rule.nodes[:1], padding, axis=0)])
    mixing = np.concatenate([mixing, np.repeat(mixing[:1], padding, axis=0)])
    lattice = (jnp.asarray(coordinates), jnp.asarray(rule.cell))
    return summarise(
        Nodes(jnp.asarray(mixing), jnp.asarray(log_weights), block=0, lattice=lattice),
        (data, architecture, beta),
        method="quadrature",
        status=rule.status,
        log_evidence=rule.log_integral,
        log_evidence_error=0.0,
    )


def _log_scale_density(
    points: jax.Array, shapes: jax.Array, log_mean: jax.Array, data: CompressedData, beta: jax.Array
) -> jax.Array:
    """Joint log-density of ``x = log q`` and the targets, for points ``(n, 1)``."""
    x = points[:, 0]
    prior = log_product_density(x - log_mean, shapes)
    evidence = jax.vmap(log_evidence_given_mixing, in_axes=(0, None, None))
    return prior + evidence(jnp.exp(points)[..., None], data, beta)


_scalar_joint = jax.jit(_log_scale_density)


def _scalar_modes(
    architecture: Architecture, data: CompressedData, beta: float, args: tuple[Any, ...]
) -> tuple[Floats, Floats]:
    """Scan ``log q`` for modes between all scales in play; return them and the highest's width."""

    def evaluate(x: NDArray[Any]) -> Floats:
        return np.asarray(_scalar_joint(jnp.asarray(x)[:, None], *args))

    eigenvalues, targets = np.asarray(data.eigenvalues), np.asarray(data.targets[0])
    log_mean = math.log(architecture.mean_mixing)
    signal = math.log(float(np.mean(targets**2 / eigenvalues)) + 1e-300)
    noise = -math.log(beta) if math.isfinite(beta) else log_mean
    noise -= math.log(float(eigenvalues[0]))
    low = min(log_mean, max(signal, log_mean - 40.0), max(noise, log_mean - 40.0)) - 10.0
    high = max(log_mean, signal) + 10.0
    grid = np.linspace(low, high, 512)
    values = evaluate(grid)
    inner = np.flatnonzero((values[1:-1] >= values[:-2]) & (values[1:-1] > values[2:])) + 1
    modes = []
    for peak in grid[inner] if inner.size else grid[[int(np.argmax(values))]]:
        half_range = grid[1] - grid[0]
        for _ in range(2):
            fine = np.linspace(peak - half_range, peak + half_range, 512)
            fine_values = evaluate(fine)
            peak, half_range = fine[int(np.argmax(fine_values))], fine[1] - fine[0]
        modes.append((float(fine_values.max()), float(peak)))
    modes.sort(reverse=True)
    best, center = modes[0]
    if np.spacing(abs(best)) > _UNRESOLVED:
        raise ValueError(
            f"y: expected targets of the size of prior and noise, got log densities of {best:.3g}, "
            "which doubles cannot tell apart; standardise the targets or lower beta"
        )
    modes = [(value, x) for value, x in modes if value > best - _NEGLIGIBLE]
    steps = 1e-6 * 1.05 ** np.arange(512)  # the width: where the density has lost half a nat
    drops = best - evaluate(center + steps)
    width = float(steps[int(np.argmax(drops >= 0.5))]) if (drops >= 0.5).any() else 1.0
    return np.array([[x] for _, x in modes]), np.array([[width]])
