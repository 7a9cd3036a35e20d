"""Approximate message passing on a perceptron: one field a pattern, one a weight, compiled.

Gaussian messages differ little from edge to edge when every pattern sees every weight; expanding
the differences leaves two products with the patterns a sweep. Patterns stay 8-bit integers and are
read once: a group of rows makes its sums, its responses, and its share of the fields.

Onsager form of arXiv 1511.05634; labels are absorbed in the patterns. The parallel twin is
`dense_flooding`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.checks import Floats, Spins
from inference.kernels import fill_tanh, log_normal_cdf, reduction_kernel
from inference.progress import Stop, progress_bar

from .problem import Problem

SMALLEST_VARIANCE = 1e-9
"""Of the weights, where all are decided."""
_ENTRIES_A_CALL = 300_000_000
"""Entries of the patterns between two looks at the clock: a few tenths of a second."""
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class DenseMessages(NamedTuple):
    """Fields of the weights and responses of the patterns: all that a sweep needs of the last."""

    fields: NDArray[np.floating[Any]]
    """``(n_weights,)`` what the patterns say of each weight, without the external field."""
    responses: NDArray[np.floating[Any]]
    """``(n_patterns,)`` d log P(pattern) / d sum."""


class DenseResult(NamedTuple):
    """Where approximate message passing ended."""

    messages: DenseMessages
    residual: float
    """Largest change of a magnetization in the last sweep, over ``1 - damping``."""
    n_steps: int


def absorb_labels(problem: Problem) -> Spins:
    """Return patterns times labels, ``(n_patterns, n_weights)``: every label is +1 then."""
    if (problem.labels > 0).all():
        return problem.patterns  # they may be large
    return problem.patterns * problem.labels[:, None]


def silent(patterns: Spins, dtype: Any = np.float64) -> DenseMessages:
    """Return messages that say nothing, of single or double precision."""
    n_patterns, n_weights = patterns.shape
    return DenseMessages(np.zeros(n_weights, dtype), np.zeros(n_patterns, dtype))


def propagate_densely(
    patterns: Spins,
    field: Floats,
    messages: DenseMessages,
    *,
    damping: float,
    tol: float,
    max_steps: int,
    stop: Stop,
    progress: bool | None = False,
) -> DenseResult:
    """Iterate until no magnetization changes by more than ``tol``.

    Parameters
    ----------
    patterns
        ``(n_patterns, n_weights)`` with their labels absorbed.
    field
        ``(n_weights,)`` external field.
    messages
        Where to start; left alone. Their type is the precision of the sweeps.
    damping
        Share of the old fields that is kept. (Damped responses lead to wrong, polarised states.)
    tol, max_steps, stop, progress
        When to end.
    """
    fields, responses = messages.fields.copy(), messages.responses.copy()
    external = field.astype(fields.dtype)
    n_call = max(1, _ENTRIES_A_CALL // patterns.size)
    n_steps, residual = 0, np.inf
    with progress_bar(max_steps, "message passing", progress) as bar:
        while n_steps < max_steps and residual > tol and not stop():
            done, residual = _sweeps(
                patterns,
                external,
                fields,
                responses,
                damping,
                tol,
                min(n_call, max_steps - n_steps),
            )
            n_steps += done
            bar.update(done)
    return DenseResult(DenseMessages(fields, responses), float(residual), n_steps)


def dense_free_entropy(patterns: Spins, field: Floats, messages: DenseMessages) -> float:
    """Return the Bethe log of the sum of ``exp(field . W)`` over the solutions, in nats.

    Notes
    -----
    ``sum_a [ln Phi(w_a / sqrt V) + (w_a - s_a)^2 / 2V] + sum_i [ln 2cosh(B_i + f_i) - B_i m_i]``
    with ``s = X m / sqrt N`` and ``w = s - V g``; in double precision whatever the messages are.
    """
    return float(
        _free_entropy(
            patterns, field, messages.fields.astype(np.float64),
            messages.responses.astype(np.float64),
        )
    )  # fmt: skip


@reduction_kernel
def _respond(stability: float, deviation: float) -> Any:
    """Return the response g = d log Phi / d stability of a pattern, and -dg / d stability."""
    z = stability / deviation
    response = math.exp(-0.5 * z * z - _HALF_LOG_2PI - log_normal_cdf(z)) / deviation
    return response, response * (response + z / deviation)


@reduction_kernel
def one_pass(
    patterns: Spins, magnetizations: Any, variance: float, responses: Any, update: Any
) -> float:
    """Read the patterns once: renew the responses, return the mean slope of the weights.

    ``magnetizations`` are the means of the weights, of mean variance ``variance``; ``update``
    becomes ``responses @ patterns``, all in the precision of the responses.
    """
    n_patterns, n_weights = patterns.shape
    dtype = responses.dtype
    scale = 1.0 / math.sqrt(n_weights)
    deviation = math.sqrt(variance)
    slopes = 0.0
    update[:] = 0
    row = 0
    while row < n_patterns:
        rows = min(4, n_patterns - row)
        if rows == 4:
            # four rows at once: the magnetizations and the update are read a quarter as often
            x0, x1, x2, x3 = (
                patterns[row], patterns[row + 1], patterns[row + 2], patterns[row + 3],
            )  # fmt: skip
            s0 = s1 = s2 = s3 = dtype.type(0)
            for i in range(n_weights):
                m = magnetizations[i]
                s0 += x0[i] * m
                s1 += x1[i] * m
                s2 += x2[i] * m
                s3 += x3[i] * m
            g0, slope0 = _respond(s0 * scale - variance * responses[row], deviation)
            g1, slope1 = _respond(s1 * scale - variance * responses[row + 1], deviation)
            g2, slope2 = _respond(s2 * scale - variance * responses[row + 2], deviation)
            g3, slope3 = _respond(s3 * scale - variance * responses[row + 3], deviation)
            slopes += slope0 + slope1 + slope2 + slope3
            responses[row], responses[row + 1] = g0, g1
            responses[row + 2], responses[row + 3] = g2, g3
            f0, f1, f2, f3 = responses[row : row + 4]
            for i in range(n_weights):
                update[i] += x0[i] * f0 + x1[i] * f1 + x2[i] * f2 + x3[i] * f3
        else:
            for one in range(row, n_patterns):
                s0 = dtype.type(0)
                for i in range(n_weights):
                    s0 += patterns[one, i] * magnetizations[i]
                g0, slope0 = _respond(s0 * scale - variance * responses[one], deviation)
                slopes += slope0
                responses[one] = g0
                f0 = responses[one]
                for i in range(n_weights):
                    update[i] += patterns[one, i] * f0
        row += rows
    return slopes / n_weights


@reduction_kernel
def _sweeps(
    patterns: Spins, external: Any, fields: Any, responses: Any, damping: float, tol: float,
    n_sweeps: int,
) -> Any:  # fmt: skip
    n_weights = patterns.shape[1]
    scale = 1.0 / math.sqrt(n_weights)
    update, totals, moved = np.empty_like(fields), fields + external, np.empty_like(fields)
    magnetizations, variances = np.empty_like(fields), np.empty_like(fields)
    scratch = np.empty(n_weights, np.int64)
    fill_tanh(totals, magnetizations, variances, scratch)
    residual = np.inf
    for sweep in range(n_sweeps):
        total = 0.0
        for i in range(n_weights):
            total += variances[i]
        variance = max(total / n_weights, SMALLEST_VARIANCE)
        slopes = one_pass(patterns, magnetizations, variance, responses, update)
        residual = 0.0
        for i in range(n_weights):
            new = update[i] * scale + slopes * magnetizations[i]
            fields[i] = damping * fields[i] + (1.0 - damping) * new
            totals[i] = fields[i] + external[i]
        fill_tanh(totals, moved, variances, scratch)
        for i in range(n_weights):
            residual = max(residual, abs(moved[i] - magnetizations[i]))
        magnetizations, moved = moved, magnetizations
        residual /= 1.0 - damping
        if not residual > tol:
            return sweep + 1, residual
    return n_sweeps, residual


@reduction_kernel
def _free_entropy(patterns: Spins, external: Floats, fields: Floats, responses: Floats) -> float:
    n_patterns, n_weights = patterns.shape
    scale = 1.0 / math.sqrt(n_weights)
    magnetizations = np.tanh(fields + external)
    variance = max(1.0 - (magnetizations**2).sum() / n_weights, SMALLEST_VARIANCE)
    total = 0.0
    for i in range(n_weights):
        size = abs(fields[i] + external[i])
        total += size + math.log1p(math.exp(-2.0 * size)) - fields[i] * magnetizations[i]
    for row in range(n_patterns):
        stability = 0.0
        for i in range(n_weights):
            stability += patterns[row, i] * magnetizations[i]
        onsager = variance * responses[row]
        z = (stability * scale - onsager) / math.sqrt(variance)
        total += log_normal_cdf(z) + onsager * onsager / (2.0 * variance)
    return total
