"""What a factor answers: couplings of two spins, clauses, tables of any small factor.

A rule holds the parameters of all factors of a graph and knows two things, the messages to the
variables and the local normaliser. Binary variables are spins ±1 and their messages half-fields
``atanh`` of a magnetisation; categorical variables have log weights. What a rule gets is always
``cavity``: what each variable would believe without this factor.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, logsumexp
from numpy.typing import ArrayLike

from graphs.factor_graph import FactorGraph

from .arity_groups import ArityGroups
from .disjunction import (
    any_other,
    half_field,
    half_field_from_log,
    largest_half_field,
    literal_true,
    log_any,
    log_any_other,
    log_literal_true,
    log_of_any,
)

MAX_CLAUSE_TABLE = 8
"""Longest clause that `ClauseFactors.to_tables` writes out."""


class UpdateRule(Protocol):
    """The factors of a graph: a pytree with these four members."""

    @property
    def n_states(self) -> int | None:
        """Number of states of every variable; None for spins."""

    def check(self, graph: FactorGraph) -> None:
        """Raise ``ValueError`` unless the factors fit ``graph`` (on the host)."""

    def factor_to_variable(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return the messages of all edges.

        ``cavity`` and the messages are half-fields ``(n_edges, ...)`` of spins, or log weights
        ``(n_edges, n_states)``, both normalised: their exponentials sum to one. NaN says that a
        factor allows no state.
        """

    def log_normalizer(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return ``(n_factors, ...)``, the log of each factor's mean over ``cavity``."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class IsingFactors:
    """Couplings of two spins, ``exp(coupling * s_i * s_j)``.

    Build it with `from_couplings`. An infinite coupling is a constraint: 1 where the spins are
    equal (``inf``) or opposite (``-inf``), and 0 elsewhere.

    Attributes
    ----------
    coupling
        ``(n_factors,)``.
    """

    n_states: ClassVar[None] = None
    coupling: jax.Array

    @classmethod
    def from_couplings(cls, coupling: ArrayLike) -> IsingFactors:
        """Check and wrap ``(n_factors,)`` couplings.

        Raises
        ------
        ValueError
            If ``coupling`` is no vector or holds a NaN.

        Examples
        --------
        >>> from inference.message_passing.factors import IsingFactors
        >>> IsingFactors.from_couplings([0.5, -1.0]).coupling.shape
        (2,)
        """
        array = np.asarray(coupling)
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise ValueError(f"coupling: expected one number for each factor, got {coupling!r:.60}")
        if np.isnan(array).any():
            raise ValueError(f"coupling: got NaN at index {int(np.argmax(np.isnan(array)))}")
        return cls(jnp.asarray(array if np.issubdtype(array.dtype, np.floating) else 1.0 * array))

    def check(self, graph: FactorGraph) -> None:
        """Raise ``ValueError`` unless ``graph`` has one factor of two variables a coupling."""
        if self.coupling.shape != (graph.n_factors,):
            raise ValueError(
                f"coupling: expected shape ({graph.n_factors},), one for each factor, "
                f"got {self.coupling.shape}"
            )
        ArityGroups.from_arities(np.full(graph.n_factors, 2))[0].check(graph)

    def factor_to_variable(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return ``atanh(tanh(coupling) tanh(h))`` with ``h`` of the other spin."""
        other = cavity.reshape(graph.n_factors, 2, *cavity.shape[1:])[:, ::-1].reshape(cavity.shape)
        coupling = jnp.repeat(self.coupling, 2, total_repeat_length=cavity.shape[0])
        return _atanh_of_product(_column(coupling, cavity), other)

    def log_normalizer(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return the log of the mean of ``exp(coupling * s_i * s_j)``."""
        one, two = jnp.moveaxis(cavity.reshape(graph.n_factors, 2, *cavity.shape[1:]), 1, 0)
        up, down = log_sigmoid(2 * one), log_sigmoid(-2 * one)
        up_too, down_too = log_sigmoid(2 * two), log_sigmoid(-2 * two)
        equal, opposite = pinned_log_weights(_column(self.coupling, one))
        return jnp.logaddexp(
            equal + jnp.logaddexp(up + up_too, down + down_too),
            opposite + jnp.logaddexp(up + down_too, down + up_too),
        )

    def to_tables(self) -> TableFactors:
        """Return the same factors as tables; state 0 is spin -1, state 1 is spin +1."""
        equal, opposite = pinned_log_weights(np.asarray(self.coupling))
        tables = np.stack([equal, opposite, opposite, equal], axis=-1).reshape(-1, 2, 2)
        return TableFactors.from_log_tables(tables, n_states=2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ClauseFactors:
    """Disjunctions: a factor is 1 if at least one of its literals is true, and 0 otherwise.

    Build it with `from_signs`. Cost O(edges), whatever the length of the clauses.

    Attributes
    ----------
    sign
        ``(n_edges,)`` int8: the spin that makes the literal true.
    groups
        The clauses by length.
    """

    n_states: ClassVar[None] = None
    sign: jax.Array
    groups: ArityGroups

    @classmethod
    def from_signs(cls, graph: FactorGraph, sign: ArrayLike) -> ClauseFactors:
        """Build the clauses of a graph.

        Parameters
        ----------
        graph
            Which variable is in which clause.
        sign
            ``(n_edges,)`` of +1 and -1 in the order of the edges of ``graph``: the spin that makes
            the literal true.

        Raises
        ------
        ValueError
            If there is not one sign an edge, or an entry is neither +1 nor -1.

        Examples
        --------
        The clauses (x0 or not x1) and (x1), signed variables numbered from 1:

        >>> from graphs.factor_graph import FactorGraph
        >>> from inference.message_passing.factors import ClauseFactors
        >>> graph = FactorGraph.from_edges([0, 1, 1], [0, 0, 1], n_variables=2, n_factors=2)
        >>> ClauseFactors.from_signs(graph, [1, -1, 1]).groups.sizes
        ((1, 1), (2, 1))
        """
        array = np.asarray(sign)
        if array.shape != (graph.n_edges,):
            raise ValueError(
                f"sign: expected shape ({graph.n_edges},), one for each edge, got {array.shape}"
            )
        wrong = np.flatnonzero(np.abs(array) != 1)
        if wrong.size:
            raise ValueError(
                f"sign: expected +1 or -1, got {array[wrong[0]]} at index {int(wrong[0])}"
            )
        groups, _ = ArityGroups.from_arities(graph.arities())
        return cls(jnp.asarray(array, jnp.int8), groups)

    def check(self, graph: FactorGraph) -> None:
        """Raise ``ValueError`` unless ``graph`` has clauses of these lengths."""
        self.groups.check(graph)

    def factor_to_variable(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return ``-sign / 2 * log(c)``, ``c`` the chance that another literal is true.

        Notes
        -----
        Where beliefs are so certain that probabilities leave the range of floats (at infinite
        fields above all) logarithms take their place, so that nothing is rounded to certainty.
        """
        certain, sign = self._certain_and_sign(cavity)
        # Three conditionals on one question: XLA fuses across everything else, and then takes the
        # exponential of a literal anew for each other literal (7 times slower).
        true = jax.lax.cond(certain, log_literal_true, literal_true, cavity, sign)
        blocks = [
            jax.lax.cond(certain, log_any_other, any_other, block)
            for block in self.groups.split(true)
        ]
        joined = self.groups.join(blocks)
        return jax.lax.cond(certain, half_field_from_log, half_field, joined, sign)

    def log_normalizer(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return the log of the chance that a literal is true."""
        certain, sign = self._certain_and_sign(cavity)
        true = jax.lax.cond(certain, log_literal_true, literal_true, cavity, sign)
        blocks = [
            jax.lax.cond(certain, log_any, log_of_any, block) for block in self.groups.split(true)
        ]
        return self.groups.join_factors(blocks)

    def _certain_and_sign(self, cavity: jax.Array) -> tuple[jax.Array, jax.Array]:
        certain = ~(jnp.max(jnp.abs(cavity), initial=0) < largest_half_field(cavity.dtype))
        return certain, _column(self.sign, cavity).astype(cavity.dtype)

    def to_tables(self) -> TableFactors:
        """Return the same factors as tables; state 0 is spin -1, state 1 is spin +1.

        Raises
        ------
        ValueError
            If a clause has more than ``MAX_CLAUSE_TABLE`` literals.
        """
        longest = self.groups.sizes[-1][0]
        if longest > MAX_CLAUSE_TABLE:
            raise ValueError(
                f"factors: clauses of at most {MAX_CLAUSE_TABLE} literals fit into tables, got "
                f"{longest}; inference.message_passing.clause_messages has a compiled sweep for "
                'clauses of any length, schedule="parallel" too'
            )
        log_tables = []
        sign = np.asarray(self.sign)
        for edges, (k, size) in zip(self.groups.blocks(), self.groups.sizes, strict=True):
            false_state = (1 - sign[edges]) // 2
            table = np.zeros((size, *(2,) * k))
            table[(np.arange(size), *false_state.T)] = -np.inf
            log_tables.append(jnp.asarray(table))
        return TableFactors(tuple(log_tables), self.groups, 2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TableFactors:
    """Factors written out: one weight for every configuration of a few categorical variables.

    Build it with `from_tables` or `from_log_tables`. Time grows like ``n_states ** arity``.

    Attributes
    ----------
    log_tables
        For each arity ``k`` that occurs, ``(n_factors_k, n_states, ..., n_states)``.
    groups
        The factors by arity.
    n_states
        Static.
    """

    log_tables: tuple[jax.Array, ...]
    groups: ArityGroups
    n_states: int = field(metadata={"static": True})

    @classmethod
    def from_tables(
        cls, tables: Iterable[ArrayLike], *, n_states: int | None = None
    ) -> TableFactors:
        """Build the factors from their weights.

        Parameters
        ----------
        tables
            One array for each factor, in order. Axis ``j`` belongs to the ``j``-th edge of the
            factor; every axis has length ``n_states``. Weights are non-negative, zeros forbid.
        n_states
            Number of states of a variable; read off the tables if None.

        Raises
        ------
        ValueError
            If a weight is negative or not finite, axes differ in length, or ``n_states`` is not
            given and cannot be read off.

        Examples
        --------
        >>> from inference.message_passing.factors import TableFactors
        >>> TableFactors.from_tables([[[1.0, 0.0], [0.0, 1.0]], [0.2, 0.8]]).n_states
        2
        """
        arrays = [np.asarray(table) for table in tables]
        for a, array in enumerate(arrays):
            if not (np.isfinite(array) & (array >= 0)).all():
                raise ValueError(
                    f"tables: expected finite weights of at least 0, got {array!r:.80} as factor "
                    f"{a}; from_log_tables takes logarithms"
                )
        with np.errstate(divide="ignore"):
            return cls.from_log_tables([np.log(array) for array in arrays], n_states=n_states)

    @classmethod
    def from_log_tables(
        cls, log_tables: Iterable[ArrayLike], *, n_states: int | None = None
    ) -> TableFactors:
        """Build the factors from the logarithms of their weights; -inf forbids.

        Parameters, shapes and errors as `from_tables`.
        """
        arrays = [np.asarray(table) for table in log_tables]
        lengths = {length for array in arrays for length in array.shape}
        lengths |= set() if n_states is None else {int(n_states)}
        if len(lengths) != 1 or min(lengths) < 1:
            raise ValueError(
                f"tables: expected all axes to have one length of at least 1, got {sorted(lengths)}"
                f"{'' if lengths else '; give n_states'}"
            )
        for a, array in enumerate(arrays):
            if not (array < np.inf).all():  # NaN compares false
                raise ValueError(
                    f"tables: expected log weights below infinity, got {array!r:.80} as factor {a}"
                )
        groups, members = ArityGroups.from_arities([array.ndim for array in arrays])
        blocks = [np.stack([arrays[a] for a in f]) if len(f) else np.zeros(0) for f in members]
        dtype = np.result_type(np.float32, *blocks)
        return cls(tuple(jnp.asarray(b.astype(dtype)) for b in blocks), groups, lengths.pop())

    def check(self, graph: FactorGraph) -> None:
        """Raise ``ValueError`` unless the factors of ``graph`` have as many variables."""
        self.groups.check(graph)

    def factor_to_variable(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return the log of the table's sum over all other variables, weighed by ``cavity``."""
        blocks = []
        for table, block in zip(self.log_tables, self.groups.split(cavity), strict=True):
            k = block.shape[1]
            messages = [_marginal(table, block, j) for j in range(k)]
            blocks.append(jnp.stack(messages, axis=1) if k else block)
        joined = self.groups.join(blocks)
        return joined - logsumexp(joined, axis=1, keepdims=True)

    def log_normalizer(self, graph: FactorGraph, cavity: jax.Array) -> jax.Array:
        """Return the log of the table's mean over ``cavity``."""
        blocks = self.groups.split(cavity)
        return self.groups.join_factors(
            [
                logsumexp(_weighed(table, block, None), axis=tuple(range(1, table.ndim)))
                for table, block in zip(self.log_tables, blocks, strict=True)
            ]
        )


def pinned_log_weights(half_field: Any) -> tuple[Any, Any]:
    """Return the log weights of +1 and -1 under ``exp(half_field * s)``: 0 and -inf if infinite."""
    xp: Any = np if isinstance(half_field, np.ndarray) else jnp
    infinite = xp.isinf(half_field)
    size = xp.where(infinite, 0, half_field)
    plus = xp.where(infinite & (half_field < 0), -np.inf, size)
    return plus, xp.where(infinite & (half_field > 0), -np.inf, -size)


def _column(values: jax.Array, like: jax.Array) -> jax.Array:
    """Give ``values`` ``(n,)`` the trailing axes of ``like``, of length one."""
    return values.reshape(values.shape[0], *(1,) * (like.ndim - 1))


def _atanh_of_product(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return ``atanh(tanh(a) tanh(b))``, to full relative precision and exact at infinities."""
    large = jnp.maximum(jnp.abs(a), jnp.abs(b))
    small = jnp.minimum(jnp.abs(a), jnp.abs(b))
    difference = jnp.where(large == small, 0, large - small)  # inf - inf
    # (1/2) log(cosh(large + small) / cosh(large - small)), twice
    ratio = 1 / (1 + jnp.exp(-2 * difference))
    below_one = jnp.minimum(small, 1)
    near_zero = jnp.log1p(-jnp.expm1(2 * below_one) * jnp.expm1(-2 * large) * ratio) / 2
    far = small + (jnp.log1p(jnp.exp(-2 * (large + small))) + jnp.log(ratio)) / 2
    size = jnp.where(small < 1, near_zero, far)
    return jnp.where((a < 0) ^ (b < 0), -size, size)


def _weighed(table: jax.Array, cavity: jax.Array, left_out: int | None) -> jax.Array:
    """Add the log weights ``(m, k, n_states)`` of all variables but one to ``(m, q, ..., q)``."""
    for j in range(cavity.shape[1]):
        if j != left_out:
            axes = [1] * (table.ndim - 1)
            axes[j] = cavity.shape[2]
            table = table + cavity[:, j].reshape(cavity.shape[0], *axes)
    return table


def _marginal(table: jax.Array, cavity: jax.Array, j: int) -> jax.Array:
    axes = tuple(axis for axis in range(1, table.ndim) if axis != j + 1)
    return logsumexp(_weighed(table, cavity, j), axis=axes)
