"""Decimation guided by messages: fix what is most decided, let units propagate, repeat.

The guide is survey propagation (``rho = 1``), belief propagation (``rho = 0``) or anything between.
With backtracking, a share of the steps frees the fixed variables that the messages support least
(Parisi, cs/0308510; Marino, Parisi, Ricci-Tersenghi, Nature Communications 7, 12996 (2016)).
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np

from inference.checks import Floats, Spins, positive, positive_int
from inference.kernels import RandomState, kernel, uniform
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .clause_messages import biases, propagate
from .clause_system import ClauseSystem, Codes, Occurrences, occurrences, residual
from .unit_propagation import PartialAssignment, assign, release, unassigned

FLOOR = 1e-10
"""Smallest ``1 - eta`` inside solvers: keeps a finite way back from every decision."""


class DecimationEnd(enum.IntEnum):
    """Why a decimation stopped."""

    ALL_FIXED = 0
    PARAMAGNETIC = 1
    NOT_CONVERGED = 2
    CONTRADICTION = 3
    STOPPED = 4


class DecimationResult(NamedTuple):
    """A partial assignment and how it came about."""

    values: Spins
    """``(n_variables,)``: +1, -1, or 0 for a variable left free."""
    end: DecimationEnd
    n_steps: int
    """Rounds of fixing or freeing."""
    n_sweeps: int
    """Sweeps over the clauses that are left, all rounds together."""
    culprit: int
    """The clause that unit propagation found violated, or -1."""


def decimate_clauses(
    system: ClauseSystem,
    *,
    state: RandomState,
    rho: float = 1.0,
    fraction: float = 0.02,
    backtracking: float = 0.3,
    tol: float = 1e-2,
    max_sweeps: int = 1000,
    paramagnetic: float = 0.01,
    stop: Stop = never,
    progress: bool | None = False,
) -> DecimationResult:
    """Fix variables by their messages until nothing is left or nothing is decided.

    Parameters
    ----------
    system
        The clauses.
    state
        Generator of the first messages.
    rho
        1 for survey, 0 for belief propagation.
    fraction
        Share of the free variables that one step fixes (or frees), in (0, 1].
    backtracking
        Share of the steps that free variables again, in [0, 0.5): below a half, or there is no
        progress.
    tol, max_sweeps
        Convergence of the messages in every step; the decimation ends if they do not converge.
    paramagnetic
        Ends once the mean of the larger bias falls below it: clauses that survey propagation has
        nothing to say about are left to local search.
    stop
        Ends the decimation early.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    DecimationResult
        The values violate no clause unless ``end`` is CONTRADICTION.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction: expected a share in (0, 1], got {fraction}")
    if not 0.0 <= backtracking < 0.5:
        raise ValueError(
            f"backtracking: expected a share in [0, 0.5), got {backtracking}; from a half on "
            "nothing is ever finished"
        )
    positive("tol", tol)
    positive_int("max_sweeps", max_sweeps)
    where = occurrences(system)
    partial = unassigned(system)
    culprit = assign(system, where, partial)
    om = uniform(system.n_edges, 1e-3, 1.0, state)
    n_steps = n_sweeps = 0
    to_free = 0.0

    def ended(end: DecimationEnd, culprit: int = -1) -> DecimationResult:
        return DecimationResult(partial.values, end, n_steps, n_sweeps, culprit)

    with progress_bar(system.n_variables, "decimation", progress) as bar:
        while culprit < 0:
            left = residual(system, partial.values)
            n_free = len(left.variables)
            bar.update(system.n_variables - n_free - bar.n)
            if not left.system.n_clauses:
                return ended(DecimationEnd.ALL_FIXED)
            if stop():
                return ended(DecimationEnd.STOPPED)
            messages = propagate(
                left.system, om[left.edges], rho=rho, floor=FLOOR, tol=tol,
                max_steps=max_sweeps, state=state, reshuffle=False, stop=stop,
            )  # fmt: skip
            n_sweeps += messages.n_steps
            om[left.edges] = messages.om
            if messages.status is not Status.CONVERGED:
                return ended(DecimationEnd.STOPPED if stop() else DecimationEnd.NOT_CONVERGED)
            bias = biases(left.system, messages.om, rho=rho)[:, :2]
            if bias.max(axis=1).mean() < paramagnetic:
                return ended(DecimationEnd.PARAMAGNETIC)
            n_steps += 1
            n_chosen = max(1, int(fraction * n_free))
            to_free += backtracking
            if to_free >= 1.0 and n_free < system.n_variables:
                to_free -= 1.0
                culprit = _free_least_supported(system, where, partial, om, rho, n_chosen)
            else:
                culprit = _fix_most_biased(system, where, partial, left.variables, bias, n_chosen)
    return ended(DecimationEnd.CONTRADICTION, int(system.sources[culprit]))


