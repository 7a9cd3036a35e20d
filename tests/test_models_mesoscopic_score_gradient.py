"""Derivatives from simulated paths against those of the exact steady state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from suite_helpers import assert_z

from models.mesoscopic import SpinSystem, gradient_by_simulation
from models.mesoscopic.spins import all_states


def system(n=4, weights=None):
    i = np.arange(1, n + 1)
    couplings = 0.6 * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(couplings, 0.0)
    return SpinSystem(couplings, weights, bias=0.3 * np.cos(i))


OFF = ~np.eye(4, dtype=bool)


@pytest.mark.statistical
def test_the_derivative_of_the_entropy_production_is_the_exact_one(key):
    exact = jax.grad(lambda s: s.entropy_production())(system())
    found = gradient_by_simulation(system(), n_windows=40, window=10, key=key)
    assert_z(found.value, system().entropy_production(), found.value_error)
    assert_z(found.couplings[OFF], exact.couplings[OFF], found.couplings_error[OFF])
    assert_z(found.bias, exact.bias, found.bias_error)
    assert float(exact.couplings[0, 2]) == pytest.approx(0.591835698816, abs=1e-12)
    np.testing.assert_array_equal(np.diagonal(found.couplings), 0.0)
    # errors that could not confirm anything would pass, too
    assert float(found.couplings_error.max()) < 0.1 * float(abs(exact.couplings).max())


@pytest.mark.statistical
def test_the_derivative_of_a_correlation_at_an_input(key):
    weights, x = np.array([[0.5], [0.0], [-0.5], [1.0]]), np.array([0.7])

    def correlation(system, spins):
        return spins[0] * spins[3]

    def exact_correlation(system):
        states = jnp.asarray(all_states(4))
        return states[0] * states[3] @ system.stationary(x)

    value, exact = jax.value_and_grad(exact_correlation)(system(weights=weights))
    found = gradient_by_simulation(
        system(weights=weights), correlation, x=x, n_windows=40, window=10, key=key
    )
    assert_z(found.value, value, found.value_error)
    assert_z(found.couplings[OFF], exact.couplings[OFF], found.couplings_error[OFF])
    assert_z(found.bias, exact.bias, found.bias_error)


@pytest.mark.statistical
def test_a_window_shorter_than_the_memory_is_biased(key):
    slow = SpinSystem([[0.0, 2.0], [2.0, 0.0]], bias=[0.2, 0.0])

    def magnetisation(system, spins):
        return spins.sum()

    def exact(system):
        return jnp.asarray(all_states(2)).sum(axis=0) @ system.stationary()

    slope = jax.grad(exact)(slow).bias
    short = gradient_by_simulation(slow, magnetisation, n_windows=400, window=1, key=key)
    assert np.all(np.abs(short.bias - slope) > 5 * short.bias_error)
    long = gradient_by_simulation(
        slow, magnetisation, n_windows=10, window=200, burn_in=400, key=key
    )
    assert_z(long.bias, slope, long.bias_error)


def test_few_chains_have_no_errors():
    with pytest.raises(ValueError, match="n_chains: expected at least 16"):
        gradient_by_simulation(system(), n_chains=8, key=jax.random.key(0))
