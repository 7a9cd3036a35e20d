"""The compiled single-spin engine: bookkeeping, rule of transition, distribution, and its ends."""

import itertools

import jax
import jax.numpy as jnp
import numba
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import chi2
from suite_helpers import assert_z

from inference.interop import diagnostics
from inference.kernels import random_state
from inference.message_passing.clause_system import clause_system
from inference.monte_carlo import flip_kernels
from inference.monte_carlo.constraint_counts import clause_wiring, threshold_votes
from inference.monte_carlo.metropolis import metropolis_sweep
from inference.monte_carlo.single_spin import anneal, start_ensemble

BETA, COUPLING = 0.8, 0.4


def signs(shape, seed):
    return (1 - 2 * np.random.default_rng(seed).integers(0, 2, shape)).astype(np.int8)


def machine(n_patterns, n_inputs, n_hidden=1, *, tree=False, seed=0):
    """A wiring, and its energy in plain NumPy."""
    inputs = signs((n_patterns, n_hidden if tree else 1, n_inputs), seed)

    def energy(spins):
        sums = (inputs.astype(int) * spins.reshape(n_hidden, n_inputs)).sum(axis=2)
        return int((np.sign(sums).sum(axis=1) < 0).sum())

    return threshold_votes(inputs, n_hidden), energy


def formula(n, n_clauses, lengths, seed=0):
    """Clauses with repeated literals, tautologies and, if asked for, empty ones."""
    rng = np.random.default_rng(seed)
    clauses = [rng.integers(1, n + 1, rng.choice(lengths)) for _ in range(n_clauses)]
    clauses = [row * rng.choice([-1, 1], len(row)) for row in clauses]
    offsets = np.cumsum([0, *map(len, clauses)])
    system = clause_system(np.concatenate(clauses), offsets, n)

    def energy(spins):
        return sum(not any(spins[abs(v) - 1] * v > 0 for v in row) for row in clauses)

    return clause_wiring(system), energy


PROBLEMS = {
    "perceptron": lambda: machine(150, 101),
    "one word": lambda: machine(64, 51),
    "tree of 3": lambda: machine(130, 41, 3, tree=True),
    "shared by 3": lambda: machine(130, 41, 3),
    "tree of 5": lambda: machine(70, 25, 5, tree=True),
    "shared by 5": lambda: machine(200, 35, 5),
    "3-sat": lambda: formula(100, 420, [3]),
    "mixed clauses": lambda: formula(80, 300, [0, 1, 2, 3, 4, 7]),
}
every_problem = pytest.mark.parametrize("name", PROBLEMS)


@numba.njit
def changes_of_all(wiring, counts, replica, spins):
    changes = np.empty(spins.size, np.int64)
    for site in range(spins.size):
        changes[site] = flip_kernels._change(wiring, counts, replica, site, spins[site])
    return changes


def moved(wiring, *, n_replicas, n_sweeps, beta=0.3, seed=1):
    ensemble = start_ensemble(wiring, signs((n_replicas, wiring.n_spins), seed))
    return anneal(
        ensemble, betas=np.full(n_sweeps, beta), couplings=np.full(n_sweeps, 0.2),
        state=random_state(seed), stop_at=None,
    )  # fmt: skip


@every_problem
def test_what_a_flip_adds_is_the_difference_of_two_energies(name):
    wiring, energy = PROBLEMS[name]()
    for n_sweeps in (1, 20):
        ensemble = moved(wiring, n_replicas=2, n_sweeps=n_sweeps, beta=1.5).ensemble
        for replica, spins in enumerate(ensemble.spins):
            changes = changes_of_all(wiring, ensemble.counts, replica, spins)
            for site in range(wiring.n_spins):
                flipped = spins.copy()
                flipped[site] *= -1
                assert changes[site] == energy(flipped) - energy(spins)
            assert len(np.unique(changes)) > 2


