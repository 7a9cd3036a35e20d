"""Gibbs sampling of histories: exact in the limit of many sweeps, loops or not.

A step draws one person's infection and recovery day from their joint law given everybody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphs.temporal import ContactNetwork
from inference.checkpoints import Place, kept
from inference.checks import Floats, positive_int
from inference.interop import Diagnostics, diagnostics, status_of_r_hat, to_arviz
from inference.kernels import random_state
from inference.progress import progress_bar
from inference.status import ConvergenceError, Status

from .epidemic import Epidemic
from .gibbs_kernel import FORBIDDEN, Meetings, count, meetings, n_broken, sweep
from .node_weights import node_weights
from .observations import Observations
from .simulation import simulate

_N_BATCHES = 20
"""Batches a chain; the errors come from the spread of their means."""
_SEARCH_POWERS = (1.0, 0.5, 0.2, 0.02)
"""Of the law under which a first history is sought, one attempt after another: flatter laws cross
what is improbable."""
_SEARCH_SWEEPS = 100
"""Most sweeps of an attempt."""
_LEAST_PRICE, _PRICE_STEP = -2.0, -0.25
"""Log price of a broken certainty in the first sweep of an attempt, and what each adds."""
_WORK = 3e7
"""Contacts looked at between two looks at the keyboard."""


class GibbsResult(NamedTuple):
    """What the chains visited."""

    state_prob: Floats
    """``(n_people, n_days + 1, 3)``: S, I, R."""
    infection_day_prob: Floats
    """``(n_people, n_days + 2)``: before day 0, by a contact of day 0, 1, ..., never."""
    standard_error: Floats
    """``(n_people, n_days + 1, 3)`` of ``state_prob``, from means over batches; 0 where a state was
    always or never visited, which says nothing about rare ones."""
    diagnostics: Diagnostics
    """Of the number of people infected on each day, ``(n_days + 1,)``."""
    residual: float
    """Largest R-hat of these numbers minus one; NaN R-hats, of numbers that never change, aside."""
    n_steps: int
    """Sweeps a chain, warm-up and search for a first history included."""
    status: Status
    """CONVERGED if no R-hat exceeds 1.05, else MAX_STEPS."""
    infection_day: NDArray[np.int16] | None
    """``(n_chains, n_samples, n_people)`` draws of ``a``, if kept."""
    recovery_day: NDArray[np.int16] | None
    """The same of ``c``."""

    def to_arviz(self) -> Any:
        """Return the draws as an ArviZ data container.

        Raises
        ------
        ValueError
            If they were not kept.
        """
        if self.infection_day is None or self.recovery_day is None:
            raise ValueError("draws: none were kept; sample with keep_draws=True")
        draws = {"infection_day": self.infection_day, "recovery_day": self.recovery_day}
        return to_arviz(draws, dims={name: ["person"] for name in draws})


def gibbs(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    num_warmup: int = 500,
    num_samples: int = 2000,
    num_chains: int = 4,
    thinning: int = 1,
    seed: int = 0,
    keep_draws: bool = False,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> GibbsResult:
    """Sample everybody's infection and recovery day given the observations.

    Parameters
    ----------
    network
        The contacts.
    observations, epidemic
        Any of theirs.
    num_warmup, num_samples, thinning
        Sweeps dropped, draws kept a chain, and sweeps from one draw to the next.
    num_chains
        Independent chains, on threads.
    seed
        Chain ``k`` has stream ``k`` of it.
    keep_draws
        Whether to keep the draws themselves, 4 bytes a person, draw and chain.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    GibbsResult
        Means over draws and chains, with errors.

    Raises
    ------
    ConvergenceError
        If no history is found that the observations allow.
    ValueError
        If an argument is out of range, something does not fit the network, or one person's
        observations are impossible.

    Notes
    -----
    The first history is an epidemic drawn from the model, repaired by sweeps in which a broken
    certainty (an infection from nowhere, an escape from a certain one) costs more and more. With
    transmission probabilities of 1 single persons may be unable to change, and chains stay apart:
    look at R-hat.

    Examples
    --------
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations, gibbs
    >>> network = ContactNetwork.from_events([0], [1], [0], 0.5, n_days=1)
    >>> sick = Observations.of_states([1], [1], [1])
    >>> result = gibbs(network, sick, Epidemic(seed_prob=0.1, recovery_prob=0.0), progress=False)
    >>> round(float(result.state_prob[0, 0, 0]), 1)  # exactly 0.62069
    0.6
    """
    for name, value in (
        ("num_samples", num_samples), ("num_chains", num_chains), ("thinning", thinning),
    ):  # fmt: skip
        positive_int(name, value)
    if isinstance(num_warmup, bool) or num_warmup < 0 or int(num_warmup) != num_warmup:
        raise ValueError(f"num_warmup: expected an integer of at least 0, got {num_warmup!r}")
    if num_samples < 2 * _N_BATCHES:
        raise ValueError(f"num_samples: expected at least {2 * _N_BATCHES}, got {num_samples}")
    observations.check(network.n_people, network.n_days, network.people)
    model = _Model(network, observations, epidemic)
    chains = [
        _Chain(model, seed, stream, num_warmup, num_samples, thinning, keep_draws)
        for stream in range(num_chains)
    ]
    with (
        ThreadPoolExecutor(min(num_chains, os.cpu_count() or 1)) as pool,
        progress_bar(
            num_chains * (num_warmup + num_samples * thinning), "sampling", progress
        ) as bar,
        kept(
            checkpoint, "contact_tracing.gibbs", network=network, observations=observations,
            epidemic=epidemic, num_warmup=num_warmup, num_samples=num_samples,
            num_chains=num_chains, thinning=thinning, seed=seed, keep_draws=keep_draws,
        ) as keep,
    ):  # fmt: skip

        def so_far() -> list[Any]:
            return [chain.so_far() for chain in chains]

        for chain, state in zip(chains, keep.restored or ()):
            chain.restore(state)
            bar.update(num_warmup - chain.n_left + chain.n_drawn * thinning)
        runs = [chain.run() for chain in chains]
        while True:
            done = list(pool.map(lambda run: next(run, 0), runs))
            if not any(done):
                break
            bar.update(sum(done))
            keep.offer(so_far)
        keep.offer(so_far, last=True)
    return _collected(chains, network.n_days)


class _Model:
    """The arrays that the chains share."""

    def __init__(
        self, network: ContactNetwork, observations: Observations, epidemic: Epidemic
    ) -> None:
        n, n_days = network.n_people, network.n_days
        weights = node_weights(epidemic, observations, n, n_days)
        self.network, self.epidemic = network, epidemic
        self.met: Meetings = meetings(network)
        self.profile = np.ascontiguousarray(epidemic.profile(n_days))
        self.escape = np.ascontiguousarray(epidemic.escape(n_days))
        with np.errstate(divide="ignore"):
            self.log_table = np.log(weights.table)
        self.kind = weights.table_of_person
        impossible = np.flatnonzero(~np.isfinite(self.log_table.max(axis=(1, 2)))[self.kind])
        if impossible.size:
            person = network.people[impossible[0]]
            raise ValueError(f"person {person}: its observations are impossible")


class _Chain:
    """One chain and what it has counted."""

    def __init__(
        self,
        model: _Model,
        seed: int,
        stream: int,
        n_warmup: int,
        n_samples: int,
        thinning: int,
        keep_draws: bool,
    ) -> None:
        n, n_days = model.network.n_people, model.network.n_days
        self.model, self.n_warmup, self.n_samples, self.thinning = (
            model, n_warmup, n_samples, thinning,
        )  # fmt: skip
        self.state = random_state(seed, stream)
        first = simulate(model.network, model.epidemic, seed=np.random.default_rng([seed, stream]))
        self.infection, self.recovery = first.infection_day, first.recovery_day
        self.n_sweeps = self.n_drawn = 0
        self.n_left = n_warmup
        self.has_history = False
        self.days = np.zeros((_N_BATCHES, 2, n, n_days + 2), np.int32)
        """Counts of infection and recovery days, by batch."""
        self.n_infected = np.zeros((n_samples, n_days + 1), np.int64)
        shape = (2, n_samples, n) if keep_draws else (0, 0, 0)
        self.draws = np.empty(shape, np.int16)

    def run(self) -> Iterator[int]:
        """Do what is left; yield the number of sweeps done from time to time."""
        if not self.has_history:
            self._find_history()
            self.has_history = True
        work = max(1, len(self.model.met.other) + 10 * len(self.infection))
        block = max(1, int(_WORK // work))
        while self.n_left:
            done = min(block, self.n_left)
            self._sweeps(done)
            self.n_left -= done
            yield done
        waiting = 0
        while self.n_drawn < self.n_samples:
            self._sweeps(self.thinning)
            self._count(self.n_drawn)
            self.n_drawn += 1
            waiting += self.thinning
            if waiting >= block or self.n_drawn == self.n_samples:
                yield waiting
                waiting = 0

    def so_far(self) -> tuple[Any, ...]:
        """Return all that changes."""
        numbers = self.n_sweeps, self.n_drawn, self.n_left, self.has_history
        return *numbers, *self._arrays()

    def restore(self, state: tuple[Any, ...]) -> None:
        """Go back to where :meth:`so_far` was asked."""
        self.n_sweeps, self.n_drawn, self.n_left, self.has_history, *arrays = state
        for own, saved in zip(self._arrays(), arrays, strict=True):
            own[...] = saved

    def _arrays(self) -> tuple[Any, ...]:
        return (
            self.state, self.infection, self.recovery, self.days, self.n_infected, self.draws
        )  # fmt: skip

    def _find_history(self) -> None:
        model, met, left = self.model, self.model.met, 0
        for power in _SEARCH_POWERS:
            for step in range(_SEARCH_SWEEPS):
                self._sweeps(1, _LEAST_PRICE + step * _PRICE_STEP, power)
                left = n_broken(
                    met.start, met.other, met.rate_in, model.profile, model.escape,
                    self.infection, self.recovery,
                )  # fmt: skip
                if left == 0:
                    return
        raise ConvergenceError(
            f"Gibbs sampling: no history without contradiction in {self.n_sweeps} sweeps, "
            f"{left} certainties broken in the last; allow errors of tests, or infection from "
            "outside"
        )

    def _sweeps(self, number: int, price: float = FORBIDDEN, power: float = 1.0) -> None:
        model = self.model
        for _ in range(number):
            sweep(
                *model.met, model.profile, model.escape, model.log_table, model.kind, price,
                power, self.infection, self.recovery, self.state,
            )  # fmt: skip
        self.n_sweeps += number

    def _count(self, draw: int) -> None:
        batch = draw * _N_BATCHES // self.n_samples
        infected_on, recovered_on = self.days[batch]
        count(self.infection, self.recovery, infected_on, recovered_on, self.n_infected[draw])
        if self.draws.size:
            self.draws[0, draw], self.draws[1, draw] = self.infection, self.recovery


def _collected(chains: list[_Chain], n_days: int) -> GibbsResult:
    """Return means and errors over all chains."""
    means, infection = [], 0.0
    for chain in chains:
        for days in chain.days:
            n_draws = days[0, 0].sum()
            means.append(_states(days) / n_draws)
            infection = infection + days[0] / n_draws
    states = np.array(means)
    error = states.std(axis=0, ddof=1) / np.sqrt(len(states))
    trace = np.stack([chain.n_infected for chain in chains]).astype(np.float64)
    judged = diagnostics(trace, name="infected")
    known = judged.r_hat[~np.isnan(judged.r_hat)]
    residual = float(known.max() - 1.0) if known.size else 0.0
    draws = [chain.draws for chain in chains if chain.draws.size]
    return GibbsResult(
        states.mean(axis=0),
        np.asarray(infection / len(states)),
        error,
        judged,
        residual,
        max(chain.n_sweeps for chain in chains),
        status_of_r_hat(residual + 1.0),
        np.stack([pair[0] for pair in draws]) if draws else None,
        np.stack([pair[1] for pair in draws]) if draws else None,
    )


def _states(days: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return counts of states, ``(n_people, n_days + 1, 3)``, from those of the two days."""
    ever, over = np.cumsum(days, axis=2)[:, :, :-1]
    return np.stack([days[0, 0].sum() - ever, ever - over, over], axis=-1)
