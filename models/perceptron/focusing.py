"""Focusing belief propagation: messages of a machine coupled to ``y - 1`` copies of itself.

Every weight also receives what the other replicas say of it through their common centre. All
replicas being alike, that is a function of the weight's own messages; letting their number or the
coupling grow leads the messages from all solutions to one amid many (arXiv 1605.06444).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checkpoints import Place, kept
from inference.checks import Floats, Spins, one_of, positive, positive_int
from inference.kernels import RandomState, random_state, uniform
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .dense_messages import (
    DenseMessages,
    absorb_labels,
    dense_free_entropy,
    propagate_densely,
    silent,
)
from .edge_messages import edge_free_entropy, propagate_edges
from .problem import Problem
from .propagation import METHODS, Method
from .protocols import check_protocol, standard_reinforcement

FIRST_STEP = 0.01
"""Of the default protocol."""
_HALVINGS = 3
"""Times that the default protocol starts again with half the step."""


class FocusingTrace(NamedTuple):
    """One row a step of the protocol; of the last attempt, if the protocol was started again."""

    coupling: Floats
    """``gamma``."""
    n_replicas: Floats
    """``y``."""
    overlap: Floats
    """Mean overlap of a replica with the centre."""
    local_entropy: Floats
    """Log number of solutions around the centre at that overlap, a weight, in nats: a number to
    trust where the messages have converged, an indication elsewhere."""
    energy: NDArray[np.int64]
    """Errors of the signs of the weights."""
    n_sweeps: NDArray[np.int64]
    """Of message passing so far."""


class FocusingState(NamedTuple):
    """All that a protocol needs to go on."""

    messages: Any
    generator: RandomState
    """Of the order of the patterns along edges."""


class FocusingResult(NamedTuple):
    """The best weights of a protocol."""

    weights: Spins
    """±1, of the shape of the problem's weights."""
    energy: int
    """Number of errors."""
    n_steps: int
    """Sweeps of message passing, of all attempts."""
    status: Status
    """CONVERGED if there is no error, else MAX_STEPS."""
    trace: FocusingTrace
    state: FocusingState
    """To be handed back as ``init``, with the protocol that is left: a run in parts is the run in
    one."""

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)


