"""What a posterior answers: moments of the mixing matrix, expectations, predictions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from numpy.typing import ArrayLike

from inference.checks import finite_array
from inference.keys import check_key, split_named
from inference.status import Status

from .compression import CompressedData
from .conditional import require_test_points
from .coordinates import Network, mixing_matrix
from .given import Data, given_mixing
from .theory import Architecture

_KNOWN_TOLERANCE = 1e-10  # a smaller share of a test variance is rounding
_GROUP = 128  # nodes handled at a time: bounds memory at every number of nodes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Nodes:
    """Weighted mixing matrices that stand for a posterior.

    Attributes
    ----------
    mixing
        ``(n, m, m)``: ``m = D``, or ``D S_1`` (output, site) pairs of a convolutional network.
    log_weights
        ``(n,)``, normalised.
    block
        How errors are estimated: 0 exact nodes (none), 1 independent draws, otherwise the length
        of consecutive blocks that are independent of each other (static).
    lattice
        For quadrature: free coordinates ``(n, d)`` of the nodes and the lattice cell ``(d, d)``.
    """

    mixing: jax.Array
    log_weights: jax.Array
    block: int = field(metadata={"static": True})
    lattice: tuple[jax.Array, jax.Array] | None = None

    def average(self, values: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the weighted mean of ``(n, ...)`` and its standard error."""
        return _average(self, values)


@jax.jit
def _average(nodes: Nodes, values: jax.Array) -> tuple[jax.Array, jax.Array]:
    weights = jnp.exp(nodes.log_weights)
    mean = jnp.tensordot(weights, values, axes=1)
    deviations = jnp.expand_dims(weights, tuple(range(1, values.ndim))) * (values - mean)
    return mean, jnp.sqrt(_squared_error(deviations, nodes.block))


def _squared_error(deviations: jax.Array, block: int) -> jax.Array:
    """Variance of a self-normalised mean from weighted deviations ``(n, ...)``, blockwise."""
    if block == 0:
        return jnp.zeros(deviations.shape[1:])
    sums = jnp.sum(deviations.reshape(-1, block, *deviations.shape[1:]), axis=1)
    return jnp.sum(sums**2, axis=0)


@dataclass(frozen=True)
class PosteriorResult:
    """Posterior of a deep linear network: an exact mixture over its mixing matrix ``Q``.

    Attributes
    ----------
    log_evidence
        Log marginal likelihood of the targets, nats, normalised Gaussian noise; None for NUTS.
    log_evidence_error
        Its standard error; 0 for quadrature, None for NUTS.
    mixing_mean, mixing_variance
        Posterior mean and elementwise variance of ``Q``, ``(D, D)``; of a convolutional network
        those of its local renormaliser, ``(D S_1, D S_1)``, site fastest.
    ess
        Effective sample size of the draws; None for quadrature.
    pareto_k
        Tail index of the importance weights; None for other methods.
    status
        CONVERGED, or what failed.
    method
        The method that was used: ``"quadrature"``, ``"laplace"``, ``"smc"``, ``"nuts"``,
        ``"prior"``.
    nodes, data, architecture, beta
        The weighted mixing matrices, and what was asked.
    """

    log_evidence: float | None
    log_evidence_error: float | None
    mixing_mean: jax.Array
    mixing_variance: jax.Array
    ess: float | None
    pareto_k: float | None
    status: Status
    method: str
    nodes: Nodes = field(repr=False)
    data: Data = field(repr=False)
    architecture: Network = field(repr=False)
    beta: float

    def expectation(self, f: Callable[[jax.Array], Any]) -> tuple[jax.Array, jax.Array]:
        """Return the posterior mean of a function of ``Q`` and its standard error.

        Parameters
        ----------
        f
            ``f(Q (D, D)) -> scalar or array``, written in JAX.

        Returns
        -------
        value, error
            Both of the shape of ``f``'s result; the error is 0 for quadrature.

        Examples
        --------
        ``posterior(...).expectation(lambda q: jnp.log(jnp.linalg.det(q)))``
        """
        return self.nodes.average(jnp.asarray(jax.vmap(f)(self.nodes.mixing), float))

    def sample_mixing(self, key: jax.Array, n: int) -> jax.Array:
        """Draw ``n`` mixing matrices from the posterior, ``(n, D, D)``.

        Notes
        -----
        Quadrature nodes are spread uniformly over their lattice cells and shrunk so that mean and
        covariance of the coordinates stay exact; other methods resample their draws.
        """
        check_key(key)
        keys = split_named(key, "node", "cell")
        # by the cumulative weights: jax.random.categorical would draw n times the number of nodes
        cumulative = jnp.cumsum(jnp.exp(self.nodes.log_weights))
        uniform = jax.random.uniform(keys["node"], (n,)) * cumulative[-1]
        chosen = jnp.searchsorted(cumulative, uniform, side="right")
        if self.nodes.lattice is None:
            return self.nodes.mixing[chosen]
        coordinates, cell = self.nodes.lattice
        spread = _within_cells(keys["cell"], coordinates, self.nodes.log_weights, cell, chosen)
        if isinstance(self.architecture, Architecture) and self.architecture.n_outputs == 1:
            return jnp.exp(spread)[..., None]
        return mixing_matrix(spread, self.architecture)

    def at(self, data: Data) -> PosteriorResult:
        """Return the same posterior asked about other test points.

        Parameters
        ----------
        data
            The same training data with other test points (`with_test_inputs`).

        Raises
        ------
        ValueError
            If the training data are others.
        """
        mine, theirs = (jax.tree_util.tree_leaves(part.training_part) for part in (self.data, data))
        same = type(data) is type(self.data) and len(mine) == len(theirs)
        if not (same and all(map(np.array_equal, mine, theirs))):
            raise ValueError("data: expected the training data of this posterior, got others")
        return replace(self, data=data)

    def predict(self) -> Predictive:
        """Return the posterior predictive at the test inputs given to `compress`.

        Raises
        ------
        ValueError
            If the data hold no test inputs.
        """
        mean, error, covariance = _predictive_moments(self.nodes, self.data, self.beta)
        return Predictive(mean, error, covariance, self)


