"""Replicas that attract each other: two compiled kernels and one for NumPyro, by enumeration."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from scipy.special import expit, logsumexp
from scipy.stats import chi2
from suite_helpers import assert_z

from inference.interop import diagnostics, posterior_array, to_arviz
from inference.kernels import random_state
from inference.message_passing.clause_system import clause_system
from inference.monte_carlo.constraint_counts import clause_wiring, threshold_votes
from inference.monte_carlo.replicated import (
    ReplicatedMetropolis,
    replicated_sweep,
)
from inference.monte_carlo.single_spin import anneal, majority, start_ensemble

BETA, COUPLING = 0.8, 0.5
N, M = 5, 2
RULES = ["metropolis", "rejection-reduced"]
CENTRES = ["traced", "explicit"]
every_rule = pytest.mark.parametrize("rule", RULES)
every_centre = pytest.mark.parametrize("centre", CENTRES)


def signs(shape, seed):
    return (1 - 2 * np.random.default_rng(seed).integers(0, 2, shape)).astype(np.int8)


PATTERNS = signs((M, N), 4)
FEW = list(itertools.product([1, -1], repeat=N))


def energy(spins, patterns):
    return jnp.sum(patterns @ spins.astype(int) < 0)


def delta_energy(spins, site, patterns):
    return energy(spins.at[site].multiply(-1), patterns) - energy(spins, patterns)


class Exact:
    """All states of the replicas, beside all centres or none, written down in plain NumPy."""

    def __init__(self, centre, n_replicas=3):
        self.bits = n_replicas * N
        self.spins = np.array(list(itertools.product([1, -1], repeat=self.bits)), np.int8)
        self.spins = self.spins.reshape(-1, n_replicas, N)
        self.energies = ((self.spins @ PATTERNS.T) < 0).sum(axis=2)
        self.energy = self.energies.sum(axis=1)
        self.sums = self.spins.sum(axis=1)
        self.centres = np.array(FEW) if centre == "explicit" else np.zeros((1, 0))
        self.partner = np.arange(1 << self.bits) ^ (1 << np.arange(self.bits))[:, None]
        self.overlap = (self.sums**2).sum(axis=1)
        # (centres, states)
        self.kind = np.stack([self.kinds(c, self.sums, self.energy) for c in self.centres])

    def kinds(self, centre, sums, energy):
        aligned = (sums * centre).sum(axis=-1) if np.size(centre) else 0
        return ((sums**2).sum(axis=-1) * 100 + aligned) * 100 + energy

    def attraction(self, centre):
        if len(centre):
            return COUPLING * self.sums @ centre
        return np.log(2 * np.cosh(COUPLING * self.sums)).sum(axis=1)

    def stationary(self):
        """(centres, states)"""
        log = np.array([self.attraction(c) for c in self.centres]) - BETA * self.energy
        return np.exp(log - logsumexp(log))

    def rates(self, rule, centre):
        """Probability of every flip (bits, states): proposed and accepted."""
        attraction = self.attraction(centre)
        gain = attraction[self.partner] - attraction
        change = self.energy[self.partner] - self.energy
        if rule == "metropolis":
            return np.exp(np.minimum(0, gain - BETA * change)) / self.bits
        chance = np.exp(np.minimum(0, gain))
        total = chance.sum(axis=0)
        ratio = total / total[self.partner] if rule == "rejection-reduced" else 1.0
        return chance / total * np.minimum(1, ratio * np.exp(-BETA * change))

    def swept(self, start, rule):
        """Probabilities (centres, states) after one sweep, and the mean acceptance."""
        after, accepted = [], 0.0
        for centre in self.centres:
            rates = self.rates(rule, centre)
            chances = np.zeros(1 << self.bits)
            sums = self.sums[start, : len(centre)]
            chances[start] = np.prod(expit(2 * COUPLING * sums * centre))
            for _ in range(self.bits):
                flow = chances * rates
                accepted += flow.sum() / self.bits
                chances = chances + np.take_along_axis(flow, self.partner, 1).sum(0) - flow.sum(0)
            after.append(chances)
        return np.array(after), accepted


@functools.cache
def exact(centre):
    return Exact(centre)


@functools.cache
def after_a_sweep(centre, rule):
    return exact(centre).swept(start_code(), rule)


START = np.repeat(signs((1, N), 7), 3, axis=0)
"""Together, where the attraction holds: from here the rules differ most."""


def start_code():
    return int((START.ravel() < 0) @ (1 << np.arange(14, -1, -1)))


@every_centre
@every_rule
def test_every_rule_obeys_detailed_balance(rule, centre):
    states = exact(centre)
    weights = states.stationary()
    for place in range(0, len(states.centres), 5):
        flow = weights[place] * states.rates(rule, states.centres[place])
        back = np.take_along_axis(flow, states.partner, 1)
        np.testing.assert_allclose(flow, back, rtol=1e-11)
        # without the ratio of the sums the rule would not
        flow = weights[place] * states.rates("no ratio", states.centres[place])
        assert not np.allclose(flow, np.take_along_axis(flow, states.partner, 1), rtol=1e-2)
    # the centre given the replicas is the one that the sweep draws
    if centre == "explicit":
        given = weights / weights.sum(axis=0)
        drawn = expit(2 * COUPLING * states.sums * states.centres[:, None]).prod(axis=2)
        np.testing.assert_allclose(given, drawn, rtol=1e-11)
        np.testing.assert_allclose(weights.sum(axis=0), exact("traced").stationary()[0], rtol=1e-11)


def one_sweep(engine, centre, n_draws):
    """Replicas (n, 3, 5), centres (n, 5) or (n, 0), and acceptances, each a sweep from START."""
    if engine == "jax":
        begin = jnp.asarray(START.T)
        middle = jnp.asarray(majority(START)) if centre == "explicit" else None
        levels = jnp.array([energy(s, PATTERNS) for s in jnp.asarray(START)], float)

        @jax.jit
        def run(key):
            swept = replicated_sweep(
                key, begin, middle, levels, BETA, COUPLING, delta_energy, (PATTERNS,), n_flips=15
            )
            ended = jnp.zeros(0, jnp.int8) if middle is None else swept.centre
            return swept.spins.T, ended, swept.accept_prob

        found = jax.vmap(run)(jax.random.split(jax.random.key(2), n_draws))
        return tuple(np.asarray(part) for part in found)
    wiring, state = threshold_votes(PATTERNS[:, None]), random_state(3)
    ended, centres, accepted = [], [], []
    for _ in range(n_draws):
        run = anneal(
            start_ensemble(wiring, START, centre), betas=[BETA], couplings=[COUPLING],
            state=state, kernel=engine, stop_at=None,
        )  # fmt: skip
        ended.append(run.last)
        centres.append(run.ensemble.centre)
        accepted.append(run.trace.accept_prob[0])
    return np.array(ended), np.array(centres), np.array(accepted)


@pytest.mark.slow
@pytest.mark.statistical
@every_centre
@pytest.mark.parametrize("engine", [*RULES, "jax"])
def test_one_sweep_moves_as_the_rule_says(engine, centre):
    states, n_draws = exact(centre), 8000
    rule = "metropolis" if engine == "jax" else engine
    chances, accept_prob = after_a_sweep(centre, rule)
    ended, centres, told = one_sweep(engine, centre, n_draws)
    assert_z(told.mean(), accept_prob, told.std() / np.sqrt(n_draws))
    assert_z(
        ended.mean(0), np.tensordot(chances.sum(0), states.spins, 1), ended.std(0) / n_draws**0.5
    )
    sums = ended.sum(axis=1)
    levels = ((ended @ PATTERNS.T) < 0).sum(axis=(1, 2))
    seen = states.kinds(centres, sums, levels)

    def p_value(chances):
        kinds, place = np.unique(states.kind, return_inverse=True)
        expected = n_draws * np.bincount(place.ravel(), chances.ravel(), len(kinds))
        counts = np.bincount(np.searchsorted(kinds, seen), minlength=len(kinds))
        small = expected < 10
        expected = np.append(expected[~small], expected[small].sum())
        counts = np.append(counts[~small], counts[small].sum())
        assert len(counts) > 10
        return chi2.sf(((counts - expected) ** 2 / expected).sum(), len(counts) - 1)

    assert p_value(chances) > 1e-4
    # far from the end; and the other rule of the same end, and a wrong one, are told apart
    assert p_value(states.stationary()) < 1e-9
    for other in {*RULES, "no ratio"} - {rule}:
        assert p_value(after_a_sweep(centre, other)[0]) < 1e-9


def compiled_chains(wiring, rule, centre, n_replicas, n_draws):
    ended = np.empty((4, n_draws, n_replicas, N))
    centres = np.empty((4, n_draws, N if centre == "explicit" else 0))
    for chain in range(4):
        ensemble = start_ensemble(wiring, signs((n_replicas, N), chain), centre)
        state = random_state(chain)
        for draw in range(-20, n_draws):
            run = anneal(
                ensemble, betas=[BETA] * 3, couplings=[COUPLING] * 3, state=state, kernel=rule,
                stop_at=None,
            )  # fmt: skip
            ended[chain, draw], centres[chain, draw] = run.last, ensemble.centre
    return ended, centres


@functools.cache
def numpyro_run(centre, method="vectorized", n_draws=2000):
    kernel = ReplicatedMetropolis(
        energy, delta_energy, n_spins=N, beta=BETA, coupling=COUPLING,
        explicit_centre=centre == "explicit", n_flips=45,
    )  # fmt: skip
    mcmc = MCMC(
        kernel, num_warmup=20, num_samples=n_draws, num_chains=4, chain_method=method,
        progress_bar=False,
    )  # fmt: skip
    mcmc.run(jax.random.key(1), jnp.asarray(PATTERNS))
    return to_arviz(mcmc)


@pytest.mark.statistical
@pytest.mark.parametrize(
    ("engine", "centre", "n_replicas"),
    [
        *itertools.product([*RULES, "numpyro"], CENTRES, [3]),
        *itertools.product(RULES, CENTRES, [2]),
        ("rejection-reduced", "traced", 1),
    ],
)
def test_the_joint_distribution_is_that_of_all_states(engine, centre, n_replicas):
    states = exact(centre) if n_replicas == 3 else Exact(centre, n_replicas)
    weights = states.stationary()
    if engine == "numpyro":
        data = numpyro_run(centre)
        ended = np.swapaxes(posterior_array(data, "spin"), -1, -2).astype(int)
        centres = (
            posterior_array(data, "centre") if centre == "explicit" else np.zeros((4, 2000, 0))
        )
    else:
        ended, centres = compiled_chains(
            threshold_votes(PATTERNS[:, None]), engine, centre, n_replicas, 2000
        )
    sums = ended.sum(axis=2)
    levels = ((ended @ PATTERNS.T) < 0).sum(axis=-1)
    seen = states.kinds(centres, sums, levels.sum(axis=-1))
    common = [k for k in np.unique(states.kind) if weights[states.kind == k].sum() > 0.02]
    assert len(common) > (8 if n_replicas == 3 else 3 if n_replicas == 2 else 1)
    marginal = weights.sum(axis=0)
    for draws, expected in (
        (ended, np.tensordot(marginal, states.spins, 1)),
        (levels, marginal @ states.energies),
        *([((sums**2).sum(-1), marginal @ states.overlap)] if n_replicas > 1 else []),
        (
            np.stack([seen == kind for kind in common], axis=-1),
            np.array([weights[states.kind == kind].sum() for kind in common]),
        ),
        *([(centres, weights.sum(axis=1) @ states.centres)] if centre == "explicit" else []),
    ):
        told = diagnostics(draws.astype(float))
        assert_z(told.mean, expected, told.mcse, ess=told.ess)


def formula(n, n_clauses, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.choice([1, 2, 3, 4, 7], n_clauses)
    clauses = [rng.integers(1, n + 1, k) * rng.choice([-1, 1], k) for k in lengths]
    system = clause_system(np.concatenate(clauses), np.cumsum([0, *lengths]), n)
    return clause_wiring(system), lambda s: sum(
        not any(s[abs(v) - 1] * v > 0 for v in row) for row in clauses
    )


def machine(n_patterns, n_inputs, n_hidden, tree=False):
    inputs = signs((n_patterns, n_hidden if tree else 1, n_inputs), 0)

    def count(spins):
        sums = (inputs.astype(int) * spins.reshape(n_hidden, n_inputs)).sum(axis=2)
        return int((np.sign(sums).sum(axis=1) < 0).sum())

    return threshold_votes(inputs, n_hidden), count


PROBLEMS = {
    "perceptron": lambda: machine(150, 101, 1),
    "tree": lambda: machine(130, 41, 3, tree=True),
    "committee": lambda: machine(70, 25, 5),
    "formula": lambda: formula(80, 300),
}


@pytest.mark.parametrize("name", PROBLEMS)
@every_centre
def test_after_a_hundred_thousand_moves_the_counts_are_those_of_the_spins(name, centre):
    wiring, count = PROBLEMS[name]()
    ensemble = start_ensemble(wiring, signs((3, wiring.n_spins), 1), centre)
    n_sweeps, moves = 200, 0
    state = random_state(1)
    while moves < 100_000:
        run = anneal(
            ensemble, betas=[0.3] * n_sweeps, couplings=[0.4] * n_sweeps, state=state,
            kernel="rejection-reduced", stop_at=None,
        )  # fmt: skip
        moves += run.trace.accept_prob.mean() * run.n_steps
    fresh = start_ensemble(wiring, run.last, centre)
    assert ensemble.energies.tolist() == [count(spins) for spins in run.last]
    assert run.energies.tolist() == [count(spins) for spins in run.configurations]
    np.testing.assert_array_equal(ensemble.sums, run.last.sum(axis=0))
    for field in fresh.counts._fields:
        kept, counted = (getattr(x.counts, field) for x in (ensemble, fresh))
        if field == "changes":  # the last column takes what does not count
            kept, counted = kept[:, :-1], counted[:, :-1]
        np.testing.assert_array_equal(kept, counted, err_msg=field)


@every_rule
@every_centre
def test_a_run_in_parts_is_the_run_in_one(rule, centre):
    wiring, _ = PROBLEMS["committee"]()
    options = {"kernel": rule, "stop_at": None}
    betas, couplings = np.linspace(0.1, 3.0, 60), np.linspace(0.0, 1.0, 60)
    first = signs((3, wiring.n_spins), 5)
    whole = anneal(
        start_ensemble(wiring, first, centre), betas=betas, couplings=couplings,
        state=random_state(9), **options,
    )  # fmt: skip
    state, ensemble = random_state(9), start_ensemble(wiring, first, centre)
    for part in (slice(0, 1), slice(1, 40), slice(40, 60)):
        run = anneal(ensemble, betas=betas[part], couplings=couplings[part], state=state, **options)
    np.testing.assert_array_equal(whole.last, run.last)
    np.testing.assert_array_equal(whole.ensemble.centre, run.ensemble.centre)
    np.testing.assert_array_equal(whole.trace.energies[40:], run.trace.energies)
    assert len(whole.ensemble.centre) == (wiring.n_spins if centre == "explicit" else 0)


@every_centre
def test_an_attraction_that_lets_nothing_go_holds_everything(centre):
    wiring, _ = PROBLEMS["perceptron"]()
    together = np.repeat(signs((1, 101), 0), 3, axis=0)
    frozen = anneal(
        start_ensemble(wiring, together, centre), betas=[0.0, 1e100], couplings=[1e100] * 2,
        state=random_state(0), kernel="rejection-reduced", stop_at=None,
    )  # fmt: skip
    assert frozen.trace.accept_prob.tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(frozen.last, together)
    # from afar they fall together, and no proposal is lost: at infinite temperature, none refused
    apart = start_ensemble(wiring, signs((3, 101), 1), centre)
    ended = anneal(
        apart, betas=[0.0] * 3, couplings=[50.0] * 3, state=random_state(0), stop_at=None,
        kernel="rejection-reduced",
    )  # fmt: skip
    assert (np.abs(ended.ensemble.sums) == 3).all()


def test_unknown_kernels_and_centres_are_refused():
    wiring = threshold_votes(PATTERNS[:, None])
    with pytest.raises(ValueError, match="centre: expected one of traced, explicit; got 'mean'"):
        start_ensemble(wiring, START, "mean")
    with pytest.raises(ValueError, match="kernel: expected one of metropolis, rejection-reduced"):
        anneal(
            start_ensemble(wiring, START), betas=[1.0], state=random_state(0), kernel="heat bath"
        )
