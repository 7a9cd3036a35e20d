"""The common engine of exact jump simulation: blocks of events of many chains, with their sums.

The step of the driver is a block of events, whose random numbers are drawn together. Sums inside a
block are in the precision of the rates; the driver adds up the blocks in the widest one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import at_least_zero, one_of, positive, positive_int
from inference.status import Status

from .driver import Checkpoint, Trajectory, simulate, total

Layout = Literal["chain", "batch"]
Function = Callable[..., Any]

N_GROUPS = 16
"""Groups of chains (at most) in which occupation is counted, for standard errors."""


class Gains(NamedTuple):
    """What a stretch of time has brought."""

    time: jax.Array
    """``(n_chains,)`` time that was observed."""
    n_events: jax.Array
    """``(n_chains,)`` jumps."""
    integrals: Any
    """Integral over time of what ``observe`` returns, leaves ``(..., n_chains)``."""
    totals: Any
    """Sum over jumps of what ``count`` returns, leaves ``(..., n_chains)``."""
    occupation: Any
    """``(n_groups, n_places)`` time, by ``place``; chain ``c`` is of group ``c % n_groups``."""


class JumpState(NamedTuple):
    """Where chains stand in the middle of a run."""

    system: Any
    left: jax.Array
    """``(n_chains,)`` time until the end of the window; 0 where events are counted instead."""
    gained: Gains
    """By the last block."""
    broken: jax.Array
    """``(n_chains,)`` whether a rate was negative, NaN, or above its bound."""


class JumpRun(NamedTuple):
    """Averages of a run, chain by chain: leaves ``(..., n_chains)``."""

    averages: Any
    """Of what ``observe`` returns, over time."""
    totals: Any
    """Of what ``count`` returns, over the jumps; divide by ``time`` for a rate."""
    occupation: Any
    """``(n_groups, n_places)`` time spent in each place by each group of chains; or None."""
    time: jax.Array
    """``(n_chains,)`` over which all this was gathered: without burn-in, with resumed parts."""
    n_events: jax.Array
    """``(n_chains,)`` jumps in this time."""
    system: Any
    """State of the system at the end."""
    n_steps: int
    """Blocks of this call."""
    final: Checkpoint[JumpState]
    """Hand it back as ``init`` to go on; ``final.restarted()`` to go on with new averages."""
    status: jax.Array
    """``(n_chains,)``: CONVERGED, OVERFLOW if the events did not suffice for the time, NON_FINITE
    if a rate was negative, NaN, or above its bound; that chain stopped."""


@dataclass(frozen=True)
class Process:
    """The functions of a jump process and what to gather, all with chains last.

    Two processes of the same functions share one compiled program.
    """

    rates: Function
    apply: Function
    observe: Function | None = None
    count: Function | None = None
    place: Function | None = None
    n_places: int = 0
    refresh: Function | None = None

    def nothing(self, system: Any, channel: Any, dtype: Any, args: tuple[Any, ...]) -> Gains:
        """Return gains of zero; channel is what ``apply`` takes."""

        def zeros(function: Function | None, *given: Any) -> Any:
            shapes = None if function is None else jax.eval_shape(function, *given, *args)
            return jax.tree_util.tree_map(
                lambda leaf: jnp.zeros(leaf.shape, _floating(leaf.dtype, dtype)), shapes
            )

        n_chains = jax.tree_util.tree_leaves(system)[0].shape[-1]
        return Gains(
            jnp.zeros(n_chains, dtype),
            jnp.zeros(n_chains, jnp.int32),
            zeros(self.observe, system),
            zeros(self.count, system, channel),
            None if self.place is None else jnp.zeros((_n_groups(n_chains), self.n_places), dtype),
        )

    def gather(
        self, gained: Gains, system: Any, channel: Any, held: jax.Array, fires: jax.Array,
        args: tuple[Any, ...],
    ) -> Gains:  # fmt: skip
        """Return the gains with a state that was held, and then left through a channel or not."""
        integrals, totals, occupation = gained.integrals, gained.totals, gained.occupation
        if self.observe is not None:
            integrals = jax.tree_util.tree_map(
                lambda so_far, seen: so_far + held * seen, integrals, self.observe(system, *args)
            )
        if self.count is not None:
            totals = jax.tree_util.tree_map(
                lambda so_far, more: so_far + jnp.where(fires, more, 0),
                totals, self.count(system, channel, *args),
            )  # fmt: skip
        if self.place is not None:
            group = jnp.arange(held.size) % len(occupation)
            occupation = occupation.at[group, self.place(system, *args)].add(held)
        return Gains(gained.time + held, gained.n_events + fires, integrals, totals, occupation)


@dataclass(frozen=True)
class Block:
    """A step of the driver: some events of every chain."""

    process: Process
    size: int
    timed: bool
    n_channels: int = 0
    """Of a uniformised process; 0 for one without rejections."""

    def __call__(self, state: JumpState, key: jax.Array, bound: jax.Array, *args: Any) -> JumpState:
        """Return where all chains are a block later; ``bound`` is that of uniformised rates."""
        process = self.process
        system = state.system if process.refresh is None else process.refresh(state.system, *args)
        n_draws = 3 if self.n_channels else 2
        dtype = state.gained.time.dtype
        draws = jax.random.uniform(key, (self.size, n_draws, state.left.size), dtype)
        left = state.left.astype(dtype)

        def event(carry: tuple[Any, Gains, jax.Array], draw: jax.Array) -> tuple[Any, None]:
            system, gained, broken = carry
            if self.n_channels:
                channel, waiting, fires, wrong = self._attempt(system, draw, bound, args)
            else:
                channel, waiting, fires, wrong = self._jump(system, draw, args)
            broken |= wrong
            if self.timed:
                room = left - gained.time
                fires &= waiting < room
                # an absorbing state is held for ever, a finished chain no longer
                waiting = jnp.minimum(waiting, room)
            else:
                waiting = jnp.where(waiting < jnp.inf, waiting, 0.0)
            fires &= ~broken
            held = jnp.where(broken, 0.0, waiting)
            gained = process.gather(gained, system, channel, held, fires, args)
            moved = process.apply(system, channel, *args)
            system = jax.tree_util.tree_map(
                lambda new, old: jnp.where(fires, new, old).astype(old.dtype), moved, system
            )
            return (system, gained, broken), None

        nothing = jax.tree_util.tree_map(jnp.zeros_like, state.gained)
        (system, gained, broken), _ = jax.lax.scan(event, (system, nothing, state.broken), draws)
        remaining = state.left
        if self.timed:
            ended = gained.time >= left
            remaining = jnp.where(ended, 0.0, state.left - gained.time)
        return JumpState(system, remaining.astype(state.left.dtype), gained, broken)

    def _jump(self, system: Any, draw: jax.Array, args: tuple[Any, ...]) -> tuple[jax.Array, ...]:
        """Return channel, waiting time, whether it fires, and whether a rate is wrong."""
        rates = self.process.rates(system, *args)
        summed = jnp.cumsum(rates, axis=0)
        leaves = summed[-1]
        channel = (summed <= draw[0] * leaves).sum(axis=0)
        alive = leaves > 0
        waiting = -jnp.log1p(-draw[1]) / jnp.where(alive, leaves, 1.0)
        wrong = ~(leaves < jnp.inf) | (rates < 0).any(axis=0)
        channel = jnp.minimum(channel, len(rates) - 1)
        return channel, jnp.where(alive, waiting, jnp.inf), alive, wrong

    def _attempt(
        self, system: Any, draw: jax.Array, bound: jax.Array, args: tuple[Any, ...]
    ) -> tuple[jax.Array, ...]:
        """Return the same for a channel that is chosen blindly and may be rejected."""
        channel = jnp.minimum((draw[0] * self.n_channels).astype(jnp.int32), self.n_channels - 1)
        rate = self.process.rates(system, channel, *args)
        waiting = -jnp.log1p(-draw[1]) / (self.n_channels * bound)
        # single precision may round a rate above its bound
        wrong = ~((rate >= 0) & (rate <= bound * (1 + 8 * float(np.finfo(rate.dtype).eps))))
        return channel, waiting, draw[2] * bound < rate, wrong


def as_process(
    layout: Layout,
    rates: Function,
    apply: Function,
    *,
    observe: Function | None = None,
    count: Function | None = None,
    place: Function | None = None,
    n_places: int = 0,
    refresh: Function | None = None,
    by_channel: bool = False,
) -> Process:
    """Return the process of functions that see one chain or all.

    Raises
    ------
    ValueError
        If ``layout`` is unknown, or ``place`` comes without a number of places.
    """
    one_of("layout", layout, ("chain", "batch"))
    if place is not None:
        positive_int("n_places", n_places)

    def all_chains(function: Function | None, n_own: int) -> Any:
        if function is None or layout == "batch":
            return function
        return _OverChains(function, n_own)

    return Process(
        all_chains(rates, 2 if by_channel else 1), all_chains(apply, 2), all_chains(observe, 1),
        all_chains(count, 2), all_chains(place, 1), n_places, all_chains(refresh, 1),
    )  # fmt: skip


@dataclass(frozen=True)
class _OverChains:
    """A function of one chain, over the last axis of its first arguments."""

    function: Function
    n_own: int

    def __call__(self, *given: Any) -> Any:
        axes = tuple(-1 if place < self.n_own else None for place in range(len(given)))
        return jax.vmap(self.function, in_axes=axes, out_axes=-1)(*given)


def systems_of(init: Any) -> tuple[Any, int]:
    """Return the systems of a first state or of a run that goes on, and the number of chains.

    Raises
    ------
    ValueError
        If there is no array, or the last axes differ.
    """
    given = init.state.system if isinstance(init, Checkpoint) else init
    systems = jax.tree_util.tree_map(jnp.asarray, given)
    shapes = [leaf.shape for leaf in jax.tree_util.tree_leaves(systems)]
    if not shapes or not all(shapes) or len({shape[-1] for shape in shapes}) != 1:
        raise ValueError(f"init: expected arrays with all chains on the last axis, got {shapes}")
    if shapes[0][-1] == 0:
        raise ValueError("init: expected at least one chain")
    return systems, shapes[0][-1]


def check_first_rates(
    process: Process, init: Any, args: tuple[Any, ...], *, absorbing: bool
) -> Any:
    """Return the type of the rates; raise if they cannot be those of a first state."""
    systems, n_chains = systems_of(init)
    first = process.rates(systems, *args)
    if first.ndim != 2 or first.shape[1] != n_chains:
        raise ValueError(
            f"rates: expected (n_channels, {n_chains}) of all chains, got shape {first.shape}"
        )
    if not bool((jnp.isfinite(first) & (first >= 0)).all()):
        raise ValueError("rates: expected finite numbers of at least 0 for the first systems")
    if not absorbing and not bool((first.sum(axis=0) > 0).all()):
        raise ValueError("init: expected systems that some channel leaves; or give a duration")
    if not jnp.issubdtype(first.dtype, jnp.floating):
        raise TypeError(f"rates: expected floating-point numbers, got {first.dtype}")
    return first.dtype


def as_arrays(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return arguments that can be indexed with what JAX traces."""
    return jax.tree_util.tree_map(jnp.asarray, tuple(args))


