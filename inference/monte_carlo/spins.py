"""Single-spin Metropolis as a kernel for ``numpyro.infer.MCMC``."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel

from inference.checks import one_of, positive_int
from inference.schedules import Schedule, constant

from .chains import first_spins, is_batched, no_keywords, over_chains
from .metropolis import DeltaEnergy, Energy, Order, check_energies, metropolis_sweep


class SpinMetropolisState(NamedTuple):
    """State of a chain."""

    z: dict[str, jax.Array]
    """``{"spin": (n,) int8}``."""
    potential_energy: jax.Array
    """``beta * energy``, minus the log of the unnormalised probability."""
    energy: jax.Array
    accept_prob: jax.Array
    """Mean over the proposals of the last draw."""
    i: jax.Array
    """Draws so far, warm-up included: the step of the schedule."""
    rng_key: jax.Array


class SpinMetropolis(MCMCKernel):  # type: ignore[misc]
    """Sample ``p(s) ~ exp(-beta E(s))`` over spins ±1 by single flips.

    Parameters
    ----------
    energy
        ``energy(spins, *args) -> scalar``; ``args`` are those of ``MCMC.run(key, *args)``.
    delta_energy
        ``delta_energy(spins, site, *args) -> scalar``: what flipping one spin adds.
    n_spins
        Number of spins.
    beta
        Inverse temperature, or a schedule from the number of the draw (warm-up included).
    n_flips
        Proposals a draw; one sweep, ``n_spins``, if None.
    order
        ``"random"`` or ``"sequential"`` sites.

    Raises
    ------
    ValueError
        If an argument is out of range; at the start of a run, if ``delta_energy`` is not the
        difference of two energies, or ``init_params`` are no spins.

    Notes
    -----
    Works with ``chain_method`` ``"sequential"``, ``"parallel"`` and ``"vectorized"``. Draws reach
    ArviZ through `inference.interop.to_arviz` as ``spin``, with ``lp``, ``acceptance_rate`` and
    ``energy`` as statistics.

    Examples
    --------
    Two spins that like each other agree with probability ``1 / (1 + exp(-2 beta))``:

    >>> import jax
    >>> from numpyro.infer import MCMC
    >>> kernel = SpinMetropolis(
    ...     lambda s: -s[0] * s[1], lambda s, site: 2 * s[0] * s[1], n_spins=2, beta=1.0
    ... )
    >>> mcmc = MCMC(kernel, num_warmup=100, num_samples=4000, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> spins = mcmc.get_samples()["spin"]
    >>> bool(abs((spins[:, 0] == spins[:, 1]).mean() - 0.8808) < 0.03)
    True
    """

    model = None  # what ArviZ asks a sampler for
    sample_field = "z"

    def __init__(
        self,
        energy: Energy,
        delta_energy: DeltaEnergy,
        *,
        n_spins: int,
        beta: float | Schedule = 1.0,
        n_flips: int | None = None,
        order: Order = "random",
    ) -> None:
        one_of("order", order, ("random", "sequential"))
        self._energy = energy
        self._delta_energy = delta_energy
        self._n_spins = positive_int("n_spins", n_spins)
        self._n_flips = positive_int("n_flips", n_spins if n_flips is None else n_flips)
        if not callable(beta) and not jnp.isfinite(beta):
            raise ValueError(f"beta: expected a finite number or a schedule, got {beta}")
        self._beta: Schedule = beta if callable(beta) else constant(beta)
        self._order: Order = order

    @property
    def default_fields(self) -> tuple[str, ...]:
        """Fields collected without being asked for."""
        return ("z", "potential_energy", "energy", "accept_prob")

    def init(
        self,
        rng_key: jax.Array,
        num_warmup: int,
        init_params: Any,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> SpinMetropolisState:
        """Return the first state, of one chain or of as many as there are keys."""
        no_keywords(model_kwargs)
        batched = is_batched(rng_key)
        spins = first_spins(init_params, rng_key, self._n_spins, "spin")
        example = spins[0] if batched else spins
        if not isinstance(example, jax.core.Tracer):  # as by chain_method="parallel"
            check_energies(self._energy, self._delta_energy, example, model_args)

        def start(key: jax.Array, spins: jax.Array) -> SpinMetropolisState:
            energy = jnp.asarray(self._energy(spins, *model_args), float)
            step = jnp.zeros((), int)
            potential = jnp.asarray(self._beta(step) * energy, energy.dtype)
            accepted = jnp.zeros((), energy.dtype)
            return SpinMetropolisState({"spin": spins}, potential, energy, accepted, step, key)

        return over_chains(start, batched)(rng_key, spins)

    def sample(
        self,
        state: SpinMetropolisState,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> SpinMetropolisState:
        """Return the state after one draw, ``n_flips`` proposals."""

        def draw(state: SpinMetropolisState) -> SpinMetropolisState:
            next_key, key = jax.random.split(state.rng_key)
            beta = self._beta(state.i)
            swept = metropolis_sweep(
                key, state.z["spin"], state.energy, beta, self._delta_energy, model_args,
                n_flips=self._n_flips, order=self._order,
            )  # fmt: skip
            potential = jnp.asarray(beta * swept.energy, swept.energy.dtype)
            return SpinMetropolisState(
                {"spin": swept.spins}, potential, swept.energy, swept.accept_prob,
                state.i + 1, next_key,
            )  # fmt: skip

        return over_chains(draw, state.i.ndim > 0)(state)

    def get_diagnostics_str(self, state: SpinMetropolisState) -> str:
        """Return what the progress bar shows."""
        return f"acc. prob={jnp.mean(state.accept_prob):.2f}"
