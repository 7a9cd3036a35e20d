"""How fast does it spread? NUTS over transmission and recovery, through belief propagation.

Five people meet on a tree of contacts over eight days and are tested now and then. Transmission and
recovery probability have Beta priors; the evidence of the tests sums over every history, once by
belief propagation, whose gradient at frozen messages is exact on a tree, once by the joint chain of
all five. Both samplers must have the moments of the posterior by quadrature. Then simulation-based
calibration: parameters drawn from the prior, an epidemic among thirty people drawn with them, and
the place of the truth in its posterior, which must be uniform (arXiv 2009.09422).

Expected: about two minutes on two cores with compilation, exit status 0. The exit status is 1 when
a |z| exceeds 5, an R-hat 1.01 or an ESS falls below 400 (--quick waives the last two), or a
Kolmogorov-Smirnov test finds the places of the truth not uniform (p below 1e-3).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS
from scipy import stats

from graphs.temporal import ContactNetwork
from inference.comparison import compare_table
from inference.keys import split_named
from inference.plotting import new_figure, save_figure
from inference.progress import progress_bar
from models.contact_tracing import Epidemic, Observations, exact_log_evidence, infer, simulate
from models.contact_tracing.bayesian import epidemic_model

jax.config.update("jax_enable_x64", True)

N_DAYS = 8
PRIORS = {"transmission_prob": (2.0, 4.0), "recovery_prob": (2.0, 6.0)}
TRUTH = {"transmission_prob": 0.35, "recovery_prob": 0.15}
SEED_PROB = 0.2
ACCURACY = {"false_positive": 0.02, "false_negative": 0.15}


def tree(n_people, seed):
    """Let everybody meet one earlier person, on about half of the days."""
    rng = np.random.default_rng(seed)
    pairs = np.array([(rng.integers(child), child) for child in range(1, n_people)])
    pair, day = np.nonzero(rng.random((len(pairs), N_DAYS)) < 0.5)
    first, second = pairs[pair].T
    return ContactNetwork.from_events(
        first, second, day, 1.0, n_people=n_people, n_days=N_DAYS, symmetric=True
    )


def tests_of(network, values, n_tests, seed):
    """Draw an epidemic with these parameters and random tests of it."""
    epidemic = Epidemic(SEED_PROB, values["recovery_prob"])
    state = simulate(network.scaled(values["transmission_prob"]), epidemic, seed=seed).states()
    rng = np.random.default_rng([seed, 1])
    person = rng.integers(network.n_people, size=n_tests)
    day = rng.integers(1, N_DAYS + 1, size=n_tests)
    chance = np.where(
        state[person, day] == 1, 1 - ACCURACY["false_negative"], ACCURACY["false_positive"]
    )
    return Observations.from_tests(person, day, rng.random(n_tests) < chance, **ACCURACY)


def run_nuts(evidence, key, n_draws, network, tests):
    """Four vectorised chains; return draws by name and the wall time."""
    start = time.perf_counter()
    mcmc = MCMC(
        NUTS(epidemic_model),
        num_warmup=n_draws,
        num_samples=n_draws,
        num_chains=4,
        chain_method="vectorized",
        progress_bar=sys.stderr.isatty(),
    )
    priors = {name: dist.Beta(a, b) for name, (a, b) in PRIORS.items()}
    mcmc.run(key, network, tests, Epidemic(SEED_PROB, 0.5), priors=priors, evidence=evidence)
    draws = {k: np.asarray(v) for k, v in mcmc.get_samples(group_by_chain=True).items()}
    return draws, time.perf_counter() - start


def quadrature(network, tests, n_nodes=32):
    """Return the nodes of both parameters and the posterior mass at each pair of them."""
    nodes, weights = np.polynomial.legendre.leggauss(n_nodes)
    nodes = 0.5 * (nodes + 1.0)
    epidemic = Epidemic(SEED_PROB, 0.5)

    def evidence(pair):
        return exact_log_evidence(dict(zip(PRIORS, pair)), network, tests, epidemic)

    grid = jnp.stack(jnp.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    logs = np.array(jax.lax.map(evidence, grid, batch_size=64)).reshape(n_nodes, n_nodes)
    for axis, (a, b) in enumerate(PRIORS.values()):
        log_prior = stats.beta.logpdf(nodes, a, b) + np.log(weights)
        logs += np.expand_dims(log_prior, 1 - axis)
    mass = np.exp(logs - logs.max())
    return nodes, mass / mass.sum()


def moments(first, second):
    """Return what the table compares."""
    return {
        "E transmission": first,
        "E transmission^2": first**2,
        "E recovery": second,
        "E recovery^2": second**2,
        "E transmission recovery": first * second,
    }


def comparison(nodes, mass, sampled):
    """Tabulate both samplers against the quadrature."""
    expected = moments(*np.meshgrid(nodes, nodes, indexing="ij"))
    analytic, draws = {}, {}
    for evidence, found in sampled.items():
        for name, values in moments(*(found[name] for name in PRIORS)).items():
            analytic[f"{evidence}: {name}"] = (mass * expected[name]).sum()
            draws[f"{evidence}: {name}"] = values
    return compare_table(analytic, draws)


def calibration(network, n_replicas, n_cells, seed):
    """Return where each truth lies in its posterior, and the posterior means: ``(replica, 2)``.

    In quantiles of the prior the prior is uniform, so the evidence on a regular grid is all.
    """
    centers = (np.arange(n_cells) + 0.5) / n_cells
    grid = np.array([stats.beta.ppf(centers, a, b) for a, b in PRIORS.values()])
    places, means, truths = [], [], []
    with progress_bar(n_replicas, "replicas") as bar:
        for replica in range(n_replicas):
            quantile = np.random.default_rng([seed, replica]).random(2)
            truth = [stats.beta.ppf(q, a, b) for q, (a, b) in zip(quantile, PRIORS.values())]
            tests = tests_of(network, dict(zip(PRIORS, truth)), 30, seed + replica)
            logs = np.array(
                [
                    [
                        infer(network.scaled(one), tests, Epidemic(SEED_PROB, two)).log_evidence
                        for two in grid[1]
                    ]
                    for one in grid[0]
                ]
            )
            mass = np.exp(logs - logs.max())
            marginals = mass.sum(axis=1), mass.sum(axis=0)
            edges = np.arange(n_cells + 1) / n_cells
            places.append(
                [
                    np.interp(q, edges, np.concatenate([[0.0], np.cumsum(m) / m.sum()]))
                    for q, m in zip(quantile, marginals)
                ]
            )
            means.append([(values * m).sum() / m.sum() for values, m in zip(grid, marginals)])
            truths.append(truth)
            bar.update(1)
    return np.array(places), np.array(means), np.array(truths)


def picture(nodes, mass, sampled, places, means, truths):
    """Joint posterior, both marginals, calibration, and what thirty tests say."""
    figure, axes = new_figure(4, n_rows=2, width=4.8, height=3.7)
    bethe = sampled["bethe"]
    weights = np.polynomial.legendre.leggauss(len(nodes))[1] / 2.0
    density = mass / np.outer(weights, weights)
    axes[0].contour(nodes, nodes, density.T, levels=6, cmap="Greys")
    axes[0].plot(*(bethe[name].reshape(-1)[::8] for name in PRIORS), ".", ms=2, alpha=0.5,
                 label="NUTS, belief propagation")  # fmt: skip
    axes[0].plot(*TRUTH.values(), "*", ms=12, color="C3", label="truth")
    axes[0].set(xlabel="transmission", ylabel="recovery", xlim=(0, 1), ylim=(0, 0.8))
    axes[0].set_title("five people: posterior by quadrature (lines)", fontsize=10)
    axes[0].legend(fontsize=8)
    for axis, (name, color) in enumerate(zip(PRIORS, ("C0", "C1"))):
        label = name.removesuffix("_prob")
        marginal = mass.sum(axis=1 - axis) / weights
        axes[1].plot(nodes, marginal, color=color, label=f"{label}, exact")
        axes[1].plot(nodes, stats.beta.pdf(nodes, *PRIORS[name]), ":", color=color, lw=1)
        axes[1].hist(bethe[name].reshape(-1), bins=40, density=True, color=color, alpha=0.3)
        axes[1].axvline(TRUTH[name], color=color, ls="--", lw=1)
    axes[1].set(xlabel="probability", ylabel="density", xlim=(0, 1))
    axes[1].set_title("prior (dotted), NUTS (bars), truth (dashed)", fontsize=10)
    axes[1].legend(fontsize=8)
    n = len(places)
    band = stats.kstwo.ppf(0.99, n)
    x = np.linspace(0.0, 1.0, 201)
    axes[2].fill_between(x, -band, band, color="0.9", label="99 % band")
    for column, name in zip(places.T, PRIORS):
        difference = (column[:, None] <= x).mean(axis=0) - x
        axes[2].step(x, difference, where="post", label=name.removesuffix("_prob"))
    axes[2].set(xlabel="place of the truth in its posterior", ylabel="distribution - uniform")
    axes[2].set_title(f"calibration, {n} epidemics among thirty people", fontsize=10)
    axes[2].legend(fontsize=8)
    axes[3].plot([0, 1], [0, 1], "k--", lw=1)
    for column, name in enumerate(PRIORS):
        axes[3].plot(
            truths[:, column], means[:, column], "o", ms=3, label=name.removesuffix("_prob")
        )
    axes[3].set(xlabel="truth", ylabel="posterior mean", xlim=(0, 1), ylim=(0, 0.8))
    axes[3].set_title("what thirty tests say", fontsize=10)
    axes[3].legend(fontsize=8)
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if samplers and quadrature agree and are calibrated, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short chains, few replicas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("contact_tracing_parameters.png"))
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):  # now, not after the long work
        path.parent.mkdir(parents=True, exist_ok=True)
    n_draws = 150 if args.quick else 800
    keys = split_named(jax.random.key(args.seed), "bethe", "exact")

    network = tree(5, args.seed)
    tests = tests_of(network, TRUTH, 24, args.seed)
    start = time.perf_counter()
    nodes, mass = quadrature(network, tests)
    spent = {"quadrature": time.perf_counter() - start}
    sampled = {}
    for evidence in ("bethe", "exact"):
        sampled[evidence], spent[evidence] = run_nuts(
            evidence, keys[evidence], n_draws, network, tests
        )
    table = comparison(nodes, mass, sampled)
    print(f"five people, {N_DAYS} days, 24 tests, seed {args.seed}\n{table}")
    for axis, name in enumerate(PRIORS):
        marginal = mass.sum(axis=1 - axis)
        mean = (marginal * nodes).sum()
        sd = np.sqrt((marginal * (nodes - mean) ** 2).sum())
        print(f"{name}: truth {TRUTH[name]:g}, posterior {mean:.3f} +/- {sd:.3f}, prior sd "
              f"{stats.beta.std(*PRIORS[name]):.3f}")  # fmt: skip

    start = time.perf_counter()
    n_replicas, n_cells = (25, 8) if args.quick else (150, 16)
    places, means, truths = calibration(tree(30, args.seed), n_replicas, n_cells, args.seed)
    spent["calibration"] = time.perf_counter() - start
    uniform = {name: stats.kstest(column, "uniform") for name, column in zip(PRIORS, places.T)}
    for name, verdict in uniform.items():
        print(f"calibration of {name}, {n_replicas} epidemics among thirty people: "
              f"largest deviation {verdict.statistic:.3f}, p = {verdict.pvalue:.3f}")  # fmt: skip
    print("seconds with compilation: " + ", ".join(f"{k} {v:.0f}" for k, v in spent.items()))

    figure = picture(nodes, mass, sampled, places, means, truths)
    print(f"figure: {save_figure(figure, args.figure)}")
    if args.out:
        numbers = {
            "truth": TRUTH,
            "rows": [row._asdict() for row in table.rows],
            "places": places.tolist(),
            "p_values": {name: verdict.pvalue for name, verdict in uniform.items()},
            "seconds": spent,
        }
        args.out.write_text(json.dumps(numbers, indent=1, default=float) + "\n", encoding="utf-8")
    thresholds = {"max_r_hat": None, "min_ess": None} if args.quick else {}
    failures = table.failures(**thresholds)
    failures += [
        f"{name}: the truth is not uniform in its posterior, p = {verdict.pvalue:.1e}"
        for name, verdict in uniform.items()
        if not verdict.pvalue >= 1e-3
    ]
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print(f"worst |z| of {len(table.rows)}: {table.worst_z:.2f}; "
          + ("disagrees" if failures else "agrees"))  # fmt: skip
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
