"""The fit that users call: several starts, EM then mean field from each, the highest bound wins.

Where bounds do not tell the best ones apart, the one from the spectral start is taken, so that a
fit does not hang on the key.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from inference.checkpoints import NOWHERE, Keeper, Place, kept
from inference.checks import Floats
from inference.keys import split_named
from inference.progress import Stop, never, progress_bar
from inference.status import (
    CavityWarning,
    ConvergenceError,
    OnFailure,
    Status,
    check_on_failure,
    report_status,
)

from .counts import Bins, CompactCounts, Counts, as_counts
from .device import GeneTable, Precision, gene_table
from .em import VariationalResult, ascend, check_concentrations
from .points import Points
from .profiles import Fit, Solution
from .spectral import spectral_start
from .starts import check_n_types, generator, pooled_map, random_maps, random_membership
from .updates import em_steps

N_WARM_UP, N_STEPS, CHECK_EVERY = 60, 150, 25
"""Steps of EM, at most of mean field, and between two looks at its bound."""
WARM_UP_COUNTS = (0.02, 1.0)
"""Pseudo-counts of membership and of maps in the steps of EM."""
TOL = 2.5e-5
"""Of the change of the bound, in nats a cell and step."""
NEAR_TIE = 500 / 6e5
"""Differences of the bound, in nats a cell, that do not tell which solution is the better one."""
_POOLED_SHARE = 0.1


def fit(
    data: Counts | Points | ArrayLike,
    n_types: int,
    *,
    restarts: int = 4,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    bins: Bins | int | tuple[int, int] = 32,
    precision: Precision = "float32",
    mesh: jax.sharding.Mesh | None = None,
    key: jax.Array,
    progress: bool | None = False,
    should_stop: Stop = never,
    on_failure: OnFailure = "warn",
    checkpoint: Place | None = None,
) -> Fit:
    """Find cell types and what they express.

    Parameters
    ----------
    data
        Counts, points (which are binned), or a ``(n_genes, n_bins)`` table of whole numbers.
    n_types
        Number of types; see `choose_n_types`.
    restarts
        Random starts besides the spectral one. One start alone can miss a type.
    concentration
        Of the Dirichlet law of a gene's membership; small values make genes specific. Where most
        types express most genes, compare with 1.0: the fit of higher ``elbo`` is to be believed.
    map_concentration
        Of the Dirichlet law of a map. Values below 1, usual for texts, starve types: maps are
        smooth.
    bins
        For points: as for `bin_points`.
    precision
        Of the steps. Single precision finds the same answer twice as fast, with JAX in either mode;
        the bound is summed in double precision.
    mesh
        Devices that share the genes, along an axis ``"genes"``.
    key
        Draws the starts: one key, one answer, to the last bit on one machine.
    progress
        Whether to draw a bar of the starts; None draws one on a terminal.
    should_stop
        Asked every few steps; once it answers True the best so far is returned.
    on_failure
        What to do if the best solution did not converge or there are too few patterns.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    Fit
        See there; ``near_ties`` are solutions that are as good.

    Raises
    ------
    TypeError, ValueError
        If the data are no counts, there are more types than genes or bins with cells, or a number
        is not positive.
    ConvergenceError
        If ``on_failure="raise"``.

    Notes
    -----
    From each start 60 steps of EM with pseudo-counts, then mean-field steps until the bound changes
    by less than 2.5e-5 nats a cell, at most 150. Mean field alone would stay near a random start.
    Every 25 steps the state leaps on in the direction in which it moved, where that raises the
    bound; 150 steps lead about as far as 400 without. The best bound wins; if that of the spectral
    start is within ``near_tie_gap`` of it, the spectral one.

    Examples
    --------
    >>> import jax
    >>> from models.cell_types import fit
    >>> left, right = [9, 8, 1, 0], [0, 1, 9, 8]
    >>> types = fit([left, right, left, right], 2, restarts=1, key=jax.random.key(0))
    >>> types.maps.shape, types.membership.argmax(axis=1).tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])
    ((2, 4), True)
    """
    check_on_failure(on_failure)
    check_concentrations(concentration, map_concentration)
    counts = as_counts(data, bins)
    if counts.exposure is not None:
        raise ValueError("counts: expected no exposure; fits are for even exposure")
    if isinstance(restarts, bool) or restarts != int(restarts) or restarts < 0:
        raise ValueError(f"restarts: expected an integer of at least 0, got {restarts!r}")
    size = check_n_types(n_types, counts.values)
    compact = counts.compact()
    solver = Solver(compact.values, size, concentration, map_concentration, precision, mesh)
    with kept(
        checkpoint, "cell_types.fit", counts=counts.values, n_types=size, restarts=restarts,
        prior=(concentration, map_concentration), precision=precision, key=key,
    ) as keep:  # fmt: skip
        runs = solver.run(int(restarts), key, progress, should_stop, keep)
    n_patterns = rank_up_to(compact.values, size)
    status = runs[0][2].status if n_patterns == size else Status.DEGENERATE
    if status is Status.DEGENERATE and on_failure != "ignore":
        message = f"fit: only {n_patterns} independent spatial patterns for {size} types"
        if on_failure == "raise":
            raise ConvergenceError(message)
        warnings.warn(message, CavityWarning, stacklevel=2)
    else:
        report_status(status, "fit", on_failure=on_failure)
    return _assembled(
        counts, compact, runs, status, data if isinstance(data, Points) else None, concentration
    )


Run = tuple[str, Status, VariationalResult]


class Solver:
    """A table of counts on its device, and the recipe that is run from each start."""

    def __init__(
        self,
        values: NDArray[np.int32],
        n_types: int,
        concentration: float,
        map_concentration: float,
        precision: Precision = "float32",
        mesh: jax.sharding.Mesh | None = None,
    ) -> None:
        self.values = values
        self.n_types = n_types
        self.prior = concentration, map_concentration
        self.table: GeneTable = gene_table(values, precision, mesh)
        self.pooled = pooled_map(values)

    def run(
        self,
        restarts: int,
        key: jax.Array,
        progress: bool | None = False,
        should_stop: Stop = never,
        keep: Keeper = NOWHERE,
    ) -> list[Run]:
        """Return where all starts led, the fit first, the others by falling bound.

        Raises
        ------
        ValueError
            If there is no start: no gene has three cells, and ``restarts`` is 0.
        """
        names = [f"random {i + 1}" for i in range(restarts)]
        if restarts == 0 or self.values.sum(axis=1).max() >= 3:
            names.insert(0, "spectral")
        keys = split_named(key, *names)
        runs: list[Run] = []
        with progress_bar(len(names), "starts", progress) as bar:
            for name in names:
                if runs and should_stop():
                    break
                run = partial(self._run_one, name, keys[name], should_stop)
                start_status, result = keep.once(name, run, cut=should_stop)
                # as it comes back from a file
                end = VariationalResult(*result)._replace(status=Status(result[-1]))
                runs.append((name, Status(start_status), end))
                bar.update(1)
        least = max(run[2].elbo for run in runs) - NEAR_TIE * self.table.n_cells.sum()

        def rank(run: Run) -> tuple[bool, float]:
            name, _, result = run
            return not (name == "spectral" and result.elbo >= least), -result.elbo

        return sorted(runs, key=rank)

    def _run_one(
        self, name: str, key: jax.Array, should_stop: Stop
    ) -> tuple[Status, VariationalResult]:
        n_genes = len(self.values)
        status = Status.CONVERGED
        if name == "spectral":
            start = spectral_start(self.values, self.n_types, concentration=self.prior[0], key=key)
            status = start.status
            membership = np.full((n_genes, self.n_types), 1.0 / self.n_types)
            maps = (1.0 - _POOLED_SHARE) * start.maps + _POOLED_SHARE * self.pooled
        else:
            rng = generator(key)
            membership = random_membership(n_genes, self.n_types, rng)
            maps = random_maps(self.values, self.n_types, rng)
        table = self.table
        warm = em_steps(
            table.values,
            *table.put_state(membership, maps),
            *map(table.number, WARM_UP_COUNTS),
            N_WARM_UP,
        )
        result = ascend(
            table,
            table.host_rows(warm[0]),
            table.host(warm[1]),
            *self.prior,
            tol=TOL,
            max_steps=N_STEPS,
            check_every=CHECK_EVERY,
            n_in_a_row=1,
            leaps=True,
            should_stop=should_stop,
        )
        return status, result


def rank_up_to(values: NDArray[Any], limit: int) -> int:
    """Return the smaller of ``limit`` and the rank of ``(n_genes, n_bins)`` counts."""
    # a random projection keeps the rank; a fixed one keeps the answer
    probe = np.random.default_rng(0).standard_normal((values.shape[1], limit))
    size = max(1, 2**22 // values.shape[1])
    sketch = np.empty((len(values), limit))
    for first in range(0, len(values), size):
        part = values[first : first + size].astype(np.float64)
        scale = np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1.0)
        sketch[first : first + size] = part @ probe / scale
    return int(np.linalg.matrix_rank(sketch, tol=1e-9 * np.sqrt(len(values))))


def matched(maps: Floats, reference: Floats) -> NDArray[np.int64]:
    """Return the order of types in which ``(n_types, n_bins)`` maps are most like others."""
    unit, target = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (maps, reference))
    return np.asarray(linear_sum_assignment(-target @ unit.T)[1])


def _assembled(
    counts: Counts,
    compact: CompactCounts,
    runs: Sequence[Run],
    status: Status,
    points: Points | None,
    concentration: float,
) -> Fit:
    """Return the fit in the caller's order of genes and bins, types by falling size."""
    best = runs[0][2]
    n_cells = counts.values.sum(axis=1, dtype=np.float64)
    order = np.argsort(-(n_cells[compact.genes] @ best.membership), kind="stable")
    reference = best.maps[order]
    n_types = len(order)
    solutions = []
    for name, start_status, run in runs:
        same = order if run is best else matched(run.maps, reference)
        solutions.append(
            Solution(
                name,
                start_status,
                run.elbo,
                compact.restore_genes(run.membership[:, same], 1.0 / n_types),
                compact.restore_bins(run.maps[same], 0.0),
                run.trace,
                run.steps,
                run.status,
            )
        )
    return Fit(
        solutions[0].membership,
        solutions[0].maps,
        compact.restore_genes(best.gamma[:, order], concentration),
        compact.restore_bins(best.lam[order], 0.0),
        best.elbo,
        best.trace,
        best.steps,
        best.residual,
        status,
        tuple(solutions),
        NEAR_TIE * counts.n_cells,
        counts.genes,
        n_cells,
        counts.bins,
        points,
    )
