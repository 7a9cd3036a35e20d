"""Belief propagation on a perceptron or committee machine: marginals and numbers of solutions."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array, one_of, positive, positive_int
from inference.kernels import RandomState, random_state, uniform
from inference.progress import Stop, never
from inference.status import OnFailure, Status, check_on_failure, report_status

from .dense_messages import (
    DenseMessages,
    absorb_labels,
    dense_free_entropy,
    propagate_densely,
    silent,
)
from .edge_messages import edge_free_entropy, propagate_edges
from .problem import Problem

Method = Literal["gaussian", "exact", "amp"]
Schedule = Literal["sequential", "parallel"]

METHODS = ("gaussian", "exact", "amp")
FIRST_MESSAGE = 0.01
"""Largest first message along an edge; zeros would keep the units of a committee alike."""
_LARGEST_FIELD = 20.0
"""It decides a weight to rounding; patterns against stronger ones would saturate the messages."""
_COLLAPSED = 1e-3
"""Share of the variance under the field alone that a meaningful state keeps."""


class BeliefResult(NamedTuple):
    """Marginals and the number of solutions, by the Bethe approximation."""

    magnetizations: Floats
    """Means of the weights, of their shape."""
    free_entropy: float
    """Log of the sum of ``exp(sum_i field_i W_i)`` over the solutions, in nats (not a density);
    minus infinity if the messages collapsed, because they count nothing."""
    residual: float
    """Largest change in the last sweep: of a message, or, with ``"amp"``, of a magnetization."""
    n_steps: int
    """Sweeps."""
    status: Status
    """CONVERGED, MAX_STEPS, NON_FINITE or COLLAPSED."""
    fields: Floats
    """What the patterns alone say of each weight, half-fields of the shape of the weights."""
    messages: Any
    """Where the messages ended, to be handed back as ``init``."""


def belief_propagation(
    problem: Problem,
    *,
    field: ArrayLike = 0.0,
    method: Method = "gaussian",
    schedule: Schedule = "sequential",
    damping: float | None = None,
    tol: float = 1e-10,
    max_steps: int = 1000,
    seed: int = 0,
    init: Any = None,
    on_failure: OnFailure = "warn",
    should_stop: Stop = never,
    progress: bool | None = None,
) -> BeliefResult:
    """Estimate marginals and the weighted number of weights that make no error.

    Parameters
    ----------
    problem
        Patterns and labels.
    field
        Scalar or array of the shape of the weights, at most 20 in size: solutions weigh
        ``exp(sum_i field_i W_i)``.
    method
        ``"gaussian"``: messages along every edge, the sum of the inputs a Gaussian;
        ``"exact"``: the sum by convolution, exact for a single pattern, ``O(n_inputs**2)`` a
        unit and pattern; ``"amp"``: approximate message passing, ``O(1)`` an edge and little
        memory, of a perceptron with many inputs and patterns that are nearly independent.
    schedule
        ``"sequential"``: compiled (pattern after pattern in random order, except ``"amp"``);
        ``"parallel"``: all at once in JAX, on any device, in double precision.
    damping
        Share of the old message that is kept, in [0, 1); None is 0, and 0.5 with ``"amp"``.
    tol
        Converged once nothing changes by more.
    max_steps
        Most sweeps.
    seed
        Of the first messages and of the order of the patterns.
    init
        ``messages`` of an earlier result of the same method to start from.
    on_failure
        What happens without convergence or after a collapse, next to the status: a warning, an
        error or nothing.
    should_stop
        Asked every few tenths of a second by the sequential schedule; True ends the sweeps.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    BeliefResult
        With status COLLAPSED if every weight is decided or the free entropy is beyond what all
        configurations together could give.

    Raises
    ------
    ValueError
        If an argument is out of range.
    ConvergenceError
        With ``on_failure="raise"``.

    Examples
    --------
    >>> from models.perceptron import random_patterns
    >>> result = belief_propagation(random_patterns(1001, 0.3, seed=0))
    >>> round(result.free_entropy / 1001, 3)
    0.471
    """
    state = _checked(problem, method, schedule, damping, tol, max_steps, seed, on_failure)
    external = field_array(field, problem)
    if (strongest := np.abs(external).max()) > _LARGEST_FIELD:
        raise ValueError(
            f"field: expected numbers up to {_LARGEST_FIELD:g} in size, got {strongest:g}"
        )
    solve = _densely if method == "amp" else _along_edges
    if damping is None:
        damping = 0.5 if method == "amp" else 0.0
    messages, fields, free_entropy, residual, n_steps = solve(
        problem, external, method == "exact", schedule, damping, tol, max_steps, state, init,
        should_stop, progress,
    )  # fmt: skip
    magnetizations = np.tanh(fields + external)
    if np.isnan(residual) or not np.isfinite(magnetizations).all():
        status, free_entropy = Status.NON_FINITE, -np.inf
    elif collapsed(magnetizations, external, free_entropy):
        status, free_entropy = Status.COLLAPSED, -np.inf
    else:
        status = Status.CONVERGED if residual <= tol else Status.MAX_STEPS
    report_status(status, "belief propagation", on_failure=on_failure)
    return BeliefResult(
        magnetizations.reshape(problem.weights_shape), free_entropy, residual, n_steps, status,
        fields.reshape(problem.weights_shape), messages,
    )  # fmt: skip


def field_array(field: ArrayLike, problem: Problem) -> Floats:
    """Return a field as ``(n_hidden, n_inputs)`` finite numbers, or raise ``ValueError``."""
    shape = problem.weights_shape
    value = finite_array("field", field, ndim=(0, len(shape)))
    if value.ndim and value.shape != shape:
        raise ValueError(f"field: expected a number or shape {shape}, got {value.shape}")
    return np.broadcast_to(value, shape).reshape(problem.n_hidden, problem.n_inputs).copy()


def collapsed(magnetizations: Floats, field: Floats, free_entropy: float) -> bool:
    """Return whether messages count nothing.

    They do not if they leave every weight decided that the field alone would not decide, or if
    the free entropy is larger than that of all configurations together, or as much below zero.
    """
    left = np.mean(1.0 - magnetizations**2)
    most = magnetizations.size * np.log(2.0) + np.abs(field).sum()
    at_least = _COLLAPSED * np.mean(1.0 - np.tanh(field) ** 2)
    return bool(left < at_least or abs(free_entropy) > most)


def _checked(
    problem: Problem, method: str, schedule: str, damping: float | None, tol: float,
    max_steps: int, seed: int, on_failure: str,
) -> RandomState:  # fmt: skip
    one_of("method", method, METHODS)
    one_of("schedule", schedule, ("sequential", "parallel"))
    if method == "amp" and problem.n_hidden > 1:
        raise ValueError(
            f"method: expected 'gaussian' or 'exact' for {problem.n_hidden} hidden units, got 'amp'"
        )
    if damping is not None and not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    positive("tol", tol)
    positive_int("max_steps", max_steps)
    check_on_failure(on_failure)
    return random_state(seed)


def _along_edges(
    problem: Problem, field: Floats, exact: bool, schedule: str, damping: float, tol: float,
    max_steps: int, state: RandomState, init: Any, stop: Stop, progress: bool | None,
) -> Any:  # fmt: skip
    shape = (problem.n_patterns, *field.shape)
    if init is None:
        first = uniform(int(np.prod(shape)), -FIRST_MESSAGE, FIRST_MESSAGE, state).reshape(shape)
    else:
        first = finite_array("init", init, ndim=3).copy()
        if first.shape != shape:
            raise ValueError(f"init: expected messages of shape {shape}, got {first.shape}")
    if schedule == "sequential":
        reached = propagate_edges(
            problem, field, first, exact=exact, damping=damping, tol=tol, max_steps=max_steps,
            state=state, stop=stop, progress=progress,
        )  # fmt: skip
    else:
        from .edge_flooding import flood_edges

        reached = flood_edges(
            problem, field, first, exact=exact, damping=damping, tol=tol, max_steps=max_steps
        )
    free_entropy = edge_free_entropy(problem, field, reached.messages, exact=exact)
    return (
        reached.messages, reached.messages.sum(axis=0), free_entropy, reached.residual,
        reached.n_steps,
    )  # fmt: skip


def _densely(
    problem: Problem, field: Floats, _exact: bool, schedule: str, damping: float, tol: float,
    max_steps: int, _state: RandomState, init: Any, stop: Stop, progress: bool | None,
) -> Any:  # fmt: skip
    patterns, external = absorb_labels(problem), field[0]
    start = silent(patterns)
    if init is not None:
        if not isinstance(init, DenseMessages) or any(
            got.shape != expected.shape for got, expected in zip(init, start)
        ):
            raise ValueError("init: expected the messages of 'amp' on a problem of this size")
        start = init
    if schedule == "sequential":
        reached = propagate_densely(
            patterns, external, start, damping=damping, tol=tol, max_steps=max_steps, stop=stop,
            progress=progress,
        )  # fmt: skip
        messages, residual, n_steps = reached
    else:
        import jax.numpy as jnp

        from inference.precision import require_x64

        from .dense_flooding import flood_densely

        require_x64("message passing in JAX")
        flooded = flood_densely(
            jnp.asarray(patterns), jnp.asarray(external), jnp.asarray(start.fields),
            jnp.asarray(start.responses), damping=damping, tol=tol, max_steps=max_steps,
        )  # fmt: skip
        messages = DenseMessages(*(np.array(part) for part in flooded.value[:2]))
        residual, n_steps = float(flooded.residual), int(flooded.n_steps)
    free_entropy = dense_free_entropy(patterns, external, messages)
    return messages, messages.fields[None], free_entropy, residual, n_steps
