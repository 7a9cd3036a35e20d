"""Belief and survey propagation on a formula: marginals, entropies, complexities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from inference.checks import Floats, Spins, finite_array, one_of, positive, positive_int
from inference.kernels import RandomState, random_state, uniform
from inference.message_passing.clause_messages import (
    BELIEF,
    Propagation,
    bethe,
    biases,
    forced_both_ways,
    literal_weights,
    log_products,
    propagate,
)
from inference.message_passing.clause_system import (
    ClauseSystem,
    Residual,
    occurrences,
    residual,
)
from inference.message_passing.unit_propagation import assign, unassigned
from inference.progress import Stop, never
from inference.status import OnFailure, Status, check_on_failure, report_status

from .formula import Formula

if TYPE_CHECKING:
    from graphs.factor_graph import FactorGraph
    from inference.message_passing.factors import ClauseFactors

Schedule = Literal["sequential", "parallel"]
R = TypeVar("R", "BeliefResult", "SurveyResult")


class BeliefResult(NamedTuple):
    """Marginals and the number of solutions, by the Bethe approximation."""

    marginals: Floats
    """``(n_variables,)`` P(s_i = +1); exactly 0 or 1 where unit clauses decide, NaN after a
    contradiction."""
    log_partition: float
    """Log of the weighted number of satisfying assignments, in nats; minus infinity after a
    contradiction. Exact on trees."""
    residual: float
    """Largest change of a message in the last sweep."""
    n_steps: int
    """Sweeps."""
    status: Status
    culprit: int
    """The clause of a contradiction, or -1."""


class SurveyResult(NamedTuple):
    """How clusters of solutions freeze the variables, and how many clusters there are."""

    biases: Floats
    """``(n_variables, 3)``: share of clusters where a variable is frozen to +1, frozen to -1, or
    not frozen; NaN after a contradiction."""
    complexity: float
    """Log of the number of clusters, in nats, of the whole formula; minus infinity after a
    contradiction."""
    residual: float
    n_steps: int
    status: Status
    culprit: int
    """The clause of a contradiction, or -1."""


class UnitPropagation(NamedTuple):
    """What unit clauses decide, and what they leave."""

    values: Spins
    """``(n_variables,)``: +1, -1, or 0 for a variable left free."""
    left: Residual
    culprit: int
    """The clause without any literal left that could satisfy it, or -1."""


def propagate_units(formula: Formula) -> UnitPropagation:
    """Assign what unit clauses force, and what that forces, until no unit clause is left.

    Examples
    --------
    >>> from models.ksat import Formula
    >>> propagate_units(Formula.from_clauses([[1], [-1, 2], [2, 3]])).values.tolist()
    [1, 1, 0]
    """
    system = formula.system
    partial = unassigned(system)
    conflict = assign(system, occurrences(system), partial)
    left = residual(system, partial.values)
    return UnitPropagation(
        partial.values, left, int(system.sources[conflict]) if conflict >= 0 else -1
    )


def belief_propagation(
    formula: Formula,
    *,
    field: ArrayLike = 0.0,
    schedule: Schedule = "sequential",
    damping: float = 0.0,
    tol: float = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    on_failure: OnFailure = "warn",
    should_stop: Stop = never,
    progress: bool | None = None,
) -> BeliefResult:
    """Estimate marginals and the weighted number of satisfying assignments.

    Parameters
    ----------
    formula
        The clauses; unit clauses are propagated first.
    field
        Finite scalar or ``(n_variables,)``: weights ``exp(sum_i field_i s_i)`` over satisfying
        assignments.
    schedule
        ``"sequential"``: compiled, clause after clause, each sees the newest messages;
        ``"parallel"``: all at once in JAX, on any device. Near the threshold the latter needs
        damping, the former rarely.
    damping
        Share of the old message that is kept, in [0, 1).
    tol
        Converged once no message changes by more.
    max_steps
        Most sweeps.
    seed
        Of the first messages.
    on_failure
        What happens without convergence or after a contradiction, next to the status: a warning,
        an error or nothing.
    should_stop
        Asked every few tenths of a second by the sequential schedule; True ends the sweeps, as if
        ``max_steps`` were reached.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    BeliefResult
        Exact if the factor graph is a tree.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Notes
    -----
    ``log Z = sum_a log Z_a + sum_i log Z_i - sum_ia log Z_ia`` at the fixed point. One sweep costs
    O(literals).

    Examples
    --------
    >>> from models.ksat import Formula
    >>> result = belief_propagation(Formula.from_clauses([[1, 2], [-2, 3]]))
    >>> round(float(np.exp(result.log_partition)), 6), result.marginals.round(6).tolist()
    (4.0, [0.75, 0.5, 0.75])
    """
    fields = field_array(field, formula.n_variables)
    state = _checked(schedule, damping, tol, max_steps, seed, on_failure)
    units = propagate_units(formula)
    what = "belief propagation"
    if units.culprit >= 0:
        nothing = np.full(formula.n_variables, np.nan)
        result = BeliefResult(nothing, -np.inf, np.nan, 0, Status.CONTRADICTION, units.culprit)
        return _reported(result, formula, what, on_failure)
    system, variables = units.left.system, units.left.variables
    free_fields = fields[variables]
    om = 1.0 - uniform(system.n_edges, 0.0, 0.2, state)
    if schedule == "sequential":
        reached = propagate(
            system, om, rho=BELIEF, weights=literal_weights(free_fields), damping=damping,
            tol=tol, max_steps=max_steps, state=state, reshuffle=False, stop=should_stop,
            progress=progress,
        )  # fmt: skip
    else:
        reached = _flood(system, free_fields, om, damping, tol, max_steps)
    marginals = (units.values + 1) / 2
    if reached.status is Status.CONTRADICTION:
        marginals[variables] = np.nan
        log_partition = -np.inf
    else:
        logs = log_products(system, reached.om)
        marginals[variables] = expit(logs[1::2] - logs[0::2] + 2 * free_fields)
        log_partition = bethe(system, reached.om, rho=BELIEF, field=free_fields)
        log_partition += float(units.values @ fields)
    culprit = int(system.sources[reached.culprit]) if reached.culprit >= 0 else -1
    return _reported(
        BeliefResult(
            marginals, log_partition, reached.residual, reached.n_steps, reached.status, culprit
        ),
        formula, what, on_failure,
    )  # fmt: skip


def survey_propagation(
    formula: Formula,
    *,
    rho: float = 1.0,
    init: float | None = None,
    schedule: Schedule = "sequential",
    damping: float = 0.0,
    tol: float = 1e-8,
    max_steps: int = 1000,
    seed: int = 0,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
) -> SurveyResult:
    """Estimate how clusters of solutions freeze variables, and the log number of clusters.

    Parameters
    ----------
    formula
        The clauses; unit clauses are propagated first.
    rho
        1 is survey propagation, 0 is belief propagation, between them an interpolation.
    init
        First survey of every edge, in [0, 1]; uniformly random ones if None. Surveys that are all
        zero stay so: no cluster is told apart.
    schedule, damping, tol, max_steps, seed, on_failure, progress
        As in :func:`belief_propagation`.

    Returns
    -------
    SurveyResult
        Below the threshold of clustering the surveys vanish, and with them the complexity.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Notes
    -----
    Mézard, Parisi, Zecchina, Science 297, 812 (2002); the complexity in Bethe form,
    ``sum_a ln(1 - prod q) + sum_i ln(P+ + P- - rho P+ P-) - sum_ia ln(1 - q eta)``
    (see `inference.message_passing.clause_messages`).
    """
    state = _checked(schedule, damping, tol, max_steps, seed, on_failure)
    for name, value in (("rho", rho), ("init", init)):
        if value is not None and not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: expected a number in [0, 1], got {value}")
    units = propagate_units(formula)
    what = "survey propagation"
    shares = np.stack([units.values > 0, units.values < 0, units.values == 0], axis=1).astype(float)
    if units.culprit >= 0:
        shares[:] = np.nan
        result = SurveyResult(shares, -np.inf, np.nan, 0, Status.CONTRADICTION, units.culprit)
        return _reported(result, formula, what, on_failure)
    system = units.left.system
    om = (
        uniform(system.n_edges, 0.0, 1.0, state)
        if init is None
        else np.full(system.n_edges, 1.0 - init)
    )
    if schedule == "sequential":
        reached = propagate(
            system, om, rho=rho, damping=damping, tol=tol, max_steps=max_steps, state=state,
            reshuffle=False, progress=progress,
        )  # fmt: skip
    else:
        from inference.message_passing.surveys import propagate_in_parallel

        reached = propagate_in_parallel(
            system, om, rho=rho, damping=damping, tol=tol, max_steps=max_steps
        )
    if reached.status is Status.CONTRADICTION:
        shares[units.left.variables] = np.nan
        complexity = -np.inf
    else:
        shares[units.left.variables] = biases(system, reached.om, rho=rho)
        complexity = bethe(system, reached.om, rho=rho)
    culprit = int(system.sources[reached.culprit]) if reached.culprit >= 0 else -1
    return _reported(
        SurveyResult(
            shares, complexity, reached.residual, reached.n_steps, reached.status, culprit
        ),
        formula, what, on_failure,
    )  # fmt: skip


def field_array(field: ArrayLike, n_variables: int) -> Floats:
    """Return a field as ``(n_variables,)`` finite numbers, or raise ``ValueError``."""
    value = finite_array("field", field, ndim=(0, 1)) if n_variables else np.zeros(0)
    if value.ndim and value.shape != (n_variables,):
        raise ValueError(
            f"field: expected a number or shape ({n_variables},), got {value.shape}; "
            "to force a variable add a unit clause"
        )
    return np.broadcast_to(value, n_variables).astype(np.float64)


def _checked(
    schedule: str, damping: float, tol: float, max_steps: int, seed: int, on_failure: str
) -> RandomState:
    one_of("schedule", schedule, ("sequential", "parallel"))
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    positive("tol", tol)
    positive_int("max_steps", max_steps)
    check_on_failure(on_failure)
    return random_state(seed)


def _reported(result: R, formula: Formula, what: str, on_failure: OnFailure) -> R:
    if result.culprit >= 0:
        what += f": clause {result.culprit} {formula.clause(result.culprit)}"
    report_status(result.status, what, on_failure=on_failure, stacklevel=4)
    return result


def clause_factors(system: ClauseSystem) -> tuple[FactorGraph, ClauseFactors, Floats]:
    """Return a system as the generic driver reads it, and the sign of each edge."""
    from graphs.factor_graph import FactorGraph
    from inference.message_passing.factors import ClauseFactors

    clauses = np.repeat(np.arange(system.n_clauses, dtype=np.int32), np.diff(system.offsets))
    sign = (1 - 2 * (system.literals & 1)).astype(np.float64)
    graph = FactorGraph.from_edges(
        system.literals >> 1, clauses, n_variables=system.n_variables, n_factors=system.n_clauses
    )
    return graph, ClauseFactors.from_signs(graph, sign), sign


def _flood(
    system: ClauseSystem, fields: Floats, om: Floats, damping: float, tol: float, max_steps: int
) -> Propagation:
    """Run the generic driver, whose messages are half-fields towards the spin +1."""
    import jax
    import jax.numpy as jnp

    from inference.message_passing.belief_propagation import belief_propagation

    graph, factors, sign = clause_factors(system)
    result = belief_propagation(
        graph, factors, field=jnp.asarray(fields),
        schedule="parallel", damping=damping, tol=tol, max_steps=max_steps,
        init=jnp.asarray(-0.5 * sign * np.log(om)), key=jax.random.key(0), on_failure="ignore",
    )  # fmt: skip
    reached = np.exp(-2.0 * sign * np.asarray(result.messages))
    culprit = int(result.culprit)  # the driver counts variables first, then factors
    if culprit >= system.n_variables:
        culprit -= system.n_variables
    elif culprit >= 0:
        culprit = forced_both_ways(system, reached)
    return Propagation(
        reached, float(result.residual), int(result.n_steps), Status(int(result.status)), culprit
    )
