"""Derivatives of steady-state averages of any number of spins, from simulated paths.

The logarithm of the probability of a path differentiates easily, so the derivative of an average is
its covariance with that derivative, the score (the likelihood-ratio method). Only the score of the
recent past matters: what happened longer ago than the device remembers is uncorrelated with its
state now, and would add nothing but noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from inference.checks import positive_int

from .spins import SpinSystem

Pair = tuple[jax.Array, jax.Array]
Sums = tuple[jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array, jax.Array]
Observable = Callable[[SpinSystem, jax.Array], jax.Array]


class SampledGradient(NamedTuple):
    """An average in the steady state and its derivatives, with errors across chains."""

    value: jax.Array
    """Average of the observable."""
    value_error: jax.Array
    couplings: jax.Array
    """``(n, n)`` derivative by the couplings; the diagonal is zero."""
    couplings_error: jax.Array
    bias: jax.Array
    """``(n,)`` derivative by the constant fields."""
    bias_error: jax.Array


def dissipation(system: SpinSystem, spins: jax.Array) -> jax.Array:
    """Return what averages to the rate of entropy production, in the state ``(n,)``.

    Of a system without inputs: ``beta sum_i h_i (tanh(beta h_i) - s_i)``.
    """
    fields = system.couplings @ spins + system.bias
    return system.beta * (fields * (jnp.tanh(system.beta * fields) - spins)).sum()


def gradient_by_simulation(
    system: SpinSystem,
    observable: Observable = dissipation,
    *,
    x: ArrayLike | None = None,
    n_chains: int = 256,
    n_windows: int = 20,
    window: int = 20,
    burn_in: int = 100,
    key: jax.Array,
) -> SampledGradient:
    """Return the average of an observable and its derivatives by couplings and fields.

    Parameters
    ----------
    system
        The device, of any size.
    observable
        ``observable(system, spins)`` of a system without inputs and a state ``(n,)``, which
        differentiates; the default averages to the entropy production.
    x
        Input ``(d,)``, taken as constant fields.
    n_chains
        Independent chains, at least 16; errors are taken across them.
    n_windows, window
        Number and length of the stretches of a chain, in units of time. A state counts with the
        score of one to two windows before it: longer than the device remembers, or derivatives are
        biased towards those of a single flip; errors grow with the square root of it.
    burn_in
        Time that is discarded first.
    key
        Draws starts and flips.

    Returns
    -------
    SampledGradient
        With standard errors.

    Raises
    ------
    ValueError
        If a number is not positive, or there are fewer than 16 chains.

    Notes
    -----
    One attempt to flip a random spin is accepted with probability ``k_i``; that chain has the
    steady state of the process in continuous time, and ``n`` attempts take one unit of time. Glynn,
    Commun. ACM 33, 75 (1990). The cost is ``n**2`` a unit of time and chain.
    """
    if positive_int("n_chains", n_chains) < 16:
        raise ValueError(f"n_chains: expected at least 16, for errors across them, got {n_chains}")
    for name, value in (("n_windows", n_windows), ("window", window), ("burn_in", burn_in)):
        positive_int(name, value)
    plain = SpinSystem(system.couplings, None, system.field(x), system.beta)
    keys = jax.random.split(key, n_chains)
    value, score, direct = _chains(plain, keys, observable, n_windows, window, burn_in)
    # centred: the score averages to zero, so this only takes noise away
    mean = value.mean()
    slope = score[0] - mean * score[1] + direct
    root = jnp.sqrt(n_chains)
    average, error = slope.mean(axis=0), slope.std(axis=0, ddof=1) / root
    return SampledGradient(
        mean, value.std(ddof=1) / root, average[:, :-1], error[:, :-1], average[:, -1], error[:, -1]
    )


@partial(jax.jit, static_argnames=("observable", "n_windows", "window", "burn_in"))
def _chains(
    system: SpinSystem,
    keys: jax.Array,
    observable: Observable,
    n_windows: int,
    window: int,
    burn_in: int,
) -> tuple[jax.Array, Pair, jax.Array]:
    """Return averages over each chain: ``f``, ``(f S, S)`` and ``df``, derivatives ``(n, n + 1)``.

    The last column is that of the fields.
    """
    n = system.n_spins
    nothing = jnp.zeros((n, n + 1))

    def attempt(carry: Pair, draw: Pair) -> tuple[Pair, None]:
        spins, score = carry
        site, uniform = draw
        field = system.couplings[site] @ spins + system.bias[site]
        pull = -2.0 * system.beta * spins[site]
        rate = jax.nn.sigmoid(pull * field)
        flips = uniform < rate
        # d log k = (1 - k) dz and d log(1 - k) = -k dz, with k = sigmoid(z)
        gain = pull * jnp.where(flips, 1.0 - rate, -rate)
        others = jnp.append(spins, 1.0).at[site].set(0.0)  # no spin acts on itself
        score = score.at[site].add(gain * others)
        return (spins.at[site].multiply(jnp.where(flips, -1.0, 1.0)), score), None

    def unit_of_time(spins: jax.Array, score: jax.Array, key: jax.Array) -> Pair:
        site_key, uniform_key = jax.random.split(key)
        draws = jax.random.randint(site_key, (n,), 0, n), jax.random.uniform(uniform_key, (n,))
        return jax.lax.scan(attempt, (spins, score), draws)[0]

    def seen(spins: jax.Array) -> Pair:
        value, by_system = jax.value_and_grad(observable)(system, spins)
        by_couplings = jnp.where(jnp.eye(n, dtype=bool), 0.0, by_system.couplings)
        return value, jnp.column_stack([by_couplings, by_system.bias])

    def chain(key: jax.Array) -> tuple[jax.Array, Pair, jax.Array]:
        start_key, burn_key, key = jax.random.split(key, 3)
        spins = jax.random.rademacher(start_key, (n,), dtype=nothing.dtype)
        spins, _ = jax.lax.fori_loop(
            0,
            burn_in,
            lambda t, carry: unit_of_time(carry[0], carry[1], jax.random.fold_in(burn_key, t)),
            (spins, nothing),
        )

        def step(carry: Sums, t: jax.Array) -> tuple[Sums, None]:
            spins, before, score, total, with_score, of_score, of_value = carry
            new = t % window == 0
            before, score = jnp.where(new, score, before), jnp.where(new, 0.0, score)
            spins, score = unit_of_time(spins, score, jax.random.fold_in(key, t))
            value, direct = seen(spins)
            past = before + score
            counts = t >= window  # the first window has no past
            total = total + counts * value
            with_score = with_score + counts * value * past
            of_score, of_value = of_score + counts * past, of_value + counts * direct
            return (spins, before, score, total, with_score, of_score, of_value), None

        start = (spins, nothing, nothing, jnp.zeros(()), nothing, nothing, nothing)
        end, _ = jax.lax.scan(step, start, jnp.arange((n_windows + 1) * window))
        total, with_score, of_score, of_value = (part / (n_windows * window) for part in end[3:])
        return total, (with_score, of_score), of_value

    return jax.lax.map(chain, keys, batch_size=64)