def summarise(
    nodes: Nodes,
    asked: tuple[Data, Network, float],
    *,
    method: str,
    status: Status,
    log_evidence: float | None = None,
    log_evidence_error: float | None = None,
    ess: float | None = None,
    pareto_k: float | None = None,
) -> PosteriorResult:
    """Return the result that weighted mixing matrices stand for; ``asked`` is what was solved."""
    mean, _ = nodes.average(nodes.mixing)
    variance, _ = nodes.average((nodes.mixing - mean) ** 2)
    data, architecture, beta = asked
    return PosteriorResult(
        log_evidence=log_evidence,
        log_evidence_error=log_evidence_error,
        mixing_mean=mean,
        mixing_variance=variance,
        ess=ess,
        pareto_k=pareto_k,
        status=status,
        method=method,
        nodes=nodes,
        data=data,
        architecture=architecture,
        beta=beta,
    )


@dataclass(frozen=True)
class Predictive:
    """Posterior predictive at ``m`` test points.

    Attributes
    ----------
    mean, mean_error
        Of the latent function, ``(m, D)``; the error is the method's own, 0 for quadrature.
    covariance
        Of the latent function, one ``(D, D)`` matrix a point, ``(m, D, D)``.
    """

    mean: jax.Array
    mean_error: jax.Array
    covariance: jax.Array
    posterior: PosteriorResult = field(repr=False)

    def log_prob(self, y: ArrayLike) -> jax.Array:
        """Return the log predictive density of observations, noise ``1 / beta`` included.

        Parameters
        ----------
        y
            ``(m, D)``, or ``(m,)`` for one output.

        Returns
        -------
        Array
            One value a point, ``(m,)``.

        Raises
        ------
        ValueError
            If the shape does not fit, or ``beta`` is infinite and the training points determine
            the function at a test point: it has no density there.
        """
        shape = self.mean.shape
        values = finite_array("y", y, ndim=(1, 2))
        if values.shape != shape and not (shape[1] == 1 and values.shape == shape[:1]):
            raise ValueError(f"y: expected shape {shape}, got {values.shape}")
        given = self.posterior
        if math.isinf(given.beta) and isinstance(given.data, CompressedData):
            features, variance = require_test_points(given.data)
            explained = jnp.sum(features**2 / given.data.eigenvalues[:, None], axis=0)
            known = np.flatnonzero(variance - explained <= _KNOWN_TOLERANCE * variance)
            if known.size:
                raise ValueError(
                    f"y: expected test points with a density, got point {known[0]}, which the "
                    "noise-free training points determine; leave it out or use a finite beta"
                )
        return _predictive_log_prob(
            jnp.asarray(values.reshape(shape)), given.nodes, given.data, given.beta
        )

    def sample(self, key: jax.Array, n: int) -> jax.Array:
        """Draw the latent function ``n`` times, ``(n, m, D)``, one ``Q`` shared by all points.

        Notes
        -----
        Joint over the test points. Where only the diagonal of the test kernel was given, what lies
        outside the training range is drawn independently at each point.
        """
        check_key(key)
        keys = split_named(key, "mixing", "function")
        given = self.posterior
        mixing = given.sample_mixing(keys["mixing"], n)
        return _draws(jax.random.split(keys["function"], n), mixing, given.data, given.beta)


