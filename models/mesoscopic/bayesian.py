"""Devices whose couplings are unknown, for the samplers of NumPyro, and what they dissipate.

Entropy production is a function of the parameters, so it has a posterior. What can be known of it
depends on the data: statistics of a single steady state show how likely states are, not which way
round they are visited. Time-lagged data do, and so do steady states under several known fields.
"""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from scipy import stats

from inference.checks import finite_array, positive
from inference.dynamics.markov import stationary_law
from inference.dynamics.ornstein_uhlenbeck import PathMoments, log_prob_of_moments, path_moments
from inference.pytrees import is_concrete
from inference.status import CavityWarning

from .spin_likelihood import SpinPathStatistics, spin_path_log_prob, spin_path_statistics
from .spins import MOST_DENSE, SpinSystem

MOST_SPINS = 8
"""Spins up to which the posterior of paths comes with that of the entropy production."""
_LEVEL = 0.01
"""Chance to see a correlation between successive points of a path that has none."""


class Paths(Protocol):
    """Fully observed paths of spins, such as `sample_paths` returns."""

    @property
    def times(self) -> Any:
        """``(n_chains, n_events)``."""

    @property
    def sites(self) -> Any:
        """``(n_chains, n_events)``, -1 behind the last flip."""

    @property
    def initial(self) -> Any:
        """``(n_chains, n)``."""

    @property
    def duration(self) -> Any:
        """A number or ``(n_chains,)``."""


def langevin_model(
    times: ArrayLike | None,
    path: ArrayLike,
    *,
    mean: ArrayLike | None = None,
    circulation_scale: float = 1.0,
) -> None:
    """Sample drift and diffusion of a linear Langevin system given time series of its units.

    Parameters
    ----------
    times
        ``(n_times,)``, increasing, evenly spaced or not. None: ``path`` are independent states,
        which say nothing of the currents.
    path
        ``(n_times, n)`` or ``(n_paths, n_times, n)``, of at least two units.
    mean
        ``(n,)``: known mean of the steady state; None samples it.
    circulation_scale
        Prior standard deviation of ``circulation``: how strong irreversible motion may be beside
        the reversible one.

    Raises
    ------
    PrecisionError, TypeError, ValueError
        As `path_moments`; or if there are fewer than two units.

    Warns
    -----
    CavityWarning
        If there are no time lags, or successive points are not correlated: the posterior of the
        currents is then their prior.

    Notes
    -----
    For ``MCMC(NUTS(langevin_model), ...)``, ``SVI`` and so on. The drift is ``A = (D + Q) C^-1``
    with a covariance ``C`` (sites ``scale`` and ``correlation``), a diagonal ``D`` (``diffusion``)
    and an antisymmetric ``Q = sqrt(D) R sqrt(D)`` (``circulation``, above the diagonal of ``R``):
    every draw is stable, and ``C`` is the covariance of its steady state. The priors of ``scale``
    and ``diffusion`` are log-normal, a factor of e wide, about what the data roughly show.
    Deterministic: ``covariance``, ``drift``, ``entropy_production``.
    """
    if times is None:
        _warn(
            "independent states of one steady state: they determine the covariance alone, the "
            "posterior of the entropy production is its prior; record when states are visited",
        )
        _langevin(_moments_of_states(path), mean, circulation_scale)
        return
    moments = path_moments(times, path)
    if is_concrete(moments) and _uncorrelated(moments):
        _warn(
            "successive points of the path are not correlated: the steps are longer than the "
            "memory of the system, and the posterior of the entropy production is its prior"
        )
    _langevin(moments, mean, circulation_scale)


def langevin_moments_model(
    moments: PathMoments, *, mean: ArrayLike | None = None, circulation_scale: float = 1.0
) -> None:
    """Sample as `langevin_model`, given the moments of a path.

    Parameters
    ----------
    moments
        From `path_moments`. They are arrays of few numbers: with ``MCMC(..., jit_model_args=True)``
        data sets whose steps have as many different lengths share one compiled program.
    mean, circulation_scale
        As for `langevin_model`.
    """
    _langevin(moments, mean, circulation_scale)


def _moments_of_states(path: ArrayLike) -> PathMoments:
    """Return the moments of first points that nothing follows."""
    states = jnp.asarray(finite_array("path", path, ndim=2), dtype=float)
    paths = path_moments(np.arange(2.0), jnp.stack([states, states], axis=1))
    no_steps = jax.tree_util.tree_map(jnp.zeros_like, paths[1:7])
    return paths._replace(**dict(zip(PathMoments._fields[1:7], no_steps)))


