"""The couplings among which a search goes: which are free, which are tied, how large they get."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, positive

from .device_tradeoff import Device
from .spins import SpinSystem


class CouplingSpace(NamedTuple):
    """A box of free numbers, and the couplings as linear functions of them."""

    row: NDArray[np.int64]
    """``(m,)``: the coupling ``J[row, column]`` is free."""
    column: NDArray[np.int64]
    back: Floats | None
    """``(m,)``: if couplings are tied, ``J[column, row]`` is this times ``J[row, column]``."""
    bound: Floats
    """``(m,)``: largest absolute value."""
    n_units: int

    def couplings(self, free: Floats) -> Floats:
        """Return the matrix ``(n, n)``."""
        matrix = np.zeros((self.n_units, self.n_units))
        matrix[self.row, self.column] = free
        if self.back is not None:
            matrix[self.column, self.row] = self.back * free
        return matrix

    def gradient(self, by_couplings: Floats) -> Floats:
        """Return the derivative by the free numbers of what has that by the couplings."""
        free = by_couplings[self.row, self.column]
        if self.back is not None:
            free = free + self.back * by_couplings[self.column, self.row]
        return free

    def nearest(self, couplings: Floats) -> Floats:
        """Return free numbers whose couplings are like these, inside the box."""
        free = couplings[self.row, self.column]
        if self.back is not None:
            free = 0.5 * (free + couplings[self.column, self.row] / self.back)
        return np.clip(free, -self.bound, self.bound)


def coupling_space(
    device: Device, max_coupling: float, allowed: ArrayLike | None, symmetric: bool
) -> CouplingSpace:
    """Return the couplings among which a search may choose.

    Raises
    ------
    TypeError, ValueError
        If the bound is not positive, ``allowed`` is not a Boolean matrix of the device's size with
        some coupling, or ties are asked for where only one direction is allowed or noise is
        correlated.
    """
    limit = positive("max_coupling", max_coupling)
    n = device.couplings.shape[0] if isinstance(device, SpinSystem) else device.drift.shape[0]
    free = np.ones((n, n), bool) if allowed is None else np.asarray(allowed)
    if free.shape != (n, n) or free.dtype != bool:
        raise ValueError(
            f"allowed: expected a Boolean matrix of shape {(n, n)}, got {free.dtype} of shape "
            f"{free.shape}"
        )
    free = free & ~np.eye(n, dtype=bool)
    if not free.any():
        raise ValueError("allowed: expected at least one coupling, got none off the diagonal")
    if not symmetric:
        row, column = np.nonzero(free)
        return CouplingSpace(row, column, None, np.full(len(row), limit), n)
    if (free != free.T).any():
        i, j = np.argwhere(free & ~free.T)[0]
        raise ValueError(
            f"allowed: expected both directions for symmetric couplings, got ({i}, {j}) alone"
        )
    row, column = np.nonzero(np.triu(free))
    back = _reversible(device, n)[row, column]
    return CouplingSpace(row, column, back, limit / np.maximum(back, 1.0), n)


def _reversible(device: Device, n: int) -> Floats:
    """Return ``J[j, i] / J[i, j]`` without which currents flow: 1 at equal temperatures."""
    if isinstance(device, SpinSystem):
        return np.ones((n, n))
    noise: Any = np.asarray(device.diffusion)
    if noise.ndim == 2:
        if np.count_nonzero(noise - np.diag(np.diagonal(noise))):
            raise ValueError("diffusion: expected no correlated noise for symmetric couplings")
        noise = np.diagonal(noise)
    # detailed balance: J[i, j] D[j] = J[j, i] D[i]
    return noise / noise[:, None]
