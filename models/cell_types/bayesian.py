"""The mixture as a NumPyro model, for NUTS, SVI and Predictive, and Gibbs sweeps as its kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.typing import ArrayLike
from numpyro.infer.mcmc import MCMCKernel

from .counts import Counts


def mixture_model(
    counts: Counts | ArrayLike,
    n_types: int,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
    observe: bool = True,
) -> None:
    """State the mixture with the types of single cells summed out.

    Parameters
    ----------
    counts
        Counts, or a ``(n_genes, n_bins)`` table; its row sums are taken as given.
    n_types
        Number of types.
    concentration, map_concentration
        Of the Dirichlet laws of memberships and maps.
    observe
        Whether the counts are data; if not, they are drawn (Predictive).

    Notes
    -----
    Sites: ``membership`` ``(n_genes, n_types)``, ``maps`` ``(n_types, n_bins)`` and ``counts``,
    Poisson with mean ``n_g (membership maps)``: given its row sums the likelihood is that of the
    cells one by one, up to a constant (LDA with gene = document and bin = word). NUTS needs double
    precision and, below a concentration of 1, ``target_accept_prob`` of at least 0.95.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from numpyro.infer import Predictive
    >>> from models.cell_types import mixture_model
    >>> draw = Predictive(mixture_model, num_samples=5)
    >>> table = np.full((3, 4), 10)
    >>> draw(jax.random.key(0), table, 2, observe=False)["counts"].shape
    (5, 3, 4)
    """
    table = jnp.asarray(counts.values if isinstance(counts, Counts) else counts)
    n_genes, n_bins = table.shape
    with numpyro.plate("gene", n_genes):
        membership = numpyro.sample(
            "membership", dist.Dirichlet(jnp.full(n_types, float(concentration)))
        )
    with numpyro.plate("type", n_types):
        maps = numpyro.sample("maps", dist.Dirichlet(jnp.full(n_bins, float(map_concentration))))
    rate = table.sum(axis=1, keepdims=True) * (membership @ maps)
    numpyro.sample(
        "counts",
        dist.Poisson(jnp.maximum(rate, np.finfo(rate.dtype).tiny)).to_event(2),
        obs=table if observe else None,
    )


class MixtureGibbsState(NamedTuple):
    """State of :class:`MixtureGibbs`."""

    z: dict[str, jax.Array]
    """``membership`` and ``maps``."""
    potential_energy: jax.Array
    """Minus ``sum X log(membership maps)``."""
    rng_key: jax.Array


class MixtureGibbs(MCMCKernel):  # type: ignore[misc]
    """Gibbs sweeps of :func:`mixture_model` for ``numpyro.infer.MCMC``.

    The types of the cells are drawn and forgotten; :func:`models.cell_types.gibbs` is the same law
    in compiled loops, many times faster on a CPU. Run it with the arguments of the model:
    ``MCMC(MixtureGibbs(), ...).run(key, table, n_types, concentration=0.1)``.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from numpyro.infer import MCMC
    >>> from models.cell_types import MixtureGibbs
    >>> mcmc = MCMC(MixtureGibbs(), num_warmup=5, num_samples=10, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), np.full((3, 4), 10), 2)
    >>> mcmc.get_samples()["maps"].shape
    (10, 2, 4)
    """

    model = None
    sample_field = "z"

    @property
    def default_fields(self) -> tuple[str, ...]:
        """Fields that are collected."""
        return ("z", "potential_energy")

    def init(
        self,
        rng_key: jax.Array,
        num_warmup: int,
        init_params: Any,
        model_args: tuple[Any, ...],
        model_kwargs: dict[str, Any],
    ) -> MixtureGibbsState:
        """Draw memberships and maps from flat laws."""
        table, n_types, _, _ = _arguments(*model_args, **model_kwargs)

        def start(key: jax.Array) -> MixtureGibbsState:
            key, one, two = jax.random.split(key, 3)
            n_genes, n_bins = table.shape
            z = {
                "membership": jax.random.dirichlet(one, jnp.ones(n_types), (n_genes,)),
                "maps": jax.random.dirichlet(two, jnp.ones(n_bins), (n_types,)),
            }
            return MixtureGibbsState(z, _energy(table, z), key)

        batched = rng_key.ndim == (1 if jnp.issubdtype(rng_key.dtype, jax.dtypes.prng_key) else 2)
        return jax.vmap(start)(rng_key) if batched else start(rng_key)

    def sample(
        self, state: MixtureGibbsState, model_args: tuple[Any, ...], model_kwargs: dict[str, Any]
    ) -> MixtureGibbsState:
        """Make one sweep."""
        arguments = _arguments(*model_args, **model_kwargs)
        if state.potential_energy.ndim:
            return jax.vmap(lambda one: _swept(one, *arguments))(state)
        return _swept(state, *arguments)


def _arguments(
    counts: Any,
    n_types: int,
    *,
    concentration: float = 0.1,
    map_concentration: float = 1.0,
) -> tuple[jax.Array, int, float, float]:
    table = jnp.asarray(counts.values if isinstance(counts, Counts) else counts)
    return table, n_types, concentration, map_concentration


def _swept(
    state: MixtureGibbsState,
    table: jax.Array,
    n_types: int,
    concentration: float,
    map_concentration: float,
) -> MixtureGibbsState:
    key, cells, one, two = jax.random.split(state.rng_key, 4)
    membership, maps = state.z["membership"], state.z["maps"]
    dtype = membership.dtype

    # the cells of a bin go to type k or to a later one, type after type: binomial every time
    def divide(carry: tuple[Any, ...], k: jax.Array) -> tuple[tuple[Any, ...], jax.Array]:
        left, weight_left, key = carry
        key, now = jax.random.split(key)
        weight = membership[:, k, None] * maps[k]
        share = jnp.clip(weight / jnp.maximum(weight_left, np.finfo(dtype).tiny), 0.0, 1.0)
        share = jnp.where(k == n_types - 1, 1.0, share)
        taken = jax.random.binomial(now, left, share, dtype=dtype)
        return (left - taken, weight_left - weight, key), taken

    start = (table.astype(dtype), membership @ maps, cells)
    _, taken = jax.lax.scan(divide, start, jnp.arange(n_types))
    z = {
        "membership": jax.random.dirichlet(one, concentration + taken.sum(axis=2).T),
        "maps": jax.random.dirichlet(two, map_concentration + taken.sum(axis=1)),
    }
    return MixtureGibbsState(z, _energy(table, z), key)


def _energy(table: jax.Array, z: dict[str, jax.Array]) -> jax.Array:
    mean = z["membership"] @ z["maps"]
    return -jnp.sum(jax.scipy.special.xlogy(table, mean))
