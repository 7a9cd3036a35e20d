"""Compiled annealing of ±1 spins whose energy counts violated constraints, alone or in replicas.

The replicas of a configuration attract each other through a centre that is summed out: their joint
weight is

    exp(-beta * sum_r E(W^r)) * prod_i 2 cosh(coupling * sum_r W_i^r).

Baldassi et al., PNAS 113, E7655 (2016), arXiv 1605.06444; without coupling or with one replica it
is simulated annealing (Kirkpatrick, Gelatt, Vecchi, Science 220, 671 (1983)).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import ArrayLike

from inference.checks import Floats, Spins, finite_array, plus_minus_one, same_length
from inference.kernels import RandomState, kernel, next_float
from inference.message_passing.clause_system import Codes
from inference.progress import Stop, never, progress_bar

from .constraint_counts import (
    TRUE_SHIFT,
    VARIABLES,
    ClauseCounts,
    Clauses,
    Counts,
    ThresholdVotes,
    VoteCounts,
    count_violated,
)

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


def start_ensemble(wiring: ThresholdVotes | Clauses, spins: ArrayLike) -> Ensemble:
    """Return replicas that start at ``spins`` ``(n_replicas, n_spins)``.

    Raises
    ------
    TypeError
        If ``wiring`` is none.
    ValueError
        If the shape of ``spins`` is wrong or an entry is not ±1.
    """
    if not isinstance(wiring, ThresholdVotes | Clauses):
        raise TypeError(f"wiring: expected ThresholdVotes or Clauses, got {wiring!r:.60}")
    first = plus_minus_one("spins", spins, ndim=2)
    if first.shape[1] != wiring.n_spins or not len(first):
        raise ValueError(f"spins: expected shape (n_replicas, {wiring.n_spins}), got {first.shape}")
    counts, energies = count_violated(wiring, first)
    sums = first.sum(axis=0, dtype=np.int32)
    return Ensemble(wiring, first, sums, energies, first.copy(), energies.copy(), counts)


def anneal(
    ensemble: Ensemble,
    *,
    betas: ArrayLike,
    couplings: ArrayLike | None = None,
    state: RandomState,
    stop_at: int | None = 0,
    stop: Stop = never,
    progress: bool | None = False,
) -> AnnealResult:
    """Flip single spins of all replicas by the rule of Metropolis while the temperature falls.

    Parameters
    ----------
    ensemble
        From :func:`start_ensemble`, or from an earlier result to go on; changed in place.
    betas
        ``(n_sweeps,)`` inverse temperature of each sweep, at least 0. A sweep is as many proposals
        as all replicas have spins, each at a random site of a random replica.
    couplings
        ``(n_sweeps,)`` attraction of the replicas, at least 0; None for independent replicas.
    state
        Generator of the proposals, changed in place. A run in parts, with the same ensemble and
        state and the rest of the temperatures, is the run in one.
    stop_at
        End at once when a replica has at most this energy; None goes on to the last sweep.
    stop
        Ends the run early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    AnnealResult
        Arrays of its own, but for ``ensemble``.

    Raises
    ------
    TypeError
        If an argument is no array of numbers.
    ValueError
        If a temperature or a coupling is negative, not finite or above 1e100, or their numbers
        differ.

    Notes
    -----
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
    target = -1 if stop_at is None else int(stop_at)
    n_replicas, n_spins = ensemble.spins.shape
    energies = np.empty((n_sweeps, n_replicas), np.int64)
    accept_prob = np.empty(n_sweeps)
    n_steps = done = 0
    n_call = 1
    with progress_bar(n_sweeps, "annealing", progress) as bar:
        while done < n_sweeps and n_spins and ensemble.energies.min() > target and not stop():
            began = time.perf_counter()
            part = slice(done, min(done + n_call, n_sweeps))
            swept, proposed = _sweeps(
                ensemble.wiring, ensemble, beta[part], coupling[part], target, energies[part],
                accept_prob[part], state,
            )  # fmt: skip
            done += swept
            n_steps += proposed
            bar.update(swept)
            bar.set_postfix(energy=int(ensemble.best_energies.min()), refresh=False)
            pace = _SECONDS_A_CALL / max(time.perf_counter() - began, 1e-9)
            n_call = max(1, int(n_call * min(pace, 2.0)))
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


