"""Messages between patterns and weights, all patterns at once: the parallel schedule, in JAX.

The equations are those of `edge_messages`, whose oracle this is; it runs on any device.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr

from inference.checks import Floats
from inference.fixed_point import fixed_point
from inference.precision import require_x64

from .edge_messages import LARGEST_MESSAGE, SMALLEST_VARIANCE, EdgeMessages
from .problem import Problem


class _Rest(NamedTuple):
    """Logs of how likely all terms but one vote for -1, leave it to that one, or vote for +1."""

    minus: jax.Array
    undecided: jax.Array
    plus: jax.Array


def flood_edges(
    problem: Problem,
    field: Floats,
    messages: Floats,
    *,
    exact: bool,
    damping: float,
    tol: float,
    max_steps: int,
) -> EdgeMessages:
    """Update all messages at once until none changes by more than ``tol``.

    Arguments and result are those of `edge_messages.propagate_edges`, but ``messages`` are left
    alone. The exact sum takes memory for ``n_patterns * n_hidden * n_inputs**2`` numbers.

    Raises
    ------
    PrecisionError
        In single precision.
    """
    require_x64("message passing on edges")
    reached = fixed_point(
        _flood_exact if exact else _flood_gaussian,
        jnp.asarray(messages),
        key=jax.random.key(0),
        args=(jnp.asarray(problem.unit_inputs), jnp.asarray(problem.labels), jnp.asarray(field)),
        tol=tol, max_steps=max_steps, damping=damping,
    )  # fmt: skip
    return EdgeMessages(np.array(reached.value), float(reached.residual), int(reached.n_steps))


def _flood_gaussian(
    messages: jax.Array, _key: jax.Array, inputs: jax.Array, labels: jax.Array, field: jax.Array
) -> jax.Array:
    cavity = field + messages.sum(axis=0) - messages
    terms = inputs * jnp.tanh(cavity)
    variances = 1.0 / jnp.cosh(cavity) ** 2
    mean, variance = terms.sum(-1, keepdims=True), variances.sum(-1, keepdims=True)
    x = (mean / jnp.sqrt(jnp.maximum(variance, SMALLEST_VARIANCE)))[..., 0]
    if_plus, if_minus = _label_given_unit(log_ndtr(x), log_ndtr(-x), labels)
    scale = jnp.sqrt(jnp.maximum(variance - variances, SMALLEST_VARIANCE))
    above, below = (mean - terms + 1.0) / scale, (mean - terms - 1.0) / scale
    return inputs * _preference(
        if_plus, if_minus, log_ndtr(above), log_ndtr(-above), log_ndtr(below), log_ndtr(-below)
    )


def _flood_exact(
    messages: jax.Array, _key: jax.Array, inputs: jax.Array, labels: jax.Array, field: jax.Array
) -> jax.Array:
    cavity = (field + messages.sum(axis=0) - messages) * inputs
    rest = _without_each(jax.nn.sigmoid(2 * cavity), jax.nn.sigmoid(-2 * cavity))
    # any one term completes the rest to the whole
    plus = jnp.logaddexp(rest.plus, rest.undecided + jax.nn.log_sigmoid(2 * cavity))[..., 0]
    minus = jnp.logaddexp(rest.minus, rest.undecided + jax.nn.log_sigmoid(-2 * cavity))[..., 0]
    if_plus, if_minus = _label_given_unit(plus, minus, labels)
    return inputs * _preference(
        if_plus, if_minus,
        jnp.logaddexp(rest.plus, rest.undecided), rest.minus,
        rest.plus, jnp.logaddexp(rest.minus, rest.undecided),
    )  # fmt: skip


def _label_given_unit(
    log_plus: jax.Array, log_minus: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return ``(n_patterns, n_hidden, 1)`` logs of P(label) if a unit answers +1, and if -1."""
    rest = _without_each(jnp.exp(log_plus), jnp.exp(log_minus))
    positive = labels[:, None] > 0
    if_plus = jnp.where(positive, jnp.logaddexp(rest.plus, rest.undecided), rest.minus)
    if_minus = jnp.where(positive, rest.plus, jnp.logaddexp(rest.minus, rest.undecided))
    return if_plus[..., None], if_minus[..., None]


def _preference(
    if_plus: jax.Array, if_minus: jax.Array, plus_if_plus: jax.Array, minus_if_plus: jax.Array,
    plus_if_minus: jax.Array, minus_if_minus: jax.Array,
) -> jax.Array:  # fmt: skip
    """Return the half-field towards the input that lets a unit answer as the label needs."""
    for_plus = jnp.logaddexp(if_plus + plus_if_plus, if_minus + minus_if_plus)
    for_minus = jnp.logaddexp(if_plus + plus_if_minus, if_minus + minus_if_minus)
    prefers = 0.5 * (for_plus - for_minus)
    # neither can be: the pattern says nothing
    prefers = jnp.where(jnp.isnan(prefers), 0.0, prefers)
    return jnp.clip(prefers, -LARGEST_MESSAGE, LARGEST_MESSAGE)


def _without_each(plus: jax.Array, minus: jax.Array) -> _Rest:
    """Return the votes of all terms but one; ``(..., n)`` complementary probabilities, n odd."""
    n = plus.shape[-1]
    needed = (n + 1) // 2

    def add_term(
        counts: jax.Array, term: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        up, down = term[0][..., None], term[1][..., None]
        shifted = jnp.pad(counts[..., :-1], [(0, 0)] * (counts.ndim - 1) + [(1, 0)])
        return counts * down + shifted * up, counts

    none = jnp.zeros((*plus.shape[:-1], n)).at[..., 0].set(1.0)
    terms = (jnp.moveaxis(plus, -1, 0), jnp.moveaxis(minus, -1, 0))
    before = jax.lax.scan(add_term, none, terms)[1]
    after = jax.lax.scan(add_term, none, terms, reverse=True)[1]
    # counts a and b of the terms before and after: all pairs with a + b = needed - 1, above, below
    heads = jnp.cumsum(after, axis=-1)
    tails = jnp.cumsum(after[..., ::-1], axis=-1)[..., ::-1]
    missing = needed - jnp.arange(n)  # for a majority, by the count before

    def paired(table: jax.Array, index: jax.Array) -> jax.Array:
        inside = (index >= 0) & (index < n)
        picked = jnp.where(inside, table[..., jnp.clip(index, 0, n - 1)], 0.0)
        return jnp.moveaxis((before * picked).sum(-1), 0, -1)

    enough = jnp.where(missing <= 0, 0, missing)
    return _Rest(
        jnp.log(paired(heads, missing - 2)),
        jnp.log(paired(after, missing - 1)),
        jnp.log(paired(tails, enough)),
    )
