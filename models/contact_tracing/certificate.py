"""Epidemics by sums over all histories, by messages, and by sampling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpy.typing import NDArray
from numpyro.infer import NUTS
from scipy import stats

from graphs.temporal import ContactNetwork
from inference.calibration import calibration, places
from inference.certificates import (
    Certificate,
    Row,
    Setting,
    certify,
    estimates,
    exact,
    independent,
    run_chains,
)
from inference.checks import Floats
from inference.comparison import compare
from inference.progress import Stop, never

from . import evidence, forward, gibbs_sampler, propagation
from . import exact as joint_chain
from .bayesian import epidemic_model
from .epidemic import INFECTED, Epidemic
from .observations import Observations
from .simulation import simulate
from .small_coupling_cavity import small_coupling

_TREE = ((0, 1), (0, 2), (1, 3), (1, 4))
_LOOPS = (*_TREE, (3, 4), (2, 1))
_N_PEOPLE, _N_DAYS = 5, 5
_ACCURACY = {"false_positive": 0.05, "false_negative": 0.2}
_EXACT = 1e-9
"""Messages to 1e-12 among five people, whose sums lose a few digits more."""
_PRIORS = {"transmission_prob": (2.0, 4.0), "recovery_prob": (2.0, 6.0)}
_SEED_PROB = 0.2


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare exact sums, messages and samples; see `inference.certificates.certify`."""
    return certify(
        "contact-tracing", CHECKS + FULL_CHECKS if full else CHECKS, full=full, seed=seed,
        only=only, should_stop=should_stop, progress=progress,
    )  # fmt: skip


def meetings(
    pairs: Sequence[tuple[int, int]], n_people: int, seed: int, *, certain: bool = False
) -> ContactNetwork:
    """Let each pair meet on more than half of the days, with random or certain transmission."""
    rng = np.random.default_rng(seed)
    pair, day = np.nonzero(rng.random((len(pairs), _N_DAYS)) < 0.6)
    first, second = np.array(pairs)[pair].T
    prob = 1.0 if certain else rng.uniform(0.1, 0.7, len(day))
    return ContactNetwork.from_events(
        first, second, day, prob, n_people=n_people, n_days=_N_DAYS, symmetric=True
    )


def epidemics(seed: int) -> dict[str, Epidemic]:
    """Return an epidemic without memory, and one of random recovery and infectivity."""
    rng = np.random.default_rng(seed)
    hazard = rng.uniform(0.0, 0.6, _N_DAYS + 1)
    return {
        "Markov": Epidemic(rng.uniform(0.1, 0.3, _N_PEOPLE), 0.3, self_infection_prob=0.02),
        "any law": Epidemic(
            0.15,
            recovery_survival=np.append(1.0, np.cumprod(1.0 - hazard)),
            infectivity=rng.uniform(0.2, 1.0, _N_DAYS + 1),
        ),
    }


def some_tests() -> Observations:
    """Return four tests of five people."""
    outcome = [True, False, True, False]
    return Observations.from_tests([1, 2, 4, 0], [3, 4, 5, 5], outcome, **_ACCURACY)


def draw_tests(
    network: ContactNetwork, values: Mapping[str, float], n_tests: int, seed: int
) -> Observations:
    """Draw an epidemic with these parameters and random tests of it."""
    history = simulate(
        network.scaled(values["transmission_prob"]),
        Epidemic(_SEED_PROB, values["recovery_prob"]),
        seed=seed,
    ).states()
    rng = np.random.default_rng([seed, 1])
    person = rng.integers(network.n_people, size=n_tests)
    day = rng.integers(1, network.n_days + 1, size=n_tests)
    ill = history[person, day] == INFECTED
    chance = np.where(ill, 1 - _ACCURACY["false_negative"], _ACCURACY["false_positive"])
    return Observations.from_tests(person, day, rng.random(n_tests) < chance, **_ACCURACY)


def exact_sums_by_simulation(setting: Setting) -> list[Row]:
    """Posterior and evidence by exact sums are those of simulated epidemics weighed by tests."""
    network, tests = meetings(_LOOPS, _N_PEOPLE, 0), some_tests()
    rows: list[Row] = []
    for name, epidemic in epidemics(1).items():
        summed = joint_chain.exact_posterior(network, tests, epidemic)
        weights, ill = [], []
        for seed in range(setting.draws(4000, 40_000)):
            history = simulate(network, epidemic, seed=seed + 1_000_000 * setting.seed).states()
            seen = history[tests.person, tests.day]
            weights.append(tests.likelihood[np.arange(len(seen)), seen].prod())
            ill.append(history[:, -1] == INFECTED)
        weight = np.array(weights)
        rows += independent(f"{name}: evidence", np.exp(summed.log_evidence), weight)
        share = weight @ np.array(ill) / weight.sum()
        # of a ratio of two means, to first order
        deviation = weight[:, None] * (np.array(ill) - share) / weight.mean()
        error = deviation.std(axis=0) / np.sqrt(len(weight))
        rows += estimates(f"{name}: P(I today)", summed.state_prob[:, -1, 1], share, error)
    return rows


