"""Configurations annealed until one violates nothing: what the models offer as solvers."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from inference.checkpoints import Place, kept
from inference.checks import Floats, Spins, plus_minus_one, positive_int
from inference.kernels import RandomState, random_state
from inference.progress import Stop, never
from inference.schedules import Schedule, linear
from inference.status import Status

from .constraint_counts import Clauses, Counts, ThresholdVotes, count_violated
from .local_search import random_spins
from .single_spin import (
    AnnealTrace,
    Centre,
    Ensemble,
    SweepKernel,
    anneal,
    majority,
    start_ensemble,
)

FIRST_BETA, LAST_BETA = 0.5, 4.0
"""Ends of the straight line that the inverse temperature follows by default."""
FIRST_COUPLING, LAST_COUPLING = 0.3, 1.2
"""The same of the attraction of replicas."""


class SearchTrace(NamedTuple):
    """The sweeps of a search; the last one is cut short by a solution."""

    beta: Floats
    """``(n_sweeps,)`` inverse temperature."""
    energy: Counts
    """``(n_sweeps,)`` violated constraints after the sweep."""
    accept_prob: Floats
    """``(n_sweeps,)`` mean acceptance probability of the proposals."""


class AnnealingResult(NamedTuple):
    """The best configuration at the end of a sweep."""

    configuration: Spins
    """±1 of the shape of the problem's weights, or ``(n_spins,)``."""
    energy: int
    """Its number of violated constraints: clauses, or patterns it gets wrong."""
    n_steps: int
    """Proposals."""
    status: Status
    """CONVERGED if nothing is violated, else MAX_STEPS."""
    trace: SearchTrace

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)

    @property
    def weights(self) -> Spins:
        """The configuration, as learning problems call it."""
        return self.configuration

    @property
    def assignment(self) -> Spins:
        """The configuration, as formulas call it."""
        return self.configuration


def annealed_search(
    wiring: ThresholdVotes | Clauses,
    *,
    betas: Schedule | None = None,
    n_sweeps: int = 1000,
    seed: int = 0,
    init: Spins | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> AnnealingResult:
    """Look for a configuration that violates nothing, by simulated annealing.

    Parameters
    ----------
    wiring
        The constraints.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    n_sweeps
        Most sweeps of as many proposals as spins.
    seed
        Of the start and the proposals.
    init
        ``(n_spins,)`` ±1 where to start; random if None.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Raises
    ------
    TypeError
        If ``betas`` is no function.
    ValueError
        If ``n_sweeps`` or ``seed`` is out of range, ``init`` has a wrong shape or entry, or
        ``betas`` does not return one number a sweep that is at least 0.
    """
    n_sweeps = positive_int("n_sweeps", n_sweeps)
    temperatures = _on_sweeps("betas", betas, (FIRST_BETA, LAST_BETA), n_sweeps)
    state = random_state(seed)
    first = random_spins(wiring.n_spins, state) if init is None else init
    with kept(
        checkpoint, "annealed_search", wiring=wiring, betas=temperatures, seed=seed, init=init
    ) as keep:
        found = anneal(
            start_ensemble(wiring, np.asarray(first)[None]), betas=temperatures, state=state,
            stop=should_stop, progress=progress, keep=keep,
        )  # fmt: skip
    energy, trace = int(found.energies[0]), found.trace
    return AnnealingResult(
        found.configurations[0], energy, found.n_steps,
        Status.MAX_STEPS if energy else Status.CONVERGED,
        SearchTrace(trace.beta, trace.energies[:, 0], trace.accept_prob),
    )  # fmt: skip


class ReplicatedState(NamedTuple):
    """Where a replicated search stands; nothing in it is changed when the search goes on."""

    replicas: Spins
    """``(n_replicas, n_spins)`` ±1."""
    centre: Spins
    """``(n_spins,)`` ±1, or ``(0,)`` if it is summed out."""
    best: Spins
    """``(n_replicas, n_spins)`` of the lowest energy of each replica at the end of a sweep."""
    generator: RandomState
    """``(4,)`` words of the generator."""
    n_sweeps: int
    """Sweeps so far, of this run and of those that it went on from."""


class ReplicatedAnnealingResult(NamedTuple):
    """The best configuration of all replicas and of their centre."""

    configuration: Spins
    """±1 of the shape of the problem's weights, or ``(n_spins,)``."""
    energy: int
    """Its number of violated constraints: clauses, or patterns it gets wrong."""
    n_steps: int
    """Proposals of this run, over all replicas."""
    status: Status
    """CONVERGED if nothing is violated, else MAX_STEPS."""
    trace: AnnealTrace
    """Inverse temperature, coupling, energies of the replicas and acceptance, by sweep."""
    replicas: Spins
    """``(n_replicas, ...)`` ±1, of each the best configuration at the end of a sweep."""
    state: ReplicatedState
    """Where the replicas are; hand it back as ``init`` to go on."""

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)

    @property
    def weights(self) -> Spins:
        """The configuration, as learning problems call it."""
        return self.configuration

    @property
    def assignment(self) -> Spins:
        """The configuration, as formulas call it."""
        return self.configuration


