"""Local kernel renormalisation of a convolutional network, on handwritten digits.

Threes against eights (scikit-learn's digits, 8 x 8): a convolution of 4 x 4 masks at stride 2 to
ten channels on 3 x 3 sites, then a linear readout. The Gaussian weights integrate out exactly but
for one random 9 x 9 matrix B over sites, which multiplies the kernels of pairs of patches
(arXiv 2406.03260). Its posterior is solved by importance sampling around its mode and, as a check,
by NUTS on all 250 weights of the network. The picture shows which patches keep their kernel and
which are turned down: those on the left, where an eight is closed and a three is open, keep it.

Expected: about a minute and a half on two cores, every |z| below 4, exit status 0. The exit status
is 1 when a |z| exceeds 5, an R-hat 1.01, or an ESS falls below 400 (--quick waives the last two),
or when the analytic answer itself is not reliable.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # small matrices: its threads would only spin

import jax
import numpy as np
from numpyro.infer import MCMC, NUTS

from inference.comparison import compare_table
from inference.interop import posterior_array, to_arviz
from inference.keys import split_named
from inference.plotting import matrix_image, new_figure, save_figure
from inference.status import Status
from models.deep_linear import (
    ConvArchitecture,
    ConvLayer,
    conv_posterior,
    conv_weights_model,
    infinite_width,
)

jax.config.update("jax_enable_x64", True)

BETA = 4.0  # noise precision; the targets are +-1
N_TRAIN, N_TEST = 100, 20
NETWORK = ConvArchitecture((8, 8), ConvLayer((4, 4), channels=10, stride=2))


def load():
    """Return centred images (n, 1, 8, 8), scaled by one number, and targets of +-1, centred."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = (bunch.target == 3) | (bunch.target == 8)
    images = bunch.data[chosen].reshape(-1, 1, 8, 8)[: N_TRAIN + N_TEST]
    labels = np.where(bunch.target[chosen] == 8, 1.0, -1.0)[: N_TRAIN + N_TEST]
    x = images - images[:N_TRAIN].mean(0)
    x /= x[:N_TRAIN].std()
    y = labels - labels[:N_TRAIN].mean()
    return x[:N_TRAIN], y[:N_TRAIN], x[N_TRAIN:], y[N_TRAIN:], images, labels


def run_weights(key, n_draws, x, y, x_test):
    """NUTS on every weight: four vectorised chains, and the wall time."""
    start = time.perf_counter()
    mcmc = MCMC(
        NUTS(conv_weights_model),
        num_warmup=n_draws // 2,
        num_samples=n_draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=sys.stderr.isatty(),
    )
    mcmc.run(key, x, y, NETWORK, BETA, x_test)
    return to_arviz(mcmc), time.perf_counter() - start


def comparison(result, predicted, weights):
    """Tabulate NUTS on the weights against the mixture."""
    error = result.expectation(lambda b: b)[1]
    mixing, f = posterior_array(weights, "mixing"), posterior_array(weights, "f")[..., 0]
    analytic, draws = {}, {}
    for i, j in [(i, i) for i in range(NETWORK.n_sites)] + [(0, 3), (3, 6), (1, 4)]:
        analytic[f"E B[{i},{j}]"] = (result.mixing_mean[i, j], error[i, j])
        draws[f"E B[{i},{j}]"] = mixing[..., i, j]
    mean, mean_error = predicted.mean[:, 0], predicted.mean_error[:, 0]
    analytic["E f"], draws["E f"] = (mean, mean_error), f

    variance = np.asarray(predicted.covariance[:, 0, 0])
    analytic["Var f"], draws["Var f"] = variance, (f - np.asarray(mean)) ** 2
    return compare_table(analytic, draws)


