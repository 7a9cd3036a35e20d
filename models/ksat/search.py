"""Entropy-driven Monte Carlo on a formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from inference.checkpoints import Place, kept
from inference.checks import Floats, Spins, positive
from inference.kernels import random_state, uniform
from inference.message_passing.clause_messages import (
    BELIEF,
    bethe,
    literal_weights,
    log_products,
    propagate,
)
from inference.message_passing.clause_system import ClauseSystem, n_violated
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
from inference.status import Status

from .formula import Formula, check_assignment
from .propagation import propagate_units
from .solvers import merged

COUPLINGS = tuple(np.arctanh([0.3, 0.4, 0.5, 0.6, 0.7]).tolist())
_MOST_SWEEPS = 200
"""Of message passing around one reference; a proposal that needs more is rejected."""


def entropy_driven_monte_carlo(
    formula: Formula,
    *,
    proposals: Proposals = "heuristic",
    couplings: Sequence[float] | float = COUPLINGS,
    largest_batch: float | None = None,
    patience: int | None = None,
    max_steps: int | None = None,
    tol: float = 1e-4,
    damping: float = 0.0,
    seed: int = 0,
    init: ArrayLike | Walk[Floats] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> SearchResult[Floats]:
    """Look for a solution by following the local entropy.

    Parameters
    ----------
    formula
        The clauses; unit clauses are propagated first.
    proposals
        ``"heuristic"``: flip variables that the clauses want to be the other way; ``"random"``.
    couplings
        One ``gamma > 0``, or a ladder of them to climb whenever the search is stuck.
    largest_batch
        Largest share of the candidates flipped at once, adapted on the way; None is 1/4 of the
        heuristic candidates, and single flips of random ones.
    patience
        Rejected single flips in a row until the next coupling; None is 10 with heuristic
        proposals, and twice the number of variables with random ones.
    max_steps
        Most proposals; None is 20 a variable.
    tol, damping
        Of the messages.
    seed
        Of the first assignment, the first messages and the proposals.
    init
        ``(n_variables,)`` ±1 to start from, random if None, or the ``walk`` of an earlier result
        to go on.
    should_stop
        Asked before every proposal; True ends the search.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from models.ksat import random_formula
    >>> formula = random_formula(200, 1600, 4, seed=0)
    >>> found = entropy_driven_monte_carlo(formula)
    >>> found.energy, formula.energy(found.assignment)
    (0, 0)
    """
    positive("tol", tol)
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    units = propagate_units(formula)
    if units.culprit >= 0:
        assignment = np.where(units.values == 0, 1, units.values).astype(np.int8)
        energy = formula.energy(assignment)
        return SearchResult(assignment, energy, 0, Status.CONTRADICTION, None, None)
    system = units.left.system
    if isinstance(init, Walk):
        walk = check_walk(init, system.n_variables, ((system.n_edges,),))
    else:
        walk = random_walk(system.n_variables, seed)
        if init is not None:
            spins = check_assignment("init", init, formula.n_variables)
            walk.reference = spins[units.left.variables]
    with kept(
        checkpoint, "ksat.entropy_driven_monte_carlo", formula=formula, proposals=proposals,
        couplings=couplings, largest_batch=largest_batch, patience=patience, max_steps=max_steps,
        tol=tol, damping=damping, seed=seed, init=init,
    ) as keep:  # fmt: skip
        found = walk_uphill(
            _clause_look(system, tol, damping, seed),
            lambda spins: n_violated(system, spins),
            walk, couplings=couplings, proposals=proposals, largest_batch=largest_batch,
            patience=patience, max_steps=max_steps, should_stop=should_stop, progress=progress,
            keep=keep,
        )  # fmt: skip
    assignment = merged(units.values, units.left, found.configuration)
    return found._replace(configuration=assignment, energy=formula.energy(assignment))


def _clause_look(system: ClauseSystem, tol: float, damping: float, seed: int) -> Look[Floats]:
    def look(reference: Spins, coupling: float, messages: Floats | None) -> Surroundings[Floats]:
        state = random_state(seed)  # anew, so that a walk that goes on is one that never stopped
        field = coupling * reference.astype(np.float64)
        om = 1.0 - uniform(system.n_edges, 0.0, 0.2, state) if messages is None else messages.copy()
        reached = propagate(
            system, om, rho=BELIEF, weights=literal_weights(field), damping=damping, tol=tol,
            max_steps=_MOST_SWEEPS, state=state, reshuffle=False,
        )  # fmt: skip
        fields = np.zeros(system.n_variables)
        if reached.status is not Status.CONTRADICTION:
            logs = log_products(system, reached.om)
            fields = 0.5 * (logs[1::2] - logs[0::2])
        free_entropy = -np.inf
        if reached.status is Status.CONVERGED:
            free_entropy = bethe(system, reached.om, rho=BELIEF, field=field)
        overlap = float(reference @ np.tanh(fields + field))
        return Surroundings(
            free_entropy, free_entropy - coupling * overlap, fields, reached.n_steps, reached.om
        )

    return look
