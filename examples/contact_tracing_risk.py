"""Who is infected? Belief propagation against the exact posterior and against Gibbs sampling.

Seven people meet over eight days, two of them are tested, and everybody's probability to be
infected today is asked for: once on a tree of contacts, where belief propagation is exact, once on
a network with loops, where it is an approximation and its bias is printed. The exact answer sums
over all 3^7 joint states day by day; Gibbs sampling redraws one person's whole history after the
other and is right on any network, but takes thousands of sweeps where belief propagation takes a
dozen. Last, a town of 150 people in households and workplaces, colored by risk
(arXiv 2009.09422).

Expected: about a minute on two cores with compilation, exit status 0. The exit status is 1 when
belief propagation and the exact posterior differ by more than 1e-10 on the tree, or the Gibbs
sampler by more than five standard errors on either network, or its R-hat exceeds 1.01 or its ESS
falls below 400 (--quick waives the last two).
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import jax
import networkx as nx
import numpy as np

from graphs.contacts import household_contacts
from graphs.temporal import ContactNetwork
from inference.comparison import compare_table
from inference.plotting import colored_network, new_figure, save_figure
from models.contact_tracing import Epidemic, Observations, exact_posterior, gibbs, infer, simulate

jax.config.update("jax_enable_x64", True)

PEOPLE = ("Ada", "Ben", "Cem", "Dee", "Eli", "Fay", "Gus")
TREE = [(0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (5, 6)]
NETWORKS = {"tree": TREE, "loops": [*TREE, (3, 4), (4, 5), (2, 1)]}
N_DAYS = 8
EPIDEMIC = Epidemic(seed_prob=0.1, recovery_prob=0.15)
ACCURACY = {"false_positive": 0.02, "false_negative": 0.15}


def contacts(pairs, seed):
    """Let every pair meet on about half of the days."""
    rng = np.random.default_rng(seed)
    pair, day = np.nonzero(rng.random((len(pairs), N_DAYS)) < 0.5)
    first, second = np.array(pairs)[pair].T
    network = ContactNetwork.from_events(
        first, second, day, rng.uniform(0.1, 0.4, len(day)), n_people=len(PEOPLE), n_days=N_DAYS,
        symmetric=True,
    )  # fmt: skip
    return replace(network, people=PEOPLE)


def tests():
    """Ben was negative on day 3, Eli positive on day 7."""
    return Observations.from_tests([1, 4], [3, 7], [False, True], **ACCURACY)


def compare(name, pairs, seed, n_samples):
    """Run all three on one network; return what was found and sentences of dissent."""
    network, seen = contacts(pairs, seed), tests()
    start = time.perf_counter()
    risk = infer(network, seen, EPIDEMIC, tol=1e-12)
    spent = {"bp": time.perf_counter() - start}
    start = time.perf_counter()
    exact = exact_posterior(network, seen, EPIDEMIC)
    spent["exact"] = time.perf_counter() - start
    start = time.perf_counter()
    sampled = gibbs(
        network, seen, EPIDEMIC, num_samples=n_samples, seed=seed, keep_draws=True, progress=False
    )
    spent["gibbs"] = time.perf_counter() - start
    ill = (sampled.infection_day <= N_DAYS) & (sampled.recovery_day > N_DAYS)
    table = compare_table(
        {f"{name}: P(I), {who}": exact.state_prob[i, -1, 1] for i, who in enumerate(PEOPLE)},
        {f"{name}: P(I), {who}": ill[:, :, i].astype(float) for i, who in enumerate(PEOPLE)},
    )
    error = np.abs(risk.state_prob - exact.state_prob).max()
    evidence_error = abs(risk.log_evidence - float(exact.log_evidence))
    failures = []
    if name == "tree" and not max(error, evidence_error) < 1e-10:
        failures.append(f"tree: belief propagation is exact, got errors {error:.1e}")
    return {
        "network": network, "risk": risk, "exact": exact, "sampled": sampled, "table": table,
        "error": error, "evidence_error": evidence_error, "seconds": spent,
    }, failures  # fmt: skip


def town(seed):
    """An outbreak among 150 people, five tests a day, and the risk on the last day."""
    n_people, n_days = 150, 20
    network = household_contacts(
        n_people, n_days, transmission_prob=0.03, seed=seed, workplace_contacts=3.0,
        random_contacts=0,
    )  # fmt: skip
    epidemic = Epidemic(seed_prob=0.02, recovery_prob=0.08)
    state = simulate(network, epidemic, seed=seed, n_seeds=3).states()
    rng = np.random.default_rng(seed)
    person, day = rng.integers(n_people, size=5 * n_days), np.repeat(np.arange(n_days), 5) + 1
    shown = rng.random(len(person)) < np.where(
        state[person, day] == 1, 1 - ACCURACY["false_negative"], ACCURACY["false_positive"]
    )
    seen = Observations.from_tests(person, day, shown, **ACCURACY)
    risk = infer(network, seen, epidemic, tol=1e-4, damping=0.3, max_steps=500)
    return network, risk, np.flatnonzero(state[:, -1] == 1)


def picture(found, in_town):
    """Both small networks, belief propagation against exact, and the town."""
    figure, axes = new_figure(4, n_rows=2, width=5.2, height=3.9)
    for ax, (name, one) in zip(axes, found.items()):
        colored_network(
            ax, nx.Graph(NETWORKS[name]), one["risk"].state_prob[:, -1, 1], names=PEOPLE, top=1.0,
            label="P(infected today)",
        )  # fmt: skip
        ax.set_title(f"{name}: Ben negative on day 3, Eli positive on day 7", fontsize=9)
    ax = axes[2]
    ax.plot([0, 1], [0, 1], "k--", lw=1)
    for color, (name, one) in zip(("C0", "C1"), found.items()):
        exact, sampled = one["exact"].state_prob[..., 1].ravel(), one["sampled"]
        ax.errorbar(
            exact, sampled.state_prob[..., 1].ravel(), 2 * sampled.standard_error[..., 1].ravel(),
            fmt=".", ms=3, lw=0.8, color="0.6", label="Gibbs ± 2 s.e." if name == "tree" else None,
        )  # fmt: skip
        ax.plot(exact, one["risk"].state_prob[..., 1].ravel(), "o", ms=3.5, mfc="none", color=color,
                label=f"belief propagation, {name}")  # fmt: skip
    ax.set(xlabel="exact P(infected), every person and day", ylabel="inferred")
    ax.legend(fontsize=8)
    network, risk, ill = in_town
    graph = nx.Graph()
    graph.add_nodes_from(range(network.n_people))
    graph.add_edges_from(zip(network.first.tolist(), network.second.tolist()))
    colored_network(
        axes[3], graph, risk.state_prob[:, -1, 1], label="P(infected today)", ringed=ill.tolist()
    )
    axes[3].set_title("a town; blue rim: infected in truth", fontsize=9)
    return figure


def main(argv=None) -> int:
    """Run the comparison; return 0 if all three agree, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="short chains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("contact_tracing_risk.png"))
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    args = parser.parse_args(argv)
    for path in (args.figure, args.out):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    n_samples = 1000 if args.quick else 20_000
    print(f"seven people, {N_DAYS} days, two tests, seed {args.seed}\n")
    found, failures = {}, []
    for name, pairs in NETWORKS.items():
        found[name], dissent = compare(name, pairs, args.seed, n_samples)
        failures += dissent
        one = found[name]
        print(f"{one['table']}\n")
        failures += one["table"].failures(
            **({"max_r_hat": None, "min_ess": None} if args.quick else {})
        )
    print("person   | " + " | ".join(f"{n}: exact | {n}: BP" for n in found))
    for i, who in enumerate(PEOPLE):
        cells = [
            f"{one[kind].state_prob[i, -1, 1]:{len(name) + width}.5f}"
            for name, one in found.items()
            for kind, width in (("exact", 7), ("risk", 4))
        ]
        print(f"{who:<8} | " + " | ".join(cells))
    for name, one in found.items():
        seconds = ", ".join(f"{k} {v:.2f} s" for k, v in one["seconds"].items())
        print(
            f"\n{name}: belief propagation off by {one['error']:.1e} (largest, any person, day, "
            f"state), log-evidence by {one['evidence_error']:.1e}, {one['risk'].n_steps} sweeps; "
            f"with compilation {seconds}"
        )
    who = "Ada"
    print(f"\nhow {who} may have been infected (tree):")
    story = found["tree"]["risk"].explain(who)
    for contact, day, prob in story.table()[:4]:
        print(f"  by {contact} on day {day}: {prob:.4f}")
    print(f"  before day 0: {story.initial_prob:.4f}; never: {story.never_prob:.4f}")
    figure = picture(found, town(args.seed))
    print(f"figure: {save_figure(figure, args.figure)}")
    if args.out is not None:
        numbers = {
            name: {
                "exact": one["exact"].state_prob[:, -1, 1].tolist(),
                "belief_propagation": one["risk"].state_prob[:, -1, 1].tolist(),
                "gibbs": one["sampled"].state_prob[:, -1, 1].tolist(),
                "gibbs_error": one["sampled"].standard_error[:, -1, 1].tolist(),
                "largest_error": float(one["error"]),
                "log_evidence": float(one["exact"].log_evidence),
            }
            for name, one in found.items()
        }
        args.out.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
