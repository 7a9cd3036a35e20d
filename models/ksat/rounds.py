"""From a formula to a solution: local search, reinforcement and survey-guided decimation in turns.

Every stage is limited by work (flips and sweeps), not by time, so a seed gives one answer on every
machine; a time limit only cuts off. What one round does not solve the next one tries with more work
and new random numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from inference.checks import Spins, one_of
from inference.kernels import RandomState, random_state
from inference.message_passing.clause_messages import BELIEF, SURVEY
from inference.message_passing.clause_system import ClauseSystem, residual
from inference.message_passing.decimation import DecimationEnd, decimate_clauses
from inference.message_passing.reinforcement import reinforce_clauses
from inference.monte_carlo.local_search import (
    LocalSearchResult,
    Walker,
    random_spins,
    start_walk,
    walk,
)
from inference.progress import Stop

from .annealing import simulated_annealing
from .formula import Formula, random_formula
from .propagation import belief_propagation, propagate_units
from .solvers import (
    SolverResult,
    finish,
    judged,
    merged,
    stop_within,
    unsatisfiable,
)

Method = Literal["auto", "survey", "reinforce", "local"]
METHODS = ("auto", "survey", "reinforce", "local")

N_ROUNDS = 5
"""Rounds without a time limit."""
_FIRST_FLIPS = 100
"""Flips a variable of the first local search; four times more in every round."""
_SLICE = 20
"""Flips a variable between two looks at whether the local search still falls."""
_PIECE = 200_000
"""Flips between two looks at its best assignment."""
_FALLING = 0.8
"""A slice that leaves more than this share of the violated clauses has stopped falling ..."""
_NEARLY = 20
"""... unless so few clauses are violated that chance will do."""
_TINY = 300
"""Variables up to which local search alone is tried ..."""
_TINY_FLIPS = 2_000_000
"""... with this many flips a round."""
_FINISH_FLIPS = 300
"""Flips a variable after a decimation."""
_POLISH_FLIPS = 20
"""Flips a variable from the best assignment of a reinforcement."""
_DECIMATIONS = ((0.3, 0.02), (0.4, 0.01), (0.45, 0.005))
"""Shares of backtracking steps and of variables a step, by round."""
_LARGE = 300_000
"""Variables from which a step decides twice as many: what is large averages itself."""
_REINFORCEMENT_RATE = 2e-3
"""Of the first round; half of it in every further one."""
_LONG = 4
"""Literals in the longest clause from which reinforcement pays."""

Report = Callable[[int, Spins], None]


def compile_kernels() -> None:
    """Compile, or load from Numba's cache, all that solvers, propagations and annealing run on.

    Otherwise the first call of each does: a few seconds in all, once for an installation. Call it
    before taking times, or where an interruption must not hit a compiler (Numba loses some).
    """
    formula = random_formula(60, 200, 3, seed=0)
    system, state = formula.system, random_state(0)
    formula.energy(random_spins(60, state))
    decimate_clauses(system, state=state, rho=BELIEF, backtracking=0.4, tol=1.0)
    reinforce_clauses(system, state=state, max_steps=2)
    walk(system, start_walk(system, random_spins(60, state)), state=state, max_flips=10)
    belief_propagation(formula, max_steps=2, on_failure="ignore")
    simulated_annealing(formula, n_sweeps=1)


class _Attempt(NamedTuple):
    """What one stage found, on the system without the variables of unit clauses."""

    stage: str
    spins: Spins
    n_sweeps: int
    n_flips: int


def solve(
    formula: Formula,
    *,
    method: Method = "auto",
    seed: int = 0,
    time_limit: float | None = None,
    on_improvement: Report | None = None,
    should_stop: Stop | None = None,
    progress: bool | None = None,
) -> SolverResult:
    """Look for a satisfying assignment.

    Parameters
    ----------
    formula
        The clauses.
    method
        ``"auto"`` takes turns: local search, reinforced belief propagation where clauses have four
        or more literals, survey propagation with backtracking decimation and a local search on
        what it leaves. ``"survey"``, ``"reinforce"`` and ``"local"`` use one of these alone.
    seed
        Of all random numbers.
    time_limit
        Seconds after which the best assignment is returned; None stops after five rounds.
    on_improvement
        Called with the number of violated clauses and the assignment whenever it falls: to follow
        a long run.
    should_stop
        Asked every few tenths of a second; True ends the search and returns the best assignment.
    progress
        Whether to draw bars; None draws on a terminal.

    Returns
    -------
    SolverResult
        UNSATISFIABLE only from an empty clause or unit propagation, SATISFIABLE only for an
        assignment that was counted on the formula; never a complete search. ``stats`` says which
        ``stage`` and ``round`` gave the answer.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from models.ksat import random_formula
    >>> solve(random_formula(1000, 4000, 3, seed=0)).status.value
    'SATISFIABLE'
    """
    one_of("method", method, METHODS)
    start = time.monotonic()
    stop = stop_within(time_limit, should_stop)
    state = random_state(seed)
    units = propagate_units(formula)
    if units.culprit >= 0:
        return unsatisfiable(formula, units, start)
    system = units.left.system
    best = merged(units.values, units.left, np.ones(system.n_variables, np.int8))
    fewest, stage, found_in = formula.energy(best), "start", 0
    n_sweeps = n_flips = 0
    n_rounds = N_ROUNDS if time_limit is None else None
    attempts = _attempts(system, method, state, stop, n_rounds, progress)
    while fewest:
        if on_improvement is not None:
            on_improvement(fewest, best)
        for index, attempt in attempts:
            n_sweeps += attempt.n_sweeps
            n_flips += attempt.n_flips
            assignment = merged(units.values, units.left, attempt.spins)
            energy = formula.energy(assignment)
            if energy < fewest:
                best, fewest, stage, found_in = assignment, energy, attempt.stage, index
                break
        else:
            break
    return judged(
        formula, best, start,
        n_sweeps=n_sweeps, n_flips=n_flips, stage=stage, round=found_in, seed=seed,
    )  # fmt: skip


def _attempts(
    system: ClauseSystem,
    method: Method,
    state: RandomState,
    stop: Stop,
    n_rounds: int | None,
    progress: bool | None,
) -> Iterator[tuple[int, _Attempt]]:
    """Yield the stages of all rounds, each with the number of its round."""
    n = system.n_variables
    tiny = n <= _TINY
    walker = start_walk(system, random_spins(n, state))
    index = 0
    while n_rounds is None or index < n_rounds:
        if method == "local" or method == "auto":
            if tiny and index:
                walker = start_walk(system, random_spins(n, state))
            budget = _TINY_FLIPS if tiny else n * _FIRST_FLIPS * 4**index
            # one that falls no more is given up: survey propagation is quicker then
            for found in _walked(system, walker, state, budget, method == "auto", stop, progress):
                yield index, _Attempt("local search", found.configuration, 0, found.n_steps)
        if stop():
            return
        if method == "reinforce" or (method == "auto" and not tiny and system.longest >= _LONG):
            yield index, _reinforced(system, index, state, stop, progress)
        if stop():
            return
        if method == "survey" or (method == "auto" and not tiny):
            yield index, _decimated(system, index, state, stop, progress)
        if stop():
            return
        index += 1


def _walked(
    system: ClauseSystem,
    walker: Walker,
    state: RandomState,
    budget: int,
    impatient: bool,
    stop: Stop,
    progress: bool | None,
) -> Iterator[LocalSearchResult]:
    """Yield a local search in pieces until it has used its budget or, if impatient, has stalled."""
    look = max(_SLICE * system.n_variables, _PIECE)
    n_flips, looked_at, fewest = 0, 0, system.n_clauses
    while n_flips < budget and not stop():
        found = walk(
            system, walker, state=state, max_flips=min(budget - n_flips, look, _PIECE),
            stop=stop, progress=progress,
        )  # fmt: skip
        n_flips += found.n_steps
        yield found
        if impatient and n_flips - looked_at >= look:
            if found.energy > max(_NEARLY, _FALLING * fewest):
                return
            looked_at, fewest = n_flips, found.energy


def _reinforced(
    system: ClauseSystem, index: int, state: RandomState, stop: Stop, progress: bool | None
) -> _Attempt:
    found = reinforce_clauses(
        system, state=state, rate=_REINFORCEMENT_RATE / 2**index, max_steps=600 * 2**index,
        stop=stop, progress=progress,
    )  # fmt: skip
    if found.energy == 0:
        return _Attempt("reinforcement", found.configuration, found.n_steps, 0)
    polished = walk(
        system, start_walk(system, found.configuration), state=state, stop=stop,
        max_flips=_POLISH_FLIPS * system.n_variables, progress=progress,
    )  # fmt: skip
    return _Attempt("reinforcement", polished.configuration, found.n_steps, polished.n_steps)


def _decimated(
    system: ClauseSystem, index: int, state: RandomState, stop: Stop, progress: bool | None
) -> _Attempt:
    backtracking, fraction = _DECIMATIONS[min(index, len(_DECIMATIONS) - 1)]
    if system.n_variables >= _LARGE:
        fraction *= 2
    partial = decimate_clauses(
        system, state=state, rho=SURVEY, fraction=fraction, backtracking=backtracking,
        stop=stop, progress=progress,
    )  # fmt: skip
    left = residual(system, partial.values)
    if partial.end is DecimationEnd.CONTRADICTION:  # an empty clause is left: nothing to search in
        inner = random_spins(len(left.variables), state)
        spins = merged(partial.values, left, inner)
        return _Attempt("survey propagation", spins, partial.n_sweeps, 0)
    inner, n_flips = finish(
        left.system, state, max(1, _FINISH_FLIPS * len(left.variables)), stop, progress
    )
    spins = merged(partial.values, left, inner)
    return _Attempt("survey propagation", spins, partial.n_sweeps, n_flips)
