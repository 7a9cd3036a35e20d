"""Gibbs sampling of memberships and maps: every cell is given a type, then both are drawn anew.

Exact in the limit of many sweeps, without a step size, and about as fast as reading the cells. The
draws know no order of the types: compare what does not depend on it, or relabel.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from inference.checkpoints import Place, kept
from inference.checks import Floats, positive, positive_int
from inference.interop import MIN_DRAWS, diagnostics, status_of_r_hat, to_arviz
from inference.kernels import fill_dirichlet, kernel, next_float, random_state
from inference.progress import Stop, never, progress_bar
from inference.relabelling import relabel
from inference.status import Status

from .counts import Bins, Counts, as_counts
from .points import Points
from .profiles import Fit

_CELLS_PER_CALL = 5e7
"""Cells times types between two moments at which Ctrl-C is heard."""


class GibbsDraws(NamedTuple):
    """Draws of all chains."""

    membership: NDArray[np.float32]
    """``(n_chains, n_draws, n_genes, n_types)``: type shares of each gene's cells."""
    maps: NDArray[np.float32]
    """``(n_chains, n_draws, n_types, n_bins)``: each type's density over the bins."""
    log_likelihood: Floats
    """``(n_chains, n_draws)``: sum of ``X log(membership maps)``, blind to the order of types."""

    @property
    def n_steps(self) -> int:
        """Draws a chain."""
        return self.log_likelihood.shape[1]

    @property
    def residual(self) -> float:
        """R-hat of the log likelihood, which no order of types changes, minus one; NaN if few."""
        if self.n_steps < MIN_DRAWS:
            return float("nan")
        return float(diagnostics(self.log_likelihood).r_hat) - 1.0

    @property
    def status(self) -> Status:
        """CONVERGED if that R-hat is at most 1.05, else MAX_STEPS."""
        return status_of_r_hat(self.residual + 1.0)

    def relabelled(self, reference: ArrayLike) -> GibbsDraws:
        """Return the draws with their types in the order of reference maps.

        Parameters
        ----------
        reference
            ``(n_types, n_bins)``, such as ``Fit.maps``.
        """
        chains, n_draws, n_types, n_bins = self.maps.shape
        matched = relabel(self.maps.reshape(-1, n_types, n_bins), reference)
        order = matched.order.reshape(chains, n_draws, n_types)
        return self._replace(
            membership=np.take_along_axis(self.membership, order[:, :, None, :], axis=3),
            maps=np.take_along_axis(self.maps, order[..., None], axis=2),
        )

    def to_arviz(self, counts: Counts | ArrayLike | None = None) -> Any:
        """Return the draws as an ArviZ data container; relabel before telling types apart.

        Parameters
        ----------
        counts
            The ``(n_genes, n_bins)`` counts that were sampled: adds the Poisson log likelihood of
            every one of them, 8 bytes each and draw, for ``arviz.loo`` and ``arviz.compare``.

        Raises
        ------
        ValueError
            If the counts have another shape.

        Notes
        -----
        Single counts may be left out, whole genes may not: a gene's membership is known from that
        gene alone, so draws with and without it have too little in common for importance sampling
        (Pareto k above 0.7), and sums of the log likelihood over genes must not be given to
        ``arviz.loo``. To compare numbers of types by whole cells, hold them out: `choose_n_types`.
        """
        log_likelihood = None
        if counts is not None:
            values = as_counts(counts).values
            shape = (self.membership.shape[2], self.maps.shape[3])
            if values.shape != shape:
                raise ValueError(f"counts: expected shape {shape}, got {values.shape}")
            n_cells = values.sum(axis=1, keepdims=True, dtype=np.float64)
            mean = np.maximum(n_cells * (self.membership.astype(np.float64) @ self.maps), 1e-300)
            log_likelihood = {"counts": values * np.log(mean) - mean - gammaln(values + 1.0)}
        return to_arviz(
            {"membership": self.membership, "maps": self.maps, "log_lik": self.log_likelihood},
            log_likelihood=log_likelihood,
            dims={
                "membership": ["gene", "type"],
                "maps": ["type", "bin"],
                "counts": ["gene", "bin"],
            },
        )


