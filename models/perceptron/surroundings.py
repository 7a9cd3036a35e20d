"""How many solutions surround given weights: belief propagation pinned to them."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from inference.checks import Floats
from inference.message_passing.local_entropy import LocalEntropy, Pinned, surround
from inference.status import OnFailure

from .problem import Problem, check_weights
from .propagation import Method, Schedule, belief_propagation


def local_entropy(
    problem: Problem,
    reference: ArrayLike,
    coupling: ArrayLike,
    *,
    method: Method = "gaussian",
    schedule: Schedule = "sequential",
    damping: float | None = None,
    tol: float = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
) -> LocalEntropy:
    """Estimate the number of solutions around given weights, by distance.

    Parameters
    ----------
    problem
        Patterns and labels.
    reference
        ±1 of the shape of the weights; need not be a solution.
    coupling
        ``gamma >= 0``, or several in increasing order for the whole curve against distance:
        solutions weigh ``exp(gamma W . reference)``. Each starts from the messages of the last.
    method, schedule, damping, tol, max_steps, seed, on_failure
        As in `belief_propagation`.
    progress
        Whether to draw a bar over the couplings; None draws on a terminal.

    Returns
    -------
    LocalEntropy
        With the shape of ``coupling``; entropies are per weight.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Examples
    --------
    >>> from models.perceptron import teacher_student
    >>> problem, teacher = teacher_student(1001, 0.3, seed=0)
    >>> around = local_entropy(problem, teacher, [0.5, 1.0])
    >>> around.distance.round(2).tolist(), around.local_entropy.round(2).tolist()
    ([0.21, 0.08], [0.4, 0.21])
    """

    def solve(field: Floats, messages: Any) -> Pinned:
        reached = belief_propagation(
            problem, field=field, method=method, schedule=schedule, damping=damping, tol=tol,
            max_steps=max_steps, seed=seed, init=messages, on_failure="ignore", progress=False,
        )  # fmt: skip
        return Pinned(
            reached.magnetizations, reached.free_entropy, reached.residual, reached.n_steps,
            reached.status, reached.messages,
        )  # fmt: skip

    spins = check_weights("reference", reference, problem)
    return surround(solve, spins, coupling, on_failure=on_failure, progress=progress)
