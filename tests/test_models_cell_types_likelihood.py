"""Likelihoods and emissions: reference numbers, identities, and densities that integrate to 1."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.special import gammaln, xlogy

from models.cell_types import (
    AxialVonMises,
    Bins,
    Categorical,
    Counts,
    GridDensity,
    LogNormal,
    Points,
    TruncatedGaussian,
    Window,
    WithClutter,
    bin_points,
    log_likelihood_counts,
    log_likelihood_points,
    responsibilities,
    simulate_benchmark,
)
from models.cell_types.likelihood import log_density

SQUARE = Window((0.0, 1.0), (0.0, 1.0))
# five marked cells and two types, computed independently once
CELLS = Points.from_labels(
    ["g"] * 5,
    [[0.20, 0.30], [0.25, 0.20], [0.70, 0.80], [0.65, 0.60], [0.50, 0.50]],
    marks={"size": [8.0, 9.5, 15.0, 12.0, 10.0], "orientation": [0.30, 0.10, 1.40, 3.00, 2.00]},
    window=SQUARE,
)
SPACE = TruncatedGaussian(
    np.array([[0.25, 0.25], [0.70, 0.70]]), np.array([[0.15, 0.20], [0.10, 0.15]]), SQUARE
)
SIZE = LogNormal("size", np.log([9.0, 13.0]), np.array([0.25, 0.30]))
ANGLE = AxialVonMises("orientation", np.array([0.2, 1.5]), np.array([2.0, 0.5]))
EMISSIONS = (SPACE, SIZE, ANGLE)


def test_reference_densities_and_likelihood():
    expected = [
        [0.01094358870302, -18.34828954292],
        [-0.01775448008773, -17.48457202931],
        [-14.22358989719, -1.089057012684],
        [-6.354627968641, -1.897770685263],
        [-6.027007242465, -3.838791572889],
    ]
    np.testing.assert_allclose(log_density(CELLS, EMISSIONS), expected, rtol=1e-9)
    beta = [[3.0, 2.5]]
    assert log_likelihood_points(CELLS, beta, EMISSIONS) == pytest.approx(-7.246281214913, rel=1e-9)
    first = [0.9999999911385, 0.9999999783690, 2.370964559e-06, 0.01372744366185, 0.1185854656327]
    # the third is given to ten digits only
    np.testing.assert_allclose(responsibilities(CELLS, beta, EMISSIONS)[:, 0], first, rtol=1e-9)


def test_reference_evidence_and_most_likely_weights():
    density = np.exp(log_density(CELLS, EMISSIONS))
    # Gamma(2, rate 1/2): every assignment of the five cells in closed form
    totals = []
    for types in itertools.product((0, 1), repeat=5):
        ones = sum(types)
        number = np.array([5 - ones, ones])
        log_weight = (gammaln(2 + number) + 2 * np.log(0.5) - (2 + number) * np.log(1.5)).sum()
        totals.append(np.log(density[range(5), types]).sum() + log_weight)
    assert np.logaddexp.reduce(totals) == pytest.approx(-8.165821988451, rel=1e-9)
    beta = np.array([[2.5, 2.5]])
    for _ in range(200):
        beta = responsibilities(CELLS, beta, EMISSIONS).sum(axis=0, keepdims=True)
    np.testing.assert_allclose(beta[0], [2.082298204780, 2.917701795220], rtol=1e-9)
    assert log_likelihood_points(CELLS, beta, EMISSIONS) == pytest.approx(-7.067876835305, rel=1e-9)


def test_reference_counts():
    maps = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]])
    best = log_likelihood_counts(Counts([[4, 3, 1, 0]]), [[8.0, 0.0]], maps)
    assert best == pytest.approx(-4.615908086241, rel=1e-9)
    inside = log_likelihood_counts(Counts([[2, 2, 2, 3]]), [[3.52593917933, 5.47406082067]], maps)
    assert inside == pytest.approx(-5.428839029157, rel=1e-9)


def test_reference_refit():
    points = Points.from_labels(
        ["g"] * 5,
        np.full((5, 2), 0.5),
        marks={"orientation": [0.30, 0.10, 1.40, 3.00, 2.00], "size": [8, 9.5, 15, 12, 10]},
        window=SQUARE,
    )
    weight = np.array([1, 0.5, 0.25, 2, 1])[:, None]
    one = np.ones(1)
    angle = AxialVonMises("orientation", one, one).refit(points, weight)
    size = LogNormal("size", one, one).refit(points, weight)
    got = [angle.direction[0], angle.sharpness[0], size.location[0], size.scale[0]]
    expected = [3.022864220692, 1.185488131461, 2.348315449227, 0.176967331567]
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_cells_in_bins_have_the_likelihood_of_their_counts():
    rng = np.random.default_rng(0)
    mask = rng.random((6, 8)) < 0.7
    window = Window((0, 2), (-1, 1), mask=mask)
    bins = Bins(window, 4, 3)
    places = rng.random((900, 2)) * 2 - [0, 1]
    places = places[window.contains(places)]
    points = Points.from_labels(rng.choice(list("abc"), len(places)), places, window=window)
    counts = bin_points(points, bins)
    maps = rng.dirichlet(np.ones(12), 2) * (bins.area > 0)
    maps /= maps.sum(axis=1, keepdims=True)
    beta = rng.gamma(2.0, 50.0, (3, 2))
    continuous = log_likelihood_points(points, beta, [GridDensity(bins, maps)])
    area = np.where(bins.area > 0, bins.area, 1.0)
    change = gammaln(counts.values + 1.0).sum() - (counts.values * np.log(area)).sum()
    binned = log_likelihood_counts(counts, beta, maps)
    assert continuous == pytest.approx(binned + change, rel=1e-12)


def test_given_the_totals_counts_are_a_topic_model():
    data = simulate_benchmark(3, n_genes=20, n_types=3, shape=(5, 4))
    values = data.counts.values
    total = values.sum(axis=1)
    rate = np.random.default_rng(1).gamma(5.0, 80.0, 20)
    multinomial = [
        stats.multinomial.logpmf(x, n, p)
        for x, n, p in zip(values, total, data.membership @ data.maps)
    ]
    poisson = xlogy(total, rate) - rate - gammaln(total + 1.0)
    joint = log_likelihood_counts(data.counts, rate[:, None] * data.membership, data.maps)
    assert joint == pytest.approx(np.sum(multinomial) + poisson.sum(), rel=1e-12)


def test_exposure_scales_the_intensity():
    maps = np.array([[0.25, 0.75]])
    seen = Counts([[2, 0]], exposure=[[0.5, 0.0]])
    expected = stats.poisson.logpmf(2, 0.5 * 0.25 * 8.0)
    assert log_likelihood_counts(seen, [[8.0]], maps) == pytest.approx(expected, rel=1e-12)


def test_impossible_data_have_no_likelihood():
    maps = np.array([[1.0, 0.0]])
    assert log_likelihood_counts(Counts([[1, 1]]), [[2.0]], maps) == -np.inf
    grid = GridDensity(Bins(SQUARE, 2, 1), maps)
    assert log_likelihood_points(CELLS, [[1.0]], [grid]) == -np.inf
    with pytest.raises(ValueError, match="no type explains the cell in row 2, gene g"):
        responsibilities(CELLS, [[1.0]], [grid])


def with_marks(n, **marks):
    return Points.from_labels(["g"] * n, np.full((n, 2), 0.5), marks=marks, window=SQUARE)


@pytest.mark.parametrize("k", [0, 1])
def test_densities_integrate_to_one(k):
    def size(x):
        return np.exp(SIZE.log_density(with_marks(1, size=[x]))[0, k])

    def angle(x):
        return np.exp(ANGLE.log_density(with_marks(1, orientation=[x]))[0, k])

    assert quad(size, 1e-6, 200, points=[5, 10, 20])[0] == pytest.approx(1.0, abs=1e-8)
    assert quad(angle, 0, np.pi)[0] == pytest.approx(1.0, abs=1e-8)
    node, weight = np.polynomial.legendre.leggauss(80)
    x, y = np.meshgrid((node + 1) / 2, (node + 1) / 2)
    grid = Points.from_labels(["g"] * 6400, np.column_stack([x.ravel(), y.ravel()]), window=SQUARE)
    total = np.exp(SPACE.log_density(grid))[:, k] @ np.outer(weight, weight).ravel() / 4
    assert total == pytest.approx(1.0, abs=1e-10)


def test_a_gaussian_far_outside_keeps_its_normalisation():
    far = TruncatedGaussian(np.array([[9.0, 0.5]]), np.array([[0.2, 1.0]]), SQUARE)
    law = stats.truncnorm(-45.0, -40.0, 9.0, 0.2)
    expected = law.logpdf(0.98) + stats.truncnorm(-0.5, 0.5, 0.5, 1.0).logpdf(0.3)
    point = Points.from_labels(["g"], [[0.98, 0.3]], window=SQUARE)
    assert far.log_density(point)[0, 0] == pytest.approx(expected, rel=1e-9)


def test_round_cells_have_no_axis():
    angle = [0.3, 1.0]
    points = with_marks(2, orientation=angle, eccentricity=[0.5, 0.7])
    assert ANGLE.log_density(points)[0].tolist() == [-np.log(np.pi)] * 2
    refitted = ANGLE.refit(points, np.ones((2, 2)))
    np.testing.assert_allclose(refitted.direction, 1.0)


@pytest.mark.parametrize(
    "emission",
    [
        GridDensity(Bins(SQUARE, 3, 2), np.full((2, 6), 1 / 6)),
        SPACE,
        SIZE,
        ANGLE,
        Categorical("kind", np.full((2, 4), 0.25)),
        WithClutter(TruncatedGaussian(np.full((1, 2), 0.4), np.full((1, 2), 0.2), SQUARE), SQUARE),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_refit_is_the_most_likely_emission(emission):
    rng = np.random.default_rng(5)
    n = 400
    marks = {
        "size": rng.lognormal(2, 0.4, n),
        "orientation": rng.vonmises(1, 2, n) / 2 % np.pi,
        "kind": rng.integers(0, 3, n),
    }
    points = Points.from_labels(
        ["g"] * n, rng.beta([2, 5], [3, 2], (n, 2)), marks=marks, window=SQUARE
    )
    weight = rng.dirichlet(np.ones(emission.n_types), n)
    fitted = emission.refit(points, weight)

    def objective(candidate):
        log_f = candidate.log_density(points)
        return np.sum(weight * np.where(weight * np.isfinite(log_f) != 0, log_f, 0.0))

    best = objective(fitted)
    assert best >= objective(emission)
    again = objective(fitted.refit(points, weight))
    assert again == pytest.approx(best, abs=1e-7)
    if isinstance(emission, TruncatedGaussian):
        for field in ("mean", "scale"):
            for shift in (0.99, 1.01):
                moved = {"mean": fitted.mean, "scale": fitted.scale}
                moved[field] = moved[field] * shift
                assert objective(TruncatedGaussian(**moved, window=SQUARE)) < best


def test_a_type_without_cells_keeps_its_parameters():
    weight = np.column_stack([np.ones(5), np.zeros(5)])
    grid = GridDensity(Bins(SQUARE, 2), np.array([[0.1, 0.2, 0.3, 0.4]] * 2))
    for emission, names in (
        (SPACE, ("mean", "scale")),
        (SIZE, ("location", "scale")),
        (ANGLE, ("direction", "sharpness")),
        (grid, ("maps",)),
    ):
        fitted = emission.refit(CELLS, weight)
        for name in names:
            assert np.array_equal(getattr(fitted, name)[1], getattr(emission, name)[1])
            assert np.isfinite(getattr(fitted, name)).all()


def test_clutter_is_as_likely_everywhere():
    window = Window((0, 2), (0, 2))
    grid = GridDensity(Bins(window, 2, 1), np.array([[0.25, 0.75]]))
    log_f = WithClutter(grid, window).log_density(
        Points.from_labels(["g"] * 2, [[0.5, 1], [1.5, 1]], window=window)
    )
    np.testing.assert_allclose(np.exp(log_f), [[0.125, 0.25], [0.375, 0.25]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GridDensity(Bins(SQUARE, 2), [[0.5, 0.6, 0, 0]]), "rows of probabilities"),
        (lambda: GridDensity(Bins(SQUARE, 2), [[1.0]]), "expected 4 columns"),
        (lambda: GridDensity(Bins(SQUARE, 1), [[1.0]], concentration=0.5), "at least 1, got 0.5"),
        (lambda: TruncatedGaussian([[0, 0]], [[1, 0]], SQUARE), "scale: expected positive"),
        (lambda: TruncatedGaussian([[0, 0]], [[1]], SQUARE), "expected one shape"),
        (lambda: LogNormal("size", [1.0], [-1.0]), "scale: expected positive"),
        (lambda: AxialVonMises("o", [1.0], [-1.0]), "sharpness: expected at least 0"),
        (lambda: log_likelihood_points(CELLS, [[1.0]], EMISSIONS), "expected 2 columns"),
        (lambda: log_likelihood_points(CELLS, [[1.0, -1]], EMISSIONS), "beta: expected numbers"),
        (lambda: log_likelihood_points(CELLS, [[1.0, 1]], ()), "expected one number of types"),
        (
            lambda: log_likelihood_points(CELLS, [[1.0]], [LogNormal("area", [0.0], [1.0])]),
            "marks: expected 'area', got size, orientation",
        ),
        (
            lambda: Categorical("size", [[0.5, 0.5]]).log_density(CELLS),
            "size: expected codes from 0 to 1",
        ),
        (lambda: log_likelihood_counts(Counts([[1, 2]]), [[1.0]], [[1.0]]), "maps: expected"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
