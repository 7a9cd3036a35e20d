"""Formulas by enumeration, by messages, and by sampling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from inference.certificates import (
    Certificate,
    Row,
    Setting,
    certify,
    exact,
    independent,
)
from inference.checks import Floats
from inference.monte_carlo import enumerated_laws
from inference.monte_carlo.constraint_counts import clause_wiring
from inference.progress import Stop, never

from . import annealing, enumeration, propagation, rounds, sampler, search, solvers, surroundings
from .formula import Formula, random_formula
from .robust_ensemble import replicated_annealing

_TREE = Formula.from_clauses([[1, -2, 3], [3, 4], [-4, 5, -6], [6, -7]], 7)
_EXACT = 1e-9
"""Messages to 1e-13 on trees of at most 15 variables, whose sums lose a few digits more."""


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare enumeration, message passing and sampling; see `inference.certificates.certify`."""
    return certify(
        "ksat", CHECKS, full=full, seed=seed, only=only, should_stop=should_stop, progress=progress
    )


def tree_formula(k: int, most: int, rng: np.random.Generator) -> Formula:
    """Return clauses of ``k`` literals that form no loop, of at most ``most`` variables."""
    clauses, n = [list(range(k))], k
    while n + k - 1 <= most:
        clauses.append([int(rng.integers(n)), *range(n, n + k - 1)])
        n += k - 1
    signed = [[(v + 1) * int(rng.choice([-1, 1])) for v in clause] for clause in clauses]
    return Formula.from_clauses(signed, n)


def n_violated(formula: Formula, assignments: np.ndarray) -> Floats:
    """Count violated clauses of assignments ``(..., n)``, literal by literal."""
    spins = np.asarray(assignments)
    violated = np.zeros(spins.shape[:-1])
    for index in range(formula.n_clauses):
        literals = np.array(formula.clause(index))
        violated += (spins[..., np.abs(literals) - 1] != np.sign(literals)).all(axis=-1)
    return violated


class Surroundings(NamedTuple):
    """Sums over all solutions around a reference, per variable."""

    free_entropy: float
    distance: float
    local_entropy: float


def enumerated_surroundings(
    formula: Formula, reference: np.ndarray, coupling: float
) -> Surroundings:
    """Count the solutions by their distance from a reference."""
    n = formula.n_variables
    states = enumerated_laws.all_spins(n)
    overlaps = states[n_violated(formula, states) == 0].astype(float) @ reference
    weights = np.exp(coupling * (overlaps - n))
    free_entropy = float(np.log(weights.sum()) / n + coupling)
    overlap = float(weights @ overlaps / weights.sum() / n)
    return Surroundings(free_entropy, (1 - overlap) / 2, free_entropy - coupling * overlap)


def belief_propagation_on_trees(setting: Setting) -> list[Row]:
    """Marginals and numbers of solutions by messages are those of enumeration on trees."""
    rows: list[Row] = []
    rng = np.random.default_rng(setting.seed)
    for k in (2, 3, 4):
        formula = tree_formula(k, 13, rng)
        for name, field in (("no field", 0.0), ("fields", rng.normal(size=formula.n_variables))):
            counted = enumeration.exact_marginals(formula, field=field)
            schedules: list[propagation.Schedule] = ["sequential"]
            if setting.full or k == 3:  # of a size each has a program
                schedules.append("parallel")
            for schedule in schedules:
                found = propagation.belief_propagation(
                    formula, field=field, schedule=schedule, tol=1e-13, seed=setting.seed,
                    on_failure="raise", progress=False,
                )  # fmt: skip
                label = f"{k} literals, {name}, {schedule}"
                rows += [
                    exact(f"marginals, {label}", counted.marginals, found.marginals,
                          tolerance=_EXACT),
                    exact(f"log Z, {label}", counted.log_partition, found.log_partition,
                          tolerance=_EXACT),
                ]  # fmt: skip
    return rows


def enumeration_recounted(setting: Setting) -> list[Row]:
    """Solutions counted on the cube and clause by clause; their mean number over formulas."""
    n, n_clauses = 10, 30
    states = enumerated_laws.all_spins(n)
    counts, recounts = [], []
    for seed in range(setting.draws(400, 4000)):
        formula = random_formula(n, n_clauses, 3, seed=seed + 100_000 * setting.seed)
        counts.append(enumeration.count_solutions(formula))
        if seed < 20:
            recounts.append((n_violated(formula, states) == 0).sum())
    first_moment = 2.0**n * (7 / 8) ** n_clauses
    return [
        exact("numbers of solutions", recounts, counts[: len(recounts)], tolerance=0.5),
        *independent("E number of solutions", first_moment, counts),
    ]


