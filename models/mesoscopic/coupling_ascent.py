"""The local search of couplings: from a start to the local optimum above it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize

from inference.checks import Floats

from .coupling_space import CouplingSpace
from .device_tradeoff import Slope

_BLOCKED = 1e-6
"""Distance from a bound at which it counts as reached, relative to it."""
_TOL = 1e-8
"""Of derivatives, where a search ends; most end with less."""
_MOST_RESTARTS = 5
_GAIN = 1e-11
"""Of the objective, that is worth another restart."""

Evaluate = Callable[[Floats], Slope]


def ascend(
    evaluate: Evaluate, space: CouplingSpace, start: Floats, max_gain: float, max_steps: int
) -> Floats:
    """Return the couplings ``(n, n)`` of a local maximum in the box, at no more than a gain.

    Parameters
    ----------
    evaluate
        The objective at couplings.
    space
        Which couplings are free.
    start
        ``(n, n)``, within the gain.
    max_gain
        Largest log of the gain; infinite if there is no bound.
    max_steps
        Upper limit of the number of steps.

    Notes
    -----
    L-BFGS-B, or with a bound of the gain sequential quadratic programming.
    """
    descent = _Descent(evaluate, space, max_gain)
    bounds = list(zip(-space.bound, space.bound))
    free = space.nearest(start)
    if np.isinf(max_gain):
        options = {"maxiter": max_steps, "gtol": _TOL, "ftol": 1e-15, "maxcor": 20}
        free = optimize.minimize(
            descent.value_and_slope, free, jac=True, method="L-BFGS-B", bounds=bounds,
            options=options,
        ).x  # fmt: skip
    else:
        value = np.inf
        for _ in range(_MOST_RESTARTS):
            found = optimize.minimize(
                descent.value_and_slope, free, jac=True, method="SLSQP", bounds=bounds,
                constraints={"type": "ineq", "fun": descent.room, "jac": descent.room_slope},
                options={"maxiter": max_steps, "ftol": 1e-14},
            )  # fmt: skip
            free = found.x
            # its estimate of the curvature may be at fault: begin a new one while that helps
            if not found.fun < value - _GAIN:
                break
            value = found.fun
    # bounds may be left by rounding
    return space.couplings(np.clip(free, -space.bound, space.bound))


def residual(slope: Slope, space: CouplingSpace, couplings: Floats, max_gain: float) -> float:
    """Return the largest derivative of the objective that neither bounds nor the gain block."""
    free = space.nearest(couplings)
    gradient, normal = space.gradient(slope.gradient), space.gradient(slope.gain_gradient)
    if slope.gain > max_gain - _BLOCKED:
        # the multiplier that leaves least where bounds do not block
        inside = np.abs(free) < (1.0 - _BLOCKED) * space.bound
        size = normal[inside] @ normal[inside]
        if size > 0:
            gradient = gradient - max(float(gradient[inside] @ normal[inside] / size), 0.0) * normal
    towards = np.clip(free + gradient, -space.bound, space.bound)
    return float(np.abs(towards - free).max())


class _Descent:
    """Minus the objective, its slope and the room for gain; a wall where there is no answer."""

    def __init__(self, evaluate: Evaluate, space: CouplingSpace, max_gain: float) -> None:
        self.evaluate, self.space, self.max_gain = evaluate, space, max_gain
        self.worst = 0.0
        self.at: Floats | None = None
        self.slope: Slope | None = None

    def _look(self, free: Floats) -> Slope | None:
        """Return the slope, or None beyond stability."""
        if self.at is None or not np.array_equal(self.at, free):
            slope = self.evaluate(self.space.couplings(free))
            self.at, self.slope = free.copy(), slope if slope.finite else None
        return self.slope

    def value_and_slope(self, free: Floats) -> tuple[float, Floats]:
        """Return what is minimised and its slope."""
        slope = self._look(free)
        if slope is None:
            # so much that the line search turns round, not so much that its next step is tiny
            return self.worst + 1.0, np.zeros_like(free)
        self.worst = max(self.worst, -slope.objective)
        return -slope.objective, -self.space.gradient(slope.gradient)

    def room(self, free: Floats) -> float:
        """Return how much gain is left."""
        slope = self._look(free)
        return -1.0 if slope is None else self.max_gain - slope.gain

    def room_slope(self, free: Floats) -> Floats:
        """Return its derivative."""
        slope = self._look(free)
        return np.zeros_like(free) if slope is None else -self.space.gradient(slope.gain_gradient)
