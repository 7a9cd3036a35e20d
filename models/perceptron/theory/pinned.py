"""Franz-Parisi entropy: how many solutions there are at a distance from a typical one.

A typical solution of the perceptron is chosen, and the solutions ``W`` at overlap ``p = 1 - 2 D``
with it are counted; ``Q`` is the overlap of two of those, ``R`` that of ``W`` with other typical
solutions (Huang, Kabashima, PRE 90, 052813 (2014), arXiv 1408.1784; Franz, Parisi, J. Phys. I 5,
1401 (1995)). With the replica symmetric ``q, q'`` of typical solutions,

    S(p) = extr [R R' - p P' - Q' (1 - Q) / 2 + G_S + alpha G_E],
    G_S = E_z sum_J w_J(z) E_t ln 2 cosh(h),   w_J = exp(sqrt(q') z J) / 2 cosh(sqrt(q') z),
    h = R' / sqrt(q') z + sqrt(Q' - R'^2 / q') t + (P' - R') J,
    G_E = E_z E_w [Phi((a + rho w) / sqrt(1 - rho^2)) / Phi(a)] ln Phi(y),
    a = sqrt(q / (1 - q)) z,   y = (R / sqrt(q) z + s w) / sqrt(1 - Q),

where ``s^2 = Q - R^2 / q``, ``s rho = (p - R) / sqrt(1 - q)``: the field of the chosen solution,
which must be positive, is integrated over in closed form.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from inference.checks import Floats, finite_array
from inference.fixed_point import FixedPointResult, fixed_point
from inference.precision import require_x64
from inference.status import ConvergenceError, Status, raise_for_status

from .integrals import (
    Grid,
    end_status,
    hazard,
    log_cosh,
    log_ndtr,
    normal_grid,
    positive_loads,
    stacked,
)
from .typical import capacity, replica_symmetric

_FIRST_DISTANCE = 0.45
_RATIO = 0.6
_SMALLEST_DISTANCE = 1e-6
_PIN_STEPS = 4
_SHARPEST = 7.5
"""Largest slope of a weight's field that its grid resolves: poles of tanh at ``pi / 2`` over it."""
_TINY = 1e-9
_LEAST_ACROSS = 1e-5


class _Grids(NamedTuple):
    outer: Grid
    """Over ``z``."""
    weight: Grid
    """Over ``t``."""
    units: Floats
    """In [0, 1]: mapped to ``w`` by a sinh, so that nodes gather where the integrand is steep."""


_REACH = 8.5
_GRIDS = _Grids(normal_grid(81, _REACH), normal_grid(321, _REACH), np.linspace(0, 1, 161))


class FranzParisi(NamedTuple):
    """The saddle at a distance; fields have the shape of ``distance``."""

    entropy: float | Floats
    """Log number of solutions at the distance from a typical one, nats a weight; negative where
    there are none: typical solutions are isolated."""
    conjugate_field: float | Floats
    """``gamma``, the field along the chosen solution that holds the others at the distance."""
    q: float | Floats
    """``Q``, overlap of two solutions at the distance."""
    cross: float | Floats
    """``R``, their overlap with other typical solutions."""
    distance: float | Floats
    residual: float | Floats
    n_steps: int | Floats
    status: Status | Floats


class _Typical(NamedTuple):
    load: Any
    overlap: Any
    conjugate: Any


class _Seen(NamedTuple):
    entropy: jax.Array
    field: jax.Array
    slope: jax.Array
    """Of a weight's field in ``t``."""


def franz_parisi(load: float, distance: ArrayLike) -> FranzParisi:
    """Return the log number of solutions at a distance from a typical solution.

    Parameters
    ----------
    load
        Patterns a weight, positive, below ``4 / pi``.
    distance
        Share of weights that differ, in (0, 1/2); a scalar or a one-dimensional array. The saddle
        is followed from large distances to the smallest one asked for.

    Returns
    -------
    FranzParisi
        ``status`` is MAX_STEPS or NON_FINITE where the saddle was not found, and TRUNCATED where it
        needs a finer grid than there is; the values there mean nothing. At larger loads this
        happens at very small distances, well below the zero of the entropy.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If an argument is out of range.
    ConvergenceError
        If the overlap of typical solutions is too near to one to start from (loads above 1.2).

    Notes
    -----
    ``dS / dD = 2 gamma``. The largest entropy is that of all solutions, at their typical distance
    ``(1 - q) / 2``.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = franz_parisi(0.6, [0.1, 0.005])
    >>> found.entropy.round(6)
    array([ 0.118687, -0.014696])
    """
    require_x64("franz_parisi")
    distances = finite_array("distance", distance, ndim=(0, 1))
    if not ((distances > 0) & (distances < 0.5)).all():
        raise ValueError(f"distance: expected numbers in (0, 1/2), got {distance!r:.60}")
    chosen, flat = _chosen(float(positive_loads(load, ndim=0))), distances.ravel()
    results: list[FranzParisi | None] = [None] * flat.size
    point = None
    for place in np.argsort(-flat):
        point = _followed(chosen, point, float(flat[place]))
        results[place] = point.result()
    return stacked([result for result in results if result is not None], distances.shape)


