"""The parameters of an epidemic that make the observations most probable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy import optimize, special

from graphs.temporal import ContactNetwork
from inference.checkpoints import Keeper, Place, kept
from inference.checks import Floats, positive, positive_int
from inference.precision import require_x64
from inference.progress import progress_bar
from inference.status import Status

from .epidemic import Epidemic
from .evidence_problem import frozen_evidence, prepare, problem_drive
from .node_weights import NodeWeights
from .observations import Observations
from .pair_layout import Messages, start_messages
from .parallel import Drive
from .parallel_layout import BlockMessages, unpack
from .rates import PARAMETERS
from .sequential import sweep_to_fixed_point

_LARGEST_LOGIT = 12.0
"""Bound of the search: probabilities between 6e-6 and one minus that, times their upper bound."""
_STEP = 1e-2
"""Of the differences of the gradient, in logits."""
_MESSAGE_TOL = 1e-2
"""Of the messages, in units of the tolerance of the fit: gradients are about as precise."""
_CURVATURE_TOL = 1e-6
"""Of the messages for differences of gradients."""


class FitResult(NamedTuple):
    """The parameters under which the observations are most probable."""

    epidemic: Epidemic
    """With the fitted values."""
    transmission_prob: float
    """Fitted factor of the network's transmission probabilities; 1 if it was not fitted."""
    estimates: dict[str, float]
    standard_errors: dict[str, float]
    """From the curvature of the log-evidence; infinite where it has none, as at a bound."""
    log_evidence: float
    """Bethe log-evidence of the observations, without the priors."""
    residual: float
    """Largest derivative of the objective in the logits of the parameters."""
    n_steps: int
    """Evaluations of the evidence."""
    status: Status


def fit_epidemic(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic,
    *,
    parameters: Sequence[str] | None = None,
    priors: Mapping[str, tuple[float, float]] | None = None,
    damping: float = 0.0,
    tol: float = 1e-3,
    max_steps: int = 100,
    progress: bool | None = False,
    checkpoint: Place | None = None,
) -> FitResult:
    """Return the parameters that maximise the Bethe evidence of the observations.

    Parameters
    ----------
    network
        Contacts; the fit is of one factor of their transmission probabilities, up to the one that
        makes the largest 1.
    observations
        Tests and symptoms.
    epidemic
        Start of the search, and everything that is not fitted.
    parameters
        Any of ``transmission_prob``, ``recovery_prob``, ``seed_prob``, ``self_infection_prob``;
        None: the first three, so far as the epidemic has them. One number each, for all people.
    priors
        For some of the parameters the ``(a, b)`` of a Beta law whose log-density is added. A few
        tests leave some parameters all but undetermined, and without a prior at a bound.
    damping
        Of the messages.
    tol
        The search ends where all derivatives in the logits are smaller, or a step gains less than
        its square, in nats. Data decide by differences of about one nat, so 0.02 is enough for
        estimates with their standard errors; a parameter at a bound is approached in many steps.
    max_steps
        Upper limit of the number of steps of the search, each an evaluation or a few.
    progress
        Whether to draw a bar of the steps, most of which are usually not needed; None draws one on
        a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    FitResult
        ``status`` is CONVERGED or MAX_STEPS.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    ValueError
        If a name is unknown or does not apply to the epidemic, or the observations are impossible.

    Notes
    -----
    L-BFGS-B on the logits with the gradient at frozen messages; the messages are found by the
    compiled sequential schedule, each time from the last ones.
    """
    require_x64("the fit of parameters")
    names = _fitted_names(epidemic, parameters)
    positive("tol", tol)
    message_tol = min(tol * _MESSAGE_TOL, 1e-4)
    given = dict(priors or {})
    with kept(
        checkpoint, "contact_tracing.fit_epidemic", network=network, observations=observations,
        epidemic=epidemic, names=names, priors=given, damping=damping, tol=tol, max_steps=max_steps,
    ) as keep:  # fmt: skip
        objective = _Objective(
            network, observations, epidemic, names, given, damping, message_tol, keep
        )
        return _fitted(objective, epidemic, tol, positive_int("max_steps", max_steps), progress)


