"""One order of the components for all draws of a mixture, whose likelihood knows no order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from .checks import Floats, finite_array


class Relabelling(NamedTuple):
    """Draws in the order of a reference."""

    draws: Floats
    """``(n_draws, n_components, n_features)``, components reordered draw by draw."""
    order: NDArray[np.int64]
    """``(n_draws, n_components)``: the component of each draw that takes each place; apply it to
    other arrays of the draw by ``np.take_along_axis``."""
    similarity: Floats
    """``(n_draws, n_components)`` cosine of each component to that of the reference."""
    reference: Floats
    """``(n_components, n_features)`` that the draws were matched to."""


def relabel(draws: ArrayLike, reference: ArrayLike, *, n_rounds: int = 1) -> Relabelling:
    """Reorder the components of every draw to be most like those of a reference.

    Parameters
    ----------
    draws
        ``(n_draws, n_components, n_features)``.
    reference
        ``(n_components, n_features)``.
    n_rounds
        How often the mean of the reordered draws replaces the reference; 0 keeps the given one.

    Returns
    -------
    Relabelling
        The order of a draw maximises the sum of cosines over all orders (Hungarian algorithm).

    Raises
    ------
    TypeError, ValueError
        If shapes disagree or an entry is not finite.

    Examples
    --------
    >>> from inference.relabelling import relabel
    >>> swapped = [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 2.0], [2.0, 0.1]]]
    >>> relabel(swapped, [[0.0, 1.0], [1.0, 0.0]]).order.tolist()
    [[1, 0], [0, 1]]
    """
    values = finite_array("draws", draws, ndim=3)
    target = finite_array("reference", reference, ndim=2)
    if values.shape[1:] != target.shape:
        raise ValueError(
            f"reference: expected shape {values.shape[1:]} as of a draw, got {target.shape}"
        )
    ordered, order, similarity = _ordered(values, target)
    for _ in range(n_rounds):
        target = ordered.mean(axis=0)
        ordered, order, similarity = _ordered(values, target)
    return Relabelling(ordered, order, similarity, target)


def _ordered(values: Floats, target: Floats) -> tuple[Floats, NDArray[np.int64], Floats]:
    cosine = np.einsum("kf,ncf->nkc", _unit(target), _unit(values))
    order = np.array([linear_sum_assignment(-table)[1] for table in cosine])
    similarity = np.take_along_axis(cosine, order[:, :, None], axis=2)[:, :, 0]
    return np.take_along_axis(values, order[:, :, None], axis=1), order, similarity


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)
