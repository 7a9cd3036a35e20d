"""Cell types from images of points: one stained image a gene, and no table of cells by genes.

Every image shows where the cells lie that express one gene. A cell type has a map, the density of
its cells over the tissue; the cells of a gene are those of all types, each weighted by how many of
its cells express the gene. Poisson processes add, so the intensity of gene ``g`` is
``sum_k beta[g, k] maps[k]``, and maps and weights can be had from the images together.

Source: Huang et al., arXiv 1602.01889.

In reading order:

============================ =======================================================================
`detect_cells`               cells of one image, from its pixels; `simulate_ish` draws such images,
                             `draw_ish` those of given cells
`Points`                     cells of many images in a `Window`; `read_points` from a table
`Counts`                     how many cells of each gene lie in which of the `Bins`; `bin_points`
`simulate_benchmark`         counts of known types, on which fits are compared
`fit`                        types and what they express, from several starts, as a `Fit`
`fit_marked`                 types of marked cells, `em_points` from a given start
`choose_n_types`             how many types, by cells held out
`spectral_start`             maps from third moments
`em`                         the mode from a start; `cavi` the mean-field posterior, `svi` the same
                             in minibatches of genes
`beta_given_maps`            the weights of new genes at maps of a fit
`gibbs`                      draws from the posterior, fast and exact; `mixture_model` the same for
                             NumPyro (NUTS, SVI), `MixtureGibbs` its Gibbs kernel
`exact_posterior`            of some ten cells, `exact_weights` at known maps: sums over all types
`match_profiles`             inferred types and those of an independent reference, `read_profiles`
`permutation_test`           whether they agree by chance; `split_half_ceiling`, `stability`
`posterior_predictive_k`     whether cells of a gene repel or attract each other beyond the fit
`log_likelihood_points`      and `log_likelihood_counts`: Poisson, in space and in bins
`responsibilities`           which type a cell is of, with marks
`GridDensity`                and `TruncatedGaussian`: positions; `WithClutter` adds a uniform type
`LogNormal`                  `AxialVonMises`, `Categorical`: marks
============================ =======================================================================
"""

from .bayesian import MixtureGibbs, mixture_model
from .benchmark_data import Benchmark, simulate_benchmark
from .counts import Bins, CompactCounts, Counts, bin_points
from .detection import DetectedCells, detect_cells
from .em import EMResult, VariationalResult, cavi, em, svi
from .emissions import Emission, GridDensity, TruncatedGaussian, WithClutter
from .exact import (
    ExactPosterior,
    ExactWeights,
    exact_posterior,
    exact_weights,
    exact_weights_points,
)
from .fitting import fit
from .gibbs_sampler import GibbsDraws, gibbs
from .known_maps import WeightsResult, beta_given_maps
from .likelihood import log_likelihood_counts, log_likelihood_points, responsibilities
from .mark_emissions import AxialVonMises, Categorical, LogNormal
from .marked import MarkedFit, em_points, fit_marked
from .point_files import read_points
from .points import Points, Window
from .predictive_checks import PredictiveK, posterior_predictive_k
from .profile_files import read_profiles
from .profile_matching import Match, match_profiles
from .profile_tables import ProfileTable
from .profiles import Fit, Solution
from .selection import TypeChoice, choose_n_types
from .simulated_images import SimulatedImage, TrueCells, draw_ish, simulate_ish
from .spectral import SpectralStart, spectral_start
from .validation import (
    Ceiling,
    PermutationTest,
    Stability,
    permutation_test,
    split_half_ceiling,
    stability,
)

__all__ = [
    "AxialVonMises",
    "Benchmark",
    "Bins",
    "Categorical",
    "Ceiling",
    "CompactCounts",
    "Counts",
    "DetectedCells",
    "EMResult",
    "Emission",
    "ExactPosterior",
    "ExactWeights",
    "Fit",
    "GibbsDraws",
    "GridDensity",
    "LogNormal",
    "MarkedFit",
    "Match",
    "MixtureGibbs",
    "PermutationTest",
    "Points",
    "PredictiveK",
    "ProfileTable",
    "SimulatedImage",
    "Solution",
    "SpectralStart",
    "Stability",
    "TrueCells",
    "TruncatedGaussian",
    "TypeChoice",
    "VariationalResult",
    "WeightsResult",
    "Window",
    "WithClutter",
    "beta_given_maps",
    "bin_points",
    "cavi",
    "choose_n_types",
    "detect_cells",
    "draw_ish",
    "em",
    "em_points",
    "exact_posterior",
    "exact_weights",
    "exact_weights_points",
    "fit",
    "fit_marked",
    "gibbs",
    "log_likelihood_counts",
    "log_likelihood_points",
    "match_profiles",
    "mixture_model",
    "permutation_test",
    "posterior_predictive_k",
    "read_points",
    "read_profiles",
    "responsibilities",
    "simulate_benchmark",
    "simulate_ish",
    "spectral_start",
    "split_half_ceiling",
    "stability",
    "svi",
]
