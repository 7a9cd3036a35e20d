"""Dense regions: large deviations of the local entropy, for any number of replicas.

A reference ``W~`` is weighed by ``exp(y N F(W~))``, ``F`` being the log number of solutions around
it, each counted with ``exp(gamma W . W~)``. The free entropy ``phi(gamma, y)`` of this measure is
that of ``y`` real replicas tied to a common centre; its derivatives are the local entropy at the
typical distance and the external entropy, the log number of such references (Baldassi, Ingrosso,
Lucibello, Saglietti, Zecchina, PRL 115, 128101 (2015), arXiv 1509.05753). Replica symmetry between
groups of ``y`` replicas is assumed: with ``q1`` in a group and ``q0`` between groups,

    phi = extr [-y (y - 1) q1 q1' / 2 + y^2 q0 q0' / 2 - y q1' / 2
                + E ln E_t sum_s [2 cosh(sqrt(q0') z + sqrt(q1' - q0') t + gamma s)]^y
                + alpha E ln E_t Phi((sqrt(q0) z + sqrt(q1 - q0) t) / sqrt(1 - q1))^y].

The dense branch is continuous from small ``gamma`` and may end in a transition of first order;
beyond it only isolated solutions, ``q1`` near one, remain.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from inference.checks import Floats, finite_array, positive
from inference.fixed_point import FixedPointResult, fixed_point
from inference.precision import require_x64
from inference.status import Status, raise_for_status

from .dense_saddle import (
    N_INNER,
    Observables,
    Point,
    is_resolved,
    newton_step,
    observables,
    outer_fields,
    saddle_step,
)
from .integrals import end_status, positive_loads, stacked
from .typical import replica_symmetric

_GRIDS = outer_fields(), np.linspace(-1, 1, N_INNER)

_STEP = 0.1
_FINEST_STEP = 0.004
_FIRST_SPLIT = 1e-9
"""Of ``q1`` and ``q0`` where they start as one: Newton needs derivatives."""
_NEWTON_STEPS = 20
_LOST = 0.5
"""A step that shrinks ``1 - q1`` by more than this factor, or does not converge, is halved, and at
last called a jump."""

_MOST_REPLICAS = 1000.0
"""Beyond, the outer nodes do not resolve the boundary layer of width ``1 / y``."""
_FIRST_REPLICAS = 16.0
_OTHER_REPLICAS = (32.0, 64.0, 128.0, 8.0, 4.0)
"""Where the dense branch may go on if it ends for those: more at small loads, fewer at large."""
_REPLICA_RATIO = 1.3
_REPLICA_LIMIT = 200.0


class LargeDeviation(NamedTuple):
    """The saddle of the weighed references; fields have the shape of ``coupling``."""

    free_entropy: float | Floats
    """``phi(gamma, y)``, nats a weight."""
    q1: float | Floats
    """Overlap of two solutions around one reference."""
    q0: float | Floats
    """Overlap of two solutions around independent references."""
    distance: float | Floats
    """Share of weights in which a solution differs from its reference."""
    local_entropy: float | Floats
    """Log number of solutions at that distance, nats a weight."""
    external_entropy: float | Floats
    """Log number of references; negative where such references do not exist."""
    n_replicas: float | Floats
    coupling: float | Floats
    jumped: bool | Floats
    """Whether the dense branch has ended at a smaller coupling: values of the isolated branch."""
    residual: float | Floats
    n_steps: int | Floats
    status: Status | Floats


def large_deviation(load: float, coupling: ArrayLike, n_replicas: float) -> LargeDeviation:
    """Return local and external entropy of the regions that ``n_replicas`` replicas select.

    Parameters
    ----------
    load
        Patterns a weight, positive, below ``4 / pi``.
    coupling
        ``gamma``, at least 0; a scalar or an increasing ``(n,)`` array. A scalar takes as long as
        an array that ends there: the branch is followed from 0 in steps of at most 0.1.
    n_replicas
        ``y``, a positive real number up to 1000. 1 weighs all solutions alike, and towards 0 all
        references: 1e-6 describes random ones.

    Returns
    -------
    LargeDeviation
        Fields of the shape of ``coupling``. From the first entry where the branch is found to have
        ended, ``jumped`` is True and the values are those to which iteration leads from its end:
        mostly the isolated branch, whose ``q1`` is held at 0.999 and whose ``status`` is TRUNCATED,
        an indication, no numbers to quote. ``status`` is TRUNCATED, too, where the dense branch
        itself comes that near to ``q1 = 1``.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If an argument is out of range or ``coupling`` does not increase.
    ConvergenceError
        If the overlap of typical solutions is too near to one to start from (loads above 1.2).

    Notes
    -----
    Saddles are found by Newton's method: at larger loads (0.7, not yet 0.6) the branch outlives the
    convergence of the plain iteration, which begins to oscillate.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = large_deviation(0.6, 0.5, 7)
    >>> round(found.distance, 6), round(found.local_entropy, 6)
    (0.098402, 0.161616)
    """
    require_x64("large_deviation")
    load, couplings = _checked(load, coupling)
    n_replicas = positive("n_replicas", n_replicas)
    if n_replicas > _MOST_REPLICAS:
        raise ValueError(
            f"n_replicas: expected a number up to {_MOST_REPLICAS:g}, got {n_replicas:g}"
        )
    branch, results = _uncoupled(load, n_replicas), []
    for target in couplings.ravel():
        branch = _followed(branch, float(target))
        results.append(branch.result())
    return stacked(results, couplings.shape)


def vanishing_external_entropy(load: float, coupling: ArrayLike) -> LargeDeviation:
    """Return the number of replicas at which the external entropy vanishes, and the saddle there.

    These are the densest regions that exist at a distance, as far as replica symmetry holds.

    Parameters
    ----------
    load
        Patterns a weight, positive, below ``4 / pi``.
    coupling
        ``gamma``, at least 0; a scalar or an increasing ``(n,)`` array.

    Returns
    -------
    LargeDeviation
        ``n_replicas`` is the root. Where there is none up to 200 replicas (the couplings that are
        too small), or the dense branch has ended, the values are those of the last point tried and
        ``status`` is MAX_STEPS or TRUNCATED. ``residual`` includes the external entropy left over.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If an argument is out of range or ``coupling`` does not increase.
    ConvergenceError
        If the overlap of typical solutions is too near to one to start from (loads above 1.2).

    Notes
    -----
    The external entropy decreases with ``y``, because the free entropy is convex in it.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> round(vanishing_external_entropy(0.6, 0.9).n_replicas, 3)
    12.182
    """
    require_x64("vanishing_external_entropy")
    load, couplings = _checked(load, coupling)
    results, branch = [], _uncoupled(load, _FIRST_REPLICAS)
    for target in map(float, couplings.ravel()):
        branch = _followed(branch, target)
        for n_replicas in _OTHER_REPLICAS:
            if not branch.jumped:
                break
            branch = _followed(_uncoupled(load, n_replicas), target)
        branch, found = _balanced(branch)
        results.append(found)
        if Status(int(found.status)) is not Status.CONVERGED:
            branch = _uncoupled(load, _FIRST_REPLICAS)
    return stacked(results, couplings.shape)


def _checked(load: float, coupling: ArrayLike) -> tuple[float, Floats]:
    couplings = finite_array("coupling", coupling, ndim=(0, 1))
    if not (couplings >= 0).all():
        raise ValueError(f"coupling: expected numbers of at least 0, got {couplings.min():g}")
    if not (np.diff(np.atleast_1d(couplings)) > 0).all():
        raise ValueError(f"coupling: expected increasing numbers, got {couplings}")
    return float(positive_loads(load, ndim=0)), couplings


@dataclasses.dataclass(frozen=True)
class _Branch:
    """A saddle on the way."""

    load: float
    coupling: float
    n_replicas: float
    saddle: FixedPointResult[Any]
    seen: Observables
    jumped: bool = False

    @property
    def gap(self) -> float:
        """``1 - q1``."""
        return 1 - float(self.saddle.value[0])

    def has_left(self, before: _Branch) -> bool:
        """Whether this, looked for next to a saddle of the dense branch, is none."""
        ended = Status(int(self.saddle.status)) is Status.CONVERGED
        near = _LOST * before.gap < self.gap < before.gap / _LOST
        return not (ended and near)

    @property
    def external_entropy(self) -> float:
        return float(self.seen.free_entropy - self.n_replicas * self.seen.local_free_entropy)

    def result(self) -> LargeDeviation:
        q1, q0 = (float(overlap) for overlap in self.saddle.value)
        overlap = float(self.seen.overlap)
        return LargeDeviation(
            float(self.seen.free_entropy), q1, q0, (1 - overlap) / 2,
            float(self.seen.local_free_entropy) - self.coupling * overlap,
            self.external_entropy, self.n_replicas, self.coupling, self.jumped,
            float(self.saddle.residual), int(self.saddle.n_steps),
            end_status(self.saddle, resolved=is_resolved(self.gap, self.seen, self.n_replicas)),
        )  # fmt: skip


def _next(branch: _Branch, coupling: float, n_replicas: float, tol: float = 1e-11) -> _Branch:
    """Look for the saddle near that of ``branch`` by Newton's method."""
    start = branch.saddle.value + jnp.array([_FIRST_SPLIT, 0.0])
    return _solved(newton_step, start, branch.load, coupling, n_replicas, tol, 0.0, _NEWTON_STEPS)


