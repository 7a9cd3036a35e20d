"""Clauses as the compiled loops read them: literal codes, clauses by literal, what is left.

A literal of variable ``v`` is coded ``2 v`` if it asks for +1 and ``2 v + 1`` if it asks for -1, so
that ``code ^ 1`` is its negation. An *edge* is one occurrence of a literal in a clause.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Spins
from inference.kernels import kernel

Codes = NDArray[np.int32]


class ClauseSystem(NamedTuple):
    """Disjunctions without repeated literals and without tautologies."""

    offsets: Codes
    """``(n_clauses + 1,)``: clause ``a`` owns the edges ``offsets[a]:offsets[a + 1]``."""
    literals: Codes
    """``(n_edges,)`` literal codes."""
    n_variables: int
    """Number of variables, also of those in no clause."""
    sources: Codes
    """``(n_clauses,)`` the index of each clause in the input, which also counts tautologies."""

    @property
    def n_clauses(self) -> int:
        """Number of clauses that are no tautologies."""
        return len(self.offsets) - 1

    @property
    def n_edges(self) -> int:
        """Number of distinct literals over all clauses."""
        return len(self.literals)

    @property
    def longest(self) -> int:
        """Number of literals in the longest clause."""
        return int(np.diff(self.offsets).max(initial=0))


class Occurrences(NamedTuple):
    """The same edges by literal."""

    offsets: Codes
    """``(2 n_variables + 1,)``: where the occurrences of a literal start."""
    edges: Codes
    """``(n_edges,)`` the edges of each literal, in the order of the clauses."""
    clauses: Codes
    """``(n_edges,)`` the clauses of these edges."""


class Residual(NamedTuple):
    """What a partial assignment leaves: smaller clauses over renumbered variables."""

    system: ClauseSystem
    variables: Codes
    """``(n_free,)`` the original variable of each."""
    edges: Codes
    """``(n_residual_edges,)`` the original edge of each."""


def clause_system(literals: ArrayLike, offsets: ArrayLike, n_variables: int) -> ClauseSystem:
    """Build the wiring of signed clauses.

    Parameters
    ----------
    literals
        ``(n,)`` signed variables, numbered from 1 as in DIMACS files.
    offsets
        ``(n_clauses + 1,)`` where each clause starts, and the end.
    n_variables
        Number of variables.

    Returns
    -------
    ClauseSystem
        Repeated literals of a clause occur once, clauses with both literals of a variable (always
        satisfied) are left out, empty clauses are kept. Cost O(n).
    """
    signed = np.asarray(literals, dtype=np.int32)
    codes = 2 * (np.abs(signed) - 1) + (signed < 0)
    starts = np.asarray(offsets, dtype=np.int64)
    kept, kept_offsets, sources = _distinct(codes.astype(np.int32), starts, 2 * n_variables)
    return ClauseSystem(kept_offsets, kept, n_variables, sources)


def occurrences(system: ClauseSystem) -> Occurrences:
    """Sort the edges of a system by literal. Cost O(edges)."""
    return Occurrences(*_occurrences(system.offsets, system.literals, 2 * system.n_variables))


def residual(system: ClauseSystem, values: Spins) -> Residual:
    """Return what is left of a system once some variables have values.

    Parameters
    ----------
    system
        The clauses.
    values
        ``(n_variables,)``: +1, -1, or 0 for a free variable.

    Returns
    -------
    Residual
        Clauses without a true literal, without their false literals; and every free variable,
        also one in no clause. Cost O(edges).
    """
    variables = np.flatnonzero(values == 0).astype(np.int32)
    numbers = np.full(system.n_variables, -1, np.int32)
    numbers[variables] = np.arange(len(variables), dtype=np.int32)
    literals, offsets, clauses, edges = _open_clauses(
        system.offsets, system.literals, values, numbers
    )
    left = ClauseSystem(offsets, literals, len(variables), system.sources[clauses])
    return Residual(left, variables, edges)


def n_violated(system: ClauseSystem, spins: Spins) -> int:
    """Return the number of clauses that an assignment ``(n_variables,)`` of ±1 violates."""
    return int(_violated(system.offsets, system.literals, spins))


@kernel
def _violated(offsets: Codes, literals: Codes, spins: Spins) -> Any:
    count = 0
    for clause in range(offsets.size - 1):
        satisfied = False
        for edge in range(offsets[clause], offsets[clause + 1]):
            code = literals[edge]
            if spins[code >> 1] == 1 - 2 * (code & 1):
                satisfied = True
                break
        if not satisfied:
            count += 1
    return count


@kernel
def _distinct(codes: Codes, offsets: NDArray[np.int64], n_literals: int) -> Any:
    kept = np.empty(codes.size, np.int32)
    kept_offsets = np.zeros(offsets.size, np.int32)
    sources = np.empty(offsets.size - 1, np.int32)
    seen = np.full(n_literals, -1, np.int32)
    n_kept = 0
    n_clauses = 0
    for clause in range(offsets.size - 1):
        start = n_kept
        tautology = False
        for edge in range(offsets[clause], offsets[clause + 1]):
            code = codes[edge]
            if seen[code] == clause:
                continue
            if seen[code ^ 1] == clause:
                tautology = True
                break
            seen[code] = clause
            kept[n_kept] = code
            n_kept += 1
        if tautology:
            n_kept = start
        else:
            sources[n_clauses] = clause
            n_clauses += 1
            kept_offsets[n_clauses] = n_kept
    return kept[:n_kept].copy(), kept_offsets[: n_clauses + 1].copy(), sources[:n_clauses].copy()


@kernel
def _occurrences(offsets: Codes, literals: Codes, n_literals: int) -> Any:
    starts = np.zeros(n_literals + 1, np.int32)
    for code in literals:
        starts[code + 1] += 1
    for code in range(n_literals):
        starts[code + 1] += starts[code]
    filled = starts.copy()
    edges = np.empty(literals.size, np.int32)
    clauses = np.empty(literals.size, np.int32)
    for clause in range(offsets.size - 1):
        for edge in range(offsets[clause], offsets[clause + 1]):
            code = literals[edge]
            edges[filled[code]] = edge
            clauses[filled[code]] = clause
            filled[code] += 1
    return starts, edges, clauses


@kernel
def _open_clauses(offsets: Codes, literals: Codes, values: Spins, numbers: Codes) -> Any:
    new_literals = np.empty(literals.size, np.int32)
    edges = np.empty(literals.size, np.int32)
    new_offsets = np.zeros(offsets.size, np.int32)
    clauses = np.empty(offsets.size - 1, np.int32)
    n_edges = 0
    n_clauses = 0
    for clause in range(offsets.size - 1):
        start = n_edges
        satisfied = False
        for edge in range(offsets[clause], offsets[clause + 1]):
            code = literals[edge]
            value = values[code >> 1]
            if value == 0:
                new_literals[n_edges] = 2 * numbers[code >> 1] + (code & 1)
                edges[n_edges] = edge
                n_edges += 1
            elif value == 1 - 2 * (code & 1):
                satisfied = True
                break
        if satisfied:
            n_edges = start
        else:
            clauses[n_clauses] = clause
            n_clauses += 1
            new_offsets[n_clauses] = n_edges
    return (
        new_literals[:n_edges].copy(),
        new_offsets[: n_clauses + 1].copy(),
        clauses[:n_clauses].copy(),
        edges[:n_edges].copy(),
    )
