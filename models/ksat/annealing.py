"""Simulated annealing of assignments."""

from __future__ import annotations

from numpy.typing import ArrayLike

from inference.checkpoints import Place
from inference.monte_carlo.annealed_search import AnnealingResult, annealed_search
from inference.monte_carlo.constraint_counts import clause_wiring
from inference.progress import Stop, never
from inference.schedules import Schedule

from .formula import Formula, check_assignment


def simulated_annealing(
    formula: Formula,
    *,
    betas: Schedule | None = None,
    n_sweeps: int = 1000,
    seed: int = 0,
    init: ArrayLike | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> AnnealingResult:
    """Look for a solution by simulated annealing.

    Parameters
    ----------
    formula
        The clauses.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    n_sweeps
        Most sweeps of as many proposals as variables.
    seed
        Of the start and the proposals.
    init
        ``(n_variables,)`` ±1 where to start; random if None.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    AnnealingResult
        It ends at once when no clause is violated.

    Raises
    ------
    TypeError
        If ``betas`` is no function.
    ValueError
        If an argument is out of range.

    Notes
    -----
    A proposal costs O(1), an accepted one the sizes of the variable's clauses.

    Examples
    --------
    >>> from models.ksat.formula import random_formula
    >>> found = simulated_annealing(random_formula(200, 700, 3, seed=0))
    >>> found.energy, found.status.name
    (0, 'CONVERGED')
    """
    first = None if init is None else check_assignment("init", init, formula.n_variables)
    found = annealed_search(
        clause_wiring(formula.system), betas=betas, n_sweeps=n_sweeps, seed=seed, init=first,
        should_stop=should_stop, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    return found._replace(energy=formula.energy(found.configuration))
