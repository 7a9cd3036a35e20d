"""`models.ksat` beside compiled peers: formulas solved, work done, updates and flips a second.

`solved`: random formulas (seeds 0, 1, ...; one core, compilation apart), `solve` with its defaults.
The peer is our own probSAT alone with the same time limit; `difference` counts the formulas left
unsolved and `tolerance` how many may be, so `run.py` judges the numbers that the solver promises.
`complete_solvers`: the same formulas given to kissat (`--sat`) and CryptoMiniSat, from the wheels
passagemath-kissat and pycryptosat, each in a process of its own that is ended at the limit; a run
that was ended counts as the limit, so ratios are lower bounds.
`large`: a formula of 100,000 (or a million) variables in a fresh process, with its peak memory.
`frontier`: how close to the threshold `solve` gets, without a promise.
`work`: sweeps and flips against the medians of the recipe the solver follows (in `reference`).
`rates`: updates of messages and flips a second, against the rates that are required.
`parallel_sweep`: one parallel sweep of belief propagation on 1.2e6 edges against the bare gather
and segment sum that it cannot do without, in single and double precision.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import contextlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import harness
import jax
import jax.numpy as jnp
import numpy as np

from graphs.factor_graph import FactorGraph
from graphs.segment import segment_sum
from inference.kernels import random_state, uniform
from inference.message_passing.belief_propagation import belief_propagation
from inference.message_passing.clause_messages import propagate
from inference.message_passing.factors import ClauseFactors
from inference.monte_carlo.local_search import random_spins, start_walk, walk
from models.ksat import compile_kernels, local_search, random_formula, solve

jax.config.update("jax_enable_x64", True)

# k, alpha, n, seeds, seconds, formulas that may stay unsolved
PROMISED = [
    (3, 4.0, 10_000, 10, 10.0, 0),
    (4, 9.0, 10_000, 10, 10.0, 0),
    (3, 4.2, 10_000, 10, 10.0, 0),
    (4, 9.5, 10_000, 10, 10.0, 0),
    (3, 4.23, 10_000, 10, 30.0, 2),
    (4, 9.7, 10_000, 10, 30.0, 2),
    (5, 20.0, 10_000, 5, 60.0, 1),
]
QUICK_FRONTIER = [(3, 4.24, 2000, 1, 5.0)]
QUICK = [(3, 4.0, 2000, 3, 10.0, 0), (4, 9.0, 1000, 3, 10.0, 0)]
COMPLETE = ("kissat", "cryptominisat")


def formula_of(k, alpha, n, seed):
    return random_formula(n, round(alpha * n), k, seed=seed)


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def bench_solved(quick):
    compile_kernels()
    for k, alpha, n, n_seeds, limit, allowed in QUICK if quick else PROMISED:
        own, peer, results, alone = [], [], [], []
        for seed in range(n_seeds):
            formula = formula_of(k, alpha, n, seed)
            elapsed, result = timed(lambda f=formula, s=limit: solve(f, time_limit=s))
            own.append(elapsed)
            results.append(result)
            if seed < 3:  # the peer mostly runs into the limit
                elapsed, result = timed(
                    lambda f=formula, s=limit: local_search(f, max_flips=2**40, time_limit=s)
                )
                peer.append(limit if result.energy else elapsed)  # cut by the clock on the wall
                alone.append(result.energy)
        unsolved = sum(result.energy > 0 for result in results)
        yield harness.row(
            "solved",
            {"k": k, "alpha": alpha, "n": n, "seeds": n_seeds, "limit_s": limit},
            reference="probSAT alone, seeds 0 to 2, cut at the limit",
            own_s=own[: len(peer)],
            reference_s=peer,
            difference=unsolved,
            tolerance=allowed,
            solved=n_seeds - unsolved,
            seconds=own,
            seconds_median=np.median(own),
            seconds_slowest=max(own),
            sweeps=[result.stats["n_sweeps"] for result in results],
            flips=[result.stats["n_flips"] for result in results],
            peer_solved=sum(energy == 0 for energy in alone),
        )


CRYPTOMINISAT = """
import sys, pycryptosat
solver = pycryptosat.Solver()
with open(sys.argv[1]) as file:
    for line in file:
        if line[0] not in "cp":
            solver.add_clause([int(word) for word in line.split()[:-1]])