@every_problem
def test_after_a_hundred_thousand_moves_the_counts_are_those_of_the_spins(name):
    wiring, energy = PROBLEMS[name]()
    n_sweeps = 2 * 100_000 // (3 * wiring.n_spins)
    result = moved(wiring, n_replicas=3, n_sweeps=n_sweeps)
    assert result.n_steps == n_sweeps * 3 * wiring.n_spins
    assert result.trace.accept_prob.mean() * result.n_steps > 100_000
    ensemble, fresh = result.ensemble, start_ensemble(wiring, result.last)
    assert ensemble.energies.tolist() == [energy(spins) for spins in result.last]
    assert result.trace.energies[-1].tolist() == ensemble.energies.tolist()
    np.testing.assert_array_equal(ensemble.sums, result.last.sum(axis=0))
    for field in fresh.counts._fields:
        kept, counted = (getattr(x.counts, field) for x in (ensemble, fresh))
        if field == "changes":  # the last column takes what does not count
            kept, counted = kept[:, :-1], counted[:, :-1]
        np.testing.assert_array_equal(kept, counted, err_msg=field)
    assert result.energies.tolist() == [energy(spins) for spins in result.configurations]
    assert (result.energies <= result.trace.energies.min(axis=0)).all()


class Enumerated:
    """All states of three replicas of five weights, and one proposal on distributions."""

    def __init__(self, beta=BETA, coupling=COUPLING):
        self.wiring, energy = machine(2, 5, seed=4)
        one = np.array(list(itertools.product([1, -1], repeat=5)))
        self.spins = np.array(list(itertools.product([1, -1], repeat=15))).reshape(-1, 3, 5)
        table = np.array([energy(spins) for spins in one])
        codes = (self.spins < 0) @ (1 << np.arange(4, -1, -1))
        assert (one[codes] == self.spins).all()
        self.energies = table[codes]
        sums = self.spins.sum(axis=1)
        self.log_weight = -beta * self.energies.sum(axis=1)
        self.log_weight = self.log_weight + np.logaddexp(coupling * sums, -coupling * sums).sum(1)
        self.overlap = (sums**2).sum(axis=1)
        self.kind = self.overlap * 10 + self.energies.sum(axis=1)

    def stationary(self):
        weights = np.exp(self.log_weight - self.log_weight.max())
        return weights / weights.sum()

    def proposed(self, chances, rule=lambda ratio: np.exp(np.minimum(0, ratio))):
        """The distribution after one proposal, and its mean acceptance probability."""
        after, accepted = chances.copy(), 0.0
        for bit in range(15):
            partner = np.arange(1 << 15) ^ (1 << bit)
            ratio = self.log_weight[partner] - self.log_weight
            flow = chances * rule(ratio) / 15
            after += flow[partner] - flow
            accepted += flow.sum()
        return after, accepted

    def index(self, spins):
        return (spins.reshape(-1, 15) < 0) @ (1 << np.arange(14, -1, -1))


@pytest.mark.statistical
def test_one_sweep_moves_as_the_rule_says():
    exact = Enumerated()
    start = exact.spins[exact.index(signs((1, 3, 5), 7))[0]]
    chances, accepted = np.zeros(1 << 15), []
    chances[exact.index(start)] = 1.0
    for _ in range(15):
        chances, accept_prob = exact.proposed(chances)
        accepted.append(accept_prob)
    state, n_draws = random_state(3), 20_000
    ended, told = np.empty((n_draws, 3, 5), int), np.empty(n_draws)
    for draw in range(n_draws):
        run = anneal(
            start_ensemble(exact.wiring, start), betas=[BETA], couplings=[COUPLING], state=state,
            stop_at=None,
        )  # fmt: skip
        ended[draw], told[draw] = run.last, run.trace.accept_prob[0]
    assert_z(told.mean(), np.mean(accepted), told.std() / np.sqrt(n_draws))
    assert_z(ended.mean(0), np.tensordot(chances, exact.spins, 1), ended.std(0) / n_draws**0.5)

    def statistic(chances):
        """Chi-square of overlap and energy, classes of fewer than 20 expected taken together."""
        kinds, place = np.unique(exact.kind, return_inverse=True)
        expected = n_draws * np.bincount(place, chances)
        counts = np.bincount(place[exact.index(ended)], minlength=len(kinds))
        small = expected < 20
        expected = np.append(expected[~small], expected[small].sum())
        counts = np.append(counts[~small], counts[small].sum())
        return ((counts - expected) ** 2 / expected).sum(), len(counts) - 1

    value, freedom = statistic(chances)
    assert freedom > 10
    assert chi2.sf(value, freedom) > 1e-4
    # the sweep is far from the end, and another rule of the same stationary state would be noticed
    assert chi2.sf(*statistic(exact.stationary())) < 1e-9
    heat_bath = np.eye(1, 1 << 15, exact.index(start)[0])[0]
    for _ in range(15):
        heat_bath = exact.proposed(heat_bath, rule=expit)[0]
    assert chi2.sf(*statistic(heat_bath)) < 1e-9


