"""What a search for saddle points answers, and how it is read off a scan or a descent."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from inference.checks import Floats
from inference.status import Status

from .saddle_scan import ScalarAction, ScalarPoint, stationary_points
from .saddle_search import Fluctuations, Limit, Minimum, factors_of, fluctuations, mixing_of

_SLOPE_TOLERANCE = 1e-9


class StationaryPoint(NamedTuple):
    """A point where the rate function has no slope.

    Attributes
    ----------
    mixing
        ``Q``, ``(m, m)``.
    responses
        Eigenvalues of ``W - I`` of every layer times its ``alpha``: for one output the number
        ``t``, common to all layers, ``(1,)``; else one array a layer, joined.
    rate
        Its rate, not reduced by the minimum.
    curvature
        For one output the second derivative of the rate with respect to ``log q``; otherwise the
        smallest eigenvalue of the Hessian in the coordinates of the layers.
    is_minimum
        Whether it is a local minimum of the rate.
    """

    mixing: Floats
    responses: Floats
    rate: float
    curvature: float
    is_minimum: bool


@dataclass(frozen=True)
class Saddle:
    """The minimum of a rate function, or of an action, and what else there is.

    Attributes
    ----------
    mixing
        The minimiser ``Q*``, ``(m, m)``.
    layer_scales
        For every hidden layer, from the input up, the eigenvalues of its Wishart matrix divided by
        their prior mean, ascending: ``lambda_l q_l`` for one output.
    rate
        The minimum.
    mixing_variance
        Limit of ``N Var(Q_ij)``, ``(m, m)``: for one output ``1 / I''(q*)``.
    mixing_shift
        Limit of ``N (E Q - Q*)``, ``(m, m)``.
    stationary
        Every stationary point by ascending trace of ``Q`` (one output), or every minimum that was
        found, lowest first.
    rate_gap
        From the minimum to the next-lowest one; infinite if there is none.
    barrier
        From the minimum to the highest point between the two; infinite if there is one minimum,
        NaN for several outputs.
    residual
        Largest slope left.
    n_steps
        Newton steps of the general search; 0 for one output, where roots are bracketed.
    status
        CONVERGED, MAX_STEPS or NON_FINITE.
    """

    mixing: Floats
    layer_scales: tuple[Floats, ...]
    rate: float
    mixing_variance: Floats
    mixing_shift: Floats
    stationary: tuple[StationaryPoint, ...] = field(repr=False)
    rate_gap: float
    barrier: float
    residual: float
    n_steps: int
    status: Status


def from_scan(action: ScalarAction, offset: float) -> Saddle:
    """Return the lowest minimum of the action of one output, and every stationary point.

    Parameters
    ----------
    action
        The action as a function of one variable.
    offset
        What it leaves out: terms without ``q``.
    """
    found = stationary_points(action)
    points = tuple(_stationary(point, offset) for point in found)
    # there is always a crossing from below; rounding may hide the curvature of a quartic minimum
    candidates = [i for i, point in enumerate(points) if point.is_minimum] or range(len(points))
    lowest = min(candidates, key=lambda i: points[i].rate)
    best, mixing = found[lowest], points[lowest].mixing
    others = [points[i] for i in candidates if i != lowest]
    gap = barrier = math.inf
    if others:
        second = min(others, key=lambda point: point.rate)
        gap = second.rate - points[lowest].rate
        ends = sorted((best.t, float(second.responses[0])))
        between = [p.rate for p, raw in zip(points, found) if ends[0] < raw.t < ends[1]]
        barrier = max(between) - points[lowest].rate
    steep = 1 + abs(best.t) + float(np.sum(action.alphas))
    converged = abs(best.slope) <= _SLOPE_TOLERANCE * steep
    return Saddle(
        mixing=mixing,
        layer_scales=tuple(np.array([1 + best.t / alpha]) for alpha in action.alphas),
        rate=points[lowest].rate,
        mixing_variance=mixing**2 / best.curvature if best.curvature > 0 else mixing * math.inf,
        mixing_shift=np.array([[best.shift]]),
        stationary=points,
        rate_gap=gap,
        barrier=barrier,
        residual=abs(best.slope),
        n_steps=0,
        status=_verdict(best.action + best.log_q, converged),
    )


def _stationary(point: ScalarPoint, offset: float) -> StationaryPoint:
    return StationaryPoint(
        mixing=np.exp([[point.log_q]]),
        responses=np.array([point.t]),
        rate=point.action + offset,
        curvature=point.curvature,
        is_minimum=point.curvature > 0,
    )


def _verdict(number: float, converged: bool) -> Status:
    if not math.isfinite(number):
        return Status.NON_FINITE
    return Status.CONVERGED if converged else Status.MAX_STEPS


def from_search(limit: Limit, found: list[Minimum], args: tuple[Any, ...]) -> Saddle:
    """Return the lowest of the minima that descents have found (lowest first), and the others."""
    points, scales = [], []
    for minimum in found:
        x = jnp.asarray(minimum.coordinates)
        # the layers from the input up, as the widths
        factors = [np.asarray(factor) for factor in factors_of(x, limit.rows)][::-1]
        scales.append(tuple(np.linalg.eigvalsh(factor @ factor.T) for factor in factors))
        responses = [a * (w - 1) for a, w in zip(limit.alphas[::-1], scales[-1])]
        lowest = float(np.linalg.eigvalsh(minimum.hessian)[0])
        points.append(
            StationaryPoint(
                mixing=np.asarray(mixing_of(x, limit)),
                responses=np.concatenate(responses),
                rate=minimum.action,
                curvature=lowest,
                is_minimum=lowest > 0,
            )
        )
    best = found[0]
    small = best.slope <= limit.tolerance * (1 + abs(best.action))
    converged = small and points[0].is_minimum
    nothing = np.full_like(points[0].mixing, math.nan)
    spread = fluctuations(limit, best, args) if converged else Fluctuations(nothing, nothing)
    return Saddle(
        mixing=points[0].mixing,
        layer_scales=scales[0],
        rate=best.action,
        mixing_variance=spread.variance,
        mixing_shift=spread.shift,
        stationary=tuple(points),
        rate_gap=points[1].rate - best.action if len(points) > 1 else math.inf,
        barrier=math.nan if len(points) > 1 else math.inf,
        residual=best.slope,
        n_steps=best.n_steps,
        status=_verdict(best.action, converged),
    )
