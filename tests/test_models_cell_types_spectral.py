"""The spectral start: moments against dense formulas, exact recovery, the rate of its error."""

import jax
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from inference.status import Status
from models.cell_types import simulate_benchmark, spectral_start
from models.cell_types.spectral import decompose, estimate_moments


def dense_moments(values, total, offset):
    """Return M2 and M3 by their definition, every tensor in full."""
    n_bins = values.shape[1]
    eye = np.eye(n_bins)
    weight = values.sum(axis=1) / (values.sum(axis=1) + offset)
    weight /= weight.sum()
    m1, e2, e3 = np.zeros(n_bins), np.zeros((n_bins,) * 2), np.zeros((n_bins,) * 3)
    for w, x in zip(weight, values.astype(float)):
        n = x.sum()
        pairs = np.einsum("a,b->ab", x, x) - np.diag(x)
        triples = np.einsum("a,b,c->abc", x, x, x) + 2 * np.einsum("a,ab,bc->abc", x, eye, eye)
        triples -= np.einsum("ab,a,c->abc", eye, x, x) + np.einsum("ac,a,b->abc", eye, x, x)
        triples -= np.einsum("bc,b,a->abc", eye, x, x)
        m1 += w * x / n
        e2 += w * pairs / (n * (n - 1))
        e3 += w * triples / (n * (n - 1) * (n - 2))
    return from_raw(m1, e2, e3, total)


def from_raw(m1, e2, e3, total):
    m2 = e2 - total / (total + 1) * np.outer(m1, m1)
    cross = np.einsum("ab,c->abc", e2, m1)
    cross = cross + cross.transpose(0, 2, 1) + cross.transpose(2, 1, 0)
    cube = np.einsum("a,b,c->abc", m1, m1, m1)
    m3 = e3 - total / (total + 2) * cross + 2 * total**2 / ((total + 1) * (total + 2)) * cube
    return m2, m3


def dirichlet_moments(alpha):
    """Return the first three moments of a Dirichlet law, by rising factorials."""
    size, total = len(alpha), alpha.sum()
    eye = np.eye(size)
    first = alpha / total
    second = (np.outer(alpha, alpha) + np.diag(alpha)) / (total * (total + 1))
    third = np.empty((size,) * 3)
    for a in range(size):
        for b in range(size):
            rising = alpha[a] * (alpha[b] + eye[a, b]) * (alpha + eye[a] + eye[b])
            third[a, b] = rising / (total * (total + 1) * (total + 2))
    return first, second, third


def test_moments_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    values = rng.poisson(2.0, (9, 6)) + 1
    moments = estimate_moments(values, 0.7, 20.0)
    m2, m3 = dense_moments(values, 0.7, 20.0)
    np.testing.assert_allclose(moments.second(np.eye(6)), m2, atol=1e-15)
    whitener = rng.standard_normal((6, 3))
    expected = np.einsum("abc,ai,bj,ck->ijk", m3, whitener, whitener, whitener)
    np.testing.assert_allclose(moments.whitened_third(whitener), expected, atol=1e-13)


def test_population_moments_are_sums_over_types():
    rng = np.random.default_rng(1)
    alpha, maps = rng.uniform(0.1, 1.0, 4), rng.dirichlet(np.ones(7), 4)
    total = alpha.sum()
    first, second, third = dirichlet_moments(alpha)
    m2, m3 = from_raw(
        first @ maps, maps.T @ second @ maps, np.einsum("ijk,ia,jb,kc", third, *[maps] * 3), total
    )
    scale = alpha / (total * (total + 1))
    np.testing.assert_allclose(m2, np.einsum("k,ka,kb", scale, maps, maps), atol=1e-15)
    expected = np.einsum("k,ka,kb,kc", 2 * scale / (total + 2), maps, maps, maps)
    np.testing.assert_allclose(m3, expected, atol=1e-15)


