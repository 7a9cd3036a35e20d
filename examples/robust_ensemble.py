"""Replicas that attract each other find solutions, and wide ones, where single ones do not.

Solved fraction against load: annealing of a perceptron by one configuration and by seven coupled
replicas with the same total number of proposals; stochastic gradient descent of a committee machine
by one and by seven replicas, in as many epochs. And flatness: of the solutions that plain and
replicated annealing find of the same problems, the log number of other solutions nearby (belief
propagation), the errors that random flips cause, and the errors on new patterns of a teacher
(Baldassi et al., PNAS 113, E7655 (2016), arXiv 1605.06444). Last, the local entropies that focusing
belief propagation passes through while its coupling grows, beside the replica method.

Expected: about two minutes on one core, exit status 0. The exit status is 1 when

- an exact sign test over all problems does not show that coupled replicas solve more of them than
  one configuration (p < 0.01), in annealing and in gradient descent,
- the paired difference of the local entropies at distance `CLOSE` is not positive by its 95 %
  interval,
- up to coupling `WEAK` the local entropies of focusing belief propagation differ from those of the
  replica method at the same distance by more than twice the standard deviation of the entropy from
  sample to sample. (Beyond, they are above it for few replicas and below it for many.)
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np
from scipy.stats import binomtest, t

from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from inference.status import Status
from models.perceptron import (
    belief_propagation,
    focusing_bp,
    local_entropy,
    random_patterns,
    replicated_annealing,
    replicated_sgd,
    scoping,
    simulated_annealing,
    teacher_student,
    theory,
)

jax.config.update("jax_enable_x64", True)

REPLICAS = 7
LOADS = {"annealing": (0.2, 0.25, 0.3, 0.35, 0.4, 0.45), "SGD": (0.3, 0.4, 0.45, 0.5, 0.55)}
FLAT_LOAD = 0.3
CLOSE = 0.03
COUPLINGS = np.arange(0.5, 2.3, 0.1)
FOCUSED = (7, 20)
"""Replicas."""
SCOPE = np.arange(0.1, 1.01, 0.1)
WEAK = 0.5
FOCUS_LOAD = 0.6
FLIPPED = (0.01, 0.02, 0.05, 0.1)
"""Shares of the weights flipped at random."""


def annealing(problem, n_replicas, n_sweeps, seed):
    """Anneal with a total of ``n_sweeps`` sweeps over all replicas."""
    if n_replicas == 1:
        return simulated_annealing(problem, n_sweeps=n_sweeps, seed=seed, progress=False)
    return replicated_annealing(
        problem, n_replicas=n_replicas, n_sweeps=n_sweeps // n_replicas, seed=seed, progress=False
    )


def solved_fractions(kind, quick, seeds):
    """Return ``{load: (instances, 2) solved}`` by one and by many."""
    solved = {}
    with progress_bar(len(LOADS[kind]) * len(seeds), kind) as bar:
        for load in LOADS[kind]:
            rows = []
            for seed in seeds:
                if kind == "annealing":
                    problem = random_patterns(201 if quick else 401, load, seed=seed)
                    n_sweeps = 2100 if quick else 7000
                    found = [annealing(problem, y, n_sweeps, seed) for y in (1, REPLICAS)]
                else:
                    problem = random_patterns(51 if quick else 101, load, n_hidden=5, seed=seed)
                    found = [
                        replicated_sgd(
                            problem, n_replicas=y, n_epochs=1000, seed=seed, progress=False,
                        )
                        for y in (1, REPLICAS)
                    ]  # fmt: skip
                rows.append([problem.energy(one.weights) == 0 for one in found])
                bar.update(1)
            solved[load] = np.array(rows)
    return solved


def flatness(seeds):
    """Return what surrounds solutions of the same teacher problems, plain and replicated.

    ``(instances, 2, 2 + flips)``: local entropy, error on new patterns, errors a pattern by flips.
    """
    n, rows = 401, []
    with progress_bar(len(seeds), "flatness") as bar:
        for seed in seeds:
            problem, teacher = teacher_student(n, FLAT_LOAD, seed=seed)
            found = [annealing(problem, y, 42_000, seed).weights for y in (1, REPLICAS)]
            bar.update(1)
            if any(problem.energy(weights) for weights in found):
                continue
            generator = np.random.default_rng(seed)
            fresh = generator.choice([-1, 1], (4000, n))
            label = np.sign(fresh @ teacher.astype(int))
            rows.append([])
            for weights in found:
                around = local_entropy(
                    problem, weights, COUPLINGS, method="amp", on_failure="ignore", progress=False
                )
                good = around.status == Status.CONVERGED
                order = np.argsort(around.distance[good])
                close = np.interp(
                    CLOSE, around.distance[good][order], around.local_entropy[good][order]
                )
                wrong = np.mean(np.sign(fresh @ weights.astype(int)) != label)
                hurt = [
                    np.mean([
                        problem.energy(weights * np.where(generator.random(n) < share, -1, 1))
                        for _ in range(50)
                    ]) / problem.n_patterns
                    for share in FLIPPED
                ]  # fmt: skip
                rows[-1].append([close, wrong, *hurt])
    return np.array(rows)


def thermodynamics(quick, seeds):
    """Return ``{replicas: (theory, samples)}`` of distance and local entropy, and the spread.

    Theory is ``(couplings, 2)``, samples are ``(instances, couplings, 2)``; the spread is the
    standard deviation of the entropy a weight from sample to sample.
    """
    n, curves = (2001 if quick else 10_001), {}
    problems = [random_patterns(n, FOCUS_LOAD, seed=seed) for seed in seeds]
    entropies = [
        belief_propagation(problem, method="amp", tol=1e-6, progress=False).free_entropy / n
        for problem in problems
    ]
    with progress_bar(len(FOCUSED) * len(problems), "focusing") as bar:
        for n_replicas in FOCUSED:
            samples = []
            for problem in problems:
                trace = focusing_bp(
                    problem, scoping(SCOPE, n_replicas), max_sweeps=100, tol=1e-4,
                    stop_at_solution=False, progress=False,
                ).trace  # fmt: skip
                samples.append(np.stack([(1 - trace.overlap) / 2, trace.local_entropy], axis=1))
                bar.update(1)
            dense = theory.large_deviation(FOCUS_LOAD, SCOPE, n_replicas)
            expected = np.stack([dense.distance, dense.local_entropy], axis=1)
            curves[n_replicas] = expected, np.array(samples)
    return curves, float(np.std(entropies, ddof=1))


def interval(differences):
    """Return mean and 95 % interval of paired differences."""
    mean = differences.mean(axis=0)
    half = t.ppf(0.975, len(differences) - 1) * differences.std(axis=0, ddof=1)
    half = half / np.sqrt(len(differences))
    return mean, mean - half, mean + half


def wilson(solved):
    """Return fraction and 95 % interval."""
    test = binomtest(int(solved.sum()), len(solved))
    bounds = test.proportion_ci(method="wilson")
    return solved.mean(), bounds.low, bounds.high


def picture(fractions, flat, curves):
    """Draw solved fractions, how errors grow away from solutions, and local entropies."""
    figure, axes = new_figure(4, n_rows=2, width=4.4, height=3.2)
    for ax, (kind, solved) in zip(axes, fractions.items()):
        for column, label, color in ((0, "one", "C1"), (1, f"{REPLICAS} replicas", "C2")):
            values = np.array([wilson(rows[:, column]) for rows in solved.values()])
            bars = np.abs(values[:, 1:] - values[:, :1]).T
            ax.errorbar(list(solved), values[:, 0], bars, fmt="o-", ms=4, color=color, label=label)
        ax.set_xlabel("patterns a weight")
        ax.set_ylabel("solved fraction")
        ax.set_title({"annealing": "annealing, perceptron", "SGD": "SGD, committee"}[kind])
        ax.legend(fontsize=8, frameon=False)
    for column, label, color in ((0, "annealing, one", "C1"), (1, f"{REPLICAS} replicas", "C2")):
        values = flat[:, column, 2:]
        axes[2].errorbar(
            FLIPPED, values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values)),
            fmt="o-", ms=4, color=color, label=label,
        )  # fmt: skip
    for (n_replicas, (expected, samples)), color in zip(curves.items(), ("C0", "C3")):
        axes[3].plot(*expected.T, color=color, label=f"theory, {n_replicas} replicas")
        for sample in samples:
            axes[3].plot(*sample.T, "o", ms=3, mfc="none", color=color)
    axes[3].set_xlabel("distance from the centre")
    axes[3].set_ylabel("local entropy (nats a weight)")
    axes[3].set_title("focusing BP (circles)")
    axes[3].legend(fontsize=8, frameon=False)
    axes[2].set_xlabel("share of weights flipped")
    axes[2].set_ylabel("errors a pattern")
    axes[2].set_title("around solutions")
    axes[2].legend(fontsize=8, frameon=False)
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small machines, few instances")
    parser.add_argument("--seed", type=int, default=0, help="of the first instance")
    parser.add_argument("--figure", type=Path, default=Path("robust_ensemble.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start, failures, fractions = time.perf_counter(), [], {}
    seeds = range(args.seed, args.seed + (10 if args.quick else 30))
    for kind in LOADS:
        fractions[kind] = solved_fractions(kind, args.quick, seeds)
        print(f"{kind}: solved of {len(seeds)}, with 95 % intervals")
        for load, solved in fractions[kind].items():
            one, many = wilson(solved[:, 0]), wilson(solved[:, 1])
            print(
                f"  load {load:4}: one {one[0]:.2f} [{one[1]:.2f}, {one[2]:.2f}], "
                f"{REPLICAS} replicas {many[0]:.2f} [{many[1]:.2f}, {many[2]:.2f}]"
            )
        pairs = np.concatenate(list(fractions[kind].values()))
        gained = int((pairs[:, 1] > pairs[:, 0]).sum())
        lost = int((pairs[:, 1] < pairs[:, 0]).sum())
        print(f"  solved by replicas alone: {gained}, by one alone: {lost}\n", flush=True)
        test = binomtest(gained, max(1, gained + lost), alternative="greater")
        if not test.pvalue < 0.01:
            failures.append(f"{kind}: {gained} gained, {lost} lost, p = {test.pvalue:.2g}")
    flat = flatness(range(args.seed, args.seed + (8 if args.quick else 20)))
    mean, low, high = interval(flat[:, 1] - flat[:, 0])
    names = [f"local entropy at D = {CLOSE}", "error on new patterns"]
    names += [f"errors a pattern, {share:.0%} flipped" for share in FLIPPED]
    print(f"solutions of {len(flat)} teacher problems at load {FLAT_LOAD}, annealed")
    for i, name in enumerate(names):
        one, many = flat[:, :, i].mean(axis=0)
        print(
            f"  {name:32}: one {one:.4f}, {REPLICAS} replicas {many:.4f}, "
            f"difference {mean[i]:+.4f} [{low[i]:+.4f}, {high[i]:+.4f}]"
        )
    if not low[0] > 0:
        failures.append(f"local entropy: difference {mean[0]:.4f} [{low[0]:.4f}, {high[0]:.4f}]")
    curves, spread = thermodynamics(args.quick, range(args.seed, args.seed + 4))
    print(f"focusing BP at load {FOCUS_LOAD}: local entropy minus theory at the same distance")
    print(f"  (standard deviation of the entropy from sample to sample {spread:.4f})")
    for n_replicas, (expected, samples) in curves.items():
        distance, entropy = samples.mean(axis=0).T
        off = entropy - np.interp(distance, *expected[::-1].T)
        print(f"  {n_replicas:2} replicas: " + " ".join(f"{value:+.4f}" for value in off))
        if np.abs(off[SCOPE <= WEAK + 1e-9]).max() > 2 * spread:
            failures.append(f"focusing with {n_replicas} replicas: off by {np.abs(off).max():.4f}")
    if args.out:
        numbers = {
            "solved": {k: {a: v.tolist() for a, v in s.items()} for k, s in fractions.items()},
            "flatness": flat.tolist(),
        }
        args.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(fractions, flat, curves), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
