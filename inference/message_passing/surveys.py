"""The parallel twin of the compiled sweep: all warnings of all clauses at once, in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from graphs.segment import leave_one_out_sum, segment_sum
from inference.checks import Floats
from inference.fixed_point import fixed_point
from inference.status import Status

from .clause_messages import Propagation, forced_both_ways
from .clause_system import ClauseSystem


def propagate_in_parallel(
    system: ClauseSystem,
    om: Floats,
    *,
    rho: float,
    damping: float = 0.0,
    tol: float,
    max_steps: int,
) -> Propagation:
    """Update all messages at once, as `clause_messages.propagate` does one after another.

    The same equations with sums of logarithms instead of products, on any JAX device. ``om``
    ``(n_edges,)`` is not changed.
    """
    clauses = np.repeat(np.arange(system.n_clauses, dtype=np.int32), np.diff(system.offsets))
    arguments = (
        jnp.asarray(system.literals),
        jnp.asarray(clauses),
        jnp.asarray(rho, float),
        jnp.zeros(2 * system.n_variables, bool),  # their shapes count literals and clauses
        jnp.zeros(system.n_clauses, bool),
    )
    key = jax.random.key(0)  # the map is deterministic
    result = fixed_point(
        _flood, jnp.asarray(om), key=key, args=arguments, tol=tol, max_steps=max_steps,
        damping=damping,
    )  # fmt: skip
    status, culprit = Status(int(result.status)), -1
    if status is Status.NON_FINITE:
        # only 0 / 0 makes a NaN here: a literal that other clauses force to be true and to be false
        undefined = np.isnan(np.asarray(_flood(result.value, key, *arguments)))
        status, culprit = Status.CONTRADICTION, int(clauses[np.argmax(undefined)])
    reached = np.array(result.value)
    if culprit < 0 and (culprit := forced_both_ways(system, reached)) >= 0:
        status = Status.CONTRADICTION
    return Propagation(reached, float(result.residual), int(result.n_steps), status, culprit)


def _flood(
    om: jax.Array,
    _: jax.Array,
    literals: jax.Array,
    clauses: jax.Array,
    rho: jax.Array,
    per_literal: jax.Array,
    per_clause: jax.Array,
) -> jax.Array:
    logs = jnp.log(om)
    supporting = leave_one_out_sum(logs, literals, len(per_literal))
    opposing = segment_sum(logs, literals, len(per_literal))[literals ^ 1]
    log_false = supporting + jnp.log1p(-rho * jnp.exp(opposing))
    log_q = -jax.nn.softplus(opposing - log_false)
    return -jnp.expm1(leave_one_out_sum(log_q, clauses, len(per_clause)))
