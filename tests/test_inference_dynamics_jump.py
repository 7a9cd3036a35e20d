"""Jump processes: stationary averages, currents and waiting times against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from suite_helpers import assert_z

from inference.dynamics import rejection_free, sample_jumps, tau_leap, uniformised
from inference.status import Status

pytestmark = [pytest.mark.float32, pytest.mark.statistical]

N_CHAINS = 256
# rates from state (row) to state (column) of the cycle of three states with uneven rates
UNEVEN = np.array([[0, 1, 0.2], [0.5, 0, 2], [3, 0.7, 0]])
LAW, CURRENT, PRODUCTION = (0.55320648, 0.27061311, 0.17618041), 0.4178999295278365, 1.86008073795


def leave(state, table):
    """Channel ``c`` leads to state ``c``."""
    return table[state]


def enter(state, channel, table):
    return channel.astype(state.dtype)


def where(state, table):
    return jax.nn.one_hot(state, 3)


def passed(state, channel, table):
    """Passages from the first to the second state, and the entropy of every jump."""
    forth, back = table[state, channel], table[channel, state]
    jumps = state != channel
    ratio = jnp.where(jumps, forth, 1) / jnp.where(jumps, back, 1)
    one = (state == 0) & (channel == 1)
    other = (state == 1) & (channel == 0)
    return {"current": one * 1.0 - other, "heat": jnp.log(ratio)}


GATHERED = {
    "observe": where, "count": passed, "place": lambda state, table: state, "n_places": 3,
    "args": (UNEVEN,),
}  # fmt: skip


def start(n_chains=N_CHAINS):
    return jnp.zeros(n_chains, jnp.int32)


def pooled(integrals, times):
    """Return ratio and standard error over the last axis."""
    integrals, times = np.asarray(integrals, float), np.asarray(times, float)
    value = integrals.sum(-1) / times.sum()
    error = np.sqrt(((integrals - value[..., None] * times) ** 2).sum(-1)) / times.sum()
    return value, error


def assert_steady(run):
    """Assert the stationary law, its occupation, the current and the entropy production."""
    assert (np.asarray(run.status) == Status.CONVERGED).all()
    value, error = pooled(run.averages * run.time, run.time)
    assert_z(value, LAW, error)
    spent = np.asarray(run.occupation)
    np.testing.assert_allclose(spent.sum(0) / spent.sum(), value, rtol=1e-4)
    for name, expected in (("current", CURRENT), ("heat", PRODUCTION)):
        assert_z(*reversed_args(pooled(run.totals[name], run.time), expected))


def reversed_args(estimate, expected):
    value, error = estimate
    return value, expected, error


@pytest.fixture(scope="module")
def by_events():
    return rejection_free(
        leave, enter, start(), key=jax.random.key(1), n_events=512, burn_in=64, **GATHERED
    )


def test_a_number_of_events_samples_the_steady_state(by_events):
    assert_steady(by_events)
    assert (np.asarray(by_events.n_events) == 512).all()


def test_a_time_window_samples_the_steady_state():
    run = rejection_free(
        leave, enter, start(), key=jax.random.key(2), n_events=1024, duration=200.0, burn_in=10.0,
        **GATHERED,
    )  # fmt: skip
    assert_steady(run)
    np.testing.assert_allclose(run.time, 200.0, rtol=1e-5)


def rate_of(state, channel, table):
    return table[state, channel]


def run_uniformised(**options):
    return uniformised(
        rate_of, enter, start(), n_channels=3, key=jax.random.key(3), burn_in=128,
        **options, **GATHERED,
    )  # fmt: skip


def test_rejected_attempts_sample_the_same_steady_state():
    run = run_uniformised(bound=3.0, n_events=1536)
    assert_steady(run)
    assert_z(run.time.mean(), 1536 / 9, run.time.std() / np.sqrt(N_CHAINS))


def test_chunks_and_parts_change_no_bit(by_events):
    def run(init, n_events, key=None, **options):
        return rejection_free(leave, enter, init, key=key, n_events=n_events, **options, **GATHERED)

    first = run(start(), 256, jax.random.key(1), burn_in=64, chunk_size=1)
    second = run(first.final, 256, chunk_size=3)
    for got, expected in zip(
        jax.tree_util.tree_leaves(second[:6]), jax.tree_util.tree_leaves(by_events[:6])
    ):
        np.testing.assert_array_equal(got, expected)
    fresh = run(first.final.restarted(), 256)
    np.testing.assert_array_equal(fresh.system, by_events.system)
    np.testing.assert_allclose(fresh.time + first.time, by_events.time, rtol=1e-5)


def test_functions_of_a_batch_are_functions_of_a_chain(by_events):
    def leave_all(state, table):
        return table.T[:, state]

    run = rejection_free(
        leave_all, enter, start(), key=jax.random.key(1), n_events=512, burn_in=64, layout="batch",
        args=(UNEVEN,),
    )  # fmt: skip
    np.testing.assert_array_equal(run.system, by_events.system)
    np.testing.assert_allclose(run.time, by_events.time, rtol=1e-6)


def decay(n, rate, floor):
    return rate * (n - floor)[None]


def lose(n, channel, rate, floor):
    return n - 1


def run_decay(n, *, n_events, duration, floor=0.0):
    return rejection_free(
        decay, lose, jnp.broadcast_to(jnp.asarray(n, float), 1024), key=jax.random.key(4),
        n_events=n_events, duration=duration, args=(1.0, floor), block_size=8,
        observe=population,
    )  # fmt: skip


def population(n, rate, floor):
    return n


def test_a_population_dies_out_as_it_should_and_stays_so():
    n, time = 5, 1.5
    run = run_decay(n, n_events=64, duration=time)
    assert (np.asarray(run.status) == Status.CONVERGED).all()
    left = np.asarray(run.system).astype(int)
    assert (left == 0).any()
    expected = scipy.stats.binom(n, np.exp(-time)).pmf(np.arange(n + 1)) * left.size
    assert scipy.stats.chisquare(np.bincount(left, minlength=n + 1), expected).pvalue > 1e-4
    average = n * (1 - np.exp(-time)) / time
    assert_z(run.averages.mean(), average, run.averages.std() / np.sqrt(left.size))
    np.testing.assert_allclose(run.time, time, rtol=1e-6)


def test_too_few_events_for_the_time_are_an_overflow():
    run = run_decay(np.where(np.arange(1024) < 512, 1, 900), n_events=16, duration=9.0)
    np.testing.assert_array_equal(run.status, np.repeat([Status.CONVERGED, Status.OVERFLOW], 512))
    np.testing.assert_array_equal(run.n_events[512:], 16)
    assert (np.asarray(run.time[512:]) < 9.0).all()


def test_a_rate_that_is_none_stops_its_chain_only():
    # below the floor the rate is negative
    run = run_decay(np.where(np.arange(1024) < 512, 1, 900), n_events=64, duration=1e-3, floor=0.9)
    assert (np.asarray(run.status[512:]) == Status.CONVERGED).all()
    run = run_decay(np.where(np.arange(1024) < 512, 1, 900), n_events=64, duration=1e3, floor=0.9)
    np.testing.assert_array_equal(run.status, np.repeat([Status.NON_FINITE, Status.OVERFLOW], 512))
    assert np.isfinite(run.time).all()
    assert (np.asarray(run.system[:512]) == 0).all()


def test_a_rate_above_its_bound_stops_the_chain():
    run = run_uniformised(bound=1.0, n_events=128)
    assert (np.asarray(run.status) == Status.NON_FINITE).all()


def run_paths(duration):
    return sample_jumps(
        leave, enter, start(64), key=jax.random.key(5), n_events=400, duration=duration,
        args=(UNEVEN,),
    )  # fmt: skip


def test_every_event_is_returned_in_order():
    paths = run_paths(50.0)
    assert (paths.status == Status.CONVERGED).all()
    waits, lasts = [], []
    for times, channels, n, end in zip(*paths[:3], paths.system):
        assert (channels[:n] >= 0).all()
        assert (channels[n:] == -1).all()
        assert (np.diff(times[:n]) > 0).all()
        np.testing.assert_allclose(times[n:], 50.0, rtol=1e-5)
        visited = np.concatenate([[0], channels[:n]])
        assert (visited[1:] != visited[:-1]).all()
        lasts.append(visited[-1] == end)
        # all but the last wait, which the window cuts
        waits.append(np.diff(times[:n], prepend=0.0)[visited[:-1] == 1])
    assert all(lasts)
    # events of a window are biased towards short waits, by one in a hundred here: first ones only
    first = np.concatenate([wait[:20] for wait in waits])
    assert scipy.stats.kstest(first, scipy.stats.expon(scale=1 / 2.5).cdf).pvalue > 1e-4
    short = run_paths(500.0)
    assert (short.status == Status.OVERFLOW).all()


def births_and_deaths(n, births):
    return jnp.stack([births, n])


def balance(n, counts, births):
    return n + counts[0] - counts[1]


def moments(n, births):
    return {"n": n, "square": (n - births) ** 2}


def run_leaps(n, births, tau, n_steps, burn_in=0):
    return tau_leap(
        births_and_deaths, balance, jnp.full(128, n), tau=tau, key=jax.random.key(6),
        n_steps=n_steps, burn_in=burn_in, args=(births,), observe=moments,
    )  # fmt: skip


@pytest.mark.parametrize("tau", [0.5, 0.1, 0.02])
def test_leaps_have_another_stationary_law_that_tends_to_the_true_one(tau):
    run = run_leaps(100.0, 100.0, tau, 200, burn_in=round(8 / tau))
    assert (np.asarray(run.status) == Status.CONVERGED).all()
    mean, spread = run.averages["n"], run.averages["square"]
    assert_z(mean.mean(), 100.0, mean.std() / np.sqrt(128))
    # V = (1 - tau)**2 V + 200 tau: the true law is Poisson, V = 100
    error = spread.std() / np.sqrt(128)
    assert_z(spread.mean(), 100 / (1 - tau / 2), error)
    if tau == 0.5:
        assert (spread.mean() - 100) / error > 10


def test_leaps_beyond_what_there_is_are_reported():
    run = run_leaps(2.0, 0.0, 2.0, 10)
    status = np.asarray(run.status)
    assert (status == Status.NON_FINITE).any()
    assert ((np.asarray(run.system) < 0) == (status == Status.NON_FINITE)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"init": jnp.zeros((), int)}, "init: expected arrays with all chains"),
        ({"init": jnp.zeros(0, int)}, "init: expected at least one chain"),
        ({"layout": "rows"}, "layout: expected one of"),
        ({"n_events": 0}, "n_events: expected an integer"),
        ({"duration": -1.0}, "duration: expected a positive"),
        ({"burn_in": -1}, "burn_in: expected"),
        ({"block_size": 0}, "block_size: expected"),
        ({"args": (-UNEVEN,)}, "rates: expected finite numbers of at least 0"),
        ({"args": (0 * UNEVEN,)}, "init: expected systems that some channel leaves"),
        ({"rates": lambda state, table: table[state].sum()}, "rates: expected .n_channels"),
        ({"place": lambda state, table: state}, "n_places: expected an integer"),
    ],
)
def test_bad_input_is_refused_at_once(options, message):
    given = {
        "rates": leave, "apply": enter, "init": start(4), "n_events": 5, "args": (UNEVEN,),
        "key": jax.random.key(0),
    } | options  # fmt: skip
    with pytest.raises(ValueError, match=message):
        rejection_free(**given)
