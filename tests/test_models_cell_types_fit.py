"""Fits recover known types; their answer has the caller's shape, and repeats to the last bit."""

import sys

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from inference.status import CavityWarning, ConvergenceError, Status
from models.cell_types import (
    Bins,
    Counts,
    Points,
    Window,
    bin_points,
    fit,
    fitting,
    simulate_benchmark,
)
from models.cell_types.fitting import NEAR_TIE


def recovery(data, membership, maps):
    """Return mean and least cosine of matched maps, and the mean correlation of profiles."""
    unit, true = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (maps, data.maps))
    cosine = true @ unit.T
    rows, order = linear_sum_assignment(-cosine)
    best = cosine[rows, order]
    profile = [
        np.corrcoef(data.membership[:, k], membership[:, j])[0, 1] for k, j in zip(rows, order)
    ]
    return best.mean(), best.min(), np.mean(profile)


@pytest.fixture(scope="module")
def small():
    return simulate_benchmark(7, n_genes=250, n_types=4, shape=(9, 8))


@pytest.fixture(scope="module")
def small_fit(small):
    return fit(small.counts, 4, restarts=2, key=jax.random.key(0), on_failure="ignore")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "least"), [(1, (0.985, 0.96, 0.96)), (2, (0.97, 0.0, 0.91)), (5, (0.985, 0.95, 0.95))]
)
def test_the_benchmarks_are_recovered(seed, least):
    data = simulate_benchmark(seed)
    found = fit(data.counts, 10, key=jax.random.key(0), on_failure="ignore")
    assert found.solutions[0].start == "spectral"  # for each of these its bound is a near tie
    for value, bound in zip(recovery(data, found.membership, found.maps), least):
        assert value >= bound