def franz_parisi_zero(load: float) -> float:
    """Return the distance at which the entropy around a typical solution vanishes.

    Nearer to it there are no other solutions.

    Parameters
    ----------
    load
        Patterns a weight, positive, below the capacity.

    Returns
    -------
    float

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If ``load`` is not positive or not below the capacity.
    ConvergenceError
        If the saddle is lost on the way, or the distance is too small to be resolved (below
        ``1e-6``: loads under about 0.02).

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> round(franz_parisi_zero(0.6), 6)
    0.015775
    """
    require_x64("franz_parisi_zero")
    load = float(positive_loads(load, ndim=0))
    if load >= capacity():
        raise ValueError(f"load: expected less than the capacity {capacity():.6f}, got {load:g}")
    chosen = _chosen(load)
    far = near = _followed(chosen, None, (1 - chosen.overlap) / 2)
    while near.entropy >= 0:
        if near.distance * _RATIO < _SMALLEST_DISTANCE:
            raise ConvergenceError(
                f"franz_parisi_zero: the entropy is positive down to a distance of "
                f"{near.distance:.3g}; the load {load:g} is too small"
            )
        far, near = near, _solved(chosen, near.state, near.distance * _RATIO)
        raise_for_status(near.status, f"franz_parisi({load:g}, {near.distance:.6g})")

    def entropy(log_distance: float) -> float:
        point = _solved(chosen, far.state, math.exp(log_distance))
        raise_for_status(point.status, f"franz_parisi({load:g}, {point.distance:.6g})")
        return point.entropy

    logs = math.log(near.distance), math.log(far.distance)
    return math.exp(brentq(entropy, *logs, xtol=1e-9))


@dataclasses.dataclass(frozen=True)
class _Point:
    """A saddle on the way; ``state`` is (Q, R, P')."""

    distance: float
    saddle: FixedPointResult[jax.Array]
    seen: _Seen

    @property
    def state(self) -> jax.Array:
        return self.saddle.value

    @property
    def entropy(self) -> float:
        return float(self.seen.entropy)

    @property
    def status(self) -> Status:
        return end_status(self.saddle, resolved=float(self.seen.slope) < _SHARPEST)

    def result(self) -> FranzParisi:
        q, cross, _ = (float(number) for number in self.state)
        return FranzParisi(
            self.entropy, float(self.seen.field), q, cross, self.distance,
            float(self.saddle.residual), int(self.saddle.n_steps), self.status,
        )  # fmt: skip


def _chosen(load: float) -> _Typical:
    saddle = replica_symmetric(load)
    raise_for_status(saddle.status, f"replica_symmetric({load:g})")
    return _Typical(load, saddle.overlap, saddle.conjugate_overlap)


def _followed(chosen: _Typical, point: _Point | None, distance: float) -> _Point:
    """Go to a smaller distance by steps of a constant ratio, the ones between roughly solved."""
    if point is None:
        here = max(_FIRST_DISTANCE, distance)
        p, q = 1 - 2 * here, float(chosen.overlap)
        start = jnp.array([p**2 + 0.5 * q * (1 - p**2), q * p, math.atanh(p)])
        point = _solved(chosen, start, here)
    while point.distance * _RATIO > distance and point.status is Status.CONVERGED:
        point = _solved(chosen, point.state, point.distance * _RATIO, tol=1e-4)
    return _solved(chosen, point.state, distance)


def _solved(chosen: _Typical, start: jax.Array, distance: float, tol: float = 1e-11) -> _Point:
    p = 1 - 2 * distance
    result = fixed_point(
        _step, start, args=(p, chosen, _GRIDS), damping=0.3,
        tol=tol, max_steps=800, key=jax.random.key(0),
    )  # fmt: skip
    return _Point(distance, result, _observed(result.value, p, chosen, _GRIDS))


class _Geometry(NamedTuple):
    mean: jax.Array
    """Slope of the field of ``W`` in ``z``."""
    spread: jax.Array
    """``s``."""
    along: jax.Array
    """``s rho``."""
    across: jax.Array
    """``s sqrt(1 - rho^2)``, at least 1e-5: where W's field is that of every solution, ``s = 0``,
    the direction ``rho`` is of no consequence, but must not be a ratio of rounding errors."""
    chosen: jax.Array
    """The root of the sum of the squares of the last two: ``s``, but for that floor."""


def _geometry(state: jax.Array, p: Any, chosen: _Typical) -> _Geometry:
    q, cross, _ = state
    along = (p - cross) / jnp.sqrt(1 - chosen.overlap)
    spread = jnp.sqrt(jnp.maximum(q - cross**2 / chosen.overlap, along**2))
    across = jnp.sqrt(jnp.maximum(spread**2 - along**2, _LEAST_ACROSS**2))
    together = jnp.sqrt(along**2 + across**2)
    return _Geometry(cross / jnp.sqrt(chosen.overlap), spread, along, across, together)


