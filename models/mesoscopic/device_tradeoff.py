"""What couplings give and cost: information on the task less the price of dissipation.

The same four numbers for spins and for linear Langevin units, with the derivative of the objective
that a search of couplings needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from inference.checks import Floats
from inference.precision import require_x64

from .linear_langevin import LinearLangevin
from .spins import SpinSystem
from .state_information import information
from .tasks import GaussianTask, Task

Device = SpinSystem | LinearLangevin

_BATCH = 2**14
"""Numbers in the generators of the inputs that are solved together."""


class Tradeoff(NamedTuple):
    """A device at a task."""

    information: Any
    """``I(s; y)`` in nats: what a state says of the label, or of the target."""
    dissipation: Any
    """Rate of entropy production, averaged over inputs, in nats by unit time."""
    accuracy: Any
    """Probability that the most likely label is right; of a Gaussian target the share of its
    variance that the state explains."""
    information_about_input: Any
    """``I(s; x)`` in nats."""


class Slope(NamedTuple):
    """The objective of the search and its derivative by the couplings."""

    objective: float
    """Not a number where the device is not stable."""
    gradient: Floats
    """``(n, n)``."""
    gain: float
    """Log of the ratio of the fluctuations to those without couplings; 0 of spins."""
    gain_gradient: Floats
    """``(n, n)``."""
    found: Tradeoff

    @property
    def finite(self) -> bool:
        """Whether all that a search needs is a number."""
        return bool(
            np.isfinite(self.objective + self.gain)
            and np.isfinite(self.gradient + self.gain_gradient).all()
        )


Objective = Callable[[Floats, float], Slope]
"""Of couplings and the price of dissipation."""


def tradeoff(device: Device, task: Task | GaussianTask) -> Tradeoff:
    """Return what a device says of its task, and what it dissipates.

    Parameters
    ----------
    device
        A `SpinSystem` with inputs of the task's length, or a `LinearLangevin`.
    task
        A `Task` for spins, a `GaussianTask` for Langevin units.

    Returns
    -------
    Tradeoff
        Scalars, differentiable in the device, without a matrix from 11 spins on.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    TypeError, ValueError
        If the task is not one of this kind of device or has another number of inputs, or the
        device is too large.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from models.mesoscopic import SpinSystem, parity_task, tradeoff
    >>> ring = SpinSystem([[0, 0, 1.0], [1.0, 0, 0], [0, 1.0, 0]], [[1.0, 0], [0, 1.0], [0, 0]])
    >>> found = tradeoff(ring, parity_task(2))
    >>> round(float(found.information), 6), round(float(found.dissipation), 6)
    (0.07342, 0.334964)
    """
    require_x64("the trade-off of information and dissipation")
    check_task(device, task)
    if isinstance(device, SpinSystem):
        return _of_spins(device, *_law(task))
    return _of_langevin(device, *_target(task))


def check_task(device: Any, task: Any) -> None:
    """Raise unless the task is one of this device.

    Raises
    ------
    TypeError, ValueError
        If it is not.
    """
    kinds: dict[type, Any] = {SpinSystem: Task, LinearLangevin: GaussianTask}
    if type(device) not in kinds:
        raise TypeError(
            f"device: expected a SpinSystem or a LinearLangevin, got {type(device).__name__}"
        )
    kind = kinds[type(device)]
    if not isinstance(task, kind):
        raise TypeError(
            f"task: expected a {kind.__name__} for a {type(device).__name__}, got "
            f"{type(task).__name__}"
        )
    n_inputs = task.inputs.shape[1] if kind is Task else len(task.readout)
    weights = device.input_weights
    if weights is None or weights.shape[1] != n_inputs:
        got = "none" if weights is None else f"weights of {weights.shape[1]}"
        raise ValueError(f"input_weights: expected {n_inputs} inputs as in the task, got {got}")


def with_couplings(device: Device, couplings: Any) -> Any:
    """Return the device with other couplings: the off-diagonal of minus the drift of a Langevin."""
    if isinstance(device, SpinSystem):
        return replace(device, couplings=couplings)
    return replace(device, drift=_drift(device.drift, couplings))


def couplings_of(device: Device) -> Floats:
    """Return the couplings of a device, with a zero diagonal."""
    matrix = device.couplings if isinstance(device, SpinSystem) else -device.drift
    values = np.array(matrix, dtype=float)
    np.fill_diagonal(values, 0.0)
    return values


def objective_of(device: Device, task: Any) -> Objective:
    """Return the objective of the search with its gradient, compiled once a kind and shape."""
    arguments = _law(task) if isinstance(device, SpinSystem) else _target(task)
    compiled: Any = _slope_of_spins if isinstance(device, SpinSystem) else _slope_of_langevin

    def objective(couplings: Floats, gamma: float) -> Slope:
        found, (value, gain), (gradient, gain_gradient) = jax.device_get(
            compiled(couplings, gamma, device, *arguments)
        )
        return Slope(float(value), gradient, float(gain), gain_gradient, found)

    return objective


def _of_spins(
    device: SpinSystem, inputs: jax.Array, input_prob: jax.Array, label_prob: jax.Array
) -> Tradeoff:
    def at(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return device.stationary(x), device.entropy_production(x)

    batch = max(_BATCH >> (2 * device.n_spins), 1)
    laws, rates = jax.lax.map(at, inputs, batch_size=min(batch, len(inputs)))
    found = information(laws, input_prob, label_prob)
    return Tradeoff(found.about_label, input_prob @ rates, found.accuracy, found.about_input)


def _of_langevin(
    device: LinearLangevin, covariance: jax.Array, readout: jax.Array, noise: jax.Array
) -> Tradeoff:
    about_target = device.information_about_output(readout, noise, covariance)
    return Tradeoff(
        about_target,
        device.entropy_production(),
        -jnp.expm1(-2.0 * about_target),
        device.information_about_input(covariance),
    )


@jax.jit
def _slope_of_spins(
    couplings: jax.Array, gamma: jax.Array, device: SpinSystem, *law: jax.Array
) -> Any:
    def objective(couplings: jax.Array) -> tuple[jax.Array, Tradeoff]:
        found = _of_spins(with_couplings(device, couplings), *law)
        return found.information - gamma * found.dissipation, found

    (value, found), gradient = jax.value_and_grad(objective, has_aux=True)(couplings)
    return found, (value, 0.0), (gradient, jnp.zeros_like(gradient))


@jax.jit
def _slope_of_langevin(
    couplings: jax.Array, gamma: jax.Array, device: LinearLangevin, *target: jax.Array
) -> Any:
    def both(couplings: jax.Array) -> tuple[jax.Array, tuple[jax.Array, Tradeoff]]:
        coupled = with_couplings(device, couplings)
        found = _of_langevin(coupled, *target)
        alone = jnp.diagonal(device.diffusion_matrix) / jnp.diagonal(device.drift)
        gain = jnp.log(jnp.trace(coupled.covariance()) / alone.sum())
        values = jnp.stack([found.information - gamma * found.dissipation, gain])
        return values, (values, found)

    gradients, (values, found) = jax.jacrev(both, has_aux=True)(couplings)
    return found, (values[0], values[1]), (gradients[0], gradients[1])


def _drift(drift: Any, couplings: Any) -> jax.Array:
    return jnp.diag(jnp.diagonal(drift)) - jnp.asarray(couplings)


def _law(task: Any) -> tuple[jax.Array, ...]:
    return tuple(map(jnp.asarray, (task.inputs, task.input_prob, task.label_prob)))


def _target(task: Any) -> tuple[jax.Array, ...]:
    return tuple(map(jnp.asarray, (task.input_covariance, task.readout, task.noise_variance)))
