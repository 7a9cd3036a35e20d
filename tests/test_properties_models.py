"""What every system must keep when its people, variables, genes or spins are told otherwise."""

import csv
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from graphs import ContactNetwork
from inference import Status
from inference.checkpoints import kept
from models.cell_types import (
    Points,
    em,
    log_likelihood_counts,
    match_profiles,
    read_points,
    read_profiles,
    simulate_benchmark,
)
from models.contact_tracing import Epidemic, Observations, exact_posterior, infer, simulate
from models.deep_linear import Architecture, compress, posterior
from models.ksat import (
    Formula,
    belief_propagation,
    count_solutions,
    exact_marginals,
    planted_formula,
    random_formula,
)
from models.mesoscopic import LinearLangevin, SpinSystem
from models.mesoscopic.spins import all_states
from models.perceptron import Problem, random_patterns, teacher_student
from models.perceptron import exact_marginals as exact_weights

few = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEED = st.integers(0, 2**31)


# --------------------------------------------------------------------------- satisfiability


@few
@given(SEED, st.integers(0, 40))
def test_energies_count_violated_clauses_and_planted_solutions_have_none(seed, n_clauses):
    formula, hidden = planted_formula(12, n_clauses, 3, seed=seed)
    assert formula.energy(hidden) == 0
    spins = np.random.default_rng(seed).choice([-1, 1], 12)
    clauses = [formula.clause(a) for a in range(n_clauses)]
    violated = sum(all(math.copysign(1, v) != spins[abs(v) - 1] for v in c) for c in clauses)
    assert formula.energy(spins) == violated


@few
@given(SEED, st.integers(1, 30))
def test_renamed_and_negated_variables_permute_and_mirror_the_marginals(seed, n_clauses):
    rng = np.random.default_rng(seed)
    formula, _ = planted_formula(10, n_clauses, 3, seed=seed)
    place, sign = rng.permutation(10), rng.choice([-1, 1], 10)
    clauses = [formula.clause(a) for a in rng.permutation(n_clauses)]
    other = Formula.from_clauses(
        [
            [int((1 + place[abs(v) - 1]) * sign[abs(v) - 1] * math.copysign(1, v)) for v in clause]
            for clause in clauses
        ],
        10,
    )
    exact, told = exact_marginals(formula), exact_marginals(other)
    assert exact.n_solutions == told.n_solutions
    np.testing.assert_allclose(sign * (2 * told.marginals[place] - 1), 2 * exact.marginals - 1)
    runs = [belief_propagation(f, on_failure="ignore", tol=1e-12) for f in (formula, other)]
    if all(run.status is Status.CONVERGED for run in runs):
        found, mirrored = (run.marginals for run in runs)
        np.testing.assert_allclose(sign * (2 * mirrored[place] - 1), 2 * found - 1, atol=1e-6)
        np.testing.assert_allclose(runs[1].log_partition, runs[0].log_partition, atol=1e-6)
        assert ((found >= 0) & (found <= 1)).all()
    else:
        # a Bethe approximation of a formula this small may fail; not on this many clauses
        assert n_clauses > 10


@few
@given(SEED, st.integers(1, 25))
def test_clauses_only_take_solutions_away(seed, n_clauses):
    formula = random_formula(10, n_clauses, 3, seed=seed)
    clauses = [formula.clause(a) for a in range(n_clauses)]
    n_solutions = count_solutions(formula)
    assert count_solutions(Formula.from_clauses(clauses[:-1], 10)) >= n_solutions
    free = Formula.from_clauses([*clauses, (1, -1), clauses[0]], 10)
    assert count_solutions(free) == n_solutions
    # of all assignments a clause of three literals forbids an eighth
    lone = Formula.from_clauses(clauses[:1], 10)
    assert count_solutions(lone) == 7 * 2**7


@few
@given(SEED, st.integers(0, 30))
def test_formulas_come_back_from_their_file(tmp_path, seed, n_clauses):
    formula = random_formula(10, n_clauses, 3, seed=seed)
    formula.to_dimacs(tmp_path / "f.cnf", comments=["drawn"])
    back = Formula.from_dimacs(tmp_path / "f.cnf")
    assert back.n_variables == 10
    assert [back.clause(a) for a in range(n_clauses)] == [
        formula.clause(a) for a in range(n_clauses)
    ]


