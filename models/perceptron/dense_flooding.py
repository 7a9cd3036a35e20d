"""Approximate message passing in JAX: the parallel schedule, and a function for ``jit``.

The equations are those of `dense_messages`, whose oracle this is; it runs on any device.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr

from inference.fixed_point import FixedPointResult, fixed_point

from .dense_messages import SMALLEST_VARIANCE


class Flooded(NamedTuple):
    """Messages as in `dense_messages.DenseMessages`, and what they mean under an external field."""

    fields: jax.Array
    responses: jax.Array
    magnetizations: jax.Array
    """``tanh(fields + external field)``."""


def flood_densely(
    patterns: jax.Array,
    field: jax.Array,
    fields: jax.Array,
    responses: jax.Array,
    *,
    damping: float,
    tol: float,
    max_steps: int,
) -> FixedPointResult[Flooded]:
    """Iterate until no magnetization changes by more than ``tol``; usable under ``jit``.

    Arguments and the meaning of the residual are those of `dense_messages.propagate_densely`.
    """
    undamped = 1.0 - damping
    start = Flooded(fields, responses, jnp.tanh(fields + field))
    reached = fixed_point(
        _sweep, start, key=jax.random.key(0), args=(patterns, field, damping),
        tol=tol * undamped, max_steps=max_steps, distance=_largest_move,
    )  # fmt: skip
    return reached._replace(residual=reached.residual / undamped)


def dense_log_partition(patterns: jax.Array, field: jax.Array, reached: Flooded) -> jax.Array:
    """Return the Bethe log of the sum of ``exp(field . W)`` over the solutions, a scalar."""
    stabilities, variance = _stabilities(patterns, reached)
    onsager = variance * reached.responses
    of_patterns = log_ndtr(stabilities / jnp.sqrt(variance)) + onsager**2 / (2 * variance)
    total = reached.fields + field
    of_weights = jnp.logaddexp(total, -total) - reached.fields * reached.magnetizations
    return of_patterns.sum() + of_weights.sum()


def _stabilities(patterns: jax.Array, messages: Flooded) -> tuple[jax.Array, jax.Array]:
    magnetizations = messages.magnetizations
    variance = jnp.maximum(1.0 - jnp.mean(magnetizations**2), SMALLEST_VARIANCE)
    sums = patterns.astype(magnetizations.dtype) @ magnetizations / jnp.sqrt(len(magnetizations))
    return sums - variance * messages.responses, variance


def _largest_move(update: Flooded, state: Flooded) -> jax.Array:
    return jnp.max(jnp.abs(update.magnetizations - state.magnetizations))


def _sweep(
    messages: Flooded, _key: jax.Array, patterns: jax.Array, field: jax.Array, damping: jax.Array
) -> Flooded:
    n_weights = len(messages.fields)
    stabilities, variance = _stabilities(patterns, messages)
    z = stabilities / jnp.sqrt(variance)
    responses = jnp.exp(-0.5 * z**2 - 0.5 * jnp.log(2 * jnp.pi) - log_ndtr(z)) / jnp.sqrt(variance)
    slope = jnp.sum(responses * (responses + stabilities / variance)) / n_weights
    fields = patterns.astype(responses.dtype).T @ responses / jnp.sqrt(n_weights)
    # of the fields alone: with damped responses the iteration can end in a wrong, polarised state
    fields = damping * messages.fields + (1 - damping) * (fields + slope * messages.magnetizations)
    return Flooded(fields, responses, jnp.tanh(fields + field))