@jax.jit
def _draws(keys: jax.Array, mixing: jax.Array, data: Data, beta: jax.Array) -> jax.Array:
    draw = given_mixing(data).draw
    return jax.lax.map(lambda pair: draw(*pair, data, beta), (keys, mixing), batch_size=_GROUP)


@jax.jit
def _within_cells(
    key: jax.Array,
    coordinates: jax.Array,
    log_weights: jax.Array,
    cell: jax.Array,
    chosen: jax.Array,
) -> jax.Array:
    weights = jnp.exp(log_weights)
    center = weights @ coordinates
    deviations = coordinates - center
    covariance = (weights * deviations.T) @ deviations
    uniform = jax.random.uniform(key, (chosen.size, cell.shape[0])) - 0.5
    spread = deviations[chosen] + uniform @ cell.T
    widened = jnp.linalg.cholesky(covariance + cell @ cell.T / 12)
    exact = jnp.linalg.cholesky(covariance)
    whitened = jax.scipy.linalg.solve_triangular(widened, spread.T, lower=True)
    return center + (exact @ whitened).T


def _groups(nodes: Nodes) -> tuple[jax.Array, jax.Array]:
    """Nodes and log-weights in groups: whole blocks, or a fixed number of padded nodes."""
    size = nodes.block if nodes.block > 1 else _GROUP
    missing = -nodes.log_weights.shape[0] % size
    mixing = jnp.concatenate([nodes.mixing, jnp.repeat(nodes.mixing[:1], missing, axis=0)])
    log_weights = jnp.pad(nodes.log_weights, (0, missing), constant_values=-jnp.inf)
    return mixing.reshape(-1, size, *mixing.shape[1:]), log_weights.reshape(-1, size)


@jax.jit
def _predictive_moments(
    nodes: Nodes, data: Data, beta: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, its error, and total covariance ``E cov + Cov mean``, in two passes over the nodes."""
    groups = _groups(nodes)
    given = given_mixing(data)
    moments = jax.vmap(partial(given.moments, data=data, beta=beta))
    coefficients = jax.vmap(partial(given.coefficients, data=data, beta=beta))

    def first(total: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        mixing, log_weights = group
        return total + jnp.tensordot(jnp.exp(log_weights), coefficients(mixing), axes=1), None

    start = jnp.zeros_like(coefficients(nodes.mixing[:1])[0])
    mean = given.mean(jax.lax.scan(first, start, groups)[0], data)

    def second(
        totals: tuple[jax.Array, jax.Array], group: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        covariance, squared_error = totals
        weights = jnp.exp(group[1])
        means, covariances = moments(group[0])
        shifts = means - mean
        outer = jnp.einsum("n,nmd,nme->mde", weights, shifts, shifts)
        covariance = covariance + jnp.tensordot(weights, covariances, axes=1) + outer
        deviations = weights[:, None, None] * shifts
        return (covariance, squared_error + _squared_error(deviations, nodes.block)), None

    zeros = (jnp.zeros((*mean.shape, data.n_outputs), mean.dtype), jnp.zeros_like(mean))
    covariance, squared_error = jax.lax.scan(second, zeros, groups)[0]
    return mean, jnp.sqrt(squared_error), covariance


@jax.jit
def _predictive_log_prob(y: jax.Array, nodes: Nodes, data: Data, beta: jax.Array) -> jax.Array:
    given = given_mixing(data)
    densities = jax.vmap(partial(given.log_density, y, data=data, beta=beta))

    def add(total: jax.Array, group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        mixing, log_weights = group
        part = logsumexp(densities(mixing) + log_weights[:, None], axis=0)
        return jnp.logaddexp(total, part), None

    return jax.lax.scan(add, jnp.full(y.shape[0], -jnp.inf), _groups(nodes))[0]
