"""What a fit leaves unexplained: cells that keep apart or cluster within the image of a gene."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, finite_array, positive_int
from inference.point_process import Correction, Envelope, EnvelopeKind, envelope, ripley_k

from .counts import Bins, Integers
from .points import Points
from .profiles import Fit
from .validation import holm

_N_GENES, _N_RADII, _LEAST_CELLS = 20, 16, 10


class PredictiveK(NamedTuple):
    """K functions of images among those of images that a fit predicts."""

    radius: Floats
    """``(n_radii,)``."""
    genes: tuple[str, ...]
    """Genes that were looked at."""
    excess: Floats
    """``(n_genes, n_radii)``: ``sqrt(K / pi) - r``, below 0 where cells keep apart, above 0 where
    they cluster, as far as the density of the gene does not explain it."""
    lower: Floats
    """``(n_genes, n_radii)`` of the envelope."""
    upper: Floats
    """``(n_genes, n_radii)``."""
    p_value: Floats
    """``(n_genes,)`` of each gene's curve as a whole."""
    p_holm: Floats
    """``(n_genes,)``: the same, corrected by Holm for the number of genes."""
    pooled: Envelope
    """Of the mean curve of all genes: a repulsion that all share shows here first."""
    correction: Correction
    """Of the border: ``"translation"``, or ``"border"`` in a window with a mask."""


def posterior_predictive_k(
    points: Points,
    fit: Fit,
    *,
    radii: ArrayLike | None = None,
    genes: Sequence[str] | None = None,
    n_simulations: int = 99,
    kind: EnvelopeKind = "rank",
    level: float = 0.05,
    seed: int = 0,
) -> PredictiveK:
    """Compare how cells of a gene lie to each other with what a fit predicts.

    Parameters
    ----------
    points
        The cells.
    fit
        A fit with bins; its density of a gene is even inside each bin.
    radii
        ``(n_radii,)`` increasing; None is 16 even steps up to twice the typical distance of cells
        of one gene (the square root of the area per cell), at most a quarter of the shorter side
        of the window.
    genes
        Which ones, each with at least 2 cells; None is the 20 with most cells, at least 10.
    n_simulations
        Images that are drawn for each gene, of as many cells as it has.
    kind, level
        As for `inference.point_process.envelope`.
    seed
        Of the simulated images.

    Returns
    -------
    PredictiveK
        One envelope a gene, and one of all genes together.

    Raises
    ------
    TypeError, ValueError
        If it is not known where the bins lie, a gene is not in the fit or has too few cells, cells
        lie where the fit has none, radii are out of range, or there are too few simulations for
        the level.

    Notes
    -----
    The model lets cells lie independently. Real ones do not overlap, so that at distances below
    two radii they always repel: a finding to report, not a defect of the fit. The fit has seen
    these cells, which makes p-values somewhat too large.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from models.cell_types import Points, Window, fit, posterior_predictive_k
    >>> rng = np.random.default_rng(0)
    >>> square = Window((0.0, 1.0), (0.0, 1.0))
    >>> cells = Points(np.repeat([0, 1], 100), rng.random((200, 2)), ("a", "b"), square)
    >>> types = fit(cells, 1, bins=4, key=jax.random.key(0))
    >>> posterior_predictive_k(cells, types, n_simulations=19).p_value.shape
    (2,)
    """
    if fit.bins is None:
        raise ValueError("bins: expected a fit of points, or of counts with bins, got neither")
    bins, number = fit.bins, positive_int("n_simulations", n_simulations)
    names = _chosen(points, fit, genes)
    cells = [points.position[points.gene == points.genes.index(name)] for name in names]
    reach = _radii(radii, bins, [len(places) for places in cells])
    correction: Correction = "translation" if bins.window.mask is None else "border"
    rng = np.random.default_rng(seed)
    curves = np.empty((len(names), number + 1, len(reach)))
    for g, (name, places) in enumerate(zip(names, cells)):
        share = fit.membership[fit.genes.index(name)] @ fit.maps
        where = bins.index(places)
        if not share[where].all():
            raise ValueError(f"points: expected cells where the fit has some, got others of {name}")
        density = len(places) * share / np.where(bins.area > 0, bins.area, 1.0)
        images = [(places, where)]
        images += [_drawn(share, len(places), bins, rng) for _ in range(number)]
        for s, (position, index) in enumerate(images):
            found = ripley_k(
                position,
                reach,
                bins.window.x_range,
                bins.window.y_range,
                intensity=density[index],
                mask=bins.window.mask,
                correction=correction,
            )
            curves[g, s] = found.l_function - reach
    single = [envelope(c[0], c[1:], kind=kind, level=level) for c in curves]
    pooled = curves.mean(axis=0)
    p_value = np.array([one.p_value for one in single])
    return PredictiveK(
        radius=reach,
        genes=names,
        excess=curves[:, 0],
        lower=np.array([one.lower for one in single]),
        upper=np.array([one.upper for one in single]),
        p_value=p_value,
        p_holm=holm(p_value),
        pooled=envelope(pooled[0], pooled[1:], kind=kind, level=level),
        correction=correction,
    )


def _chosen(points: Points, fit: Fit, genes: Sequence[str] | None) -> tuple[str, ...]:
    n_cells = np.bincount(points.gene, minlength=len(points.genes))
    if genes is None:
        order = np.argsort(-n_cells, kind="stable")[:_N_GENES]
        names = tuple(points.genes[g] for g in order if n_cells[g] >= _LEAST_CELLS)
        if not names:
            raise ValueError(f"points: expected a gene with {_LEAST_CELLS} cells, got none")
    else:
        names = tuple(genes)
        few = [g for g in names if g not in points.genes or n_cells[points.genes.index(g)] < 2]
        if few or not names:
            raise ValueError(f"genes: expected names of genes with at least 2 cells, got {few[:5]}")
    unknown = [name for name in names if name not in fit.genes]
    if unknown:
        raise ValueError(f"points: expected genes of the fit, got {unknown[0]!r}")
    return names


def _radii(radii: ArrayLike | None, bins: Bins, n_cells: list[int]) -> Floats:
    if radii is not None:
        return finite_array("radii", radii, ndim=1)
    spacing = np.sqrt(bins.window.area / np.median(n_cells))
    most = min(2.0 * float(spacing), float(bins.window.extent.min()) / 4)
    return np.linspace(0.0, most, _N_RADII + 1)[1:]


def _drawn(
    share: Floats, n_cells: int, bins: Bins, rng: np.random.Generator
) -> tuple[Floats, Integers]:
    """Return places of cells with these shares in bins, ``(n_cells, 2)``, and their bins."""
    index = rng.choice(len(share), n_cells, p=share / share.sum())
    size = bins.window.extent / np.array(bins.shape[::-1])
    corner = bins.center - size / 2
    places = np.empty((n_cells, 2))
    missing = np.arange(n_cells)
    while missing.size:  # until all lie on tissue
        places[missing] = corner[index[missing]] + size * rng.random((missing.size, 2))
        missing = missing[~bins.window.contains(places[missing])]
    return places, index
