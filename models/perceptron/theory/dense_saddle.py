"""The saddle of the large deviations: one map of two overlaps, and everything that follows from it.

The inner averages are over ``t``, a standard normal times a power ``y`` that may be large, so every
field of the outer average has a window of its own around the peaks of the inner integrand.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .integrals import Grid, hazard, log_cosh, log_ndtr

LARGEST_OVERLAP = 0.999
"""Cap of ``q1``: the isolated branch, which runs to one, is held here."""

N_INNER = 128
"""Nodes of the inner averages."""

_REACH = 8.5
_N_PATTERN_FIELDS = 128
_NEWTON_STEPS = 8
_ACCURACY = 25.0  # nats
_TINY = 1e-15  # where a root would have no derivative


class Point(NamedTuple):
    """Where the saddle is looked for."""

    load: Any
    coupling: Any
    n_replicas: Any


class Observables(NamedTuple):
    """Scalars at a pair of overlaps; conjugates follow from the overlaps."""

    free_entropy: jax.Array
    local_free_entropy: jax.Array
    overlap: jax.Array
    """Of the reference with a solution."""
    conjugate1: jax.Array
    conjugate0: jax.Array


def outer_fields(n_nodes: int = 96) -> Grid:
    """Return nodes in [0, reach] and weights of an average over ``|z|``.

    With ``y`` large the integrand has a boundary layer of width ``1 / y`` at zero: Gauss-Legendre
    in the root of ``z`` gathers nodes there.
    """
    roots, weights = np.polynomial.legendre.leggauss(n_nodes)
    roots = (roots + 1) / 2
    nodes = _REACH * roots**2
    density = weights * roots * np.exp(-(nodes**2) / 2)
    return Grid(nodes, density / density.sum())


def saddle_step(overlaps: jax.Array, key: jax.Array, point: Point, fields: Any, units: Any) -> Any:
    """Return the overlaps ``(q1, q0)`` that follow from ``overlaps`` through their conjugates."""
    q1, q0 = _mapped(overlaps, point, fields, units)
    q1 = jnp.minimum(q1, LARGEST_OVERLAP)
    return jnp.stack([q1, jnp.minimum(q0, q1)])


def newton_step(overlaps: jax.Array, key: jax.Array, point: Point, fields: Any, units: Any) -> Any:
    """Return Newton's update for a fixed point of `saddle_step`.

    It goes at most half way to the bounds ``0 < q0 < q1 < 1``. The map itself has complex
    eigenvalues and at larger loads oscillates around saddles that go on.
    """
    q1, q0 = overlaps

    def excess(overlaps: jax.Array) -> tuple[jax.Array, jax.Array]:
        value = _mapped(overlaps, point, fields, units) - overlaps
        return value, value

    slope, value = jax.jacfwd(excess, has_aux=True)(overlaps)
    move = -jnp.linalg.solve(slope, value)
    shares = jnp.stack([-move[1] / q0, (move[1] - move[0]) / (q1 - q0), move[0] / (1 - q1)])
    return overlaps + move / jnp.maximum(1.0, 2 * shares.max())


def _mapped(overlaps: jax.Array, point: Point, fields: Any, units: Any) -> jax.Array:
    conjugates, _, _ = _pattern_side(overlaps, point, units)
    new, *_ = _weight_side(conjugates, point, fields, units)
    return new


@jax.jit
def observables(overlaps: jax.Array, point: Point, fields: Any, units: Any) -> Observables:
    """Return free entropies, the overlap with the reference and the conjugates at a saddle."""
    load, _, y = point
    q1, q0 = overlaps
    hats, log_stored, mean_stored = _pattern_side(overlaps, point, units)
    hat1, hat0 = hats
    _, log_weight, mean_weight, with_reference = _weight_side(hats, point, fields, units)
    free = -y * (y - 1) * q1 * hat1 / 2 + y**2 * q0 * hat0 / 2 - y * hat1 / 2
    local = -(2 * y - 1) * q1 * hat1 / 2 + y * q0 * hat0 - hat1 / 2
    return Observables(
        free + log_weight + load * log_stored,
        local + mean_weight + load * mean_stored,
        with_reference, hat1, hat0,
    )  # fmt: skip


def is_resolved(gap: float, seen: Observables, n_replicas: float) -> bool:
    """Return whether ``1 - q1 = gap`` is off its cap and the nodes of a weight are close enough.

    Its inner integrand has peaks of unit width and branch points at a distance of ``pi / 2`` over
    the width of the field, where it is smaller than at its peaks if these are far apart.
    """
    width = math.sqrt(max(float(seen.conjugate1 - seen.conjugate0), 0.0))
    spacing = 2 * (n_replicas * width + _REACH) / (N_INNER - 1)
    needed = max(_ACCURACY - (n_replicas * width) ** 2 / 2, 0.0)
    near_enough = spacing * width * needed < math.pi**2 and spacing < 0.85
    return near_enough and gap > 1.001 * (1 - LARGEST_OVERLAP)


def _pattern_side(overlaps: jax.Array, point: Point, units: jax.Array) -> Any:
    """Average over the field of a pattern: the conjugates, ``E ln Z`` and ``E <ln Phi>``."""
    (q1, q0), (load, _, y) = overlaps, point
    outer, inner = jnp.sqrt(q0 / (1 - q1)), jnp.sqrt(jnp.maximum(q1 - q0, _TINY) / (1 - q1))
    # nodes are where the integrand asks for them; the integral, and its derivative, are the same
    frozen = jax.lax.stop_gradient((outer, inner))
    z, t, log_spacing = _pattern_nodes(*frozen, y, units)
    weights = jnp.exp(-(z**2) / 2) * (z[1] - z[0]) / math.sqrt(2 * math.pi)
    x = outer * z[:, None] + inner * t
    tail = log_ndtr(x)
    exponent = y * tail - t**2 / 2 + log_spacing
    height = exponent.max(axis=1, keepdims=True)
    density = jnp.exp(exponent - height)
    norm = density.sum(axis=1)
    pull = hazard(x, tail)
    squares = (density * pull**2).sum(axis=1) / norm
    means = (density * pull).sum(axis=1) / norm
    logs = (density * tail).sum(axis=1) / norm
    hats = load / (1 - q1) * jnp.stack([jnp.sum(weights * squares), jnp.sum(weights * means**2)])
    return (
        hats,
        jnp.sum(weights * (jnp.log(norm) + height[:, 0])),
        jnp.sum(weights * logs),
    )


def _pattern_nodes(outer: jax.Array, inner: jax.Array, y: Any, units: jax.Array) -> Any:
    """Return nodes ``z``, ``t`` for every ``z``, and the log of the spacing of ``t``."""
    # beyond `saturated` every replica stores the pattern, whatever t
    saturated = (_REACH * (1 + inner)) / outer
    z = jnp.linspace(-_REACH, jnp.minimum(_REACH, saturated), _N_PATTERN_FIELDS)
    centre = outer * z[:, None]

    def newton(_: Any, t: jax.Array) -> jax.Array:
        x = centre + inner * t
        h = hazard(x, log_ndtr(x))
        return t - (t - y * inner * h) / (1 + y * inner**2 * h * (h + x))

    peak = jax.lax.fori_loop(0, _NEWTON_STEPS, newton, jnp.zeros_like(centre))
    # left of the peak Phi^y is cut off, about where it is 1 / e: nodes gather there, by a sinh
    cut = (jnp.sqrt(2 * jnp.log1p(y / 4)) - centre) / inner
    steep = jnp.clip(cut, peak - _REACH, peak)
    width = 1 / jnp.sqrt(1 + y * inner**2)
    low = jnp.arcsinh((peak - _REACH - steep) / width)
    high = jnp.arcsinh((peak + _REACH - steep) / width)
    tau = low + (high - low) * (units + 1) / 2
    spacing = width * jnp.cosh(tau) * (tau[:, 1:2] - tau[:, :1]) / math.sqrt(2 * math.pi)
    return z, steep + width * jnp.sinh(tau), jnp.log(spacing)


def _weight_side(conjugates: jax.Array, point: Point, fields: Any, units: jax.Array) -> Any:
    """Average over the field of a weight: overlaps, ``E ln Z``, ``E <ln 2 cosh>``, reference."""
    (hat1, hat0), (_, coupling, y) = conjugates, point
    z, weights = fields
    width = jnp.sqrt(jnp.maximum(hat1 - hat0, _TINY))
    # the peaks are within +-y width, and of unit width at least
    t = (y * jax.lax.stop_gradient(width) + _REACH) * units
    reference = jnp.array([1.0, -1.0])[:, None, None]
    x = jnp.sqrt(hat0) * z[:, None] + width * t + coupling * reference
    logs = log_cosh(x)
    exponent = y * logs - t**2 / 2
    height = exponent.max(axis=(0, 2), keepdims=True)
    density = jnp.exp(exponent - height)
    norm = density.sum(axis=(0, 2))
    spacing = (t[1] - t[0]) / math.sqrt(2 * math.pi)
    spins = jnp.tanh(x)

    def inner(values: jax.Array) -> jax.Array:
        return (density * values).sum(axis=(0, 2)) / norm

    overlaps = jnp.stack([jnp.sum(weights * inner(spins**2)), jnp.sum(weights * inner(spins) ** 2)])
    return (
        overlaps,
        jnp.sum(weights * (jnp.log(norm * spacing) + height[0, :, 0])),
        jnp.sum(weights * inner(logs)),
        jnp.sum(weights * inner(reference * spins)),
    )