def _fitted(
    objective: _Objective, epidemic: Epidemic, tol: float, max_steps: int, progress: bool | None
) -> FitResult:
    """Climb from the epidemic's own parameters."""
    names, message_tol = objective.names, objective.message_tol
    start = special.logit(np.clip(objective.start(), 1e-4, 1.0 - 1e-4))
    first = objective(start)[0]
    with progress_bar(max_steps, "fit", progress) as bar:

        def show(intermediate_result: optimize.OptimizeResult) -> None:
            bar.set_postfix_str(f"log-evidence {-intermediate_result.fun:.6g}")
            bar.update(1)

        found = optimize.minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_LARGEST_LOGIT, _LARGEST_LOGIT)] * len(names),
            callback=show,
            # the gain that counts is relative to the objective
            options={"maxiter": max_steps, "gtol": tol, "ftol": tol**2 / max(abs(first), 1.0)},
        )
    objective.message_tol = min(message_tol, _CURVATURE_TOL)
    errors = objective.standard_errors(found.x)
    values = objective.values(found.x)
    objective(found.x)
    inner = np.abs(found.x) < _LARGEST_LOGIT
    estimates = {name: float(value) for name, value in zip(names, values)}
    kept = {name: value for name, value in estimates.items() if name != "transmission_prob"}
    good = found.success and objective.propagated is Status.CONVERGED
    return FitResult(
        replace(epidemic, **kept),
        estimates.get("transmission_prob", 1.0),
        estimates,
        dict(zip(names, errors)),
        objective.log_evidence,
        float(np.abs(found.jac[inner]).max(initial=0.0)),
        objective.n_evaluations,
        Status.CONVERGED if good else Status.MAX_STEPS,
    )