def start_of(block: Any, init: Any, channel: Any, dtype: Any, args: tuple[Any, ...]) -> Any:
    """Return the first state of the driver, or the checkpoint as it is."""
    if isinstance(init, Checkpoint):
        return init
    systems, n_chains = systems_of(init)
    nothing = block.process.nothing(systems, channel, dtype, args)
    return JumpState(systems, jnp.zeros(n_chains), nothing, jnp.zeros(n_chains, bool))


def run_window(
    block: Any,
    start: Any,
    key: jax.Array | None,
    args: tuple[Any, ...],
    n_blocks: int,
    duration: float | None,
    options: dict[str, Any],
) -> tuple[Trajectory[JumpState], jax.Array]:
    """Run all chains to the end of a window; return its trajectory and ``(n_chains,)`` status."""
    if duration is not None:
        state = start.state if isinstance(start, Checkpoint) else start
        state = state._replace(left=jnp.full_like(state.left, duration))
        start = start._replace(state=state) if isinstance(start, Checkpoint) else state
    run = simulate(
        block, start, key=key, n_steps=n_blocks, args=args, accumulate=_gained,
        stop_when=None if duration is None else _all_ended, **options,
    )  # fmt: skip
    state = run.final.state
    wrong = state.broken
    for leaf in jax.tree_util.tree_leaves(state.system):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            wrong |= ~jnp.isfinite(leaf).reshape(-1, wrong.size).all(axis=0)
    unfinished = (state.left > 0) if duration is not None else jnp.zeros_like(wrong)
    # a run that was stopped before it began has seen nothing
    unfinished |= run.sums.time == 0
    status = jnp.where(unfinished, int(Status.OVERFLOW), int(Status.CONVERGED))
    return run, jnp.where(wrong, int(Status.NON_FINITE), status)