def survey_propagation_in_limits(setting: Setting) -> list[Row]:
    """Surveys of a tree show one cluster; without joker they are beliefs; schedules agree."""
    tree = tree_formula(3, 13, np.random.default_rng(setting.seed))
    counted = enumeration.exact_marginals(tree)
    bare = propagation.survey_propagation(tree, rho=0.0, tol=1e-13, progress=False)
    surveys = propagation.survey_propagation(tree, tol=1e-13, progress=False)
    rows: list[Row] = [
        exact("without joker: marginals", counted.marginals, bare.biases[:, 0], tolerance=_EXACT),
        exact("without joker: log Z", counted.log_partition, bare.complexity, tolerance=_EXACT),
        exact("clusters of a tree", 0.0, surveys.complexity, tolerance=_EXACT),
        exact("unfrozen in a tree", np.ones(tree.n_variables), surveys.biases[:, 2],
              tolerance=_EXACT),
    ]  # fmt: skip
    hard = random_formula(300, 1260, 3, seed=1)
    one, two = (
        propagation.survey_propagation(
            hard, schedule=schedule, init=0.5, damping=0.4, tol=1e-11, max_steps=5000,
            on_failure="raise", progress=False,
        )
        for schedule in ("sequential", "parallel")
    )  # fmt: skip
    # messages to 1e-11, times the slope at the fixed point, over 3780 edges
    rows += [
        exact("two schedules: biases", one.biases, two.biases, tolerance=1e-8),
        exact("two schedules: complexity", one.complexity, two.complexity, tolerance=1e-6),
    ]
    return rows


def local_entropy_on_a_tree(setting: Setting) -> list[Row]:
    """Numbers of solutions around a reference by messages are those of enumeration on a tree."""
    reference = np.random.default_rng(setting.seed).choice([-1, 1], _TREE.n_variables)
    couplings = [0.0, 0.3, 1.0, 3.0]
    counted = np.array([enumerated_surroundings(_TREE, reference, g) for g in couplings]).T
    found = surroundings.local_entropy(
        _TREE, reference, couplings, tol=1e-13, on_failure="raise", progress=False
    )
    return [
        exact(name, expected, getattr(found, name), tolerance=_EXACT)
        for name, expected in zip(Surroundings._fields, counted)
    ]


def annealing_at_one_temperature(setting: Setting) -> list[Row]:
    """Energies of single flips at one temperature follow the Boltzmann law of all assignments."""
    formula = random_formula(8, 30, 3, seed=3)
    energies = n_violated(formula, enumerated_laws.all_spins(8))
    wiring = clause_wiring(formula.system)
    return enumerated_laws.at_one_temperature(setting, wiring, energies, 0.8)


def attracting_replicas(setting: Setting) -> list[Row]:
    """Two replicas that attract each other follow the law of all pairs of assignments."""
    formula = random_formula(6, 18, 3, seed=2)
    energies = n_violated(formula, enumerated_laws.all_spins(6))
    wiring = clause_wiring(formula.system)
    return enumerated_laws.of_two_replicas(setting, wiring, energies, 0.8, 0.4)


def references_by_local_entropy(setting: Setting) -> list[Row]:
    """Follow the law of all references with samples by local entropy, on a tree."""
    coupling, n_replicas, n = 0.6, 3.0, _TREE.n_variables
    free_entropies = np.array(
        [
            n * enumerated_surroundings(_TREE, state, coupling).free_entropy
            for state in enumerated_laws.all_spins(n)
        ]
    )
    kernel = sampler.local_entropy_kernel(
        _TREE, coupling=coupling, n_replicas=n_replicas, n_flips=4, tol=1e-8
    )
    return enumerated_laws.of_references(setting, kernel, free_entropies, n_replicas)


def solutions_are_solutions(setting: Setting) -> list[Row]:
    """Solutions found violate no clause, and violated clauses are counted right."""
    easy = random_formula(400, 1500, 3, seed=setting.seed)
    hard = random_formula(60, 600, 3, seed=setting.seed)  # ten clauses a variable: no solution
    seed = setting.seed
    found: dict[str, Any] = {
        "all in turns": rounds.solve(easy, seed=seed, progress=False),
        "reinforced messages": solvers.reinforce(easy, seed=seed, progress=False),
        "local search": solvers.local_search(easy, seed=seed, progress=False),
        "entropy-driven": search.entropy_driven_monte_carlo(easy, seed=seed, progress=False),
        "replicas": replicated_annealing(easy, seed=seed, progress=False),
        "annealing": annealing.simulated_annealing(easy, seed=seed, progress=False),
    }
    rows: list[Row] = []
    for name, result in found.items():
        recounted = n_violated(easy, result.assignment)
        rows.append(exact(f"energy, {name}", recounted, result.energy, tolerance=0.5))
        if name != "annealing":  # which may freeze
            rows.append(exact(f"violated clauses, {name}", 0.0, recounted, tolerance=0.5))
    lost = solvers.local_search(hard, max_flips=20_000, seed=seed, progress=False)
    recounted = n_violated(hard, lost.assignment)
    return [*rows, exact("energy without solution", recounted, lost.energy, tolerance=0.5)]


CHECKS = (
    enumeration_recounted,
    belief_propagation_on_trees,
    survey_propagation_in_limits,
    local_entropy_on_a_tree,
    annealing_at_one_temperature,
    attracting_replicas,
    references_by_local_entropy,
    solutions_are_solutions,
)
