"""Replicas of a spin system that attract each other, as a kernel for ``numpyro.infer.MCMC``.

The compiled twin, for energies that count violated constraints, is ``single_spin``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro.infer.mcmc import MCMCKernel

from inference.checks import positive_int
from inference.schedules import Schedule, constant

from .chains import first_spins, is_batched, no_keywords, over_chains
from .metropolis import DeltaEnergy, Energy, check_energies


class ReplicatedSweep(NamedTuple):
    """Where a sweep of all replicas ended."""

    spins: jax.Array
    """``(n, y)`` ±1."""
    centre: jax.Array | None
    """``(n,)`` ±1, or None if it is summed out."""
    energy: jax.Array
    """``(y,)``, carried along by ``delta_energy``."""
    accept_prob: jax.Array
    """Mean acceptance probability of the proposals."""


class ReplicatedMetropolisState(NamedTuple):
    """State of a chain of ``y`` replicas of ``n`` spins."""

    z: dict[str, jax.Array]
    """``{"spin": (n, y) int8}``, and ``"centre": (n,) int8`` if it is explicit."""
    potential_energy: jax.Array
    """Minus the log of the unnormalised joint probability."""
    energy: jax.Array
    """``(y,)`` of each replica."""
    accept_prob: jax.Array
    """Mean over the proposals of the last draw."""
    i: jax.Array
    """Draws so far, warm-up included: the step of the schedules."""
    rng_key: jax.Array


def log_attraction(spins: jax.Array, centre: jax.Array | None, coupling: Any) -> jax.Array:
    """Return the log weight that the attraction of replicas ``(n, y)`` contributes.

    ``coupling * sum_ir W_ir C_i`` with a centre ``(n,)``, and ``sum_i log(2 cosh(coupling * sum_r
    W_ir))`` with None: the log of the sum of the exponential of the former over all centres.
    """
    sums = spins.sum(axis=1, dtype=int)
    if centre is not None:
        return jnp.asarray(coupling * (sums * centre).sum())
    return jnp.logaddexp(coupling * sums, -coupling * sums).sum()


def replicated_sweep(
    key: jax.Array,
    spins: jax.Array,
    centre: jax.Array | None,
    energy: jax.Array,
    beta: Any,
    coupling: Any,
    delta_energy: DeltaEnergy,
    args: tuple[Any, ...] = (),
    *,
    n_flips: int,
) -> ReplicatedSweep:
    """Draw an explicit centre anew, then propose single flips one after another.

    Parameters
    ----------
    key
        Of this sweep.
    spins
        ``(n, y)`` ±1, replicas last.
    centre
        ``(n,)`` ±1, or None to sum it out. It is drawn given the replicas: exactly, at once.
    energy
        ``(y,)`` of the replicas.
    beta, coupling
        Inverse temperature and attraction.
    delta_energy
        ``delta_energy(spins, site, *args)``: what flipping one spin of one replica ``(n,)`` adds.
    args
        Further arguments of ``delta_energy``.
    n_flips
        Number of proposals, each of a random site of a random replica.

    Returns
    -------
    ReplicatedSweep
        Of the same types as the arguments.
    """
    n, y = spins.shape
    to_flip, to_accept, to_centre = jax.random.split(key, 3)
    chosen = jax.random.randint(to_flip, (n_flips,), 0, n * y)
    thresholds = jax.random.uniform(to_accept, (n_flips,), energy.dtype)
    sums = spins.sum(axis=1, dtype=int)
    if centre is not None:
        up = jax.random.bernoulli(to_centre, jax.nn.sigmoid(2.0 * coupling * sums))
        centre = jnp.where(up, 1, -1).astype(centre.dtype)

    def gain(site: jax.Array, spin: jax.Array, total: jax.Array) -> jax.Array:
        """Return what a flip adds to the log weight of the attraction."""
        if centre is not None:
            return -2.0 * coupling * spin * centre[site]
        now, then = coupling * total, coupling * (total - 2 * spin)
        return jnp.logaddexp(then, -then) - jnp.logaddexp(now, -now)

    def propose(step: jax.Array, carry: Any) -> Any:
        replicas, sums, energy, accepted = carry
        replica, site = chosen[step] // n, chosen[step] % n
        spin = replicas[replica, site].astype(int)
        delta = jnp.asarray(delta_energy(replicas[replica], site, *args), energy.dtype)
        ratio = gain(site, spin, sums[site]) - beta * delta
        chance = jnp.exp(jnp.minimum(0.0, ratio)).astype(accepted.dtype)
        flip = thresholds[step] < chance
        replicas = replicas.at[replica, site].multiply(jnp.where(flip, -1, 1).astype(spins.dtype))
        sums = sums.at[site].add(jnp.where(flip, -2 * spin, 0))
        energy = energy.at[replica].add(jnp.where(flip, delta, 0))
        return replicas, sums, energy, accepted + chance

    start = (spins.T, sums, energy, jnp.zeros((), energy.dtype))
    replicas, _, energy, accepted = jax.lax.fori_loop(0, n_flips, propose, start)
    return ReplicatedSweep(replicas.T, centre, energy, accepted / n_flips)


class ReplicatedMetropolis(MCMCKernel):  # type: ignore[misc]
    """Sample replicas that attract each other, and their centre, by single flips.

    The joint weight of the replicas ``W_r`` and the centre ``C`` is ``exp(-beta * sum_r E(W_r) +
    coupling * sum_r W_r . C)``: the robust ensemble of arXiv 1605.06444.

    Parameters
    ----------
    energy
        ``energy(spins, *args) -> scalar`` of one replica ``(n_spins,)``; ``args`` are those of
        ``MCMC.run(key, *args)``.
    delta_energy
        ``delta_energy(spins, site, *args) -> scalar``: what flipping one spin adds.
    n_spins
        Number of spins of a replica.
    n_replicas
        Number of replicas.
    beta, coupling
        Inverse temperature and attraction, or schedules from the number of the draw (warm-up
        included). An attraction is at least 0.
    explicit_centre
        Whether the centre is sampled, too, once a draw from its exact conditional distribution;
        otherwise it is summed out.
    n_flips
        Proposals a draw; one sweep, ``n_spins * n_replicas``, if None.

    Raises
    ------
    ValueError
        If an argument is out of range; at the start of a run, if ``delta_energy`` is not the
        difference of two energies, or ``init_params`` are no spins.

    Notes
    -----
    One chain is one ensemble: works with ``chain_method`` ``"sequential"``, ``"parallel"`` and
    ``"vectorized"``. A run starts from random replicas, or from ``init_params``: spins ``(n_spins,
    n_replicas)``, chains first if there are many, or ``{"spin": ..., "centre": ...}``. Draws reach
    ArviZ through `inference.interop.to_arviz` as ``spin`` (and ``centre``), with ``energy`` by
    replica, ``lp`` and ``acceptance_rate`` as statistics.

    Examples
    --------
    Two free spins that attract each other through one centre agree with probability
    ``cosh(2 coupling) / (1 + cosh(2 coupling))``:

    >>> import jax
    >>> from numpyro.infer import MCMC
    >>> kernel = ReplicatedMetropolis(
    ...     lambda s: 0.0, lambda s, site: 0.0, n_spins=1, n_replicas=2, coupling=0.8
    ... )
    >>> mcmc = MCMC(kernel, num_warmup=100, num_samples=4000, progress_bar=False)
    >>> mcmc.run(jax.random.key(0))
    >>> spins = mcmc.get_samples()["spin"]
    >>> bool(abs((spins[:, 0, 0] == spins[:, 0, 1]).mean() - 0.7205) < 0.03)
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
        n_replicas: int = 3,
        beta: float | Schedule = 1.0,
        coupling: float | Schedule = 1.0,
        explicit_centre: bool = False,
        n_flips: int | None = None,
    ) -> None:
        self._energy = energy
        self._delta_energy = delta_energy
        self._n_spins = positive_int("n_spins", n_spins)
        self._n_replicas = positive_int("n_replicas", n_replicas)
        self._n_flips = positive_int(
            "n_flips", n_spins * n_replicas if n_flips is None else n_flips
        )
        self._beta = _schedule("beta", beta, lowest=-float("inf"))
        self._coupling = _schedule("coupling", coupling, lowest=0.0)
        self._explicit = explicit_centre

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
    ) -> ReplicatedMetropolisState:
        """Return the first state, of one chain or of as many as there are keys."""
        no_keywords(model_kwargs)
        batched = is_batched(rng_key)
        z = self._first(init_params, rng_key)
        example = z["spin"][0, :, 0] if batched else z["spin"][:, 0]
        if not isinstance(example, jax.core.Tracer):  # as by chain_method="parallel"
            check_energies(self._energy, self._delta_energy, example, model_args)

        def start(key: jax.Array, z: dict[str, jax.Array]) -> ReplicatedMetropolisState:
            energies = [self._energy(replica, *model_args) for replica in z["spin"].T]
            energy = jnp.stack([jnp.asarray(value, float) for value in energies])
            step = jnp.zeros((), int)
            accepted = jnp.zeros((), energy.dtype)
            return ReplicatedMetropolisState(
                z, self._potential(z, energy, step), energy, accepted, step, key
            )

        started: ReplicatedMetropolisState = over_chains(start, batched)(rng_key, z)
        return started

    def sample(
        self,
        state: ReplicatedMetropolisState,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> ReplicatedMetropolisState:
        """Return the state after one draw: the centre if it is explicit, ``n_flips`` proposals."""

        def draw(state: ReplicatedMetropolisState) -> ReplicatedMetropolisState:
            next_key, key = jax.random.split(state.rng_key)
            swept = replicated_sweep(
                key, state.z["spin"], state.z.get("centre"), state.energy, self._beta(state.i),
                self._coupling(state.i), self._delta_energy, model_args, n_flips=self._n_flips,
            )  # fmt: skip
            z = {"spin": swept.spins}
            if swept.centre is not None:
                z["centre"] = swept.centre
            return ReplicatedMetropolisState(
                z, self._potential(z, swept.energy, state.i), swept.energy, swept.accept_prob,
                state.i + 1, next_key,
            )  # fmt: skip

        drawn: ReplicatedMetropolisState = over_chains(draw, state.i.ndim > 0)(state)
        return drawn

    def get_diagnostics_str(self, state: ReplicatedMetropolisState) -> str:
        """Return what the progress bar shows."""
        return f"acc. prob={jnp.mean(state.accept_prob):.2f}"

    def _potential(self, z: dict[str, jax.Array], energy: jax.Array, step: jax.Array) -> jax.Array:
        attraction = log_attraction(z["spin"], z.get("centre"), self._coupling(step))
        return jnp.asarray(self._beta(step) * energy.sum() - attraction, energy.dtype)

    def _first(self, init_params: Any, rng_key: jax.Array) -> dict[str, jax.Array]:
        given = dict(init_params) if isinstance(init_params, dict) else {"spin": init_params}
        known = {"spin", "centre"} if self._explicit else {"spin"}
        if not given.keys() <= known:
            raise ValueError(f"init_params: expected {sorted(known)}, got {sorted(given)}")
        shape = (self._n_spins, self._n_replicas)
        chains = (len(rng_key),) if is_batched(rng_key) else ()
        spins = given.get("spin")
        if spins is not None:
            if jnp.shape(spins) != (*chains, *shape):
                raise ValueError(
                    f"init_params: expected shape {(*chains, *shape)}, got {jnp.shape(spins)}"
                )
            spins = jnp.reshape(spins, (*chains, -1))
        flat = first_spins(spins, rng_key, self._n_spins * self._n_replicas, "spin")
        z = {"spin": flat.reshape(*chains, *shape)}
        if self._explicit and given.get("centre") is None:
            sums = z["spin"].sum(axis=-1, dtype=int)  # of halves the first replica is taken
            z["centre"] = jnp.sign(2 * sums + z["spin"][..., 0]).astype(jnp.int8)
        elif self._explicit:
            z["centre"] = first_spins(given["centre"], rng_key, self._n_spins, "centre")
        return z


def _schedule(name: str, value: float | Schedule, *, lowest: float) -> Schedule:
    if callable(value):
        return value
    if not jnp.isfinite(value) or value < lowest:
        bound = "" if lowest == -float("inf") else f" of at least {lowest:g}"
        raise ValueError(f"{name}: expected a finite number{bound} or a schedule, got {value}")
    return constant(value)
