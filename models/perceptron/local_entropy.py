"""How many solutions surround a reference: belief propagation pinned to it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, finite_array
from inference.progress import progress_bar
from inference.status import OnFailure, Status, report_status

from .problem import Problem, check_weights
from .propagation import Method, Schedule, belief_propagation


class LocalEntropy(NamedTuple):
    """The surroundings of a reference, by the coupling that holds the weights near it.

    Scalars for one coupling, arrays for several. All entropies are per weight, in nats.
    """

    coupling: Floats
    """``gamma``."""
    distance: Floats
    """Mean share of the weights that differ from the reference."""
    local_entropy: Floats
    """Log number of solutions at that distance, a weight."""
    free_entropy: Floats
    """``ln sum_W exp(gamma W . reference) / n_weights`` over the solutions ``W``."""
    residual: Floats
    n_steps: NDArray[np.int64]
    status: NDArray[np.int64]
    """Of `inference.status.Status`; entropies are minus infinity where it is COLLAPSED."""


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
    """Estimate the number of solutions around a reference, by distance.

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
        With the shape of ``coupling``.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Notes
    -----
    With the overlap ``S = dF / dgamma`` the distance is ``(1 - S) / 2`` and the local entropy
    ``F - gamma S``, the Legendre transform of the free entropy (arXiv 1511.05634).

    Examples
    --------
    >>> from models.perceptron import teacher_student
    >>> problem, teacher = teacher_student(1001, 0.3, seed=0)
    >>> around = local_entropy(problem, teacher, [0.5, 1.0])
    >>> around.distance.round(2).tolist(), around.local_entropy.round(2).tolist()
    ([0.2, 0.08], [0.38, 0.19])
    """
    spins = check_weights("reference", reference, problem)
    couplings = finite_array("coupling", coupling, ndim=(0, 1))
    ladder = np.atleast_1d(couplings)
    if (ladder < 0).any() or (np.diff(ladder) <= 0).any():
        raise ValueError(f"coupling: expected increasing numbers of at least 0, got {coupling!r}")
    rows: list[tuple[float, ...]] = []
    messages = None
    with progress_bar(len(ladder), "local entropy", progress) as bar:
        for gamma in ladder:
            reached = belief_propagation(
                problem, field=gamma * spins, method=method, schedule=schedule, damping=damping,
                tol=tol, max_steps=max_steps, seed=seed, init=messages, on_failure="ignore",
                progress=False,
            )  # fmt: skip
            if reached.status in (Status.CONVERGED, Status.MAX_STEPS):
                messages = reached.messages
            overlap = float(np.mean(spins * reached.magnetizations))
            free_entropy = reached.free_entropy / problem.n_weights
            rows.append(
                (gamma, (1 - overlap) / 2, free_entropy - gamma * overlap, free_entropy,
                 reached.residual, reached.n_steps, reached.status)
            )  # fmt: skip
            bar.update(1)
    columns = [np.array(column).reshape(couplings.shape) for column in zip(*rows, strict=True)]
    report_status(columns[-1], "local entropy", on_failure=on_failure)
    return LocalEntropy(*columns)
