"""How probable the observations are, differentiable in the parameters of the epidemic.

The Bethe log-evidence does not change to first order with the messages at their fixed point. So
messages are found without derivatives, and the derivative is the one at fixed messages: the cost of
one more step, whatever the number of steps before. It is exact where the pairs that meet form a
tree; where contacts are dense and strong the Bethe evidence itself is biased.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from graphs.temporal import ContactNetwork
from inference.checks import positive, positive_int
from inference.precision import require_x64
from inference.status import Status

from .epidemic import Epidemic
from .evidence_problem import frozen_evidence, prepare, problem_drive
from .observations import Observations
from .parallel import iterate
from .parameter_fit import FitResult, fit_epidemic

__all__ = ["FitResult", "fit_epidemic", "log_evidence", "log_evidence_and_status"]


def log_evidence(
    parameters: Mapping[str, ArrayLike],
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    n_blocks: int | None = None,
    damping: float = 0.0,
    tol: float = 1e-10,
    max_steps: int = 1000,
) -> jax.Array:
    """Return the Bethe log-probability of the observations, differentiable in the parameters.

    Parameters
    ----------
    parameters
        Any of ``transmission_prob`` (a factor of the network's probabilities: the probability
        itself on a network built with 1), ``recovery_prob``, ``seed_prob``,
        ``self_infection_prob``, each a number or one for each person (for transmission: of who
        transmits); they replace those of ``epidemic``. Derivatives hold where all transmission
        probabilities are below 1.
    network
        Contacts and their transmission probabilities.
    observations, epidemic
        See :class:`Observations` and :class:`Epidemic`.
    n_blocks
        Of the parallel schedule; None: 16, and fewer where they would hold less than 32 people.
    damping
        As in :func:`models.contact_tracing.propagation.infer`.
    tol
        Largest change of a probability of a state in the last step. The error of the gradient is
        of this order, that of the evidence of its square.
    max_steps
        Upper limit of the number of steps; beyond it the value is returned as it is, see
        :func:`log_evidence_and_status`.

    Returns
    -------
    jax.Array
        A scalar; minus infinity if the observations are impossible.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    ValueError
        If a parameter is unknown or has a wrong shape, or something does not fit the network.

    Notes
    -----
    First derivatives in reverse mode only: derivatives of the gradient would lack the part that
    comes from the messages. Frozen messages: contact tracing after Baker et al., arXiv 2009.09422.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Epidemic, Observations
    >>> from models.contact_tracing.evidence import log_evidence
    >>> network = ContactNetwork.from_events([0], [1], [0], 1.0, n_days=1)
    >>> sick = Observations.of_states([0, 1], [0, 1], [1, 1])
    >>> def evidence(prob):
    ...     parameters = {"transmission_prob": prob}
    ...     return log_evidence(parameters, network, sick, Epidemic([0.5, 0.0], 0.0))
    >>> value, slope = jax.value_and_grad(evidence)(0.25)  # log(prob / 2)
    >>> round(float(value), 6), round(float(slope), 6)
    (-2.079442, 4.0)
    """
    return log_evidence_and_status(
        parameters,
        network,
        observations,
        epidemic,
        n_blocks=n_blocks,
        damping=damping,
        tol=tol,
        max_steps=max_steps,
    )[0]


def log_evidence_and_status(
    parameters: Mapping[str, ArrayLike],
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    n_blocks: int | None = None,
    damping: float = 0.0,
    tol: float = 1e-10,
    max_steps: int = 1000,
) -> tuple[jax.Array, jax.Array]:
    """Return the value of :func:`log_evidence` and a code of :class:`inference.status.Status`."""
    require_x64("the differentiable evidence")
    positive("tol", tol)
    positive_int("max_steps", max_steps)
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number from 0 to below 1, got {damping!r}")
    problem = prepare(network, observations, epidemic, n_blocks=n_blocks)
    drive = problem_drive(parameters, problem)
    fixed = jax.lax.stop_gradient(drive)
    layout = problem.plan.layout
    messages, residual, _, impossible = iterate(
        layout, fixed, problem.start, tol, max_steps, damping, **problem.options
    )
    messages = jax.lax.stop_gradient(messages)
    value = frozen_evidence(layout, drive, messages, **problem.options)
    contradiction = impossible.any() | jnp.isneginf(value)
    value = jnp.where(contradiction, -jnp.inf, value)
    status = jnp.where(residual <= tol, int(Status.CONVERGED), int(Status.MAX_STEPS))
    status = jnp.where(jnp.isfinite(value), status, int(Status.NON_FINITE))
    return value, jnp.where(contradiction, int(Status.CONTRADICTION), status)
