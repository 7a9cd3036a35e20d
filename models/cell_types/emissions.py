"""What the cells of each type look like: densities of positions and of marks, and their refits.

The density of a cell is a product over emissions, one of the position and any number of marks. Each
is normalised over the window or over the values of its mark, for every type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from scipy.special import i0e, ive, log_ndtr

from inference.checks import Floats, at_least_zero, finite_array, same_length

from .counts import Bins, Integers
from .points import Points, Window

LEAST_SPREAD = 0.05
"""Smallest standard deviation of the log of a mark that a refit returns."""
GREATEST_SHARPNESS = 200.0
"""Largest concentration of an orientation that a refit returns."""


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


class _NoPrior:
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
        return log_map.T[self.bins.index(points.position)]

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`."""
        total = _weight_by_value(self.bins.index(points.position), weight, self.bins.n_bins)
        total += (self.concentration - 1.0) * (self.bins.area > 0)
        return replace(self, maps=_normalised(total, self.maps))

    def log_prior(self) -> float:
        """As `Emission`."""
        tissue = self.maps[:, self.bins.area > 0]
        extra = self.concentration - 1.0
        return extra * float(np.log(np.maximum(tissue, 1e-300)).sum()) if extra else 0.0


@dataclass(frozen=True, eq=False)
class TruncatedGaussian(_NoPrior):
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
class LogNormal(_NoPrior):
    """A positive mark: its log is Gaussian.

    Parameters
    ----------
    mark
        Name of the mark.
    location, scale
        ``(n_types,)`` mean and standard deviation of the log.

    Raises
    ------
    ValueError
        If a scale is not positive or the lengths differ.
    """

    mark: str
    location: Floats
    scale: Floats

    def __post_init__(self) -> None:
        """Check and convert."""
        location, scale = (finite_array(n, getattr(self, n), ndim=1) for n in ("location", "scale"))
        same_length("scale", len(scale), "location", len(location))
        if not scale.min() > 0:
            raise ValueError(f"scale: expected positive numbers, got {scale.min()}")
        object.__setattr__(self, "location", location)
        object.__setattr__(self, "scale", scale)

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.location)

    def log_density(self, points: Points) -> Floats:
        """As `Emission`."""
        log_mark = self._log_mark(points)[:, None]
        z = (log_mark - self.location) / self.scale
        return -0.5 * z**2 - np.log(self.scale) - 0.5 * np.log(2 * np.pi) - log_mark

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`; no scale below `LEAST_SPREAD`."""
        log_mark = self._log_mark(points)
        total = weight.sum(axis=0)
        used = total > 0
        safe = np.where(used, total, 1.0)
        location = weight.T @ log_mark / safe
        variance = np.einsum("nk,nk->k", weight, (log_mark[:, None] - location) ** 2) / safe
        return replace(
            self,
            location=np.where(used, location, self.location),
            scale=np.where(used, np.maximum(np.sqrt(variance), LEAST_SPREAD), self.scale),
        )

    def _log_mark(self, points: Points) -> Floats:
        value = mark_of(points, self.mark)
        if not value.min() > 0:
            raise ValueError(f"{self.mark}: expected positive numbers, got {value.min():g}")
        return np.log(value)


@dataclass(frozen=True, eq=False)
class AxialVonMises(_NoPrior):
    """An axis in [0, π): ``exp(sharpness cos 2(angle - direction)) / (π I0(sharpness))``.

    Parameters
    ----------
    mark
        Name of the mark.
    direction, sharpness
        ``(n_types,)`` most likely angle, and concentration of at least 0.
    least_eccentricity
        Cells with a mark ``eccentricity`` below this are too round to have an axis: all angles are
        as likely for them, and refits leave them out.

    Raises
    ------
    ValueError
        If a sharpness is negative or the lengths differ.
    """

    mark: str
    direction: Floats
    sharpness: Floats
    least_eccentricity: float = 0.6

    def __post_init__(self) -> None:
        """Check and convert."""
        direction = finite_array("direction", self.direction, ndim=1) % np.pi
        sharpness = finite_array("sharpness", self.sharpness, ndim=1)
        same_length("sharpness", len(sharpness), "direction", len(direction))
        if sharpness.min() < 0:
            raise ValueError(f"sharpness: expected at least 0, got {sharpness.min()}")
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "sharpness", sharpness)

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.direction)

    def log_density(self, points: Points) -> Floats:
        """As `Emission`."""
        double = 2.0 * (mark_of(points, self.mark)[:, None] - self.direction)
        # log I0(k) = log i0e(k) + k
        log_density = self.sharpness * (np.cos(double) - 1.0) - np.log(i0e(self.sharpness))
        return np.where(self._has_axis(points)[:, None], log_density, 0.0) - np.log(np.pi)

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`; no sharpness above `GREATEST_SHARPNESS`."""
        double = 2.0 * mark_of(points, self.mark)
        elongated = weight * self._has_axis(points)[:, None]
        total = elongated.sum(axis=0)
        used = total > 0
        cosine, sine = elongated.T @ np.cos(double), elongated.T @ np.sin(double)
        length = np.hypot(cosine, sine) / np.where(used, total, 1.0)
        return replace(
            self,
            direction=np.where(used, np.arctan2(sine, cosine) / 2 % np.pi, self.direction),
            sharpness=np.where(used, _sharpness(length), self.sharpness),
        )

    def _has_axis(self, points: Points) -> Floats:
        if "eccentricity" not in points.marks:
            return np.ones(len(points))
        return (points.marks["eccentricity"] >= self.least_eccentricity).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Categorical(_NoPrior):
    """A mark that is one of the codes 0, 1, ..., ``n_values - 1``.

    Parameters
    ----------
    mark
        Name of the mark.
    prob
        ``(n_types, n_values)``; rows sum to 1.

    Raises
    ------
    ValueError
        If rows are no probabilities.
    """

    mark: str
    prob: Floats

    def __post_init__(self) -> None:
        """Check and convert."""
        object.__setattr__(self, "prob", stochastic_rows("prob", self.prob, None))

    @property
    def n_types(self) -> int:
        """Number of types."""
        return len(self.prob)

    def log_density(self, points: Points) -> Floats:
        """As `Emission`; minus infinity where a probability is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.prob).T[self._code(points)]

    def refit(self, points: Points, weight: Floats) -> Self:
        """As `Emission`."""
        total = _weight_by_value(self._code(points), weight, self.prob.shape[1])
        return replace(self, prob=_normalised(total, self.prob))

    def _code(self, points: Points) -> Integers:
        value = mark_of(points, self.mark)
        if ((value < 0) | (value >= self.prob.shape[1]) | (value != np.floor(value))).any():
            raise ValueError(
                f"{self.mark}: expected codes from 0 to {self.prob.shape[1] - 1}, got numbers from "
                f"{value.min():g} to {value.max():g}"
            )
        return value.astype(np.int64)


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


