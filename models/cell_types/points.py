"""Cells as points: where they lie, which gene's image shows them, and the marks they carry."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphs.neighbourhood import local_density
from inference.checks import Floats, finite_array, one_of, same_length
from inference.status import CavityWarning

Outside = Literal["raise", "drop"]
AngleUnit = Literal["radians", "degrees"]

_POSITIVE = ("size", "area", "intensity")
_COORDINATES = ("gene", "x", "y")


@dataclass(frozen=True, eq=False)
class Window:
    """The observed region: a rectangle, or the tissue inside one.

    Parameters
    ----------
    x_range, y_range
        Lower and upper end, in the unit of the coordinates (µm).
    mask
        ``(n_rows, n_columns)`` Booleans, True where there is tissue; the pixels divide the
        rectangle evenly, row 0 begins at the lower ``y`` and column 0 at the lower ``x``. None is
        the whole rectangle.

    Raises
    ------
    ValueError
        If the window has no area.

    Examples
    --------
    >>> from models.cell_types import Window
    >>> Window((0.0, 2.0), (0.0, 1.0), mask=[[True, False]]).area
    1.0
    """

    x_range: tuple[float, float]
    y_range: tuple[float, float]
    mask: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Check and convert."""
        for name in ("x_range", "y_range"):
            low, high = finite_array(name, getattr(self, name), ndim=1)
            if not low < high:
                raise ValueError(f"{name}: expected a window with an area, got {low} to {high}")
            object.__setattr__(self, name, (float(low), float(high)))
        if self.mask is not None:
            mask = finite_array("mask", self.mask, ndim=2) != 0
            if not mask.any():
                raise ValueError("mask: expected tissue in at least one pixel, got none")
            object.__setattr__(self, "mask", mask)

    @classmethod
    def around(cls, position: ArrayLike) -> Window:
        """Return the smallest rectangle that holds all ``(n, 2)`` positions."""
        places = finite_array("position", position, ndim=2)
        (x_low, y_low), (x_high, y_high) = places.min(axis=0), places.max(axis=0)
        return cls((x_low, x_high), (y_low, y_high))

    @property
    def lower(self) -> Floats:
        """``(2,)``: the corner of the smallest coordinates."""
        return np.array([self.x_range[0], self.y_range[0]])

    @property
    def extent(self) -> Floats:
        """``(2,)``: width and height."""
        return np.array([self.x_range[1], self.y_range[1]]) - self.lower

    @property
    def area(self) -> float:
        """Area of the tissue."""
        share = 1.0 if self.mask is None else float(self.mask.mean())
        return float(np.prod(self.extent)) * share

    def cell(self, position: Floats, n_x: int, n_y: int) -> NDArray[np.int64]:
        """Return column and row, ``(n, 2)``, of positions in an even grid over the rectangle."""
        size = np.array([n_x, n_y])
        place = np.floor((position - self.lower) / self.extent * size).astype(np.int64)
        return np.clip(place, 0, size - 1)

    def contains(self, position: ArrayLike) -> NDArray[np.bool_]:
        """Return which of the ``(n, 2)`` positions lie in the window; its border belongs to it."""
        places = np.asarray(position, np.float64)
        # not lower + extent, which rounding may leave below the border
        upper = np.array([self.x_range[1], self.y_range[1]])
        inside: NDArray[np.bool_] = np.all((places >= self.lower) & (places <= upper), axis=1)
        if self.mask is not None:
            column, row = self.cell(places, self.mask.shape[1], self.mask.shape[0]).T
            inside &= self.mask[row, column]
        return inside


