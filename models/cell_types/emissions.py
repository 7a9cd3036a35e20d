"""Where the cells of each type lie: densities of positions, and their refits.

The density of a cell is a product over emissions, one of the position and any number of marks. Each
is normalised over the window or over the values of its mark, for every type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from scipy.special import log_ndtr

from inference.checks import Floats, at_least_zero, finite_array

from .counts import Bins, Integers
from .points import Points, Window


class Emission(Protocol):
    """The density of one property of a cell, for every type."""

    @property
    def n_types(self) -> int:
        """Number of types."""

    def log_density(self, points: Points) -> Floats:
        """Return ``(n_cells, n_types)`` logs of the density."""

    def refit(self, points: Points, weight: Floats) -> Self:
        """Return the most likely emission, every cell counted ``weight[cell, type]`` times.

        A type without weight keeps its parameters.
        """

    def log_prior(self) -> float:
        """Return the log of the prior that refits take into account, without its constant."""


class NoPrior:
    """An emission whose refit is that of highest likelihood."""

    def log_prior(self) -> float:
        """As `Emission`: 0."""
        return 0.0


@dataclass(frozen=True, eq=False)
class GridDensity:
    """Positions by a histogram: constant density inside each bin.

    Parameters
    ----------
    bins
        The grid.
    maps
        ``(n_types, n_bins)`` probabilities of the bins; rows sum to 1.
    concentration
        At least 1: the refit is the mode under a Dirichlet law of every row.

    Raises
    ------
    ValueError
        If rows are no probabilities, or one is not 0 in a bin without tissue.
    """

    bins: Bins
    maps: Floats
    concentration: float = 1.0

    def __post_init__(self) -> None:
        """Check and convert."""
        maps = stochastic_rows("maps", self.maps, self.bins.n_bins)
        if maps[:, self.bins.area == 0].any():
            raise ValueError("maps: expected 0 in bins without tissue")
        if not at_least_zero("concentration", self.concentration) >= 1:
            raise ValueError(
                f"concentration: expected a number of at least 1, got {self.concentration}"
            )
        object.__setattr__(self, "maps", maps)

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.maps)

    def log_density(self, points: Points) -> Floats:
        """As `Emission`; minus infinity where a map is 0."""
        area = self.bins.area
        with np.errstate(divide="ignore"):
            log_map = np.log(self.maps / np.where(area > 0, area, 1.0))
        return np.ascontiguousarray(log_map.T)[self.bins.index(points.position)]

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`."""
        total = weight_by_value(self.bins.index(points.position), weight, self.bins.n_bins)
        total += (self.concentration - 1.0) * (self.bins.area > 0)
        return replace(self, maps=normalised_rows(total, self.maps))

    def log_prior(self) -> float:
        """As `Emission`."""
        tissue = self.maps[:, self.bins.area > 0]
        extra = self.concentration - 1.0
        return extra * float(np.log(np.maximum(tissue, 1e-300)).sum()) if extra else 0.0