def mark_of(points: Points, name: str) -> Floats:
    """Return a mark.

    Raises
    ------
    ValueError
        If the cells have none of this name.
    """
    if name not in points.marks:
        raise ValueError(f"marks: expected {name!r}, got {', '.join(points.marks) or 'none'}")
    return points.marks[name]


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


def _weight_by_value(value: Integers, weight: Floats, n_values: int) -> Floats:
    """Return the weight of each type at each value, ``(n_types, n_values)``."""
    total = [np.bincount(value, column, minlength=n_values) for column in weight.T]
    return np.array(total, np.float64)


def _normalised(total: Floats, otherwise: Floats) -> Floats:
    """Return rows divided by their sum; rows of zeros as they were."""
    row = total.sum(axis=1, keepdims=True)
    return np.where(row > 0, total / np.where(row > 0, row, 1.0), otherwise)


def _log_mass(low: Floats, high: Floats) -> Floats:
    """Return the log of the standard Gaussian's mass between two points, in the better tail."""
    flip = low > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    upper = log_ndtr(high)
    return upper + np.log(-np.expm1(log_ndtr(low) - upper))


def _sharpness(length: Floats) -> Floats:
    """Solve ``I1(k) / I0(k) = length`` by Newton's method."""
    goal = np.minimum(length, 1.0 - 1e-9)
    sharpness = np.clip(goal * (2.0 - goal**2) / (1.0 - goal**2), 1e-12, GREATEST_SHARPNESS)
    for _ in range(50):
        ratio = ive(1, sharpness) / ive(0, sharpness)
        slope = np.where(sharpness < 1e-6, 0.5, 1.0 - ratio / sharpness - ratio**2)
        step = (ratio - goal) / slope
        sharpness = np.clip(sharpness - step, 1e-12, GREATEST_SHARPNESS)
    return sharpness