def belief_propagation_on_trees(setting: Setting) -> list[Row]:
    """Everybody's states and the evidence by messages are those of exact sums on a tree."""
    network, tests = meetings(_TREE, _N_PEOPLE, setting.seed), some_tests()
    rows: list[Row] = []
    for name, epidemic in epidemics(setting.seed).items():
        summed = joint_chain.exact_posterior(network, tests, epidemic)
        schedules: list[propagation.Schedule] = ["sequential"]
        if setting.full or epidemic.is_markov:  # the other takes as long to compile once more
            schedules.append("parallel")
        for schedule in schedules:
            found = propagation.infer(
                network, tests, epidemic, schedule=schedule, tol=1e-12, on_failure="raise",
                progress=False,
            )  # fmt: skip
            rows += [
                exact(f"states, {name}, {schedule}", summed.state_prob, found.state_prob,
                      tolerance=_EXACT),
                exact(f"log evidence, {name}, {schedule}", float(summed.log_evidence),
                      found.log_evidence, tolerance=_EXACT),
            ]  # fmt: skip
    return rows


def gibbs_on_loops(setting: Setting) -> list[Row]:
    """Histories drawn one person after another follow the exact posterior, loops or not."""
    network, tests = meetings(_LOOPS, _N_PEOPLE, 0), some_tests()
    rows: list[Row] = []
    for name, epidemic in epidemics(1).items():
        summed = joint_chain.exact_posterior(network, tests, epidemic)
        drawn = gibbs_sampler.gibbs(
            network, tests, epidemic, num_samples=setting.draws(2500, 25_000), seed=setting.seed,
            keep_draws=True, progress=False,
        )  # fmt: skip
        infected, recovered = _days(drawn)
        for day in (2, _N_DAYS):
            ill = (infected <= day) & (recovered > day)
            expected = summed.state_prob[:, day, INFECTED]
            rows += compare(f"{name}: P(I, day {day})", expected, ill)
    return rows


def _days(drawn: gibbs_sampler.GibbsResult) -> tuple[NDArray[Any], NDArray[Any]]:
    if drawn.infection_day is None or drawn.recovery_day is None:
        raise ValueError("drawn: expected draws that were kept")
    return drawn.infection_day, drawn.recovery_day


def forward_without_tests(setting: Setting) -> list[Row]:
    """States without observations by dynamic messages, by exact sums, and by simulation."""
    network = meetings(_TREE, _N_PEOPLE, setting.seed)
    rows: list[Row] = []
    for name, epidemic in epidemics(setting.seed).items():
        passed = forward.dynamic_message_passing(network, epidemic)
        summed = joint_chain.exact_posterior(network, Observations.none(), epidemic)
        # both are finite sums and products of probabilities
        rows.append(exact(f"states, {name}", summed.state_prob, passed.state_prob, tolerance=1e-10))
        ill = [
            simulate(network, epidemic, seed=seed + 1_000_000 * setting.seed).states()[:, -1]
            == INFECTED
            for seed in range(setting.draws(2000, 20_000))
        ]
        rows += independent(f"P(I today), {name}", passed.state_prob[:, -1, INFECTED], ill)
    return rows


def small_coupling_in_limits(setting: Setting) -> list[Row]:
    """Small coupling is exact without transmission, and off by its square otherwise."""
    tests, epidemic = some_tests(), epidemics(1)["Markov"]
    errors = []
    for scale in (0.0, 0.005, 0.01):
        network = meetings(_TREE, _N_PEOPLE, 0).scaled(scale)
        found = small_coupling(
            network, tests, epidemic, tol=1e-12, max_steps=2000, on_failure="raise"
        )
        summed = joint_chain.exact_posterior(network, tests, epidemic)
        errors.append(np.abs(found.state_prob - summed.state_prob).max())
    return [
        # iterated to 1e-12
        exact("no transmission", 0.0, errors[0], tolerance=1e-10),
        # of second order: four times as large, up to shares in proportion to the transmission; an
        # error of first order would be off by all of itself
        exact("growth of the error", 4 * errors[1], errors[2], tolerance=0.1 * errors[2]),
    ]


def evidence_and_its_gradient(setting: Setting) -> list[Row]:
    """Evidence by messages and its gradient are those of exact sums and of differences."""
    network, tests = meetings(_TREE, _N_PEOPLE, setting.seed), some_tests()
    epidemic = epidemics(setting.seed)["Markov"]
    names = ("transmission_prob", "recovery_prob", "seed_prob", "self_infection_prob")
    at = jnp.array([0.8, 0.25, 0.15, 0.02])

    def summed(values: jax.Array) -> jax.Array:
        parameters = dict(zip(names, values))
        return joint_chain.exact_log_evidence(parameters, network, tests, epidemic)

    def passed(values: jax.Array) -> jax.Array:
        return evidence.log_evidence(dict(zip(names, values)), network, tests, epidemic)

    value, slope = jax.value_and_grad(passed)(at)
    step = 1e-5
    # rounding of 1e-15 over the step, and a third derivative of at most 1e6 times its square
    differences = [
        float(summed(at + step * unit) - summed(at - step * unit)) / (2 * step)
        for unit in jnp.eye(len(names))
    ]
    return [
        exact("log evidence", summed(at), value, tolerance=_EXACT),
        exact("gradient", differences, slope, tolerance=1e-4),
    ]