@pytest.mark.statistical
def test_three_coupled_replicas_have_the_joint_distribution_of_all_states():
    exact = Enumerated()
    weights = exact.stationary()
    np.testing.assert_allclose(exact.proposed(weights)[0], weights, atol=1e-15)
    draws = np.empty((4, 4000, 3, 5), int)
    for chain in range(4):
        ensemble = start_ensemble(exact.wiring, signs((3, 5), chain))
        state = random_state(chain)
        for draw in range(-20, 4000):
            run = anneal(
                ensemble, betas=[BETA] * 3, couplings=[COUPLING] * 3, state=state, stop_at=None
            )
            draws[chain, draw] = run.last
    codes = exact.index(draws).reshape(4, 4000)
    common = [k for k in np.unique(exact.kind) if weights[exact.kind == k].sum() > 0.01]
    assert len(common) > 12
    seen = np.stack([exact.kind[codes] == kind for kind in common], axis=-1)
    for values, per_state in (
        (draws.reshape(4, 4000, 15), exact.spins.reshape(-1, 15)),
        (seen, np.stack([exact.kind == kind for kind in common], axis=-1)),
        (exact.overlap[codes], exact.overlap),
        (exact.energies[codes], exact.energies),
    ):
        told = diagnostics(values.astype(float))
        assert_z(told.mean, np.tensordot(weights, per_state, 1), told.mcse, ess=told.ess)
    # a coupling that is a tenth stronger would be noticed
    told = diagnostics(exact.overlap[codes].astype(float))
    other = Enumerated(coupling=1.1 * COUPLING).stationary() @ exact.overlap
    assert abs(told.mean - other) > 4 * told.mcse


SMALL = {"perceptron": lambda: machine(6, 7, seed=2), "3-sat": lambda: formula(8, 30, [3], seed=3)}


@pytest.mark.statistical
@pytest.mark.parametrize("name", SMALL)
def test_energies_at_one_temperature_are_those_of_enumeration_and_of_the_twin_in_jax(name):
    wiring, energy = SMALL[name]()
    states = np.array(list(itertools.product([1, -1], repeat=wiring.n_spins)))
    levels = np.array([energy(spins) for spins in states])
    weights = np.exp(-BETA * levels)
    weights /= weights.sum()
    runs = []
    for chain in range(4):
        ensemble = start_ensemble(wiring, signs((1, wiring.n_spins), chain))
        run = anneal(ensemble, betas=[BETA] * 5000, state=random_state(chain), stop_at=None)
        runs.append(run.trace.energies[50:, 0])
    ours = np.array(runs)
    told = diagnostics(ours.astype(float))
    assert_z(told.mean, weights @ levels, told.mcse, ess=told.ess)
    for level in np.unique(levels):
        exact = weights[levels == level].sum()
        if exact > 0.01:
            share = diagnostics((ours == level).astype(float))
            assert_z(share.mean, exact, share.mcse, ess=share.ess)
    twin = diagnostics(twin_energies(states, levels).astype(float))
    assert_z(twin.mean, weights @ levels, twin.mcse, ess=twin.ess)
    assert_z(told.mean, twin.mean, np.hypot(told.mcse, twin.mcse))


