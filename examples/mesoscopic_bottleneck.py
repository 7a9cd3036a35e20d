"""What irreversibility buys: information on an input against the entropy that a device produces.

Four spins are to tell the parity of two of three bits, which no linear function of the input tells.
Couplings are chosen that say most at each price of dissipation, once free and once symmetric, which
dissipate nothing; none exceeds 2. The same for handwritten digits reduced to three bits, and for
two linear Langevin units, whose frontier has a closed form (after Ingrosso, Panizon, Phys. Rev. E
109, 014132 (2024), arXiv 2307.02379; the tasks are ours).

Expected: a third of a minute on one core, exit status 0. The exit status is 1 when

- free couplings say less than 0.43 nats of the parity without a price, or the best symmetric ones
  are not within 0.001 of 0.329 nats,
- information or dissipation rises with the price, or free couplings are worse than symmetric ones,
- the currents around the cycles of the best device do not sum to its entropy production,
- a search of Langevin couplings ends further than 1e-6 nats from the closed form,
- free couplings say less of the digits than symmetric ones.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import jax
import networkx as nx
import numpy as np

from graphs.currents import coupling_graph, current_graph, cycle_affinities
from inference.plotting import new_figure, save_figure
from models.mesoscopic import (
    GaussianTask,
    LinearLangevin,
    SpinSystem,
    bottleneck,
    closed_form_frontier,
    digits_task,
    parity_task,
    tradeoff,
)

jax.config.update("jax_enable_x64", True)

PRICES = (0, 0.1, 0.3, 1, 3, 10, 30, 100)
QUICK_PRICES = (0, 1, 10)
LANGEVIN_PRICES = (0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.18)
DIGITS = (3, 8)
LEAST, SYMMETRIC = 0.43, 0.329


def spins(n_inputs=3):
    """Return four spins without couplings that see every input with other weights."""
    i, mu = np.arange(1, 5)[:, None], np.arange(1, n_inputs + 1)
    return SpinSystem(np.zeros((4, 4)), np.cos(1.7 * i * mu + 0.5 * i))


def frontiers(task, prices, restarts, key):
    """Return what free and what symmetric couplings reach."""
    free, symmetric = (
        bottleneck(
            spins(task.inputs.shape[1]), task, prices, symmetric=tied, restarts=restarts, key=key
        )
        for tied in (False, True)
    )
    return free, symmetric


def langevin_frontier(key):
    """Return the search and the closed form of a unit that copies another, which sees the input."""
    pair = LinearLangevin(np.eye(2), 1.0, [[0.0], [1.0]])
    one_way = np.array([[False, True], [False, False]])
    found = bottleneck(
        pair, GaussianTask([[1.0]], [1.0]), LANGEVIN_PRICES, restarts=2, key=key, allowed=one_way,
        max_coupling=4.0, max_gain=100.0,
    )  # fmt: skip
    return found, closed_form_frontier(np.maximum(found.dissipation, 0.0))


def busiest(device, task):
    """Return the currents at the input at which most entropy is produced, and that production."""
    rates = [float(device.entropy_production(x)) for x in task.inputs]
    x = task.inputs[int(np.argmax(rates))]
    return current_graph(device.generator(x), device.stationary(x)), max(rates)


def picture(parity, langevin, device, currents):
    """Draw both frontiers, the best couplings, and the currents that they drive."""
    figure, axes = new_figure(4, n_rows=2, width=3.4, height=2.6)
    (free, symmetric, nothing), (found, _) = parity, langevin
    axes[0].plot(free.dissipation, free.information, "o-", ms=4, color="C3", label="free")
    for level, style, label in (
        (symmetric.information[0], "-", "symmetric"),
        (nothing, ":", "no couplings"),
    ):
        axes[0].axhline(level, color="C0", ls=style, lw=1.2, label=label)
    axes[0].set_ylabel("information on the parity (nats)")
    axes[0].set_title("four spins")
    line = closed_form_frontier(np.linspace(0.0, 1.1 * found.dissipation.max(), 200))
    axes[1].plot(line.dissipation, line.information, color="C0", label="closed form")
    axes[1].plot(found.dissipation, found.information, "o", ms=4, color="C1", label="search")
    axes[1].set_ylabel("information on the input (nats)")
    axes[1].set_title("two linear units")
    for ax in axes[:2]:
        ax.set_xlabel("entropy production (nats by unit time)")
    axes[0].legend(fontsize=8, frameon=False, loc=(0.55, 0.12))
    axes[1].legend(fontsize=8, frameon=False)
    couplings = coupling_graph(device.couplings, names=range(1, 5))
    weights = np.array([weight for *_, weight in couplings.edges(data="weight")])
    nx.draw_networkx(
        couplings, nx.circular_layout(couplings), ax=axes[2], node_color="0.9", edgecolors="0.3",
        node_size=500, width=(1.5 * np.abs(weights)).tolist(),
        edge_color=["C3" if weight > 0 else "C0" for weight in weights],
        connectionstyle="arc3,rad=0.15", arrowsize=12,
    )  # fmt: skip
    axes[2].set_title("best couplings (red: aligning)")
    angle = np.pi * np.arange(4) / 4
    bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
    place = dict(enumerate((2 * bits - 1) @ np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    flow = np.array([current for *_, current in currents.edges(data="current")])
    strong = [edge for edge, size in zip(currents.edges, flow) if size > 0.01 * flow.max()]
    prob = np.array([p for _, p in currents.nodes(data="prob")])
    nx.draw_networkx(
        currents, place, ax=axes[3], with_labels=False, node_color=prob.tolist(), cmap="Greys",
        edgecolors="0.3", vmin=0.0, node_size=100, edgelist=strong, edge_color="C3", arrowsize=9,
        width=[0.3 + 3.0 * currents.edges[edge]["current"] / flow.max() for edge in strong],
    )  # fmt: skip
    axes[3].set_title("its currents among 16 states")
    for ax in axes[2:]:
        ax.set_axis_off()
    return figure


def main(argv=None) -> int:
    """Run everything; return 0 if every claim holds, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer prices and starts")
    parser.add_argument("--seed", type=int, default=0, help="of the random starts")
    parser.add_argument("--figure", type=Path, default=Path("mesoscopic_bottleneck.png"))
    parser.add_argument("--out", type=Path, help="also write the numbers as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)  # now, not after the long work
    start, key = time.perf_counter(), jax.random.key(args.seed)
    prices, restarts = (QUICK_PRICES, 6) if args.quick else (PRICES, 24)
    failures = []

    task = parity_task()
    free, symmetric = frontiers(task, prices, restarts, key)
    nothing = float(tradeoff(spins(), task).information)
    print("parity of two of three bits by four spins, free couplings")
    print(free.table())
    print(f"best symmetric couplings {symmetric.information[0]:.6f}, none {nothing:.6f} nats")
    if free.information[0] < LEAST or abs(symmetric.information[0] - SYMMETRIC) > 1e-3:
        failures.append(
            f"parity: expected at least {LEAST} nats free and {SYMMETRIC} symmetric, got "
            f"{free.information[0]:.4f} and {symmetric.information[0]:.4f}"
        )
    if (np.diff([free.information, free.dissipation]) > 0).any():
        failures.append("parity: information or dissipation rises with the price")
    if (free.objective < symmetric.information[0]).any():
        failures.append("parity: free couplings are worse than symmetric ones")

    device = free.system(0)
    currents, production = busiest(device, task)
    cycles = cycle_affinities(currents)
    print(
        f"currents at one input: {len(cycles.cycles)} cycles, which produce "
        f"{cycles.entropy_production:.12f} of {production:.12f} nats by unit time"
    )
    if abs(cycles.entropy_production - production) > 1e-12:
        failures.append("currents: the cycles do not sum to the entropy production")

    langevin = langevin_frontier(key)
    error = float(np.abs(langevin[0].information - np.asarray(langevin[1].information)).max())
    print(f"two linear units: {len(LANGEVIN_PRICES)} prices, at most {error:.1e} nats off")
    if not error < 1e-6:
        failures.append(f"Langevin units: {error:.1e} nats from the closed form")

    digits = digits_task(DIGITS, 3)
    known, known_tied = frontiers(digits, (0.0,), restarts, key)
    alone = tradeoff(spins(), digits)
    print(f"digits {DIGITS[0]} and {DIGITS[1]} by three bits, which say {digits.information:.4f}")
    print("  couplings   information   dissipation   accuracy")
    for name, *row in (
        ("none", float(alone.information), 0.0, float(alone.accuracy)),
        ("symmetric", known_tied.information[0], 0.0, known_tied.accuracy[0]),
        ("free", known.information[0], known.dissipation[0], known.accuracy[0]),
    ):
        print(f"  {name:9}   {row[0]:11.4f}   {row[1]:11.4f}   {row[2]:8.4f}")
    if not alone.information < known_tied.information[0] < known.information[0]:
        failures.append("digits: free couplings do not say more than symmetric ones")

    if args.out:
        numbers = {
            "seed": args.seed,
            "prices": list(prices),
            "information": free.information.tolist(),
            "dissipation": free.dissipation.tolist(),
            "accuracy": free.accuracy.tolist(),
            "couplings": free.couplings.tolist(),
            "symmetric": float(symmetric.information[0]),
            "no_couplings": nothing,
            "langevin_error": error,
            "digits": [float(known_tied.information[0]), float(known.information[0])],
        }
        args.out.write_text(json.dumps(numbers) + "\n", encoding="utf-8")
    figure = picture((free, symmetric, nothing), langevin, device, currents)
    print(f"figure: {save_figure(figure, args.figure)}")
    print(f"{time.perf_counter() - start:.0f} s")
    for sentence in failures:
        print(f"DISAGREES  {sentence}")
    print("disagrees" if failures else "agrees")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
