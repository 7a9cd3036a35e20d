"""Compiled flips of ±1 spins of attracting replicas: what one costs, and two rules to choose it.

Kernels of :mod:`.single_spin`, which says what they sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from inference.checks import Floats, Spins
from inference.kernels import RandomState, kernel, next_float
from inference.message_passing.clause_system import Codes

from .constraint_counts import TRUE_SHIFT, VARIABLES, Counts, ThresholdVotes

if TYPE_CHECKING:
    from .single_spin import Ensemble

_TINY = 5e-324
"""The smallest positive number."""


def _count_bits(typing_context: Any, word: Any) -> Any:
    """Return the number of bits that are set in a uint64, for Numba."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


_one_instruction: Any = intrinsic(_count_bits)


def _popcount(word: Any) -> int:
    return int(word).bit_count()  # where nothing is compiled


@overload(_popcount)  # type: ignore[untyped-decorator]
def _typed_popcount(word: Any) -> Callable[..., Any]:
    def count(word: Any) -> Any:
        return _one_instruction(word)

    return count


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
    """Return what flipping a spin adds to the energy."""
    change: Any = _vote_change if isinstance(wiring, ThresholdVotes) else _clause_change
    return change(wiring, counts, replica, site, spin)


def _flip(wiring: Any, counts: Any, replica: int, site: int, spin: int) -> None:
    """Bring the counts up to date for a spin that leaves the value ``spin``."""
    flip = _vote_flip if isinstance(wiring, ThresholdVotes) else _clause_flip
    flip(wiring, counts, replica, site, spin)


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
def _attraction(gains: Floats, coupling: float, explicit: bool) -> None:
    """Fill in what a flip adds to the log weight of the attraction.

    The index is the number of replicas plus the spin times what it is drawn to: the sum of the
    replicas at its site, itself included, or the explicit centre.
    """
    n_replicas = gains.size // 2
    for place in range(gains.size):
        aligned = place - n_replicas
        if explicit:
            gains[place] = -2.0 * coupling * aligned
        else:
            gains[place] = _log_two_cosh(coupling * (aligned - 2)) - _log_two_cosh(
                coupling * aligned
            )


@kernel
def _draw_centre(centre: Codes, sums: Codes, coupling: float, state: RandomState) -> None:
    """Draw the centre from its distribution given the replicas, ``exp(coupling * sums . C)``."""
    for site in range(centre.size):
        chance = 1.0 / (1.0 + math.exp(-2.0 * coupling * sums[site]))
        centre[site] = 1 if next_float(state) < chance else -1


@kernel
def _move(ensemble: Ensemble, replica: int, site: int, spin: int, change: int) -> None:
    """Note that a spin left the value ``spin``."""
    ensemble.spins[replica, site] = -spin
    ensemble.sums[site] -= 2 * spin
    ensemble.energies[replica] += change


@kernel
def _record(ensemble: Ensemble, energies: Counts) -> None:
    """Note the energies at the end of a sweep, and replicas that have never been as low."""
    for replica in range(energies.size):
        energies[replica] = ensemble.energies[replica]
        if ensemble.energies[replica] < ensemble.best_energies[replica]:
            ensemble.best_energies[replica] = ensemble.energies[replica]
            ensemble.best[replica] = ensemble.spins[replica]


@kernel
def metropolis_sweeps(
    ensemble: Ensemble, betas: Floats, couplings: Floats, target: int, energies: Counts,
    accept_prob: Floats, state: RandomState,
) -> tuple[int, int]:  # fmt: skip
    """Return the number of sweeps begun and of proposals, each of a uniformly random spin."""
    wiring, counts, spins = ensemble.wiring, ensemble.counts, ensemble.spins
    n_replicas, n_spins = spins.shape
    explicit = ensemble.centre.size > 0
    drawn_to = ensemble.centre if explicit else ensemble.sums
    gains = np.empty(2 * n_replicas + 1)
    n_steps = 0
    for sweep in range(betas.size):
        beta = betas[sweep]
        _attraction(gains, couplings[sweep], explicit)
        _draw_centre(ensemble.centre, ensemble.sums, couplings[sweep], state)
        accepted = 0.0
        proposals = 0
        arrived = False
        while proposals < n_replicas * n_spins and not arrived:
            proposals += 1
            drawn = next_float(state) * n_replicas
            replica = int(drawn)
            site = int((drawn - replica) * n_spins)
            spin = spins[replica, site]
            change = _change(wiring, counts, replica, site, spin)
            log_ratio = gains[drawn_to[site] * spin + n_replicas] - beta * change
            chance = 1.0 if log_ratio >= 0.0 else math.exp(log_ratio)
            accepted += chance
            if chance == 1.0 or next_float(state) < chance:
                _flip(wiring, counts, replica, site, spin)
                _move(ensemble, replica, site, spin, change)
                arrived = ensemble.energies[replica] <= target
        n_steps += proposals
        accept_prob[sweep] = accepted / proposals
        _record(ensemble, energies[sweep])
        if arrived:
            return sweep + 1, n_steps
    return betas.size, n_steps


