"""Focusing with integer weights: the robust ensemble of a perceptron whose weights are -L..L.

Messages become distributions over the values of a weight. That of the patterns is Gaussian in the
weight, ``exp(B w - A w**2 / 2)``, and replicas are held together by
``exp(-gamma (w - centre)**2 / 2)``, which for ±1 is the coupling ``gamma w centre`` of `focusing`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from inference.checks import Floats, positive_int
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .dense_messages import SMALLEST_VARIANCE, absorb_labels, one_pass
from .problem import Problem
from .protocols import check_protocol, standard_reinforcement


class DiscretisedMessages(NamedTuple):
    """All that a sweep needs of the last."""

    fields: Floats
    """``(n_weights,)``, ``B``."""
    precision: float
    """``A``."""
    responses: Floats
    """``(n_patterns,)``."""


class DiscretisedTrace(NamedTuple):
    """One row a step of the protocol."""

    coupling: Floats
    n_replicas: Floats
    distance: Floats
    """Mean squared difference of a replica and the centre, a weight."""
    energy: NDArray[np.int64]
    """Errors of the most probable values."""


class DiscretisedResult(NamedTuple):
    """The best weights of a protocol."""

    weights: NDArray[np.int64]
    """``(n_inputs,)`` integers from ``-largest`` to ``largest``."""
    energy: int
    """Patterns whose label they get wrong; a sum of zero is wrong."""
    n_steps: int
    """Sweeps of message passing."""
    status: Status
    """CONVERGED if there is no error, else MAX_STEPS."""
    trace: DiscretisedTrace
    messages: DiscretisedMessages
    """To be handed back as ``init``, with the protocol that is left."""

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)


def focusing_bp_discretised(
    problem: Problem,
    protocol: ArrayLike | None = None,
    *,
    largest: int = 1,
    values: ArrayLike | None = None,
    damping: float = 0.5,
    init: DiscretisedMessages | None = None,
    stop_at_solution: bool = True,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> DiscretisedResult:
    """Look for integer weights without errors by focusing approximate message passing.

    Parameters
    ----------
    problem
        Patterns and labels, one hidden unit.
    protocol
        As in `focusing_bp`; standard reinforcement in steps of 0.01 if None.
    largest
        ``L``: weights are ``-L, ..., L``.
    values
        Other integer values of a weight instead, increasing.
    damping
        Share of the old messages that is kept, in [0, 1).
    init
        ``messages`` of an earlier result to go on from.
    stop_at_solution
        Whether to end as soon as there is no error.
    should_stop
        Asked before every step; True ends the protocol.
    progress
        Whether to draw a bar; None draws on a terminal.

    Returns
    -------
    DiscretisedResult
        Of the best weights seen.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from models.perceptron import random_patterns
    >>> found = focusing_bp_discretised(random_patterns(501, 0.8, seed=0), largest=2)
    >>> found.energy, int(abs(found.weights).max())
    (0, 2)
    """
    if problem.n_hidden > 1:
        raise ValueError(f"problem: expected one hidden unit, got {problem.n_hidden}")
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    levels = _levels(largest, values)
    steps = check_protocol(standard_reinforcement() if protocol is None else protocol)
    patterns = absorb_labels(problem)
    messages = _first(problem, init)
    pull = np.zeros((problem.n_inputs, len(levels)))
    best, lowest, rows, n_steps = None, problem.n_patterns + 1, [], 0
    with progress_bar(len(steps), "focusing", progress) as bar:
        for coupling, n_replicas in steps:
            if should_stop():
                break
            pull, _ = _pull(messages, levels, coupling, n_replicas)
            messages = _sweep(patterns, levels, messages, pull, damping)
            n_steps += 1
            pull, distance = _pull(messages, levels, coupling, n_replicas)
            weights = levels[np.argmax(_logs(messages, levels) + pull, axis=1)]
            energy = int(np.count_nonzero(patterns @ weights.astype(np.float32) <= 0))
            rows.append((coupling, n_replicas, distance, energy))
            if energy < lowest:
                best, lowest = weights, energy
                bar.set_postfix(errors=lowest, refresh=False)
            bar.update(1)
            if lowest == 0 and stop_at_solution:
                break
    if best is None:
        best = levels[np.argmax(_logs(messages, levels) + pull, axis=1)]
        lowest = int(np.count_nonzero(patterns @ best.astype(np.float32) <= 0))
    gamma, y, distances, energies = np.array(rows, float).reshape(-1, 4).T
    return DiscretisedResult(
        best.astype(np.int64), lowest, n_steps,
        Status.MAX_STEPS if lowest else Status.CONVERGED,
        DiscretisedTrace(gamma, y, distances, energies.astype(np.int64)), messages,
    )  # fmt: skip


def _levels(largest: int, values: ArrayLike | None) -> Floats:
    if values is None:
        largest = positive_int("largest", largest)
        return np.arange(-largest, largest + 1, dtype=np.float64)
    levels = np.asarray(values, dtype=np.float64)
    if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) > 0).all():
        raise ValueError(f"values: expected at least two increasing integers, got {values!r}")
    if not (levels == np.round(levels)).all():
        raise ValueError(f"values: expected integers, got {values!r}")
    return levels


def _first(problem: Problem, init: DiscretisedMessages | None) -> DiscretisedMessages:
    if init is None:
        return DiscretisedMessages(np.zeros(problem.n_inputs), 0.0, np.zeros(problem.n_patterns))
    if (len(init.fields), len(init.responses)) != (problem.n_inputs, problem.n_patterns):
        raise ValueError("init: expected the messages of a problem of this size")
    return init


def _logs(messages: DiscretisedMessages, levels: Floats) -> Floats:
    """Return what the patterns say of every value of every weight, ``(n_weights, n_levels)``."""
    logs = messages.fields[:, None] * levels - 0.5 * messages.precision * levels**2
    return np.asarray(logs - logsumexp(logs, axis=1, keepdims=True))


def _pull(
    messages: DiscretisedMessages, levels: Floats, coupling: float, n_replicas: float
) -> tuple[Floats, float]:
    """Return what the other replicas say, through the centre, and the distance to the centre."""
    logs = _logs(messages, levels)
    if np.isinf(coupling):
        return (n_replicas - 1.0) * logs, 0.0
    spring = -0.5 * coupling * (levels[:, None] - levels) ** 2
    heard = logsumexp(logs[:, :, None] + spring, axis=1)  # by the centre, from one replica
    others = (n_replicas - 1.0) * heard
    pull = logsumexp(others[:, None, :] + spring, axis=2)
    joint = logs[:, :, None] + spring + others[:, None, :]
    joint = np.exp(joint - logsumexp(joint, axis=(1, 2), keepdims=True))
    distance = float(np.mean((joint * (levels[:, None] - levels) ** 2).sum(axis=(1, 2))))
    return pull, distance


def _sweep(
    patterns: NDArray[np.int8], levels: Floats, messages: DiscretisedMessages, pull: Floats,
    damping: float,
) -> DiscretisedMessages:  # fmt: skip
    logs = _logs(messages, levels) + pull
    probs = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    means = probs @ levels
    variance = max(float(np.mean(probs @ levels**2 - means**2)), SMALLEST_VARIANCE)
    responses, update = messages.responses.copy(), np.empty_like(means)
    precision = one_pass(patterns, means, variance, responses, update)
    fields = update / np.sqrt(len(means)) + precision * means
    return DiscretisedMessages(
        damping * messages.fields + (1.0 - damping) * fields,
        damping * messages.precision + (1.0 - damping) * precision, responses,
    )  # fmt: skip
