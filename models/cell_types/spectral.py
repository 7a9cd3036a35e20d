"""A start from third moments: maps are the components of a tensor that can be decomposed exactly.

Three cells of one gene are independent draws from its mixture of maps, so averages over genes of
products of distinct cells estimate moments of the mixture. Corrected for the Dirichlet law of
membership, the second and the third become sums over types, ``M2 = sum_k c_k maps_k maps_k`` and
``M3 = sum_k d_k maps_k maps_k maps_k``; in coordinates in which M2 is the identity the maps are
orthogonal, and power iteration finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, at_least_zero, positive
from inference.status import Status

from .counts import Counts, as_counts
from .starts import check_n_types, generator, random_maps

_N_STARTS, _N_POWER, _N_POLISH, _N_PASSES, _N_EXTRA = 30, 60, 50, 8, 10
_BLOCK = 2**22
_LEAST_GAP = 1.05
"""Of the last eigenvalue wanted to the next, and to the largest negative one: noise has no gap."""


class SpectralStart(NamedTuple):
    """Maps from moments."""

    maps: Floats
    """``(n_types, n_bins)``: negative entries cut off, rows sum to 1."""
    type_concentration: Floats
    """``(n_types,)`` Dirichlet parameters that the moments ask for."""
    eigenvalues: Floats
    """``(n_types + 1,)`` largest of the second moment."""
    status: Status
    """``CONVERGED``, or ``WEAK_MOMENTS`` where the last eigenvalues look like noise, parameters are
    absurd, or maps had to be replaced by random ones: compare the fit with others."""


class Moments(NamedTuple):
    """Weighted sums over genes, without a matrix of bins by bins."""

    values: NDArray[np.int32]
    pair_weight: Floats
    """``(n_genes,)``: weight of a gene over the number of its ordered pairs of cells."""
    triple_weight: Floats
    mean: Floats
    """``(n_bins,)`` first moment."""
    repeated: Floats
    """``(n_bins,)`` part of the cells of each bin paired with themselves."""
    total: float
    """Sum of the Dirichlet parameters."""

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """Yield rows of the counts in double precision, some at a time."""
        size = max(1, _BLOCK // self.values.shape[1])
        for first in range(0, len(self.values), size):
            part = slice(first, first + size)
            yield part, self.values[part].astype(np.float64)

    def paired(self, columns: Floats) -> Floats:
        """Return the second moment of distinct cells times ``(n_bins, n)``."""
        product = -self.repeated[:, None] * columns
        for part, x in self.blocks():
            product += x.T @ (self.pair_weight[part, None] * (x @ columns))
        return product

    def second(self, columns: Floats) -> Floats:
        """Return M2 times ``(n_bins, n)``."""
        share = self.total / (self.total + 1.0)
        return self.paired(columns) - share * np.outer(self.mean, self.mean @ columns)

    def whitened_third(self, whitener: Floats) -> Floats:
        """Return M3 in the coordinates of ``(n_bins, n_types)``, three axes of ``n_types``."""
        size = whitener.shape[1]
        tensor = np.zeros((size,) * 3)
        spread, diagonal = np.zeros_like(whitener), np.zeros(len(whitener))
        for part, x in self.blocks():
            y = x @ whitener
            weighted = y * self.triple_weight[part, None]
            tensor += _triple(weighted, y, y)
            spread += x.T @ weighted
            diagonal += self.triple_weight[part] @ x
        tensor -= _symmetric(_triple(whitener, whitener, spread))
        tensor += 2.0 * _triple(whitener * diagonal[:, None], whitener, whitener)
        mean = whitener.T @ self.mean
        pairs = whitener.T @ self.paired(whitener)
        total = self.total
        tensor -= total / (total + 2) * _symmetric(pairs[:, :, None] * mean)
        cube = mean[:, None, None] * mean[:, None] * mean
        return tensor + 2 * total**2 / ((total + 1) * (total + 2)) * cube


def spectral_start(
    counts: Counts | ArrayLike,
    n_types: int,
    *,
    concentration: float = 0.1,
    gene_offset: float = 1000.0,
    key: jax.Array,
) -> SpectralStart:
    """Return maps from the third moments of the counts.

    Parameters
    ----------
    counts
        ``(n_genes, n_bins)``.
    n_types
        Number of types.
    concentration
        Of the Dirichlet law of membership, of each type; a factor of two off costs little.
    gene_offset
        A gene with ``n`` cells has the weight ``n / (n + gene_offset)``: with even weights those
        with few cells would drown the moments in noise.
    key
        Draws the starts of the power iteration.

    Returns
    -------
    SpectralStart
        A start for `svi`, `em` or `cavi`, no estimate. On a gene's membership it says nothing.

    Raises
    ------
    TypeError, ValueError
        If the number of types does not fit the counts, no gene has three cells, or a number is not
        positive.

    Notes
    -----
    Anandkumar et al., JMLR 15, 2773 (2014). About 20 passes over the counts in double precision;
    the error falls with the square root of the number of genes.
    """
    positive("concentration", concentration)
    at_least_zero("gene_offset", gene_offset)
    data = as_counts(counts)
    values = data.values
    size = check_n_types(n_types, values)
    rng = generator(key)
    moments = estimate_moments(values, size * concentration, gene_offset)
    eigenvalues, lowest, vectors = _top_eigenpairs(moments, size, rng)
    top = eigenvalues[:size]
    if not top[-1] > 1e-12 * top[0] > 0:
        weak = np.full(size, np.nan)
        return SpectralStart(random_maps(values, size, rng), weak, eigenvalues, Status.WEAK_MOMENTS)
    whitener = vectors[:, :size] / np.sqrt(top)
    tensor = moments.whitened_third(whitener)
    raw, type_concentration = decompose(
        tensor, vectors[:, :size] * np.sqrt(top), moments.total, rng
    )
    maps = np.maximum(raw, 0.0)
    mass = maps.sum(axis=1)
    lost = ~(mass > 1e-12)
    maps = np.where(
        lost[:, None], random_maps(values, size, rng), maps / np.where(lost, 1.0, mass)[:, None]
    )
    even = moments.total / size
    trusted = (type_concentration > 1e-2 * even) & (type_concentration <= moments.total)
    noise = max(eigenvalues[-1], -lowest)
    good = trusted.all() and not lost.any() and top[-1] > _LEAST_GAP * noise
    status = Status.CONVERGED if good else Status.WEAK_MOMENTS
    return SpectralStart(maps, type_concentration, eigenvalues, status)


def estimate_moments(values: NDArray[np.int32], total: float, gene_offset: float) -> Moments:
    """Return moments of distinct cells of a gene, averaged over genes.

    Raises
    ------
    ValueError
        If no gene has three cells.
    """
    n = values.sum(axis=1, dtype=np.float64)
    weight = np.where(n >= 3, n / (n + gene_offset), 0.0)
    if not weight.any():
        raise ValueError(
            f"third moments need 3 cells per gene, got at most {n.max():.0f}; use random starts"
        )
    weight /= weight.sum()
    n = np.maximum(n, 3.0)
    pair_weight = weight / (n * (n - 1))
    mean, repeated = np.zeros((2, values.shape[1]))
    moments = Moments(values, pair_weight, pair_weight / (n - 2), mean, repeated, total)
    for part, x in moments.blocks():
        mean += (weight / n)[part] @ x
        repeated += pair_weight[part] @ x
    return moments


def decompose(
    tensor: Floats, unwhitener: Floats, total: float, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Return maps and Dirichlet parameters from the whitened third moment.

    Parameters
    ----------
    tensor
        Three axes of ``n_types``, symmetric, with orthogonal components.
    unwhitener
        ``(n_bins, n_types)``, from whitened coordinates to bins.
    total
        Sum of the Dirichlet parameters.
    rng
        Draws the starts.

    Returns
    -------
    maps, type_concentration
        ``(n_types, n_bins)`` up to noise normalised, and ``(n_types,)``.
    """
    size = len(tensor)
    left = tensor.copy()
    vectors = np.empty((size, size))
    for k in range(size):
        v = rng.standard_normal((_N_STARTS, size))
        for _ in range(_N_POWER):
            v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300)
            v = _contract(left, v)
        v /= np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-300)
        value = (_contract(left, v) * v).sum(axis=1)
        best = v[np.argmax(value)]
        vectors[k] = best
        left -= value.max() * best[:, None, None] * best[:, None] * best
    for _ in range(_N_POLISH):
        u, _, vt = np.linalg.svd(_contract(tensor, vectors))
        vectors = u @ vt
    strength = (_contract(tensor, vectors) * vectors).sum(axis=1)
    maps = (total + 2) / 2 * strength[:, None] * (vectors @ unwhitener.T)
    sign = np.where(maps.sum(axis=1) < 0, -1.0, 1.0)
    square = np.maximum(strength**2, 1e-300)
    return sign[:, None] * maps, 4 * total * (total + 1) / ((total + 2) ** 2 * square)


