"""Whether points of the plane attract or repel each other beyond what their density explains."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from .checks import Floats, finite_array, one_of, same_length

Correction = Literal["translation", "border"]
EnvelopeKind = Literal["rank", "mad"]


class KFunction(NamedTuple):
    """Ripley's function of a point pattern."""

    radius: Floats
    """``(n_radii,)``."""
    k: Floats
    """``(n_radii,)`` areas: the mean number of other points within each radius of a point, over
    the density of points; pi r^2 if points do not interact."""
    correction: Correction
    """How points beyond the border were made up for."""

    @property
    def l_function(self) -> Floats:
        """``(n_radii,)`` lengths, ``sqrt(k / pi)``: the radius if points do not interact."""
        return np.sqrt(self.k / np.pi)


class Envelope(NamedTuple):
    """A curve among simulated ones, judged at all its points together."""

    observed: Floats
    """``(n,)``."""
    lower: Floats
    """``(n,)``: the curve goes below or above somewhere exactly if ``p_value <= level`` (where
    curves have equal values it may just touch)."""
    upper: Floats
    """``(n,)``."""
    center: Floats
    """``(n,)`` mean of all curves, the observed one among them."""
    p_value: float
    """Share of all curves that are at least as extreme as the observed one."""
    level: float
    """Probability that a curve like the simulated ones leaves the envelope."""
    kind: EnvelopeKind
    """What is extreme."""

    @property
    def outside(self) -> NDArray[np.bool_]:
        """``(n,)``: where the curve leaves the envelope."""
        return (self.observed < self.lower) | (self.observed > self.upper)


def ripley_k(
    positions: ArrayLike,
    radii: ArrayLike,
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    *,
    intensity: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    correction: Correction = "translation",
) -> KFunction:
    r"""Return Ripley's K function of points in a rectangle.

    Parameters
    ----------
    positions
        ``(n, 2)`` coordinates of at least two points.
    radii
        ``(n_radii,)`` increasing, below half of the shorter side.
    x_range, y_range
        The rectangle in which points were looked for.
    intensity
        ``(n,)`` expected density of points at each of them; None is a constant one, estimated
        without bias. With it, points are weighted so that only interaction is left.
    mask
        ``(n_rows, n_columns)`` Booleans, True where points were looked for; the pixels divide the
        rectangle evenly, row 0 begins at the lower ``y``. Needs ``correction="border"``.
    correction
        ``"translation"`` weights pairs of points by how many of the shifts that keep one in the
        rectangle keep both. ``"border"`` counts around those points alone whose disc lies in the
        region, fewer for larger radii.

    Returns
    -------
    KFunction
        Its expectation is pi r^2 for points that do not interact: exactly for constant intensity,
        whatever the number of points, and with ``"translation"`` for a known one.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number is not finite or out of range, points lie outside, or no point
        is as far from the border as a radius.

    Notes
    -----
    Translation: :math:`\sum_{i \ne j} 1(d_{ij} \le r) / (\lambda_i \lambda_j |W \cap W + x_i -
    x_j|)`, where :math:`n (n - 1) / |W|^2` stands for a product of constant intensities. Border:
    the mean over points far enough from it, weighted by :math:`1 / \lambda_i`, of
    :math:`\sum_{j \ne i} 1(d_{ij} \le r) / \lambda_j`, constant intensity :math:`(n - 1) / |W|`.

    Examples
    --------
    >>> from inference.point_process import ripley_k
    >>> ripley_k([[1, 1], [1, 2]], [0.9, 1.0], (0, 4), (0, 4)).k.round(3).tolist()
    [0.0, 21.333]
    """
    one_of("correction", correction, ("translation", "border"))
    lower, extent = _rectangle(x_range, y_range)
    places = finite_array("positions", positions, ndim=2)
    if places.shape[1] != 2 or len(places) < 2:
        raise ValueError(f"positions: expected shape (n, 2), n at least 2, got {places.shape}")
    if not np.all((places >= lower) & (places <= lower + extent)):
        raise ValueError("positions: expected points in the rectangle, got some outside")
    reach = finite_array("radii", radii, ndim=1)
    if not (reach[0] > 0 and np.all(np.diff(reach) > 0) and reach[-1] < extent.min() / 2):
        raise ValueError(
            f"radii: expected increasing positive numbers below {extent.min() / 2:g}, half of the "
            f"shorter side, got {reach[0]:g} to {reach[-1]:g}"
        )
    if mask is not None and correction != "border":
        raise ValueError(f"correction: expected 'border' with a mask, got {correction!r}")
    n, area = len(places), float(np.prod(extent))
    tissue = None if mask is None else finite_array("mask", mask, ndim=2) != 0
    if tissue is not None:
        area *= float(tissue.mean())
    if intensity is not None:
        rate = finite_array("intensity", intensity, ndim=1)
        same_length("intensity", len(rate), "positions", n)
        if not rate.min() > 0:
            raise ValueError(f"intensity: expected positive numbers, got {rate.min():g}")
        weight = 1.0 / rate
    elif correction == "translation":
        weight = np.full(n, area / math.sqrt(n * (n - 1.0)))
    else:
        weight = np.full(n, area / (n - 1.0))
    first, second = KDTree(places).query_pairs(reach[-1], output_type="ndarray").T
    shift = np.abs(places[first] - places[second])
    begin = np.searchsorted(reach, np.hypot(*shift.T))
    # a pair at the largest radius may be beyond it by rounding
    kept = begin < len(reach)
    first, second, shift, begin = first[kept], second[kept], shift[kept], begin[kept]
    if correction == "translation":
        pair = 2.0 * weight[first] * weight[second] / np.prod(extent - shift, axis=1)
        step = np.bincount(begin, pair, minlength=len(reach))
        return KFunction(reach, np.cumsum(step), correction)
    end = np.searchsorted(reach, _to_border(places, lower, extent, tissue), side="right")
    return KFunction(reach, _border_mean(first, second, begin, end, weight, reach), correction)


