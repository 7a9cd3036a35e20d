"""Evidence of one data set under many networks and noise levels, sharing all that can be shared.

One output: prior and likelihood of ``x = log q`` are tabulated apart, so that a new noise level
costs no new prior and a new width no new program. Several outputs: Laplace importance sampling
whose widths are arguments of the compiled program, which depends on the depth alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from inference.checks import Floats
from inference.importance import find_modes, importance_sample, laplace_mixture
from inference.status import Status

from .compression import CompressedData
from .conditional import log_evidence_cholesky, log_evidence_given_mixing
from .coordinates import MixingCoordinates, layout
from .predictive import PosteriorResult
from .theory import Architecture, log_mixing_density

_CUTOFF = 38.0  # nats below the peak beyond which there is no mass: 3e-17 of it
_SCAN = 128  # points of a look at the whole window; also what one compiled call evaluates
_MAX_POINTS = 1 << 14
_MAX_LOOKS = 60
_TOLERANCE = 1e-9  # change under a halving of the spacing: the error is its square
_N_DRAWS = 20_000

LogCurves = Callable[[Floats], Floats]


class Evidence(NamedTuple):
    """Evidence of one network at one noise level, and the weighted mixing matrices behind it.

    Attributes
    ----------
    log_evidence, log_evidence_error
        Nats; the error is 0 where nothing was sampled.
    status, method
        As in `PosteriorResult`.
    mixing, log_weights
        ``(n, D, D)`` and normalised ``(n,)``.
    """

    log_evidence: float
    log_evidence_error: float
    status: Status
    method: str
    mixing: Floats
    log_weights: Floats


def from_posterior(result: PosteriorResult) -> Evidence:
    """Return the evidence part of a posterior; without an evidence (NUTS) it is NaN."""
    value, error = result.log_evidence, result.log_evidence_error
    return Evidence(
        math.nan if value is None else value,
        math.nan if error is None else error,
        result.status,
        result.method,
        *heaviest(np.asarray(result.nodes.mixing), np.asarray(result.nodes.log_weights)),
    )


def heaviest(mixing: Floats, log_weights: Floats) -> tuple[Floats, Floats]:
    """Drop mixing matrices that together weigh less than rounding."""
    kept = log_weights > log_weights.max() - _CUTOFF
    return mixing[kept], log_weights[kept] - logsumexp(log_weights[kept])


def log_likelihood_curves(data: CompressedData, q: Floats, betas: Floats) -> Floats:
    """Return ``log p(Y | Q = q I)``, ``(n_betas, n)``, for scales ``q (n,)``.

    Notes
    -----
    The formula of `log_evidence_given_mixing`, all betas finite. With ``Q`` a multiple of the
    identity the outputs enter through the sum of their squares alone.
    """
    eigenvalues = np.asarray(data.eigenvalues)
    squares = np.sum(np.asarray(data.targets) ** 2, axis=0)
    n_null = data.n_outputs * (data.n_samples - data.rank)
    constant = -0.5 * data.n_outputs * data.n_samples * math.log(2 * math.pi)
    curves = np.empty((len(betas), len(q)))
    for row, beta in enumerate(betas):
        scale = np.multiply.outer(q, eigenvalues) + 1.0 / beta
        curves[row] = -0.5 * (
            data.n_outputs * np.sum(np.log(scale), axis=1) + (1.0 / scale) @ squares
        )
        if n_null:
            curves[row] += 0.5 * n_null * math.log(beta) - 0.5 * beta * float(data.residual)
    return curves + constant


def constant_evidences(
    data: CompressedData, architecture: Architecture, betas: Floats
) -> list[Evidence]:
    """Return the evidences of a network without hidden layers: ``Q`` is the identity."""
    scale = np.array([architecture.mean_mixing])
    values = log_likelihood_curves(data, scale, betas)[:, 0]
    mixing = architecture.mean_mixing * np.eye(architecture.n_outputs)[None]
    return [
        Evidence(float(value), 0.0, Status.CONVERGED, "quadrature", mixing, np.zeros(1))
        for value in values
    ]


# --- one output ----------------------------------------------------------------------------------


def scalar_evidences(
    data: CompressedData, architecture: Architecture, betas: Floats
) -> list[Evidence | None]:
    """Return the evidences of a network of one output by the trapezoid rule in ``x = log q``.

    Parameters
    ----------
    data
        One output, from `compress`; test points play no part.
    architecture
        At least one hidden layer.
    betas
        Finite noise precisions, ``(n_betas,)``.

    Returns
    -------
    list
        One entry a noise level; None where one lattice for all of them does not converge (then
        `posterior` must find its own).

    Notes
    -----
    The integrand is analytic and dies off at both ends, so halving the spacing squares the error.
    """

    def log_joint(x: Floats) -> Floats:
        return _log_prior(architecture, x) + log_likelihood_curves(data, np.exp(x), betas)

    window = _window(log_joint, *_first_window(data, architecture, betas))
    if window is None:
        return [None] * len(betas)
    low, high = window
    n = _SCAN
    points = np.linspace(low, high, n + 1)
    values = log_joint(points)
    totals = _log_integral(values, points)
    change = np.full(len(betas), np.inf)
    settled = np.zeros(len(betas), bool)
    while not settled.all() and 2 * n <= _MAX_POINTS:
        middle = (points[1:] + points[:-1]) / 2
        values = _interleaved(values, log_joint(middle))
        points = _interleaved(points[None], middle[None])[0]
        n = 2 * n
        refined = _log_integral(values, points)
        change, totals = np.abs(refined - totals), refined
        settled = change <= np.maximum(_TOLERANCE, 8 * np.finfo(float).eps * np.abs(refined))
    spacing = math.log(points[1] - points[0])
    mixing = np.exp(points)[:, None, None]
    return [
        Evidence(
            float(total), 0.0, Status.CONVERGED, "quadrature",
            *heaviest(mixing, row + spacing - total),
        )
        if good
        else None
        for total, row, good in zip(totals, values, settled)
    ]  # fmt: skip


def _log_prior(architecture: Architecture, x: Floats) -> Floats:
    """Evaluate the prior in parts of one shape: one compiled program a depth."""
    n_parts = -(-len(x) // _SCAN)
    padded = np.pad(x, (0, n_parts * _SCAN - len(x)), mode="edge")
    parts = [
        np.asarray(log_mixing_density(architecture, jnp.asarray(part)))
        for part in np.split(padded, n_parts)
    ]
    return np.concatenate(parts)[: len(x)]


def _first_window(
    data: CompressedData, architecture: Architecture, betas: Floats
) -> tuple[float, float]:
    """Return ends between which prior, signal and noise put their scales of ``log q``."""
    eigenvalues, targets = np.asarray(data.eigenvalues), np.asarray(data.targets[0])
    prior = math.log(architecture.mean_mixing)
    signal = math.log(float(np.mean(targets**2 / eigenvalues)) + 1e-300)
    noise = -math.log(float(betas.max()) * float(eigenvalues[0]))
    return min(prior, *(max(x, prior - 40.0) for x in (signal, noise))) - 10.0, max(
        prior, signal
    ) + 10.0


def _window(log_joint: LogCurves, low: float, high: float) -> tuple[float, float] | None:
    """Grow or shrink a window until it just holds the mass of every curve."""
    for _ in range(_MAX_LOOKS):
        points = np.linspace(low, high, _SCAN)
        values = log_joint(points)
        if not np.isfinite(values).any(axis=1).all():
            return None
        values = np.where(np.isnan(values), -np.inf, values)
        live = np.flatnonzero(
            (values + _hidden_rise(values) > values.max(axis=1, keepdims=True) - _CUTOFF).any(0)
        )
        span = high - low
        if live[0] == 0 or live[-1] == _SCAN - 1:
            low -= span / 2 if live[0] == 0 else 0.0
            high += span / 2 if live[-1] == _SCAN - 1 else 0.0
            continue
        low, high = float(points[live[0] - 1]), float(points[live[-1] + 1])
        if high - low > span / 2:
            return low, high
    return None


def _hidden_rise(values: Floats) -> Floats:
    """Bound how far a maximum between points may stand above the points that show it."""
    rise = np.zeros_like(values)
    center = values[:, 1:-1]
    with np.errstate(invalid="ignore"):
        bend = 2 * center - values[:, :-2] - values[:, 2:]
    peaks = (center >= values[:, :-2]) & (center >= values[:, 2:])
    rise[:, 1:-1] = np.where(peaks & np.isfinite(bend), bend / 4, 0.0)
    return rise


def _log_integral(values: Floats, points: Floats) -> Floats:
    return np.asarray(logsumexp(values, axis=1) + math.log(points[1] - points[0]))


def _interleaved(outer: Floats, inner: Floats) -> Floats:
    merged = np.empty((outer.shape[0], outer.shape[1] + inner.shape[1]))
    merged[:, ::2], merged[:, 1::2] = outer, inner
    return merged


# --- several outputs -----------------------------------------------------------------------------


class _Law(NamedTuple):
    """What the prior of the coordinates takes from the widths, as arrays."""

    degrees: jax.Array  # one a coordinate, 1 for an off-diagonal entry
    scales: jax.Array  # one over the root of the width, one a coordinate
    mean_mixing: jax.Array


def shares_programs(architecture: Architecture) -> bool:
    """Whether `laplace_evidence` fits: no layer narrower than the outputs."""
    return bool(architecture.widths) and architecture.full_rank


def laplace_evidence(
    data: CompressedData, architecture: Architecture, beta: float, key: jax.Array
) -> Evidence:
    """Return the evidence by importance sampling around the modes, as ``method="laplace"``.

    Parameters
    ----------
    data
        From `compress`; test points play no part.
    architecture
        One for which `shares_programs` holds.
    beta
        Finite noise precision.
    key
        A typed key.

    Returns
    -------
    Evidence
    """
    plan = layout(architecture)
    widths = np.repeat([1.0 / scale**2 for _, _, scale in plan.shapes], np.diff(plan.splits))
    law = _Law(
        jnp.asarray(np.where(plan.degrees > 0, plan.degrees, 1.0)),
        jnp.asarray(1.0 / np.sqrt(widths)),
        jnp.asarray(architecture.mean_mixing),
    )
    depth, n_outputs = len(architecture.widths), architecture.n_outputs
    args = (data.training_part, beta, law)
    unit = np.sqrt(2 * plan.degrees) * 0.5 / depth
    starts = [unit * math.log(factor) for factor in (1.0, 0.1, 10.0, 100.0, 0.01)]
    modes = find_modes(
        _joint(depth, n_outputs, False),
        np.array(starts),
        args=args,
        hessian_of=_joint(depth, n_outputs, True),
    )
    found = importance_sample(
        _joint(depth, n_outputs, False),
        laplace_mixture(modes),
        key=key,
        n_draws=_N_DRAWS,
        args=args,
    )
    normaliser = float(
        MixingCoordinates(architecture).log_prob(jnp.zeros(plan.size))
    )  # of the prior: at the origin its other terms vanish
    mixing = _mixing_of(found.draws, law, depth, n_outputs)
    return Evidence(
        found.log_evidence + normaliser,
        found.log_evidence_error,
        found.status,
        "laplace",
        *heaviest(np.asarray(mixing), np.asarray(found.log_weights)),
    )


@lru_cache(maxsize=64)
def _joint(depth: int, n_outputs: int, smooth: bool) -> Callable[..., jax.Array]:
    """Return ``log_joint(x, data, beta, law)`` up to the prior's normaliser; one a depth."""
    diagonal = _diagonal(depth, n_outputs)
    evidence = log_evidence_cholesky if smooth else log_evidence_given_mixing

    def log_joint(x: jax.Array, data: CompressedData, beta: Any, law: _Law) -> jax.Array:
        delta = jnp.where(diagonal, x, 0.0) / jnp.sqrt(2 * law.degrees)
        log_chi = -0.5 * law.degrees * (jnp.expm1(2 * delta) - 2 * delta)
        prior = jnp.sum(jnp.where(diagonal, log_chi, -0.5 * x**2))
        return prior + evidence(_mixing(x, law, depth, n_outputs), data, beta)

    return log_joint


