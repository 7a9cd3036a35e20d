"""Linear Langevin units, by closed forms and by sampled paths."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpyro import handlers
from numpyro.infer import NUTS
from numpyro.infer.util import log_density
from scipy import stats

from inference.calibration import calibration
from inference.certificates import Row, Setting, exact, independent, run_chains
from inference.checks import Floats
from inference.comparison import compare
from inference.dynamics.ornstein_uhlenbeck import PathMoments, path_moments

from . import bayesian, frontier_search, linear_frontier
from .linear_langevin import LinearLangevin
from .spin_checks import FORMS, ROUNDING
from .tasks import GaussianTask

_DRIFT = np.array([[1.0, -0.7], [0.4, 1.3]])
_NOISE = np.array([1.0, 0.6])
_GRID = np.linspace(-5.0, 5.0, 801)
"""Of circulations: the prior has a deviation of one."""


def langevin_closed_forms(setting: Setting) -> list[Row]:
    """Covariance and entropy production of linear units are those of dense formulas."""
    rng = np.random.default_rng(setting.seed)
    drift, root = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    drift += (0.3 - np.linalg.eigvals(drift).real.min()) * np.eye(3)
    noise = root @ root.T + 0.1 * np.eye(3)
    weights = rng.normal(size=(3, 2))
    system = LinearLangevin(drift, noise, weights)
    covariance = scipy.linalg.solve_continuous_lyapunov(drift, 2 * noise)
    scale = max(1.0, np.abs(covariance).max())
    inverse = np.linalg.inv(noise)
    expected = np.trace(drift.T @ inverse @ drift @ covariance) - np.trace(drift)
    rows: list[Row] = [
        exact("covariance", covariance, system.covariance(), tolerance=ROUNDING * scale)
    ]
    for form in FORMS:
        found = system.entropy_production(form)  # type: ignore[arg-type]
        rows.append(exact(form, expected, found, tolerance=ROUNDING * max(1.0, expected)))
    response = np.linalg.solve(drift, weights)
    signal = response @ response.T
    about = 0.5 * (np.linalg.slogdet(covariance + signal)[1] - np.linalg.slogdet(covariance)[1])
    rows.append(exact("information", about, system.information_about_input(), tolerance=1e-9))
    return rows


def langevin_paths(setting: Setting) -> list[Row]:
    """Paths drawn have the covariances of the closed form, now and later."""
    system = LinearLangevin(_DRIFT, _NOISE)
    covariance = scipy.linalg.solve_continuous_lyapunov(_DRIFT, 2 * np.diag(_NOISE))
    later = scipy.linalg.expm(-0.7 * _DRIFT) @ covariance
    times = np.array([0.0, 0.7])
    path = np.asarray(
        system.sample(setting.key("paths"), times, n_paths=setting.draws(20_000, 200_000))
    )
    now, then = path[:, 0], path[:, 1]
    return [
        *independent("covariance", covariance, now[:, :, None] * now[:, None]),
        *independent("covariance of the end", covariance, then[:, :, None] * then[:, None]),
        *independent("covariance 0.7 later", later, then[:, :, None] * now[:, None]),
    ]


def langevin_density(setting: Setting) -> list[Row]:
    """Paths have the density of the joint normal law of all their points."""
    system = LinearLangevin(_DRIFT, _NOISE, bias=[0.5, -0.2])
    times = np.array([0.0, 0.3, 1.1, 1.3])
    path = np.random.default_rng(setting.seed).normal(size=(4, 2))
    covariance = scipy.linalg.solve_continuous_lyapunov(_DRIFT, 2 * np.diag(_NOISE))
    joint = np.zeros((8, 8))
    for i, one in enumerate(times):
        for j, other in enumerate(times[: i + 1]):
            block = scipy.linalg.expm(-(one - other) * _DRIFT) @ covariance
            joint[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = block
            joint[2 * j : 2 * j + 2, 2 * i : 2 * i + 2] = block.T
    mean = np.tile(np.linalg.solve(_DRIFT, [0.5, -0.2]), 4)
    expected = stats.multivariate_normal.logpdf(path.ravel(), mean, joint)
    return [exact("log density", expected, system.log_prob(times, path), tolerance=1e-9)]


def frontier_of_two_units(setting: Setting) -> list[Row]:
    """Frontiers in closed form are those of systems, and of the search for couplings."""
    temperature, variance = 0.7, 2.0
    rates = np.array([0.0, 0.1, 1.0, 3.0])
    closed = linear_frontier.closed_form_frontier(
        rates, temperature=temperature, input_variance=variance
    )
    produced, informed = [], []
    for coupling in np.asarray(closed.coupling):
        system = LinearLangevin([[1.0, -coupling], [0.0, 1.0]], temperature, [[0.0], [1.0]])
        produced.append(float(system.entropy_production()))
        informed.append(float(system.information_about_input(np.array([[variance]]))))
    pair = LinearLangevin(np.eye(2), temperature, [[0.0], [1.0]])
    found = frontier_search.bottleneck(
        pair, GaussianTask(np.array([[variance]]), np.ones(1)), [0.03, 0.05, 0.1], restarts=4,
        key=setting.key("search"), allowed=np.array([[False, True], [False, False]]),
        max_coupling=3.0, max_gain=100.0, progress=False,
    )  # fmt: skip
    best = linear_frontier.closed_form_frontier(
        np.maximum(found.dissipation, 0.0), temperature=temperature, input_variance=variance
    )
    return [
        exact("dissipation", rates, produced, tolerance=1e-9),
        exact("information", closed.information, informed, tolerance=1e-9),
        # the search ends where a step gains less than 1e-8
        exact("information found", best.information, found.information, tolerance=1e-6),
        # a gain of second order below 1e-8: a slope of first order below 1e-4
        exact("slope at the price", [0.03, 0.05, 0.1], _slope(found.dissipation, variance,
              temperature), tolerance=1e-4),
    ]  # fmt: skip


def _slope(rates: Floats, variance: float, temperature: float) -> Floats:
    """Return by how much information grows with dissipation on the closed form."""
    ratio = variance / temperature
    signal = ratio * (1 + rates) / (1 + rates / 2)
    return np.asarray(0.5 * ratio * 0.5 / (1 + rates / 2) ** 2 / (1 + signal))


def _circulation_model(moments: PathMoments) -> None:
    """State the Langevin model with all but the circulation known."""
    known = {
        "scale": jnp.ones(2),
        "correlation": jnp.eye(2),
        "diffusion": jnp.ones(2),
    }
    handlers.condition(bayesian.langevin_moments_model, known)(moments, mean=jnp.zeros(2))


def _moments(circulation: float, key: jax.Array) -> PathMoments:
    """Return those of a path of two units of unit temperature that circulate."""
    drift = np.array([[1.0, circulation], [-circulation, 1.0]])
    path = LinearLangevin(drift, 1.0).sample(key, n_steps=60, dt=0.3)
    return path_moments(0.3 * np.arange(61), path)


@jax.jit
def _log_joint(moments: PathMoments) -> jax.Array:
    """Return the log density at all circulations of the grid."""

    def at(value: jax.Array) -> jax.Array:
        density: jax.Array = log_density(
            _circulation_model, (moments,), {}, {"circulation": value[None]}
        )[0]
        return density

    return jax.lax.map(at, jnp.asarray(_GRID))


def circulation_by_nuts(setting: Setting) -> list[Row]:
    """Circulations drawn by NUTS have the moments of a grid, and of the joint normal law."""
    moments = _moments(0.7, setting.key("path"))
    logs = np.asarray(_log_joint(moments))
    mass = np.exp(logs - logs.max())
    mass /= mass.sum()
    n_draws = setting.draws(800, 8000)
    drawn = run_chains(
        NUTS(_circulation_model), setting.key("nuts"), moments, num_warmup=400, num_samples=n_draws
    )["circulation"][..., 0]  # fmt: skip
    rates = 2.0 * _GRID**2  # entropy production of two units that circulate
    return [
        *compare("E circulation", mass @ _GRID, drawn),
        *compare("E entropy production", mass @ rates, 2.0 * drawn**2),
    ]


def circulation_is_calibrated(setting: Setting) -> list[Row]:
    """Circulations in truth lie anywhere in their posteriors given paths simulated with them."""
    where, key = [], setting.key("calibration")
    for replica in range(setting.draws(60, 1000)):
        truth = float(np.random.default_rng([setting.seed, replica]).normal())
        logs = np.asarray(_log_joint(_moments(truth, jax.random.fold_in(key, replica))))
        mass = np.exp(logs - logs.max())
        below = np.cumsum(mass) - 0.5 * mass
        where.append(np.interp(truth, _GRID, below / mass.sum()))
    return [calibration("circulation", where)]