def replicated_search(
    wiring: ThresholdVotes | Clauses,
    *,
    n_replicas: int = 3,
    betas: Schedule | None = None,
    couplings: Schedule | None = None,
    n_sweeps: int = 1000,
    centre: Centre = "traced",
    kernel: SweepKernel = "metropolis",
    seed: int = 0,
    init: Spins | ReplicatedState | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> ReplicatedAnnealingResult:
    """Look for a configuration that violates nothing, by annealing coupled replicas.

    Parameters
    ----------
    wiring
        The constraints.
    n_replicas
        Number of replicas; ``init`` has to have as many.
    betas
        Inverse temperature by the number of the sweep; from 0.5 to 4 on a straight line if None.
    couplings
        Attraction by the number of the sweep; from 0.3 to 1.2 on a straight line if None.
    n_sweeps
        Most sweeps of as many proposals as all replicas have spins, counted from the start of the
        schedules: a state that has made some of them makes the others.
    centre, kernel
        As in :func:`.single_spin.start_ensemble` and :func:`.single_spin.anneal`.
    seed
        Of the start and the proposals; not used to go on from a state.
    init
        ``(n_replicas, n_spins)`` ±1 where to start, random if None, or the ``state`` of an earlier
        result to go on as if it had never stopped.
    should_stop
        Ends the search early, after a sweep.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Raises
    ------
    TypeError
        If a schedule is no function.
    ValueError
        If an argument is out of range, ``init`` has a wrong shape or entry, or a schedule does not
        return one number a sweep that is at least 0.
    """
    n_replicas, n_sweeps = (
        positive_int("n_replicas", n_replicas),
        positive_int("n_sweeps", n_sweeps),
    )
    temperatures = _on_sweeps("betas", betas, (FIRST_BETA, LAST_BETA), n_sweeps)
    attraction = _on_sweeps("couplings", couplings, (FIRST_COUPLING, LAST_COUPLING), n_sweeps)
    given = init.replicas if isinstance(init, ReplicatedState) else init
    shape = (n_replicas, wiring.n_spins)
    if given is not None and np.shape(given) != shape:
        raise ValueError(f"init: expected replicas of shape {shape}, got {np.shape(given)}")
    if isinstance(init, ReplicatedState):
        generator, done = np.array(init.generator), init.n_sweeps
        ensemble = _ensemble_of(wiring, init, centre)
    else:
        generator, done = random_state(seed), 0
        first = (
            random_spins(n_replicas * wiring.n_spins, generator).reshape(shape)
            if given is None
            else plus_minus_one("init", given, ndim=2)
        )
        ensemble = start_ensemble(wiring, first, centre)
    if done >= n_sweeps:
        raise ValueError(f"n_sweeps: expected more than the {done} sweeps of init, got {n_sweeps}")
    with kept(
        checkpoint, "replicated_search", wiring=wiring, n_replicas=n_replicas, betas=temperatures,
        couplings=attraction, centre=centre, kernel=kernel, seed=seed, init=init,
    ) as keep:  # fmt: skip
        found = anneal(
            ensemble, betas=temperatures[done:], couplings=attraction[done:], state=generator,
            kernel=kernel, stop=should_stop, progress=progress, keep=keep,
        )  # fmt: skip
    middle = ensemble.centre.astype(np.int8)
    state = ReplicatedState(
        found.last, middle, found.configurations, generator, done + len(found.trace.beta)
    )
    candidates = np.vstack([found.configurations, middle if len(middle) else majority(found.last)])
    levels = count_violated(wiring, candidates)[1]
    lowest = int(np.argmin(levels))  # a replica, if the centre is only as good
    energy = int(levels[lowest])
    return ReplicatedAnnealingResult(
        candidates[lowest], energy, found.n_steps,
        Status.MAX_STEPS if energy else Status.CONVERGED, found.trace, found.configurations, state,
    )  # fmt: skip


def _ensemble_of(
    wiring: ThresholdVotes | Clauses, state: ReplicatedState, centre: Centre
) -> Ensemble:
    """Return the replicas of a state, with counts of their own."""
    ensemble = start_ensemble(wiring, state.replicas, centre)
    if np.shape(state.centre) != ensemble.centre.shape:
        raise ValueError(
            f"init: expected a state with centre={centre!r}, got one with a centre of shape "
            f"{np.shape(state.centre)}"
        )
    best = np.array(state.best)
    return ensemble._replace(
        centre=np.array(state.centre, np.int32), best=best,
        best_energies=count_violated(wiring, best)[1],
    )  # fmt: skip


def _on_sweeps(
    name: str, schedule: Schedule | None, ends: tuple[float, float], n_sweeps: int
) -> Floats:
    """Return ``(n_sweeps,)`` values; from the first of the ends to the other one if None."""
    along = linear(*ends, n_sweeps) if schedule is None else schedule
    if not callable(along):
        raise TypeError(f"{name}: expected a function of the sweep, got {along!r:.60}")
    values = np.asarray(along(jnp.arange(n_sweeps)), np.float64)
    if values.shape not in ((), (n_sweeps,)):
        raise ValueError(f"{name}: expected {n_sweeps} numbers, got shape {values.shape}")
    return np.broadcast_to(values, (n_sweeps,))
