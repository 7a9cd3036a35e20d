"""Patterns and labels, and how many of them binary weights get wrong."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inference.checks import Spins, plus_minus_one, positive, positive_int, same_length
from inference.kernels import reduction_kernel

_DRAWN_AT_ONCE = 1_000_000
"""Entries of a pattern matrix: NumPy draws them as 64-bit integers, and many need much memory."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Learn ±1 labels of ±1 patterns by a perceptron or a committee machine of ±1 weights.

    One hidden unit (``n_hidden=1``) is a perceptron: its output is the sign of the weighted sum of
    the inputs. A committee machine answers with the majority of several such units, which all see
    the same inputs or, as a ``tree``, each inputs of its own.

    Parameters
    ----------
    patterns
        ``(n_patterns, n_inputs)`` ±1; of a tree ``(n_patterns, n_hidden * n_inputs)``, the inputs
        of the first unit first.
    labels
        ``(n_patterns,)`` ±1.
    n_hidden
        Number of hidden units, odd: else their vote could be a tie.
    tree
        Whether every hidden unit has inputs of its own.

    Raises
    ------
    TypeError
        If the arrays are not numeric.
    ValueError
        If a shape is wrong, an entry is not ±1, or ``n_hidden`` or the number of inputs a unit is
        even: a sum of evenly many ±1 can be zero, and has no sign.

    Examples
    --------
    >>> problem = Problem([[1, 1, -1], [1, -1, -1]], [1, -1])
    >>> problem.energy([1, 1, 1]), problem.energy([-1, -1, 1])
    (0, 1)
    """

    patterns: Spins
    labels: Spins
    _: KW_ONLY
    n_hidden: int = 1
    tree: bool = False

    def __post_init__(self) -> None:
        n_hidden = positive_int("n_hidden", self.n_hidden)
        if n_hidden % 2 == 0:
            raise ValueError(f"n_hidden: expected an odd number of units, got {n_hidden}")
        patterns = plus_minus_one("patterns", self.patterns, ndim=2)
        labels = plus_minus_one("labels", self.labels, ndim=1)
        if patterns.size == 0:
            raise ValueError(f"patterns: expected at least one, got shape {patterns.shape}")
        same_length("labels", len(labels), "patterns", len(patterns))
        if self.tree and patterns.shape[1] % n_hidden:
            raise ValueError(
                f"patterns: expected n_hidden = {n_hidden} blocks of equal length a row, "
                f"got rows of {patterns.shape[1]}"
            )
        for name, value in (("patterns", patterns), ("labels", labels), ("n_hidden", n_hidden)):
            object.__setattr__(self, name, value)
        if self.n_inputs % 2 == 0:
            raise ValueError(
                f"patterns: expected an odd number of inputs a unit, got {self.n_inputs}: the sum "
                "could be zero and have no sign; add a constant input or drop one"
            )

    @property
    def n_patterns(self) -> int:
        """Number of patterns."""
        return len(self.patterns)

    @property
    def n_inputs(self) -> int:
        """Number of inputs of one hidden unit."""
        return self.patterns.shape[1] // (self.n_hidden if self.tree else 1)

    @property
    def n_weights(self) -> int:
        """Number of weights of all units."""
        return self.n_hidden * self.n_inputs

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """``(n_inputs,)`` of a perceptron, else ``(n_hidden, n_inputs)``."""
        return (self.n_inputs,) if self.n_hidden == 1 else (self.n_hidden, self.n_inputs)

    @property
    def load(self) -> float:
        """Patterns a weight, ``alpha``."""
        return self.n_patterns / self.n_weights

    @property
    def unit_inputs(self) -> Spins:
        """``(n_patterns, n_hidden, n_inputs)``, or ``(n_patterns, 1, n_inputs)`` if shared."""
        return self.patterns.reshape(self.n_patterns, -1, self.n_inputs)

    def stabilities(self, weights: ArrayLike) -> NDArray[np.int64]:
        """Return the weighted sums of the units times the label, ``(n_patterns, n_hidden)``."""
        matrix = check_weights("weights", weights, self).reshape(self.n_hidden, self.n_inputs)
        return _stabilities(self.unit_inputs, self.labels, matrix)  # type: ignore[no-any-return]

    def energy(self, weights: ArrayLike) -> int:
        """Return the number of patterns whose label the weights get wrong.

        Parameters
        ----------
        weights
            ±1 of shape `weights_shape`.

        Raises
        ------
        ValueError
            If the shape or an entry is wrong.
        """
        votes = np.sign(self.stabilities(weights)).sum(axis=1)
        return int(np.count_nonzero(votes < 0))

    def __repr__(self) -> str:
        """Return the sizes."""
        kind = "" if self.n_hidden == 1 else f", n_hidden={self.n_hidden}, tree={self.tree}"
        return f"Problem(n_inputs={self.n_inputs}, n_patterns={self.n_patterns}{kind})"


def random_patterns(
    n_inputs: int, load: float, *, n_hidden: int = 1, tree: bool = False, seed: int
) -> Problem:
    """Return uniformly random patterns, all with the label +1.

    Parameters
    ----------
    n_inputs
        Inputs of one hidden unit, odd.
    load
        Patterns a weight; ``round(load * n_hidden * n_inputs)`` are drawn.
    n_hidden, tree
        Of the machine.
    seed
        Of NumPy's default generator.

    Returns
    -------
    Problem
        Random labels would be the same problem: a pattern times its label is as random.

    Raises
    ------
    ValueError
        If an argument is out of range or the load leaves no pattern.

    Examples
    --------
    >>> random_patterns(101, 0.5, seed=0)
    Problem(n_inputs=101, n_patterns=50)
    """
    patterns = _draw_patterns(np.random.default_rng(seed), n_inputs, load, n_hidden, tree)
    return Problem(patterns, np.ones(len(patterns), np.int8), n_hidden=n_hidden, tree=tree)


def teacher_student(
    n_inputs: int, load: float, *, n_hidden: int = 1, tree: bool = False, seed: int
) -> tuple[Problem, Spins]:
    """Return random patterns labelled by a random machine of the same kind, and its weights.

    Parameters and errors are those of :func:`random_patterns`.

    Examples
    --------
    >>> problem, teacher = teacher_student(101, 0.5, seed=0)
    >>> problem.energy(teacher)
    0
    """
    generator = np.random.default_rng(seed)
    patterns = _draw_patterns(generator, n_inputs, load, n_hidden, tree)
    unlabelled = Problem(patterns, np.ones(len(patterns), np.int8), n_hidden=n_hidden, tree=tree)
    teacher = _draw_signs(generator, unlabelled.weights_shape)
    votes = np.sign(unlabelled.stabilities(teacher)).sum(axis=1)
    return Problem(patterns, np.sign(votes), n_hidden=n_hidden, tree=tree), teacher


def check_weights(name: str, weights: ArrayLike, problem: Problem) -> Spins:
    """Return ``weights`` as int8 if they are ±1 of the shape of the problem; else raise."""
    array = plus_minus_one(name, weights, ndim=len(problem.weights_shape))
    if array.shape != problem.weights_shape:
        raise ValueError(f"{name}: expected shape {problem.weights_shape}, got {array.shape}")
    return array


@reduction_kernel
def _stabilities(inputs: Spins, labels: Spins, weights: Spins) -> Any:
    n_patterns, n_blocks, n_inputs = inputs.shape
    stabilities = np.empty((n_patterns, weights.shape[0]), np.int64)
    for pattern in range(n_patterns):
        for unit in range(weights.shape[0]):
            row, column = inputs[pattern, unit % n_blocks], weights[unit]
            total = np.int32(0)
            for i in range(n_inputs):
                total += np.int32(row[i]) * np.int32(column[i])
            stabilities[pattern, unit] = total * labels[pattern]
    return stabilities


def _draw_patterns(
    generator: np.random.Generator, n_inputs: int, load: float, n_hidden: int, tree: bool
) -> Spins:
    n_inputs, n_hidden = positive_int("n_inputs", n_inputs), positive_int("n_hidden", n_hidden)
    n_patterns = round(positive("load", load) * n_inputs * n_hidden)
    if n_patterns < 1:
        raise ValueError(
            f"load: expected at least one pattern, got {load} * {n_inputs * n_hidden} weights"
        )
    return _draw_signs(generator, (n_patterns, n_inputs * (n_hidden if tree else 1)))


def _draw_signs(generator: np.random.Generator, shape: tuple[int, ...]) -> Spins:
    signs = np.empty(shape, np.int8)
    rows = max(1, _DRAWN_AT_ONCE // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], rows):
        part = signs[start : start + rows]
        part[:] = 1 - 2 * generator.integers(0, 2, part.shape)
    return signs
