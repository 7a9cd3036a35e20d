"""Fits of cells with marks: types that share a place are told apart by what their cells look like.

Each type has its own density of every mark, and given the type a cell's position and marks are
independent. That keeps the number of parameters small where a histogram of all combinations of
positions and marks would have hardly a cell a bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from numpy.typing import ArrayLike

from inference.checkpoints import Place, kept
from inference.checks import Floats, positive, positive_int
from inference.keys import split_named
from inference.progress import Stop, never, progress_bar
from inference.status import OnFailure, Status, check_on_failure, report_status

from .ascent import Goal, drive
from .counts import Bins
from .emissions import Emission, GridDensity
from .likelihood import checked_beta, log_rates, responsibilities
from .mark_emissions import AxialVonMises, LogNormal, mark_of
from .points import Points
from .starts import generator

State = tuple[Floats, tuple[Emission, ...]]

_DERIVED = ("density",)


class MarkedFit(NamedTuple):
    """Cell types with the density of their positions and marks: a mode of the posterior."""

    membership: Floats
    """``(n_genes, n_types)``: the share of each type in the cells of a gene."""
    emissions: tuple[Emission, ...]
    """The first is that of positions, the others are those of the marks."""
    beta: Floats
    """``(n_genes, n_types)`` expected number of cells."""
    objective: float
    """Log likelihood and log prior of the cells, in nats."""
    trace: Floats
    """The objective at ``steps``."""
    steps: Sequence[int]
    residual: float
    """Last change of the objective by a step, in nats a cell."""
    status: Status
    pseudo_likelihood: bool
    """True if a mark is itself computed from the positions of other cells: the objective then
    counts the same evidence twice and compares no models."""

    @property
    def n_steps(self) -> int:
        """Steps of the best start."""
        return int(self.steps[-1])

    def assign(self, points: Points) -> Floats:
        """Return the probability of each type for each cell, ``(n_cells, n_types)``.

        Raises
        ------
        ValueError
            As `responsibilities`; genes must be those of the fit.
        """
        return responsibilities(points, self.beta, self.emissions)


def em_points(
    points: Points,
    membership: ArrayLike,
    emissions: Sequence[Emission],
    *,
    concentration: float = 1.0,
    tol: float = 1e-7,
    max_steps: int = 500,
    should_stop: Stop = never,
    on_failure: OnFailure = "warn",
) -> MarkedFit:
    """Climb to a mode of the posterior of marked cells, from a start.

    Parameters
    ----------
    points
        The cells.
    membership
        The start, ``(n_genes, n_types)``, rows sum to 1; zeros stay zero.
    emissions
        The start, one of positions and any number of marks.
    concentration
        Of the Dirichlet law of a gene's membership, at least 1.
    tol
        Ends when the objective changed by less, in nats a cell and step, three times in a row.
    max_steps
        Largest number of steps.
    should_stop
        Asked after each step.
    on_failure
        What to do if the end is not reached.

    Returns
    -------
    MarkedFit
        ``status`` is ``CONVERGED``, ``MAX_STEPS`` or ``NON_FINITE``.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a mark is missing, the concentration is below 1, or a cell is impossible
        under the start.

    Notes
    -----
    The objective does not fall, except where a refit is held back at `LEAST_SPREAD` or
    `GREATEST_SHARPNESS`. A step costs about a hundred nanoseconds a cell and type.
    """
    check_on_failure(on_failure)
    if not positive("concentration", concentration) >= 1.0:
        raise ValueError(
            f"concentration: expected at least 1, got {concentration}; the mode is on the boundary"
        )
    start = checked_beta(membership, len(points.genes))
    n_cells = np.bincount(points.gene, minlength=len(points.genes)).astype(np.float64)[:, None]
    extra = concentration - 1.0
    responsibilities(points, start, emissions)  # refuses what is impossible

    latest: list[tuple[State, Floats]] = []  # what the objective found is the next step's begin

    def objective(state: State) -> float:
        theta, laws = state
        weight, likelihood = _expected(points, theta * n_cells, laws)
        latest[:] = [(state, weight)]
        prior = extra * np.log(np.maximum(theta, 1e-300)).sum() if extra else 0.0
        prior += sum(law.log_prior() for law in laws)
        return float(likelihood - n_cells.sum() + prior)

    def advance(state: State, n_steps: int) -> State:
        for _ in range(n_steps):
            theta, laws = state
            if latest and latest[0][0] is state:
                weight = latest[0][1]
            else:
                weight, _likelihood = _expected(points, theta * n_cells, laws)
            total = _by_gene(points, weight) + extra
            row = total.sum(axis=1, keepdims=True)
            theta = np.where(row > 0, total / np.where(row > 0, row, 1.0), theta)
            state = theta, tuple(law.refit(points, weight) for law in laws)
        return state

    goal = Goal(tol * len(points), max_steps, check_every=1)
    state, course = drive((start, tuple(emissions)), advance, objective, goal, should_stop)
    report_status(course.status, "em_points", on_failure=on_failure)
    marks = [getattr(law, "mark", "") for law in emissions]
    return MarkedFit(
        *state,
        state[0] * n_cells,
        float(course.trace[-1]),
        course.trace,
        course.steps,
        course.last_change / len(points),
        course.status,
        any(mark in _DERIVED for mark in marks),
    )


def fit_marked(
    points: Points,
    n_types: int,
    marks: Sequence[str],
    *,
    restarts: int = 5,
    bins: Bins | int | tuple[int, int] = 32,
    concentration: float = 1.02,
    map_concentration: float = 1.5,
    max_steps: int = 200,
    key: jax.Array,
    progress: bool | None = False,
    should_stop: Stop = never,
    on_failure: OnFailure = "ignore",
    checkpoint: Place | None = None,
) -> MarkedFit:
    """Find types of marked cells, from several random starts.

    Parameters
    ----------
    points
        The cells.
    n_types
        Number of types.
    marks
        Names of the marks that tell types apart; ``orientation`` is an axis, all others are
        log-normal. ``eccentricity``, if there, says which orientations mean something.
    restarts
        Number of starts; the mode of highest posterior wins.
    bins
        Of the positions: a grid, or its columns and rows.
    concentration, map_concentration
        Of the Dirichlet laws of membership and of maps, at least 1.
    max_steps
        Largest number of steps from each start.
    key
        Draws the starts.
    progress, should_stop, on_failure
        As for `fit`.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    MarkedFit
        The best.

    Raises
    ------
    TypeError, ValueError
        As `em_points`, or if a mark is missing or not positive.
    """
    check_on_failure(on_failure)
    size, n_starts = positive_int("n_types", n_types), positive_int("restarts", restarts)
    if not isinstance(bins, Bins):
        bins = Bins(points.window, *(bins if isinstance(bins, tuple) else (bins, bins)))
    for name in marks:
        mark_of(points, name)
    grid = np.where(bins.area > 0, 1.0, 0.0)
    template: list[Emission] = [
        GridDensity(bins, np.tile(grid / grid.sum(), (size, 1)), map_concentration)
    ]
    ones = np.ones(size)
    for name in marks:
        axial = name == "orientation"
        template.append(AxialVonMises(name, ones, ones) if axial else LogNormal(name, ones, ones))
    keys = split_named(key, *(f"start {i}" for i in range(n_starts)))

    def fitted(one: jax.Array) -> tuple[Any, ...]:
        rng = generator(one)
        membership = rng.dirichlet(np.full(size, 0.3), len(points.genes))
        membership = 0.99 * membership + 0.01 / size
        # a cell of its own chance, so that genes of one type do not start alike
        weight = membership[points.gene] * rng.standard_exponential((len(points), size))
        weight /= weight.sum(axis=1, keepdims=True)
        return _plain(
            em_points(
                points,
                membership,
                [law.refit(points, weight) for law in template],
                concentration=concentration,
                tol=1e-5,
                max_steps=max_steps,
                should_stop=should_stop,
                on_failure="ignore",
            )
        )

    found: list[MarkedFit] = []
    with (
        progress_bar(n_starts, "starts", progress) as bar,
        kept(
            checkpoint, "cell_types.fit_marked", points=points, emissions=template, key=key,
            restarts=n_starts, concentration=concentration, max_steps=max_steps,
        ) as keep,
    ):  # fmt: skip
        for name, one in keys.items():
            if found and should_stop():
                break
            plain = keep.once(name, partial(fitted, one), cut=should_stop)
            found.append(_restored(plain, template))
            bar.update(1)
    best = max(found, key=lambda one_fit: one_fit.objective)
    report_status(best.status, "fit_marked", on_failure=on_failure)
    return best


def _plain(fit: MarkedFit) -> tuple[Any, ...]:
    """Return what a checkpoint can hold: of each emission its arrays."""
    arrays = [
        {
            f.name: value
            for f in fields(law)
            if isinstance(value := getattr(law, f.name), np.ndarray)
        }
        for law in cast("Sequence[Any]", fit.emissions)
    ]
    return tuple(fit._replace(emissions=arrays, steps=tuple(fit.steps)))  # type: ignore[arg-type]


def _restored(plain: tuple[Any, ...], template: Sequence[Emission]) -> MarkedFit:
    fit = MarkedFit(*plain)
    laws, kept_arrays = cast("Sequence[Any]", template), cast("Sequence[Any]", fit.emissions)
    emissions = tuple(replace(law, **arrays) for law, arrays in zip(laws, kept_arrays))
    return fit._replace(emissions=emissions, status=Status(fit.status))


def _expected(points: Points, rates: Floats, laws: Sequence[Emission]) -> tuple[Floats, float]:
    """Return the probability of each type for each cell, and ``sum_i log sum_k rate_ik``."""
    weight = log_rates(points, rates, laws)
    top = weight.max(axis=1, keepdims=True)
    # in place: tables of cells by types are large, and new memory costs more than sums
    weight -= top
    np.exp(weight, out=weight)
    total = weight.sum(axis=1, keepdims=True)
    weight /= total
    return weight, float((top + np.log(total)).sum())


def _by_gene(points: Points, weight: Floats) -> Floats:
    """Return the weight of each type in the cells of each gene, ``(n_genes, n_types)``."""
    n_genes = len(points.genes)
    return np.stack([np.bincount(points.gene, w, minlength=n_genes) for w in weight.T], axis=1)
