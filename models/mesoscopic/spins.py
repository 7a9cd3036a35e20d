"""A small device of spins that flip at random: its exact steady state, and what it dissipates.

Spins ``s_i = ±1`` feel the fields ``h = J s + W x + b``. Each flips at Glauber's rate, ``k_i(s) =
sigmoid(-2 beta s_i h_i)``, one attempt by unit time. If ``J`` is symmetric the steady state is the
law of Gibbs and nothing flows; otherwise probability circulates, and entropy is produced.

States are numbered: bit ``i`` of the number is set where ``s_i = +1``. ``k_B = 1``, logarithms are
natural.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from inference.checks import Floats, distributions, finite_array, one_of
from inference.dynamics.markov import (
    CurrentFluctuations,
    current_fluctuations,
    entropy_production,
    flip_generator,
    flipped,
    stationary_law,
    stationary_law_of_flips,
)
from inference.pytrees import checked_pytree, is_concrete
from inference.status import ConvergenceError

from .state_information import Information, information

if TYPE_CHECKING:
    from .spin_simulation import SpinRun

Form = Literal["observable", "schnakenberg", "antisymmetric"]
Method = Literal["auto", "dense", "iterative"]

MOST_DENSE, MOST_ITERATIVE = 11, 20
"""Spins up to which the steady state is solved with a matrix, and without."""
_LARGEST_RESIDUAL = 1e-9


@checked_pytree
@dataclass(frozen=True)
class SpinSystem:
    """Spins with couplings that need not be symmetric.

    Parameters
    ----------
    couplings
        ``(n, n)``: ``J[i, j]`` is how spin ``j`` acts on spin ``i``; the diagonal is zero.
    input_weights
        ``(n, d)``: how an input acts on the spins; None, without inputs.
    bias
        ``(n,)`` constant fields; None is zero.
    beta
        Inverse temperature.

    Raises
    ------
    TypeError, ValueError
        If shapes disagree, a number is not finite, the diagonal is not zero, or ``beta`` is
        negative.

    Notes
    -----
    A pytree: systems can be built inside ``jit`` and ``grad``, where values are not checked.
    After Ingrosso, Panizon, Phys. Rev. E 109, 014132 (2024), arXiv 2307.02379; the formulas are
    derived here, not copied from there.

    Examples
    --------
    >>> import jax
    >>> jax.config.update("jax_enable_x64", True)
    >>> from models.mesoscopic import SpinSystem
    >>> pair = SpinSystem([[0.0, 0.8], [-0.5, 0.0]])
    >>> round(float(pair.entropy_production()), 12)
    0.732000052893
    """

    couplings: Any
    input_weights: Any = None
    bias: Any = None
    beta: Any = 1.0

    def __post_init__(self) -> None:
        """Check and convert what is no tracer."""
        if not is_concrete(self.couplings, self.input_weights, self.bias, self.beta):
            return

        def keep(name: str, value: Any) -> None:
            object.__setattr__(self, name, jnp.asarray(value, dtype=float))

        couplings = finite_array("couplings", self.couplings, ndim=2)
        n = len(couplings)
        if n == 0 or couplings.shape != (n, n):
            raise ValueError(f"couplings: expected a square matrix, got shape {couplings.shape}")
        if np.diagonal(couplings).any():
            i = int(np.flatnonzero(np.diagonal(couplings))[0])
            raise ValueError(
                f"couplings: expected a zero diagonal, got {couplings[i, i]:g} at ({i}, {i}); a "
                "spin does not act on itself"
            )
        keep("couplings", couplings)
        bias = np.zeros(n) if self.bias is None else finite_array("bias", self.bias, ndim=1)
        if bias.shape != (n,):
            raise ValueError(f"bias: expected {n} numbers, one a spin, got {len(bias)}")
        keep("bias", bias)
        if self.input_weights is not None:
            weights = finite_array("input_weights", self.input_weights, ndim=2)
            if len(weights) != n:
                raise ValueError(
                    f"input_weights: expected {n} rows, one a spin, got {len(weights)}"
                )
            keep("input_weights", weights)
        beta = finite_array("beta", self.beta, ndim=0)
        if not beta >= 0:
            raise ValueError(f"beta: expected at least 0, got {beta}")
        keep("beta", beta)

    @property
    def n_spins(self) -> int:
        """Number of spins."""
        return int(self.couplings.shape[0])

    def field(self, x: ArrayLike | None = None) -> jax.Array:
        """Return the fields ``(n,)`` that do not come from other spins, at an input ``(d,)``.

        Raises
        ------
        ValueError
            If there is an input without weights or the other way round, or its length is wrong.
        """
        bias = jnp.zeros(self.n_spins) if self.bias is None else jnp.asarray(self.bias)
        if x is None:
            if self.input_weights is not None and self.input_weights.shape[1]:
                raise ValueError(f"x: expected {self.input_weights.shape[1]} inputs, got none")
            return bias
        if self.input_weights is None:
            raise ValueError("x: expected none, the system has no input weights")
        value = _input("x", x, ndim=1)
        if value.shape[0] != self.input_weights.shape[1]:
            raise ValueError(
                f"x: expected {self.input_weights.shape[1]} inputs, got {value.shape[0]}"
            )
        return self.input_weights @ value + bias

    def flip_rates(self, x: ArrayLike | None = None) -> jax.Array:
        """Return ``(n, 2**n)``: the rate at which each spin flips in each state."""
        spins, fields = self._states(x)
        return jax.nn.sigmoid(-2.0 * self.beta * spins * fields)

    def generator(self, x: ArrayLike | None = None) -> jax.Array:
        """Return the column generator ``(2**n, 2**n)``: ``R[t, s]`` is the rate from s to t.

        Raises
        ------
        ValueError
            If there are more than 11 spins.
        """
        self._at_most("generator", MOST_DENSE, "stationary(method='iterative') needs no matrix")
        return flip_generator(self.flip_rates(x))

    def stationary(self, x: ArrayLike | None = None, *, method: Method = "auto") -> jax.Array:
        """Return the steady state ``(2**n,)``, exact to rounding, and differentiable.

        Parameters
        ----------
        x
            Input ``(d,)``.
        method
            ``"dense"``, up to 11 spins; ``"iterative"``, up to 20, without a matrix; ``"auto"``
            takes the first from 2 to 10 spins.

        Raises
        ------
        PrecisionError
            If JAX runs in single precision.
        ValueError
            If there are too many spins.
        ConvergenceError
            If the iterative solver ends too early (not inside ``jit``, where the law is then not a
            number): couplings so strong that the steady state is not reached in practice.
        """
        one_of("method", method, ("auto", "dense", "iterative"))
        if method == "auto":
            method = "dense" if self.n_spins < MOST_DENSE else "iterative"
        if method == "dense":
            return stationary_law(self.generator(x))
        self._at_most("stationary", MOST_ITERATIVE, "simulate() has no limit")
        law, residual = stationary_law_of_flips(self.flip_rates(x))
        if isinstance(residual, jax.core.Tracer):
            return jnp.where(residual < _LARGEST_RESIDUAL, law, jnp.nan)
        if not residual < _LARGEST_RESIDUAL:
            raise ConvergenceError(
                f"stationary: probability still moves at a rate of {residual:.2g}; the couplings "
                "are too strong for the iterative solver"
            )
        return law

    def entropy_production(
        self, x: ArrayLike | None = None, form: Form = "observable", *, method: Method = "auto"
    ) -> jax.Array:
        """Return the rate of entropy production in the steady state, in nats by unit time.

        Parameters
        ----------
        x
            Input ``(d,)``.
        form
            ``"observable"``, ``beta sum_i <h_i tanh(beta h_i) - s_i h_i>``, an average over single
            states; ``"antisymmetric"``, ``beta sum_{i<j} (J_ij - J_ji) D_ij`` with ``D_ij = <s_j
            tanh(beta h_i)> - <s_i s_j>``, which shows where it comes from; ``"schnakenberg"``, the
            general sum over pairs of states. They agree.
        method
            As for `stationary`.

        Raises
        ------
        PrecisionError, ValueError, ConvergenceError
            As for `stationary`; the general sum is over a matrix.
        """
        one_of("form", form, ("observable", "schnakenberg", "antisymmetric"))
        law = self.stationary(x, method=method)
        if form == "schnakenberg":
            return entropy_production(self.generator(x), law)
        spins, fields = self._states(x)
        response = jnp.tanh(self.beta * fields)
        if form == "observable":
            return self.beta * ((fields * (response - spins)) @ law).sum()
        unequal = (response - spins) * law @ spins.T
        return self.beta * jnp.triu((self.couplings - self.couplings.T) * unequal, 1).sum()

    def information(
        self, inputs: ArrayLike, input_prob: ArrayLike, label_prob: ArrayLike
    ) -> Information:
        """Return what a state says of the label and of the input, and how well it decides.

        Parameters
        ----------
        inputs
            ``(n_x, d)``.
        input_prob
            ``(n_x,)``, summing to 1.
        label_prob
            ``(n_x, n_y)``: ``p(y|x)``, rows sum to 1.

        Raises
        ------
        PrecisionError, ValueError, ConvergenceError
            As for `stationary`, or if probabilities do not sum to one.
        """
        values = _input("inputs", inputs, ndim=2)
        weights = _probabilities("input_prob", input_prob, 1, len(values))
        labels = _probabilities("label_prob", label_prob, 2, len(values))
        return information(self._laws(values), weights, labels)

    def mutual_information(
        self, inputs: ArrayLike, input_prob: ArrayLike, label_prob: ArrayLike
    ) -> jax.Array:
        """Return ``I(s; y)`` in nats: what a state says of the label.

        Arguments and errors are those of `information`; with ``label_prob`` the identity it is what
        a state says of the input.
        """
        return self.information(inputs, input_prob, label_prob).about_label

    def mean_entropy_production(self, inputs: ArrayLike, input_prob: ArrayLike) -> jax.Array:
        """Return the rate of entropy production, averaged over inputs ``(n_x, d)``."""
        values = _input("inputs", inputs, ndim=2)
        weights = _probabilities("input_prob", input_prob, 1, len(values))
        rates = jax.lax.map(lambda x: self.entropy_production(x), values)
        return weights @ rates

    def current_fluctuations(
        self, x: ArrayLike | None = None, weights: ArrayLike | None = None
    ) -> CurrentFluctuations:
        """Return mean and variance rate of a current in the steady state.

        Parameters
        ----------
        x
            Input ``(d,)``.
        weights
            ``(n, 2**n)``: what the current gains when spin ``i`` flips in state ``s``; the reverse
            flip must lose as much. None is the heat in units of the temperature, ``-2 beta s_i
            h_i``, whose mean is the entropy production.

        Returns
        -------
        CurrentFluctuations
            Its ``tur_ratio`` is at least 2.

        Raises
        ------
        ValueError
            If there are more than 11 spins, or the weights are no current.
        """
        generator = self.generator(x)
        spins, fields = self._states(x)
        if weights is None:
            gain = -2.0 * self.beta * spins * fields
        else:
            gain = jnp.asarray(weights, dtype=float)
            if gain.shape != spins.shape:
                raise ValueError(f"weights: expected shape {spins.shape}, got {gain.shape}")
            if is_concrete(gain):
                back = jnp.stack([flipped(gain[i], i) for i in range(self.n_spins)])
                if not np.allclose(gain, -back, rtol=0, atol=1e-12 * float(abs(gain).max())):
                    raise ValueError(
                        "weights: expected a current, but a flip and its reverse add up"
                    )
        return current_fluctuations(generator, _of_flips(gain), self.stationary(x))

    def simulate(self, x: ArrayLike | None = None, **options: Any) -> SpinRun:
        """Simulate many chains and return averages with their errors, for any number of spins.

        Parameters
        ----------
        x
            Input ``(d,)``.
        options
            Those of `simulate_spins`: ``key``, ``n_events`` or ``duration``, ``n_chains``,
            ``burn_in``, ``method``, ...

        Returns
        -------
        SpinRun
            Heed its ``status``.

        Raises
        ------
        TypeError, ValueError, ConvergenceError
            As for `simulate_spins`.
        """
        from .spin_simulation import simulate_spins

        return simulate_spins(self.couplings, self.field(x), float(self.beta), **options)

    def _states(self, x: ArrayLike | None) -> tuple[jax.Array, jax.Array]:
        """Return all states ``(n, 2**n)`` and the fields in them."""
        self._at_most("states", MOST_ITERATIVE, "simulate() has no limit")
        spins = jnp.asarray(all_states(self.n_spins))
        return spins, self.couplings @ spins + self.field(x)[:, None]

    def _laws(self, inputs: jax.Array) -> jax.Array:
        """Return the steady states ``(n_x, 2**n)``."""
        return jax.lax.map(lambda x: self.stationary(x), inputs)

    def _at_most(self, what: str, limit: int, instead: str) -> None:
        if self.n_spins > limit:
            raise ValueError(
                f"{what}: expected at most {limit} spins, got {self.n_spins}; {instead}"
            )


def all_states(n_spins: int) -> Floats:
    """Return the spins ``(n, 2**n)`` of all states."""
    bit = (np.arange(2**n_spins) >> np.arange(n_spins)[:, None]) & 1
    return np.where(bit, 1.0, -1.0)


def _of_flips(gain: jax.Array) -> jax.Array:
    """Return ``(2**n, 2**n)`` with the values of flips ``(n, 2**n)``, at [after, before]."""
    state = jnp.arange(gain.shape[1])
    matrix = jnp.zeros((len(state), len(state)))
    for unit in range(len(gain)):
        matrix = matrix.at[state ^ (1 << unit), state].set(gain[unit])
    return matrix


def _input(name: str, value: ArrayLike, *, ndim: int) -> jax.Array:
    if is_concrete(value):
        value = finite_array(name, np.asarray(value), ndim=ndim)
    return jnp.asarray(value, dtype=float)


def _probabilities(name: str, value: ArrayLike, ndim: int, n_inputs: int) -> jax.Array:
    if is_concrete(value):
        value = distributions(name, np.asarray(value), ndim=ndim)
    prob = jnp.asarray(value, dtype=float)
    if prob.shape[0] != n_inputs:
        raise ValueError(f"{name}: expected {n_inputs} rows as in inputs, got {prob.shape[0]}")
    return prob
