"""Langevin systems of any drift, in short steps, and the entropy that their paths produce.

A path of ``ds = F(s) dt + sqrt(2 D) dB`` gives off heat: ``F D^-1`` times what it moves, with the
force of the middle of each step (the product of Stratonovich). By unit time that is the rate of
entropy production of the steady state. With the force of the start of each step (the product of
Ito) it would be too large by minus the mean divergence of the drift, ``Tr A`` for ``F = -A s``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import Floats, at_least_zero, finite_array, positive, positive_int
from inference.progress import Stop
from inference.status import Status

from .driver import Checkpoint, simulate

Force = Callable[..., jax.Array]
Diffusion = ArrayLike | Callable[..., jax.Array]

_FEWEST_CHAINS = 2


class LangevinState(NamedTuple):
    """Chains, and what the last step has given off."""

    position: jax.Array
    """``(n_chains, d)``."""
    heat: jax.Array
    """``(n_chains,)``: of the last step, in units of the temperature."""


class LangevinRun(NamedTuple):
    """Chains of a Langevin system, and the rate at which they produce entropy."""

    entropy_production: jax.Array
    """Nats by unit time, averaged over chains."""
    standard_error: jax.Array
    """Of that, from the scatter between chains."""
    heat_rate: jax.Array
    """``(n_chains,)``: of each chain; what was kept over resumed parts."""
    times: jax.Array
    """``(n_saved,)``, counted from the very first step, burn-in included."""
    positions: jax.Array | None
    """``(n_saved, n_chains, d)``, if any were to be kept."""
    final: Checkpoint[LangevinState]
    """Hand it back as ``init`` to go on."""
    n_steps: int
    """Steps of this call, without burn-in."""
    status: Status


def euler_maruyama(
    drift: Force,
    diffusion: Diffusion,
    init: ArrayLike | Checkpoint[LangevinState],
    *,
    key: jax.Array | None = None,
    n_steps: int,
    dt: float,
    burn_in: float = 0.0,
    args: tuple[Any, ...] = (),
    save_every: int | None = None,
    progress: bool | None = False,
    should_stop: Stop | None = None,
) -> LangevinRun:
    """Simulate chains of ``ds = F(s) dt + sqrt(2 D) dB`` in steps ``dt``, and measure their heat.

    Parameters
    ----------
    drift
        ``drift(s, *args)``: ``F`` at ``(d,)``. Keep it and pass what varies in ``args``: a new
        function is compiled anew.
    diffusion
        ``D``: a number, ``(d,)`` or a symmetric positive definite ``(d, d)``. Or a function
        ``diffusion(s, *args)`` that returns ``(d,)`` positive numbers, the ``i``-th of which may
        depend on ``s[i]`` alone; noise is then that of Ito.
    init
        ``(n_chains, d)``, at least two chains; or ``final`` of an earlier run with the same drift,
        diffusion and step, to go on with it.
    key
        Random key. A run that goes on has its own.
    n_steps
        Steps after burn-in.
    dt
        Length of a step. Stationary laws and rates are off in proportion to it.
    burn_in
        Time before anything is measured: several relaxation times.
    args
        Arrays for ``drift`` and ``diffusion``.
    save_every
        Keep the positions after every so many steps; None keeps none.
    progress, should_stop
        As for `simulate`.

    Returns
    -------
    LangevinRun
        A measurement over a finite time also holds the difference of a state function between its
        ends, zero on average in the steady state.

    Raises
    ------
    TypeError
        If ``key`` is no typed key.
    ValueError
        If shapes disagree, a number is out of range, ``D`` is not positive, or its ``i``-th number
        depends on other coordinates than the ``i``-th.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from inference.dynamics import euler_maruyama
    >>> def turn(s):
    ...     return jnp.array([-s[0] + 0.7 * s[1], -0.7 * s[0] - s[1]])
    >>> start = jax.random.normal(jax.random.key(0), (500, 2))
    >>> run = euler_maruyama(turn, 1.0, start, key=jax.random.key(1), n_steps=500, dt=0.02)
    >>> bool(abs(run.entropy_production - 0.98) < 4 * run.standard_error)
    True
    """
    positive("dt", dt)
    positive_int("n_steps", n_steps)
    n_burn_in = round(at_least_zero("burn_in", burn_in) / dt)
    start: Any = init
    if not isinstance(init, Checkpoint):
        position = jnp.asarray(finite_array("init", init, ndim=2), dtype=float)
        if len(position) < _FEWEST_CHAINS:
            raise ValueError("init: expected at least two chains, for the sake of an error bar")
        start = LangevinState(position, jnp.zeros(len(position)))
    position = start.state.position if isinstance(start, Checkpoint) else start.position
    noise: Callable[..., jax.Array] | None = None
    if callable(diffusion):
        noise = diffusion
        root = inverse = jnp.zeros(0)
        _check_diagonal(noise, position[0], args)
    else:
        root, inverse = _roots(diffusion, position.shape[1])
    options: dict[str, Any] = {
        "args": (jnp.asarray(float(dt)), root, inverse, *args), "accumulate": _heat,
        "dt": dt, "progress": progress, "should_stop": should_stop,
    }  # fmt: skip
    step = _step_of(drift, noise)
    if n_burn_in:
        before = simulate(step, start, key=key, n_steps=n_burn_in, **options)
        start, key = before.final.restarted(), None
        if before.status is not Status.CONVERGED:
            n_steps = 1  # nothing to go on with: one step says so
    run = simulate(
        step, start, key=key, n_steps=n_steps,
        observe=None if save_every is None else _position,
        save_every=1 if save_every is None else save_every, **options,
    )  # fmt: skip
    heat, n_measured = run.sums
    rate = heat / (jnp.maximum(n_measured, 1) * dt)
    error = rate.std(ddof=1) / jnp.sqrt(len(rate))
    return LangevinRun(
        rate.mean(), error, rate, run.times, run.values, run.final, run.n_steps, run.status
    )


@lru_cache(maxsize=32)
def _step_of(drift: Force, diffusion: Force | None) -> Callable[..., LangevinState]:
    """Return the step of chains, the same for the same functions, so that it compiles once."""

    def step(
        state: LangevinState, key: jax.Array, dt: jax.Array, root: jax.Array, inverse: jax.Array,
        *args: Any,
    ) -> LangevinState:  # fmt: skip
        before = state.position

        def force_and_noise(s: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            """Return the force, over the temperature, and the root of twice the diffusion."""
            force = drift(s, *args)
            if diffusion is None:
                return force, inverse @ force, root
            noise = diffusion(s, *args)
            return force, force / noise, jnp.diag(jnp.sqrt(2.0 * noise))

        force, pull, spread = jax.vmap(force_and_noise)(before)
        kick = jax.random.normal(key, before.shape, before.dtype)
        move = dt * force + jnp.sqrt(dt) * jnp.einsum("cij,cj->ci", spread, kick)
        after = before + move
        pull_after = jax.vmap(force_and_noise)(after)[1]
        return LangevinState(after, 0.5 * ((pull + pull_after) * move).sum(axis=1))

    return step


def _heat(state: LangevinState, *_: Any) -> tuple[jax.Array, jax.Array]:
    return state.heat, jnp.array(1, dtype=jnp.int32)


def _position(state: LangevinState, *_: Any) -> jax.Array:
    return state.position


def _roots(diffusion: ArrayLike, d: int) -> tuple[jax.Array, jax.Array]:
    """Return the root of ``2 D`` and the inverse of ``D``."""
    matrix = diffusion_matrix(diffusion, d)
    return jnp.asarray(np.linalg.cholesky(2.0 * matrix)), jnp.asarray(np.linalg.inv(matrix))


def diffusion_matrix(diffusion: ArrayLike, d: int) -> Floats:
    """Return ``D`` as ``(d, d)``, given a number, ``(d,)`` or ``(d, d)``.

    Raises
    ------
    TypeError, ValueError
        If the shape is wrong, the matrix is not symmetric, or not positive definite.
    """
    value = finite_array("diffusion", diffusion, ndim=(0, 1, 2))
    if value.shape not in ((), (d,), (d, d)):
        raise ValueError(
            f"diffusion: expected a number or shape ({d},) or ({d}, {d}), got shape {value.shape}"
        )
    if value.ndim < 2:
        if not (value > 0).all():
            raise ValueError(f"diffusion: expected positive numbers, got {value.min():g}")
        return np.diag(np.broadcast_to(value, d))
    if not np.allclose(value, value.T, rtol=0, atol=1e-12 * np.abs(value).max()):
        raise ValueError("diffusion: expected a symmetric matrix")
    lowest = float(np.linalg.eigvalsh(value)[0])
    if not lowest > 0:
        raise ValueError(
            f"diffusion: expected a positive definite matrix, got the eigenvalue {lowest:g}"
        )
    return value


def _check_diagonal(diffusion: Force, position: jax.Array, args: tuple[Any, ...]) -> None:
    """Raise unless each coordinate has a positive diffusion that depends on it alone."""
    here = diffusion(position, *args)
    if here.shape != position.shape:
        raise ValueError(
            f"diffusion: expected a function to shape {position.shape}, got {here.shape}"
        )
    if not bool((here > 0).all()):
        raise ValueError(f"diffusion: expected positive numbers, got {float(here.min()):g}")
    slopes = np.asarray(jax.jacfwd(lambda s: diffusion(s, *args))(position))
    if (slopes - np.diag(np.diag(slopes))).any():
        raise ValueError(
            "diffusion: expected numbers that each depend on their own coordinate alone; others "
            "would add a drift to the entropy production that is not measured here"
        )
