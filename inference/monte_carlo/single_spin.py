"""Compiled annealing of ±1 spins whose energy counts violated constraints, alone or in replicas.

The replicas of a configuration attract each other through a centre ``C`` of ±1: their joint weight
is

    exp(-beta * sum_r E(W^r) + coupling * sum_r W^r . C)

with an explicit centre, and with the centre summed out (traced)

    exp(-beta * sum_r E(W^r)) * prod_i 2 cosh(coupling * sum_r W_i^r).

Baldassi et al., PNAS 113, E7655 (2016), arXiv 1605.06444; without coupling or with one replica the
latter is simulated annealing (Kirkpatrick, Gelatt, Vecchi, Science 220, 671 (1983)).
"""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checkpoints import NOWHERE, Keeper
from inference.checks import Floats, Spins, finite_array, one_of, plus_minus_one, same_length
from inference.kernels import RandomState
from inference.message_passing.clause_system import Codes
from inference.progress import Stop, never, progress_bar

from .constraint_counts import (
    ClauseCounts,
    Clauses,
    Counts,
    ThresholdVotes,
    VoteCounts,
    count_violated,
)
from .flip_kernels import metropolis_sweeps, rejection_reduced_sweeps

SweepKernel = Literal["metropolis", "rejection-reduced"]
Centre = Literal["traced", "explicit"]

_SECONDS_A_CALL = 0.2
"""About how long compiled code runs between two looks at ``stop``; at least a sweep."""
_LARGEST = 1e100
"""Inverse temperature or coupling: products with energies and replicas stay finite."""


class Ensemble(NamedTuple):
    """Replicas on their way; changed in place, and continued by handing them back."""

    wiring: ThresholdVotes | Clauses
    spins: Spins
    """``(n_replicas, n_spins)`` ±1."""
    sums: Codes
    """``(n_spins,)`` over replicas."""
    centre: Codes
    """``(n_spins,)`` ±1, or ``(0,)`` if it is summed out."""
    energies: Counts
    """``(n_replicas,)`` violated constraints."""
    best: Spins
    """``(n_replicas, n_spins)`` of the lowest energy of each replica at the end of a sweep."""
    best_energies: Counts
    counts: VoteCounts | ClauseCounts


class AnnealTrace(NamedTuple):
    """The sweeps of a run; the last one may be cut short by a replica that arrived."""

    beta: Floats
    """``(n_sweeps,)`` inverse temperatures."""
    coupling: Floats
    """``(n_sweeps,)`` between the replicas."""
    energies: Counts
    """``(n_sweeps, n_replicas)`` after each sweep."""
    accept_prob: Floats
    """``(n_sweeps,)`` mean acceptance probability of the proposals."""


class AnnealResult(NamedTuple):
    """The best configurations of a run, and the run, which can go on."""

    configurations: Spins
    """``(n_replicas, n_spins)`` ±1, of each replica the best one at the end of a sweep."""
    energies: Counts
    """``(n_replicas,)`` their energies."""
    n_steps: int
    """Proposals of this run, over all replicas."""
    trace: AnnealTrace
    last: Spins
    """``(n_replicas, n_spins)`` where the run ended."""
    ensemble: Ensemble


def start_ensemble(
    wiring: ThresholdVotes | Clauses, spins: ArrayLike, centre: Centre = "traced"
) -> Ensemble:
    """Return replicas that start at ``spins`` ``(n_replicas, n_spins)``.

    An explicit centre starts where most replicas are.

    Raises
    ------
    TypeError
        If ``wiring`` is none.
    ValueError
        If the shape of ``spins`` is wrong, an entry is not ±1, or ``centre`` is unknown.
    """
    one_of("centre", centre, ("traced", "explicit"))
    if not isinstance(wiring, ThresholdVotes | Clauses):
        raise TypeError(f"wiring: expected ThresholdVotes or Clauses, got {wiring!r:.60}")
    first = plus_minus_one("spins", spins, ndim=2)
    if first.shape[1] != wiring.n_spins or not len(first):
        raise ValueError(f"spins: expected shape (n_replicas, {wiring.n_spins}), got {first.shape}")
    counts, energies = count_violated(wiring, first)
    sums = first.sum(axis=0, dtype=np.int32)
    middle = majority(first) if centre == "explicit" else np.empty(0, np.int8)
    return Ensemble(
        wiring, first, sums, middle.astype(np.int32), energies, first.copy(), energies.copy(),
        counts,
    )  # fmt: skip


def majority(spins: Spins) -> Spins:
    """Return ``(n_spins,)`` the sign of most replicas; where there are two halves, of the first."""
    doubled = 2 * spins.sum(axis=0, dtype=np.int32) + spins[0]
    return np.sign(doubled).astype(np.int8)


