"""Cells that keep apart are found out, cells that obey the model are not."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy import stats
from suite_helpers import assert_z

from models.cell_types import Bins, Points, Window, fit, posterior_predictive_k
from models.cell_types.predictive_checks import _drawn

SQUARE = Window((0.0, 2.0), (0.0, 2.0))
BINS = Bins(SQUARE, 5)
HARD_CORE = 0.05


def images(seed, *, apart=False, n_genes=40, n_cells=150, window=SQUARE):
    """Genes of two types, left and right; those that keep apart are thinned to do so."""
    rng = np.random.default_rng(seed)
    bins = Bins(window, 5)
    left = np.exp(-2.0 * bins.center[:, 0]) * bins.area
    right = np.exp(-2.0 * (2.0 - bins.center[:, 0])) * bins.area
    maps = np.array([left / left.sum(), right / right.sum()])
    gene, places = [], []
    for g in range(n_genes):
        found = _drawn(rng.dirichlet([0.3, 0.3]) @ maps, n_cells, bins, rng)[0]
        if apart:  # the first of two that are too close stays
            close = np.hypot(*(found[:, None] - found).T) < HARD_CORE
            found = found[~np.tril(close, -1).any(axis=1)]
        gene.append(np.full(len(found), g))
        places.append(found)
    names = tuple(f"g{g}" for g in range(n_genes))
    return Points(np.concatenate(gene), np.concatenate(places), names, window)


def fitted(points, window=SQUARE):
    bins = Bins(window, 5)
    return fit(points, 2, bins=bins, restarts=0, key=jax.random.key(0), on_failure="ignore")


@pytest.fixture(scope="module")
def plain():
    """Images that obey the model, and their fit."""
    points = images(0)
    return points, fitted(points)


def test_cells_of_the_model_are_not_found_out(plain):
    points, types = plain
    found = posterior_predictive_k(points, types, genes=points.genes, n_simulations=39)
    n_small = int((found.p_value <= 0.1).sum())
    assert stats.binomtest(n_small, 40, 0.1, "greater").pvalue > 1e-3
    assert found.p_holm.min() > 0.05
    assert found.pooled.p_value > 0.05
    # nor are p-values all large: the fit has little freedom to follow pairs of cells
    assert (
        stats.kstest(found.p_value - np.random.default_rng(0).random(40) / 40, "uniform").pvalue
        > 1e-4
    )


def test_cells_that_keep_apart_are_found_out():
    points = images(1, apart=True)
    types = fitted(points)
    found = posterior_predictive_k(points, types, radii=np.linspace(0.01, 0.2, 20), kind="mad")
    assert found.genes == tuple(
        sorted(points.genes, key=lambda g: -(points.gene == points.genes.index(g)).sum())[:20]
    )
    close = found.radius < HARD_CORE
    np.testing.assert_allclose(
        found.excess[:, close], np.broadcast_to(-found.radius[close], (20, close.sum()))
    )
    assert found.pooled.p_value == 0.01
    assert found.pooled.outside[close].any()
    assert np.median(found.p_value) <= 0.05
    assert np.all((found.excess < found.lower).any(axis=1)[found.p_value <= 0.05])


def test_in_a_mask_only_discs_inside_count():
    window = Window((0.0, 2.0), (0.0, 2.0), [[True, True], [True, False]])
    points = images(2, n_genes=10, window=window)
    found = posterior_predictive_k(points, fitted(points, window), n_simulations=39)
    assert found.correction == "border"
    assert found.p_holm.min() > 0.05
    assert found.radius[-1] == pytest.approx(2 * np.sqrt(3.0 / 150))


def test_drawn_cells_have_the_shares_of_the_bins():
    share = np.random.default_rng(3).dirichlet(np.ones(25))
    places, index = _drawn(share, 20_000, BINS, np.random.default_rng(4))
    np.testing.assert_array_equal(BINS.index(places), index)
    seen = np.bincount(index, minlength=25) / 20_000
    assert_z(seen, share, np.sqrt(share * (1 - share) / 20_000))
    inside = (places - BINS.center[index]) / (SQUARE.extent / 5)
    assert_z(inside.mean(axis=0), 0.0, np.sqrt(1 / 12 / 20_000))


def test_bad_input(plain):
    points, types = plain
    with pytest.raises(ValueError, match="genes: expected names of genes with at least 2 cells"):
        posterior_predictive_k(points, types, genes=["x"])
    with pytest.raises(ValueError, match="radii: expected increasing"):
        posterior_predictive_k(points, types, radii=[0.1, 5.0])
    with pytest.raises(ValueError, match="level: expected a number from"):
        posterior_predictive_k(points, types, n_simulations=9)
    other = Points(points.gene, points.position, ("new", *points.genes[1:]), SQUARE)
    with pytest.raises(ValueError, match="points: expected genes of the fit, got 'new'"):
        posterior_predictive_k(other, types)
    with pytest.raises(ValueError, match="bins: expected a fit of points"):
        posterior_predictive_k(points, replace(types, bins=None))
    elsewhere = replace(types, maps=types.maps * (np.arange(25) > 0))
    with pytest.raises(ValueError, match="points: expected cells where the fit has some"):
        posterior_predictive_k(points, elsewhere)
