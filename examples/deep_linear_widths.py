"""Finite networks against the limit in which infinitely wide ones still learn features.

With the kernel divided by N and the noise precision multiplied by N, the posterior of the mixing
matrix Q of a deep linear network concentrates on a minimiser other than its prior mean
(arXiv 2406.03260, section on the feature-learning limit). Exact posteriors at widths up to 3000
approach it for one, two and three layers; in the standard scaling they flow to the prior mean
instead. Two outputs give a matrix; one sample behind strong noise gives two minima of equal depth,
and a posterior with two peaks at every width. NUTS on Q answers the same question by sampling.

Expected: under a minute on two cores, exit status 0. The exit status is 1 when a limit differs from
what finite widths extrapolate to, or a |z| of NUTS exceeds 5, an R-hat 1.01, or an ESS falls below
400 (--quick waives the last two).
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

from inference.comparison import compare_table
from inference.interop import posterior_array, to_arviz
from inference.keys import split_named
from inference.plotting import new_figure, save_figure
from models.deep_linear import Architecture, collapsed_model, compress_kernel
from models.deep_linear.large_deviations import minimizer
from models.deep_linear.width_curve import finite_width_curve, scaled_data

jax.config.update("jax_enable_x64", True)

BETA = 10.0
KERNEL = np.array([[1.0, 0.4, 0.2], [0.4, 0.8, -0.1], [0.2, -0.1, 1.2]])
Y = np.array([[0.7, -0.3, 1.1], [0.2, 0.9, -0.4]]).T  # the first column alone for one output
NETWORKS = {  # widths at N = 2
    "L = 1": (2,),
    "L = 2": (2, 2),
    "L = 3": (2, 4, 1),
}
SIZES = (10, 30, 100, 300, 1000, 3000)
SIZES_TWO = (10, 40, 160, 400)
SAMPLED = 40  # the N at which NUTS runs
# one sample, K = 1, two layers: the lazy and the feature-learning minimum are equally deep
COEXISTENCE, NOISY = 2568.5918314087, 0.01
PEAKED = (50, 200, 800)


def run_nuts(data, architecture, beta, key, n_draws):
    """Four vectorised chains on the mixing matrix; return its draws ``(4, n_draws, D, D)``."""
    mcmc = MCMC(
        NUTS(collapsed_model),
        num_warmup=n_draws,
        num_samples=n_draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=sys.stderr.isatty(),
    )
    mcmc.run(key, data, architecture, beta)
    return posterior_array(to_arviz(mcmc), "mixing")


def limits_table(curves):
    """Tabulate limit, widest network and extrapolation; return lines and sentences of dissent."""
    header = ("quantity", "limit", "finite width", "extrapolated", "difference")
    cells, dissent = [header], []
    for name, curve in curves.items():
        extrapolated = curve.extrapolate()
        widest = f"{curve.sizes[-1]:.0f}"
        size = curve.limit.shape[0]
        for i, j in zip(*np.tril_indices(size)):
            limit, there = curve.limit[i, j], extrapolated[i, j]
            label = f"{name}: E Q[{i},{j}]" if size > 1 else f"{name}: E q"
            finite = f"{curve.mixing_mean[-1, i, j]:.6f} (N = {widest})"
            row = (f"{limit:.8f}", finite, f"{there:.8f}", f"{there - limit:+.1e}")
            cells.append((label, *row))
            # what one more power of 1/N changed is more than what the next would
            allowed = abs(there - curve.extrapolate(1)[i, j]) + 1e-9
            if not abs(there - limit) <= allowed:
                dissent.append(
                    f"{label}: finite widths extrapolate to {there:.8f}, expected the limit "
                    f"{limit:.8f} to {allowed:.1e}"
                )
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = [
        " | ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in cells
    ]
    return "\n".join(lines), dissent


def density(result, factor=8):
    """Return ``log q`` and its posterior density, from the nodes of the quadrature."""
    x = np.log(np.asarray(result.nodes.mixing[:, 0, 0]))
    log_weights = np.asarray(result.nodes.log_weights)
    kept = np.isfinite(log_weights)
    order = np.argsort(x[kept])
    x, log_weights = x[kept][order], log_weights[kept][order]
    fine = np.linspace(x[0], x[-1], factor * len(x))
    spacing = np.median(np.diff(x))
    # the density is smooth: between the nodes its logarithm is nearly linear
    return fine, np.exp(np.interp(fine, x, log_weights)) / spacing


def draw_curves(ax, curves, key):
    """Mean and one standard deviation against N, dashed limits."""
    for index, (name, curve) in enumerate(curves[key].items()):
        color = f"C{index}"
        mean, sd = curve.mixing_mean[:, 0, 0], curve.mixing_sd[:, 0, 0]
        ax.plot(curve.sizes, mean, "o-", ms=3, color=color, label=name)
        ax.fill_between(curve.sizes, mean - sd, mean + sd, color=color, alpha=0.15, lw=0)
        if key == "feature" or index == 0:
            limit = float(curve.limit[0, 0])
            ax.axhline(limit, color=color if key == "feature" else "k", ls="--", lw=1)
    ax.set(xscale="log", xlabel="N", ylabel="E[q | Y] ± sd")


def picture(curves, two, sampled, peaks):
    """One output in both scalings, two outputs, and two coexisting minima."""
    figure, axes = new_figure(4, n_rows=2, width=4.1, height=3.0)
    draw_curves(axes[0], curves, "feature")
    axes[0].set_title("feature-learning scaling: flows to q* (dashed)", fontsize=10)
    axes[0].set_ylim(top=4.8)  # room for the legend above the bands
    axes[0].legend(fontsize=8, loc="upper right", ncols=3)
    draw_curves(axes[1], curves, "lazy")
    axes[1].set_title("standard scaling: flows to 1", fontsize=10)
    axes[1].legend(fontsize=8)

    ax = axes[2]
    ax.plot(two.sizes, np.linalg.eigvalsh(two.mixing_mean)[:, 0], "o-", ms=3, label="L = 1, exact")
    ax.plot(two.sizes, np.linalg.eigvalsh(two.mixing_mean)[:, 1], "o-", ms=3, color="C0")
    for limit in np.linalg.eigvalsh(two.limit):
        ax.axhline(limit, color="C0", ls="--", lw=1)
    values = np.linalg.eigvalsh(sampled.reshape(-1, 2, 2).mean(0))
    ax.plot([SAMPLED] * 2, values, "x", color="C1", ms=8, mew=2, label=f"NUTS, N = {SAMPLED}")
    ax.set(xscale="log", xlabel="N", ylabel="eigenvalues of E[Q | Y]")
    ax.set_title("two outputs, against the minimiser (dashed)", fontsize=10)
    ax.legend(fontsize=8)

    ax = axes[3]
    for index, (size, result) in enumerate(zip(peaks.sizes, peaks.posteriors)):
        x, height = density(result)
        ax.plot(x, height, color=f"C{index}", label=f"N = {size:.0f}")
    for point in peaks.saddle.stationary:
        if point.is_minimum:
            ax.axvline(math.log(point.mixing[0, 0]), color="k", ls="--", lw=1)
    ax.set(xlabel="log q", ylabel="posterior density", xlim=(-0.5, 4.6), ylim=(0, None))
    ax.set_title("two minima of equal depth (L = 2, one sample)", fontsize=10)
    ax.legend(fontsize=8)
    return figure


def main(argv=None) -> int:
    """Run the comparison; return 0 if limits, widths and samples agree, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few widths and short chains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("deep_linear_widths.png"))
    args = parser.parse_args(argv)
    args.figure.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    n_draws = 300 if args.quick else 1000
    key = split_named(jax.random.key(args.seed), "nuts")["nuts"]
    sizes, sizes_two = (SIZES[1::2], SIZES_TWO[:3]) if args.quick else (SIZES, SIZES_TWO)

    start = time.perf_counter()
    one, two = compress_kernel(KERNEL, Y[:, 0]), compress_kernel(KERNEL, Y)
    curves = {
        scaling: {
            name: finite_width_curve(
                one, Architecture(widths), BETA, sizes, scaling=scaling, size=2
            )
            for name, widths in NETWORKS.items()
        }
        for scaling in ("feature", "lazy")
    }
    matrices = finite_width_curve(two, Architecture((1,), n_outputs=2), BETA, sizes_two)
    peaks = finite_width_curve(
        compress_kernel([[1.0]], [math.sqrt(COEXISTENCE)]), Architecture((1, 1)), NOISY, PEAKED
    )
    print(
        f"three samples, beta {BETA:g}, seed {args.seed}; widths alpha N, exact posteriors and "
        f"limits in {time.perf_counter() - start:.1f} s with compilation\n"
    )
    lines, failures = limits_table(
        {f"feature, {name}": curve for name, curve in curves["feature"].items()}
        | {f"lazy, {name}": curve for name, curve in curves["lazy"].items()}
        | {"feature, L = 1, D = 2": matrices}
    )
    print(lines)

    saddle = peaks.saddle
    minima = ", ".join(f"{p.mixing[0, 0]:.4f}" for p in saddle.stationary if p.is_minimum)
    print(
        f"\ncoexistence at y^2 = {COEXISTENCE:.6f}: minima q = {minima}, rate {saddle.rate:.8f}, "
        f"gap {saddle.rate_gap:.1e}, barrier {saddle.barrier:.4f} N"
    )
    if not saddle.rate_gap < 1e-9:
        failures.append(f"coexistence: expected two minima of one rate, got {saddle.rate_gap:.3g}")

    start = time.perf_counter()
    architecture = Architecture((SAMPLED,), n_outputs=2)
    sampled = run_nuts(scaled_data(two, SAMPLED), architecture, SAMPLED * BETA, key, n_draws)
    mean = matrices.mixing_mean[sizes_two.index(SAMPLED)]
    names = {f"NUTS, N = {SAMPLED}: E Q[{i},{j}]": (i, j) for i, j in [(0, 0), (1, 0), (1, 1)]}
    table = compare_table(
        {name: mean[entry] for name, entry in names.items()},
        {name: sampled[(..., *entry)] for name, entry in names.items()},
    )
    print(f"\n{table}\nwall time of NUTS {time.perf_counter() - start:.1f} s")
    failures += table.failures(**({"max_r_hat": None, "min_ess": None} if args.quick else {}))
    # two layers and two outputs: no quadrature, so the limit alone
    deeper = minimizer(two, Architecture((1, 2), n_outputs=2), BETA, size=1)
    print(
        f"limit of two outputs and two layers, alpha = (1, 2): rate {deeper.rate:.10f}, "
        f"eigenvalues {np.linalg.eigvalsh(deeper.mixing).round(6)}"
    )
    figure = picture(curves, matrices, sampled, peaks)
    print(f"figure: {save_figure(figure, args.figure)}")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
