"""What the solvers ask of a data set once the mixing matrix is given, by the type of the data.

Solvers, samplers and predictions are written once, for any network whose function values are
Gaussian given a mixing matrix. What differs is collected here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from . import conditional, conv_conditional
from .compression import CompressedData
from .conv_architecture import ConvArchitecture
from .conv_conditional import ConvData
from .theory import Architecture

Data = CompressedData | ConvData


class GivenMixing(NamedTuple):
    """Functions of ``(mixing (m, m), data, beta)``; see `conditional` for what each returns.

    Attributes
    ----------
    log_evidence
        Log marginal likelihood of the targets, with the fastest gradient.
    log_evidence_smooth
        The same, differentiable to any order.
    misfit
        The quadratic form alone: half of the targets' squared norm under their covariance.
    coefficients, mean
        ``mean(coefficients(mixing, data, beta), data)`` is the predictive mean ``(m, D)``; the
        second map is linear, so that coefficients may be averaged first.
    moments
        Predictive mean ``(m, D)`` and covariance ``(m, D, D)`` of the latent function.
    draw
        ``draw(key, mixing, data, beta)``: latent function values at all test points, ``(m, D)``.
    log_density
        ``log_density(y, mixing, data, beta)``: of observations at the test points, ``(m,)``.
    """

    log_evidence: Callable[..., jax.Array]
    log_evidence_smooth: Callable[..., jax.Array]
    misfit: Callable[..., jax.Array]
    coefficients: Callable[..., jax.Array]
    mean: Callable[[jax.Array, Any], jax.Array]
    moments: Callable[..., tuple[jax.Array, jax.Array]]
    draw: Callable[..., jax.Array]
    log_density: Callable[..., jax.Array]


_FULLY_CONNECTED = GivenMixing(
    conditional.log_evidence_given_mixing,
    conditional.log_evidence_cholesky,
    conditional.misfit,
    conditional.regression_coefficients,
    conditional.regression_mean,
    conditional.conditional_moments,
    conditional.conditional_draw,
    conditional.conditional_log_density,
)
_CONVOLUTIONAL = GivenMixing(
    conv_conditional.log_evidence,
    conv_conditional.log_evidence_smooth,
    conv_conditional.misfit,
    conv_conditional.mean,
    conv_conditional.as_mean,
    conv_conditional.moments,
    conv_conditional.draw,
    conv_conditional.log_density,
)


def given_mixing(data: Data) -> GivenMixing:
    """Return the functions for this type of data."""
    return _CONVOLUTIONAL if isinstance(data, ConvData) else _FULLY_CONNECTED


def check_pair(data: Any, architecture: Any) -> None:
    """Check that data and network have the same outputs and sites.

    Raises
    ------
    TypeError, ValueError
        If one of them is something else, or they do not fit.
    """
    if not isinstance(data, CompressedData | ConvData):
        raise TypeError(
            "data: expected the result of compress, compress_kernel or conv_posterior(...).data, "
            f"got {type(data).__name__}"
        )
    if not isinstance(architecture, Architecture | ConvArchitecture):
        raise TypeError(
            "architecture: expected an Architecture or a ConvArchitecture, "
            f"got {type(architecture).__name__}"
        )
    if data.n_outputs != architecture.n_outputs:
        raise ValueError(
            f"architecture.n_outputs: expected {data.n_outputs} as the data have, "
            f"got {architecture.n_outputs}"
        )
    n_sites = data.patches.shape[1] if isinstance(data, ConvData) else 1
    n_rows = len(architecture.mean_matrix)
    if n_rows != data.n_outputs * n_sites:
        raise ValueError(
            f"architecture: expected a mixing matrix of {data.n_outputs * n_sites} rows as the "
            f"data have (outputs times sites), got {n_rows} of this {type(architecture).__name__}"
        )
