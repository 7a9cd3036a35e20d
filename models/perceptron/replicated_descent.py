"""Replicated stochastic gradient descent: machines that learn side by side and attract each other.

Every replica is a machine of binary weights, the signs of real fields that learn from its mistakes;
after each batch its fields also move towards what all replicas agree on. Baldassi et al., PNAS 113,
E7655 (2016), arXiv 1605.06444.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checkpoints import Place, kept
from inference.checks import Floats, Spins, at_least_zero, one_of, positive, positive_int
from inference.kernels import RandomState, kernel, next_float, random_state, shuffle
from inference.progress import Stop, never, progress_bar
from inference.status import Status

from .problem import Problem, check_weights

Variant = Literal["tanh", "hard", "corrected", "continuous"]
Centre = Literal["implicit", "explicit"]
Counts = NDArray[np.int64]

_LARGEST = 1e100
"""Coupling: its products with sums stay finite."""


class DescentTrace(NamedTuple):
    """The epochs of a run, each ``(n_epochs,)``; counts are taken at the end of the epoch."""

    coupling: Floats
    """``gamma`` during the epoch."""
    least_errors: Counts
    """Of the best replica."""
    mean_errors: Floats
    """Over replicas."""
    centre_errors: Counts
    """Of the signs of the centre."""
    overlap: Floats
    """Mean of ``W^r . W^s / n_weights`` over pairs of replicas; 1 if there is one replica."""


class DescentState(NamedTuple):
    """Where a run stands: hand it back as ``init`` to go on. A run never changes it."""

    fields: Floats
    """``(n_replicas, n_hidden, n_inputs)`` real numbers that learn."""
    weights: Spins
    """Their signs; a weight whose field is exactly 0 keeps the sign it had."""
    centre_fields: Floats
    """``(n_hidden, n_inputs)``: the mean of the weights, or the fields of an explicit centre."""
    centre: Spins
    """Their signs; where the replicas tie, those of the first one."""
    random: RandomState
    n_epochs: int
    """Done so far; the coupling has grown as often."""
    best: Spins
    """``(n_hidden, n_inputs)`` of the fewest errors at the end of an epoch, or at the start."""
    best_energy: int


class DescentResult(NamedTuple):
    """The best weights of a run."""

    weights: Spins
    """±1, of the shape of the problem's weights: the best of all replicas and centres so far."""
    energy: int
    """Patterns that they get wrong, counted on the problem itself."""
    n_steps: int
    """Epochs of this run."""
    status: Status
    """CONVERGED if the energy is 0, else MAX_STEPS."""
    trace: DescentTrace
    state: DescentState

    @property
    def residual(self) -> float:
        """What has to vanish: the energy."""
        return float(self.energy)


