"""Learning a rule: patterns labelled by a teacher perceptron with binary weights.

A student drawn from the solutions has overlap ``R`` with the teacher, which is a solution like the
others, so that two students overlap as much (``q = R``). With ``a = sqrt(R / (1 - R)) z``,

    S = extr [-R' (1 + R) / 2 + E ln 2 cosh(sqrt(R') z + R') + 2 alpha E Phi(a) ln Phi(a)],
    R = E tanh(sqrt(R') z + R'),   R' = 2 alpha / (1 - R) E phi(a)^2 / Phi(a).

From no overlap the student improves continuously up to a load, the spinodal, beyond which only
``R = 1`` is left; there, the entropy zero, already wins at a smaller load by a transition of first
order (Györgyi, PRA 41, 7097 (1990); Sompolinsky, Tishby, Seung, PRL 65, 1683 (1990)).
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from numpy.typing import ArrayLike
from scipy.optimize import brentq, minimize_scalar

from inference.checks import Floats
from inference.precision import require_x64
from inference.status import Status

from .integrals import Grid, hazard, log_cosh, log_ndtr, normal_grid, positive_loads, stacked

_FIELDS = normal_grid(401)
_LARGEST_CONJUGATE = 12.0
"""Beyond the spinodal, at about 3.3, loads decrease again: the unstable branch to ``R = 1``."""


class TeacherStudent(NamedTuple):
    """The student's saddle; fields have the shape of ``load``."""

    overlap: float | Floats
    """Of student and teacher, and of two students: one beyond the spinodal."""
    generalisation_error: float | Floats
    """Probability to answer a new pattern differently from the teacher: ``arccos(R) / pi``."""
    entropy: float | Floats
    """Log number of solutions a weight, in nats. Negative between the transition and the spinodal,
    where the branch is metastable; zero beyond."""
    conjugate_overlap: float | Floats
    """Infinite beyond the spinodal."""
    residual: float | Floats
    """Difference between ``load`` and that of the saddle."""
    n_steps: int | Floats
    status: Status | Floats


class TeacherStudentThresholds(NamedTuple):
    """Loads at which learning the rule changes."""

    first_order: float
    """From here on the teacher is the only solution: the entropy of the other branch vanishes."""
    spinodal: float
    """From here on message passing finds the teacher: the other branch ends."""


def teacher_student(load: ArrayLike) -> TeacherStudent:
    """Return what a typical student knows, on the branch that is continuous from small loads.

    Parameters
    ----------
    load
        Patterns a weight, positive; a scalar or an array.

    Returns
    -------
    TeacherStudent
        Fields of the shape of ``load``.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If ``load`` is not positive and finite.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> found = teacher_student(0.8)
    >>> round(found.overlap, 6), round(found.generalisation_error, 6)
    (0.454821, 0.349703)
    """
    require_x64("teacher_student")
    loads = positive_loads(load)
    return stacked([_student(float(one)) for one in loads.ravel()], loads.shape)


def teacher_student_thresholds() -> TeacherStudentThresholds:
    """Return where the student's branch becomes metastable and where it ends.

    Raises
    ------
    PrecisionError
        In single precision.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> [round(load, 5) for load in teacher_student_thresholds()]
    [1.24468, 1.49263]
    """
    require_x64("teacher_student_thresholds")
    end, spinodal = _end_of_branch()
    root = brentq(lambda conjugate: float(_saddle(conjugate, _FIELDS)[2]), 0.5, end, xtol=1e-12)
    return TeacherStudentThresholds(float(_saddle(root, _FIELDS)[0]), spinodal)


def _student(load: float) -> TeacherStudent:
    end, spinodal = _end_of_branch()
    if load > spinodal:
        return TeacherStudent(1.0, 0.0, 0.0, math.inf, 0.0, 0, Status.CONVERGED)
    if load == spinodal:
        conjugate, n_steps = end, 0
    else:
        conjugate, report = brentq(
            lambda conjugate: float(_saddle(conjugate, _FIELDS)[0]) - load,
            0.0, end, xtol=1e-300, rtol=1e-14, full_output=True,
        )  # fmt: skip
        n_steps = report.iterations
    reached, overlap, entropy = (float(x) for x in _saddle(conjugate, _FIELDS))
    return TeacherStudent(
        overlap, math.acos(overlap) / math.pi, entropy, conjugate, abs(reached - load), n_steps,
        Status.CONVERGED,
    )  # fmt: skip


@functools.cache
def _end_of_branch() -> tuple[float, float]:
    """Return conjugate and load where the load is largest."""
    found = minimize_scalar(
        lambda conjugate: -float(_saddle(conjugate, _FIELDS)[0]),
        bounds=(1.0, _LARGEST_CONJUGATE), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    return float(found.x), -float(found.fun)


@jax.jit
def _saddle(conjugate: jax.Array, fields: Grid) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return load, overlap and entropy that belong to a conjugate overlap: all explicit."""
    z, weights = fields
    x = jnp.sqrt(conjugate) * z + conjugate
    overlap = jnp.sum(weights * jnp.tanh(x))
    a = jnp.sqrt(overlap / (1 - overlap)) * z
    tail = log_ndtr(a)
    stored = jnp.exp(tail)
    load = conjugate * (1 - overlap) / (2 * jnp.sum(weights * stored * hazard(a, tail) ** 2))
    entropy = (
        jnp.sum(weights * log_cosh(x))
        - conjugate * (1 + overlap) / 2
        + 2 * load * jnp.sum(weights * stored * tail)
    )
    return load, overlap, entropy
