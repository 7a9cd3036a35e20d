"""Binary machines by enumeration, by messages, by replica theory, and by sampling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from inference.certificates import (
    Certificate,
    Row,
    Setting,
    certify,
    estimates,
    exact,
    independent,
)
from inference.checks import Floats
from inference.monte_carlo import enumerated_laws
from inference.progress import Stop, never

from . import (
    annealing,
    enumeration,
    focusing,
    propagation,
    replicated_descent,
    sampler,
    search,
    surroundings,
    theory,
)
from .problem import Problem, random_patterns, teacher_student
from .propagation import Method
from .robust_ensemble import replicated_annealing

_KINDS = ((1, False), (3, False), (3, True))
"""Hidden units, and whether each has inputs of its own."""
_EXACT = 1e-9
"""Messages to 1e-13 around a single pattern of 15 weights, whose sums lose a few digits more."""


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare enumeration, messages and samples; see `inference.certificates.certify`."""
    return certify(
        "perceptron", CHECKS, full=full, seed=seed, only=only, should_stop=should_stop,
        progress=progress,
    )  # fmt: skip


def n_errors(problem: Problem, weights: np.ndarray) -> Floats:
    """Count errors of weights ``(..., n_weights)``, sign by sign."""
    hidden = np.asarray(weights, float).reshape(-1, problem.n_hidden, problem.n_inputs)
    blocks = problem.patterns.reshape(problem.n_patterns, -1, problem.n_inputs).astype(float)
    blocks = np.broadcast_to(blocks, (problem.n_patterns, problem.n_hidden, problem.n_inputs))
    votes = np.sign(np.einsum("phi,whi->wph", blocks, hidden)).sum(axis=-1)
    wrong = (np.sign(votes) != problem.labels).sum(axis=-1)
    return wrong.reshape(np.shape(weights)[:-1]).astype(float)


def one_pattern(n_hidden: int, tree: bool, seed: int) -> Problem:
    """Return a problem of one pattern and fifteen weights, around which messages are exact."""
    n_inputs = 15 if n_hidden == 1 else 5
    rng = np.random.default_rng(seed)
    pattern = rng.choice([-1, 1], (1, n_inputs * (n_hidden if tree else 1)))
    return Problem(pattern, np.array([-1], np.int8), n_hidden=n_hidden, tree=tree)


def enumeration_recounted(setting: Setting) -> list[Row]:
    """Solutions by Gray code and sign by sign; their mean number over problems."""
    n, n_patterns = 11, 4
    counts, recounts = [], []
    states = enumerated_laws.all_spins(n)
    for seed in range(setting.draws(400, 4000)):
        problem = random_patterns(n, n_patterns / n, seed=seed + 100_000 * setting.seed)
        counts.append(enumeration.enumerate_solutions(problem).n_solutions)
        if seed < 20:
            recounts.append((n_errors(problem, states) == 0).sum())
    rows: list[Row] = [
        exact("numbers of solutions", recounts, counts[: len(recounts)], tolerance=0.5),
        # each pattern halves the weights
        *independent("E number of solutions", 2.0 ** (n - n_patterns), counts),
    ]
    for tree in (False, True):
        problem = random_patterns(5, 0.4, n_hidden=3, tree=tree, seed=setting.seed)
        found = enumeration.enumerate_solutions(problem).n_solutions
        recount = (n_errors(problem, enumerated_laws.all_spins(15)) == 0).sum()
        rows.append(exact(f"committee, tree {tree}", recount, found, tolerance=0.5))
    return rows


def belief_propagation_of_one_pattern(setting: Setting) -> list[Row]:
    """Means of the weights and numbers of solutions by messages are exact around one pattern."""
    rows: list[Row] = []
    for n_hidden, tree in _KINDS:
        problem = one_pattern(n_hidden, tree, setting.seed)
        field = np.random.default_rng(setting.seed).normal(size=problem.weights_shape)
        counted = enumeration.exact_marginals(problem, field=field)
        schedules: list[propagation.Schedule] = ["sequential"]
        if setting.full or tree:  # of a kind each has a program
            schedules.append("parallel")
        for schedule in schedules:
            found = propagation.belief_propagation(
                problem, field=field, method="exact", schedule=schedule, on_failure="raise",
                progress=False,
            )  # fmt: skip
            label = f"{n_hidden} units, tree {tree}, {schedule}"
            rows += [
                exact(f"means, {label}", counted.magnetizations, found.magnetizations,
                      tolerance=_EXACT),
                exact(f"log Z, {label}", counted.log_partition, found.free_entropy,
                      tolerance=_EXACT),
            ]  # fmt: skip
    return rows


