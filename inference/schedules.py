"""How a parameter changes on the way: pure functions from the step to the value."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from .checks import positive, positive_int

Schedule = Callable[[jax.Array], jax.Array]
"""From the step, an integer array, to the value; usable under ``jit``."""


def constant(value: float) -> Schedule:
    """Return a schedule that stays at ``value``."""
    return lambda step: jnp.full(jnp.shape(step), value, float)


def linear(start: float, stop: float, n_steps: int) -> Schedule:
    """Return a straight line from ``start`` at step 0 to ``stop`` at step ``n_steps - 1``.

    It stays at ``stop`` afterwards.

    Raises
    ------
    ValueError
        If ``n_steps`` is no positive integer.

    Examples
    --------
    >>> float(linear(0.0, 4.0, 5)(3))
    3.0
    """
    last = max(1, positive_int("n_steps", n_steps) - 1)
    return lambda step: start + (stop - start) * jnp.clip(step / last, 0.0, 1.0)


def geometric(start: float, stop: float, n_steps: int) -> Schedule:
    """Return equal ratios from ``start`` at step 0 to ``stop`` at step ``n_steps - 1``.

    It stays at ``stop`` afterwards.

    Raises
    ------
    ValueError
        If an end is not positive or ``n_steps`` is no positive integer.

    Examples
    --------
    >>> round(float(geometric(0.1, 10.0, 3)(1)), 6)
    1.0
    """
    low, high = positive("start", start), positive("stop", stop)
    last = max(1, positive_int("n_steps", n_steps) - 1)
    return lambda step: low * (high / low) ** jnp.clip(step / last, 0.0, 1.0)
