"""The K function against all pairs by hand and against theory; envelopes by their definition."""

import itertools

import numpy as np
import pytest
from scipy import stats
from suite_helpers import assert_z

from inference.point_process import envelope, ripley_k

RADII = np.array([0.05, 0.1, 0.2, 0.3])
BOX = (1.0, 3.0), (-1.0, 0.5)
SIDES = np.array([2.0, 1.5])
LOWER = np.array([1.0, -1.0])
L_SHAPE = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]], bool)


def uniform(rng, n):
    return LOWER + SIDES * rng.random((n, 2))


def slope(x):
    """A density of points that falls from left to right, up to a factor."""
    return np.exp(-1.5 * (x[:, 0] - 1.0))


def sloped(rng, most=150.0):
    """A Poisson process of density ``most * slope``."""
    points = uniform(rng, rng.poisson(most * SIDES.prod()))
    return points[rng.random(len(points)) < slope(points)]


def by_hand(points, weight, border=None):
    """All ordered pairs, one after the other."""
    total, inner = np.zeros(len(RADII)), np.zeros(len(RADII))
    for m, radius in enumerate(RADII):
        for i, a in enumerate(points):
            if border is not None:
                if border(a) < radius:
                    continue
                inner[m] += weight[i]
            for j, b in enumerate(points):
                if i != j and np.hypot(*(a - b)) <= radius:
                    overlap = np.prod(SIDES - np.abs(a - b)) if border is None else 1.0
                    total[m] += weight[i] * weight[j] / overlap
    return total if border is None else total / inner


def to_edge(point):
    return min(*(point - LOWER), *(LOWER + SIDES - point))


class TestRipleyK:
    @pytest.mark.parametrize("intensity", [None, "given"])
    @pytest.mark.parametrize("correction", ["translation", "border"])
    def test_all_pairs_by_hand(self, correction, intensity):
        points = uniform(np.random.default_rng(0), 45)
        rate = None if intensity is None else 20 * slope(points)
        found = ripley_k(points, RADII, *BOX, intensity=rate, correction=correction)
        n, area = 45, SIDES.prod()
        if correction == "translation":
            weight = np.full(n, area / np.sqrt(n * (n - 1))) if rate is None else 1 / rate
            expected = by_hand(points, weight)
        else:
            weight = np.full(n, area / (n - 1)) if rate is None else 1 / rate
            expected = by_hand(points, weight, to_edge)
        assert found.k[0] > 0
        np.testing.assert_allclose(found.k, expected, rtol=1e-12)
        np.testing.assert_allclose(found.l_function, np.sqrt(expected / np.pi))

    def test_in_a_mask_points_near_its_border_do_not_count(self):
        points = uniform(np.random.default_rng(1), 300)
        column, row = np.clip(((points - LOWER) / SIDES * 4).astype(int), 0, 3).T
        points = points[L_SHAPE[row, column]]
        n, area = len(points), SIDES.prod() * 0.75
        corners = [
            LOWER + SIDES * (np.array([c, r]) + 0.5) / 4 for r, c in zip(*np.nonzero(~L_SHAPE))
        ]
        half = np.hypot(*SIDES / 4) / 2

        def free(point):
            return min(to_edge(point), *(np.hypot(*(point - c)) - half for c in corners))

        found = ripley_k(points, RADII, *BOX, mask=L_SHAPE, correction="border")
        expected = by_hand(points, np.full(n, area / (n - 1)), free)
        np.testing.assert_allclose(found.k, expected, rtol=1e-12)

    @pytest.mark.statistical
    @pytest.mark.parametrize(
        "options",
        [{}, {"correction": "border"}, {"correction": "border", "mask": L_SHAPE}],
        ids=["translation", "border", "mask"],
    )
    def test_expectation_for_points_that_do_not_interact(self, options):
        rng = np.random.default_rng(2)
        curves = []
        for _ in range(400):
            points = uniform(rng, 60)
            if "mask" in options:
                column, row = np.clip(((points - LOWER) / SIDES * 4).astype(int), 0, 3).T
                points = points[L_SHAPE[row, column]]
            curves.append(ripley_k(points, RADII[:3], *BOX, **options).k)
        error = np.std(curves, axis=0) / 20
        assert_z(np.mean(curves, axis=0), np.pi * RADII[:3] ** 2, error)

    @pytest.mark.statistical
    def test_a_known_slope_is_no_attraction_and_an_unknown_one_is(self):
        rng = np.random.default_rng(3)
        known, unknown = [], []
        for _ in range(300):
            points = sloped(rng)
            rate = 150.0 * slope(points)
            known.append(ripley_k(points, RADII, *BOX, intensity=rate).k)
            unknown.append(ripley_k(points, RADII, *BOX).k)
        expected = np.pi * RADII**2
        assert_z(np.mean(known, axis=0), expected, np.std(known, axis=0) / np.sqrt(300))
        z = (np.mean(unknown, axis=0) - expected) / (np.std(unknown, axis=0) / np.sqrt(300))
        assert z.min() > 8

    def test_a_lattice_repels(self):
        lattice = np.array(list(itertools.product(np.arange(0.05, 1, 0.1), repeat=2)))
        found = ripley_k(lattice, [0.09, 0.11], (0, 1), (0, 1), correction="border")
        # nobody within .09; then four neighbours of 99 others in the unit square
        np.testing.assert_allclose(found.k, [0, 4 / 99])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"positions": [[1.5, 0.0]]}, "positions: expected shape"),
            (
                {"positions": [[1.5, 0.0], [9.0, 0.0]]},
                "positions: expected points in the rectangle",
            ),
            ({"radii": [0.1, 0.1]}, "radii: expected increasing"),
            ({"radii": [0.8]}, "radii: expected increasing positive numbers below 0.75"),
            ({"x_range": (3, 1)}, "x_range, y_range: expected a rectangle"),
            ({"intensity": [1.0]}, "intensity: expected 3 rows"),
            ({"intensity": [1.0, 0.0, 1.0]}, "intensity: expected positive"),
            ({"mask": L_SHAPE}, "correction: expected 'border' with a mask"),
            ({"correction": "none"}, "correction: expected one of"),
            (
                {"correction": "border", "radii": [0.1, 0.7]},
                "points at least 0.7 from the border, got none; use radii up to 0.1",
            ),
        ],
    )
    def test_bad_input(self, change, message):
        arguments = {
            "positions": [[1.2, 0.0], [1.5, 0.0], [2.5, -0.8]],
            "radii": [0.1],
            "x_range": BOX[0],
            "y_range": BOX[1],
        }
        with pytest.raises(ValueError, match=message):
            ripley_k(**{**arguments, **change})


