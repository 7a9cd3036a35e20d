"""How many types: the number that predicts best the cells that the fit has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checkpoints import Place, kept
from inference.checks import Floats
from inference.keys import split_named
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .counts import Bins, Counts, as_counts
from .em import VariationalResult, check_concentrations
from .fitting import Solver
from .points import Points
from .starts import check_n_types, generator, most_types

_LADDER = (1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30)
"""Numbers tried without candidates; then every tenth."""
_LAST_RUNGS = 2
"""Rungs without a new best that end the climb."""


class TypeChoice(NamedTuple):
    """Held-out likelihoods of some numbers of types, and the choice."""

    n_types: int
    """The smallest number whose ``difference`` is at most its ``standard_error``."""
    candidates: tuple[int, ...]
    """Numbers tried, rising."""
    log_likelihood: Floats
    """``(n_candidates,)`` mean log probability of the bin of a held-out cell, in nats."""
    difference: Floats
    """``(n_candidates,)``: how much less than the best, in nats a cell."""
    standard_error: Floats
    """``(n_candidates,)`` of the difference, from those of single genes; 0 for the best."""
    per_gene: Floats
    """``(n_candidates, n_genes)`` log likelihood of each gene's held-out cells."""
    elbo: Floats
    """``(n_candidates,)`` evidence bound of each fit to the other cells."""
    n_held_out: int
    """Cells held out."""
    status: Status
    """The worst of the fits."""


def choose_n_types(
    data: Counts | Points | ArrayLike,
    candidates: Sequence[int] | None = None,
    *,
    holdout: float = 0.2,
    restarts: int = 2,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    bins: Bins | int | tuple[int, int] = 32,
    key: jax.Array,
    progress: bool | None = False,
    should_stop: Stop = never,
    checkpoint: Place | None = None,
) -> TypeChoice:
    """Choose a number of types by cells held out.

    Parameters
    ----------
    data, concentration, map_concentration, bins, progress, should_stop
        As for `fit`; the bar counts candidates. Once stopped, the choice is among those so far.
    candidates
        Numbers to try. None climbs 1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 30, 40, ... until two in
        a row predict no better than one before, and then halves the gap below the choice until its
        neighbour is known.
    holdout
        Probability that a cell is held out, each on its own. Thinned in this way, the Poisson
        counts of the two parts are independent.
    restarts
        Random starts of each fit.
    key
        Draws the held-out cells and all starts.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    TypeChoice
        The choice and the curve; look at both. Beyond the true number the curve is flat, since
        superfluous types stay at their prior.

    Raises
    ------
    TypeError, ValueError
        As `fit`, or if there are no candidates, ``holdout`` is not between 0 and 1, or no cell was
        held out.

    Notes
    -----
    The log likelihood of the cells that were fitted always grows with the number of types, and
    mean-field bounds tend to prefer too few; neither is used. With only a few cells a bin too many
    types may win, whose noisy maps add up to an even one: take larger bins.
    """
    numbers = None if candidates is None else sorted(set(candidates))
    if numbers is not None and not numbers:
        raise ValueError("candidates: expected at least one number of types, got none")
    if not 0.0 < holdout < 1.0:
        raise ValueError(f"holdout: expected a probability between 0 and 1, got {holdout}")
    check_concentrations(concentration, map_concentration)
    counts = as_counts(data, bins)
    keys = split_named(key, "held out", "fits")
    compact = counts.compact()
    held_out = generator(keys["held out"]).binomial(compact.values, holdout).astype(np.int32)
    train = compact.values - held_out
    n_held_out = int(held_out.sum())
    for number in numbers or (1,):
        check_n_types(number, train)
    if not n_held_out:
        raise ValueError(f"holdout: expected some cells, got none of {counts.n_cells}")
    prior = concentration, map_concentration
    with (
        progress_bar(len(numbers or ()), "numbers of types", progress) as bar,
        kept(
            checkpoint, "cell_types.choose_n_types", counts=counts.values, candidates=numbers,
            holdout=holdout, restarts=restarts, prior=prior, key=key,
        ) as keep,
    ):  # fmt: skip

        def best_fit(number: int) -> VariationalResult:
            solver = Solver(train, number, *prior)
            start = jax.random.fold_in(keys["fits"], number)
            found = keep.once(
                str(number),
                lambda: solver.run(restarts, start, should_stop=should_stop)[0][2],
                cut=should_stop,
            )
            bar.update(1)
            # as it comes back from a file
            return VariationalResult(*found)._replace(status=Status(found[-1]))

        trials = _Trials(best_fit, held_out, should_stop)
        if numbers is not None:
            trials.all(numbers)
        else:
            trials.climb(most_types(train))
    choice = trials.choice()
    return choice._replace(per_gene=compact.restore_genes(choice.per_gene.T, 0.0).T)


class _Trials:
    """Numbers of types that were tried."""

    def __init__(
        self,
        best_fit: Callable[[int], VariationalResult],
        held_out: NDArray[np.int32],
        should_stop: Stop,
    ) -> None:
        self.best_fit = best_fit
        self.held_out = held_out
        self.should_stop = should_stop
        self.found: dict[int, tuple[Floats, float, Status]] = {}

    def all(self, numbers: Iterable[int]) -> None:
        """Try numbers until stopped; what is not finished then counts only if it is the first."""
        for number in numbers:
            fit = self.best_fit(number)
            if self.found and self.should_stop():
                break
            self.found[number] = _log_likelihood(self.held_out, fit), fit.elbo, fit.status

    def climb(self, most: int) -> None:
        """Try rising numbers up to the largest possible one, then those about the choice."""
        totals: list[float] = []
        for number in _ladder(most):
            self.all([number])
            if self.should_stop():
                return
            totals.append(self.found[number][0].sum())
            if np.argmax(totals) < len(totals) - _LAST_RUNGS:
                break
        while not self.should_stop():
            chosen = self.choice().n_types
            below = max((number for number in self.found if number < chosen), default=0)
            if chosen - below < 2:
                break
            self.all([(chosen + below) // 2])

    def choice(self) -> TypeChoice:
        """Return the best of the numbers, and how far behind the others are."""
        numbers = tuple(sorted(self.found))
        curves, bounds, statuses = zip(*(self.found[number] for number in numbers))
        per_gene = np.array(curves)
        n_held_out = int(self.held_out.sum())
        total = per_gene.sum(axis=1)
        missing = per_gene[np.argmax(total)] - per_gene
        spread = np.sqrt(missing.shape[1]) * missing.std(axis=1, ddof=min(1, missing.shape[1] - 1))
        difference = missing.sum(axis=1)
        return TypeChoice(
            numbers[int(np.argmax(difference <= spread))],
            numbers,
            total / n_held_out,
            difference / n_held_out,
            spread / n_held_out,
            per_gene,
            np.array(bounds),
            n_held_out,
            max(statuses),
        )


def _ladder(most: int) -> Iterator[int]:
    """Yield `_LADDER`, then every tenth number; all below ``most``, and ``most`` itself."""
    for number in chain(_LADDER, count(_LADDER[-1] + 10, 10)):
        if number >= most:
            yield most
            return
        yield number


def _log_likelihood(values: NDArray[np.int32], fit: VariationalResult) -> Floats:
    """Return ``sum_v X log(membership maps)`` of every gene, at the posterior means."""
    rate = np.log(fit.membership @ fit.maps)
    return np.einsum("gv,gv->g", values.astype(np.float64), rate)
