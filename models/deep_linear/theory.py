"""Closed forms: the architecture, moments of its mixing matrix, the exact density for one output.

Notation of arXiv 2406.03260: ``S | Q ~ N(0, Q (x) K)``; the kernel ``K = X X^T / (lambda_0 N_0)``
holds the first precision, and ``Q``, a nested product of Wishart matrices, holds all others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import digamma, gammaln, polygamma

from inference.checks import Floats, positive, positive_int
from inference.precision import require_x64


@dataclass(frozen=True)
class Architecture:
    """A fully connected deep linear network with independent Gaussian weights.

    ``h_0 = x``, ``h_{l+1} = W_l h_l / sqrt(N_l)``, ``f(x) = h_{L+1}``; ``W_l`` has shape
    ``(N_{l+1}, N_l)`` and entries ``N(0, 1 / lambda_l)``; ``h_1`` may carry a bias.

    Parameters
    ----------
    widths
        Hidden widths ``(N_1, ..., N_L)``, each at least 1. Empty: Bayesian linear regression.
    n_outputs
        Number of outputs ``D``.
    precisions
        Weight precisions ``(lambda_0, ..., lambda_L)``; one number sets all of them.
    bias_scale
        Prior standard deviation ``sigma_0 >= 0`` of biases after the first weight matrix, which
        add ``sigma_0^2`` to every entry of the kernel; one layer later they would not factorise.

    Raises
    ------
    TypeError, ValueError
        If a width is not a positive integer, there are not ``L + 1`` positive precisions, or
        ``bias_scale`` is not one finite number of at least 0.

    Examples
    --------
    >>> Architecture((10, 10), n_outputs=3).precisions
    (1.0, 1.0, 1.0)
    """

    widths: tuple[int, ...]
    n_outputs: int = 1
    precisions: Any = 1.0
    bias_scale: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.widths, Iterable):
            raise ValueError(
                f"widths: expected a tuple of integers, got {self.widths!r}; one layer is (n,)"
            )
        widths = tuple(positive_int(f"widths[{i}]", n) for i, n in enumerate(self.widths))
        precisions = checked_precisions(self.precisions, len(widths))
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "n_outputs", positive_int("n_outputs", self.n_outputs))
        object.__setattr__(self, "precisions", precisions)
        object.__setattr__(self, "bias_scale", _checked_bias_scale(self.bias_scale))

    @property
    def mean_mixing(self) -> float:
        """``E Q = I / (lambda_1 ... lambda_L)``: the factor of the identity."""
        return 1.0 / math.prod(self.precisions[1:])

    @property
    def mean_matrix(self) -> Floats:
        """``E Q``, ``(D, D)``: the mixing matrix of infinitely wide layers."""
        return self.mean_mixing * np.eye(self.n_outputs)

    def widened(self, factor: int) -> Architecture:
        """Return the same network with every hidden layer ``factor`` times as wide."""
        return replace(self, widths=tuple(factor * width for width in self.widths))

    @property
    def wisharts(self) -> tuple[tuple[int, int], ...]:
        """``(rows, width)`` of every Wishart layer, from the outputs down.

        A layer narrower than its rows leaves only as many rows to the layers below it.
        """
        shapes = []
        rows = self.n_outputs
        for width in reversed(self.widths):
            shapes.append((rows, width))
            rows = min(rows, width)
        return tuple(shapes)

    def assemble(self, factors: Sequence[jax.Array]) -> jax.Array:
        """Return ``A``, ``(..., D, k)``, ``Q = A A^T``, from a unit-mean factor of each Wishart."""
        if not factors:
            return jnp.eye(self.n_outputs)
        product = factors[0]
        for factor in factors[1:]:
            product = product @ factor
        return product * math.sqrt(self.mean_mixing)

    @property
    def full_rank(self) -> bool:
        """Whether ``Q`` is almost surely invertible: no hidden layer narrower than the outputs."""
        return all(width >= self.n_outputs for width in self.widths)

    def mixing_moments(self) -> tuple[float, float]:
        """Return ``(u, v)`` with ``E[Q_ab Q_cd] = u d_ab d_cd + v (d_ac d_bd + d_ad d_bc)``.

        Every Wishart layer of width ``N`` maps ``(u, v)`` to ``(u + 2v/N, v + (u + v)/N)``.

        Examples
        --------
        >>> u, v = Architecture((4, 3), n_outputs=2).mixing_moments()
        >>> round(u, 6), round(v, 6)
        (1.166667, 0.666667)
        """
        u, v = 1.0, 0.0
        for width in self.widths:
            u, v = u + 2 * v / width, v + (u + v) / width
        return u * self.mean_mixing**2, v * self.mean_mixing**2


def checked_precisions(given: Any, n_hidden: int) -> tuple[float, ...]:
    """Return ``n_hidden + 1`` weight precisions; one number sets all of them.

    Raises
    ------
    TypeError, ValueError
        If there is another number of them, or one is not positive.
    """
    # an array without axes is iterable to Python, but one number
    several = isinstance(given, Iterable) and getattr(given, "ndim", 1) > 0
    values = list(given) if several else [given] * (n_hidden + 1)
    if len(values) != n_hidden + 1:
        raise ValueError(
            f"precisions: expected one number or {n_hidden + 1} (lambda_0..lambda_{n_hidden} "
            f"for {n_hidden} hidden layers), got {len(values)}"
        )
    return tuple(positive(f"precisions[{i}]", v) for i, v in enumerate(values))


def _checked_bias_scale(value: Any) -> float:
    if np.ndim(value):
        raise ValueError(
            f"bias_scale: expected one number, the sigma_0 of the first layer, got {value!r}; "
            "biases of later layers break the form Q (x) K and are not supported"
        )
    return 0.0 if value == 0 else positive("bias_scale", value)


def log_mixing_density(architecture: Architecture, log_q: jax.Array) -> jax.Array:
    """Return the exact prior log-density of ``x = log q`` for one output.

    Parameters
    ----------
    architecture
        With ``n_outputs=1`` and at least one hidden layer.
    log_q
        Points ``x`` of any shape.

    Returns
    -------
    Array
        ``log p(x)`` of the same shape: nats, with respect to ``dx``. Relative accuracy of ``p``
        about ``1e-12`` in the bulk and in both tails. Differentiable, jittable, vmappable.

    Raises
    ------
    PrecisionError
        In single precision.
    ValueError
        For several outputs, or without a hidden layer (then ``q`` is the constant 1).

    Notes
    -----
    ``q`` is a product of independent Gammas of shape ``N_l / 2`` and rate ``N_l lambda_l / 2``, so
    ``p(x) = G^{L,0}_{0,L}(b e^x | N_1/2, ..., N_L/2) / prod Gamma(N_l/2)`` (Meijer G) with
    ``b = prod N_l lambda_l / 2``. See `log_product_density`. Cost O(64 L) a point.

    Examples
    --------
    >>> x = jnp.array([-2.0, 0.0])
    >>> log_mixing_density(Architecture((4, 7), precisions=(1, 1, 2)), x).round(6)
    Array([-1.474055, -1.388855], dtype=float64)
    """
    require_x64("the density of the mixing factor")
    if architecture.n_outputs != 1:
        raise ValueError(
            f"architecture: expected n_outputs=1, got {architecture.n_outputs}; "
            "the mixing matrix of several outputs has no closed density"
        )
    if not architecture.widths:
        raise ValueError("architecture: without hidden layers q = 1 and has no density")
    log_ratio = jnp.asarray(log_q, float) - math.log(architecture.mean_mixing)
    return log_product_density(log_ratio, half_widths(architecture))


def half_widths(architecture: Architecture) -> jax.Array:
    """Return the Gamma shapes ``N_l / 2``, shape ``(L,)``."""
    return jnp.asarray(np.array(architecture.widths) / 2.0)


# --- the log-density of a product of Gamma variables ---------------------------------------------

# A contour of 64 nodes that starts at the saddle point and bends to the left around the poles.
# In units of the saddle's width the spacing 0.2 leaves a trapezoid error of exp(-2 pi^2 / 0.2^2)
# and the range 12.6 a truncation below 1e-17 at every shape, so neither is ever adapted.
_CONTOUR_SPACING = 0.2
_CONTOUR_NODES = 64
_CONTOUR_BEND = 0.25
_RESOLVED_EXPONENT = 1e11  # beyond it the density is zero, and its logarithm good to 1e-5 nats
_STIRLING_SHIFT = 8  # arguments are raised by this much before the asymptotic series is used
_STIRLING_SERIES = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400,
    43867 / 244188,
)  # fmt: skip


@jax.jit
def log_product_density(log_ratio: jax.Array, shapes: jax.Array) -> jax.Array:
    """Return the log-density of ``x = log prod_l g_l``, ``g_l ~ Gamma(shapes[l])`` of unit mean.

    Parameters
    ----------
    log_ratio
        Points ``x``, any shape.
    shapes
        Gamma shapes ``a_l > 0``, shape ``(L,)``.

    Returns
    -------
    Array
        Log-density at every point, shape of ``log_ratio``.

    Notes
    -----
    Mellin inversion ``p(x) = (1/2 pi i) int exp(F(s)) ds`` with
    ``F(s) = sum_l [log Gamma(a_l + s) - log Gamma(a_l) - s log a_l] - s x``. The contour is the
    parabola ``s = c + z (i t - t^2/4)`` through the saddle ``F'(c) = 0`` with ``z = c + min a``,
    which keeps its distance from the poles at ``-a_l - k``: there is no cancellation, hence
    relative accuracy in both tails. Differences of log-Gammas are formed before any large number
    is, so widths of a million lose nothing. The value does not depend on ``c``: no gradient
    flows through it.
    """
    no_mass = jnp.isinf(log_ratio)  # at plus and minus infinity the density is zero
    log_ratio = jnp.where(no_mass, 0.0, log_ratio)
    smallest = jnp.min(shapes)
    offsets = shapes - smallest
    shifted = shapes + _STIRLING_SHIFT
    # log_ratio + sum log a_l = sum psi(a_l + c) at the saddle c
    target = jax.lax.stop_gradient(log_ratio + jnp.sum(jnp.log(shapes)))
    radius = _saddle_radius(target, offsets)
    width = 1.0 / (radius * jnp.sqrt(jnp.sum(polygamma(1, radius[..., None] + offsets), -1)))

    t = width[..., None] * (_CONTOUR_SPACING * jnp.arange(_CONTOUR_NODES))
    saddle = (radius - smallest)[..., None]
    contour = saddle + radius[..., None] * (1j * t - _CONTOUR_BEND * t**2)
    slope = (log_ratio + jnp.sum(jnp.log1p(-_STIRLING_SHIFT / shifted)))[..., None]

    def exponent(s: jax.Array) -> jax.Array:
        return jnp.sum(_log_gamma_increment(shapes, s[..., None]), -1) - s * slope

    peak = exponent(saddle + 0j).real
    integrand = jnp.exp(exponent(contour) - peak) * (1 + 2j * _CONTOUR_BEND * t)
    total = jnp.sum(integrand.real, -1) - 0.5 * integrand.real[..., 0]
    # where rounding of the exponent drowns the integrand, its Gaussian shape is all there is
    resolved = jnp.abs(peak[..., 0]) < _RESOLVED_EXPONENT
    total = jnp.where(resolved, total, math.sqrt(math.pi / 2) / _CONTOUR_SPACING)
    value = peak[..., 0] + jnp.log(total * width * radius * (_CONTOUR_SPACING / jnp.pi))
    return jnp.where(no_mass, -jnp.inf, value)


def _saddle_radius(target: jax.Array, offsets: jax.Array) -> jax.Array:
    """Solve ``sum_l psi(z + offsets[l]) = target`` for ``z > 0`` by bisection in ``log z``."""

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = 0.5 * (low + high)
        below = jnp.sum(digamma(jnp.exp(middle)[..., None] + offsets), -1) < target
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    bracket = (jnp.full_like(target, -60.0), jnp.full_like(target, 60.0))
    low, high = jax.lax.fori_loop(0, 50, halve, bracket)
    return jnp.exp(0.5 * (low + high))


def _log_gamma_increment(a: jax.Array, s: jax.Array) -> jax.Array:
    """``log Gamma(a + s) - log Gamma(a) - s log(a + shift)``, complex, up to ``2 pi i``."""
    base = a + _STIRLING_SHIFT
    w = s / base
    log_growth = _complex_log1p(w)
    series = base * ((1 + w) * log_growth - w) - 0.5 * log_growth
    lowered = jnp.prod(1 + s[..., None] / (a[..., None] + jnp.arange(_STIRLING_SHIFT)), -1)
    return series + stirling_remainder(base + s) - stirling_remainder(base) - jnp.log(lowered)


def _complex_log1p(w: jax.Array) -> jax.Array:
    """``log(1 + w)`` whose real part stays accurate for small ``w``."""
    modulus = 0.5 * jnp.log1p(2 * w.real + w.real**2 + w.imag**2)
    return modulus + 1j * jnp.arctan2(w.imag, 1 + w.real)


def stirling_remainder(z: Any) -> Any:
    """``log Gamma(z) - [(z - 1/2) log z - z + log(2 pi)/2]``, to 1e-16 for ``|z| >= 8``."""
    inverse = 1 / z
    total = 0.0 * inverse
    for coefficient in reversed(_STIRLING_SERIES):
        total = total * inverse**2 + coefficient
    return total * inverse


def log_prior_density(
    squared_norm: jax.Array, n_samples: int, architecture: Architecture
) -> jax.Array:
    """Return the log-density of one output's function values on whitened inputs.

    Parameters
    ----------
    squared_norm
        ``rho = s^T K^{-1} s >= 0``, any shape.
    n_samples
        Number of inputs ``P``.
    architecture
        With one output.

    Returns
    -------
    Array
        ``log E_q N(s; 0, q K) + (1/2) log det K``. At ``rho = 0`` it is infinite where a hidden
        layer has at most ``P`` units: the density really diverges there.

    Notes
    -----
    ``rho = q |z|^2`` with ``|z|^2 ~ chi2_P``: its law is the same product of Gammas with one more
    factor of shape ``P / 2``, so no integral over ``q`` is left to do.
    """
    half = n_samples / 2
    log_mean = math.log(architecture.mean_mixing)
    if not architecture.widths:
        return -0.5 * squared_norm - half * math.log(2 * math.pi)
    origin = squared_norm == 0  # NaN is not the origin, and stays NaN
    log_norm = jnp.log(jnp.where(origin, 1.0, squared_norm))
    widths = half_widths(architecture)
    log_radial = log_product_density(
        log_norm - log_mean - math.log(n_samples), jnp.append(widths, half)
    )
    outside = log_radial - half * (log_norm + math.log(math.pi)) + math.lgamma(half)
    if min(architecture.widths) > n_samples:  # E q^{-P/2} by the Mellin transform
        log_rates = jnp.log(widths)
        moment = jnp.sum(gammaln(widths - half) - gammaln(widths) + half * log_rates)
        at_zero: Any = moment - half * (math.log(2 * math.pi) + log_mean)
    else:
        at_zero = jnp.inf
    return jnp.where(origin, at_zero, outside)