def focusing_bp(
    problem: Problem,
    protocol: ArrayLike | None = None,
    *,
    method: Method | None = None,
    damping: float = 0.5,
    max_sweeps: int = 1,
    tol: float = 1e-3,
    spread: float = 0.5,
    seed: int = 0,
    init: FocusingState | None = None,
    stop_at_solution: bool = True,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> FocusingResult:
    """Look for weights without errors by focusing belief propagation.

    Parameters
    ----------
    problem
        Patterns and labels.
    protocol
        ``(n_steps, 2)`` couplings and numbers of replicas: `standard_reinforcement`,
        `pseudo_reinforcement`, `scoping`, or any such array. None is standard reinforcement in
        steps of 0.01, started again with half the step up to three times if it fails.
    method
        Of message passing, as in `belief_propagation`; None is ``"amp"`` for a perceptron and
        ``"gaussian"`` for a committee. Real data, whose inputs are correlated, need
        ``"gaussian"``.
    damping
        Share of the old messages that is kept, in [0, 1). Without, sweeps over all patterns at
        once do not focus.
    max_sweeps
        Most sweeps a step; 1 follows the protocol without waiting for convergence.
    tol
        A step ends early once nothing changes by more.
    spread
        Largest first message along an edge: it tells the units of a committee apart. If it is
        small, they may come apart too late.
    seed
        Of the first messages and of the order of the patterns.
    init
        ``state`` of an earlier result to go on from.
    stop_at_solution
        Whether to end as soon as the signs of the weights make no error.
    should_stop
        Asked before every step; True ends the protocol.
    progress
        Whether to draw a bar over the steps; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    FocusingResult
        Of the best weights seen.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    With the field ``h`` that the patterns exert on a weight, the other replicas send it
    ``amul((y - 1) amul(h, gamma), gamma)``, ``amul(a, b) = atanh(tanh a tanh b)``; infinite
    coupling is reinforcement, ``(y - 1) h``.

    Examples
    --------
    >>> from models.perceptron import random_patterns
    >>> problem = random_patterns(1001, 0.6, seed=0)
    >>> found = focusing_bp(problem)
    >>> found.energy, problem.energy(found.weights)
    (0, 0)
    """
    method = ("amp" if problem.n_hidden == 1 else "gaussian") if method is None else method
    one_of("method", method, METHODS)
    if method == "amp" and problem.n_hidden > 1:
        raise ValueError("method: expected 'gaussian' or 'exact' for a committee, got 'amp'")
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    positive_int("max_sweeps", max_sweeps)
    positive("tol", tol)
    positive("spread", spread)
    state = random_state(seed) if init is None else init.generator.copy()
    if protocol is None:
        attempts = [standard_reinforcement(FIRST_STEP / 2**i) for i in range(_HALVINGS + 1)]
    else:
        attempts = [check_protocol(protocol)]
    engine: Any = (_Dense if method == "amp" else _Edges)(
        problem, method == "exact", damping, state
    )

    def first() -> Any:
        return engine.first(spread) if init is None else engine.checked(init.messages)

    best, lowest, n_sweeps = None, problem.n_patterns + 1, 0
    with kept(
        checkpoint, "perceptron.focusing_bp", problem=problem, attempts=attempts, method=method,
        damping=damping, max_sweeps=max_sweeps, tol=tol, spread=spread, seed=seed, init=init,
        stop_at_solution=stop_at_solution,
    ) as keep:  # fmt: skip
        number, n_done, rows = 0, 0, list[tuple[float, ...]]()
        if keep.restored is None:
            messages = first()
        else:
            number, n_done, messages, state[:], best, lowest, n_sweeps, rows = keep.restored
            messages = engine.checked(DenseMessages(*messages) if method == "amp" else messages)
        for attempt in range(number, len(attempts)):
            if attempt > number:  # else go on, with the messages that are there
                messages, n_done, rows = first(), 0, []
            steps = attempts[attempt]
            with progress_bar(len(steps), "focusing", progress) as bar:
                bar.update(n_done)
                for coupling, n_replicas in steps[n_done:]:
                    if (lowest == 0 and stop_at_solution) or should_stop():
                        break
                    for _ in range(max_sweeps):
                        pull = focus(engine.fields(messages), coupling, n_replicas)
                        messages, residual = engine.sweep(messages, pull)
                        n_sweeps += 1
                        if residual <= tol:
                            break
                    fields = engine.fields(messages)
                    pull = focus(fields, coupling, n_replicas)
                    weights = np.where(fields + pull >= 0, 1, -1).astype(np.int8)
                    energy = problem.energy(weights.reshape(problem.weights_shape))
                    overlap, entropy = around_centre(
                        fields, pull, coupling, n_replicas, engine.free_entropy(messages, pull)
                    )
                    rows.append((coupling, n_replicas, overlap, entropy, energy, n_sweeps))
                    if energy < lowest:
                        best, lowest = weights, energy
                        bar.set_postfix(errors=lowest, refresh=False)
                    bar.update(1)
                    so_far = attempt, len(rows), messages, state, best, lowest, n_sweeps, rows
                    keep.offer(partial(tuple, so_far))
            if lowest == 0 or should_stop():
                break
    if best is None:
        best = np.where(engine.fields(messages) >= 0, 1, -1).astype(np.int8)
        lowest = problem.energy(best.reshape(problem.weights_shape))
    return FocusingResult(
        best.reshape(problem.weights_shape), int(lowest), n_sweeps,
        Status.MAX_STEPS if lowest else Status.CONVERGED, _trace(rows),
        FocusingState(messages, state),
    )  # fmt: skip


def focus(fields: Floats, coupling: float, n_replicas: float) -> Floats:
    """Return what ``n_replicas - 1`` other replicas say of each weight, through the centre."""
    return _through((n_replicas - 1.0) * _through(fields, coupling), coupling)


def around_centre(
    fields: Floats, pull: Floats, coupling: float, n_replicas: float, free_entropy: float
) -> tuple[float, float]:
    """Return the overlap of a replica with the centre, and the local entropy a weight.

    Parameters
    ----------
    fields, pull
        What the patterns, and the other replicas, say of each weight.
    coupling, n_replicas
        ``gamma`` and ``y``.
    free_entropy
        The Bethe log-partition under the field ``pull``.

    Notes
    -----
    The free entropy of one replica given the centre exchanges ``ln 2cosh(h + pull)`` for
    ``ln 2cosh h + ln 2cosh gamma - CE`` in every weight, with the cross entropy ``CE`` of the
    centre, of magnetization ``tanh(y amul(h, gamma))``, relative to what one replica says of it.
    """
    heard = _through(fields, coupling)  # by the centre, from one replica
    centre = np.tanh(n_replicas * heard)
    cross = -0.5 * (
        (1 + centre) * -np.logaddexp(0.0, -2 * heard) + (1 - centre) * -np.logaddexp(0.0, 2 * heard)
    )
    others = np.tanh((n_replicas - 1.0) * heard)
    # (tanh(gamma) + t) / (1 + tanh(gamma) t) = tanh(gamma + atanh t)
    t, pol = np.tanh(fields) * others, np.tanh(coupling)
    apart = float(np.mean((1 - pol) * (1 - t) / (1 + pol * t)))  # 1 - overlap, without rounding
    # ln 2cosh(gamma) - gamma * overlap, also where gamma is infinite
    coupled = np.log1p(np.exp(-2 * coupling)) + (coupling * apart if apart > 0 else 0.0)
    total = free_entropy + (_log_2cosh(fields) - _log_2cosh(fields + pull) - cross).sum()
    return 1.0 - apart, float(total / fields.size + coupled)


def _through(fields: Floats, coupling: float) -> Floats:
    """Return ``atanh(tanh(fields) tanh(coupling))``: a half-field seen through a coupling."""
    if np.isinf(coupling):
        return fields
    return 0.5 * (_log_2cosh(fields + coupling) - _log_2cosh(fields - coupling))


def _log_2cosh(x: Floats) -> Floats:
    return np.logaddexp(x, -x)


def _trace(rows: list[tuple[float, ...]]) -> FocusingTrace:
    columns = np.array(rows, float).reshape(-1, 6).T
    coupling, n_replicas, overlap, local_entropy, energy, n_sweeps = columns
    return FocusingTrace(
        coupling, n_replicas, overlap, local_entropy, energy.astype(np.int64),
        n_sweeps.astype(np.int64),
    )  # fmt: skip


class _Dense:
    """Approximate message passing in single precision; patterns stay 8-bit integers."""

    def __init__(self, problem: Problem, _exact: bool, damping: float, _state: RandomState) -> None:
        self._patterns = absorb_labels(problem)
        self._damping = damping

    def first(self, _spread: float) -> DenseMessages:
        return silent(self._patterns, np.float32)

    def checked(self, init: Any) -> DenseMessages:
        expected = silent(self._patterns, np.float32)
        if not isinstance(init, DenseMessages) or any(
            got.shape != wanted.shape for got, wanted in zip(init, expected)
        ):
            raise ValueError("init: expected the messages of 'amp' on a problem of this size")
        return init

    def sweep(self, messages: DenseMessages, pull: Floats) -> tuple[DenseMessages, float]:
        reached = propagate_densely(
            self._patterns, pull, messages, damping=self._damping, tol=0.0, max_steps=1, stop=never
        )
        return reached.messages, reached.residual

    def fields(self, messages: DenseMessages) -> Floats:
        return messages.fields.astype(np.float64)

    def free_entropy(self, messages: DenseMessages, pull: Floats) -> float:
        return dense_free_entropy(self._patterns, pull, messages)


class _Edges:
    """Messages along edges."""

    def __init__(self, problem: Problem, exact: bool, damping: float, state: RandomState) -> None:
        self._problem, self._exact, self._damping, self._state = problem, exact, damping, state
        self._shape = (problem.n_patterns, problem.n_hidden, problem.n_inputs)

    def first(self, spread: float) -> Floats:
        return uniform(int(np.prod(self._shape)), -spread, spread, self._state).reshape(self._shape)

    def checked(self, init: Any) -> Floats:
        if np.shape(init) != self._shape or not np.isfinite(init).all():
            raise ValueError(f"init: expected finite messages of shape {self._shape}")
        return np.array(init, np.float64)  # changed in place

    def sweep(self, messages: Floats, pull: Floats) -> tuple[Floats, float]:
        reached = propagate_edges(
            self._problem, pull, messages, exact=self._exact, damping=self._damping, tol=0.0,
            max_steps=1, state=self._state, stop=never, progress=False,
        )  # fmt: skip
        return reached.messages, reached.residual

    def fields(self, messages: Floats) -> Floats:
        return messages.sum(axis=0)

    def free_entropy(self, messages: Floats, pull: Floats) -> float:
        return edge_free_entropy(self._problem, pull, messages, exact=self._exact)
