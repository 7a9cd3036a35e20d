"""Weights at known maps: reference numbers, a mode of the likelihood, what is refused."""

import numpy as np
import pytest
from scipy.optimize import nnls

from inference.status import CavityWarning, Status
from models.cell_types import Counts, beta_given_maps, log_likelihood_counts, simulate_benchmark

MAPS = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]])
VALUES = np.array([[4, 3, 1, 0], [0, 1, 2, 5], [2, 2, 2, 3]])


def test_reference_weights_of_highest_likelihood():
    found = beta_given_maps(VALUES, MAPS, tol=1e-16)
    expected = [[8, 0], [0, 8], [3.52593917933, 5.47406082067]]
    np.testing.assert_allclose(found.beta, expected, rtol=1e-9, atol=1e-9)
    assert found.status is Status.CONVERGED
    assert found.residual < 1e-6
    # where a weight is 0, the factor of a step stays below 1 by the published slack
    for x, k, slack in ((VALUES[0], 1, 0.5125), (VALUES[1], 0, 0.5625)):
        assert 1 - (MAPS[k] * x / (8 * MAPS[1 - k])).sum() == pytest.approx(slack, rel=1e-9)


def test_reference_modes():
    found = beta_given_maps(VALUES, MAPS, shape=1.5, rate=0.5, tol=1e-16)
    expected = [
        [5.418837961761, 0.581162038239],
        [0.538235321847, 5.461764678153],
        [2.764466305138, 3.902200361528],
    ]
    np.testing.assert_allclose(found.beta, expected, rtol=1e-9)
    assert found.residual < 1e-6


def test_no_other_weights_are_likelier():
    data = simulate_benchmark(3, n_genes=5, n_types=3, shape=(5, 4))
    rng = np.random.default_rng(0)
    counts = Counts(data.counts.values, exposure=rng.uniform(0.5, 1.5, data.counts.values.shape))
    beta = beta_given_maps(counts, data.maps).beta
    best = log_likelihood_counts(counts, beta, data.maps)
    for _ in range(100):
        other = beta * np.exp(0.05 * rng.standard_normal(beta.shape))
        assert log_likelihood_counts(counts, other, data.maps) < best


def test_exact_intensities_are_taken_apart():
    maps = np.random.default_rng(1).dirichlet(np.ones(6), 3)
    values = np.rint(1e8 * (np.array([[0.2, 0.5, 0.3]]) @ maps)).astype(int)
    expected = nnls(maps.T, values[0])[0]
    np.testing.assert_allclose(beta_given_maps(values, maps).beta[0], expected, rtol=1e-3)


def test_a_gene_without_cells_has_no_weight():
    found = beta_given_maps([[0, 0, 0, 0], [1, 2, 3, 4]], MAPS)
    assert found.beta[0].max() < 1e-200
    assert np.isfinite(found.objective)


def test_too_few_steps_are_reported():
    with pytest.warns(CavityWarning, match="beta_given_maps: MAX_STEPS"):
        beta_given_maps(VALUES, MAPS, max_steps=2)


@pytest.mark.parametrize(
    ("values", "maps", "options", "message"),
    [
        (VALUES, MAPS[:, :3], {}, "maps: expected 4 columns"),
        (VALUES, MAPS * 2, {}, "maps: expected rows of probabilities"),
        (VALUES, [[0, 0.5, 0.25, 0.25]], {}, "maps: expected none of 1 bins with cells"),
        (-VALUES, MAPS, {}, "counts must be non-negative"),
        (VALUES, MAPS, {"shape": 0.5}, "shape: expected at least 1"),
        (VALUES, MAPS, {"rate": -1.0}, "rate: expected"),
    ],
)
def test_bad_problems_are_refused(values, maps, options, message):
    with pytest.raises(ValueError, match=message):
        beta_given_maps(values, maps, **options)
