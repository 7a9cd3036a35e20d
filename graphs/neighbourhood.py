"""Who is near whom in the plane: graphs of neighbours, and how dense the surroundings are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import Delaunay, KDTree, QhullError

from ._checks import whole_number

Kind = Literal["knn", "disc", "delaunay"]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NeighbourGraph:
    """Undirected graph of points in the plane.

    Parameters
    ----------
    position
        ``(n_nodes, 2)`` coordinates.
    edges
        ``(n_edges, 2)`` nodes, the smaller one first, in increasing order, each once; the input of
        `PairwiseGraph.from_edges`.
    """

    position: Floats
    edges: Integers

    @property
    def length(self) -> Floats:
        """``(n_edges,)``: distance between the two ends."""
        start, end = self.position[self.edges.T]
        return np.hypot(*(end - start).T)

    @property
    def degree(self) -> Integers:
        """``(n_nodes,)``: number of neighbours."""
        return np.bincount(self.edges.ravel(), minlength=len(self.position))

    def to_networkx(self) -> nx.Graph:
        """Return the graph, nodes with a ``position``, edges with a ``length``."""
        graph = nx.Graph()
        graph.add_nodes_from(
            (node, {"position": tuple(place)}) for node, place in enumerate(self.position.tolist())
        )
        graph.add_edges_from(
            (a, b, {"length": length})
            for (a, b), length in zip(self.edges.tolist(), self.length.tolist())
        )
        return graph


def neighbour_graph(
    positions: ArrayLike, kind: Kind = "knn", *, k: int = 6, radius: float | None = None
) -> NeighbourGraph:
    """Connect points of the plane that are near each other.

    Parameters
    ----------
    positions
        ``(n, 2)`` coordinates.
    kind
        ``"knn"``: two points of which one is among the ``k`` nearest of the other. ``"disc"``: two
        points at most ``radius`` apart. ``"delaunay"``: two points whose Voronoi cells touch; of
        points at one place all but one are connected to that one alone.
    k
        Neighbours of each point, fewer than there are points.
    radius
        Largest distance, for ``"disc"`` alone.

    Returns
    -------
    NeighbourGraph
        Edges and lengths.

    Raises
    ------
    TypeError, ValueError
        If an argument is missing or out of range, a coordinate is not finite, or points without
        extent (all on one line) are to be triangulated.

    Examples
    --------
    >>> from graphs.neighbourhood import neighbour_graph
    >>> graph = neighbour_graph([[0, 0], [1, 0], [5, 0]], "disc", radius=4.0)
    >>> graph.edges.tolist(), graph.length.tolist()
    ([[0, 1], [1, 2]], [1.0, 4.0])
    """
    places = _positions(positions)
    if (radius is None) == (kind == "disc"):
        raise ValueError(
            f"radius: expected for kind='disc' and no other, got {radius} for {kind!r}"
        )
    if kind == "knn":
        edges = _nearest(places, whole_number("k", k, least=1, most=max(len(places) - 1, 1)))
    elif kind == "disc":
        edges = KDTree(places).query_pairs(_positive("radius", radius), output_type="ndarray")
    elif kind == "delaunay":
        edges = _triangulation(places)
    else:
        raise ValueError(f"kind: expected one of knn, disc, delaunay; got {kind!r}")
    ordered = np.sort(edges.astype(np.int64).reshape(-1, 2), axis=1)
    return NeighbourGraph(places, np.unique(ordered, axis=0))


def local_density(
    positions: ArrayLike, radius: float, x_range: tuple[float, float], y_range: tuple[float, float]
) -> Floats:
    """Return how many other points lie around each point, per area.

    Parameters
    ----------
    positions
        ``(n, 2)`` coordinates ``x, y``, or no point at all.
    radius
        Of the disc in which points are counted.
    x_range, y_range
        The rectangle in which points were looked for. Only the part of the disc inside it counts
        as area, so that the border does not look sparse.

    Returns
    -------
    ndarray
        ``(n,)``; its expectation is the density of points, if they do not interact.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or points lie outside the rectangle.

    Examples
    --------
    >>> from graphs.neighbourhood import local_density
    >>> local_density([[0, 0], [2, 0]], 1.0, (0, 2), (0, 1)).tolist()
    [0.0, 0.0]
    """
    places = _positions(positions, least=0)
    reach = _positive("radius", radius)
    lower, upper = np.array([x_range, y_range], np.float64).T
    if not (np.isfinite([lower, upper]).all() and np.all(lower < upper)):
        raise ValueError(f"x_range, y_range: expected a rectangle, got {x_range}, {y_range}")
    if not np.all((places >= lower) & (places <= upper)):
        raise ValueError("positions: expected points in the rectangle, got some outside")
    if not len(places):
        return np.zeros(0)
    count = KDTree(places).query_ball_point(places, reach, return_length=True) - 1
    return count / _disc_in_rectangle(reach, lower - places, upper - places)


def _disc_in_rectangle(radius: float, lower: Floats, upper: Floats) -> Floats:
    """Return the area of a disc about the origin inside ``lower <= (x, y) <= upper``."""
    (left, bottom), (right, top) = (
        np.clip(corner.T / radius, -1.0, 1.0) for corner in (lower, upper)
    )
    return radius**2 * (
        _unit_disc_below(right, top)
        - _unit_disc_below(left, top)
        - _unit_disc_below(right, bottom)
        + _unit_disc_below(left, bottom)
    )


def _unit_disc_below(x: Floats, y: Floats) -> Floats:
    """Return the area of the unit disc left of ``x`` and below ``y``, both from -1 to 1."""

    def half_plane(h: Floats) -> Floats:
        return h * np.sqrt(1.0 - h**2) + np.arcsin(h)  # minus π/2

    corner_inside = x * y + (half_plane(x) + half_plane(y)) / 2 + np.pi / 4
    left, below = half_plane(x) + np.pi / 2, half_plane(y) + np.pi / 2
    # the corner is outside: a half-plane, two that overlap in the whole disc, or nothing
    corner_outside = np.where(
        x >= 0, np.where(y >= 0, left + below - np.pi, below), np.where(y >= 0, left, 0.0)
    )
    return np.where(x**2 + y**2 <= 1.0, corner_inside, corner_outside)


def _nearest(places: Floats, k: int) -> Integers:
    n = len(places)
    if n < 2:
        return np.empty((0, 2), np.int64)
    # of points at one place any may come first, not only the point itself
    near = KDTree(places).query(places, k + 1)[1]
    others = near != np.arange(n)[:, None]
    others[others.all(axis=1), -1] = False
    return np.column_stack([np.repeat(np.arange(n), k), near[others]])


def _triangulation(places: Floats) -> Integers:
    try:
        triangles = Delaunay(places)
    except QhullError:
        raise ValueError(
            f"positions: expected at least three points not on one line, got {len(places)} points "
            "that have no triangulation"
        ) from None
    sides = triangles.simplices[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    return np.concatenate([sides, triangles.coplanar[:, [0, 2]]])


def _positions(value: ArrayLike, *, least: int = 1) -> Floats:
    try:
        places = np.asarray(value, np.float64)
    except (TypeError, ValueError) as fault:
        raise TypeError(f"positions: expected numbers, got {value!r:.60}") from fault
    if places.size == 0 and least == 0:
        return places.reshape(-1, 2)
    if places.ndim != 2 or places.shape[1] != 2 or len(places) < least:
        raise ValueError(f"positions: expected shape (n, 2), got {places.shape}")
    if not np.isfinite(places).all():
        row = int(np.argmax(~np.isfinite(places).all(axis=1)))
        raise ValueError(f"positions: expected finite numbers, got {places[row]} in row {row}")
    return places


def _positive(name: str, value: float | None) -> float:
    if value is None or not 0.0 < value < math.inf:
        raise ValueError(f"{name}: expected a positive finite number, got {value!r}")
    return float(value)
