"""Chains of any NumPyro kernel that go on after they were killed.

The loop of ``numpyro.infer.MCMC`` in chunks: between two of them the state and all draws so far may
go into a file, without pickle. The draws are those of ``MCMC`` with vectorised chains.
"""

from __future__ import annotations

import math
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from inference.checkpoints import Place, kept
from inference.checks import positive_int
from inference.interop import MIN_DRAWS, diagnostics, status_of_r_hat, to_arviz
from inference.keys import check_key
from inference.progress import progress_bar
from inference.status import Status

_OF_ARVIZ = {
    "accept_prob": "acceptance_rate",
    "adapt_state.step_size": "step_size",
    "num_steps": "n_steps",
}
"""How ArviZ calls the fields of a state; the potential energy is minus its ``lp``."""


class ChainDraws(NamedTuple):
    """What chains have drawn after their warm-up."""

    draws: dict[str, NDArray[Any]]
    """``(chain, draw, ...)`` by site, deterministic ones included."""
    fields: dict[str, NDArray[Any]]
    """``(chain, draw, ...)``: what the kernel says of each draw, such as ``diverging``."""

    @property
    def n_steps(self) -> int:
        """Draws of each chain."""
        return int(next(iter(self.draws.values())).shape[1])

    @property
    def residual(self) -> float:
        """By how much the largest R-hat of all sites exceeds 1; NaN if there are too few draws.

        Elements that never change do not count. About a millisecond an element.
        """
        if self.n_steps < MIN_DRAWS:
            return math.nan
        r_hat = [np.ravel(diagnostics(values).r_hat) for values in self.draws.values()]
        known = np.concatenate(r_hat)
        known = known[~np.isnan(known)]
        return float(known.max()) - 1.0 if known.size else 0.0

    @property
    def status(self) -> Status:
        """CONVERGED if the chains agree, else MAX_STEPS."""
        return status_of_r_hat(self.residual + 1.0)

    def to_arviz(self) -> Any:
        """Return the draws as an ArviZ data container, the fields as its ``sample_stats``."""
        stats = {_OF_ARVIZ.get(name, name): value for name, value in self.fields.items()}
        if "potential_energy" in stats:
            stats["lp"] = -stats.pop("potential_energy")
        return to_arviz(self.draws, sample_stats=stats or None)


def sample_in_chunks(
    kernel: Any,
    key: jax.Array,
    *args: Any,
    num_warmup: int,
    num_samples: int,
    num_chains: int = 1,
    extra_fields: tuple[str, ...] = (),
    init_params: Any = None,
    chunk: int = 100,
    progress: bool | None = None,
    checkpoint: Place | None = None,
    **kwargs: Any,
) -> ChainDraws:
    """Run a NumPyro kernel as ``numpyro.infer.MCMC`` does, so that the run may be killed.

    Parameters
    ----------
    kernel
        ``NUTS(model)`` or any other kernel, ours included, that samples several chains at once.
    key
        A typed key.
    *args
        Of the model.
    num_warmup, num_samples
        Steps that adapt and are forgotten, and draws of each chain.
    num_chains
        Number of chains, which run side by side.
    extra_fields
        Of the kernel's state, to be kept besides its default ones, such as ``"num_steps"``.
    init_params
        Where chains start, as for ``MCMC.run``.
    chunk
        Steps between two looks at the clock. Neither it nor the saving changes a number.
    progress
        Whether to draw a bar; None draws one on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing. The
        model counts by its name.
    **kwargs
        Of the model.

    Returns
    -------
    ChainDraws

    Raises
    ------
    TypeError, ValueError
        If a number is none, or the file is that of another run.

    Notes
    -----
    A look costs about a millisecond. The kernel is compiled once a call, for chunks of all lengths.

    Examples
    --------
    >>> import jax, numpyro
    >>> from numpyro.distributions import Normal
    >>> from numpyro.infer import NUTS
    >>> def model(scale):
    ...     numpyro.sample("x", Normal(0.0, scale))
    >>> found = sample_in_chunks(
    ...     NUTS(model), jax.random.key(0), 2.0, num_warmup=50, num_samples=200, num_chains=2
    ... )
    >>> found.draws["x"].shape, int(found.fields["diverging"].sum())
    ((2, 200), 0)
    """
    check_key(key)
    if isinstance(num_warmup, bool) or num_warmup != int(num_warmup) or num_warmup < 0:
        raise ValueError(f"num_warmup: expected an integer of at least 0, got {num_warmup!r}")
    for name, number in (("num_samples", num_samples), ("num_chains", num_chains)):
        positive_int(name, number)
    positive_int("chunk", chunk)
    settings = {
        name: value
        for name, value in vars(kernel).items()
        if isinstance(value, (bool, int, float, str))
    }
    total = int(num_warmup) + num_samples
    with (
        progress_bar(total, "chains", progress) as bar,
        kept(
            checkpoint, "sample_in_chunks", kernel=type(kernel), settings=settings,
            model=getattr(kernel, "model", None), key=key, args=args, kwargs=kwargs,
            sizes=(num_warmup, num_samples, num_chains), fields=extra_fields, start=init_params,
        ) as keep,
    ):  # fmt: skip
        keys = key if num_chains == 1 else jax.random.split(key, num_chains)
        first = kernel.init(keys, num_warmup, init_params, args, kwargs)
        loop = _Loop(kernel, first, (args, kwargs), num_chains > 1, extra_fields, chunk)
        # every state passes through plain arrays, so that one from a file is no other one
        n_done, plain, drawn = 0, _plain(first), list[Any]()
        if keep.restored is not None:
            n_done, plain, drawn = keep.restored
            bar.update(n_done)
        while n_done < total:
            left = (num_warmup if n_done < num_warmup else total) - n_done
            n_steps = min(chunk, left)
            plain, part = loop.advance(plain, n_steps)
            if n_done >= num_warmup:
                drawn.append(part)
            n_done += n_steps
            bar.update(n_steps)
            state = n_done, plain, drawn
            keep.offer(partial(tuple, state), last=n_done == total)
    return ChainDraws(*_joined(drawn, num_chains > 1))


