"""Types found in real point patterns: six species of trees in Lansing Woods, as if they were cells.

Maps of simulated types are smooth by construction; those of real ones are not. The positions of
2251 trees of six species are known. A made-up gene keeps each tree by a coin whose bias depends on
the species, so its "cells" are a mixture of six real maps in known proportions; 1500 such genes
hide the species, and the fit has to find maps and proportions again. All genes thin the same trees,
so this shows recovery with maps as nature makes them, and nothing about images of tissue.

The trees are in the R package `spatstat.data` (GPL, so not in this repository). ``--fetch`` lets
`apt-get` download the Debian package to a temporary folder, ``--package`` reads one that is there
already (`r-cran-spatstat.data_*.deb`); both need `pip install rdata`. With neither, or where they
cannot be had, the example says that it was skipped and exits with 0.

Expected: a quarter of a minute, exit status 0. The exit status is 1 when on any grid a map is less
like that of its species than a cosine of 0.98, or the shares of species in genes correlate less
than 0.98 with the true ones on average.
"""

from __future__ import annotations

import argparse
import subprocess
import tarfile
import tempfile
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import jax
import numpy as np
from scipy.optimize import linear_sum_assignment

from inference.plotting import new_figure, save_figure
from models.cell_types import Bins, Points, Window, bin_points, fit

PACKAGE = "r-cran-spatstat.data"
FOLDER = "usr/lib/R/site-library/spatstat.data/data/"
GRIDS = (8, 12, 16)
LEAST = 0.98


class UnavailableError(Exception):
    """The trees cannot be had here; says why."""


def fetch(folder):
    """Let apt-get download the package; return its path."""
    try:
        subprocess.run(
            ["apt-get", "download", PACKAGE], cwd=folder, check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError) as fault:
        raise UnavailableError(f"apt-get could not download {PACKAGE}") from fault
    return next(Path(folder).glob("*.deb"))


def data_files(package):
    """Return the index and the table of objects in a Debian package, an `ar` archive of tars."""
    content = Path(package).read_bytes()
    if not content.startswith(b"!<arch>\n"):
        raise ValueError(f"{package}: expected a Debian package")
    at = 8
    while at < len(content):
        name, size = content[at : at + 16].decode().strip(), int(content[at + 48 : at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=BytesIO(content[at + 60 : at + 60 + size])) as archive:
                return [
                    archive.extractfile(f"./{FOLDER}Rdata.{kind}").read() for kind in ("rdx", "rdb")
                ]
        at += 60 + size + size % 2
    raise ValueError(f"{package}: holds no data")


def read_trees(package):
    """Return positions ``(n, 2)`` in the unit square, and the species ``(n,)``, by name."""
    try:
        from rdata.conversion import convert
        from rdata.parser import parse_data
    except ImportError as fault:
        raise UnavailableError("reading R data needs rdata: pip install rdata") from fault
    index, table = data_files(package)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of R that we read as plain lists
        first, size = (int(v) for v in convert(parse_data(index))["variables"]["lansing"])
        # four bytes of length, then zlib
        trees = convert(
            parse_data(zlib.decompress(table[first + 4 : first + size])),
            default_encoding="latin1",
        )
    return np.column_stack([trees["x"], trees["y"]]), np.asarray(trees["marks"]).astype(str)


def thinned(positions, species, n_genes, seed):
    """Return points of made-up genes, and the expected shares of species in them."""
    rng = np.random.default_rng(seed)
    names, kind = np.unique(species, return_inverse=True)
    weight = rng.dirichlet(np.full(len(names), 0.15), n_genes)
    keep = 0.5 * weight / weight.max(axis=1, keepdims=True)
    gene, tree = np.nonzero(rng.random((n_genes, len(kind))) < keep[:, kind])
    share = keep * np.bincount(kind)
    genes = tuple(f"gene{i}" for i in range(n_genes))
    points = Points(gene, positions[tree], genes, window=Window((0.0, 1.0), (0.0, 1.0)))
    return points, names, share / share.sum(axis=1, keepdims=True)


def recover(points, positions, species, share, n_bins, seed):
    """Return the fit, true maps, the matching, cosines and correlations a species."""
    bins = Bins(points.window, n_bins, n_bins)
    names, kind = np.unique(species, return_inverse=True)
    truth = bin_points(
        Points(kind, positions, tuple(names), window=points.window), bins
    ).values.astype(float)
    found = fit(points, len(names), bins=bins, key=jax.random.key(seed), on_failure="ignore")
    unit = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in (truth, found.maps)]
    cosine = unit[0] @ unit[1].T
    rows, order = linear_sum_assignment(-cosine)
    correlation = [
        np.corrcoef(share[:, k], found.membership[:, j])[0, 1] for k, j in zip(rows, order)
    ]
    return found, truth, order, cosine[rows, order], np.array(correlation)


def picture(names, found, truth, order, n_bins):
    """Draw the map of every species above the one that was found."""
    figure, axes = new_figure(2 * len(names), n_rows=2, width=2.1, height=2.2)
    for k, name in enumerate(names):
        for ax, density, title in (
            (axes[k], truth[k] / truth[k].sum(), name),
            (axes[len(names) + k], found.maps[order[k]], "found"),
        ):
            ax.imshow(density.reshape(n_bins, n_bins), origin="lower", cmap="viridis")
            ax.set(xticks=[], yticks=[], title=title)
    return figure


def main(argv=None) -> int:
    """Run the comparison if the trees can be had; return 1 if the species are not found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", type=Path, metavar="FILE.deb", help="the Debian package")
    parser.add_argument("--fetch", action="store_true", help="let apt-get download it")
    parser.add_argument("--quick", action="store_true", help="300 genes, one grid")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--figure", type=Path, default=Path("cell_type_real_patterns.png"))
    args = parser.parse_args(argv)
    args.figure.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            if args.package is None and not args.fetch:
                raise UnavailableError("give --package FILE.deb, or --fetch to download it")
            positions, species = read_trees(args.package or fetch(folder))
    except UnavailableError as reason:
        print(f"skipped: {reason}")
        return 0
    except (OSError, ValueError) as fault:
        parser.error(str(fault))
    points, names, share = thinned(positions, species, 300 if args.quick else 1500, args.seed)
    print(f"{len(species)} trees, {len(points.genes)} genes, {len(points):,} points\n")
    print("bins    | " + " | ".join(f"{name:>8}" for name in names) + " |     mean")
    failures = []
    for n_bins in GRIDS[:1] if args.quick else GRIDS:
        found, truth, order, cosine, correlation = recover(
            points, positions, species, share, n_bins, args.seed
        )
        for label, values in (("cosine", cosine), ("shares", correlation)):
            cells = " | ".join(f"{v:8.4f}" for v in [*values, values.mean()])
            print(f"{n_bins:>2}x{n_bins:<2} {label[0]} | {cells}")
        if not (cosine.min() >= LEAST and correlation.mean() >= LEAST):
            failures.append(f"{n_bins}x{n_bins}: {cosine.min():.3f}, {correlation.mean():.3f}")
    print("\nc: cosine of maps, s: correlation of the shares of species in genes")
    print(f"figure: {save_figure(picture(names, found, truth, order, n_bins), args.figure)}")
    for sentence in failures:
        print(f"NOT FOUND  {sentence}")
    print("not found" if failures else "found")
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
