"""Simulated annealing of spins: Metropolis sweeps while the inverse temperature follows a schedule.

Kirkpatrick, Gelatt, Vecchi, Science 220, 671 (1983).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, one_of, positive_int
from inference.keys import check_key
from inference.progress import progress_bar
from inference.schedules import Schedule

from .metropolis import (
    DeltaEnergy,
    Energy,
    Order,
    check_energies,
    metropolis_sweep,
    spin_array,
)

_SWEEPS_A_CALL = 50
"""Sweeps compiled as one loop between two updates of the bar."""


class AnnealingResult(NamedTuple):
    """The best configuration of a run, and the run."""

    configuration: np.ndarray[tuple[int], np.dtype[np.int8]]
    """``(n,)`` ±1 of the lowest energy at the end of a sweep."""
    energy: float
    n_steps: int
    """Sweeps."""
    energies: Floats
    """``(n_sweeps,)`` energy after each sweep."""
    accept_probs: Floats
    """``(n_sweeps,)`` mean acceptance probability of each sweep."""
    last: np.ndarray[tuple[int], np.dtype[np.int8]]
    """``(n,)`` where the run ended; hand it back with ``first_sweep=n_steps`` to go on."""


def simulated_annealing(
    energy: Energy,
    delta_energy: DeltaEnergy,
    init: ArrayLike,
    *,
    schedule: Schedule,
    n_sweeps: int,
    key: jax.Array,
    args: tuple[Any, ...] = (),
    order: Order = "random",
    first_sweep: int = 0,
    progress: bool | None = None,
) -> AnnealingResult:
    """Look for a configuration of low energy.

    Parameters
    ----------
    energy, delta_energy
        ``energy(spins, *args)`` and ``delta_energy(spins, site, *args)``, scalars.
    init
        ``(n,)`` ±1 to start from.
    schedule
        Inverse temperature by the number of the sweep.
    n_sweeps
        Sweeps of ``n`` proposals.
    key
        A typed key; sweep ``t`` uses ``fold_in(key, t)``, so a run in parts is the run in one.
    args
        Further arguments of both functions.
    order
        ``"random"`` or ``"sequential"`` sites.
    first_sweep
        Number of the first sweep: of sweeps done before, to go on.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    AnnealingResult
        Arrays on the host.

    Raises
    ------
    TypeError
        If ``key`` is no typed key.
    ValueError
        If an argument is out of range or ``delta_energy`` is not the difference of two energies.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> from inference.schedules import linear
    >>> ring = lambda s: -(s * jnp.roll(s, 1)).sum()
    >>> flip = lambda s, i: 2 * s[i] * (s[i - 1] + s[(i + 1) % 8])
    >>> found = simulated_annealing(
    ...     ring, flip, [1, -1] * 4, schedule=linear(0.1, 3.0, 200), n_sweeps=200,
    ...     key=jax.random.key(0),
    ... )
    >>> found.energy
    -8.0
    """
    check_key(key)
    positive_int("n_sweeps", n_sweeps)
    one_of("order", order, ("random", "sequential"))
    spins = spin_array("init", init)
    value = check_energies(energy, delta_energy, spins, args)
    best, lowest = spins, value
    energies, accepted = [], []
    with progress_bar(n_sweeps, "annealing", progress) as bar:
        for start in range(first_sweep, first_sweep + n_sweeps, _SWEEPS_A_CALL):
            stop = min(start + _SWEEPS_A_CALL, first_sweep + n_sweeps)
            spins, value, best, lowest, trace = _anneal(
                energy, delta_energy, schedule, order, stop - start,
                key, start, (spins, value, best, lowest), args,
            )  # fmt: skip
            energies.append(np.asarray(trace[0]))
            accepted.append(np.asarray(trace[1]))
            bar.update(stop - start)
            bar.set_postfix(energy=float(lowest), refresh=False)
    return AnnealingResult(
        np.asarray(best), float(lowest), n_sweeps,
        np.concatenate(energies).astype(np.float64),
        np.concatenate(accepted).astype(np.float64), np.asarray(spins),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _anneal(
    energy: Energy,
    delta_energy: DeltaEnergy,
    schedule: Schedule,
    order: Order,
    n_sweeps: int,
    key: jax.Array,
    first: int,
    start: tuple[jax.Array, jax.Array, jax.Array, jax.Array],
    args: tuple[Any, ...],
) -> Any:
    def sweep(carry: Any, step: jax.Array) -> Any:
        spins, value, best, lowest = carry
        swept = metropolis_sweep(
            jax.random.fold_in(key, step), spins, value, schedule(step), delta_energy, args,
            n_flips=spins.shape[0], order=order,
        )  # fmt: skip
        value = jnp.asarray(energy(swept.spins, *args), value.dtype)  # without drift
        better = value < lowest
        best = jnp.where(better, swept.spins, best)
        lowest = jnp.minimum(value, lowest)
        return (swept.spins, value, best, lowest), (value, swept.accept_prob)

    (spins, value, best, lowest), trace = jax.lax.scan(sweep, start, first + jnp.arange(n_sweeps))
    return spins, value, best, lowest, trace