def _top_eigenpairs(
    moments: Moments, size: int, rng: np.random.Generator
) -> tuple[Floats, float, Floats]:
    """Return the ``size + 1`` largest eigenvalues of M2, the lowest found, and vectors."""
    n_bins = moments.values.shape[1]
    width = min(size + _N_EXTRA, n_bins)
    basis = np.linalg.qr(rng.standard_normal((n_bins, width)))[0]
    for _ in range(_N_PASSES):
        basis = np.linalg.qr(moments.second(basis))[0]
    values, rotation = np.linalg.eigh(basis.T @ moments.second(basis))
    order = np.argsort(values)[::-1][: size + 1]
    top = np.zeros(size + 1)
    top[: len(order)] = values[order]
    return top, float(values[0]), basis @ rotation[:, order]


def _contract(tensor: Floats, vectors: Floats) -> Floats:
    """Return ``T(I, v, v)`` of every row ``v``."""
    size = len(tensor)
    pairs = (vectors[:, :, None] * vectors[:, None, :]).reshape(len(vectors), size * size)
    return pairs @ tensor.reshape(size, size * size).T


def _triple(a: Floats, b: Floats, c: Floats) -> Floats:
    """Return ``sum_i a_i b_i c_i`` as a tensor, for ``(n, size)`` each."""
    return np.stack([(a[:, [k]] * b).T @ c for k in range(a.shape[1])])


def _symmetric(tensor: Floats) -> Floats:
    """Return the sum over the three places of the last axis."""
    return tensor + tensor.transpose(0, 2, 1) + tensor.transpose(2, 1, 0)
