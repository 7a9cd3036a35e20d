"""Choice of a network by exact evidence: depth, widths, precisions and noise in one table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import cast

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from inference.checkpoints import Place, kept
from inference.checks import Floats, one_of, positive
from inference.keys import check_key, split_named
from inference.precision import require_x64
from inference.progress import progress_bar
from inference.status import (
    ConvergenceError,
    OnFailure,
    Status,
    check_on_failure,
    report_status,
)

from .compression import CompressedData, compress
from .evidence_batch import (
    Evidence,
    constant_evidences,
    from_posterior,
    laplace_evidence,
    scalar_evidences,
    shares_programs,
)
from .selection_result import NEGLIGIBLE, Choice, Kernel, Selection, kernel_of
from .solvers import Method, posterior
from .theory import Architecture

_METHODS = ("auto", "quadrature", "laplace", "smc", "prior")  # those with an evidence


def select(
    x: ArrayLike,
    y: ArrayLike,
    architectures: Sequence[Architecture],
    betas: ArrayLike,
    *,
    log_prior: ArrayLike | None = None,
    method: Method = "auto",
    key: jax.Array | None = None,
    on_failure: OnFailure = "warn",
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> Selection:
    """Compare networks and noise levels by their exact evidence.

    Parameters
    ----------
    x
        Training inputs, ``(n, n_inputs)``; neither centred nor scaled here (do both).
    y
        Training targets, ``(n, D)``, or ``(n,)`` for one output.
    architectures
        The candidates, all of ``D`` outputs.
    betas
        Noise precisions, ``(n_betas,)`` or one number.
    log_prior
        Log prior probabilities up to a constant: of the pairs ``(n_architectures, n_betas)`` or
        of the networks ``(n_architectures,)``; uniform over the pairs if None.
    method
        As in `posterior`, without ``"nuts"``. ``"auto"``: one output by quadrature; several
        outputs by ``"laplace"``, and as `posterior` would where that reports a failure.
    key
        For the sampling methods; ``jax.random.key(0)`` if None.
    on_failure
        What to do about pairs whose status is a failure: ``"warn"``, ``"raise"`` or ``"ignore"``.
        They never take part in the choice.
    progress
        Progress bar; None: if standard error is a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    Selection

    Raises
    ------
    PrecisionError
        In single precision.
    TypeError, ValueError
        If shapes do not fit, no candidate is given, or a number has no meaning.
    ConvergenceError
        If no pair converges, or one does not and ``on_failure="raise"``.

    Notes
    -----
    The evidence ``p(Y) = E_Q p(Y | Q)`` (arXiv 2406.03260) penalises what the data do not ask for,
    so no held-out set is needed. The data are compressed once for every ``lambda_0`` and
    ``bias_scale``. For one output a network costs about 20 ms for all noise levels together.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> found = select(x, 3 * x[:, 0], [Architecture(()), Architecture((2, 2))], [1.0, 100.0])
    >>> found.best.architecture.widths, found.best.beta
    ((2, 2), 100.0)
    """
    require_x64("select")
    one_of("method", method, _METHODS)
    check_on_failure(on_failure)
    candidates = _checked_candidates(architectures)
    levels = np.array([positive("betas", beta, allow_inf=True) for beta in np.ravel(betas)])
    if not levels.size:
        raise ValueError("betas: expected at least one noise precision, got none")
    shape = (len(candidates), len(levels))
    prior = _checked_prior(log_prior, shape)
    key = jax.random.key(0) if key is None else key
    check_key(key)

    data: dict[Kernel, CompressedData] = {}
    log_evidence, error = np.full(shape, np.nan), np.full(shape, np.nan)
    status, methods = np.zeros(shape, int), np.full(shape, "", dtype="<U16")
    found: dict[tuple[int, int], Evidence] = {}
    with (
        progress_bar(len(candidates) * len(levels), "select", progress) as bar,
        kept(
            checkpoint, "deep_linear.select", x=np.asarray(x), y=np.asarray(y),
            architectures=candidates, betas=levels, prior=prior, method=method, key=key,
        ) as keep,
    ):  # fmt: skip
        n_done = 0
        if keep.restored is not None:
            n_done, tables, pairs = keep.restored
            log_evidence, error, status, methods = tables
            found = {pair: Evidence(*one)._replace(status=Status(one[2])) for pair, one in pairs}
        for i, architecture in enumerate(candidates):
            where = kernel_of(architecture)
            if where not in data:
                data[where] = compress(x, y, architecture)
            if i < n_done:
                bar.update(len(levels))
                continue
            asked = (data[where].training_part, architecture, levels)
            for j, one in enumerate(_evidences(asked, method, split_named(key, str(i))[str(i)])):
                log_evidence[i, j], error[i, j] = one.log_evidence, one.log_evidence_error
                status[i, j], methods[i, j] = one.status, one.method
                found[i, j] = one
            _forget(found, log_evidence + prior)
            bar.update(len(levels))
            state = i + 1, (log_evidence, error, status, methods), list(found.items())
            keep.offer(partial(tuple, state), last=i + 1 == len(candidates))
    report_status(status, "select", on_failure=on_failure)
    probabilities = _normalised(log_evidence + prior, status)
    top = np.unravel_index(int(np.argmax(probabilities)), shape)
    chosen, beta = candidates[int(top[0])], float(levels[int(top[1])])
    solved = posterior(
        data[kernel_of(chosen)],
        chosen,
        beta,
        method=cast("Method", str(methods[top])),  # the one that found the evidence
        key=key,
        on_failure=on_failure,
        progress=progress,
    )
    return Selection(
        candidates,
        levels,
        log_evidence,
        error,
        status,
        methods,
        probabilities,
        Choice(chosen, beta, solved),
        data,
        {pair: one for pair, one in found.items() if probabilities[pair] >= NEGLIGIBLE},
    )


def _evidences(
    asked: tuple[CompressedData, Architecture, Floats], method: Method, key: jax.Array
) -> list[Evidence]:
    """Return the evidence at every noise level, together where that is possible."""
    data, architecture, betas = asked
    finite = bool(np.isfinite(betas).all())
    found: list[Evidence | None] = [None] * len(betas)
    if finite and not architecture.widths:
        found = list(constant_evidences(data, architecture, betas))
    elif finite and architecture.n_outputs == 1 and method in ("auto", "quadrature"):
        found = scalar_evidences(data, architecture, betas)
    elif finite and method in ("auto", "laplace") and shares_programs(architecture):
        several = [laplace_evidence(data, architecture, float(beta), key) for beta in betas]
        found = [
            one if method != "auto" or one.status is Status.CONVERGED else None for one in several
        ]
    return [
        from_posterior(
            posterior(
                data,
                architecture,
                float(beta),
                method=method,
                key=key,
                on_failure="ignore",
                progress=False,
            )
        )
        if one is None
        else one
        for one, beta in zip(found, betas)
    ]


def _forget(found: dict[tuple[int, int], Evidence], score: Floats) -> None:
    """Drop the mixing matrices of pairs that no average will use, to bound memory."""
    good = {pair for pair, one in found.items() if one.status is Status.CONVERGED}
    if not good:
        return
    best = max(score[pair] for pair in good)
    for pair in list(found):
        if pair not in good or score[pair] < best + math.log(NEGLIGIBLE):
            del found[pair]


def _normalised(score: Floats, status: NDArray[np.int64]) -> Floats:
    """Return probabilities of the pairs that converged."""
    usable = np.where(status == Status.CONVERGED, score, -np.inf)
    total = float(logsumexp(usable))
    if not math.isfinite(total):
        raise ConvergenceError(
            f"select: none of {usable.size} pairs converged with a finite evidence and a positive "
            "prior; try method='smc', or other networks and noise levels"
        )
    return np.asarray(np.exp(usable - total))


def _checked_candidates(architectures: Sequence[Architecture]) -> tuple[Architecture, ...]:
    if isinstance(architectures, Architecture):
        raise ValueError("architectures: expected a list of them, got one; put it in a list")
    candidates = tuple(architectures)
    if not candidates:
        raise ValueError("architectures: expected at least one, got none")
    for index, candidate in enumerate(candidates):
        if not isinstance(candidate, Architecture):
            raise TypeError(
                f"architectures[{index}]: expected an Architecture, got {candidate!r:.60}"
            )
        if candidate.n_outputs != candidates[0].n_outputs:
            raise ValueError(
                f"architectures[{index}]: expected {candidates[0].n_outputs} outputs as in the "
                f"first, got {candidate.n_outputs}"
            )
    return candidates


def _checked_prior(log_prior: ArrayLike | None, shape: tuple[int, int]) -> Floats:
    if log_prior is None:
        return np.zeros(shape)
    given = np.asarray(log_prior, float)
    if given.shape not in (shape, shape[:1]):
        raise ValueError(f"log_prior: expected shape {shape} or {shape[:1]}, got {given.shape}")
    if np.isnan(given).any() or (given == np.inf).any() or not np.isfinite(given).any():
        raise ValueError("log_prior: expected numbers or -inf, not all of them -inf")
    return np.broadcast_to(given if given.ndim == 2 else given[:, None], shape)
