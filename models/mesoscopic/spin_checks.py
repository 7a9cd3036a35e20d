"""Spins that flip, by dense matrices and by simulation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpyro.infer import NUTS, init_to_value
from numpyro.infer.util import log_density
from scipy import stats

from inference.calibration import calibration, places
from inference.certificates import Row, Setting, at_most, estimates, exact, independent
from inference.checks import Floats

from . import bayesian, score_gradient, spin_likelihood
from .spin_paths import sample_paths
from .spin_simulation import simulate_spins
from .spins import SpinSystem, all_states
from .tasks import parity_task

_N = 4
FORMS = ("observable", "schnakenberg", "antisymmetric")
"""Of the entropy production."""
ROUNDING = 1e-10
"""Dense linear algebra of 16 states, whose numbers are of order one."""
_FIELDS = np.array([[0.5, -0.5], [-0.8, 0.3], [0.2, 0.9]])
"""On two spins whose states are counted."""


def spins(seed: int, *, symmetric: bool = False) -> SpinSystem:
    """Return four spins with random couplings and fields."""
    rng = np.random.default_rng(seed)
    couplings = 0.6 * rng.standard_normal((_N, _N))
    np.fill_diagonal(couplings, 0.0)
    if symmetric:
        couplings = 0.5 * (couplings + couplings.T)
    return SpinSystem(couplings, bias=0.4 * rng.standard_normal(_N), beta=0.8)


def jump_rates(system: SpinSystem) -> Floats:
    """Return ``(16, 16)`` rates from the column to the row, flip by flip."""
    states = np.asarray(all_states(_N)).T  # (states, spins)
    rates = np.zeros((len(states), len(states)))
    for number, state in enumerate(states):
        field = np.asarray(system.couplings) @ state + np.asarray(system.bias)
        chance = 1.0 / (1.0 + np.exp(2.0 * float(system.beta) * state * field))
        for spin in range(_N):
            rates[number ^ (1 << spin), number] = chance[spin]
    return rates


def steady_state(rates: Floats) -> Floats:
    """Return the null vector of the generator with these rates."""
    kernel = scipy.linalg.null_space(rates - np.diag(rates.sum(axis=0)))[:, 0]
    return np.asarray(kernel / kernel.sum())


def steady_states_of_spins(setting: Setting) -> list[Row]:
    """Steady states solved for are null vectors, the end of long times, and need no matrix."""
    rows: list[Row] = []
    for seed in range(setting.seed, setting.seed + 3):
        system = spins(seed)
        rates = jump_rates(system)
        law = steady_state(rates)
        generator = rates - np.diag(rates.sum(axis=0))
        late = scipy.linalg.expm(200.0 * generator)[:, 0]
        rows += [
            # the matrix exponential of large numbers loses some digits, the iteration ends at 1e-13
            exact(f"null vector, {seed}", law, system.stationary(method="dense"),
                  tolerance=ROUNDING),
            exact(f"long times, {seed}", late, system.stationary(method="dense"), tolerance=1e-9),
            exact(f"without a matrix, {seed}", law, system.stationary(method="iterative"),
                  tolerance=1e-9),
        ]  # fmt: skip
    return rows


def entropy_production_of_spins(setting: Setting) -> list[Row]:
    """All forms of the entropy production of spins are the sum over flips and their reversals."""
    rows: list[Row] = []
    for seed in range(setting.seed, setting.seed + 3):
        system = spins(seed)
        rates = jump_rates(system)
        flux = rates * steady_state(rates)
        there = rates > 0
        expected = (flux[there] * np.log(flux[there] / flux.T[there])).sum()
        for form in FORMS:
            found = system.entropy_production(form=form)  # type: ignore[arg-type]
            rows.append(exact(f"{form}, {seed}", expected, found, tolerance=ROUNDING))
    return rows


def symmetric_couplings(setting: Setting) -> list[Row]:
    """Symmetric couplings have the law of Gibbs and dissipate nothing."""
    system = spins(setting.seed, symmetric=True)
    states = np.asarray(all_states(_N)).T
    couplings, bias = np.asarray(system.couplings), np.asarray(system.bias)
    energy = -0.5 * np.einsum("si,ij,sj->s", states, couplings, states) - states @ bias
    law = np.exp(-float(system.beta) * energy)
    return [
        exact("law of Gibbs", law / law.sum(), system.stationary(), tolerance=ROUNDING),
        exact("entropy production", 0.0, system.entropy_production(), tolerance=ROUNDING),
    ]


def jumps_by_simulation(setting: Setting) -> list[Row]:
    """Averages over simulated flips are those of the exact steady state."""
    system = spins(setting.seed)
    rates = jump_rates(system)
    law, states = steady_state(rates), np.asarray(all_states(_N)).T
    run = simulate_spins(
        np.asarray(system.couplings), np.asarray(system.bias), float(system.beta),
        key=setting.key("jumps"), n_chains=256, n_events=setting.draws(1024, 8192),
    )  # fmt: skip
    pairs = np.triu_indices(_N, 1)
    correlations = (states.T @ (law[:, None] * states))[pairs]
    if run.correlations is None:
        raise ValueError("correlations: expected those of four spins")
    value, error = run.correlations
    production = float(system.entropy_production())
    return [
        *estimates("E spin", law @ states, *run.mean_spins),
        *estimates("E pair", correlations, np.asarray(value)[pairs], np.asarray(error)[pairs]),
        *estimates("entropy production", production, *run.entropy_production),
        *estimates("heat", production, *run.heat_rate),
        *estimates("flips", (rates * law).sum(), *run.flip_rate),
    ]


def density_of_flips(setting: Setting) -> list[Row]:
    """Flips on record have the density rates times survival, whose slope averages zero."""
    system = spins(setting.seed)
    couplings, bias = np.asarray(system.couplings), np.asarray(system.bias)
    beta = float(system.beta)
    paths = sample_paths(
        couplings, bias, beta, key=setting.key("flips"), n_chains=setting.draws(200, 2000),
        duration=5.0, dtype=np.float64,
    )  # fmt: skip
    expected = 0.0
    for chain in range(5):
        state, now = paths.initial[chain].astype(float), 0.0
        for when, site in zip(paths.times[chain], paths.sites[chain]):
            if site < 0:
                break
            rates = 1.0 / (1.0 + np.exp(2.0 * beta * state * (couplings @ state + bias)))
            expected += np.log(rates[site]) - rates.sum() * (when - now)
            state[site] *= -1
            now = when
        rates = 1.0 / (1.0 + np.exp(2.0 * beta * state * (couplings @ state + bias)))
        expected -= rates.sum() * (paths.duration[chain] - now)
    first = spin_likelihood.spin_path_statistics(
        paths.times[:5], paths.sites[:5], paths.initial[:5], paths.duration[:5]
    )
    found = spin_likelihood.spin_path_log_prob(first, couplings, bias, beta)
    slopes = []
    slope = jax.jit(jax.grad(spin_likelihood.spin_path_log_prob, argnums=1))
    for chain in range(len(paths.initial)):
        one = slice(chain, chain + 1)
        statistics = spin_likelihood.spin_path_statistics(
            paths.times[one], paths.sites[one], paths.initial[one], paths.duration[one]
        )
        slopes.append(np.asarray(slope(statistics, couplings, bias, beta))[[0, 1, 2], [1, 2, 3]])
    return [
        # sums of some fifty logarithms
        exact("log density", expected, found, tolerance=1e-9),
        *independent("E slope by a coupling", np.zeros(3), np.array(slopes)),
    ]


def information_of_spins(setting: Setting) -> list[Row]:
    """Information is that of the joint table, and less than the task holds."""
    task = parity_task(3)
    rng = np.random.default_rng(setting.seed)
    couplings = rng.standard_normal((_N, _N))
    np.fill_diagonal(couplings, 0.0)
    device = SpinSystem(couplings, rng.standard_normal((_N, 3)))
    found = device.information(task.inputs, task.input_prob, task.label_prob)
    laws = np.array([device.stationary(x) for x in task.inputs])

    def of(joint: Floats) -> float:
        apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        there = joint > 0
        return float((joint[there] * np.log(joint[there] / apart[there])).sum())

    of_input = task.input_prob[:, None] * laws
    of_label = task.label_prob.T @ of_input
    return [
        exact("about the label", of(of_label), found.about_label, tolerance=ROUNDING),
        exact("about the input", of(of_input), found.about_input, tolerance=ROUNDING),
        exact("accuracy", of_label.max(axis=0).sum(), found.accuracy, tolerance=ROUNDING),
        at_most("label over input", of(of_label), of(of_input), tolerance=1e-12),
        at_most("label over task", of(of_label), task.information, tolerance=1e-12),
    ]


def slopes_of_spins(setting: Setting) -> list[Row]:
    """Slopes of the entropy production by simulation are those of the exact one."""
    system = spins(setting.seed)

    def production(couplings: jax.Array) -> jax.Array:
        return SpinSystem(couplings, bias=system.bias, beta=system.beta).entropy_production()

    slope = jax.grad(production)(jnp.asarray(system.couplings))
    step = 1e-5
    entries = [(0, 1), (2, 3), (3, 0)]
    differences = []
    for place in entries:
        up, down = (
            production(jnp.asarray(system.couplings).at[place].add(s)) for s in (step, -step)
        )
        differences.append(float(up - down) / (2 * step))
    run = score_gradient.gradient_by_simulation(
        system, key=setting.key("slopes"), n_chains=setting.draws(512, 4096)
    )
    off = ~np.eye(_N, dtype=bool)
    return [
        # rounding of 1e-15 over the step, and its square
        exact("by differences", differences, [slope[place] for place in entries], tolerance=1e-8),
        *estimates("value", production(jnp.asarray(system.couplings)), run.value, run.value_error),
        *estimates("slope", np.asarray(slope)[off], np.asarray(run.couplings)[off],
                   np.asarray(run.couplings_error)[off]),
    ]  # fmt: skip


def couplings_by_counts(setting: Setting) -> list[Row]:
    """Give counts of states the density prior times multinomial."""
    rng = np.random.default_rng(setting.seed)
    counts, values = rng.integers(0, 30, (3, 4)), rng.normal(size=2)
    matrix = np.array([[0.0, values[0]], [values[1], 0.0]])
    expected = stats.norm.logpdf(values).sum()
    for row, field in zip(counts, _FIELDS):
        law = np.asarray(SpinSystem(matrix, bias=field).stationary())
        expected += stats.multinomial.logpmf(row, row.sum(), law / law.sum())
    density, _ = log_density(
        bayesian.spin_counts_model, (counts, _FIELDS), {}, {"coupling": jnp.asarray(values)}
    )
    return [exact("log density", expected, density, tolerance=1e-9)]


def couplings_are_calibrated(setting: Setting) -> list[Row]:
    """Couplings of two spins lie anywhere among NUTS draws given counts of states."""
    kernel = NUTS(
        bayesian.spin_counts_model, init_strategy=init_to_value(values={"coupling": np.zeros(2)})
    )
    n_draws, thinning = 600, 12

    @jax.jit
    def drawn(state: Any, counts: jax.Array) -> jax.Array:
        def step(state: Any, _: None) -> tuple[Any, jax.Array]:
            state = kernel.sample(state, (counts, _FIELDS), {})
            return state, state.z["coupling"]

        return jax.lax.scan(step, state, length=200 + n_draws)[1][200::thinning]

    where, key, rng = [], setting.key("counts"), np.random.default_rng(setting.seed)
    for replica in range(400):
        truth = rng.normal(size=2)
        matrix = np.array([[0.0, truth[0]], [truth[1], 0.0]])
        laws = np.array([SpinSystem(matrix, bias=field).stationary() for field in _FIELDS])
        counts = np.stack([rng.multinomial(40, law / law.sum()) for law in laws])
        data = jnp.asarray(counts)
        state = kernel.init(jax.random.fold_in(key, replica), 200, None, (data, _FIELDS), {})
        where.append(places(truth, drawn(state, data), rng))
    return [
        calibration(f"coupling {number}", column) for number, column in enumerate(np.array(where).T)
    ]
