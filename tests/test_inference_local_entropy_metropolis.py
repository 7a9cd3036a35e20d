"""The kernel over references: its rule, its stationary law, its way to ArviZ, its two systems."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer import MCMC
from suite_helpers import assert_z

from inference.interop import diagnostics, posterior_array, to_arviz
from inference.monte_carlo.local_entropy_metropolis import LocalEntropyMetropolis
from inference.status import Status
from models import ksat, perceptron
from models.ksat import Formula, random_formula
from models.perceptron import Problem, random_patterns

COUPLING, N_REPLICAS = 0.5, 4.0
SMALL = Problem([[1, -1, 1], [1, -1, -1], [1, -1, -1]], [1, 1, 1])
"""Three weights; no single flip leaves the free entropy as it is."""
REFERENCES = np.array(list(itertools.product([-1, 1], repeat=3)), np.int8)


@pytest.fixture(scope="module")
def heights():
    """Free entropies of all eight references of the small problem."""
    found = [
        perceptron.local_entropy(SMALL, reference, COUPLING, method="amp", tol=1e-8)
        for reference in REFERENCES
    ]
    assert all(one.status == Status.CONVERGED for one in found)
    values = 3 * np.array([float(one.free_entropy) for one in found])
    assert min(abs(values[k] - values[k ^ bit]) for k in range(8) for bit in (1, 2, 4)) > 0.1
    return values


def small_kernel(**options):
    return perceptron.local_entropy_kernel(SMALL, coupling=COUPLING, **options)


def codes(references):
    return (np.asarray(references) > 0) @ [4, 2, 1]


def rule(heights, n_replicas):
    """The transition matrix of one proposal: a uniform spin, then the rule of Metropolis."""
    matrix = np.zeros((8, 8))
    for k in range(8):
        for bit in (1, 2, 4):
            gain = heights[k ^ bit] - heights[k]
            chance = float(gain >= 0) if np.isinf(n_replicas) else min(1, np.exp(n_replicas * gain))
            matrix[k, k ^ bit] = chance / 3
        matrix[k, k] = 1 - matrix[k].sum()
    return matrix


@pytest.mark.statistical
@pytest.mark.parametrize(("n_replicas", "n_flips"), [(N_REPLICAS, 1), (np.inf, 2)])
def test_moves_are_as_frequent_as_the_rule_says(heights, n_replicas, n_flips, key):
    kernel = small_kernel(n_replicas=n_replicas, n_flips=n_flips)
    n_chains = 2000
    state = kernel.init(jax.random.split(key, 8), 0, {"reference": REFERENCES}, (), {})
    np.testing.assert_allclose(state.free_entropy, heights, atol=1e-5)
    starts = np.repeat(REFERENCES, n_chains, axis=0)
    state = jax.tree_util.tree_map(
        lambda leaf: jnp.repeat(leaf, n_chains, axis=0), state._replace(rng_key=jnp.arange(8))
    )._replace(rng_key=jax.random.split(key, 8 * n_chains))
    moved = jax.jit(lambda state: kernel.sample(state, (), {}))(state)
    counts = np.zeros((8, 8))
    np.add.at(counts, (codes(starts), codes(moved.z["reference"])), 1)
    once = rule(heights, n_replicas)
    expected = np.linalg.matrix_power(once, n_flips)
    certain = (expected < 1e-12) | (expected > 1 - 1e-12)
    np.testing.assert_allclose(counts[certain] / n_chains, expected[certain], atol=1e-12)
    error = np.sqrt(expected * (1 - expected) / n_chains)
    # at most 40 numbers: one beyond 4 has the probability 3e-3
    assert_z(counts[~certain] / n_chains, expected[~certain], error[~certain])
    new = codes(moved.z["reference"])
    np.testing.assert_allclose(moved.free_entropy, heights[new], atol=1e-5)
    weight = 1.0 if np.isinf(n_replicas) else n_replicas
    np.testing.assert_allclose(moved.potential_energy, -weight * moved.free_entropy, rtol=1e-12)
    if n_flips == 1:  # each chain tells the chance of the flip it proposed
        chances = np.asarray(moved.accept_prob)
        of_start = 3 * (once - np.diag(np.diag(once)))
        for k in range(8):
            allowed = of_start[k, [k ^ 1, k ^ 2, k ^ 4]]
            gaps = np.abs(chances[codes(starts) == k][:, None] - allowed).min(axis=1)
            assert gaps.max() < 1e-4


@pytest.fixture(scope="module")
def runs():
    """Both chain methods on the small problem."""
    found = {}
    for method in ("sequential", "vectorized"):
        mcmc = MCMC(
            small_kernel(n_replicas=N_REPLICAS, n_flips=3), num_warmup=50, num_samples=1500,
            num_chains=4, chain_method=method, progress_bar=False,
        )  # fmt: skip
        mcmc.run(jax.random.key(3))
        found[method] = mcmc
    return found


@pytest.mark.statistical
@pytest.mark.parametrize("method", ["sequential", "vectorized"])
def test_draws_follow_the_large_deviation_measure(runs, heights, method):
    weights = np.exp(N_REPLICAS * (heights - heights.max()))
    weights /= weights.sum()
    data = to_arviz(runs[method])
    references = posterior_array(data, "reference")
    assert references.shape == (4, 1500, 3)
    told = diagnostics(references.astype(float))
    assert_z(told.mean, weights @ REFERENCES, told.mcse, ess=told.ess)
    stats = data["sample_stats"]
    free = np.asarray(stats["free_entropy"])
    np.testing.assert_allclose(free, heights[codes(references)], atol=1e-5)
    told = diagnostics(free)
    assert_z(told.mean, weights @ heights, told.mcse, ess=told.ess)
    np.testing.assert_allclose(stats["lp"], N_REPLICAS * free, rtol=1e-12)
    off = rule(heights, N_REPLICAS)
    acceptance = diagnostics(np.asarray(stats["acceptance_rate"]))
    expected = weights @ (off - np.diag(np.diag(off))).sum(axis=1)
    assert_z(acceptance.mean, expected, acceptance.mcse, ess=acceptance.ess)


def test_infinitely_many_replicas_never_go_down():
    problem = random_patterns(21, 0.4, seed=0)
    kernel = perceptron.local_entropy_kernel(problem, coupling=0.8, n_replicas=np.inf)
    mcmc = MCMC(kernel, num_warmup=0, num_samples=150, num_chains=2,
                chain_method="vectorized", progress_bar=False)  # fmt: skip
    mcmc.run(jax.random.key(0))
    free = np.asarray(mcmc.get_extra_fields(group_by_chain=True)["free_entropy"])
    assert (np.diff(free, axis=1) >= 0).all()
    assert (free[:, -1] > free[:, 0] + 0.5).all()
    lp = np.asarray(to_arviz(mcmc)["sample_stats"]["lp"])
    np.testing.assert_allclose(lp, free, rtol=1e-12)


def test_the_free_entropy_of_a_perceptron_is_its_local_one():
    problem = random_patterns(21, 0.4, seed=1)
    kernel = perceptron.local_entropy_kernel(problem, coupling=0.6, tol=1e-9)
    for seed in range(3):
        reference = np.random.default_rng(seed).choice([-1, 1], 21).astype(np.int8)
        state = kernel.init(jax.random.key(0), 0, reference, (), {})
        around = perceptron.local_entropy(problem, reference, 0.6, method="amp", tol=1e-9)
        assert state.free_entropy == pytest.approx(21 * around.free_entropy, abs=1e-7)


def test_the_free_entropy_of_a_formula_is_its_local_one():
    formula = random_formula(20, 60, 4, seed=0)
    kernel = ksat.local_entropy_kernel(formula, coupling=0.6, tol=1e-9)
    for seed in range(3):
        reference = np.random.default_rng(seed).choice([-1, 1], 20).astype(np.int8)
        state = kernel.init(jax.random.key(0), 0, reference, (), {})
        around = ksat.local_entropy(formula, reference, 0.6, tol=1e-10)
        assert around.status == Status.CONVERGED
        assert state.free_entropy == pytest.approx(20 * around.free_entropy, abs=1e-7)


@pytest.mark.statistical
def test_references_of_a_formula_lean_towards_its_solutions():
    # a tree, where messages are exact: the law of all sixteen references is enumerated
    formula = Formula.from_clauses([[1, 2], [-2, 3, 4]])
    states = np.array(list(itertools.product([-1, 1], repeat=4)))
    solutions = states[[formula.energy(s) == 0 for s in states]]
    weights = np.exp(0.7 * states @ solutions.T).sum(axis=1) ** 3
    kernel = ksat.local_entropy_kernel(formula, coupling=0.7, n_replicas=3, n_flips=4)
    mcmc = MCMC(kernel, num_warmup=50, num_samples=1000, num_chains=2, chain_method="vectorized",
                progress_bar=False)  # fmt: skip
    mcmc.run(jax.random.key(5))
    told = diagnostics(posterior_array(to_arviz(mcmc), "reference").astype(float))
    assert_z(told.mean, weights @ states / weights.sum(), told.mcse, ess=told.ess)


def test_a_formula_without_clauses_has_flat_references():
    kernel = ksat.local_entropy_kernel(Formula.from_clauses([], 3), coupling=0.5)
    state = kernel.init(jax.random.key(0), 0, None, (), {})
    assert state.free_entropy == pytest.approx(3 * np.log(2 * np.cosh(0.5)), abs=1e-6)


def test_chains_can_start_inside_a_compiled_program():
    # as chain_method="parallel" does on several devices, where nothing can be checked
    kernel = small_kernel()
    plain = kernel.init(jax.random.key(0), 0, REFERENCES[3], (), {})
    start = jax.jit(lambda key, first: kernel.init(key, 0, first, (), {}))
    traced = start(jax.random.key(0), jnp.asarray(REFERENCES[3]))
    assert traced.free_entropy == pytest.approx(float(plain.free_entropy), rel=1e-12)
    drawn = jax.jit(lambda key: kernel.init(key, 0, None, (), {}))(jax.random.key(0))
    assert set(np.asarray(drawn.z["reference"]).tolist()) <= {-1, 1}


def lost(reference, coupling, messages):
    """Message passing that converges around a first spin of +1 only."""
    del coupling
    return jnp.where(reference[0] > 0, 0.0, -jnp.inf), messages


def test_references_without_convergence_are_never_entered():
    kernel = LocalEntropyMetropolis(lost, jnp.zeros(1), n_spins=2, coupling=1.0, n_flips=5)
    mcmc = MCMC(kernel, num_warmup=0, num_samples=50, progress_bar=False)
    mcmc.run(jax.random.key(0), init_params=np.array([1, 1]))
    draws = np.asarray(mcmc.get_samples()["reference"])
    assert (draws[:, 0] == 1).all()
    assert set(draws[:, 1].tolist()) == {-1, 1}
    with pytest.raises(ValueError, match="init_params: message passing does not converge"):
        kernel.init(jax.random.key(0), 0, np.array([-1, 1]), (), {})
    # a chain that had to start there, unchecked, leaves by the first good proposal, without a NaN
    state = jax.jit(lambda key, first: kernel.init(key, 0, first, (), {}))(
        jax.random.key(1), jnp.array([-1, 1], jnp.int8)
    )
    for _ in range(10):
        state = kernel.sample(state, (), {})
        assert not jnp.isnan(state.accept_prob)
    assert state.free_entropy == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coupling": 0.0}, "coupling: expected a positive finite number"),
        ({"coupling": np.nan}, "coupling: expected a positive"),
        ({"coupling": np.inf}, "coupling: expected a positive finite"),
        ({"n_replicas": 0.0}, "n_replicas: expected a positive number"),
        ({"n_replicas": np.nan}, "n_replicas: expected a positive number"),
        ({"n_flips": 0}, "n_flips: expected an integer"),
        ({"tol": 0.0}, "tol: expected a positive"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        perceptron.local_entropy_kernel(SMALL, **({"coupling": 0.5} | options))
    with pytest.raises(ValueError, match=message):
        ksat.local_entropy_kernel(random_formula(9, 20, 3, seed=0), **({"coupling": 0.5} | options))


def test_bad_systems_and_starts_are_named():
    with pytest.raises(ValueError, match="problem: expected one hidden unit, got 3"):
        perceptron.local_entropy_kernel(random_patterns(5, 0.3, n_hidden=3, seed=0), coupling=0.5)
    with pytest.raises(ValueError, match="formula: expected no unit clauses"):
        ksat.local_entropy_kernel(Formula.from_clauses([[1], [1, 2]]), coupling=0.5)
    with pytest.raises(ValueError, match="damping: expected a number"):
        ksat.local_entropy_kernel(random_formula(9, 20, 3, seed=0), coupling=0.5, damping=1.0)
    with pytest.raises(ValueError, match="n_spins: expected an integer"):
        LocalEntropyMetropolis(lost, jnp.zeros(1), n_spins=0, coupling=1.0)
    kernel, key = small_kernel(), jax.random.key(0)
    for start, message in (
        (np.ones(4), r"init_params: expected 3 spins a chain, got \(4,\)"),
        (np.zeros(3), r"init_params: expected \+1 or -1"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel.init(key, 0, {"reference": start}, (), {})
    with pytest.raises(ValueError, match="run: expected positional arguments only"):
        kernel.init(key, 0, None, (), {"beta": 1.0})


def test_the_progress_bar_shows_the_acceptance():
    kernel = small_kernel()
    state = kernel.init(jax.random.key(0), 0, None, (), {})
    assert kernel.get_diagnostics_str(state) == "acc. prob=0.00"
