"""The mixing matrix in free coordinates of unit scale, shared by quadrature, Laplace, SMC and NUTS.

Read from the outputs down, ``Q = C_L ... C_1 C_1^T ... C_L^T`` with independent lower-triangular
Bartlett factors: ``C[i, i]^2 ~ chi2_{N - i}`` (i from 0), ``C[i, j < i] ~ N(0, 1)``, all divided by
``sqrt(N)``, and by the precisions. A layer narrower than its rows has a trapezoid. Convolutional
networks are made of the same factors, put together in another way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from numpyro import distributions as dist

from inference.checks import Floats

from .theory import stirling_remainder


class Network(Protocol):
    """What a network must say about itself to be solved over its Wishart layers alone."""

    def __hash__(self) -> int: ...

    def widened(self, factor: int) -> Network:
        """Return the same network with ``factor`` times the width in every hidden layer."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``D``."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths of the hidden layers, or their numbers of channels."""

    @property
    def mean_matrix(self) -> Floats:
        """Prior mean of the mixing matrix, ``(m, m)``."""

    @property
    def wisharts(self) -> tuple[tuple[int, int], ...]:
        """``(rows, width)`` of every Wishart layer, from the outputs down."""

    def assemble(self, factors: Sequence[jax.Array]) -> jax.Array:
        """Return a root of the mixing matrix, ``(..., m, k)``, from unit-mean Wishart factors."""


class Layout(NamedTuple):
    """Where each coordinate goes: one entry a coordinate, from the top layer down."""

    degrees: NDArray[np.float64]  # chi-square degrees of freedom; 0 for an off-diagonal entry
    shapes: tuple[tuple[int, int, float], ...]  # rows, columns and 1/sqrt(N) of each factor
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    splits: tuple[int, ...]  # first coordinate of each factor, and the end

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.splits[-1]


@lru_cache(maxsize=256)
def layout(architecture: Network) -> Layout:
    """Return the coordinate layout of a network (diagonal entries first in each layer)."""
    degrees: list[float] = []
    rows: list[int] = []
    columns: list[int] = []
    shapes: list[tuple[int, int, float]] = []
    splits = [0]
    for n_rows, width in architecture.wisharts:
        n_columns = min(n_rows, width)
        entries = [(i, i) for i in range(n_columns)]
        entries += [(i, j) for i in range(n_rows) for j in range(min(i, n_columns))]
        degrees += [float(width - i) for i in range(n_columns)]
        degrees += [0.0] * (len(entries) - n_columns)
        rows += [i for i, _ in entries]
        columns += [j for _, j in entries]
        shapes.append((n_rows, n_columns, 1.0 / math.sqrt(width)))
        splits.append(len(rows))
    return Layout(
        np.array(degrees), tuple(shapes), np.array(rows, int), np.array(columns, int), tuple(splits)
    )


class MixingCoordinates(dist.Distribution):  # type: ignore[misc]
    """Prior law of the coordinates: nearly standard normal at every width, and exact.

    An off-diagonal coordinate is the entry itself; a diagonal one is ``e`` with
    ``log c = log(k)/2 + e / sqrt(2 k)``, ``c^2 ~ chi2_k``.

    Parameters
    ----------
    architecture
        A network with at least one hidden layer. Event shape ``(n_coordinates,)``.
    """

    support = dist.constraints.real_vector
    reparametrized_params: ClassVar[list[str]] = []
    pytree_aux_fields = ("architecture",)

    def __init__(self, architecture: Network, *, validate_args: bool | None = None) -> None:
        self.architecture = architecture
        super().__init__((), (layout(architecture).size,), validate_args=validate_args)

    def sample(self, key: jax.Array, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw coordinates, ``sample_shape + (n_coordinates,)``."""
        degrees = layout(self.architecture).degrees
        diagonal = degrees > 0
        safe = np.where(diagonal, degrees, 1.0)
        normal_key, gamma_key = jax.random.split(key)
        shape = (*sample_shape, degrees.size)
        normal = jax.random.normal(normal_key, shape)
        log_gamma = jax.random.loggamma(gamma_key, jnp.broadcast_to(safe / 2, shape))
        standardised = np.sqrt(safe / 2) * (log_gamma - np.log(safe / 2))
        return jnp.where(diagonal, standardised, normal)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Return the exact log-density of coordinates ``(..., n_coordinates)``."""
        degrees = layout(self.architecture).degrees
        diagonal = degrees > 0
        safe = np.where(diagonal, degrees, 1.0)
        # log c = (log k)/2 + delta: the chi law in terms of delta, with Gamma(k/2) by Stirling
        delta = jnp.where(diagonal, value, 0.0) / np.sqrt(2 * safe)
        log_chi = -0.5 * safe * (jnp.expm1(2 * delta) - 2 * delta)
        terms = jnp.where(diagonal, log_chi, -0.5 * value**2)
        return jnp.sum(terms, axis=-1) - _log_normaliser(self.architecture)


@lru_cache(maxsize=256)
def _log_normaliser(architecture: Network) -> float:
    degrees = layout(architecture).degrees
    correction = sum(_remainder(k / 2) for k in degrees if k > 0)
    return 0.5 * math.log(2 * math.pi) * degrees.size + correction


def _remainder(a: float) -> float:
    """``log Gamma(a) - [(a - 1/2) log a - a + log(2 pi)/2]`` for any ``a > 0``."""
    if a < 8:
        return math.lgamma(a) - ((a - 0.5) * math.log(a) - a + 0.5 * math.log(2 * math.pi))
    return float(stirling_remainder(a))


def bartlett_factors(coordinates: jax.Array, architecture: Network) -> list[jax.Array]:
    """Return a factor ``C``, ``(..., rows, columns)``, ``E C C^T = I``, of every Wishart layer."""
    plan = layout(architecture)
    diagonal = plan.degrees > 0
    safe = np.where(diagonal, plan.degrees, 1.0)
    scaled = np.sqrt(safe) * jnp.exp(jnp.where(diagonal, coordinates, 0.0) / np.sqrt(2 * safe))
    entries = jnp.where(diagonal, scaled, coordinates)
    factors = []
    for (n_rows, n_columns, scale), first, last in zip(plan.shapes, plan.splits, plan.splits[1:]):
        part = slice(first, last)
        blank = jnp.zeros((*coordinates.shape[:-1], n_rows, n_columns), entries.dtype)
        filled = blank.at[..., plan.rows[part], plan.columns[part]].set(entries[..., part])
        factors.append(filled * scale)
    return factors


def mixing_factor(coordinates: jax.Array, architecture: Network) -> jax.Array:
    """Return ``A``, ``(..., m, k)``, ``Q = A A^T``, from coordinates ``(..., n_coordinates)``."""
    root = architecture.assemble(bartlett_factors(coordinates, architecture))
    return jnp.broadcast_to(root, (*coordinates.shape[:-1], *root.shape[-2:]))


def mixing_matrix(coordinates: jax.Array, architecture: Network) -> jax.Array:
    """Return ``Q``, ``(..., m, m)``, from coordinates ``(..., n_coordinates)``."""
    factor = mixing_factor(coordinates, architecture)
    return factor @ jnp.swapaxes(factor, -1, -2)
