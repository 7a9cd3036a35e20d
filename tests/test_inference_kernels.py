"""The generator of the compiled loops: its recurrence, its law, its streams; the normal tail."""

import os
import subprocess
import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, log_ndtr

from inference.kernels import (
    fill_dirichlet,
    fill_tanh,
    kernel,
    log_gamma_variate,
    log_normal_cdf,
    next_bits,
    next_float,
    next_normal,
    random_state,
    reduction_kernel,
    shuffle,
)

MASK = 2**64 - 1
ROOT = Path(__file__).parent.parent


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


def test_the_log_of_the_normal_distribution_holds_in_both_tails():
    # beyond 37 the values themselves are below the smallest float
    x = np.concatenate(
        [-np.logspace(6, -6, 2001), [0.0], np.logspace(-6, np.log10(37), 2001),
         np.linspace(-36, -34, 1001)]
    )  # fmt: skip
    found = np.array([log_normal_cdf(value) for value in x])
    np.testing.assert_allclose(found, log_ndtr(x), rtol=1e-13, atol=0)
    beyond = np.array([log_normal_cdf(value) for value in (38.0, 39.0, 40.0, np.inf)])
    assert (np.abs(beyond) < np.finfo(float).tiny).all()
    assert log_normal_cdf(-np.inf) == -np.inf
    assert np.isnan(log_normal_cdf(np.nan))


@pytest.mark.parametrize("x", [-300.0, -35.001, -34.999, -8.0, -1.0, 0.3, 5.0, 30.0])
def test_the_log_of_the_normal_distribution_is_that_of_many_digits(x):
    with mpmath.workdps(400):
        expected = mpmath.log(mpmath.ncdf(mpmath.mpf(x)))
    # the square of x is rounded before it becomes an exponent
    assert log_normal_cdf(x) == pytest.approx(float(expected), rel=2e-16 * (8 + x * x / 2))


def test_reordered_sums_keep_nan_and_infinity():
    @reduction_kernel
    def total(values):
        result = 0.0
        for value in values:
            result += value
        return result

    values = np.random.default_rng(0).normal(size=1001)
    assert total(values) == pytest.approx(values.sum(), abs=1001 * 1e-15)
    assert np.isnan(total(np.array([1.0, np.nan])))
    assert total(np.array([1.0, np.inf])) == np.inf


@pytest.mark.parametrize(("dtype", "rounding"), [(np.float64, 1e-15), (np.float32, 3e-7)])
def test_tanh_and_its_slope_are_those_of_mpmath(dtype, rounding):
    x = np.concatenate([[0.0, 1e-9, 19.5, 340.0, 1e6], np.geomspace(1e-4, 300, 301)])
    x = np.concatenate([x, -x]).astype(dtype)
    tanh, slope = np.empty_like(x), np.empty_like(x)
    fill_tanh(x, tanh, slope, np.empty(len(x), np.int64))
    with mpmath.workdps(40):
        exact = [mpmath.tanh(float(value)) for value in x]
        np.testing.assert_allclose(tanh, [float(t) for t in exact], rtol=0, atol=rounding)
    moderate = np.abs(x) < 40  # beyond, single precision knows no number as small as the slope
    with mpmath.workdps(60):
        exact = [float(mpmath.sech(float(value)) ** 2) for value in x[moderate]]
    np.testing.assert_allclose(slope[moderate], exact, rtol=10 * rounding)
    assert np.isfinite(slope).all()


@pytest.mark.slow
def test_the_cache_notices_a_change_of_a_helper_in_another_module(tmp_path):
    package = tmp_path / "somewhere"
    package.mkdir()
    (package / "__init__.py").touch()
    helper = "from inference.kernels import kernel\n\n\n@kernel\ndef help(x):\n    return x + {}\n"
    (package / "main.py").write_text(
        "from inference.kernels import kernel\n\nfrom .helper import help\n\n\n"
        "@kernel\ndef run(x):\n    return 10 * help(x)\n"
    )
    command = "from somewhere.main import run; print(run(1), sum(run.stats.cache_hits.values()))"
    found = []
    for number in (1, 1, 2):
        if not found or number != 1:
            (package / "helper.py").write_text(helper.format(number))
        done = subprocess.run(
            [sys.executable, "-c", command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout.split())
    assert found == [["20", "0"], ["20", "1"], ["30", "0"]]


@kernel
def many_gamma(shape, n, state):
    drawn = np.empty(n)
    for place in range(n):
        drawn[place] = log_gamma_variate(shape, state)
    return drawn


@kernel
def many_normal(n, state):
    drawn = np.empty(n)
    for place in range(n):
        drawn[place] = next_normal(state)
    return drawn


def test_normal_numbers():
    assert stats.kstest(many_normal(200_000, random_state(1)), "norm").pvalue > 1e-3


@pytest.mark.parametrize("shape", [0.05, 0.5, 1.0, 3.5, 400.0])
def test_gamma_numbers(shape):
    drawn = many_gamma(shape, 200_000, random_state(2))
    assert np.all(np.isfinite(drawn))
    # the law of the logarithm, where small shapes have numbers that underflow
    uniform = stats.gamma.cdf(np.exp(drawn), shape)
    known = np.exp(drawn) > 1e-290
    assert stats.kstest(uniform[known], "uniform").pvalue > 1e-3 or shape < 0.1
    assert abs(drawn.mean() - digamma(shape)) < 4 * drawn.std() / np.sqrt(drawn.size)


@pytest.mark.parametrize("shape", [[0.3, 1.0, 2.5], [1e-3, 1e-3, 1e-3]])
def test_dirichlet_vectors(shape):
    shape, state = np.array(shape), random_state(5)
    drawn = np.empty((50_000, 3))
    for row in drawn:
        fill_dirichlet(shape, row, state)
    np.testing.assert_allclose(drawn.sum(axis=1), 1.0, atol=1e-12)
    mean = shape / shape.sum()
    variance = mean * (1 - mean) / (shape.sum() + 1)
    assert np.all(np.abs(drawn.mean(axis=0) - mean) < 4 * np.sqrt(variance / len(drawn)))
    np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.05)
