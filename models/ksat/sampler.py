"""References amid many solutions of a formula, as chains of NumPyro's ``MCMC``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .formula import Formula
from .propagation import clause_factors, propagate_units

if TYPE_CHECKING:
    import jax

    from graphs.factor_graph import FactorGraph
    from inference.message_passing.factors import ClauseFactors
    from inference.monte_carlo.local_entropy_metropolis import LocalEntropyMetropolis

_MOST_SWEEPS = 500


def local_entropy_kernel(
    formula: Formula,
    *,
    coupling: float,
    n_replicas: float = 1.0,
    n_flips: int = 1,
    damping: float = 0.3,
    tol: float = 1e-6,
) -> LocalEntropyMetropolis:
    """Return a kernel that samples references ``r`` from ``exp(n_replicas * F(r, coupling))``.

    Parameters
    ----------
    formula
        Clauses of at least two different literals each.
    coupling
        ``gamma > 0``.
    n_replicas
        ``y > 0``; infinity accepts whatever does not decrease the local free entropy.
    n_flips
        Proposals a draw.
    damping, tol
        Of belief propagation, in JAX.

    Returns
    -------
    LocalEntropyMetropolis
        For ``MCMC(kernel, ...).run(key)``; the draws are named ``reference``, ``(n_variables,)``.

    Raises
    ------
    ValueError
        If an argument is out of range or unit clauses decide a variable.
    """
    import jax.numpy as jnp

    from inference.checks import positive
    from inference.monte_carlo.local_entropy_metropolis import LocalEntropyMetropolis

    units = propagate_units(formula)
    if units.culprit >= 0 or (units.values != 0).any():
        raise ValueError("formula: expected no unit clauses; drop what propagate_units decides")
    if not 0.0 <= damping < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    graph, factors, _ = clause_factors(formula.system)
    return LocalEntropyMetropolis(
        partial(_free_entropy, graph, factors, damping, positive("tol", tol)),
        jnp.zeros(graph.n_edges), n_spins=formula.n_variables, coupling=coupling,
        n_replicas=n_replicas, n_flips=n_flips,
    )  # fmt: skip


def _free_entropy(
    graph: FactorGraph, factors: ClauseFactors, damping: float, tol: float, reference: jax.Array,
    coupling: float, messages: jax.Array,
) -> tuple[jax.Array, Any]:  # fmt: skip
    import jax.numpy as jnp

    from inference.message_passing.belief_propagation import belief_propagation
    from inference.status import Status

    reached = belief_propagation(
        graph, factors, field=coupling * reference.astype(messages.dtype), damping=damping,
        tol=tol, max_steps=_MOST_SWEEPS, init=messages, on_failure="ignore",
    )  # fmt: skip
    good = reached.status == int(Status.CONVERGED)
    return jnp.where(good, reached.log_partition, -jnp.inf), reached.messages