def twin_energies(states, levels):
    """Energies of four chains of the JAX kernel on the table of all states, (4, 2000)."""
    n = states.shape[1]
    table, bits = jnp.asarray(levels, float), jnp.asarray(1 << np.arange(n - 1, -1, -1))

    def delta(spins, site):
        code = jnp.sum((spins < 0) * bits)
        return table[code ^ bits[site]] - table[code]

    def sweep(carry, key):
        spins, value = carry
        swept = metropolis_sweep(key, spins, value, BETA, delta, n_flips=n)
        return (swept.spins, swept.energy), swept.energy

    @jax.jit
    def chain(key):
        start = (jnp.asarray(states[0], jnp.int8), table[0])
        return jax.lax.scan(sweep, start, jax.random.split(key, 2050))[1][50:]

    return np.asarray(jax.vmap(chain)(jax.random.split(jax.random.key(0), 4)))


@pytest.mark.parametrize("name", ["shared by 3", "mixed clauses"])
def test_a_run_in_parts_is_the_run_in_one(name):
    wiring, energy = PROBLEMS[name]()
    first = signs((3, wiring.n_spins), 5)
    betas, couplings = np.linspace(0.1, 3.0, 60), np.linspace(0.0, 1.0, 60)
    state = random_state(9)
    whole = anneal(
        start_ensemble(wiring, first), betas=betas, couplings=couplings, state=state, stop_at=None
    )
    parts, part_state, ensemble = [], random_state(9), start_ensemble(wiring, first)
    for part in (slice(0, 1), slice(1, 40), slice(40, 60)):
        parts.append(
            anneal(
                ensemble, betas=betas[part], couplings=couplings[part], state=part_state,
                stop_at=None,
            )
        )  # fmt: skip
        ensemble = parts[-1].ensemble
    np.testing.assert_array_equal(whole.last, parts[-1].last)
    np.testing.assert_array_equal(whole.configurations, parts[-1].configurations)
    np.testing.assert_array_equal(state, part_state)
    for ours, theirs in zip(whole.trace, zip(*(part.trace for part in parts))):
        np.testing.assert_array_equal(ours, np.concatenate(theirs))
    assert whole.n_steps == sum(part.n_steps for part in parts)
    # the results of a part do not change when the run goes on
    assert (parts[0].last != whole.last).any()
    assert parts[0].energies.tolist() == [energy(spins) for spins in parts[0].configurations]
    assert (parts[0].energies > whole.energies).all()


def test_the_same_seed_gives_the_same_run_and_another_one_another():
    wiring, _ = PROBLEMS["perceptron"]()

    def run(seed, **options):
        ensemble = start_ensemble(wiring, signs((1, wiring.n_spins), 0))
        return anneal(ensemble, betas=np.ones(30), state=random_state(seed), **options).last

    np.testing.assert_array_equal(run(0), run(0))
    assert (run(0) != run(1)).any()
    # one replica has nothing to be coupled to
    np.testing.assert_array_equal(run(0), run(0, couplings=np.linspace(0, 5, 30)))


def test_a_replica_that_arrives_ends_the_run_at_once():
    wiring, energy = machine(30, 101)
    first = signs((3, 101), 0)
    betas = np.linspace(0.5, 4.0, 400)
    found = anneal(start_ensemble(wiring, first), betas=betas, state=random_state(0))
    assert found.energies.min() == 0
    assert sorted(energy(spins) for spins in found.last)[0] == 0
    n_sweeps = len(found.trace.beta)
    assert 300 * (n_sweeps - 1) + 3 * n_sweeps - 3 < found.n_steps <= 303 * n_sweeps
    assert (found.trace.energies[:-1].min(axis=1) > 0).all()
    assert ((found.trace.accept_prob > 0) & (found.trace.accept_prob <= 1)).all()
    # standing there, it goes nowhere
    again = anneal(found.ensemble, betas=betas, state=random_state(1))
    assert again.n_steps == len(again.trace.beta) == 0
    np.testing.assert_array_equal(again.last, found.last)
    # another end, and a stop from outside
    early = anneal(start_ensemble(wiring, first), betas=betas, state=random_state(0), stop_at=5)
    assert early.energies.min() == 5
    assert early.n_steps < found.n_steps
    asked = itertools.count()
    stopped = anneal(
        start_ensemble(wiring, first), betas=betas, state=random_state(0), stop_at=None,
        stop=lambda: next(asked) == 2,
    )  # fmt: skip
    assert 1 <= len(stopped.trace.beta) < 400
    assert stopped.n_steps == 303 * len(stopped.trace.beta)