def gibbs(
    data: Counts | Points | ArrayLike,
    n_types: int,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    start: Fit | None = None,
    num_warmup: int = 300,
    num_samples: int = 1000,
    num_chains: int = 4,
    thinning: int = 1,
    bins: Bins | int | tuple[int, int] = 32,
    seed: int = 0,
    progress: bool | None = None,
    should_stop: Stop = never,
    checkpoint: Place | None = None,
) -> GibbsDraws:
    """Sample memberships and maps from their posterior.

    Parameters
    ----------
    data
        Counts, points (which are binned), or a ``(n_genes, n_bins)`` table of whole numbers. All
        its genes and bins are sampled, the empty ones from the prior.
    n_types
        Number of types.
    concentration, map_concentration
        Of the Dirichlet laws, as in :func:`models.cell_types.fit`.
    start
        Where chains start; None draws a start of its own for each.
    num_warmup, num_samples, thinning
        Sweeps dropped, draws kept a chain, sweeps from one draw to the next.
    num_chains
        Independent chains, on threads.
    bins
        For points: as for `bin_points`.
    seed
        Chain ``k`` has stream ``k`` of it.
    progress
        Whether to draw a bar; None draws on a terminal.
    should_stop
        Asked about once a second; once it answers True, the draws so far are returned, be it none.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    GibbsDraws
        Draws in single precision.

    Raises
    ------
    TypeError, ValueError
        If the data are no counts or a number is out of range.

    Notes
    -----
    O(cells n_types) a sweep. Given the types of all cells, memberships and maps are Dirichlet
    (Griffiths and Steyvers, PNAS 101, 5228 (2004), not collapsed).

    Examples
    --------
    >>> import numpy as np
    >>> from models.cell_types import gibbs
    >>> draws = gibbs(np.eye(2, dtype=int) * 50, 2, num_samples=200, progress=False)
    >>> together = (draws.membership[:, :, 0] * draws.membership[:, :, 1]).sum(axis=-1)
    >>> bool(together.mean() < 0.05)
    True
    """
    counts = as_counts(data, bins)
    n_types = positive_int("n_types", n_types)
    prior = (
        positive("concentration", concentration),
        positive("map_concentration", map_concentration),
    )
    positive_int("num_samples", num_samples)
    positive_int("num_chains", num_chains)
    positive_int("thinning", thinning)
    if num_warmup != 0:
        positive_int("num_warmup", num_warmup)
    if start is not None and start.maps.shape != (n_types, counts.values.shape[1]):
        raise ValueError(
            f"start: expected maps of shape {(n_types, counts.values.shape[1])}, "
            f"got {start.maps.shape}"
        )
    chains = [
        _Chain(counts.values, n_types, prior, start, seed, stream) for stream in range(num_chains)
    ]
    n_sweeps = num_warmup + num_samples * thinning
    work = float(counts.values.sum()) * n_types + sum(counts.values.shape) * n_types * 10
    chunk = max(1, int(_CELLS_PER_CALL / max(work, 1.0)))
    keep = (num_warmup, thinning)
    with (
        progress_bar(n_sweeps, "Gibbs sweeps", progress) as bar,
        ThreadPoolExecutor(min(num_chains, os.cpu_count() or 1)) as pool,
        kept(
            checkpoint, "cell_types.gibbs", counts=counts.values, prior=prior, n_types=n_types,
            start=None if start is None else (start.membership, start.maps), keep=keep,
            num_samples=num_samples, num_chains=num_chains, seed=seed,
        ) as keeper,
    ):  # fmt: skip
        begin = 0
        if keeper.restored is not None:
            begin = keeper.restored[0]
            for chain, state in zip(chains, keeper.restored[1]):
                chain.restore(state)
            bar.update(begin)

        def so_far() -> tuple[int, list[Any]]:
            return begin, [chain.so_far() for chain in chains]

        while begin < n_sweeps and not (begin and should_stop()):
            end = min(begin + chunk, n_sweeps)
            list(pool.map(partial(_Chain.run, begin=begin, end=end, keep=keep), chains))
            bar.update(end - begin)
            begin = end
            keeper.offer(so_far)
        keeper.offer(so_far, last=True)
    return GibbsDraws(*(np.stack(kept) for kept in zip(*(chain.kept() for chain in chains))))


