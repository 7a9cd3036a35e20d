"""NUTS on the collapsed model: draws of the mixing matrix, and whether the chains agree."""

from __future__ import annotations

import sys
from typing import NamedTuple

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

from inference.interop import diagnostics
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

    Returns
    -------
    CollapsedRun
        Status MAX_STEPS where R-hat exceeds 1.01, ESS falls below 400, or a trajectory diverged.
    """
    mcmc = MCMC(
        NUTS(collapsed_model),
        num_warmup=_NUM_WARMUP,
        num_samples=_NUM_SAMPLES,
        num_chains=_NUM_CHAINS,
        chain_method="vectorized",
        progress_bar=sys.stderr.isatty() if progress is None else progress,
    )
    mcmc.run(key, data, architecture, beta)
    draws = mcmc.get_samples(group_by_chain=True)["mixing"]
    size = draws.shape[-1]
    lower = np.tril_indices(size)
    found = diagnostics(np.asarray(draws)[..., lower[0], lower[1]])
    ess, r_hat = float(np.min(found.ess)), float(np.max(found.r_hat))
    diverged = bool(np.any(np.asarray(mcmc.get_extra_fields()["diverging"])))
    mixed = ess >= _MIN_ESS and r_hat <= _MAX_R_HAT and not diverged
    return CollapsedRun(
        mixing=draws.reshape(-1, size, size),
        block=_BLOCK,
        ess=ess,
        status=Status.CONVERGED if mixed else Status.MAX_STEPS,
    )