print(solver.solve()[0])
"""


def command_of(name, path):
    """Return the command line of a complete solver."""
    if name == "cryptominisat":
        return [sys.executable, "-c", CRYPTOMINISAT, path]
    (kissat,) = (
        str(file.locate())
        for file in importlib.metadata.files("passagemath-kissat")
        if file.name == "kissat"
    )
    return [kissat, "-q", "--sat", path]


def bench_complete_solvers(quick):
    compile_kernels()
    cases = [(3, 4.0, 300, 2, 5.0)] if quick else [
        (3, 4.0, 10_000, 2, 30.0), (3, 4.2, 10_000, 2, 30.0), (4, 9.5, 10_000, 2, 30.0),
        (3, 4.2, 250, 4, 30.0),
    ]  # fmt: skip
    for name in COMPLETE:
        for k, alpha, n, n_seeds, limit in cases:
            own, peer, finished = [], [], 0
            for seed in range(n_seeds):
                formula = formula_of(k, alpha, n, seed)
                with tempfile.TemporaryDirectory() as folder:
                    path = str(Path(folder) / "formula.cnf")
                    formula.to_dimacs(path)
                    start = time.perf_counter()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        command = command_of(name, path)
                        subprocess.run(command, timeout=limit, capture_output=True, check=False)
                        finished += 1
                    peer.append(time.perf_counter() - start)
                own.append(timed(lambda f=formula, s=limit: solve(f, time_limit=s))[0])
            yield harness.row(
                "complete_solvers",
                {"solver": name, "k": k, "alpha": alpha, "n": n, "seeds": n_seeds},
                reference=f"{name}, ended after {limit:g} s",
                own_s=own,
                reference_s=peer,
                peer_finished=finished,
            )


LARGE = """
import json, resource, sys, time
from models.ksat import compile_kernels, random_formula, solve
k, alpha, n, seed, limit = json.loads(sys.argv[1])
compile_kernels()
formula = random_formula(n, round(alpha * n), k, seed=seed)
start = time.process_time()
result = solve(formula, time_limit=limit)
print(json.dumps({
    "seconds": time.process_time() - start, "energy": result.energy, **result.stats,
    "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def bench_large(quick):
    cases = [(3, 4.0, 20_000, 1, 60.0, 500)] if quick else [
        (3, 4.2, 100_000, 5, 60.0, 500), (3, 4.2, 1_000_000, 1, 900.0, None),
    ]  # fmt: skip
    for k, alpha, n, n_seeds, limit, most_mb in cases:
        found = []
        for seed in range(n_seeds):
            command = [sys.executable, "-c", LARGE, json.dumps([k, alpha, n, seed, limit])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout))
        yield harness.row(
            "large",
            {"k": k, "alpha": alpha, "n": n, "seeds": n_seeds, "limit_s": limit},
            reference="the limit",
            own_s=[one["seconds"] for one in found],
            reference_s=[limit] * n_seeds,
            required=1,
            difference=sum(one["energy"] > 0 for one in found),
            tolerance=0,
            seconds=[one["seconds"] for one in found],
            megabytes=[one["mb"] for one in found],
            most_megabytes=0 if most_mb is None else most_mb,
            sweeps=[one["n_sweeps"] for one in found],
            flips=[one["n_flips"] for one in found],
        )


# k, alpha, n, seeds, seconds
FRONTIER = [
    (3, 4.24, 10_000, 10, 30.0),
    (3, 4.25, 10_000, 5, 30.0),
    (4, 9.8, 10_000, 5, 30.0),
    (3, 4.24, 100_000, 1, 150.0),
    (3, 4.25, 100_000, 1, 150.0),
    (4, 9.8, 100_000, 1, 150.0),
]


def bench_frontier(quick):
    """How close to the threshold: nothing is promised here."""
    compile_kernels()
    for k, alpha, n, n_seeds, limit in QUICK_FRONTIER if quick else FRONTIER:
        own, energies = [], []
        for seed in range(n_seeds):
            formula = formula_of(k, alpha, n, seed)
            elapsed, result = timed(lambda f=formula, s=limit: solve(f, time_limit=s))
            own.append(elapsed)
            energies.append(result.energy)
        yield harness.row(
            "frontier", {"k": k, "alpha": alpha, "n": n, "seeds": n_seeds, "limit_s": limit},
            reference="the limit", own_s=own, reference_s=[limit] * n_seeds, seconds=own,
            solved=energies.count(0), violated=energies,
        )  # fmt: skip


def bench_work(quick):
    """Work units: the same on every machine."""
    from models.ksat import decimate, reinforce

    n, n_seeds = (2000, 3) if quick else (10_000, 10)
    swept = [decimate(formula_of(3, 4.2, n, s), fraction=0.04).n_sweeps for s in range(n_seeds)]
    # backtracking survey propagation 4 %, r = 0.3: medians of section 4 of the recipe
    yield harness.row(
        "work", {"what": "decimation, 3-SAT 4.2", "n": n}, unit="sweeps",
        reference="recipe: median 761 of seeds 0 to 9, from 439 to 1210",
        own_s=[np.median(swept)], reference_s=[761], required=None if quick else [0.6, 1.7],
        sweeps=swept,
    )  # fmt: skip
    found = [reinforce(formula_of(4, 9.5, n, s)) for s in range(n_seeds)]
    swept = [one.stats["n_sweeps"] for one in found]
    yield harness.row(
        "work", {"what": "reinforcement, 4-SAT 9.5", "n": n}, unit="sweeps",
        reference="recipe: median 69.5 of seeds 0 to 9, from 67 to 240",
        own_s=[np.median(swept)], reference_s=[69.5], required=None if quick else [0.6, 1.7],
        sweeps=swept, solved=sum(one.energy == 0 for one in found),
    )  # fmt: skip
    found = [local_search(formula_of(3, 4.0, n, s)) for s in range(n_seeds)]
    flips = [one.stats["n_flips"] for one in found]
    yield harness.row(
        "work", {"what": "probSAT, 3-SAT 4.0", "n": n}, unit="flips",
        reference="recipe: 2.9e5 to 7.8e5 flips, middle 5e5",
        own_s=[np.median(flips)], reference_s=[5e5], required=None if quick else [0.5, 2.0],
        flips=flips, solved=sum(one.energy == 0 for one in found),
    )  # fmt: skip


def bench_rates(quick):
    compile_kernels()
    n = 2000 if quick else 10_000
    n_repeats = 2 if quick else 5
    for what, k, alpha, rho in (
        ("survey propagation, 3-SAT", 3, 4.2, 1.0), ("survey propagation, 4-SAT", 4, 9.5, 1.0),
        ("belief propagation, 3-SAT", 3, 4.0, 0.0), ("belief propagation, 4-SAT", 4, 9.5, 0.0),
    ):  # fmt: skip
        system = formula_of(k, alpha, n, 0).system
        costs = []
        for _ in range(n_repeats):
            om = uniform(system.n_edges, 0.5, 1.0, random_state(0))
            elapsed, reached = timed(
                lambda s=system, m=om, r=rho: propagate(
                    s, m, rho=r, tol=1e-300, max_steps=50, state=random_state(0), reshuffle=False
                )
            )
            costs.append(elapsed / (reached.n_steps * system.n_edges))
        yield harness.row(
            "rates", {"what": what, "alpha": alpha, "n": n}, unit="s an edge update",
            reference="required: 5e7 a second", own_s=costs, reference_s=[1 / 5e7] * n_repeats,
            required=1, per_second=1 / np.median(costs),
        )  # fmt: skip
    for rule in ("probsat", "walksat"):
        system = formula_of(3, 4.2, n, 0).system
        costs = []
        for repeat in range(n_repeats):
            state = random_state(repeat)
            walker = start_walk(system, random_spins(n, state))
            elapsed, found = timed(
                lambda w=walker, s=state, r=rule, y=system: walk(
                    y, w, state=s, max_flips=2_000_000, rule=r
                )
            )
            costs.append(elapsed / found.n_steps)
        yield harness.row(
            "rates", {"what": f"flips, {rule}, 3-SAT", "alpha": 4.2, "n": n}, unit="s a flip",
            reference="required: 3e6 a second", own_s=costs, reference_s=[1 / 3e6] * n_repeats,
            required=1, per_second=1 / np.median(costs),
        )  # fmt: skip


SHORT, LONG = 5, 25  # sweeps: the difference of two runs is that of their sweeps alone


@partial(jax.jit, static_argnames="n_variables")
def gather_and_sum(values, edge_variable, n_variables):
    """The least that a parallel sweep has to do: one gather and one sum over the edges."""
    totals = segment_sum(values, edge_variable, n_variables)
    return totals[edge_variable]


def bench_parallel_sweep(quick):
    n = 5_000 if quick else 100_000
    system = formula_of(3, 4.0, n, 0).system
    clauses = np.repeat(np.arange(system.n_clauses), np.diff(system.offsets))
    graph = FactorGraph.from_edges(
        system.literals >> 1, clauses, n_variables=n, n_factors=system.n_clauses
    )
    factors = ClauseFactors.from_signs(graph, 1 - 2 * (system.literals & 1))
    for dtype, most in ((jnp.float32, 1 / 3), (jnp.float64, None)):
        first = jnp.asarray(uniform(system.n_edges, 0.0, 0.1, random_state(0)), dtype)

        def run(n_steps, first=first, dtype=dtype):
            result = belief_propagation(
                graph, factors, field=jnp.zeros(n, dtype), damping=0.3, tol=1e-30,
                max_steps=n_steps, init=first, key=jax.random.key(0), on_failure="ignore",
            )  # fmt: skip
            assert int(result.n_steps) == n_steps  # it converged? then nothing was timed
            return result.messages

        runs, bounds = [], []
        for repeat in range(3 if quick else 8):
            few, many = (
                harness.seconds(lambda r=run: r(SHORT)),
                harness.seconds(lambda r=run: r(LONG)),
            )
            # as many of the bare operations as sweeps, timed together like them
            bound = harness.seconds(
                lambda f=first: [
                    gather_and_sum(f, graph.edge_variable, n) for _ in range(LONG - SHORT)
                ]
            ) / (LONG - SHORT)
            if repeat:  # the first compiles
                runs.append((many - few) / (LONG - SHORT))
                bounds.append(bound)
        yield harness.row(
            "parallel_sweep", {"dtype": jnp.dtype(dtype).name, "n_edges": system.n_edges},
            reference="one gather and one segment sum of the same messages", own_s=runs,
            reference_s=bounds, required=most, per_second=system.n_edges / np.median(runs),
        )  # fmt: skip


BENCHMARKS = {
    "solved": bench_solved,
    "complete_solvers": bench_complete_solvers,
    "large": bench_large,
    "frontier": bench_frontier,
    "work": bench_work,
    "rates": bench_rates,
    "parallel_sweep": bench_parallel_sweep,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("ksat", BENCHMARKS, __doc__))
