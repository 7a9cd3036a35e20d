"""Belief propagation factor after factor: the compiled twin of the parallel schedule.

The same equations in double precision; a factor sees the newest messages of all others. Totals at
the variables are kept up to date, with certain messages counted apart, and formed anew each sweep.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from graphs.factor_graph import FactorGraph
from inference.checks import Floats
from inference.fixed_point import FixedPointResult
from inference.kernels import RandomState, kernel, random_state, shuffle
from inference.status import Status

from .factors import ClauseFactors, IsingFactors, TableFactors, UpdateRule, pinned_log_weights

_TERMS_A_CALL = 10_000_000
"""Exponentials between two returns to Python: a few tenths of a second."""

Integers = NDArray[np.int64]


class _Loop(NamedTuple):
    """What the compiled sweeps read but do not change."""

    order: Integers
    state: RandomState
    damping: float
    tol: float


def sweep_in_turn(
    graph: FactorGraph,
    factors: UpdateRule,
    field: jax.Array,
    messages: jax.Array,
    *,
    key: jax.Array,
    damping: float,
    tol: float,
    max_steps: int,
) -> FixedPointResult[jax.Array]:
    """Sweep until no message changes by more than ``tol``; see `belief_propagation`.

    Returns
    -------
    FixedPointResult
        As the parallel schedule has it. Where certain messages contradict each other the status is
        NON_FINITE and the messages are those before.
    """
    leaves = jax.tree_util.tree_leaves((graph, factors, field, messages, key, damping, tol))
    if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        raise TypeError(
            'schedule: "sequential" runs compiled loops on concrete arrays; use "parallel" under '
            "jit, vmap and grad"
        )
    if factors.n_states is None and messages.ndim > 1:
        raise ValueError(
            f'field: schedule="sequential" takes one field, got a batch of shape {field.shape}'
        )
    dtype = messages.dtype
    words = np.asarray(jax.random.bits(key, (2,), jnp.uint32)).astype(np.uint64)
    loop = _Loop(
        order=np.arange(graph.n_factors),
        state=random_state(int(words[0]) << 32 | int(words[1])),
        damping=float(damping),
        tol=float(tol),
    )
    u = np.array(messages, dtype=np.float64)
    h = np.asarray(field, dtype=np.float64)
    if isinstance(factors, IsingFactors):
        residual, n_steps, failed = _couplings(graph, factors, h, u, loop, max_steps)
    elif isinstance(factors, TableFactors):
        residual, n_steps, failed = _tables(graph, factors, h, u, loop, max_steps)
    elif isinstance(factors, ClauseFactors):
        tables = factors.to_tables()
        plus, minus = pinned_log_weights(h)
        weights = np.stack([minus, plus], axis=1)
        logs = np.stack([-np.logaddexp(0, 2 * u), -np.logaddexp(0, -2 * u)], axis=1)
        residual, n_steps, failed = _tables(graph, tables, weights, logs, loop, max_steps)
        u = (logs[:, 1] - logs[:, 0]) / 2
    else:
        raise ValueError(
            'factors: schedule="sequential" knows IsingFactors, ClauseFactors and TableFactors, '
            f'got {type(factors).__name__}; schedule="parallel" takes any rule'
        )
    status = Status.CONVERGED if residual <= loop.tol else Status.MAX_STEPS
    if failed:
        status, residual = Status.NON_FINITE, np.nan
    return FixedPointResult(
        jnp.asarray(u, dtype),
        jnp.asarray(residual, dtype),
        jnp.asarray(n_steps),
        jnp.asarray(int(status)),
    )


def _couplings(
    graph: FactorGraph, factors: IsingFactors, field: Floats, u: Floats, loop: _Loop, max_steps: int
) -> tuple[float, int, bool]:
    coupling = np.asarray(factors.coupling, dtype=np.float64)
    variables = np.asarray(graph.edge_variable)
    totals = np.empty(graph.n_variables)
    certain = np.empty((graph.n_variables, 2), np.int64)

    def some(n_sweeps: int) -> Any:
        return coupling_sweeps(variables, coupling, field, u, totals, certain, *loop, n_sweeps)

    return _repeat(some, graph.n_edges, loop.tol, max_steps)


def _tables(
    graph: FactorGraph, factors: TableFactors, field: Floats, u: Floats, loop: _Loop, max_steps: int
) -> tuple[float, int, bool]:
    arities = graph.arities()
    q = factors.n_states
    sizes = q**arities
    starts = np.cumsum(sizes) - sizes
    tables = np.empty(int(sizes.sum()))
    for (k, _), block in zip(factors.groups.sizes, factors.log_tables, strict=True):
        members = starts[arities == k]
        tables[members[:, None] + np.arange(q**k)] = np.asarray(block).reshape(len(members), q**k)
    variables = np.asarray(graph.edge_variable)
    offsets = graph.factor_offsets()
    totals = np.empty((graph.n_variables, q))
    forbidden = np.empty((graph.n_variables, q), np.int64)
    longest = int(arities.max(initial=0))

    def some(n_sweeps: int) -> Any:
        return table_sweeps(
            offsets, variables, tables, starts, field, u, totals, forbidden, *loop, n_sweeps,
            longest,
        )  # fmt: skip

    return _repeat(some, int((sizes * arities).sum()), loop.tol, max_steps)


def _repeat(some: Any, n_terms: int, tol: float, max_steps: int) -> tuple[float, int, bool]:
    """Call ``some(n_sweeps)`` in short turns, between which Ctrl-C arrives."""
    n_call = max(1, _TERMS_A_CALL // max(1, n_terms))
    n_steps, residual, failed = 0, np.inf, False
    while n_steps < max_steps and not failed and not residual <= tol:
        done, residual, failed = some(min(n_call, max_steps - n_steps))
        n_steps += int(done)
    return float(residual), n_steps, bool(failed)


@kernel
def _blend(old: float, new: float, damping: float) -> Any:
    if np.isinf(old) or np.isinf(new):
        return new
    return new + damping * (old - new)


@kernel
def _atanh_of_product(a: float, b: float) -> Any:
    """Return ``atanh(tanh(a) tanh(b))``, to full relative precision and exact at infinities."""
    large = max(abs(a), abs(b))
    small = min(abs(a), abs(b))
    difference = 0.0 if large == small else large - small
    ratio = 1.0 / (1.0 + np.exp(-2.0 * difference))
    if small < 1.0:
        size = 0.5 * np.log1p(-np.expm1(2.0 * small) * np.expm1(-2.0 * large) * ratio)
    else:
        size = small + 0.5 * (np.log1p(np.exp(-2.0 * (large + small))) + np.log(ratio))
    return -size if (a < 0.0) != (b < 0.0) else size


@kernel
def _count(value: float, by: int, totals: Floats, certain: Integers, variable: int) -> None:
    """Add a half-field to a total, or take it out; infinite ones are counted by their sign."""
    if np.isinf(value):
        certain[variable, 1 if value > 0.0 else 0] += by
    else:
        totals[variable] += by * value


@kernel
def coupling_sweeps(
    variables: Any, coupling: Floats, field: Floats, u: Floats, totals: Floats, certain: Integers,
    order: Integers, state: RandomState, damping: float, tol: float, n_sweeps: int,
) -> Any:  # fmt: skip
    """Sweep over couplings in place; return (sweeps done, largest change, whether it failed)."""
    cavity = np.empty(2)
    largest = 0.0
    for sweep in range(n_sweeps):
        totals[:] = 0.0
        certain[:] = 0
        for variable in range(field.size):
            _count(field[variable], 1, totals, certain, variable)
        for edge in range(u.size):
            _count(u[edge], 1, totals, certain, variables[edge])
        shuffle(order, state)
        largest = 0.0
        for factor in order:
            for side in range(2):
                edge = 2 * factor + side
                variable = variables[edge]
                _count(u[edge], -1, totals, certain, variable)
                cavity[side] = totals[variable]
                if certain[variable, 1] > 0:
                    cavity[side] = np.inf
                if certain[variable, 0] > 0:
                    cavity[side] = -np.inf
                    if certain[variable, 1] > 0:
                        return sweep, largest, True
            for side in range(2):
                edge = 2 * factor + side
                new = _atanh_of_product(coupling[factor], cavity[1 - side])
                largest = max(largest, 0.5 * abs(np.tanh(new) - np.tanh(u[edge])))
                u[edge] = _blend(u[edge], new, damping)
                _count(u[edge], 1, totals, certain, variables[edge])
        if largest <= tol:
            return sweep + 1, largest, False
    return n_sweeps, largest, False


@kernel
def table_sweeps(
    offsets: Integers, variables: Any, tables: Floats, starts: Integers, field: Floats, u: Floats,
    totals: Floats, forbidden: Integers, order: Integers, state: RandomState, damping: float,
    tol: float, n_sweeps: int, longest: int,
) -> Any:  # fmt: skip
    """Sweep over tables in place; return (sweeps done, largest change, whether it failed).

    ``totals`` holds sums of the finite log weights alone, ``forbidden`` counts those of -inf.
    """
    q = field.shape[1]
    cavity = np.empty((longest, q))
    tops = np.empty((longest, q))
    sums = np.empty((longest, q))
    left = np.empty(longest)
    digits = np.empty(longest, np.int64)
    largest = 0.0
    for sweep in range(n_sweeps):
        _form_totals(variables, field, u, totals, forbidden)
        shuffle(order, state)
        largest = 0.0
        for factor in order:
            first = offsets[factor]
            k = offsets[factor + 1] - first
            for place in range(k):
                if not _take_out(variables[first + place], u[first + place], totals, forbidden,
                                 cavity[place]):  # fmt: skip
                    return sweep, largest, True
            _contract(tables, starts[factor], k, cavity, tops, sums, left, digits)
            for place in range(k):
                edge = first + place
                variable = variables[edge]
                top = tops[place].max()
                if top == -np.inf:
                    return sweep, largest, True
                norm = 0.0
                for s in range(q):
                    if tops[place, s] > -np.inf:
                        norm += np.exp(tops[place, s] - top) * sums[place, s]
                norm = top + np.log(norm)
                for s in range(q):
                    new = tops[place, s] + np.log(sums[place, s]) - norm
                    old = u[edge, s]
                    largest = max(largest, abs(np.exp(new) - np.exp(old)))
                    new = _blend(old, new, damping)
                    if old == -np.inf:
                        forbidden[variable, s] -= 1
                    else:
                        totals[variable, s] -= old
                    if new == -np.inf:
                        forbidden[variable, s] += 1
                    else:
                        totals[variable, s] += new
                    u[edge, s] = new
        if largest <= tol:
            return sweep + 1, largest, False
    return n_sweeps, largest, False


@kernel
def _form_totals(
    variables: Any, field: Floats, u: Floats, totals: Floats, forbidden: Integers
) -> None:
    totals[:] = 0.0
    forbidden[:] = 0
    for variable in range(field.shape[0]):
        for s in range(field.shape[1]):
            if field[variable, s] == -np.inf:
                forbidden[variable, s] += 1
            else:
                totals[variable, s] += field[variable, s]
    for edge in range(u.shape[0]):
        for s in range(u.shape[1]):
            if u[edge, s] == -np.inf:
                forbidden[variables[edge], s] += 1
            else:
                totals[variables[edge], s] += u[edge, s]


@kernel
def _take_out(
    variable: int, own: Floats, totals: Floats, forbidden: Integers, cavity: Floats
) -> Any:
    """Write the log weights of a variable without one factor; return whether a state is left."""
    for s in range(own.size):
        certain = own[s] == -np.inf
        if forbidden[variable, s] > (1 if certain else 0):
            cavity[s] = -np.inf
        else:
            cavity[s] = totals[variable, s] - (0.0 if certain else own[s])
    top = cavity.max()
    if top == -np.inf:
        return False
    cavity -= top
    return True


@kernel
def _contract(
    tables: Floats, start: int, k: int, cavity: Floats, tops: Floats, sums: Floats, left: Floats,
    digits: Integers,
) -> None:  # fmt: skip
    """Sum a table over all variables but one, for each: the log is ``tops + log(sums)``."""
    q = cavity.shape[1]
    tops[:k] = -np.inf
    sums[:k] = 1.0
    for configuration in range(q**k):
        weight = tables[start + configuration]
        if weight == -np.inf:
            continue
        rest = configuration
        for place in range(k - 1, -1, -1):
            digits[place] = rest % q
            rest //= q
        for place in range(k):
            left[place] = weight
            weight += cavity[place, digits[place]]
        right = 0.0
        for place in range(k - 1, -1, -1):
            s = digits[place]
            value = left[place] + right
            right += cavity[place, s]
            if value == -np.inf:
                continue
            if value > tops[place, s]:
                sums[place, s] = 1.0 + (
                    sums[place, s] * np.exp(tops[place, s] - value)
                )  # 0 where there was none
                tops[place, s] = value
            else:
                sums[place, s] += np.exp(value - tops[place, s])
