"""The benchmark generator draws the very data sets whose figures are published."""

import numpy as np
import pytest

from models.cell_types import simulate_benchmark


def test_seed_1_is_the_first_published_data_set():
    data = simulate_benchmark(1)
    assert data.counts.values.shape == (1500, 992)
    assert data.counts.n_cells == 576_931
    np.testing.assert_allclose(data.membership.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(data.maps.sum(axis=1), 1.0, rtol=1e-12)


def test_two_maps_of_seed_2_are_hard_to_tell_apart():
    maps = simulate_benchmark(2, n_genes=1).maps
    unit = maps / np.linalg.norm(maps, axis=1, keepdims=True)
    cosine = unit @ unit.T - np.eye(len(maps))
    assert cosine.max() == pytest.approx(0.92503, abs=5e-6)


def test_bins_count_along_x_first():
    data = simulate_benchmark(3, n_genes=2, n_types=1, shape=(3, 2))
    assert data.counts.bins.center[4].tolist() == [0.5, 0.75]


@pytest.mark.parametrize(
    "option", [{"n_types": 0}, {"n_genes": 0}, {"concentration": 0.0}, {"typical_cells": -1.0}]
)
def test_sizes_are_positive(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        simulate_benchmark(1, **option)
