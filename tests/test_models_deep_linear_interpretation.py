"""The spectrum of the mixing matrix against draws of it, and quantiles against repeated values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite_helpers import assert_z

from inference.status import Status
from models.deep_linear import Architecture, compress, mixing_prior, posterior
from models.deep_linear.interpretation import mixing_spectrum, weighted_quantiles
from models.deep_linear.predictive import Nodes, summarise

N_DRAWS = 20_000


def data_with_shared_features():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 5))
    shared = x @ rng.normal(size=5)
    y = np.stack([shared, -2 * shared], axis=1) + 0.3 * rng.normal(size=(30, 2))
    network = Architecture((10,), n_outputs=2)
    return compress(x, y, network), network


def decomposed(mixing, directions):
    """Eigenvalues, eigenvectors and correlations of every matrix, by NumPy, one at a time."""
    values, vectors = np.linalg.eigh(mixing)
    values, vectors = values[:, ::-1], vectors[..., ::-1]
    signs = np.where(np.sum(vectors * directions, axis=1) < 0, -1.0, 1.0)
    root = np.sqrt(np.diagonal(mixing, axis1=1, axis2=2))
    correlations = mixing / (root[:, :, None] * root[:, None, :])
    return values, vectors * signs[:, None, :], correlations


@pytest.fixture(scope="module")
def solved():
    data, network = data_with_shared_features()
    return posterior(data, network, 8.0, method="laplace", key=jax.random.key(2))


@pytest.mark.statistical
def test_the_spectrum_is_that_of_independent_draws(key, solved):
    spectrum = mixing_spectrum(solved, prob=0.8)
    draws = np.asarray(solved.sample_mixing(key, N_DRAWS))
    parts = spectrum.eigenvalues, spectrum.eigenvectors, spectrum.correlations
    ess = min(solved.ess, N_DRAWS) / 2  # both sides are random
    for found, values in zip(parts, decomposed(draws, spectrum.directions)):
        free = values.std(axis=0) > 1e-9
        error = values.std(axis=0)[free] / np.sqrt(ess)
        assert_z(found.mean[free], values.mean(axis=0)[free], error)
        for bound, level in ((found.low, 0.1), (found.high, 0.9)):
            below = np.mean(values <= bound, axis=0)[free]
            assert_z(below, level, np.sqrt(level * (1 - level) / ess))


def test_outputs_that_share_features_are_found(solved):
    spectrum = mixing_spectrum(solved)
    assert spectrum.correlations.high[0, 1] < 0  # the second output is minus twice the first
    assert spectrum.directions[1, 0] * spectrum.directions[0, 0] < 0
    assert abs(spectrum.directions[1, 0]) > abs(spectrum.directions[0, 0])
    assert spectrum.eigenvalues.low[0] > spectrum.eigenvalues.mean[1]
    np.testing.assert_allclose(np.diagonal(spectrum.correlations.low), 1.0)
    text = str(spectrum)
    assert "90% interval" in text
    assert f"{spectrum.correlations.mean[1, 0]:.4g}" in text


def test_the_intervals_of_a_lattice_hold_their_probability():
    x = np.random.default_rng(0).normal(size=(20, 3))
    network = Architecture((6,))
    result = posterior(compress(x, x[:, 0], network), network, 4.0)
    spectrum = mixing_spectrum(result, prob=0.5)
    q, weights = np.asarray(result.nodes.mixing)[:, 0, 0], np.exp(result.nodes.log_weights)
    assert spectrum.eigenvalues.mean[0] == pytest.approx(float(result.mixing_mean[0, 0]))
    inside = (q > spectrum.eigenvalues.low[0]) & (q < spectrum.eigenvalues.high[0])
    assert weights[inside].sum() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(spectrum.eigenvectors.mean, 1.0)


def test_a_constant_mixing_matrix_has_no_spread():
    data, _ = data_with_shared_features()
    spectrum = mixing_spectrum(posterior(data, Architecture((), 2), 8.0))
    for part in spectrum.eigenvalues:
        np.testing.assert_allclose(part, 1.0)


@pytest.mark.statistical
def test_the_blocks_of_tempering_and_lighter_nodes(key):
    """Nodes that carry no weight change nothing, however the draws are blocked."""
    data, network = data_with_shared_features()
    draws = mixing_prior(network).sample(key, (600,))
    log_weights = jnp.where(jnp.arange(600) < 512, -np.log(512.0), -np.inf)
    asked = (data, network, 8.0)
    some = summarise(
        Nodes(draws, log_weights, block=4), asked, method="smc", status=Status.CONVERGED
    )
    only = summarise(
        Nodes(draws[:512], log_weights[:512], block=1), asked, method="prior",
        status=Status.CONVERGED,
    )  # fmt: skip
    for left, right in zip(mixing_spectrum(some).eigenvalues, mixing_spectrum(only).eigenvalues):
        np.testing.assert_allclose(left, right, rtol=1e-12)


def test_weighted_quantiles_are_those_of_repeated_values():
    rng = np.random.default_rng(1)
    values, counts = rng.normal(size=400), rng.integers(1, 4, size=400)
    levels = np.array([0.05, 0.3, 0.5, 0.95])
    repeated = np.sort(np.repeat(values, counts))
    found = weighted_quantiles(values, counts.astype(float), levels)
    # every quantile lies between its neighbours in the repeated sample
    ranks = levels * len(repeated)
    below = repeated[np.maximum(np.floor(ranks - 3).astype(int), 0)]
    above = repeated[np.minimum(np.ceil(ranks + 3).astype(int), len(repeated) - 1)]
    assert (below <= found).all()
    assert (found <= above).all()
    equal = weighted_quantiles(values, np.full(400, 0.1), levels)
    np.testing.assert_allclose(equal, np.quantile(values, levels, method="hazen"), rtol=1e-12)


def test_weighted_quantiles_merge_equal_values():
    levels = np.linspace(0.1, 0.9, 5)
    once = weighted_quantiles(np.array([1.0, 2.0]), np.array([3.0, 1.0]), levels)
    twice = weighted_quantiles(np.array([1.0, 2.0, 1.0]), np.array([1.0, 1.0, 2.0]), levels)
    np.testing.assert_allclose(once, twice)


@pytest.mark.parametrize("prob", [0.0, 1.0, -1.0, np.nan])
def test_a_bad_probability(solved, prob):
    with pytest.raises(ValueError, match="prob"):
        mixing_spectrum(solved, prob=prob)