def _langevin(moments: PathMoments, mean: ArrayLike | None, circulation_scale: float) -> None:
    n = moments.reference.shape[0]
    if n < 2:
        raise ValueError("path: expected at least two units; one alone is always reversible")
    positive("circulation_scale", circulation_scale)
    n_points = moments.n_steps.sum() + moments.n_paths
    # rough: what is seen of the variance, and of the speed at which it is gained
    second = moments.start_start.sum(axis=0) + moments.first_first
    sd = jnp.sqrt(jnp.diagonal(second) / n_points)
    gained = jnp.diagonal(moments.step_step.sum(axis=0))
    elapsed = (moments.n_steps * moments.interval).sum()
    speed = jnp.where(gained > 0, 0.5 * gained / jnp.maximum(elapsed, 1.0 * (elapsed <= 0)), sd**2)

    scale = numpyro.sample("scale", dist.LogNormal(jnp.log(sd), 1.0).to_event(1))
    root = scale[:, None] * numpyro.sample("correlation", dist.LKJCholesky(n))
    noise = numpyro.sample("diffusion", dist.LogNormal(jnp.log(speed), 1.0).to_event(1))
    pairs = n * (n - 1) // 2
    prior = dist.Normal(0.0, circulation_scale).expand([pairs]).to_event(1)
    upper = jnp.zeros((n, n)).at[np.triu_indices(n, 1)].set(numpyro.sample("circulation", prior))
    current = jnp.sqrt(noise[:, None] * noise) * (upper - upper.T)
    if mean is None:
        about = dist.Normal(moments.reference, 3.0 * sd).to_event(1)
        mean = numpyro.sample("mean", about)
    covariance = numpyro.deterministic("covariance", root @ root.T)
    moved = jnp.diag(noise) + current
    drift = jax.scipy.linalg.cho_solve((root, True), moved.T).T
    drift = numpyro.deterministic("drift", drift)
    force = jax.scipy.linalg.solve_triangular(root, current, lower=True)
    numpyro.deterministic("entropy_production", (force**2 / noise).sum())
    numpyro.factor("log_likelihood", log_prob_of_moments(moments, drift, covariance, mean))


def spin_counts_model(
    counts: ArrayLike,
    fields: ArrayLike | None = None,
    *,
    beta: float = 1.0,
    coupling_scale: float = 1.0,
) -> None:
    """Sample the couplings of spins given how often states were seen in steady states.

    Parameters
    ----------
    counts
        ``(n_fields, 2**n)``: number of independent observations of each state under each field; bit
        ``i`` of the number of a state is set where ``s_i = +1``.
    fields
        ``(n_fields, n)`` known fields; None is zero.
    beta
        Inverse temperature.
    coupling_scale
        Prior standard deviation of every coupling.

    Raises
    ------
    PrecisionError, TypeError, ValueError
        If JAX runs in single precision, shapes disagree, or counts are no counts.

    Warns
    -----
    CavityWarning
        If there are not two fields that differ by more than their sign. Without fields half of all
        directions in the space of couplings have no effect at all; under a single field they have a
        small one.

    Notes
    -----
    Sites ``coupling`` (``n (n - 1)`` numbers, row by row without the diagonal) and the observed
    ``counts``; deterministic ``couplings`` ``(n, n)``, ``entropy_production`` ``(n_fields,)``.
    Steady states are exact: up to 11 spins, in practice 6.

    The posterior may have modes of large couplings that are lower by thousands of nats and still
    hold a chain: begin at ``NUTS(..., init_strategy=init_to_value(values={"coupling": zeros}))``.
    """
    seen = jnp.asarray(counts) if not is_concrete(counts) else jnp.asarray(_counts(counts))
    n = int(seen.shape[1]).bit_length() - 1
    outer = jnp.zeros((len(seen), n)) if fields is None else jnp.asarray(fields, dtype=float)
    if outer.shape != (len(seen), n):
        raise ValueError(
            f"fields: expected shape ({len(seen)}, {n}) for these counts, got {outer.shape}"
        )
    if is_concrete(outer):
        _warn_if_few_fields(finite_array("fields", np.asarray(outer), ndim=2))
    matrix = _couplings(n, coupling_scale)

    def laws(field: jax.Array) -> tuple[jax.Array, jax.Array]:
        system = SpinSystem(matrix, bias=field, beta=jnp.asarray(beta, dtype=float))
        law = stationary_law(system.generator())
        return law, system.entropy_production(method="dense")

    law, rates = jax.vmap(laws)(outer)
    numpyro.deterministic("entropy_production", rates)
    total = seen.sum(axis=1)
    safe = jnp.maximum(law, float(np.finfo(np.float64).tiny))
    numpyro.sample("counts", dist.Multinomial(total, probs=safe), obs=seen)


