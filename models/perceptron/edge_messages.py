"""Messages between patterns and weights, pattern after pattern: the compiled schedule.

A pattern tells each of its weights how much it prefers +1, as a half-field ``u``; the cavity field
of a weight is the sum of the messages of all other patterns and the external field, its
magnetization the hyperbolic tangent of that. A hidden unit sees the sum of its inputs, either as a
Gaussian of the same mean and variance or exactly, by convolution; the units of a committee see each
other through the vote. A pattern and its units are one factor: nothing is iterated inside.

arXiv 1511.05634 and 1605.06444. The parallel twin is `edge_flooding`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from inference.checks import Floats, Spins
from inference.kernels import RandomState, fill_tanh, kernel, log_normal_cdf, shuffle
from inference.progress import Stop, progress_bar

from .problem import Problem

LARGEST_MESSAGE = 30.0
"""Where messages saturate; tanh is 1 in double precision from 19 on."""
SMALLEST_VARIANCE = 1e-12
"""Of the sum of inputs that are all decided."""
_MODERATE = 20.0
"""Stabilities whose tails are far from underflow."""
_NODES = 12
"""Of Chebyshev interpolation."""
_WORTHWHILE = 4
"""Inputs a node from which on interpolation costs less."""
_RESOLVED = 2e-15
"""What the last coefficients may sum to: the rounding of the logarithms that they come from."""
_SQRT_HALF = math.sqrt(0.5)
_TINY = float(np.finfo(np.float64).tiny)
_EDGES_A_CALL = 2_000_000
"""Updates between two looks at the clock: a few tenths of a second."""


class EdgeMessages(NamedTuple):
    """Where the messages along edges ended."""

    messages: Floats
    """``(n_patterns, n_hidden, n_inputs)`` half-fields towards +1."""
    residual: float
    """Largest change that the last sweep asked for."""
    n_steps: int
    """Sweeps."""


def propagate_edges(
    problem: Problem,
    field: Floats,
    messages: Floats,
    *,
    exact: bool,
    damping: float,
    tol: float,
    max_steps: int,
    state: RandomState,
    stop: Stop,
    progress: bool | None,
) -> EdgeMessages:
    """Sweep over the patterns in random order until no message changes by more than ``tol``.

    ``field`` is ``(n_hidden, n_inputs)``; ``messages`` are changed in place.
    """
    order = np.arange(problem.n_patterns)
    n_call = max(1, _EDGES_A_CALL // messages.size)
    n_steps, residual = 0, np.inf
    with progress_bar(max_steps, "message passing", progress) as bar:
        while n_steps < max_steps and residual > tol and not stop():
            done, residual = _sweeps(
                problem.unit_inputs, problem.labels, field, messages, order, state, exact, damping,
                tol, min(n_call, max_steps - n_steps),
            )  # fmt: skip
            n_steps += done
            bar.update(done)
    return EdgeMessages(messages, float(residual), n_steps)


def edge_free_entropy(problem: Problem, field: Floats, messages: Floats, *, exact: bool) -> float:
    """Return the Bethe log of the sum of ``exp(field . W)`` over the solutions, in nats.

    Notes
    -----
    ``sum_a ln Z_a + sum_i [ln 2cosh T_i - sum_a (ln 2cosh T_i - ln 2cosh h_ia)]`` with the totals
    ``T`` and the cavity fields ``h``: the terms of the messages alone cancel.
    """
    return float(_free_entropy(problem.unit_inputs, problem.labels, field, messages, exact))


@kernel
def _log_add(a: float, b: float) -> float:
    top = max(a, b)
    return top if top == -np.inf else top + math.log1p(math.exp(min(a, b) - top))


@kernel
def _sum_log_2cosh(fields: Floats) -> float:
    """Return the sum of ln 2cosh over an array ``(n,)``, with few logarithms."""
    total, product = 0.0, 1.0
    for i in range(fields.size):
        size = abs(fields[i])
        total += size
        product *= 1.0 + math.exp(-2.0 * size)  # at most 2
        if i % 512 == 511:
            total += math.log(product)
            product = 1.0
    return total + math.log(product)


@kernel
def _count_positive(plus: Floats, minus: Floats, left: Floats, right: Floats) -> None:
    """Fill in how many terms are positive: among those before ``i``, and among ``i`` and later.

    ``plus`` and ``minus`` are ``(n,)`` complementary probabilities, ``left[i]`` and ``right[i]``
    distributions over counts, both ``(n + 1, n + 1)``.
    """
    n = plus.size
    left[:] = 0.0
    right[:] = 0.0
    left[0, 0] = 1.0
    right[n, 0] = 1.0
    for i in range(n):
        j = n - 1 - i
        left[i + 1, 0] = left[i, 0] * minus[i]
        right[j, 0] = right[j + 1, 0] * minus[j]
        for count in range(1, i + 2):
            left[i + 1, count] = left[i, count] * minus[i] + left[i, count - 1] * plus[i]
            right[j, count] = right[j + 1, count] * minus[j] + right[j + 1, count - 1] * plus[j]


@kernel
def _without(left: Floats, right: Floats, i: int, heads: Floats, tails: Floats) -> Any:
    """Return how likely all terms but ``i`` vote for -1, leave it to ``i``, or vote for +1."""
    n = left.shape[0] - 1
    needed = (n + 1) // 2
    n_right = n - 1 - i
    heads[0] = 0.0
    tails[n_right + 1] = 0.0
    for count in range(n_right + 1):
        heads[count + 1] = heads[count] + right[i + 1, count]
        back = n_right - count
        tails[back] = tails[back + 1] + right[i + 1, back]
    minus, undecided, plus = 0.0, 0.0, 0.0
    for before in range(i + 1):
        missing = needed - before
        here = left[i, before]
        minus += here * heads[min(max(missing - 1, 0), n_right + 1)]
        plus += here * tails[min(max(missing, 0), n_right + 1)]
        if 1 <= missing <= n_right + 1:
            undecided += here * right[i + 1, missing - 1]
    return minus, undecided, plus


@kernel
def _log_majority(right: Floats) -> Any:
    """Return the logs of the probabilities of a majority of -1 and of +1."""
    needed = right.shape[0] // 2
    minus, plus = right[0, :needed].sum(), right[0, needed:].sum()
    return math.log(max(minus, _TINY)), math.log(max(plus, _TINY))


@kernel
def _look_up(
    inputs: Spins, cavity: Floats, exact: bool, means: Floats, work: Floats, bits: Any,
    left: Floats, right: Floats,
) -> Any:  # fmt: skip
    """Return mean and variance of the sum of a unit, and the logs of P(-1) and P(+1).

    Fills the ``means`` of its terms and, if exact, ``left`` and ``right``.
    """
    fill_tanh(cavity, means, work[0], bits)
    mean, variance = 0.0, 0.0
    for i in range(inputs.size):
        means[i] *= inputs[i]
        mean += means[i]
        variance += work[0, i]
    if exact:
        plus = 1.0 / (1.0 + np.exp(-2.0 * inputs * cavity))
        minus = 1.0 / (1.0 + np.exp(2.0 * inputs * cavity))
        _count_positive(plus, minus, left, right)
        log_minus, log_plus = _log_majority(right)
    else:
        x = mean / math.sqrt(max(variance, SMALLEST_VARIANCE))
        log_minus, log_plus = log_normal_cdf(-x), log_normal_cdf(x)
    return mean, variance, log_minus, log_plus


@kernel
def _half_log_ratio(for_plus: float, for_minus: float) -> float:
    """Return the half-field of two weights, saturated; none if both vanish."""
    if for_plus <= 0.0 or for_minus <= 0.0:
        return LARGEST_MESSAGE * ((for_plus > 0.0) - (for_minus > 0.0))
    prefers = 0.5 * math.log(for_plus / for_minus)
    return min(max(prefers, -LARGEST_MESSAGE), LARGEST_MESSAGE)


@kernel
def _gaussian_preference(if_plus: float, if_minus: float, above: float, below: float) -> float:
    """Return the half-field towards the input that lets a unit answer as the label needs.

    The unit answers +1 with probability ``Phi(above)`` or ``Phi(below)`` if the input is +1 or -1,
    and the label follows with probability ``if_plus`` or ``if_minus``.
    """
    if max(abs(above), abs(below)) < _MODERATE:
        tail = 0.5 * math.erfc(abs(above) * _SQRT_HALF)
        plus, minus = (1.0 - tail, tail) if above > 0 else (tail, 1.0 - tail)
        for_plus = if_plus * plus + if_minus * minus
        tail = 0.5 * math.erfc(abs(below) * _SQRT_HALF)
        plus, minus = (1.0 - tail, tail) if below > 0 else (tail, 1.0 - tail)
        return _half_log_ratio(for_plus, if_plus * plus + if_minus * minus)
    log_if_plus, log_if_minus = np.log(if_plus), np.log(if_minus)
    prefers = 0.5 * (
        _log_add(log_if_plus + log_normal_cdf(above), log_if_minus + log_normal_cdf(-above))
        - _log_add(log_if_plus + log_normal_cdf(below), log_if_minus + log_normal_cdf(-below))
    )
    if prefers != prefers:  # both are impossible: the pattern says nothing
        return 0.0
    return min(max(prefers, -LARGEST_MESSAGE), LARGEST_MESSAGE)


@kernel
def _gaussian_preferences(
    if_plus: float, if_minus: float, mean: float, variance: float, terms: Floats, cosines: Floats,
    work: Floats, prefers: Floats,
) -> None:  # fmt: skip
    """Fill in the half-fields of all inputs of a unit.

    ``terms`` are the means of ``input * weight``; taking one from the sum leaves the mean
    ``mean - term`` and the variance ``variance - (1 - term**2)``: a smooth function of the term
    alone, interpolated by Chebyshev polynomials where these resolve it to rounding.
    """
    n_nodes = cosines.shape[0]
    if terms.size > _WORTHWHILE * n_nodes:
        values = np.empty(n_nodes)
        for node in range(n_nodes):
            term = cosines[1, node]
            scale = 1.0 / math.sqrt(max(variance - 1.0 + term * term, SMALLEST_VARIANCE))
            values[node] = _gaussian_preference(
                if_plus, if_minus, (mean - term + 1.0) * scale, (mean - term - 1.0) * scale
            )
        coefficients = np.empty(n_nodes)
        largest = 0.0
        for degree in range(n_nodes):
            coefficients[degree] = 2.0 / n_nodes * (cosines[degree] * values).sum()
            largest = max(largest, abs(coefficients[degree]))
        rest = abs(coefficients[n_nodes - 1]) + abs(coefficients[n_nodes - 2])
        if rest <= _RESOLVED * max(largest, 1.0):
            # Clenshaw's recurrence, all terms side by side
            now, before = work[0], work[1]
            now[:] = 0.0
            before[:] = 0.0
            for degree in range(n_nodes - 1, 0, -1):
                coefficient = coefficients[degree]
                for i in range(terms.size):
                    following = 2.0 * terms[i] * now[i] - before[i] + coefficient
                    before[i] = now[i]
                    now[i] = following
            for i in range(terms.size):
                prefers[i] = terms[i] * now[i] - before[i] + 0.5 * coefficients[0]
            return
    for i in range(terms.size):
        term = terms[i]
        scale = 1.0 / math.sqrt(max(variance - 1.0 + term * term, SMALLEST_VARIANCE))
        prefers[i] = _gaussian_preference(
            if_plus, if_minus, (mean - term + 1.0) * scale, (mean - term - 1.0) * scale
        )


@kernel
def _exact_preferences(
    if_plus: float, if_minus: float, left: Floats, right: Floats, heads: Floats, tails: Floats,
    prefers: Floats,
) -> None:  # fmt: skip
    """Fill in the half-fields of all inputs of a unit, from the counts before and after each."""
    for i in range(prefers.size):
        minus, undecided, plus = _without(left, right, i, heads, tails)
        prefers[i] = _half_log_ratio(
            if_plus * (plus + undecided) + if_minus * minus,
            if_plus * plus + if_minus * (minus + undecided),
        )


@kernel
def _sweeps(
    inputs: Spins, labels: Spins, field: Floats, messages: Floats, order: Any, state: RandomState,
    exact: bool, damping: float, tol: float, n_sweeps: int,
) -> Any:  # fmt: skip
    n_hidden, n_inputs = field.shape
    longest = max(n_inputs if exact else 0, n_hidden)
    heads, tails = np.empty(longest + 2), np.empty(longest + 2)
    unit_size = n_inputs + 1 if exact else 0
    left = np.empty((n_hidden, unit_size, unit_size))
    right = np.empty((n_hidden, unit_size, unit_size))
    vote_left = np.empty((n_hidden + 1, n_hidden + 1))
    vote_right = np.empty((n_hidden + 1, n_hidden + 1))
    cavity = np.empty((n_hidden, n_inputs))
    means = np.empty((n_hidden, n_inputs))
    sums = np.empty((n_hidden, 4))
    prefers, work = np.empty(n_inputs), np.empty((2, n_inputs))
    bits = np.empty(n_inputs, np.int64)
    # Chebyshev polynomials, by degree, at their nodes
    angles = math.pi * (np.arange(_NODES) + 0.5) / _NODES
    cosines = np.cos(np.arange(_NODES)[:, None] * angles)
    largest = np.inf
    for sweep in range(n_sweeps):
        totals = field.copy()
        for pattern in range(labels.size):
            totals += messages[pattern]
        shuffle(order, state)
        largest = 0.0
        for pattern in order:
            for unit in range(n_hidden):
                for i in range(n_inputs):
                    cavity[unit, i] = totals[unit, i] - messages[pattern, unit, i]
                mean, variance, log_minus, log_plus = _look_up(
                    inputs[pattern, unit % inputs.shape[1]], cavity[unit], exact, means[unit],
                    work, bits, left[unit], right[unit],
                )  # fmt: skip
                sums[unit] = mean, variance, log_minus, log_plus
            _count_positive(np.exp(sums[:, 3]), np.exp(sums[:, 2]), vote_left, vote_right)
            for unit in range(n_hidden):
                # probabilities of the label if this unit answers +1, and if -1
                minus, undecided, plus = _without(vote_left, vote_right, unit, heads, tails)
                if_plus, if_minus = plus + undecided, plus
                if labels[pattern] < 0:
                    if_plus, if_minus = minus, minus + undecided
                if exact:
                    _exact_preferences(
                        if_plus, if_minus, left[unit], right[unit], heads, tails, prefers
                    )
                else:
                    _gaussian_preferences(
                        if_plus, if_minus, sums[unit, 0], sums[unit, 1], means[unit], cosines, work,
                        prefers,
                    )  # fmt: skip
                signs = inputs[pattern, unit % inputs.shape[1]]
                for i in range(n_inputs):
                    old = messages[pattern, unit, i]
                    new = signs[i] * prefers[i]
                    largest = max(largest, abs(new - old))
                    new = damping * old + (1.0 - damping) * new
                    messages[pattern, unit, i] = new
                    totals[unit, i] += new - old
        if largest <= tol:
            return sweep + 1, largest
    return n_sweeps, largest


@kernel
def _free_entropy(
    inputs: Spins, labels: Spins, field: Floats, messages: Floats, exact: bool
) -> float:
    n_hidden, n_inputs = field.shape
    unit_size = n_inputs + 1 if exact else 0
    left, right = np.empty((unit_size, unit_size)), np.empty((unit_size, unit_size))
    vote_left = np.empty((n_hidden + 1, n_hidden + 1))
    vote_right = np.empty((n_hidden + 1, n_hidden + 1))
    means, work = np.empty(n_inputs), np.empty((2, n_inputs))
    bits = np.empty(n_inputs, np.int64)
    log_minus, log_plus = np.empty(n_hidden), np.empty(n_hidden)
    totals = field.copy()
    for pattern in range(labels.size):
        totals += messages[pattern]
    total = 0.0
    for unit in range(n_hidden):
        total += (1 - labels.size) * _sum_log_2cosh(totals[unit])
    for pattern in range(labels.size):
        for unit in range(n_hidden):
            cavity = totals[unit] - messages[pattern, unit]
            _, _, log_minus[unit], log_plus[unit] = _look_up(
                inputs[pattern, unit % inputs.shape[1]], cavity, exact, means, work, bits, left,
                right,
            )  # fmt: skip
            total += _sum_log_2cosh(cavity)
        answer_minus, answer_plus = log_minus[0], log_plus[0]
        if n_hidden > 1:
            _count_positive(np.exp(log_plus), np.exp(log_minus), vote_left, vote_right)
            answer_minus, answer_plus = _log_majority(vote_right)
        total += answer_plus if labels[pattern] > 0 else answer_minus
    return total
