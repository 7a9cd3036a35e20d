"""Simulated spins against exact stationary laws: averages, both estimators of entropy production.

Systems of fewer than four spins are padded with free ones, which produce nothing: one program.
"""

import jax
import numpy as np
import pytest
from suite_helpers import assert_z

from inference.status import CavityWarning, Status
from models.mesoscopic.spin_estimates import estimate, relaxation
from models.mesoscopic.spin_paths import sample_paths
from models.mesoscopic.spin_simulation import simulate_spins

pytestmark = [pytest.mark.float32, pytest.mark.statistical]

EXACT_OF_TEN = 2.1283241104847015


def padded(couplings, field=None):
    matrix, outer = np.zeros((4, 4)), np.zeros(4)
    n = len(couplings)
    matrix[:n, :n] = couplings
    outer[:n] = 0 if field is None else field
    return matrix, outer


def rule(n, scale):
    i = np.arange(1, n + 1)
    matrix = scale * np.sin(i[:, None] + 2 * i)
    np.fill_diagonal(matrix, 0)
    return matrix, 0.3 * np.cos(i)


FOUR = rule(4, 0.6)
RING = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
SYSTEMS = {  # couplings, field, beta, entropy production of the literature of this package
    "two": (*padded([[0, 0.8], [-0.5, 0]]), 1.0, 0.7320000528931082),
    "two in fields": (*padded([[0, 0.8], [-0.5, 0]], [0.3, -0.2]), 1.0, 0.687112263982527),
    "ring": (*padded(RING), 1.0, 0.439844090956919),
    "four": (*FOUR, 1.0, 0.668597499097036),
    "four, warm": (*FOUR, 0.5, 0.224908833537951),
    "equilibrium": ((FOUR[0] + FOUR[0].T) / 2, FOUR[1], 1.0, 0.0),
}


def exact_law(couplings, field, beta):
    """Return states ``(2**n, n)`` and their law, by linear algebra of NumPy alone."""
    n = len(field)
    index = np.arange(2**n)
    states = 2 * (index[:, None] >> np.arange(n) & 1) - 1
    rates = 1 / (1 + np.exp(2 * beta * states * (states @ couplings.T + field)))
    generator = -np.diag(rates.sum(1))
    for i in range(n):
        generator[index ^ (1 << i), index] = rates[:, i]
    generator[-1] = 1
    return states, rates, np.linalg.solve(generator, np.eye(2**n)[-1])


def assert_exact(run, couplings, field, beta, production):
    assert run.status is Status.CONVERGED
    states, rates, law = exact_law(couplings, field, beta)
    value, error = run.mean_spins
    assert_z(value, law @ states, error, ess=run.ess)
    pairs = np.triu_indices(len(field), 1)
    value, error = run.correlations
    assert_z(value[pairs], (states.T @ (law[:, None] * states))[pairs], error[pairs])
    value, error = run.occupation
    # sixteen groups of chains: Student's t of 15 degrees of freedom, 6 is the 4 of a normal
    assert_z(value, law, error, limit=6)
    for name in ("entropy_production", "heat_rate"):
        value, error = getattr(run, name)
        assert_z(value, production, error)
        assert error < 0.05 * max(production, 0.5)
    assert_z(run.flip_rate.value, law @ rates.sum(1), run.flip_rate.standard_error)


def run_four(system, seed=0, **options):
    couplings, field, beta, _ = SYSTEMS[system]
    given = {"n_chains": 256, "n_events": 1024, "key": jax.random.key(seed)} | options
    return simulate_spins(couplings, field, beta, **given)


@pytest.mark.parametrize("system", SYSTEMS)
def test_averages_and_both_entropy_productions_are_exact_within_their_errors(system):
    assert_exact(run_four(system), *SYSTEMS[system])


def test_so_are_those_over_a_window_of_time():
    run = run_four("four", n_events=None, duration=400)
    assert_exact(run, *SYSTEMS["four"])
    np.testing.assert_allclose(run.time, 400, rtol=1e-5)


def test_ten_spins_have_the_entropy_production_of_the_fixture():
    couplings, field = rule(10, 0.6 / np.sqrt(2.5))
    run = simulate_spins(couplings, field, key=jax.random.key(0), n_chains=512, n_events=1024)
    assert_exact(run, couplings, field, 1.0, EXACT_OF_TEN)
    assert_z(run.flip_rate.value, 4.24069704635291, run.flip_rate.standard_error)


def test_errors_are_those_of_repeated_runs():
    runs = [run_four("four", seed) for seed in range(20)]
    for name in ("entropy_production", "heat_rate", "flip_rate"):
        values = np.array([getattr(run, name).value for run in runs])
        claimed = np.mean([getattr(run, name).standard_error for run in runs])
        # a standard deviation of twenty is known to 16 per cent
        assert 0.5 < values.std(ddof=1) / claimed < 1.7


def test_parts_are_the_whole_bit_for_bit():
    whole = run_four("four", burn_in=0, n_events=2048)
    first = run_four("four", burn_in=0, on_failure="ignore")
    second = run_four("four", burn_in=0, key=None, init=first.final)
    np.testing.assert_array_equal(second.spins, whole.spins)
    np.testing.assert_allclose(first.time + second.time, whole.time, rtol=1e-6)
    np.testing.assert_array_equal(first.n_events + second.n_events, whole.n_events)
    both = (
        first.entropy_production.value * first.time.sum()
        + second.entropy_production.value * second.time.sum()
    ) / whole.time.sum()
    np.testing.assert_allclose(both, whole.entropy_production.value, rtol=1e-5)


