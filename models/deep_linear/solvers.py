"""Five routes to one posterior: quadrature, Laplace, tempering, NUTS, weighted prior draws.

The posterior of the mixing matrix is ``p(Q | Y) ~ p(Q) p(Y | Q)`` with ``p(Y | Q)`` in closed
form. What is left is an integral over ``Q`` alone, in the free coordinates of
`coordinates.MixingCoordinates` (or ``log q`` for one output).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from inference.checkpoints import Place
from inference.checks import one_of, positive, positive_int
from inference.importance import (
    ImportanceResult,
    StudentMixture,
    importance_sample,
    laplace_mixture,
    mixture_log_prob,
    sample_mixture,
    weigh,
)
from inference.keys import check_key, split_named
from inference.precision import require_x64
from inference.status import OnFailure, Status, check_on_failure, report_status
from inference.tempering import tempered_smc

from .compression import CompressedData
from .coordinates import MixingCoordinates, Network, layout, mixing_matrix
from .exact import by_constant, by_quadrature, scalar
from .given import Data, check_pair, given_mixing
from .joint import joint, joint_modes
from .predictive import Nodes, PosteriorResult, summarise
from .sampling import run_collapsed
from .theory import Architecture

Method = Literal["auto", "quadrature", "laplace", "smc", "nuts", "prior"]
METHODS = ("auto", "quadrature", "laplace", "smc", "nuts", "prior")

_MAX_LATTICE_DIMENSION = 3
_MAX_LATTICE_VALUES = 32  # training values up to which one node of a convolution costs little
_MAX_LAPLACE_DIMENSION = 45  # beyond it a fixed proposal keeps too few effective draws
_TARGET_TOLERANCE = 1e-10  # singular values of the targets below this share are rounding
_N_DRAWS = 20_000
_WIDE = 10**9  # no width of an infinite network is in the way of anything
_BATCH = 64  # evidences computed at a time: bounds memory
_N_ISLANDS, _N_PARTICLES = 16, 128

Asked = tuple[Data, Network, float]


def posterior(
    data: Data,
    architecture: Network,
    beta: float,
    *,
    method: Method = "auto",
    key: jax.Array | None = None,
    on_failure: OnFailure = "warn",
    n_draws: int = _N_DRAWS,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> PosteriorResult:
    """Return the exact posterior of a deep linear network.

    Parameters
    ----------
    data
        From `compress` or `compress_kernel`; with test inputs for predictions. (Convolutional
        networks come through `conv_posterior`.)
    architecture
        The network.
    beta
        Noise precision. Infinity (noise-free targets) needs a kernel of full rank and no hidden
        layer narrower than the outputs.
    method
        ``"quadrature"``: exact; one output at any depth, or at most three free coordinates (two
        outputs and one hidden layer). ``"laplace"``: importance sampling around every mode.
        ``"smc"``: tempered sequential Monte Carlo. ``"nuts"``: no evidence. ``"prior"``: draws from
        the prior, weighted; fails as soon as the data say much. ``"auto"``: the first that fits of
        quadrature, laplace (up to 45 coordinates) and smc, moving on to the next if one reports a
        failure; ``result.method`` tells which it was.
    key
        For the sampling methods; ``jax.random.key(0)`` if None.
    on_failure
        What to do about a failed status: ``"warn"``, ``"raise"`` or ``"ignore"``.
    n_draws
        Number of draws of ``"laplace"`` and ``"prior"``.
    progress
        Progress bars of ``"smc"`` and ``"nuts"``; None: if standard error is a terminal.
    checkpoint
        File that keeps the chains of ``"nuts"``, see `inference.checkpoints`; None keeps nothing.
        The other methods take seconds and keep nothing.

    Returns
    -------
    PosteriorResult

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If data and architecture do not fit, ``beta`` is not positive, the method is unknown or
        cannot treat the architecture, or ``beta`` is infinite where the evidence is zero or
        infinite.
    ConvergenceError
        If the status is a failure and ``on_failure="raise"``.

    Notes
    -----
    ``Q`` has ``sum_l D (D + 1) / 2`` coordinates; widths and samples cost nothing. Without hidden
    layers ``Q = I`` and everything is Bayesian linear regression, exactly.

    Examples
    --------
    >>> from models.deep_linear import compress_kernel
    >>> data = compress_kernel([[1.0, 0.4], [0.4, 0.8]], [0.7, -0.3])
    >>> result = posterior(data, Architecture((5,)), beta=10.0)
    >>> round(result.log_evidence, 6), result.method
    (-2.122124, 'quadrature')
    """
    require_x64("posterior")
    one_of("method", method, METHODS)
    check_on_failure(on_failure)
    positive_int("n_draws", n_draws)
    check_pair(data, architecture)
    beta = _checked_beta(beta, data, architecture)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    if not architecture.widths:
        result = by_constant(data, architecture, beta)
    else:
        result = _solve(data, architecture, beta, method, key, n_draws, progress, checkpoint)
    report_status(result.status, f"posterior(method={result.method!r})", on_failure=on_failure)
    return result


def infinite_width(data: Data, architecture: Network, beta: float) -> PosteriorResult:
    """Return the posterior of the same network with all hidden widths infinite: ``Q`` at its mean.

    Parameters
    ----------
    data, architecture, beta
        As in `posterior`; the widths play no part.

    Returns
    -------
    PosteriorResult
        One node, the prior mean of ``Q``: the neural-network Gaussian process.
    """
    require_x64("infinite_width")
    check_pair(data, architecture)
    limit = architecture.widened(_WIDE) if architecture.widths else architecture
    beta = _checked_beta(beta, data, limit)
    return by_constant(data, architecture, beta)


def _checked_beta(beta: float, data: Data, architecture: Network) -> float:
    beta = positive("beta", beta, allow_inf=True)
    if math.isinf(beta):
        if not (isinstance(data, CompressedData) and isinstance(architecture, Architecture)):
            raise ValueError(
                "beta: expected a finite precision for a convolutional network, got inf"
            )
        if data.rank < data.n_samples:
            raise ValueError(
                f"beta: infinite precision needs a kernel of full rank, got rank {data.rank} for "
                f"{data.n_samples} samples (the evidence is zero); use a finite beta"
            )
        if not architecture.full_rank:
            raise ValueError(
                f"beta: infinite precision needs widths of at least {architecture.n_outputs} (the "
                f"outputs), got {architecture.widths}: Q is singular, a product of singular "
                "Wisharts, and the targets have no density; use a finite beta"
            )
        white = np.asarray(data.targets / jnp.sqrt(data.eigenvalues))
        rank = int(np.linalg.matrix_rank(white, rtol=_TARGET_TOLERANCE))
        n_null = data.n_outputs - rank
        # along targets that vanish the density of Q diverges as soon as N - n_null + 1 <= P
        if n_null and architecture.widths and min(architecture.widths) - n_null < data.n_samples:
            raise ValueError(
                f"beta: infinite precision needs linearly independent targets, got rank {rank} for "
                f"{data.n_outputs} outputs (the evidence is infinite); use a finite beta or drop "
                "the outputs that others determine"
            )
    return beta


def _solve(
    data: Data,
    architecture: Network,
    beta: float,
    method: Method,
    key: jax.Array,
    n_draws: int,
    progress: bool | None,
    checkpoint: Place | None,
) -> PosteriorResult:
    dimension = layout(architecture).size
    by_lattice = scalar(data) or dimension <= _MAX_LATTICE_DIMENSION
    if method == "quadrature" and not by_lattice:
        raise ValueError(
            f"method: quadrature needs one output or at most {_MAX_LATTICE_DIMENSION} coordinates, "
            f"got {dimension} for widths {architecture.widths} and {architecture.n_outputs} "
            "outputs; use 'laplace', 'smc' or 'nuts'"
        )
    asked = (data, architecture, beta)
    routes: dict[str, Callable[[], PosteriorResult]] = {
        "quadrature": lambda: by_quadrature(*asked),
        "laplace": lambda: _by_laplace(asked, key, n_draws),
        "smc": lambda: _by_smc(asked, key, progress),
        "nuts": lambda: _by_nuts(asked, key, progress, checkpoint),
        "prior": lambda: _by_prior(asked, key, n_draws),
    }
    if method != "auto":
        return routes[method]()
    order = ["quadrature"] if by_lattice and _cheap_to_integrate(data, dimension) else []
    order += ["laplace"] if dimension <= _MAX_LAPLACE_DIMENSION else []
    order += ["smc"]
    for name in order:
        result = routes[name]()
        if result.status is Status.CONVERGED:
            break
    return result


def _cheap_to_integrate(data: Data, dimension: int) -> bool:
    """Whether the hundred thousand nodes of three dimensions are worth their factorisations."""
    if isinstance(data, CompressedData) or dimension < _MAX_LATTICE_DIMENSION:
        return True
    return data.n_samples * data.n_outputs <= _MAX_LATTICE_VALUES


def _by_laplace(asked: Asked, key: jax.Array, n_draws: int) -> PosteriorResult:
    data, architecture, beta = asked
    train = data.training_part
    found = importance_sample(
        joint(architecture),
        laplace_mixture(joint_modes(train, architecture, beta)),
        key=key,
        n_draws=n_draws,
        args=(train, beta),
    )
    return _from_weighted(found, asked, "laplace")


def _by_prior(asked: Asked, key: jax.Array, n_draws: int) -> PosteriorResult:
    data, architecture, beta = asked
    draws = MixingCoordinates(architecture).sample(key, (n_draws,))
    train, evidence = data.training_part, given_mixing(data).log_evidence
    log_ratios = _evidences(evidence, draws, architecture, train, beta)
    return _from_weighted(weigh(draws, log_ratios), asked, "prior")


@partial(jax.jit, static_argnames=("evidence", "architecture"))
def _evidences(
    evidence: Callable[..., jax.Array],
    draws: jax.Array,
    architecture: Network,
    train: Data,
    beta: float,
) -> jax.Array:
    return jax.lax.map(
        lambda x: evidence(mixing_matrix(x, architecture), train, beta), draws, batch_size=_BATCH
    )


def _from_weighted(found: ImportanceResult, asked: Asked, method: str) -> PosteriorResult:
    mixing = mixing_matrix(found.draws, asked[1])
    # a draw without weight may have overflowed: zero times infinity must not spoil a mean
    heaviest = mixing[jnp.argmax(found.log_weights)]
    mixing = jnp.where((found.log_weights > -jnp.inf)[:, None, None], mixing, heaviest)
    return summarise(
        Nodes(mixing, found.log_weights, block=1),
        asked,
        method=method,
        status=found.status,
        log_evidence=found.log_evidence,
        log_evidence_error=found.log_evidence_error,
        ess=found.ess,
        pareto_k=found.pareto_k,
    )


def _reference(x: jax.Array, mixture: StudentMixture) -> jax.Array:
    return mixture_log_prob(mixture, x[None])[0]


@jax.jit  # else the map is traced anew at every call
def reference_particles(key: jax.Array, reference: StudentMixture) -> jax.Array:
    """Return draws from the reference in islands, ``(n_islands, n_particles, d)``."""
    # an island at a time: a draw gathers a matrix (d, d), gigabytes for all of them together
    island_keys = jax.random.split(key, _N_ISLANDS)
    return jax.lax.map(lambda one: sample_mixture(one, reference, _N_PARTICLES), island_keys)


def _by_smc(asked: Asked, key: jax.Array, progress: bool | None) -> PosteriorResult:
    data, architecture, beta = asked
    train = data.training_part
    keys = split_named(key, "particles", "tempering")
    reference = laplace_mixture(joint_modes(train, architecture, beta))
    found = tempered_smc(
        joint(architecture),
        _reference,
        reference_particles(keys["particles"], reference),
        key=keys["tempering"],
        target_args=(train, beta),
        reference_args=(reference,),
        progress=progress,
    )
    flat = found.particles.reshape(_N_ISLANDS * _N_PARTICLES, -1)
    log_weights = jnp.repeat(found.log_island_weights - math.log(_N_PARTICLES), _N_PARTICLES)
    nodes = Nodes(mixing_matrix(flat, architecture), log_weights, block=_N_PARTICLES)
    return summarise(
        nodes,
        asked,
        method="smc",
        status=found.status,
        log_evidence=found.log_evidence,
        log_evidence_error=found.log_evidence_error,
        ess=_ess_of(nodes),
    )


def _by_nuts(
    asked: Asked, key: jax.Array, progress: bool | None, checkpoint: Place | None
) -> PosteriorResult:
    data, architecture, beta = asked
    run = run_collapsed(
        data.training_part, architecture, beta, key=key, progress=progress, checkpoint=checkpoint
    )
    n = run.mixing.shape[0]
    nodes = Nodes(run.mixing, jnp.full(n, -math.log(n)), block=run.block)
    return summarise(nodes, asked, method="nuts", status=run.status, ess=run.ess)


def _ess_of(nodes: Nodes) -> float:
    """Effective draws: posterior variance over squared error, for the worst entry of ``Q``."""
    mean, error = nodes.average(nodes.mixing)
    variance, _ = nodes.average((nodes.mixing - mean) ** 2)
    return float(jnp.min(variance / error**2))
