"""Replicas of any model with continuous parameters, tied to their centre by springs.

Each replica follows the gradient of the loss and a spring of strength ``gamma`` to the mean of all:
together they settle in wide valleys. In the limit of many replicas with a temperature the centre
climbs the *local entropy*; Langevin walks around it estimate the gradient.

Zhang, Choromanska, LeCun, arXiv 1412.6651 (elastic averaging); Baldassi et al., PNAS 113, E7655
(2016), arXiv 1605.06444; Chaudhari et al., arXiv 1611.01838 (Entropy-SGD).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import tree_leaves, tree_map, tree_structure, tree_unflatten

from inference.checkpoints import Place, kept
from inference.checks import Floats, at_least_zero, one_of, positive, positive_int
from inference.keys import check_key
from inference.progress import Stop, never, progress_bar
from inference.schedules import Schedule
from inference.status import Status

Loss = Callable[[Any, Any, jax.Array], jax.Array]
"""``loss(params, batch, key)`` of one replica, a scalar; the batch is None without data."""
Inner = Literal["none", "langevin"]

_PLAIN = optax.sgd(0.1)
_STEPS_A_CALL = 100
"""Steps between two updates of the bar and two looks at ``should_stop``."""
_FRESH = 0.75
"""Weight of the newest point in the running mean of a Langevin walk, as in arXiv 1611.01838."""


class ElasticState(NamedTuple):
    """Where a descent stands: hand it back as ``init``, with the same key, to go on."""

    replicas: Any
    """Parameters, each leaf with a leading axis of replicas."""
    centre: Any
    optimizer: Any
    """State of the optimizer: of every replica or, with an inner walk, of the centre."""
    n_steps: int
    """Done so far; the schedule and the random numbers go on from here."""


class ElasticResult(NamedTuple):
    """The last replicas of a descent and their centre."""

    centre: Any
    """Parameters of one model: the mean of the replicas or, with an inner walk, what walked."""
    replicas: Any
    """The same with a leading axis; with an inner walk, the mean of each walk of the last step."""
    losses: Floats
    """``(n_steps, n_replicas)`` on the batch of the step, before it; the mean over a walk."""
    couplings: Floats
    """``(n_steps,)`` strength of the springs."""
    n_steps: int
    """Steps of this run."""
    residual: float
    """Largest change of a parameter of the centre in the last step; infinity without a step."""
    status: Status
    """MAX_STEPS, since no tolerance ends a descent earlier; NON_FINITE if a loss or a parameter
    was not finite: then that step was not taken."""
    state: ElasticState


class _Rules(NamedTuple):
    """What is compiled into the program."""

    loss: Loss
    optimizer: optax.GradientTransformation
    schedule: Schedule | None
    batch_size: int | None
    inner_steps: int
    """0 without inner walk."""


class _Numbers(NamedTuple):
    """What the program takes as arguments."""

    key: jax.Array
    data: Any
    coupling: float
    inner_rate: float
    inner_temperature: float


def elastic_descent(
    loss: Loss,
    init: Any,
    *,
    n_replicas: int | None,
    n_steps: int,
    key: jax.Array,
    optimizer: optax.GradientTransformation | None = None,
    coupling: Schedule | float = 0.1,
    data: Any = None,
    batch_size: int | None = None,
    inner: Inner = "none",
    inner_steps: int = 20,
    inner_rate: float = 0.1,
    inner_temperature: float = 1e-4,
    should_stop: Stop = never,
    progress: bool | None = None,
    checkpoint: Place | None = None,
) -> ElasticResult:
    """Minimize a loss with replicas tied to their mean, or by the local entropy of a centre.

    Parameters
    ----------
    loss
        ``loss(params, batch, key)``, a scalar that JAX can differentiate.
    init
        Parameters of one model, a pytree of real floating-point arrays, where every replica starts;
        or the ``state`` of an earlier result to go on.
    n_replicas
        Number of replicas, or of walks; None if the leaves of ``init`` already have a leading axis
        of replicas.
    n_steps
        Steps of this run.
    key
        A typed key; step ``t`` uses ``fold_in(key, t)``, so a run in parts is the run in one, bit
        for bit.
    optimizer
        Any optax transformation, one state a replica; plain descent at a rate of 0.1 if None.
    coupling
        ``gamma``, at least 0, or a function from the step to it.
    data
        Pytree of arrays whose first axis is the examples, or None if the loss needs none.
    batch_size
        Examples of a batch, drawn with replacement for every replica and gradient; None, or a size
        of at least their number, is all of them.
    inner
        ``"none"``: replicas descend. ``"langevin"``: Entropy-SGD; the optimizer moves the centre
        ``C`` along ``gamma (C - <W>)``, where ``<W>`` is the mean of ``n_replicas`` walks.
    inner_steps, inner_rate, inner_temperature
        Of a walk: its moves, their step size, and the temperature ``T >= 0`` of its noise. Each
        step the walks start at the centre.
    should_stop
        Asked every 100 steps; True ends the run.
    progress
        Whether to draw a bar; None draws on a terminal.
    checkpoint
        File that keeps the state of the run, see `inference.checkpoints`; None keeps nothing.

    Returns
    -------
    ElasticResult
        Parameters in their own precision, traces on the host.

    Raises
    ------
    TypeError
        If ``loss``, ``optimizer``, ``key`` or a leaf of ``init`` is of the wrong kind.
    ValueError
        If an argument is out of range, the loss is no scalar, or axes do not fit.

    Notes
    -----
    Replicas minimize ``sum_r [L(W^r) + gamma / 2 |W^r - mean W|^2]``; under plain descent their
    mean follows the mean gradient. Rates above ``2 / (curvature + gamma)`` diverge.

    A walk is ``W <- W - e (grad L(W) + gamma (W - C)) + sqrt(2 e T) noise``; its running mean
    starts at ``C`` too and gives the newest point the weight 3/4. Up to order ``e`` its law becomes
    ``exp(-[L(W) + gamma / 2 |W - C|^2] / T)``, and ``gamma (C - <W>)`` is the gradient in ``C`` of
    ``-T`` times the log of its normalization, the local free entropy. In arXiv 1611.01838
    ``T = eps^2 / 2``.

    Compiled once for each loss, optimizer and schedule *object*: keep them for further calls.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> found = elastic_descent(
    ...     lambda w, batch, key: ((w - 3.0) ** 2).sum(), jnp.zeros(2), n_replicas=3, n_steps=50,
    ...     key=jax.random.key(0),
    ... )
    >>> found.centre.round(2).tolist(), found.losses.shape
    ([3.0, 3.0], (50, 3))
    """
    check_key(key)
    n_steps = positive_int("n_steps", n_steps)
    one_of("inner", inner, ("none", "langevin"))
    if not callable(loss):
        raise TypeError(f"loss: expected a function, got {loss!r:.60}")
    rules = _Rules(
        loss, _transformation(optimizer),
        coupling if callable(coupling) else None, _batch_size(data, batch_size),
        positive_int("inner_steps", inner_steps) if inner == "langevin" else 0,
    )  # fmt: skip
    state = _start(rules, init, n_replicas)
    numbers = _Numbers(
        key, tree_map(jnp.asarray, data), _coupling(coupling, state.n_steps, n_steps),
        positive("inner_rate", inner_rate), at_least_zero("inner_temperature", inner_temperature),
    )  # fmt: skip
    _check_loss(rules, numbers, state)
    losses: list[Floats] = []
    couplings: list[Floats] = []
    done, residual, finite = 0, math.inf, True
    parts: Any = state[:3]
    structure = tree_structure(parts)

    def so_far() -> tuple[Any, ...]:
        return tree_leaves(state[:3]), state.n_steps, losses, couplings, done, residual, finite

    with (
        progress_bar(n_steps, "elastic descent", progress) as bar,
        kept(
            checkpoint, "elastic_descent", loss=loss, optimizer=optimizer, start=tree_leaves(state),
            structure=str(structure), n_steps=n_steps, coupling=coupling, data=tree_leaves(data),
            batch_size=batch_size, inner=inner, inner_steps=inner_steps, inner_rate=inner_rate,
            inner_temperature=inner_temperature, key=key,
        ) as keep,
    ):  # fmt: skip
        if keep.restored is not None:
            leaves, first, losses, couplings, done, residual, finite = keep.restored
            replicas, centre, memory = tree_unflatten(structure, map(jnp.asarray, leaves))
            state = ElasticState(replicas, centre, memory, first)
            bar.update(done)
        while finite and done < n_steps and not should_stop():
            wanted = min(_STEPS_A_CALL, n_steps - done)
            parts, trace, *ends = _advance(
                rules, numbers, state[:3], state.n_steps, wanted, residual
            )  # fmt: skip
            taken, residual, finite = int(ends[0]), float(ends[1]), bool(ends[2])
            replicas, centre, memory = parts
            state = ElasticState(replicas, centre, memory, state.n_steps + taken)
            losses.append(np.asarray(trace[0], np.float64)[:taken])
            couplings.append(np.asarray(trace[1], np.float64)[:taken])
            done += taken
            bar.update(taken)
            if taken:
                bar.set_postfix(loss=float(losses[-1][-1].mean()), refresh=False)
            keep.offer(so_far)
        keep.offer(so_far, last=True)
    empty = np.zeros((0, len(tree_leaves(state.replicas)[0])))
    return ElasticResult(
        state.centre, state.replicas, np.concatenate([empty, *losses]),
        np.concatenate([empty[:, 0], *couplings]), done, residual,
        Status.MAX_STEPS if finite else Status.NON_FINITE, state,
    )  # fmt: skip


@partial(jax.jit, static_argnums=0)
def _advance(
    rules: _Rules, numbers: _Numbers, start: tuple[Any, Any, Any], first: int, n_steps: int,
    residual: float,
) -> Any:  # fmt: skip
    """Take up to ``_STEPS_A_CALL`` steps; a step that is not finite is not taken and ends it."""
    n_replicas = len(tree_leaves(start[0])[0])
    move = _descend if rules.inner_steps == 0 else _climb

    def step(carry: Any) -> Any:
        taken, _, parts, (losses, couplings), change = carry
        at = first + taken
        gamma = numbers.coupling if rules.schedule is None else rules.schedule(at)
        keys = jax.random.split(jax.random.fold_in(numbers.key, at), n_replicas)
        moved, values = move(rules, numbers, parts, jnp.asarray(gamma), keys)
        finite = jnp.isfinite(values).all()
        for leaf in tree_leaves(moved[:2]):
            finite &= jnp.isfinite(leaf).all()
        trace = (
            losses.at[taken].set(values.astype(losses.dtype)),
            couplings.at[taken].set(jnp.asarray(gamma, couplings.dtype)),
        )
        apart = [abs(a - b).max() for a, b in zip(tree_leaves(moved[1]), tree_leaves(parts[1]))]
        change = jnp.where(finite, jnp.max(jnp.stack(apart)).astype(change.dtype), change)
        kept = tree_map(lambda new, old: jnp.where(finite, new, old), moved, parts)
        return taken + finite, finite, kept, trace, change

    real = jnp.result_type(float)
    trace = (jnp.zeros((_STEPS_A_CALL, n_replicas), real), jnp.zeros(_STEPS_A_CALL, real))
    taken, finite, parts, trace, change = jax.lax.while_loop(
        lambda carry: (carry[0] < n_steps) & carry[1], step,
        (jnp.array(0), jnp.array(True), start, trace, jnp.asarray(residual, real)),
    )  # fmt: skip
    return parts, trace, taken, change, finite


def _descend(
    rules: _Rules, numbers: _Numbers, parts: Any, gamma: jax.Array, keys: jax.Array
) -> tuple[Any, jax.Array]:
    """Move every replica along its own gradient and towards the mean."""
    replicas, centre, optimizer = parts
    gradient = jax.value_and_grad(partial(_evaluate, rules, numbers))
    values, gradients = jax.vmap(gradient)(replicas, keys)
    pulled = tree_map(lambda g, w, c: g + gamma.astype(w.dtype) * (w - c),
                      gradients, replicas, centre)  # fmt: skip
    updates, optimizer = jax.vmap(rules.optimizer.update)(pulled, optimizer, replicas)
    replicas = optax.apply_updates(replicas, updates)
    return (replicas, _mean(replicas), optimizer), values


def _climb(
    rules: _Rules, numbers: _Numbers, parts: Any, gamma: jax.Array, keys: jax.Array
) -> tuple[Any, jax.Array]:
    """Move the centre along the gradient of the local entropy, which walks around it estimate."""
    _, centre, optimizer = parts
    gradient = jax.value_and_grad(partial(_evaluate, rules, numbers))
    rate = numbers.inner_rate
    noise_scale = jnp.sqrt(2.0 * rate * numbers.inner_temperature)

    def walk(key: jax.Array) -> tuple[Any, jax.Array]:
        def move(count: jax.Array, carry: Any) -> Any:
            here, mean, total = carry
            gradient_key, noise_key = jax.random.split(jax.random.fold_in(key, count))
            value, downhill = gradient(here, gradient_key)
            noise = _normal_like(noise_key, here)
            here = tree_map(
                lambda w, g, c, z: (
                    w - rate * (g + gamma.astype(w.dtype) * (w - c))
                    + noise_scale.astype(w.dtype) * z
                ),
                here, downhill, centre, noise,
            )  # fmt: skip
            mean = tree_map(lambda m, w: m + _FRESH * (w - m), mean, here)
            return here, mean, total + value.astype(total.dtype)

        start = (centre, centre, jnp.zeros((), jnp.result_type(float)))
        _, mean, total = jax.lax.fori_loop(0, rules.inner_steps, move, start)
        return mean, total / rules.inner_steps

    replicas, values = jax.vmap(walk)(keys)
    uphill = tree_map(lambda c, m: gamma.astype(c.dtype) * (c - m), centre, _mean(replicas))
    updates, optimizer = rules.optimizer.update(uphill, optimizer, centre)
    return (replicas, optax.apply_updates(centre, updates), optimizer), values


def _evaluate(rules: _Rules, numbers: _Numbers, params: Any, key: jax.Array) -> jax.Array:
    """Return the loss of one replica on a batch of its own."""
    batch_key, loss_key = jax.random.split(key)
    batch = numbers.data
    if rules.batch_size is not None:
        n_examples = len(tree_leaves(batch)[0])
        chosen = jax.random.randint(batch_key, (rules.batch_size,), 0, n_examples)
        batch = tree_map(lambda column: column[chosen], batch)
    return rules.loss(params, batch, loss_key)


def _normal_like(key: jax.Array, params: Any) -> Any:
    leaves, structure = jax.tree_util.tree_flatten(params)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves)]
    return jax.tree_util.tree_unflatten(structure, noise)


def _mean(replicas: Any) -> Any:
    return tree_map(lambda leaf: leaf.mean(axis=0), replicas)


def _start(rules: _Rules, init: Any, n_replicas: int | None) -> ElasticState:
    if n_replicas is not None:
        positive_int("n_replicas", n_replicas)
    if isinstance(init, ElasticState):
        got = len(tree_leaves(init.replicas)[0])
        if n_replicas not in (None, got):
            raise ValueError(f"init: expected a state of {n_replicas} replicas, got {got}")
        wanted = jax.eval_shape(partial(_memory, rules), init.replicas, init.centre)
        if tree_map(jnp.shape, wanted) != tree_map(jnp.shape, init.optimizer):
            raise ValueError("init: expected a state of the same optimizer and inner walk")
        return init
    params = tree_map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), init)
    leaves = tree_leaves(params)
    if not leaves or min(leaf.size for leaf in leaves) == 0:
        raise ValueError("init: expected parameters, got an empty tree or an empty leaf")
    for leaf in leaves:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TypeError(f"init: expected real floating-point leaves, got {leaf.dtype}")
        if not jnp.isfinite(leaf).all():
            raise ValueError("init: expected finite parameters, got NaN or infinity")
    if n_replicas is not None:
        replicas = tree_map(lambda leaf: jnp.repeat(leaf[None], n_replicas, axis=0), params)
        return ElasticState(replicas, params, _memory(rules, replicas, params), 0)
    lengths = {leaf.shape[:1] for leaf in leaves}
    if len(lengths) != 1 or lengths == {()}:
        shapes = [leaf.shape for leaf in leaves]
        raise ValueError(f"init: expected leaves with one leading axis, got shapes {shapes}")
    centre = _mean(params)
    return ElasticState(params, centre, _memory(rules, params, centre), 0)


def _memory(rules: _Rules, replicas: Any, centre: Any) -> Any:
    """Return the first state of the optimizer."""
    if rules.inner_steps == 0:
        return jax.vmap(rules.optimizer.init)(replicas)
    return rules.optimizer.init(centre)


def _check_loss(rules: _Rules, numbers: _Numbers, state: ElasticState) -> None:
    value = jax.eval_shape(partial(_evaluate, rules, numbers), state.centre, numbers.key)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise ValueError(f"loss: expected a real scalar, got {value}")


def _coupling(coupling: Schedule | float, first: int, n_steps: int) -> float:
    """Check the coupling of every step of the run, and return it if it is constant."""
    if not callable(coupling):
        return at_least_zero("coupling", coupling)
    values = np.asarray(coupling(first + jnp.arange(n_steps)))
    if values.shape not in ((), (n_steps,)) or not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError("coupling: expected one finite number of at least 0 for every step")
    return 0.0


def _batch_size(data: Any, batch_size: int | None) -> int | None:
    """Return the size of the batches to draw, or None if a batch is all there is."""
    if batch_size is not None:
        positive_int("batch_size", batch_size)
    lengths = {np.shape(column)[:1] for column in tree_leaves(data)}
    if data is not None and (len(lengths) != 1 or lengths <= {(), (0,)}):
        raise ValueError(f"data: expected arrays of examples along the first axis, got {lengths}")
    if batch_size is None:
        return None
    if data is None:
        raise ValueError(f"batch_size: expected data to draw {batch_size} examples from, got none")
    return batch_size if batch_size < lengths.pop()[0] else None


def _transformation(optimizer: Any) -> optax.GradientTransformation:
    if optimizer is None:
        return _PLAIN
    if not all(callable(getattr(optimizer, name, None)) for name in ("init", "update")):
        raise TypeError(f"optimizer: expected an optax transformation, got {optimizer!r:.60}")
    return optimizer
