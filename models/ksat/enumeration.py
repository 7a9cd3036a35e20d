"""The exact answer for small formulas: every assignment looked at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats

from .formula import Formula
from .propagation import field_array

MOST_VARIABLES = 24


class ExactCounts(NamedTuple):
    """Sums over all satisfying assignments."""

    n_solutions: int
    log_partition: float
    """Log of the sum of ``exp(sum_i field_i s_i)``; minus infinity without solutions."""
    marginals: Floats
    """``(n_variables,)`` P(s_i = +1); NaN without solutions."""


def count_solutions(formula: Formula) -> int:
    """Return the number of satisfying assignments of a formula of at most 24 variables.

    Raises
    ------
    ValueError
        If the formula has more.

    Examples
    --------
    >>> from models.ksat import Formula
    >>> count_solutions(Formula.from_clauses([[1, 2, 3]]))
    7
    """
    return int(np.count_nonzero(_satisfied(formula)))


def exact_marginals(formula: Formula, *, field: ArrayLike = 0.0) -> ExactCounts:
    """Return counts, log-partition and marginals of a formula of at most 24 variables.

    Parameters
    ----------
    formula
        The clauses.
    field
        Scalar or ``(n_variables,)``: weights ``exp(sum_i field_i s_i)``.

    Raises
    ------
    ValueError
        If the formula has more variables or the field does not fit.
    """
    n = formula.n_variables
    fields = field_array(field, n)
    satisfied = _satisfied(formula)
    n_solutions = int(np.count_nonzero(satisfied))
    if n_solutions == 0:
        return ExactCounts(0, -np.inf, np.full(n, np.nan))
    weights = satisfied.astype(np.float64)
    for axis, value in enumerate(fields):
        shape = (2**axis, 2, 2 ** (n - axis - 1))
        # relative to exp(|field|), so that nothing overflows
        weights.reshape(shape)[:] *= np.exp(np.array([-value, value]) - abs(value))[:, None]
    total = weights.sum()
    plus = [
        weights.reshape(2**axis, 2, 2 ** (n - axis - 1))[:, 1].sum() / total for axis in range(n)
    ]
    log_partition = float(np.log(total) + np.abs(fields).sum())
    return ExactCounts(n_solutions, log_partition, np.array(plus))


def _satisfied(formula: Formula) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return a table ``(2,) * n_variables``: index 1 of an axis is spin +1."""
    n = formula.n_variables
    if n > MOST_VARIABLES:
        raise ValueError(f"formula: expected at most {MOST_VARIABLES} variables, got {n}")
    satisfied = np.ones((2,) * n, dtype=bool)
    system = formula.system
    for clause in range(system.n_clauses):
        # a clause forbids the corner of the cube where all its literals are false
        corner: list[slice | int] = [slice(None)] * n
        for code in system.literals[system.offsets[clause] : system.offsets[clause + 1]]:
            corner[int(code) >> 1] = int(code) & 1
        satisfied[tuple(corner)] = False
    return satisfied
