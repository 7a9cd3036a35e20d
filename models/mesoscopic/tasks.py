"""What a device is to find out about its input: a label of a discrete one, or a Gaussian target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inference.checks import (
    Floats,
    at_least_zero,
    distributions,
    finite_array,
    one_of,
    positive_int,
    positive_semidefinite,
    same_length,
)

from .spins import all_states

_MOST_BITS = 12


@dataclass(frozen=True, eq=False)
class Task:
    """A label of a discrete input.

    Parameters
    ----------
    inputs
        ``(n_x, d)``.
    input_prob
        ``(n_x,)``, summing to 1.
    label_prob
        ``(n_x, n_y)``: ``p(y|x)``, rows sum to 1.
    input_names, label_names
        One for each of ``d`` and ``n_y``; empty counts from 0.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number is not finite, or probabilities do not sum to 1.
    """

    inputs: Floats
    input_prob: Floats
    label_prob: Floats
    input_names: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check and convert."""
        inputs = finite_array("inputs", self.inputs, ndim=2)
        prob = distributions("input_prob", self.input_prob, ndim=1)
        labels = distributions("label_prob", self.label_prob, ndim=2)
        same_length("input_prob", len(prob), "inputs", len(inputs))
        same_length("label_prob", len(labels), "inputs", len(inputs))
        for name, value in (("inputs", inputs), ("input_prob", prob), ("label_prob", labels)):
            object.__setattr__(self, name, value)
        for name, letter, n in (
            ("input_names", "x", inputs.shape[1]),
            ("label_names", "y", labels.shape[1]),
        ):
            given = tuple(getattr(self, name)) or tuple(f"{letter}{i}" for i in range(n))
            if len(given) != n:
                raise ValueError(f"{name}: expected {n} names, got {len(given)}")
            object.__setattr__(self, name, given)

    @property
    def information(self) -> float:
        """``I(x; y)`` in nats: no device can say more of the label than the input does."""
        joint = self.input_prob[:, None] * self.label_prob
        apart = self.input_prob[:, None] * joint.sum(axis=0)
        there = joint > 0
        return float((joint[there] * np.log(joint[there] / apart[there])).sum())

    @property
    def chance(self) -> float:
        """Accuracy of who does not look: the probability of the most likely label."""
        return float((self.input_prob @ self.label_prob).max())


@dataclass(frozen=True, eq=False)
class GaussianTask:
    """A noisy linear function of a Gaussian input: ``y = w x + noise``.

    Parameters
    ----------
    input_covariance
        ``(d, d)`` of the input, whose mean is zero.
    readout
        ``(d,)``: ``w``.
    noise_variance
        Of ``y`` given the input, at least 0.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, the covariance is no covariance, or ``y`` does not vary.
    """

    input_covariance: Floats
    readout: Floats
    noise_variance: float = 0.0

    def __post_init__(self) -> None:
        """Check and convert."""
        covariance = positive_semidefinite("input_covariance", self.input_covariance)
        readout = finite_array("readout", self.readout, ndim=1)
        same_length("readout", len(readout), "input_covariance", len(covariance))
        noise = at_least_zero("noise_variance", self.noise_variance)
        if not readout @ covariance @ readout > 0:
            raise ValueError("readout: expected a target that depends on the input, got a constant")
        object.__setattr__(self, "input_covariance", covariance)
        object.__setattr__(self, "readout", readout)
        object.__setattr__(self, "noise_variance", noise)

    @property
    def information(self) -> float:
        """``I(x; y)`` in nats, infinite without noise: the bound for every device."""
        signal = float(self.readout @ self.input_covariance @ self.readout)
        return (
            0.5 * float(np.log1p(signal / self.noise_variance)) if self.noise_variance else np.inf
        )


def boolean_task(function: Callable[[Floats], Any], d: int) -> Task:
    """Return a Boolean function of ``d`` inputs ±1, all equally likely.

    Parameters
    ----------
    function
        From an input ``(d,)`` of ±1 to True or False, or to ±1.
    d
        Number of inputs, at most 12.

    Returns
    -------
    Task
        Labels are ``"false"`` and ``"true"``. Inputs are in the order of states of spins: bit
        ``i`` of the row is set where ``x[i] = +1``.

    Raises
    ------
    ValueError
        If there are too many inputs, or a value is neither Boolean nor ±1.

    Examples
    --------
    >>> from models.mesoscopic import boolean_task
    >>> majority = boolean_task(lambda x: x.sum() > 0, 3)
    >>> majority.label_prob[:, 1]
    array([0., 0., 0., 1., 0., 1., 1., 1.])
    """
    if positive_int("d", d) > _MOST_BITS:
        raise ValueError(f"d: expected at most {_MOST_BITS} inputs, got {d}")
    inputs = all_states(d).T
    truth = np.array([_truth(function(x), x) for x in inputs])
    label_prob = np.stack([~truth, truth], axis=1).astype(float)
    names = tuple(f"x{i}" for i in range(d))
    return Task(inputs, np.full(len(inputs), 1 / len(inputs)), label_prob, names, ("false", "true"))