def test_replicas_of_the_largest_coupling_agree_and_stay():
    wiring, _ = PROBLEMS["perceptron"]()
    together = np.repeat(signs((1, 101), 0), 3, axis=0)
    options = {"couplings": [1e100] * 2, "stop_at": None}
    frozen = anneal(
        start_ensemble(wiring, together), betas=[0.0, 5.0], state=random_state(0), **options
    )
    assert frozen.trace.accept_prob.tolist() == [0.0, 0.0]
    cold = anneal(frozen.ensemble, betas=[1e100] * 2, state=random_state(0), **options)
    assert np.isfinite(cold.trace.accept_prob).all()
    apart = start_ensemble(wiring, signs((3, 101), 1))
    ended = anneal(apart, betas=[0.0] * 40, couplings=[50.0] * 40, state=random_state(0))
    assert (np.abs(ended.ensemble.sums) == 3).all()


GOOD = {"betas": [0.5, 1.0], "state": random_state(0)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"betas": [1.0, -0.1]},
            ValueError,
            "betas: expected numbers from 0 to 1e\\+100, got -0.1",
        ),
        ({"betas": [np.nan]}, ValueError, "betas: expected finite"),
        ({"betas": [np.inf]}, ValueError, "betas: expected finite"),
        ({"betas": []}, ValueError, "betas: expected at least one entry"),
        ({"betas": 1.0}, ValueError, "betas: expected a 1-dimensional"),
        ({"betas": "cold"}, TypeError, "betas: expected an array of numbers"),
        ({"couplings": [0.1]}, ValueError, "couplings: expected 2 rows as in betas, got 1"),
        ({"couplings": [0.1, -1.0]}, ValueError, "couplings: expected numbers from 0"),
        ({"couplings": [0.1, np.nan]}, ValueError, "couplings: expected finite"),
        ({"couplings": [0.1, 1e200]}, ValueError, "couplings: expected numbers from 0"),
        ({"state": 0}, TypeError, "state: expected a state from random_state"),
    ],
)
def test_bad_runs_are_refused(change, error, message):
    ensemble = start_ensemble(machine(5, 7)[0], signs((2, 7), 0))
    with pytest.raises(error, match=message):
        anneal(ensemble, **{**GOOD, **change})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: threshold_votes(np.ones((2, 1, 4))), ValueError, "inputs a unit: expected an odd"),
        (lambda: threshold_votes(np.ones((2, 1, 3)), 2), ValueError, "n_hidden: expected an odd"),
        (lambda: threshold_votes(np.ones((2, 1, 3)), 0), ValueError, "n_hidden: expected"),
        (lambda: threshold_votes(np.ones((2, 5, 3)), 3), ValueError, "expected 1 or 3 blocks"),
        (lambda: threshold_votes(np.ones((2, 3))), ValueError, "inputs: expected a 3-dimensional"),
        (lambda: threshold_votes(np.zeros((2, 1, 3))), ValueError, "inputs: expected \\+1 or -1"),
        (lambda: threshold_votes(np.ones((0, 1, 3))), ValueError, "inputs: expected at least one"),
        (lambda: threshold_votes([[["a"]]]), TypeError, "inputs: expected an array of ±1"),
        (lambda: start_ensemble(machine(5, 7)[0], signs((2, 9), 0)), ValueError, "n_replicas, 7"),
        (
            lambda: start_ensemble(machine(5, 7)[0], signs(7, 0)),
            ValueError,
            "spins: expected a 2-dimensional",
        ),
        (lambda: start_ensemble(machine(5, 7)[0], np.zeros((0, 7))), ValueError, "n_replicas, 7"),
        (lambda: start_ensemble("formula", signs((1, 7), 0)), TypeError, "wiring: expected"),
    ],
)
def test_bad_problems_and_spins_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
