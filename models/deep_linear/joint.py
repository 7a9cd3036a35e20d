"""The joint density of mixing matrix and targets in free coordinates, and where its modes are."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import jax
import numpy as np

from inference.importance import Modes, find_modes

from .coordinates import MixingCoordinates, Network, layout, mixing_matrix
from .given import Data, given_mixing

Joint = Callable[[jax.Array, Data, jax.Array], jax.Array]


@lru_cache(maxsize=256)
def joint(architecture: Network) -> Joint:
    """Return the joint log-density of coordinates and targets; cached: one program a network."""
    law = MixingCoordinates(architecture)

    def log_joint(x: jax.Array, data: Data, beta: jax.Array) -> jax.Array:
        evidence = given_mixing(data).log_evidence(mixing_matrix(x, architecture), data, beta)
        return law.log_prob(x) + evidence

    return log_joint


@lru_cache(maxsize=256)
def joint_smooth(architecture: Network) -> Joint:
    """Return the same in a form that may be differentiated twice."""
    law = MixingCoordinates(architecture)

    def log_joint(x: jax.Array, data: Data, beta: jax.Array) -> jax.Array:
        mixing = mixing_matrix(x, architecture)
        return law.log_prob(x) + given_mixing(data).log_evidence_smooth(mixing, data, beta)

    return log_joint


@lru_cache(maxsize=256)
def joint_batch(architecture: Network) -> Joint:
    """Return the same for many points at once."""
    return jax.vmap(joint(architecture), in_axes=(0, None, None))


def joint_modes(data: Data, architecture: Network, beta: float) -> Modes:
    """Return the distinct modes, climbing from four decades of scale and a few prior draws."""
    degrees = layout(architecture).degrees
    unit = np.sqrt(2 * degrees) * 0.5 / len(architecture.widths)
    scaled = [unit * math.log(factor) for factor in (1.0, 0.1, 10.0, 100.0, 0.01)]
    draws = MixingCoordinates(architecture).sample(jax.random.key(0), (3,))
    return find_modes(
        joint(architecture),
        np.concatenate([np.array(scaled), np.asarray(draws, float)]),
        args=(data, beta),
        hessian_of=joint_smooth(architecture),
    )
