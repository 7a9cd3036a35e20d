"""The exact answer for small machines: all weights looked at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Floats, Spins
from inference.kernels import kernel

from .problem import Problem, check_weights
from .propagation import field_array

MOST_WEIGHTS = 25


class Solutions(NamedTuple):
    """All weights that make no error."""

    codes: NDArray[np.uint32]
    """``(n_solutions,)`` increasing; bit ``i`` is set where weight ``i`` (in row order) is +1."""
    problem: Problem

    @property
    def n_solutions(self) -> int:
        """Their number."""
        return len(self.codes)

    def weights(self) -> Spins:
        """Return ``(n_solutions, *weights_shape)`` ±1."""
        bits = (self.codes[:, None] >> np.arange(self.problem.n_weights, dtype=np.uint32)) & 1
        spins = 2 * bits.astype(np.int8) - 1
        return spins.reshape(-1, *self.problem.weights_shape)

    def distances(self, reference: ArrayLike) -> NDArray[np.int64]:
        """Return in how many weights each solution differs from a reference ±1."""
        spins = check_weights("reference", reference, self.problem).ravel()
        code = np.uint32(sum(1 << i for i, spin in enumerate(spins) if spin > 0))
        return np.bitwise_count(self.codes ^ code).astype(np.int64)


class ExactCounts(NamedTuple):
    """Sums over all solutions."""

    n_solutions: int
    log_partition: float
    """Log of the sum of ``exp(sum_i field_i W_i)``; minus infinity without solutions."""
    magnetizations: Floats
    """Means, of the shape of the weights; zero without solutions."""


def enumerate_solutions(problem: Problem) -> Solutions:
    """Find all solutions of a problem of at most 25 weights.

    Raises
    ------
    ValueError
        If the problem has more.

    Notes
    -----
    Weights are changed one at a time in the order of a Gray code, O(n_patterns) each.

    Examples
    --------
    >>> from models.perceptron import Problem
    >>> enumerate_solutions(Problem([[1, 1, 1], [1, 1, -1]], [1, 1])).weights().tolist()
    [[1, 1, -1], [1, 1, 1]]
    >>> enumerate_solutions(Problem([[1, 1, 1], [1, 1, 1]], [1, -1])).n_solutions
    0
    """
    if problem.n_weights > MOST_WEIGHTS:
        raise ValueError(f"problem: expected at most {MOST_WEIGHTS} weights, got {problem!r}")
    codes = _solutions(problem.unit_inputs, problem.labels, problem.n_hidden)
    return Solutions(np.sort(codes), problem)


def exact_marginals(problem: Problem, *, field: ArrayLike = 0.0) -> ExactCounts:
    """Return number, log-partition and means of the solutions of at most 25 weights.

    Parameters
    ----------
    problem
        Patterns and labels.
    field
        Finite scalar or array of the shape of the weights, as in `belief_propagation`.

    Raises
    ------
    ValueError
        If the problem has more weights or the field does not fit.
    """
    external = field_array(field, problem).ravel()
    solutions = enumerate_solutions(problem)
    if solutions.n_solutions == 0:
        return ExactCounts(0, -np.inf, np.zeros(problem.weights_shape))
    weights = solutions.weights().reshape(solutions.n_solutions, -1)
    logs = weights @ external
    shares = np.exp(logs - logs.max())
    total = shares.sum()
    means = (shares @ weights / total).reshape(problem.weights_shape)
    return ExactCounts(solutions.n_solutions, float(logs.max() + np.log(total)), means)


@kernel
def _solutions(inputs: Spins, labels: Spins, n_hidden: int) -> Any:
    n_patterns, n_blocks, n_inputs = inputs.shape
    n_weights = n_hidden * n_inputs
    sums = np.zeros((n_patterns, n_hidden), np.int64)
    for pattern in range(n_patterns):
        for unit in range(n_hidden):
            for i in range(n_inputs):
                sums[pattern, unit] -= inputs[pattern, unit % n_blocks, i]
    found = np.empty(1024, np.uint32)
    n_found = 0
    code = 0
    for step in range(2**n_weights):
        solved = True
        for pattern in range(n_patterns):
            votes = 0
            for unit in range(n_hidden):
                votes += 1 if sums[pattern, unit] > 0 else -1
            if votes * labels[pattern] < 0:
                solved = False
                break
        if solved:
            if n_found == found.size:
                found = np.concatenate((found, np.empty_like(found)))
            found[n_found] = code
            n_found += 1
        # the lowest set bit of the next step is the weight that a Gray code changes
        weight = 0
        while weight < n_weights and not (step + 1) >> weight & 1:
            weight += 1
        if weight == n_weights:
            break
        code ^= 1 << weight
        change = 2 if code >> weight & 1 else -2
        unit, i = weight // n_inputs, weight % n_inputs
        for pattern in range(n_patterns):
            sums[pattern, unit] += change * inputs[pattern, unit % n_blocks, i]
    return found[:n_found].copy()