# --------------------------------------------------------------------------- perceptrons


@few
@given(SEED, st.sampled_from([(9, 1, False), (3, 3, False), (3, 3, True)]))
def test_teachers_make_no_error_and_stabilities_are_sums(seed, size):
    n_inputs, n_hidden, tree = size
    options = {"n_hidden": n_hidden, "tree": tree, "seed": seed}
    problem, teacher = teacher_student(n_inputs, 1.5, **options)
    assert problem.energy(teacher) == 0
    again = random_patterns(n_inputs, 1.5, **options)
    np.testing.assert_array_equal(
        random_patterns(n_inputs, 1.5, **options).patterns, again.patterns
    )
    weights = np.random.default_rng(seed).choice([-1, 1], problem.weights_shape)
    blocks = problem.patterns.reshape(problem.n_patterns, -1, n_inputs)
    votes = [
        sum(np.sign(row[h % len(row)] @ w) for h, w in enumerate(weights.reshape(-1, n_inputs)))
        for row in blocks.astype(int)
    ]
    assert problem.energy(weights) == sum(v * y < 0 for v, y in zip(votes, problem.labels.tolist()))


@few
@given(SEED, st.integers(1, 8))
def test_permuted_and_flipped_inputs_permute_and_flip_the_weights(seed, n_patterns):
    rng = np.random.default_rng(seed)
    patterns, labels = rng.choice([-1, 1], (n_patterns, 9)), rng.choice([-1, 1], n_patterns)
    order, flip = rng.permutation(9), rng.choice([-1, 1], 9)
    exact = exact_weights(Problem(patterns, labels))
    told = exact_weights(Problem((patterns * flip)[:, order], labels))
    assert told.n_solutions == exact.n_solutions
    if exact.n_solutions:
        np.testing.assert_allclose(told[2], (exact[2] * flip)[order], atol=1e-12)
    # a pattern times its label says the same, and one pattern more leaves no more solutions
    same = Problem(patterns * labels[:, None], np.ones(n_patterns, int))
    assert exact_weights(same).n_solutions == exact.n_solutions
    fewer = exact_weights(Problem(patterns[:1], labels[:1])).n_solutions
    assert exact.n_solutions <= fewer == 2**8


# --------------------------------------------------------------------------- deep linear networks


def evidence(x, y, beta=3.0, precisions=1.0):
    network = Architecture((6, 4), precisions=precisions)
    result = posterior(compress(x, y, network), network, beta)
    assert result.status is Status.CONVERGED
    return result


@settings(few, max_examples=4)
@given(SEED, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
def test_evidence_knows_no_basis_no_order_and_no_unit(seed, unit_x, unit_y):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(8, 5)), rng.normal(size=8)
    told = evidence(x, y)
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    order = rng.permutation(8)
    changed = evidence((x @ rotation)[order], y[order])
    np.testing.assert_allclose(changed.log_evidence, told.log_evidence, atol=1e-8)
    np.testing.assert_allclose(changed.mixing_mean, told.mixing_mean, atol=1e-8)
    # other units: the prior of the weights has to be told in them, and a density changes with y
    scaled = evidence(unit_x * x, unit_y * y, 3.0 / unit_y**2, (unit_x**2, 1.0, 1.0 / unit_y**2))
    wanted = told.log_evidence - 8 * math.log(unit_y)
    np.testing.assert_allclose(scaled.log_evidence, wanted, atol=1e-7)
    mirrored = evidence(x, -y)
    np.testing.assert_allclose(mirrored.log_evidence, told.log_evidence, atol=1e-8)


def test_targets_whose_densities_doubles_cannot_tell_apart_are_refused():
    x = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.5]])
    network = Architecture((3,))
    for size in (1e9, 1e149):
        with pytest.raises(ValueError, match="y: expected targets of the size of prior and noise"):
            posterior(compress(x, size * np.array([1.0, 4.0, 2.0]), network), network, 4.0)
    with pytest.raises(ValueError, match="y: expected numbers of at most 1e\\+150"):
        compress(x, [1e160, 1.0, 1.0], network)


