"""Fits of marked cells: EM of counts without marks, ascent, types that only marks tell apart."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from inference.status import CavityWarning, Status
from models.cell_types import (
    AxialVonMises,
    GridDensity,
    LogNormal,
    Points,
    Window,
    bin_points,
    em,
    em_points,
    fit,
    fit_marked,
    log_likelihood_points,
    simulate_benchmark,
)

SQUARE = Window((0.0, 1.0), (0.0, 1.0))


def simulate(seed, n_genes, typical=120):
    """Draw six types; two pairs share a map, and marks alone tell them apart."""
    rng = np.random.default_rng(seed)
    maps = simulate_benchmark(seed, n_genes=1, n_types=4, shape=(20, 20)).maps[[0, 1, 2, 3, 0, 1]]
    membership = rng.dirichlet(np.full(6, 0.2), n_genes)
    n = np.maximum(20, rng.lognormal(np.log(typical) - 0.32, 0.8, n_genes)).astype(int)
    gene = np.repeat(np.arange(n_genes), n)
    kind = (rng.random(len(gene))[:, None] > np.cumsum(membership, axis=1)[gene]).sum(axis=1)
    place = np.array([rng.choice(400, p=maps[k] / maps[k].sum()) for k in kind])
    position = (np.column_stack([place % 20, place // 20]) + rng.random((len(gene), 2))) / 20
    axis = np.array([0.2, 1.0, 1.8, 2.6, 1.77, 2.57])[kind]
    marks = {
        "size": np.array([8, 9, 10, 11, 13, 14])[kind] * rng.lognormal(0, 0.2, len(gene)),
        "orientation": (axis + rng.vonmises(0, 2, len(gene)) / 2) % np.pi,
    }
    names = tuple(f"gene {g}" for g in range(n_genes))
    return Points(gene, position, names, SQUARE, marks), membership, kind


def profile_correlation(true, found):
    k = true.shape[1]
    table = np.corrcoef(true.T, found.T)[:k, k:]
    rows, order = linear_sum_assignment(-table)
    return table[rows, order].mean(), order


@pytest.fixture(scope="module")
def cells():
    return simulate(1, 40, typical=60)


def start(points, n_types, seed, bins=(5, 4), **options):
    rng = np.random.default_rng(seed)
    grid = bin_points(points, bins).bins
    maps = rng.dirichlet(np.ones(grid.n_bins), n_types)
    return rng.dirichlet(np.ones(n_types), len(points.genes)), GridDensity(grid, maps, **options)


def test_without_marks_it_is_the_em_of_counts(cells):
    points = cells[0]
    membership, space = start(points, 3, 0, concentration=1.3)
    options = {"concentration": 1.1, "max_steps": 30, "tol": 0.0, "on_failure": "ignore"}
    marked = em_points(points, membership, [space], **options)
    counts = bin_points(points, space.bins)
    plain = em(counts, membership, space.maps, map_concentration=1.3, check_every=1, **options)
    np.testing.assert_allclose(marked.membership, plain.membership, atol=1e-12)
    np.testing.assert_allclose(marked.emissions[0].maps, plain.maps, atol=1e-12)
    np.testing.assert_allclose(np.diff(marked.trace), np.diff(plain.trace), atol=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_no_step_goes_down(cells, seed):
    points = cells[0]
    rng = np.random.default_rng(seed)
    membership, space = start(points, 4, seed, concentration=1.5)
    laws = [
        space,
        LogNormal("size", rng.normal(2.3, 0.2, 4), np.full(4, 0.3)),
        AxialVonMises("orientation", rng.uniform(0, np.pi, 4), np.ones(4)),
    ]
    found = em_points(
        points, membership, laws, concentration=1.02, max_steps=60, tol=0.0, on_failure="ignore"
    )
    assert np.diff(found.trace).min() > -1e-9 * abs(found.trace[0])
    prior = 0.02 * np.log(found.membership).sum() + found.emissions[0].log_prior()
    likelihood = log_likelihood_points(points, found.beta, found.emissions)
    assert found.objective == pytest.approx(likelihood + prior, rel=1e-12)


def test_types_in_one_place_are_told_apart_by_their_marks():
    points, membership, kind = simulate(1, 250)
    key = jax.random.key(0)
    marked = fit_marked(points, 6, ("size", "orientation"), bins=20, restarts=1, key=key)
    correlation, order = profile_correlation(membership, marked.membership)
    assert correlation >= 0.95
    assert marked.status is Status.CONVERGED
    _, size, axis = marked.emissions
    np.testing.assert_allclose(np.exp(size.location[order]), [8, 9, 10, 11, 13, 14], rtol=0.02)
    turned = np.abs(axis.direction[order] - [0.2, 1.0, 1.8, 2.6, 1.77, 2.57])
    assert turned.max() < 0.05
    np.testing.assert_allclose(axis.sharpness, 2.0, atol=0.3)
    assert (marked.assign(points)[:, order].argmax(axis=1) == kind).mean() > 0.7
    space = fit(points, 6, bins=20, restarts=1, key=key, on_failure="ignore")
    assert profile_correlation(membership, space.membership)[0] <= 0.7


def test_one_key_one_answer(cells, key):
    options = {"bins": 5, "restarts": 2, "max_steps": 15}
    one = fit_marked(cells[0], 3, ["size"], key=key, **options)
    again = fit_marked(cells[0], 3, ["size"], key=key, **options)
    assert np.array_equal(one.membership, again.membership)
    assert one.trace[-1] == again.trace[-1] == one.objective
    stopped = fit_marked(cells[0], 3, ["size"], key=key, should_stop=lambda: True, **options)
    assert stopped.steps == (0, 1)


def test_a_mark_that_follows_from_the_positions_is_flagged(cells, key):
    points = cells[0]
    dense = Points(
        points.gene, points.position, points.genes, SQUARE, {"density": np.ones(len(points)) + 0.5}
    )
    options = {"bins": 3, "restarts": 1, "max_steps": 2, "key": key}
    assert fit_marked(dense, 2, ["density"], **options).pseudo_likelihood
    assert not fit_marked(points, 2, ["size"], **options).pseudo_likelihood


def test_too_few_steps_are_reported(cells):
    membership, space = start(cells[0], 2, 0)
    with pytest.warns(CavityWarning, match="em_points: MAX_STEPS"):
        em_points(cells[0], membership, [space], max_steps=2)


def test_bad_problems_are_refused(cells, key):
    points = cells[0]
    membership, space = start(points, 2, 0)
    with pytest.raises(ValueError, match=r"at least 1, got 0\.5"):
        em_points(points, membership, [space], concentration=0.5)
    with pytest.raises(ValueError, match="beta: expected 2 columns"):
        em_points(points, np.ones((len(points.genes), 3)) / 3, [space])
    empty = GridDensity(space.bins, np.eye(space.bins.n_bins)[:2])
    with pytest.raises(ValueError, match="no type explains the cell"):
        em_points(points, membership, [empty])
    with pytest.raises(ValueError, match="marks: expected 'area', got size, orientation"):
        fit_marked(points, 2, ["area"], key=key)
    with pytest.raises(ValueError, match="n_types: expected"):
        fit_marked(points, 0, ["size"], key=key)
