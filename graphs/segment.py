"""Reductions over the edges that share a node: sums, maxima, and everything but one's own share.

``values`` is ``(n_edges, ...)`` and every trailing axis is a batch: replicas on the last axis cost
a small part of what ``vmap`` over a leading axis costs. The ids need no order. An id outside
``0 .. num_segments - 1`` cannot be refused inside compiled code: graphs check at construction.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


@partial(jax.jit, static_argnames="num_segments")
def segment_sum(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Sum the values of each segment.

    Parameters
    ----------
    values
        ``(n_edges, ...)``.
    segment_ids
        ``(n_edges,)`` integers from 0 to ``num_segments - 1``.
    num_segments
        Static.

    Returns
    -------
    Array
        ``(num_segments, ...)``; 0 for an empty segment.

    Raises
    ------
    ValueError
        If ``segment_ids`` does not have one entry for each row of ``values``.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from graphs.segment import segment_sum
    >>> segment_sum(jnp.array([1, 2, 3]), jnp.array([2, 0, 2]), 3).tolist()
    [2, 0, 4]
    """
    values, segment_ids = _checked(values, segment_ids)
    return jax.ops.segment_sum(values, segment_ids, num_segments)


@partial(jax.jit, static_argnames="num_segments")
def segment_max(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Return the largest value of each segment; that of an empty one is -inf.

    Parameters, shapes and errors as `segment_sum` (the smallest integer stands for -inf if
    ``values`` are integers).
    """
    values, segment_ids = _checked(values, segment_ids)
    return jax.ops.segment_max(values, segment_ids, num_segments)


@partial(jax.jit, static_argnames="num_segments")
def segment_logsumexp(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Return ``log(sum(exp(values)))`` of each segment.

    Parameters, shapes and errors as `segment_sum`. An empty segment, or one that holds nothing but
    -inf, gives -inf with gradient 0; NaN comes only from NaN.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from graphs.segment import segment_logsumexp
    >>> segment_logsumexp(jnp.array([1000.0, -jnp.inf]), jnp.array([0, 1]), 3).tolist()
    [1000.0, -inf, -inf]
    """
    values, segment_ids = _checked(values, segment_ids)
    top = jax.ops.segment_max(jax.lax.stop_gradient(values), segment_ids, num_segments)
    shift = jnp.where(jnp.isfinite(top), top, 0)
    total = jax.ops.segment_sum(jnp.exp(values - shift[segment_ids]), segment_ids, num_segments)
    something = total != 0
    # the inner where keeps log(0) out of the gradient
    return jnp.where(something, jnp.log(jnp.where(something, total, 1)) + shift, -jnp.inf)


@partial(jax.jit, static_argnames="num_segments")
def leave_one_out_sum(values: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    """Return, for each edge, the sum over the other edges of its segment.

    Parameters
    ----------
    values, segment_ids, num_segments
        As `segment_sum`.

    Returns
    -------
    Array
        The shape of ``values``; 0 for an edge alone in its segment. Infinite entries are counted,
        not added: infinity minus itself is the finite rest, and a rest with both +inf and -inf is
        NaN (two certain messages that contradict each other). A NaN spoils its whole segment.

    Raises
    ------
    ValueError
        As `segment_sum`.

    Notes
    -----
    Without infinities it costs one sum, one gather and one subtraction, so an entry that exceeds
    the others by a factor of 1 / eps erases them; the counting runs only if an infinity is present
    (always, if under ``vmap``).

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from graphs.segment import leave_one_out_sum
    >>> leave_one_out_sum(jnp.array([1.0, 2.0, jnp.inf]), jnp.zeros(3, int), 1).tolist()
    [inf, inf, 3.0]
    """
    values, segment_ids = _checked(values, segment_ids)
    others = partial(_others, segment_ids=segment_ids, num_segments=num_segments)

    def count_infinities(values: jax.Array) -> jax.Array:
        rest = others(jnp.where(jnp.isinf(values), 0, values))
        above = others(jnp.isposinf(values).astype(jnp.int32)) > 0
        below = others(jnp.isneginf(values).astype(jnp.int32)) > 0
        return rest + jnp.where(above, jnp.inf, 0) - jnp.where(below, jnp.inf, 0)

    if not jnp.issubdtype(values.dtype, jnp.floating):
        return others(values)
    return jax.lax.cond(jnp.isinf(values).any(), count_infinities, others, values)


@partial(jax.jit, static_argnames="num_segments")
def leave_one_out_product(
    values: jax.Array, segment_ids: jax.Array, num_segments: int
) -> jax.Array:
    """Return, for each edge, the product over the other edges of its segment.

    Parameters
    ----------
    values, segment_ids, num_segments
        As `segment_sum`; any signs, zeros allowed.

    Returns
    -------
    Array
        The shape of ``values``, floating; 1 for an edge alone in its segment. A zero does not spoil
        the product of the others, and a rest with both 0 and infinity is NaN.

    Raises
    ------
    ValueError
        As `segment_sum`.

    Notes
    -----
    The exponential of `leave_one_out_sum` over ``log|values|``, times the sign: partial products
    neither overflow nor underflow, and the relative error is about eps times the sum of
    ``abs(log|values|)`` over the segment. First derivatives are exact also at zeros.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from graphs.segment import leave_one_out_product
    >>> leave_one_out_product(jnp.array([0.0, 2.0, 0.5]), jnp.zeros(3, int), 1).tolist()
    [1.0, 0.0, 0.0]
    """
    values, segment_ids = _checked(values, segment_ids)
    return _product(num_segments, values.astype(jnp.result_type(values, float)), segment_ids)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _product(num_segments: int, values: jax.Array, segment_ids: jax.Array) -> jax.Array:
    size = jnp.exp(leave_one_out_sum(jnp.log(jnp.abs(values)), segment_ids, num_segments))

    def signed(values: jax.Array) -> jax.Array:
        n_negative = _others((values < 0).astype(jnp.int32), segment_ids, num_segments)
        return jnp.where(n_negative % 2 == 1, -size, size)

    return jax.lax.cond((values < 0).any(), signed, lambda _: size, values)


@_product.defjvp
def _product_jvp(num_segments: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    values, segment_ids = primals
    change, _ = tangents
    zero = values == 0
    filled = jnp.where(zero, 1, values)
    others = partial(_others, segment_ids=segment_ids, num_segments=num_segments)
    n_zeros = others(zero.astype(jnp.int32))
    # Each term of the derivative lacks two edges. Without a zero among the others any edge can be
    # the second one; with one zero only that; with more, nothing is left.
    relative = jnp.where(zero, 0, change / filled)
    at_zero = jnp.where(zero, change, 0)
    terms = jnp.where(n_zeros == 0, others(relative), others(at_zero))
    rest = _product(num_segments, filled, segment_ids)
    derivative = jnp.where(n_zeros > 1, 0, rest * terms)
    return jnp.where(n_zeros == 0, rest, _product(num_segments, values, segment_ids)), derivative


def _others(parts: jax.Array, segment_ids: jax.Array, num_segments: int) -> jax.Array:
    return jax.ops.segment_sum(parts, segment_ids, num_segments)[segment_ids] - parts


def _checked(values: Any, segment_ids: Any) -> tuple[jax.Array, jax.Array]:
    values, segment_ids = jnp.asarray(values), jnp.asarray(segment_ids)
    if segment_ids.ndim != 1 or segment_ids.shape != values.shape[:1]:
        raise ValueError(
            f"segment_ids: expected one id for each row of values, got shape {segment_ids.shape} "
            f"and values of shape {values.shape}"
        )
    if not jnp.issubdtype(segment_ids.dtype, jnp.integer):
        raise TypeError(f"segment_ids: expected integers, got the type {segment_ids.dtype}")
    return values, segment_ids
