"""Minima of the action of any network, over the Wishart matrices of its layers.

With ``W_l = C_l C_l^T`` of unit mean and ``Q`` put together from the factors ``C_l`` the action is

    sum_l (alpha_l / 2) [tr W_l - r_l - log det W_l]  +  misfit(Q)   (or - log p(Y | Q)),

a smooth function of the logarithms of the diagonals of ``C_l`` and of their entries below.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from inference.checks import Floats

from .coordinates import Network
from .given import given_mixing
from .theory import Architecture

_SCALES = (1.0, 0.1, 10.0, 100.0, 1000.0)  # of Q, from which the descents start
_MAX_COMBINATIONS = 32
_NEWTON_STEPS = 60
_HALVINGS = 30
_ROUNDING = 1e-12  # share of the action that its rounding may reach
_SINGULAR = 1e-12  # share of the largest curvature below which another is rounding
_SLOPE_TOLERANCE = 1e-9
_DIFFERENCE = 1e-3  # of coordinates that are logarithms
_SAME_POINT = 1e-6  # relative distance of mixing matrices within which two minima are one

Action = Callable[[jax.Array, Any, jax.Array], jax.Array]


class Minimum(NamedTuple):
    """A minimum of the action.

    ``coordinates (n,)``, ``action``, ``slope`` (largest entry of the gradient), the number of
    Newton steps, and the Hessian ``(n, n)``.
    """

    coordinates: Floats
    action: float
    slope: float
    n_steps: int
    hessian: Floats


@dataclasses.dataclass(frozen=True)
class Limit:
    """A network as its action sees it.

    Attributes
    ----------
    network
        The architecture, widened until every Wishart matrix is invertible.
    alphas
        What multiplies the action of each Wishart layer, from the outputs down.
    log_det
        Whether the log-determinant of the evidence belongs to the action.
    """

    network: Network
    alphas: tuple[float, ...]
    log_det: bool

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of every Wishart matrix, from the outputs down."""
        return tuple(rows for rows, _ in self.network.wisharts)

    @property
    def tolerance(self) -> float:
        """Largest slope that counts as zero where the action is of order one."""
        return _SLOPE_TOLERANCE * max(1.0, *self.alphas)


def limit_of(architecture: Any, size: float, *, log_det: bool) -> Limit:
    """Return the network with invertible Wishart matrices and its widths in units of ``size``."""
    network: Any = architecture
    factor = 1
    while any(width < rows for rows, width in network.wisharts):
        factor *= 2
        network = _widened(architecture, factor)
    alphas = tuple(width / (factor * size) for _, width in network.wisharts)
    return Limit(network, alphas, log_det)


def _widened(architecture: Any, factor: int) -> Any:
    if isinstance(architecture, Architecture):
        widths = tuple(factor * width for width in architecture.widths)
        return dataclasses.replace(architecture, widths=widths)
    return architecture.widened(factor)


def factors_of(coordinates: jax.Array, rows: Sequence[int]) -> list[jax.Array]:
    """Return the lower-triangular factor ``C``, ``(r, r)``, of every layer, outputs first."""
    factors, start = [], 0
    for size in rows:
        below = np.tril_indices(size, -1)
        diagonal = jnp.exp(coordinates[start : start + size])
        start += size
        factor = jnp.diag(diagonal).at[below].set(coordinates[start : start + below[0].size])
        factors.append(factor)
        start += below[0].size
    return factors


def coordinates_of(factors: Sequence[Floats]) -> Floats:
    """Return the coordinates ``(n,)`` of lower-triangular factors: the inverse of `factors_of`."""
    parts = []
    for factor in factors:
        parts += [np.log(np.diagonal(factor)), factor[np.tril_indices(len(factor), -1)]]
    return np.concatenate(parts)


def mixing_of(coordinates: jax.Array, limit: Limit) -> jax.Array:
    """Return the mixing matrix, ``(m, m)``."""
    root = limit.network.assemble(factors_of(coordinates, limit.rows))
    return root @ root.T


