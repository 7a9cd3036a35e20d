"""The loop of every fit: compiled chunks of steps, and a look at the objective between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from inference.checks import Floats, at_least_zero, positive_int
from inference.progress import Stop, never
from inference.status import Status

State = TypeVar("State")


class Goal(NamedTuple):
    """When to end."""

    least_change: float
    """Of the objective, by a step."""
    max_steps: int
    check_every: int
    n_in_a_row: int = 3
    """Checks in a row at which the objective changed by less."""


class Course(NamedTuple):
    """How a fit went."""

    trace: Floats
    """Objective at ``steps``."""
    steps: Sequence[int]
    last_change: float
    """Of the objective, by a step."""
    status: Status


def drive(
    state: State,
    advance: Callable[[State, int], State],
    objective: Callable[[State], float],
    goal: Goal,
    should_stop: Stop = never,
) -> tuple[State, Course]:
    """Advance until the objective no longer changes, or must stop; return the last finite state.

    Raises
    ------
    ValueError
        If the goal is no goal.
    """
    at_least_zero("tol", goal.least_change)
    positive_int("max_steps", goal.max_steps)
    positive_int("check_every", goal.check_every)
    trace, steps = [objective(state)], [0]
    n_small, change, status = 0, np.inf, Status.MAX_STEPS
    while steps[-1] < goal.max_steps and n_small < goal.n_in_a_row:
        n_steps = min(goal.check_every, goal.max_steps - steps[-1])
        new = advance(state, n_steps)
        value = objective(new)
        if not np.isfinite(value):
            status = Status.NON_FINITE
            break
        change = abs(value - trace[-1]) / n_steps
        n_small = n_small + 1 if change < goal.least_change else 0
        state = new
        trace.append(value)
        steps.append(steps[-1] + n_steps)
        if should_stop():
            break
    if n_small >= goal.n_in_a_row:
        status = Status.CONVERGED
    return state, Course(np.array(trace), tuple(steps), float(change), status)