def envelope(
    observed: ArrayLike,
    simulated: ArrayLike,
    *,
    kind: EnvelopeKind = "rank",
    level: float = 0.05,
) -> Envelope:
    """Judge a curve by simulated ones, at all its points at once.

    Parameters
    ----------
    observed
        ``(n,)``, such as an L function.
    simulated
        ``(n_simulations, n)`` curves of the hypothesis; at least ``1 / level - 1``.
    kind
        ``"rank"``: a curve is as extreme as its most extreme rank at any point, ties broken by the
        next most extreme one and so on ("extreme rank length"; Myllymäki et al., J. R. Stat. Soc. B
        79, 381). ``"mad"``: as its largest distance from the mean of all curves; for curves of even
        spread, as it gives a band of even width.
    level
        Of the envelope.

    Returns
    -------
    Envelope
        The p-value is that of a test of exact level if the curve is like the simulated ones: if it
        was not itself used to choose what is simulated.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number is not finite, or there are too few curves for the level.

    Examples
    --------
    >>> import numpy as np
    >>> from inference.point_process import envelope
    >>> curves = np.random.default_rng(0).standard_normal((99, 5))
    >>> envelope(np.full(5, 6.0), curves).p_value
    0.01
    """
    one_of("kind", kind, ("rank", "mad"))
    curve = finite_array("observed", observed, ndim=1)
    others = finite_array("simulated", simulated, ndim=2)
    if others.shape[1] != len(curve):
        raise ValueError(f"simulated: expected {len(curve)} columns, got shape {others.shape}")
    every = np.vstack([curve, others])
    if not 0.0 < level < 1.0 or len(every) * level < 1.0 - 1e-9:
        raise ValueError(
            f"level: expected a number from {1 / len(every):g} to below 1 for {len(others)} "
            f"simulations, got {level}"
        )
    center = every.mean(axis=0)
    if kind == "mad":
        size = np.abs(every - center).max(axis=1)
        p = (size >= size[:, None]).mean(axis=1)
        # what rounding adds must not push the curve out that the width comes from
        half = size[p > level].max() + 1e-14 * np.abs(every).max()
        lower, upper = center - half, center + half
    else:
        p = _extreme_rank_p(every)
        typical = every[p > level]
        lower, upper = typical.min(axis=0), typical.max(axis=0)
    return Envelope(curve, lower, upper, center, float(p[0]), float(level), kind)


