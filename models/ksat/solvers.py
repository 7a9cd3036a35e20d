"""One method at a time on a formula: decimation, reinforcement, local search."""

from __future__ import annotations

import enum
import time
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Spins, one_of, positive, positive_int
from inference.kernels import RandomState, random_state
from inference.message_passing.clause_messages import BELIEF, SURVEY
from inference.message_passing.clause_system import ClauseSystem, Residual
from inference.message_passing.decimation import DecimationEnd, decimate_clauses
from inference.message_passing.reinforcement import reinforce_clauses
from inference.monte_carlo.local_search import (
    WALKSAT_NOISE,
    Rule,
    random_spins,
    start_walk,
    walk,
)
from inference.progress import Stop, stop_after
from inference.status import Status

from .formula import Formula, check_assignment
from .propagation import UnitPropagation, propagate_units

Guide = Literal["survey", "belief"]

GUIDES = {"survey": SURVEY, "belief": BELIEF}
FLIPS_A_VARIABLE = 1000


class Satisfiability(enum.StrEnum):
    """What is known of a formula. Only unit propagation proves that there is no solution."""

    SATISFIABLE = "SATISFIABLE"
    UNSATISFIABLE = "UNSATISFIABLE"
    UNKNOWN = "UNKNOWN"


_STATUS_OF_END = {
    DecimationEnd.ALL_FIXED: Status.CONVERGED,
    DecimationEnd.PARAMAGNETIC: Status.CONVERGED,
    DecimationEnd.NOT_CONVERGED: Status.MAX_STEPS,
    DecimationEnd.CONTRADICTION: Status.CONTRADICTION,
    DecimationEnd.STOPPED: Status.MAX_STEPS,
}


class SolverResult(NamedTuple):
    """The best assignment that a solver found."""

    assignment: Spins
    """``(n_variables,)`` ±1."""
    energy: int
    """Its number of violated clauses, counted on the formula itself."""
    status: Satisfiability
    stats: dict[str, Any]
    """Work done: ``n_sweeps``, ``n_flips``, ``seconds`` and what the solver adds; ``culprit`` is
    the clause that unit propagation found violated."""

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)

    @property
    def n_steps(self) -> int:
        """Sweeps of messages and flips of variables, all solvers together."""
        return int(self.stats["n_sweeps"] + self.stats["n_flips"])


class Decimation(NamedTuple):
    """A partial assignment by messages."""

    values: Spins
    """``(n_variables,)``: +1, -1, or 0 for a variable left free; violates no clause unless ``end``
    is CONTRADICTION."""
    end: DecimationEnd
    n_steps: int
    n_sweeps: int
    culprit: int
    """The clause of a contradiction, or -1."""

    @property
    def residual(self) -> float:
        """Share of the variables that are left free."""
        return float((self.values == 0).mean()) if len(self.values) else 0.0

    @property
    def status(self) -> Status:
        """CONVERGED if all is fixed or the messages say nothing more, else what ``end`` says."""
        return _STATUS_OF_END[self.end]


def decimate(
    formula: Formula,
    *,
    guide: Guide = "survey",
    fraction: float = 0.02,
    backtracking: float = 0.3,
    tol: float = 1e-2,
    max_sweeps: int = 1000,
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool | None = None,
) -> Decimation:
    """Fix the variables that messages decide most, propagate units, repeat.

    Parameters
    ----------
    formula
        The clauses.
    guide
        ``"survey"`` or ``"belief"`` propagation.
    fraction
        Share of the free variables fixed (or freed) in a step, in (0, 1].
    backtracking
        Share of the steps that free the least supported variables again, in [0, 0.5).
    tol, max_sweeps
        Convergence of the messages in every step.
    seed
        Of the first messages.
    time_limit
        Seconds, None for no limit.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    Decimation
        Survey propagation usually ends PARAMAGNETIC: what is left is easy for local search.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from models.ksat import random_formula
    >>> formula = random_formula(2000, 8300, 3, seed=0)
    >>> decimate(formula).end.name
    'PARAMAGNETIC'
    """
    one_of("guide", guide, tuple(GUIDES))
    units = propagate_units(formula)
    if units.culprit >= 0:
        return Decimation(units.values, DecimationEnd.CONTRADICTION, 0, 0, units.culprit)
    system = units.left.system
    result = decimate_clauses(
        system, state=random_state(seed), rho=GUIDES[guide], fraction=fraction,
        backtracking=backtracking, tol=tol, max_sweeps=max_sweeps,
        stop=stop_within(time_limit), progress=progress,
    )  # fmt: skip
    values = merged(units.values, units.left, result.values)
    return Decimation(values, result.end, result.n_steps, result.n_sweeps, result.culprit)


