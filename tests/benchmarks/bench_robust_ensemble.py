"""Focusing, replicated annealing and replicated descent beside one of their kind.

CPU seconds of one core, kernels compiled before; seeds 0, 1, ... of problem and algorithm.
`focusing`: random perceptrons and a committee. The peer is the time of a plain NumPy implementation
(float32 products, from the literature of this library's design) where there is one, else the limit
that is required; `difference` counts the problems left unsolved, `tolerance` how many may be.
`focusing_memory`: the same for 10,001 weights in a fresh process, with its peak above the import.
`annealing`: three replicas against one configuration and against three independent ones with the
same total of proposals; the ratio is (1 + solved by replicas) / (1 + solved by the better peer).
`descent`: seven replicas of a committee against one, at most a thousand epochs; the same ratio.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import json
import subprocess
import sys
import time
from functools import partial

import harness
import numpy as np

from inference.kernels import random_state
from inference.monte_carlo.single_spin import anneal, start_ensemble
from models.perceptron import (
    focusing_bp,
    pseudo_reinforcement,
    random_patterns,
    replicated_annealing,
    replicated_sgd,
    standard_reinforcement,
)
from models.perceptron.annealing import vote_wiring

# n_inputs, n_hidden, load, protocol, its name, problems, may be unsolved, seconds, of whom
FOCUSED = [
    (1001, 1, 0.6, None, "default", 10, 0, 0.27, "plain NumPy"),
    (1001, 1, 0.7, standard_reinforcement(0.002), "standard 0.002", 10, 0, 0.79, "plain NumPy"),
    (1001, 1, 0.74, pseudo_reinforcement(5e-4), "pseudo 0.0005", 10, 4, 5.4, "plain NumPy"),
    (321, 5, 0.3, None, "default", 5, 0, 10.0, "the limit (plain NumPy: 89)"),
]
LARGE = [(0.6, "None", 17.7, 4.0), (0.7, "standard_reinforcement(0.002)", 69.4, 20.0)]
ANNEALED = [(801, 1000, 10), (801, 5000, 5), (1601, 3000, 5), (1601, 10_000, 5)]

MEMORY = """
import json, resource, time
from models.perceptron import focusing_bp, random_patterns, standard_reinforcement
focusing_bp(random_patterns(101, 0.3, seed=0))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
problem = random_patterns({n}, {load}, seed=0)
start = time.process_time()
found = focusing_bp(problem, {protocol})
seconds = time.process_time() - start
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps([problem.energy(found.weights), found.n_steps, seconds, peak]))
"""


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def bench_focusing(quick):
    """Yield one row a family of problems."""
    for n, n_hidden, load, protocol, name, n_seeds, allowed, limit, whose in FOCUSED:
        if quick and (n_hidden > 1 or load > 0.6):
            continue
        focusing_bp(random_patterns(51, 0.3, n_hidden=n_hidden, seed=0))  # compile
        rows = []
        for seed in range(n_seeds):
            problem = random_patterns(n, load, n_hidden=n_hidden, seed=seed)
            elapsed, found = timed(partial(focusing_bp, problem, protocol, seed=seed))
            rows.append((elapsed, problem.energy(found.weights), found.n_steps))
        elapsed, errors, n_sweeps = np.array(rows).T
        yield harness.row(
            "focusing",
            {"n_inputs": n, "n_hidden": n_hidden, "load": load, "protocol": name},
            reference=f"seconds of {whose}",
            own_s=elapsed,
            reference_s=np.full(n_seeds, limit),
            difference=(errors > 0).sum(),
            tolerance=allowed,
            solved=(errors == 0).sum(),
            of=n_seeds,
            seconds_slowest=elapsed.max(),
            sweeps_median=np.median(n_sweeps),
        )


def bench_focusing_memory(quick):
    """Yield one row a load."""
    for load, protocol, reference, limit in LARGE[:1] if quick else LARGE:
        n = 1001 if quick else 10_001
        code = MEMORY.format(n=n, load=load, protocol=protocol)
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        errors, n_sweeps, elapsed, peak = json.loads(printed)
        yield harness.row(
            "focusing_memory",
            {"n_inputs": n, "load": load},
            reference="plain NumPy in float32",
            own_s=elapsed,
            reference_s=reference,
            required=None if quick else reference / limit,
            difference=errors,
            tolerance=0,
            sweeps=n_sweeps,
            megabytes_above_import=peak,
        )


def bench_annealing(quick):
    """Yield one row a size and number of sweeps."""
    replicated_annealing(random_patterns(51, 0.3, seed=0), n_sweeps=2)  # compile
    for n, n_sweeps, n_seeds in [(201, 300, 5)] if quick else ANNEALED:
        solved, proposals = np.zeros((3, n_seeds), bool), []
        for seed in range(n_seeds):
            problem = random_patterns(n, 0.3, seed=seed)
            found = replicated_annealing(problem, n_sweeps=n_sweeps, seed=seed)
            solved[0, seed] = found.energy == 0
            if found.energy == 0:
                proposals.append(found.n_steps)
            for row, y, longer in ((1, 1, 3), (2, 3, 1)):
                spins = np.random.default_rng(1000 + seed).choice([-1, 1], (y, n))
                alone = anneal(
                    start_ensemble(vote_wiring(problem), spins), state=random_state(seed),
                    betas=np.linspace(0.5, 4.0, longer * n_sweeps),
                )  # fmt: skip
                solved[row, seed] = (alone.energies == 0).any()
        counts = solved.sum(axis=1)
        yield harness.row(
            "annealing",
            {"n_inputs": n, "load": 0.3, "n_sweeps": n_sweeps, "n_replicas": 3},
            reference="the better of one configuration and three independent ones",
            own_s=1 / (1 + counts[0]),
            reference_s=1 / (1 + counts[1:].max()),
            required=None if quick else 1.0,
            unit="1 / (1 + solved)",
            solved=counts[0],
            solved_by_one=counts[1],
            solved_by_independent=counts[2],
            of=n_seeds,
            proposals_of_solved=proposals or [0],
        )


def bench_descent(quick):
    """Yield one row a load."""
    n = 51 if quick else 321
    replicated_sgd(random_patterns(21, 0.3, n_hidden=5, seed=0), n_epochs=2)  # compile
    for load in (0.5,) if quick else (0.125, 0.5):
        rows = {}
        for n_replicas in (7, 1):
            rows[n_replicas] = []
            for seed in range(5):
                problem = random_patterns(n, load, n_hidden=5, seed=seed)
                elapsed, found = timed(
                    partial(
                        replicated_sgd, problem, n_replicas=n_replicas, n_epochs=1000, seed=seed
                    )
                )
                rows[n_replicas].append((found.energy, found.n_steps, elapsed))
        many, one = np.array(rows[7]), np.array(rows[1])
        yield harness.row(
            "descent",
            {"n_inputs": n, "n_hidden": 5, "load": load},
            reference="one replica, as many epochs",
            own_s=1 / (1 + (many[:, 0] == 0).sum()),
            reference_s=1 / (1 + (one[:, 0] == 0).sum()),
            unit="1 / (1 + solved)",
            difference=(many[:, 0] > 0).sum(),
            tolerance=None if quick else 0,
            solved=(many[:, 0] == 0).sum(),
            solved_by_one=(one[:, 0] == 0).sum(),
            epochs=many[:, 1],
            epochs_of_one=one[:, 1],
            errors_of_one=one[:, 0],
            seconds_median=np.median(many[:, 2]),
            seconds_of_one=np.median(one[:, 2]),
        )


BENCHMARKS = {
    "focusing": bench_focusing,
    "focusing_memory": bench_focusing_memory,
    "annealing": bench_annealing,
    "descent": bench_descent,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("robust_ensemble", BENCHMARKS, __doc__))
