"""Typical solutions: the replica symmetric entropy of random patterns, and the capacity.

The number of solutions with ``alpha N`` random patterns is ``exp(N S)``,

    S = extr [-q' (1 - q) / 2 + E ln 2 cosh(sqrt(q') z) + alpha G(q)],

with the overlap ``q`` of two solutions, its conjugate ``q'``, ``z`` standard normal and ``G(q)``
the mean log probability that a pattern is stored, ``E ln Phi(sqrt(q / (1 - q)) z)`` for the
perceptron (Krauth, Mézard, J. Phys. France 50, 3057 (1989)). In a tree committee each of ``K``
hidden units reads inputs of its own and the majority answers; ``alpha`` counts patterns a weight
(Barkai, Hansel, Kanter, PRL 65, 2312 (1990); Barkai, Hansel, Sompolinsky, PRA 45, 4146 (1992)).
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from inference.checks import Floats
from inference.fixed_point import fixed_point
from inference.precision import require_x64
from inference.status import Status, raise_for_status

from .integrals import end_status, log_cosh, log_ndtr, normal_grid, positive_loads, stacked

_FIRST_OVERLAP = 1e-3
_FIELDS = normal_grid(801)
_UNITS = normal_grid(47, 7.5)
_STEEPEST = {1: 18.0, 3: 1.25, math.inf: 18.0}
"""Largest slope of a field that the grids are fine enough for; its singularities are too near."""

FULL_OVERLAP_LOAD = 4 / math.pi
"""Where the overlap of the perceptron's replica symmetric saddle reaches one."""


class ReplicaSymmetric(NamedTuple):
    """The replica symmetric saddle; fields have the shape of ``load``."""

    entropy: float | Floats
    """Log number of solutions a weight, in nats; negative beyond the capacity: there are none."""
    overlap: float | Floats
    """Between two solutions."""
    conjugate_overlap: float | Floats
    residual: float | Floats
    """Largest change of the overlap in the last step."""
    n_steps: int | Floats
    status: Status | Floats


def replica_symmetric(load: ArrayLike, *, n_hidden: float = 1) -> ReplicaSymmetric:
    """Return the entropy of solutions to random patterns.

    Parameters
    ----------
    load
        Patterns a weight, positive; a scalar or an array. Less than ``4 / pi`` for the perceptron:
        there the overlap reaches one.
    n_hidden
        Hidden units of the tree committee: 1 (the perceptron), 3 or ``math.inf``.

    Returns
    -------
    ReplicaSymmetric
        Fields of the shape of ``load``. ``status`` is TRUNCATED where the overlap is so near to one
        that the grid of integration no longer resolves it: above about 0.95, or 0.6 for three
        units, far beyond the capacity.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If ``load`` is not positive and finite, or too large, or ``n_hidden`` is another number.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> round(replica_symmetric(0.6).entropy, 6)
    0.227785
    """
    require_x64("replica_symmetric")
    _check_hidden(n_hidden)
    loads = positive_loads(load)
    if n_hidden == 1 and loads.max() >= FULL_OVERLAP_LOAD:
        raise ValueError(
            f"load: expected less than 4/pi = {FULL_OVERLAP_LOAD:.6f}, where the overlap reaches "
            f"one, got {loads.max():g}"
        )
    return stacked([_saddle(float(one), n_hidden) for one in loads.ravel()], loads.shape)


@functools.cache
def capacity(n_hidden: float = 1) -> float:
    """Return the load at which the replica symmetric entropy vanishes.

    Parameters
    ----------
    n_hidden
        As in `replica_symmetric`.

    Returns
    -------
    float
        Patterns a weight, to about ``1e-11``.

    Raises
    ------
    PrecisionError
        In single precision.
    ValueError
        If ``n_hidden`` is not 1, 3 or ``math.inf``.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> round(capacity(), 6)
    0.833079
    """
    require_x64("capacity")
    _check_hidden(n_hidden)

    def entropy(load: float) -> float:
        saddle = _saddle(load, n_hidden)
        raise_for_status(saddle.status, f"replica_symmetric({load:.6f}, n_hidden={n_hidden})")
        return float(saddle.entropy)

    return float(brentq(entropy, 0.7, 1.05, xtol=1e-11))


def _check_hidden(n_hidden: float) -> None:
    if n_hidden not in (1, 3, math.inf):
        raise ValueError(f"n_hidden: expected 1, 3 or math.inf, got {n_hidden!r}")


