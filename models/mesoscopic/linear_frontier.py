"""The one computation-dissipation bottleneck that has a closed form."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import finite_array, positive
from inference.pytrees import is_concrete


class ClosedFormFrontier(NamedTuple):
    """What two units can know of their input at a given dissipation; arrays of its shape."""

    dissipation: jax.Array
    """Rate of entropy production, in nats by unit time."""
    information: jax.Array
    """``I(s; x)`` in nats."""
    signal_to_noise: jax.Array
    """By unit variance of the input."""
    coupling: jax.Array
    """``a``: how unit 2 acts on unit 1."""


def closed_form_frontier(
    dissipation: ArrayLike, *, temperature: float = 1.0, input_variance: float = 1.0
) -> ClosedFormFrontier:
    """Return the frontier of two units in a row, the second of which sees the input.

    The drift is ``[[1, -a], [0, 1]]``, the diffusion ``temperature`` for both, and the input drives
    unit 2 alone, which unit 1 copies without acting back: a dissipation of ``a^2 / 2``.

    Parameters
    ----------
    dissipation
        Rates ``S`` of entropy production, at least 0, of any shape.
    temperature
        ``T``.
    input_variance
        Of the scalar input.

    Returns
    -------
    ClosedFormFrontier
        ``signal_to_noise = (1 + S) / (1 + S / 2) / T``: it starts at that of one unit and ends at
        twice that. ``information = log(1 + input_variance signal_to_noise) / 2``.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range.

    Examples
    --------
    >>> from models.mesoscopic import closed_form_frontier
    >>> [float(ratio) for ratio in closed_form_frontier([0.0, 2.0]).signal_to_noise]
    [1.0, 1.5]
    """
    if is_concrete(dissipation):
        given = finite_array("dissipation", dissipation, ndim=np.ndim(dissipation))
        if (given < 0).any():
            raise ValueError(f"dissipation: expected at least 0, got {given.min():g}")
    rate = jnp.asarray(dissipation, dtype=float)
    ratio = (1.0 + rate) / (1.0 + 0.5 * rate) / positive("temperature", temperature)
    gained = 0.5 * jnp.log1p(positive("input_variance", input_variance) * ratio)
    return ClosedFormFrontier(rate, gained, ratio, jnp.sqrt(2.0 * rate))