def test_a_small_problem_is_recovered(small, small_fit):
    _, least, profile = recovery(small, small_fit.membership, small_fit.maps)
    assert least > 0.97
    assert profile > 0.95
    np.testing.assert_allclose(small_fit.membership.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(small_fit.maps.sum(axis=1), 1.0, rtol=1e-12)
    share = small.counts.values.sum(axis=1) @ small.membership / small.counts.n_cells
    np.testing.assert_allclose(small_fit.type_share, np.sort(share)[::-1], atol=0.03)
    assert small_fit.status is Status.CONVERGED
    assert small_fit.n_steps == small_fit.steps[-1]
    assert np.diff(small_fit.trace).min() > 0


def test_the_spectral_start_is_taken_where_bounds_are_tied(small, monkeypatch):
    def fitted(gap):
        monkeypatch.setattr(fitting, "NEAR_TIE", gap)
        found = fit(small.counts, 4, restarts=3, key=jax.random.key(2), on_failure="ignore")
        return [solution.start for solution in found.solutions], found.elbo, found.solutions

    names, elbo, solutions = fitted(1e9)
    assert names[0] == "spectral"
    best = max(solutions, key=lambda solution: solution.elbo)
    names, elbo, _ = fitted(0.0)
    assert (names[0], elbo) == (best.start, best.elbo)


def test_one_key_one_answer(small, small_fit):
    again = fit(small.counts, 4, restarts=2, key=jax.random.key(0), on_failure="ignore")
    assert np.array_equal(again.gamma, small_fit.gamma)
    assert np.array_equal(again.lam, small_fit.lam)
    assert again.elbo == small_fit.elbo
    other = fit(small.counts, 4, restarts=2, key=jax.random.key(1), on_failure="ignore")
    starts = [{s.start: s.maps for s in one.solutions} for one in (small_fit, other)]
    assert not np.array_equal(*(start["random 1"] for start in starts))
    assert other.elbo == pytest.approx(small_fit.elbo, abs=NEAR_TIE * small.counts.n_cells)


@pytest.mark.float32
def test_fits_run_in_single_precision(small, key):
    found = fit(small.counts.values, 4, restarts=1, key=key, on_failure="ignore")
    assert found.gamma.dtype == np.float64
    assert recovery(small, found.membership, found.maps)[1] > 0.95


def test_double_precision_agrees(small, small_fit):
    found = fit(
        small.counts, 4, restarts=2, precision="float64", key=jax.random.key(0), on_failure="ignore"
    )
    assert found.elbo == pytest.approx(small_fit.elbo, rel=1e-6)
    np.testing.assert_allclose(found.maps, small_fit.maps, atol=1e-4)


def test_solutions_are_reported_with_their_ties(small_fit):
    names = {solution.start for solution in small_fit.solutions}
    assert names == {"spectral", "random 1", "random 2"}
    first, *others = small_fit.solutions
    assert first.elbo == small_fit.elbo
    assert [s.elbo for s in others] == sorted((s.elbo for s in others), reverse=True)
    assert first.elbo >= max(s.elbo for s in others) - small_fit.near_tie_gap
    assert np.array_equal(first.maps, small_fit.maps)
    for solution in small_fit.near_ties:
        assert small_fit.elbo - solution.elbo < small_fit.near_tie_gap
        # matched types
        cosine = (solution.maps * small_fit.maps).sum(axis=1) / np.sqrt(
            (solution.maps**2).sum(axis=1) * (small_fit.maps**2).sum(axis=1)
        )
        assert cosine.min() > 0.9
    assert small_fit.near_tie_gap == pytest.approx(NEAR_TIE * small_fit.n_cells.sum())


def test_empty_genes_and_bins_are_put_back(small, small_fit):
    values = np.zeros((252, 74), int)
    genes, bins = np.delete(np.arange(252), [0, 100]), np.delete(np.arange(74), [3, 73])
    values[np.ix_(genes, bins)] = small.counts.values
    found = fit(values, 4, restarts=2, key=jax.random.key(0), on_failure="ignore")
    assert found.dropped_genes.tolist() == [0, 100]
    assert found.dropped_bins.tolist() == [3, 73]
    assert found.elbo == small_fit.elbo
    assert np.array_equal(found.membership[genes], small_fit.membership)
    assert np.array_equal(found.maps[:, bins], small_fit.maps)
    assert found.membership[100].tolist() == [0.25] * 4
    assert not found.maps[:, [3, 73]].any()
    assert not found.beta[0].any()


def test_profiles(small, small_fit):
    n = small.counts.values.sum(axis=1)
    np.testing.assert_allclose(small_fit.profiles("count").sum(axis=0), n, rtol=1e-12)
    np.testing.assert_allclose(small_fit.profiles().sum(axis=0), 1.0, rtol=1e-12)
    ratio = small_fit.profiles("logratio")
    np.testing.assert_allclose(ratio.sum(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(ratio[0] - ratio[1], np.log(small_fit.membership[:, :2]) @ [1, -1])
    with pytest.raises(ValueError, match="kind: expected one of count"):
        small_fit.profiles("raw")


def test_fits_go_out_as_anndata(small_fit):
    anndata = pytest.importorskip("anndata")
    data = small_fit.to_anndata()
    assert isinstance(data, anndata.AnnData)
    assert data.shape == (4, 250)
    np.testing.assert_allclose(data.layers["beta"], small_fit.beta.T)
    back = Counts.from_anndata(anndata.AnnData(X=np.array([[1, 2], [3, 4], [5, 6]])))
    assert back.values.tolist() == [[1, 3, 5], [2, 4, 6]]


def test_the_missing_package_is_named(small_fit, monkeypatch):
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(ImportError, match="pip install anndata"):
        small_fit.to_anndata()


@pytest.fixture(scope="module")
def marked():
    """Cells of two types on the two halves of a square, with different marks."""
    rng = np.random.default_rng(3)
    window = Window((0.0, 2.0), (0.0, 1.0))
    n = 6000
    gene = rng.integers(0, 30, n)
    share = rng.beta(0.2, 0.2, 30)
    kind = (rng.random(n) < share[gene]).astype(int)
    position = np.column_stack([rng.random(n) + kind, rng.random(n)])
    marks = {
        "size": rng.lognormal(np.log([8, 16])[kind], 0.1),
        "orientation": (np.where(kind, 0.0, 1.0) + 0.1 * rng.standard_normal(n)) % np.pi,
    }
    names = np.array([f"gene {i}" for i in range(30)])
    return Points.from_labels(names[gene], position, marks=marks, window=window), kind


@pytest.fixture(scope="module")
def marked_fit(marked):
    return fit(marked[0], 2, bins=(8, 4), restarts=1, key=jax.random.key(0), on_failure="ignore")


def test_cells_are_assigned(marked, marked_fit):
    points, kind = marked
    prob = marked_fit.assign(points)
    np.testing.assert_allclose(prob.sum(axis=1), 1.0, rtol=1e-12)
    right = np.argmax(marked_fit.maps[:, 7])  # the type of the right half
    assert (prob[np.arange(len(kind)), np.where(kind, right, 1 - right)]).mean() > 0.97
    # by hand, one cell
    i = 17
    weight = (
        marked_fit.membership[points.gene[i]]
        * marked_fit.maps[:, marked_fit.bins.index(points.position[[i]])[0]]
    )
    np.testing.assert_allclose(prob[i], weight / weight.sum(), rtol=1e-12)


def test_types_have_features(marked_fit):
    features = marked_fit.type_features()
    left, right = np.argsort(features["center_x"])
    np.testing.assert_allclose(features["center_x"][[left, right]], [0.5, 1.5], atol=0.05)
    np.testing.assert_allclose(features["center_y"], 0.5, atol=0.03)
    np.testing.assert_allclose(features["spread_y"], np.sqrt(15 / 16 / 12), atol=0.02)
    assert (np.abs(features["effective_area"] - 1.0) < 0.15).all()
    np.testing.assert_allclose(features["size"][[left, right]], [8, 16], rtol=0.05)
    assert features["size_sd"].max() < 2.5
    assert features["orientation"][left] == pytest.approx(1.0, abs=0.05)
    assert abs((features["orientation"][right] + 1) % np.pi - 1) < 0.05
    assert features["orientation_order"].min() > 0.8


def test_points_and_their_counts_have_one_fit(marked, marked_fit):
    counts = bin_points(marked[0], (8, 4))
    again = fit(counts, 2, restarts=1, key=jax.random.key(0), on_failure="ignore")
    assert np.array_equal(again.membership, marked_fit.membership)
    assert "size" not in again.type_features()
    assert again.type_features(marked[0])["size"] == pytest.approx(
        marked_fit.type_features()["size"]
    )


def test_cells_that_cannot_be_assigned_are_refused(small_fit, marked, marked_fit):
    points = marked[0]
    with pytest.raises(ValueError, match="expected genes of the fit, got 1 others, as 'new'"):
        marked_fit.assign(Points.from_labels(["new"], [[0, 0]], window=points.window))
    far = Points.from_labels(["gene 1"], [[5, 5]], window=Window((0, 9), (0, 9)))
    with pytest.raises(ValueError, match="cells in the window of the fit, got 1 outside"):
        marked_fit.assign(far)
    plain = fit(np.full((3, 3), 9), 1, restarts=0, key=jax.random.key(0), on_failure="ignore")
    with pytest.raises(ValueError, match="bins: expected a fit of points"):
        plain.assign(points)


def test_too_few_patterns_are_named(key):
    values = np.outer([3, 5, 9, 2], [4, 1, 2, 7, 3])
    with pytest.warns(CavityWarning, match="only 1 independent spatial patterns for 2 types"):
        found = fit(values, 2, restarts=1, key=key)
    assert found.status is Status.DEGENERATE
    assert np.isfinite(found.maps).all()
    with pytest.raises(ConvergenceError, match="only 1 independent spatial patterns"):
        fit(values, 2, restarts=1, key=key, on_failure="raise")


def test_without_third_moments_only_random_starts_are_left(key):
    values = np.eye(6, dtype=int) * 2
    found = fit(values, 2, restarts=2, key=key, on_failure="ignore")
    assert {s.start for s in found.solutions} == {"random 1", "random 2"}
    with pytest.raises(ValueError, match="third moments need 3 cells per gene"):
        fit(values, 2, restarts=0, key=key)


def test_an_interrupted_fit_is_the_best_so_far(small, key):
    found = fit(small.counts, 4, restarts=4, key=key, should_stop=lambda: True, on_failure="ignore")
    assert [s.start for s in found.solutions] == ["spectral"]
    assert found.steps == (0, 25)
    assert found.status is Status.MAX_STEPS


@pytest.mark.parametrize(
    ("data", "n_types", "options", "message"),
    [
        (np.ones((3, 4), int), 4, {}, "n_types: expected at most 3, got 4"),
        (np.ones((3, 4), int), 0, {}, "n_types: expected an integer of at least 1"),
        (np.ones((3, 4)) / 2, 1, {}, "counts must be non-negative integers"),
        (np.ones((3, 4), int), 1, {"restarts": -1}, "restarts: expected"),
        (np.ones((3, 4), int), 1, {"concentration": 0}, "concentration: expected"),
        (np.ones((3, 4), int), 1, {"map_concentration": 0}, "map_concentration: expected"),
        (np.ones((3, 4), int), 1, {"on_failure": "no"}, "on_failure: expected"),
        (Counts(np.ones((2, 2), int), exposure=np.ones((2, 2))), 1, {}, "expected no exposure"),
    ],
)
def test_bad_fits_are_refused(data, n_types, options, message, key):
    with pytest.raises(ValueError, match=message):
        fit(data, n_types, key=key, **options)


def test_bins_without_cells_do_not_decide(key):
    window = Window((0, 4), (0, 1))
    bins = Bins(window, 4, 1)
    found = fit(
        Counts([[9, 1, 0, 2], [1, 9, 0, 3]], genes=("a", "b"), bins=bins),
        2,
        restarts=1,
        key=key,
        on_failure="ignore",
    )
    prob = found.assign(Points.from_labels(["b"], [[2.5, 0.5]], window=window))
    np.testing.assert_allclose(prob[0], found.membership[1], rtol=1e-12)
