"""Exact Bayesian deep linear networks at finite width.

Bassetti, Gherardi, Ingrosso, Pastore, Rotondo, "Feature learning in finite-width Bayesian deep
linear networks with multiple outputs and convolutional layers", JMLR 26 (2025), arXiv 2406.03260.

The physics in one paragraph. A deep linear network with Gaussian weights is, in function space, a
Gaussian process whose covariance is multiplied by a random ``D x D`` matrix,
``S | Q ~ N(0, Q (x) K)``, where ``K`` is the kernel of the inputs and ``D`` the number of outputs.
Widths and depth enter only through the law of ``Q``, a nested product of Wishart matrices that
concentrates on its mean as the widths grow (the lazy, infinite-width limit). With Gaussian noise
everything but ``Q`` integrates out, so the posterior is an exact mixture of Gaussian-process
posteriors, weighted by their evidence. Learning of features is the posterior of ``Q`` moving away
from its prior mean.

A convolutional network is the same with a matrix over (output, site) pairs, the local
renormaliser: pairs of patches have kernels of their own, and each is turned up or down.

In reading order:

=========================  ============================================================
`Architecture`             widths, outputs, precisions, biases               (theory)
`log_mixing_density`       exact density of ``log q`` for one output         (theory)
`mixing_prior`, `prior`    laws of ``Q`` and of the function values          (mixture)
`compress`                 data set -> its eigenbasis; samples drop out      (compression)
`compress_kernel`          the same from a precomputed kernel                (compression)
`with_test_inputs`         other test points for the same data               (compression)
`log_evidence_given_mixing`  ``log p(Y | Q)`` with an exact gradient         (conditional)
`conditional_moments`      mean and covariance of the function given ``Q``   (conditional)
`posterior`                the exact posterior: evidence, ``Q``, predictions (solvers)
`infinite_width`           the limit it is compared with                     (solvers)
`PosteriorResult`          what it answers                                   (predictive)
`mixing_spectrum`          which outputs share features                      (interpretation)
`weights_model`            every weight sampled: the reference               (network)
`collapsed_model`          ``Q`` sampled, the rest integrated out            (network)
`function_model`           ``Q`` and function values, any likelihood         (network)
`effective_mixing`         the ``Q`` that a set of weights realises          (network)

`ConvLayer`, `ConvArchitecture`  masks, strides, padding, channels, readout  (conv_architecture)
`conv_prior`               law of the function values on images              (conv_network)
`conv_posterior`           the exact posterior of a convolutional network    (conv_network)
`conv_collapsed_model`, `conv_weights_model`  for NUTS                       (conv_network)

`rate_function`            large deviations of ``Q`` at infinite width       (large_deviations)
`minimizer`                where the posterior concentrates, every root      (large_deviations)
`proportional_saddle`      the limit of many samples and many units          (large_deviations)
`finite_width_curve`       exact finite widths on their way to the limit     (width_curve)

`select`                   networks compared by exact evidence               (selection)
`DeepLinearRegressor`      all of it behind ``fit`` and ``predict``          (regressor)
=========================  ============================================================
"""

from .compression import CompressedData, compress, compress_kernel, with_test_inputs
from .conditional import conditional_moments, log_evidence_given_mixing
from .conv_architecture import ConvArchitecture, ConvLayer
from .conv_network import conv_collapsed_model, conv_posterior, conv_prior, conv_weights_model
from .interpretation import MixingSpectrum, mixing_spectrum
from .large_deviations import minimizer, proportional_saddle, rate_function
from .mixture import mixing_prior, prior
from .network import collapsed_model, effective_mixing, function_model, weights_model
from .predictive import PosteriorResult, Predictive
from .regressor import DeepLinearRegressor
from .saddles import Saddle
from .selection import select
from .selection_result import AveragedPredictive, Selection, SelectionTable
from .solvers import infinite_width, posterior
from .theory import Architecture, log_mixing_density
from .width_curve import FiniteWidthCurve, finite_width_curve

__all__ = [
    "Architecture",
    "AveragedPredictive",
    "CompressedData",
    "ConvArchitecture",
    "ConvLayer",
    "DeepLinearRegressor",
    "FiniteWidthCurve",
    "MixingSpectrum",
    "PosteriorResult",
    "Predictive",
    "Saddle",
    "Selection",
    "SelectionTable",
    "collapsed_model",
    "compress",
    "compress_kernel",
    "conditional_moments",
    "conv_collapsed_model",
    "conv_posterior",
    "conv_prior",
    "conv_weights_model",
    "effective_mixing",
    "finite_width_curve",
    "function_model",
    "infinite_width",
    "log_evidence_given_mixing",
    "log_mixing_density",
    "minimizer",
    "mixing_prior",
    "mixing_spectrum",
    "posterior",
    "prior",
    "proportional_saddle",
    "rate_function",
    "select",
    "weights_model",
    "with_test_inputs",
]