def _extreme_rank_p(curves: Floats) -> Floats:
    """Return the share of all curves that are at least as extreme as each of them."""
    depth = np.sort(np.minimum(_n_below(curves), _n_below(-curves)), axis=1)
    order = np.lexsort(depth.T[::-1])
    new = np.any(np.diff(depth[order], axis=0) != 0, axis=1)
    last = np.append(np.flatnonzero(new), len(curves) - 1)
    group = np.concatenate([[0], np.cumsum(new)])
    p = np.empty(len(curves))
    p[order] = (last[group] + 1.0) / len(curves)
    return p


def _n_below(curves: Floats) -> Floats:
    """Return how many entries of the same column are smaller, equal ones counted by half."""
    ordered = np.sort(curves, axis=0)
    columns = [
        np.searchsorted(column, values) + np.searchsorted(column, values, side="right") - 1
        for column, values in zip(ordered.T, curves.T)
    ]
    return np.column_stack(columns) / 2


def _border_mean(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    weight: Floats,
    radii: Floats,
) -> Floats:
    """Return K: point ``i`` counts at radii before ``end[i]``, a pair at those from ``begin``."""
    n_inner = np.cumsum(np.bincount(end, minlength=len(radii) + 1)[::-1])[::-1][1:]
    if not n_inner[-1]:
        most = radii[np.count_nonzero(n_inner) - 1] if n_inner[0] else 0.0
        raise ValueError(
            f"radii: expected points at least {radii[-1]:g} from the border, got none; use radii "
            f"up to {most:g}"
        )
    total = np.zeros(len(radii) + 1)
    inner = np.zeros(len(radii) + 1)
    np.subtract.at(inner, end, weight)
    inner[0] += weight.sum()
    for center, other in ((first, second), (second, first)):
        counted = begin < end[center]
        pair = (weight[center] * weight[other])[counted]
        np.add.at(total, begin[counted], pair)
        np.subtract.at(total, end[center][counted], pair)
    return np.maximum(np.cumsum(total)[:-1], 0.0) / np.cumsum(inner)[:-1]


def _to_border(
    places: Floats, lower: Floats, extent: Floats, mask: NDArray[np.bool_] | None
) -> Floats:
    """Return a radius, ``(n,)``, within which a disc about each point lies in the region.

    Pixels outside the mask are taken for their circumscribed circles: discs are a little smaller
    than need be.
    """
    distance = np.minimum(places - lower, lower + extent - places).min(axis=1)
    if mask is None or mask.all():
        return distance
    row, column = np.nonzero(~mask)
    pixel = extent / np.array(mask.shape[::-1])
    center = lower + (np.column_stack([column, row]) + 0.5) * pixel
    nearest = KDTree(center).query(places)[0] - np.hypot(*pixel) / 2
    return np.minimum(distance, nearest)


def _rectangle(x_range: tuple[float, float], y_range: tuple[float, float]) -> tuple[Floats, Floats]:
    """Return the lower corner and the extent, ``(2,)`` each."""
    lower, upper = np.array([x_range, y_range], np.float64).T
    if not (np.isfinite([lower, upper]).all() and np.all(lower < upper)):
        raise ValueError(f"x_range, y_range: expected a rectangle, got {x_range}, {y_range}")
    return lower, upper - lower
