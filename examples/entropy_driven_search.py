"""How the work to a solution grows: entropy-driven Monte Carlo against simulated annealing.

Both start from random spins. Annealing flips one spin at a time while the temperature falls; the
number of its sweeps is doubled until it ends in a solution, so it is given the schedule that suits
each instance. Entropy-driven Monte Carlo moves uphill in local entropy, one random spin at a time,
or by batches of those spins that message passing wants to turn (arXiv 1511.05634). Work is counted
in proposals, in sweeps of message passing, and in seconds of one core.

A power law ``a n^b`` and an exponential ``a exp(b n)`` are fitted to the median over instances by
least squares in the logarithm; intervals are 95 % by resampling the instances.

Expected: about three minutes on one core, exit status 0. At load 0.3 the proposals of the
perceptron grow as n^1.13 with random flips and as n^0.19 with batches; annealing needs a thousand
to a hundred thousand times as many as batches, and with up to `MOST_SWEEPS` sweeps no longer
succeeds on most machines of 801 weights, at load 0.6 on none of 201. The exit status is 1 when

- entropy-driven Monte Carlo leaves an instance unsolved,
- the exponent of random single flips is outside 1.0 to 1.5 (the literature: 1.23), or that of
  batches is not smaller (--quick waives both),
- annealing solves an instance with fewer proposals than entropy-driven Monte Carlo.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from models import ksat, perceptron

MOST_SWEEPS = {True: 2**12, False: 2**15}
"""Of annealing, by --quick."""
ONE_COUPLING = float(np.arctanh(0.6))


class Task(NamedTuple):
    """A family of instances and where each method is tried."""

    sizes: tuple[int, ...]
    make: object
    """From size and seed to a problem."""
    system: object
    methods: tuple[str, ...]


TASKS = {
    "perceptron, load 0.3": Task(
        (101, 201, 401, 801), lambda n, seed: perceptron.random_patterns(n, 0.3, seed=seed),
        perceptron, ("random flips", "batches", "annealing"),
    ),
    "perceptron, load 0.6": Task(
        (101, 201, 401, 801), lambda n, seed: perceptron.random_patterns(n, 0.6, seed=seed),
        perceptron, ("batches", "annealing"),
    ),
    "4-SAT, density 8": Task(
        (100, 200, 400, 800), lambda n, seed: ksat.random_formula(n, 8 * n, 4, seed=seed),
        ksat, ("batches", "annealing"),
    ),
}  # fmt: skip


class Attempt(NamedTuple):
    """What a search took; NaN proposals if it failed."""

    proposals: float
    sweeps: float
    """Of message passing."""
    seconds: float


def attempt(task, method, problem, seed, most_sweeps):
    """Run one method on one instance."""
    start = time.process_time()
    if method == "annealing":
        n_sweeps = 64
        while n_sweeps <= most_sweeps:
            began = time.process_time()
            found = task.system.simulated_annealing(
                problem, n_sweeps=n_sweeps, seed=seed, progress=False
            )
            if problem.energy(found.weights) == 0:
                return Attempt(found.n_steps, 0, time.process_time() - began)
            n_sweeps *= 2
        return Attempt(np.nan, 0, time.process_time() - start)
    options = {"proposals": "random", "couplings": ONE_COUPLING} if method == "random flips" else {}
    found = task.system.entropy_driven_monte_carlo(problem, seed=seed, progress=False, **options)
    solved = problem.energy(found.weights) == 0
    return Attempt(
        found.n_steps if solved else np.nan, found.walk.n_sweeps, time.process_time() - start
    )


def measure(task, seeds, most_sweeps, sizes):
    """Return ``{method: (sizes, instances, 3) array}`` of proposals, sweeps and seconds."""
    results = {}
    with progress_bar(len(task.methods) * len(sizes), "instances") as bar:
        for method in task.methods:
            attempt(task, method, task.make(51, 0), 0, 64)  # compile apart
            table = np.full((len(sizes), len(seeds), 3), np.nan)
            for i, n in enumerate(sizes):
                for j, seed in enumerate(seeds):
                    table[i, j] = attempt(task, method, task.make(n, seed), seed, most_sweeps)
                bar.update(1)
                if np.isnan(table[i, :, 0]).all():
                    break  # larger ones are harder still
            results[method] = table
    return results


def growth(sizes, proposals, *, exponential, draws=1000, seed=0):
    """Return exponent or rate of the median with its interval, from sizes solved throughout.

    ``proposals`` ``(sizes, instances)``.
    """
    full = ~np.isnan(proposals).any(axis=1)
    if full.sum() < 3:
        return None
    x = np.asarray(sizes, float)[full]
    x = x if exponential else np.log(x)
    rows = proposals[full]
    generator = np.random.default_rng(seed)

    def slope(table):
        return np.polyfit(x, np.log(np.median(table, axis=1)), 1)[0]

    n = rows.shape[1]
    resampled = [
        slope(np.stack([row[generator.integers(0, n, n)] for row in rows])) for _ in range(draws)
    ]
    return slope(rows), *np.quantile(resampled, [0.025, 0.975])


def report(name, sizes, results, n_seeds):
    """Print the table of one task."""
    print(f"\n{name}: medians over {n_seeds} instances")
    print(f"{'method':>14} | {'n':>5} | solved | {'proposals':>10} | {'BP sweeps':>9} | seconds")
    for method, table in results.items():
        for n, rows in zip(sizes, table):
            solved = int((~np.isnan(rows[:, 0])).sum())
            tried = int((~np.isnan(rows[:, 2])).sum())
            if not tried:
                continue
            line = f"{method:>14} | {n:5} | {solved:2} / {tried:2}"
            if solved == tried:
                steps, sweeps, seconds = np.median(rows, axis=0)
                line += f"| {steps:10.0f} | {sweeps:9.0f} | {seconds:7.3f}"
            else:
                line += f"| {'':>10} | {'':>9} | {np.median(rows[:, 2]):7.3f}"
            print(line)
        for label, exponential in (("n^", False), ("exp n *", True)):
            fit = growth(sizes, table[:, :, 0], exponential=exponential)
            if fit:
                print(f"{'':>14}   proposals ~ {label} {fit[0]:.4g} [{fit[1]:.4g}, {fit[2]:.4g}]")


def judge(name, sizes, results, quick):
    """Return sentences of dissent; three sizes do not determine an exponent."""
    failures = []
    fits = {}
    for method, table in results.items():
        if method == "annealing":
            continue
        fits[method] = growth(sizes, table[:, :, 0], exponential=False)
        if np.isnan(table[:, :, 0]).any():
            failures.append(f"{name}: {method} leave an instance unsolved")
        elif (results["annealing"][:, :, 0] < table[:, :, 0]).any():
            failures.append(f"{name}: annealing makes fewer proposals than {method}")
    single = fits.get("random flips")
    if single and not quick:
        if not 1.0 <= single[0] <= 1.5:
            failures.append(f"{name}: proposals of random flips grow as n^{single[0]:.2f}")
        if not fits["batches"][0] < single[0]:
            failures.append(
                f"{name}: batches grow as n^{fits['batches'][0]:.2f}, single flips less"
            )
    return failures


def picture(measured):
    """Draw proposals against size, one panel a task."""
    figure, axes = new_figure(len(measured), width=3.8, height=3.6)
    colors = {"random flips": "C0", "batches": "C2", "annealing": "C1"}
    for ax, (name, (sizes, results)) in zip(axes, measured.items()):
        for method, table in results.items():
            proposals = table[:, :, 0]
            full = ~np.isnan(proposals).any(axis=1)
            for n, row in zip(sizes, proposals):
                ax.plot(np.full(len(row), n), row, ".", color=colors[method], ms=3, alpha=0.5)
            ax.plot(
                np.asarray(sizes)[full], np.median(proposals[full], axis=1), "o-", ms=4,
                color=colors[method], label=method,
            )  # fmt: skip
            partly = ~full & (~np.isnan(proposals)).any(axis=1)
            if partly.any():
                ax.plot([], [], ".", color=colors[method], label=f"{method}: some unsolved")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("number of spins")
        ax.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("proposals to a solution")
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few small instances")
    parser.add_argument("--seed", type=int, default=0, help="of the first instance")
    parser.add_argument("--figure", type=Path, default=Path("entropy_driven_search.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start = time.perf_counter()
    seeds = range(args.seed, args.seed + (4 if args.quick else 10))
    measured, failures = {}, []
    for name, task in TASKS.items():
        sizes = task.sizes[:3] if args.quick else task.sizes
        results = measure(task, seeds, MOST_SWEEPS[args.quick], sizes)
        report(name, sizes, results, len(seeds))
        failures += judge(name, sizes, results, args.quick)
        measured[name] = sizes, results
    if args.out:
        numbers = {
            name: {method: table.tolist() for method, table in results.items()}
            for name, (_, results) in measured.items()
        }
        args.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    print(f"\nfigure: {save_figure(picture(measured), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