@pytest.mark.parametrize("n_types", [1, 3, 8])
def test_population_moments_give_the_maps_exactly(n_types):
    rng = np.random.default_rng(n_types)
    alpha, maps = rng.uniform(0.1, 1.0, n_types), rng.dirichlet(np.ones(25), n_types)
    total = alpha.sum()
    scale = alpha / (total * (total + 1))
    eigenvalue, vector = np.linalg.eigh(np.einsum("k,ka,kb", scale, maps, maps))
    eigenvalue, vector = eigenvalue[-n_types:], vector[:, -n_types:]
    white = maps @ (vector / np.sqrt(eigenvalue))
    tensor = np.einsum("k,ka,kb,kc", 2 * scale / (total + 2), white, white, white)
    got, concentration = decompose(tensor, vector * np.sqrt(eigenvalue), total, rng)
    order = linear_sum_assignment(-maps @ got.T)[1]
    np.testing.assert_allclose(got[order], maps, atol=1e-12)
    np.testing.assert_allclose(concentration[order], alpha, rtol=1e-10)


def sample(seed, n_genes):
    """Return 200 cells a gene of four types in 30 bins, and the maps."""
    rng = np.random.default_rng(seed)
    maps = rng.dirichlet(np.full(30, 0.3), 4)
    rate = rng.dirichlet(np.full(4, 0.3), n_genes) @ maps
    return np.array([rng.multinomial(200, p) for p in rate]), maps


def total_variation(got, maps):
    distance = 0.5 * np.abs(maps[:, None] - got).sum(axis=2)
    return distance[linear_sum_assignment(distance)].mean()


@pytest.mark.statistical
def test_the_error_falls_with_the_square_root_of_the_number_of_genes(key):
    sizes = np.array([300, 1000, 3000, 10_000])
    error = [
        np.mean(
            [
                total_variation(spectral_start(values, 4, concentration=0.3, key=key).maps, maps)
                for values, maps in (sample(seed, size) for seed in range(3))
            ]
        )
        for size in sizes
    ]
    slope = np.polyfit(np.log(sizes), np.log(error), 1)[0]
    assert -0.65 <= slope <= -0.4
    assert error[-1] <= 0.008


def test_a_start_of_the_benchmark(key):
    data = simulate_benchmark(1)
    start = spectral_start(data.counts, 10, key=key)
    assert start.status is Status.CONVERGED
    np.testing.assert_allclose(start.maps.sum(axis=1), 1.0, rtol=1e-12)
    assert start.maps.min() >= 0
    assert start.eigenvalues[9] / start.eigenvalues[10] == pytest.approx(1.2, abs=0.1)
    unit, true = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (start.maps, data.maps))
    cosine = true @ unit.T
    assert cosine[linear_sum_assignment(-cosine)].min() > 0.9
    assert np.array_equal(start.maps, spectral_start(data.counts, 10, key=key).maps)


@pytest.mark.float32
def test_precision_does_not_matter(key):
    data = simulate_benchmark(3, n_genes=200, n_types=3, shape=(6, 6))
    start = spectral_start(data.counts, 3, key=jax.random.key(3))
    assert start.maps.dtype == np.float64
    assert total_variation(start.maps, data.maps) < 0.1


def test_more_types_than_the_moments_hold(key):
    rng = np.random.default_rng(0)
    values = rng.multinomial(50, np.full(12, 1 / 12), 30)  # a single type
    start = spectral_start(values, 6, key=key)
    assert start.status is Status.WEAK_MOMENTS
    np.testing.assert_allclose(start.maps.sum(axis=1), 1.0, rtol=1e-12)
    assert np.isfinite(start.maps).all()


@pytest.mark.parametrize(
    ("values", "n_types", "options", "message"),
    [
        (np.eye(4, dtype=int) * 2, 2, {}, "third moments need 3 cells per gene, got at most 2"),
        (np.eye(4, dtype=int) * 9, 0, {}, "n_types: expected an integer of at least 1"),
        (np.eye(4, dtype=int) * 9, 5, {}, "n_types: expected at most 4, got 5"),
        (np.eye(4, dtype=int) * 9, 2, {"concentration": 0}, "concentration: expected a positive"),
        (np.eye(4, dtype=int) * 9, 2, {"gene_offset": -1}, "gene_offset: expected"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(values, n_types, options, message, key):
    with pytest.raises(ValueError, match=message):
        spectral_start(values, n_types, key=key, **options)
