"""Binary perceptron: dense regions of solutions, which typical solutions know nothing of.

How many solutions lie at a distance D from a reference? The replica method answers for a typical
solution (Franz and Parisi: below some distance there is none, it is isolated), for references
around which ``y`` replicas gather (large deviations), and for the densest regions that exist (where
the log number of such references vanishes). Belief propagation pinned to a reference answers for
one instance: around solutions that a search found, and around random weights (Baldassi, Ingrosso,
Lucibello, Saglietti, Zecchina, arXiv 1511.05634).

Expected: about two minutes on one core, exit status 0. Entropy-driven Monte Carlo ends close to the
densest regions that the replica method allows. What annealing finds at load 0.4 is surrounded like
a typical solution at all but the smallest distances; at load 0.6 it finds nothing in `SWEEPS`
sweeps. The exit status is 1 when

- around random references belief propagation differs from the replica method (no replicas) by more
  than four standard errors and `FINITE` over the number of weights,
- solutions found by entropy-driven Monte Carlo do not have more solutions around them, at distance
  `CLOSE`, than typical ones and than those that annealing found, by four standard errors, or have
  more than the densest regions by as much,
- a curve is above the log number of all weights at that distance,
- entropy-driven Monte Carlo leaves an instance unsolved.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import numpy as np

from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from inference.status import Status
from models.perceptron import (
    entropy_driven_monte_carlo,
    local_entropy,
    random_patterns,
    simulated_annealing,
    theory,
)

jax.config.update("jax_enable_x64", True)

SIZES = {0.4: 401, 0.6: 801}
"""Weights by load."""
SWEEPS = 50_000
COUPLINGS = np.arange(0.1, 2.61, 0.1)
GRID = np.array([0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.16])
"""Distances at which curves of several instances are averaged."""
CLOSE = 0.03
REPLICAS = (2, 7, 20)
FINITE = 1.0
"""Nats by which a sum over weights may differ from its limit."""
FREE = (0.2, 0.6, 1.0)
"""Couplings at which random references are compared with the replica method."""


def shannon(distance):
    """Return the log number of all weights at a distance, over their number."""
    d = np.clip(distance, 1e-300, 1.0)
    return -d * np.log(d) - (1 - d) * np.log1p(-d)


def surroundings(problem, reference):
    """Return distances and local entropies, where message passing converges."""
    around = local_entropy(
        problem, reference, COUPLINGS, method="amp", on_failure="ignore", progress=False
    )
    good = around.status == Status.CONVERGED
    return around.distance[good], around.local_entropy[good]


def at_distances(curve):
    """Return local entropies on the grid, NaN outside the curve."""
    distance, entropy = curve
    order = np.argsort(distance)
    return np.interp(GRID, distance[order], entropy[order], left=np.nan, right=np.nan)


def search(load, n, seeds):
    """Return ``{kind: curves}`` around what was found, unsolved counts, and the free references.

    The last are ``(n_instances, couplings, 2)`` distances and local entropies of random references.
    """
    curves = {"entropy-driven search": [], "annealing": []}
    unsolved = dict.fromkeys(curves, 0)
    free = []
    solvers = {
        "entropy-driven search": lambda problem, seed: entropy_driven_monte_carlo(
            problem, seed=seed, progress=False
        ),
        "annealing": lambda problem, seed: simulated_annealing(
            problem, n_sweeps=SWEEPS, seed=seed, progress=False
        ),
    }
    with progress_bar(len(seeds), f"instances at load {load}") as bar:
        for seed in seeds:
            problem = random_patterns(n, load, seed=seed)
            for kind, solve in solvers.items():
                found = solve(problem, seed)
                if problem.energy(found.weights):
                    unsolved[kind] += 1
                else:
                    curves[kind].append(surroundings(problem, found.weights))
            # with the labels all +1, any fixed weights are as random as any others
            around = local_entropy(problem, np.ones(n), FREE, method="amp", progress=False)
            free.append(np.stack([around.distance, around.local_entropy], axis=1))
            bar.update(1)
    return curves, unsolved, np.array(free)


def predicted(load):
    """Return the curves of the replica method: ``{label: (distance, entropy)}``."""
    curves = {}
    distances = np.geomspace(0.002, 0.3, 40)
    typical = theory.franz_parisi(load, distances)
    good = typical.status == Status.CONVERGED
    curves["typical solution"] = distances[good], typical.entropy[good]
    for y in REPLICAS:
        dense = theory.large_deviation(load, COUPLINGS, y)
        # a gap where there are no such references
        entropy = np.where(dense.external_entropy >= 0, dense.local_entropy, np.nan)
        good = dense.status == Status.CONVERGED
        curves[f"{y} replicas"] = dense.distance[good], entropy[good]
    densest = theory.vanishing_external_entropy(load, np.arange(0.5, 1.81, 0.1))
    good = densest.status == Status.CONVERGED
    curves["densest"] = densest.distance[good], densest.local_entropy[good]
    return curves


def compare_free(load, n, free):
    """Return rows of random references against the replica method, and sentences of dissent."""
    expected = theory.large_deviation(load, FREE, 1e-6)
    means, errors = free.mean(axis=0), free.std(axis=0, ddof=1) / np.sqrt(len(free))
    rows, failures = [], []
    for i, coupling in enumerate(FREE):
        for j, (name, value) in enumerate(
            [("distance", expected.distance[i]), ("local entropy", expected.local_entropy[i])]
        ):
            difference = means[i, j] - value
            rows.append((coupling, name, value, means[i, j], errors[i, j]))
            if not abs(difference) <= 4 * errors[i, j] + FINITE / n:
                failures.append(
                    f"load {load}, coupling {coupling}: {name} {means[i, j]:.5f} around random "
                    f"references, expected {value:.5f}"
                )
    return rows, failures


def judge(load, curves, unsolved, limits):
    """Print the table of one load; return sentences of dissent."""
    failures = []
    close = int(np.argmin(np.abs(GRID - CLOSE)))
    print(f"{'D':>7} | {'all':>7} | " + " | ".join(f"{label:>16}" for label in limits), end="")
    found = {kind: np.array([at_distances(c) for c in rows]) for kind, rows in curves.items()}
    found = {kind: rows for kind, rows in found.items() if len(rows) > 1}
    print("".join(f" | {kind + f' ({len(rows)})':>26}" for kind, rows in found.items()))
    theory_on_grid = {label: at_distances(curve) for label, curve in limits.items()}
    for i, distance in enumerate(GRID):
        line = f"{distance:7.3f} | {shannon(distance):7.4f} | "
        line += " | ".join(f"{values[i]:16.4f}" for values in theory_on_grid.values())
        for rows in found.values():
            mean, error = mean_error(rows[:, i])
            line += f" | {mean:15.4f} +- {error:.4f}  "
        print(line)
    for kind, rows in found.items():
        if (rows > shannon(GRID)).any():
            failures.append(f"load {load}: more solutions than weights around {kind}")
    mean, error = mean_error(found["entropy-driven search"][:, close])
    others = {"typical solution": (theory_on_grid["typical solution"][close], 0.0)}
    if "annealing" in found:
        others["annealing"] = mean_error(found["annealing"][:, close])
    for label, (value, its_error) in others.items():
        if not mean - value > 4 * np.hypot(error, its_error):
            failures.append(
                f"load {load}: at D = {CLOSE} {mean:.4f} +- {error:.4f} around what was found by "
                f"entropy, expected more than {value:.4f} +- {its_error:.4f} ({label})"
            )
    if not mean <= theory_on_grid["densest"][close] + 4 * error:
        failures.append(f"load {load}: denser at D = {CLOSE} than the densest regions")
    if unsolved["entropy-driven search"]:
        failures.append(f"load {load}: {unsolved['entropy-driven search']} instances unsolved")
    return failures


def mean_error(values):
    """Return mean and standard error over the instances that reach a distance."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return np.nan, np.nan
    return values.mean(), values.std(ddof=1) / np.sqrt(len(values))


