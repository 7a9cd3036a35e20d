"""The chance that another literal of a clause is true, as plain numbers and as logarithms.

``true`` is ``(n_clauses, k, ...)``, the probabilities of ``k`` independent literals. Of two sets of
literals the chance that one is true is ``c1 + (1 - c1) c2``: a sum of positive terms, so nothing is
lost where all are nearly certain to be false. The rounding of ``1 - c1`` does not matter: it shows
only where ``c1`` is close to one, and the sum with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid


def largest_half_field(dtype: Any) -> float:
    """Return the half-field up to which both probabilities of a spin and their products fit."""
    return -0.45 * float(np.log(np.finfo(dtype).tiny))


def literal_true(half_field: jax.Array, sign: jax.Array) -> jax.Array:
    """Return the probability that a spin equals ``sign``."""
    return 1 / (1 + jnp.exp(-2 * sign * half_field))


def log_literal_true(half_field: jax.Array, sign: jax.Array) -> jax.Array:
    """Return the log of `literal_true`, at any half-field."""
    return log_sigmoid(2 * sign * half_field)


def any_other(true: jax.Array) -> jax.Array:
    """Return for each literal the chance that another one of its clause is true."""
    return _all_but_one(true, jnp.add, jnp.multiply, lambda prob: 1 - prob, 0.0)


def log_any_other(log_true: jax.Array) -> jax.Array:
    """Return `any_other` of and as logarithms."""
    return _all_but_one(log_true, jnp.logaddexp, jnp.add, _log_complement, -jnp.inf)


def log_of_any(true: jax.Array) -> jax.Array:
    """Return ``(n_clauses, ...)``, the log of the chance that a literal is true."""
    total = jnp.zeros_like(true, shape=(true.shape[0], *true.shape[2:]))
    for k in range(true.shape[1]):
        total = true[:, k] + (1 - true[:, k]) * total
    return jnp.log(total)


def log_any(log_true: jax.Array) -> jax.Array:
    """Return `log_of_any` of logarithms."""
    total = jnp.full_like(log_true, -jnp.inf, shape=(log_true.shape[0], *log_true.shape[2:]))
    for k in range(log_true.shape[1]):
        total = jnp.logaddexp(log_true[:, k], _log_complement(log_true[:, k]) + total)
    return total


def half_field(any_other: jax.Array, sign: jax.Array) -> jax.Array:
    """Return the message to a literal's spin: infinite if no other literal can be true."""
    return -0.5 * jnp.log(any_other) * sign


def half_field_from_log(log_any_other: jax.Array, sign: jax.Array) -> jax.Array:
    """Return `half_field` of a logarithm."""
    return -0.5 * log_any_other * sign


def _log_complement(log_prob: jax.Array) -> jax.Array:
    return jnp.log1p(-jnp.exp(log_prob))


def _all_but_one(
    true: jax.Array,
    plus: Callable[..., jax.Array],
    times: Callable[..., jax.Array],
    complement: Callable[[jax.Array], jax.Array],
    nothing: float,
) -> jax.Array:
    """Sweep over the columns from both sides; any_other = any to the left or any to the right."""
    columns = [true[:, k] for k in range(true.shape[1])]
    if len(columns) < 2:
        return jnp.full_like(true, nothing)
    absent = [complement(column) for column in columns]
    left, none_left = [columns[0]], [absent[0]]
    for k in range(1, len(columns) - 1):
        left.append(plus(left[-1], times(none_left[-1], columns[k])))
        none_left.append(times(none_left[-1], absent[k]))
    right = columns[-1]
    others = [left[-1]]
    for k in range(len(columns) - 2, 0, -1):
        others.append(plus(left[k - 1], times(none_left[k - 1], right)))
        right = plus(columns[k], times(absent[k], right))
    return jnp.stack([right, *reversed(others)], axis=1)
