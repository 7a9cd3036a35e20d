"""Single-spin Metropolis and annealing against enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from suite_helpers import assert_z

from inference.interop import diagnostics, posterior_array, to_arviz
from inference.monte_carlo.annealing import simulated_annealing
from inference.monte_carlo.metropolis import acceptance_probability, metropolis_sweep
from inference.monte_carlo.spins import SpinMetropolis
from inference.schedules import constant, geometric, linear

BETA = 0.7


def energy(spins, coupling, field):
    s = spins.astype(coupling.dtype)
    return -0.5 * s @ coupling @ s - field @ s


def delta_energy(spins, site, coupling, field):
    s = spins.astype(coupling.dtype)
    return 2 * s[site] * (coupling[site] @ s + field[site])


def glass(n, seed=0):
    """An asymmetric target: random couplings and random fields."""
    rng = np.random.default_rng(seed)
    half = np.triu(rng.normal(size=(n, n)), 1)
    return jnp.asarray(half + half.T), jnp.asarray(0.5 * rng.normal(size=n))


def enumerate_all(n, coupling, field):
    states = np.array(list(itertools.product([1, -1], repeat=n)))
    energies = np.array([float(energy(jnp.asarray(s), coupling, field)) for s in states])
    weights = np.exp(-BETA * (energies - energies.min()))
    return states, energies, weights / weights.sum()


def flip_matrix(n, coupling, field):
    """The transition matrix of one random-site proposal, from the acceptance of the kernel."""
    states, energies, _ = enumerate_all(n, coupling, field)
    index = {tuple(s): k for k, s in enumerate(states)}
    matrix = np.zeros((len(states), len(states)))
    for k, state in enumerate(states):
        for site in range(n):
            flipped = state.copy()
            flipped[site] *= -1
            delta = float(delta_energy(jnp.asarray(state), site, coupling, field))
            target = index[tuple(flipped)]
            assert delta == pytest.approx(energies[target] - energies[k], abs=1e-12)
            matrix[k, target] = float(acceptance_probability(delta, BETA)) / n
        matrix[k, k] = 1 - matrix[k].sum()
    return matrix


def test_three_spins_satisfy_detailed_balance():
    coupling, field = glass(3)
    _, _, weights = enumerate_all(3, coupling, field)
    flow = weights[:, None] * flip_matrix(3, coupling, field)
    np.testing.assert_allclose(flow, flow.T, rtol=0, atol=1e-12)
    assert (np.linalg.matrix_power(flip_matrix(3, coupling, field), 30) > 0).all()


def test_a_sweep_moves_as_that_matrix_says(key):
    coupling, field = glass(3)
    matrix = np.linalg.matrix_power(flip_matrix(3, coupling, field), 2)
    start = jnp.array([1, -1, 1], jnp.int8)
    states = enumerate_all(3, coupling, field)[0]
    n_draws = 20_000
    ended = jax.vmap(
        lambda k: metropolis_sweep(
            k, start, energy(start, coupling, field), BETA, delta_energy, (coupling, field),
            n_flips=2,
        ).spins
    )(jax.random.split(key, n_draws))  # fmt: skip
    code = {tuple(s): k for k, s in enumerate(states)}
    counts = np.bincount([code[tuple(s)] for s in np.asarray(ended).tolist()], minlength=8)
    expected = matrix[code[1, -1, 1]]
    reached = expected > 0
    assert not counts[~reached].any()
    error = np.sqrt(expected * (1 - expected) / n_draws)
    assert_z(counts[reached] / n_draws, expected[reached], error[reached])


@pytest.fixture(scope="module")
def runs():
    """Both chain methods on one target."""
    coupling, field = glass(8, seed=3)
    found = {}
    for method in ("sequential", "vectorized"):
        kernel = SpinMetropolis(energy, delta_energy, n_spins=8, beta=BETA)
        mcmc = MCMC(
            kernel, num_warmup=200, num_samples=4000, num_chains=4, chain_method=method,
            progress_bar=False,
        )  # fmt: skip
        mcmc.run(jax.random.key(1), coupling, field)
        found[method] = mcmc
    return found


@pytest.mark.parametrize("method", ["sequential", "vectorized"])
def test_sampled_magnetisations_and_energies_are_exact_ones(runs, method):
    coupling, field = glass(8, seed=3)
    states, energies, weights = enumerate_all(8, coupling, field)
    data = to_arviz(runs[method])
    spins = posterior_array(data, "spin").astype(float)
    assert spins.shape == (4, 4000, 8)
    told = diagnostics(spins)
    assert_z(told.mean, weights @ states, told.mcse, ess=told.ess)
    stats = data["sample_stats"]
    energy_told = diagnostics(np.asarray(stats["energy"]))
    assert_z(energy_told.mean, weights @ energies, energy_told.mcse, ess=energy_told.ess)
    np.testing.assert_allclose(stats["lp"], -BETA * np.asarray(stats["energy"]), rtol=1e-12)
    # the mean acceptance of a proposal is a thermal average, too
    deltas = [
        [float(delta_energy(jnp.asarray(s), i, coupling, field)) for i in range(8)] for s in states
    ]
    rate = weights @ np.minimum(1, np.exp(-BETA * np.array(deltas))).mean(axis=1)
    told = diagnostics(np.asarray(stats["acceptance_rate"]))
    assert_z(told.mean, rate, told.mcse, ess=told.ess)


def test_the_energy_carried_along_is_that_of_the_spins(runs):
    coupling, field = glass(8, seed=3)
    mcmc = runs["vectorized"]
    spins = mcmc.get_samples(group_by_chain=True)["spin"]
    carried = mcmc.get_extra_fields(group_by_chain=True)["energy"]
    fresh = jax.vmap(jax.vmap(lambda s: energy(s, coupling, field)))(spins)
    np.testing.assert_allclose(carried, fresh, atol=1e-9)


def test_the_same_key_gives_the_same_chain_and_another_one_another():
    coupling, field = glass(5)

    def run(seed):
        kernel = SpinMetropolis(energy, delta_energy, n_spins=5, order="sequential")
        mcmc = MCMC(kernel, num_warmup=5, num_samples=50, progress_bar=False)
        mcmc.run(jax.random.key(seed), coupling, field)
        return np.asarray(mcmc.get_samples()["spin"])

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()


def test_old_style_keys_and_given_spins_work():
    coupling, field = glass(4)
    start = jnp.array([[1, 1, 1, 1], [-1, -1, -1, -1]])
    kernel = SpinMetropolis(energy, delta_energy, n_spins=4, beta=1e3, n_flips=1)
    mcmc = MCMC(
        kernel, num_warmup=0, num_samples=10, num_chains=2, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.PRNGKey(0), coupling, field, init_params={"spin": start})
    first = np.asarray(mcmc.get_samples(group_by_chain=True)["spin"])[:, 0]
    assert (np.abs(first - np.asarray(start)).sum(axis=1) <= 2).all()
    assert "acc. prob" in kernel.get_diagnostics_str(mcmc.last_state)


@pytest.mark.statistical
def test_a_schedule_changes_the_temperature():
    coupling, field = glass(6)
    kernel = SpinMetropolis(energy, delta_energy, n_spins=6, beta=linear(0.0, 20.0, 400))
    mcmc = MCMC(kernel, num_warmup=0, num_samples=400, progress_bar=False)
    mcmc.run(jax.random.key(0), coupling, field)
    accepted = np.asarray(mcmc.get_extra_fields()["accept_prob"])
    assert accepted[:10].mean() > 0.7
    assert accepted[-50:].mean() < 0.1


def test_annealing_finds_ground_states():
    for seed in range(5):
        coupling, field = glass(10, seed)
        ground = enumerate_all(10, coupling, field)[1].min()
        found = simulated_annealing(
            energy, delta_energy, np.ones(10), schedule=geometric(0.1, 10.0, 300), n_sweeps=300,
            key=jax.random.key(seed), args=(coupling, field),
        )  # fmt: skip
        assert found.energy == pytest.approx(ground, abs=1e-9)
        best = jnp.asarray(found.configuration)
        assert float(energy(best, coupling, field)) == pytest.approx(found.energy, abs=1e-9)
        assert found.energies.shape == found.accept_probs.shape == (300,)
        assert found.energies.min() >= found.energy - 1e-9


def test_annealing_in_parts_is_annealing_in_one():
    coupling, field = glass(12)
    common = {
        "schedule": linear(0.1, 3.0, 120), "key": jax.random.key(5), "args": (coupling, field),
    }  # fmt: skip
    start = np.ones(12)
    whole = simulated_annealing(energy, delta_energy, start, n_sweeps=120, **common)
    one = simulated_annealing(energy, delta_energy, start, n_sweeps=70, **common)
    two = simulated_annealing(
        energy, delta_energy, one.last, n_sweeps=50, first_sweep=one.n_steps, **common
    )
    np.testing.assert_array_equal(whole.last, two.last)
    np.testing.assert_array_equal(whole.energies, np.concatenate([one.energies, two.energies]))


@pytest.mark.float32
def test_single_precision_anneals_too():
    coupling, field = (jnp.asarray(a, jnp.float32) for a in glass(8))
    found = simulated_annealing(
        energy, delta_energy, np.ones(8), schedule=constant(1.0), n_sweeps=20,
        key=jax.random.key(0), args=(coupling, field),
    )  # fmt: skip
    fresh = float(energy(jnp.asarray(found.configuration), coupling, field))
    assert fresh == pytest.approx(found.energy, rel=1e-4)


def test_schedules_go_from_start_to_stop():
    for schedule, middle in ((linear(1.0, 3.0, 11), 2.0), (geometric(1.0, 4.0, 11), 2.0)):
        values = np.asarray(schedule(jnp.arange(-1, 15)))
        assert values[0] == values[1] == 1.0
        np.testing.assert_allclose(values[6], middle)
        np.testing.assert_allclose(values[11:], values[-1])
        assert (np.diff(values) >= 0).all()
    assert float(constant(2.0)(jnp.array(7))) == 2.0
    assert float(linear(1.0, 3.0, 1)(jnp.array(0))) == 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_spins": 0}, "n_spins: expected"),
        ({"n_flips": 0}, "n_flips: expected"),
        ({"order": "odd"}, "order: expected one of"),
        ({"beta": np.nan}, "beta: expected a finite number"),
    ],
)
def test_bad_kernels_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SpinMetropolis(energy, delta_energy, **{"n_spins": 4, **arguments})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta_energy": lambda s, i, c, f: 0.0}, "delta_energy: flipping spin 0 changes"),
        ({"energy": lambda s, c, f: s}, "energy: expected a finite scalar"),
        ({"energy": lambda s, c, f: jnp.nan}, "energy: expected a finite scalar"),
        ({"init": [1, 0]}, "init: expected \\+1 or -1, got 0 at index 1"),
        ({"init": [[1]]}, "init: expected shape"),
        ({"n_sweeps": 0}, "n_sweeps: expected"),
        ({"order": "odd"}, "order: expected one of"),
    ],
)
def test_bad_annealing_is_refused(change, message):
    call = {
        "energy": energy, "delta_energy": delta_energy, "init": np.ones(4),
        "schedule": constant(1.0), "n_sweeps": 5, "key": jax.random.key(0), "args": glass(4),
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        simulated_annealing(**call)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linear(0, 1, 0), "n_steps"),
        (lambda: geometric(0, 1, 5), "start"),
        (lambda: geometric(1, -1, 5), "stop"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises(ValueError, match=f"{message}: expected"):
        make()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([1, 1, 1], "expected 4 spins a chain, got \\(3,\\)"),
        ([1, 2, 1, 1], "init_params: expected \\+1"),
    ],
)
def test_bad_first_spins_are_refused(start, message):
    kernel = SpinMetropolis(energy, delta_energy, n_spins=4)
    mcmc = MCMC(kernel, num_warmup=0, num_samples=5, progress_bar=False)
    with pytest.raises(ValueError, match=message):
        mcmc.run(jax.random.key(0), *glass(4), init_params={"spin": jnp.array(start)})
