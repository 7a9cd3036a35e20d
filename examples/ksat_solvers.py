"""Random K-SAT: who still finds solutions near the threshold, and what message passing counts.

Adding clauses to a random formula, local search slows down where solutions fall apart into clusters
in which many variables are frozen. Survey propagation sees the clusters: fixing what it decides
leaves a formula that is easy for local search (Mézard, Parisi, Zecchina, Science 297, 812 (2002);
with backtracking Marino, Parisi, Ricci-Tersenghi, Nature Communications 7, 12996 (2016)). Its
complexity, the log number of clusters, vanishes at the threshold of satisfiability. Belief
propagation counts solutions: exactly on trees, nearly on small formulas with loops.

Each method alone has a budget of work: local search `FLIPS` flips a variable; reinforced belief
propagation one run of at most 600 sweeps; surveys one decimation (2 % of the variables a step, 30 %
of the steps back), then `AFTER` flips for each variable left free. `solve` takes turns between them
until its time is up. A formula of lower density is the beginning of one of higher density.

Expected: under four minutes on one core, exit status 0. At density 4.2 surveys solve 8 of 8 3-SAT
formulas of 10,000 variables, the same number of flips without surveys none; the complexity vanishes
at 4.263 +- 0.006 and 9.930 +- 0.004. The exit status is 1 when

- `solve` misses a formula at a density up to `EASY`,
- at the density `TESTED` the Wilson interval of surveys is not above that of local search (--quick,
  with small formulas, waives this one),
- belief propagation differs by more than 1e-10 from enumeration on a tree, or by more than `LOOPY`
  nats a variable on one of the twenty formulas with loops,
- a Bethe entropy is above the annealed bound, or the complexity vanishes further from the threshold
  of the literature than four standard errors, what loops may do to a finite formula (`SHIFT`) and
  the rounding of the literature together.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from graphs.generators import random_hypertree
from inference.plotting import save_figure
from inference.progress import progress_bar
from inference.status import Status
from models.ksat import (
    THRESHOLDS,
    Formula,
    annealed_entropy,
    belief_propagation,
    decimate,
    exact_marginals,
    local_search,
    random_formula,
    reinforce,
    solve,
    survey_propagation,
)

FLIPS, AFTER = 300, 300
DENSITIES = {3: (4.0, 4.1, 4.15, 4.2, 4.23), 4: (9.0, 9.3, 9.5, 9.6, 9.7)}
EASY = {3: 4.0, 4: 9.0}
TESTED = {3: 4.2, 4: 9.6}
COMPLEXITY_AT = {  # the table of complexities, and the zero between its last densities
    3: (3.95, 4.0, 4.1, 4.2, 4.25, 4.267, 4.3),
    4: (8.5, 9.0, 9.5, 9.8, 9.9, 9.931, 9.95, 10.05),
}
ENTROPY_AT = {3: (3.2, 3.4, 3.6, 3.7, 3.8), 4: (7.5, 8.0)}  # and at those above
SHIFT = 1.0
"""Nats by which short loops may shift a complexity: between n = 1000 (400 formulas) and 20,000 it
moves by 0.0, -0.7, 0.2, 0.6, each +- 0.3, for 3-SAT at 4.1, 4.2 and 4-SAT at 9.5, 9.8."""
ROUNDED = 5e-4
"""The literature gives three decimals."""
LOOPY = 0.02
"""Nats a variable: the twenty formulas are fixed, the worst of them differs by 0.0189."""
METHODS = ("local search", "reinforced BP", "surveys + local search", "solve")


def prefix(formula, alpha):
    """Return the formula of the first ``alpha n`` clauses."""
    n_clauses = round(alpha * formula.n_variables)
    offsets = formula.offsets[: n_clauses + 1]
    return Formula(formula.literals[: offsets[-1]], offsets, formula.n_variables)


def with_units(formula, values):
    """Return the formula with one more clause for each variable that has a value."""
    fixed = np.flatnonzero(values)
    units = ((fixed + 1) * values[fixed]).astype(np.int32)
    ends = formula.offsets[-1] + np.arange(1, len(units) + 1)
    return Formula(
        np.append(formula.literals, units), np.append(formula.offsets, ends), formula.n_variables
    )


def attempt(method, formula, seed, limit):
    """Return an assignment, sweeps and flips."""
    n = formula.n_variables
    if method == "local search":
        found = local_search(formula, max_flips=FLIPS * n, seed=seed, progress=False)
    elif method == "reinforced BP":
        found = reinforce(formula, seed=seed, progress=False)
    elif method == "solve":
        found = solve(formula, seed=seed, time_limit=limit, progress=False)
    else:
        partial = decimate(formula, fraction=0.02, backtracking=0.3, seed=seed, progress=False)
        rest = with_units(formula, partial.values)
        flips = AFTER * max(1, np.count_nonzero(partial.values == 0))
        found = local_search(rest, max_flips=flips, seed=seed, progress=False)
        return found.assignment, partial.n_sweeps, found.stats["n_flips"]
    return found.assignment, found.stats["n_sweeps"], found.stats["n_flips"]


def solved_counts(k, alphas, n, seeds, limit):
    """Let every method try every formula; return ``{(alpha, method): (solved, work)}``.

    ``solved`` counts assignments that violate no clause of the formula; ``work`` is ``(formulas,
    3)``: sweeps, flips a variable, seconds.
    """
    results = {}
    for method in METHODS:  # compile apart
        attempt(method, random_formula(500, round(alphas[0] * 500), k, seed=0), 0, limit)
    with progress_bar(len(alphas) * len(seeds), f"{k}-SAT, solvers") as bar:
        formulas = {seed: random_formula(n, round(alphas[-1] * n), k, seed=seed) for seed in seeds}
        for alpha in alphas:
            tries = {method: [] for method in METHODS}
            for seed in seeds:
                formula = prefix(formulas[seed], alpha)
                for method in METHODS:
                    start = time.perf_counter()
                    assignment, n_sweeps, n_flips = attempt(method, formula, seed, limit)
                    seconds = time.perf_counter() - start
                    solved = formula.energy(assignment) == 0
                    tries[method].append((solved, n_sweeps, n_flips / n, seconds))
                bar.update(1)
            for method, rows in tries.items():
                table = np.array(rows, float)
                results[alpha, method] = int(table[:, 0].sum()), table[:, 1:]
    return results


def wilson(solved, tried):
    """Return the 95 % interval of a solved fraction."""
    interval = binomtest(solved, tried).proportion_ci(method="wilson")
    return interval.low, interval.high


def solver_table(k, n, results):
    """Tabulate solved fractions and work; return lines."""
    header = ("alpha", "method", "solved", "95 % interval", "sweeps", "flips/n", "s")
    cells = [header]
    for (alpha, method), (solved, work) in results.items():
        low, high = wilson(solved, len(work))
        quartiles = [np.percentile(column, (50, 25, 75)) for column in work.T[:2]]
        amounts = [f"{m:.0f} ({a:.0f}-{b:.0f})" if b else "-" for m, a, b in quartiles]
        seconds = f"{np.median(work[:, 2]):.2f}"
        row = (f"{alpha:g}", method, f"{solved}/{len(work)}", f"{low:.2f}-{high:.2f}")
        cells.append((*row, *amounts, seconds))
    return f"{k}-SAT, n = {n}: median work (quartiles)\n" + aligned(cells)


def solver_failures(k, results, quick):
    """Return sentences of dissent."""
    failures = []
    for (alpha, method), (solved, work) in results.items():
        if method == "solve" and alpha <= EASY[k] and solved < len(work):
            failures.append(f"{k}-SAT at {alpha:g}: solve found {solved} of {len(work)}")
    if not quick:
        tried = len(results[TESTED[k], "solve"][1])
        local = results[TESTED[k], "local search"][0]
        survey = results[TESTED[k], "surveys + local search"][0]
        if not wilson(local, tried)[1] < wilson(survey, tried)[0]:
            failures.append(
                f"{k}-SAT at {TESTED[k]:g}: expected surveys to solve more than local search, "
                f"beyond both intervals; got {survey} and {local} of {tried}"
            )
    return failures


def counts_on_trees(seeds):
    """Return the largest difference of log-partitions and of marginals, belief to enumeration."""
    largest = np.zeros(2)
    for k in (2, 3, 4, 5):
        for seed in seeds:
            rng = np.random.default_rng(seed)
            table = random_hypertree(14 // (k - 1), k, seed)
            signs = rng.choice([-1, 1], table.shape)
            formula = Formula.from_clauses(((table + 1) * signs).tolist())
            field = rng.normal(size=formula.n_variables)
            exact = exact_marginals(formula, field=field)
            found = belief_propagation(formula, field=field, tol=1e-13, progress=False)
            differences = (
                abs(found.log_partition - exact.log_partition),
                np.abs(found.marginals - exact.marginals).max(),
            )
            largest = np.maximum(largest, differences)
    return largest


def counts_with_loops(seeds, n=18, n_clauses=50, k=3):
    """Return rows ``(seed, solutions, exact, bethe, status)`` and marginals ``(2, all)``."""
    rows, marginals = [], []
    for seed in seeds:
        formula = random_formula(n, n_clauses, k, seed=seed)
        exact = exact_marginals(formula)
        if exact.n_solutions == 0:
            continue
        found = belief_propagation(
            formula, max_steps=5000, damping=0.2, on_failure="ignore", progress=False
        )
        numbers = (exact.log_partition / n, found.log_partition / n)
        rows.append((seed, exact.n_solutions, *numbers, found.status))
        marginals.append((exact.marginals, found.marginals))
    return rows, np.concatenate(marginals, axis=1)


def count_table(rows):
    """Tabulate entropies of formulas with loops."""
    cells = [("seed", "solutions", "exact/n", "Bethe/n", "difference", "status")]
    for seed, n_solutions, exact, bethe, status in rows:
        numbers = (f"{exact:.5f}", f"{bethe:.5f}", f"{bethe - exact:+.5f}")
        cells.append((str(seed), str(n_solutions), *numbers, status.name))
    return aligned(cells)


def complexities(k, alphas, n, seeds):
    """Return complexities a variable ``(seeds, alphas)``; NaN without convergence."""
    values = np.full((len(seeds), len(alphas)), np.nan)
    with progress_bar(values.size, f"{k}-SAT, surveys") as bar:
        for row, seed in enumerate(seeds):
            largest = random_formula(n, round(alphas[-1] * n), k, seed=seed)
            for column, alpha in enumerate(alphas):
                found = survey_propagation(
                    prefix(largest, alpha), tol=1e-6, seed=seed, on_failure="ignore", progress=False
                )
                if found.status is Status.CONVERGED:
                    values[row, column] = found.complexity / n
                bar.update(1)
    return values


def entropies(k, alphas, n, seeds):
    """Return Bethe entropies a variable and whether messages converged, ``(seeds, alphas)``."""
    values = np.full((len(seeds), len(alphas)), np.nan)
    converged = np.zeros(values.shape, bool)
    with progress_bar(values.size, f"{k}-SAT, beliefs") as bar:
        for row, seed in enumerate(seeds):
            largest = random_formula(n, round(alphas[-1] * n), k, seed=seed)
            for column, alpha in enumerate(alphas):
                found = belief_propagation(
                    prefix(largest, alpha), tol=1e-6, max_steps=300, seed=seed, on_failure="ignore",
                    progress=False,
                )  # fmt: skip
                values[row, column] = found.log_partition / n
                converged[row, column] = found.status is Status.CONVERGED
                bar.update(1)
    return values, converged


def mean_and_error(values):
    """Return mean and standard error over the rows that are not NaN, and their number."""
    count = np.isfinite(values).sum(axis=0)
    return np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1) / np.sqrt(count), count


def zero_of(alphas, means):
    """Return where a piecewise linear curve falls to zero (or its end would), and its slope."""
    falls = np.flatnonzero((means[:-1] > 0) & (means[1:] <= 0))
    left = falls[0] if len(falls) else len(means) - 2
    slope = (means[left + 1] - means[left]) / (alphas[left + 1] - alphas[left])
    return alphas[left] - means[left] / slope, slope


def threshold(alphas, values, n):
    """Return the zero of the mean complexity, its jackknife error, and how far off it may be."""
    zero, slope = zero_of(alphas, np.nanmean(values, axis=0))
    rows = range(len(values))
    without = [zero_of(alphas, np.nanmean(np.delete(values, row, 0), axis=0))[0] for row in rows]
    error = np.sqrt((len(values) - 1) * np.var(without))
    return zero, error, 4 * error + SHIFT / (n * abs(slope)) + ROUNDED


def complexity_table(alphas, values, entropy_alphas, entropy, converged):
    """Tabulate complexities and Bethe entropies a variable."""
    mean, error, count = mean_and_error(values)
    cells = [("alpha", "complexity/n", "error", "formulas", "Bethe entropy/n", "converged")]
    for place, alpha in enumerate(entropy_alphas):
        row = ("", "", "")
        if alpha in alphas:
            at = alphas.index(alpha)
            row = (f"{mean[at]:.5f}", f"{error[at]:.5f}", f"{count[at]}/{len(values)}")
        share = f"{converged[:, place].sum()}/{len(converged)}"
        cells.append((f"{alpha:g}", *row, f"{entropy[:, place].mean():.5f}", share))
    return aligned(cells)


def aligned(cells):
    """Return rows of text with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join(" | ".join(map(str.rjust, row, widths)) for row in cells)


