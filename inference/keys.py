"""Random keys split by name, so that adding one consumer never changes the numbers of another."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp


def split_named(key: jax.Array, *names: str) -> dict[str, jax.Array]:
    """Derive one independent key for every name.

    Parameters
    ----------
    key
        A typed key, ``jax.random.key(seed)``.
    *names
        Distinct names. The key of a name depends on ``key`` and the name alone.

    Returns
    -------
    dict
        ``{name: key}``.

    Raises
    ------
    TypeError
        If ``key`` is not a scalar typed key.
    ValueError
        If a name occurs twice.

    Examples
    --------
    >>> import jax
    >>> keys = split_named(jax.random.key(0), "init", "chain")
    >>> sorted(keys)
    ['chain', 'init']
    """
    check_key(key)
    if len(set(names)) != len(names):
        raise ValueError(f"names: expected distinct names, got {names}")
    return {name: jax.random.fold_in(key, zlib.crc32(name.encode())) for name in names}


def check_key(key: jax.Array, name: str = "key") -> None:
    """Raise ``TypeError`` unless ``key`` is a scalar typed key."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key) or key.ndim:
        raise TypeError(
            f"{name}: expected a key from jax.random.key(seed), got {type(key).__name__}"
            f"{'' if dtype is None else f' of dtype {dtype}'}; use jax.random.key, not PRNGKey"
        )