def gaussian_messages(setting: Setting) -> list[Row]:
    """Messages of sums taken for Gaussian are log ratios of two error functions."""
    problem = one_pattern(1, False, setting.seed)
    cavity = np.random.default_rng(setting.seed + 1).normal(size=15)
    x = -problem.patterns[0].astype(float)  # the label absorbed
    means = np.tanh(cavity)
    expected = []
    for i in range(15):
        rest = np.arange(15) != i
        mean, deviation = (x * means)[rest].sum(), np.sqrt((1 - means[rest] ** 2).sum())
        up, down = (log_ndtr((mean + sign * x[i]) / deviation) for sign in (1, -1))
        expected.append(0.5 * (up - down))
    rows: list[Row] = []
    for schedule in ("sequential", "parallel"):
        found = propagation.belief_propagation(
            problem, field=cavity, schedule=schedule, max_steps=1, on_failure="ignore",
            progress=False,
        )  # fmt: skip
        # one formula, written twice: sums of fifteen terms
        rows.append(exact(f"{schedule}", expected, found.messages[0, 0], tolerance=1e-10))
    return rows


def schedules_agree(setting: Setting) -> list[Row]:
    """Sweeps in random order and all messages at once reach one fixed point."""
    rows: list[Row] = []
    cases: tuple[tuple[int, Method], ...] = ((1, "gaussian"), (3, "exact"), (1, "amp"))
    for n_hidden, method in cases:
        problem = random_patterns(41 if n_hidden == 1 else 15, 0.3, n_hidden=n_hidden, seed=1)
        field = 0.3 * np.random.default_rng(setting.seed).normal(size=problem.weights_shape)
        one, two = (
            propagation.belief_propagation(
                problem, field=field, method=method, schedule=schedule, damping=0.4, tol=1e-12,
                on_failure="raise", progress=False,
            )
            for schedule in ("sequential", "parallel")
        )  # fmt: skip
        name = f"{method}, {n_hidden} units"
        rows += [
            exact(f"means, {name}", one.magnetizations, two.magnetizations, tolerance=_EXACT),
            exact(f"log Z, {name}", one.free_entropy, two.free_entropy, tolerance=_EXACT),
        ]
    return rows


def enumerated_surroundings(problem: Problem, reference: np.ndarray, coupling: float) -> Floats:
    """Return free entropy, distance and local entropy a weight by counting all solutions."""
    n = problem.n_weights
    states = enumerated_laws.all_spins(n)
    overlaps = states[n_errors(problem, states) == 0].astype(float) @ reference.ravel()
    weights = np.exp(coupling * (overlaps - n))
    free_entropy = np.log(weights.sum()) / n + coupling
    overlap = weights @ overlaps / weights.sum() / n
    return np.array([free_entropy, (1 - overlap) / 2, free_entropy - coupling * overlap])


def local_entropy_around_one_pattern(setting: Setting) -> list[Row]:
    """Numbers of solutions around a reference by messages are those of enumeration."""
    couplings = [0.0, 0.3, 1.0, 3.0]
    rows: list[Row] = []
    for n_hidden, tree in _KINDS:
        problem = one_pattern(n_hidden, tree, setting.seed)
        reference = np.random.default_rng(setting.seed + 1).choice([-1, 1], problem.weights_shape)
        counted = np.array([enumerated_surroundings(problem, reference, g) for g in couplings]).T
        found = surroundings.local_entropy(
            problem, reference, couplings, method="exact", tol=1e-12, on_failure="raise",
            progress=False,
        )  # fmt: skip
        for name, expected in zip(("free_entropy", "distance", "local_entropy"), counted):
            label = f"{name}, {n_hidden} units, tree {tree}"
            rows.append(exact(label, expected, getattr(found, name), tolerance=_EXACT))
    return rows


