"""One step of every fit, compiled: dense, in either precision, on one device or many.

Genes are rows. A row of zeros contributes nothing to any sum over genes, so tables may be padded
with such rows; with the rows sharded over devices, the sums over genes are all that they exchange.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma

_LEAST_RATE = 1e-30
"""Below any rate that matters, and above what single precision rounds to zero."""
_LEAST_CONCENTRATION = 1e-8


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

    def step(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        gamma, lam = state
        maps = _geometric_mean(lam)
        gamma = _local_step(values, gamma, maps, concentration)
        membership = _geometric_mean(gamma)
        ratio = _ratio(values, membership, maps)
        return gamma, map_concentration + maps * _product(membership.T, ratio)

    return lax.fori_loop(0, n_steps, step, (gamma, lam))


@jax.jit
def local_steps(
    values: jax.Array, lam: jax.Array, concentration: jax.Array, n_steps: jax.Array
) -> jax.Array:
    """Return the Dirichlet parameters of membership at fixed maps, from even membership."""
    n_types = lam.shape[0]
    maps = _geometric_mean(lam)
    even = jnp.broadcast_to(values.sum(axis=1, keepdims=True) / n_types, (len(values), n_types))
    return lax.fori_loop(
        0, n_steps, lambda _, g: _local_step(values, g, maps, concentration), concentration + even
    )


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
    values: jax.Array, gamma: jax.Array, maps: jax.Array, concentration: jax.Array
) -> jax.Array:
    membership = _geometric_mean(gamma)
    return concentration + membership * _product(_ratio(values, membership, maps), maps.T)


def _product(left: jax.Array, right: jax.Array) -> jax.Array:
    # accelerators would round the factors to ten bits
    return jnp.matmul(left, right, precision="highest")


def _ratio(values: jax.Array, membership: jax.Array, maps: jax.Array) -> jax.Array:
    return values / jnp.maximum(_product(membership, maps), _LEAST_RATE)


def _geometric_mean(concentration: jax.Array) -> jax.Array:
    """Return ``exp(E log p)`` under Dirichlet laws of the rows."""
    safe = jnp.maximum(concentration, _LEAST_CONCENTRATION)
    return jnp.exp(digamma(safe) - digamma(safe.sum(axis=1, keepdims=True)))


def _normalised(total: jax.Array, otherwise: jax.Array) -> jax.Array:
    """Return rows divided by their sum; rows of zeros as they were."""
    row = total.sum(axis=1, keepdims=True)
    return jnp.where(row > 0, total / jnp.where(row > 0, row, 1.0), otherwise)