@dataclass(frozen=True, eq=False)
class TruncatedGaussian(NoPrior):
    """Positions by one Gaussian a type, its axes along x and y, cut off at a rectangle.

    Parameters
    ----------
    mean, scale
        ``(n_types, 2)`` parameters before the cut.
    window
        A rectangle.

    Raises
    ------
    ValueError
        If a scale is not positive, shapes differ, or the window has a mask.
    """

    mean: Floats
    scale: Floats
    window: Window

    def __post_init__(self) -> None:
        """Check and convert."""
        mean, scale = (finite_array(n, getattr(self, n), ndim=2) for n in ("mean", "scale"))
        if mean.shape != scale.shape or mean.shape[1] != 2:
            raise ValueError(
                f"mean, scale: expected one shape (n_types, 2), got {mean.shape}, {scale.shape}"
            )
        if not scale.min() > 0:
            raise ValueError(f"scale: expected positive numbers, got {scale.min()}")
        if self.window.mask is not None:
            raise ValueError("window: expected a rectangle, got a mask; use GridDensity")
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "scale", scale)

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.mean)

    def log_density(self, points: Points) -> Floats:
        """As `Emission`."""
        z = (points.position[:, None, :] - self.mean) / self.scale
        log_constant = np.log(self.scale) + _log_mass(*self._ends()) + 0.5 * np.log(2 * np.pi)
        return -(0.5 * z**2 + log_constant).sum(axis=2)

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`: mean and variance of the cut Gaussian become those of the cells."""
        total = weight.sum(axis=0)
        used = total > 0
        share = weight[:, used] / total[used]
        mean = share.T @ points.position
        variance = share.T @ points.position**2 - mean**2
        extent = self.window.extent
        variance = np.maximum(variance, (1e-4 * extent) ** 2)
        fitted = replace(self, mean=mean, scale=np.sqrt(variance))
        for _ in range(200):
            cut_mean, cut_variance = fitted._moments()
            step = (mean - cut_mean) * fitted.scale**2 / cut_variance
            scale = fitted.scale * np.sqrt(np.clip(variance / cut_variance, 0.25, 4.0))
            fitted = replace(
                self,
                mean=np.clip(
                    fitted.mean + np.clip(step, -extent, extent),
                    self.window.lower - 5 * extent,
                    self.window.lower + 6 * extent,
                ),
                scale=np.clip(scale, 1e-4 * extent, 10 * extent),
            )
            if np.abs(step).max() < 1e-12 * extent.max():
                break
        new_mean, new_scale = self.mean.copy(), self.scale.copy()
        new_mean[used], new_scale[used] = fitted.mean, fitted.scale
        return replace(self, mean=new_mean, scale=new_scale)

    def _ends(self) -> tuple[Floats, Floats]:
        low = (self.window.lower - self.mean) / self.scale
        return low, low + self.window.extent / self.scale

    def _moments(self) -> tuple[Floats, Floats]:
        """Return mean and variance after the cut, ``(n_types, 2)`` each."""
        low, high = self._ends()
        log_mass = _log_mass(low, high)
        at_low, at_high = (np.exp(-0.5 * z**2 - log_mass) / np.sqrt(2 * np.pi) for z in (low, high))
        shift = at_low - at_high
        variance = 1.0 + low * at_low - high * at_high - shift**2
        # cancels where the Gaussian is almost flat; it is then that of a uniform density
        variance = np.maximum(variance, 1e-12)
        return self.mean + self.scale * shift, self.scale**2 * variance


@dataclass(frozen=True, eq=False)
class WithClutter:
    """Positions of the given types and of one more, clutter, that lies anywhere with equal density.

    False detections are cells of this last type.

    Parameters
    ----------
    space
        Emission of the positions of the true types.
    window
        Where clutter lies.
    """

    space: Emission
    window: Window

    @property
    def n_types(self) -> int:
        """Number of types, clutter included."""
        return self.space.n_types + 1

    def log_density(self, points: Points) -> Floats:
        """As `Emission`."""
        clutter = np.full((len(points), 1), -np.log(self.window.area))
        return np.hstack([self.space.log_density(points), clutter])

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`; clutter stays what it is."""
        return replace(self, space=self.space.refit(points, weight[:, :-1]))

    def log_prior(self) -> float:
        """As `Emission`: that of the true types."""
        return self.space.log_prior()


def stochastic_rows(name: str, value: Floats, n_columns: int | None) -> Floats:
    """Return a table of probabilities whose rows sum to 1 up to rounding.

    Raises
    ------
    TypeError, ValueError
        If it is none, or has not ``n_columns`` columns.
    """
    array = finite_array(name, value, ndim=2)
    if n_columns is not None and array.shape[1] != n_columns:
        raise ValueError(f"{name}: expected {n_columns} columns, got shape {array.shape}")
    total = array.sum(axis=1)
    if array.min() < 0 or np.abs(total - 1.0).max() > 1e-5:
        worst = int(np.argmax(np.abs(total - 1.0)))
        raise ValueError(
            f"{name}: expected rows of probabilities that sum to 1, got the sum {total[worst]:.6g} "
            f"in row {worst} and the smallest entry {array.min():.3g}"
        )
    return array


def weight_by_value(value: Integers, weight: Floats, n_values: int) -> Floats:
    """Return the weight of each type at each value, ``(n_types, n_values)``."""
    total = [np.bincount(value, column, minlength=n_values) for column in weight.T]
    return np.array(total, np.float64)


def normalised_rows(total: Floats, otherwise: Floats) -> Floats:
    """Return rows divided by their sum; rows of zeros as they were."""
    row = total.sum(axis=1, keepdims=True)
    return np.where(row > 0, total / np.where(row > 0, row, 1.0), otherwise)


def _log_mass(low: Floats, high: Floats) -> Floats:
    """Return the log of the standard Gaussian's mass between two points, in the better tail."""
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    upper = log_ndtr(high)
    return upper + np.log(-np.expm1(log_ndtr(low) - upper))
