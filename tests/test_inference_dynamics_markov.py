"""Stationary laws, entropy production and currents against closed forms and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from inference.dynamics.markov import (
    apply_flips,
    current_fluctuations,
    entropy_production,
    flip_generator,
    flipped,
    stationary_law,
    stationary_law_of_flips,
)
from inference.status import PrecisionError

RING = dict(w12=1.0, w23=2.0, w31=3.0, w21=0.5, w32=0.7, w13=0.2)  # rates i -> j


def three_states(w12, w23, w31, w21, w32, w13):
    """Return the column generator of three states."""
    off = np.array([[0.0, w21, w31], [w12, 0.0, w32], [w13, w23, 0.0]])
    return off - np.diag(off.sum(axis=0))


def random_generator(seed, n=6):
    off = np.random.default_rng(seed).uniform(0.1, 2.0, (n, n))
    np.fill_diagonal(off, 0.0)
    return off - np.diag(off.sum(axis=0))


def flip_rates(seed, n, scale=1.0):
    rng = np.random.default_rng(seed)
    return 1.0 / (1.0 + np.exp(scale * rng.standard_normal((n, 2**n))))


class TestThreeStates:
    def test_uniform_cycle(self):
        generator = three_states(2.0, 2.0, 2.0, 0.5, 0.5, 0.5)
        np.testing.assert_allclose(stationary_law(generator), 1 / 3, rtol=1e-14)
        assert float(entropy_production(generator)) == pytest.approx(2.0794415416798357, rel=1e-14)
        hops = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0.0]])
        found = current_fluctuations(generator, hops)
        assert float(found.mean) == pytest.approx(1.5, rel=1e-13)
        assert float(found.variance_rate) == pytest.approx(2.5, rel=1e-13)
        assert float(found.tur_ratio) == pytest.approx(2.3104906018664844, rel=1e-13)

    def test_matrix_tree_theorem(self):
        w12, w23, w31, w21, w32, w13 = RING.values()
        tree = np.array(
            [
                w21 * w31 + w21 * w32 + w23 * w31,
                w12 * w32 + w12 * w31 + w13 * w32,
                w13 * w23 + w12 * w23 + w13 * w21,
            ]
        )
        law = stationary_law(three_states(**RING))
        np.testing.assert_allclose(law, tree / tree.sum(), rtol=1e-14)
        np.testing.assert_allclose(law, [0.55320648, 0.27061311, 0.17618041], atol=5e-9)
        current = (w12 * w23 * w31 - w21 * w32 * w13) / tree.sum()
        assert current == pytest.approx(0.4178999295278365, rel=1e-14)
        found = entropy_production(three_states(**RING), law)
        affinity = np.log(w12 * w23 * w31 / (w21 * w32 * w13))
        assert float(found) == pytest.approx(current * affinity, rel=1e-13)
        assert float(found) == pytest.approx(1.860080737951638, rel=1e-13)

    def test_a_one_way_transition_produces_entropy_without_bound(self):
        assert float(entropy_production(three_states(1, 2, 3, 0, 1, 1))) == np.inf
        # no edge at all is no transition
        both_missing = entropy_production(three_states(1, 2, 0, 3, 1, 0))
        assert float(both_missing) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_the_law_does_not_move(seed):
    generator = random_generator(seed)
    law = np.asarray(stationary_law(generator))
    assert np.abs(generator @ law).max() < 1e-14
    np.testing.assert_allclose(expm(50.0 * generator)[:, 0], law, rtol=1e-10)


@pytest.mark.parametrize("seed", range(100))
def test_every_current_obeys_the_uncertainty_relation(seed):
    weights = np.random.default_rng(seed + 1000).standard_normal((6, 6))
    found = current_fluctuations(random_generator(seed), weights - weights.T)
    assert float(found.tur_ratio) >= 2.0
    assert float(found.variance_rate) > 0


def test_fluctuations_are_the_curvature_of_the_cumulant_generating_function():
    generator = random_generator(3)
    weights = np.random.default_rng(4).standard_normal((6, 6))
    found = current_fluctuations(generator, weights)
    off = generator - np.diag(np.diagonal(generator))

    def largest(tilt):
        tilted = off * np.exp(tilt * weights) + np.diag(np.diagonal(generator))
        return np.linalg.eigvals(tilted).real.max()

    step = 1e-3
    slope = (largest(step) - largest(-step)) / (2 * step)
    curvature = (largest(step) - 2 * largest(0.0) + largest(-step)) / step**2
    # differences of second order: errors of step**2, and of rounding over step**2
    assert float(found.mean) == pytest.approx(slope, abs=20 * step**2)
    assert float(found.variance_rate) == pytest.approx(curvature, abs=20 * step**2)


def test_the_even_fluctuations_of_a_poisson_process():
    generator = np.array([[-0.7, 0.7], [0.7, -0.7]])
    found = current_fluctuations(generator, np.ones((2, 2)))  # counts every jump
    assert float(found.mean) == pytest.approx(0.7, rel=1e-14)
    assert float(found.variance_rate) == pytest.approx(0.7, rel=1e-14)


class TestFlips:
    def test_flipped_is_the_neighbour(self):
        values = jnp.arange(32.0)
        for unit in range(5):
            np.testing.assert_array_equal(flipped(values, unit), np.arange(32) ^ (1 << unit))

    @pytest.mark.parametrize("n", [1, 2, 5])
    def test_with_and_without_a_matrix(self, n):
        rates = jnp.asarray(flip_rates(n, n))
        generator = flip_generator(rates)
        np.testing.assert_allclose(generator.sum(axis=0), 0.0, atol=1e-14)
        law = jnp.asarray(np.random.default_rng(0).random(2**n))
        np.testing.assert_allclose(apply_flips(rates, law), generator @ law, atol=1e-14)
        found = stationary_law_of_flips(rates)
        np.testing.assert_allclose(found.law, stationary_law(generator), rtol=1e-11)
        assert float(found.residual) < 1e-13

    def test_slow_units_are_reached(self):
        rates = flip_rates(0, 8, scale=4.0)
        found = stationary_law_of_flips(rates)
        np.testing.assert_allclose(found.law, stationary_law(flip_generator(rates)), atol=1e-12)

    def test_a_solver_cut_short_says_so(self):
        rates = flip_rates(0, 10, scale=4.0)
        full, cut = (stationary_law_of_flips(rates, max_steps=n).residual for n in (200, 1))
        assert float(cut) > 100 * float(full)

    @pytest.mark.parametrize("route", ["dense", "free"])
    def test_implicit_derivatives_are_differences(self, route):
        rates = jnp.asarray(flip_rates(1, 6))
        test_function = jnp.asarray(np.random.default_rng(2).standard_normal(64))

        def observable(rates):
            if route == "dense":
                law = stationary_law(flip_generator(rates))
            else:
                law = stationary_law_of_flips(rates).law
            return test_function @ law

        reverse = jax.grad(observable)(rates)
        _, forward = jax.jvp(observable, (rates,), (jnp.cos(rates),))
        assert float(forward) == pytest.approx(float((reverse * jnp.cos(rates)).sum()), rel=1e-10)
        step = 1e-5
        for place in [(0, 0), (3, 17), (5, 63)]:
            nudge = jnp.zeros_like(rates).at[place].set(step)
            difference = (observable(rates + nudge) - observable(rates - nudge)) / (2 * step)
            assert float(reverse[place]) == pytest.approx(float(difference), abs=1e-9)

    def test_the_derivative_of_the_entropy_production_is_finite_where_edges_are_missing(self):
        def total(rate):
            off = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
            off = off.at[1, 0].set(rate)
            return entropy_production(off - jnp.diag(off.sum(axis=0)))

        assert float(jax.grad(total)(1.5)) == pytest.approx(0.0, abs=1e-14)  # a chain is reversible


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="stationary law needs double"):
        stationary_law(np.eye(2))
