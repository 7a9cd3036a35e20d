"""Entropy-driven Monte Carlo beside annealing of the same work, and message passing beside BLAS.

`search`: random perceptrons and 4-SAT formulas, seeds 0, 1, ... (CPU seconds of one core, kernels
compiled before). The peer is simulated annealing of the same instance in as many sweeps as fit into
the seconds that our search took, at least a hundred; the ratio is
(1 + solved by us) / (1 + solved by annealing), `difference` counts the instances that we leave
unsolved, `tolerance` how many may be.
`growth`: exponent of the median number of proposals, and of the sweeps of message passing, in the
number of weights, with 95 % intervals by resampling instances; the peer are the measured exponents
of an independent implementation, so the ratio should be about one.
`dense_sweep`: one sweep of approximate message passing against the two float32 products of BLAS,
one thread, that it cannot do without in that language; patterns are read once here, as 8-bit
integers.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time
from functools import partial

import harness
import numpy as np

from inference.progress import never
from models import ksat, perceptron
from models.perceptron.dense_messages import absorb_labels, propagate_densely, silent

FIXED = float(np.arctanh(0.6))
SINGLE = {"largest_batch": 0.0, "couplings": FIXED}
RANDOM = {"proposals": "random", "couplings": FIXED}
# load, weights, options, name of the variant, instances, seconds required, may be unsolved
PERCEPTRONS = [
    *((0.3, n, RANDOM, "random single flips", 10, None, 0) for n in (101, 201, 401, 801, 1601)),
    *((0.3, n, SINGLE, "heuristic single flips", 10, None, 0) for n in (101, 201, 401, 801, 1601)),
    *((0.3, n, {}, "batches", 10, 0.5 if n == 1601 else None, 0) for n in (101, 401, 801, 1601)),
    *((0.6, n, {}, "batches", 10, 5.0 if n > 401 else None, 0) for n in (401, 801, 1601)),
    *((0.7, n, {}, "batches", 10, None, None) for n in (401, 801)),
]
FORMULAS = [(8.0, n, {}, "batches", 10, None, 0) for n in (100, 200, 400, 1000)]
PROPOSALS_A_SECOND = 2e7  # of annealing: see bench_single_spin.py
AT_LEAST = 100
"""Sweeps of annealing."""

N_SWEEPS = 20
"""Timed together."""


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def searched(system, make, options, n_seeds):
    """Return what the search, and annealing in its time, did, one row an instance."""
    rows = []
    for seed in range(n_seeds):
        problem = make(seed=seed)
        own_s, found = timed(
            lambda p=problem, s=seed: system.entropy_driven_monte_carlo(p, seed=s, **options)
        )
        n_sweeps = max(AT_LEAST, int(own_s * PROPOSALS_A_SECOND / found.weights.size))
        peer_s, annealed = timed(
            lambda p=problem, s=seed, t=n_sweeps: system.simulated_annealing(p, n_sweeps=t, seed=s)
        )
        rows.append(
            (problem.energy(found.weights) == 0, own_s, found.n_steps, found.walk.n_sweeps,
             problem.energy(annealed.weights) == 0, peer_s, annealed.n_steps)
        )  # fmt: skip
    return np.array(rows, float).T


def bench_search(quick):
    """Yield one row a family of instances."""
    families = [
        ("perceptron", perceptron, perceptron.random_patterns, PERCEPTRONS),
        ("4-SAT", ksat, lambda n, a, seed: ksat.random_formula(n, round(a * n), 4, seed=seed),
         FORMULAS),
    ]  # fmt: skip
    for name, system, make, cases in families:
        system.entropy_driven_monte_carlo(make(51, cases[0][0], seed=0))  # compile
        system.simulated_annealing(make(51, cases[0][0], seed=0), n_sweeps=2)
        for load, n, options, variant, n_seeds, limit, allowed in cases:
            if quick and n > 201:
                continue
            solved, own_s, proposals, sweeps, peer_solved, peer_s, peer_proposals = searched(
                system, partial(make, n, load), options, n_seeds
            )
            yield harness.row(
                "search",
                {"system": name, "load": load, "n": n, "variant": variant},
                reference="simulated annealing in the same seconds",
                own_s=1 / (1 + solved.sum()),
                reference_s=1 / (1 + peer_solved.sum()),
                unit="1 / (1 + solved)",
                difference=(solved == 0).sum(),
                tolerance=allowed,
                solved=solved.sum(),
                of=n_seeds,
                proposals_median=np.median(proposals),
                sweeps_median=np.median(sweeps),
                seconds_median=np.median(own_s),
                seconds_slowest=own_s.max(),
                **({} if limit is None else {"seconds_allowed": limit}),
                annealing_solved=peer_solved.sum(),
                annealing_proposals_median=np.median(peer_proposals),
                annealing_seconds_median=np.median(peer_s),
            )


def exponent(sizes, counts, draws=2000):
    """Return the exponent of the median in the size, and its interval; counts ``(sizes, n)``."""
    generator = np.random.default_rng(0)
    n = counts.shape[1]

    def slope(table):
        return np.polyfit(np.log(sizes), np.log(np.median(table, axis=1)), 1)[0]

    resampled = [
        slope(np.stack([row[generator.integers(0, n, n)] for row in counts])) for _ in range(draws)
    ]
    return slope(counts), *np.quantile(resampled, [0.025, 0.975])


def bench_growth(quick):
    """Yield the exponents of single flips at load 0.3."""
    sizes = (101, 201, 401) if quick else (101, 201, 401, 801, 1601)
    expected = {
        ("random", "proposals"): 1.17, ("heuristic", "proposals"): 1.09,
        ("heuristic", "sweeps"): 1.01,
    }  # fmt: skip
    counts = {}
    for kind, options in (("random", RANDOM), ("heuristic", SINGLE)):
        found = [
            [
                perceptron.entropy_driven_monte_carlo(
                    perceptron.random_patterns(n, 0.3, seed=seed), seed=seed, **options
                )
                for seed in range(10)
            ]
            for n in sizes
        ]
        counts[kind, "proposals"] = np.array([[r.n_steps for r in row] for row in found])
        counts[kind, "sweeps"] = np.array([[r.walk.n_sweeps for r in row] for row in found])
    for (kind, what), measured in expected.items():
        slope, low, high = exponent(sizes, counts[kind, what])
        yield harness.row(
            "growth",
            {"flips": kind, "of": what, "largest": sizes[-1]},
            reference=f"the exponent {measured} of an independent implementation",
            own_s=slope,
            reference_s=measured,
            unit="exponent",
            interval=[low, high],
            medians=np.median(counts[kind, what], axis=1),
        )


def bench_dense_sweep(quick):
    """Yield one sweep at several sizes."""
    for n in (401,) if quick else (401, 1601, 10_001):
        patterns = absorb_labels(perceptron.random_patterns(n, 0.6, seed=0))
        wide = patterns.astype(np.float32)
        field = np.zeros(n)
        start = silent(patterns, np.float32)
        magnetizations, responses = wide[0].copy(), wide[:, 0].copy()

        def own(patterns=patterns, field=field, start=start):
            return propagate_densely(
                patterns, field, start, damping=0.5, tol=0.0, max_steps=N_SWEEPS, stop=never
            )

        def blas(wide=wide, magnetizations=magnetizations, responses=responses):
            return [(wide @ magnetizations, responses @ wide) for _ in range(N_SWEEPS)]

        own_s, peer_s = harness.in_turns(own, blas, 3 if n > 5000 else 20)
        yield harness.row(
            "dense_sweep",
            {"n_inputs": n, "load": 0.6},
            reference="two float32 matrix-vector products, OpenBLAS, one thread",
            own_s=own_s / N_SWEEPS,
            reference_s=peer_s / N_SWEEPS,
        )


BENCHMARKS = {"search": bench_search, "growth": bench_growth, "dense_sweep": bench_dense_sweep}

if __name__ == "__main__":
    raise SystemExit(harness.main("entropy_driven", BENCHMARKS, __doc__))
