"""The generator of the compiled loops: its published recurrence, its law, its streams."""

import numpy as np
import pytest
from scipy import stats

from inference.kernels import next_bits, next_float, random_state, shuffle

MASK = 2**64 - 1


def reference_bits(state):
    """xoshiro256++ in Python integers, as its authors write it."""

    def rotate(word, by):
        return ((word << by) | (word >> (64 - by))) & MASK

    result = (rotate((state[0] + state[3]) & MASK, 23) + state[0]) & MASK
    shifted = (state[1] << 17) & MASK
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = rotate(state[3], 45)
    return result


def test_the_bits_are_those_of_the_published_recurrence():
    state = random_state(7, 3)
    words = [int(word) for word in state]
    for _ in range(1000):
        assert int(next_bits(state)) == reference_bits(words)


def test_floats_are_uniform_and_streams_are_independent():
    first, second = random_state(1, 0), random_state(1, 1)
    draws = np.array([[next_float(first), next_float(second)] for _ in range(20_000)])
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws.T)[0, 1]) < 4 / np.sqrt(len(draws))


def test_every_permutation_is_equally_likely():
    state = random_state(2)
    counts = np.zeros((3, 3))
    n_draws = 9000
    for _ in range(n_draws):
        items = np.arange(3)
        shuffle(items, state)
        counts[np.arange(3), items] += 1
    error = np.sqrt(n_draws * (1 / 3) * (2 / 3))
    assert np.abs(counts - n_draws / 3).max() < 4 * error


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, True])
def test_bad_seeds_are_refused(seed):
    with pytest.raises(ValueError, match="seed: expected an integer"):
        random_state(seed)
