"""Where fits begin."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats, positive_int
from inference.keys import check_key


def generator(key: jax.Array) -> np.random.Generator:
    """Return NumPy's generator seeded by a key: the same draws in every precision."""
    check_key(key)
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())


def pooled_map(values: NDArray[Any]) -> Floats:
    """Return the density of all cells over the bins, ``(n_bins,)``, nowhere 0."""
    total = values.sum(axis=0, dtype=np.float64) + 1.0
    return total / total.sum()


def random_maps(values: NDArray[Any], n_types: int, rng: np.random.Generator) -> Floats:
    """Return ``(n_types, n_bins)``: half of each row the pooled map, half evenly random."""
    noise = rng.standard_exponential((n_types, values.shape[1]))
    return 0.5 * noise / noise.sum(axis=1, keepdims=True) + 0.5 * pooled_map(values)


def random_membership(n_genes: int, n_types: int, rng: np.random.Generator) -> Floats:
    """Return ``(n_genes, n_types)``, each row evenly random on the simplex."""
    noise = rng.standard_exponential((n_genes, n_types))
    return noise / noise.sum(axis=1, keepdims=True)


def check_n_types(n_types: int, values: NDArray[Any]) -> int:
    """Return the number of types.

    Raises
    ------
    ValueError
        If it is not from 1 to the smaller of the numbers of genes and bins with cells.
    """
    number = positive_int("n_types", n_types)
    genes, bins = _genes_and_bins(values)
    if number > min(genes, bins):
        raise ValueError(
            f"n_types: expected at most {min(genes, bins)}, got {number}; cells of {genes} genes "
            f"lie in {bins} bins"
        )
    return number


def most_types(values: NDArray[Any]) -> int:
    """Return the largest number that `check_n_types` lets pass, 0 without cells."""
    return min(_genes_and_bins(values))


def _genes_and_bins(values: NDArray[Any]) -> tuple[int, int]:
    """Return the numbers of genes and of bins with cells."""
    genes, bins = (int(np.count_nonzero(values.any(axis=axis))) for axis in (1, 0))
    return genes, bins