# --------------------------------------------------------------------------- contact tracing

EPIDEMIC = Epidemic(seed_prob=0.2, recovery_prob=0.3)
TREE = [(0, 1, 0), (1, 2, 1), (1, 3, 1), (0, 1, 1)]
ORDER = np.array([2, 0, 3, 1])  # one for all: who meets whom decides what is compiled


def tree_network(prob, order=range(4)):
    a, b, day = zip(*TREE)
    named = [order[i] for i in a], [order[i] for i in b]
    return ContactNetwork.from_events(*named, day, prob, n_people=4, n_days=2, symmetric=True)


def same_posterior(found, wanted, *, atol, shift=0.0):
    np.testing.assert_allclose(found.state_prob, wanted.state_prob, atol=atol)
    np.testing.assert_allclose(found.log_evidence, wanted.log_evidence + shift, atol=atol)


@few
@given(SEED, st.lists(st.floats(0.05, 0.9), min_size=4, max_size=4))
def test_renamed_people_have_the_same_risk(seed, prob):
    rng = np.random.default_rng(seed)
    who, day, result = rng.integers(4, size=3), rng.integers(3, size=3), rng.random(3) < 0.5
    tests = [
        Observations.from_tests(p, day, result, false_positive=0.1, false_negative=0.2)
        for p in (who, ORDER[who])
    ]
    networks = tree_network(prob), tree_network(prob, ORDER.tolist())
    exact, told = (exact_posterior(n, t, EPIDEMIC) for n, t in zip(networks, tests))
    np.testing.assert_allclose(told.state_prob[ORDER], exact.state_prob, atol=1e-12)
    np.testing.assert_allclose(told.log_evidence, exact.log_evidence, atol=1e-12)
    np.testing.assert_allclose(exact.state_prob.sum(axis=-1), 1.0, atol=1e-12)
    assert (exact.state_prob >= 0).all()
    # those who meet form a tree: belief propagation is exact
    same_posterior(infer(networks[1], tests[1], EPIDEMIC, tol=1e-10), told, atol=1e-7)


@few
@given(st.integers(0, 3), st.integers(0, 2), st.floats(0.01, 0.99), st.floats(0.05, 0.9))
def test_a_test_without_news_changes_nothing_and_a_perfect_one_decides(who, day, wrong, prob):
    network = tree_network(prob)

    def test_of(positive, **rates):
        return Observations.from_tests([who], [day], [positive], **rates)

    deaf = test_of(True, false_positive=wrong, false_negative=1.0 - wrong)
    none = exact_posterior(network, Observations.none(), EPIDEMIC)
    same_posterior(
        exact_posterior(network, deaf, EPIDEMIC), none, atol=1e-10, shift=math.log(wrong)
    )
    ill = none.state_prob[who, day, 1]
    for positive in (True, False):
        sure = exact_posterior(network, test_of(positive), EPIDEMIC)
        np.testing.assert_allclose(sure.state_prob[who, day, 1], float(positive), atol=1e-12)
        wanted = math.log(ill if positive else 1.0 - ill)
        np.testing.assert_allclose(sure.log_evidence, wanted, atol=1e-10)
    # a false alarm beyond belief says the same as a perfect negative result, however rare it is
    rare = test_of(True, false_positive=1e-157, false_negative=1.0)
    for route in (exact_posterior, infer):
        told = route(network, rare, EPIDEMIC)
        same_posterior(told, sure, atol=1e-5, shift=math.log(1e-157))


@few
@given(SEED, st.floats(0.0, 1.0))
def test_states_only_go_on_from_susceptible_to_infected_to_recovered(seed, prob):
    network = tree_network(prob)
    outbreak = simulate(network, EPIDEMIC, seed=seed)
    states = outbreak.states()
    assert states.shape == (4, 3)
    assert (np.diff(states, axis=1) >= 0).all()
    np.testing.assert_array_equal(states, simulate(network, EPIDEMIC, seed=seed).states())
    for person, infector in enumerate(outbreak.infector.tolist()):
        if infector >= 0:
            assert any({person, infector} == {a, b} for a, b, _ in TREE)