def draw_solved(ax, k, n, results):
    """Solved fractions with their intervals, side by side where they coincide."""
    alphas = sorted({alpha for alpha, _ in results})
    step = 0.012 * (alphas[-1] - alphas[0])
    for index, method in enumerate(METHODS):
        counts = [(solved, len(work)) for solved, work in (results[a, method] for a in alphas)]
        fraction = np.array([solved / tried for solved, tried in counts])
        low, high = np.array([wilson(*count) for count in counts]).T
        x = np.array(alphas) + (index - 1.5) * step
        bars = np.clip([fraction - low, high - fraction], 0, None)
        style = {"color": f"C{index}", "marker": "osD^"[index], "ms": 3, "lw": 1.2}
        ax.errorbar(
            x, fraction, bars, label=method.split(" +")[0], elinewidth=0.8, capsize=0, **style
        )
    ax.set(xlabel="clauses a variable, α", ylabel="solved", ylim=(-0.04, 1.04))
    ax.set_title(f"{k}-SAT, n = {n:,}: solved fraction", pad=12)


def mark_thresholds(ax, k):
    """Dashed lines at the thresholds in the literature that are in sight, named above the axes."""
    known = THRESHOLDS[k]
    marks = {"α$_d$": known.clustering, "α$_c$": known.condensation, "α$_s$": known.satisfiability}
    if known.clustering == known.condensation:
        marks = {"α$_d$ = α$_c$": known.clustering, "α$_s$": known.satisfiability}
    low, high = ax.get_xlim()
    for name, at in marks.items():
        if low < at < high:
            ax.axvline(at, color="0.4", ls="--", lw=0.8, zorder=0)
            ax.annotate(
                name, (at, 1), (0, 3), xycoords=("data", "axes fraction"), fontsize=7,
                textcoords="offset points", ha="center", color="0.3",
            )  # fmt: skip


