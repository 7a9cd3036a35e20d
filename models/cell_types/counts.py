"""Cells counted in bins: one row a gene, one column a bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, finite_array, positive_int

from .points import Points, Window, gene_names, numbered

Integers = NDArray[np.int64]
Table = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Bins:
    """An even grid over the rectangle of a window; bin ``n_x * row + column``.

    Parameters
    ----------
    window
        The region. With a mask, a bin is the part of its rectangle that is tissue.
    n_x, n_y
        Columns and rows; ``n_y=None`` is as many as columns.

    Raises
    ------
    ValueError
        If a number is no integer of at least 1.

    Examples
    --------
    >>> from models.cell_types import Bins, Window
    >>> bins = Bins(Window((0, 3), (0, 1)), 3, 2)
    >>> bins.n_bins, bins.area.tolist(), bins.center[4].tolist()
    (6, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [1.5, 0.75])
    """

    window: Window
    n_x: int
    n_y: int | None = None

    def __post_init__(self) -> None:
        """Check."""
        object.__setattr__(self, "n_x", positive_int("n_x", self.n_x))
        n_y = self.n_x if self.n_y is None else positive_int("n_y", self.n_y)
        object.__setattr__(self, "n_y", n_y)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, the shape of an image of the bins."""
        return (self.n_y or self.n_x), self.n_x

    @property
    def n_bins(self) -> int:
        """Number of bins."""
        return self.shape[0] * self.shape[1]

    @property
    def area(self) -> Floats:
        """``(n_bins,)`` areas of tissue; 0 where a bin holds none."""
        rows, columns = self.shape
        if self.window.mask is None:
            return np.full(self.n_bins, self.window.area / self.n_bins)
        mask = self.window.mask
        share = _overlap(rows, mask.shape[0]) @ mask @ _overlap(columns, mask.shape[1]).T
        return share.ravel() * float(np.prod(self.window.extent))

    @property
    def center(self) -> Floats:
        """``(n_bins, 2)`` centres of the rectangles."""
        rows, columns = self.shape
        y, x = np.divmod(np.arange(self.n_bins), columns)
        share = np.column_stack([(x + 0.5) / columns, (y + 0.5) / rows])
        return self.window.lower + share * self.window.extent

    def index(self, position: ArrayLike) -> Integers:
        """Return the bin of each ``(n, 2)`` position; those on the far border are in the last."""
        rows, columns = self.shape
        places = finite_array("position", position, ndim=2)
        column, row = self.window.cell(places, columns, rows).T
        return columns * row + column


class CompactCounts(NamedTuple):
    """Counts without empty genes and empty bins, and the way back."""

    values: Table
    """``(n_kept_genes, n_kept_bins)``."""
    genes: Integers
    """Rows of the whole table that were kept."""
    bins: Integers
    """Columns that were kept."""
    shape: tuple[int, int]
    """Of the whole table."""

    def restore_genes(self, array: Floats, fill: float) -> Floats:
        """Return ``(n_kept_genes, ...)`` as ``(n_genes, ...)``, ``fill`` in the dropped rows."""
        whole = np.full((self.shape[0], *array.shape[1:]), fill)
        whole[self.genes] = array
        return whole

    def restore_bins(self, array: Floats, fill: float) -> Floats:
        """Return ``(..., n_kept_bins)`` as ``(..., n_bins)``, ``fill`` in the dropped columns."""
        whole = np.full((*array.shape[:-1], self.shape[1]), fill)
        whole[..., self.bins] = array
        return whole


