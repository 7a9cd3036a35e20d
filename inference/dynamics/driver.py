"""One loop for every stochastic dynamics in discrete steps: chunked, resumable, never silent.

The host calls compiled chunks of a few tenths of a second, between which it draws a progress bar,
looks at the state and asks whether to stop. The key of step ``t`` is ``fold_in(key, t)``, with
``t`` counted from the very first step, so that neither chunks nor interruptions change a path.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import positive, positive_int
from inference.keys import check_key
from inference.progress import Stop, never, progress_bar
from inference.status import Status

S = TypeVar("S")

_SECONDS_A_CHUNK = 0.2
_FIRST_CHUNK = 8
"""Steps of the first chunk, whose pace is unknown."""
_BYTES_A_CHUNK = 2**25
"""Of kept values."""
_MOST_STEPS = 2**31 - 1
"""The counter is of 32 bits."""


class Sum(NamedTuple):
    """A compensated sum (Kahan): the rounding error of ``value`` is kept in ``lost``."""

    value: Any
    lost: Any


class Checkpoint(NamedTuple, Generic[S]):
    """Where a run stands: everything that it needs to go on."""

    state: S
    step: jax.Array
    """Steps taken since the very beginning."""
    key: jax.Array
    sums: Any
    """`Sum` of what was accumulated, None if nothing was."""

    def restarted(self) -> Checkpoint[S]:
        """Return the same with empty sums: what was accumulated so far was burn-in."""
        return self._replace(sums=jax.tree_util.tree_map(jnp.zeros_like, self.sums))


class Trajectory(NamedTuple, Generic[S]):
    """What a run has left."""

    times: jax.Array
    """``(n_saved,)`` times of the kept values, counted from the very first step."""
    values: Any
    """What ``observe`` returned then, leaves ``(n_saved, ...)``; None without it."""
    sums: Any
    """Sum of what ``accumulate`` returned after each step, over all resumed parts; or None."""
    n_steps: int
    """Steps of this call."""
    final: Checkpoint[S]
    """Hand it back as ``init`` to go on."""
    status: Status
    """CONVERGED; NON_FINITE if the state is no longer finite; MAX_STEPS if ``stop_when`` never
    held."""


def simulate(
    step: Callable[..., S],
    init: S | Checkpoint[S],
    *,
    key: jax.Array | None = None,
    n_steps: int,
    args: tuple[Any, ...] = (),
    dt: float = 1.0,
    observe: Callable[..., Any] | None = None,
    save_every: int = 1,
    accumulate: Callable[..., Any] | None = None,
    stop_when: Callable[[S], jax.Array] | None = None,
    chunk_size: int | None = None,
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> Trajectory[S]:
    """Iterate ``state <- step(state, key_t, *args)``.

    Parameters
    ----------
    step
        ``step(state, key_t, *args) -> state``, pure; ``key_t = fold_in(key, t)``.
    init
        First state, any pytree of arrays; or ``final`` of an earlier run, to go on with it.
    key
        A typed key. A run that goes on has its own.
    n_steps
        Steps to take.
    args
        Arrays that ``step``, ``observe`` and ``accumulate`` need. Passed, not closed over: a second
        call with the same functions and equal shapes re-uses the compiled program.
    dt
        Time of a step, for ``times`` alone.
    observe
        ``observe(state, *args)``: what is kept, after every step whose number is a multiple of
        ``save_every``.
    save_every
        See ``observe``.
    accumulate
        ``accumulate(state, *args)``: what is summed up over the states after every step, in the
        widest precision there is and with compensation, so that long sums in single precision do
        not stall. Divide by the number of steps for averages.
    stop_when
        ``stop_when(state)``: True ends the run after that step.
    chunk_size
        Steps between two looks at the host; None takes about 0.2 seconds.
    progress
        Whether to draw a bar; None draws on a terminal.
    should_stop
        Asked between chunks: True ends the run in good order. ``n_steps`` of the result tells.

    Returns
    -------
    Trajectory
        The same, bit for bit, whatever the chunks, and whether run at once or in parts.

    Raises
    ------
    TypeError
        If ``key`` is not a typed key.
    ValueError
        If a number is out of range, or a run that goes on is given a key, or had accumulated
        something else.

    Notes
    -----
    Memory is that of the kept values. Steps are counted in 32 bits. To vary parameters without
    compiling anew pass them in ``args``; to batch, let the state be a batch.

    Examples
    --------
    >>> import jax
    >>> def walk(x, key):
    ...     return x + jax.random.normal(key)
    >>> run = simulate(walk, 0.0, key=jax.random.key(0), n_steps=10)
    >>> on = simulate(walk, run.final, n_steps=20)
    >>> at_once = simulate(walk, 0.0, key=jax.random.key(0), n_steps=30)
    >>> bool(on.final.state == at_once.final.state), int(on.final.step)
    (True, 30)
    """
    args = jax.tree_util.tree_map(jnp.asarray, tuple(args))
    start = _start(init, key, accumulate, args)
    positive_int("n_steps", n_steps)
    positive_int("save_every", save_every)
    positive("dt", dt)
    first = int(start.step)
    if first + n_steps > _MOST_STEPS:
        raise ValueError(f"n_steps: expected at most {_MOST_STEPS - first}, got {n_steps}")
    size = _FIRST_CHUNK if chunk_size is None else positive_int("chunk_size", chunk_size)
    at, buffer, largest = start, None, n_steps
    if observe is not None:
        buffer, n_slots = _buffer(observe, start.state, args, n_steps // save_every + 1, chunk_size)
        largest = n_slots * save_every
    asked = should_stop or never
    pieces: list[Any] = []
    kept = 0
    status = Status.CONVERGED if stop_when is None else Status.MAX_STEPS
    with progress_bar(n_steps, "simulating", progress) as bar:
        while int(at.step) - first < n_steps and not asked():
            began = time.perf_counter()
            before = int(at.step)
            asked_for = min(size, largest, first + n_steps - before)
            at, saved, n_saved, finite, stopped = _chunk(
                step, observe, accumulate, stop_when, at, buffer, args, asked_for, save_every
            )
            if observe is not None and (here := int(n_saved)):
                pieces.append(jax.tree_util.tree_map(lambda b, n=here: np.asarray(b)[:n], saved))
                kept += here
            bar.update(int(at.step) - before)
            if not finite:
                status = Status.NON_FINITE
                break
            if stopped:
                status = Status.CONVERGED
                break
            if chunk_size is None:
                pace = _SECONDS_A_CHUNK / max(time.perf_counter() - began, 1e-9)
                size = max(1, int(size * min(pace, 4.0)))
    times = jnp.asarray(dt * save_every * (first // save_every + 1 + np.arange(kept)), float)
    return Trajectory(
        times, _joined(pieces, buffer), total(at.sums), int(at.step) - first, at, status
    )


def empty_sums(like: Any) -> Any:
    """Return `Sum` of nothing for every leaf of a pytree of arrays or shapes, in wide precision."""

    def empty(leaf: Any) -> Sum:
        inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
        dtype = jnp.promote_types(leaf.dtype, jnp.zeros(()).dtype) if inexact else leaf.dtype
        return Sum(jnp.zeros(leaf.shape, dtype), jnp.zeros(leaf.shape, dtype))

    return jax.tree_util.tree_map(empty, like)


def add_to(sums: Any, terms: Any) -> Any:
    """Return the sums with one more term each."""

    def add(so_far: Sum, term: jax.Array) -> Sum:
        if not jnp.issubdtype(so_far.value.dtype, jnp.inexact):
            return Sum(so_far.value + term, so_far.lost)
        corrected = term.astype(so_far.value.dtype) - so_far.lost
        value = so_far.value + corrected
        return Sum(value, (value - so_far.value) - corrected)

    return jax.tree_util.tree_map(add, sums, terms, is_leaf=_is_sum)


def total(sums: Any) -> Any:
    """Return the values of the sums."""
    return jax.tree_util.tree_map(lambda s: s.value, sums, is_leaf=_is_sum)


def _as_type(leaf: Any, dtype: Any = None) -> jax.Array:
    """Return an array of that type, and one that stays so; keys as they are."""
    leaf = jnp.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return leaf
    return jax.lax.convert_element_type(leaf, dtype or leaf.dtype)


def _is_sum(node: Any) -> bool:
    return isinstance(node, Sum)


def _start(
    init: Any, key: jax.Array | None, accumulate: Callable[..., Any] | None, args: tuple[Any, ...]
) -> Checkpoint[Any]:
    """Return where to begin."""
    if not isinstance(init, Checkpoint):
        if key is None:
            raise TypeError("key: expected a key from jax.random.key(seed), got None")
        check_key(key)
        state = jax.tree_util.tree_map(lambda leaf: _as_type(jnp.asarray(leaf)), init)
        shapes = None if accumulate is None else jax.eval_shape(accumulate, state, *args)
        return Checkpoint(state, jnp.array(0, jnp.int32), key, empty_sums(shapes))
    if key is not None:
        raise ValueError("key: expected None, a run that goes on has its own")
    shapes = None if accumulate is None else jax.eval_shape(accumulate, init.state, *args)
    if jax.eval_shape(lambda: empty_sums(shapes)) != jax.eval_shape(lambda: init.sums):
        raise ValueError("accumulate: expected what the run that goes on has accumulated so far")
    return init


def _buffer(
    observe: Callable[..., Any], state: Any, args: tuple[Any, ...], n_needed: int, chunk: int | None
) -> tuple[Any, int]:
    """Return room for kept values (one slot more, to be overwritten) and its number of slots."""
    shapes = jax.eval_shape(observe, state, *args)
    leaves = jax.tree_util.tree_leaves(shapes)
    n_bytes = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    room = max(1, _BYTES_A_CHUNK // max(n_bytes, 1)) if chunk is None else chunk
    # a power of two: runs of nearly equal length share a program
    n_slots = min(room, 1 << (n_needed - 1).bit_length())
    empty = jax.tree_util.tree_map(
        lambda leaf: jnp.zeros((n_slots + 1, *leaf.shape), leaf.dtype), shapes
    )
    return empty, n_slots


def _joined(pieces: list[Any], buffer: Any) -> Any:
    if not pieces:
        return jax.tree_util.tree_map(lambda b: b[:0], buffer)
    return jax.tree_util.tree_map(lambda *parts: jnp.asarray(np.concatenate(parts)), *pieces)


@partial(jax.jit, static_argnames=("step", "observe", "accumulate", "stop_when"))
def _chunk(
    step: Callable[..., Any],
    observe: Callable[..., Any] | None,
    accumulate: Callable[..., Any] | None,
    stop_when: Callable[..., jax.Array] | None,
    start: Checkpoint[Any],
    buffer: Any,
    args: tuple[Any, ...],
    n_steps: jax.Array,
    save_every: jax.Array,
) -> tuple[Checkpoint[Any], Any, jax.Array, jax.Array, jax.Array]:
    """Return where the chunk ends, kept values and their number, finiteness, and whether to end."""
    end = start.step + n_steps

    def stops(at: Checkpoint[Any]) -> jax.Array:
        return jnp.array(False) if stop_when is None else stop_when(at.state)

    def advance(at: Checkpoint[Any]) -> Checkpoint[Any]:
        state = step(at.state, jax.random.fold_in(at.key, at.step), *args)
        state = jax.tree_util.tree_map(lambda new, old: _as_type(new, old.dtype), state, at.state)
        sums = None if accumulate is None else add_to(at.sums, accumulate(state, *args))
        return Checkpoint(state, at.step + 1, at.key, sums)

    def until(at: Checkpoint[Any], last: jax.Array) -> Checkpoint[Any]:
        if stop_when is None:
            return jax.lax.fori_loop(at.step, last, lambda _, a: advance(a), at)
        return jax.lax.while_loop(lambda a: (a.step < last) & ~stops(a), advance, at)

    def keep(carry: tuple[Any, Any, jax.Array]) -> tuple[Any, Any, jax.Array]:
        at, slots, n_saved = carry
        at = until(at, jnp.minimum((at.step // save_every + 1) * save_every, end))
        assert observe is not None
        seen = observe(at.state, *args)
        slots = jax.tree_util.tree_map(lambda b, value: b.at[n_saved].set(value), slots, seen)
        return at, slots, n_saved + (at.step % save_every == 0)

    n_saved = jnp.array(0, jnp.int32)
    if observe is None:
        at = until(start, end)
    else:
        at, buffer, n_saved = jax.lax.while_loop(
            lambda carry: (carry[0].step < end) & ~stops(carry[0]), keep, (start, buffer, n_saved)
        )
    leaves = [
        x for x in jax.tree_util.tree_leaves(at.state) if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    finite = jnp.array(True)
    for leaf in leaves:
        finite &= jnp.isfinite(leaf).all()
    return at, buffer, n_saved, finite, stops(at)
