"""Replicas on springs and Entropy-SGD, against what is known of quadratic and one-dimensional ones.

On ``a / 2 (w - b)^2`` everything is linear: the mean of the replicas forgets ``b`` at the rate
``a``, their differences decay at ``a + gamma``, and walks are Gaussian.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from suite_helpers import assert_z

from inference.elastic import ElasticState, elastic_descent
from inference.schedules import linear
from inference.status import Status

CURVATURES = jnp.array([0.3, 1.0, 2.5])
BOTTOM = jnp.array([1.0, -2.0, 0.5])
PLAIN = optax.sgd(0.05)


def quadratic(params, batch, key):
    return (CURVATURES * (params - BOTTOM) ** 2).sum() / 2


def network_loss(params, batch, key):
    x, y = batch
    return ((jnp.tanh(x @ params["in"]) @ params["out"] - y) ** 2).mean()


@pytest.fixture
def network():
    generator = np.random.default_rng(0)
    params = {"in": generator.normal(size=(4, 5)), "out": generator.normal(size=5)}
    x = generator.normal(size=(40, 4))
    return jax.tree.map(jnp.asarray, params), (x, np.sin(x[:, 0]))


def scattered(n_replicas):
    return jnp.asarray(np.random.default_rng(1).normal(size=(n_replicas, 3)))


def same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other)):
        np.testing.assert_array_equal(a, b)


def test_the_mean_descends_alone_and_differences_decay_faster(key):
    start = scattered(4)
    found = elastic_descent(
        quadratic, start, n_replicas=None, n_steps=130, key=key, optimizer=PLAIN,
        coupling=linear(0.0, 5.0, 100),
    )  # fmt: skip
    gammas = np.minimum(np.arange(130) / 99, 1.0) * 5.0
    centre = start.mean(axis=0)
    mean = BOTTOM + (1 - 0.05 * CURVATURES) ** 130 * (centre - BOTTOM)
    decay = np.prod(1 - 0.05 * (np.asarray(CURVATURES) + gammas[:, None]), axis=0)
    np.testing.assert_allclose(found.centre, mean, rtol=1e-12)
    np.testing.assert_allclose(found.replicas - found.centre, decay * (start - centre), atol=1e-14)
    np.testing.assert_allclose(found.couplings, gammas, rtol=1e-6)
    first = [quadratic(w, None, None) for w in start]
    np.testing.assert_allclose(found.losses[0], first, rtol=1e-14)
    assert found.losses.shape == (130, 4)
    before = BOTTOM + (1 - 0.05 * CURVATURES) ** 129 * (centre - BOTTOM)
    assert found.residual == pytest.approx(float(abs(mean - before).max()), rel=1e-10)
    assert found.status is Status.MAX_STEPS


def test_small_steps_are_the_flow(key):
    # time 1 in steps of h: the relative error of (1 - h s)^(1 / h) against exp(-s) is h s^2 / 2
    start, step, gamma = scattered(3), 1e-3, 1.5
    found = elastic_descent(
        quadratic, start, n_replicas=None, n_steps=1000, key=key, optimizer=optax.sgd(step),
        coupling=gamma,
    )  # fmt: skip
    centre = start.mean(axis=0)
    flow = BOTTOM + jnp.exp(-CURVATURES) * (centre - BOTTOM)
    np.testing.assert_allclose(
        found.centre - BOTTOM, flow - BOTTOM, rtol=0.55 * step * float(CURVATURES.max()) ** 2
    )
    rate = CURVATURES + gamma
    np.testing.assert_allclose(
        found.replicas - found.centre, jnp.exp(-rate) * (start - centre),
        rtol=0.55 * step * float(rate.max()) ** 2,
    )  # fmt: skip
    assert (abs(found.replicas - found.centre) > 1e-3).any()


@pytest.mark.parametrize("coupling", [0.0, 3.0])
def test_one_replica_is_a_plain_run_of_the_optimizer(network, key, coupling):
    params, data = network
    optimizer = optax.adam(0.02)
    found = elastic_descent(
        network_loss, params, n_replicas=1, n_steps=120, key=key, optimizer=optimizer, data=data,
        coupling=coupling,
    )  # fmt: skip

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(network_loss)(params, data, key), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(120):
        params, state = step(params, state)
    # another program of the same sums: rounding alone
    for name in params:
        np.testing.assert_allclose(found.centre[name], params[name], rtol=1e-10)
        np.testing.assert_array_equal(found.replicas[name][0], found.centre[name])


def test_one_replica_without_products_is_the_plain_run_bit_for_bit(key):
    start = scattered(1)[0]
    optimizer = optax.sgd(0.125, momentum=0.5)
    curvatures = jnp.array([0.25, 1.0, 2.0])  # powers of two: no fused product can differ

    def loss(params, batch, key):
        return (curvatures * (params * params)).sum() / 2

    found = elastic_descent(loss, start, n_replicas=1, n_steps=60, key=key, optimizer=optimizer,
                            coupling=0.0)  # fmt: skip
    params, state = start, optimizer.init(start)
    for _ in range(60):
        updates, state = optimizer.update(jax.grad(loss)(params, None, key), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_array_equal(found.centre, params)


def test_without_springs_replicas_run_alone(key):
    start = scattered(3)
    together = elastic_descent(quadratic, start, n_replicas=None, n_steps=30, key=key, coupling=0.0)
    for replica, first in zip(together.replicas, start):
        alone = elastic_descent(quadratic, first, n_replicas=1, n_steps=30, key=key, coupling=0.0)
        np.testing.assert_allclose(replica, alone.centre, rtol=1e-14)


def test_walks_are_the_gaussian_chain_that_the_rule_says(key):
    # mean and covariance of the point and its running mean, propagated exactly
    n_walks, n_moves, gamma, rate, temperature = 4000, 12, 0.8, 0.1, 0.3
    centre = jnp.array([0.5, 1.0, -1.0])
    found = elastic_descent(
        quadratic, centre, n_replicas=n_walks, n_steps=1, key=key, optimizer=optax.sgd(0.5),
        coupling=gamma, inner="langevin", inner_steps=n_moves, inner_rate=rate,
        inner_temperature=temperature,
    )  # fmt: skip
    for site, (a, b, c) in enumerate(zip(CURVATURES, BOTTOM, centre)):
        keep = 1 - rate * (a + gamma)
        matrix = np.array([[keep, 0.0], [0.75 * keep, 0.25]])
        kick = np.array([1.0, 0.75])
        mean, covariance = np.array([c, c]), np.zeros((2, 2))
        for _ in range(n_moves):
            mean = matrix @ mean + kick * rate * (a * b + gamma * c)
            covariance = matrix @ covariance @ matrix.T
            covariance = covariance + 2 * rate * temperature * np.outer(kick, kick)
        walks = np.asarray(found.replicas[:, site])
        variance = covariance[1, 1]
        assert_z(walks.mean(), mean[1], math.sqrt(variance / n_walks))
        assert_z(walks.var(ddof=1), variance, variance * math.sqrt(2 / (n_walks - 1)))
    drift = gamma * (centre - found.replicas.mean(axis=0))
    np.testing.assert_allclose(found.centre, centre - 0.5 * drift, rtol=1e-12)


def test_a_cold_walk_goes_downhill_and_reports_its_mean_loss(key):
    found = elastic_descent(
        quadratic, jnp.zeros(3), n_replicas=1, n_steps=1, key=key, coupling=2.0,
        inner="langevin", inner_steps=2, inner_rate=0.1, inner_temperature=0.0,
    )  # fmt: skip
    moved = 0.1 * CURVATURES * BOTTOM
    both = [quadratic(jnp.zeros(3), None, key), quadratic(moved, None, key)]
    np.testing.assert_allclose(found.losses, [[np.mean(both)]], rtol=1e-14)


def test_the_centre_follows_the_local_entropy_of_a_quadratic(key):
    # exp(-L / T) convolved with a Gaussian: the gradient is a gamma / (a + gamma) (C - b), and
    # after 150 moves exp(-150 * 0.1 * 1.1) of the start is left
    n_walks, gamma, temperature = 2000, 0.8, 0.05
    centre = jnp.array([4.0, 1.0, -1.0])
    found = elastic_descent(
        quadratic, centre, n_replicas=n_walks, n_steps=1, key=key, optimizer=optax.sgd(1.0),
        coupling=gamma, inner="langevin", inner_steps=150, inner_temperature=temperature,
    )  # fmt: skip
    slope = CURVATURES * gamma / (CURVATURES + gamma) * (centre - BOTTOM)
    error = gamma * found.replicas.std(axis=0, ddof=1) / math.sqrt(n_walks)
    assert_z(centre - found.centre, slope, error)


def test_walks_in_a_double_well_have_its_temperature(key):
    # moves of 0.002 at curvatures of order 8 bias <W> by less than 1 %, a fifth of its error
    centre, gamma, temperature, n_walks = 0.6, 0.5, 0.4, 1500
    found = elastic_descent(
        lambda w, batch, key: (w**2 - 1.0) ** 2, jnp.asarray(centre), n_replicas=n_walks,
        n_steps=1, key=key, coupling=gamma, inner="langevin", inner_steps=4000, inner_rate=0.002,
        inner_temperature=temperature,
    )  # fmt: skip
    w = np.linspace(-4, 4, 4001)
    weight = np.exp(-((w**2 - 1) ** 2 + gamma / 2 * (w - centre) ** 2) / temperature)
    exact = (w * weight).sum() / weight.sum()
    assert_z(found.replicas.mean(), exact, found.replicas.std(ddof=1) / math.sqrt(n_walks))


def test_batches_are_fair_draws_for_every_replica(key):
    # a linear loss at the rate 1: a replica moves by the mean of its batch
    data = jnp.asarray(np.random.default_rng(2).exponential(size=50))
    n_replicas, size = 3000, 4
    found = elastic_descent(
        lambda w, batch, key: -w * batch.mean(), jnp.asarray(0.0), n_replicas=n_replicas,
        n_steps=1, key=key, optimizer=optax.sgd(1.0), coupling=0.0, data=data, batch_size=size,
    )  # fmt: skip
    moves = np.asarray(found.replicas)
    variance = float(data.var()) / size
    assert_z(moves.mean(), data.mean(), math.sqrt(variance / n_replicas))
    spread = (moves - moves.mean()) ** 2
    assert_z(spread.mean(), variance, spread.std() / math.sqrt(n_replicas))


def test_losses_get_keys_of_their_own(key):
    found = elastic_descent(
        lambda w, batch, key: w * jax.random.normal(key), jnp.asarray(1.0), n_replicas=3,
        n_steps=2, key=key, optimizer=optax.sgd(0.0), coupling=0.0,
    )  # fmt: skip
    assert len(set(found.losses.ravel().tolist())) == 6


def test_batches_of_all_examples_are_the_data(network, key):
    params, data = network
    runs = [
        elastic_descent(
            network_loss, params, n_replicas=2, n_steps=5, key=key, data=data, batch_size=size
        )
        for size in (None, 40, 1000)
    ]
    same(runs[0].replicas, runs[1].replicas)
    same(runs[0].replicas, runs[2].replicas)


@pytest.mark.parametrize("inner", ["none", "langevin"])
def test_a_run_in_parts_is_the_run_in_one(network, key, inner):
    params, data = network
    options = {
        "n_replicas": 3, "key": key, "optimizer": optax.adam(0.01), "data": data, "batch_size": 8,
        "coupling": linear(0.1, 1.0, 200), "inner": inner, "inner_steps": 4,
    }  # fmt: skip
    whole = elastic_descent(network_loss, params, n_steps=230, **options)
    first = elastic_descent(network_loss, params, n_steps=117, **options)
    last = elastic_descent(network_loss, first.state, n_steps=113, **options)
    assert isinstance(last.state, ElasticState)
    assert (last.n_steps, last.state.n_steps) == (113, 230)
    same(whole.state, last.state)
    same(whole.centre, last.centre)
    same(whole.losses, np.concatenate([first.losses, last.losses]))
    same(whole.couplings, np.concatenate([first.couplings, last.couplings]))
    assert whole.residual == last.residual


@pytest.mark.parametrize("inner", ["none", "langevin"])
def test_new_numbers_compile_nothing(network, key, inner):
    params, data = network
    traced = []

    def loss(params, batch, key):
        traced.append(1)
        return network_loss(params, batch, key)

    options = {"n_replicas": 2, "data": data, "batch_size": 8, "inner": inner}
    elastic_descent(loss, params, n_steps=3, key=key, coupling=0.1, **options)
    before = len(traced)
    again = elastic_descent(
        loss, params, n_steps=210, key=jax.random.key(5), coupling=0.2, inner_rate=0.01,
        inner_temperature=0.0, **options,
    )  # fmt: skip
    assert len(traced) - before == 1  # the look at its shape
    assert again.losses.shape == (210, 2)


def overflowing(params, batch, key):
    return 1e9 * quadratic(params, batch, key)


def leaving_its_domain(params, batch, key):
    return jnp.sqrt(params).sum()  # and its gradient are NaN below 0


@pytest.mark.parametrize("loss", [overflowing, leaving_its_domain])
@pytest.mark.parametrize("inner", ["none", "langevin"])
def test_a_run_that_fails_keeps_the_last_finite_step(key, loss, inner):
    found = elastic_descent(loss, jnp.ones(3), n_replicas=2, n_steps=300, key=key, inner=inner)
    assert found.status is Status.NON_FINITE
    assert found.n_steps == found.state.n_steps == len(found.losses) < 300
    assert inner == "langevin" or found.n_steps > 0
    for leaf in jax.tree.leaves((found.centre, found.replicas, found.losses)):
        assert np.isfinite(leaf).all()


def test_a_step_to_infinity_is_not_taken(key):
    # a finite loss with an infinite slope
    found = elastic_descent(
        lambda w, batch, key: jnp.sqrt(w - 1.0).sum(), jnp.ones(3), n_replicas=2, n_steps=5, key=key
    )
    assert (found.status, found.n_steps) == (Status.NON_FINITE, 0)
    np.testing.assert_array_equal(found.replicas, np.ones((2, 3)))


def test_a_run_can_be_stopped_between_calls(key):
    asked = iter([False, False, True])
    found = elastic_descent(
        quadratic, jnp.ones(3), n_replicas=2, n_steps=1000, key=key,
        should_stop=lambda: next(asked),
    )  # fmt: skip
    assert found.n_steps == 200
    never_begun = elastic_descent(
        quadratic, jnp.ones(3), n_replicas=2, n_steps=9, key=key, should_stop=lambda: True
    )
    assert (never_begun.n_steps, never_begun.residual) == (0, math.inf)
    assert never_begun.losses.shape == (0, 2)


@pytest.mark.float32
@pytest.mark.parametrize("inner", ["none", "langevin"])
def test_parameters_keep_their_precision(key, inner):
    params = {"w": jnp.ones(3, jnp.float32), "b": jnp.ones((), jnp.float16)}
    found = elastic_descent(
        lambda p, batch, key: (p["w"] ** 2).sum() + p["b"] ** 2, params, n_replicas=2,
        n_steps=40, key=key, coupling=linear(0.1, 0.5, 40), inner=inner,
    )  # fmt: skip
    assert found.status is Status.MAX_STEPS
    assert {k: v.dtype for k, v in found.centre.items()} == {"w": jnp.float32, "b": jnp.float16}
    assert found.losses[-1].max() < found.losses[0].min()


GOOD = {"loss": quadratic, "init": np.ones(3), "n_replicas": 2, "n_steps": 3}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_replicas": 0}, ValueError, "n_replicas: expected an integer of at least 1"),
        ({"n_steps": 0}, ValueError, "n_steps: expected"),
        ({"loss": 3}, TypeError, "loss: expected a function, got 3"),
        ({"loss": lambda w, batch, key: w}, ValueError, "loss: expected a real scalar"),
        ({"init": []}, ValueError, "init: expected parameters"),
        ({"init": np.arange(3)}, TypeError, "init: expected real floating-point leaves, got int"),
        ({"init": np.array([1.0, np.nan])}, ValueError, "init: expected finite parameters"),
        ({"init": {"a": np.ones((2, 3)), "b": 1.0}, "n_replicas": None}, ValueError,
         "init: expected leaves with one leading axis"),
        ({"optimizer": "adam"}, TypeError, "optimizer: expected an optax transformation"),
        ({"coupling": -0.1}, ValueError, "coupling: expected a finite number of at least 0"),
        ({"coupling": math.nan}, ValueError, "coupling: expected"),
        ({"coupling": lambda step: 1.0 - step}, ValueError, "coupling: expected one finite"),
        ({"coupling": "x"}, TypeError, "coupling: expected a number"),
        ({"batch_size": 2}, ValueError, "batch_size: expected data to draw 2 examples from"),
        ({"data": np.ones(4), "batch_size": 0}, ValueError, "batch_size: expected an integer"),
        ({"data": (np.ones(4), np.ones(5))}, ValueError, "data: expected arrays of examples"),
        ({"data": np.ones(())}, ValueError, "data: expected arrays of examples"),
        ({"inner": "sgd"}, ValueError, "inner: expected one of none, langevin"),
        ({"inner": "langevin", "inner_steps": 0}, ValueError, "inner_steps: expected"),
        ({"inner_rate": -1.0}, ValueError, "inner_rate: expected a positive"),
        ({"inner_temperature": -1.0}, ValueError, "inner_temperature: expected"),
        ({"key": 3}, TypeError, "key: expected a key"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(options, error, message, key):
    arguments = {**GOOD, "key": key, **options}
    loss, init = arguments.pop("loss"), arguments.pop("init")
    with pytest.raises(error, match=message):
        elastic_descent(loss, init, **arguments)


def test_states_of_other_runs_are_refused(key):
    options = {"n_steps": 1, "key": key, "optimizer": optax.adam(0.1)}
    state = elastic_descent(quadratic, jnp.ones(3), n_replicas=2, **options).state
    with pytest.raises(ValueError, match="init: expected a state of 3 replicas, got 2"):
        elastic_descent(quadratic, state, n_replicas=3, **options)
    with pytest.raises(ValueError, match="init: expected a state of the same optimizer and inner"):
        elastic_descent(quadratic, state, n_replicas=2, inner="langevin", **options)
    with pytest.raises(ValueError, match="init: expected a state of the same optimizer and inner"):
        elastic_descent(quadratic, state, n_replicas=2, **{**options, "optimizer": PLAIN})