@dataclass(frozen=True, eq=False)
class Counts:
    """How many cells every gene's image shows in every bin.

    Parameters
    ----------
    values
        ``(n_genes, n_bins)`` whole numbers of at least 0; sparse matrices are made dense.
    genes
        Distinct names; None numbers them.
    bins
        Where the bins lie; None if that is not known.
    exposure
        ``(n_genes, n_bins)`` factors of the intensity, for missing tissue or the quality of a
        section; None is 1 everywhere.

    Raises
    ------
    TypeError, ValueError
        If an entry is no whole number of at least 0, shapes disagree, a name is there twice, there
        is no cell at all, or cells lie where the exposure is 0.
    """

    values: Table
    genes: tuple[str, ...] = ()
    bins: Bins | None = None
    exposure: Floats | None = None

    def __post_init__(self) -> None:
        """Check and convert."""
        values = whole_counts(self.values)
        genes = gene_names(self.genes) if len(self.genes) else tuple(map(str, range(len(values))))
        if len(genes) != len(values):
            raise ValueError(f"genes: expected {len(values)} names, got {len(genes)}")
        if self.bins is not None and self.bins.n_bins != values.shape[1]:
            raise ValueError(
                f"counts: expected {self.bins.n_bins} columns as in bins, got {values.shape[1]}"
            )
        if not values.any():
            raise ValueError("counts: expected at least one cell, got none")
        if self.exposure is not None:
            exposure = finite_array("exposure", self.exposure, ndim=2)
            if exposure.shape != values.shape or exposure.min() < 0:
                raise ValueError(
                    f"exposure: expected numbers of at least 0 of shape {values.shape}, got shape "
                    f"{exposure.shape}, smallest {exposure.min():g}"
                )
            blind = np.argwhere((exposure == 0) & (values > 0))
            if blind.size:
                gene, place = blind[0]
                raise ValueError(
                    f"exposure: expected no cells where it is 0, got {values[gene, place]} of gene "
                    f"{genes[gene]} in bin {place}"
                )
            object.__setattr__(self, "exposure", exposure)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "genes", genes)

    @classmethod
    def merged(cls, values: ArrayLike, genes: Sequence[Any], bins: Bins | None = None) -> Counts:
        """Return counts in which rows of the same name are added up.

        Examples
        --------
        >>> from models.cell_types import Counts
        >>> counts = Counts.merged([[1, 2], [5, 0], [3, 4]], ["a", "b", "a"])
        >>> counts.genes, counts.values.tolist()
        (('a', 'b'), [[4, 6], [5, 0]])
        """
        whole = whole_counts(values)
        index, names = numbered(genes)
        if len(index) != len(whole):
            raise ValueError(f"genes: expected {len(whole)} names, got {len(index)}")
        total = np.zeros((len(names), whole.shape[1]), np.int32)
        np.add.at(total, index, whole)
        return cls(total, names, bins)

    @classmethod
    def from_dataframe(cls, frame: Any, bins: Bins | None = None) -> Counts:
        """Return the counts of a table whose index holds the genes and whose columns are bins."""
        return cls(np.asarray(frame), tuple(frame.index), bins)

    @classmethod
    def from_anndata(cls, data: Any, bins: Bins | None = None) -> Counts:
        """Return the counts of an ``AnnData`` whose observations are bins, its variables genes.

        Raises
        ------
        TypeError, ValueError
            As for the class; ``X`` must hold the raw counts.
        """
        values = data.X.T
        return cls(values, tuple(data.var_names), bins)

    def to_dataframe(self) -> Any:
        """Return a pandas ``DataFrame``, genes by bins."""
        import pandas as pd  # type: ignore[import-untyped]

        return pd.DataFrame(self.values, index=list(self.genes))

    @property
    def n_genes(self) -> int:
        """Number of rows."""
        return self.values.shape[0]

    @property
    def n_bins(self) -> int:
        """Number of columns."""
        return self.values.shape[1]

    @property
    def n_cells(self) -> int:
        """All cells together."""
        return int(self.values.sum())

    def compact(self) -> CompactCounts:
        """Return the counts of the genes and bins that hold a cell, and the way back."""
        genes = np.flatnonzero(self.values.any(axis=1))
        bins = np.flatnonzero(self.values.any(axis=0))
        full = (len(genes), len(bins)) == self.values.shape
        values = self.values if full else self.values[np.ix_(genes, bins)]
        return CompactCounts(values, genes, bins, self.values.shape)


def bin_points(points: Points, bins: Bins | int | tuple[int, int] = 32) -> Counts:
    """Count cells in bins.

    Parameters
    ----------
    points
        The cells; marks play no role.
    bins
        A grid, or its columns and rows over the window of the points (one number is both).

    Returns
    -------
    Counts
        Rows in the order of ``points.genes``.

    Raises
    ------
    ValueError
        If cells lie outside the window of the bins.

    Examples
    --------
    >>> from models.cell_types import Points, bin_points
    >>> cells = Points.from_labels(["a", "a", "b"], [[0, 0], [4, 1], [1, 1]])
    >>> bin_points(cells, (2, 1)).values.tolist()
    [[1, 1], [1, 0]]
    """
    if not isinstance(bins, Bins):
        sizes = bins if isinstance(bins, tuple) else (bins, bins)
        bins = Bins(points.window, *sizes)
    outside = ~bins.window.contains(points.position)
    if outside.any():
        raise ValueError(
            f"bins: expected a window that holds all cells, got {np.count_nonzero(outside)} "
            f"outside, the first in row {int(np.argmax(outside))}"
        )
    place = points.gene.astype(np.int64) * bins.n_bins + bins.index(points.position)
    n_genes, n_bins = len(points.genes), bins.n_bins
    total = np.bincount(place, minlength=n_genes * n_bins).reshape(n_genes, n_bins)
    return Counts(whole_counts(total), points.genes, bins)


def as_counts(data: Counts | Points | ArrayLike, bins: Bins | int | tuple[int, int] = 32) -> Counts:
    """Return counts, binned points, or a plain ``(n_genes, n_bins)`` table as counts."""
    if isinstance(data, Counts):
        return data
    return bin_points(data, bins) if isinstance(data, Points) else Counts(np.asarray(data))


def whole_counts(values: Any) -> Table:
    """Return ``(n_genes, n_bins)`` counts as int32.

    Raises
    ------
    ValueError
        If they are not a table of whole numbers of at least 0.
    """
    array = np.asarray(values.toarray() if hasattr(values, "toarray") else values)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"counts: expected a table (n_genes, n_bins), got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"counts: expected a table of numbers, got {values!r:.60}")
    # integers, of which there may be many, without a mask of their size
    whole = array.dtype.kind != "f" and array.min() >= 0
    wrong = np.zeros(1, bool) if whole else ~((array >= 0) & (array == np.floor(array)))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"counts must be non-negative integers, got {array[where]} for gene {where[0]} in bin "
            f"{where[1]}; normalised or log-transformed tables are no counts"
        )
    largest = int(array.max()) if np.isfinite(array.max()) else 2**63
    if largest >= 2**31:
        raise ValueError(f"counts: expected numbers below 2**31, got {array.max()}")
    return array.astype(np.int32, copy=False)


def _overlap(n_bins: int, n_pixels: int) -> Floats:
    """Return how much of [0, 1] every bin shares with every pixel, ``(n_bins, n_pixels)``."""
    edges, marks = np.linspace(0, 1, n_bins + 1), np.linspace(0, 1, n_pixels + 1)
    high = np.minimum(edges[1:, None], marks[None, 1:])
    return np.maximum(high - np.maximum(edges[:-1, None], marks[None, :-1]), 0.0)
