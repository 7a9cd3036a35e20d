"""The weights of genes whose cells are of types with known maps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, at_least_zero, positive
from inference.status import OnFailure, Status, check_on_failure, report_status

from .ascent import Goal, drive
from .counts import Counts, as_counts
from .emissions import stochastic_rows


class WeightsResult(NamedTuple):
    """Expected numbers of cells of each type."""

    beta: Floats
    """``(n_genes, n_types)``."""
    objective: float
    """Poisson log likelihood and log prior, both without constants, in nats."""
    residual: float
    """How far from a mode: the largest of ``s - 1`` and ``share |s - 1|``, for the factor ``s`` by
    which a step multiplies a weight, and the type's share of its gene's weights."""
    n_steps: int
    status: Status


def beta_given_maps(
    counts: Counts | ArrayLike,
    maps: ArrayLike,
    *,
    shape: float = 1.0,
    rate: float = 0.0,
    tol: float = 1e-10,
    max_steps: int = 10_000,
    on_failure: OnFailure = "warn",
) -> WeightsResult:
    """Return the most likely weights of genes, for instance of new images, at maps of a fit.

    Parameters
    ----------
    counts
        ``(n_genes, n_bins)``.
    maps
        ``(n_types, n_bins)``, rows sum to 1.
    shape, rate
        Of the Gamma prior of every weight, at least 1 and 0; with the defaults the weights are
        those of highest likelihood, and those of a gene sum to its cells.
    tol
        Ends when the objective changed by less in ten steps, in nats a cell, three times in a row.
    max_steps
        Largest number of steps.
    on_failure
        What to do if the end is not reached.

    Returns
    -------
    WeightsResult
        The problem is concave: this is the only mode.

    Raises
    ------
    TypeError, ValueError
        If the counts are no counts, rows are no probabilities, cells lie where all maps are 0, or a
        parameter is too small.

    Examples
    --------
    >>> from models.cell_types import beta_given_maps
    >>> maps = [[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]]
    >>> beta_given_maps([[2, 2, 2, 3]], maps).beta.round(3).tolist()
    [[3.526, 5.474]]
    """
    check_on_failure(on_failure)
    at_least_zero("rate", rate)
    if not positive("shape", shape) >= 1.0:
        raise ValueError(f"shape: expected at least 1, got {shape}; the mode is on the boundary")
    data = as_counts(counts)
    phi = stochastic_rows("maps", np.asarray(maps), data.n_bins)
    lost = (data.values.sum(axis=0) > 0) & ~phi.any(axis=0)
    if lost.any():
        raise ValueError(f"maps: expected none of {int(lost.sum())} bins with cells to be 0 in all")
    n_cells = data.values.sum(axis=1, keepdims=True, dtype=np.float64)
    exposure = 1.0 if data.exposure is None else data.exposure
    total = (np.broadcast_to(exposure, data.values.shape) @ phi.T) + rate
    extra = shape - 1.0

    def intensity(beta: Floats) -> Floats:
        return np.maximum(beta @ phi * exposure, 1e-300)

    def objective(beta: Floats) -> float:
        prior = extra * np.log(np.maximum(beta, 1e-300)).sum() if extra else 0.0
        return float((data.values * np.log(intensity(beta))).sum() - (beta * total).sum() + prior)

    def factor(beta: Floats) -> Floats:
        found = (data.values / intensity(beta) * exposure) @ phi.T
        return (found + (extra / np.maximum(beta, 1e-300) if extra else 0.0)) / total

    def advance(beta: Floats, n_steps: int) -> Floats:
        for _ in range(n_steps):
            beta = (extra + beta * ((data.values / intensity(beta) * exposure) @ phi.T)) / total
        return beta

    start = np.repeat(np.maximum(n_cells, 1.0) / len(phi), len(phi), axis=1)
    goal = Goal(tol * data.n_cells / 10, max_steps, check_every=10)
    beta, course = drive(start, advance, objective, goal)
    report_status(course.status, "beta_given_maps", on_failure=on_failure)
    excess = np.where(n_cells > 0, factor(beta) - 1.0, 0.0)
    share = beta / np.maximum(beta.sum(axis=1, keepdims=True), 1e-300)
    residual = float(np.maximum(excess, share * np.abs(excess)).max())
    return WeightsResult(beta, float(course.trace[-1]), residual, course.steps[-1], course.status)