def draw_counts(ax, k, n, measured):
    """Bethe entropy and complexity against density."""
    mean, _, _ = mean_and_error(measured["complexity"])
    entropy, converged = measured["entropy"].mean(axis=0), measured["converged"].all(axis=0)
    alphas = np.array(measured["entropy_alphas"])
    fine = np.linspace(alphas[0], alphas[-1])
    bound = [annealed_entropy(k, alpha) for alpha in fine]
    ax.plot(fine, bound, ":", color="0.4", lw=1.2, label="annealed bound")
    ax.plot(alphas, entropy, "-", color="C0", lw=1.2)
    ax.plot(alphas[converged], entropy[converged], "o", color="C0", ms=3.5, label="Bethe entropy")
    rest = {"mfc": "white", "color": "C0", "ms": 3.5, "label": "not converged"}
    if not converged.all():
        ax.plot(alphas[~converged], entropy[~converged], "o", **rest)
    ax.plot(measured["alphas"], mean, "s-", color="C3", ms=3, lw=1.2, label="complexity")
    ax.axhline(0, color="k", lw=0.6)
    top = 1.06 * max(bound)
    ax.set(xlabel="clauses a variable, α", ylabel="nats a variable", ylim=(-0.08 * top, top))
    ax.set_title(f"{k}-SAT, n = {n:,}: solutions, clusters", pad=12)
    mark_thresholds(ax, k)