def _isolated(branch: _Branch, coupling: float) -> _Branch:
    """Let the overlaps go where the iteration takes them, once the branch has ended."""
    there = _solved(
        saddle_step, branch.saddle.value, branch.load, coupling, branch.n_replicas, 1e-9, 0.2, 300
    )
    return dataclasses.replace(there, jumped=True)


def _solved(
    step: Any, start: Any, load: float, coupling: float, n_replicas: float,
    tol: float, damping: float, max_steps: int,
) -> _Branch:  # fmt: skip
    point = Point(load, coupling, n_replicas)
    result = fixed_point(
        step, jnp.asarray(start), args=(point, *_GRIDS), damping=damping,
        tol=tol, max_steps=max_steps, key=jax.random.key(0),
    )  # fmt: skip
    return _Branch(load, coupling, n_replicas, result, observables(result.value, point, *_GRIDS))


def _uncoupled(load: float, n_replicas: float) -> _Branch:
    """Return the saddle at coupling zero: that of typical solutions."""
    typical = replica_symmetric(load)
    raise_for_status(typical.status, f"replica_symmetric({load:g})")
    overlaps = jnp.asarray(np.full(2, typical.overlap))
    saddle = FixedPointResult(
        overlaps, jnp.asarray(typical.residual), jnp.array(0), jnp.array(int(Status.CONVERGED))
    )
    seen = observables(overlaps, Point(load, 0.0, n_replicas), *_GRIDS)
    return _Branch(load, 0.0, n_replicas, saddle, seen)


