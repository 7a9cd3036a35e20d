"""Pixels to cells: seeds, a watershed, and parts of one cell joined again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from inference.checks import Floats

from .absorbance import blob_responses

_SEED_SIGMA = 0.47  # in radii
_SEED_HEIGHT, _SEED_LEAST = 0.2, 0.3  # in units of the threshold that separates cells from gaps
_FOREGROUND, _NOISE_LEVELS, _EMPTY_LEVELS = 0.6, 3.0, 8.0
_ROUNDING = 1e-9
# two parts are one cell if they are not too large, fill an ellipse, and have no dip between them
_JOINED_AREA, _FILLING, _SADDLE = 1.4, 0.96, 0.95
_SADDLE_BLUR = 0.2  # in radii

Labels = NDArray[np.int32]


class ScikitImage(NamedTuple):
    """What is used of scikit-image, an optional dependency."""

    threshold_otsu: Callable[..., Any]
    h_maxima: Callable[..., Any]
    label: Callable[..., Any]
    watershed: Callable[..., Any]


def scikit_image() -> ScikitImage:
    """Return what is used of scikit-image, or raise ``ImportError`` naming the extra."""
    try:
        from skimage.filters import threshold_otsu
        from skimage.measure import label
        from skimage.morphology import h_maxima
        from skimage.segmentation import watershed
    except ImportError as fault:
        raise ImportError(
            "detect_cells needs scikit-image, the extra 'images': pip install 'cavity[images]'"
        ) from fault
    return ScikitImage(threshold_otsu, h_maxima, label, watershed)


def segment(raised: Floats, radius: float, tools: ScikitImage) -> Labels:
    """Return 0, or the number of the cell of each pixel, from 1 and perhaps with gaps.

    Parameters
    ----------
    raised
        ``(n_rows, n_columns)``: absorbance above the background.
    radius
        Of the typical cell, in pixels.
    tools
        From `scikit_image`.
    """
    (response,) = blob_responses(raised, [_SEED_SIGMA * radius])
    parts = _watershed(raised, response, tools)
    cores = _half_maximum(parts, raised)
    first, second = _parts_of_one_cell(parts, cores, raised, radius)
    if not len(first):
        return cores
    cell = _connected(first, second, int(parts.max()) + 1)
    return _half_maximum(cell[parts], raised)


def _watershed(raised: Floats, response: Floats, tools: ScikitImage) -> Labels:
    """Return 0 or the number, from 1, of the seed to which a pixel belongs."""
    noise = 1.4826 * float(np.median(np.abs(raised - np.median(raised))))
    if raised.max() < max(_EMPTY_LEVELS * noise, _ROUNDING):
        return np.zeros(raised.shape, np.int32)
    threshold = max(_FOREGROUND * float(tools.threshold_otsu(raised)), _NOISE_LEVELS * noise)
    foreground = raised > threshold
    unit = float(tools.threshold_otsu(response[foreground]))
    if not unit > 0:
        return np.zeros(raised.shape, np.int32)
    relative = response / unit
    peaks = (tools.h_maxima(relative, _SEED_HEIGHT) > 0) & (relative > _SEED_LEAST) & foreground
    seeds = tools.label(peaks)
    return np.asarray(tools.watershed(-relative, seeds, mask=foreground), np.int32)


def _half_maximum(labels: Labels, raised: Floats) -> Labels:
    """Keep the pixels of a cell that have at least half of its 90th percentile."""
    inside = np.flatnonzero(labels)
    owner, value = labels.ravel()[inside], raised.ravel()[inside]
    order = np.lexsort((value, owner))
    size = np.bincount(owner)
    start = np.cumsum(size) - size
    top = value[order][np.minimum(start + (0.9 * size).astype(np.int64), len(order) - 1)]
    kept = np.zeros_like(labels)
    bright = inside[value >= 0.5 * top[owner]]
    kept.ravel()[bright] = labels.ravel()[bright]
    return kept


def _parts_of_one_cell(
    parts: Labels, cores: Labels, raised: Floats, radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of neighbouring parts that look like one cell."""
    n = int(parts.max(initial=0)) + 1
    smooth = ndimage.gaussian_filter(raised, _SADDLE_BLUR * radius)
    top = np.concatenate([[0.0], ndimage.maximum(smooth, parts, np.arange(1, n))])
    ends, heights = [], []
    for one, next_ in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        meet = (parts[one] != parts[next_]) & (parts[one] > 0) & (parts[next_] > 0)
        ends.append(np.sort([parts[one][meet], parts[next_][meet]], axis=0).astype(np.int64))
        heights.append(np.minimum(smooth[one][meet], smooth[next_][meet]))
    low, high = np.concatenate(ends, axis=1)
    pair, index = np.unique(low * n + high, return_inverse=True)
    saddle = np.zeros(len(pair))
    np.maximum.at(saddle, index, np.concatenate(heights))
    first, second = np.divmod(pair, n)
    no_dip = saddle >= _SADDLE * np.minimum(top[first], top[second])
    first, second = first[no_dip], second[no_dip]
    y, x = np.nonzero(cores)
    weights = (np.ones(len(x)), x, y, x * x, y * y, x * y)
    sums = np.array([np.bincount(cores[y, x], weight, n) for weight in weights], np.float64)
    # a broad cell may be in more than two parts
    group = _connected(first, second, n)
    whole = np.array([np.bincount(group, column, n) for column in sums], np.float64)
    one_cell = _like_one_cell(whole[:, group[first]], radius) | _like_one_cell(
        sums[:, first] + sums[:, second], radius
    )
    return first[one_cell], second[one_cell]


def _like_one_cell(sums: Floats, radius: float) -> NDArray[np.bool_]:
    """Return whether parts fill an ellipse that is not too large, from sums of moments."""
    area, *moments = sums
    x1, y1, xx, yy, xy = moments / np.maximum(area, 1.0)
    spread = (xx - x1**2 + 1 / 12) * (yy - y1**2 + 1 / 12) - (xy - x1 * y1) ** 2
    small = area <= _JOINED_AREA * np.pi * radius**2
    return small & (area >= _FILLING * 4 * np.pi * np.sqrt(spread))


def _connected(first: NDArray[np.int64], second: NDArray[np.int64], n: int) -> Labels:
    """Return the component of each label; that of label 0, which has no link, is 0."""
    links = sparse.coo_array((np.ones(len(first)), (first, second)), shape=(n, n))
    return np.asarray(sparse.csgraph.connected_components(links, directed=False)[1], np.int32)
