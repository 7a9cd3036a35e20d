"""Flips of coupled spins as a jump process: rates, what a flip changes, and the heat of it.

Rates ``k_i(s) = 1 / (1 + exp(2 beta s_i h_i))`` with fields ``h = couplings @ s + field``, kept up
to date flip by flip. Functions of a batch of chains, which are the last axis; those of a process
take ``(couplings, field, beta)`` behind their own arguments.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from inference.checks import Floats, finite_array, plus_minus_one, positive, same_length
from inference.dynamics.driver import Checkpoint
from inference.keys import split_named

_FEW_SPINS = 64
"""Up to here a product with a one-hot vector is faster than picking columns."""


class SpinState(NamedTuple):
    """Spins ``(n, n_chains)`` of ±1 and their fields, chains last."""

    spins: jax.Array
    fields: jax.Array


def check_spin_system(couplings: ArrayLike, field: ArrayLike) -> tuple[Floats, Floats]:
    """Return couplings ``(n, n)`` and field ``(n,)``.

    Raises
    ------
    TypeError, ValueError
        If they are not finite, not of that shape, or a spin acts on itself.
    """
    matrix = finite_array("couplings", couplings, ndim=2)
    outer = finite_array("field", field, ndim=1)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"couplings: expected a square matrix, got shape {matrix.shape}")
    same_length("field", len(outer), "couplings", len(matrix))
    if (own := np.diagonal(matrix)).any():
        spin = int(np.argmax(own != 0))
        raise ValueError(
            f"couplings: expected a zero diagonal, got {own[spin]} at spin {spin}; "
            "what a spin does to itself is a matter of rates, not of couplings"
        )
    return matrix, outer


def spin_arguments(matrix: Floats, outer: Floats, beta: float, dtype: DTypeLike) -> tuple[Any, ...]:
    """Return what the functions below take last, in single or double precision.

    Raises
    ------
    TypeError, ValueError
        If ``beta`` is not positive, or the precision is none of the two or not to be had.
    """
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype: expected float32 or float64, got {kind}")
    if jax.dtypes.canonicalize_dtype(kind) != kind:
        raise ValueError(f"dtype: expected float32 while JAX runs in single precision, got {kind}")
    values = (matrix, outer[:, None], positive("beta", beta))
    return tuple(jnp.asarray(value, kind) for value in values)


def first_state(init: Any, n_chains: int, args: tuple[Any, ...], key: Any) -> tuple[Any, Any]:
    """Return where the chains begin, and the key of the run: both as they are if it goes on.

    Raises
    ------
    TypeError, ValueError
        If there is no key, or ``init`` is not ``(n_chains, n)`` spins of ±1.
    """
    if isinstance(init, Checkpoint):
        return init.restarted(), key
    couplings, field, _ = args
    n = len(couplings)
    keys = split_named(key, "init", "chain")
    if init is None:
        spins = jax.random.rademacher(keys["init"], (n, n_chains), couplings.dtype)
    else:
        given = plus_minus_one("init", init, ndim=2)
        if given.shape != (n_chains, n):
            raise ValueError(f"init: expected shape {(n_chains, n)}, got {given.shape}")
        spins = jnp.asarray(given.T, couplings.dtype)
    return SpinState(spins, couplings @ spins + field), keys["chain"]


def entropy_of_flips(system: SpinState, beta: jax.Array) -> jax.Array:
    """Return the entropy that each flip would produce, ``(n, n_chains)``: log ratio of rates."""
    return -2.0 * beta * system.spins * system.fields


def flip_rates(system: SpinState, couplings: Any, field: Any, beta: Any) -> jax.Array:
    """Return the rates of all flips, ``(n, n_chains)``."""
    return jax.nn.sigmoid(entropy_of_flips(system, beta))


def _hit(system: SpinState, site: jax.Array) -> jax.Array:
    return jnp.arange(len(system.spins))[:, None] == site


def flip_rate(
    system: SpinState, site: jax.Array, couplings: Any, field: Any, beta: Any
) -> jax.Array:
    """Return the rate of the flip of one site a chain, ``(n_chains,)``."""
    return jax.nn.sigmoid(heat(system, site, couplings, field, beta))


def heat(system: SpinState, site: jax.Array, couplings: Any, field: Any, beta: Any) -> jax.Array:
    """Return the entropy that the flip of one site a chain produces, ``(n_chains,)``."""
    return jnp.where(_hit(system, site), entropy_of_flips(system, beta), 0).sum(axis=0)


def flip(system: SpinState, site: jax.Array, couplings: Any, field: Any, beta: Any) -> SpinState:
    """Return the system after the flip of one site a chain."""
    hit = _hit(system, site)
    change = jnp.where(hit, -2 * system.spins, 0)
    if len(couplings) <= _FEW_SPINS:
        moved = couplings @ change
    else:
        moved = couplings[:, site] * change.sum(axis=0)
    return SpinState(system.spins + change, system.fields + moved)


def leap(system: SpinState, flips: jax.Array, couplings: Any, field: Any, beta: Any) -> SpinState:
    """Return the system after the flip of some spins at once."""
    spins = system.spins * (1 - 2 * flips).astype(system.spins.dtype)
    return SpinState(spins, couplings @ spins + field)


def heat_of_leap(
    system: SpinState, flips: jax.Array, couplings: Any, field: Any, beta: Any
) -> jax.Array:
    """Return what these flips would produce one by one, ``(n_chains,)``."""
    return (flips * entropy_of_flips(system, beta)).sum(axis=0)


def refreshed(system: SpinState, couplings: Any, field: Any, beta: Any) -> SpinState:
    """Return the system with its fields computed anew."""
    return SpinState(system.spins, couplings @ system.spins + field)


def state_index(system: SpinState, couplings: Any, field: Any, beta: Any) -> jax.Array:
    """Return the number of the state: bit ``i`` is set where spin ``i`` is +1."""
    bits = (system.spins > 0).astype(jnp.int32)
    return (bits << jnp.arange(len(bits))[:, None]).sum(axis=0)


def room_for(n_attempts: float) -> int:
    """Return a number of events that a Poisson process of this mean has once in 1e20.

    No spin flips faster than once a unit of time: flips are at most as many as attempts.
    """
    return math.ceil(n_attempts + 10 * math.sqrt(n_attempts) + 64)
