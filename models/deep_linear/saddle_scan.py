"""Every stationary point of the action of one output: a scan in one variable that misses none.

All layers of a network with one output strengthen together: ``lambda_l q_l = 1 + t / alpha_l`` with
one number ``t``, so with ``u = log q`` and ``u(t) = log q_0 + sum_l log(1 + t / alpha_l)`` the
action has the slope ``dI/du = (t - F(u)) / 2``,

    F(u) = sum_p q Lam_p Y_p^2 / (q Lam_p + T)^2   [ - sum_p q Lam_p / (q Lam_p + T) ],

the bracket only where the log-determinant counts (samples in proportion to the widths).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.optimize

from inference.checks import Floats

# F varies over a unit of log q, log q at most L times as fast as s = log(1 + t / min alpha)
_POINTS_PER_UNIT = 50
_MARGIN = 0.01  # in s: beyond the bounds of the roots the slope has a sign
_MAX_ENTRIES = 4_000_000  # grid points times eigenvalues handled at once
_NEWTON_STEPS = 4
_ROUNDING = 4 * float(np.finfo(float).eps)


class ScalarPoint(NamedTuple):
    """A stationary point of the action of one output.

    Attributes
    ----------
    t, log_q
        The common response of the layers, and the logarithm of the mixing factor.
    action
        The action, without a residual outside the kernel's range.
    curvature
        Second derivative of the action with respect to ``log q``.
    shift
        First-order correction of the mean: ``N (E q - q*)``.
    slope
        What is left of the first derivative.
    """

    t: float
    log_q: float
    action: float
    curvature: float
    shift: float
    slope: float


@dataclass(frozen=True)
class ScalarAction:
    """The action of one output as a function of ``s = log(1 + t / min alpha)``.

    Attributes
    ----------
    alphas
        Relative widths, ``(L,)``.
    log_mean
        Logarithm of the prior mean ``q_0``.
    eigenvalues, squares
        Eigenvalues of the kernel and squared targets in its eigenbasis, ``(r,)``.
    temperature
        ``T = 1 / beta``.
    log_det
        Whether the log-determinant of the evidence belongs to the action.
    """

    alphas: Floats
    log_mean: float
    eigenvalues: Floats
    squares: Floats
    temperature: float
    log_det: bool

    def layers(self, s: Floats) -> tuple[Floats, Floats, Floats]:
        """Return ``t (n,)``, ``alpha_l + t (n, L)`` and ``log q (n,)`` at points ``(n,)``."""
        smallest = self.alphas.min()
        # not alpha_l + expm1: for t -> -min alpha that would cancel
        shifted = (self.alphas - smallest) + smallest * np.exp(s)[:, None]
        log_q = self.log_mean + np.sum(np.log(shifted / self.alphas), axis=1)
        return smallest * np.expm1(s), shifted, log_q

    def pull(self, log_q: Floats) -> Floats:
        """Return ``F`` and its first two derivatives with respect to ``log q``, ``(3, n)``."""
        total = np.empty((3, log_q.size))
        block = max(1, _MAX_ENTRIES // self.eigenvalues.size)
        for first in range(0, log_q.size, block):
            signal = np.exp(log_q[first : first + block])[:, None] * self.eigenvalues
            scale = signal + self.temperature
            share = signal / scale
            force = self.squares * share / scale
            loss = share if self.log_det else np.zeros_like(share)
            curl = 1 - 2 * share
            total[0, first : first + block] = np.sum(force - loss, axis=1)
            total[1, first : first + block] = np.sum(force * curl - loss * (1 - share), axis=1)
            second = force * (curl**2 - 2 * share * (1 - share)) - loss * (1 - share) * curl
            total[2, first : first + block] = np.sum(second, axis=1)
        return total

    def slope(self, s: Floats) -> tuple[Floats, Floats]:
        """Return ``t - F`` and its derivative with respect to ``s``, both ``(n,)``."""
        t, shifted, log_q = self.layers(s)
        value, derivative, _ = self.pull(log_q)
        rate = self.alphas.min() * np.exp(s)
        return t - value, rate * (1 - derivative * np.sum(1 / shifted, axis=1))

    def bounds(self) -> tuple[float, float]:
        """Return an interval of ``s`` that holds every root, with a sign of the slope outside."""
        smallest, rank = float(self.alphas.min()), self.eigenvalues.size
        noise_free = float(np.sum(self.squares / self.eigenvalues))
        # every summand of F is at most Y^2 / (4 T), and at most Y^2 / (q Lam) with q > q_0
        ceiling = noise_free * math.exp(-self.log_mean)
        if self.temperature > 0:
            ceiling = min(ceiling, float(np.sum(self.squares)) / (4 * self.temperature))
        high = math.log1p(ceiling / smallest) + _MARGIN
        if not self.log_det:
            return -_MARGIN, high  # F >= 0
        # below half the smallest alpha and below these q the signal outweighs the determinant
        if self.temperature > 0:
            log_floor = math.log(smallest / 2) + math.log(self.temperature)
            log_floor -= math.log(float(np.sum(self.eigenvalues)))
        elif noise_free > 0:
            log_floor = math.log(noise_free / rank)
        else:
            log_floor = -math.inf
        low = min(-math.log(2), log_floor - self.log_mean)
        if rank < smallest:  # F > -r
            low = max(low, math.log1p(-rank / smallest) - _MARGIN)
        if math.isinf(low):
            raise ValueError(
                f"data: expected targets that are not zero for {rank} samples without noise and a "
                f"layer of width {smallest:g}, got zero: the evidence has no maximum; use a finite "
                "beta"
            )
        return low, high

    def point(self, s: float) -> ScalarPoint:
        """Return the stationary point at the root ``s``."""
        t, shifted, log_q = self.layers(np.array([s]))
        value, first, second = self.pull(log_q)[:, 0]
        scale = math.exp(log_q[0]) * self.eigenvalues + self.temperature
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = shifted[0] / self.alphas
            action = float(np.sum(self.alphas / 2 * (t[0] / self.alphas - np.log(ratios))))
        action += 0.5 * float(np.sum(self.squares / scale))
        s1, s2 = float(np.sum(1 / shifted)), float(np.sum(1 / shifted**2))
        curvature = (1 / s1 - first) / 2
        third = (s2 / s1**3 - second) / 2
        # what multiplies exp(-N I): the layers' integral at fixed q, and the determinant
        tilt = 0.5 * (s2 / s1**2 - 1)
        if self.log_det:
            action += 0.5 * float(np.sum(np.log(scale)))
        else:
            tilt -= 0.5 * float(np.sum(1 - self.temperature / scale))
        shift = math.nan
        if curvature != 0:
            mean = tilt / curvature - third / (2 * curvature**2)
            shift = math.exp(log_q[0]) * (mean + 0.5 / curvature)
        slope = (float(t[0]) - float(value)) / 2
        return ScalarPoint(float(t[0]), float(log_q[0]), action, float(curvature), shift, slope)


def stationary_points(action: ScalarAction) -> list[ScalarPoint]:
    """Return every stationary point of the action, in ascending order of ``q``.

    Notes
    -----
    The slope is negative at the lower and positive at the upper bound, so there is a minimum. Its
    extrema are found first, as zeros of its derivative on the grid, and join the grid: then a pair
    of roots inside one cell, nearly a double root, shows as two changes of sign.
    """
    low, high = action.bounds()
    n_points = math.ceil((high - low) * _POINTS_PER_UNIT * action.alphas.size) + 64
    grid = np.linspace(low, high, n_points)
    values, derivatives = action.slope(grid)
    turning = np.flatnonzero(np.signbit(derivatives[:-1]) != np.signbit(derivatives[1:]))
    extrema = [_root(lambda s: _at(action, s)[1], grid[i], grid[i + 1]) for i in turning]
    if extrema:
        grid = np.append(grid, extrema)
        order = np.argsort(grid)
        grid, values = grid[order], np.append(values, action.slope(np.array(extrema))[0])[order]
    crossing = np.flatnonzero(np.signbit(values[:-1]) != np.signbit(values[1:]))
    return [action.point(_polished(action, grid[i], grid[i + 1])) for i in crossing]


def _at(action: ScalarAction, s: float) -> tuple[float, float]:
    value, derivative = action.slope(np.array([s]))
    return float(value[0]), float(derivative[0])


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    return float(scipy.optimize.brentq(f, low, high, xtol=1e-15, rtol=_ROUNDING, maxiter=200))


def _polished(action: ScalarAction, low: float, high: float) -> float:
    """Return the root in a bracket; Newton makes a response near zero accurate in itself."""
    s = _root(lambda x: _at(action, x)[0], low, high)
    value, derivative = _at(action, s)
    for _ in range(_NEWTON_STEPS):
        if value == 0 or derivative == 0:
            break
        proposal = s - value / derivative
        if not low <= proposal <= high:
            break
        found = _at(action, proposal)
        if abs(found[0]) >= abs(value):
            break
        s, (value, derivative) = proposal, found
    return s


def response_of(mixing: Floats, alphas: Floats, log_mean: float) -> Floats:
    """Return the ``t`` at which ``prod_l (1 + t / alpha_l) q_0`` is a positive number, elementwise.

    Notes
    -----
    Newton in ``s = log(1 + t / min alpha)``, guarded by bisection: ``log(q / q_0)`` increases in
    it and lies between ``s`` and ``L s``.
    """
    smallest = alphas.min()
    target = np.log(mixing) - log_mean

    def excess(s: Floats) -> tuple[Floats, Floats]:
        grown = smallest * np.exp(s)[..., None]
        shifted = (alphas - smallest) + grown
        return np.sum(np.log(shifted / alphas), axis=-1) - target, np.sum(grown / shifted, axis=-1)

    low = np.minimum(target, 0.0)
    high = np.maximum(target, 0.0)
    s = 0.5 * (low + high)
    for _ in range(200):
        value, slope = excess(s)
        low, high = np.where(value < 0, s, low), np.where(value < 0, high, s)
        newton = s - value / slope
        inside = (newton > low) & (newton < high)
        proposal = np.where(inside, newton, 0.5 * (low + high))
        if np.all(np.abs(proposal - s) <= 1e-16 * (1 + np.abs(s))):
            break
        s = proposal
    return np.asarray(smallest * np.expm1(s))
