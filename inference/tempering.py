"""Tempered sequential Monte Carlo: the evidence where importance sampling no longer reaches.

Particles move from a normalised reference that can be sampled to the target along
``reference^(1 - t) target^t``. Temperatures are chosen so that each step keeps a fixed share of the
effective sample size; between steps Hamiltonian moves, shaped by the particles' own covariance,
spread what resampling has copied. Independent islands of particles carry the error estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from .keys import split_named
from .progress import progress_bar
from .status import Status

_KEPT_ESS = 0.6  # share of the effective sample size that a temperature step keeps
_MAX_STAGES = 200
_N_MOVES = 3
_BATCH = 64  # particles moved at a time: bounds memory
_N_LEAPFROG = 6
_TARGET_ACCEPTANCE = 0.8


class TemperingResult(NamedTuple):
    """Particles of the target in independent islands.

    Attributes
    ----------
    particles
        ``(n_islands, n_particles, d)``; equal weights inside an island.
    log_island_weights
        ``(n_islands,)``, normalised: each island's share of the evidence.
    log_evidence, log_evidence_error
        Log of the target's integral, and its standard error from the spread of the islands.
    acceptance
        Mean acceptance probability of the last stage's moves.
    n_stages
        Number of temperatures.
    status
        CONVERGED; MAX_STEPS; NON_FINITE; UNRELIABLE_WEIGHTS where a few islands hold the evidence.
    """

    particles: jax.Array
    log_island_weights: jax.Array
    log_evidence: float
    log_evidence_error: float
    acceptance: float
    n_stages: int
    status: Status


def tempered_smc(
    log_target: Callable[..., jax.Array],
    log_reference: Callable[..., jax.Array],
    particles: jax.Array,
    *,
    key: jax.Array,
    target_args: tuple[Any, ...] = (),
    reference_args: tuple[Any, ...] = (),
    progress: bool | None = None,
) -> TemperingResult:
    """Carry particles from the reference to the target.

    Parameters
    ----------
    log_target, log_reference
        ``f(x (d,), *args) -> scalar``, differentiable. The reference must be normalised; the
        target is what is integrated.
    particles
        Independent draws from the reference, ``(n_islands, n_particles, d)``.
    key
        A typed key.
    target_args, reference_args
        Arrays for the two functions.
    progress
        True, False, or None: a bar if standard error is a terminal.

    Returns
    -------
    TemperingResult

    Raises
    ------
    ValueError
        If the particles have another shape or form a single island.

    Notes
    -----
    The estimate of the evidence is the mean over islands, each unbiased; its cost is that of
    ``stages x 3 x 6`` gradients a particle.
    """
    if particles.ndim != 3 or particles.shape[0] < 2:
        raise ValueError(
            "particles: expected shape (n_islands, n_particles, d) with at least two islands (they "
            f"carry the error estimate), got {particles.shape}"
        )
    t, n_stages, step_size, acceptance = 0.0, 0, 0.5, math.nan
    log_evidence = jnp.zeros(particles.shape[0])
    status = Status.CONVERGED
    functions = (log_target, log_reference)
    args = (target_args, reference_args)
    with progress_bar(100, "tempering", enabled=progress) as bar:
        while t < 1.0:
            if n_stages == _MAX_STAGES:
                status = Status.MAX_STEPS
                break
            stage_key = jax.random.fold_in(key, n_stages)
            stage = _stage(functions, args, particles, t, step_size, stage_key)
            particles, t_next, increment, accepted = stage
            if not np.isfinite(np.asarray(increment)).all():
                status = Status.NON_FINITE
                break
            log_evidence = log_evidence + increment
            acceptance = float(accepted)
            step_size = min(step_size * math.exp(acceptance - _TARGET_ACCEPTANCE), 2.0)
            bar.update(round(100 * float(t_next)) - round(100 * t))
            t, n_stages = float(t_next), n_stages + 1
    shares = np.asarray(jax.nn.softmax(log_evidence))
    n_islands = shares.size
    if status is Status.CONVERGED and 1.0 / float((shares**2).sum()) < n_islands / 2:
        status = Status.UNRELIABLE_WEIGHTS
    spread = float(np.std(shares * n_islands, ddof=1)) / math.sqrt(n_islands)
    reached = t == 1.0  # otherwise the evidence is that of an intermediate temperature
    return TemperingResult(
        particles=particles,
        log_island_weights=jax.nn.log_softmax(log_evidence),
        log_evidence=float(logsumexp(log_evidence)) - math.log(n_islands) if reached else math.nan,
        log_evidence_error=spread if reached else math.inf,
        acceptance=acceptance,
        n_stages=n_stages,
        status=status,
    )


@partial(jax.jit, static_argnames="functions")
def _stage(
    functions: tuple[Callable[..., jax.Array], Callable[..., jax.Array]],
    args: tuple[tuple[Any, ...], tuple[Any, ...]],
    particles: jax.Array,
    t: jax.Array,
    step_size: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """One temperature: weigh, resample inside each island, move."""
    keys = split_named(key, "resample", "move")
    log_target, log_reference = functions
    target_args, reference_args = args
    n_islands, n_particles, dim = particles.shape

    def difference(x: jax.Array) -> jax.Array:
        return log_target(x, *target_args) - log_reference(x, *reference_args)

    gaps = jax.lax.map(difference, particles.reshape(-1, dim), batch_size=_BATCH)
    gaps = gaps.reshape(n_islands, n_particles)
    gaps = jnp.where(jnp.isnan(gaps), -jnp.inf, gaps)
    t_next = _next_temperature(gaps.ravel(), t)
    log_weights = (t_next - t) * gaps
    increment = logsumexp(log_weights, axis=1) - math.log(n_particles)

    weights = jax.nn.softmax(log_weights, axis=1)
    island_keys = jax.random.split(keys["resample"], n_islands)
    chosen = jax.vmap(_systematic)(island_keys, weights)
    particles = jnp.take_along_axis(particles, chosen[..., None], axis=1)

    flat = particles.reshape(-1, dim)
    covariance = jnp.atleast_2d(jnp.cov(flat.T))
    shape = jnp.linalg.cholesky(covariance + 1e-9 * jnp.trace(covariance) / dim * jnp.eye(dim))

    def tempered(x: jax.Array) -> jax.Array:
        warm, cold = log_target(x, *target_args), log_reference(x, *reference_args)
        return t_next * warm + (1 - t_next) * cold

    move_keys = jax.random.split(keys["move"], flat.shape[0])
    move = partial(_hamiltonian_moves, tempered, shape, step_size)
    moved, accepted = jax.lax.map(lambda pair: move(*pair), (move_keys, flat), batch_size=_BATCH)
    return moved.reshape(particles.shape), t_next, increment, jnp.mean(accepted)


def _next_temperature(gaps: jax.Array, t: jax.Array) -> jax.Array:
    """Largest step that keeps the effective sample size above its share, by bisection."""

    def share(t_next: jax.Array) -> jax.Array:
        log_weights = (t_next - t) * gaps
        log_ess = 2 * logsumexp(log_weights) - logsumexp(2 * log_weights)
        return jnp.exp(log_ess) / gaps.size

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        good = share(middle) >= _KEPT_ESS
        return jnp.where(good, middle, low), jnp.where(good, high, middle)

    one = jnp.ones_like(gaps[0])
    low, _ = jax.lax.fori_loop(0, 50, halve, (t * one, one))
    return jnp.where(share(one) >= _KEPT_ESS, one, low)


def _systematic(key: jax.Array, weights: jax.Array) -> jax.Array:
    """Draw indices by systematic resampling: as little noise as independent islands allow."""
    n = weights.size
    points = (jnp.arange(n) + jax.random.uniform(key)) / n
    return jnp.clip(jnp.searchsorted(jnp.cumsum(weights), points), 0, n - 1)


def _hamiltonian_moves(
    log_density: Callable[[jax.Array], jax.Array],
    shape: jax.Array,
    step_size: jax.Array,
    key: jax.Array,
    position: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Run a few Metropolis-corrected leapfrog trajectories, whitened by ``shape``."""
    value_and_slope = jax.value_and_grad(log_density)

    def trajectory(
        state: tuple[jax.Array, jax.Array, jax.Array], move_key: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        x, value, slope = state
        momentum_key, length_key, accept_key = jax.random.split(move_key, 3)
        momentum = jax.random.normal(momentum_key, x.shape, x.dtype)
        step = step_size * jax.random.uniform(length_key, minval=0.5, maxval=1.0)

        def leapfrog(
            _: int, now: tuple[jax.Array, jax.Array, jax.Array, jax.Array]
        ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
            x, p, _value, slope = now
            p = p + 0.5 * step * (shape.T @ slope)
            x = x + step * (shape @ p)
            value, slope = value_and_slope(x)
            return x, p + 0.5 * step * (shape.T @ slope), value, slope

        proposal = jax.lax.fori_loop(0, _N_LEAPFROG, leapfrog, (x, momentum, value, slope))
        new_x, new_momentum, new_value, new_slope = proposal
        gain = new_value - value - 0.5 * (jnp.sum(new_momentum**2) - jnp.sum(momentum**2))
        probability = jnp.where(jnp.isnan(gain), 0.0, jnp.exp(jnp.minimum(gain, 0.0)))
        accept = jax.random.uniform(accept_key) < probability
        kept = jax.tree_util.tree_map(
            lambda new, old: jnp.where(accept, new, old),
            (new_x, new_value, new_slope),
            (x, value, slope),
        )
        return kept, probability

    start = (position, *value_and_slope(position))
    (moved, _, _), probabilities = jax.lax.scan(trajectory, start, jax.random.split(key, _N_MOVES))
    return moved, jnp.mean(probabilities)
