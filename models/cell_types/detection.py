"""Cells of one stained image: where they lie, their shape, how strongly they are stained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.neighbourhood import local_density
from inference.checks import Floats, positive
from inference.status import Status

from .absorbance import (
    absorbance,
    estimate_radius,
    warn_if_inverted,
    without_background,
)
from .points import Points, Window
from .segmentation import Labels, scikit_image, segment

_SMALLEST_AREA = 0.25  # of that of the typical cell
_BORDER = 1.5  # in radii
_DENSITY_RADIUS = 10.0  # in radii


@dataclass(frozen=True, eq=False)
class DetectedCells:
    """Cells of an image. Lengths are in pixels times ``pixel_size``, pixel centres at integers."""

    centroid: Floats
    """``(n_cells, 2)``: x (to the right) and y (downwards)."""
    area: Floats
    """``(n_cells,)``"""
    orientation: Floats
    """``(n_cells,)``: angle of the major axis from +x to +y (clockwise on screen), in [0, π)."""
    eccentricity: Floats
    """``(n_cells,)``: 0 is a disc; of nearly round cells the orientation means little."""
    intensity: Floats
    """``(n_cells,)``: mean absorbance above the background."""
    density: Floats
    """``(n_cells,)``: other cells per area nearby, corrected for the border."""
    window: Window
    """Where whole cells can be seen: the image without a margin of 1.5 radii."""
    labels: Labels
    """``(n_rows, n_columns)``: 0, or 1 + the index of the cell of a pixel."""
    radius_px: float
    """The typical radius, in pixels: the one that was given, or the estimate."""
    n_border: int
    """Cells not counted because they touch the border or lie outside the window."""
    status: Status
    """``CONVERGED``, or ``EMPTY`` if nothing rises above the noise."""

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.centroid)

    @property
    def marks(self) -> dict[str, Floats]:
        """``{name: (n_cells,)}``: what is known of a cell besides its place."""
        names = ("area", "orientation", "eccentricity", "intensity", "density")
        return {name: getattr(self, name) for name in names}

    def to_points(self, gene: str) -> Points:
        """Return the cells as those of one gene.

        Raises
        ------
        ValueError
            If there are none.
        """
        if not len(self):
            raise ValueError(f"cells: expected at least one cell of {gene}, got none")
        index = np.zeros(len(self), np.int32)
        return Points(index, self.centroid, (gene,), self.window, self.marks)


def detect_cells(
    image: ArrayLike,
    *,
    radius_px: float | None = None,
    bright: bool = False,
    pixel_size: float = 1.0,
    density_radius: float | None = None,
) -> DetectedCells:
    """Find the stained cells of an image and measure them.

    Parameters
    ----------
    image
        ``(n_rows, n_columns)`` or ``(n_rows, n_columns, 3)``: integers of 8 or 16 bits, or numbers
        from 0 to 1. Of colours the mean absorbance is taken; of two stains pass the one.
    radius_px
        Typical radius of a cell, in pixels. None estimates it from the image: the scale at which
        blobs are strongest. Give it to compare images of one experiment.
    bright
        Cells are brighter than the background (fluorescence), not darker (chromogenic stains).
    pixel_size
        Length of a pixel, in the unit that the results are wanted in (µm).
    density_radius
        Of the disc for the local density, in the same unit; None is ten typical radii.

    Returns
    -------
    DetectedCells
        None of them, with status ``EMPTY``, if nothing rises above the noise.

    Raises
    ------
    ImportError
        If scikit-image is missing, the extra ``images``.
    TypeError, ValueError
        If the image is none, has values outside its range, is smaller than a few cells, or a
        number is not positive.

    Warns
    -----
    CavityWarning
        If the cells seem to be on the other side of the background than asked for.

    Notes
    -----
    The absorbance ``-log(image)`` less its local background (a low percentile over eleven radii)
    is cut by Otsu's threshold; maxima of its Laplacian of a Gaussian are the seeds of a watershed,
    so cells that touch come apart, and parts without a dip between them that make one ellipse are
    joined again. A cell is where it has at least half of its own depth. The numbers of the method
    were chosen on `simulate_ish`.

    The density is computed from the places of the cells: a mark, but not independent of them.

    Examples
    --------
    >>> from models.cell_types import detect_cells, simulate_ish
    >>> image, truth = simulate_ish(0, "easy", shape=(128, 128), n_cells=8)
    >>> len(detect_cells(image))
    8
    """
    tools = scikit_image()
    scale = positive("pixel_size", pixel_size)
    stain = absorbance(image, bright=bright)
    if min(stain.shape) < 8:
        raise ValueError(f"image: expected at least 8 x 8 pixels, got shape {stain.shape}")
    radius = estimate_radius(stain) if radius_px is None else positive("radius_px", radius_px)
    window = _window(stain.shape, _BORDER * radius, scale)
    reach = _DENSITY_RADIUS * radius * scale
    if density_radius is not None:
        reach = positive("density_radius", density_radius)
    raised = without_background(stain, radius)
    warn_if_inverted(raised, radius, stacklevel=3)
    labels = segment(raised, radius, tools)
    shapes = _shapes(labels, raised)
    large = shapes.area >= _SMALLEST_AREA * np.pi * radius**2
    centroid = shapes.centroid * scale
    kept = large & ~_touches_border(labels, len(large)) & window.contains(centroid)
    shapes = _Shapes(*(column[kept] for column in shapes))
    new_label = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    centroid = centroid[kept]
    return DetectedCells(
        centroid=centroid,
        area=shapes.area * scale**2,
        orientation=shapes.orientation,
        eccentricity=shapes.eccentricity,
        intensity=shapes.intensity,
        density=local_density(centroid, reach, window.x_range, window.y_range),
        window=window,
        labels=new_label[labels],
        radius_px=radius,
        n_border=int(np.count_nonzero(large & ~kept)),
        status=Status.CONVERGED if kept.any() else Status.EMPTY,
    )


def _window(shape: tuple[int, ...], margin: float, scale: float) -> Window:
    """Return the image without a margin; a pixel reaches half its length around its centre."""
    if min(shape) <= 2 * margin:
        raise ValueError(
            f"radius_px: expected cells much smaller than the image, got {margin / _BORDER:g} "
            f"pixels in an image of shape {shape}"
        )
    x_range, y_range = (
        ((margin - 0.5) * scale, (side - margin - 0.5) * scale) for side in reversed(shape)
    )
    return Window(x_range, y_range)


class _Shapes(NamedTuple):
    centroid: Floats
    area: Floats
    orientation: Floats
    eccentricity: Floats
    intensity: Floats


def _shapes(labels: Labels, raised: Floats) -> _Shapes:
    """Return moments of every label, those of the ellipse with the same second moments."""
    y, x = np.nonzero(labels)
    owner, value = labels[y, x] - 1, raised[y, x]
    n = int(labels.max(initial=0))

    def mean(weight: NDArray[Any]) -> Floats:
        return np.bincount(owner, weight, n) / np.maximum(area, 1)

    area = np.bincount(owner, minlength=n).astype(np.float64)
    center = np.column_stack([mean(x), mean(y)])
    dx, dy = x - center[owner, 0], y - center[owner, 1]
    # a pixel is a unit square, not a point
    xx, yy, xy = mean(dx * dx) + 1 / 12, mean(dy * dy) + 1 / 12, mean(dx * dy)
    middle, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return _Shapes(
        centroid=center,
        area=area,
        orientation=np.arctan2(2 * xy, xx - yy) / 2 % np.pi,
        eccentricity=np.sqrt(2 * spread / (middle + spread)),
        intensity=mean(value),
    )


def _touches_border(labels: Labels, n: int) -> NDArray[np.bool_]:
    touched = np.zeros(n + 1, bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        touched[edge] = True
    return touched[1:]