def _fix_most_biased(
    system: ClauseSystem,
    where: Occurrences,
    partial: PartialAssignment,
    variables: Codes,
    bias: Floats,
    n_chosen: int,
) -> int:
    polarization = bias[:, 0] - bias[:, 1]
    strength = -np.abs(polarization)
    chosen = np.argpartition(strength, n_chosen - 1)[:n_chosen]
    chosen = chosen[np.argsort(strength[chosen], kind="stable")]
    codes = 2 * variables[chosen] + (polarization[chosen] < 0)
    return assign(system, where, partial, codes)


def _free_least_supported(
    system: ClauseSystem,
    where: Occurrences,
    partial: PartialAssignment,
    om: Floats,
    rho: float,
    n_chosen: int,
) -> int:
    support = _supports(
        system.offsets, system.literals, where.offsets, where.edges, where.clauses,
        partial.values, partial.n_true, om, rho, FLOOR,
    )  # fmt: skip
    n_chosen = min(n_chosen, int((partial.values != 0).sum()))
    chosen = np.argpartition(support, n_chosen - 1)[:n_chosen].astype(np.int32)
    release(system, where, partial, chosen)
    return assign(system, where, partial)


@kernel
def _supports(
    offsets: Codes, literals: Codes, occurrence_offsets: Codes, occurrence_edges: Codes,
    occurrence_clauses: Codes, values: Spins, n_true: Codes, om: Floats, rho: float, floor: float,
) -> Any:  # fmt: skip
    """Return how much the messages favour the value of each fixed variable; infinity for free ones.

    Writes the messages to fixed variables into ``om``, for the clauses that come back with them.
    """
    products = np.ones(2 * values.size)
    for clause in range(n_true.size):
        if n_true[clause] == 0:
            for edge in range(offsets[clause], offsets[clause + 1]):
                code = literals[edge]
                if values[code >> 1] == 0:
                    products[code] *= om[edge]
    support = np.full(values.size, np.inf)
    both = np.empty(2)
    for variable in range(values.size):
        if values[variable] == 0:
            continue
        for sign in range(2):
            target = 2 * variable + sign
            is_true = values[variable] == 1 - 2 * sign
            product = 1.0
            for place in range(occurrence_offsets[target], occurrence_offsets[target + 1]):
                clause = occurrence_clauses[place]
                if n_true[clause] > (1 if is_true else 0):
                    continue  # another literal satisfies it: no warning
                own = occurrence_edges[place]
                all_false, complement = 1.0, 0.0
                for edge in range(offsets[clause], offsets[clause + 1]):
                    code = literals[edge]
                    if edge == own or values[code >> 1] != 0:
                        continue  # itself, or false
                    ps = products[code]
                    if n_true[clause] == 0:
                        ps /= om[edge]
                    pu = products[code ^ 1]
                    z = (1.0 - rho * pu) * ps
                    total = z + pu
                    q = z / total if total > 0.0 else 0.5
                    complement += all_false * (1.0 - q)
                    all_false *= q
                om[own] = max(complement, floor)
                product *= om[own]
            both[sign] = product
        plus = both[1] * (1.0 - rho * both[0])
        minus = both[0] * (1.0 - rho * both[1])
        total = plus + minus + rho * both[0] * both[1]
        difference = (plus - minus) / total if total > 0.0 else 0.0
        support[variable] = difference * values[variable]
    return support
