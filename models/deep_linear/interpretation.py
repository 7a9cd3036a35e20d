"""What the mixing matrix says about the outputs: which of them share features, and how strongly."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import Floats

from .predictive import Nodes, PosteriorResult


class Summary(NamedTuple):
    """Posterior mean and equal-tailed credible interval of an array, entry by entry."""

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class MixingSpectrum:
    """Eigenvalues, eigenvectors and correlations of the mixing matrix; see `mixing_spectrum`.

    Attributes
    ----------
    eigenvalues
        Descending, ``(D,)`` each of ``mean``, ``low``, ``high``: how far the prior variance of
        the outputs along each direction was rescaled.
    eigenvectors
        Columns, ``(D, D)``: combinations of outputs, signs and order as in ``directions``. Where
        eigenvalues are close the intervals are wide: the direction is not determined.
    correlations
        ``Q_ij / sqrt(Q_ii Q_jj)``, ``(D, D)``: how far two outputs share features. The diagonal
        is 1.
    directions
        Eigenvectors of the posterior mean of ``Q``, columns, ``(D, D)``, by descending eigenvalue.
    prob
        Probability of every interval.
    """

    eigenvalues: Summary
    eigenvectors: Summary
    correlations: Summary
    directions: Floats = field(repr=False)
    prob: float

    def __str__(self) -> str:
        head = f"{'direction':>9}  {'eigenvalue':>10}  {f'{100 * self.prob:g}% interval':>22}"
        lines = [head]
        for k, numbers in enumerate(zip(*self.eigenvalues)):
            mean, low, high = (float(number) for number in numbers)
            lines.append(f"{k:>9}  {mean:>10.4g}  {f'[{low:.4g}, {high:.4g}]':>22}")
        n_outputs = len(self.directions)
        if n_outputs > 1:
            lines.append(f"{'outputs':>9}  {'correlation':>10}  {head.split('  ')[-1].strip():>22}")
        for i in range(n_outputs):
            for j in range(i):
                mean, low, high = (float(part[i, j]) for part in self.correlations)
                lines.append(f"{f'{i},{j}':>9}  {mean:>10.4g}  {f'[{low:.4g}, {high:.4g}]':>22}")
        return "\n".join(lines)


def mixing_spectrum(result: PosteriorResult, *, prob: float = 0.9) -> MixingSpectrum:
    """Return the posterior of the eigenvalues, eigenvectors and correlations of ``Q``.

    Parameters
    ----------
    result
        Any posterior; its weighted mixing matrices are all that is used.
    prob
        Probability of the credible intervals, between 0 and 1.

    Returns
    -------
    MixingSpectrum

    Raises
    ------
    ValueError
        If ``prob`` is not between 0 and 1.

    Notes
    -----
    A priori ``Q`` has no preferred direction and correlations of mean zero; given the data
    it aligns with the targets (arXiv 2406.03260). Eigenvectors of each ``Q`` are put in the order
    of its own eigenvalues, and given the sign that agrees with the posterior mean's. Quantiles are
    those of the weighted nodes; quadrature resolves them to about a hundredth of their spread.
    For a convolutional network ``D`` counts the rows of its matrix, outputs times sites.

    Examples
    --------
    >>> from models.deep_linear import Architecture, compress_kernel, posterior
    >>> data = compress_kernel([[1.0, 0.4], [0.4, 0.8]], [0.7, -0.3])
    >>> spectrum = mixing_spectrum(posterior(data, Architecture((5,)), beta=10.0))
    >>> spectrum.eigenvalues.low < spectrum.eigenvalues.mean
    array([ True])
    """
    if not 0 < prob < 1:
        raise ValueError(f"prob: expected a probability between 0 and 1, got {prob}")
    mean = np.asarray(result.mixing_mean)
    directions = np.linalg.eigh((mean + mean.T) / 2)[1][:, ::-1]
    # the sign of a direction means nothing: its largest entry is made positive
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(0)[None], axis=0))
    directions = directions * signs
    kept = np.flatnonzero(np.asarray(result.nodes.log_weights) > -np.inf)
    nodes = Nodes(
        result.nodes.mixing[kept], result.nodes.log_weights[kept], block=min(result.nodes.block, 1)
    )
    values, vectors, correlations = _decomposed(nodes.mixing, jnp.asarray(directions))
    return MixingSpectrum(
        _summary(nodes, values, prob),
        _summary(nodes, vectors, prob),
        _summary(nodes, correlations, prob),
        directions,
        float(prob),
    )


@jax.jit
def _decomposed(mixing: jax.Array, directions: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(mixing)
    values, vectors = jnp.maximum(values[..., ::-1], 0.0), vectors[..., ::-1]
    agreement = jnp.sum(vectors * directions, axis=-2, keepdims=True)
    vectors = jnp.where(agreement < 0, -vectors, vectors)
    scale = jnp.sqrt(jnp.diagonal(mixing, axis1=-2, axis2=-1))
    correlations = mixing / (scale[..., :, None] * scale[..., None, :])
    eye = jnp.eye(mixing.shape[-1], dtype=bool)
    return values, vectors, jnp.where(eye, 1.0, correlations)


def _summary(nodes: Nodes, values: jax.Array, prob: float) -> Summary:
    flat = np.asarray(values).reshape(len(values), -1)
    weights = np.exp(np.asarray(nodes.log_weights))
    ends = np.array([(1 - prob) / 2, (1 + prob) / 2])
    low, high = np.array([weighted_quantiles(column, weights, ends) for column in flat.T]).T
    mean, _ = nodes.average(values)
    shape = values.shape[1:]
    return Summary(np.asarray(mean), low.reshape(shape), high.reshape(shape))


def weighted_quantiles(values: Floats, weights: Floats, levels: Floats) -> Floats:
    """Return quantiles of weighted values, linear between the midpoints of their steps.

    Parameters
    ----------
    values, weights
        ``(n,)``; the weights not negative, in any scale.
    levels
        Probabilities, ``(k,)``.

    Returns
    -------
    ndarray
        ``(k,)``.

    Notes
    -----
    With equal weights this is Hazen's rule, ``numpy.quantile(..., method="hazen")``. Equal values
    are merged first: on a lattice they are many.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_quantiles(np.array([3.0, 1.0]), np.array([1.0, 1.0]), np.array([0.5])).tolist()
    [2.0]
    """
    distinct, place = np.unique(np.asarray(values, float), return_inverse=True)
    mass = np.bincount(place.ravel(), weights=weights)
    distinct, mass = distinct[mass > 0], mass[mass > 0]
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.asarray(np.interp(levels, middle, distinct))