def spin_paths_model(
    paths: Paths | SpinPathStatistics,
    fields: ArrayLike | None = None,
    *,
    beta: float = 1.0,
    coupling_scale: float = 1.0,
    bias_scale: float | None = None,
) -> None:
    """Sample the couplings of spins given every flip of some chains.

    Parameters
    ----------
    paths
        Of `sample_paths`, or anything with its ``times``, ``sites``, ``initial`` and ``duration``;
        or what `spin_path_statistics` makes of them, which saves doing so again.
    fields
        ``(n,)`` or ``(n_chains, n)`` known fields; None is zero (or those of the statistics).
    beta
        Inverse temperature.
    coupling_scale
        Prior standard deviation of every coupling.
    bias_scale
        Prior standard deviation of unknown fields ``bias`` ``(n,)`` that add to the known ones;
        None: there are none.

    Raises
    ------
    PrecisionError, TypeError, ValueError
        As `spin_path_statistics`; or if fields are given twice.

    Notes
    -----
    Sites ``coupling`` (``n (n - 1)`` numbers, row by row without the diagonal) and ``bias``, factor
    ``log_likelihood``; deterministic ``couplings`` ``(n, n)`` and, up to 8 spins,
    ``entropy_production`` ``(k,)`` of the steady state under each different field.
    """
    if isinstance(paths, SpinPathStatistics):
        if fields is not None:
            raise ValueError("fields: expected None, the statistics hold them")
        statistics = paths
    else:
        statistics = spin_path_statistics(
            paths.times, paths.sites, paths.initial, paths.duration, fields
        )
    n = statistics.states.shape[1]
    matrix = _couplings(n, coupling_scale)
    bias = jnp.zeros(n)
    if bias_scale is not None:
        prior = dist.Normal(0.0, positive("bias_scale", bias_scale)).expand([n]).to_event(1)
        bias = numpyro.sample("bias", prior)
    if n <= MOST_SPINS:

        def rate(field: jax.Array) -> jax.Array:
            system = SpinSystem(matrix, bias=field, beta=jnp.asarray(beta, dtype=float))
            return system.entropy_production(method="dense")

        numpyro.deterministic("entropy_production", jax.lax.map(rate, statistics.fields + bias))
    numpyro.factor("log_likelihood", spin_path_log_prob(statistics, matrix, bias, beta))


def _couplings(n: int, scale: float) -> jax.Array:
    """Sample all entries off the diagonal."""
    prior = dist.Normal(0.0, positive("coupling_scale", scale)).expand([n * (n - 1)]).to_event(1)
    free = numpyro.sample("coupling", prior)
    off = np.nonzero(~np.eye(n, dtype=bool))
    return numpyro.deterministic("couplings", jnp.zeros((n, n)).at[off].set(free))


def _counts(counts: ArrayLike) -> Any:
    table = finite_array("counts", counts, ndim=2)
    n_states = table.shape[1]
    if n_states & (n_states - 1) or not 4 <= n_states <= 2**MOST_DENSE:
        raise ValueError(
            f"counts: expected 2**n columns for n from 2 to {MOST_DENSE} spins, got {n_states}"
        )
    if (table < 0).any() or (table != table.round()).any():
        raise ValueError("counts: expected whole numbers of at least 0")
    return table.astype(np.int64)


def _warn_if_few_fields(fields: Any) -> None:
    if not fields.any():
        _warn(
            "counts without fields determine only half of the couplings: the posterior of the "
            "entropy production is largely its prior; apply several known fields"
        )
        return
    same = [np.array_equal(field, fields[0]) or np.array_equal(field, -fields[0])
            for field in fields]  # fmt: skip
    if all(same):
        _warn(
            "counts under a single field say little of the irreversible part of the couplings; "
            "apply several known fields that differ by more than their sign"
        )


def _uncorrelated(moments: PathMoments) -> bool:
    """Return whether points and their successors look independent: the chi squared test."""
    counts, starts = np.asarray(moments.n_steps), np.asarray(moments.start_sum)
    means = starts / counts[:, None]
    spread = moments.start_start - counts[:, None, None] * means[:, :, None] * means[:, None]
    lagged = moments.step_start - moments.step_sum[:, :, None] * means[:, None] + spread
    covariance = np.asarray(spread).sum(axis=0) / counts.sum()
    n = len(covariance)
    if counts.sum() <= 2 * n or np.linalg.matrix_rank(covariance) < n:
        return True
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    statistic = sum(
        ((white @ one @ white.T) ** 2).sum() / count for one, count in zip(lagged, counts)
    )
    return bool(stats.chi2.sf(statistic, len(counts) * n**2) > _LEVEL)


def _warn(sentence: str) -> None:
    warnings.warn(sentence, CavityWarning, stacklevel=3)
