"""Reinforced belief propagation: fields that follow the marginals until one assignment is left.

Braunstein, Zecchina, Phys. Rev. Lett. 96, 030201 (2006); with ``gamma = inf`` it is the focusing
belief propagation of arXiv 1605.06444.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inference.checks import Spins, positive, positive_int
from inference.kernels import RandomState, uniform
from inference.progress import Stop, never, progress_bar

from .clause_messages import BELIEF, literal_weights, sweeps
from .clause_system import ClauseSystem, n_violated

FLOOR = 1e-12
"""Smallest ``1 - eta``: keeps a finite way back from every decision."""
_LARGEST_FIELD = 25.0
"""Where a field stops growing; ``exp(-50)`` decides as well as infinity."""
_SETTLED = 0.05
"""Reinforcement from which on sweeps without improvement count as patience."""


class ReinforcementResult(NamedTuple):
    """The best assignment seen."""

    configuration: Spins
    """``(n_variables,)`` ±1."""
    energy: int
    """Its number of violated clauses."""
    n_steps: int
    """Sweeps."""


def reinforce_clauses(
    system: ClauseSystem,
    *,
    state: RandomState,
    rate: float = 2e-3,
    max_steps: int = 600,
    patience: int = 150,
    stop: Stop = never,
    progress: bool | None = False,
) -> ReinforcementResult:
    """Sweep, and after every sweep move the fields towards the total fields.

    Parameters
    ----------
    system
        Clauses of at least one literal.
    state
        Generator of the first messages and of the order of the clauses in every sweep.
    rate
        The reinforcement ``x`` grows as ``x <- 1 - (1 - x) (1 - rate)``, in (0, 1).
    max_steps
        Most sweeps.
    patience
        Sweeps without fewer violated clauses until giving up.
    stop
        Ends the sweeps early.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    ReinforcementResult
        ``energy`` is 0 if a solution was found.

    Raises
    ------
    ValueError
        If ``rate`` is outside (0, 1), or ``max_steps`` or ``patience`` is smaller than 1.
    """
    if not positive("rate", rate) < 1.0:
        raise ValueError(f"rate: expected a number in (0, 1), got {rate}")
    positive_int("max_steps", max_steps)
    positive_int("patience", patience)
    om = 1.0 - uniform(system.n_edges, 0.0, 0.2, state)
    field = np.zeros(system.n_variables)
    weights = literal_weights(field)
    products, zeros = np.empty_like(weights), np.zeros(len(weights), np.int32)
    order = np.arange(system.n_clauses, dtype=np.int32)
    best, fewest = np.ones(system.n_variables, np.int8), system.n_clauses + 1
    reinforcement, since = 0.0, 0
    n_steps = 0
    with progress_bar(max_steps, "reinforcement", progress) as bar:
        while n_steps < max_steps and since < patience and not stop():
            sweeps(
                system.offsets, system.literals, om, weights, products, zeros, order, state,
                BELIEF, FLOOR, 0.0, 0.0, 1, True, system.longest,
            )  # fmt: skip
            n_steps += 1
            sizes = np.log(np.maximum(np.abs(products), np.finfo(float).tiny))
            total = 0.5 * (sizes[1::2] - sizes[0::2])  # with the field of this sweep
            field = np.clip(reinforcement * total, -_LARGEST_FIELD, _LARGEST_FIELD)
            weights = literal_weights(field)
            reinforcement = 1.0 - (1.0 - reinforcement) * (1.0 - rate)
            spins = np.where(total >= 0, 1, -1).astype(np.int8)
            energy = n_violated(system, spins)
            since = since + 1 if reinforcement > _SETTLED else 0
            if energy < fewest:
                best, fewest, since = spins, energy, 0
            bar.update(1)
            bar.set_postfix(violated=fewest, refresh=False)
            if fewest == 0:
                break
    return ReinforcementResult(best, fewest, n_steps)
