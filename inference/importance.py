"""Importance sampling around the modes of a density, with the evidence and an honest verdict.

The proposal is a mixture of multivariate Student-t distributions, one at every mode, shaped by the
Hessian there and weighted by its Laplace mass. It gives independent draws and the normalising
constant together; where it fails, the effective sample size and the Pareto tail index say so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.scipy.special import logsumexp

from .checks import Floats
from .interop import pareto_smooth
from .keys import split_named
from .status import Status

MIN_ESS = 100.0  # fewer effective draws than this give no usable error estimate
MAX_PARETO_K = 0.7  # beyond it the estimates' variance is no longer finite in practice
_DOF = 8.0  # Student-t degrees of freedom: tails heavier than any log-concave target's
_PRECISION_FLOOR = 0.2  # smallest Hessian eigenvalue, in coordinates of unit prior scale
_NEGLIGIBLE = 30.0  # modes this many nats below the best carry no mass
_BATCH = 64  # draws whose densities are computed at a time: bounds memory
_HESSIAN_ROWS = 32  # rows of a Hessian computed at a time: bounds memory, too
_SAME_MODE = 0.1  # whitened distance within which two optima are one


class Modes(NamedTuple):
    """Distinct maxima of a log-density, highest first.

    ``points (k, d)``, ``values (k,)``, ``precisions (k, d, d)``: minus the Hessian.
    """

    points: Floats
    values: Floats
    precisions: Floats


class StudentMixture(NamedTuple):
    """A mixture of multivariate Student-t distributions.

    ``log_weights (k,)``, ``locations (k, d)``, ``scales (k, d, d)``: lower-triangular factors.
    """

    log_weights: jax.Array
    locations: jax.Array
    scales: jax.Array


class ImportanceResult(NamedTuple):
    """Weighted draws and what they say.

    Attributes
    ----------
    draws
        ``(n, d)``.
    log_weights
        ``(n,)``, normalised: their exponentials sum to one.
    log_evidence, log_evidence_error
        Log of the integral of the target, and its standard error.
    ess
        Kish effective sample size.
    pareto_k
        Tail index of the weights.
    status
        CONVERGED, UNRELIABLE_WEIGHTS (``ess < 100`` or ``pareto_k > 0.7``) or NON_FINITE.
    """

    draws: jax.Array
    log_weights: jax.Array
    log_evidence: float
    log_evidence_error: float
    ess: float
    pareto_k: float
    status: Status


def find_modes(
    log_density: Callable[..., jax.Array],
    starts: Floats,
    *,
    args: tuple[Any, ...] = (),
    hessian_of: Callable[..., jax.Array] | None = None,
) -> Modes:
    """Climb from every start and return the distinct maxima.

    Parameters
    ----------
    log_density
        ``log_density(x (d,), *args) -> scalar`` in coordinates of about unit scale.
    starts
        ``(n_starts, d)``. Scatter them over every region that may hold a mode.
    args
        Arrays for ``log_density``.
    hessian_of
        The same function in a form that may be differentiated twice; ``log_density`` itself if
        None.

    Returns
    -------
    Modes

    Raises
    ------
    ValueError
        If the log-density is finite at no start.
    """
    twice = log_density if hessian_of is None else hessian_of

    def objective(x: Floats) -> tuple[float, Floats]:
        value, gradient = _value_and_gradient(log_density, x, args)
        slope = np.asarray(gradient, float)
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return np.inf, np.zeros_like(x)
        return -float(value), -slope

    points: list[Floats] = []
    values: list[float] = []
    precisions: list[Floats] = []
    optima = []
    for start in np.asarray(starts, float):
        if not np.isfinite(objective(start)[0]):
            continue
        with np.errstate(all="ignore"):  # a step into the infinite is taken back, not reported
            found = scipy.optimize.minimize(
                objective, start, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 500}
            )
        optima.append((float(found.fun), found.x))
    if not optima:
        raise ValueError("starts: expected a finite log-density at one of them, got none")
    best = min(value for value, _ in optima)
    for negative, x in sorted(optima, key=lambda pair: pair[0]):
        if negative > best + _NEGLIGIBLE:
            break
        if any(
            (x - point) @ precision @ (x - point) < _SAME_MODE**2 * len(x)
            for point, precision in zip(points, precisions)
        ):
            continue
        points.append(x)
        values.append(-negative)
        precisions.append(_floored(-np.asarray(_hessian(twice, x, args), float)))
    return Modes(np.array(points), np.array(values), np.array(precisions))


def _floored(precision: Floats) -> Floats:
    values, vectors = np.linalg.eigh((precision + precision.T) / 2)
    return np.asarray((vectors * np.maximum(values, _PRECISION_FLOOR)) @ vectors.T)


@partial(jax.jit, static_argnames="log_density")
def _value_and_gradient(
    log_density: Callable[..., jax.Array], x: jax.Array, args: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(log_density)(x, *args)


@partial(jax.jit, static_argnames="log_density")
def _hessian(
    log_density: Callable[..., jax.Array], x: jax.Array, args: tuple[Any, ...]
) -> jax.Array:
    slope = jax.grad(log_density)

    def row(direction: jax.Array) -> jax.Array:
        return jax.jvp(lambda at: slope(at, *args), (x,), (direction,))[1]

    return jax.lax.map(row, jnp.eye(x.size, dtype=x.dtype), batch_size=_HESSIAN_ROWS)


def laplace_mixture(modes: Modes) -> StudentMixture:
    """Return the Student-t mixture that matches curvature and Laplace mass at every mode."""
    scales = np.linalg.cholesky(np.linalg.inv(modes.precisions))
    log_mass = modes.values + np.log(np.diagonal(scales, axis1=1, axis2=2)).sum(-1)
    return StudentMixture(
        jax.nn.log_softmax(jnp.asarray(log_mass)), jnp.asarray(modes.points), jnp.asarray(scales)
    )


def sample_mixture(key: jax.Array, mixture: StudentMixture, n: int) -> jax.Array:
    """Draw ``n`` points, ``(n, d)``."""
    keys = split_named(key, "component", "direction", "radius")
    dim = mixture.locations.shape[1]
    component = jax.random.categorical(keys["component"], mixture.log_weights, shape=(n,))
    normal = jax.random.normal(keys["direction"], (n, dim))
    shrink = jnp.sqrt(jax.random.chisquare(keys["radius"], _DOF, (n, 1)) / _DOF)
    offset = jnp.einsum("nij,nj->ni", mixture.scales[component], normal / shrink)
    return mixture.locations[component] + offset


def mixture_log_prob(mixture: StudentMixture, x: jax.Array) -> jax.Array:
    """Return the log-density of the mixture at points ``(n, d)``, shape ``(n,)``."""
    dim = x.shape[-1]
    constant = (
        math.lgamma((_DOF + dim) / 2) - math.lgamma(_DOF / 2) - 0.5 * dim * math.log(_DOF * math.pi)
    )

    def component(location: jax.Array, scale: jax.Array) -> jax.Array:
        white = jax.scipy.linalg.solve_triangular(scale, (x - location).T, lower=True)
        log_det = jnp.sum(jnp.log(jnp.diagonal(scale)))
        tail = jnp.log1p(jnp.sum(white**2, axis=0) / _DOF)
        return constant - log_det - 0.5 * (_DOF + dim) * tail

    each = jax.vmap(component)(mixture.locations, mixture.scales)
    return logsumexp(each + mixture.log_weights[:, None], axis=0)


def importance_sample(
    log_density: Callable[..., jax.Array],
    mixture: StudentMixture,
    *,
    key: jax.Array,
    n_draws: int,
    args: tuple[Any, ...] = (),
) -> ImportanceResult:
    """Draw from a mixture and weigh by the target.

    Parameters
    ----------
    log_density
        ``log_density(x (d,), *args) -> scalar``, unnormalised.
    mixture
        Proposal, for instance from `laplace_mixture`.
    key
        A typed key.
    n_draws
        Number of draws.
    args
        Arrays for ``log_density``.

    Returns
    -------
    ImportanceResult
    """
    draws, log_weights = _draw_and_weigh(log_density, mixture, key, n_draws, args)
    return weigh(draws, log_weights)


@partial(jax.jit, static_argnames=("log_density", "n_draws"))
def _draw_and_weigh(
    log_density: Callable[..., jax.Array],
    mixture: StudentMixture,
    key: jax.Array,
    n_draws: int,
    args: tuple[Any, ...],
) -> tuple[jax.Array, jax.Array]:
    draws = sample_mixture(key, mixture, n_draws)
    target = jax.lax.map(lambda x: log_density(x, *args), draws, batch_size=_BATCH)
    return draws, target - mixture_log_prob(mixture, draws)


def weigh(draws: jax.Array, log_ratios: jax.Array) -> ImportanceResult:
    """Turn draws and their unnormalised log-weights into evidence, ESS and verdict.

    Parameters
    ----------
    draws
        ``(n, d)``.
    log_ratios
        ``(n,)``: log target minus log proposal; ``nan`` counts as no mass.
    """
    ratios = np.asarray(log_ratios, float)
    ratios = np.where(np.isnan(ratios), -np.inf, ratios)
    n, peak = ratios.size, float(ratios.max())
    if not np.isfinite(peak):
        empty = jnp.full(n, -math.log(n))
        return ImportanceResult(draws, empty, math.nan, math.inf, 0.0, math.inf, Status.NON_FINITE)
    weights = np.exp(ratios - peak)
    total = float(weights.sum())
    ess = total**2 / float((weights**2).sum())
    # relative standard error of the mean weight: sqrt(n / ess - 1) / sqrt(n)
    error = math.sqrt(max(n / ess - 1.0, 0.0) / max(n - 1, 1))
    k = pareto_smooth(ratios[np.isfinite(ratios)])[1]
    reliable = ess >= MIN_ESS and k <= MAX_PARETO_K
    return ImportanceResult(
        draws=draws,
        log_weights=jnp.asarray(ratios - peak - math.log(total)),
        log_evidence=peak + math.log(total / n),
        log_evidence_error=error,
        ess=ess,
        pareto_k=k,
        status=Status.CONVERGED if reliable else Status.UNRELIABLE_WEIGHTS,
    )
