"""What the fits climb, in double precision on the host, and how far from the top they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln

from inference.checks import Floats

from .device import GeneTable
from .updates import gene_log_likelihood

_LEAST_CONCENTRATION = 1e-8
_LEAST_RATE = 1e-300


def token_log_likelihood(table: GeneTable, membership: Floats, maps: Floats) -> float:
    """Return ``sum X log(membership maps)``: each gene on its device, their sum in double."""
    per_gene = gene_log_likelihood(table.values, *table.put_state(membership, maps))
    return float(table.host_rows(per_gene).sum())


def evidence_bound(
    table: GeneTable,
    gamma: Floats,
    lam: Floats,
    concentration: float,
    map_concentration: float,
) -> float:
    """Return the evidence lower bound at the best local factors.

    Of the cells in their order: the bound for counts has ``sum_g log(n_g! / prod X!)`` more.
    """
    log_membership, log_maps = mean_log(gamma), mean_log(lam)
    tokens = token_log_likelihood(table, np.exp(log_membership), np.exp(log_maps))
    return (
        tokens
        - _divergence(gamma, concentration, log_membership)
        - _divergence(lam, map_concentration, log_maps)
    )


def mean_log(concentration: Floats) -> Floats:
    """Return ``E log p`` under Dirichlet laws of the rows."""
    safe = np.maximum(concentration, _LEAST_CONCENTRATION)
    return digamma(safe) - digamma(safe.sum(axis=1, keepdims=True))


def kkt_residual(
    values: NDArray[np.int32],
    membership: Floats,
    maps: Floats,
    extra_membership: float = 0.0,
    extra_maps: float = 0.0,
) -> float:
    """Return how far both factors are from meeting the conditions of a mode.

    With ``s`` the factor by which an EM step multiplies an entry ``p``, a mode has ``s <= 1``, and
    ``s = 1`` where ``p > 0``. The residual is the largest of ``s - 1`` and ``p |s - 1|``.
    """
    types = maps.shape[0]
    to_maps = np.zeros_like(maps)
    worst = 0.0
    block = max(1, 2**22 // values.shape[1])
    for first in range(0, len(values), block):
        some, theta = values[first : first + block], membership[first : first + block]
        ratio = some / np.maximum(theta @ maps, _LEAST_RATE)
        total = some.sum(axis=1, keepdims=True) + types * extra_membership
        gain = ratio @ maps.T + _per_entry(extra_membership, theta)
        worst = max(worst, _violation(theta, gain / np.where(total > 0, total, np.inf), total > 0))
        to_maps += theta.T @ ratio
    total = (maps * to_maps).sum(axis=1, keepdims=True) + values.shape[1] * extra_maps
    gain = to_maps + _per_entry(extra_maps, maps)
    return max(worst, _violation(maps, gain / np.where(total > 0, total, np.inf), total > 0))


def _violation(prob: Floats, factor: Floats, used: NDArray[np.bool_]) -> float:
    excess = np.where(used, factor - 1.0, 0.0)
    return float(np.maximum(excess, prob * np.abs(excess)).max())


def _per_entry(extra: float, prob: Floats) -> Floats | float:
    return extra / np.maximum(prob, _LEAST_RATE) if extra else 0.0


def _divergence(parameters: Floats, concentration: float, log_prob: Floats) -> float:
    """Return the sum over rows of ``KL(Dirichlet(row) || Dirichlet(concentration))``.

    ``log_prob`` is what `mean_log` says of the rows.
    """
    size = parameters.shape[1]
    total = parameters.sum(axis=1)
    posterior = gammaln(total) - gammaln(parameters).sum(axis=1)
    prior = gammaln(size * concentration) - size * gammaln(concentration)
    return float((posterior - prior + ((parameters - concentration) * log_prob).sum(axis=1)).sum())