@dataclass(frozen=True, eq=False)
class Points:
    """Cells of many images, one image a gene.

    Parameters
    ----------
    gene
        ``(n_cells,)`` indices into ``genes``.
    position
        ``(n_cells, 2)`` coordinates ``x, y``.
    genes
        Distinct names.
    window
        Where cells were looked for; it must hold all of them.
    marks
        ``{name: (n_cells,)}``. Known names are checked: ``size``, ``area`` and ``intensity`` are
        positive, ``eccentricity`` is in [0, 1), ``density`` is at least 0, and ``orientation`` is
        an angle in radians, of which only the axis counts: it is kept modulo π.

    Raises
    ------
    TypeError, ValueError
        If lengths differ, a number is not finite or outside its range, a name is there twice, or
        cells lie outside the window.

    See Also
    --------
    Points.from_labels : From one gene name a cell.
    """

    gene: NDArray[np.int32]
    position: Floats
    genes: tuple[str, ...]
    window: Window
    marks: Mapping[str, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check and convert."""
        gene = np.asarray(self.gene)
        if not gene.size:
            raise ValueError("gene: expected at least one cell, got none")
        if gene.ndim != 1 or gene.dtype.kind not in "iu":
            raise TypeError(f"gene: expected a vector of indices, got {self.gene!r:.60}")
        genes = gene_names(self.genes)
        if gene.min() < 0 or gene.max() >= len(genes):
            raise ValueError(
                f"gene: expected indices from 0 to {len(genes) - 1}, got {gene.min()} to "
                f"{gene.max()}"
            )
        position = _numbers("position", self.position)
        if position.shape != (len(gene), 2):
            raise ValueError(
                f"position: expected shape ({len(gene)}, 2), got {position.shape}; two coordinates "
                "a cell"
            )
        _refuse_non_finite("coordinate", position.sum(axis=1), gene, genes)
        marks = {}
        for name, value in self.marks.items():
            mark = _numbers(name, value)
            if mark.ndim != 1:
                raise ValueError(f"{name}: expected one number a cell, got shape {mark.shape}")
            same_length(name, len(mark), "gene", len(gene))
            _refuse_non_finite(name, mark, gene, genes)
            marks[name] = _checked_mark(name, mark)
        outside = np.flatnonzero(~self.window.contains(position))
        if outside.size:
            row = outside[0]
            raise ValueError(
                f"position: expected all cells in the window, got {outside.size} outside, the "
                f"first ({position[row, 0]:g}, {position[row, 1]:g}) in row {row}"
            )
        fields = (("gene", gene.astype(np.int32)), ("position", position), ("genes", genes))
        for name, converted in (*fields, ("marks", marks)):
            object.__setattr__(self, name, converted)

    @classmethod
    def from_labels(
        cls,
        gene: Iterable[Any],
        position: ArrayLike,
        *,
        marks: Mapping[str, ArrayLike] | None = None,
        window: Window | None = None,
        outside: Outside = "raise",
        angle_unit: AngleUnit = "radians",
    ) -> Points:
        """Return cells that are told apart by one gene name each.

        Parameters
        ----------
        gene
            ``(n_cells,)`` names; genes are numbered as they first appear.
        position, marks
            As for the class.
        window
            None is the smallest rectangle around the cells. That one is too small, and where its
            border lies depends on the cells: give the true one if you know it.
        outside
            What to do with cells outside the window: ``"raise"``, or ``"drop"`` with a warning.
        angle_unit
            Of the mark ``orientation``: ``"radians"`` or ``"degrees"``.

        Raises
        ------
        TypeError, ValueError
            As for the class, or if a name is missing.

        Examples
        --------
        >>> from models.cell_types import Points
        >>> cells = Points.from_labels(["b", "a", "b"], [[0, 0], [1, 2], [3, 1]])
        >>> cells.genes, cells.gene.tolist(), cells.window.area
        (('b', 'a'), [0, 1, 0], 6.0)
        """
        one_of("outside", outside, ("raise", "drop"))
        one_of("angle_unit", angle_unit, ("radians", "degrees"))
        indices, genes = numbered(gene)
        places = _numbers("position", position)
        given = {name: _numbers(name, value) for name, value in (marks or {}).items()}
        if places.ndim != 2 or places.shape[1] != 2 or len(places) != len(indices):
            raise ValueError(
                f"position: expected shape ({len(indices)}, 2), got {places.shape}; two "
                "coordinates a cell"
            )
        _refuse_non_finite("coordinate", places.sum(axis=1), indices, genes)
        if angle_unit == "degrees" and "orientation" in given:
            given["orientation"] = np.deg2rad(given["orientation"]) % np.pi
        if window is None:
            window = Window.around(places)
        if outside == "drop":
            kept = window.contains(places)
            if not kept.all():
                warnings.warn(
                    f"{np.count_nonzero(~kept)} cells outside the window were dropped",
                    CavityWarning,
                    stacklevel=2,
                )
                indices, places = indices[kept], places[kept]
                given = {name: value[kept] for name, value in given.items()}
        return cls(indices, places, genes, window, given)

    @classmethod
    def from_dataframe(cls, frame: Any, **options: Any) -> Points:
        """Return the cells of a table with columns ``gene``, ``x``, ``y``; the others are marks.

        Parameters
        ----------
        frame
            Anything with ``columns`` and ``frame[name]``: pandas, polars, a dictionary of columns.
        **options
            ``window``, ``outside`` and ``angle_unit`` of :meth:`from_labels`.

        Raises
        ------
        TypeError, ValueError
            As :meth:`from_labels`, or if a column is missing.
        """
        names = [str(name) for name in getattr(frame, "columns", frame)]
        for name in _COORDINATES:
            if name not in names:
                raise ValueError(f"frame: expected a column {name!r}, got {', '.join(names)}")
        marks = {name: np.asarray(frame[name]) for name in names if name not in _COORDINATES}
        position = np.column_stack([np.asarray(frame["x"]), np.asarray(frame["y"])])
        return cls.from_labels(np.asarray(frame["gene"]), position, marks=marks, **options)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return the table as ``{column: (n_cells,)}``, which every DataFrame can be made of."""
        x, y = self.position.T
        return {"gene": np.array(self.genes, object)[self.gene], "x": x, "y": y, **self.marks}

    def to_dataframe(self) -> Any:
        """Return the table as a pandas ``DataFrame``, for :meth:`from_dataframe`."""
        import pandas as pd  # type: ignore[import-untyped]

        return pd.DataFrame(self.columns())

    def local_density(self, radius: float) -> Floats:
        """Return how many cells of its own image lie around each cell, per area.

        Parameters
        ----------
        radius
            Of the disc in which cells are counted, as far as the rectangle of the window goes.

        Returns
        -------
        ndarray
            ``(n_cells,)``, see :func:`graphs.neighbourhood.local_density`.

        Raises
        ------
        ValueError
            If the radius is not positive.
        """
        density = np.empty(len(self))
        order = np.argsort(self.gene, kind="stable")
        ends = np.searchsorted(self.gene[order], np.arange(1, len(self.genes)))
        for cells in np.split(order, ends):
            density[cells] = local_density(
                self.position[cells], radius, self.window.x_range, self.window.y_range
            )
        return density

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.gene)


