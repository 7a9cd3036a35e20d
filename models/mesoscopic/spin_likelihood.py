"""What flips of spins, and what counts of their states, say of the couplings."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import finite_array, plus_minus_one, same_length


class SpinPathStatistics(NamedTuple):
    """All that the likelihood of fully observed paths depends on: one row a visited state."""

    states: jax.Array
    """``(m, n)`` of ±1."""
    holding_time: jax.Array
    """``(m,)``: total time in the state."""
    flips: jax.Array
    """``(m, n)``: how often each spin flipped in it."""
    fields: jax.Array
    """``(k, n)``: the different fields under which paths were observed."""
    which: jax.Array
    """``(m,)``: under which of them the row was."""


def spin_path_statistics(
    times: ArrayLike,
    sites: ArrayLike,
    initial: ArrayLike,
    duration: ArrayLike,
    fields: ArrayLike | None = None,
) -> SpinPathStatistics:
    """Return the sums over flips and waiting times that the likelihood depends on.

    Parameters
    ----------
    times
        ``(n_chains, n_events)``, increasing along a chain: when a spin flipped, from 0 on.
    sites
        ``(n_chains, n_events)``: which spin; -1 behind the last flip of a chain.
    initial
        ``(n_chains, n)`` of ±1: spins at time 0.
    duration
        How long chains were observed, one number or ``(n_chains,)``.
    fields
        ``(n,)`` or ``(n_chains, n)``: known fields; None is zero.

    Returns
    -------
    SpinPathStatistics
        No larger than the number of states that were visited.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, times do not increase or exceed the duration, or there is no such spin.

    Examples
    --------
    >>> from models.mesoscopic import spin_path_statistics
    >>> found = spin_path_statistics([[0.5, 2.0]], [[0, 0]], [[1, -1]], 3.0)
    >>> found.holding_time.tolist(), found.flips.tolist()
    ([1.5, 1.5], [[1.0, 0.0], [1.0, 0.0]])
    """
    first = plus_minus_one("initial", initial, ndim=2)
    n_chains, n = first.shape
    clock, flipped = finite_array("times", times, ndim=2), np.asarray(sites)
    if flipped.dtype.kind not in "iu" or flipped.shape != clock.shape:
        raise ValueError(
            f"sites: expected whole numbers of shape {clock.shape} as times, got shape "
            f"{flipped.shape} of {flipped.dtype}"
        )
    same_length("times", len(clock), "initial", n_chains)
    if flipped.min() < -1 or flipped.max() >= n:
        raise ValueError(f"sites: expected spins from 0 to {n - 1}, or -1, got {flipped.max()}")
    length = finite_array("duration", duration, ndim=(0, 1))
    length = np.broadcast_to(length, n_chains)
    outer = np.zeros(n) if fields is None else finite_array("fields", fields, ndim=(1, 2))
    if outer.shape not in ((n,), (n_chains, n)):
        raise ValueError(f"fields: expected shape ({n},) or ({n_chains}, {n}), got {outer.shape}")
    known, which = np.unique(np.broadcast_to(outer, (n_chains, n)), axis=0, return_inverse=True)
    rows, held, flips = [], [], []
    for chain in range(n_chains):
        real = flipped[chain] >= 0
        at, spin = clock[chain][real], flipped[chain][real]
        edges = np.concatenate([[0.0], at, [length[chain]]])
        if (np.diff(edges) < 0).any():
            raise ValueError(
                f"times: expected times that increase from 0 to {length[chain]:g}, chain {chain} "
                "does not"
            )
        hit = np.zeros((len(at) + 1, n), dtype=np.int64)
        hit[np.arange(len(at)), spin] = 1
        before = first[chain] * (-1) ** (np.cumsum(hit, axis=0) - hit)
        rows.append(np.column_stack([np.full(len(before), which.ravel()[chain]), before]))
        held.append(np.diff(edges))
        flips.append(hit)
    states, where = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    total = np.zeros((len(states), n))
    np.add.at(total, where.ravel(), np.concatenate(flips))
    return SpinPathStatistics(
        states=jnp.asarray(states[:, 1:], dtype=float),
        holding_time=jnp.asarray(np.bincount(where.ravel(), np.concatenate(held))),
        flips=jnp.asarray(total),
        fields=jnp.asarray(known),
        which=jnp.asarray(states[:, 0], dtype=int),
    )


def spin_path_log_prob(
    statistics: SpinPathStatistics,
    couplings: ArrayLike,
    bias: ArrayLike = 0.0,
    beta: ArrayLike = 1.0,
) -> jax.Array:
    """Return the log density of paths given their first states, ``sum log k - int k dt``.

    Parameters
    ----------
    statistics
        From `spin_path_statistics`.
    couplings
        ``(n, n)``.
    bias
        ``(n,)``: fields in addition to the known ones.
    beta
        Inverse temperature.

    Returns
    -------
    jax.Array
        A sum of one term for each row of ``couplings``. It has one maximum in practice, where its
        expectation is concave; far from it it need not be.
    """
    fields = statistics.states @ jnp.asarray(couplings).T + statistics.fields[statistics.which]
    exponent = -2.0 * beta * statistics.states * (fields + bias)
    flown = (statistics.flips * jax.nn.log_sigmoid(exponent)).sum()
    return flown - (statistics.holding_time[:, None] * jax.nn.sigmoid(exponent)).sum()