def run_attempts(burn_in):
    couplings, field = rule(10, 0.6 / np.sqrt(2.5))
    return simulate_spins(
        couplings, field, key=jax.random.key(0), n_chains=8192, n_events=48, burn_in=burn_in,
        method="uniformised",
    )  # fmt: skip


def test_attempts_that_may_be_rejected_have_the_same_averages():
    assert_exact(run_attempts(96), *rule(10, 0.6 / np.sqrt(2.5)), 1.0, EXACT_OF_TEN)


def test_a_start_that_is_not_forgotten_is_found_out():
    with pytest.warns(CavityWarning, match="UNRELAXED"):
        run = run_attempts(0)
    assert not run.relaxation.relaxed
    value, error = run.entropy_production
    assert abs(value - EXACT_OF_TEN) > 5 * error


def test_a_steady_state_is_rarely_suspected():
    rng = np.random.default_rng(0)
    p_values = [relaxation(*rng.normal(size=(2, 10, 64))).p_value for _ in range(200)]
    assert np.mean(np.array(p_values) < 0.1) < 0.2
    assert min(p_values) > 1e-4


def test_ratio_estimates_have_the_error_of_the_delta_method():
    rng = np.random.default_rng(1)
    times = rng.uniform(1, 3, (500, 100))
    integrals = 2 * times + rng.normal(size=times.shape)
    found = [estimate(i, t) for i, t in zip(integrals, times)]
    z = np.array([(value - 2) / error for value, error in found])
    assert 0.9 < z.std() < 1.1
    assert abs(z.mean()) < 4 / np.sqrt(500)


def test_leaps_are_biased_and_less_so_when_they_are_short():
    exact = SYSTEMS["four"][3]
    runs = {
        tau: run_four("four", method="tau_leap", tau=tau, n_events=None, duration=400)
        for tau in (1.0, 0.05)
    }
    bias = {tau: run.entropy_production.value - exact for tau, run in runs.items()}
    assert abs(bias[1.0]) > 10 * runs[1.0].entropy_production.standard_error
    assert abs(bias[0.05]) < abs(bias[1.0]) / 4


def test_paths_are_those_of_flips_in_time():
    couplings, field, beta, _ = SYSTEMS["four"]
    paths = sample_paths(couplings, field, beta, key=jax.random.key(2), n_chains=64, duration=50.0)
    assert paths.status is Status.CONVERGED
    rates = exact_law(couplings, field, beta)[1]
    held, flips = np.zeros((64, 16)), np.zeros((64, 16, 4))
    for chain, (times, sites, spins) in enumerate(zip(*paths[:3])):
        n = (sites >= 0).sum()
        assert (np.diff(times[:n]) > 0).all()
        path = spins * (-1) ** np.cumsum(
            np.vstack([np.zeros(4, int), sites[:n, None] == np.arange(4)]), axis=0
        )
        index = (path > 0) @ (1 << np.arange(4))
        np.add.at(held[chain], index, np.diff(times[:n], prepend=0.0, append=50.0))
        np.add.at(flips[chain], (index[:-1], sites[:n]), 1)
    np.testing.assert_allclose(held.sum(1), 50.0)
    # in every state, each spin flips as often as its rate says: a martingale of unit intensity
    excess = flips - held[:, :, None] * rates
    assert_z(excess.sum(0), 0.0, np.sqrt(held.sum(0)[:, None] * rates), limit=4.5)


def test_a_run_can_be_looked_at_with_arviz():
    data = run_four("four").to_arviz()
    assert data["posterior"]["mean_spins"].shape == (256, 2, 4)
    assert data["posterior"]["entropy_production"].dims == ("chain", "draw")


def test_spins_start_where_they_are_told_to():
    start = np.tile([1, -1, 1, 1], (256, 1))
    run = run_four("four", init=start, n_events=128, burn_in=0, on_failure="ignore")
    # two blocks of 64 flips: the parity of the spins is that of the start
    assert (run.n_events == 128).all()
    assert (run.spins.prod(axis=1) == -1).all()


@pytest.mark.parametrize(
    ("change", "fault", "message"),
    [
        (
            {"couplings": np.eye(4)},
            ValueError,
            "couplings: expected a zero diagonal, got 1.0 at sp",
        ),
        ({"couplings": np.zeros((4, 3))}, ValueError, "couplings: expected a square"),
        ({"couplings": np.full((4, 4), np.nan)}, ValueError, "couplings: expected finite"),
        ({"field": np.zeros(3)}, ValueError, "field: expected 4 rows"),
        ({"beta": 0.0}, ValueError, "beta: expected a positive"),
        ({"key": None}, TypeError, "key: expected a key"),
        ({"n_chains": 8}, ValueError, "n_chains: expected at least 16"),
        ({"n_events": None}, ValueError, "n_events, duration: expected one"),
        ({"n_events": 0}, ValueError, "n_events: expected an integer"),
        ({"method": "exact"}, ValueError, "method: expected one of"),
        ({"method": "tau_leap"}, ValueError, "tau: expected with"),
        ({"tau": 0.1}, ValueError, "tau: expected with"),
        ({"burn_in": -1}, ValueError, "burn_in: expected"),
        ({"init": np.zeros((256, 4))}, ValueError, "init: expected"),
        ({"init": np.ones((2, 4))}, ValueError, "init: expected shape"),
        ({"dtype": int}, TypeError, "dtype: expected float32"),
        ({"on_failure": "shout"}, ValueError, "on_failure: expected"),
    ],
)
def test_bad_input_is_refused_at_once(change, fault, message):
    given = {
        "couplings": FOUR[0], "field": FOUR[1], "n_chains": 256, "n_events": 64,
        "key": jax.random.key(0),
    } | change  # fmt: skip
    with pytest.raises(fault, match=message):
        simulate_spins(**given)
