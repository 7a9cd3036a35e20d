"""Analytic against sampled posterior of a Bayesian deep linear network, on real data.

Linnerud's data: three exercises (inputs) and three physiological measurements (outputs) of twenty
men; sixteen train, four are held out. A network with two hidden layers of width ten is solved three
times: exactly, as a mixture over its mixing matrix Q (arXiv 2406.03260); by NUTS on Q alone; by
NUTS on all its 160 weights. The table compares every number with its Monte Carlo error, the picture
shows the predictions beside the infinite-width limit and the law of Q beside its prior.

Expected: about a minute on two cores, every |z| below 4, exit status 0. The exit status is 1 when
a |z| exceeds 5, an R-hat 1.01, or an ESS falls below 400 (--quick waives the last two).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import MCMC, NUTS

from inference.comparison import compare_table
from inference.interop import posterior_array, to_arviz
from inference.keys import split_named
from inference.plotting import new_figure, overlay_density, predictive_band, save_figure
from inference.storage import save
from models.deep_linear import (
    Architecture,
    collapsed_model,
    compress,
    conditional_moments,
    infinite_width,
    mixing_prior,
    posterior,
    weights_model,
)

jax.config.update("jax_enable_x64", True)

BETA = 4.0  # noise precision, in units of the standardised targets
WIDTHS = (10, 10)
N_TRAIN, N_TEST = 16, 4
SWEPT = 1  # the input that the picture varies
ENTRIES = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]  # Q is symmetric


def load():
    """Return standardised inputs and targets, test inputs with a sweep behind them, and names."""
    from sklearn.datasets import load_linnerud

    bunch = load_linnerud()
    x, y = (
        (part - part[:N_TRAIN].mean(0)) / part[:N_TRAIN].std(0)
        for part in (bunch.data, bunch.target)
    )
    sweep = np.zeros((41, x.shape[1]))
    sweep[:, SWEPT] = np.linspace(-2.5, 2.5, len(sweep))
    names = bunch.feature_names[SWEPT], bunch.target_names
    return x[:N_TRAIN], y[:N_TRAIN], np.concatenate([x[N_TRAIN:], sweep]), y[N_TRAIN:], names


def run_nuts(model, key, n_draws, *model_args):
    """Four vectorised chains; return the run and its wall time."""
    start = time.perf_counter()
    mcmc = MCMC(
        NUTS(model),
        num_warmup=n_draws,
        num_samples=n_draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=sys.stderr.isatty(),
    )
    mcmc.run(key, *model_args, extra_fields=("num_steps", "potential_energy", "diverging"))
    return mcmc, time.perf_counter() - start


def variance_at_test_points(result, center):
    """Return Var f at the held-out points, ``(N_TEST, D)``, and its standard error."""

    def total_variance(q):
        mean, covariance = conditional_moments(q, result.data, result.beta)
        spread = jnp.diagonal(covariance[:N_TEST], axis1=1, axis2=2)
        return spread + (mean[:N_TEST] - center) ** 2

    return result.expectation(total_variance)


def comparison(result, collapsed, weights):
    """Tabulate both samplers against the analytic answer."""
    predicted = result.predict()
    mean_f, error_f = predicted.mean[:N_TEST], predicted.mean_error[:N_TEST]
    error_q = result.expectation(lambda q: q)[1]
    # given Q the mean is exact: the collapsed sampler needs no draws of f
    mean_given = jax.vmap(jax.vmap(lambda q: conditional_moments(q, result.data, result.beta)[0]))
    draws_q = posterior_array(collapsed, "mixing")
    draws_f = posterior_array(weights, "f")[:, :, :N_TEST]
    sampled = {
        "collapsed": (draws_q, np.asarray(mean_given(draws_q))[:, :, :N_TEST]),
        "weights": (posterior_array(weights, "mixing"), draws_f),
    }
    analytic, draws = {}, {}
    for sampler, (q, f) in sampled.items():
        for i, j in ENTRIES:
            name = f"{sampler}: E Q[{i},{j}]"
            analytic[name] = (result.mixing_mean[i, j], error_q[i, j])
            draws[name] = q[..., i, j]
        analytic[f"{sampler}: E f"] = (mean_f, error_f)
        draws[f"{sampler}: E f"] = f
    analytic["weights: Var f"] = variance_at_test_points(result, mean_f)
    draws["weights: Var f"] = (draws_f - np.asarray(mean_f)) ** 2
    return compare_table(analytic, draws)


def picture(result, limit, weights, names, x_test, key):
    """Predictive bands along one input (above) and the law of Q (below)."""
    figure, axes = new_figure(6, n_rows=2, width=4.0, height=3.2)
    swept_name, target_names = names
    x = x_test[N_TEST:, SWEPT]
    for label, solved in (("finite width, exact", result), ("infinite width", limit)):
        predicted = solved.predict()
        for d, ax in enumerate(axes[:3]):
            mean = predicted.mean[N_TEST:, d]
            if solved is limit:
                sd = np.sqrt(predicted.covariance[N_TEST:, d, d])
                for offset in (0, -2, 2):
                    ax.plot(x, mean + offset * sd, "k--", lw=1, label=None if offset else label)
            else:
                predictive_band(
                    ax, x, mean, np.sqrt(predicted.covariance[N_TEST:, d, d]), label=label
                )
    draws = posterior_array(weights, "f")[:, :, N_TEST:].reshape(-1, len(x), 3)
    for d, ax in enumerate(axes[:3]):
        ax.plot(x[::4], draws.mean(0)[::4, d], "o", ms=4, color="C1", label="NUTS on the weights")
        ax.set(xlabel=f"{swept_name} (standardised)", title=target_names[d])
    axes[0].set_ylabel("latent function")
    axes[0].legend(fontsize=7)

    nodes = result.nodes
    prior_draws = np.asarray(mixing_prior(result.architecture).sample(key, (100_000,)))
    sampled = posterior_array(weights, "mixing")
    for (i, j), ax in zip([(0, 0), (2, 2), (1, 0)], axes[3:]):
        overlay_density(
            ax, nodes.mixing[:, i, j], None, sampled[..., i, j], weights=np.exp(nodes.log_weights),
            label_analytic="posterior, exact", label_sampled="posterior, NUTS on the weights",
        )  # fmt: skip
        low, high = ax.get_xlim()
        heights, edges = np.histogram(prior_draws[:, i, j], np.linspace(low, high, 61))
        ax.stairs(
            heights / len(prior_draws) / np.diff(edges), edges, color="k", ls="--", label="prior"
        )
        ax.set(xlabel=f"Q[{i},{j}]")
    axes[3].set_ylabel("density")
    axes[3].legend(fontsize=7)
    figure.suptitle(f"Linnerud, widths {result.architecture.widths}, beta = {result.beta:g}")
    return figure


def main(argv=None) -> int:
    """Run the comparison; return 0 if analytic and sampled answers agree, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short chains, for a smoke test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("deep_linear_posterior.png"))
    parser.add_argument("--out", type=Path, default=Path("deep_linear_posterior.nc"))
    args = parser.parse_args(argv)
    for path in (args.figure, args.out):  # now, not after the long work
        path.parent.mkdir(parents=True, exist_ok=True)
    n_draws = 300 if args.quick else 2000
    keys = split_named(jax.random.key(args.seed), "analytic", "collapsed", "weights", "prior")

    x, y, x_test, y_test, names = load()
    architecture = Architecture(WIDTHS, n_outputs=y.shape[1])
    data = compress(x, y, architecture, x_test)

    start = time.perf_counter()
    result = posterior(data, architecture, BETA, key=keys["analytic"])
    limit = infinite_width(data, architecture, BETA)
    exact_time = time.perf_counter() - start
    print(
        f"Linnerud: {len(x)} men, {x.shape[1]} inputs, {y.shape[1]} outputs; widths {WIDTHS}, "
        f"beta {BETA:g}, seed {args.seed}\n"
        f"log evidence {result.log_evidence:.4f} +/- {result.log_evidence_error:.4f} "
        f"({result.method}, {result.status.name}); infinite width {limit.log_evidence:.4f}"
    )
    collapsed, collapsed_time = run_nuts(
        collapsed_model, keys["collapsed"], n_draws, data, architecture, BETA
    )
    weights, weights_time = run_nuts(
        weights_model, keys["weights"], n_draws, x, y, architecture, BETA, x_test
    )
    collapsed, weights = to_arviz(collapsed), to_arviz(weights)
    table = comparison(result, collapsed, weights)
    print(f"\n{table}\n")
    print(
        f"wall time with compilation: exact {exact_time:.1f} s, NUTS on Q {collapsed_time:.1f} s, "
        f"NUTS on the weights {weights_time:.1f} s"
    )
    held_out = float(jnp.mean((result.predict().mean[:N_TEST] - y_test) ** 2))
    lazy = float(jnp.mean((limit.predict().mean[:N_TEST] - y_test) ** 2))
    print(f"mean squared error on {N_TEST} held-out men: {held_out:.3f}, infinite width {lazy:.3f}")

    figure = picture(result, limit, weights, names, x_test, keys["prior"])
    print(f"figure: {save_figure(figure, args.figure)}")
    draws = to_arviz(
        {
            "mixing": posterior_array(weights, "mixing"),
            "f": posterior_array(weights, "f"),
            "mixing_collapsed": posterior_array(collapsed, "mixing"),
        }
    )
    attrs = {
        "seed": args.seed,
        "widths": str(WIDTHS),
        "beta": BETA,
        "log_evidence": result.log_evidence,
        "analytic_mixing_mean": str(np.asarray(result.mixing_mean).tolist()),
    }
    print(f"draws:  {save(draws, args.out, attrs=attrs)}")

    thresholds = {"max_r_hat": None, "min_ess": None} if args.quick else {}
    failures = table.failures(**thresholds)
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print(
        f"worst |z| of {len(table.rows)}: {table.worst_z:.2f}; "
        + ("disagrees" if failures else "agrees")
    )
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
