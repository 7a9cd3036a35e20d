"""Exact simulation of Markov jump processes: many chains at once, averages taken on the way.

A process is a function that returns rates and one that applies a channel (a reaction, a flip).
Chains are the last axis of every array: a batch then runs in vector registers, an order of
magnitude faster than with chains in front. Time averages weight a state by how long it is held;
sums over events (heat, currents) are exact as well. Both are gathered while the chains run, and
nothing is stored; `sample_jumps` stores every event.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats, positive, positive_int
from inference.progress import Stop

from .driver import Checkpoint
from .jump_blocks import (
    Block,
    Function,
    JumpRun,
    JumpState,
    Layout,
    as_arrays,
    as_process,
    check_first_rates,
    run_process,
    run_window,
    start_of,
    systems_of,
)

__all__ = ["JumpPaths", "JumpRun", "rejection_free", "sample_jumps", "uniformised"]

BLOCK = 64
"""Events whose random numbers are drawn at once, unless asked for otherwise."""


def rejection_free(
    rates: Function,
    apply: Function,
    init: Any,
    *,
    key: jax.Array | None = None,
    n_events: int,
    duration: float | None = None,
    burn_in: float = 0,
    args: tuple[Any, ...] = (),
    observe: Function | None = None,
    count: Function | None = None,
    place: Function | None = None,
    n_places: int = 0,
    refresh: Function | None = None,
    layout: Layout = "chain",
    block_size: int = BLOCK,
    chunk_size: int | None = None,
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> JumpRun:
    """Simulate a jump process by Gillespie's direct method: every event is a jump.

    Parameters
    ----------
    rates
        ``rates(system, *args)``: ``(n_channels,)``, from 0 on.
    apply
        ``apply(system, channel, *args)``: the system after a jump through one channel.
    init
        Systems, a pytree of arrays ``(..., n_chains)``: chains on the last axis. Or ``final`` of an
        earlier run with the same functions, to go on.
    key
        A typed key. A run that goes on has its own.
    n_events
        Events of each chain after the burn-in; with ``duration`` all that a chain may have,
        burn-in included. Rounded up to whole blocks.
    duration
        Time of each chain after the burn-in; None lets every chain have ``n_events``.
    burn_in
        What is discarded first, as events, or as time if ``duration`` is given. A run that goes on
        has had its burn-in: what it gathers is added, unless there is another burn-in.
    args
        Arrays that the functions need. Passed, not closed over: other values do not compile anew.
    observe
        ``observe(system, *args)``: pytree of numbers to be averaged over time.
    count
        ``count(system, channel, *args)``: pytree of numbers to be summed over jumps; ``system``
        before the jump.
    place, n_places
        ``place(system, *args)``: a number from 0 to ``n_places - 1``; the time in each is counted.
    refresh
        ``refresh(system, *args)``: the same system, without the rounding errors of what is
        updated incrementally; called once a block.
    layout
        ``"chain"``: the functions see one chain and are vectorised. ``"batch"``: they see and
        return arrays with chains on the last axis, ``channel`` is ``(n_chains,)``; often faster.
    block_size
        Events whose random numbers are drawn at once: part of what the key means.
    chunk_size, progress, should_stop
        As for `simulate`, in blocks.

    Returns
    -------
    JumpRun
        Bit for bit the same whatever the chunks; and whether at once or in parts, if the parts are
        whole blocks, or windows of the same duration.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range, shapes do not fit, a first rate is negative or not finite,
        or all are zero without ``duration``.

    Notes
    -----
    Gillespie, J. Phys. Chem. 81, 2340 (1977). Single precision resolves a uniform number to
    ``2**-23``: channels less likely than that need double precision (rates that are doubles).
    A number of events is no bias: after a burn-in in events, integrals and times have exactly the
    expectations of the stationary chain of events, whose ratio is the average over time.

    Examples
    --------
    Two states with rates 1 and 3: three quarters of the time in the first.

    >>> import jax, jax.numpy as jnp
    >>> rates = lambda state: jnp.array([1.0, 3.0])[state][None]
    >>> flip = lambda state, channel: 1 - state
    >>> run = rejection_free(rates, flip, jnp.zeros(64, int), key=jax.random.key(0),
    ...                      n_events=1024, burn_in=64, observe=lambda state: state == 0)
    >>> round(float(run.averages.mean()), 2)
    0.75
    """
    args = as_arrays(args)
    process = as_process(
        layout, rates, apply, observe=observe, count=count, place=place, n_places=n_places,
        refresh=refresh,
    )  # fmt: skip
    dtype = check_first_rates(process, init, args, absorbing=duration is not None)
    block = Block(process, positive_int("block_size", block_size), duration is not None)
    return run_process(
        block, init, key, (jnp.zeros(()), *args), dtype, n_events=n_events, duration=duration,
        burn_in=burn_in, chunk_size=chunk_size, progress=progress, should_stop=should_stop,
    )  # fmt: skip


def uniformised(
    rate: Function,
    apply: Function,
    init: Any,
    *,
    n_channels: int,
    bound: float = 1.0,
    key: jax.Array | None = None,
    n_events: int,
    duration: float | None = None,
    burn_in: float = 0,
    args: tuple[Any, ...] = (),
    observe: Function | None = None,
    count: Function | None = None,
    place: Function | None = None,
    n_places: int = 0,
    refresh: Function | None = None,
    layout: Layout = "chain",
    block_size: int = BLOCK,
    chunk_size: int | None = None,
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> JumpRun:
    """Simulate a jump process with bounded rates: channels are tried blindly and may be rejected.

    Exact, as `rejection_free`, and cheaper where there are many channels with rates near their
    bound, because only one rate is computed an event.

    Parameters
    ----------
    rate
        ``rate(system, channel, *args)``: of one channel, from 0 to ``bound``.
    n_channels
        How many there are.
    bound
        Of every rate. A rate above it stops its chain with status NON_FINITE.
    n_events, burn_in
        Count attempts, accepted or not; ``JumpRun.n_events`` counts jumps.
    apply, init, key, duration, args, observe, count, place, n_places, refresh, layout, block_size
        As for `rejection_free`.
    chunk_size, progress, should_stop
        As for `simulate`, in blocks.

    Returns
    -------
    JumpRun
        As of `rejection_free`.

    Raises
    ------
    TypeError, ValueError
        As `rejection_free`.

    Notes
    -----
    Attempts come at the rate ``n_channels * bound`` of a Poisson process, whatever the state.
    """
    positive_int("n_channels", n_channels)
    positive("bound", bound)
    args = as_arrays(args)
    process = as_process(
        layout, rate, apply, observe=observe, count=count, place=place, n_places=n_places,
        refresh=refresh, by_channel=True,
    )  # fmt: skip
    systems, n_chains = systems_of(init)
    first = process.rates(systems, jnp.zeros(n_chains, jnp.int32), *args)
    if first.shape != (n_chains,):
        raise ValueError(f"rate: expected one number a chain, {(n_chains,)}, got {first.shape}")
    size = positive_int("block_size", block_size)
    block = Block(process, size, duration is not None, n_channels)
    return run_process(
        block, init, key, (jnp.asarray(bound, first.dtype), *args), first.dtype,
        n_events=n_events, duration=duration, burn_in=burn_in, chunk_size=chunk_size,
        progress=progress, should_stop=should_stop,
    )  # fmt: skip


class JumpPaths(NamedTuple):
    """Every event of some chains."""

    times: Floats
    """``(n_chains, n_events)`` increasing; ``duration`` behind the last event."""
    channels: NDArray[np.int32]
    """``(n_chains, n_events)``; -1 behind the last event."""
    n_events: NDArray[np.int64]
    """``(n_chains,)``."""
    duration: Floats
    """``(n_chains,)`` that were observed: what is asked for, or until the last event."""
    system: Any
    """State of the system at the end."""
    final: Checkpoint[JumpState]
    """Hand it back as ``init`` to go on."""
    status: NDArray[np.int64]
    """``(n_chains,)`` as of `JumpRun`."""


def sample_jumps(
    rates: Function,
    apply: Function,
    init: Any,
    *,
    key: jax.Array | None = None,
    n_events: int,
    duration: float | None = None,
    args: tuple[Any, ...] = (),
    layout: Layout = "chain",
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> JumpPaths:
    """Simulate by Gillespie's direct method and return every event.

    Parameters
    ----------
    rates, apply, init, key, args, layout
        As for `rejection_free`.
    n_events
        Events of each chain; with ``duration`` the most there is room for.
    duration
        Time of each chain; None lets every chain have ``n_events``.
    progress, should_stop
        As for `simulate`.

    Returns
    -------
    JumpPaths
        Times are of this call, from zero on.

    Raises
    ------
    TypeError, ValueError
        As `rejection_free`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> rates = lambda state: jnp.array([1.0, 3.0])[state][None]
    >>> flip = lambda state, channel: 1 - state
    >>> paths = sample_jumps(rates, flip, jnp.zeros(1, int), key=jax.random.key(0), n_events=5)
    >>> paths.channels
    array([[0, 0, 0, 0, 0]], dtype=int32)
    """
    args = as_arrays(args)
    process = as_process(layout, rates, apply, count=_chosen)
    dtype = check_first_rates(process, init, args, absorbing=duration is not None)
    positive_int("n_events", n_events)
    block = Block(process, 1, duration is not None)
    _, n_chains = systems_of(init)
    at = start_of(block, init, jnp.zeros(n_chains, jnp.int32), dtype, args)
    run, status = run_window(
        block, at, key, (jnp.zeros(()), *args), n_events,
        None if duration is None else positive("duration", duration),
        {"observe": _event, "progress": progress, "should_stop": should_stop},
    )  # fmt: skip
    waited, channels, fired = (np.asarray(value).T for value in run.values)
    return JumpPaths(
        np.cumsum(waited, axis=1, dtype=np.float64),
        np.where(fired > 0, channels, -1).astype(np.int32), fired.sum(axis=1),
        waited.sum(axis=1, dtype=np.float64), run.final.state.system, run.final,
        np.asarray(status),
    )  # fmt: skip


def _chosen(system: Any, channel: jax.Array, *args: Any) -> jax.Array:
    return channel


def _event(state: JumpState, *args: Any) -> tuple[jax.Array, ...]:
    return state.gained.time, state.gained.totals, state.gained.n_events