def _followed(branch: _Branch, coupling: float) -> _Branch:
    """Go to a larger coupling in steps small enough to stay on the branch while it exists."""
    step = _STEP
    while branch.coupling < coupling:
        if branch.jumped:
            return _isolated(branch, coupling)
        left = coupling - branch.coupling
        target, tol = (coupling, 1e-11) if left <= 1.001 * step else (branch.coupling + step, 1e-6)
        ahead = _next(branch, target, branch.n_replicas, tol)
        if not ahead.has_left(branch):
            branch, step = ahead, min(2 * step, _STEP)
        elif step > _FINEST_STEP:
            step /= 2
        else:
            return _isolated(branch, coupling)
    return branch


def _balanced(branch: _Branch) -> tuple[_Branch, LargeDeviation]:
    """Change the number of replicas until the external entropy vanishes."""
    known = [branch]

    def external(n_replicas: float) -> float:
        near = min(known, key=lambda one: abs(one.n_replicas - n_replicas))
        if near.n_replicas != n_replicas:
            near = _next(near, near.coupling, n_replicas)
            known.append(near)
        return near.external_entropy

    up = branch.external_entropy > 0
    ratio = _REPLICA_RATIO if up else 1 / _REPLICA_RATIO
    low = high = branch
    while not branch.jumped and (high.external_entropy > 0) == up:
        target = high.n_replicas * ratio
        if not 1 <= target <= _REPLICA_LIMIT:
            break
        external(target)
        low, high = high, known[-1]
        if high.has_left(low):
            high = dataclasses.replace(high, jumped=True)
            break
    bracketed = not (branch.jumped or high.jumped) and (high.external_entropy > 0) != up
    if not bracketed:
        found, left = high.result(), abs(high.external_entropy)
        status = found.status if found.status != Status.CONVERGED else Status.MAX_STEPS
        return high, found._replace(residual=left, status=status)
    root = brentq(external, low.n_replicas, high.n_replicas, xtol=1e-9, rtol=1e-12)
    external(root)
    best = min(known, key=lambda one: abs(one.n_replicas - root))
    left = max(float(best.saddle.residual), abs(best.external_entropy))
    return best, best.result()._replace(residual=left)
