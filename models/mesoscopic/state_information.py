"""What the state of a device says of its input, and of a label of the input."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Information(NamedTuple):
    """Of one state of a device, drawn from its stationary law given the input."""

    about_label: jax.Array
    """``I(s; y)`` in nats."""
    about_input: jax.Array
    """``I(s; x)`` in nats, at least ``I(s; y)``."""
    accuracy: jax.Array
    """Probability that the most likely label given the state is the label."""


def information(state_prob: jax.Array, input_prob: jax.Array, label_prob: jax.Array) -> Information:
    """Return what states say of inputs and labels; ``y`` depends on ``s`` through ``x`` only.

    Parameters
    ----------
    state_prob
        ``(n_x, n_states)``: ``p(s|x)``.
    input_prob
        ``(n_x,)``: ``p(x)``.
    label_prob
        ``(n_x, n_y)``: ``p(y|x)``.

    Returns
    -------
    Information
        Differentiable; the accuracy by pieces.
    """
    with_input = input_prob[:, None] * state_prob
    with_label = label_prob.T @ with_input
    return Information(
        mutual_information(with_label), mutual_information(with_input), with_label.max(axis=0).sum()
    )


def mutual_information(joint: jax.Array) -> jax.Array:
    """Return the mutual information of a joint law ``(n, m)``, in nats; zeros count for nothing."""
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    # two selections: neither value nor derivative may see the logarithm of zero
    ratio = jnp.where(there, joint, 1.0) / jnp.where(there, independent, 1.0)
    return (joint * jnp.log(ratio)).sum()


def entropy(law: jax.Array) -> jax.Array:
    """Return the entropy of probabilities along the last axis, in nats."""
    there = law > 0
    return -(law * jnp.log(jnp.where(there, law, 1.0))).sum(axis=-1)