# --------------------------------------------------------------------------- cell types


@few
@given(SEED)
def test_reordered_genes_bins_and_types_reorder_the_fit(seed):
    rng = np.random.default_rng(seed)
    values = rng.poisson(5.0, (7, 6))
    beta, maps = rng.dirichlet(np.ones(2), 7), rng.dirichlet(np.ones(6), 2)
    gene, place = rng.permutation(7), rng.permutation(6)
    options = {"max_steps": 20, "tol": 1e-12, "on_failure": "ignore"}
    found = em(values, beta, maps, **options)
    other = em(values[gene][:, place], beta[gene][:, ::-1], maps[::-1][:, place], **options)
    np.testing.assert_allclose(other.membership, found.membership[gene][:, ::-1], atol=1e-8)
    np.testing.assert_allclose(other.maps, found.maps[::-1][:, place], atol=1e-8)
    for rows in (found.membership, found.maps):
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-12)
        assert (rows >= 0).all()
    again = em(values, found.membership, found.maps, **options)
    assert again.n_steps <= 20


@few
@given(SEED)
def test_benchmarks_are_of_their_seed_and_their_likelihood_is_poisson(seed):
    options = {"n_genes": 6, "n_types": 2, "shape": (3, 3), "typical_cells": 20.0}
    one = simulate_benchmark(seed, **options)
    values = np.asarray(one.counts.values)
    np.testing.assert_array_equal(values, simulate_benchmark(seed, **options).counts.values)
    assert not np.array_equal(values, simulate_benchmark(seed + 1, **options).counts.values)
    rng = np.random.default_rng(seed)
    beta, maps = 30.0 * rng.random((6, 2)), rng.dirichlet(np.ones(9), 2)
    rate = beta @ maps
    log_factorial = np.vectorize(math.lgamma)(values + 1.0)
    wanted = (values * np.log(rate) - rate - log_factorial).sum()
    found = log_likelihood_counts(one.counts, beta, maps)
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


NAME = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=5)
NUMBER = st.floats(-1e6, 1e6)
SIZE = st.floats(1e-3, 1e6)


@few
@given(st.lists(st.tuples(NAME, NUMBER, NUMBER, SIZE), min_size=2, max_size=9))
def test_points_come_back_from_their_table(tmp_path, rows):
    # a window needs an area
    rows = [*rows, ("a", -2e6, -2e6, 1.0), ("a", 2e6, 2e6, 1.0)]
    path = tmp_path / "points.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [("size", "y", "gene", "x"), *((s, y, g, x) for g, x, y, s in rows)]
        )
    found = read_points(path)
    genes, x, y, size = zip(*rows)
    wanted = Points.from_labels(genes, np.column_stack([x, y]), marks={"size": np.array(size)})
    assert found.genes == wanted.genes
    columns = found.columns()
    assert tuple(columns["gene"]) == genes
    for name, column in (("x", x), ("y", y), ("size", size)):
        assert tuple(columns[name]) == column


@few
@given(SEED)
def test_the_smallest_window_holds_the_cells_on_its_border(seed):
    places = np.random.default_rng(seed).normal(size=(100, 4, 2)).round(3)
    for four in places:  # a border that is computed and not kept misses one window in ten
        assert len(Points.from_labels("abcd", four).gene) == 4