class _Chain:
    """One chain: its state and what was kept of it."""

    def __init__(
        self,
        values: NDArray[np.int32],
        n_types: int,
        prior: tuple[float, float],
        start: Fit | None,
        seed: int,
        stream: int,
    ) -> None:
        gene, place = np.nonzero(values)
        self.cells = gene, place, values[gene, place].astype(np.int64)
        self.prior = prior
        self.state = random_state(seed, stream)
        n_genes, n_bins = values.shape
        self.membership, self.maps = np.empty((n_genes, n_types)), np.empty((n_types, n_bins))
        if start is None:
            _draw_start(values.sum(axis=0) + 1.0, self.membership, self.maps, self.state)
        else:
            tiny = 1e-6  # nothing is impossible at the start
            self.membership[:] = (start.membership + tiny) / (1.0 + n_types * tiny)
            self.maps[:] = (start.maps + tiny / n_bins) / (1.0 + tiny)
        self.draws: tuple[list[Any], list[Any], list[float]] = ([], [], [])

    def run(self, begin: int, end: int, keep: tuple[int, int]) -> None:
        """Make the sweeps from ``begin`` to ``end`` and keep those that are due."""
        n_warmup, thinning = keep
        sweep = begin
        while sweep < end:
            due = n_warmup + thinning * (max(0, sweep - n_warmup) // thinning + 1)
            stop = min(end, due)
            log_likelihood = _sweeps(
                stop - sweep, *self.cells, *self.prior, self.membership, self.maps, self.state
            )
            sweep = stop
            if sweep == due:
                self.draws[0].append(self.membership.astype(np.float32))
                self.draws[1].append(self.maps.astype(np.float32))
                self.draws[2].append(log_likelihood)

    def so_far(self) -> tuple[Any, ...]:
        """Return all that changes."""
        return self.membership, self.maps, self.state, self.kept()

    def restore(self, state: tuple[Any, ...]) -> None:
        """Go back to where :meth:`so_far` was asked."""
        self.membership[:], self.maps[:], self.state[:], draws = state
        membership, maps, log_likelihood = map(list, draws)
        self.draws = membership, maps, [float(value) for value in log_likelihood]

    def kept(self) -> tuple[Any, Any, Any]:
        """Return the draws, one array a quantity."""
        shapes = self.membership.shape, self.maps.shape, ()
        types = np.float32, np.float32, np.float64
        return tuple(  # type: ignore[return-value]
            np.array(drawn, dtype).reshape(-1, *shape)
            for drawn, dtype, shape in zip(self.draws, types, shapes)
        )


@kernel
def _draw_start(pooled: Any, membership: Any, maps: Any, state: Any) -> None:
    """Draw memberships near the middle, and maps between the pooled one and random ones."""
    n_types, n_bins = maps.shape
    shape = np.ones(n_types)
    for gene in range(len(membership)):
        fill_dirichlet(shape, membership[gene], state)
    shape, total = np.ones(n_bins), pooled.sum()
    for k in range(n_types):
        fill_dirichlet(shape, maps[k], state)
        for v in range(n_bins):
            maps[k, v] = 0.5 * maps[k, v] + 0.5 * pooled[v] / total


@kernel
def _sweeps(
    n_sweeps: int,
    gene: Any,
    place: Any,
    number: Any,
    concentration: float,
    map_concentration: float,
    membership: Any,
    maps: Any,
    state: Any,
) -> float:
    """Give every cell a type and draw both factors anew, ``n_sweeps`` times.

    Returns the log-likelihood of the last factors.
    """
    n_types, n_bins = maps.shape
    by_gene = np.empty(membership.shape)
    by_type = np.empty(n_bins)
    # one bin's numbers of all types side by side: the loop over cells hardly waits for memory
    at_bin = np.empty((n_bins, n_types))
    by_bin = np.empty((n_bins, n_types))
    weight = np.empty(n_types)
    for _ in range(n_sweeps):
        by_gene[:] = concentration
        by_bin[:] = map_concentration
        at_bin[:] = maps.T
        for entry in range(gene.size):
            g, v = gene[entry], place[entry]
            total = 0.0
            for k in range(n_types):
                total += membership[g, k] * at_bin[v, k]
                weight[k] = total
            for _cell in range(number[entry]):
                drawn = next_float(state) * total
                k = 0
                for other in range(n_types - 1):  # no early end: a branch would be mispredicted
                    k += weight[other] <= drawn
                by_gene[g, k] += 1.0
                by_bin[v, k] += 1.0
        for g in range(len(membership)):
            fill_dirichlet(by_gene[g], membership[g], state)
        for k in range(n_types):
            by_type[:] = by_bin[:, k]
            fill_dirichlet(by_type, maps[k], state)
    log_likelihood = 0.0
    at_bin[:] = maps.T
    for entry in range(gene.size):
        total = 0.0
        for k in range(n_types):
            total += membership[gene[entry], k] * at_bin[place[entry], k]
        log_likelihood += number[entry] * np.log(total)
    return log_likelihood
