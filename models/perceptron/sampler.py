"""References amid many solutions of a perceptron, as chains of NumPyro's ``MCMC``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from .dense_messages import absorb_labels
from .problem import Problem

if TYPE_CHECKING:
    import jax

    from inference.monte_carlo.local_entropy_metropolis import LocalEntropyMetropolis

_DAMPING = 0.3
_MOST_SWEEPS = 500


def local_entropy_kernel(
    problem: Problem,
    *,
    coupling: float,
    n_replicas: float = 1.0,
    n_flips: int = 1,
    tol: float = 1e-6,
) -> LocalEntropyMetropolis:
    """Return a kernel that samples references ``r`` from ``exp(n_replicas * F(r, coupling))``.

    Parameters
    ----------
    problem
        Patterns and labels, one hidden unit.
    coupling
        ``gamma > 0``.
    n_replicas
        ``y > 0``; infinity accepts whatever does not decrease the local free entropy.
    n_flips
        Proposals a draw.
    tol
        Of approximate message passing, in JAX.

    Returns
    -------
    LocalEntropyMetropolis
        For ``MCMC(kernel, ...).run(key)``; the draws are named ``reference``, ``(n_weights,)``.

    Raises
    ------
    ValueError
        If an argument is out of range or the problem has several hidden units.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from numpyro.infer import MCMC
    >>> from models.perceptron import random_patterns
    >>> kernel = local_entropy_kernel(random_patterns(21, 0.3, seed=0), coupling=0.5, n_replicas=3)
    >>> mcmc = MCMC(kernel, num_warmup=100, num_samples=200, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> mcmc.get_samples()["reference"].shape
    (200, 21)
    """
    import jax.numpy as jnp

    from inference.checks import positive
    from inference.monte_carlo.local_entropy_metropolis import LocalEntropyMetropolis

    if problem.n_hidden > 1:
        raise ValueError(f"problem: expected one hidden unit, got {problem.n_hidden}")
    patterns = jnp.asarray(absorb_labels(problem))
    first = (jnp.zeros(problem.n_weights), jnp.zeros(problem.n_patterns))
    return LocalEntropyMetropolis(
        partial(_free_entropy, patterns, positive("tol", tol)), first, n_spins=problem.n_weights,
        coupling=coupling, n_replicas=n_replicas, n_flips=n_flips,
    )  # fmt: skip


def _free_entropy(
    patterns: jax.Array, tol: float, reference: jax.Array, coupling: float, messages: Any
) -> tuple[jax.Array, Any]:
    import jax.numpy as jnp

    from inference.status import Status

    from .dense_flooding import dense_log_partition, flood_densely

    field = coupling * reference.astype(messages[0].dtype)
    reached = flood_densely(
        patterns, field, *messages, damping=_DAMPING, tol=tol, max_steps=_MOST_SWEEPS
    )
    value = dense_log_partition(patterns, field, reached.value)
    good = reached.status == int(Status.CONVERGED)
    return jnp.where(good, value, -jnp.inf), (reached.value.fields, reached.value.responses)
