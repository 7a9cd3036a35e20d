"""Replicas of an assignment that anneal together, drawn to where solutions are dense."""

from __future__ import annotations

from numpy.typing import ArrayLike

from inference.checkpoints import Place
from inference.checks import plus_minus_one
from inference.monte_carlo.annealed_search import (
    ReplicatedAnnealingResult,
    ReplicatedState,
    replicated_search,
)
from inference.monte_carlo.constraint_counts import clause_wiring
from inference.monte_carlo.single_spin import Centre, SweepKernel
from inference.progress import Stop, never
from inference.schedules import Schedule

from .formula import Formula


def replicated_annealing(
    formula: Formula,
    *,
    n_replicas: int = 3,
    betas: Schedule | None = None,
    couplings: Schedule | None = None,
    n_sweeps: int = 1000,
    centre: Centre = "traced",
    kernel: SweepKernel = "metropolis",
    seed: int = 0,
    init: ArrayLike | ReplicatedState | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> ReplicatedAnnealingResult:
    """Look for a solution, by annealing replicas that attract each other.

    Alone, a replica freezes in the first of very many isolated states; together replicas are drawn
    to where solutions lie densely: the robust ensemble of arXiv 1605.06444.

    Parameters
    ----------
    formula
        The clauses.
    n_replicas
        Number of replicas, ``y``.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    couplings
        Attraction ``gamma`` by the number of the sweep; from 0.3 to 1.2 on a straight line if None.
    n_sweeps
        Most sweeps, each of as many proposals as all replicas have variables. They count from the
        start of the schedules: a run that goes on from a state has that many fewer to make.
    centre
        ``"traced"``: the centre that attracts the replicas is summed out, and the replicas have the
        weight ``exp(-beta * sum_r E(W^r)) * prod_i 2 cosh(coupling * sum_r W_i^r)``;
        ``"explicit"``: it takes part, with ``exp(-beta * sum_r E(W^r) + coupling * sum_r W^r . C)``
        and a draw from its conditional distribution at the start of each sweep.
    kernel
        ``"metropolis"``, or ``"rejection-reduced"`` (arXiv 1608.05899): proposals among the flips
        that the attraction lets happen, each two or three times as costly.
    seed
        Of the start and the proposals; not used to go on from a state.
    init
        ``(n_replicas, n_variables)`` ±1 to start from, random if None; or the ``state`` of an
        earlier result, to go on as if it had never stopped.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    ReplicatedAnnealingResult
        It ends at once when one replica violates no clause; the centre is looked at in the end.

    Raises
    ------
    TypeError
        If ``betas`` or ``couplings`` is no function.
    ValueError
        If an argument is out of range.

    Notes
    -----
    A proposal costs O(1), an accepted one the sizes of the variable's clauses.

    Examples
    --------
    >>> from models.ksat.formula import random_formula
    >>> found = replicated_annealing(random_formula(200, 1600, 4, seed=0))
    >>> found.energy, found.status.name, found.replicas.shape
    (0, 'CONVERGED', (3, 200))
    """
    if init is not None and not isinstance(init, ReplicatedState):
        init = plus_minus_one("init", init, ndim=2)
    found = replicated_search(
        clause_wiring(formula.system), n_replicas=n_replicas, betas=betas, couplings=couplings,
        n_sweeps=n_sweeps, centre=centre, kernel=kernel, seed=seed, init=init,
        should_stop=should_stop, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    return found._replace(energy=formula.energy(found.configuration))