def replicated_sgd(
    problem: Problem,
    *,
    n_replicas: int = 7,
    n_epochs: int = 1000,
    batch_size: int = 80,
    learning_rate: float = 2.0,
    strength: float = 0.75,
    coupling: float = 0.05,
    coupling_step: float = 0.001,
    variant: Variant = "tanh",
    centre: Centre = "implicit",
    seed: int = 0,
    init: ArrayLike | DescentState | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> DescentResult:
    """Look for weights without errors with replicas that learn and attract each other.

    Parameters
    ----------
    problem
        Patterns and labels, of a perceptron or a committee machine.
    n_replicas
        Machines ``y``. They start as one; their batches make them differ.
    n_epochs
        Most epochs of this run: every replica sees every pattern once in each.
    batch_size
        Patterns between two changes of the weights; the last batch of an epoch is what is left. A
        size above the number of patterns is that number, and only turns make replicas differ.
    learning_rate
        ``eta``: a wrong pattern moves the fields by plus or minus this.
    strength
        ``lambda``: how far the fields move towards the centre after a batch, at least 0; 0 is
        plain, independent learning, and so is one replica with an implicit centre.
    coupling
        ``gamma`` of the first epoch, at least 0.
    coupling_step
        What it grows by after every epoch, at least 0.
    variant
        Where the centre, of which the replicas see the mean ``c``, draws a weight ``J``:
        ``"tanh"`` to ``tanh(gamma y c) - J``; ``"hard"`` the same, cut off instead of bent;
        ``"corrected"`` to ``tanh(gamma y c) - tanh(gamma y) J``, nothing among equals;
        ``"continuous"`` to ``c - J``, without ``gamma``.
    centre
        ``"implicit"``: summed out, as above. ``"explicit"``: weights of its own, which attract the
        replica by ``(centre - J) / 2`` and are attracted as much; ``coupling`` and ``variant``
        have no meaning then.
    seed
        Of the first weights, and of the order of replicas and patterns.
    init
        Weights where all replicas start, random ones if None, or the ``state`` of an earlier
        result to go on: with the same other arguments, a run in parts is the run in one, bit by
        bit.
    should_stop
        Asked before every epoch; True ends the run.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    DescentResult
        A run ends after the epoch in which a replica or the centre makes no error.

    Raises
    ------
    TypeError
        If a rate is not a number.
    ValueError
        If an argument is out of range or ``init`` does not fit.

    Notes
    -----
    An epoch is ``ceil(n_patterns / batch_size)`` rounds. In a round the replicas take turns in
    random order, each with the next batch of its own permutation of the patterns, drawn anew every
    epoch. A wrong pattern of label ``sigma`` needs ``n`` more hidden units to agree with it; the
    ``n`` wrong units with the smallest ``|sum|`` learn ``H += eta sigma xi`` (the first ones at a
    tie), all at the end of the batch. Then ``J = sign H``, the centre pulls with ``lambda`` times
    the difference above, and ``J = sign H`` again. ``c`` is kept up to date between replicas; a
    replica sees itself in it as it was before its batch.

    One replica learns alone: its implicit centre sums out to a constant, ``2 cosh gamma``. (The
    formulas would make its fields decay by ``lambda (1 - tanh gamma)`` a batch.)

    An epoch costs ``O(n_replicas * n_patterns * n_weights)``. A committee of 5 units and 321 inputs
    learns a load of 0.5 in 300 to 650 epochs, 1 to 2 seconds, with ``"tanh"``; one replica does
    not, nor do ``"continuous"`` and an explicit centre within 1000.

    Examples
    --------
    >>> from models.perceptron.problem import random_patterns
    >>> problem = random_patterns(101, 0.3, n_hidden=3, seed=0)
    >>> found = replicated_sgd(problem, batch_size=10)
    >>> found.energy, found.status.name, found.weights.shape
    (0, 'CONVERGED', (3, 101))
    """
    n_replicas = positive_int("n_replicas", n_replicas)
    n_epochs = positive_int("n_epochs", n_epochs)
    batch_size = min(positive_int("batch_size", batch_size), problem.n_patterns)
    learning_rate = positive("learning_rate", learning_rate)
    strength = at_least_zero("strength", strength)
    coupling = at_least_zero("coupling", coupling)
    coupling_step = at_least_zero("coupling_step", coupling_step)
    one_of("variant", variant, ("tanh", "hard", "corrected", "continuous"))
    one_of("centre", centre, ("implicit", "explicit"))
    if n_replicas == 1 and centre == "implicit":
        strength = 0.0
    inputs = np.ascontiguousarray(problem.unit_inputs * problem.labels[:, None, None])
    state = _start(problem, inputs, n_replicas, seed, init)
    records: list[tuple[float, int, float, int, float]] = []

    def so_far() -> tuple[Any, ...]:
        return state, records

    with (
        progress_bar(n_epochs, "replicated descent", progress) as bar,
        kept(
            checkpoint, "perceptron.replicated_sgd", problem=problem, n_replicas=n_replicas,
            n_epochs=n_epochs, batch_size=batch_size, learning_rate=learning_rate,
            strength=strength, coupling=coupling, coupling_step=coupling_step, variant=variant,
            centre=centre, seed=seed, init=init,
        ) as keep,
    ):  # fmt: skip
        if keep.restored is not None:
            state, records = DescentState(*keep.restored[0]), keep.restored[1]
            bar.update(len(records))
        while state.best_energy > 0 and len(records) < n_epochs and not should_stop():
            gamma = coupling + coupling_step * state.n_epochs
            pull, self_pull = _attraction(variant, gamma, n_replicas)
            _epoch(
                inputs, state.fields, state.weights, state.centre_fields, state.centre,
                pull, self_pull, learning_rate, strength, batch_size, centre == "explicit",
                state.random,
            )  # fmt: skip
            state, record = _take_stock(inputs, state, gamma)
            records.append(record)
            bar.update(1)
            bar.set_postfix(errors=state.best_energy, refresh=False)
            keep.offer(so_far)
        keep.offer(so_far, last=True)
    weights = state.best.reshape(problem.weights_shape).copy()
    energy = problem.energy(weights)
    status = Status.CONVERGED if energy == 0 else Status.MAX_STEPS
    return DescentResult(weights, energy, len(records), status, _trace(records), state)


def _start(
    problem: Problem, inputs: Spins, n_replicas: int, seed: int,
    init: ArrayLike | DescentState | None,
) -> DescentState:  # fmt: skip
    """Return a state whose arrays the run may change."""
    shape = (n_replicas, problem.n_hidden, problem.n_inputs)
    if isinstance(init, DescentState):
        if init.fields.shape != shape:
            raise ValueError(
                f"init: expected a state of fields {shape}, as n_replicas and problem say, "
                f"got {init.fields.shape}"
            )
        return DescentState(
            init.fields.copy(), init.weights.copy(), init.centre_fields.copy(),
            init.centre.copy(), init.random.copy(), init.n_epochs, init.best.copy(),
            _count_errors(inputs, init.best),
        )  # fmt: skip
    random = random_state(seed)
    if init is None:
        first = _random_signs(problem.n_weights, random).reshape(shape[1:])
    else:
        first = check_weights("init", init, problem).reshape(shape[1:])
    weights = np.tile(first, (n_replicas, 1, 1))
    return DescentState(
        weights.astype(np.float64), weights, first.astype(np.float64), first.copy(), random, 0,
        first.copy(), _count_errors(inputs, first),
    )  # fmt: skip


def _attraction(variant: Variant, gamma: float, n_replicas: int) -> tuple[Floats, float]:
    """Return the pull of the centre by the sum of the weights plus ``n_replicas``, and of ``-J``.

    The sum, not the mean, is whole: a table serves all weights.
    """
    sums = np.arange(-n_replicas, n_replicas + 1, dtype=np.float64)
    gamma = min(gamma, _LARGEST)
    if variant == "continuous":
        return sums / n_replicas, 1.0
    if variant == "hard":
        return np.clip(gamma * sums, -1.0, 1.0), 1.0
    return np.tanh(gamma * sums), math.tanh(gamma * n_replicas) if variant == "corrected" else 1.0


def _take_stock(
    inputs: Spins, state: DescentState, gamma: float
) -> tuple[DescentState, tuple[float, int, float, int, float]]:
    """Count errors at the end of an epoch; return the next state and a row of the trace."""
    errors = [_count_errors(inputs, weights) for weights in state.weights]
    centre_errors = _count_errors(inputs, state.centre)
    winner = int(np.argmin(errors))
    best, best_energy = state.best, state.best_energy
    if errors[winner] < best_energy:
        best, best_energy = state.weights[winner].copy(), errors[winner]
    if centre_errors < best_energy:
        best, best_energy = state.centre.copy(), centre_errors
    after = state._replace(n_epochs=state.n_epochs + 1, best=best, best_energy=best_energy)
    record = (gamma, min(errors), float(np.mean(errors)), centre_errors, _overlap(state.weights))
    return after, record


def _overlap(weights: Spins) -> float:
    n_replicas = len(weights)
    if n_replicas == 1:
        return 1.0
    sums = weights.sum(axis=0, dtype=np.int64)
    mean_square = float((sums * sums).sum()) / sums.size
    return (mean_square - n_replicas) / (n_replicas * (n_replicas - 1))


def _trace(records: list[tuple[float, int, float, int, float]]) -> DescentTrace:
    columns = np.array(records, dtype=np.float64).reshape(-1, 5).T
    gamma, least, mean, centre, overlap = columns
    return DescentTrace(gamma, least.astype(np.int64), mean, centre.astype(np.int64), overlap)


@kernel
def _random_signs(size: int, random: RandomState) -> Any:
    signs = np.empty(size, np.int8)
    for place in range(size):
        signs[place] = 1 if next_float(random) < 0.5 else -1
    return signs


@kernel
def _sums(inputs: Spins, weights: Spins, pattern: int, sums: Counts) -> int:
    """Fill in the sums of the units times the label, and return the sum of their signs."""
    vote = 0
    for unit in range(weights.shape[0]):
        seen = inputs[pattern, unit % inputs.shape[1]]
        total = 0
        for place in range(seen.size):
            total += seen[place] * weights[unit, place]
        sums[unit] = total
        vote += 1 if total > 0 else -1
    return vote


@kernel
def _count_errors(inputs: Spins, weights: Spins) -> int:
    sums = np.empty(weights.shape[0], np.int64)
    errors = 0
    for pattern in range(inputs.shape[0]):
        if _sums(inputs, weights, pattern, sums) < 0:
            errors += 1
    return errors


@kernel
def _learn(
    inputs: Spins, weights: Spins, pattern: int, rate: float, sums: Counts, steps: Floats
) -> None:
    """Add to ``steps`` what a pattern teaches a machine that gets it wrong."""
    vote = _sums(inputs, weights, pattern, sums)
    for _ in range((1 - vote) // 2 if vote < 0 else 0):
        chosen = -1
        for unit in range(sums.size):
            if sums[unit] < 0 and (chosen < 0 or sums[unit] > sums[chosen]):
                chosen = unit
        sums[chosen] = 1  # taken
        seen = inputs[pattern, chosen % inputs.shape[1]]
        for place in range(seen.size):
            steps[chosen, place] += rate * seen[place]


@kernel
def _sign(field: float, before: int) -> int:
    return 1 if field > 0.0 else (-1 if field < 0.0 else before)


@kernel
def _epoch(
    inputs: Spins, fields: Floats, weights: Spins, centre_fields: Floats, centre: Spins,
    pull: Floats, self_pull: float, rate: float, strength: float, batch_size: int, explicit: bool,
    random: RandomState,
) -> None:  # fmt: skip
    n_replicas, n_hidden, n_inputs = fields.shape
    n_patterns = inputs.shape[0]
    patterns = np.empty((n_replicas, n_patterns), np.int64)
    for replica in range(n_replicas):
        patterns[replica] = np.arange(n_patterns)
        shuffle(patterns[replica], random)
    turns = np.empty(n_replicas, np.int64)
    unit_sums = np.empty(n_hidden, np.int64)
    steps = np.empty((n_hidden, n_inputs))
    sums = np.zeros((n_hidden, n_inputs), np.int64)
    for replica in range(n_replicas):
        sums += weights[replica]
    for start in range(0, n_patterns, batch_size):
        turns[:] = np.arange(n_replicas)
        shuffle(turns, random)
        for turn in range(n_replicas):
            replica = turns[turn]
            steps[:] = 0.0
            for place in range(start, min(start + batch_size, n_patterns)):
                _learn(
                    inputs, weights[replica], patterns[replica, place], rate, unit_sums, steps
                )  # fmt: skip
            for unit in range(n_hidden):
                for place in range(n_inputs):
                    before = weights[replica, unit, place]
                    field = fields[replica, unit, place] + steps[unit, place]
                    weight = _sign(field, before)
                    if explicit:
                        shift = strength * ((centre[unit, place] - weight) // 2)
                        field += shift
                        moved = centre_fields[unit, place] - shift
                        centre_fields[unit, place] = moved
                        centre[unit, place] = _sign(moved, centre[unit, place])
                    else:
                        drawn = pull[sums[unit, place] + n_replicas] - self_pull * weight
                        field += strength * drawn
                    weight = _sign(field, weight)
                    fields[replica, unit, place] = field
                    weights[replica, unit, place] = weight
                    sums[unit, place] += weight - before
    if not explicit:
        for unit in range(n_hidden):
            for place in range(n_inputs):
                centre_fields[unit, place] = sums[unit, place] / n_replicas
                centre[unit, place] = _sign(
                    centre_fields[unit, place], weights[0, unit, place]
                )  # fmt: skip
