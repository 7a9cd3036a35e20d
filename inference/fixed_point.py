"""One driver for every damped fixed-point iteration: stops, reports, never hides a NaN."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from .keys import check_key
from .status import Status

S = TypeVar("S")


class FixedPointResult(NamedTuple, Generic[S]):
    """Where an iteration ended; every field but ``value`` is a scalar array."""

    value: S
    residual: jax.Array
    n_steps: jax.Array
    status: jax.Array


def largest_change(update: Any, state: Any) -> jax.Array:
    """Return the largest absolute difference of two pytrees over all entries of all leaves."""
    changes = jax.tree_util.tree_map(lambda new, old: jnp.max(jnp.abs(new - old)), update, state)
    return jnp.max(jnp.stack(jax.tree_util.tree_leaves(changes)))


def fixed_point(
    step: Callable[..., S],
    init: S,
    *,
    key: jax.Array,
    args: tuple[Any, ...] = (),
    tol: float = 1e-8,
    max_steps: int = 1000,
    damping: float = 0.0,
    distance: Callable[[Any, Any], jax.Array] = largest_change,
) -> FixedPointResult[S]:
    """Iterate ``state <- damping * state + (1 - damping) * step(state)`` until it stands still.

    Parameters
    ----------
    step
        ``step(state, key_t, *args) -> update``, pure; ``key_t = fold_in(key, t)``.
    init
        First state, a pytree of floating-point arrays.
    key
        A typed key. Deterministic maps ignore what they are handed.
    args
        Arrays that ``step`` needs. Passed, not closed over: a second call with the same ``step``
        and equal shapes re-uses the compiled program.
    tol
        Stop once ``distance(step(state), state) <= tol``: the residual of the map itself, whatever
        the damping.
    max_steps
        Upper limit of the number of steps.
    damping
        In [0, 1): the share of the old state that is kept. Infinite entries do not mix: where the
        old or the new one is infinite, the new one counts.
    distance
        ``distance(update, state)`` maps the new and the old pytree to a scalar. A state with
        infinite entries needs one that stays finite there, because the default does not.

    Returns
    -------
    FixedPointResult
        ``status`` is CONVERGED, MAX_STEPS, or, if the distance was NaN or infinite, NON_FINITE;
        then ``value`` is the state before.

    Raises
    ------
    TypeError
        If ``key`` is not a typed key.
    ValueError
        If ``damping`` is outside [0, 1) or ``max_steps`` is smaller than 1 (concrete values only).

    Notes
    -----
    Differentiable in forward mode only (the loop has a dynamic length). Under ``vmap`` every
    element runs until the slowest stops; each keeps its own status.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> result = fixed_point(lambda x, key: jnp.cos(x), jnp.array(1.0), key=jax.random.key(0))
    >>> round(float(result.value), 4), int(result.status)
    (0.7391, 0)
    """
    check_key(key)
    if not isinstance(damping, jax.core.Tracer) and not 0.0 <= float(damping) < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    if not isinstance(max_steps, jax.core.Tracer) and int(max_steps) < 1:
        raise ValueError(f"max_steps: expected at least 1, got {max_steps}")
    return _iterate(step, distance, init, key, args, tol, max_steps, damping)


@partial(jax.jit, static_argnames=("step", "distance"))
def _iterate(
    step: Callable[..., S],
    distance: Callable[[Any, Any], jax.Array],
    init: S,
    key: jax.Array,
    args: tuple[Any, ...],
    tol: jax.Array,
    max_steps: jax.Array,
    damping: jax.Array,
) -> FixedPointResult[S]:
    def proceed(carry: tuple[S, jax.Array, jax.Array]) -> jax.Array:
        _, residual, t = carry
        return (t < max_steps) & (residual > tol)  # a NaN residual compares false and stops

    def advance(carry: tuple[S, jax.Array, jax.Array]) -> tuple[S, jax.Array, jax.Array]:
        state, _, t = carry
        update = step(state, jax.random.fold_in(key, t), *args)
        residual = distance(update, state).astype(dtype)
        finite = jnp.isfinite(residual)

        def blend(old: jax.Array, new: jax.Array) -> jax.Array:
            mixed = new + damping * (old - new)
            mixed = jnp.where(jnp.isfinite(new - old), mixed, new)
            return jnp.where(finite, mixed, old).astype(old.dtype)

        state = jax.tree_util.tree_map(blend, state, update)
        return state, jnp.where(finite, residual, jnp.nan), t + 1

    init = jax.tree_util.tree_map(jnp.asarray, init)
    dtype = jnp.result_type(float, *jax.tree_util.tree_leaves(init))
    start = (init, jnp.array(jnp.inf, dtype), jnp.array(0))
    value, residual, n_steps = jax.lax.while_loop(proceed, advance, start)
    status = jnp.where(
        jnp.isnan(residual),
        int(Status.NON_FINITE),
        jnp.where(residual <= tol, int(Status.CONVERGED), int(Status.MAX_STEPS)),
    )
    return FixedPointResult(value, residual, n_steps, status)
