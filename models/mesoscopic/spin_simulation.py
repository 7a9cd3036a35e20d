"""Simulation of spin systems of any size: averages with errors, entropy production in two ways.

Rates ``k_i(s) = 1 / (1 + exp(2 beta s_i h_i))`` with fields ``h = couplings @ s + field``. In the
steady state the entropy production is the mean of

    heat:            (1 / T) * sum over flips of -2 beta s_i h_i    (before the flip)
    state function:  -2 beta sum_i k_i s_i h_i = beta sum_i (h_i tanh(beta h_i) - s_i h_i)

The second is the rate at which the first is expected to grow, and needs neither histograms nor
counts of transitions. Time in units of the attempt time of a spin, entropy in nats.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from inference.checks import Floats, at_least_zero, one_of, positive, positive_int
from inference.dynamics.driver import Checkpoint
from inference.dynamics.jump import BLOCK, JumpRun, rejection_free, uniformised
from inference.dynamics.tau_leaping import tau_leap
from inference.progress import Stop
from inference.status import OnFailure, Status, check_on_failure, report_status

from .spin_estimates import Estimate, Relaxation, effective_sample_size, estimate, relaxation
from .spin_flips import (
    SpinState,
    check_spin_system,
    entropy_of_flips,
    first_state,
    flip,
    flip_rate,
    flip_rates,
    heat,
    heat_of_leap,
    leap,
    refreshed,
    room_for,
    spin_arguments,
    state_index,
)

Method = Literal["rejection_free", "uniformised", "tau_leap"]

MOST_SPINS_COUNTED = 16
"""Occupation of all states is counted up to here."""
_MOST_SPINS_CORRELATED = 64
"""Correlations are gathered up to here: their memory is that of ``n**2`` numbers a chain."""
_LEAST_CHAINS = 16


class SpinRun(NamedTuple):
    """Averages in the steady state with standard errors across chains, and whether it is one."""

    mean_spins: Estimate
    """``(n,)``."""
    correlations: Estimate | None
    """``(n, n)`` of ``<s_i s_j>``; None above 64 spins."""
    entropy_production: Estimate
    """Mean of the state function, nats by unit time."""
    heat_rate: Estimate
    """The same from the heat of all flips."""
    flip_rate: Estimate
    """Flips of all spins by unit time."""
    occupation: Estimate | None
    """``(2**n,)`` share of time in each state, errors across 16 groups of chains; None above 16
    spins."""
    ess: Floats
    """``(n + 1,)`` independent states that tell as much: by spin, and of the state function."""
    relaxation: Relaxation
    """Comparison of the two halves of the run."""
    spins: NDArray[np.int8]
    """``(n_chains, n)`` at the end."""
    time: Floats
    """``(n_chains,)`` that averages are over."""
    n_events: NDArray[np.int64]
    """``(n_chains,)`` flips in this time."""
    chain_averages: dict[str, Floats]
    """``(n_chains, 2, ...)`` averages over each half of the run."""
    n_steps: int
    """Blocks of events."""
    final: Checkpoint[Any]
    """Hand it back as ``init`` to go on."""
    status: Status
    """CONVERGED; UNRELAXED, OVERFLOW or NON_FINITE."""

    @property
    def residual(self) -> float:
        """Largest difference between the halves of the run, in standard errors."""
        return float(np.abs(self.relaxation.z).max())

    def to_arviz(self) -> Any:
        """Return the averages of chains as an ArviZ data container: two draws, the two halves."""
        from inference.interop import to_arviz

        return to_arviz(self.chain_averages, dims={"mean_spins": ["spin"]})


def simulate_spins(
    couplings: ArrayLike,
    field: ArrayLike,
    beta: float = 1.0,
    *,
    key: jax.Array | None = None,
    n_chains: int = 1024,
    n_events: int | None = None,
    duration: float | None = None,
    burn_in: float | None = None,
    method: Method = "rejection_free",
    tau: float | None = None,
    init: ArrayLike | Checkpoint[Any] | None = None,
    dtype: DTypeLike = np.float32,
    progress: bool | None = False,
    should_stop: Stop | None = None,
    on_failure: OnFailure = "warn",
) -> SpinRun:
    """Simulate many chains of a spin system and return averages with their errors.

    Parameters
    ----------
    couplings
        ``(n, n)``, row: target; zero diagonal.
    field
        ``(n,)`` external fields.
    beta
        Inverse temperature.
    key
        A typed key. A run that goes on has its own.
    n_chains
        Independent chains, at least 16: errors are from their scatter.
    n_events
        Events of each chain after the burn-in (flips, or attempts if ``method="uniformised"``);
        rounded up to two halves of whole blocks of 64, or to two short blocks. With ``duration``
        the most events there is room for, burn-in included (None: enough but once in 1e20).
    duration
        Time of each chain after the burn-in. Give this or ``n_events``.
    burn_in
        What is discarded first, in the same unit; None discards half as much as is kept.
    method
        ``"rejection_free"`` (exact; every event is a flip), ``"uniformised"`` (exact; random sites
        are tried) or ``"tau_leap"`` (biased: all spins at once, needs ``tau`` and ``duration``).
    tau
        Step of ``"tau_leap"``.
    init
        ``(n_chains, n)`` spins of ±1, None for random ones, or ``final`` of an earlier run with the
        same system and method, to go on; averages are then of the new part alone.
    dtype
        Of fields and rates. Sums are in the widest precision there is, and fields are computed anew
        every block.
    progress, should_stop
        As for `inference.dynamics.simulate`, in blocks.
    on_failure
        Whether to warn, raise or stay silent if the run does not look like a steady state, or
        the events did not suffice.

    Returns
    -------
    SpinRun
        Heed ``status``: averages of a run that had not forgotten its start are averages of nothing.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range or shapes do not fit.
    ConvergenceError
        If ``on_failure="raise"`` and there was a failure.

    Notes
    -----
    An event costs ``O(n)`` operations and, up to 64 spins, ``O(n**2)`` for the correlations.
    Flips are Markov, with columns ``i`` of the couplings added to the fields when spin ``i`` flips.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from models.mesoscopic.spin_simulation import simulate_spins
    >>> run = simulate_spins([[0, 0.8], [-0.5, 0]], [0, 0], key=jax.random.key(0), n_events=1000)
    >>> exact = 0.5 * (0.8 + 0.5) * (np.tanh(0.8) + np.tanh(0.5))
    >>> abs(run.entropy_production.value - exact) < 4 * run.entropy_production.standard_error
    np.True_
    """
    check_on_failure(on_failure)
    matrix, outer = check_spin_system(couplings, field)
    args = spin_arguments(matrix, outer, beta, dtype)
    n = len(outer)
    if not isinstance(init, Checkpoint) and positive_int("n_chains", n_chains) < _LEAST_CHAINS:
        raise ValueError(f"n_chains: expected at least {_LEAST_CHAINS}, got {n_chains}")
    schedule = _schedule(method, n, n_events, duration, burn_in, tau)
    start, key = first_state(init, n_chains, args, key)
    gather: dict[str, Any] = {
        "observe": _observe_all if n <= _MOST_SPINS_CORRELATED else _observe, "count": heat,
        "refresh": refreshed, "args": args, "layout": "batch", "progress": progress,
        "should_stop": should_stop,
    }  # fmt: skip
    if n <= MOST_SPINS_COUNTED:
        gather |= {"place": state_index, "n_places": 2**n}
    early, late = schedule.halves(start, key, gather)
    return _summary(n, early, late, on_failure)


class _Schedule(NamedTuple):
    """How much of what a run takes: a burn-in and two halves."""

    method: Method
    n_spins: int
    n_events: int | None
    duration: float | None
    burn_in: float
    tau: float | None

    def halves(self, start: Any, key: Any, gather: dict[str, Any]) -> tuple[JumpRun, JumpRun]:
        """Run the burn-in and the first half, and the second."""
        early = self._half(start, key, self.burn_in, gather)
        return early, self._half(early.final.restarted(), None, 0.0, gather)

    def _half(self, start: Any, key: Any, burn_in: float, gather: dict[str, Any]) -> JumpRun:
        if self.tau is not None and self.duration is not None:
            return tau_leap(
                flip_rates, leap, start, key=key, tau=self.tau, law="bernoulli",
                n_steps=math.ceil(self.duration / 2 / self.tau),
                burn_in=math.ceil(burn_in / self.tau), **(gather | {"count": heat_of_leap}),
            )  # fmt: skip
        half = None if self.duration is None else self.duration / 2
        n_events = self._room(burn_in)
        window: dict[str, Any] = {
            "key": key, "n_events": n_events, "duration": half, "burn_in": burn_in,
            "block_size": min(BLOCK, n_events), **gather,
        }  # fmt: skip
        if self.method == "uniformised":
            return uniformised(flip_rate, flip, start, n_channels=self.n_spins, **window)
        return rejection_free(flip_rates, flip, start, **window)

    def _room(self, burn_in: float) -> int:
        """Return the events of a half, or all that it and its burn-in may have."""
        if self.duration is None:
            assert self.n_events is not None
            return math.ceil(self.n_events / 2)
        time = self.duration / 2 + burn_in
        if self.n_events is None:
            return room_for(self.n_spins * time)
        return math.ceil(self.n_events * time / (self.duration + self.burn_in))


def _schedule(
    method: Method,
    n_spins: int,
    n_events: int | None,
    duration: float | None,
    burn_in: float | None,
    tau: float | None,
) -> _Schedule:
    one_of("method", method, ("rejection_free", "uniformised", "tau_leap"))
    if (tau is not None) != (method == "tau_leap"):
        raise ValueError(f"tau: expected with method='tau_leap' only, got {tau} with {method!r}")
    if tau is not None:
        positive("tau", tau)
        if duration is None or n_events is not None:
            raise ValueError("n_events: expected duration in its place with method='tau_leap'")
    if n_events is not None:
        positive_int("n_events", n_events)
    kept = n_events if duration is None else positive("duration", duration)
    if kept is None:
        raise ValueError("n_events, duration: expected one of the two, got neither")
    first = at_least_zero("burn_in", kept / 2 if burn_in is None else burn_in)
    return _Schedule(method, n_spins, n_events, duration, first, tau)


def _observe(system: SpinState, couplings: Any, field: Any, beta: Any) -> dict[str, jax.Array]:
    produced = entropy_of_flips(system, beta)
    production = (jax.nn.sigmoid(produced) * produced).sum(axis=0)
    return {"spins": system.spins, "production": production, "square": production**2}


def _observe_all(system: SpinState, couplings: Any, field: Any, beta: Any) -> dict[str, jax.Array]:
    products = system.spins[:, None] * system.spins[None]
    return _observe(system, couplings, field, beta) | {"products": products}


class _Half(NamedTuple):
    """Sums of one half of a run, as of `JumpRun`."""

    averages: dict[str, Floats]
    totals: Floats
    occupation: Floats
    time: Floats
    n_events: NDArray[np.int64]


def _summary(n: int, early: JumpRun, late: JumpRun, on_failure: OnFailure) -> SpinRun:
    """Return averages over both halves, and compare the halves."""
    # not the checkpoint, whose key is no array of NumPy
    halves = [_Half(*jax.tree_util.tree_map(np.asarray, tuple(half[:5]))) for half in (early, late)]
    first, second = halves
    time = first.time + second.time

    def whole(name: str) -> Estimate:
        return estimate(
            first.averages[name] * first.time + second.averages[name] * second.time, time
        )

    production, squares, spins = whole("production"), whole("square"), whole("spins")
    mean = np.append(spins.value, production.value)
    square = np.append(np.ones(n), squares.value)
    error = np.append(spins.standard_error, production.standard_error)
    compared = [[half.averages["spins"], half.averages["production"][None]] for half in halves]
    correlations = None
    if n <= _MOST_SPINS_CORRELATED:
        correlations = whole("products")
        pairs = np.triu_indices(n, 1)
        for half, rows in zip(halves, compared):
            rows.append(half.averages["products"][pairs])
    occupation = None
    if n <= MOST_SPINS_COUNTED:
        spent = first.occupation + second.occupation
        occupation = estimate(spent.T, spent.sum(axis=1))
    check = relaxation(*(np.concatenate(rows) for rows in compared))
    status = Status(int(max(int(half.status.max()) for half in (early, late))))
    if status is Status.CONVERGED and not check.relaxed:
        status = Status.UNRELAXED
    report_status(status, "the simulation of spins", on_failure=on_failure, stacklevel=4)
    shares = {
        "mean_spins": [half.averages["spins"].T for half in halves],
        "entropy_production": [half.averages["production"] for half in halves],
        "heat_rate": [half.totals / half.time for half in halves],
    }
    n_events = first.n_events + second.n_events
    return SpinRun(
        spins, correlations, production, estimate(first.totals + second.totals, time),
        estimate(n_events.astype(float), time), occupation,
        effective_sample_size(mean, square, error), check,
        np.asarray(late.system.spins).T.astype(np.int8), time, n_events.astype(np.int64),
        {name: np.stack(both, axis=1) for name, both in shares.items()},
        early.n_steps + late.n_steps, late.final, status,
    )  # fmt: skip
