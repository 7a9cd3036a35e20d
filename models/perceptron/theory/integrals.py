"""What every replica integral here needs: grids, log Gaussian tails, stacked results.

Averages over a standard normal use the trapezoid rule, whose error for an analytic integrand is
``exp(-2 pi d / h)``: ``h`` is the spacing, ``d`` the distance of the nearest singularity from the
real axis. Grids are NumPy arrays, handed to compiled maps as arguments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array
from inference.fixed_point import FixedPointResult
from inference.status import Status

__all__ = [
    "Grid",
    "end_status",
    "hazard",
    "log_cosh",
    "log_ndtr",
    "normal_grid",
    "positive_loads",
    "stacked",
]

R = TypeVar("R", bound=tuple[Any, ...])

_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


class Grid(NamedTuple):
    """Nodes and weights of an average over a standard normal."""

    nodes: Floats
    weights: Floats


def normal_grid(n_nodes: int, reach: float = 8.5) -> Grid:
    """Return the trapezoid rule of ``n_nodes`` equally spaced nodes in ``[-reach, reach]``."""
    nodes = np.linspace(-reach, reach, n_nodes)
    weights = np.exp(-(nodes**2) / 2)
    return Grid(nodes, weights / weights.sum())


def log_cosh(x: jax.Array) -> jax.Array:
    """Return ``ln 2 cosh x`` without overflow."""
    size = jnp.abs(x)
    return size + jnp.log1p(jnp.exp(-2 * size))


def hazard(x: jax.Array, log_tail: jax.Array) -> jax.Array:
    """Return ``phi(x) / Phi(x)``, given ``log_tail = ln Phi(x)``."""
    return jnp.exp(-(x**2) / 2 - _LOG_ROOT_TWO_PI - log_tail)


def positive_loads(load: ArrayLike, *, ndim: int | tuple[int, ...] = (0, 1, 2)) -> Floats:
    """Return patterns a weight as an array; raise ``ValueError`` unless positive and finite."""
    loads = finite_array("load", load, ndim=ndim)
    if not (loads > 0).all():
        raise ValueError(f"load: expected positive numbers, got {loads.min():g}")
    return loads


def end_status(result: FixedPointResult[Any], *, resolved: bool) -> Status:
    """Return how an iteration ended; TRUNCATED if it did on a grid too coarse for it."""
    status = Status(int(result.status))
    return Status.TRUNCATED if status is Status.CONVERGED and not resolved else status


def stacked(results: Sequence[R], shape: tuple[int, ...]) -> R:
    """Turn results of single points into one of arrays of ``shape``; ``()`` leaves the only one."""
    if shape == ():
        return results[0]
    columns = (np.asarray(column).reshape(shape) for column in zip(*results))
    return type(results[0])(*columns)
