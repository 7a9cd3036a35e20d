"""Entropy-driven Monte Carlo as a kernel for ``numpyro.infer.MCMC``.

The compiled search is `entropy_driven`; here a chain samples the distribution that it climbs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel

from inference.checks import positive, positive_int

from .chains import first_spins, is_batched, no_keywords, over_chains

FreeEntropy = Callable[..., tuple[jax.Array, Any]]
"""``free_entropy(reference, coupling, messages, *args) -> (value, messages)``: the log of the sum
of ``exp(coupling * reference . s)`` over the solutions ``s``, and the messages that led to it, for
a reference nearby to start from. Minus infinity where they did not converge. Usable under jit."""


class LocalEntropyState(NamedTuple):
    """State of a chain."""

    z: dict[str, jax.Array]
    """``{"reference": (n,) int8}``."""
    potential_energy: jax.Array
    """``-n_replicas * free_entropy``; minus the free entropy alone for infinitely many."""
    free_entropy: jax.Array
    accept_prob: jax.Array
    """Mean over the proposals of the last draw."""
    messages: Any
    rng_key: jax.Array


class LocalEntropyMetropolis(MCMCKernel):  # type: ignore[misc]
    """Sample references ``p(r) ~ exp(n_replicas * F(r, coupling))`` by single flips.

    ``F`` is the local free entropy, so that references amid many solutions are likely: the
    large-deviation measure of arXiv 1511.05634.

    Parameters
    ----------
    free_entropy
        ``free_entropy(reference, coupling, messages, *args) -> (value, messages)`` for one
        reference ``(n_spins,)``; ``args`` are those of ``MCMC.run(key, *args)``.
    first_messages
        A pytree of arrays for the first call.
    n_spins
        Length of a reference.
    coupling
        ``gamma``, positive.
    n_replicas
        ``y``, positive; infinity accepts whatever does not decrease ``F``.
    n_flips
        Proposals a draw; each runs message passing.

    Raises
    ------
    ValueError
        If an argument is out of range; at the start of a run, if ``init_params`` are no spins or
        message passing does not converge around the first reference.

    Notes
    -----
    A proposal flips a uniformly random spin and is accepted with probability
    ``min(1, exp(n_replicas * (F_new - F_old)))``; one without convergence is rejected. Works with
    ``chain_method`` ``"sequential"``, ``"parallel"`` and ``"vectorized"``; draws reach ArviZ
    through `inference.interop.to_arviz` as ``reference``, with ``free_entropy``, ``lp`` and
    ``acceptance_rate`` as statistics.
    """

    model = None  # what ArviZ asks a sampler for
    sample_field = "z"

    def __init__(
        self,
        free_entropy: FreeEntropy,
        first_messages: Any,
        *,
        n_spins: int,
        coupling: float,
        n_replicas: float = 1.0,
        n_flips: int = 1,
    ) -> None:
        self._free_entropy = free_entropy
        self._first_messages = first_messages
        self._n_spins = positive_int("n_spins", n_spins)
        self._coupling = positive("coupling", coupling)
        self._n_replicas = positive("n_replicas", n_replicas, allow_inf=True)
        self._n_flips = positive_int("n_flips", n_flips)

    @property
    def default_fields(self) -> tuple[str, ...]:
        """Fields collected without being asked for."""
        return ("z", "potential_energy", "free_entropy", "accept_prob")

    def init(
        self,
        rng_key: jax.Array,
        num_warmup: int,
        init_params: Any,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> LocalEntropyState:
        """Return the first state, of one chain or of as many as there are keys."""
        no_keywords(model_kwargs)
        references = first_spins(init_params, rng_key, self._n_spins, "reference")

        def start(key: jax.Array, reference: jax.Array) -> LocalEntropyState:
            value, messages = self._free_entropy(
                reference, self._coupling, self._first_messages, *model_args
            )
            return self._state(reference, value, jnp.zeros_like(value), messages, key)

        state: LocalEntropyState = over_chains(start, is_batched(rng_key))(rng_key, references)
        traced = isinstance(state.free_entropy, jax.core.Tracer)  # by chain_method="parallel"
        if not traced and not jnp.isfinite(state.free_entropy).all():
            raise ValueError(
                "init_params: message passing does not converge around the first reference; "
                "lower the coupling or start elsewhere"
            )
        return state

    def sample(
        self,
        state: LocalEntropyState,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> LocalEntropyState:
        """Return the state after one draw, ``n_flips`` proposals."""

        def draw(state: LocalEntropyState) -> LocalEntropyState:
            next_key, to_site, to_accept = jax.random.split(state.rng_key, 3)
            sites = jax.random.randint(to_site, (self._n_flips,), 0, self._n_spins)
            thresholds = jax.random.uniform(to_accept, (self._n_flips,), state.free_entropy.dtype)

            def propose(carry: Any, step: Any) -> Any:
                reference, value, messages = carry
                site, threshold = step
                flipped = reference.at[site].multiply(-1)
                new_value, new_messages = self._free_entropy(
                    flipped, self._coupling, messages, *model_args
                )
                chance = self._chance(new_value - value)
                accept = threshold < chance
                kept = jax.tree_util.tree_map(
                    lambda new, old: jnp.where(accept, new, old),
                    (flipped, new_value, new_messages), (reference, value, messages),
                )  # fmt: skip
                return kept, chance

            start = (state.z["reference"], state.free_entropy, state.messages)
            (reference, value, messages), chances = jax.lax.scan(
                propose, start, (sites, thresholds)
            )
            return self._state(reference, value, chances.mean(), messages, next_key)

        drawn: LocalEntropyState = over_chains(draw, state.free_entropy.ndim > 0)(state)
        return drawn

    def get_diagnostics_str(self, state: LocalEntropyState) -> str:
        """Return what the progress bar shows."""
        return f"acc. prob={jnp.mean(state.accept_prob):.2f}"

    def _chance(self, gain: jax.Array) -> jax.Array:
        if math.isinf(self._n_replicas):
            return jnp.where(gain >= 0, 1.0, 0.0).astype(gain.dtype)
        chance = jnp.exp(jnp.minimum(0.0, self._n_replicas * gain))
        return jnp.where(jnp.isnan(gain), 0.0, chance)  # from one that does not converge to another

    def _state(
        self, reference: jax.Array, value: jax.Array, chance: jax.Array, messages: Any,
        key: jax.Array,
    ) -> LocalEntropyState:  # fmt: skip
        weight = 1.0 if math.isinf(self._n_replicas) else self._n_replicas
        return LocalEntropyState(
            {"reference": reference}, -weight * value, value, chance, messages, key
        )
