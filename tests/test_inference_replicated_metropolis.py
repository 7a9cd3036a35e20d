"""The kernel of attracting replicas for NumPyro: books, chains, schedules, starts, bad input.

Its distribution is compared with enumeration in test_inference_replicated.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC

from inference.interop import posterior_array, to_arviz
from inference.monte_carlo.replicated import (
    ReplicatedMetropolis,
    log_attraction,
    replicated_sweep,
)
from inference.schedules import linear

BETA, COUPLING = 0.8, 0.5


def signs(shape, seed):
    return (1 - 2 * np.random.default_rng(seed).integers(0, 2, shape)).astype(np.int8)


def energy(spins, patterns):
    return jnp.sum(patterns @ spins.astype(int) < 0)


def delta_energy(spins, site, patterns):
    sums = patterns @ spins.astype(int)
    return jnp.sum(sums - 2 * spins[site] * patterns[:, site] < 0) - jnp.sum(sums < 0)


PATTERNS = jnp.asarray(signs((11, 7), 0), int)


def kernel(**options):
    common = {"n_spins": 7, "beta": BETA, "coupling": COUPLING}
    return ReplicatedMetropolis(energy, delta_energy, **{**common, **options})


def run(seed=0, n_warmup=0, n_samples=30, n_chains=2, method="vectorized", start=None, **options):
    mcmc = MCMC(
        kernel(**options), num_warmup=n_warmup, num_samples=n_samples, num_chains=n_chains,
        chain_method=method, progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(seed), PATTERNS, init_params=start)
    return mcmc


def recounted(spins):
    """Energies (..., y) of replicas (..., n, y), in NumPy."""
    sums = np.einsum("pn,...ny->...py", np.asarray(PATTERNS), spins.astype(int))
    return (sums < 0).sum(axis=-2)


@pytest.mark.parametrize("explicit", [False, True])
def test_carried_energies_are_those_of_the_spins_after_a_hundred_thousand_moves(key, explicit):
    spins = jnp.asarray(signs((7, 3), 2))
    centre = jnp.asarray(signs(7, 3)) if explicit else None
    swept = jax.jit(replicated_sweep, static_argnames=("delta_energy", "n_flips"))(
        key, spins, centre, jnp.asarray(recounted(np.asarray(spins)), float), 0.2, 0.2,
        delta_energy=delta_energy, args=(PATTERNS,), n_flips=160_000,
    )  # fmt: skip
    assert swept.accept_prob * 160_000 > 100_000
    np.testing.assert_array_equal(swept.energy, recounted(np.asarray(swept.spins)))
    assert set(np.unique(swept.spins).tolist()) == {-1, 1}
    assert (swept.centre is None) == (not explicit)


@pytest.mark.parametrize("explicit", [False, True])
def test_runs_reach_arviz_with_energies_by_replica(explicit):
    data = to_arviz(run(n_warmup=5, explicit_centre=explicit, n_replicas=4))
    spins = posterior_array(data, "spin").astype(int)
    assert spins.shape == (2, 30, 7, 4)
    stats = data["sample_stats"]
    energies = np.asarray(stats["energy"])
    np.testing.assert_array_equal(energies, recounted(spins))
    assert energies.shape == (2, 30, 4)
    sums = spins.sum(axis=-1)
    if explicit:
        centre = posterior_array(data, "centre").astype(int)
        assert centre.shape == (2, 30, 7)
        attraction = COUPLING * (sums * centre).sum(-1)
    else:
        attraction = np.log(2 * np.cosh(COUPLING * sums)).sum(-1)
    np.testing.assert_allclose(
        stats["lp"], attraction - BETA * energies.sum(-1), rtol=0, atol=1e-12
    )
    rates = np.asarray(stats["acceptance_rate"])
    assert rates.shape == (2, 30)
    assert ((rates > 0) & (rates < 1)).all()


def test_an_attraction_summed_over_all_centres_is_the_traced_one():
    spins = jnp.asarray(signs((4, 3), 1))
    centres = np.array(np.meshgrid(*[[1, -1]] * 4)).reshape(4, -1).T
    each = jnp.array([log_attraction(spins, jnp.asarray(c), 0.7) for c in centres])
    np.testing.assert_allclose(jax.nn.logsumexp(each), log_attraction(spins, None, 0.7), rtol=1e-12)


@pytest.mark.parametrize("explicit", [False, True])
def test_chains_are_the_same_by_every_method(explicit):
    """One after another, side by side, and, as on several devices, inside a compiled program."""
    one, other = (run(method=m, explicit_centre=explicit) for m in ("sequential", "vectorized"))
    for name, draws in one.get_samples(group_by_chain=True).items():
        np.testing.assert_array_equal(draws, other.get_samples(group_by_chain=True)[name])
    sampler = kernel(explicit_centre=explicit)
    key = jax.random.key(3)
    plain = sampler.init(key, 0, None, (PATTERNS,), {})
    traced = jax.jit(lambda k: sampler.init(k, 0, None, (PATTERNS,), {}))(key)
    for ours, theirs in zip(jax.tree.leaves(plain[:-1]), jax.tree.leaves(traced[:-1])):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    assert (run(seed=1).get_samples()["spin"] != run(seed=2).get_samples()["spin"]).any()


def test_schedules_follow_the_number_of_the_draw():
    found = run(n_warmup=10, n_samples=40, beta=linear(0.0, 2.0, 50), coupling=linear(1.0, 0.0, 50))
    spins = np.asarray(found.get_samples(group_by_chain=True)["spin"]).astype(int)
    step = np.arange(10, 50) / 49
    sums = spins.sum(axis=-1) * (1 - step)[:, None]
    expected = 2 * step * recounted(spins).sum(-1) - np.log(2 * np.cosh(sums)).sum(-1)
    told = found.get_extra_fields(group_by_chain=True)["potential_energy"]
    np.testing.assert_allclose(told, expected, rtol=1e-6)


def test_runs_start_where_they_are_told_to():
    spins, centre = signs((2, 7, 3), 4), signs((2, 7), 5)
    frozen = {"beta": 0.0, "coupling": 1e3, "n_flips": 1}
    key = jax.random.split(jax.random.key(0), 2)
    for start, middle in (
        (spins, np.sign(spins.sum(-1))),
        ({"spin": spins}, np.sign(spins.sum(-1))),
        ({"spin": spins, "centre": centre}, centre),
    ):
        state = kernel(explicit_centre=True, **frozen).init(key, 0, start, (PATTERNS,), {})
        np.testing.assert_array_equal(state.z["spin"], spins)
        np.testing.assert_array_equal(state.z["centre"], middle)
        np.testing.assert_array_equal(state.energy, recounted(spins))
    # an even number of replicas without a majority: the first decides
    halves = np.stack([spins[0, :, 0], -spins[0, :, 0]], axis=1)
    state = kernel(explicit_centre=True, n_replicas=2).init(key[0], 0, halves, (PATTERNS,), {})
    np.testing.assert_array_equal(state.z["centre"], halves[:, 0])
    # replicas that are held together stay
    together = np.repeat(spins[:, :, :1], 3, axis=2)
    mcmc = run(start=jnp.asarray(together), n_samples=5, **frozen)
    draws = np.asarray(mcmc.get_samples(group_by_chain=True)["spin"])
    np.testing.assert_array_equal(draws, np.repeat(together[:, None], 5, axis=1))
    old = MCMC(kernel(), num_warmup=0, num_samples=5, progress_bar=False)
    old.run(jax.random.PRNGKey(0), PATTERNS)
    assert old.get_samples()["spin"].shape == (5, 7, 3)
    assert "acc. prob" in kernel().get_diagnostics_str(old.last_state)


@pytest.mark.float32
def test_single_precision_samples_too():
    found = run(explicit_centre=True)
    spins = np.asarray(found.get_samples(group_by_chain=True)["spin"])
    told = found.get_extra_fields(group_by_chain=True)["energy"]
    np.testing.assert_array_equal(told, recounted(spins))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_spins": 0}, "n_spins: expected"),
        ({"n_replicas": 0}, "n_replicas: expected"),
        ({"n_replicas": 2.0}, "n_replicas: expected"),
        ({"n_flips": 0}, "n_flips: expected"),
        ({"beta": np.nan}, "beta: expected a finite number or a schedule, got nan"),
        ({"coupling": np.inf}, "coupling: expected a finite number of at least 0"),
        ({"coupling": -0.1}, "coupling: expected a finite number of at least 0 or a schedule"),
    ],
)
def test_bad_kernels_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        kernel(**options)


@pytest.mark.parametrize(
    ("options", "start", "message"),
    [
        ({}, np.ones((7, 2)), "init_params: expected shape \\(7, 3\\), got \\(7, 2\\)"),
        ({}, np.zeros((7, 3)), "init_params: expected \\+1 or -1"),
        ({}, {"spins": np.ones((7, 3))}, "expected \\['spin'\\], got \\['spins'\\]"),
        ({}, {"centre": np.ones(7)}, "init_params: expected \\['spin'\\], got \\['centre'\\]"),
        ({"explicit_centre": True}, {"centre": np.ones(6)}, "expected 7 spins a chain"),
    ],
)
def test_bad_starts_are_refused(options, start, message):
    with pytest.raises(ValueError, match=message):
        run(n_chains=1, start=start, **options)


def test_a_wrong_difference_and_keywords_are_refused():
    wrong = ReplicatedMetropolis(energy, lambda s, i, p: 0.5, n_spins=7)
    with pytest.raises(ValueError, match="delta_energy: flipping spin 0 changes the energy by"):
        wrong.init(jax.random.key(0), 0, None, (PATTERNS,), {})
    with pytest.raises(ValueError, match="run: expected positional arguments only"):
        kernel().init(jax.random.key(0), 0, None, (PATTERNS,), {"x": 1})
