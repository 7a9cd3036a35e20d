"""Are these the types that sequencing finds? Inferred profiles against an independent reference.

Images of many genes are simulated, types are fitted to them, and what these express is compared
with clusters of single cells that the fit has not seen. The reference measures the same types with
noise of its own, and every gene with an efficiency of its own, so that how abundant a gene is in it
says nothing about the images. Types are paired to correlate best, genes of the reference are
permuted, types paired anew each time, and the halves of the reference are compared with each other.
Raw profiles correlate as abundances do; each type's share of a gene does not know them, and that is
what should be compared.

With scanpy installed the same is done with blood cells (`scanpy.datasets.pbmc68k_reduced`, 700
cells): one half of the cells sets which types express a gene, the other is the reference. Where the
types lie is made up, and counts are drawn from the model: a test of the pipeline with real
expression, no evidence about images of tissue.

Expected: a quarter of a minute, exit status 0. The exit status is 1 when compared by shares a type
is not paired with itself, or p is above .002, or the correlation is below three quarters of that of
the halves; or when among 40 unrelated references more than seven have p below .05.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from inference.plotting import matrix_image, new_figure, save_figure
from models.cell_types import (
    Counts,
    fit,
    permutation_test,
    simulate_benchmark,
    split_half_ceiling,
)

SHAPE = (20, 20)
TRANSFORMS = ("raw", "fraction", "logratio")
CONCENTRATIONS = (0.1, 1.0)
"""Genes of few types, or of most; the bound of the evidence decides, not the reference."""
N_CONTROLS, MOST_CONTROLS = 40, 7
SMALLEST_P, LEAST_SHARE = 0.002, 0.75
BLOOD = {
    "Dendritic": "dendritic", "CD14+ Monocyte": "monocyte", "CD19+ B": "B", "CD56+ NK": "NK",
    "CD4+/CD25 T Reg": "T, CD4", "CD4+/CD45RO+ Memory": "T, CD4",
    "CD4+/CD45RA+/CD25- Naive T": "T, CD4", "CD8+ Cytotoxic T": "T, CD8",
    "CD8+/CD45RA+ Naive Cytotoxic": "T, CD8",
}  # fmt: skip


class Study(NamedTuple):
    """What images are drawn from, and sequenced cells to compare with."""

    membership: np.ndarray
    """``(n_genes, n_types)``: the share of each type in the cells of a gene."""
    cells: np.ndarray
    """``(n_cells, n_genes)`` expression, the reference."""
    kind: np.ndarray
    """``(n_cells,)``: type of each."""
    names: list
    """Of the types."""
    halves: tuple
    """Cells and their types that are split to compare halves."""


def simulated_study(rng, n_genes, n_types=6, n_cells=80):
    """Return shares, and counts of sequenced cells that are of the same types."""
    membership = rng.dirichlet(np.full(n_types, 0.2), n_genes)
    measured = membership.T * np.exp(0.5 * rng.standard_normal((n_types, n_genes)))
    efficiency = np.exp(1.5 * rng.standard_normal(n_genes))
    kind = np.repeat(np.arange(n_types), n_cells)
    cells = rng.poisson(0.5 * (measured * efficiency)[kind])
    names = [f"cluster {k}" for k in range(n_types)]
    return Study(membership, cells, kind, names, (cells, kind))


def blood_cells():
    """Return expression of single cells, ``(n_cells, n_genes)``, and their types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scanpy

        data = scanpy.datasets.pbmc68k_reduced()
    labels = [BLOOD.get(label) for label in data.obs["bulk_labels"]]
    known = np.array([label is not None for label in labels])
    values = data.raw.X[known]
    if hasattr(values, "toarray"):
        values = values.toarray()
    return np.expm1(values), [label for label in labels if label]


def halved_study(cells, labels, rng):
    """Return shares that one half of the cells sets, and the other half as the reference."""
    names, kind = np.unique(labels, return_inverse=True)
    order = np.lexsort((rng.random(len(kind)), kind))
    first, second = order[::2], order[1::2]
    share = mean_profiles(cells[first], kind[first]).T + 1e-9
    membership = share / share.sum(axis=1, keepdims=True)
    return Study(membership, cells[second], kind[second], names.tolist(), (cells, kind))


def mean_profiles(cells, kind):
    """Return mean expression of each type, ``(n_types, n_genes)``."""
    return np.array([cells[kind == k].mean(axis=0) for k in range(kind.max() + 1)])


def images(membership, rng, seed):
    """Return counts of cells in bins, their number unrelated to the gene, and the true maps."""
    n_genes, n_types = membership.shape
    maps = simulate_benchmark(seed, n_genes=1, n_types=n_types, shape=SHAPE).maps
    n_cells = np.maximum(20, rng.lognormal(np.log(400) - 0.32, 0.8, n_genes)).astype(int)
    return Counts([rng.multinomial(n, p) for n, p in zip(n_cells, membership @ maps)]), maps


