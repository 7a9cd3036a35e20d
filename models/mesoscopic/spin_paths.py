"""Paths of spin systems: every flip of a few chains, the data of a likelihood."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from inference.checks import Floats, positive, positive_int
from inference.dynamics.jump import sample_jumps
from inference.status import OnFailure, Status, check_on_failure, report_status

from .spin_flips import check_spin_system, first_state, flip, flip_rates, room_for, spin_arguments


class SpinPaths(NamedTuple):
    """Every flip of some chains."""

    times: Floats
    """``(n_chains, n_events)`` increasing from 0; the time of the end behind the last flip."""
    sites: NDArray[np.int32]
    """``(n_chains, n_events)``; -1 behind the last flip."""
    initial: NDArray[np.int8]
    """``(n_chains, n)`` of ±1."""
    duration: Floats
    """``(n_chains,)`` that were observed."""
    status: Status
    """CONVERGED, or OVERFLOW if there were more flips than room."""


def sample_paths(
    couplings: ArrayLike,
    field: ArrayLike,
    beta: float = 1.0,
    *,
    key: jax.Array,
    n_chains: int = 1,
    n_events: int | None = None,
    duration: float | None = None,
    init: ArrayLike | None = None,
    dtype: DTypeLike = np.float32,
    on_failure: OnFailure = "warn",
) -> SpinPaths:
    """Simulate a few chains and return every flip.

    Parameters
    ----------
    couplings, field, beta, key, dtype, on_failure
        As for `simulate_spins`.
    n_chains
        Independent chains.
    n_events
        Flips of each chain; with ``duration`` the most there is room for (None: enough).
    duration
        Time of each chain. Give this or ``n_events``.
    init
        ``(n_chains, n)`` spins of ±1; None for random ones.

    Returns
    -------
    SpinPaths
        From the first state on, without burn-in: a likelihood of flips given the first state needs
        none.

    Raises
    ------
    TypeError, ValueError, ConvergenceError
        As `simulate_spins`.

    Examples
    --------
    >>> import jax
    >>> paths = sample_paths([[0, 1], [-1, 0]], [0, 0], key=jax.random.key(0), duration=10.0)
    >>> bool(paths.times[paths.sites >= 0].max() < 10.0)
    True
    """
    check_on_failure(on_failure)
    matrix, outer = check_spin_system(couplings, field)
    args = spin_arguments(matrix, outer, beta, dtype)
    if n_events is None:
        if duration is None:
            raise ValueError("n_events, duration: expected one of the two, got neither")
        n_events = room_for(len(outer) * positive("duration", duration))
    start, key = first_state(init, positive_int("n_chains", n_chains), args, key)
    paths = sample_jumps(
        flip_rates, flip, start, key=key, n_events=n_events,
        duration=duration, args=args, layout="batch",
    )  # fmt: skip
    status = Status(int(paths.status.max()))
    report_status(status, "paths of spins", on_failure=on_failure)
    initial = np.asarray(start.spins).T.astype(np.int8)
    return SpinPaths(paths.times, paths.channels, initial, paths.duration, status)