@few
@given(st.lists(NAME, min_size=2, max_size=5, unique_by=str.lower), SEED, st.booleans())
def test_profiles_come_back_from_both_forms(tmp_path, genes, seed, long):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, size=(2, len(genes)))
    path = tmp_path / "profiles.csv"
    rows = [("gene", "Sst", "Vip"), *((g, *column) for g, column in zip(genes, values.T.tolist()))]
    if long:
        entries = [
            (t, g, values[i, j]) for i, t in enumerate(rows[0][1:]) for j, g in enumerate(genes)
        ]
        order = rng.permutation(len(entries))
        rows = [
            ("gene", "note", "value", "type"),
            *((entries[i][1], "x", entries[i][2], entries[i][0]) for i in order),
        ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    table = read_profiles(path)
    place = [table.types.index(t) for t in ("Sst", "Vip")], [table.genes.index(g) for g in genes]
    np.testing.assert_array_equal(table.values[np.ix_(*place)], values)


@few
@given(SEED)
def test_profiles_match_themselves_in_any_order(seed):
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, size=(3, 12))
    genes = [f"g{i}" for i in range(12)]
    gene, kind = rng.permutation(12), rng.permutation(3)
    match = match_profiles(
        values,
        values[kind][:, gene],
        genes=genes,
        reference_genes=[genes[i] for i in gene],
        min_common=5,
    )
    np.testing.assert_array_equal(kind[match.partner], range(3))
    np.testing.assert_allclose(match.correlation, 1.0)


# --------------------------------------------------------------------------- small devices


@few
@given(SEED)
def test_flipped_and_renamed_spins_dissipate_the_same(seed):
    rng = np.random.default_rng(seed)
    couplings, bias = rng.normal(size=(4, 4)), rng.normal(size=4)
    np.fill_diagonal(couplings, 0.0)
    sign, order = rng.choice([-1.0, 1.0], 4), rng.permutation(4)
    one = SpinSystem(couplings, bias=bias)
    mirrored = SpinSystem(
        (couplings * np.outer(sign, sign))[np.ix_(order, order)], bias=(bias * sign)[order]
    )
    for form in ("observable", "schnakenberg"):
        sigma = float(one.entropy_production(form=form))
        np.testing.assert_allclose(mirrored.entropy_production(form=form), sigma, atol=1e-9)
        assert sigma > 0
    law, told = np.asarray(one.stationary()), np.asarray(mirrored.stationary())
    states = all_states(4)
    image = (states * sign[:, None])[order]
    code = ((image > 0) * 2 ** np.arange(4)[:, None]).sum(axis=0)
    np.testing.assert_allclose(told[code], law, atol=1e-12)
    np.testing.assert_allclose(law.sum(), 1.0, atol=1e-12)
    assert (law > 0).all()
    symmetric = SpinSystem((couplings + couplings.T) / 2, bias=bias)
    np.testing.assert_allclose(symmetric.entropy_production(), 0.0, atol=1e-9)
    energy = -(states * (symmetric.couplings @ states)).sum(axis=0) / 2 - bias @ states
    gibbs = np.exp(-energy + energy.min())
    np.testing.assert_allclose(symmetric.stationary(), gibbs / gibbs.sum(), atol=1e-10)


@few
@given(SEED, st.floats(0.1, 10.0))
def test_rotated_units_dissipate_the_same_and_faster_ones_more(seed, speed):
    rng = np.random.default_rng(seed)
    drift = 3.0 * np.eye(3) + rng.uniform(-0.6, 0.6, (3, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one = LinearLangevin(drift, 0.7)
    turned = LinearLangevin(rotation @ drift @ rotation.T, 0.7)
    sigma = float(one.entropy_production())
    np.testing.assert_allclose(turned.entropy_production(), sigma, rtol=1e-8)
    np.testing.assert_allclose(
        turned.covariance(), rotation @ one.covariance() @ rotation.T, atol=1e-10
    )
    # in another unit of time drift and noise grow alike
    faster = LinearLangevin(speed * drift, speed * 0.7)
    np.testing.assert_allclose(faster.entropy_production(), speed * sigma, rtol=1e-8)
    np.testing.assert_allclose(faster.covariance(), one.covariance(), rtol=1e-8)
    balanced = LinearLangevin((drift + drift.T) / 2, 0.7)
    np.testing.assert_allclose(balanced.entropy_production(), 0.0, atol=1e-10)


# --------------------------------------------------------------------------- states of runs

STATE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


@few
@given(STATE)
def test_states_of_runs_come_back_from_their_file(tmp_path, state):
    path = tmp_path / "run.npz"
    path.unlink(missing_ok=True)
    with kept(path, "walk") as keep:
        keep.offer(lambda: state, last=True)
    with kept(path, "walk") as keep:
        assert keep.restored == state
        assert repr(keep.restored) == repr(state)
