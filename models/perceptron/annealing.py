"""Simulated annealing of the weights: the solver that the others have to beat."""

from __future__ import annotations

from numpy.typing import ArrayLike

from inference.checkpoints import Place
from inference.monte_carlo.annealed_search import AnnealingResult, annealed_search
from inference.monte_carlo.constraint_counts import ThresholdVotes, threshold_votes
from inference.progress import Stop, never
from inference.schedules import Schedule

from .problem import Problem, check_weights


def vote_wiring(problem: Problem) -> ThresholdVotes:
    """Return the problem as compiled Monte Carlo reads it."""
    signed = problem.unit_inputs * problem.labels[:, None, None]
    return threshold_votes(signed, problem.n_hidden)


def simulated_annealing(
    problem: Problem,
    *,
    betas: Schedule | None = None,
    n_sweeps: int = 1000,
    seed: int = 0,
    init: ArrayLike | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> AnnealingResult:
    """Look for weights that get every pattern right, by simulated annealing.

    Parameters
    ----------
    problem
        Patterns and labels.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    n_sweeps
        Most sweeps of as many proposals as weights.
    seed
        Of the start and the proposals.
    init
        Weights to start from, of the shape of the problem's; random if None.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    AnnealingResult
        It ends at once when no pattern is wrong.

    Raises
    ------
    TypeError
        If ``betas`` is no function.
    ValueError
        If an argument is out of range.

    Notes
    -----
    About 2e7 proposals a second at a few hundred patterns. At a fixed load the sweeps that it needs
    grow exponentially with the number of weights: arXiv 1605.06444.

    Examples
    --------
    >>> from models.perceptron.problem import random_patterns
    >>> found = simulated_annealing(random_patterns(101, 0.3, seed=0))
    >>> found.energy, found.status.name, found.weights.shape
    (0, 'CONVERGED', (101,))
    """
    first = None if init is None else check_weights("init", init, problem).ravel()
    found = annealed_search(
        vote_wiring(problem), betas=betas, n_sweeps=n_sweeps, seed=seed, init=first,
        should_stop=should_stop, progress=progress, checkpoint=checkpoint,
    )  # fmt: skip
    weights = found.configuration.reshape(problem.weights_shape)
    return found._replace(configuration=weights, energy=problem.energy(weights))
