"""How many types: the number that predicts best the cells that the fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats
from inference.keys import split_named
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .counts import Bins, Counts, as_counts
from .em import VariationalResult, check_concentrations
from .fitting import Solver
from .points import Points
from .starts import check_n_types, generator


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
    candidates: Sequence[int],
    *,
    holdout: float = 0.2,
    restarts: int = 2,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    bins: Bins | int | tuple[int, int] = 32,
    key: jax.Array,
    progress: bool | None = False,
    should_stop: Stop = never,
) -> TypeChoice:
    """Choose a number of types by cells held out.

    Parameters
    ----------
    data, concentration, map_concentration, bins, progress, should_stop
        As for `fit`; the bar counts candidates, after each of which ``should_stop`` is asked.
    candidates
        Numbers to try.
    holdout
        Probability that a cell is held out, each on its own. Thinned in this way, the Poisson
        counts of the two parts are independent.
    restarts
        Random starts of each fit.
    key
        Draws the held-out cells and all starts.

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
    mean-field bounds tend to prefer too few; neither is used.
    """
    numbers = tuple(sorted(set(candidates)))
    if not numbers:
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
    for number in numbers:
        check_n_types(number, train)
    if not n_held_out:
        raise ValueError(f"holdout: expected some cells, got none of {counts.n_cells}")
    done: list[VariationalResult] = []
    per_gene: list[Floats] = []
    with progress_bar(len(numbers), "numbers of types", progress) as bar:
        for number in numbers:
            if done and should_stop():
                break
            solver = Solver(train, number, concentration, map_concentration)
            best = solver.run(restarts, jax.random.fold_in(keys["fits"], number))[0][2]
            done.append(best)
            per_gene.append(_log_likelihood(held_out, best))
            bar.update(1)
    curves = compact.restore_genes(np.array(per_gene).T, 0.0).T
    return _choice(numbers[: len(done)], curves, done, n_held_out)


def _choice(
    numbers: tuple[int, ...],
    per_gene: Floats,
    fits: Sequence[VariationalResult],
    n_held_out: int,
) -> TypeChoice:
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
        np.array([fit.elbo for fit in fits]),
        n_held_out,
        max(fit.status for fit in fits),
    )


def _log_likelihood(values: NDArray[np.int32], fit: VariationalResult) -> Floats:
    """Return ``sum_v X log(membership maps)`` of every gene, at the posterior means."""
    rate = np.log(fit.membership @ fit.maps)
    return np.einsum("gv,gv->g", values.astype(np.float64), rate)