@kernel
def _enter(members: Codes, places: Codes, sizes: Counts, flip: int, group: int) -> None:
    members[group, sizes[group]] = flip
    places[flip] = sizes[group]
    sizes[group] += 1


@kernel
def _leave(members: Codes, places: Codes, sizes: Counts, flip: int, group: int) -> None:
    """Close the gap with the last member."""
    sizes[group] -= 1
    last = members[group, sizes[group]]
    members[group, places[flip]] = last
    places[last] = places[flip]


@kernel
def _total(sizes: Counts, chances: Floats) -> float:
    total = 0.0
    for group in range(sizes.size):
        total += sizes[group] * chances[group]
    return total


@kernel
def _choose(sizes: Counts, chances: Floats, total: float, state: RandomState) -> tuple[int, int]:
    """Return a group and a place in it; every member is as likely as the chance of its group."""
    left = next_float(state) * total
    chosen = -1
    for group in range(sizes.size):
        weight = sizes[group] * chances[group]
        if weight > 0.0:
            chosen = group  # the last one if rounding leaves something over
            if left < weight:
                break
            left -= weight
    return chosen, min(int(next_float(state) * sizes[chosen]), sizes[chosen] - 1)


@kernel
def _groups_around(
    spins: Spins, drawn_to: Codes, replica: int, site: int, explicit: bool,
    before: NDArray[np.int64], after: NDArray[np.int64],
) -> None:  # fmt: skip
    """Fill in the groups of the flips at a site, before and after the flip of one replica."""
    n_replicas = spins.shape[0]
    now = drawn_to[site]
    then = now if explicit else now - 2 * spins[replica, site]
    for other in range(n_replicas):
        spin = np.int64(spins[other, site])
        before[other] = spin * now + n_replicas
        after[other] = (-spin if other == replica else spin) * then + n_replicas


@kernel
def rejection_reduced_sweeps(
    ensemble: Ensemble, betas: Floats, couplings: Floats, target: int, energies: Counts,
    accept_prob: Floats, state: RandomState,
) -> tuple[int, int]:  # fmt: skip
    """Return the number of sweeps begun and of proposals, chosen by what the attraction allows.

    Flips are kept in groups of equal attraction: ``members[group, : sizes[group]]``, a flip being
    ``replica * n_spins + site``. They are sorted anew at every sweep, so that nothing but the spins
    says how a run goes on.
    """
    wiring, counts, spins = ensemble.wiring, ensemble.counts, ensemble.spins
    n_replicas, n_spins = spins.shape
    n_flips = n_replicas * n_spins
    explicit = ensemble.centre.size > 0
    drawn_to = ensemble.centre if explicit else ensemble.sums
    n_groups = 2 * n_replicas + 1
    gains, chances = np.empty(n_groups), np.empty(n_groups)
    members, places = np.empty((n_groups, n_flips), np.int32), np.empty(n_flips, np.int32)
    sizes, sizes_then = np.empty(n_groups, np.int64), np.empty(n_groups, np.int64)
    before, after = np.empty(n_replicas, np.int64), np.empty(n_replicas, np.int64)
    n_steps = 0
    for sweep in range(betas.size):
        beta = betas[sweep]
        _attraction(gains, couplings[sweep], explicit)
        _draw_centre(ensemble.centre, ensemble.sums, couplings[sweep], state)
        for group in range(n_groups):
            chances[group] = math.exp(min(0.0, gains[group]))
        sizes[:] = 0
        for flip in range(n_flips):
            replica, site = flip // n_spins, flip % n_spins
            group = spins[replica, site] * drawn_to[site] + n_replicas
            _enter(members, places, sizes, flip, group)
        total = _total(sizes, chances)
        accepted = 0.0
        proposals = 0
        arrived = False
        while proposals < n_flips and not arrived:
            proposals += 1
            if total == 0.0:  # an attraction that lets nothing go
                continue
            chosen, place = _choose(sizes, chances, total, state)
            flip = members[chosen, place]
            replica, site = flip // n_spins, flip % n_spins
            spin = spins[replica, site]
            change = _change(wiring, counts, replica, site, spin)
            _groups_around(spins, drawn_to, replica, site, explicit, before, after)
            sizes_then[:] = sizes
            for other in range(n_replicas):
                sizes_then[before[other]] -= 1
                sizes_then[after[other]] += 1
            total_then = _total(sizes_then, chances)
            # a flip back whose chance underflows would have a total of zero
            log_ratio = math.log(total) - math.log(max(total_then, _TINY)) - beta * change
            chance = 1.0 if log_ratio >= 0.0 else math.exp(log_ratio)
            accepted += chance
            if chance == 1.0 or next_float(state) < chance:
                _flip(wiring, counts, replica, site, spin)
                _move(ensemble, replica, site, spin, change)
                for other in range(n_replicas):
                    if before[other] != after[other]:
                        other_flip = other * n_spins + site
                        _leave(members, places, sizes, other_flip, before[other])
                        _enter(members, places, sizes, other_flip, after[other])
                total = total_then
                arrived = ensemble.energies[replica] <= target
        n_steps += proposals
        accept_prob[sweep] = accepted / proposals
        _record(ensemble, energies[sweep])
        if arrived:
            return sweep + 1, n_steps
    return betas.size, n_steps