@lru_cache(maxsize=64)
def _entries(n_outputs: int) -> tuple[Any, Any]:
    """Rows and columns of one factor's coordinates, the diagonal first (as in `layout`)."""
    plan = layout(Architecture((n_outputs,), n_outputs))
    return plan.rows, plan.columns


def _diagonal(depth: int, n_outputs: int) -> Any:
    rows, columns = _entries(n_outputs)
    return np.tile(rows == columns, depth)


def _mixing(x: jax.Array, law: _Law, depth: int, n_outputs: int) -> jax.Array:
    diagonal = _diagonal(depth, n_outputs)
    growth = jnp.exp(jnp.where(diagonal, x, 0.0) / jnp.sqrt(2 * law.degrees))
    entries = jnp.where(diagonal, jnp.sqrt(law.degrees) * growth, x) * law.scales
    rows, columns = _entries(n_outputs)
    product = jnp.eye(n_outputs)
    for layer in entries.reshape(depth, -1):
        product = product @ jnp.zeros((n_outputs, n_outputs)).at[rows, columns].set(layer)
    return law.mean_mixing * (product @ product.T)


def _mixing_of(draws: jax.Array, law: _Law, depth: int, n_outputs: int) -> jax.Array:
    return _mixing_batch(depth, n_outputs)(draws, law)


@lru_cache(maxsize=64)
def _mixing_batch(depth: int, n_outputs: int) -> Callable[..., jax.Array]:
    return jax.jit(jax.vmap(lambda x, law: _mixing(x, law, depth, n_outputs), in_axes=(0, None)))
