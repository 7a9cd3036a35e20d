"""How focusing proceeds: the coupling and the number of replicas, step by step.

A protocol is an ``(n_steps, 2)`` array of ``gamma`` (infinity allowed) and ``y``; any such array
will do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array, positive


def standard_reinforcement(step: float = 0.01) -> Floats:
    """Return infinite coupling and replicas ``1 / (1 - rho)``, ``rho`` growing by ``step`` to 1.

    Raises
    ------
    ValueError
        If ``step`` is outside (0, 1).
    """
    n_replicas = 1.0 / (1.0 - _growing(step))
    return np.stack([np.full_like(n_replicas, np.inf), n_replicas], axis=1)


def pseudo_reinforcement(step: float = 0.01, *, exponent: float = 0.5) -> Floats:
    """Return ``gamma = atanh(rho**x)`` and ``y = 1 + rho**(1 - 2 x) / (1 - rho)``.

    Parameters
    ----------
    step
        By which ``rho`` grows from 0 to 1, in (0, 1).
    exponent
        ``x`` in [0, 1/2]: 0 is standard reinforcement.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Protocols of arXiv 1605.06444.
    """
    rho = _growing(step)
    if not 0.0 <= exponent <= 0.5:
        raise ValueError(f"exponent: expected a number in [0, 1/2], got {exponent}")
    with np.errstate(divide="ignore"):
        couplings = np.arctanh(rho**exponent)
    return np.stack([couplings, 1.0 + rho ** (1.0 - 2.0 * exponent) / (1.0 - rho)], axis=1)


def scoping(couplings: ArrayLike, n_replicas: float) -> Floats:
    """Return a fixed number of replicas under couplings that change.

    Raises
    ------
    ValueError
        If a coupling is negative or ``n_replicas`` is smaller than 1.
    """
    gamma = finite_array("couplings", couplings, ndim=1)
    return check_protocol(np.stack([gamma, np.full_like(gamma, n_replicas)], axis=1))


def check_protocol(protocol: ArrayLike) -> Floats:
    """Return a protocol as ``(n_steps, 2)`` float64, or raise ``ValueError``."""
    steps = np.asarray(protocol, dtype=np.float64)
    if steps.ndim != 2 or steps.shape[1] != 2 or not len(steps):
        raise ValueError(f"protocol: expected rows of coupling and replicas, got {steps.shape}")
    if not (steps[:, 0] >= 0).all():
        raise ValueError("protocol: expected couplings of at least 0 (infinity is allowed)")
    if not ((steps[:, 1] >= 1) & np.isfinite(steps[:, 1])).all():
        raise ValueError("protocol: expected finite numbers of replicas of at least 1")
    return steps


def _growing(step: float) -> Floats:
    if not positive("step", step) < 1.0:
        raise ValueError(f"step: expected a number in (0, 1), got {step}")
    return np.arange(0.0, 1.0 - 0.5 * step, step)
