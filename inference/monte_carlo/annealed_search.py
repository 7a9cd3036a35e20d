"""One configuration annealed until it violates nothing: what the models offer as a solver."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from inference.checks import Floats, Spins, positive_int
from inference.kernels import random_state
from inference.progress import Stop, never
from inference.schedules import Schedule, linear
from inference.status import Status

from .constraint_counts import Clauses, Counts, ThresholdVotes
from .local_search import random_spins
from .single_spin import anneal, start_ensemble

FIRST_BETA, LAST_BETA = 0.5, 4.0
"""Ends of the straight line that the inverse temperature follows by default."""


class SearchTrace(NamedTuple):
    """The sweeps of a search; the last one is cut short by a solution."""

    beta: Floats
    """``(n_sweeps,)`` inverse temperature."""
    energy: Counts
    """``(n_sweeps,)`` violated constraints after the sweep."""
    accept_prob: Floats
    """``(n_sweeps,)`` mean acceptance probability of the proposals."""


class SearchResult(NamedTuple):
    """The best configuration at the end of a sweep."""

    configuration: Spins
    """``(n_spins,)`` ±1."""
    energy: int
    """Its number of violated constraints."""
    n_steps: int
    """Proposals."""
    status: Status
    """CONVERGED if nothing is violated, else MAX_STEPS."""
    trace: SearchTrace


def annealed_search(
    wiring: ThresholdVotes | Clauses,
    *,
    betas: Schedule | None = None,
    n_sweeps: int = 1000,
    seed: int = 0,
    init: Spins | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> SearchResult:
    """Look for a configuration that violates nothing, by simulated annealing.

    Parameters
    ----------
    wiring
        The constraints.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    n_sweeps
        Most sweeps of as many proposals as spins.
    seed
        Of the start and the proposals.
    init
        ``(n_spins,)`` ±1 where to start; random if None.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.

    Raises
    ------
    TypeError
        If ``betas`` is no function.
    ValueError
        If ``n_sweeps`` or ``seed`` is out of range, ``init`` has a wrong shape or entry, or
        ``betas`` does not return one number a sweep that is at least 0.
    """
    temperatures = _on_sweeps(betas, positive_int("n_sweeps", n_sweeps))
    state = random_state(seed)
    first = random_spins(wiring.n_spins, state) if init is None else init
    found = anneal(
        start_ensemble(wiring, np.asarray(first)[None]), betas=temperatures, state=state,
        stop=should_stop, progress=progress,
    )  # fmt: skip
    energy, trace = int(found.energies[0]), found.trace
    return SearchResult(
        found.configurations[0], energy, found.n_steps,
        Status.MAX_STEPS if energy else Status.CONVERGED,
        SearchTrace(trace.beta, trace.energies[:, 0], trace.accept_prob),
    )  # fmt: skip


def _on_sweeps(betas: Schedule | None, n_sweeps: int) -> Floats:
    schedule = linear(FIRST_BETA, LAST_BETA, n_sweeps) if betas is None else betas
    if not callable(schedule):
        raise TypeError(f"betas: expected a function of the sweep, got {betas!r:.60}")
    values = np.asarray(schedule(jnp.arange(n_sweeps)), np.float64)
    if values.shape not in ((), (n_sweeps,)):
        raise ValueError(f"betas: expected {n_sweeps} numbers, got shape {values.shape}")
    return np.broadcast_to(values, (n_sweeps,))