def _pattern_side(state: jax.Array, p: Any, chosen: _Typical, grids: _Grids) -> Any:
    """Return ``(Q', R')``, ``alpha G_E`` and the pull of the constraint on the overlap ``p``."""
    load, overlap, _ = chosen
    shape, gap = _geometry(state, p, chosen), jnp.sqrt(1 - state[0])
    z, z_weights = grids.outer.nodes[:, None], grids.outer.weights[:, None]
    a = jnp.sqrt(overlap / (1 - overlap)) * z
    tail = log_ndtr(a)
    reference = hazard(a, tail) / jnp.sqrt(1 - overlap)

    w, w_weights = _gathered(a, shape, gap, grids.units)
    positive = log_ndtr((a * shape.chosen + shape.along * w) / shape.across)
    weights = z_weights * w_weights * jnp.exp(positive - tail)

    y = (shape.mean * z + shape.spread * w) / gap
    logs = log_ndtr(y)
    pull = hazard(y, logs) / gap
    hats = jnp.stack([jnp.sum(weights * pull**2), jnp.sum(weights * pull * reference)])

    t, t_weights = grids.weight
    at_edge = (shape.mean * z - shape.along * a + shape.across * t) / gap
    edge = hazard(at_edge, log_ndtr(at_edge)) / gap
    constraint = jnp.sum(z_weights * t_weights * reference * edge)
    return load * hats, load * jnp.sum(weights * logs), load * constraint


def _gathered(a: jax.Array, shape: _Geometry, gap: jax.Array, units: Any) -> Any:
    """Return nodes ``w`` and their weights for every ``a``.

    Where the chosen solution's field changes sign there is a step, and next to it the edge of
    ``W``'s own constraint; both narrow as ``W`` comes near. ``w = step + width sinh(tau)``.
    """
    slope = shape.along / shape.chosen
    step = -a / jnp.where(jnp.abs(slope) < 0.1, 0.1, slope)  # flat: anywhere will do
    width = jnp.minimum(jnp.minimum(shape.across, gap) / shape.chosen, 1.0)
    low, high = jnp.arcsinh((-_REACH - step) / width), jnp.arcsinh((_REACH - step) / width)
    tau = low + (high - low) * units
    w = step + width * jnp.sinh(tau)
    spacing = width * jnp.cosh(tau) * (tau[:, 1:2] - tau[:, :1])
    return w, spacing * jnp.exp(-(w**2) / 2) / math.sqrt(2 * math.pi)


def _weight_side(
    hats: jax.Array, pin: jax.Array, chosen: _Typical, grids: _Grids
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return ``(Q, R, p)`` that follow from ``(Q', R')`` and ``P'``, ``G_S`` and the slope in t."""
    (hat, cross_hat), root = hats, jnp.sqrt(chosen.conjugate)
    z, t = grids.outer.nodes[:, None], grids.weight.nodes
    # z, t, J -> -z, -t, -J changes nothing: J = 1, twice
    signs = 2 * jax.nn.sigmoid(2 * root * z)
    weights = grids.outer.weights[:, None] * grids.weight.weights * signs
    across = jnp.sqrt(jnp.maximum(hat - cross_hat**2 / chosen.conjugate, 0.0))
    h = cross_hat / root * z + across * t + pin - cross_hat
    spins = jnp.tanh(h)
    moments = (spins**2, jnp.tanh(root * z) * spins, spins)
    overlaps = jnp.stack([jnp.sum(weights * moment) for moment in moments])
    return overlaps, jnp.sum(weights * log_cosh(h)), across


def _step(state: jax.Array, key: jax.Array, p: Any, chosen: _Typical, grids: _Grids) -> jax.Array:
    hats, _, _ = _pattern_side(state, p, chosen, grids)

    def newton(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        pin, _ = carry
        (q, cross, reached), _, _ = _weight_side(hats, pin, chosen, grids)
        # in atanh, where a single spin would be linear; d reached / d P' = E sech^2 h = 1 - Q
        reached = jnp.clip(reached, _TINY - 1, 1 - _TINY)
        slope = jnp.maximum(1 - q, _TINY) / (1 - reached**2)
        return pin + (jnp.arctanh(p) - jnp.arctanh(reached)) / slope, jnp.stack([q, cross])

    # the overlaps are those before the last correction of P', which its square leaves unseen
    pin, (q, cross) = jax.lax.fori_loop(0, _PIN_STEPS, newton, (state[2], state[:2]))
    least = cross**2 / chosen.overlap + (p - cross) ** 2 / (1 - chosen.overlap)
    return jnp.stack([jnp.minimum(jnp.maximum(q, least), 1 - _TINY), cross, pin])


@jax.jit
def _observed(state: jax.Array, p: Any, chosen: _Typical, grids: _Grids) -> _Seen:
    (q, cross, pin) = state
    hats, stored, constraint = _pattern_side(state, p, chosen, grids)
    _, free, slope = _weight_side(hats, pin, chosen, grids)
    entropy = cross * hats[1] - p * pin - hats[0] * (1 - q) / 2 + free + stored
    return _Seen(entropy, pin - constraint, slope)
