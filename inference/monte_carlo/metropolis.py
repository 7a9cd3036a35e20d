"""Single-spin flips with the rule of Metropolis: the pure function under kernels and annealing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import plus_minus_one

Energy = Callable[..., Any]
"""``energy(spins, *args)``: the energy of spins ``(n,)`` ±1, a scalar."""
DeltaEnergy = Callable[..., Any]
"""``delta_energy(spins, site, *args)``: what flipping one spin adds to the energy."""
Order = Literal["random", "sequential"]

_ROUNDING = 1e-3
"""Relative difference of two energies that cannot be rounding, also in single precision."""


class SweepResult(NamedTuple):
    """Where a sweep ended."""

    spins: jax.Array
    """``(n,)`` ±1."""
    energy: jax.Array
    """Carried along by ``delta_energy``, a scalar."""
    accept_prob: jax.Array
    """Mean acceptance probability of the proposals."""


def acceptance_probability(delta: Any, beta: Any) -> jax.Array:
    """Return ``min(1, exp(-beta * delta))``."""
    return jnp.exp(jnp.minimum(0.0, -beta * delta))


def metropolis_sweep(
    key: jax.Array,
    spins: jax.Array,
    energy: jax.Array,
    beta: jax.Array,
    delta_energy: DeltaEnergy,
    args: tuple[Any, ...] = (),
    *,
    n_flips: int,
    order: Order = "random",
) -> SweepResult:
    """Propose ``n_flips`` single flips one after another.

    Parameters
    ----------
    key
        Of this sweep.
    spins
        ``(n,)`` ±1 of any numeric type.
    energy
        Their energy.
    beta
        Inverse temperature.
    delta_energy
        What flipping one spin adds; O(degree) for a sparse model.
    args
        Further arguments of ``delta_energy``.
    n_flips
        Number of proposals.
    order
        ``"random"`` draws each site anew (detailed balance); ``"sequential"`` goes through
        ``0, 1, ..., n - 1`` again and again (the distribution is still left alone).

    Returns
    -------
    SweepResult
        Of the same types as the arguments.
    """
    n = spins.shape[0]
    to_site, to_accept = jax.random.split(key)
    # all at once: drawing inside the loop costs more than everything else in it
    thresholds = jax.random.uniform(to_accept, (n_flips,), energy.dtype)
    sites = (
        jax.random.randint(to_site, (n_flips,), 0, n)
        if order == "random"
        else jnp.arange(n_flips) % n
    )

    def propose(
        step: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        spins, energy, accepted = carry
        site = sites[step]
        delta = jnp.asarray(delta_energy(spins, site, *args), energy.dtype)
        chance = acceptance_probability(delta, beta).astype(accepted.dtype)
        flip = thresholds[step] < chance
        spins = spins.at[site].multiply(jnp.where(flip, -1, 1).astype(spins.dtype))
        return spins, energy + jnp.where(flip, delta, 0), accepted + chance

    start = (spins, energy, jnp.zeros((), energy.dtype))
    spins, energy, accepted = jax.lax.fori_loop(0, n_flips, propose, start)
    return SweepResult(spins, energy, accepted / n_flips)


def random_spins(key: jax.Array, n_spins: int) -> jax.Array:
    """Return ``(n_spins,)`` int8, each ±1 with equal probability."""
    return jax.random.rademacher(key, (n_spins,), jnp.int8)


def spin_array(name: str, spins: Any) -> jax.Array:
    """Return ``spins`` as int8 if they are ``(n,)`` of ±1, else raise ``ValueError``."""
    if np.ndim(spins) != 1 or not np.size(spins):
        raise ValueError(f"{name}: expected shape (n,) with n of at least 1, got {np.shape(spins)}")
    return jnp.asarray(plus_minus_one(name, spins, ndim=1))


def check_energies(
    energy: Energy, delta_energy: DeltaEnergy, spins: jax.Array, args: tuple[Any, ...]
) -> jax.Array:
    """Return the energy of ``spins``, after trying both functions on a few flips.

    Raises
    ------
    ValueError
        If an energy is no finite scalar, or ``delta_energy`` is not the difference of two energies.
    """
    value = jnp.asarray(energy(spins, *args), float)
    if value.shape != () or not jnp.isfinite(value):
        raise ValueError(f"energy: expected a finite scalar, got {value!r:.60}")
    for site in sorted({0, spins.shape[0] // 2, spins.shape[0] - 1}):
        delta = jnp.asarray(delta_energy(spins, jnp.asarray(site), *args), float)
        flipped = spins.at[site].multiply(-1)
        difference = jnp.asarray(energy(flipped, *args), float) - value
        scale = jnp.maximum(1.0, jnp.abs(value))
        if delta.shape != () or not jnp.abs(delta - difference) <= _ROUNDING * scale:
            raise ValueError(
                f"delta_energy: flipping spin {site} changes the energy by {difference}, "
                f"delta_energy says {delta}"
            )
    return value
