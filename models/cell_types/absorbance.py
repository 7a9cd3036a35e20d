"""Images as absorbances: pixels checked, the background taken off, the size of cells estimated."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike
from scipy import fft, ndimage

from inference.checks import Floats, finite_array
from inference.status import CavityWarning

REFERENCE_RADIUS = 5.5
"""Every length of the method is given for cells of this radius, in pixels."""

_DARKEST = 1e-3
_SCALE_OF_RADIUS = 0.8  # where the third moment of the filtered simulated images peaks
_INVERTED = -0.6  # skewness; that of filtered noise is within a tenth of 0
_ROUNDING = 1e-9
_BACKGROUND_RANK = 20.0  # per cent
_BACKGROUND_STEP, _BACKGROUND_SIZE, _BACKGROUND_BLUR = 4, 15, 3.0
_DENOISING = 0.8


def absorbance(image: ArrayLike, *, bright: bool) -> Floats:
    """Return ``(n_rows, n_columns)``: large where there is stain.

    Parameters
    ----------
    image
        ``(n_rows, n_columns)`` or ``(n_rows, n_columns, 3)``: integers of 8 or 16 bits, or numbers
        from 0 to 1. A fourth channel must be opaque.
    bright
        Cells are brighter than the background (fluorescence): the intensity itself is returned.

    Raises
    ------
    TypeError, ValueError
        If the image is none, or has values outside its range.
    """
    given = np.asarray(image)
    pixels = finite_array("image", image, ndim=(2, 3))
    if given.dtype in (np.uint8, np.uint16):
        pixels = pixels / np.iinfo(given.dtype).max
    if pixels.min() < 0.0 or pixels.max() > 1.0:
        raise ValueError(
            f"image: expected integers of 8 or 16 bits (uint8, uint16) or numbers from 0 to 1, got "
            f"{pixels.min():g} to {pixels.max():g} ({given.dtype}); divide by the largest value"
        )
    if pixels.ndim == 3:
        if pixels.shape[2] == 4 and np.all(pixels[..., 3] == 1.0):
            pixels = pixels[..., :3]
        if pixels.shape[2] != 3:
            raise ValueError(
                f"image: expected grey or three channels, got shape {given.shape}; a stack is one "
                "image after the other"
            )
    value = pixels if bright else -np.log(np.maximum(pixels, _DARKEST))
    return value if value.ndim == 2 else value.mean(axis=2)


def without_background(stain: Floats, radius_px: float) -> Floats:
    """Return the absorbance above that of the surroundings, smoothed a little."""
    unit = radius_px / REFERENCE_RADIUS
    smooth = ndimage.gaussian_filter(stain, _DENOISING * unit)
    step = max(round(_BACKGROUND_STEP * unit), 1)
    coarse = ndimage.percentile_filter(smooth[::step, ::step], _BACKGROUND_RANK, _BACKGROUND_SIZE)
    coarse = ndimage.gaussian_filter(coarse, _BACKGROUND_BLUR)
    return smooth - _magnified(coarse, step, stain.shape)


def blob_responses(stain: Floats, sigmas: Iterable[float]) -> Iterator[Floats]:
    """Yield scale-normalised negative Laplacians of Gaussians: large at centres of blobs."""
    # cosines continue the image by its mirror image
    spectrum = fft.dctn(stain)
    rows, columns = (np.pi * np.arange(side) / side for side in stain.shape)
    frequency = rows[:, None] ** 2 + columns**2
    for sigma in sigmas:
        exponent = sigma**2 * frequency
        yield fft.idctn(spectrum * exponent * np.exp(-0.5 * exponent))


def estimate_radius(stain: Floats) -> float:
    """Return the radius of the blobs that dominate an image, in pixels.

    The third moment of the blob response is largest at the scale of the cells. Noise, which is as
    often darker as brighter than the rest, has none at any scale, and a shaded background little.
    """
    largest = min(stain.shape) / 8
    sigma = 2.0 ** np.arange(0.0, max(np.log2(largest), 1.0), 0.5)
    # of blobs of the wrong sign, too
    energy = np.abs([(response**3).mean() for response in blob_responses(stain, sigma)])
    best = int(np.argmax(energy))
    exponent = np.log2(sigma[best])
    if 0 < best < len(sigma) - 1 and energy[best - 1 : best + 2].min() > 0:
        left, middle, right = np.log(energy[best - 1 : best + 2])
        exponent += 0.25 * (left - right) / (left - 2 * middle + right)
    return float(2.0**exponent / _SCALE_OF_RADIUS)


def warn_if_inverted(raised: Floats, radius: float, *, stacklevel: int) -> None:
    """Warn if blobs of the size of cells have the wrong sign."""
    (response,) = blob_responses(raised, [_SCALE_OF_RADIUS * radius])
    spread = response.std()
    if spread > _ROUNDING and (response**3).mean() < _INVERTED * spread**3:
        warnings.warn(
            "image: the foreground seems to be on the other side of the background; use "
            "bright=True (--bright) for cells brighter than the background, bright=False for dark "
            "ones",
            CavityWarning,
            stacklevel=stacklevel,
        )


def _magnified(coarse: Floats, step: int, shape: tuple[int, ...]) -> Floats:
    """Return the image of which ``coarse`` is every ``step``-th pixel, linear in between."""
    for axis in (0, 1):
        place = np.arange(shape[axis]) / step
        left = place.astype(np.int64)
        right = np.minimum(left + 1, coarse.shape[axis] - 1)
        share = np.expand_dims(place - left, 1 - axis)
        coarse = coarse.take(left, axis) * (1.0 - share) + coarse.take(right, axis) * share
    return coarse