def reinforce(
    formula: Formula,
    *,
    rate: float = 2e-3,
    max_steps: int = 600,
    patience: int = 150,
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool | None = None,
) -> SolverResult:
    """Look for a solution by reinforced belief propagation.

    Parameters
    ----------
    formula
        The clauses.
    rate
        How fast the fields follow the marginals, in (0, 1): slower finds more, up to a point.
    max_steps
        Most sweeps.
    patience
        Sweeps without fewer violated clauses until giving up.
    seed, time_limit, progress
        As in :func:`decimate`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    start = time.monotonic()
    units = propagate_units(formula)
    if units.culprit >= 0:
        return unsatisfiable(formula, units, start)
    found = reinforce_clauses(
        units.left.system, state=random_state(seed), rate=rate, max_steps=max_steps,
        patience=patience, stop=stop_within(time_limit), progress=progress,
    )  # fmt: skip
    assignment = merged(units.values, units.left, found.configuration)
    return judged(formula, assignment, start, n_sweeps=found.n_steps, n_flips=0, seed=seed)


def local_search(
    formula: Formula,
    *,
    rule: Rule = "probsat",
    noise: float = WALKSAT_NOISE,
    max_flips: int | None = None,
    init: ArrayLike | None = None,
    seed: int = 0,
    time_limit: float | None = None,
    progress: bool | None = None,
) -> SolverResult:
    """Look for a solution by focused local search.

    Parameters
    ----------
    formula
        The clauses.
    rule
        ``"probsat"`` (polynomial break in clauses of up to three literals, exponential in longer
        ones) or ``"walksat"`` (SKC).
    noise
        Of WalkSAT only: probability of a random flip in a clause without a free one.
    max_flips
        Most flips; a thousand a variable if None.
    init
        ``(n_variables,)`` of ±1 where to start; random if None.
    seed, time_limit, progress
        As in :func:`decimate`.

    Raises
    ------
    ValueError
        If an argument is out of range.
    """
    start = time.monotonic()
    units = propagate_units(formula)
    if units.culprit >= 0:
        return unsatisfiable(formula, units, start)
    state = random_state(seed)
    system = units.left.system
    if init is None:
        spins = random_spins(system.n_variables, state)
    else:
        spins = check_assignment("init", init, formula.n_variables)[units.left.variables]
    limit = max(1, FLIPS_A_VARIABLE * formula.n_variables) if max_flips is None else max_flips
    found = walk(
        system, start_walk(system, spins), state=state, max_flips=positive_int("max_flips", limit),
        rule=rule, noise=noise, stop=stop_within(time_limit), progress=progress,
    )  # fmt: skip
    assignment = merged(units.values, units.left, found.configuration)
    return judged(formula, assignment, start, n_sweeps=0, n_flips=found.n_steps, seed=seed)


def merged(values: Spins, left: Residual, inner: Spins) -> Spins:
    """Return the values of a partial assignment with those of its residual written in."""
    full = values.copy()
    full[left.variables] = inner
    return full


def finish(
    system: ClauseSystem, state: RandomState, max_flips: int, stop: Stop, progress: bool | None
) -> tuple[Spins, int]:
    """Return the best assignment of a local search from a random start, and its flips."""
    spins = random_spins(system.n_variables, state)
    found = walk(
        system, start_walk(system, spins), state=state, max_flips=max_flips, stop=stop,
        progress=progress,
    )  # fmt: skip
    return found.configuration, found.n_steps


def judged(formula: Formula, assignment: Spins, start: float, **stats: Any) -> SolverResult:
    """Count violated clauses on the formula itself, and say what that shows."""
    energy = formula.energy(assignment)
    status = Satisfiability.UNKNOWN if energy else Satisfiability.SATISFIABLE
    stats["seconds"] = time.monotonic() - start
    return SolverResult(assignment, energy, status, stats)


def unsatisfiable(formula: Formula, units: UnitPropagation, start: float) -> SolverResult:
    """Return the result of a formula that unit propagation refutes."""
    assignment = np.where(units.values == 0, 1, units.values).astype(np.int8)
    stats = {
        "n_sweeps": 0, "n_flips": 0, "culprit": units.culprit, "seconds": time.monotonic() - start,
    }  # fmt: skip
    return SolverResult(assignment, formula.energy(assignment), Satisfiability.UNSATISFIABLE, stats)


def stop_within(time_limit: float | None, should_stop: Stop | None = None) -> Stop:
    """Check a limit in seconds and return what tells when it has passed."""
    return stop_after(
        None if time_limit is None else positive("time_limit", time_limit), should_stop
    )