def draw_zero(ax, k, measured):
    """Complexity with its errors, and where it vanishes."""
    mean, error, _ = mean_and_error(measured["complexity"])
    style = {"color": "C3", "marker": "s", "ms": 3, "lw": 1.2, "elinewidth": 1.0, "capsize": 3}
    near = slice(-5, None)
    ax.errorbar(measured["alphas"][near], 1e3 * mean[near], 1e3 * error[near], **style)
    ax.axhline(0, color="k", lw=0.6)
    zero, off = measured["zero"], measured["error"]
    ax.axvspan(zero - off, zero + off, color="C3", alpha=0.2, lw=0)
    ax.set(xlabel="clauses a variable, α", ylabel="complexity / n, $10^{-3}$ nats")
    ax.set_title(f"zero at {zero:.3f} ± {off:.3f}", pad=12)
    mark_thresholds(ax, k)


def draw_pairs(ax, exact, bethe, what):
    """Bethe against exact."""
    low, high = min(exact.min(), bethe.min()), max(exact.max(), bethe.max())
    margin = 0.05 * (high - low)
    ax.plot([low, high], [low, high], "-", color="0.6", lw=0.8)
    ax.plot(exact, bethe, "o", color="C0", ms=2.5, mew=0)
    limits = (low - margin, high + margin)
    ax.set(xlabel=f"exact {what}", ylabel=f"Bethe {what}", xlim=limits, ylim=limits)