def picture(result, predicted, limit, weights, images, labels, y_test):
    """Draw the two classes, the local renormaliser, and predictions of both methods."""
    figure, axes = new_figure(6, n_rows=2, width=3.6, height=3.1)
    for label, name, ax in ((-1, "three", axes[0]), (1, "eight", axes[1])):
        ax.imshow(images[labels == label].mean(0)[0], cmap="gray_r")
        ax.set_title(f"mean {name}")
    side = NETWORK.site_shapes[1]
    gain = np.asarray(result.mixing_mean) * NETWORK.n_sites  # the prior mean is the identity
    sites = np.diagonal(gain).reshape(side)
    matrix_image(axes[2], sites, label="posterior / prior")
    axes[2].set_title("scale of each site's kernel")
    off = gain - np.diag(np.diagonal(gain))
    bound = float(np.abs(off).max())
    matrix_image(axes[3], off, label="posterior / prior scale", limits=(-bound, bound))
    axes[3].set_title("mixing between sites")
    sampled = posterior_array(weights, "mixing") * NETWORK.n_sites
    mean = sampled.mean(axis=(0, 1))
    exact = np.asarray(gain)[np.triu_indices(len(gain))]
    axes[4].plot(exact, mean[np.triu_indices(len(gain))], "o", ms=4, color="C1")
    axes[4].axline((0, 0), slope=1, color="C0", lw=1)
    axes[4].set(xlabel="exact", ylabel="NUTS on the weights", title="entries of E B, all 45")
    order = np.argsort(np.asarray(predicted.mean[:, 0]))
    sd = np.sqrt(np.asarray(predicted.covariance[:, 0, 0]))[order]
    at = np.arange(len(order))
    axes[5].errorbar(
        at, np.asarray(predicted.mean)[order, 0], 2 * sd, fmt=".", color="C0", label="exact, 2 sd"
    )
    f = posterior_array(weights, "f")[..., 0].mean(axis=(0, 1))
    axes[5].plot(at, f[order], "o", mfc="none", color="C1", ms=5, label="NUTS")
    axes[5].plot(at, np.asarray(limit.mean)[order, 0], "k_", label="infinite width")
    axes[5].plot(at, y_test[order], "x", color="0.6", ms=4, label="target")
    axes[5].set(xlabel="held-out digit, sorted", ylabel="output")
    axes[5].legend(fontsize=6, loc="lower right")
    for ax in axes[:4]:
        ax.set(xticks=[], yticks=[])
    return figure


def main(argv=None) -> int:
    """Run the comparison; return 0 if analytic and sampled answers agree, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short chains, for a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("deep_linear_conv.png"))
    args = parser.parse_args(argv)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    keys = split_named(jax.random.key(args.seed), "analytic", "weights")
    x, y, x_test, y_test, images, labels = load()

    start = time.perf_counter()
    n_draws = 5_000 if args.quick else 20_000
    result = conv_posterior(
        x, y, NETWORK, BETA, x_test=x_test, n_draws=n_draws, key=keys["analytic"]
    )
    limit = infinite_width(result.data, NETWORK, BETA)
    predicted, lazy = result.predict(), limit.predict()
    exact_time = time.perf_counter() - start
    print(
        f"digits 3 against 8: {len(x)} of {x.shape[2]} x {x.shape[3]} pixels, sites "
        f"{NETWORK.site_shapes[1]}, channels {NETWORK.widths}, beta {BETA:g}, seed {args.seed}\n"
        f"log evidence {result.log_evidence:.4f} +/- {result.log_evidence_error:.4f} "
        f"({result.method}, {result.status.name}, {result.ess:.0f} effective draws); "
        f"infinite width {limit.log_evidence:.4f}"
    )
    weights, weights_time = run_weights(keys["weights"], 300 if args.quick else 1500, x, y, x_test)
    table = comparison(result, predicted, weights)
    print(f"\n{table}\n")
    print(
        f"wall time with compilation: exact {exact_time:.1f} s, NUTS on the weights "
        f"{weights_time:.1f} s"
    )
    for name, solved in (("finite", predicted), ("infinite", lazy)):
        log_density = float(solved.log_prob(y_test).mean())
        print(f"held-out log density a digit, {name} width: {log_density:.3f}")
    figure = picture(result, predicted, lazy, weights, images, labels, y_test)
    print(f"figure: {save_figure(figure, args.figure)}")

    thresholds = {"max_r_hat": None, "min_ess": None} if args.quick else {}
    failures = table.failures(**thresholds)
    if result.status is not Status.CONVERGED:
        failures = [f"analytic posterior: {result.status.name}", *failures]
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print(
        f"worst |z| of {len(table.rows)}: {table.worst_z:.2f}; "
        + ("disagrees" if failures else "agrees")
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
