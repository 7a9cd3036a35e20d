"""Belief propagation on any factor graph: marginals, and the Bethe log-partition.

The messages ``u`` of the factors live in the log domain and add up at a variable, so that all of
its answers are one leave-one-out sum; certain messages are infinities, which that sum keeps apart.
What a factor answers is the business of an update rule, see `inference.message_passing.factors`.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import log_sigmoid, logsumexp
from numpy.typing import ArrayLike

from graphs.factor_graph import FactorGraph
from graphs.segment import leave_one_out_sum, segment_sum
from inference.checks import one_of, positive_int
from inference.fixed_point import fixed_point
from inference.keys import check_key
from inference.status import OnFailure, Status, check_on_failure, report_status

from .factors import UpdateRule, pinned_log_weights


class MessagePassingResult(NamedTuple):
    """Where the messages ended, and what follows from them; every field is an array.

    Attributes
    ----------
    messages
        From factors to variables: half-fields ``(n_edges, ...)`` of spins, or log weights
        ``(n_edges, n_states)``, in the order of the graph's edges.
    marginals
        Probability of spin +1 ``(n_variables, ...)``, or of each state ``(n_variables, n_states)``.
    log_partition
        Bethe approximation, in nats, of the log of the sum over configurations of the product of
        all factors and fields; exact on trees. -inf if there is a contradiction.
    residual
        Largest change of a message in the last step, as a probability.
    n_steps
        Steps (sweeps) done.
    status
        CONVERGED, MAX_STEPS, CONTRADICTION, or NON_FINITE if a rule returned NaN beside it.
    culprit
        Where certain messages contradict each other: ``i`` is variable ``i``, and
        ``n_variables + a`` is factor ``a``; -1 if nowhere.
    """

    messages: jax.Array
    marginals: jax.Array
    log_partition: jax.Array
    residual: jax.Array
    n_steps: jax.Array
    status: jax.Array
    culprit: jax.Array


def belief_propagation(
    graph: FactorGraph,
    factors: UpdateRule,
    *,
    field: ArrayLike = 0.0,
    schedule: Literal["parallel", "sequential"] = "parallel",
    damping: float = 0.0,
    tol: float = 1e-8,
    max_steps: int = 1000,
    key: jax.Array | None = None,
    init: ArrayLike | None = None,
    on_failure: OnFailure = "warn",
) -> MessagePassingResult:
    """Pass messages until they stand still.

    Parameters
    ----------
    graph
        Which variable enters which factor.
    factors
        The factors: `IsingFactors`, `ClauseFactors`, `TableFactors`, or an `UpdateRule` of one's
        own (sequential: the three alone).
    field
        Of spins: ``exp(field * s)`` is a factor on each, scalar or ``(n_variables, ...)`` with any
        trailing batch axes (parallel only); an infinite one pins its spin and counts as 1 in the
        partition function. Of categorical variables: ``(n_variables, n_states)`` log weights, -inf
        allowed, or 0.
    schedule
        ``"parallel"``: all messages at once, in JAX, on any device. ``"sequential"``: factor after
        factor, in a new random order each sweep, every one seeing the newest messages; compiled
        for the CPU. It needs fewer steps and converges more often.
    damping
        In [0, 1): the share of the old message that is kept.
    tol
        Stop once no message, as a probability, changes by more. Single precision reaches about
        1e-6.
    max_steps
        Most steps, at least 1.
    key
        Typed key for the order of sequential updates; ``jax.random.key(0)`` if None.
    init
        First messages, as `MessagePassingResult` has them; uninformative if None.
    on_failure
        Whether to warn, raise or stay silent if the messages do not converge. Under ``jit`` and
        ``vmap`` only the status tells.

    Returns
    -------
    MessagePassingResult
        In the floating-point type of ``field``, ``init`` and the parameters of ``factors``; the
        log-partition in the widest type that JAX has switched on.

    Raises
    ------
    TypeError
        If ``key`` is no typed key, or the sequential schedule is asked for under ``jit``.
    ValueError
        If an argument has the wrong shape or range; if the factors do not fit the graph.
    ConvergenceError
        If ``on_failure="raise"`` and the status is not CONVERGED.

    Notes
    -----
    Kschischang, Frey and Loeliger, IEEE Trans. Inf. Theory 47, 498 (2001); the log-partition is
    ``sum_a log Z_a + sum_i log Z_i - sum_ia log Z_ia`` of Yedidia, Freeman and Weiss, IEEE Trans.
    Inf. Theory 51, 2282 (2005), with normalised messages, so that every term is finite also where
    some are certain. Nothing is clipped. The factors may be infinitely strong: two certain messages
    that contradict each other end the iteration with the status CONTRADICTION.

    A batch of fields on trailing axes shares its steps, its residual and its status, and costs much
    less than ``vmap``, where each field has its own.

    Examples
    --------
    Two spins, coupled, one of them in a field:

    >>> import jax
    >>> from graphs.factor_graph import FactorGraph
    >>> from inference.message_passing.belief_propagation import belief_propagation
    >>> from inference.message_passing.factors import IsingFactors
    >>> graph = FactorGraph.from_table([[0, 1]], n_variables=2)
    >>> factors = IsingFactors.from_couplings([1.0])
    >>> result = belief_propagation(graph, factors, field=[0.5, 0.0], tol=1e-6)
    >>> [round(float(p), 4) for p in result.marginals]
    [0.7311, 0.676]
    """
    check_on_failure(on_failure)
    one_of("schedule", schedule, ("parallel", "sequential"))
    _check_settings(damping, tol, max_steps)
    key = jax.random.key(0) if key is None else key
    check_key(key)
    factors.check(graph)
    dtype = _floating_type(field, init, factors)
    field_array = jnp.asarray(_field(field, graph.n_variables, factors.n_states), dtype)
    shape = (graph.n_edges, *field_array.shape[1:])
    messages = jnp.asarray(_first_messages(init, shape, factors.n_states), dtype)
    if schedule == "parallel":
        loop = fixed_point(
            _sweep,
            messages,
            key=key,
            args=(graph, factors, field_array),
            tol=tol,
            max_steps=max_steps,
            damping=damping,
            distance=_change_of_spins if factors.n_states is None else _change_of_states,
        )
    else:
        from .sequential import sweep_in_turn  # Numba is imported only here

        loop = sweep_in_turn(
            graph,
            factors,
            field_array,
            messages,
            key=key,
            tol=tol,
            max_steps=max_steps,
            damping=damping,
        )
    result = _conclude(graph, factors, field_array, *loop)
    if not isinstance(result.status, jax.core.Tracer):
        report_status(result.status, _subject(graph, result.culprit), on_failure=on_failure)
    return result


def _sweep(
    messages: jax.Array, _: jax.Array, graph: FactorGraph, factors: UpdateRule, field: jax.Array
) -> jax.Array:
    cavity = _cavity(messages, graph, field, categorical=factors.n_states is not None)
    return factors.factor_to_variable(graph, cavity).astype(messages.dtype)


def _cavity(
    messages: jax.Array, graph: FactorGraph, field: jax.Array, *, categorical: bool
) -> jax.Array:
    """Return what each variable believes without each of its factors."""
    ids = graph.edge_variable
    total = segment_sum(messages, ids, graph.n_variables) + field

    def subtract(total: jax.Array, messages: jax.Array) -> jax.Array:
        return total[ids] - messages

    def leave_out(_: jax.Array, messages: jax.Array) -> jax.Array:
        return leave_one_out_sum(messages, ids, graph.n_variables) + field[ids]

    # an infinite message makes its total infinite or NaN, and there are fewer totals than messages
    cavity = jax.lax.cond(jnp.isfinite(total).all(), subtract, leave_out, total, messages)
    return cavity - logsumexp(cavity, axis=1, keepdims=True) if categorical else cavity


def _change_of_spins(update: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(jnp.tanh(update) - jnp.tanh(state)), initial=0) / 2


def _change_of_states(update: jax.Array, state: jax.Array) -> jax.Array:
    return jnp.max(jnp.abs(jnp.exp(update) - jnp.exp(state)), initial=0)


@jax.jit
def _conclude(
    graph: FactorGraph,
    factors: UpdateRule,
    field: jax.Array,
    messages: jax.Array,
    residual: jax.Array,
    n_steps: jax.Array,
    status: jax.Array,
) -> MessagePassingResult:
    """Return marginals and log-partition, and where messages contradict each other."""
    dtype = messages.dtype
    wide = jnp.promote_types(dtype, jnp.result_type(float))
    categorical = factors.n_states is not None
    if categorical:
        messages = messages - logsumexp(messages, axis=1, keepdims=True)  # damped ones are not
    u, field = messages.astype(wide), field.astype(wide)
    cavity = _cavity(u, graph, field, categorical=categorical)
    factor_terms = factors.log_normalizer(graph, cavity)
    total = segment_sum(u, graph.edge_variable, graph.n_variables) + field
    if categorical:
        variable_terms = logsumexp(total, axis=1)
        edge_total = logsumexp(cavity + u, axis=1).sum()
        marginals = jax.nn.softmax(total, axis=1)
    else:
        variable_terms, edge_total = jax.lax.cond(
            jnp.isfinite(total).all(), _spin_terms, _certain_spin_terms,
            u, cavity, total, graph, field,
        )  # fmt: skip
        marginals = jax.nn.sigmoid(2 * total)
    log_partition = factor_terms.sum(axis=0) + variable_terms.sum(axis=0) - edge_total
    impossible = jnp.concatenate([variable_terms, factor_terms]) == -jnp.inf
    impossible = impossible.reshape(impossible.shape[0], -1)
    nodes = jnp.append(impossible.any(axis=1), True)
    culprit = jnp.argmax(nodes)
    contradiction = culprit < nodes.shape[0] - 1
    log_partition = jnp.where(
        impossible.any(axis=0).reshape(log_partition.shape), -jnp.inf, log_partition
    )
    return MessagePassingResult(
        messages,
        marginals.astype(dtype),
        log_partition,
        residual,
        n_steps,
        jnp.where(contradiction, int(Status.CONTRADICTION), status),
        jnp.where(contradiction, culprit, -1),
    )


def _spin_terms(
    u: jax.Array, cavity: jax.Array, total: jax.Array, graph: FactorGraph, _: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the terms of the variables, and those of the edges summed.

    With ``L(x) = log(2 cosh x)`` and ``T`` the total, ``log Z_i = L(T_i) - sum_a L(u_a)`` and
    ``log Z_ia = L(T_i) - L(h) - L(u)``: the ``L(u)`` of the edges cancel.
    """
    degree = segment_sum(jnp.ones_like(u), graph.edge_variable, graph.n_variables)
    return (1 - degree) * _log_2cosh(total), -_log_2cosh(cavity).sum(axis=0)


