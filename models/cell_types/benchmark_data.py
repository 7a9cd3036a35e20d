"""Simulated images with known types: the data on which fits of cell types are compared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inference.checks import Floats, positive, positive_int

from .counts import Bins, Counts
from .points import Window

_BACKGROUND = 0.15


class Benchmark(NamedTuple):
    """Counts and what they were drawn from."""

    counts: Counts
    membership: Floats
    """``(n_genes, n_types)``: the share of each type in the cells of a gene."""
    maps: Floats
    """``(n_types, n_bins)``: the density of each type, rows sum to 1."""


def simulate_benchmark(
    seed: int,
    *,
    n_genes: int = 1500,
    n_types: int = 10,
    shape: tuple[int, int] = (31, 32),
    concentration: float = 0.1,
    typical_cells: float = 400.0,
) -> Benchmark:
    """Draw genes whose cells are mixtures of a few smooth maps.

    Parameters
    ----------
    seed
        Of NumPy's default generator; seeds 1 and 2 with the other defaults are the data sets "S1"
        (576,931 cells) and "S2" (two types whose maps have a cosine of .925).
    n_genes, n_types
        Sizes.
    shape
        Columns and rows of the grid on the unit square.
    concentration
        Of the Dirichlet law of a gene's membership; small values make most genes specific.
    typical_cells
        Mean number of cells of a gene: they are log-normal with standard deviation .8 of the log,
        and at least 20.

    Returns
    -------
    Benchmark
        The counts, and the truth.

    Raises
    ------
    ValueError
        If a size or a number is not positive.

    Notes
    -----
    A map is the sum of one to three Gaussian bumps with centres anywhere and standard deviations
    from .06 to .25 on each axis, normalised over the bins, and mixed with 15 % of the uniform map.

    Examples
    --------
    >>> from models.cell_types import simulate_benchmark
    >>> data = simulate_benchmark(0, n_genes=5, n_types=2, shape=(4, 3))
    >>> data.counts.values.shape, data.membership.shape, data.maps.shape
    ((5, 12), (5, 2), (2, 12))
    """
    for name, number in (("n_genes", n_genes), ("n_types", n_types)):
        positive_int(name, number)
    positive("concentration", concentration)
    positive("typical_cells", typical_cells)
    bins = Bins(Window((0.0, 1.0), (0.0, 1.0)), *shape)
    rng = np.random.default_rng(seed)
    maps = np.empty((n_types, bins.n_bins))
    for k in range(n_types):
        bumps = np.zeros(bins.n_bins)
        for _ in range(rng.integers(1, 4)):
            center, width = rng.random(2), rng.uniform(0.06, 0.25, 2)
            bumps += np.exp(-0.5 * (((bins.center - center) / width) ** 2).sum(axis=1))
        maps[k] = bumps / bumps.sum()
    maps = (1.0 - _BACKGROUND) * maps + _BACKGROUND / bins.n_bins
    membership = rng.dirichlet(np.full(n_types, concentration), n_genes)
    n_cells = np.maximum(20, rng.lognormal(np.log(typical_cells) - 0.32, 0.8, n_genes)).astype(int)
    rates = membership @ maps
    values = np.array([rng.multinomial(n, rate) for n, rate in zip(n_cells, rates)], np.int32)
    return Benchmark(Counts(values, bins=bins), membership, maps)
