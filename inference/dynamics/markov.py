"""Markov jump processes in continuous time: stationary law, entropy production, currents.

Generators are column generators: ``R[t, s]`` is the rate from ``s`` to ``t``, columns sum to zero,
``dp/dt = R p``. A network of two-state units that flip one at a time need not write its generator
down: ``k[i, s]`` says it all, the rate at which unit ``i`` flips in state ``s``, where bit
``i`` of the number ``s`` is the state of unit ``i``.

Everything differentiates, forwards and backwards, by the implicit function theorem: a derivative
costs one more linear solve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import gmres
from jax.typing import ArrayLike

from inference.precision import require_x64

_RESTART = 40
"""Vectors that the iterative solver keeps."""
_LEAST_PROGRESS = 0.9
"""Factor by which a restart must lower the residual: rounding allows no more, or it stagnates."""
_N_RELAX = 40
"""Steps towards the law with which the solver starts."""

Product = Callable[[jax.Array], jax.Array]
Search = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


class CurrentFluctuations(NamedTuple):
    """Mean and fluctuations of a time-integrated current in the steady state."""

    mean: jax.Array
    """By unit time."""
    variance_rate: jax.Array
    """Variance by unit time, in the limit of long times."""
    entropy_production: jax.Array
    """Rate, in nats by unit time."""

    @property
    def tur_ratio(self) -> jax.Array:
        """``variance_rate entropy_production / mean**2``: at least 2 in every steady state.

        Barato, Seifert, PRL 114, 158101 (2015); Gingrich et al., PRL 116, 120601 (2016).
        """
        return self.variance_rate * self.entropy_production / self.mean**2


def stationary_law(generator: ArrayLike) -> jax.Array:
    """Return the stationary law of a dense generator.

    Parameters
    ----------
    generator
        ``(n_states, n_states)`` column generator of an irreducible process.

    Returns
    -------
    jax.Array
        ``(n_states,)`` probabilities. Not finite if there is more than one stationary law.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from inference.dynamics import stationary_law
    >>> [round(float(p), 12) for p in stationary_law([[-1.0, 3.0], [1.0, -3.0]])]
    [0.75, 0.25]
    """
    require_x64("a stationary law")
    matrix = jnp.asarray(generator, dtype=float)
    n_states = len(matrix)
    # R p = 0 and sum p = 1 are one regular system: the columns of R sum to zero
    even = jnp.full(n_states, 1.0 / n_states)
    return jnp.linalg.solve(matrix - even[:, None], -even)


def flip_generator(flip_rates: ArrayLike) -> jax.Array:
    """Return the dense generator ``(2**n, 2**n)`` of flips with rates ``(n, 2**n)``."""
    rates = jnp.asarray(flip_rates)
    state = jnp.arange(rates.shape[1])
    matrix = jnp.diag(-rates.sum(axis=0))
    for unit in range(len(rates)):
        matrix = matrix.at[state ^ (1 << unit), state].set(rates[unit])
    return matrix


def flipped(values: jax.Array, unit: int) -> jax.Array:
    """Return ``values[s with unit flipped]`` for values ``(..., 2**n)`` of all states."""
    pairs = values.reshape(*values.shape[:-1], -1, 2, 1 << unit)
    # several times faster than to reverse the axis
    return jnp.stack([pairs[..., 1, :], pairs[..., 0, :]], axis=-2).reshape(values.shape)


def apply_flips(flip_rates: jax.Array, law: jax.Array) -> jax.Array:
    """Return ``R p`` for flips with rates ``(n, 2**n)``, without the matrix."""
    change = -flip_rates.sum(axis=0) * law
    for unit in range(len(flip_rates)):
        change = change + flipped(flip_rates[unit] * law, unit)
    return change


class FlipLaw(NamedTuple):
    """A stationary law by an iterative solver."""

    law: jax.Array
    """``(2**n,)`` probabilities."""
    residual: jax.Array
    """``sum |R p|``: how fast probability still moves, by unit time."""


def stationary_law_of_flips(
    flip_rates: ArrayLike, *, tol: float = 1e-13, max_steps: int = 200
) -> FlipLaw:
    """Return the stationary law of units that flip one at a time, without a matrix.

    Parameters
    ----------
    flip_rates
        ``(n, 2**n)`` rates, all positive.
    tol
        Of the solver: norm of what is left of the equation, relative to its right-hand side. It
        ends before where rounding lets the norm fall no further.
    max_steps
        Upper limit of restarts of the solver, each of 40 products with the generator.

    Returns
    -------
    FlipLaw
        Look at its residual: processes that relax slowly take many steps.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.

    Notes
    -----
    GMRES on ``R p - q sum(p) = -q``, ``q`` a law near the stationary one, which is the only
    solution; scaled by the diagonal. A product costs ``2 n 2**n`` operations; at n = 20 a solution
    takes half a minute and 2 GB.
    """
    require_x64("a stationary law")
    rates = jnp.asarray(flip_rates, dtype=float)
    fixed = jax.lax.stop_gradient(rates)
    leave = fixed.sum(axis=0)
    near = _relaxed(fixed, leave)

    # scaled from the right: the unknown is p times the rate at which its state is left
    def equation(scaled: jax.Array) -> jax.Array:
        law = scaled / leave
        return apply_flips(rates, law) - near * law.sum()

    def solve(product: Product, right: jax.Array) -> jax.Array:
        return _solved(product, right, tol, max_steps)

    scaled = jax.lax.custom_linear_solve(equation, -near, solve, transpose_solve=solve)
    law = scaled / leave
    return FlipLaw(law, jnp.abs(apply_flips(rates, law)).sum())


def _relaxed(rates: jax.Array, leave: jax.Array) -> jax.Array:
    """Return what a short time makes of the even law."""
    step = 1.0 / leave.max()
    even = jnp.full(len(leave), 1.0 / len(leave))
    return jax.lax.fori_loop(0, _N_RELAX, lambda _, law: law + step * apply_flips(rates, law), even)


def _solved(product: Product, right: jax.Array, tol: float, max_steps: int) -> jax.Array:
    """Return the solution of a linear system as precise as restarted GMRES makes it."""
    goal = tol * jnp.linalg.norm(right)

    def going_on(state: Search) -> jax.Array:
        _, left, before, n_steps = state
        return (left > goal) & (left < _LEAST_PROGRESS * before) & (n_steps < max_steps)

    def restart(state: Search) -> Search:
        at, left, _, n_steps = state
        new, _ = gmres(
            product, right, x0=at, tol=0.0, atol=goal, maxiter=1,
            restart=min(_RESTART, len(right)), solve_method="batched",
        )  # fmt: skip
        norm = jnp.linalg.norm(right - product(new))
        return new, norm, left, n_steps + 1

    start = jnp.zeros_like(right), jnp.linalg.norm(right), jnp.array(jnp.inf), jnp.array(0)
    return jax.lax.while_loop(going_on, restart, start)[0]


def entropy_production(generator: ArrayLike, law: ArrayLike | None = None) -> jax.Array:
    """Return the rate of entropy production of a steady state, in nats by unit time.

    Parameters
    ----------
    generator
        ``(n_states, n_states)`` column generator. A transition that has no reverse would produce
        entropy without bound: the answer is then infinite.
    law
        Its stationary law; None computes it.

    Returns
    -------
    jax.Array
        ``1/2 sum (R[t,s] p[s] - R[s,t] p[t]) log(R[t,s] p[s] / R[s,t] p[t])``.

    Notes
    -----
    Schnakenberg, Rev. Mod. Phys. 48, 571 (1976).
    """
    matrix = jnp.asarray(generator, dtype=float)
    p = stationary_law(matrix) if law is None else jnp.asarray(law)
    flow = jnp.where(jnp.eye(len(matrix), dtype=bool), 0.0, matrix * p)
    back = flow.T
    both = (flow > 0) & (back > 0)
    # two selections: neither value nor derivative may see the logarithm of zero
    ratio = jnp.where(both, flow, 1.0) / jnp.where(both, back, 1.0)
    one_way = ((flow > 0) != (back > 0)).any()
    return jnp.where(one_way, jnp.inf, 0.5 * ((flow - back) * jnp.log(ratio)).sum())


def current_fluctuations(
    generator: ArrayLike, weights: ArrayLike, law: ArrayLike | None = None
) -> CurrentFluctuations:
    """Return mean and variance of a current that counts transitions with weights.

    Parameters
    ----------
    generator
        ``(n_states, n_states)`` column generator.
    weights
        ``(n_states, n_states)``: what the current gains by a transition from ``s`` to ``t``, at
        ``[t, s]``; antisymmetric for a current proper, anything for a counter.
    law
        Its stationary law; None computes it.

    Returns
    -------
    CurrentFluctuations
        Of the current by unit time.

    Notes
    -----
    Second derivative of the scaled cumulant generating function at zero, by perturbation theory:
    with ``L = R * weights`` off the diagonal, ``mean = 1 L p`` and ``variance_rate = 1 (R *
    weights**2) p + 2 1 L x``, where ``R x = (mean - L) p`` and ``sum(x) = 0``.
    """
    matrix = jnp.asarray(generator, dtype=float)
    p = stationary_law(matrix) if law is None else jnp.asarray(law)
    off = jnp.where(jnp.eye(len(matrix), dtype=bool), 0.0, matrix)
    gain = off * jnp.asarray(weights)
    flow = gain @ p
    mean = flow.sum()
    # the same regular matrix as for the law; a right-hand side of sum 0 has a solution of sum 0
    response = jnp.linalg.solve(matrix - 1.0 / len(matrix), mean * p - flow)
    variance = (off * jnp.asarray(weights) ** 2 @ p).sum() + 2.0 * (gain @ response).sum()
    return CurrentFluctuations(mean, variance, entropy_production(matrix, p))