def _certain_spin_terms(
    u: jax.Array, cavity: jax.Array, _: jax.Array, graph: FactorGraph, field: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the same where some half-fields are infinite; -inf where they contradict."""
    plus, minus = pinned_log_weights(field)
    up = segment_sum(log_sigmoid(2 * u), graph.edge_variable, graph.n_variables)
    down = segment_sum(log_sigmoid(-2 * u), graph.edge_variable, graph.n_variables)
    both_up = log_sigmoid(2 * cavity) + log_sigmoid(2 * u)
    both_down = log_sigmoid(-2 * cavity) + log_sigmoid(-2 * u)
    return jnp.logaddexp(plus + up, minus + down), jnp.logaddexp(both_up, both_down).sum(axis=0)


def _log_2cosh(x: jax.Array) -> jax.Array:
    return jnp.abs(x) + jnp.log1p(jnp.exp(-2 * jnp.abs(x)))


def _check_settings(damping: float, tol: float, max_steps: int) -> None:
    if not isinstance(damping, jax.core.Tracer) and not 0.0 <= float(damping) < 1.0:
        raise ValueError(f"damping: expected a number in [0, 1), got {damping}")
    if not isinstance(tol, jax.core.Tracer) and not float(tol) >= 0.0:
        raise ValueError(f"tol: expected a number of at least 0, got {tol}")
    if not isinstance(max_steps, jax.core.Tracer):
        positive_int("max_steps", max_steps)


def _field(field: ArrayLike, n: int, n_states: int | None) -> Any:
    """Return the field with its full shape; a host array if it is known."""
    traced = isinstance(field, jax.core.Tracer)
    array: Any = field if traced else np.asarray(field)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"field: expected real numbers, got the type {array.dtype}")
    if not traced and np.isnan(array).any():
        raise ValueError("field: expected no NaN, got at least one")
    if n_states is None:
        if array.ndim and array.shape[0] != n:
            raise ValueError(f"field: expected a number or shape ({n}, ...), got {array.shape}")
        return array if array.ndim else array * np.ones(n, array.dtype)
    if not array.ndim and not traced and array == 0.0:
        return np.zeros((n, n_states), array.dtype)
    if array.shape != (n, n_states):
        raise ValueError(
            f"field: expected log weights of shape ({n}, {n_states}) or 0, got shape {array.shape}"
        )
    if not traced and np.isposinf(array).any():
        raise ValueError("field: expected log weights below infinity")
    return array


def _first_messages(init: ArrayLike | None, shape: tuple[int, ...], q: int | None) -> Any:
    """Return ``init``, or messages that say nothing."""
    if init is None:
        return np.full(shape, 0.0 if q is None else -np.log(q))
    traced = isinstance(init, jax.core.Tracer)
    messages: Any = init if traced else np.asarray(init)
    if messages.shape != shape:
        raise ValueError(f"init: expected messages of shape {shape}, got {messages.shape}")
    if not traced:
        refused = np.isnan(messages) if q is None else ~(messages < np.inf)
        if refused.any():
            where = tuple(int(i) for i in np.argwhere(refused)[0])
            raise ValueError(f"init: expected messages, got {messages[where]} at index {where}")
    return messages


def _floating_type(*values: Any) -> Any:
    """Return the widest floating-point type of all arrays among ``values``."""
    arrays = [a for a in jax.tree_util.tree_leaves(values) if hasattr(a, "dtype")]
    return jnp.result_type(float, *(a for a in arrays if jnp.issubdtype(a.dtype, jnp.floating)))


def _subject(graph: FactorGraph, culprit: jax.Array) -> str:
    index = int(culprit)
    if index < 0:
        return "belief propagation"
    n = graph.n_variables
    node = f"variable {index}" if index < n else f"factor {index - n}"
    return f"belief propagation, at {node}"
