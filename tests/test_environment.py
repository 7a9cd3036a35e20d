"""Defects of past jax releases that would silently spoil results: two reproducers and a list."""

import time
from importlib.metadata import version

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REFUSED = {"0.10.2", "0.11.0", "0.11.1"}


@pytest.mark.float32
@pytest.mark.parametrize("distribution", ["jax", "jaxlib"])
def test_the_release_is_not_a_refused_one(distribution):
    assert version(distribution) not in REFUSED


def test_compiled_rows_equal_eager_rows(key):
    # jax-ml/jax#39103: jaxlib 0.10.2 gets thousands of the 20 000 rows wrong
    matrix = jax.random.normal(key, (3, 3))
    rows = jax.random.normal(jax.random.fold_in(key, 1), (20_000, 3))
    compiled = jax.jit(jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2)))(rows)
    expected = np.sum((np.asarray(rows) @ np.asarray(matrix).T) ** 2, axis=1)
    np.testing.assert_allclose(compiled, expected, rtol=1e-12)


def test_a_scan_takes_time_linear_in_its_length():
    # jax-ml/jax#40101: in jaxlib 0.11.1 writing small slices makes it quadratic, a ratio of 16
    def compiled(n_steps):
        # the state is one number, so that the saved slices are what costs
        run = jax.jit(lambda x: jax.lax.scan(lambda c, _: (0.5 * c + 1.0, c), x, length=n_steps))
        jax.block_until_ready(run(0.0))
        return run

    def seconds(run):
        start = time.perf_counter()
        jax.block_until_ready(run(0.0))
        return time.perf_counter() - start

    short, long = compiled(20_000), compiled(80_000)
    # in turns, and the best of each: another process on the machine slows both
    pairs = [(seconds(short), seconds(long)) for _ in range(30)]
    best_short, best_long = (min(times) for times in zip(*pairs, strict=True))
    assert best_long < 10 * best_short
