"""Tau-leaping: many events a step, at the price of a bias that does not average out.

Within a step of length ``tau`` the rates are those of its beginning. The stationary law is another
one, at a distance that falls as ``tau``; simultaneous flips of coupled spins are the extreme case
(at large ``tau`` all of them move at once, and the law is that of parallel updates). Use
`rejection_free` unless it is too slow, and then with two values of ``tau``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from inference.checks import at_least_zero, one_of, positive, positive_int
from inference.progress import Stop

from .jump_blocks import (
    Function,
    JumpRun,
    JumpState,
    Layout,
    Process,
    as_arrays,
    as_process,
    check_first_rates,
    jump_run,
    run_window,
    start_of,
    systems_of,
)

Law = Literal["poisson", "bernoulli"]


@dataclass(frozen=True)
class _Leap:
    """A step of the driver: all events of a short time at once."""

    process: Process
    law: Law

    def __call__(self, state: JumpState, key: jax.Array, tau: jax.Array, *args: Any) -> JumpState:
        """Return where all chains are a time ``tau`` later."""
        process, system = self.process, state.system
        if process.refresh is not None:
            system = process.refresh(system, *args)
        rates = process.rates(system, *args)
        expected = tau * rates
        wrong = ~(rates.sum(axis=0) < jnp.inf) | (rates < 0).any(axis=0)
        broken = state.broken | wrong
        expected = jnp.where(broken, 0, expected)
        if self.law == "poisson":
            counts = jax.random.poisson(key, expected)
        else:
            draws = jax.random.uniform(key, expected.shape, expected.dtype)
            counts = (draws < -jnp.expm1(-expected)).astype(jnp.int32)
        held = jnp.where(broken, 0, tau).astype(state.gained.time.dtype)
        nothing = jax.tree_util.tree_map(jnp.zeros_like, state.gained)
        gained = process.gather(nothing, system, counts, held, ~broken, args)
        gained = gained._replace(n_events=counts.sum(axis=0).astype(jnp.int32))
        moved = process.apply(system, counts, *args)
        system = jax.tree_util.tree_map(
            lambda new, old: jnp.where(broken, old, new).astype(old.dtype), moved, system
        )
        return JumpState(system, state.left, gained, broken)


def tau_leap(
    rates: Function,
    leap: Function,
    init: Any,
    *,
    tau: float,
    law: Law = "poisson",
    key: jax.Array | None = None,
    n_steps: int,
    burn_in: int = 0,
    args: tuple[Any, ...] = (),
    observe: Function | None = None,
    count: Function | None = None,
    place: Function | None = None,
    n_places: int = 0,
    refresh: Function | None = None,
    layout: Layout = "chain",
    chunk_size: int | None = None,
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> JumpRun:
    """Simulate a jump process approximately, in steps of fixed length.

    Parameters
    ----------
    rates
        As for `rejection_free`.
    leap
        ``leap(system, counts, *args)``: the system after ``counts`` ``(n_channels,)`` jumps through
        each channel, at once. For a reaction network ``system + stoichiometry @ counts``.
    tau
        Length of a step. The bias is of its order: halve it and compare.
    law
        ``"poisson"``: as many jumps through a channel as come. ``"bernoulli"``: at most one, with
        probability ``1 - exp(-rate * tau)``, for flips.
    n_steps, burn_in
        Steps, and steps to be discarded before.
    count
        ``count(system, counts, *args)``: summed over steps.
    init, key, args, observe, place, n_places, refresh, layout
        As for `rejection_free`.
    chunk_size, progress, should_stop
        As for `simulate`.

    Returns
    -------
    JumpRun
        Status NON_FINITE for a chain that ran into a negative rate, as reactions do that consume
        more than there is: use a smaller ``tau``.

    Raises
    ------
    TypeError, ValueError
        As `rejection_free`.

    Notes
    -----
    Gillespie, J. Chem. Phys. 115, 1716 (2001).

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> run = tau_leap(lambda n: jnp.stack([10.0 + 0 * n, n]), lambda n, k: n + k[0] - k[1],
    ...                jnp.full(64, 10.0), tau=0.1, key=jax.random.key(0), n_steps=500,
    ...                observe=lambda n: n)
    >>> round(float(run.averages.mean()))
    10
    """
    one_of("law", law, ("poisson", "bernoulli"))
    args = as_arrays(args)
    process = as_process(
        layout, rates, leap, observe=observe, count=count, place=place, n_places=n_places,
        refresh=refresh,
    )  # fmt: skip
    dtype = check_first_rates(process, init, args, absorbing=True)
    systems, _ = systems_of(init)
    counts = jnp.zeros(jax.eval_shape(process.rates, systems, *args).shape, jnp.int32)
    block = _Leap(process, law)
    at = start_of(block, init, counts, dtype, args)
    given = (jnp.asarray(positive("tau", tau), dtype), *args)
    options = {"chunk_size": chunk_size, "progress": progress, "should_stop": should_stop}
    positive_int("n_steps", n_steps)
    n_first = 0
    if at_least_zero("burn_in", burn_in):
        run, _ = run_window(block, at, key, given, positive_int("burn_in", burn_in), None, options)
        at, key, n_first = run.final.restarted(), None, run.n_steps
    run, status = run_window(block, at, key, given, n_steps, None, options)
    return jump_run(run.final, n_first + run.n_steps, status)
