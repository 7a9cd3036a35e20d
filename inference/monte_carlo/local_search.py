"""Focused local search on clauses: pick a violated clause, flip one of its variables.

probSAT (Balint, Schöning, SAT 2012) chooses by the number of clauses that a flip would break, with
a polynomial law in short clauses and an exponential one in long ones; WalkSAT/SKC (Selman, Kautz,
Cohen, AAAI 1994) flips a variable that breaks nothing if there is one, else a random one with
probability ``noise`` and one of the least breaks otherwise.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats, Spins, one_of
from inference.kernels import RandomState, kernel, next_float
from inference.message_passing.clause_system import (
    ClauseSystem,
    Codes,
    Occurrences,
    occurrences,
)
from inference.progress import Stop, never, progress_bar

Rule = Literal["probsat", "walksat"]

_FLIPS_A_CALL = 500_000
"""Flips between two looks at the clock: a few tenths of a second."""
_MOST_BREAKS = 256
"""Columns of the probability table; more breaks count as this many."""
_SHORT = 3
"""Longest clause with the polynomial law."""
POLYNOMIAL = (0.9, 2.06)
"""``(eps + breaks) ** -exponent`` in clauses of up to three literals."""
EXPONENTIAL = 3.0
"""``base ** -breaks`` in longer clauses."""
WALKSAT_NOISE = 0.567


class LocalSearchResult(NamedTuple):
    """The best assignment of a walk, and the walk itself, which can go on."""

    configuration: Spins
    """``(n_variables,)`` ±1, the assignment of fewest violated clauses."""
    energy: int
    """Its number of violated clauses."""
    n_steps: int
    """Flips."""
    walker: Walker


class Walker(NamedTuple):
    """A walk in progress; changed in place, and continued by handing it back."""

    where: Occurrences
    spins: Spins
    """Where the walk is."""
    best: Spins
    """Its best assignment."""
    true_counts: Codes
    """``(n_clauses, 2)``: number of true literals, exclusive or of the variables of these."""
    breaks: Codes
    """``(n_variables,)`` clauses that a flip would violate."""
    violated: Codes
    """``(n_clauses,)`` the violated clauses in front, in no order."""
    positions: Codes
    """``(n_clauses,)`` place of a clause in ``violated``, or -1."""
    journal: Codes
    """Variables flipped since the best assignment."""
    counters: NDArray[np.int64]
    """Number of violated clauses; fewest so far; entries of the journal; flips."""


def start_walk(system: ClauseSystem, spins: Spins) -> Walker:
    """Return a walk that starts at ``spins`` ``(n_variables,)``."""
    walker = Walker(
        where=occurrences(system),
        spins=spins.astype(np.int8),
        best=spins.astype(np.int8),
        true_counts=np.zeros((system.n_clauses, 2), np.int32),
        breaks=np.zeros(system.n_variables, np.int32),
        violated=np.empty(system.n_clauses, np.int32),
        positions=np.full(system.n_clauses, -1, np.int32),
        journal=np.empty(system.n_variables, np.int32),
        counters=np.zeros(4, np.int64),
    )
    _count(system.offsets, system.literals, walker.spins, *walker[3:7], walker.counters)
    return walker


def random_spins(n_variables: int, state: RandomState) -> Spins:
    """Return a uniformly random assignment ``(n_variables,)`` of ±1."""
    return _random_spins(n_variables, state)  # type: ignore[no-any-return]


def walk(
    system: ClauseSystem,
    walker: Walker,
    *,
    state: RandomState,
    max_flips: int,
    rule: Rule = "probsat",
    noise: float = WALKSAT_NOISE,
    stop: Stop = never,
    progress: bool | None = False,
) -> LocalSearchResult:
    """Walk until every clause is satisfied, ``max_flips`` are done, or ``stop`` says so.

    Parameters
    ----------
    system
        Clauses of at least one literal.
    walker
        From :func:`start_walk`, or from an earlier result to go on; changed in place.
    state
        Generator of the choices.
    max_flips
        Most flips of this call.
    rule
        ``"probsat"`` or ``"walksat"``.
    noise
        Of WalkSAT only, in [0, 1].
    stop
        Ends the walk early.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    LocalSearchResult
        ``energy`` is 0 if the walk reached a solution.
    """
    one_of("rule", rule, ("probsat", "walksat"))
    if not 0.0 <= noise <= 1.0:
        raise ValueError(f"noise: expected a probability, got {noise}")
    table = _break_weights(system.longest)
    lengths = np.diff(system.offsets)
    uniform = int(lengths[0]) if lengths.size and (lengths == lengths[0]).all() else 0
    counters = walker.counters
    first = int(counters[3])
    with progress_bar(max_flips, "local search", progress) as bar:
        while counters[0] > 0 and counters[3] - first < max_flips:
            if stop():
                break
            before = int(counters[3])
            _walk(
                system.offsets, system.literals, walker.where.offsets, walker.where.clauses,
                walker.spins, walker.best, walker.true_counts, walker.breaks, walker.violated,
                walker.positions, walker.journal, counters, table, noise, rule == "walksat",
                uniform, min(_FLIPS_A_CALL, max_flips - (before - first)), state,
            )  # fmt: skip
            bar.update(int(counters[3]) - before)
            bar.set_postfix(violated=int(counters[1]), refresh=False)
    _catch_up(walker.spins, walker.best, walker.journal, counters)
    return LocalSearchResult(walker.best, int(counters[1]), int(counters[3]) - first, walker)


def _break_weights(longest: int) -> Floats:
    """Return the weight of a flip by clause length and breaks, ``(longest + 1, _MOST_BREAKS)``."""
    breaks = np.arange(_MOST_BREAKS, dtype=np.float64)
    eps, exponent = POLYNOMIAL
    table = np.tile(EXPONENTIAL**-breaks, (longest + 1, 1))
    table[: _SHORT + 1] = (eps + breaks) ** -exponent
    return table


@kernel
def _random_spins(n_variables: int, state: RandomState) -> Any:
    spins = np.empty(n_variables, np.int8)
    for variable in range(n_variables):
        spins[variable] = 1 if next_float(state) < 0.5 else -1
    return spins


@kernel
def _count(
    offsets: Codes, literals: Codes, spins: Spins, true_counts: Codes, breaks: Codes,
    violated: Codes, positions: Codes, counters: NDArray[np.int64],
) -> None:  # fmt: skip
    n_violated = 0
    for clause in range(offsets.size - 1):
        n_true = 0
        variables = 0
        for edge in range(offsets[clause], offsets[clause + 1]):
            code = literals[edge]
            if spins[code >> 1] == 1 - 2 * (code & 1):
                n_true += 1
                variables ^= code >> 1
        true_counts[clause, 0] = n_true
        true_counts[clause, 1] = variables
        if n_true == 0:
            violated[n_violated] = clause
            positions[clause] = n_violated
            n_violated += 1
        elif n_true == 1:
            breaks[variables] += 1
    counters[0] = n_violated
    counters[1] = n_violated


@kernel
def _catch_up(spins: Spins, best: Spins, journal: Codes, counters: NDArray[np.int64]) -> None:
    """Bring the best assignment up to date if the walk stands on it."""
    if counters[0] > counters[1]:
        return
    if counters[2] > journal.size:
        best[:] = spins
    else:
        for place in range(counters[2]):
            best[journal[place]] = spins[journal[place]]
    counters[2] = 0


@kernel
def _walk(
    offsets: Codes, literals: Codes, occurrence_offsets: Codes, occurrence_clauses: Codes,
    spins: Spins, best: Spins, true_counts: Codes, breaks: Codes, violated: Codes,
    positions: Codes, journal: Codes, counters: NDArray[np.int64], table: Floats, noise: float,
    walksat: bool, uniform: int, n_flips: int, state: RandomState,
) -> None:  # fmt: skip
    weights = np.empty(table.shape[0])
    most = table.shape[1] - 1
    n_violated = counters[0]
    fewest = counters[1]
    n_journal = counters[2]
    done = 0
    while done < n_flips and n_violated > 0:
        # the walk leaves its best assignment: keep it
        if n_violated == fewest and n_journal > 0:
            if n_journal > journal.size:
                best[:] = spins
            else:
                for place in range(n_journal):
                    best[journal[place]] = spins[journal[place]]
            n_journal = 0
        clause = violated[int(next_float(state) * n_violated)]
        start = clause * uniform if uniform > 0 else offsets[clause]
        length = uniform if uniform > 0 else offsets[clause + 1] - start
        chosen = 0
        if walksat:
            least = most + 1
            n_least = 0
            for place in range(length):
                b = breaks[literals[start + place] >> 1]
                if b < least:
                    least = b
                    n_least = 0
                if b == least:
                    n_least += 1
                    if next_float(state) * n_least < 1.0:
                        chosen = place
            if least > 0 and next_float(state) < noise:
                chosen = int(next_float(state) * length)
        else:
            total = 0.0
            for place in range(length):
                total += table[length, min(breaks[literals[start + place] >> 1], most)]
                weights[place] = total
            target = next_float(state) * total
            while chosen < length - 1 and weights[chosen] <= target:
                chosen += 1
        now_true = literals[start + chosen]
        variable = now_true >> 1
        spins[variable] = -spins[variable]
        done += 1
        for place in range(occurrence_offsets[now_true], occurrence_offsets[now_true + 1]):
            other = occurrence_clauses[place]
            n_true = true_counts[other, 0]
            true_counts[other, 0] = n_true + 1
            if n_true == 0:
                breaks[variable] += 1
                n_violated -= 1
                last = violated[n_violated]
                hole = positions[other]
                violated[hole] = last
                positions[last] = hole
                positions[other] = -1
                true_counts[other, 1] = variable
            else:
                if n_true == 1:
                    breaks[true_counts[other, 1]] -= 1
                true_counts[other, 1] ^= variable
        now_false = now_true ^ 1
        for place in range(occurrence_offsets[now_false], occurrence_offsets[now_false + 1]):
            other = occurrence_clauses[place]
            n_true = true_counts[other, 0] - 1
            true_counts[other, 0] = n_true
            true_counts[other, 1] ^= variable
            if n_true == 0:
                breaks[variable] -= 1
                violated[n_violated] = other
                positions[other] = n_violated
                n_violated += 1
            elif n_true == 1:
                breaks[true_counts[other, 1]] += 1
        if n_journal < journal.size:
            journal[n_journal] = variable
        n_journal = min(n_journal + 1, journal.size + 1)
        fewest = min(fewest, n_violated)
    counters[0] = n_violated
    counters[1] = fewest
    counters[2] = n_journal
    counters[3] += done