def compare(study, seed):
    """Fit images and compare with the reference; return what was found."""
    rng = np.random.default_rng(seed + 1)
    counts, maps = images(study.membership, rng, seed)
    fits = [
        fit(counts, len(maps), concentration=c, key=jax.random.key(seed), on_failure="ignore")
        for c in CONCENTRATIONS
    ]
    best = int(np.argmax([one.elbo for one in fits]))
    types = fits[best]
    unit = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in (types.maps, maps)]
    truth = linear_sum_assignment(-unit[0] @ unit[1].T)[1]  # of each type that was found
    reference = mean_profiles(study.cells, study.kind)
    found = {}
    for transform in TRANSFORMS:
        test = permutation_test(types.beta.T, reference, transform=transform, seed=seed)
        ceiling = split_half_ceiling(*study.halves, transform=transform, seed=seed)
        found[transform] = {
            "test": test,
            "ceiling": ceiling.mean_correlation,
            "n_right": int(np.sum(test.match.partner == truth)),
        }
    controls = []
    for i in range(N_CONTROLS):
        unrelated = rng.permutation(reference.T).T
        test = permutation_test(types.beta.T, unrelated, n_permutations=199, seed=i)
        controls.append(test.p_value)
    return {
        "found": found,
        "names": study.names,
        "controls": controls,
        "truth": truth,
        "concentration": CONCENTRATIONS[best],
    }


def dissent(name, result):
    """Return sentences about what is not as claimed."""
    share = result["found"]["fraction"]
    n_types, r = len(result["names"]), share["test"].match.mean_correlation
    sentences = []
    if share["n_right"] < n_types:
        sentences.append(f"{name}: {share['n_right']} of {n_types} types paired with themselves")
    if not share["test"].p_value <= SMALLEST_P:
        sentences.append(f"{name}: p {share['test'].p_value:.3g}")
    if not r >= LEAST_SHARE * share["ceiling"]:
        sentences.append(f"{name}: r {r:.3f}, of the halves {share['ceiling']:.3f}")
    n_small = sum(p < 0.05 for p in result["controls"])
    if n_small > MOST_CONTROLS:
        sentences.append(f"{name}: {n_small} of {N_CONTROLS} unrelated references have p below .05")
    return sentences


def picture(results):
    """Draw correlations of shares, and the correlation of pairs among those of chance."""
    figure, axes = new_figure(2 * len(results), n_rows=len(results), width=5.5, height=4.2)
    for (name, result), left, right in zip(results.items(), axes[::2], axes[1::2]):
        test = result["found"]["fraction"]["test"]
        order = np.argsort(result["truth"])  # the types that were found, as the truth numbers them
        table = test.match.table[order]
        matrix_image(left, table, label="correlation of shares", limits=(-1.0, 1.0))
        left.set_yticks(range(len(table)), [f"found {k}" for k in order])
        left.set_xticks(range(len(table)), result["names"], rotation=45, ha="right")
        left.set_title(name)
        right.hist(test.null, bins=30, color="0.6", label="genes permuted, types paired anew")
        for color, transform in zip(("C3", "C1", "C2"), TRANSFORMS):
            one = result["found"][transform]
            r = one["test"].match.mean_correlation
            right.axvline(r, color=color, label=transform)
            right.axvline(one["ceiling"], color=color, linestyle=":")
        right.set(xlabel="mean correlation of pairs (dotted: halves)", ylabel="permutations")
        right.legend()
    return figure


def table_lines(results):
    """Return the table of all comparisons."""
    lines = ["data      | profiles | mean r | halves | right |     p | chance: mean, largest"]
    for name, result in results.items():
        for transform, one in result["found"].items():
            test = one["test"]
            lines.append(
                f"{name:<9} | {transform:<8} | {test.match.mean_correlation:6.3f} | "
                f"{one['ceiling']:6.3f} | {one['n_right']:>2}/{len(result['names']):<2} | "
                f"{test.p_value:5.3f} | {test.null.mean():.3f}, {test.null.max():.3f}"
            )
    return lines


def numbers(results):
    """Return what the table holds, for JSON."""
    return {
        name: {
            "controls": result["controls"],
            "concentration": result["concentration"],
            **{
                transform: {
                    "mean_correlation": one["test"].match.mean_correlation,
                    "halves": one["ceiling"],
                    "n_right": one["n_right"],
                    "p": one["test"].p_value,
                    "null_max": float(one["test"].null.max()),
                }
                for transform, one in result["found"].items()
            },
        }
        for name, result in results.items()
    }


def main(argv=None) -> int:
    """Run the comparisons; return 1 if one is not as claimed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="300 genes instead of 800")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("cell_type_validation.png"))
    parser.add_argument("--out", type=Path, help="write the numbers here, as JSON")
    args = parser.parse_args(argv)
    for path in filter(None, (args.figure, args.out)):
        path.parent.mkdir(parents=True, exist_ok=True)

    rng = np.random.default_rng(args.seed)
    studies = {"simulated": simulated_study(rng, 300 if args.quick else 800)}
    try:
        studies["blood"] = halved_study(*blood_cells(), rng)
    except ImportError:
        print("blood cells: skipped, they come with scanpy (pip install scanpy)\n")
    results = {name: compare(study, args.seed) for name, study in studies.items()}
    print("\n".join(table_lines(results)))
    print("\nright: types paired with themselves; halves: of the reference, with each other")
    for name, result in results.items():
        n_small = sum(p < 0.05 for p in result["controls"])
        print(
            f"{name}: {n_small} of {N_CONTROLS} unrelated references have p below .05; "
            f"concentration {result['concentration']} has the highest evidence"
        )
    if "blood" in results:
        print("blood: real expression, made-up maps, counts drawn from the model: a pipeline test")
    if args.out:
        args.out.write_text(json.dumps(numbers(results), indent=1) + "\n", encoding="utf-8")
    print(f"figure: {save_figure(picture(results), args.figure)}")
    failures = [sentence for name, result in results.items() for sentence in dissent(name, result)]
    for sentence in failures:
        print(f"NOT VALIDATED  {sentence}")
    print("not validated" if failures else "validated")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