@lru_cache(maxsize=256)
def action_of(limit: Limit) -> Action:
    """Return ``action(coordinates, data, beta)``; cached: one program a network."""

    def action(x: jax.Array, data: Any, beta: jax.Array) -> jax.Array:
        given = given_mixing(data)
        mixing = mixing_of(x, limit)
        if limit.log_det:
            total = -given.log_evidence_smooth(mixing, data, beta)
        else:
            total = given.misfit(mixing, data, beta)
        for alpha, factor in zip(limit.alphas, factors_of(x, limit.rows)):
            log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(factor)))
            total += 0.5 * alpha * (jnp.sum(factor**2) - factor.shape[0] - log_det)
        return total

    return action


@partial(jax.jit, static_argnames="action")
def _slope(action: Action, x: jax.Array, args: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(action)(x, *args)


@partial(jax.jit, static_argnames="action")
def _curvature(
    action: Action, x: jax.Array, args: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    value, gradient = jax.value_and_grad(action)(x, *args)

    def row(direction: jax.Array) -> jax.Array:
        return jax.jvp(lambda y: jax.grad(action)(y, *args), (x,), (direction,))[1]

    # one row at a time: with 110 rows at once jax.hessian waits for ever in XLA's thread pool on
    # two cores (jax 0.10.1), and for fewer rows it is hardly faster
    return value, gradient, jax.lax.map(row, jnp.eye(x.size, dtype=x.dtype))


def minima(limit: Limit, starts: Sequence[Floats], args: tuple[Any, ...]) -> list[Minimum]:
    """Descend from every start and return the distinct minima, lowest first.

    Raises
    ------
    ValueError
        If the action is finite at no start.
    """
    action = action_of(limit)
    scale = max(1.0, *limit.alphas)

    def objective(x: Floats) -> tuple[float, Floats]:
        value, gradient = _slope(action, x, args)
        slope = np.asarray(gradient, float) / scale
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return np.inf, np.zeros_like(x)
        return float(value) / scale, slope

    found = []
    for start in starts:
        if not np.isfinite(objective(start)[0]):
            continue
        with np.errstate(all="ignore"):  # a step into the infinite is taken back, not reported
            descended = scipy.optimize.minimize(
                objective, start, jac=True, method="BFGS", options={"gtol": 1e-5, "maxiter": 500}
            )
        found.append(_polished(action, descended.x, args))
    if not found:
        raise ValueError("data: expected a finite action at one of the starts, got none")
    distinct: list[Minimum] = []
    seen: list[Floats] = []
    for minimum in sorted(found, key=lambda each: each.action):
        mixing = np.asarray(mixing_of(jnp.asarray(minimum.coordinates), limit))
        close = (np.abs(mixing - other).max() for other in seen)
        if any(distance <= _SAME_POINT * np.abs(mixing).max() for distance in close):
            continue
        distinct.append(minimum)
        seen.append(mixing)
    return distinct


def _polished(action: Action, x: Floats, args: tuple[Any, ...]) -> Minimum:
    """Newton steps along the absolute Hessian: downhill, then while they halve the slope."""

    def evaluate(at: Floats) -> tuple[float, Floats, Floats]:
        value, gradient, hessian = _curvature(action, at, args)
        return float(value), np.asarray(gradient, float), np.asarray(hessian, float)

    value, gradient, hessian = evaluate(x)
    n_steps = 0
    while n_steps < _NEWTON_STEPS:
        strengths, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
        floor = _SINGULAR * max(float(np.abs(strengths).max()), 1.0)
        step = -vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(strengths), floor))
        # where rounding hides the decrease that is left, the slope decides and no step is halved
        at_bottom = -float(gradient @ step) <= _ROUNDING * (1 + abs(value))
        for length in [1.0] if at_bottom else 0.5 ** np.arange(_HALVINGS):
            found = evaluate(x + length * step)
            slopes = np.abs(found[1]).max(), np.abs(gradient).max()
            if slopes[0] < 0.5 * slopes[1] if at_bottom else found[0] < value:
                break
        else:
            break
        n_steps += 1
        x, (value, gradient, hessian) = x + length * step, found
    return Minimum(x, value, float(np.abs(gradient).max()), n_steps, hessian)


