"""Where the posterior of the mixing matrix concentrates when networks learn features at any width.

Take widths ``N_l = alpha_l N``, divide the kernel by ``N`` and multiply ``beta`` by ``N``: the
data then pull on ``Q`` as hard as the prior holds it, and ``-log p(Q | Y) / N`` tends to

    I(Q) = J(Q) + (1/2) vec(Y)^T (Q (x) K + I / beta)^{-1} vec(Y)  - min,    J(Q) = sum_d j(g_d),

over the eigenvalues ``g_d`` of ``Q``, with ``j(g) = sum_l (alpha_l / 2) [t / alpha_l - log(1 + t /
alpha_l)]`` where ``prod_l (1 + t / alpha_l) / lambda_l = g``. The minimum is the kernel learned by
an infinitely wide network; it need not be unique (arXiv 2406.03260, feature-learning limit).
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from inference.checks import Floats, positive, positive_semidefinite
from inference.precision import require_x64

from .compression import CompressedData
from .given import Data, check_pair, given_mixing
from .saddle_scan import ScalarAction, response_of, stationary_points
from .saddle_search import common_starts, commuting_starts, limit_of, minima
from .saddles import Saddle, from_scan, from_search
from .theory import Architecture


def rate_function(
    mixing: ArrayLike,
    data: Data,
    architecture: Architecture,
    beta: float,
    *,
    size: float | None = None,
) -> float:
    """Return ``J(Q) + (1/2) vec(Y)^T (Q (x) K + I / beta)^{-1} vec(Y)``: the rate before "- min".

    Parameters
    ----------
    mixing
        ``Q``, ``(D, D)``, symmetric positive semi-definite.
    data
        From `compress` or `compress_kernel`, of the kernel before it is divided by ``size``.
    architecture
        Fully connected; its widths are ``alpha_l`` times ``size``.
    beta
        Noise precision before it is multiplied by ``size``; infinite for a kernel of full rank.
    size
        The large number ``N``; the smallest hidden width if None.

    Returns
    -------
    float
        Infinite where ``Q`` is singular: the price of a factor zero.

    Raises
    ------
    TypeError, ValueError
        If arguments do not fit each other, or there is no hidden layer.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> data = compress_kernel([[1.0]], [2.0])
    >>> round(rate_function([[1.0]], data, Architecture((3,)), 1.0), 6)  # (1/2) 4 / (1 + 1)
    1.0
    """
    require_x64("rate_function")
    beta, size = _checked(data, architecture, beta, size)
    if not isinstance(architecture, Architecture):
        raise ValueError(
            f"architecture: expected a fully connected Architecture, got "
            f"{type(architecture).__name__}, whose factorisations have no closed infimum"
        )
    matrix = positive_semidefinite("mixing", mixing)
    if matrix.shape[0] != architecture.n_outputs:
        raise ValueError(
            f"mixing: expected shape ({architecture.n_outputs}, {architecture.n_outputs}), "
            f"got {matrix.shape}"
        )
    strengths: Floats = np.linalg.eigvalsh(matrix).astype(float)
    if strengths[0] <= 0:
        return math.inf
    alphas = np.array(architecture.widths) / size
    grown = 1 + response_of(strengths, alphas, math.log(architecture.mean_mixing))[:, None] / alphas
    prior = float(np.sum(alphas / 2 * (grown - 1 - np.log(grown))))
    return prior + float(given_mixing(data).misfit(matrix, data, beta))


def minimizer(data: Data, architecture: Any, beta: float, *, size: float | None = None) -> Saddle:
    """Return the mixing matrix that an infinitely wide network learns in the feature scaling.

    Parameters
    ----------
    data
        From `compress`, `compress_kernel` or their convolutional counterparts, of the kernel
        before it is divided by ``size``.
    architecture
        The network; its widths are ``alpha_l`` times ``size``. ``alpha = (1, 2, 0.5)`` is
        ``Architecture((4, 8, 2))`` with ``size=4``.
    beta
        Noise precision before it is multiplied by ``size``; infinite for a kernel of full rank.
    size
        The large number ``N``; the smallest hidden width if None.

    Returns
    -------
    Saddle

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If arguments do not fit each other, or there is no hidden layer.

    Notes
    -----
    For one output all stationary points are found by a scan in one variable and the lowest is the
    answer: with noise and several layers there can be three, and the lazy and the feature-learning
    minimum change places in a transition of first order. For several outputs, or local
    renormalisers, descents start from many scales and, for fully connected networks, from every
    combination of the minima of single directions.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> data = compress_kernel([[1.0]], [2.0])  # R = 4: q = (1 + sqrt(1 + 4 R)) / 2
    >>> minimizer(data, Architecture((1,)), math.inf).mixing.round(6)
    array([[2.561553]])
    """
    require_x64("minimizer")
    beta, size = _checked(data, architecture, beta, size)
    return _solve(data, architecture, beta, size, log_det=False)


def proportional_saddle(data: Data, architecture: Any, beta: float) -> Saddle:
    """Return the maximum of the evidence over the layers' Wishart matrices, at the actual widths.

    Where samples and widths grow in proportion, in the standard scaling, the posterior of ``Q``
    concentrates here.

    Parameters
    ----------
    data
        From `compress`, `compress_kernel` or their convolutional counterparts.
    architecture
        The network.
    beta
        Noise precision; infinite for a kernel of full rank.

    Returns
    -------
    Saddle
        ``rate`` is ``-log p(Y | Q*)`` plus the cost of the layers, in nats: minus the log evidence
        to leading order. Variance and shift are those of ``Q`` itself.

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If arguments do not fit each other, there is no hidden layer, or there is no maximum
        (targets of zero without noise and a layer narrower than the samples).

    Notes
    -----
    Here the log-determinant counts, and layers may shrink: ``t > -N_l``.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> data = compress_kernel([[1.0, 0.0], [0.0, 1.0]], [1.0, 0.0])
    >>> saddle = proportional_saddle(data, Architecture((4,)), math.inf)
    >>> saddle.mixing.round(6)  # q^2 - (1 - P/N) q - R/N = 0
    array([[0.809017]])
    """
    require_x64("proportional_saddle")
    beta, size = _checked(data, architecture, beta, 1.0)
    return _solve(data, architecture, beta, size, log_det=True)


def _checked(data: Data, architecture: Any, beta: float, size: float | None) -> tuple[float, float]:
    check_pair(data, architecture)
    beta = positive("beta", beta, allow_inf=True)
    if not architecture.widths:
        raise ValueError(
            "architecture: expected a hidden layer, got none: Q is constant, nothing is learned"
        )
    rank = getattr(data, "rank", data.n_samples)
    if math.isinf(beta) and rank < data.n_samples:
        raise ValueError(
            f"beta: infinite precision needs a kernel of full rank, got rank {rank} for "
            f"{data.n_samples} samples (the misfit is infinite); use a finite beta"
        )
    return beta, positive("size", min(architecture.widths) if size is None else size)


def _solve(data: Data, architecture: Any, beta: float, size: float, *, log_det: bool) -> Saddle:
    train = data.training_part
    limit = limit_of(architecture, size, log_det=log_det)
    args = (train, jnp.asarray(beta))
    starts = common_starts(limit)
    if isinstance(architecture, Architecture) and isinstance(train, CompressedData):
        targets, eigenvalues = np.asarray(train.targets), np.asarray(train.eigenvalues)
        alphas, log_mean = np.array(limit.alphas[::-1]), math.log(architecture.mean_mixing)

        def one_output(squares: Floats) -> ScalarAction:
            return ScalarAction(alphas, log_mean, eigenvalues, squares, 1 / beta, log_det)

        if architecture.n_outputs == 1:
            return from_scan(one_output(targets[0] ** 2), _outside(train, beta, log_det))
        # directions of the outputs that the data pull independently, nearly
        _, basis = np.linalg.eigh((targets / (eigenvalues + 1 / beta)) @ targets.T)
        choices = [
            [point.t for point in stationary_points(one_output(squares)) if point.curvature > 0]
            for squares in (basis.T @ targets) ** 2
        ]
        starts = commuting_starts(limit, basis, choices) + starts
    return from_search(limit, minima(limit, starts, args), args)


def _outside(data: CompressedData, beta: float, log_det: bool) -> float:
    """Return what the action of one output in the kernel's eigenbasis leaves out."""
    n_null = data.n_samples - data.rank
    outside = 0.5 * beta * float(data.residual) if n_null else 0.0
    if log_det:
        outside += 0.5 * data.n_samples * math.log(2 * math.pi)
        outside -= 0.5 * n_null * math.log(beta) if n_null else 0.0
    return outside
