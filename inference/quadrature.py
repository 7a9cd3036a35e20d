"""Integrals of a smooth, decaying density in up to three dimensions by the trapezoid rule.

For an analytic integrand that dies off on every side, equally spaced points converge
exponentially: halving the spacing squares the error. The lattice lives in coordinates whitened at
a mode and grows from the modes outwards until the integrand is negligible, so neither tails nor
several modes need a box to be chosen.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from .checks import Floats
from .precision import require_x64
from .status import Status

_CHUNK = {1: 128, 2: 512, 3: 512}  # points a compiled call evaluates: one program a dimension
_CUTOFF = 38.0  # points more than this many nats below the peak are left out: 3e-17 of it
_RESOLVED = 2.0  # nats that a mode may stand above its nearest lattice point
_GROWTH = {1: 24, 2: 4, 3: 2}  # lattice steps by which the active set is grown at a time
_FIRST_SPACING = 0.4

Lattice = NDArray[np.int64]


class TrapezoidResult(NamedTuple):
    """Nodes and weights of a trapezoid rule that resolves a density.

    Attributes
    ----------
    nodes
        ``(n, d)``, in the coordinates of the density.
    log_weights
        ``(n,)``: log of node weight times density; they sum to the integral.
    log_integral
        Natural logarithm of the integral.
    change
        What the last halving of the spacing changed it by: an upper bound of its error where
        convergence is exponential.
    cell
        ``(d, d)``: the lattice vectors, as columns.
    status
        CONVERGED, TRUNCATED (the node budget was reached first, or the lattice steps over a mode)
        or NON_FINITE.
    """

    nodes: Floats
    log_weights: Floats
    log_integral: float
    change: float
    cell: Floats
    status: Status


def trapezoid(
    log_density: Callable[..., jax.Array],
    modes: Floats,
    whitening: Floats,
    *,
    args: tuple[Any, ...] = (),
    tol: float = 1e-9,
    max_nodes: int = 2_000_000,
) -> TrapezoidResult:
    """Integrate ``exp(log_density)`` over the whole space.

    Parameters
    ----------
    log_density
        ``log_density(points (n, d), *args) -> (n,)``, vectorised, jittable, smooth; ``d <= 3``.
    modes
        Points to grow from, ``(k, d)``; the first is the lattice's origin. Every region of mass
        must be connected to one of them above ``exp(-38)`` of the peak.
    whitening
        ``(d, d)`` factor ``F`` of the covariance ``F F^T`` at the first mode; unit lattice
        spacing is one standard deviation along each of its columns.
    args
        Arrays for ``log_density``; passed, so that equal shapes share one compiled program.
    tol
        Accepted change of the log-integral under a halving of the spacing.
    max_nodes
        Budget of nodes; beyond it the finest completed lattice is returned as TRUNCATED.

    Returns
    -------
    TrapezoidResult

    Raises
    ------
    PrecisionError
        In single precision.
    ValueError
        If ``d > 3``, shapes do not fit, or the density is not finite at a mode.

    Examples
    --------
    >>> import numpy as np
    >>> normal = lambda x: -0.5 * (x**2).sum(-1)
    >>> result = trapezoid(normal, np.zeros((1, 2)), np.eye(2))
    >>> bool(abs(result.log_integral - np.log(2 * np.pi)) < 1e-12)
    True
    """
    require_x64("trapezoid")
    modes = np.atleast_2d(np.asarray(modes, float))
    dim = modes.shape[1]
    if dim not in _GROWTH:
        raise ValueError(f"modes: expected 1 to 3 dimensions, got {dim}")
    if np.shape(whitening) != (dim, dim):
        raise ValueError(f"whitening: expected shape ({dim}, {dim}), got {np.shape(whitening)}")
    origin = modes[0]
    evaluate = partial(_evaluate, log_density, args=args)

    spacing = _FIRST_SPACING
    cell = np.asarray(whitening, float) * spacing
    seeds = np.rint(np.linalg.solve(cell, (modes - origin).T).T).astype(np.int64)
    lattice, values = _grow(evaluate, seeds, origin, cell, max_nodes)
    if not np.isfinite(values).any():
        raise ValueError("modes: expected a finite log-density at a mode, got none")
    log_integral = _log_sum(values, cell)
    change, status = np.inf, Status.TRUNCATED
    while 2**dim * len(lattice) <= max_nodes:
        cell = cell / 2
        finer = _unique(_offsets(dim, 1)[:, None, :] + 2 * lattice[None])
        finer_values = _extend(evaluate, finer, 2 * lattice, values, origin, cell)
        if not np.isfinite(finer_values.max()):
            cell, status = 2 * cell, Status.NON_FINITE
            break
        kept = finer_values > finer_values.max() - _CUTOFF
        lattice, values = finer[kept], finer_values[kept]
        refined = _log_sum(values, cell)
        change, log_integral = abs(refined - log_integral), refined
        if change <= max(tol, 8 * np.finfo(float).eps * abs(refined)):  # not below rounding
            missed = _misses_a_mode(evaluate, modes, origin, cell, values.max())
            status = Status.TRUNCATED if missed else Status.CONVERGED
            break
    log_volume = float(np.linalg.slogdet(cell)[1])
    nodes = origin + lattice @ cell.T
    return TrapezoidResult(nodes, values + log_volume, log_integral, change, cell, status)


def _grow(
    evaluate: Callable[[Floats], Floats],
    seeds: Lattice,
    origin: Floats,
    cell: Floats,
    max_nodes: int,
) -> tuple[Lattice, Floats]:
    """Flood the lattice from the seeds to everything within the cutoff of the peak."""
    reach = _offsets(cell.shape[0], _GROWTH[cell.shape[0]])
    lattice = _unique(seeds)
    values = evaluate(origin + lattice @ cell.T)
    frontier = lattice
    while len(frontier) and len(lattice) <= max_nodes:
        candidates = _unique(frontier[None] + reach[:, None, :])
        new = candidates[~_isin(candidates, lattice)]
        fresh = evaluate(origin + new @ cell.T)
        lattice, values = np.concatenate([lattice, new]), np.concatenate([values, fresh])
        frontier = new[fresh > values.max() - _CUTOFF]
    kept = values > values.max() - _CUTOFF
    return lattice[kept], values[kept]


def _misses_a_mode(
    evaluate: Callable[[Floats], Floats], modes: Floats, origin: Floats, cell: Floats, peak: float
) -> bool:
    """Whether a mode that matters is too narrow for the lattice to have seen it."""
    nearest = origin + np.rint(np.linalg.solve(cell, (modes - origin).T).T) @ cell.T
    at_nearest, at_modes = np.split(evaluate(np.concatenate([nearest, modes])), 2)
    return bool((at_modes > np.maximum(at_nearest, peak - _CUTOFF) + _RESOLVED).any())


def _extend(
    evaluate: Callable[[Floats], Floats],
    finer: Lattice,
    known: Lattice,
    known_values: Floats,
    origin: Floats,
    cell: Floats,
) -> Floats:
    """Evaluate the points of a finer lattice, taking those of the coarse one as known."""
    values = np.empty(len(finer))
    old = _isin(finer, known)
    order_old, order_known = np.lexsort(finer[old].T), np.lexsort(known.T)
    old_values = np.empty(int(old.sum()))
    old_values[order_old] = known_values[order_known]
    values[old] = old_values
    values[~old] = evaluate(origin + finer[~old] @ cell.T)
    return values


def _evaluate(
    log_density: Callable[..., jax.Array], points: Floats, args: tuple[Any, ...]
) -> Floats:
    """Evaluate in chunks of one shape; what is not a number has no mass."""
    n = len(points)
    chunk = _CHUNK[points.shape[1]]
    padded = np.concatenate([points, np.repeat(points[:1], -n % chunk, axis=0)])
    chunks = (
        [
            np.asarray(_compiled(log_density, jnp.asarray(part), args))
            for part in np.split(padded, len(padded) // chunk)
        ]
        if n
        else [np.empty(0)]
    )
    values = np.concatenate(chunks)[:n]
    return np.where(np.isnan(values), -np.inf, values)


@partial(jax.jit, static_argnames="log_density")
def _compiled(
    log_density: Callable[..., jax.Array], points: jax.Array, args: tuple[Any, ...]
) -> jax.Array:
    return log_density(points, *args)


def _offsets(dim: int, radius: int) -> Lattice:
    steps = range(-radius, radius + 1)
    return np.array(list(itertools.product(steps, repeat=dim)), dtype=np.int64)


def _codes(lattice: Lattice) -> NDArray[np.int64]:
    """One integer a lattice point (21 bits an axis: far beyond any node budget)."""
    flat = lattice.reshape(-1, lattice.shape[-1]) + 2**20
    return np.asarray(flat @ (np.int64(2) ** (21 * np.arange(flat.shape[1], dtype=np.int64))))


def _unique(lattice: Lattice) -> Lattice:
    flat = lattice.reshape(-1, lattice.shape[-1])
    return np.asarray(flat[np.unique(_codes(flat), return_index=True)[1]])


def _isin(points: Lattice, known: Lattice) -> NDArray[np.bool_]:
    # by search: np.isin hashes these numbers, many of which collide, a hundred times slower
    ordered, wanted = np.sort(_codes(known)), _codes(points)
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.asarray(ordered[place] == wanted)


def _log_sum(values: Floats, cell: Floats) -> float:
    peak = values.max()
    log_volume = np.linalg.slogdet(cell)[1]
    return float(peak + np.log(np.sum(np.exp(values - peak))) + log_volume)