def picture(solvers, counts, rows, marginals):
    """One row a clause length: who solves, what is counted, how well on small formulas."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.8), layout="constrained")
    axes = figure.subplots(2, 4, width_ratios=(1.1, 1.1, 0.9, 0.9))
    for row, k in enumerate(solvers):
        draw_solved(axes[row, 0], k, *solvers[k])
        draw_counts(axes[row, 1], k, *counts[k])
        draw_zero(axes[row, 2], k, counts[k][1])
    axes[1, 0].legend(fontsize=6.5, loc="lower left")
    handles, labels = axes[0, 1].get_legend_handles_labels()  # of the row that shows all of them
    axes[1, 1].legend(handles, labels, fontsize=6.5, loc="upper right", framealpha=0.95)
    exact, bethe = np.array([row[2:4] for row in rows]).T
    draw_pairs(axes[0, 3], exact, bethe, "entropy / n")
    axes[0, 3].set_title(f"{len(rows)} loopy formulas, n = 18", pad=12)
    draw_pairs(axes[1, 3], *marginals, "P(s = +1)")
    axes[1, 3].set_title("and all their marginals", pad=12)
    for ax in axes.flat:
        ax.tick_params(labelsize=7)
        ax.title.set_size(8)
        ax.xaxis.label.set_size(8)
        ax.yaxis.label.set_size(8)
    return figure


def run_solvers(quick, seeds, limit):
    """Print who solves what; return ``{k: (n, results)}`` and sentences of dissent."""
    solvers, failures = {}, []
    for k, n in {3: 1500, 4: 600}.items() if quick else {3: 10_000, 4: 3000}.items():
        alphas = DENSITIES[k][::2] if quick else DENSITIES[k]
        solvers[k] = n, solved_counts(k, alphas, n, seeds, limit)
        failures += solver_failures(k, solvers[k][1], quick)
        print(solver_table(k, *solvers[k]) + "\n", flush=True)
    return solvers, failures


def run_small(quick):
    """Print counts beside enumeration; return rows, marginals and sentences of dissent."""
    failures = []
    on_trees = counts_on_trees(range(3 if quick else 10))
    rows, marginals = counts_with_loops(range(20))
    differences = np.array([bethe - exact for _, _, exact, bethe, _ in rows])
    largest = np.abs(differences).max()
    print("random 3-SAT, n = 18, m = 50: belief propagation against enumeration")
    print(count_table(rows))
    print(
        f"difference: mean {differences.mean():+.5f}, root mean square "
        f"{np.sqrt(np.mean(differences**2)):.5f}, largest {largest:.5f} nats a variable\n"
        f"trees of 2 to 5 literals a clause, with fields: largest difference of log-partitions "
        f"{on_trees[0]:.1e}, of marginals {on_trees[1]:.1e}\n",
        flush=True,
    )
    if not max(on_trees) < 1e-10:
        failures.append(f"trees: expected differences below 1e-10, got {max(on_trees):.1e}")
    if not largest < LOOPY:
        failures.append(f"loops: expected differences below {LOOPY}, got {largest:.4f}")
    return rows, marginals, failures


def run_large(quick, first):
    """Print complexities and entropies; return ``{k: (n, measured)}`` and sentences of dissent."""
    counts, failures = {}, []
    n = 2000 if quick else 20_000
    for k, n_formulas in {3: 12, 4: 12}.items() if quick else {3: 8, 4: 5}.items():
        seeds = range(first, first + n_formulas)
        alphas = COMPLEXITY_AT[k][-4:] if quick else COMPLEXITY_AT[k]
        more = tuple(sorted({*ENTROPY_AT[k], *alphas}))
        values = complexities(k, alphas, n, seeds)
        entropy, converged = entropies(k, more, n, seeds[:2])
        zero, error, allowed = threshold(alphas, values, n)
        expected = THRESHOLDS[k].satisfiability
        print(f"{k}-SAT, n = {n}: survey propagation on {len(seeds)} formulas, beliefs on two")
        print(complexity_table(alphas, values, more, entropy, converged))
        print(
            f"the complexity vanishes at {zero:.4f} +- {error:.4f}; literature {expected}, "
            f"difference {zero - expected:+.4f}, allowed {allowed:.4f}\n",
            flush=True,
        )
        if not abs(zero - expected) <= allowed:
            failures.append(
                f"{k}-SAT: the complexity vanishes at {zero:.4f}, expected {expected} to "
                f"{allowed:.4f}"
            )
        for alpha, column, reached in zip(more, entropy.T, converged.T):
            if reached.all() and not column.mean() < annealed_entropy(k, alpha):
                failures.append(f"{k}-SAT at {alpha}: Bethe entropy above the annealed bound")
        counts[k] = n, {
            "alphas": alphas, "complexity": values, "zero": zero, "error": error,
            "entropy_alphas": more, "entropy": entropy, "converged": converged,
        }  # fmt: skip
    return counts, failures


def numbers(solvers, rows, counts):
    """Return what the tables show, for JSON."""
    return {
        "solved": [
            {"k": k, "n": n, "alpha": alpha, "method": method, "solved": solved, "of": len(work)}
            for k, (n, results) in solvers.items()
            for (alpha, method), (solved, work) in results.items()
        ],
        "loops": [
            {"seed": seed, "solutions": solutions, "exact": exact, "bethe": bethe}
            for seed, solutions, exact, bethe, _ in rows
        ],
        "complexity": [
            {"k": k, "n": n, "alphas": m["alphas"], "zero": m["zero"], "error": m["error"]}
            | {"mean": np.nanmean(m["complexity"], axis=0).tolist()}
            for k, (n, m) in counts.items()
        ],
    }


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small formulas, few of them")
    parser.add_argument("--seed", type=int, default=0, help="of the first formula")
    parser.add_argument("--figure", type=Path, default=Path("ksat_solvers.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start = time.perf_counter()
    limit = 0.5 if args.quick else 5.0
    print(
        f"seeds from {args.seed}; budgets: {FLIPS} flips a variable; 600 sweeps; a decimation and "
        f"{AFTER} flips a free variable; solve {limit:g} s\n"
    )
    seeds = range(args.seed, args.seed + (5 if args.quick else 8))
    solvers, failures = run_solvers(args.quick, seeds, limit)
    rows, marginals, more = run_small(args.quick)
    failures += more
    counts, more = run_large(args.quick, args.seed)
    failures += more
    if args.out:
        report = {"seed": args.seed, "quick": args.quick, **numbers(solvers, rows, counts)}
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(solvers, counts, rows, marginals), args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
