"""How many solutions surround an assignment: belief propagation pinned to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats
from inference.message_passing.local_entropy import LocalEntropy, Pinned, surround
from inference.status import OnFailure

from .formula import Formula, check_assignment
from .propagation import Schedule, belief_propagation


def local_entropy(
    formula: Formula,
    reference: ArrayLike,
    coupling: ArrayLike,
    *,
    schedule: Schedule = "sequential",
    damping: float = 0.0,
    tol: float = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
) -> LocalEntropy:
    """Estimate the number of solutions around an assignment, by distance.

    Parameters
    ----------
    formula
        The clauses.
    reference
        ``(n_variables,)`` ±1; need not be a solution.
    coupling
        ``gamma >= 0``, or several in increasing order for the whole curve against distance:
        solutions weigh ``exp(gamma s . reference)``.
    schedule, damping, tol, max_steps, seed, on_failure
        As in `belief_propagation`.
    progress
        Whether to draw a bar over the couplings; None draws on a terminal.

    Returns
    -------
    LocalEntropy
        With the shape of ``coupling``; entropies are per variable.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Examples
    --------
    The seven solutions of one clause of three literals, around one of them:

    >>> from models.ksat import Formula
    >>> around = local_entropy(Formula.from_clauses([[1, 2, 3]]), [1, 1, 1], 0.0)
    >>> round(3 * float(around.local_entropy), 6), round(float(around.distance), 6)
    (1.94591, 0.428571)
    """

    def solve(field: Floats, _: Any) -> Pinned:
        reached = belief_propagation(
            formula, field=field, schedule=schedule, damping=damping, tol=tol, max_steps=max_steps,
            seed=seed, on_failure="ignore", progress=False,
        )  # fmt: skip
        magnetizations = np.nan_to_num(2 * reached.marginals - 1)  # nothing after a contradiction
        return Pinned(
            magnetizations, reached.log_partition, reached.residual, reached.n_steps,
            reached.status, None,
        )  # fmt: skip

    spins = check_assignment("reference", reference, formula.n_variables)
    return surround(solve, spins, coupling, on_failure=on_failure, progress=progress)
