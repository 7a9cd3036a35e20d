"""The loop of fits: leaps shorten slow climbs, never lower the objective, and end at the top."""

import jax
import numpy as np
import pytest

from inference.status import Status
from models.cell_types import cavi, simulate_benchmark
from models.cell_types.ascent import Goal, drive
from models.cell_types.device import gene_table
from models.cell_types.em import ascend
from models.cell_types.starts import generator, random_maps, random_membership

RATE = np.array([0.5, 0.98])


def advance(state, n_steps):
    return state * RATE**n_steps


def objective(state):
    return -float((state**2).sum())


def leap(before, now, length):
    return now + length * (now - before)


def climb(way, max_steps=1000, tol=1e-9):
    return drive(np.array([3.0, 1.0]), advance, objective, Goal(tol, max_steps, 10, 1), leap=way)


def test_leaps_shorten_a_slow_climb():
    plain, slow = climb(None)
    quick, fast = climb(leap)
    np.testing.assert_allclose(plain, [3.0, 1.0] * RATE ** slow.steps[-1], rtol=1e-12)
    assert fast.status is slow.status is Status.CONVERGED
    assert fast.steps[-1] < slow.steps[-1] / 2
    assert np.diff(fast.trace).min() >= 0
    assert np.abs(quick).max() < 1e-3


def test_a_leap_that_would_fall_is_not_taken():
    def wrong(before, now, length):
        return now - length * (now - before)

    _, plain = climb(None)
    _, same = climb(wrong)
    assert same.trace == pytest.approx(plain.trace, rel=1e-12)


def test_single_steps_have_no_leap():
    _, course = drive(
        np.ones(2), advance, objective, Goal(0.0, 3, 1), leap=lambda *_: pytest.fail("leapt")
    )
    assert course.steps == (0, 1, 2, 3)


def test_mean_field_with_leaps_ends_where_it_ends_without():
    data = simulate_benchmark(3, n_genes=60, n_types=3, shape=(6, 5))
    values = data.counts.compact().values
    rng = generator(jax.random.key(0))
    start = random_membership(len(values), 3, rng), random_maps(values, 3, rng)
    plain = cavi(values, *start, tol=1e-11, max_steps=20_000, precision="float64")
    quick = ascend(
        gene_table(values, "float64"), *start, 0.1, 1.0, tol=1e-11, max_steps=20_000,
        check_every=10, leaps=True,
    )  # fmt: skip
    assert quick.status is plain.status is Status.CONVERGED
    assert np.diff(quick.trace).min() >= -1e-9 * abs(quick.elbo)
    assert quick.elbo == pytest.approx(plain.elbo, rel=1e-9)
    np.testing.assert_allclose(quick.maps, plain.maps, atol=1e-5)
    assert quick.n_steps < plain.n_steps
