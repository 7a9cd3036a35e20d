"""The equation of Lyapunov: the covariance that a linear drift and noise come to."""

from __future__ import annotations

from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from inference.precision import require_x64

_MAX_DOUBLINGS = 60
_NEGLIGIBLE = 1e-17
"""Square of the norm of a power of the step, from where further terms are below rounding."""

Sum = tuple[jax.Array, jax.Array, jax.Array]


def solve_lyapunov(drift: ArrayLike, rhs: ArrayLike) -> jax.Array:
    """Return the matrix ``C`` with ``A C + C A^T = B``, of a drift ``A`` that is stable.

    Parameters
    ----------
    drift
        ``(d, d)``: every eigenvalue has a positive real part.
    rhs
        ``(d, d)``: ``B``, symmetric or not. For ``ds = -A s dt + sqrt(2 D) dB`` the covariance of
        the steady state has ``B = 2 D``.

    Returns
    -------
    jax.Array
        ``(d, d)``. Not a number if the drift is not stable, or so nearly not that rounding decides.

    Raises
    ------
    PrecisionError
        If JAX runs in single precision.
    ValueError
        If the matrices are not square and of one size.

    Notes
    -----
    With ``U = (A + p)^-1 (A - p)``, ``C = U C U^T + 2 p (A + p)^-1 B (A + p)^-T``, whose series is
    summed by doubling: Smith, SIAM J. Appl. Math. 16, 198 (1968). Matrix products on any device,
    ``O(d^3 log)``, batched by ``vmap``; one step of refinement. No eigenvectors, which a drift need
    not have.

    Differentiable any number of times, forwards and backwards, by the implicit function theorem:
    where ``A^T Y + Y A`` is the cotangent of ``C``, that of ``B`` is ``Y`` and that of ``A`` is
    ``-(Y C^T + Y^T C)``, ``-2 Y C`` if all is symmetric.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from inference.dynamics import solve_lyapunov
    >>> covariance = solve_lyapunov([[1.3, 0.4], [-0.9, 0.8]], [[1.0, 0.0], [0.0, 2.2]])
    >>> [round(float(number), 8) for number in covariance.ravel()]
    [0.40680272, -0.07210884, -0.07210884, 1.29387755]
    """
    require_x64("the equation of Lyapunov")
    matrix, right = jnp.asarray(drift, dtype=float), jnp.asarray(rhs, dtype=float)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or right.shape != matrix.shape:
        raise ValueError(
            "drift and rhs: expected square matrices of one size, got shapes "
            f"{matrix.shape} and {right.shape}"
        )
    return _solved(matrix, right)


@jax.jit
def _solved(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Return the solution, whose derivatives follow from the equation."""
    fixed = jax.lax.stop_gradient(matrix)

    def equation(covariance: jax.Array) -> jax.Array:
        return matrix @ covariance + covariance @ matrix.T

    def solve(_: Any, right: jax.Array) -> jax.Array:
        return _refined(fixed, right)

    def solve_transposed(_: Any, right: jax.Array) -> jax.Array:
        return _refined(fixed.T, right)

    solution = jax.lax.custom_linear_solve(equation, right, solve, solve_transposed)
    return cast(jax.Array, solution)


def _refined(drift: jax.Array, right: jax.Array) -> jax.Array:
    """Return the solution by doubling, after one step of refinement."""
    n = len(drift)
    # the geometric mean of all eigenvalues lies between the slow and the fast ones
    shift = jnp.exp(jnp.linalg.slogdet(drift)[1] / n)
    inverse = jnp.linalg.inv(drift + shift * jnp.eye(n))
    step = jnp.eye(n) - 2.0 * shift * inverse

    def solve(right: jax.Array) -> jax.Array:
        return _doubled(step, 2.0 * shift * (inverse @ right @ inverse.T))

    first = solve(right)
    return first + solve(right - drift @ first - first @ drift.T)


def _doubled(step: jax.Array, start: jax.Array) -> jax.Array:
    """Return the sum over k of ``U^k V (U^k)^T``; not a number if powers of U do not fall."""

    def going_on(state: Sum) -> jax.Array:
        _, power, n_steps = state
        return (jnp.sum(power**2) > _NEGLIGIBLE) & (n_steps < _MAX_DOUBLINGS)

    def double(state: Sum) -> Sum:
        total, power, n_steps = state
        return total + power @ total @ power.T, power @ power, n_steps + 1

    total, power, _ = jax.lax.while_loop(going_on, double, (start, step, jnp.array(0)))
    return jnp.where(jnp.sum(power**2) <= _NEGLIGIBLE, total, jnp.nan)
