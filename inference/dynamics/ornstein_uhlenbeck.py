"""Linear Langevin systems in steps of any length, without an error of discretisation.

Over a time ``t`` the deviation ``x`` from the steady state of ``dx = -A x dt + sqrt(2 D) dB`` goes
to a normal law of mean ``E x``, ``E = exp(-A t)``, and covariance ``C - E C E^T``, where ``C`` is
that of the steady state. Paths are drawn from these laws, and their density is a product of them.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import finite_array, one_of
from inference.precision import require_x64

_MAX_DOUBLINGS = 40
"""Of the matrix exponential: steps may be so long that the fastest mode decays 1e11 times over."""
_ORDER = 14
"""Of its series for a norm of 1/2, where the remainder is 1e-17."""
_SAME_STEP = 8.0 * float(np.finfo(np.float64).eps)
"""Steps that differ by less, relative to the largest time, differ by rounding."""

Start = Literal["stationary", "given"]


class Transition(NamedTuple):
    """Where a deviation from the mean goes over one step."""

    change: jax.Array
    """``(d, d)``: ``E - 1``, exact for short steps, too."""
    covariance: jax.Array
    """``(d, d)``: of the noise."""

    @property
    def propagator(self) -> jax.Array:
        """``(d, d)``: ``E``."""
        return self.change + jnp.eye(self.change.shape[-1])


class PathMoments(NamedTuple):
    """All that the density of paths depends on: sums over steps of equal length.

    Numbers are relative to ``reference``, so that means far from zero cost no digits.
    """

    interval: jax.Array
    """``(m,)``: the lengths of steps."""
    n_steps: jax.Array
    """``(m,)``: how many steps have this length."""
    start_sum: jax.Array
    """``(m, d)``: sum of where steps start."""
    step_sum: jax.Array
    """``(m, d)``: sum of what they change."""
    start_start: jax.Array
    """``(m, d, d)``: sum of products of the start with itself."""
    step_start: jax.Array
    """``(m, d, d)``: of the change with the start."""
    step_step: jax.Array
    """``(m, d, d)``: of the change with itself."""
    n_paths: jax.Array
    """Number of paths: each has a first point."""
    first_sum: jax.Array
    """``(d,)``: sum of first points."""
    first_first: jax.Array
    """``(d, d)``: sum of their products."""
    reference: jax.Array
    """``(d,)``."""


def exact_transition(drift: ArrayLike, covariance: ArrayLike, interval: ArrayLike) -> Transition:
    """Return the law of one step.

    Parameters
    ----------
    drift
        ``(d, d)``: ``A``, stable.
    covariance
        ``(d, d)``: of the steady state, ``solve_lyapunov(A, 2 D)``.
    interval
        Time that the step takes.

    Returns
    -------
    Transition
        Differentiable.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    """
    require_x64("a step of a Langevin system")
    return _transition(
        jnp.asarray(drift, dtype=float), jnp.asarray(covariance, dtype=float), interval
    )


@partial(jax.jit, static_argnames="n_steps")
def sample_steps(
    transition: Transition, start: jax.Array, n_steps: int | None = None, *, key: jax.Array
) -> jax.Array:
    """Return the deviations from the mean after each step of paths.

    Parameters
    ----------
    transition
        Of one step, the same for all, or ``vmap``-ed: of each.
    start
        ``(n_paths, d)``.
    n_steps
        Number of steps, if they are all the same.
    key
        Random key.

    Returns
    -------
    jax.Array
        ``(n_steps, n_paths, d)``.
    """
    one_law = transition.change.ndim == 2
    n = n_steps if n_steps is not None and one_law else len(transition.change)
    root = jnp.linalg.cholesky(transition.covariance)
    noise = jax.random.normal(key, (n, *start.shape), dtype=start.dtype)
    noise = noise @ jnp.swapaxes(root, -1, -2)

    def advance(at: jax.Array, step: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        propagator = transition.propagator if one_law else step[1]
        after = at @ propagator.T + step[0]
        return after, after

    steps = (noise,) if one_law else (noise, transition.propagator)
    return jax.lax.scan(advance, start, steps, unroll=2)[1]


def path_moments(times: ArrayLike, path: ArrayLike) -> PathMoments:
    """Return the sums over steps that the density of paths depends on.

    Parameters
    ----------
    times
        ``(n_times,)``, increasing, at least two.
    path
        ``(n_times, d)``, or ``(n_paths, n_times, d)`` for independent paths at the same times.

    Returns
    -------
    PathMoments
        One group for each length of a step: one in all where times are evenly spaced.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    TypeError, ValueError
        If shapes disagree, a number is not finite, or times do not increase.
    """
    require_x64("the density of a path")
    if not isinstance(path, jax.core.Tracer):
        path = finite_array("path", path, ndim=(2, 3))
    paths = jnp.asarray(path, dtype=float)
    paths = paths if paths.ndim == 3 else paths[None]
    intervals, group = step_lengths(times)
    if paths.shape[1] != len(group) + 1:
        raise ValueError(
            f"path: expected {len(group) + 1} points as in times, got {paths.shape[1]}"
        )
    return _moments(paths, intervals, group)


def log_prob_of_moments(
    moments: PathMoments,
    drift: ArrayLike,
    covariance: ArrayLike,
    mean: ArrayLike = 0.0,
    *,
    start: Start = "stationary",
) -> jax.Array:
    """Return the log density of the paths that moments were taken of.

    Parameters
    ----------
    moments
        From `path_moments`.
    drift
        ``(d, d)``: ``A``, stable.
    covariance
        ``(d, d)``: of the steady state.
    mean
        ``(d,)``: of the steady state.
    start
        ``"stationary"``: the first point has the law of the steady state; ``"given"``: the density
        is that of what follows it.

    Returns
    -------
    jax.Array
        Differentiable in all parameters; the cost does not grow with the number of equal steps.
        Not a number if a covariance is not positive.
    """
    one_of("start", start, ("stationary", "given"))
    return _log_prob(
        moments, jnp.asarray(drift, dtype=float), jnp.asarray(covariance, dtype=float), mean, start
    )


@partial(jax.jit, static_argnames="start")
def _log_prob(
    moments: PathMoments,
    drift: jax.Array,
    stationary: jax.Array,
    mean: jax.Array,
    start: Start,
) -> jax.Array:
    shift = jnp.asarray(mean, dtype=float) - moments.reference

    def steps(
        interval: jax.Array,
        count: jax.Array,
        start_sum: jax.Array,
        step_sum: jax.Array,
        start_start: jax.Array,
        step_start: jax.Array,
        step_step: jax.Array,
    ) -> jax.Array:
        change, noise = exact_transition(drift, stationary, interval)
        start_start = _centred(count, start_sum, start_start, shift)
        crossed = change @ (step_start - jnp.outer(step_sum, shift)).T
        return _normal(
            noise, count, step_step - crossed - crossed.T + change @ start_start @ change.T
        )

    density = jax.vmap(steps)(*moments[:7]).sum()
    if start == "stationary":
        first = _centred(moments.n_paths, moments.first_sum, moments.first_first, shift)
        density = density + _normal(stationary, moments.n_paths, first)
    return density


@jax.jit
def _transition(drift: jax.Array, covariance: jax.Array, interval: jax.Array) -> Transition:
    change = _exponential_minus_one(-drift * interval)
    lost = change @ covariance
    noise = -(lost + lost.T + lost @ change.T)
    return Transition(change, 0.5 * (noise + noise.T))


def _exponential_minus_one(exponent: jax.Array) -> jax.Array:
    """Return ``exp(X) - 1`` with all its digits, where X is small, too."""
    norm = jax.lax.stop_gradient(jnp.abs(exponent).sum(axis=0).max())
    halvings = jnp.clip(jnp.ceil(jnp.log2(norm)) + 1.0, 0.0, _MAX_DOUBLINGS)
    small = exponent * 0.5**halvings
    one = jnp.eye(len(exponent))

    def nest(series: jax.Array, order: jax.Array) -> tuple[jax.Array, None]:
        return one + small @ series / order, None

    series = jax.lax.scan(nest, one, jnp.arange(_ORDER, 1, -1))[0]

    def double(change: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        return jnp.where(number < halvings, 2.0 * change + change @ change, change), None

    return jax.lax.scan(double, small @ series, jnp.arange(_MAX_DOUBLINGS))[0]


@jax.jit
def _moments(paths: jax.Array, intervals: jax.Array, group: jax.Array) -> PathMoments:
    """Return the sums of `path_moments`."""
    reference = jax.lax.stop_gradient(paths.mean(axis=(0, 1)))
    start, step = paths[:, :-1] - reference, jnp.diff(paths, axis=1)
    first = paths[:, 0] - reference

    def total(*factors: jax.Array) -> jax.Array:
        """Return sums of vectors, or of products of two, over paths and each group of steps."""
        if len(intervals) == 1:
            sums = "pti->i" if len(factors) == 1 else "pti,ptj->ij"
            return jnp.einsum(sums, *factors)[None]
        each = "pti->ti" if len(factors) == 1 else "pti,ptj->tij"
        return jax.ops.segment_sum(jnp.einsum(each, *factors), group, len(intervals))

    return PathMoments(
        interval=intervals,
        n_steps=len(paths) * jnp.bincount(group, length=len(intervals)).astype(float),
        start_sum=total(start),
        step_sum=total(step),
        start_start=total(start, start),
        step_start=total(step, start),
        step_step=total(step, step),
        n_paths=jnp.asarray(float(len(paths))),
        first_sum=first.sum(axis=0),
        first_first=first.T @ first,
        reference=reference,
    )


def _centred(count: jax.Array, first: jax.Array, second: jax.Array, shift: jax.Array) -> jax.Array:
    """Return second moments about another origin."""
    crossed = jnp.outer(first, shift)
    return second - crossed - crossed.T + count * jnp.outer(shift, shift)


def _normal(covariance: jax.Array, count: jax.Array, second: jax.Array) -> jax.Array:
    """Return the log density of so many normal deviates with these summed products."""
    root = jnp.linalg.cholesky(covariance)
    weighted = jax.scipy.linalg.cho_solve((root, True), second)
    log_det = 2.0 * jnp.log(jnp.diagonal(root)).sum()
    return -0.5 * (count * (len(root) * jnp.log(2.0 * jnp.pi) + log_det) + jnp.trace(weighted))


def step_lengths(times: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Return the different lengths of steps ``(m,)``, and which of them each step has."""
    if isinstance(times, jax.core.Tracer):
        return jnp.diff(times), jnp.arange(len(times) - 1)
    grid = finite_array("times", times, ndim=1)
    if len(grid) < 2:
        raise ValueError("times: expected at least two, got one; a single time shows no dynamics")
    steps = np.diff(grid)
    if not (steps > 0).all():
        where = int(np.argmin(steps))
        raise ValueError(
            f"times: expected increasing numbers, got {grid[where]:g} and then {grid[where + 1]:g}"
        )
    order = np.argsort(steps)
    new = np.diff(steps[order], prepend=steps[order[0]]) > _SAME_STEP * np.abs(grid).max()
    group = np.empty(len(steps), dtype=int)
    group[order] = np.cumsum(new)
    intervals = np.bincount(group, steps) / np.bincount(group)
    return jnp.asarray(intervals), jnp.asarray(group)
