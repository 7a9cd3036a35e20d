"""Posteriors of couplings and of the entropy production against densities and truths."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.infer import MCMC, NUTS, init_to_value
from numpyro.infer.util import log_density
from suite_helpers import assert_z

from inference.dynamics import path_moments
from inference.interop import diagnostics
from inference.status import CavityWarning
from models.mesoscopic import (
    LinearLangevin,
    SpinSystem,
    langevin_model,
    langevin_moments_model,
    spin_counts_model,
    spin_path_log_prob,
    spin_path_statistics,
    spin_paths_model,
)

ROTATION = np.array([[1.0, -0.7], [0.7, 1.0]])
COUPLINGS = np.array([[0.0, 0.8, -0.4], [-0.5, 0.0, 0.6], [0.3, -0.7, 0.0]])
FIELDS = np.array(
    [
        (0.5, -0.5, 0.2), (-0.8, 0.1, 0.6), (0.0, 0.9, -0.9),
        (1.0, 1.0, 1.0), (-1.0, 0.5, 0.0), (0.3, -0.2, -1.2),
    ]
)  # fmt: skip
OFF = ~np.eye(3, dtype=bool)


def run(model, key, *args, n_draws=300, start=None, **kwargs):
    """One chain; return draws by name with the axis of chains."""
    kernel = NUTS(model, init_strategy=init_to_value(values=start or {}))
    mcmc = MCMC(kernel, num_warmup=300, num_samples=n_draws, progress_bar=False)
    mcmc.run(key, *args, **kwargs)
    assert not mcmc.get_extra_fields()["diverging"].any()
    return {name: np.asarray(x) for name, x in mcmc.get_samples(group_by_chain=True).items()}


def counts_of(seed, n=5000):
    rng = np.random.default_rng(seed)
    laws = [np.asarray(SpinSystem(COUPLINGS, bias=field).stationary()) for field in FIELDS]
    return np.stack([rng.multinomial(n, law / law.sum()) for law in laws])


def flips_of(seed, duration, n_chains=2, bias=(0.3, -0.2, 0.1)):
    """Simulate by hand, padded as `sample_paths` pads."""
    rng = np.random.default_rng(seed)
    times, sites, initial = [], [], []
    for _ in range(n_chains):
        spins, now, when, where = rng.choice([-1, 1], size=3), 0.0, [], []
        initial.append(spins.copy())
        while True:
            rates = 1.0 / (1.0 + np.exp(2.0 * spins * (COUPLINGS @ spins + bias)))
            now += rng.exponential(1.0 / rates.sum())
            if now > duration:
                break
            site = rng.choice(3, p=rates / rates.sum())
            spins[site] *= -1
            when.append(now)
            where.append(site)
        times.append(when)
        sites.append(where)
    room = max(map(len, times))
    pad = [room - len(when) for when in times]
    return (
        np.array([when + [duration] * k for when, k in zip(times, pad)]),
        np.array([where + [-1] * k for where, k in zip(sites, pad)]),
        np.array(initial),
        np.full(n_chains, duration),
    )


def test_the_langevin_density_is_prior_times_likelihood(key):
    system = LinearLangevin(ROTATION, [1.0, 2.0], bias=[1.0, -1.0])
    times = np.cumsum(np.tile([0.1, 0.2], 30))
    path = system.sample(key, times)
    values = {
        "scale": np.array([0.8, 1.3]), "diffusion": np.array([0.7, 1.5]),
        "correlation": np.array([[1.0, 0.0], [0.6, 0.8]]), "circulation": np.array([0.4]),
        "mean": np.array([0.5, 0.1]),
    }  # fmt: skip
    density, sites = log_density(langevin_model, (times, path), {}, values)
    drift, covariance = sites["drift"]["value"], sites["covariance"]["value"]
    assert np.linalg.eigvals(np.asarray(drift)).real.min() > 0
    same = LinearLangevin(drift, values["diffusion"], bias=drift @ values["mean"])
    np.testing.assert_allclose(same.covariance(), covariance, rtol=1e-12)
    expected = float(same.entropy_production())
    assert float(sites["entropy_production"]["value"]) == pytest.approx(expected, rel=1e-12)
    likelihood = float(same.log_prob(times, path))
    assert float(sites["log_likelihood"]["fn"].log_factor) == pytest.approx(likelihood)
    prior = sum(
        float(site["fn"].log_prob(site["value"]))
        for name, site in sites.items() if name in values
    )  # fmt: skip
    assert float(density) == pytest.approx(prior + likelihood, rel=1e-12)


def test_data_without_lags_say_nothing_of_currents(key):
    system = LinearLangevin(ROTATION, 1.0)
    states = system.sample(key, n_steps=400, dt=100.0)
    known = {"mean": np.zeros(2)}
    values = {
        "scale": np.array([0.8, 1.3]), "diffusion": np.array([0.7, 1.5]),
        "correlation": np.array([[1.0, 0.0], [0.6, 0.8]]),
    }  # fmt: skip
    prior = dist.Normal(0.0, 1.0)
    found = []
    for circulation in (0.0, 2.0):
        at = values | {"circulation": np.array([circulation])}
        with pytest.warns(CavityWarning, match="independent states of one steady state"):
            density, sites = log_density(langevin_model, (None, states), known, at)
        likelihood = float(sites["log_likelihood"]["fn"].log_factor)
        root = values["scale"][:, None] * values["correlation"]
        law = dist.MultivariateNormal(np.zeros(2), scale_tril=root)
        assert likelihood == pytest.approx(float(law.log_prob(states).sum()), rel=1e-12)
        found.append(float(density - prior.log_prob(circulation)))
    assert found[0] == pytest.approx(found[1], rel=1e-12)
    with pytest.warns(CavityWarning, match="successive points of the path are not correlated"):
        log_density(langevin_model, (100.0 * np.arange(401), states), known, at)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dense = system.sample(key, n_steps=400, dt=0.5)
        log_density(langevin_model, (0.5 * np.arange(401), dense), known, at)


@pytest.mark.slow
@pytest.mark.statistical
def test_the_rotation_is_recovered(key):
    # one data set has a posterior; 100 of them are in examples/entropy_production_inference.py
    system = LinearLangevin(ROTATION, 1.0)
    path = system.sample(key, n_steps=1000, dt=0.2)
    moments = path_moments(0.2 * np.arange(1001), path)
    draws = run(langevin_moments_model, key, moments, mean=np.zeros(2))
    rate = draws["entropy_production"]
    # asymptotically the drift has the covariance 2 D C^-1 / T: sd(omega) = sd(k) = .1 at T = 200
    assert_z(rate.mean(), 0.98, rate.std(), limit=3.0)
    assert 0.15 < rate.std() < 0.4
    assert diagnostics(rate).ess > 100
    assert_z(draws["drift"].mean(axis=(0, 1)), ROTATION, draws["drift"].std(axis=(0, 1)))


def test_the_density_of_counts_is_prior_times_multinomial():
    counts, coupling = counts_of(0, n=50), np.linspace(-1.0, 1.0, 6)
    values = {"coupling": coupling}
    density, sites = log_density(spin_counts_model, (counts, FIELDS), {"beta": 0.7}, values)
    matrix = np.zeros((3, 3))
    matrix[OFF] = coupling
    np.testing.assert_array_equal(sites["couplings"]["value"], matrix)
    systems = [SpinSystem(matrix, bias=field, beta=0.7) for field in FIELDS]
    rates = [float(system.entropy_production(form="schnakenberg")) for system in systems]
    np.testing.assert_allclose(sites["entropy_production"]["value"], rates, rtol=1e-10)
    likelihood = sum(
        float(dist.Multinomial(50, probs=np.asarray(system.stationary())).log_prob(row))
        for system, row in zip(systems, counts)
    )
    prior = float(dist.Normal(0.0, 1.0).log_prob(coupling).sum())
    assert float(density) == pytest.approx(prior + likelihood, rel=1e-10)


@pytest.mark.slow
@pytest.mark.statistical
def test_counts_under_six_fields_determine_the_couplings_of_three_spins(key):
    draws = run(spin_counts_model, key, counts_of(1), FIELDS, start={"coupling": np.zeros(6)})
    mean, sd = draws["couplings"].mean(axis=(0, 1))[OFF], draws["couplings"].std(axis=(0, 1))[OFF]
    assert sd.min() > 0.01
    assert sd.max() < 0.02
    assert_z(mean, COUPLINGS[OFF], sd)
    rate = draws["entropy_production"].mean(axis=2)
    assert_z(rate.mean(), 1.0372144815, rate.std(), limit=3.5)
    assert 0.02 < rate.std() < 0.03


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (None, "counts without fields determine only half"),
        (np.zeros((2, 3)), "counts without fields determine only half"),
        (FIELDS[:1].repeat(2, axis=0), "counts under a single field say little"),
        (FIELDS[0] * np.array([[1.0], [-1.0]]), "counts under a single field say little"),
    ],
)
def test_fields_that_do_not_identify_are_reported(fields, sentence):
    with pytest.warns(CavityWarning, match=sentence):
        log_density(spin_counts_model, (counts_of(0)[:2], fields), {}, {"coupling": np.zeros(6)})


@pytest.mark.parametrize("n_fields", [0, 1, 6])
def test_what_is_reported_is_what_the_fisher_information_says(n_fields):
    fields = FIELDS[:n_fields] if n_fields else np.zeros((1, 3))

    @jax.jit
    def laws(free):
        matrix = jnp.zeros((3, 3)).at[np.nonzero(OFF)].set(free)
        return jnp.stack([SpinSystem(matrix, bias=f).stationary(method="dense") for f in fields])

    free = COUPLINGS[OFF]
    law, slope = np.asarray(laws(free)), np.asarray(jax.jit(jax.jacfwd(laws))(free))
    information = np.einsum("fsi,fsj,fs->ij", slope, slope, 1.0 / law)
    values = np.linalg.eigvalsh(information)
    if n_fields == 0:
        assert abs(values[:3]).max() < 1e-12 < values[3]
    else:
        low = {1: (1e-4, 0.01), 6: (0.5, 1.0)}[n_fields]
        assert low[0] < values[0] < low[1]


def test_the_likelihood_of_paths_is_rates_times_survival():
    times, sites, initial, duration = flips_of(0, 4.0)
    bias = np.array([0.3, -0.2, 0.1])
    expected = 0.0
    for chain in range(2):
        spins, now = initial[chain].astype(float), 0.0
        real = sites[chain] >= 0
        for at, site in zip(times[chain][real], sites[chain][real]):
            rates = 1.0 / (1.0 + np.exp(2.0 * spins * (COUPLINGS @ spins + bias)))
            expected += np.log(rates[site]) - rates.sum() * (at - now)
            spins[site] *= -1
            now = at
        rates = 1.0 / (1.0 + np.exp(2.0 * spins * (COUPLINGS @ spins + bias)))
        expected -= rates.sum() * (duration[chain] - now)
    statistics = spin_path_statistics(times, sites, initial, duration)
    found = spin_path_log_prob(statistics, COUPLINGS, bias)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(statistics.holding_time.sum()) == pytest.approx(duration.sum())
    assert float(statistics.flips.sum()) == (sites >= 0).sum()
    for fields in (bias, np.stack([bias, bias])):
        known = spin_path_statistics(times, sites, initial, duration, fields)
        assert float(spin_path_log_prob(known, COUPLINGS)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.statistical
def test_the_largest_likelihood_of_paths_is_near_the_truth():
    statistics = spin_path_statistics(*flips_of(1, 1500.0))

    def log_prob(free):
        matrix = jnp.zeros((3, 3)).at[np.nonzero(OFF)].set(free[:6])
        return spin_path_log_prob(statistics, matrix, free[6:])

    derivatives = jax.jit(
        lambda at: (log_prob(at), jax.grad(log_prob)(at), jax.hessian(log_prob)(at))
    )
    at, way = np.linspace(-0.5, 0.5, 9), np.cos(np.arange(9.0))
    slope = float(derivatives(at)[1] @ way)
    up, down = (float(derivatives(at + h * way)[0]) for h in (1e-5, -1e-5))
    assert slope == pytest.approx((up - down) / 2e-5, rel=1e-7)
    at = np.zeros(9)
    for _ in range(8):  # Newton: the likelihood is concave here
        _, gradient, curvature = map(np.asarray, derivatives(at))
        assert np.linalg.eigvalsh(curvature).max() < 0
        at = at - np.linalg.solve(curvature, gradient)
    assert np.abs(gradient).max() < 1e-6
    # rows of couplings do not know of one another
    rows = np.array([0, 0, 1, 1, 2, 2, 0, 1, 2])
    assert np.abs(curvature[rows[:, None] != rows]).max() < 1e-8
    truth = np.concatenate([COUPLINGS[OFF], [0.3, -0.2, 0.1]])
    assert_z(at, truth, np.sqrt(np.diag(np.linalg.inv(-curvature))))


def test_the_density_of_paths_comes_with_the_entropy_production():
    times, sites, initial, duration = flips_of(2, 20.0)
    values = {"coupling": COUPLINGS[OFF], "bias": np.array([0.3, -0.2, 0.1])}
    statistics = spin_path_statistics(times, sites, initial, duration, np.zeros((2, 3)))
    density, sites_found = log_density(spin_paths_model, (statistics,), {"bias_scale": 2.0}, values)
    expected = SpinSystem(COUPLINGS, bias=values["bias"]).entropy_production()
    rate = sites_found["entropy_production"]["value"]
    np.testing.assert_allclose(rate, [float(expected)], rtol=1e-12)
    prior = dist.Normal(0.0, 1.0).log_prob(values["coupling"]).sum()
    prior += dist.Normal(0.0, 2.0).log_prob(values["bias"]).sum()
    likelihood = spin_path_log_prob(statistics, COUPLINGS, values["bias"])
    assert float(density) == pytest.approx(float(prior + likelihood), rel=1e-12)


def test_what_does_not_fit_is_refused():
    counts = counts_of(0)
    times, sites, initial, duration = flips_of(2, 5.0)
    statistics = spin_path_statistics(times, sites, initial, duration)
    late = times.copy()
    late[0, 0] = 4.9
    calls = [
        (lambda: spin_counts_model(counts[:, :7], FIELDS), r"counts: expected 2\*\*n columns"),
        (lambda: spin_counts_model(-counts, FIELDS), "counts: expected whole numbers of at least"),
        (lambda: spin_counts_model(counts + 0.5, FIELDS), "counts: expected whole numbers"),
        (lambda: spin_counts_model(counts, FIELDS[:2]), r"fields: expected shape \(6, 3\)"),
        (lambda: spin_counts_model(counts, FIELDS * np.nan), "fields: expected finite numbers"),
        (lambda: spin_paths_model(statistics, FIELDS), "fields: expected None, the statistics"),
        (lambda: spin_path_statistics(late, sites, initial, duration), "chain 0 does not"),
        (lambda: spin_path_statistics(times, sites, initial, 0.1), "chain 0 does not"),
        (lambda: spin_path_statistics(times, sites + 3, initial, 5.0), "spins from 0 to 2"),
        (lambda: spin_path_statistics(times, sites * 1.0, initial, 5.0), "sites: expected whole"),
        (lambda: spin_path_statistics(times, sites, 0 * initial, 5.0), r"initial: expected \+1"),
        (lambda: spin_path_statistics(times, sites, initial, 5.0, [1.0]), "fields: expected shape"),
        (lambda: langevin_model([0.0, 1.0], np.zeros((2, 1))), "path: expected at least two units"),
        (lambda: langevin_model([0.0], np.zeros((1, 2))), "times: expected at least two"),
    ]  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CavityWarning)
        for call, sentence in calls:
            with pytest.raises(ValueError, match=sentence):
                call()