class _Loop:
    """The compiled loop over steps of a kernel."""

    def __init__(
        self,
        kernel: Any,
        first: Any,
        arguments: tuple[Any, Any],
        several: bool,
        extra_fields: tuple[str, ...],
        chunk: int,
    ) -> None:
        self.first = first
        # known to the kernel only after its init
        constrain = kernel.postprocess_fn(*arguments)
        place = kernel.sample_field
        names = [name for name in (*kernel.default_fields, *extra_fields) if name != place]

        def collected(state: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            sites = (jax.vmap(constrain) if several else constrain)(getattr(state, place))
            return sites, {name: attrgetter(name)(state) for name in names}

        def advanced(state: Any, n_steps: Any) -> Any:
            def step(i: Any, carry: Any) -> Any:
                state, table = carry
                state = kernel.sample(state, *arguments)
                row = collected(state)
                return state, jax.tree.map(lambda all_, new: all_.at[i].set(new), table, row)

            shapes = jax.eval_shape(collected, state)
            table = jax.tree.map(lambda leaf: jnp.zeros((chunk, *leaf.shape), leaf.dtype), shapes)
            return jax.lax.fori_loop(0, n_steps, step, (state, table))

        self.advanced = jax.jit(advanced)

    def advance(self, plain: list[Any], n_steps: int) -> tuple[list[Any], Any]:
        """Return the state so many steps later, and what was drawn on the way."""
        leaves, shape = jax.tree.flatten(self.first)
        revived = [
            jax.random.wrap_key_data(jnp.asarray(one), impl=jax.random.key_impl(leaf))
            if _is_key(leaf)
            else jnp.asarray(one)
            for one, leaf in zip(plain, leaves)
        ]
        state, table = self.advanced(jax.tree.unflatten(shape, revived), n_steps)
        return _plain(state), jax.tree.map(lambda leaf: np.asarray(leaf)[:n_steps], table)


def _plain(state: Any) -> list[Any]:
    """Return the leaves of a state as arrays of NumPy."""
    leaves = jax.tree.leaves(state)
    return [np.asarray(jax.random.key_data(one) if _is_key(one) else one) for one in leaves]


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key))


def _joined(parts: list[Any], several: bool) -> Any:
    """Return ``(chain, draw, ...)`` of all parts ``(draw, chain, ...)`` or ``(draw, ...)``."""

    def join(*rows: Any) -> Any:
        whole = np.concatenate(rows)
        return np.swapaxes(whole, 0, 1) if several else whole[None]

    return jax.tree.map(join, *parts)