class _Objective:
    """Minus the log-evidence and its gradient, in the logits of the parameters."""

    def __init__(
        self,
        network: ContactNetwork,
        observations: Observations,
        epidemic: Epidemic,
        names: tuple[str, ...],
        priors: dict[str, tuple[float, float]],
        damping: float,
        message_tol: float,
        keep: Keeper,
    ) -> None:
        largest = max(
            float(p.max(initial=0.0)) for p in (network.forward_prob, network.backward_prob)
        )
        if "transmission_prob" in names and largest == 0.0:
            raise ValueError("network: expected a contact that can transmit, got none")
        self.names, self.damping, self.message_tol = names, damping, message_tol
        self.upper = np.array([1.0 / largest if n == "transmission_prob" else 1.0 for n in names])
        self.beta = np.array([priors.get(name, (1.0, 1.0)) for name in names])
        if (self.beta <= 0.0).any() or set(priors) - set(names):
            raise ValueError(f"priors: expected positive numbers for any of {names}, got {priors}")
        self.problem = prepare(network, observations, epidemic)
        self.messages = start_messages(self.problem.pairs, np.float64)
        self.n_evaluations, self.log_evidence = 0, -np.inf
        self.propagated = Status.CONVERGED
        self.keep, self.records = keep, list[Any]()
        if keep.restored is not None:
            self.records, messages = keep.restored
            self.messages = Messages(*messages)

    def start(self) -> Floats:
        """Return the values of the epidemic as shares of their upper bounds."""
        of_epidemic = vars(self.problem.epidemic)
        return np.array(
            [
                (1.0 if bound > 1.0 else 0.1) / bound
                if name == "transmission_prob"
                else float(np.mean(of_epidemic[name]))
                for name, bound in zip(self.names, self.upper)
            ]
        )

    def values(self, logits: Floats) -> Floats:
        """Return the parameters."""
        return self.upper * special.expit(logits)

    def __call__(self, logits: Floats) -> tuple[float, Floats]:
        """Return the objective and its gradient, as they were before or from the last messages."""
        before = self.records[self.n_evaluations :][:1]
        if not before or not np.array_equal(before[0][0], logits):
            # another search than before, that of another version of SciPy perhaps
            del self.records[self.n_evaluations :]
            self.records.append(self._evaluated(logits))
            self.keep.offer(lambda: (self.records, self.messages))
        _, value, gradient, self.log_evidence, propagated = self.records[self.n_evaluations]
        self.propagated = Status(propagated)
        self.n_evaluations += 1
        return value, np.array(gradient)

    def _evaluated(self, logits: Floats) -> tuple[Floats, float, Floats, float, int]:
        """Return logits, objective, gradient, log-evidence and how the messages ended."""
        values = self.values(logits)
        parameters = dict(zip(self.names, values))
        drive, pull = jax.vjp(lambda p: problem_drive(p, self.problem), parameters)
        propagated = self._propagate(drive)
        blocks = unpack(self.messages, self.problem.pairs, self.problem.plan)
        value, slope = _value_and_slope(
            drive, self.problem.plan.layout, blocks, **self.problem.options
        )
        by_name = pull(slope)[0]
        gradient = np.array([float(by_name[name]) for name in self.names])
        share = special.expit(logits)
        a, b = self.beta.T - 1.0
        log_evidence = float(value)
        total = log_evidence + float((a * np.log(share) + b * np.log1p(-share)).sum())
        gradient = gradient * values * (1.0 - share) + a * (1.0 - share) - b * share
        return logits.copy(), -total, -gradient, log_evidence, int(propagated)

    def _propagate(self, drive: Drive) -> Status:
        pairs, factor = self.problem.pairs, float(drive.transmission[0])
        scaled = pairs._replace(
            single_rate=np.minimum(factor * pairs.single_rate, 1.0),
            repeated_rate=np.minimum(factor * pairs.repeated_rate, 1.0),
        )
        weights = NodeWeights(
            np.array(drive.table),  # a copy: compiled kernels want arrays they could write to
            np.array(drive.table_of_person),
            1.0 - np.array(drive.outside),
        )
        swept = sweep_to_fixed_point(
            scaled,
            self.messages,
            weights,
            np.array(drive.profile),
            markov=self.problem.options["markov"],
            n_days=self.problem.n_days,
            damping=self.damping,
            tol=self.message_tol,
            max_steps=500,
            n_blocks=None,
            n_threads=1,
        )
        if swept.status is Status.CONTRADICTION:
            raise ValueError(
                "observations: expected a possible history, but none is compatible with them all"
            )
        return swept.status

    def standard_errors(self, logits: Floats) -> list[float]:
        """Return the errors of the parameters from differences of the gradient."""
        free = np.flatnonzero(np.abs(logits) < _LARGEST_LOGIT)
        errors = np.full(len(logits), np.inf)
        if not free.size:
            return errors.tolist()
        rows = []
        for place in free:
            nudge = np.zeros(len(logits))
            nudge[place] = _STEP
            ends = [self(logits + sign * nudge)[1][free] for sign in (1.0, -1.0)]
            rows.append((ends[0] - ends[1]) / (2.0 * _STEP))
        curvature = 0.5 * (np.array(rows) + np.array(rows).T)
        if np.linalg.eigvalsh(curvature)[0] > 1e-8:
            share = special.expit(logits[free])
            scale = self.upper[free] * share * (1.0 - share)
            errors[free] = scale * np.sqrt(np.diag(np.linalg.inv(curvature)))
        return errors.tolist()


def _fitted_names(epidemic: Epidemic, parameters: Sequence[str] | None) -> tuple[str, ...]:
    if parameters is not None:
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown or not parameters:
            got = unknown[0] if unknown else "none"
            raise ValueError(f"parameters: expected any of {', '.join(PARAMETERS)}; got {got}")
        return tuple(parameters)
    names = ["transmission_prob"]
    if epidemic.recovery_prob is not None:
        names.append("recovery_prob")
    if epidemic.initial_state_prob is None:
        names.append("seed_prob")
    return tuple(names)


@partial(jax.jit, static_argnames=("n_people", "markov"))
def _value_and_slope(
    drive: Drive, layout: Any, messages: BlockMessages, *, n_people: int, markov: bool
) -> tuple[jax.Array, Drive]:
    """Return the evidence at given messages and its derivative."""

    def value(drive: Drive) -> jax.Array:
        return frozen_evidence(layout, drive, messages, n_people=n_people, markov=markov)

    return jax.value_and_grad(value, allow_int=True)(drive)
