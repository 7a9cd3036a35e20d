"""Epidemics whose parameters are uncertain, for the samplers of NumPyro.

All histories are summed in the evidence, exactly or by belief propagation, so only the parameters
are sampled. What a draw of them says about the people follows afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpy.typing import ArrayLike

from graphs.temporal import ContactNetwork
from inference.checks import Floats, one_of, positive_int
from inference.status import Status

from .epidemic import Epidemic
from .evidence import log_evidence
from .exact import exact_log_evidence, exact_posterior
from .observations import Observations
from .propagation import infer
from .rates import PARAMETERS

Evidence = Literal["bethe", "exact"]

_DEFAULT_PRIORS: dict[str, tuple[float, float]] = {
    "transmission_prob": (1.5, 6.0),
    "recovery_prob": (2.0, 10.0),
    "seed_prob": (1.0, 30.0),
    "self_infection_prob": (1.0, 300.0),
}


class PosteriorStates(NamedTuple):
    """States of all people, averaged over draws of the parameters."""

    mean: Floats
    """``(n_people, n_days + 1, 3)``: posterior probabilities of S, I, R on each day."""
    sd: Floats
    """Standard deviation of those probabilities over the draws: what not knowing the parameters
    adds to the uncertainty about a person."""
    n_draws: int
    status: Status
    """The worst of all draws."""


def default_priors() -> dict[str, dist.Distribution]:
    """Return Beta laws: means 0.2 (transmission), 0.17 (recovery), 0.03 (seed), 0.003 (outside).

    Wide, for networks that are built with transmission probability 1.
    """
    return {name: dist.Beta(a, b) for name, (a, b) in _DEFAULT_PRIORS.items()}


def epidemic_model(
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic | None = None,
    *,
    priors: Mapping[str, dist.Distribution] | None = None,
    evidence: Evidence = "bethe",
    **options: Any,
) -> None:
    """Sample the parameters of an epidemic given observations of it.

    Parameters
    ----------
    network
        Contacts. ``transmission_prob`` is a factor of its probabilities: build it with 1 to make it
        the probability itself.
    observations
        Tests and symptoms.
    epidemic
        Everything that has no prior; may be left out with the default priors.
    priors
        Laws of some of ``transmission_prob``, ``recovery_prob``, ``seed_prob``,
        ``self_infection_prob``, of one number or of one for each person; None: of all four,
        :func:`default_priors`.
    evidence
        ``"bethe"``: belief propagation, exact where the pairs that meet form a tree, biased and
        too certain on dense and strong contacts. ``"exact"``: the joint chain, for a few people.
    options
        Of :func:`models.contact_tracing.evidence.log_evidence`: ``tol``, ``damping``, ...

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    ValueError
        If a prior has an unknown name, or something is missing or does not fit the network.

    Notes
    -----
    For ``MCMC(NUTS(epidemic_model), ...)``, ``Predictive`` and so on. One site for each prior,
    deterministic ``log_evidence``, factor ``evidence``. Few tests say little about some parameters:
    compare posterior and prior before believing either.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> import numpyro.distributions as dist
    >>> from numpyro.infer.util import log_density
    >>> from graphs.temporal import ContactNetwork
    >>> from models.contact_tracing import Observations
    >>> from models.contact_tracing.bayesian import epidemic_model
    >>> network = ContactNetwork.from_events([0, 1], [1, 2], [0, 1], 1.0, symmetric=True)
    >>> tests = Observations.from_tests([0, 2], [0, 2], [True, True], false_positive=0.01)
    >>> priors = {"seed_prob": dist.Beta(1, 9), "recovery_prob": dist.Beta(1, 1)}
    >>> options = {"priors": priors, "evidence": "exact"}
    >>> draw = {"seed_prob": 0.1, "recovery_prob": 0.2}
    >>> density, sites = log_density(epidemic_model, (network, tests), options, draw)
    >>> round(float(density), 3), sorted(sites)
    (-0.99, ['evidence', 'log_evidence', 'recovery_prob', 'seed_prob'])
    """
    _check_evidence(evidence, options)
    laws = default_priors() if priors is None else dict(priors)
    unknown = sorted(set(laws) - set(PARAMETERS))
    if unknown:
        raise ValueError(f"priors: expected any of {', '.join(PARAMETERS)}; got {unknown[0]}")
    if epidemic is None:
        if priors is not None and not {"recovery_prob", "seed_prob"} <= set(laws):
            raise ValueError("epidemic: expected one, to hold what has no prior")
        epidemic = Epidemic(0.5, 0.5)  # both are replaced
    parameters = {name: numpyro.sample(name, laws[name]) for name in PARAMETERS if name in laws}
    value: jax.Array
    if evidence == "exact":
        value = exact_log_evidence(parameters, network, observations, epidemic)
    else:
        value = log_evidence(parameters, network, observations, epidemic, **options)
    numpyro.factor("evidence", numpyro.deterministic("log_evidence", value))


def posterior_state_prob(
    samples: Mapping[str, ArrayLike],
    network: ContactNetwork,
    observations: Observations,
    epidemic: Epidemic | None = None,
    *,
    evidence: Evidence = "bethe",
    max_draws: int = 200,
    **options: Any,
) -> PosteriorStates:
    """Return the states of all people, given draws of the parameters.

    Parameters
    ----------
    samples
        Draws of the parameters by name, one number a draw, of any shape; other names are ignored.
    network, observations, epidemic, evidence
        As handed to :func:`epidemic_model`.
    max_draws
        So many draws are used at most, evenly spaced.
    options
        Of :func:`models.contact_tracing.propagation.infer`.

    Returns
    -------
    PosteriorStates
        Mean and standard deviation are computed as the draws pass: memory does not grow with them.

    Raises
    ------
    ValueError
        If there are no draws of any parameter, or their numbers differ.
    """
    _check_evidence(evidence, options)
    flat = {
        name: np.asarray(samples[name], np.float64).reshape(-1)
        for name in PARAMETERS
        if name in samples
    }
    sizes = {len(values) for values in flat.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"samples: expected equally many draws of any of {', '.join(PARAMETERS)}, got "
            + (", ".join(f"{len(draws)} of {name}" for name, draws in flat.items()) or "none")
        )
    n = sizes.pop()
    chosen = np.unique(np.linspace(0, n - 1, min(n, positive_int("max_draws", max_draws))).round())
    mean = np.zeros((network.n_people, network.n_days + 1, 3))
    square = np.zeros_like(mean)
    status = Status.CONVERGED
    for count, draw in enumerate(chosen.astype(int), start=1):
        values = {name: float(column[draw]) for name, column in flat.items()}
        contacts = network.scaled(values.pop("transmission_prob", 1.0))
        drawn = replace(epidemic or Epidemic(0.5, 0.5), **values)
        found: Any
        if evidence == "exact":
            found = exact_posterior(contacts, observations, drawn)
        else:
            found = infer(contacts, observations, drawn, on_failure="ignore", **options)
        status = max(status, found.status)
        change = found.state_prob - mean
        mean += change / count
        square += change * (found.state_prob - mean)
    return PosteriorStates(mean, np.sqrt(square / len(chosen)), len(chosen), Status(status))


def _check_evidence(evidence: str, options: dict[str, Any]) -> None:
    one_of("evidence", evidence, ("bethe", "exact"))
    if evidence == "exact" and options:
        raise ValueError(f"{next(iter(options))}: expected no option beside the exact evidence")
