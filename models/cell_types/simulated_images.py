"""Simulated images of stained cells with known places, shapes and depths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from inference.checks import (
    Floats,
    at_least_zero,
    finite_array,
    one_of,
    positive_int,
    same_length,
)

_EDGE = 0.12  # width of a cell's edge, in radii
_BLUR = 0.8  # of the optics, in pixels
_BASE_ABSORBANCE = 0.16


@dataclass(frozen=True)
class _Condition:
    n_cells: int
    touch: float
    noise: float
    uneven: float


CONDITIONS = {
    "easy": _Condition(150, 0.0, 0.02, 0.1),
    "medium": _Condition(300, 0.3, 0.03, 0.25),
    "hard": _Condition(500, 0.5, 0.06, 0.5),
    "shaded": _Condition(300, 0.3, 0.03, 2.0),
}


class TrueCells(NamedTuple):
    """The cells of a simulated image; lengths in pixels."""

    centroid: Floats
    """``(n_cells, 2)``: x (columns) and y (rows), pixel centres at whole numbers."""
    semi_axes: Floats
    """``(n_cells, 2)``: major and minor."""
    orientation: Floats
    """``(n_cells,)``: angle of the major axis from +x to +y, in [0, π)."""
    depth: Floats
    """``(n_cells,)``: largest absorbance."""

    @property
    def area(self) -> Floats:
        """``(n_cells,)``: area of the ellipses."""
        return np.pi * self.semi_axes.prod(axis=1)


class SimulatedImage(NamedTuple):
    """An image and what it shows."""

    image: Floats
    """``(n_rows, n_columns)`` in [0, 1]; cells are dark."""
    truth: TrueCells


def simulate_ish(
    seed: int,
    condition: str = "medium",
    *,
    shape: tuple[int, int] = (512, 512),
    n_cells: int | None = None,
    touch: float | None = None,
    noise: float | None = None,
    uneven: float | None = None,
    margin: float = 16.0,
) -> SimulatedImage:
    """Draw an in-situ hybridisation image: dark elliptical cells on an uneven background.

    Parameters
    ----------
    seed
        Of NumPy's default generator.
    condition
        Values of the four numbers below that are None:

        ========== ======= ===== ===== ======
        name       n_cells touch noise uneven
        ========== ======= ===== ===== ======
        ``easy``       150     0   .02     .1
        ``medium``     300    .3   .03    .25
        ``hard``       500    .5   .06     .5
        ``shaded``     300    .3   .03      2
        ========== ======= ===== ===== ======
    shape
        Rows and columns.
    n_cells
        Number of cells, 0 or more.
    touch
        Probability that a cell is placed beside an earlier one.
    noise
        Standard deviation of the noise of the intensity.
    uneven
        The background absorbance varies by up to ``.25 * uneven``, over a sixth of the image.
    margin
        Least distance of a centre from the border, in pixels; from 16 on all cells are whole.

    Returns
    -------
    SimulatedImage
        ``(image, truth)``.

    Raises
    ------
    ValueError
        If a number is out of range, or the image has no room for so many cells.

    Notes
    -----
    Semi-axes ``a = clip(LogNormal(log 5.5, .2), 4, 10)`` and ``b = a U(.65, 1)``, any angle, depth
    ``LogNormal(log .45, .3)``. A cell that touches lies 1.55 to 2 ``a`` from an earlier one;
    centres never come closer than ``.68 (a + a')``. Absorbances of overlapping cells are not
    added: the larger one counts.

    Examples
    --------
    >>> from models.cell_types import simulate_ish
    >>> image, truth = simulate_ish(0, "easy", shape=(64, 96), n_cells=5)
    >>> image.shape, truth.centroid.shape
    ((64, 96), (5, 2))
    """
    one_of("condition", condition, tuple(CONDITIONS))
    usual = CONDITIONS[condition]
    for side in shape:
        positive_int("shape", side)
    n = usual.n_cells if n_cells is None else n_cells
    if n:
        positive_int("n_cells", n)
    chance = at_least_zero("touch", usual.touch if touch is None else touch)
    noise_sd = at_least_zero("noise", usual.noise if noise is None else noise)
    unevenness = at_least_zero("uneven", usual.uneven if uneven is None else uneven)
    extent = np.array(shape[::-1]) - 1.0
    if 2 * at_least_zero("margin", margin) >= extent.min():
        raise ValueError(f"margin: expected less than half the image, got {margin} in {shape}")
    rng = np.random.default_rng(seed)
    truth = _place_cells(rng, n, chance, margin, extent)
    return SimulatedImage(_photograph(truth, rng, shape, noise_sd, unevenness), truth)


def draw_ish(
    cells: TrueCells,
    seed: int,
    *,
    shape: tuple[int, int] = (512, 512),
    noise: float = 0.03,
    uneven: float = 0.25,
) -> Floats:
    """Draw the image of given cells, as `simulate_ish` does of cells anywhere.

    Parameters
    ----------
    cells
        Where they lie and what they look like; of overlapping cells the darker one is seen.
    seed
        Of NumPy's default generator, for background and noise.
    shape, noise, uneven
        As for `simulate_ish`; the values are those of its condition ``medium``.

    Returns
    -------
    ndarray
        ``(n_rows, n_columns)`` in [0, 1]; cells are dark.

    Raises
    ------
    TypeError, ValueError
        If the cells differ in number between fields, a centre lies outside the image, a minor axis
        is not positive or longer than the major one, a depth is negative, or a number is out of
        range.

    Examples
    --------
    >>> import numpy as np
    >>> from models.cell_types import TrueCells, detect_cells, draw_ish
    >>> lying = TrueCells(np.array([[40.0, 30.0]]), np.array([[9.0, 6.0]]), np.zeros(1), np.ones(1))
    >>> found = detect_cells(draw_ish(lying, 0, shape=(60, 80)), radius_px=7.0)
    >>> found.centroid.round().tolist()
    [[40.0, 30.0]]
    """
    for side in shape:
        positive_int("shape", side)
    noise_sd, unevenness = at_least_zero("noise", noise), at_least_zero("uneven", uneven)
    rng = np.random.default_rng(seed)
    return _photograph(_checked_cells(cells, shape), rng, shape, noise_sd, unevenness)


def _checked_cells(cells: TrueCells, shape: tuple[int, int]) -> TrueCells:
    names = ("centroid", "semi_axes", "orientation", "depth")
    fields = [
        finite_array(name, value, ndim=2 if i < 2 else 1)
        for i, (name, value) in enumerate(zip(names, cells))
    ]
    centroid, semi_axes, _, depth = fields
    for name, value in zip(names, fields):
        same_length(name, len(value), "centroid", len(centroid))
    if centroid.shape[1] != 2 or semi_axes.shape[1] != 2:
        raise ValueError("centroid, semi_axes: expected two numbers a cell")
    outside = np.any((centroid < -0.5) | (centroid > np.array(shape[::-1]) - 0.5), axis=1)
    if outside.any():
        raise ValueError(
            f"centroid: expected places in the image, got {np.count_nonzero(outside)} outside"
        )
    major, minor = semi_axes.T
    if not np.all((minor > 0) & (minor <= major)):
        raise ValueError("semi_axes: expected first the major, then a minor one above 0")
    if not np.all(depth >= 0):
        raise ValueError(f"depth: expected numbers of at least 0, got {depth.min()}")
    return TrueCells(*fields)


def _photograph(
    truth: TrueCells,
    rng: np.random.Generator,
    shape: tuple[int, int],
    noise: float,
    uneven: float,
) -> Floats:
    """Return the image of cells on an uneven background."""
    absorbance = _draw_cells(truth, shape) + _BASE_ABSORBANCE
    background = ndimage.gaussian_filter(rng.standard_normal(shape), min(shape) / 6)
    absorbance += 0.25 * uneven * background / np.abs(background).max()
    clean = ndimage.gaussian_filter(np.exp(-absorbance), _BLUR)
    return np.clip(clean + noise * rng.standard_normal(shape), 0.0, 1.0)


def _place_cells(
    rng: np.random.Generator, n: int, touch: float, margin: float, extent: Floats
) -> TrueCells:
    major = np.clip(rng.lognormal(np.log(5.5), 0.2, n), 4.0, 10.0)
    minor = major * rng.uniform(0.65, 1.0, n)
    orientation = rng.uniform(0.0, np.pi, n)
    depth = rng.lognormal(np.log(0.45), 0.3, n)
    centroid = np.empty((n, 2))
    for i in range(n):
        for _ in range(10_000):
            if i and rng.random() < touch:
                neighbour, angle = rng.integers(i), rng.uniform(0.0, 2 * np.pi)
                step = rng.uniform(1.55, 2.0) * major[neighbour]
                place = centroid[neighbour] + step * np.array([np.cos(angle), np.sin(angle)])
            else:
                place = margin + rng.random(2) * (extent - 2 * margin)
            distance = np.linalg.norm(centroid[:i] - place, axis=1)
            apart = np.all(distance**2 >= 0.9 * (0.72 * (major[:i] + major[i])) ** 2)
            if apart and np.all((place >= margin) & (place <= extent - margin)):
                centroid[i] = place
                break
        else:
            raise ValueError(f"n_cells: expected as many as the image has room for, got {n}")
    return TrueCells(centroid, np.column_stack([major, minor]), orientation, depth)


def _draw_cells(truth: TrueCells, shape: tuple[int, int]) -> Floats:
    absorbance = np.zeros(shape)
    for (x, y), (major, minor), angle, depth in zip(*truth):
        reach = 2.0 * major  # the profile has fallen to 2e-4
        top, left = max(int(y - reach), 0), max(int(x - reach), 0)
        patch = absorbance[top : int(y + reach) + 2, left : int(x + reach) + 2]
        rows, columns = np.indices(patch.shape)
        dx, dy = columns + left - x, rows + top - y
        along = dx * np.cos(angle) + dy * np.sin(angle)
        across = dy * np.cos(angle) - dx * np.sin(angle)
        radius = np.hypot(along / major, across / minor)
        profile = (1.0 - 0.25 * np.clip(1.0 - radius, 0.0, 1.0)) / (
            1.0 + np.exp((radius - 1.0) / _EDGE)
        )
        np.maximum(patch, depth * profile, out=patch)
    return absorbance
