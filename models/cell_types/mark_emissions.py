"""What the cells of each type look like: densities of marks, and their refits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from scipy.special import i0e, ive

from inference.checks import Floats, finite_array, same_length

from .counts import Integers
from .emissions import NoPrior, normalised_rows, stochastic_rows, weight_by_value
from .points import Points

LEAST_SPREAD = 0.05
"""Smallest standard deviation of the log of a mark that a refit returns."""
GREATEST_SHARPNESS = 200.0
"""Largest concentration of an orientation that a refit returns."""


@dataclass(frozen=True, eq=False)
class LogNormal(NoPrior):
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
        log_density = log_mark - self.location
        log_density /= self.scale
        log_density *= log_density
        log_density *= -0.5
        log_density -= np.log(self.scale) + 0.5 * np.log(2 * np.pi)
        log_density -= log_mark
        return log_density

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
class AxialVonMises(NoPrior):
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
        angle, direction = 2.0 * mark_of(points, self.mark), 2.0 * self.direction
        # cos(a - b), with cosines and sines of cells and types only
        log_density = np.column_stack([np.cos(angle), np.sin(angle)]) @ (
            self.sharpness * np.stack([np.cos(direction), np.sin(direction)])
        )
        # log I0(k) = log i0e(k) + k
        log_density -= self.sharpness + np.log(i0e(self.sharpness))
        log_density *= self._has_axis(points)[:, None]
        log_density -= np.log(np.pi)
        return log_density

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
class Categorical(NoPrior):
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
        total = weight_by_value(self._code(points), weight, self.prob.shape[1])
        return replace(self, prob=normalised_rows(total, self.prob))

    def _code(self, points: Points) -> Integers:
        value = mark_of(points, self.mark)
        if ((value < 0) | (value >= self.prob.shape[1]) | (value != np.floor(value))).any():
            raise ValueError(
                f"{self.mark}: expected codes from 0 to {self.prob.shape[1] - 1}, got numbers from "
                f"{value.min():g} to {value.max():g}"
            )
        return value.astype(np.int64)


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