def parameters_by_nuts(setting: Setting) -> list[Row]:
    """Parameters drawn by NUTS through the evidence have the moments of a quadrature."""
    network = meetings(_TREE, _N_PEOPLE, 3, certain=True)
    truth = {"transmission_prob": 0.35, "recovery_prob": 0.15}
    tests = draw_tests(network, truth, 12, 0)
    base = Epidemic(_SEED_PROB, 0.5)
    priors = {name: dist.Beta(a, b) for name, (a, b) in _PRIORS.items()}
    nodes, weights = np.polynomial.legendre.leggauss(24)
    nodes = 0.5 * (nodes + 1.0)
    grid = jnp.stack(jnp.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)

    def log_joint(pair: jax.Array) -> jax.Array:
        values = dict(zip(_PRIORS, pair))
        prior = sum(priors[name].log_prob(values[name]) for name in _PRIORS)
        return prior + joint_chain.exact_log_evidence(values, network, tests, base)

    logs = np.array(jax.lax.map(log_joint, grid, batch_size=64))
    mass = np.exp(logs - logs.max()) * np.outer(weights, weights).ravel()
    mass /= mass.sum()
    n_draws = setting.draws(500, 4000)
    drawn = run_chains(
        NUTS(partial(epidemic_model, priors=priors)), setting.key("parameters"), network, tests,
        base, num_warmup=min(n_draws, 1000), num_samples=n_draws,
    )  # fmt: skip
    rows: list[Row] = []
    for place, name in enumerate(_PRIORS):
        values = np.asarray(grid[:, place])
        rows += compare(f"E {name}", mass @ values, drawn[name])
        rows += compare(f"E {name}^2", mass @ values**2, drawn[name] ** 2)
    return rows


def transmission_is_calibrated(setting: Setting) -> list[Row]:
    """Transmission probabilities drawn from the prior lie anywhere in their posteriors."""
    pairs = [(child // 2, child) for child in range(1, 20)]
    network = meetings(pairs, 20, 0, certain=True)
    a, b = _PRIORS["transmission_prob"]
    n_cells = 24
    centers = (np.arange(n_cells) + 0.5) / n_cells
    grid = stats.beta.ppf(centers, a, b)  # in quantiles of the prior the prior is uniform
    where: list[float] = []
    for replica in range(setting.draws(40, 400)):
        quantile = np.random.default_rng([setting.seed, replica]).random()
        values = {"transmission_prob": stats.beta.ppf(quantile, a, b), "recovery_prob": 0.2}
        tests = draw_tests(network, values, 30, replica + 10_000 * setting.seed)
        logs = np.array(
            [
                propagation.infer(
                    network.scaled(value), tests, Epidemic(_SEED_PROB, 0.2), on_failure="raise",
                    progress=False,
                ).log_evidence
                for value in grid
            ]
        )  # fmt: skip
        mass = np.exp(logs - logs.max())
        below = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
        where.append(np.interp(quantile, np.arange(n_cells + 1) / n_cells, below))
    return [calibration("transmission_prob by messages", where)]


def histories_are_calibrated(setting: Setting) -> list[Row]:
    """How many are ill in truth lies anywhere among Gibbs draws of how many are."""
    network, epidemic = meetings(_LOOPS, _N_PEOPLE, 0), epidemics(1)["Markov"]
    rng = np.random.default_rng(setting.seed)
    where: list[Floats] = []
    for replica in range(setting.draws(100, 1000)):
        seed = replica + 10_000 * setting.seed
        history = simulate(network, epidemic, seed=seed).states()
        person, day = rng.integers(_N_PEOPLE, size=4), rng.integers(1, _N_DAYS + 1, size=4)
        chance = np.where(
            history[person, day] == INFECTED,
            1 - _ACCURACY["false_negative"],
            _ACCURACY["false_positive"],
        )
        tests = Observations.from_tests(person, day, rng.random(4) < chance, **_ACCURACY)
        drawn = gibbs_sampler.gibbs(
            network, tests, epidemic, num_warmup=50, num_samples=50, num_chains=2, thinning=10,
            seed=seed, keep_draws=True, progress=False,
        )  # fmt: skip
        infected, recovered = _days(drawn)
        ill = ((infected <= 3) & (recovered > 3)).sum(axis=-1).ravel()
        where.append(places((history[:, 3] == INFECTED).sum(), ill, rng))
    return [calibration("number of the infected", where)]


CHECKS = (
    exact_sums_by_simulation,
    belief_propagation_on_trees,
    gibbs_on_loops,
    forward_without_tests,
    small_coupling_in_limits,
    evidence_and_its_gradient,
    transmission_is_calibrated,
    histories_are_calibrated,
)
FULL_CHECKS = (parameters_by_nuts,)
"""Its program takes long to compile."""
