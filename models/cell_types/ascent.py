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


Leap = Callable[[State, State, float], State]


def drive(
    state: State,
    advance: Callable[[State, int], State],
    objective: Callable[[State], float],
    goal: Goal,
    should_stop: Stop = never,
    leap: Leap[State] | None = None,
) -> tuple[State, Course]:
    """Advance until the objective no longer changes, or must stop; return the last finite state.

    With ``leap(before, now, length)``, a state further along the way from one to the other, slow
    climbs are made shorter: a leap is taken where it raises the objective, and its length doubles
    or halves with success.

    Raises
    ------
    ValueError
        If the goal is no goal.
    """
    at_least_zero("tol", goal.least_change)
    positive_int("max_steps", goal.max_steps)
    positive_int("check_every", goal.check_every)
    trace, steps = [objective(state)], [0]
    n_small, change, length, status = 0, np.inf, 1.0, Status.MAX_STEPS
    while steps[-1] < goal.max_steps and n_small < goal.n_in_a_row:
        n_steps = min(goal.check_every, goal.max_steps - steps[-1])
        if leap is None or n_steps == 1:
            new = advance(state, n_steps)
            value = objective(new)
        else:
            middle = advance(state, n_steps // 2)
            new = advance(middle, n_steps - n_steps // 2)
            new, value, length = _leapt(objective, leap, middle, new, length)
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


def _leapt(
    objective: Callable[[State], float], leap: Leap[State], before: State, now: State, length: float
) -> tuple[State, float, float]:
    """Return the better of a state and one further along, its objective, and the next length."""
    value = objective(now)
    far = leap(before, now, length)
    there = objective(far)
    if not there > value:
        return now, value, length / 2
    further = leap(before, now, 2 * length)
    beyond = objective(further)
    if beyond > there:
        return further, beyond, 2 * length
    return far, there, length
