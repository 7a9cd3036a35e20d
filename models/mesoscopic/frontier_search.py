"""The computation-dissipation bottleneck: couplings that are best at a price of dissipation.

The objective has many local optima, and a search from one start at every price makes curves that
rise where they must fall. Here searches start from random couplings at every price, from the best
symmetric couplings and from what was found at neighbouring prices, upwards and downwards, until
nothing improves; and at every price the best is taken of everything that was found at any. So
information and dissipation never rise with the price, to the last digit: both are slopes of the
upper envelope of straight lines.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike

from inference.checkpoints import Keeper, Place, kept
from inference.checks import Floats, finite_array, positive, positive_int
from inference.keys import split_named
from inference.precision import require_x64
from inference.progress import Stop, never, progress_bar
from inference.status import OnFailure, Status, check_on_failure, report_status

from .coupling_ascent import ascend, residual
from .coupling_space import CouplingSpace, coupling_space
from .device_tradeoff import (
    Device,
    Objective,
    Slope,
    Tradeoff,
    check_task,
    couplings_of,
    objective_of,
)
from .frontiers import Frontier
from .spins import SpinSystem
from .tasks import GaussianTask, Task

_START_SCALE = 0.5
"""Standard deviation of random starts, before the hyperbolic tangent that keeps them in bounds."""
_EXCESS = 1e-9
"""Of the log of the gain, that is rounding."""
_N_FOLLOWED = 8
"""Local optima at a price that are followed to its neighbours: the best here may be worse there."""
_DIGITS = 7
"""Of objectives of different optima."""
_MOST_ROUNDS = 10
_GAIN = 1e-11
"""Of the objective, in nats, that is worth another round over all prices."""


Numbers = tuple[float, float, float, float]
"""Of a `Tradeoff`."""


class Candidate(NamedTuple):
    """Couplings that were found, at whatever price."""

    couplings: Floats
    found: Tradeoff
    start: str
    number: int | None = None
    """Place among all that were found; None of a start that is not worth keeping."""

    def objective(self, gamma: float) -> float:
        """Return what they are worth at a price."""
        return float(self.found.information - gamma * self.found.dissipation)


def bottleneck(
    system: Device,
    task: Task | GaussianTask,
    gammas: ArrayLike,
    *,
    symmetric: bool = False,
    restarts: int = 24,
    key: jax.Array,
    max_coupling: float = 2.0,
    allowed: ArrayLike | None = None,
    max_gain: float = 4.0,
    earlier: Frontier | None = None,
    tol: float = 1e-5,
    max_steps: int = 500,
    should_stop: Stop = never,
    progress: bool | None = None,
    on_failure: OnFailure = "warn",
    checkpoint: Place | None = None,
) -> Frontier:
    """Return the couplings that say most of the task at each price of dissipation.

    They maximise ``I(s; y) - gamma <Sigma>``, the information of a state on the label less the
    price of the mean rate of entropy production.

    Parameters
    ----------
    system
        `SpinSystem` or `LinearLangevin`: how inputs act, fields, temperatures, and the diagonal of
        the drift, all kept; its couplings are the first start.
    task
        A `Task` for spins, a `GaussianTask` for Langevin units.
    gammas
        ``(n_gamma,)`` prices, at least 0.
    symmetric
        Whether couplings are those of a device in equilibrium: ``J = J^T``, for Langevin units at
        different temperatures ``J D = D J^T``. Nothing is dissipated then, whatever the price.
    restarts
        Random starts at each price.
    key
        Draws them.
    max_coupling
        Largest absolute value of a coupling. Without a bound couplings grow until a device is
        deterministic, and comparing symmetric with other couplings means nothing.
    allowed
        ``(n, n)`` Boolean: which couplings may differ from zero; None is all off the diagonal.
    max_gain
        How many times larger than without couplings the fluctuations of a Langevin system, the
        trace of its covariance, may be: near instability it would amplify its input, and slow down,
        without limit. Spins have no such bound.
    earlier
        Of the same kind of device: its couplings are starts, too, to go on from an interrupted
        search or to other prices.
    tol
        Largest derivative of the objective, where bounds do not block it, that counts as none.
    max_steps
        Upper limit of the number of steps of one search.
    should_stop
        Asked between searches; True ends with what has been found so far.
    progress
        Whether to draw a bar of the searches, whose number may grow; None draws one on a terminal.
    on_failure
        What to do where the status is not CONVERGED.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    Frontier
        Information, dissipation, accuracy and couplings at each price.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    TypeError, ValueError
        If the task does not fit the device, an argument is out of range, the device is larger than
        20 spins.
    ConvergenceError
        With ``on_failure="raise"``, if a search did not converge.

    Notes
    -----
    L-BFGS-B (sequential quadratic programming with a bound of the gain) over the couplings
    themselves: many of the best lie on the bound, which a hyperbolic tangent would approach for
    ever. At 4 spins and 8 inputs a search takes about 70 evaluations. Some optima have small
    basins: of the parity of two of three bits, at a price of 0.3, one of five sets of 24 starts and
    two of five sets of 8 end 3e-4 nats below the best.

    After Ingrosso, Panizon, Phys. Rev. E 109, 014132 (2024), arXiv
    2307.02379, whose objective this reconstructs.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from models.mesoscopic import SpinSystem, bottleneck, parity_task
    >>> device = SpinSystem([[0.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [-0.5, 1.0]])
    >>> found = bottleneck(device, parity_task(2), [0.0, 1.0], restarts=4, key=jax.random.key(0))
    >>> bool(found.information[0] >= found.information[1])
    True
    """
    require_x64("the search of couplings")
    check_on_failure(on_failure)
    check_task(system, task)
    prices = finite_array("gammas", gammas, ndim=1)
    if (prices < 0).any():
        raise ValueError(f"gammas: expected prices of at least 0, got {prices.min():g}")
    for name, number in (("restarts", restarts), ("max_steps", max_steps)):
        positive_int(name, number)
    positive("tol", tol)
    if not max_gain > 1:
        raise ValueError(f"max_gain: expected more than 1, got {max_gain!r}")
    keys = split_named(key, "free", "symmetric")
    space = coupling_space(system, max_coupling, allowed, symmetric)
    free = None if symmetric else space
    tied = space if symmetric else _symmetric_part(system, max_coupling, allowed)
    ordered = np.unique(prices)
    n_fits = (restarts if tied else 0) + (len(ordered) * (restarts + 3) if free else 0)
    others = None if earlier is None else earlier.couplings
    with (
        progress_bar(n_fits, "couplings", progress) as bar,
        kept(
            checkpoint, "mesoscopic.bottleneck", system=system, task=task, gammas=ordered,
            symmetric=symmetric, restarts=restarts, key=key, bounds=(max_coupling, max_gain),
            space=space, earlier=others, max_steps=max_steps,
        ) as keep,
    ):  # fmt: skip
        search = _Search(system, task, max_gain, max_steps, should_stop, keep, bar)
        search.keep(space, np.zeros((space.n_units,) * 2), "none")
        search.keep(space, couplings_of(system), "given")
        for matrix in () if others is None else others:
            search.keep(space, matrix, "earlier")
        if tied:
            # the price does not matter where nothing is dissipated
            if symmetric:
                search.climb(tied, search.best(0.0), 0.0)
            search.from_random(tied, 0.0, restarts, keys["symmetric"], "symmetric")
        if free:
            for k, gamma in enumerate(ordered):
                search.climb(free, search.best(gamma), gamma)
                draws = jax.random.fold_in(keys["free"], k)
                search.from_random(free, gamma, restarts, draws, "random")
            search.exchange(free, ordered)
    return search.frontier(space, prices, symmetric, tol, on_failure)


def _symmetric_part(
    system: Device, max_coupling: float, allowed: ArrayLike | None
) -> CouplingSpace | None:
    """Return the symmetric couplings, or None where one-way ones or correlated noise allow none."""
    try:
        return coupling_space(system, max_coupling, allowed, True)
    except ValueError:
        return None


class _Search:
    """Everything that was found so far, and how to find more."""

    def __init__(
        self,
        system: Device,
        task: Task | GaussianTask,
        max_gain: float,
        max_steps: int,
        should_stop: Stop,
        keeper: Keeper,
        bar: Any,
    ) -> None:
        self.system, self.keeper, self.bar = system, keeper, bar
        self.max_gain = np.inf if isinstance(system, SpinSystem) else float(np.log(max_gain))
        self.max_steps, self.should_stop = max_steps, should_stop
        self.objective: Objective = objective_of(system, task)
        self.pool: list[Candidate] = []
        self.optima: defaultdict[float, list[Candidate]] = defaultdict(list)
        self.climbed: set[tuple[int | None, float]] = set()
        self.n_steps = self.n_climbs = 0

    def best(self, gamma: float) -> Candidate:
        """Return the best of what was found at any price."""
        return max(self.pool, key=lambda one: one.objective(gamma))

    def keep(self, space: CouplingSpace, couplings: Floats, start: str) -> bool:
        """Add couplings, moved into the space and within the gain; return whether it went."""
        matrix, found = self._judged(space, couplings)
        return self._add(matrix, found, start)

    def _judged(self, space: CouplingSpace, couplings: Floats) -> tuple[Floats, Numbers | None]:
        """Return couplings, moved into the space and within the gain, and what they give."""
        matrix, slope = self._shrunk(space.couplings(space.nearest(couplings)))
        information, dissipation, accuracy, about_input = map(float, slope.found)
        numbers = information, dissipation, accuracy, about_input
        return matrix, numbers if slope.finite else None

    def _add(self, matrix: Floats, found: Numbers | None, start: str) -> bool:
        if found is not None:
            self.pool.append(Candidate(matrix, Tradeoff(*found), start, len(self.pool)))
        return found is not None

    def from_random(
        self, space: CouplingSpace, gamma: float, n_starts: int, key: jax.Array, start: str
    ) -> None:
        """Climb from random couplings."""
        draws = np.asarray(jax.random.normal(key, (n_starts, len(space.bound))))
        for number, draw in enumerate(np.tanh(_START_SCALE * draws)):
            matrix, _ = self._shrunk(space.couplings(space.bound * draw))
            nowhere = Tradeoff(-np.inf, 0.0, 0.0, 0.0)
            self.climb(space, Candidate(matrix, nowhere, f"{start} {number}"), gamma)

    def climb(self, space: CouplingSpace, candidate: Candidate, gamma: float) -> None:
        """Add the local optimum above couplings."""
        place = candidate.number, float(gamma)
        if self.should_stop() or place in self.climbed:
            return
        if candidate.number is not None:
            self.climbed.add(place)

        def climbed() -> tuple[Floats, Numbers | None, int]:
            top = ascend(
                lambda couplings: self.evaluate(couplings, gamma),
                space,
                candidate.couplings,
                self.max_gain,
                self.max_steps,
            )
            return *self._judged(space, top), self.n_steps

        self.n_climbs += 1
        matrix, found, self.n_steps = self.keeper.once(str(self.n_climbs), climbed)
        if self._add(matrix, found, candidate.start):
            self.optima[float(gamma)].append(self.pool[-1])
        self.bar.update(1)
        self.bar.set_postfix_str(f"best {self.best(gamma).objective(gamma):.6g} at {gamma:g}")

    def exchange(self, space: CouplingSpace, gammas: Floats) -> None:
        """Follow the best local optima from price to price, up and down, until nothing improves."""
        for _ in range(_MOST_ROUNDS):
            before = [self.best(gamma).objective(gamma) for gamma in gammas]
            for order in (gammas, gammas[::-1]):
                for gamma, neighbour in zip(order[1:], order[:-1]):
                    for one in self.leading(neighbour):
                        self.climb(space, one, gamma)
            for gamma in gammas:
                self.climb(space, self.best(gamma), gamma)
            after = [self.best(gamma).objective(gamma) for gamma in gammas]
            if max(np.subtract(after, before)) < _GAIN:
                return

    def leading(self, gamma: float) -> list[Candidate]:
        """Return the best different optima that were found at a price."""
        distinct: dict[float, Candidate] = {}
        for one in self.optima[float(gamma)]:
            distinct.setdefault(round(one.objective(gamma), _DIGITS), one)
        return [distinct[value] for value in sorted(distinct, reverse=True)[:_N_FOLLOWED]]

    def frontier(
        self,
        space: CouplingSpace,
        gammas: Floats,
        symmetric: bool,
        tol: float,
        on_failure: OnFailure,
    ) -> Frontier:
        """Return the best at every price."""
        chosen = [self.best(gamma) for gamma in gammas]
        slopes = [self.evaluate(one.couplings, gamma) for one, gamma in zip(chosen, gammas)]
        left = np.array(
            [
                residual(slope, space, one.couplings, self.max_gain)
                for slope, one in zip(slopes, chosen)
            ]
        )
        columns = np.array([one.found for one in chosen], dtype=float).T
        status = np.where(left <= tol, Status.CONVERGED, Status.MAX_STEPS).astype(np.int64)
        report_status(status, "the search of couplings", on_failure=on_failure, stacklevel=4)
        return Frontier(
            device=self.system,
            gammas=gammas,
            information=columns[0],
            # rounding, by detailed balance
            dissipation=np.zeros(len(gammas)) if symmetric else columns[1],
            accuracy=columns[2],
            information_about_input=columns[3],
            couplings=np.array([one.couplings for one in chosen]),
            start=tuple(one.start for one in chosen),
            residual=left,
            n_steps=self.n_steps,
            status=status,
        )

    def evaluate(self, couplings: Floats, gamma: float) -> Slope:
        """Return the objective and its derivative at couplings, and count."""
        self.n_steps += 1
        return self.objective(couplings, float(gamma))

    def _shrunk(self, couplings: Floats) -> tuple[Floats, Slope]:
        """Return couplings, smaller by a factor where they amplify too much, and what they give."""
        slope = self.evaluate(couplings, 0.0)
        while couplings.any() and not (slope.finite and slope.gain <= self.max_gain + _EXCESS):
            couplings = 0.8 * couplings
            slope = self.evaluate(couplings, 0.0)
        return couplings, slope
