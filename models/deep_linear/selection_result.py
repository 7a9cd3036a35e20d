"""What a comparison of networks by evidence answers: probabilities, a table, predictions."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats
from inference.status import Status

from .compression import CompressedData, with_test_inputs
from .evidence_batch import Evidence, heaviest
from .predictive import Nodes, PosteriorResult, Predictive, summarise
from .theory import Architecture

NEGLIGIBLE = 1e-6  # posterior probability below which a model is left out of averages
_MANY = 1 << 9  # nodes are padded to powers of two from here on, to share compiled programs

Kernel = tuple[float, float]


class Choice(NamedTuple):
    """The pair of highest posterior probability."""

    architecture: Architecture
    beta: float
    posterior: PosteriorResult


@dataclass(frozen=True)
class SelectionTable:
    """One row a pair of network and noise level; ``print`` shows them aligned."""

    rows: tuple[dict[str, Any], ...]
    """Kernels ``widths``, ``precisions``, ``bias_scale``, ``beta``, ``log_evidence``,
    ``log_evidence_error``, ``probability``, ``method``, ``status``; the best row first, those that
    failed last."""

    def __str__(self) -> str:
        heads = ("widths", "precisions", "beta", "log evidence", "probability", "method", "status")
        cells = [heads, *map(_cells, self.rows)]
        sizes = [max(len(row[place]) for row in cells) for place in range(len(heads))]
        return "\n".join(
            "  ".join(cell.ljust(size) for cell, size in zip(row, sizes)).rstrip() for row in cells
        )

    def save(self, path: str | Path) -> Path:
        """Write the rows as comma-separated values; lists have spaces between their numbers."""
        target = Path(path)
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self.rows[0]))
            writer.writeheader()
            for row in self.rows:
                writer.writerow({name: _cell(value) for name, value in row.items()})
        return target


@dataclass(frozen=True)
class AveragedPredictive:
    """Posterior predictive at ``m`` test points, averaged over networks and noise levels.

    Attributes
    ----------
    mean
        Of the latent function, ``(m, D)``.
    covariance
        Of the latent function, one ``(D, D)`` matrix a point, ``(m, D, D)``: the average within
        the models plus the spread of their means (law of total covariance).
    noise_variance
        Of one observation around the function, averaged over the models: the mean of ``1 / beta``.
    probabilities
        Of the noise levels (and kernels) that were averaged, renormalised.
    """

    mean: jax.Array
    covariance: jax.Array
    noise_variance: float
    probabilities: Floats
    parts: tuple[Predictive, ...] = field(repr=False)

    def log_prob(self, y: ArrayLike) -> jax.Array:
        """Return the log-density of observations under the mixture of all models, ``(m,)``.

        Parameters
        ----------
        y
            ``(m, D)``, or ``(m,)`` for one output; the noise of every model is included.

        Raises
        ------
        ValueError
            If the shape does not fit.
        """
        each = jnp.stack([part.log_prob(y) for part in self.parts])
        return jax.scipy.special.logsumexp(each + np.log(self.probabilities)[:, None], axis=0)


@dataclass(frozen=True)
class Selection:
    """Evidence of every network at every noise level; build it with `select`.

    Attributes
    ----------
    architectures
        As given, ``n_architectures`` of them.
    betas
        Noise precisions, ``(n_betas,)``.
    log_evidence, log_evidence_error
        ``(n_architectures, n_betas)``, nats; the error is 0 where nothing was sampled.
    status
        ``(n_architectures, n_betas)``, codes of `inference.status.Status`.
    methods
        ``(n_architectures, n_betas)``, the method that was used.
    probabilities
        Posterior probabilities of the pairs, ``(n_architectures, n_betas)``; 0 where the status
        is a failure.
    best
        ``(architecture, beta, posterior)`` of the pair of highest probability.
    """

    architectures: tuple[Architecture, ...]
    betas: Floats
    log_evidence: Floats
    log_evidence_error: Floats
    status: NDArray[np.int64]
    methods: NDArray[np.str_]
    probabilities: Floats
    best: Choice
    _data: Mapping[Kernel, CompressedData] = field(repr=False)
    _found: Mapping[tuple[int, int], Evidence] = field(repr=False)

    @property
    def architecture_probabilities(self) -> Floats:
        """Posterior probabilities of the networks, ``(n_architectures,)``."""
        return np.asarray(self.probabilities.sum(axis=1))

    @property
    def beta_probabilities(self) -> Floats:
        """Posterior probabilities of the noise levels, ``(n_betas,)``."""
        return np.asarray(self.probabilities.sum(axis=0))

    def table(self) -> SelectionTable:
        """Return one row a pair, sorted by evidence, those that failed last.

        Returns
        -------
        SelectionTable
            ``print`` it, or take its ``rows``, a tuple of dictionaries.
        """
        ranks = np.where(self.status == Status.CONVERGED, self.log_evidence, -np.inf)
        pairs = [np.unravel_index(k, ranks.shape) for k in np.argsort(-ranks, None, kind="stable")]
        return SelectionTable(tuple(self._row(int(i), int(j)) for i, j in pairs))

    def _row(self, i: int, j: int) -> dict[str, Any]:
        architecture = self.architectures[i]
        return {
            "widths": architecture.widths,
            "precisions": architecture.precisions,
            "bias_scale": architecture.bias_scale,
            "beta": float(self.betas[j]),
            "log_evidence": float(self.log_evidence[i, j]),
            "log_evidence_error": float(self.log_evidence_error[i, j]),
            "probability": float(self.probabilities[i, j]),
            "method": str(self.methods[i, j]),
            "status": Status(int(self.status[i, j])).name,
        }

    def predict(self, x_test: ArrayLike) -> AveragedPredictive:
        """Return the predictive averaged over all pairs, weighted by their probabilities.

        Parameters
        ----------
        x_test
            Test inputs, ``(m, n_inputs)``, centred and scaled as ``x`` was.

        Returns
        -------
        AveragedPredictive

        Raises
        ------
        TypeError, ValueError
            If the shape does not fit or an entry is not finite.

        Notes
        -----
        Pairs of probability below 1e-6 are left out and the others renormalised: densities change
        by at most that share for every pair left out. Networks that share kernel and noise are one
        mixture over the mixing matrix, which costs as much as a single network.
        """
        groups: dict[tuple[Kernel, int], list[tuple[int, int]]] = {}
        for i, j in sorted(self._found):
            groups.setdefault((kernel_of(self.architectures[i]), j), []).append((i, j))
        tested: dict[Kernel, CompressedData] = {}
        parts, weights = [], []
        for (key, _), pairs in groups.items():
            first = self.architectures[pairs[0][0]]
            if key not in tested:
                tested[key] = with_test_inputs(self._data[key], x_test, first)
            parts.append(self._pooled(pairs, tested[key]).predict())
            weights.append(sum(self.probabilities[pair] for pair in pairs))
        shares = np.array(weights) / np.sum(weights)
        mean = sum(share * part.mean for share, part in zip(shares, parts))
        covariance = jnp.zeros_like(parts[0].covariance)
        for share, part in zip(shares, parts):
            shift = part.mean - mean
            covariance += share * (part.covariance + shift[:, :, None] * shift[:, None, :])
        noise = float(sum(share / self.betas[j] for share, (_, j) in zip(shares, groups)))
        return AveragedPredictive(jnp.asarray(mean), covariance, noise, shares, tuple(parts))

    def _pooled(self, pairs: list[tuple[int, int]], data: CompressedData) -> PosteriorResult:
        """Return one posterior for several networks of one kernel and noise level."""
        weights = np.array([self.probabilities[pair] for pair in pairs])
        mixing = np.concatenate([self._found[pair].mixing for pair in pairs])
        log_weights = np.concatenate(
            [
                self._found[pair].log_weights + math.log(weight)
                for pair, weight in zip(pairs, weights / weights.sum())
            ]
        )
        mixing, log_weights = heaviest(mixing, log_weights)
        missing = (1 << max(len(mixing), _MANY).bit_length()) - len(mixing)
        nodes = Nodes(
            jnp.asarray(np.concatenate([mixing, np.repeat(mixing[:1], missing, axis=0)])),
            jnp.asarray(np.pad(log_weights, (0, missing), constant_values=-np.inf)),
            block=0,
        )
        i, j = pairs[0]
        asked = (data, self.architectures[i], float(self.betas[j]))
        return summarise(nodes, asked, method="average", status=Status.CONVERGED)


def kernel_of(architecture: Architecture) -> Kernel:
    """Return what two networks must share to share their kernel."""
    return architecture.precisions[0], architecture.bias_scale


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    error = row["log_evidence_error"]
    return (
        " ".join(map(str, row["widths"])) or "none",
        _numbers(row["precisions"]),
        f"{row['beta']:.4g}",
        f"{row['log_evidence']:.4f}" + (f" ± {error:.2g}" if error else ""),
        f"{row['probability']:.4f}",
        row["method"],
        row["status"],
    )


def _numbers(values: Sequence[float]) -> str:
    shown = values[:1] if len(set(values)) == 1 else values
    return " ".join(f"{value:g}" for value in shown)


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
