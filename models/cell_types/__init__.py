"""Cell types from images of points: one stained image a gene, and no table of cells by genes.

Every image shows where the cells lie that express one gene. A cell type has a map, the density of
its cells over the tissue; the cells of a gene are those of all types, each weighted by how many of
its cells express the gene. Poisson processes add, so the intensity of gene ``g`` is
``sum_k beta[g, k] maps[k]``, and maps and weights can be had from the images together.

Source: Huang et al., arXiv 1602.01889.

In reading order:

============================ =======================================================================
`Points`                     cells of many images in a `Window`; `read_points` from a table
`Counts`                     how many cells of each gene lie in which of the `Bins`; `bin_points`
`simulate_benchmark`         counts of known types, on which fits are compared
============================ =======================================================================
"""

from .benchmark_data import Benchmark, simulate_benchmark
from .counts import Bins, CompactCounts, Counts, bin_points
from .point_files import read_points
from .points import Points, Window

__all__ = [
    "Benchmark",
    "Bins",
    "CompactCounts",
    "Counts",
    "Points",
    "Window",
    "bin_points",
    "read_points",
    "simulate_benchmark",
]
