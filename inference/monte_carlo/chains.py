"""What every kernel of spins does for NumPyro: one chain or many, and where they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .metropolis import random_spins, spin_array


def is_batched(rng_key: jax.Array) -> bool:
    """Return whether a key, typed or raw, is one key for each of several chains."""
    typed = jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key)
    return bool(rng_key.ndim > (0 if typed else 1))


def over_chains(function: Callable[..., Any], batched: bool) -> Callable[..., Any]:
    """Return ``function``, mapped over the first axis of its arguments if there are chains."""
    return jax.vmap(function) if batched else function


def first_spins(init_params: Any, rng_key: jax.Array, n_spins: int, site: str) -> jax.Array:
    """Return ``(n_spins,)`` int8 ±1, or ``(n_chains, n_spins)`` for several keys.

    Parameters
    ----------
    init_params
        As handed to ``MCMC.run``: None for random spins, an array, or ``{site: array}``.
    rng_key
        Of the chain, or one for each.
    n_spins
        Expected number of spins.
    site
        Name of the sample.

    Raises
    ------
    ValueError
        If what is given are no spins of that shape.
    """
    given = init_params[site] if isinstance(init_params, dict) else init_params
    if given is None:

        def draw(key: jax.Array) -> jax.Array:
            return random_spins(jax.random.fold_in(key, 1), n_spins)

        return over_chains(draw, is_batched(rng_key))(rng_key)  # type: ignore[no-any-return]

    def of_chain(chain: int | None) -> jax.Array:
        spins = given if chain is None else given[chain]
        if not isinstance(spins, jax.core.Tracer):
            spins = spin_array("init_params", spins)
        if spins.shape != (n_spins,):
            raise ValueError(f"init_params: expected {n_spins} spins a chain, got {spins.shape}")
        return spins.astype(jnp.int8)

    if not is_batched(rng_key):
        return of_chain(None)
    return jnp.stack([of_chain(chain) for chain in range(len(rng_key))])


def no_keywords(model_kwargs: dict[str, Any]) -> None:
    """Raise ``ValueError`` if ``MCMC.run`` was given keyword arguments for the model."""
    if model_kwargs:
        raise ValueError(f"run: expected positional arguments only, got {sorted(model_kwargs)}")
