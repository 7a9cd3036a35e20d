"""The guard for computations that single precision would silently spoil."""

from __future__ import annotations

import jax

from .status import PrecisionError


def require_x64(what: str) -> None:
    """Raise unless JAX runs in double precision.

    Parameters
    ----------
    what
        What needs the precision; the subject of the error message.

    Raises
    ------
    PrecisionError
        If ``jax_enable_x64`` is off; the message holds the one-line cure.
    """
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise PrecisionError(
            f"{what} needs double precision; "
            'put jax.config.update("jax_enable_x64", True) before the first JAX operation'
        )