def annealing_at_one_temperature(setting: Setting) -> list[Row]:
    """Energies of single flips at one temperature follow the Boltzmann law of all weights."""
    rows: list[Row] = []
    for n_hidden in (1, 3):
        problem = random_patterns(9 // n_hidden, 7 / 9, n_hidden=n_hidden, seed=2)
        energies = n_errors(problem, enumerated_laws.all_spins(9))
        wiring = annealing.vote_wiring(problem)
        rows += enumerated_laws.at_one_temperature(
            setting, wiring, energies, 0.8, f"{n_hidden} units, "
        )
    return rows


def attracting_replicas(setting: Setting) -> list[Row]:
    """Two replicas that attract each other follow the law of all pairs of weights."""
    problem = random_patterns(7, 5 / 7, seed=2)
    energies = n_errors(problem, enumerated_laws.all_spins(7))
    wiring = annealing.vote_wiring(problem)
    return enumerated_laws.of_two_replicas(setting, wiring, energies, 0.8, 0.4)


def references_by_local_entropy(setting: Setting) -> list[Row]:
    """Follow the law of all references with samples by local entropy."""
    coupling, n_replicas = 0.5, 4.0
    patterns = np.array([[1, -1, 1], [1, -1, -1], [1, -1, -1]], np.int8)
    problem = Problem(patterns, np.ones(3, np.int8))
    free_entropies = np.array(
        [
            3.0
            * surroundings.local_entropy(
                problem, state, coupling, method="amp", tol=1e-8, on_failure="raise",
                progress=False,
            ).free_entropy
            for state in enumerated_laws.all_spins(3)
        ]
    )  # fmt: skip
    kernel = sampler.local_entropy_kernel(
        problem, coupling=coupling, n_replicas=n_replicas, n_flips=3
    )
    return enumerated_laws.of_references(setting, kernel, free_entropies, n_replicas)


def entropy_of_large_machines(setting: Setting) -> list[Row]:
    """Messages in large machines know what replica theory says of them."""
    n, load = 2001, 0.4
    densities, overlaps = [], []
    for seed in range(setting.draws(6, 30)):
        problem = random_patterns(n, load, seed=seed + 1000 * setting.seed)
        found = propagation.belief_propagation(
            problem, method="amp", tol=1e-7, on_failure="raise", progress=False
        )
        densities.append(found.free_entropy / n)
        problem, teacher = teacher_student(n, 0.5, seed=seed + 1000 * setting.seed)
        found = propagation.belief_propagation(
            problem, method="amp", tol=1e-7, on_failure="raise", progress=False
        )
        overlaps.append(np.mean(found.magnetizations * teacher))
    rows: list[Row] = []
    for name, expected, seen in (
        ("entropy at load 0.4", theory.replica_symmetric(load).entropy, np.array(densities)),
        ("overlap with a teacher at load 0.5", theory.teacher_student(0.5).overlap,
         np.array(overlaps)),
    ):  # fmt: skip
        # corrections of 1/n, with coefficients of order one
        error = np.hypot(seen.std(ddof=1) / np.sqrt(len(seen)), 0.5 / n)
        rows += estimates(name, float(expected), seen.mean(), error)
    return rows


def solutions_are_solutions(setting: Setting) -> list[Row]:
    """Weights found make no error, and errors are counted right."""
    seed = setting.seed
    machine = random_patterns(201, 0.3, seed=seed)
    committee = random_patterns(45, 0.3, n_hidden=5, seed=seed)
    found: dict[str, tuple[Problem, Any]] = {
        "entropy-driven": (
            machine,
            search.entropy_driven_monte_carlo(machine, seed=seed, progress=False),
        ),
        "focusing": (machine, focusing.focusing_bp(machine, seed=seed, progress=False)),
        "replicas": (machine, replicated_annealing(machine, seed=seed, progress=False)),
        "gradient": (
            committee,
            replicated_descent.replicated_sgd(committee, seed=seed, progress=False),
        ),
        "annealing": (machine, annealing.simulated_annealing(machine, seed=seed, progress=False)),
    }
    rows: list[Row] = []
    for name, (problem, result) in found.items():
        recounted = n_errors(problem, np.ravel(result.weights))
        rows.append(exact(f"energy, {name}", recounted, result.energy, tolerance=0.5))
        if name != "annealing":  # which may freeze
            rows.append(exact(f"errors, {name}", 0.0, recounted, tolerance=0.5))
    return rows


CHECKS = (
    enumeration_recounted,
    belief_propagation_of_one_pattern,
    gaussian_messages,
    schedules_agree,
    local_entropy_around_one_pattern,
    annealing_at_one_temperature,
    attracting_replicas,
    references_by_local_entropy,
    entropy_of_large_machines,
    solutions_are_solutions,
)
