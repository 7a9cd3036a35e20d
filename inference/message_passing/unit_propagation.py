"""Partial assignments of a clause system and what they force."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Spins
from inference.kernels import kernel

from .clause_system import ClauseSystem, Codes, Occurrences


class PartialAssignment(NamedTuple):
    """Values of some variables, with what every clause still holds; changed in place."""

    values: Spins
    """``(n_variables,)``: +1, -1, or 0 for free."""
    n_true: Codes
    """``(n_clauses,)`` true literals."""
    n_open: Codes
    """``(n_clauses,)`` literals of free variables."""


def unassigned(system: ClauseSystem) -> PartialAssignment:
    """Return the assignment of nothing."""
    return PartialAssignment(
        np.zeros(system.n_variables, np.int8),
        np.zeros(system.n_clauses, np.int32),
        np.diff(system.offsets).astype(np.int32),
    )


def assign(
    system: ClauseSystem,
    where: Occurrences,
    partial: PartialAssignment,
    codes: ArrayLike = (),
) -> int:
    """Make literals true, one after another, and everything that unit clauses force.

    Parameters
    ----------
    system, where
        The clauses and their edges by literal.
    partial
        The assignment, changed in place.
    codes
        Literals to make true; one whose variable has a value by then is passed over. Without any,
        only the unit clauses there are propagate.

    Returns
    -------
    int
        The clause that was left without a true and without an open literal, or -1. After such a
        contradiction the assignment is unfinished. Cost O(occurrences of what is assigned), plus
        O(clauses) to look for unit clauses.
    """
    wanted = np.ascontiguousarray(codes, dtype=np.int32)
    return int(
        _assign(
            system.offsets, system.literals, where.offsets, where.clauses,
            partial.values, partial.n_true, partial.n_open, wanted,
        )
    )  # fmt: skip


def release(
    system: ClauseSystem, where: Occurrences, partial: PartialAssignment, variables: Codes
) -> None:
    """Free variables again, in place."""
    _release(
        where.offsets, where.clauses, partial.values, partial.n_true, partial.n_open, variables
    )


@kernel
def _make_true(
    code: int, offsets: Codes, literals: Codes, occurrence_offsets: Codes,
    occurrence_clauses: Codes, values: Spins, n_true: Codes, n_open: Codes, queue: Codes,
    n_queued: int,
) -> Any:  # fmt: skip
    """Set one literal, queue what it forces; return the length of the queue and a contradiction."""
    values[code >> 1] = 1 - 2 * (code & 1)
    for place in range(occurrence_offsets[code], occurrence_offsets[code + 1]):
        n_true[occurrence_clauses[place]] += 1
        n_open[occurrence_clauses[place]] -= 1
    conflict = -1
    for place in range(occurrence_offsets[code ^ 1], occurrence_offsets[(code ^ 1) + 1]):
        clause = occurrence_clauses[place]
        n_open[clause] -= 1
        if n_true[clause] > 0:
            continue
        if n_open[clause] == 0:
            conflict = clause
        elif n_open[clause] == 1:
            for edge in range(offsets[clause], offsets[clause + 1]):
                if values[literals[edge] >> 1] == 0:
                    queue[n_queued] = literals[edge]
                    n_queued += 1
                    break
    return n_queued, conflict


@kernel
def _assign(
    offsets: Codes, literals: Codes, occurrence_offsets: Codes, occurrence_clauses: Codes,
    values: Spins, n_true: Codes, n_open: Codes, wanted: Codes,
) -> Any:  # fmt: skip
    # a clause is queued at most once: at the start, or when one open literal is left
    queue = np.empty(n_open.size + 1, np.int32)
    n_queued = 0
    for clause in range(n_open.size):
        if n_true[clause] == 0:
            if n_open[clause] == 0:
                return clause
            if n_open[clause] == 1:
                for edge in range(offsets[clause], offsets[clause + 1]):
                    if values[literals[edge] >> 1] == 0:
                        queue[n_queued] = literals[edge]
                        n_queued += 1
                        break
    next_wanted = 0
    read = 0
    while True:
        if read < n_queued:
            code = queue[read]
            read += 1
        elif next_wanted < wanted.size:
            code = wanted[next_wanted]
            next_wanted += 1
        else:
            return -1
        if values[code >> 1] != 0:
            continue
        n_queued, conflict = _make_true(
            code, offsets, literals, occurrence_offsets, occurrence_clauses,
            values, n_true, n_open, queue, n_queued,
        )  # fmt: skip
        if conflict >= 0:
            return conflict


@kernel
def _release(
    occurrence_offsets: Codes, occurrence_clauses: Codes,
    values: Spins, n_true: Codes, n_open: Codes, variables: Codes,
) -> None:  # fmt: skip
    for variable in variables:
        true = 2 * variable + (1 if values[variable] < 0 else 0)
        values[variable] = 0
        for place in range(occurrence_offsets[true], occurrence_offsets[true + 1]):
            n_true[occurrence_clauses[place]] -= 1
            n_open[occurrence_clauses[place]] += 1
        for place in range(occurrence_offsets[true ^ 1], occurrence_offsets[(true ^ 1) + 1]):
            n_open[occurrence_clauses[place]] += 1