class TestEnvelope:
    def test_extreme_ranks_by_their_definition(self):
        curves = np.random.default_rng(4).standard_normal((40, 6))
        depth = []
        for curve in curves:
            below, above = (curves < curve).sum(axis=0), (curves > curve).sum(axis=0)
            depth.append(sorted(np.minimum(below, above).tolist()))
        for i in range(5):
            others = np.delete(curves, i, axis=0)
            expected = sum(other <= depth[i] for other in depth) / 40
            assert envelope(curves[i], others).p_value == pytest.approx(expected)

    def test_largest_distance_by_its_definition(self):
        curves = np.random.default_rng(5).standard_normal((40, 6))
        size = np.abs(curves - curves.mean(axis=0)).max(axis=1)
        found = envelope(curves[3], np.delete(curves, 3, axis=0), kind="mad")
        assert found.p_value == pytest.approx((size >= size[3]).mean())
        np.testing.assert_allclose(found.upper - found.center, found.center - found.lower)

    @pytest.mark.parametrize("kind", ["rank", "mad"])
    def test_a_curve_leaves_the_envelope_exactly_if_it_is_extreme(self, kind):
        rng = np.random.default_rng(6)
        p, left = [], []
        for _ in range(400):
            curves = np.cumsum(rng.standard_normal((40, 5)), axis=1)
            found = envelope(curves[0], curves[1:], kind=kind, level=0.1)
            p.append(found.p_value)
            left.append(found.outside.any())
        assert left == [value <= 0.1 for value in p]
        assert stats.binomtest(sum(left), 400, 0.1).pvalue > 1e-3
        assert stats.kstest(np.array(p) - rng.random(400) / 40, "uniform").pvalue > 1e-3

    def test_equal_curves_are_as_extreme_as_each_other(self):
        assert envelope(np.zeros(3), np.zeros((39, 3))).p_value == 1.0

    def test_bad_input(self):
        curves = np.zeros((18, 3))
        with pytest.raises(ValueError, match=r"level: expected a number from 0.05.* to below 1"):
            envelope(np.zeros(3), curves)
        with pytest.raises(ValueError, match="simulated: expected 4 columns"):
            envelope(np.zeros(4), curves)
        with pytest.raises(ValueError, match="kind: expected one of rank, mad"):
            envelope(np.zeros(3), curves, kind="sd")