def run_process(
    block: Block,
    init: Any,
    key: jax.Array | None,
    args: tuple[Any, ...],
    dtype: Any,
    *,
    n_events: int,
    duration: float | None,
    burn_in: float,
    **options: Any,
) -> JumpRun:
    """Run the burn-in, forget it, and run the rest."""
    n_blocks = -(-positive_int("n_events", n_events) // block.size)
    if duration is not None:
        positive("duration", duration)
    first = at_least_zero("burn_in", burn_in)
    _, n_chains = systems_of(init)
    at = start_of(block, init, jnp.zeros(n_chains, jnp.int32), dtype, args[1:])
    n_steps, early = 0, jnp.zeros(n_chains, int)
    if first:
        most = n_blocks if duration is not None else math.ceil(first / block.size)
        window = None if duration is None else first
        run, early = run_window(block, at, key, args, most, window, options)
        at, key, n_steps = run.final.restarted(), None, run.n_steps
    left = n_blocks - n_steps if duration is not None else n_blocks
    if left > 0:
        run, status = run_window(block, at, key, args, left, duration, options)
        return jump_run(run.final, n_steps + run.n_steps, jnp.maximum(early, status))
    return jump_run(at, n_steps, jnp.maximum(early, int(Status.OVERFLOW)))


def jump_run(final: Checkpoint[JumpState], n_steps: int, status: jax.Array) -> JumpRun:
    """Return averages from the sums of a run."""
    sums = total(final.sums)
    averages = jax.tree_util.tree_map(lambda integral: integral / sums.time, sums.integrals)
    return JumpRun(
        averages, sums.totals, sums.occupation, sums.time, sums.n_events, final.state.system,
        n_steps, final, status,
    )  # fmt: skip


def _gained(state: JumpState, *args: Any) -> Gains:
    return state.gained


def _all_ended(state: JumpState) -> jax.Array:
    return ((state.left <= 0) | state.broken).all()


def _n_groups(n_chains: int) -> int:
    return min(N_GROUPS, n_chains)


def _floating(dtype: Any, floating: Any) -> Any:
    """Return the type of a sum: that of the numbers, or of the rates if they are whole."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else floating
