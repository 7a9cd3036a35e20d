"""Choosing a deep linear network by its exact evidence, judged by data that it never saw.

Two data sets: diabetes (442 patients, 10 inputs) and the handwritten digits 0 and 1 (360 images of
64 pixels, targets -1 and 1). A random half trains, the other half judges. `select` computes the
exact evidence (arXiv 2406.03260) of 50 networks, of no hidden layer to three, at 13 noise levels:
650 integrals over the mixing matrix. The claim: the network of highest evidence predicts the other
half within one standard error of the best of the 50 (of its mean log predictive density, the rule
of cross-validation); the paired error of the difference, much smaller, is printed beside it. The
evidence itself is compared with estimates by sampling, which share no code with the quadrature
but the likelihood.

Expected: about a minute on two cores, every |z| below 4, exit status 0. The exit status is 1
when a choice is worse than claimed or a |z| exceeds 4.

Networks differ little here: by some nats of evidence on the digits, by less than one on diabetes,
by thousandths of a nat in each held-out point. So much of the claim is that the evidence, which
penalises but does not punish, leads nobody astray.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import jax
import numpy as np

from inference.keys import split_named
from inference.plotting import new_figure, save_figure
from models.deep_linear import Architecture, compress, posterior
from models.deep_linear.selection import select

jax.config.update("jax_enable_x64", True)

WIDTHS = (1, 2, 3, 4, 6, 8, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000)
DEPTHS = (1, 2, 3)
MAX_Z = 4.0
NOISE = {"diabetes": (1.0, 4.0), "digits": (12.0, 72.0)}  # range of the precisions


def load(name, seed):
    """Return training and test inputs and targets, centred and scaled by the training half."""
    from sklearn.datasets import load_diabetes, load_digits

    if name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
    else:
        x, label = load_digits(n_class=2, return_X_y=True)
        y = 2.0 * label - 1.0
    order = np.random.default_rng(seed).permutation(len(x))
    x, y, n = x[order], y[order], len(x) // 2
    x, y = x - x[:n].mean(0), y - y[:n].mean()
    if name == "diabetes":
        x, y = x / x[:n].std(0), y / y[:n].std()
    else:
        x = x / x[:n].std()  # many pixels are always white: one scale for all
    return x[:n], y[:n], x[n:], y[n:]


def candidates(quick):
    widths = WIDTHS[::4] if quick else WIDTHS
    deep = [Architecture((width,) * depth) for depth in DEPTHS for width in widths]
    return [Architecture(()), *deep, Architecture((10, 100))]


def held_out(split, selection):
    """Return log predictive densities ``(n_architectures, m)``, each at its noise of most evidence.

    One by one and by the solver for a single network, not from what the selection keeps.
    """
    x, y, x_test, y_test = split
    data = compress(x, y, selection.architectures[0], x_test)
    levels = selection.betas[selection.log_evidence.argmax(axis=1)]
    return np.array(
        [
            posterior(data, network, beta).predict().log_prob(y_test)
            for network, beta in zip(selection.architectures, levels)
        ]
    )


def judge(selection, densities):
    """Return chosen and best index, how much better the best is, its error, the paired error."""
    chosen = selection.architectures.index(selection.best.architecture)
    best = int(densities.mean(axis=1).argmax())
    difference = densities[best] - densities[chosen]
    root = math.sqrt(len(difference))
    error, paired = densities[best].std(ddof=1) / root, difference.std(ddof=1) / root
    return chosen, best, float(difference.mean()), float(error), float(paired)


def sampled(name, split, selection, key, quick):
    """Compare evidences with estimates by sampling; return rows ``(label, exact, sampled, se)``."""
    x, y, _, _ = split
    chosen, beta = selection.best.architecture.widths or (10,), selection.best.beta
    cells = [(chosen, "laplace"), (chosen, "prior")]
    if not quick:
        cells.append(((10,), "prior"))
    rows = []
    for widths, method in dict.fromkeys(cells):
        network = Architecture(widths)
        row = f"{name} {label(network)} {method}"
        own_key = split_named(key, row)[row]
        data = compress(x, y, network)
        exact = select(x, y, [network], beta).log_evidence[0, 0]
        found = posterior(data, network, beta, method=method, key=own_key, progress=False)
        rows.append((row, exact, found.log_evidence, found.log_evidence_error))
    return rows


def picture(results):
    """Evidence over width and noise, and held-out likelihood; one data set a row."""
    figure, axes = new_figure(3 * len(results), n_rows=len(results), width=2.4, height=1.8)
    for (name, selection, densities), row in zip(results, np.reshape(axes, (-1, 3))):
        over_width, over_noise, judged = row
        best_noise = selection.log_evidence.max(axis=1)
        means = densities.mean(axis=1)
        widths = [network.widths for network in selection.architectures]
        for depth in DEPTHS:
            member = [i for i, w in enumerate(widths) if len(w) == depth and len(set(w)) == 1]
            sizes = [widths[i][0] for i in member]
            label = f"{depth} hidden layer{'s' * (depth > 1)}"
            over_width.plot(sizes, best_noise[member], "o-", ms=2, lw=1, label=label)
            judged.plot(sizes, means[member], "o-", ms=2, lw=1)
            top = max(member, key=lambda i: best_noise[i])
            over_noise.plot(
                selection.betas, selection.log_evidence[top] - best_noise.max(), "o-", ms=2, lw=1,
                label=" ".join(map(str, widths[top])),
            )  # fmt: skip
        over_width.axhline(best_noise[0], color="k", ls="--", lw=1, label="no hidden layer")
        judged.axhline(means[0], color="k", ls="--", lw=1)
        over_noise.plot(
            selection.betas, selection.log_evidence[0] - best_noise.max(), "k--", lw=1, label="none"
        )
        chosen = selection.architectures.index(selection.best.architecture)
        if widths[chosen]:
            for ax, values in ((over_width, best_noise), (judged, means)):
                ax.plot(
                    widths[chosen][0], values[chosen], "*", ms=9, mfc="none", color="k",
                    label="chosen", zorder=5,
                )  # fmt: skip
        over_width.set(xscale="log", xlabel="width", ylabel=name)
        low = max(selection.log_evidence.min() - best_noise.max(), -12.0)
        over_noise.set(
            xlabel="noise precision", xlim=(selection.betas[0], selection.betas[-1]),
            ylim=(low, -0.05 * low),
        )  # fmt: skip
        judged.set(xscale="log", xlabel="width")
        over_noise.legend(fontsize=6, title="widths", title_fontsize=6)
        for ax in row:
            ax.tick_params(labelsize=7)
    titles = "log evidence", "log evidence below the best", "held-out log-density a point"
    for ax, title in zip(axes, titles):
        ax.set_title(title, fontsize=8)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, fontsize=7, ncols=len(handles[0]), loc="outside lower center")
    return figure


def main(argv=None) -> int:
    """Run the comparison; return 0 if choices and evidences are as claimed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="14 networks, for a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("deep_linear_evidence.png"))
    args = parser.parse_args(argv)
    args.figure.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    keys = split_named(jax.random.key(args.seed), *NOISE)

    networks = candidates(args.quick)
    failures, results, rows = [], [], []
    for name, (low, high) in NOISE.items():
        split = load(name, args.seed)
        betas = np.geomspace(low, high, 13)
        start = time.perf_counter()
        selection = select(*split[:2], networks, betas)
        seconds = time.perf_counter() - start
        densities = held_out(split, selection)
        chosen, best, worse, error, paired = judge(selection, densities)
        average = float(np.mean(selection.predict(split[2]).log_prob(split[3])))
        table = "\n".join(str(selection.table()).splitlines()[:4])
        print(
            f"{name}: {len(split[0])} train, {len(split[2])} judge; {selection.log_evidence.size} "
            f"evidences in {seconds:.1f} s with compilation\n{table}\n"
            f"held-out log-density a point: chosen {label(networks[chosen])} "
            f"{densities[chosen].mean():.4f}, best of {len(networks)} {label(networks[best])} "
            f"{densities[best].mean():.4f}, no hidden layer {densities[0].mean():.4f}, "
            f"average of all {average:.4f}\n"
            f"the best is better by {worse:.5f}; standard error of the best {error:.5f}, "
            f"of the difference (paired) {paired:.5f}\n"
        )
        if not worse <= error:
            failures.append(f"{name}: the choice is worse by {worse:.4f}, error {error:.4f}")
        results.append((name, selection, densities))
        rows += sampled(name, split, selection, keys[name], args.quick)

    width = max(len(row[0]) for row in rows)
    print(f"{'log evidence':<{width}}  {'exact':>11}  {'sampled':>11}  {'error':>8}  {'z':>5}")
    worst = 0.0
    for row in rows:
        z = (row[2] - row[1]) / row[3]
        worst = max(worst, abs(z))
        print(f"{row[0]:<{width}}  {row[1]:>11.4f}  {row[2]:>11.4f}  {row[3]:>8.4f}  {z:>5.2f}")
        if not abs(z) <= MAX_Z:
            failures.append(f"{row[0]}: z = {z:.2f}")
    print(f"figure: {save_figure(picture(results), args.figure)}")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print(f"worst |z| of {len(rows)}: {worst:.2f}; {'disagrees' if failures else 'agrees'}")
    return 1 if failures else 0


def label(network):
    return f"({', '.join(map(str, network.widths))})"


if __name__ == "__main__":
    raise SystemExit(main())