def _count_bits(typing_context: Any, word: Any) -> Any:
    """Return the number of bits that are set in a uint64, for Numba."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_popcount: Any = intrinsic(_count_bits)


def _vote_change(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> Any:
    unit, column = site // wiring.n_inputs, site % wiring.bits.shape[0]
    against = np.uint64(0) if spin > 0 else ~np.uint64(0)
    change = np.int64(0)
    for word in range(wiring.bits.shape[1]):
        loses = wiring.bits[column, word] ^ against
        broken = counts.near[replica, unit, word, 0] & counts.tight[replica, word, 0] & loses
        mended = counts.near[replica, unit, word, 1] & counts.tight[replica, word, 1] & ~loses
        change += np.int64(_popcount(broken)) - np.int64(_popcount(mended))
    return change


def _vote_flip(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> None:
    unit, column = site // wiring.n_inputs, site % wiring.bits.shape[0]
    against = np.uint64(0) if spin > 0 else ~np.uint64(0)
    one = np.uint64(1)
    for word in range(wiring.bits.shape[1]):
        loses = wiring.bits[column, word] ^ against
        sinks = counts.near[replica, unit, word, 0] & loses
        turns = sinks | (counts.near[replica, unit, word, 1] & ~loses)
        # the votes of stabilities that change their sign
        while turns:
            mark = turns & (~turns + one)
            turns ^= mark
            pattern = 64 * word + np.int64(_popcount(mark - one))
            vote = counts.votes[replica, pattern] + (-2 if sinks & mark else 2)
            counts.votes[replica, pattern] = vote
            counts.tight[replica, word, 0] &= ~mark
            counts.tight[replica, word, 1] &= ~mark
            if abs(vote) == 1:
                counts.tight[replica, word, (1 - vote) >> 1] |= mark
        plus = minus = np.uint64(0)
        for bit in range(64):
            place = 64 * word + bit
            stability = counts.stabilities[replica, unit, place]
            stability -= 2 * spin * wiring.inputs[column, place]
            counts.stabilities[replica, unit, place] = stability
            plus |= np.uint64(stability == 1) << np.uint64(bit)
            minus |= np.uint64(stability == -1) << np.uint64(bit)
        counts.near[replica, unit, word, 0] = plus
        counts.near[replica, unit, word, 1] = minus


def _clause_change(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> int:
    return counts.changes[replica, site]


def _clause_flip(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> None:
    own_change = counts.changes[replica, site]
    spare = counts.changes.shape[1] - 1
    for step in (1, -1):  # clauses with a literal that becomes true, that becomes false
        code = 2 * site + (spin * step > 0)
        for place in range(wiring.occurrence_offsets[code], wiring.occurrence_offsets[code + 1]):
            clause = wiring.occurrences[place]
            before = counts.true_counts[replica, clause]
            after = (before + (step << TRUE_SHIFT)) ^ site
            counts.true_counts[replica, clause] = after
            others = before if step > 0 else after
            n_others = others >> TRUE_SHIFT
            # a branch on a single other true literal would be mispredicted half the time
            alone = others & VARIABLES if n_others == 1 else spare
            counts.changes[replica, alone] -= step
            if n_others == 0:
                for edge in range(wiring.offsets[clause], wiring.offsets[clause + 1]):
                    counts.changes[replica, wiring.literals[edge] >> 1] += step
    counts.changes[replica, site] = -own_change  # flipping back undoes it


def _change(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> int:
    """Return what flipping a spin adds to the energy, in compiled code."""
    raise NotImplementedError


def _flip(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> None:
    """Bring the counts up to date for a spin that leaves the value ``spin``, in compiled code."""
    raise NotImplementedError


@overload(_change)  # type: ignore[untyped-decorator]
def _typed_change(
    wiring: Any, counts: Any, replica: int, site: int, spin: int
) -> Callable[..., Any]:
    return _vote_change if wiring.instance_class is ThresholdVotes else _clause_change


@overload(_flip)  # type: ignore[untyped-decorator]
def _typed_flip(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> Callable[..., Any]:
    return _vote_flip if wiring.instance_class is ThresholdVotes else _clause_flip


@kernel
def _log_two_cosh(x: float) -> float:
    return abs(x) + math.log1p(math.exp(-2.0 * abs(x)))


@kernel
def _sweeps(
    wiring: Any, ensemble: Ensemble, betas: Floats, couplings: Floats, target: int,
    energies: Counts, accept_prob: Floats, state: RandomState,
) -> tuple[int, int]:  # fmt: skip
    """Return the number of sweeps begun and of proposals."""
    counts = ensemble.counts
    n_replicas, n_spins = ensemble.spins.shape
    attraction = np.empty(2 * n_replicas - 1)
    n_steps = 0
    for sweep in range(betas.size):
        beta, coupling = betas[sweep], couplings[sweep]
        # by spin times the sum of the other replicas, from 1 - n_replicas
        for place in range(attraction.size):
            aligned = place + 1 - n_replicas
            attraction[place] = _log_two_cosh(coupling * (aligned - 1)) - _log_two_cosh(
                coupling * (aligned + 1)
            )
        accepted = 0.0
        proposals = 0
        arrived = False
        while proposals < n_replicas * n_spins and not arrived:
            proposals += 1
            drawn = next_float(state) * n_replicas
            replica = int(drawn)
            site = int((drawn - replica) * n_spins)
            spin = ensemble.spins[replica, site]
            change = _change(wiring, counts, replica, site, spin)
            log_ratio = attraction[ensemble.sums[site] * spin + n_replicas - 2] - beta * change
            chance = 1.0 if log_ratio >= 0.0 else math.exp(log_ratio)
            accepted += chance
            if chance == 1.0 or next_float(state) < chance:
                _flip(wiring, counts, replica, site, spin)
                ensemble.spins[replica, site] = -spin
                ensemble.sums[site] -= 2 * spin
                ensemble.energies[replica] += change
                arrived = ensemble.energies[replica] <= target
        n_steps += proposals
        accept_prob[sweep] = accepted / proposals
        for replica in range(n_replicas):
            energies[sweep, replica] = ensemble.energies[replica]
            if ensemble.energies[replica] < ensemble.best_energies[replica]:
                ensemble.best_energies[replica] = ensemble.energies[replica]
                ensemble.best[replica] = ensemble.spins[replica]
        if arrived:
            return sweep + 1, n_steps
    return betas.size, n_steps
