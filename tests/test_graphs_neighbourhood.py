"""Graphs of neighbours agree with all distances; densities do not fall at the border."""

import networkx as nx
import numpy as np
import pytest
from suite_helpers import assert_z

from graphs.neighbourhood import local_density, neighbour_graph


@pytest.fixture
def places():
    return np.random.default_rng(3).random((40, 2))


def distances(places):
    return np.linalg.norm(places[:, None] - places, axis=2)


def as_set(edges):
    return {tuple(edge) for edge in edges.tolist()}


def test_discs_connect_all_pairs_that_are_near(places):
    graph = neighbour_graph(places, "disc", radius=0.2)
    near = np.argwhere(np.triu(distances(places) <= 0.2, 1))
    np.testing.assert_array_equal(graph.edges, near)
    np.testing.assert_allclose(graph.length, distances(places)[tuple(near.T)])
    np.testing.assert_array_equal(graph.degree, (distances(places) <= 0.2).sum(axis=1) - 1)


def test_nearest_neighbours_of_either_end(places):
    order = np.argsort(distances(places), axis=1)[:, 1:4]
    expected = {(min(i, j), max(i, j)) for i, row in enumerate(order.tolist()) for j in row}
    assert as_set(neighbour_graph(places, "knn", k=3).edges) == expected


def test_points_at_one_place_are_neighbours_and_never_their_own():
    graph = neighbour_graph([[0, 0], [0, 0], [0, 0], [5, 5]], "knn", k=1)
    assert np.all(graph.edges[:, 0] < graph.edges[:, 1])
    assert graph.degree.min() >= 1


def test_the_triangulation_has_empty_circles(places):
    triangles = neighbour_graph(places, "delaunay")
    gabriel = {
        (i, j)
        for i, j in np.argwhere(np.triu(np.ones((40, 40)), 1)).tolist()
        if np.sum(
            np.linalg.norm(places - (places[i] + places[j]) / 2, axis=1)
            < np.linalg.norm(places[i] - places[j]) / 2 * (1 - 1e-9)
        )
        == 0
    }
    assert gabriel < as_set(triangles.edges)
    graph = triangles.to_networkx()
    assert nx.check_planarity(graph)[0]
    assert nx.is_connected(graph)
    # Euler: a triangulation of n points with h on the hull has 3n - 3 - h edges
    assert 2 * 40 - 3 <= len(triangles.edges) <= 3 * 40 - 6


def test_a_repeated_point_hangs_on_its_twin():
    square = [[0, 0], [1, 0], [0, 1.1], [1, 1], [1, 1]]
    edges = as_set(neighbour_graph(square, "delaunay").edges)
    assert (3, 4) in edges
    assert len([edge for edge in edges if 4 in edge]) in (1, 4)
    assert nx.is_connected(neighbour_graph(square, "delaunay").to_networkx())


def test_networkx_has_places_and_lengths():
    graph = neighbour_graph([[0, 0], [3, 4], [99, 0]], "disc", radius=6).to_networkx()
    assert dict(graph.nodes[1]) == {"position": (3.0, 4.0)}
    assert graph.edges[0, 1]["length"] == 5.0
    assert graph.degree[2] == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "disc"}, "radius: expected for kind='disc'"),
        ({"kind": "knn", "radius": 1.0}, "radius: expected for kind='disc' and no other"),
        ({"kind": "disc", "radius": 0.0}, "radius: expected a positive finite number"),
        ({"kind": "ring"}, "kind: expected one of knn, disc, delaunay"),
        ({"k": 3}, "k: expected an integer of at most 2"),
    ],
)
def test_arguments_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        neighbour_graph([[0, 0], [1, 0], [0, 1]], **options)


@pytest.mark.parametrize(
    ("places", "match"),
    [
        ([[0, 0], [1, np.nan], [2, 0]], "in row 1"),
        ([0.0, 1.0], "shape"),
        ([[0, 0], [1, 1], [2, 2]], "not on one line"),
    ],
)
def test_bad_places_are_refused(places, match):
    with pytest.raises(ValueError, match=match):
        neighbour_graph(places, "delaunay")


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.1, 2.0), (1.0, 0.3), (4.0, 2.9), (2.0, 1.5)])
@pytest.mark.parametrize("radius", [0.25, 1.1, 2.7, 9.0])
def test_the_area_is_that_of_the_disc_inside_the_rectangle(place, radius):
    n = 2000
    x, y = ((np.arange(n) + 0.5) * side / n for side in (4.0, 3.0))
    inside = np.hypot(*np.meshgrid(x - place[0], y - place[1])) <= radius
    two = np.array([place, place])
    (density, _) = local_density(two, radius, (0.0, 4.0), (0.0, 3.0))
    # errors of counting are at most a pixel along the circle
    tol = 2 * np.pi * radius * 5.0 / n
    assert abs(1.0 / density - 12.0 * inside.mean()) < tol


def test_the_density_of_a_poisson_process_is_unbiased_up_to_the_border():
    rng = np.random.default_rng(0)
    border, middle = [], []
    for _ in range(200):
        places = rng.random((100, 2)) * [2.0, 1.0]
        density = local_density(places, 0.2, (0, 2), (0, 1))
        outer = np.any((places < 0.1) | (places > [1.9, 0.9]), axis=1)
        border.append(density[outer].mean())
        middle.append(density[~outer].mean())
    # of n points at random places, the other n - 1 are around any of them
    for means in (border, middle):
        assert_z(np.mean(means), 99 / 2, np.std(means) / np.sqrt(200))


def test_the_density_of_no_points_and_of_points_outside():
    assert local_density(np.empty((0, 2)), 1.0, (0, 1), (0, 1)).shape == (0,)
    with pytest.raises(ValueError, match="outside"):
        local_density([[2.0, 0.0]], 1.0, (0, 1), (0, 1))
    with pytest.raises(ValueError, match="expected a rectangle"):
        local_density([[0.0, 0.0]], 1.0, (0, 0), (0, 1))