def _saddle(load: float, n_hidden: float) -> ReplicaSymmetric:
    args = (load, _FIELDS, _triples() if n_hidden == 3 else _FIELDS)
    result = fixed_point(
        _STEPS[n_hidden], jnp.array(_FIRST_OVERLAP), args=args,
        tol=1e-13, max_steps=20_000, key=jax.random.key(0),
    )  # fmt: skip
    overlap = float(result.value)
    conjugate, entropy = (float(x) for x in _ENTROPIES[n_hidden](result.value, *args))
    seen = _overlap_of_many(overlap) if n_hidden == math.inf else overlap
    resolved = float(_slope(seen)) < _STEEPEST[n_hidden] and conjugate < _STEEPEST[1] ** 2
    status = end_status(result, resolved=resolved)
    return ReplicaSymmetric(
        entropy, overlap, conjugate, float(result.residual), int(result.n_steps), status
    )


def _slope(overlap: Any) -> Any:
    return (overlap / (1 - overlap)) ** 0.5


def _log_stored(overlap: jax.Array, nodes: jax.Array, weights: jax.Array) -> jax.Array:
    """Return ``G(q)`` of the perceptron."""
    return jnp.sum(weights * log_ndtr(_slope(overlap) * nodes))


def _overlap_of_many(overlap: Any) -> Any:
    """Return the overlap of the sums of infinitely many hidden units."""
    return jnp.arcsin(overlap) * 2 / math.pi


def _log_stored_many(overlap: jax.Array, nodes: jax.Array, weights: jax.Array) -> jax.Array:
    return _log_stored(_overlap_of_many(overlap), nodes, weights)


@functools.cache
def _triples() -> tuple[Any, Any, Floats]:
    """Return nodes, and of every unordered triple of them the places ``(3, n)`` and the weight."""
    places = itertools.combinations_with_replacement(range(_UNITS.nodes.size), 3)
    triples = np.array(list(places)).T
    n_steps_up = (np.diff(triples, axis=0) > 0).sum(axis=0)
    orderings = np.array([1, 3, 6])[n_steps_up]
    return _UNITS.nodes, triples, orderings * _UNITS.weights[triples].prod(axis=0)


def _log_stored_three(
    overlap: jax.Array, nodes: jax.Array, triples: jax.Array, weights: jax.Array
) -> jax.Array:
    """Return ``E ln P(at least two of three units agree with the label)``."""
    fields = _slope(overlap) * nodes
    yes, no = log_ndtr(fields)[triples], log_ndtr(-fields)[triples]
    one_of_two = jnp.logaddexp(yes[0] + no[1], no[0] + yes[1])
    return jnp.sum(weights * jnp.logaddexp(yes[0] + yes[1], one_of_two + yes[2]))


_LOG_STORED = {1: _log_stored, 3: _log_stored_three, math.inf: _log_stored_many}


def _conjugate_of(log_stored: Any, overlap: jax.Array, load: Any, patterns: Any) -> Any:
    """Return ``q' = -2 alpha dG/dq`` and ``alpha G``; forward mode, as reverse scatters triples."""
    stored, slope = jax.jvp(
        lambda q: log_stored(q, *patterns), (overlap,), (jnp.ones_like(overlap),)
    )
    return -2 * load * slope, load * stored


def _step_of(log_stored: Any) -> Any:
    def step(overlap: jax.Array, key: jax.Array, load: Any, fields: Any, patterns: Any) -> Any:
        conjugate, _ = _conjugate_of(log_stored, overlap, load, patterns)
        nodes, weights = fields
        return jnp.sum(weights * jnp.tanh(jnp.sqrt(conjugate) * nodes) ** 2)

    return step


def _entropy_of(log_stored: Any) -> Any:
    @jax.jit
    def entropy(overlap: jax.Array, load: Any, fields: Any, patterns: Any) -> Any:
        conjugate, stored = _conjugate_of(log_stored, overlap, load, patterns)
        nodes, weights = fields
        free = jnp.sum(weights * log_cosh(jnp.sqrt(conjugate) * nodes))
        return conjugate, free - conjugate * (1 - overlap) / 2 + stored

    return entropy


_STEPS = {n_hidden: _step_of(function) for n_hidden, function in _LOG_STORED.items()}
_ENTROPIES = {n_hidden: _entropy_of(function) for n_hidden, function in _LOG_STORED.items()}
