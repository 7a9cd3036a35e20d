"""Relabelling finds the order that was applied, and the best one of all."""

import itertools

import numpy as np
import pytest

from inference.relabelling import relabel


def test_shuffled_draws_come_back():
    rng = np.random.default_rng(0)
    truth = rng.random((5, 12))
    noisy = truth + 0.02 * rng.random((40, 5, 12))
    shuffle = np.array([rng.permutation(5) for _ in range(40)])
    draws = np.take_along_axis(noisy, shuffle[:, :, None], axis=1)
    done = relabel(draws, truth)
    assert np.array_equal(done.draws, noisy)
    assert np.array_equal(np.take_along_axis(shuffle, done.order, axis=1)[3], np.arange(5))
    assert done.similarity.min() > 0.99
    np.testing.assert_allclose(done.reference, noisy.mean(axis=0))


def test_no_other_order_is_better():
    rng = np.random.default_rng(1)
    draw, reference = rng.standard_normal((2, 4, 6))
    done = relabel(draw[None], reference, n_rounds=0)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (draw, reference)]
    best = max((unit[0][list(p)] * unit[1]).sum() for p in itertools.permutations(range(4)))
    assert done.similarity.sum() == pytest.approx(best, rel=1e-12)
    assert np.array_equal(done.reference, reference)


def test_the_mean_of_draws_mends_a_bad_reference():
    rng = np.random.default_rng(2)
    truth = np.eye(3)
    shuffle = np.array([rng.permutation(3) for _ in range(30)])
    draws = np.take_along_axis(np.broadcast_to(truth, (30, 3, 3)), shuffle[:, :, None], axis=1)
    done = relabel(draws, [[1, 0, 0], [0.1, 1, 0.9], [0, 0.2, 1]])
    assert np.array_equal(done.reference, truth)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"reference: expected shape \(3, 4\)"):
        relabel(np.zeros((2, 3, 4)), np.zeros((3, 5)))
    with pytest.raises(ValueError, match="draws: expected finite"):
        relabel(np.full((1, 2, 2), np.nan), np.eye(2))