def picture(panels):
    """Draw local entropy against distance, one panel a load."""
    figure, axes = new_figure(len(panels), width=5.2, height=4.2)
    for ax, (load, (n, curves, free, limits)) in zip(axes, panels.items()):
        grid = np.linspace(1e-4, 0.25, 300)
        ax.plot(grid, shannon(grid), color="0.6", lw=1, label="all weights")
        styles = {"typical solution": ("C3", "-"), "densest": ("k", "--")}
        shades = iter(["#9ecae1", "#4292c6", "#084594"])
        for label, (distance, entropy) in limits.items():
            color, style = styles.get(label) or (next(shades), "-")
            ax.plot(distance, entropy, style, color=color, lw=1.5, label=f"theory: {label}")
        for kind, marker in (("entropy-driven search", "o"), ("annealing", "s")):
            rows = np.array([at_distances(curve) for curve in curves[kind]])
            if len(rows) < 2:
                continue
            mean, error = np.array([mean_error(column) for column in rows.T]).T
            ax.errorbar(
                GRID, mean, error, fmt=marker, ms=4, mfc="none", color="C2" if marker == "o"
                else "C1", label=f"BP around what {kind} finds", zorder=5,
            )  # fmt: skip
        distance, entropy = free.mean(axis=0).T
        ax.plot(distance, entropy, "x", color="0.3", label="BP around random weights")
        ax.axhline(0, color="0.8", lw=0.8)
        ax.set_xlim(0, 0.25)
        ax.set_ylim(-0.03, 0.42)
        ax.set_xlabel("distance D from the reference")
        ax.set_ylabel("local entropy (nats a weight)")
        ax.set_title(f"load {load}, {n} weights", fontsize=10)
    handles = axes[0].get_legend_handles_labels()
    axes[-1].legend(*handles, fontsize=6.5, loc="upper right", frameon=False)
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small machines, few of them")
    parser.add_argument("--seed", type=int, default=0, help="of the first instance")
    parser.add_argument("--figure", type=Path, default=Path("dense_regions.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start = time.perf_counter()
    seeds = range(args.seed, args.seed + (4 if args.quick else 12))
    panels, failures, report = {}, [], []
    for load, n in SIZES.items():
        n = n // 2 + 1 if args.quick else n
        curves, unsolved, free = search(load, n, seeds)
        limits = predicted(load)
        print(f"\nload {load}, {n} weights, {len(seeds)} instances from seed {args.seed}")
        failures += judge(load, curves, unsolved, limits)
        rows, more = compare_free(load, n, free)
        failures += more
        print("random references     | replica method | belief propagation")
        for coupling, name, value, mean, error in rows:
            print(f"{coupling:4.1f}  {name:15} | {value:14.5f} | {mean:9.5f} +- {error:.5f}")
        print(
            ", ".join(f"{kind}: {count} unsolved" for kind, count in unsolved.items()), flush=True
        )
        panels[load] = n, curves, free, limits
        report.append({"load": load, "n": n, "unsolved": unsolved, "random": rows})
    if args.out:
        args.out.write_text(json.dumps(report, indent=1, default=float) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(panels), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