def anneal(
    ensemble: Ensemble,
    *,
    betas: ArrayLike,
    couplings: ArrayLike | None = None,
    state: RandomState,
    kernel: SweepKernel = "metropolis",
    stop_at: int | None = 0,
    stop: Stop = never,
    progress: bool | None = False,
    keep: Keeper = NOWHERE,
) -> AnnealResult:
    """Flip single spins of all replicas while the temperature falls.

    Parameters
    ----------
    ensemble
        From :func:`start_ensemble`, or from an earlier result to go on; changed in place.
    betas
        ``(n_sweeps,)`` inverse temperature of each sweep, at least 0. A sweep is as many proposals
        as all replicas have spins.
    couplings
        ``(n_sweeps,)`` attraction of the replicas, at least 0; None for independent replicas.
    state
        Generator of the proposals, changed in place. A run in parts, with the same ensemble and
        state and the rest of the temperatures, is the run in one.
    kernel
        ``"metropolis"`` proposes a random site of a random replica; ``"rejection-reduced"``
        proposes among the flips that the attraction lets happen, for strong couplings.
    stop_at
        End at once when a replica has at most this energy; None goes on to the last sweep.
    stop
        Ends the run early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    keep
        Keeps the run between its parts.

    Returns
    -------
    AnnealResult
        Arrays of its own, but for ``ensemble``.

    Raises
    ------
    TypeError
        If an argument is no array of numbers.
    ValueError
        If a temperature or a coupling is negative, not finite or above 1e100, their numbers
        differ, or ``kernel`` is unknown.

    Notes
    -----
    An explicit centre is drawn from its exact conditional distribution once, at the start of each
    sweep.

    The rejection-reduced rule (Baldassi, arXiv 1608.05899) splits the log weight in the attraction
    ``H`` and the energies. It takes the flip ``i`` with probability ``p_i / z``, where ``p_i =
    min(1, exp(change of H))`` and ``z = sum_i p_i``, and accepts it with probability ``min(1, z /
    z' exp(-beta * change of E))``, where ``z'`` is the sum after the flip. It obeys detailed
    balance: ``exp(H) p_i`` is the same before and after a flip and its way back, and the rest of
    the ratio of two flows is ``z' / z exp(beta * change of E)``, which the acceptance makes up for.
    All flips with one spin times sum of the replicas (or times the centre) have one ``p_i``, so
    that a proposal costs O(n_replicas) more than one of Metropolis.

    A proposal costs O(n_patterns / 64) for votes and O(1) for clauses; an accepted one
    O(n_patterns), or the sizes of the variable's clauses.

    Examples
    --------
    >>> import numpy as np
    >>> from inference.kernels import random_state
    >>> from inference.monte_carlo.constraint_counts import threshold_votes
    >>> inputs = np.array([[[1, 1, -1]], [[1, -1, 1]]])
    >>> ensemble = start_ensemble(threshold_votes(inputs), [[-1, 1, 1]])
    >>> anneal(ensemble, betas=np.linspace(0, 4, 50), state=random_state(0)).energies
    array([0])
    """
    beta = _from_zero("betas", betas)
    n_sweeps = len(beta)
    coupling = np.zeros(n_sweeps) if couplings is None else _from_zero("couplings", couplings)
    same_length("couplings", len(coupling), "betas", n_sweeps)
    if not isinstance(state, np.ndarray) or state.dtype != np.uint64 or state.shape != (4,):
        raise TypeError(f"state: expected a state from random_state, got {state!r:.60}")
    one_of("kernel", kernel, ("metropolis", "rejection-reduced"))
    sweeps = metropolis_sweeps if kernel == "metropolis" else rejection_reduced_sweeps
    target = -1 if stop_at is None else int(stop_at)
    n_replicas, n_spins = ensemble.spins.shape
    energies = np.empty((n_sweeps, n_replicas), np.int64)
    accept_prob = np.empty(n_sweeps)
    n_steps = done = 0
    n_call = 1
    # all that changes in place
    parts = [*ensemble[1:-1], *ensemble.counts, state]
    if keep.restored is not None:
        done, n_steps, *saved = keep.restored
        for own, earlier in zip([*parts, energies[:done], accept_prob[:done]], saved, strict=True):
            own[...] = earlier

    def so_far() -> tuple[Any, ...]:
        return (done, n_steps, *parts, energies[:done], accept_prob[:done])

    with progress_bar(n_sweeps, "annealing", progress) as bar:
        bar.update(done)
        while done < n_sweeps and n_spins and ensemble.energies.min() > target and not stop():
            began = time.perf_counter()
            part = slice(done, min(done + n_call, n_sweeps))
            swept, proposed = sweeps(
                ensemble, beta[part], coupling[part], target, energies[part], accept_prob[part],
                state,
            )  # fmt: skip
            done += swept
            n_steps += proposed
            bar.update(swept)
            bar.set_postfix(energy=int(ensemble.best_energies.min()), refresh=False)
            pace = _SECONDS_A_CALL / max(time.perf_counter() - began, 1e-9)
            n_call = max(1, int(n_call * min(pace, 2.0)))
            keep.offer(so_far)
    keep.offer(so_far, last=True)
    trace = AnnealTrace(beta[:done], coupling[:done], energies[:done], accept_prob[:done])
    return AnnealResult(
        ensemble.best.copy(), ensemble.best_energies.copy(), n_steps, trace,
        ensemble.spins.copy(), ensemble,
    )  # fmt: skip


def _from_zero(name: str, value: ArrayLike) -> Floats:
    array = finite_array(name, value, ndim=1).copy()
    outside = (array < 0) | (array > _LARGEST)
    if outside.any():
        sweep = int(np.argmax(outside))
        raise ValueError(
            f"{name}: expected numbers from 0 to {_LARGEST:g}, got {array[sweep]} at index {sweep}"
        )
    return array
