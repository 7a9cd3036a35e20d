"""NUTS on the collapsed model: draws of the mixing matrix, and whether the chains agree."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS

from inference.checkpoints import Place
from inference.interop import diagnostics
from inference.monte_carlo.chunked import sample_in_chunks
from inference.status import Status

from .coordinates import Network
from .given import Data
from .network import collapsed_model

_NUM_CHAINS, _NUM_WARMUP, _NUM_SAMPLES = 4, 1000, 1000
_BLOCK = 50  # draws a block of the error estimate: many autocorrelation times of this sampler
_MIN_ESS, _MAX_R_HAT = 400.0, 1.01


class CollapsedRun(NamedTuple):
    """Draws ``(n, m, m)`` in chain order, their block length, smallest ESS and verdict."""

    mixing: jax.Array
    block: int
    ess: float
    status: Status


def run_collapsed(
    data: Data,
    architecture: Network,
    beta: float,
    *,
    key: jax.Array,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> CollapsedRun:
    """Run four vectorised NUTS chains of 1000 draws on `collapsed_model`.

    Parameters
    ----------
    data, architecture, beta
        As in `posterior`.
    key
        A typed key.
    progress
        True, False, or None: a bar if standard error is a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    CollapsedRun
        Status MAX_STEPS where R-hat exceeds 1.01, ESS falls below 400, or a trajectory diverged.
    """
    run = sample_in_chunks(
        NUTS(collapsed_model),
        key,
        data,
        architecture,
        beta,
        num_warmup=_NUM_WARMUP,
        num_samples=_NUM_SAMPLES,
        num_chains=_NUM_CHAINS,
        progress=progress,
        checkpoint=checkpoint,
    )
    draws = run.draws["mixing"]
    size = draws.shape[-1]
    lower = np.tril_indices(size)
    found = diagnostics(draws[..., lower[0], lower[1]])
    ess, r_hat = float(np.min(found.ess)), float(np.max(found.r_hat))
    diverged = bool(run.fields["diverging"].any())
    mixed = ess >= _MIN_ESS and r_hat <= _MAX_R_HAT and not diverged
    return CollapsedRun(
        mixing=jnp.asarray(draws.reshape(-1, size, size)),
        block=_BLOCK,
        ess=ess,
        status=Status.CONVERGED if mixed else Status.MAX_STEPS,
    )
