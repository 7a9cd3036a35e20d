"""Entropy-driven Monte Carlo on a perceptron or committee machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from inference.checkpoints import Place, kept
from inference.checks import Floats, Spins, positive
from inference.kernels import random_state, uniform
from inference.monte_carlo.entropy_driven import (
    Look,
    Proposals,
    SearchResult,
    Surroundings,
    Walk,
    check_walk,
    random_walk,
)
from inference.monte_carlo.entropy_driven import entropy_driven_monte_carlo as walk_uphill
from inference.progress import Stop, never

from .dense_messages import (
    DenseMessages,
    absorb_labels,
    dense_free_entropy,
    propagate_densely,
    silent,
)
from .edge_messages import edge_free_entropy, propagate_edges
from .problem import Problem, check_weights
from .propagation import FIRST_MESSAGE, collapsed

COUPLINGS = tuple(np.arctanh([0.5, 0.6, 0.7, 0.8, 0.9]).tolist())
"""A ladder that solves random patterns up to a load of 0.6."""
_DENSE_DAMPING = 0.3
_MOST_SWEEPS = 200
"""Of message passing around one reference; a proposal that needs more is rejected."""


def entropy_driven_monte_carlo(
    problem: Problem,
    *,
    proposals: Proposals = "heuristic",
    couplings: Sequence[float] | float = COUPLINGS,
    largest_batch: float | None = None,
    patience: int | None = None,
    max_steps: int | None = None,
    tol: float = 1e-4,
    seed: int = 0,
    init: ArrayLike | Walk[Any] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> SearchResult[Any]:
    """Look for weights without errors by following the local entropy.

    Parameters
    ----------
    problem
        Patterns and labels.
    proposals
        ``"heuristic"``: flip weights that the patterns want to be the other way; ``"random"``.
    couplings
        One ``gamma > 0``, or a ladder of them to climb whenever the search is stuck.
    largest_batch
        Largest share of the candidates flipped at once, adapted on the way; None is 1/4 of the
        heuristic candidates, and single flips of random ones.
    patience
        Rejected single flips in a row until the next coupling; None is 10 with heuristic
        proposals, and twice the number of weights with random ones.
    max_steps
        Most proposals; None is 20 a weight.
    tol
        Of the messages.
    seed
        Of the first weights and of the proposals.
    init
        Weights to start from, random ones if None, or the ``walk`` of an earlier result to go on.
    should_stop
        Asked before every proposal; True ends the search.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    SearchResult
        A perceptron is searched with approximate message passing, a committee with messages
        along edges.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from models.perceptron import random_patterns
    >>> problem = random_patterns(401, 0.3, seed=0)
    >>> found = entropy_driven_monte_carlo(problem)
    >>> found.energy, problem.energy(found.weights), found.status.name
    (0, 0, 'CONVERGED')
    """
    positive("tol", tol)
    if isinstance(init, Walk):
        walk = check_walk(init, problem.n_weights, _message_shapes(problem))
    else:
        walk = random_walk(problem.n_weights, seed)
        if init is not None:
            walk.reference = check_weights("init", init, problem).ravel().copy()
    with kept(
        checkpoint, "perceptron.entropy_driven_monte_carlo", problem=problem, proposals=proposals,
        couplings=couplings, largest_batch=largest_batch, patience=patience, max_steps=max_steps,
        tol=tol, seed=seed, init=init,
    ) as keep:  # fmt: skip
        found = walk_uphill(
            (_dense_look if problem.n_hidden == 1 else _edge_look)(problem, tol, seed),
            lambda weights: problem.energy(weights.reshape(problem.weights_shape)),
            walk, couplings=couplings, proposals=proposals, largest_batch=largest_batch,
            patience=patience, max_steps=max_steps, should_stop=should_stop, progress=progress,
            keep=keep,
        )  # fmt: skip
    weights = found.configuration.reshape(problem.weights_shape)
    return found._replace(configuration=weights)


def _message_shapes(problem: Problem) -> tuple[tuple[int, ...], ...]:
    if problem.n_hidden == 1:
        return (problem.n_weights,), (problem.n_patterns,)
    return ((problem.n_patterns, problem.n_hidden, problem.n_inputs),)


def _dense_look(problem: Problem, tol: float, _seed: int) -> Look[DenseMessages]:
    patterns = absorb_labels(problem)

    def look(
        reference: Spins, coupling: float, messages: DenseMessages | None
    ) -> Surroundings[DenseMessages]:
        field = coupling * reference.astype(np.float64)
        start = silent(patterns, np.float32) if messages is None else DenseMessages(*messages)
        reached = propagate_densely(
            patterns, field, start,
            damping=_DENSE_DAMPING, tol=tol, max_steps=_MOST_SWEEPS, stop=never,
        )  # fmt: skip
        fields = reached.messages.fields.astype(np.float64)
        free_entropy = dense_free_entropy(patterns, field, reached.messages)
        return _surroundings(
            reference, coupling, fields, free_entropy, reached.residual <= tol, reached.n_steps,
            reached.messages,
        )  # fmt: skip

    return look


def _edge_look(problem: Problem, tol: float, seed: int) -> Look[Floats]:
    (shape,) = _message_shapes(problem)
    size = int(np.prod(shape))

    def look(reference: Spins, coupling: float, messages: Floats | None) -> Surroundings[Floats]:
        state = random_state(seed)  # anew, so that a walk that goes on is one that never stopped
        field = coupling * reference.reshape(problem.n_hidden, -1).astype(np.float64)
        first = (
            uniform(size, -FIRST_MESSAGE, FIRST_MESSAGE, state).reshape(shape)
            if messages is None
            else messages.copy()
        )
        reached = propagate_edges(
            problem, field, first, exact=False, damping=0.0, tol=tol, max_steps=_MOST_SWEEPS,
            state=state, stop=never, progress=False,
        )  # fmt: skip
        free_entropy = edge_free_entropy(problem, field, reached.messages, exact=False)
        return _surroundings(
            reference, coupling, reached.messages.sum(axis=0).ravel(), free_entropy,
            reached.residual <= tol, reached.n_steps, reached.messages,
        )  # fmt: skip

    return look


def _surroundings(
    reference: Spins, coupling: float, fields: Floats, free_entropy: float, converged: bool,
    n_sweeps: int, messages: Any,
) -> Surroundings[Any]:  # fmt: skip
    pin = coupling * reference.astype(np.float64)
    magnetizations = np.tanh(fields + pin)
    if not converged or collapsed(magnetizations, pin, free_entropy):
        free_entropy = -np.inf
    local_entropy = free_entropy - coupling * float(reference @ magnetizations)
    return Surroundings(free_entropy, local_entropy, fields, n_sweeps, messages)
