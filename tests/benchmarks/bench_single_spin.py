"""The compiled single-spin engine: proposals a second, and what coupled replicas are good for.

`rates`: proposals a second (one core, compilation apart) while beta rises from 0.5 to 4, against
the rates that are required; `difference` is the largest error of an energy that was carried along.
`rates_by_temperature`: the same for clauses at single temperatures, without a promise; a proposal
that is refused costs least.
`twin`: the same perceptron by the JAX kernel `metropolis_sweep`, one chain.
`replicas`: random perceptrons at load 0.3 annealed as three replicas (coupling 0.3 to 1.2) and, for
the same total of proposals, as one configuration and as three independent ones; the ratio is
(1 + solved by the replicas) / (1 + solved by the better peer), `proposals` are those of the solved.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import time

import harness
import jax
import jax.numpy as jnp
import numpy as np

from inference.kernels import random_state
from inference.monte_carlo.annealing import simulated_annealing as anneal_in_jax
from inference.monte_carlo.constraint_counts import clause_wiring
from inference.monte_carlo.single_spin import anneal, start_ensemble
from inference.schedules import linear
from models.ksat.formula import random_formula
from models.perceptron.annealing import vote_wiring
from models.perceptron.problem import random_patterns

jax.config.update("jax_enable_x64", True)

LOAD = 0.3
# n_inputs, sweeps of the replicas, problems
COMPARED = [(201, 1000, 10), (401, 1000, 10), (801, 1000, 10), (801, 5000, 5), (1601, 3000, 5)]
LONG = [(1601, 10_000, 5)]


def timed(call):
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def started(wiring, n_replicas, seed):
    spins = np.random.default_rng(seed).choice([-1, 1], (n_replicas, wiring.n_spins))
    return start_ensemble(wiring, spins)


def run(wiring, n_replicas, n_sweeps, seed, *, coupled=True, betas=(0.5, 4.0), stop_at=0):
    """Anneal with the schedules of the comparison."""
    return anneal(
        started(wiring, n_replicas, 1000 + seed), betas=np.linspace(*betas, n_sweeps),
        couplings=np.linspace(0.3, 1.2, n_sweeps) if coupled else None, state=random_state(seed),
        stop_at=stop_at,
    )  # fmt: skip


def measured(wiring, energy, n_replicas, n_sweeps, n_repeats, **options):
    """Return seconds a proposal, the largest error of an energy, and the mean acceptance."""
    run(wiring, n_replicas, 1, 0, stop_at=None)  # compiles
    costs, errors, accepted = [], [], []
    for seed in range(n_repeats):
        elapsed, result = timed(
            lambda s=seed: run(wiring, n_replicas, n_sweeps, s, stop_at=None, **options)
        )
        costs.append(elapsed / result.n_steps)
        errors += [
            abs(energy(spins) - value)
            for spins, value in zip(result.last, result.ensemble.energies.tolist())
        ]
        accepted.append(result.trace.accept_prob.mean())
    return costs, max(errors), np.mean(accepted)


def machines(quick):
    """Yield names, sizes, problems."""
    for n, n_hidden, tree in (
        (401, 1, False), (801, 1, False), (1601, 1, False), (401, 3, True), (401, 3, False),
        (401, 5, False),
    )[: 1 if quick else None]:  # fmt: skip
        name = "perceptron" if n_hidden == 1 else f"committee of {n_hidden}{' tree' * tree}"
        problem = random_patterns(n, LOAD, n_hidden=n_hidden, tree=tree, seed=0)
        shape = problem.weights_shape
        yield name, n, vote_wiring(problem), lambda w, p=problem, s=shape: p.energy(w.reshape(s))


def formulas(quick):
    n = 1000 if quick else 10_000
    for k, alpha in ((3, 4.2), (4, 9.0), (4, 9.5)):
        formula = random_formula(n, round(alpha * n), k, seed=0)
        yield f"{k}-SAT {alpha}", n, clause_wiring(formula.system), formula.energy


def bench_rates(quick):
    n_sweeps, n_repeats = (50, 2) if quick else (1000, 5)
    cases = [(*case, 3, 3e6) for case in machines(quick)]
    cases += [(*case, y, 1e7) for case in formulas(quick) for y in (1, 3)]
    for what, n, wiring, energy, n_replicas, required in cases:
        sweeps = n_sweeps if n < 10_000 else n_sweeps // 3
        costs, error, accepted = measured(wiring, energy, n_replicas, sweeps, n_repeats)
        yield harness.row(
            "rates", {"what": what, "n": n, "n_replicas": n_replicas}, unit="s a proposal",
            reference=f"required: {required:.0e} a second", own_s=costs,
            reference_s=[1 / required] * n_repeats, required=None if quick else 1,
            difference=error, tolerance=0, per_second=1 / np.median(costs), accept_prob=accepted,
        )  # fmt: skip


def bench_rates_by_temperature(quick):
    n_repeats = 2 if quick else 3
    for what, n, wiring, energy in formulas(quick):
        for beta in (0.5, 1.0, 2.0, 4.0):
            costs, error, accepted = measured(
                wiring, energy, 1, 100, n_repeats, betas=(beta, beta), coupled=False
            )
            yield harness.row(
                "rates_by_temperature", {"what": what, "n": n, "beta": beta}, unit="s a proposal",
                reference="1e7 a second", own_s=costs, reference_s=[1e-7] * n_repeats,
                difference=error, tolerance=0, per_second=1 / np.median(costs),
                accept_prob=accepted,
            )  # fmt: skip


def bench_twin(quick):
    n, n_sweeps, n_repeats = (401, 20, 2) if quick else (401, 200, 5)
    problem = random_patterns(n, LOAD, seed=0)
    patterns = jnp.asarray(problem.patterns, jnp.float32)

    def energy(spins, patterns):
        return jnp.sum(patterns @ spins.astype(patterns.dtype) < 0)

    def delta(spins, site, patterns):
        stabilities = patterns @ spins.astype(patterns.dtype)
        flipped = stabilities - 2 * spins[site] * patterns[:, site]
        return jnp.sum(flipped < 0) - jnp.sum(stabilities < 0)

    first = np.random.default_rng(1000).choice([-1, 1], n)
    schedule = linear(0.5, 4.0, n_sweeps)

    def in_jax():
        return anneal_in_jax(
            energy, delta, first, schedule=schedule, n_sweeps=n_sweeps, key=jax.random.key(0),
            args=(patterns,), progress=False,
        )  # fmt: skip

    wiring = vote_wiring(problem)
    own, peer = harness.in_turns(
        lambda: run(wiring, 1, n_sweeps, 0, coupled=False, stop_at=None).last,
        lambda: in_jax().last, n_repeats,
    )  # fmt: skip
    yield harness.row(
        "twin", {"what": "perceptron", "n": n, "n_sweeps": n_sweeps}, unit="s a proposal",
        reference="metropolis_sweep in JAX, one chain, the energy difference from scratch",
        own_s=own / (n * n_sweeps), reference_s=peer / (n * n_sweeps),
        required=None if quick else 20,
    )  # fmt: skip


def bench_replicas(quick):
    cases = [(201, 300, 3)] if quick else [*COMPARED, *LONG]
    for n, n_sweeps, n_problems in cases:
        ends = {"coupled": [], "alone": [], "independent": []}
        proposals = []
        seconds = 0.0
        for seed in range(n_problems):
            problem = random_patterns(n, LOAD, seed=seed)
            wiring = vote_wiring(problem)
            for name, n_replicas, sweeps in (
                ("coupled", 3, n_sweeps), ("alone", 1, 3 * n_sweeps), ("independent", 3, n_sweeps),
            ):  # fmt: skip
                elapsed, result = timed(
                    lambda w=wiring, y=n_replicas, t=sweeps, s=seed, c=name == "coupled": run(
                        w, y, t, s, coupled=c
                    )
                )
                lowest = min(problem.energy(weights) for weights in result.configurations)
                ends[name].append(lowest)
                if name == "coupled":
                    seconds += elapsed
                    proposals += [result.n_steps] * (lowest == 0)
        solved = {name: sum(end == 0 for end in found) for name, found in ends.items()}
        best_peer = max(solved["alone"], solved["independent"])
        yield harness.row(
            "replicas", {"n": n, "n_sweeps": n_sweeps, "n_problems": n_problems},
            reference="the better of one configuration and three independent, equal proposals",
            unit="1 / (1 + problems solved)", own_s=[1 / (1 + solved["coupled"])],
            reference_s=[1 / (1 + best_peer)], required=None if quick else 1, **ends,
            proposals=proposals or [0], seconds=seconds,
        )  # fmt: skip


BENCHMARKS = {
    "rates": bench_rates,
    "rates_by_temperature": bench_rates_by_temperature,
    "twin": bench_twin,
    "replicas": bench_replicas,
}

if __name__ == "__main__":
    raise SystemExit(harness.main("single_spin", BENCHMARKS, __doc__))
