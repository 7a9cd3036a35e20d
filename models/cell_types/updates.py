"""One step of every fit, compiled: dense, in either precision, on one device or many.

Genes are rows. A row of zeros contributes nothing to any sum over genes, so tables may be padded
with such rows; with the rows sharded over devices, the sums over genes are all that they exchange.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

_LEAST_RATE = 1e-30
"""Below any rate that matters, and above what single precision rounds to zero."""
_LEAST_CONCENTRATION = 1e-8
_BERNOULLI = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)
"""``B_2n / 2n`` of the asymptotic series of the digamma function."""


@jax.jit
def em_steps(
    values: jax.Array,
    membership: jax.Array,
    maps: jax.Array,
    extra_membership: jax.Array,
    extra_maps: jax.Array,
    n_steps: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Do EM steps, both factors from the same ratio; extras are the pseudo-counts.

    Shapes are ``values (n_genes, n_bins)``, ``membership (n_genes, n_types)``, ``maps (n_types,
    n_bins)``.
    """

    def step(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        membership, maps = state
        ratio = _ratio(values, membership, maps)
        return (
            _normalised(membership * _product(ratio, maps.T) + extra_membership, membership),
            _normalised(maps * _product(membership.T, ratio) + extra_maps, maps),
        )

    return lax.fori_loop(0, n_steps, step, (membership, maps))


@jax.jit
def cavi_steps(
    values: jax.Array,
    gamma: jax.Array,
    lam: jax.Array,
    concentration: jax.Array,
    map_concentration: jax.Array,
    n_steps: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Do mean-field steps on the Dirichlet parameters of membership and of maps."""

    def step(
        _: jax.Array, state: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        _, membership, lam = state
        maps = _geometric_mean(lam)
        gamma, membership = _local_step(values, membership, maps, concentration)
        found = _product(membership.T, _ratio(values, membership, maps))
        return gamma, membership, map_concentration + maps * found

    gamma, _, lam = lax.fori_loop(0, n_steps, step, (gamma, _geometric_mean(gamma), lam))
    return gamma, lam


@jax.jit
def local_steps(
    values: jax.Array, lam: jax.Array, concentration: jax.Array, n_steps: jax.Array
) -> jax.Array:
    """Return the Dirichlet parameters of membership at fixed maps, from even membership."""
    n_types = lam.shape[0]
    maps = _geometric_mean(lam)
    even = jnp.broadcast_to(values.sum(axis=1, keepdims=True) / n_types, (len(values), n_types))
    gamma = concentration + even

    def step(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return _local_step(values, state[1], maps, concentration)

    return lax.fori_loop(0, n_steps, step, (gamma, _geometric_mean(gamma)))[0]


@jax.jit
def svi_epoch(
    values: jax.Array,
    lam: jax.Array,
    batches: jax.Array,
    first_step: jax.Array,
    concentration: jax.Array,
    map_concentration: jax.Array,
    n_local: jax.Array,
) -> jax.Array:
    """Update the parameters of the maps by one step a batch of genes, ``(n_batches, size)``."""
    scale = len(values) / batches.shape[1]

    def step(
        state: tuple[jax.Array, jax.Array], batch: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        lam, time = state
        some = values[batch]
        membership = _geometric_mean(local_steps(some, lam, concentration, n_local))
        maps = _geometric_mean(lam)
        found = maps * _product(membership.T, _ratio(some, membership, maps))
        rate = (time + 10.0) ** -0.7
        lam = (1.0 - rate) * lam + rate * (map_concentration + scale * found)
        return (lam, time + 1.0), None

    return lax.scan(step, (lam, first_step.astype(lam.dtype)), batches)[0][0]


@jax.jit
def gene_log_likelihood(values: jax.Array, membership: jax.Array, maps: jax.Array) -> jax.Array:
    """Return ``sum_v X log(membership maps)`` of every gene, ``(n_genes,)``."""
    rate = jnp.maximum(_product(membership, maps), _LEAST_RATE)
    return (values * jnp.log(rate)).sum(axis=1)


def _local_step(
    values: jax.Array, membership: jax.Array, maps: jax.Array, concentration: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return new parameters of membership, and their geometric mean, from geometric means."""
    ratio = _ratio(values, membership, maps)
    gamma = concentration + membership * _product(ratio, maps.T)
    return gamma, _geometric_mean(gamma)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    # accelerators would round the factors to ten bits
    return jnp.matmul(left, right, precision="highest")


def _ratio(values: jax.Array, membership: jax.Array, maps: jax.Array) -> jax.Array:
    rate = jnp.maximum(_product(membership, maps), _LEAST_RATE)
    # the barrier keeps the compiler from computing it once more inside the product that follows
    return lax.optimization_barrier(values / rate)


def _geometric_mean(concentration: jax.Array) -> jax.Array:
    """Return ``exp(E log p)`` under Dirichlet laws of the rows."""
    safe = jnp.maximum(concentration, _LEAST_CONCENTRATION)
    mean = jnp.exp(_digamma(safe) - _digamma(safe.sum(axis=1, keepdims=True)))
    return lax.optimization_barrier(mean)


def _digamma(x: jax.Array) -> jax.Array:
    """Return the digamma function of positive numbers, ten times faster than the general one."""
    near = sum((1.0 / (x + i) for i in range(1, 8)), 1.0 / x)
    far = x + 8.0
    inverse = 1.0 / (far * far)
    series = jnp.full_like(x, _BERNOULLI[-1])
    for coefficient in _BERNOULLI[-2::-1]:
        series = series * inverse + coefficient
    return jnp.log(far) - 0.5 / far - series * inverse - near


def _normalised(total: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Return rows divided by their sum; rows of zeros as they were."""
    row = total.sum(axis=1, keepdims=True)
    return jnp.where(row > 0, total / jnp.where(row > 0, row, 1.0), otherwise)
