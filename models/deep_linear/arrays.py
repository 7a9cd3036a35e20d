"""The one door for inputs and targets: shapes and values are checked here and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from inference.checks import finite_array, same_length

from .theory import Architecture


def checked_arrays(
    x: ArrayLike, y: ArrayLike | None, architecture: Architecture, x_test: ArrayLike | None
) -> tuple[Any, Any, Any]:
    """Return inputs ``(n, n_inputs)``, targets ``(n, D)`` or None, and test inputs or None.

    Raises
    ------
    TypeError, ValueError
        If shapes do not fit each other or the architecture, or an entry is not finite. Tracers
        (inside a compiled sampler) are checked for their shapes only.
    """
    inputs = checked("x", x, (2,))
    targets = None
    if y is not None:
        targets = checked_targets(y, architecture.n_outputs, inputs.shape[0], "x")
    tests = None if x_test is None else checked("x_test", x_test, (2,))
    if tests is not None and tests.shape[1] != inputs.shape[1]:
        raise ValueError(
            f"x_test: expected {inputs.shape[1]} columns as in x, got {tests.shape[1]}"
        )
    return inputs, targets, tests


def scaled_inputs(inputs: Any, architecture: Architecture) -> Any:
    """Return features ``Z`` with ``Z Z^T`` the kernel of ``inputs`` (NumPy or JAX, as given).

    ``K = X X^T / (lambda_0 N_0) + sigma_0^2``: a bias is one more, constant feature.
    """
    scaled = inputs / math.sqrt(architecture.precisions[0] * inputs.shape[1])
    if not architecture.bias_scale:
        return scaled
    numbers = np if isinstance(scaled, np.ndarray) else jnp
    constant = numbers.full((inputs.shape[0], 1), architecture.bias_scale)
    return numbers.concatenate([scaled, constant], axis=1)


def checked_targets(y: ArrayLike, n_outputs: int | None, n_samples: int, reference: str) -> Any:
    """Return targets as ``(n_samples, D)``; ``(n_samples,)`` is one output.

    Raises
    ------
    TypeError, ValueError
        If the number of rows differs from that of ``reference``, the number of columns from
        ``n_outputs`` (None: any), or an entry is not finite.
    """
    targets = checked("y", y, (1, 2))
    same_length("y", targets.shape[0], reference, n_samples)
    targets = targets.reshape(n_samples, -1)
    if n_outputs is not None and targets.shape[1] != n_outputs:
        raise ValueError(
            f"y: expected {n_outputs} columns as in architecture.n_outputs, got {targets.shape[1]}"
        )
    return targets


def checked(name: str, value: ArrayLike, ndim: tuple[int, ...]) -> Any:
    """Return a finite array of one of the given numbers of axes; tracers by their shape only.

    Raises
    ------
    TypeError, ValueError
        If the shape is another, or an entry is not a finite number.
    """
    if isinstance(value, jax.core.Tracer):
        if value.ndim not in ndim:
            raise ValueError(f"{name}: expected {ndim} axes, got shape {value.shape}")
        return value
    return finite_array(name, np.asarray(value), ndim=ndim)
