"""Energies that count violated constraints, wired so that one spin can be flipped cheaply.

Two wirings: :class:`ThresholdVotes`, majority votes of the signs of weighted sums (perceptrons and
committee machines), and :class:`Clauses`. Each has counts that say what a flip adds to the energy;
``flip_kernels`` keeps them up to date.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Spins, plus_minus_one, positive_int
from inference.kernels import kernel
from inference.message_passing.clause_system import ClauseSystem, Codes, occurrences

Words = NDArray[np.uint64]
Counts = NDArray[np.int64]

_WORD = 64
"""Bits of a word: one a pattern."""
TRUE_SHIFT = 32
"""Of the number of true literals in the counts of a clause."""
VARIABLES = (1 << TRUE_SHIFT) - 1
"""The bits below."""


class ThresholdVotes(NamedTuple):
    """Patterns that a majority of odd sums has to get right; from :func:`threshold_votes`.

    Weight ``i`` belongs to unit ``i // n_inputs`` and sees the inputs ``i % len(inputs)``. Patterns
    are padded with zeros to full words.
    """

    inputs: Spins
    """``(n_columns, 64 n_words)`` label times input."""
    bits: Words
    """``(n_columns, n_words)`` where that is +1, one bit a pattern."""
    n_hidden: int
    n_inputs: int
    """Of one unit."""

    @property
    def n_spins(self) -> int:
        """Number of weights of all units."""
        return self.n_hidden * self.n_inputs


class Clauses(NamedTuple):
    """Disjunctions of literals, and the same by literal; from :func:`clause_wiring`."""

    offsets: Codes
    """``(n_clauses + 1,)`` into the next."""
    literals: Codes
    """``(n_edges,)`` literal codes."""
    occurrence_offsets: Codes
    """``(2 n_variables + 1,)`` into the next."""
    occurrences: Codes
    """``(n_edges,)`` clauses of each literal."""

    @property
    def n_spins(self) -> int:
        """Number of variables."""
        return len(self.occurrence_offsets) // 2


class VoteCounts(NamedTuple):
    """What a flip of a weight needs to know."""

    stabilities: Codes
    """``(n_replicas, n_hidden, 64 n_words)`` weighted sums times the label, odd."""
    votes: Codes
    """``(n_replicas, 64 n_words)`` sum of their signs, odd."""
    near: Words
    """``(n_replicas, n_hidden, n_words, 2)`` patterns of stability +1, and of -1."""
    tight: Words
    """``(n_replicas, n_words, 2)`` patterns of vote +1, and of -1: one unit decides."""


class ClauseCounts(NamedTuple):
    """What a flip of a variable needs to know."""

    true_counts: Counts
    """``(n_replicas, n_clauses)`` number of true literals and, in the lower 32 bits, the exclusive
    or of their variables."""
    changes: Codes
    """``(n_replicas, n_variables + 1)`` what flipping adds to the energy; the last column takes
    what does not count."""


def threshold_votes(inputs: ArrayLike, n_hidden: int = 1) -> ThresholdVotes:
    """Return the wiring of a perceptron or a committee machine.

    Parameters
    ----------
    inputs
        ``(n_patterns, 1, n_inputs)`` ±1, label times input, for units with the same inputs, or
        ``(n_patterns, n_hidden, n_inputs)`` for a tree.
    n_hidden
        Number of units, odd.

    Returns
    -------
    ThresholdVotes
        Its energy is the number of patterns of which most units have a negative sum.

    Raises
    ------
    ValueError
        If the shape or an entry is wrong, or a number of inputs or units is even.
    """
    signed = plus_minus_one("inputs", inputs, ndim=3)
    n_patterns, n_blocks, n_inputs = signed.shape
    n_hidden = positive_int("n_hidden", n_hidden)
    if not signed.size:
        raise ValueError(f"inputs: expected at least one entry, got shape {signed.shape}")
    if n_blocks not in (1, n_hidden):
        raise ValueError(f"inputs: expected 1 or {n_hidden} blocks a pattern, got {n_blocks}")
    for name, number in (("n_hidden", n_hidden), ("inputs a unit", n_inputs)):
        if number % 2 == 0:
            raise ValueError(f"{name}: expected an odd number, got {number}: a sum could be zero")
    padded = np.zeros((n_blocks * n_inputs, -(-n_patterns // _WORD) * _WORD), np.int8)
    padded[:, :n_patterns] = signed.reshape(n_patterns, -1).T
    bits = np.packbits(padded > 0, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return ThresholdVotes(padded, bits, n_hidden, n_inputs)


def clause_wiring(system: ClauseSystem) -> Clauses:
    """Return the wiring of clauses; its energy is the number of violated ones. Cost O(edges)."""
    where = occurrences(system)
    return Clauses(system.offsets, system.literals, where.offsets, where.clauses)


def count_violated(
    wiring: ThresholdVotes | Clauses, spins: Spins
) -> tuple[VoteCounts | ClauseCounts, Counts]:
    """Return the counts and the energies of replicas ``(n_replicas, n_spins)``."""
    n_replicas = len(spins)
    energies = np.zeros(n_replicas, np.int64)
    if isinstance(wiring, ThresholdVotes):
        n_words = wiring.bits.shape[1]
        votes = VoteCounts(
            np.zeros((n_replicas, wiring.n_hidden, _WORD * n_words), np.int32),
            np.zeros((n_replicas, _WORD * n_words), np.int32),
            np.zeros((n_replicas, wiring.n_hidden, n_words, 2), np.uint64),
            np.zeros((n_replicas, n_words, 2), np.uint64),
        )
        _count_votes(wiring, spins, votes, energies)
        return votes, energies
    clauses = ClauseCounts(
        np.zeros((n_replicas, len(wiring.offsets) - 1), np.int64),
        np.zeros((n_replicas, wiring.n_spins + 1), np.int32),
    )
    _count_clauses(wiring, spins, clauses, energies)
    return clauses, energies


@kernel
def _count_votes(
    wiring: ThresholdVotes, spins: Spins, counts: VoteCounts, energies: Counts
) -> None:
    n_columns, n_padded = wiring.inputs.shape
    for replica in range(spins.shape[0]):
        for site in range(spins.shape[1]):
            unit, column, spin = site // wiring.n_inputs, site % n_columns, spins[replica, site]
            for pattern in range(n_padded):
                counts.stabilities[replica, unit, pattern] += spin * wiring.inputs[column, pattern]
        for pattern in range(n_padded):
            word, mark = pattern >> 6, np.uint64(1) << np.uint64(pattern & 63)
            vote = 0
            for unit in range(wiring.n_hidden):
                stability = counts.stabilities[replica, unit, pattern]
                vote += np.sign(stability)
                if abs(stability) == 1:
                    counts.near[replica, unit, word, (1 - stability) >> 1] |= mark
            counts.votes[replica, pattern] = vote
            if abs(vote) == 1:
                counts.tight[replica, word, (1 - vote) >> 1] |= mark
            energies[replica] += vote < 0


@kernel
def _count_clauses(wiring: Clauses, spins: Spins, counts: ClauseCounts, energies: Counts) -> None:
    for replica in range(spins.shape[0]):
        for clause in range(wiring.offsets.size - 1):
            edges = range(wiring.offsets[clause], wiring.offsets[clause + 1])
            n_true, variables = 0, np.int64(0)
            for edge in edges:
                code = wiring.literals[edge]
                if spins[replica, code >> 1] == 1 - 2 * (code & 1):
                    n_true += 1
                    variables ^= code >> 1
            counts.true_counts[replica, clause] = (n_true << TRUE_SHIFT) | variables
            if n_true == 0:
                energies[replica] += 1
                for edge in edges:
                    counts.changes[replica, wiring.literals[edge] >> 1] -= 1
            elif n_true == 1:
                counts.changes[replica, variables] += 1
