"""Sampled parameters of an epidemic against quadrature, and states averaged over them."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from contact_cases import pairs_of_tree, random_network, random_tests
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import log_density
from suite_helpers import assert_z

from inference.interop import diagnostics
from inference.status import Status
from models.contact_tracing import Epidemic, Observations, infer
from models.contact_tracing.bayesian import (
    default_priors,
    epidemic_model,
    posterior_state_prob,
)
from models.contact_tracing.exact import exact_log_evidence, exact_posterior

N, N_DAYS = 4, 4


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    network = random_network(pairs_of_tree(N, rng), N, N_DAYS, rng, low=0.8, high=1.0)
    epidemic = Epidemic(0.2, 0.2)
    return network, random_tests(network.scaled(0.5), epidemic, rng, 8), epidemic


@pytest.mark.parametrize("evidence", ["bethe", "exact"])
def test_the_density_is_prior_times_evidence(case, evidence):
    network, tests, _ = case
    values = {
        "transmission_prob": 0.4,
        "recovery_prob": 0.3,
        "seed_prob": 0.15,
        "self_infection_prob": 0.02,
    }
    density, sites = log_density(epidemic_model, (network, tests), {"evidence": evidence}, values)
    exact = exact_log_evidence(values, network, tests, Epidemic(0.9, 0.9))
    prior = sum(default_priors()[name].log_prob(value) for name, value in values.items())
    assert float(density) == pytest.approx(float(prior + exact), abs=1e-9)
    assert float(sites["log_evidence"]["value"]) == pytest.approx(float(exact), abs=1e-9)


def test_priors_of_some_parameters_leave_the_others_alone(case):
    network, tests, epidemic = case
    priors = {"transmission_prob": dist.Beta(2.0, 2.0), "seed_prob": dist.Uniform(0.0, 0.5)}
    values = {"transmission_prob": 0.7, "seed_prob": 0.3}
    density, sites = log_density(
        epidemic_model, (network, tests, epidemic), {"priors": priors, "evidence": "exact"}, values
    )
    exact = exact_log_evidence(values, network, tests, epidemic)
    expected = np.log(6 * 0.7 * 0.3) + np.log(2.0) + float(exact)
    assert float(density) == pytest.approx(expected, abs=1e-10)
    assert set(sites) == {*values, "log_evidence", "evidence"}


@pytest.mark.slow
@pytest.mark.statistical
def test_nuts_has_the_moments_of_the_quadrature(case, key):
    network, tests, epidemic = case
    priors = {"transmission_prob": dist.Beta(2.0, 3.0), "recovery_prob": dist.Beta(2.0, 5.0)}
    mcmc = MCMC(
        NUTS(epidemic_model),
        num_warmup=300,
        num_samples=500,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(key, network, tests, epidemic, priors=priors, evidence="exact")
    draws = mcmc.get_samples(group_by_chain=True)

    nodes, weights = np.polynomial.legendre.leggauss(24)
    grid = 0.5 * (nodes + 1.0)
    first, second = np.meshgrid(grid, grid, indexing="ij")

    @jax.jit
    @jax.vmap
    def log_posterior(one, two):
        values = {"transmission_prob": one, "recovery_prob": two}
        prior = sum(law.log_prob(values[name]) for name, law in priors.items())
        return prior + exact_log_evidence(values, network, tests, epidemic)

    mass = np.outer(weights, weights) * np.exp(
        np.asarray(log_posterior(first.ravel(), second.ravel())).reshape(first.shape)
    )
    mass /= mass.sum()
    for name, values in (("transmission_prob", first), ("recovery_prob", second)):
        for power in (1, 2):
            sampled = diagnostics(np.asarray(draws[name]) ** power, name=name)
            expected = (mass * values**power).sum()
            assert_z(sampled.mean, expected, sampled.mcse, ess=sampled.ess)


@pytest.mark.parametrize("evidence", ["bethe", "exact"])
def test_states_are_averaged_over_the_draws(case, evidence):
    network, tests, epidemic = case
    rng = np.random.default_rng(1)
    samples = {
        "transmission_prob": rng.uniform(0.2, 0.9, (2, 3)),
        "seed_prob": rng.uniform(0.1, 0.3, (2, 3)),
        "log_evidence": np.zeros((2, 3)),
    }
    found = posterior_state_prob(samples, network, tests, epidemic, evidence=evidence)
    each = np.array(
        [
            exact_posterior(network.scaled(factor), tests, Epidemic(seed, 0.2)).state_prob
            for factor, seed in zip(samples["transmission_prob"].flat, samples["seed_prob"].flat)
        ]
    )
    np.testing.assert_allclose(found.mean, each.mean(axis=0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.sd, each.std(axis=0), rtol=0, atol=1e-5)
    assert found.n_draws == 6
    assert found.status is Status.CONVERGED


def test_fewer_draws_and_how_they_ended(case):
    network, tests, epidemic = case
    samples = {"transmission_prob": np.linspace(0.1, 0.9, 9)}
    two = posterior_state_prob(samples, network, tests, epidemic, max_draws=2)
    ends = [infer(network.scaled(p), tests, epidemic).state_prob for p in (0.1, 0.9)]
    np.testing.assert_allclose(two.mean, np.mean(ends, axis=0), rtol=0, atol=1e-12)
    stopped = posterior_state_prob(samples, network, tests, epidemic, max_steps=1)
    assert stopped.status is Status.MAX_STEPS


def test_what_does_not_fit_is_refused(case):
    network, tests, epidemic = case
    with pytest.raises(ValueError, match="evidence: expected one of bethe, exact"):
        epidemic_model(network, tests, evidence="variational")
    with pytest.raises(ValueError, match="tol: expected no option beside the exact evidence"):
        epidemic_model(network, tests, evidence="exact", tol=1e-3)
    with pytest.raises(ValueError, match="priors: expected any of transmission_prob"):
        epidemic_model(network, tests, priors={"beta": dist.Beta(1.0, 1.0)})
    with pytest.raises(ValueError, match="epidemic: expected one, to hold what has no prior"):
        epidemic_model(network, tests, priors={"seed_prob": dist.Beta(1.0, 1.0)})
    with pytest.raises(ValueError, match="got none"):
        posterior_state_prob({"beta": [0.1]}, network, tests, epidemic)
    with pytest.raises(ValueError, match="2 of transmission_prob, 1 of seed_prob"):
        posterior_state_prob(
            {"transmission_prob": [0.1, 0.2], "seed_prob": [0.1]}, network, tests, epidemic
        )
    with pytest.raises(ValueError, match="n_people = 4, got 7"):
        posterior_state_prob(
            {"seed_prob": [0.1]}, network, Observations.of_states([7], [0], [0]), epidemic
        )
