"""A small device of linear units in noise: everything about it is a formula.

Units ``s`` obey ``ds = (-A s + W x + b) dt + sqrt(2 D) dB``. The steady state is a normal law whose
covariance does not depend on the input ``x``. If ``A D`` is symmetric nothing flows; otherwise the
units circulate, and entropy is produced. ``k_B = 1``, logarithms are natural.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import (
    Floats,
    finite_array,
    one_of,
    positive,
    positive_int,
    positive_semidefinite,
)
from inference.dynamics.langevin import diffusion_matrix
from inference.dynamics.lyapunov_equation import solve_lyapunov
from inference.dynamics.ornstein_uhlenbeck import (
    Start,
    exact_transition,
    log_prob_of_moments,
    path_moments,
    sample_steps,
    step_lengths,
)
from inference.keys import split_named
from inference.pytrees import checked_pytree, is_concrete

from .spins import Form


@checked_pytree
@dataclass(frozen=True)
class LinearLangevin:
    """Linear units with couplings that need not be symmetric, in Gaussian noise.

    Parameters
    ----------
    drift
        ``(n, n)``: ``A``, all of whose eigenvalues have positive real parts; ``1 - J`` for units
        that decay in unit time and have couplings ``J``.
    diffusion
        ``D``: temperatures, a number or ``(n,)`` positive numbers, or a symmetric positive definite
        ``(n, n)``. The noise is ``sqrt(2 D)``.
    input_weights
        ``(n, d)``: how an input acts on the units; None, without inputs.
    bias
        ``(n,)`` constant forces; None is zero.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number is not finite, the drift is not stable, or the diffusion not
        positive.

    Notes
    -----
    A pytree: systems can be built inside ``jit`` and ``grad``, where values are not checked (an
    unstable drift then has a covariance that is not a number). After Ingrosso, Panizon, Phys. Rev.
    E 109, 014132 (2024), arXiv 2307.02379; the formulas are derived here, not copied from there.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from models.mesoscopic import LinearLangevin
    >>> gyrator = LinearLangevin([[1.0, -0.3], [-0.3, 1.0]], [1.0, 2.0])
    >>> round(float(gyrator.entropy_production()), 12)
    0.0225
    """

    drift: Any
    diffusion: Any
    input_weights: Any = None
    bias: Any = None

    def __post_init__(self) -> None:
        """Check and convert what is no tracer."""
        if not is_concrete(self.drift, self.diffusion, self.input_weights, self.bias):
            return

        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, jnp.asarray(value, dtype=float))

        drift = finite_array("drift", self.drift, ndim=2)
        n = len(drift)
        if drift.shape != (n, n):
            raise ValueError(f"drift: expected a square matrix, got shape {drift.shape}")
        eigenvalues = np.linalg.eigvals(drift)
        slowest = eigenvalues[np.argmin(eigenvalues.real)]
        if not slowest.real > 0:
            raise ValueError(
                "drift: expected eigenvalues with positive real parts, got "
                f"{slowest if slowest.imag else slowest.real:.6g}; the units would run away"
            )
        keep("drift", drift)
        keep("diffusion", diffusion_matrix(self.diffusion, n))
        bias = np.zeros(n) if self.bias is None else finite_array("bias", self.bias, ndim=1)
        if bias.shape != (n,):
            raise ValueError(f"bias: expected {n} numbers, one a unit, got {len(bias)}")
        keep("bias", bias)
        if self.input_weights is not None:
            weights = finite_array("input_weights", self.input_weights, ndim=2)
            if len(weights) != n:
                raise ValueError(
                    f"input_weights: expected {n} rows, one a unit, got {len(weights)}"
                )
            keep("input_weights", weights)

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.drift.shape[0])

    @property
    def diffusion_matrix(self) -> jax.Array:
        """``(n, n)``: ``D``."""
        noise = jnp.asarray(self.diffusion, dtype=float)
        return noise if noise.ndim == 2 else jnp.diag(jnp.broadcast_to(noise, self.n_units))

    def mean(self, x: ArrayLike | None = None) -> jax.Array:
        """Return the mean ``(n,)`` of the steady state, ``A^-1 (W x + b)``, at an input ``(d,)``.

        Raises
        ------
        ValueError
            If there is an input without weights or the other way round, or its length is wrong.
        """
        return jnp.linalg.solve(self.drift, self._force(x))

    def _force(self, x: ArrayLike | None) -> jax.Array:
        """Return ``W x + b``."""
        force = jnp.zeros(self.n_units) if self.bias is None else jnp.asarray(self.bias)
        if x is None:
            if self.input_weights is not None:
                raise ValueError(f"x: expected {self.input_weights.shape[1]} inputs, got none")
            return force
        if is_concrete(x):
            x = finite_array("x", x, ndim=1)
        value, weights = jnp.asarray(x, dtype=float), self._weights()
        if value.shape != weights.shape[1:]:
            raise ValueError(f"x: expected {weights.shape[1]} inputs, got {value.shape[0]}")
        return force + weights @ value

    def covariance(self) -> jax.Array:
        """Return the covariance ``C`` ``(n, n)`` of the steady state: ``A C + C A^T = 2 D``.

        Raises
        ------
        PrecisionError
            If JAX runs in single precision.
        """
        covariance = solve_lyapunov(self.drift, 2.0 * self.diffusion_matrix)
        return 0.5 * (covariance + covariance.T)

    def current(self) -> jax.Array:
        """Return ``Q = A C - D`` ``(n, n)``, antisymmetric, zero where nothing flows.

        At a deviation ``z`` from the mean the units move on average at the velocity ``-Q C^-1 z``.
        """
        moved = self.drift @ self.covariance()
        return 0.5 * (moved - moved.T)

    def entropy_production(self, form: Form = "schnakenberg") -> jax.Array:
        """Return the rate of entropy production in the steady state, in nats by unit time.

        It does not depend on the input.

        Parameters
        ----------
        form
            ``"schnakenberg"``, ``Tr(Q^T D^-1 Q C^-1)``, the currents squared, never negative, the
            one with most digits near equilibrium; ``"observable"``, ``Tr(A^T D^-1 A C) - Tr A``, an
            average over single states; ``"antisymmetric"``, ``-Tr(D^-1 A Q)``. They agree.

        Raises
        ------
        PrecisionError
            If JAX runs in single precision.
        """
        one_of("form", form, ("observable", "schnakenberg", "antisymmetric"))
        noise, covariance = self.diffusion_matrix, self.covariance()
        pull = jnp.linalg.solve(noise, self.drift)
        if form == "observable":
            return jnp.trace(self.drift.T @ pull @ covariance) - jnp.trace(self.drift)
        moved = self.drift @ covariance
        current = 0.5 * (moved - moved.T)
        if form == "antisymmetric":
            return -jnp.trace(pull @ current)
        force = jnp.linalg.solve(noise, current)
        return jnp.trace(current.T @ force @ jnp.linalg.inv(covariance))

    def information_about_input(self, input_covariance: ArrayLike | None = None) -> jax.Array:
        """Return ``I(s; x)`` in nats: what one state says of a Gaussian input.

        Parameters
        ----------
        input_covariance
            ``(d, d)``; None is the identity.

        Raises
        ------
        PrecisionError, ValueError
            If JAX runs in single precision, there are no inputs, or this is no covariance.
        """
        noise = jnp.linalg.cholesky(self.covariance())
        response, inputs = self._response(input_covariance)
        relative = jax.scipy.linalg.solve_triangular(noise, response, lower=True)
        ratio = jnp.eye(self.n_units) + relative @ inputs @ relative.T
        return 0.5 * jnp.linalg.slogdet(ratio)[1]

    def information_about_output(
        self,
        readout: ArrayLike,
        noise_variance: ArrayLike,
        input_covariance: ArrayLike | None = None,
    ) -> jax.Array:
        """Return ``I(s; y)`` in nats: what one state says of ``y = w x + noise``.

        Parameters
        ----------
        readout
            ``(d,)``: ``w``.
        noise_variance
            Of ``y`` given the input.
        input_covariance
            ``(d, d)`` of the Gaussian input; None is the identity.

        Raises
        ------
        PrecisionError, ValueError
            If JAX runs in single precision, there are no inputs, or shapes disagree.
        """
        response, inputs = self._response(input_covariance)
        if is_concrete(readout):
            readout = finite_array("readout", readout, ndim=1)
        weights = jnp.asarray(readout, dtype=float)
        if weights.shape != inputs.shape[:1]:
            raise ValueError(f"readout: expected {len(inputs)} numbers, got {weights.shape[0]}")
        if is_concrete(noise_variance) and not float(noise_variance) >= 0:  # type: ignore[arg-type]
            raise ValueError(f"noise_variance: expected at least 0, got {noise_variance}")
        variance = weights @ inputs @ weights + noise_variance
        crossed = response @ inputs @ weights
        together = self.covariance() + response @ inputs @ response.T
        explained = crossed @ jnp.linalg.solve(together, crossed)
        return -0.5 * jnp.log1p(-explained / variance)

    def sample(
        self,
        key: jax.Array,
        times: ArrayLike | None = None,
        *,
        n_steps: int | None = None,
        dt: float | None = None,
        n_paths: int | None = None,
        x: ArrayLike | None = None,
        start: ArrayLike | None = None,
    ) -> jax.Array:
        """Draw paths, exactly: a step may be of any length.

        Parameters
        ----------
        key
            Random key.
        times
            ``(n_times,)``, increasing. Or:
        n_steps, dt
            For the times ``0, dt, ..., n_steps dt``.
        n_paths
            Number of independent paths; None draws one.
        x
            Input ``(d,)``, constant in time.
        start
            ``(n,)`` or ``(n_paths, n)``: units at the first time; None draws from the steady state.

        Returns
        -------
        jax.Array
            ``(n_times, n)``, or ``(n_paths, n_times, n)``.

        Raises
        ------
        PrecisionError, TypeError, ValueError
            If JAX runs in single precision, times are given in neither or both ways, or something
            is out of range.
        """
        intervals: jax.Array | Floats
        which: jax.Array | None
        if n_steps is not None and dt is not None and times is None:
            intervals, which = np.array([positive("dt", dt)]), None
            n_steps = positive_int("n_steps", n_steps)
        elif times is not None and n_steps is None and dt is None:
            intervals, which = step_lengths(times)
        else:
            raise ValueError("times: expected either times, or n_steps and dt")
        n = 1 if n_paths is None else positive_int("n_paths", n_paths)
        if start is not None:
            given = finite_array("start", start, ndim=(1, 2))
            if given.shape not in ((self.n_units,), (n, self.n_units)):
                raise ValueError(
                    f"start: expected shape ({self.n_units},) or ({n}, {self.n_units}), got "
                    f"{given.shape}"
                )
            start = jnp.asarray(given)
        return _paths(self, self._force(x), intervals, which, start, key, n_paths, n_steps)

    def log_prob(
        self,
        times: ArrayLike,
        path: ArrayLike,
        *,
        x: ArrayLike | None = None,
        start: Start = "stationary",
    ) -> jax.Array:
        """Return the log density of a path at these times, exactly.

        Parameters
        ----------
        times
            ``(n_times,)``, increasing, evenly spaced or not.
        path
            ``(n_times, n)``, or ``(n_paths, n_times, n)`` for independent paths.
        x
            Input ``(d,)``, constant in time.
        start
            ``"stationary"``: the first point is one of the steady state; ``"given"``: the density
            is that of all others given the first.

        Raises
        ------
        PrecisionError, TypeError, ValueError
            If JAX runs in single precision, shapes disagree, a number is not finite, or times do
            not increase.
        """
        if np.shape(path)[-1:] != (self.n_units,):
            raise ValueError(
                f"path: expected {self.n_units} units along the last axis, got shape "
                f"{np.shape(path)}"
            )
        moments = path_moments(times, path)
        return log_prob_of_moments(
            moments, self.drift, self.covariance(), self.mean(x), start=start
        )

    def _weights(self) -> jax.Array:
        if self.input_weights is None:
            raise ValueError("input_weights: expected some, the system has no inputs")
        return jnp.asarray(self.input_weights, dtype=float)

    def _response(self, input_covariance: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
        """Return how means respond to inputs ``(n, d)``, and the covariance of these."""
        weights = self._weights()
        d = weights.shape[1]
        if input_covariance is None:
            return jnp.linalg.solve(self.drift, weights), jnp.eye(d)
        if is_concrete(input_covariance):
            given = positive_semidefinite("input_covariance", input_covariance)
            if given.shape != (d, d):
                raise ValueError(f"input_covariance: expected shape ({d}, {d}), got {given.shape}")
        return jnp.linalg.solve(self.drift, weights), jnp.asarray(input_covariance, dtype=float)


@partial(jax.jit, static_argnames=("n_paths", "n_steps"))
def _paths(
    system: LinearLangevin,
    force: jax.Array,
    intervals: jax.Array | Floats,
    which: jax.Array | None,
    start: jax.Array | None,
    key: jax.Array,
    n_paths: int | None,
    n_steps: int | None,
) -> jax.Array:
    """Return paths ``(n_paths, n_steps + 1, n)``, from the steady state if there is no start.

    If ``n_paths`` is None it is one path, without the first axis.

    Step ``i`` takes ``intervals[which[i]]``, or all of them ``intervals[0]``.
    """
    keys = split_named(key, "start", "steps")
    mean, covariance = jnp.linalg.solve(system.drift, force), system.covariance()
    shape = 1 if n_paths is None else n_paths, system.n_units
    if start is None:
        first = jax.random.normal(keys["start"], shape) @ jnp.linalg.cholesky(covariance).T
    else:
        first = jnp.broadcast_to(start - mean, shape)
    laws = jax.vmap(lambda interval: exact_transition(system.drift, covariance, interval))(
        intervals
    )
    if which is None or len(intervals) == 1:
        one = jax.tree_util.tree_map(lambda leaf: leaf[0], laws)
        size = n_steps if which is None else len(which)
        later = sample_steps(one, first, size, key=keys["steps"])
    else:
        each = jax.tree_util.tree_map(lambda leaf: leaf[which], laws)
        later = sample_steps(each, first, key=keys["steps"])
    paths = mean + jnp.concatenate([first[None], later]).swapaxes(0, 1)
    return paths[0] if n_paths is None else paths