def common_starts(limit: Limit) -> list[Floats]:
    """Return starts with multiples of the identity in every layer, over four decades of ``Q``."""
    n_layers = len(limit.rows)
    return [
        coordinates_of([scale ** (0.5 / n_layers) * np.eye(rows) for rows in limit.rows])
        for scale in _SCALES
    ]


def commuting_starts(
    limit: Limit, basis: Floats, choices: Sequence[Sequence[float]]
) -> list[Floats]:
    """Return starts whose layers commute: in each direction any of its own responses ``t``.

    Parameters
    ----------
    limit
        A fully connected network.
    basis
        Orthonormal directions of the outputs, ``(D, D)``, one a column.
    choices
        For each direction the responses at minima of the action of that direction alone.
    """
    starts = []
    for responses in itertools.islice(itertools.product(*choices), _MAX_COMBINATIONS):
        grown = [1 + np.array(responses) / alpha for alpha in limit.alphas]
        remaining = (basis * np.prod(grown, axis=0)) @ basis.T
        order = np.argsort(np.prod(grown, axis=0))
        factors = []
        for layer in grown:
            # what stands inside commutes with this layer in the frame that its root turned
            _, vectors = np.linalg.eigh(remaining)
            factor = np.linalg.cholesky((vectors * layer[order]) @ vectors.T)
            inner = np.linalg.solve(factor, remaining)
            remaining = np.linalg.solve(factor, inner.T)
            remaining = (remaining + remaining.T) / 2
            factors.append(factor)
        starts.append(coordinates_of(factors))
    return starts


class Fluctuations(NamedTuple):
    """Variance ``(m, m)`` of the entries of ``Q`` and the shift of their mean, both times ``N``."""

    variance: Floats
    shift: Floats


def fluctuations(limit: Limit, minimum: Minimum, args: tuple[Any, ...]) -> Fluctuations:
    """Return the Gaussian fluctuations around a minimum and the first correction of the mean.

    Notes
    -----
    Laplace's next order, ``Sigma (h' - (Sigma : A'')' / 2)`` in the coordinates, then in ``Q``.
    The third derivatives are differences of Hessians: compiling them takes seconds, and of a
    smooth function of logarithms the four-point rule loses nothing (1e-10).
    """
    action, x = action_of(limit), minimum.coordinates
    covariance = np.linalg.inv(minimum.hessian)
    covariance = (covariance + covariance.T) / 2

    def contracted(at: Floats) -> float:
        return float(np.sum(covariance * np.asarray(_curvature(action, at, args)[2])))

    tilt = np.empty_like(x)
    for i in range(x.size):
        step = _DIFFERENCE * np.eye(x.size)[i]
        near = contracted(x + step) - contracted(x - step)
        far = contracted(x + 2 * step) - contracted(x - 2 * step)
        tilt[i] = (8 * near - far) / (12 * _DIFFERENCE)
    pull, jacobian, second = (np.asarray(part) for part in _expansion(limit, x, args))
    mean = covariance @ (pull - tilt / 2)
    variance = np.einsum("...i,ij,...j->...", jacobian, covariance, jacobian)
    return Fluctuations(
        variance, jacobian @ mean + 0.5 * np.sum(second * covariance, axis=(-2, -1))
    )


@partial(jax.jit, static_argnames="limit")
def _expansion(
    limit: Limit, x: jax.Array, args: tuple[Any, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradient of ``h``, where ``exp(h)`` multiplies ``exp(-N A)``, and ``Q'`` and ``Q''``.

    ``h`` is what Bartlett's diagonal has besides the action, and the evidence's determinant.
    """
    data, beta = args
    given = given_mixing(data)

    def prefactor(y: jax.Array) -> jax.Array:
        total = jnp.zeros(())
        start = 0
        for size in limit.rows:
            total -= jnp.sum(jnp.arange(size) * y[start : start + size])
            start += size * (size + 1) // 2
        if not limit.log_det:
            mixing = mixing_of(y, limit)
            total += given.log_evidence_smooth(mixing, data, beta)
            total += given.misfit(mixing, data, beta)
        return total

    def mixing(y: jax.Array) -> jax.Array:
        return mixing_of(y, limit)

    return jax.grad(prefactor)(x), jax.jacfwd(mixing)(x), jax.hessian(mixing)(x)
