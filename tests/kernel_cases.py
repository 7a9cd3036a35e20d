"""Tiny runs of everything that Numba compiles, to be compared with the same without compilation.

    python tests/kernel_cases.py OUT [NAME ...]

writes the numbers of the cases (default: all) into an .npz file, and prints the kernels that were
called as JSON if ``NUMBA_DISABLE_JIT=1``, where they are plain functions of Python.
"""

import ast
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
DECORATORS = ("kernel", "reduction_kernel")


def all_kernels():
    """Return ``{"file:function"}`` of everything that Numba compiles."""
    found = set()
    for package in ("graphs", "inference", "models"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [ast.unparse(one) for one in getattr(node, "decorator_list", [])]
                if any(name in DECORATORS or "njit" in name for name in names):
                    found.add(f"{path.relative_to(ROOT)}:{node.name}")
    return found


def random_numbers():
    from inference import kernels

    state = kernels.random_state(3)
    x = np.linspace(-40.0, 40.0, 9)
    tanh, slope, items = np.empty(9), np.empty(9), np.arange(9)
    kernels.fill_tanh(x, tanh, slope, np.empty(9, np.int64))
    kernels.shuffle(items, state)
    sample = np.empty(3)
    kernels.fill_dirichlet(np.array([0.1, 1.0, 3.0]), sample, state)
    cdf = [kernels.log_normal_cdf(value) for value in x]
    normal = [kernels.next_normal(state) for _ in range(5)]
    return tanh, slope, items, sample, cdf, normal, kernels.uniform(4, -1.0, 2.0, state), state


def formula():
    from models import ksat

    return ksat.random_formula(14, 45, 3, seed=2)


def clause_messages():
    from models import ksat

    quiet = {"on_failure": "ignore", "max_steps": 20}
    units = ksat.Formula.from_clauses([[1], [-1, 2], [-2, 3, 4], [-3, -4, 1]])
    return (
        ksat.belief_propagation(formula(), **quiet), ksat.survey_propagation(formula(), **quiet),
        ksat.propagate_units(units), ksat.belief_propagation(units, **quiet),
    )  # fmt: skip


def decimated():
    from models import ksat

    return tuple(
        ksat.decimate(formula(), guide=guide, fraction=0.2, backtracking=0.4, max_sweeps=30)
        for guide in ("survey", "belief")
    )


def reinforced():
    from models import ksat

    return ksat.reinforce(formula(), max_steps=20, progress=False)


def walked():
    from models import ksat

    return tuple(
        ksat.local_search(formula(), rule=rule, max_flips=200) for rule in ("probsat", "walksat")
    )


def flipped_clauses():
    from models import ksat

    quiet = {"progress": False, "n_sweeps": 3}
    return (
        ksat.simulated_annealing(formula(), **quiet),
        ksat.replicated_annealing(formula(), n_replicas=3, kernel="rejection-reduced", **quiet),
    )


def flipped_weights():
    from models import perceptron

    problem = perceptron.random_patterns(9, 0.5, n_hidden=3, seed=1)
    quiet = {"progress": False, "n_sweeps": 3, "n_replicas": 3}
    return tuple(
        perceptron.replicated_annealing(problem, centre=centre, kernel=kernel, **quiet)
        for centre in ("traced", "explicit")
        for kernel in ("metropolis", "rejection-reduced")
    )


def messages_in_turn():
    import jax

    from graphs.factor_graph import FactorGraph
    from inference.message_passing.belief_propagation import belief_propagation
    from inference.message_passing.factors import IsingFactors, TableFactors

    rng = np.random.default_rng(0)
    edges = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    graph = FactorGraph.from_edges(
        edges.ravel(), np.repeat(np.arange(4), 2), n_variables=4, n_factors=4
    )
    triangle = FactorGraph.from_edges(
        np.array([0, 1, 2, 1, 3]), np.array([0, 0, 0, 1, 1]), n_variables=4, n_factors=2
    )
    shapes = (2, 2, 2), (2, 2)
    tables = TableFactors.from_tables([rng.uniform(0.5, 1.0, size=s) for s in shapes])
    quiet = {"schedule": "sequential", "max_steps": 20, "key": jax.random.key(0)}
    quiet["on_failure"] = "ignore"
    return (
        belief_propagation(graph, IsingFactors(rng.normal(size=4)), field=0.1, **quiet),
        belief_propagation(triangle, tables, **quiet),
    )


def cells_sampled():
    from models import cell_types

    counts = cell_types.simulate_benchmark(0, n_genes=4, n_types=2, shape=(2, 2)).counts
    return cell_types.gibbs(counts, 2, num_warmup=2, num_samples=4, num_chains=2, progress=False)


def contacts(n_people=6, n_days=4):
    from graphs.contacts import household_contacts
    from models import contact_tracing

    network = household_contacts(n_people, n_days, transmission_prob=0.3, seed=0)
    tests = contact_tracing.Observations.of_states([1, 3], [2, 3], [1, 0])
    return network, tests


def risks():
    from graphs.contacts import proximity_contacts
    from models import contact_tracing

    network, tests = contacts()
    sparse = proximity_contacts(8, 4, seed=0)
    markov = contact_tracing.Epidemic(0.1, 0.2)
    survival = np.array([1.0, 1.0, 0.7, 0.4, 0.2, 0.1])
    general = contact_tracing.Epidemic(
        0.1, recovery_survival=survival, infectivity=np.array([0.0, 0.0, 0.5, 1.0, 0.7])
    )
    frozen = contact_tracing.Epidemic(0.1, recovery_survival=np.ones(6))
    quiet = {"max_steps": 5, "on_failure": "ignore", "progress": False}
    return tuple(
        contact_tracing.infer(where, tests, law, **quiet)
        for where in (network, sparse)
        for law in (markov, general, frozen)
    )


def risks_in_blocks_and_of_crowds():
    from graphs.temporal import ContactNetwork
    from models import contact_tracing

    first, second = np.triu_indices(20, 1)
    everybody = ContactNetwork.from_events(
        np.tile(first, 3), np.tile(second, 3), np.repeat([0, 1, 2], len(first)), 0.02
    )
    certain = ContactNetwork.from_events([0, 1, 0, 1], [1, 2, 1, 2], [0, 1, 2, 2], 1.0)
    network, tests = contacts()
    seen = contact_tracing.Observations.of_states([0, 1, 2], [0, 0, 0], [1, 0, 0])
    epidemic = contact_tracing.Epidemic(0.1, 0.2)
    quiet = {"max_steps": 3, "on_failure": "ignore", "progress": False}
    return (
        contact_tracing.infer(network, tests, epidemic, n_blocks=2, **quiet),
        contact_tracing.infer(everybody, tests, epidemic, **quiet),
        contact_tracing.infer(certain, seen, epidemic, **quiet),
    )


def risks_day_by_day():
    from models import contact_tracing

    quiet = {"max_steps": 5, "on_failure": "ignore", "progress": False, "window": 3}
    network, tests = contacts()
    longer, _ = contacts(n_days=5)
    epidemic = contact_tracing.Epidemic(0.1, 0.2)
    first = contact_tracing.infer(network, tests, epidemic, **quiet)
    return first, contact_tracing.infer(longer, tests, epidemic, warm_start=first, **quiet)


def small_coupling():
    from models import contact_tracing
    from models.contact_tracing.small_coupling_cavity import small_coupling as solve

    network, tests = contacts()
    epidemic = contact_tracing.Epidemic(0.1, 0.2)
    return solve(network, tests, epidemic, max_steps=5, on_failure="ignore")


def outbreak():
    from models import contact_tracing

    network, _ = contacts()
    epidemic = contact_tracing.Epidemic(0.3, 0.2)
    return contact_tracing.simulate(network, epidemic, seed=0)


def infections_sampled():
    from models import contact_tracing

    network, tests = contacts()
    return contact_tracing.gibbs(
        network, tests, contact_tracing.Epidemic(0.1, 0.2), num_warmup=2, num_samples=40,
        num_chains=2, keep_draws=True, progress=False,
    )  # fmt: skip


def weights_inferred():
    from models import perceptron

    machine = perceptron.random_patterns(9, 0.5, seed=1)
    committee = perceptron.random_patterns(9, 0.5, n_hidden=3, seed=1)
    quiet = {"max_steps": 5, "on_failure": "ignore"}
    cases = ((machine, "gaussian"), (machine, "exact"), (machine, "amp"), (committee, "gaussian"),
             (committee, "exact"))  # fmt: skip
    return tuple(
        perceptron.belief_propagation(problem, method=method, **quiet) for problem, method in cases
    )


def weights_listed():
    from models import perceptron

    problem = perceptron.random_patterns(7, 0.5, seed=1)
    solutions = perceptron.enumerate_solutions(problem)
    weights = np.ones(problem.weights_shape, np.int8)
    return solutions.codes, perceptron.exact_marginals(problem), problem.energy(weights)


def weights_learnt():
    from models import perceptron

    problem = perceptron.random_patterns(9, 0.5, n_hidden=3, seed=1)
    return tuple(
        perceptron.replicated_sgd(problem, n_replicas=2, n_epochs=3, centre=centre, progress=False)
        for centre in ("implicit", "explicit")
    )


CASES = {
    case.__name__: case
    for case in (
        random_numbers, clause_messages, decimated, reinforced, walked, flipped_clauses,
        flipped_weights, messages_in_turn, cells_sampled, risks, risks_in_blocks_and_of_crowds,
        risks_day_by_day, small_coupling, outbreak, infections_sampled, weights_inferred,
        weights_listed, weights_learnt,
    )
}  # fmt: skip


def numbers(result):
    """Return all arrays and numbers inside results, whatever their kind."""
    import jax

    if isinstance(result, (np.ndarray, jax.Array, float, int, np.generic)):
        return [np.asarray(result)] if np.asarray(result).dtype.kind in "biuf" else []
    if isinstance(result, dict):
        return [
            array for key in sorted(result) if key != "seconds" for array in numbers(result[key])
        ]
    if isinstance(result, (tuple, list)):
        return [array for item in result for array in numbers(item)]
    fields = getattr(result, "__dict__", None)
    return numbers(fields) if fields else []


def differences(plain, compiled, tol=1e-10):
    """Say where two files of numbers differ by more than rounding, and return the largest error."""
    sentences, largest = [], 0.0
    with np.load(plain) as one, np.load(compiled) as other:
        if set(one.files) != set(other.files):
            return ["the files have other numbers of results"], np.inf
        for name in one.files:
            a, b = one[name], other[name]
            if a.shape != b.shape or a.dtype != b.dtype:
                sentences.append(f"{name}: {a.dtype}{a.shape} and {b.dtype}{b.shape}")
            elif a.dtype.kind != "f":
                if not np.array_equal(a, b):
                    sentences.append(f"{name}: other whole numbers")
            else:
                same = (a == b) | (np.isnan(a) & np.isnan(b))
                with np.errstate(invalid="ignore"):
                    error = np.where(same, 0.0, np.abs(a - b) / (1.0 + np.abs(b)))
                worst = float(np.max(error, initial=0.0))
                largest = max(largest, worst)
                if not worst <= (tol if a.dtype == np.float64 else 1e-5):
                    sentences.append(f"{name}: off by {worst:.2g}")
    return sentences, largest


def without_compilation(out, *names):
    """Run cases in a process of its own, compile nothing; return the kernels it called."""
    done = subprocess.run(
        [sys.executable, __file__, str(out), *names], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    return set(json.loads(done.stdout))


def main(out, *names):
    called = set()
    plain = os.environ.get("NUMBA_DISABLE_JIT") == "1"

    def watch(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            path = Path(frame.f_code.co_filename).relative_to(ROOT)
            called.add(f"{path}:{frame.f_code.co_name}")

    import jax

    jax.config.update("jax_enable_x64", True)
    # numbers of 64 bits wrap around, which compiled code does without a word
    warnings.simplefilter("ignore", RuntimeWarning)
    found = {}
    for name in names or CASES:
        if plain:
            sys.setprofile(watch)
            threading.setprofile(watch)
        result = CASES[name]()
        sys.setprofile(None)
        threading.setprofile(None)
        for place, array in enumerate(numbers(result)):
            found[f"{name}.{place:04d}"] = array
    np.savez(out, **found)
    if plain:
        print(json.dumps(sorted(called & all_kernels())))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(*sys.argv[1:])