def gene_names(genes: Sequence[Any]) -> tuple[str, ...]:
    """Return the names as a tuple of text.

    Raises
    ------
    ValueError
        If there is none, one is empty, or one is there twice.
    """
    names = tuple(str(gene) for gene in genes)
    if not names or not all(names):
        raise ValueError("genes: expected at least one name and none that is empty")
    if len(set(names)) < len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(
            f"genes: expected distinct names, got {twice!r} twice; Counts.merged adds them up"
        )
    return names


def numbered(labels: Iterable[Any]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Return the index of every label and the distinct labels in the order of appearance."""
    index: dict[Any, int] = {}
    # arrays give NumPy scalars, which are slow to hash
    rows = labels.tolist() if isinstance(labels, np.ndarray) else labels
    codes = np.array([index.setdefault(label, len(index)) for label in rows], np.int32)
    for label, code in index.items():
        if label is None or label != label or label == "":
            row = int(np.argmax(codes == code))
            raise ValueError(f"gene: expected the name of a gene, got {label!r} in row {row}")
    return codes, tuple(str(label) for label in index)


def _numbers(name: str, value: ArrayLike) -> Floats:
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"{name}: expected numbers, got {value!r:.60}") from fault


def _refuse_non_finite(
    name: str, value: Floats, gene: NDArray[np.int32], genes: Sequence[str]
) -> None:
    wrong = ~np.isfinite(value)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"non-finite {name} in row {row}, gene {genes[gene[row]]}")


def _checked_mark(name: str, mark: Floats) -> Floats:
    """Return a mark if it is in its range; orientations come back in [0, π)."""
    if name == "orientation":
        if np.abs(mark).max() > 2 * np.pi:
            raise ValueError(
                f"orientation looks like degrees: expected radians, got {np.abs(mark).max():g}; "
                "say angle_unit='degrees'"
            )
        folded = mark % np.pi
        return np.where(folded < np.pi, folded, 0.0)  # -1e-20 % π is π
    ranges = {"eccentricity": (0.0, 1.0), "density": (0.0, np.inf)}
    low, high = ranges.get(name, (-np.inf, np.inf))
    wrong = ~((mark >= low) & (mark < high))
    expected = f"numbers from {low:g} to below {high:g}"
    if name in _POSITIVE:
        wrong, expected = mark <= 0, "positive numbers"
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name}: expected {expected}, got {mark[row]:g} in row {row}")
    return mark