def parity_task(d: int = 3, bits: Sequence[int] = (0, 1)) -> Task:
    """Return the parity of some of ``d`` inputs ±1: whether their product is +1.

    No linear function of the input tells it, from two bits on; the others are distractors.

    Parameters
    ----------
    d
        Number of inputs, at most 12.
    bits
        Which inputs count: distinct, from 0 to ``d - 1``.

    Returns
    -------
    Task
        As :func:`boolean_task`.

    Raises
    ------
    ValueError
        If there are too many inputs, or ``bits`` are not distinct inputs.
    """
    counted = list(bits)
    if not counted or len(set(counted)) < len(counted) or not set(counted) <= set(range(d)):
        raise ValueError(f"bits: expected distinct numbers from 0 to {d - 1}, got {counted}")
    return boolean_task(lambda x: x[counted].prod() > 0, d)


def digits_task(
    digits: Sequence[int] = (0, 1),
    n_inputs: int = 3,
    reduction: Literal["signs", "components"] = "signs",
) -> Task:
    """Return a task of real data: handwritten digits, reduced to a few inputs.

    Parameters
    ----------
    digits
        Which of 0 to 9 are to be told apart: at least two.
    n_inputs
        Number of principal components of the images of these digits.
    reduction
        ``"signs"``: whether each component is above its median, ±1: at most ``2**n_inputs``
        different inputs, with the frequencies of the images; ``"components"``: the components
        themselves with variance 1, one input for each image.

    Returns
    -------
    Task
        Probabilities are frequencies among the images: the data are a law here, with nothing held
        out.

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    ValueError
        If the digits are not two or more distinct ones, or there are more components than pixels.

    Notes
    -----
    The 1,797 images of 8 x 8 pixels that scikit-learn brings (Alpaydin, Kaynak, UCI "Optical
    recognition of handwritten digits"). The reduction to so few inputs is our choice, made so that
    a device of few spins has a task of its size; no paper's task is reproduced. The sign of a
    component is that of its largest weight.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as fault:
        raise ImportError("digits_task needs scikit-learn: pip install scikit-learn") from fault
    one_of("reduction", reduction, ("signs", "components"))
    wanted = [int(digit) for digit in digits]
    if len(wanted) < 2 or len(set(wanted)) < len(wanted) or not set(wanted) <= set(range(10)):
        raise ValueError(f"digits: expected two or more distinct ones of 0 to 9, got {wanted}")
    pixels, digit = load_digits(return_X_y=True)
    kept = np.isin(digit, wanted)
    pixels, digit = pixels[kept] - pixels[kept].mean(axis=0), digit[kept]
    if positive_int("n_inputs", n_inputs) > pixels.shape[1]:
        raise ValueError(f"n_inputs: expected at most {pixels.shape[1]}, got {n_inputs}")
    axes = np.linalg.svd(pixels, full_matrices=False)[2][:n_inputs]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    components = pixels @ (axes * np.sign(largest)).T
    is_label = (digit[:, None] == wanted).astype(float)
    names = tuple(f"component {i}" for i in range(n_inputs))
    labels = tuple(map(str, wanted))
    if reduction == "components":
        scaled = components / components.std(axis=0)
        return Task(scaled, np.full(len(scaled), 1 / len(scaled)), is_label, names, labels)
    signs = np.where(components > np.median(components, axis=0), 1.0, -1.0)
    inputs, which = np.unique(signs, axis=0, return_inverse=True)
    counts = np.zeros((len(inputs), len(wanted)))
    np.add.at(counts, which.ravel(), is_label)
    total = counts.sum(axis=1)
    return Task(inputs, total / total.sum(), counts / total[:, None], names, labels)


def _truth(value: Any, x: Floats) -> bool:
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if np.ndim(value) == 0 and value in (1, -1):
        return bool(value == 1)
    raise ValueError(f"function: expected True, False, +1 or -1, got {value!r:.40} at {x}")
