"""Deep linear networks by quadrature, by their infinite limit, and by sampled weights."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import NUTS, Predictive
from scipy import optimize, special, stats

from inference.calibration import calibration, places
from inference.certificates import (
    Certificate,
    Row,
    Setting,
    certify,
    estimates,
    exact,
    independent,
    run_chains,
)
from inference.checks import Floats
from inference.comparison import compare
from inference.progress import Stop, never

from . import conv_network, large_deviations, mixture, network, solvers, theory
from .compression import CompressedData, compress, compress_kernel
from .conditional import conditional_moments
from .conv_architecture import ConvArchitecture, ConvLayer
from .predictive import PosteriorResult
from .theory import Architecture

_BETA = 2.0
_GRID = np.linspace(-25.0, 6.0, 4001)
"""Of ``log q``: ten points a standard deviation and more, to where nothing is left."""
_EXACT = 1e-8
"""Trapezoid sums of analytic integrands on both sides, exact to some digits above rounding."""
_CONV = ConvArchitecture(4, (ConvLayer(2, 3, stride=2),))
_IMAGES = np.array([[1.0, 0.5, -0.3, 0.8], [-0.6, 0.9, 0.4, 0.1], [0.2, -1.1, 0.7, 0.5]])[:, None]
_LABELS = np.array([0.8, -0.5, 0.6])


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare quadrature, limits and samples; see `inference.certificates.certify`."""
    return certify(
        "deep-linear", CHECKS + FULL_CHECKS if full else CHECKS, full=full, seed=seed, only=only,
        should_stop=should_stop, progress=progress,
    )  # fmt: skip


def data_set(seed: int, n_outputs: int, n: int = 5) -> tuple[Floats, Floats, Floats]:
    """Return inputs, targets and test inputs of a noisy linear rule."""
    rng = np.random.default_rng(seed)
    x, x_test = rng.normal(size=(n, 3)), rng.normal(size=(2, 3))
    y = x @ rng.normal(size=(3, n_outputs)) / math.sqrt(3) + 0.5 * rng.normal(size=(n, n_outputs))
    return x, y, x_test


def _log_prior(log_q: Floats, widths: tuple[int, ...]) -> Floats:
    """Return the log density of ``log q``: a Gamma law, or that of the product of two."""
    shapes = np.array(widths) / 2
    z = np.log(shapes).sum() + log_q
    norm = special.gammaln(shapes).sum()
    if len(widths) == 1:
        return np.asarray(shapes[0] * z - np.exp(z) - norm)
    root = 2 * np.exp(z / 2)
    bessel = np.log(special.kve(shapes[0] - shapes[1], root)) - root
    return np.asarray(math.log(2) + shapes.mean() * z + bessel - norm)


def mixing_density(setting: Setting) -> list[Row]:
    """Densities of the mixing factor are Gamma and Bessel forms; draws have their moments."""
    rows: list[Row] = []
    for widths in ((5,), (4, 7)):
        architecture = Architecture(widths)
        at = np.linspace(-6.0, 2.0, 41)
        found = theory.log_mixing_density(architecture, jnp.asarray(at))
        # logarithms up to a hundred in size, of integrals and Bessel functions to twelve digits
        rows.append(exact(f"log density, {widths}", _log_prior(at, widths), found, tolerance=1e-9))
    deep = Architecture((6, 4), n_outputs=2)
    law = mixture.mixing_prior(deep)
    draws = np.asarray(law.sample(setting.key("mixing"), (setting.draws(20_000, 200_000),)))
    rows += independent("E Q", law.mean, draws)
    rows += independent("Var Q", law.variance, (draws - np.asarray(law.mean)) ** 2)
    return rows


def prior_of_networks(setting: Setting) -> list[Row]:
    """Functions of the prior have the moments of networks whose weights are all drawn."""
    widths, n_outputs = (3, 2), 2
    x, _, _ = data_set(0, n_outputs, 2)
    rng = np.random.default_rng(setting.seed)
    n = setting.draws(40_000, 400_000)
    f = np.broadcast_to(x.T, (n, 3, 2))
    for size in (*widths, n_outputs):
        weights = rng.normal(size=(n, size, f.shape[1]))
        f = weights @ f / math.sqrt(f.shape[1])
    f = f.transpose(0, 2, 1)  # (draws, points, outputs)
    architecture = Architecture(widths, n_outputs=n_outputs)
    kernel = x @ x.T / x.shape[1]
    law = mixture.prior(kernel, architecture)
    drawn = np.asarray(law.sample(setting.key("prior"), (n,)))
    variance = np.asarray(law.variance)
    fourth = np.asarray(law.kurtosis) * variance**2
    return [
        *independent("E f^2 of networks", variance, f**2),
        *independent("E f^4 of networks", fourth, f**4),
        *independent("E f^2 of the prior", variance, drawn**2),
        *independent("E f^4 of the prior", fourth, drawn**4),
    ]


def _evidence(found: PosteriorResult) -> tuple[float, float]:
    """Return the log evidence and its standard error."""
    if found.log_evidence is None or found.log_evidence_error is None:
        raise ValueError(f"{found.method}: expected an evidence")
    return found.log_evidence, found.log_evidence_error


class GridPosterior:
    """The posterior of one output by dense matrices on a grid of ``log q``."""

    def __init__(self, x: Floats, y: Floats, x_test: Floats, widths: tuple[int, ...]) -> None:
        kernel, cross, own = (a @ b.T / x.shape[1] for a, b in ((x, x), (x, x_test), (x_test,) * 2))
        q = np.exp(_GRID)
        covariance = q[:, None, None] * kernel + np.eye(len(x)) / _BETA
        inverse = np.linalg.inv(covariance)
        log_joint = _log_prior(_GRID, widths) - 0.5 * (
            np.einsum("m,qmn,n->q", y, inverse, y)
            + np.linalg.slogdet(covariance)[1]
            + len(y) * math.log(2 * math.pi)
        )
        weights = np.exp(log_joint - log_joint.max())
        self.log_evidence = log_joint.max() + np.log(weights.sum() * (_GRID[1] - _GRID[0]))
        weights /= weights.sum()
        self.mean_q = weights @ q
        towards = q[:, None, None] * cross
        means = np.einsum("qma,qmn,n->qa", towards, inverse, y)
        self.mean = weights @ means
        reduced = q[:, None, None] * own - np.einsum("qma,qmn,qnb->qab", towards, inverse, towards)
        shift = means - self.mean
        total = reduced + shift[:, :, None] * shift[:, None]
        self.covariance = np.tensordot(weights, total, axes=1)


def posterior_by_grid(setting: Setting) -> list[Row]:
    """Evidence, mixing and predictions of one output are those of dense matrices on a grid."""
    x, y, x_test = data_set(setting.seed, 1)
    rows: list[Row] = []
    for widths in ((5,), (4, 7)):
        architecture = Architecture(widths)
        found = solvers.posterior(compress(x, y, architecture, x_test), architecture, _BETA)
        grid = GridPosterior(x, y[:, 0], x_test, widths)
        predicted = found.predict()
        rows += [
            exact(f"log evidence, {widths}", grid.log_evidence, _evidence(found)[0],
                  tolerance=_EXACT),
            exact(f"E q, {widths}", grid.mean_q, found.mixing_mean[0, 0], tolerance=_EXACT),
            exact(f"E f, {widths}", grid.mean, np.asarray(predicted.mean)[:, 0], tolerance=_EXACT),
            exact(f"Var f, {widths}", np.diagonal(grid.covariance),
                  np.asarray(predicted.covariance)[:, 0, 0], tolerance=_EXACT),
        ]  # fmt: skip
    return rows


def _normal_density(y: Floats, f: Floats) -> Floats:
    """Return the density of targets given functions ``(draw, n, outputs)``."""
    squared = ((y - f) ** 2).sum(axis=(1, 2))
    return np.asarray((_BETA / (2 * math.pi)) ** (y.size / 2) * np.exp(-0.5 * _BETA * squared))


def evidence_by_weights(setting: Setting) -> list[Row]:
    """Evidence is the mean density of the targets over networks whose weights are all drawn."""
    rows: list[Row] = []
    cases: list[tuple[int, tuple[int, ...]]] = [(2, (4,))]
    if setting.full:
        cases.append((1, (5, 3)))
    for n_outputs, widths in cases:
        x, y, _ = data_set(1, n_outputs, 3)
        architecture = Architecture(widths, n_outputs=n_outputs)
        found = solvers.posterior(compress(x, y, architecture), architecture, _BETA)
        drawn = Predictive(network.weights_model, num_samples=setting.draws(20_000, 400_000))
        f = drawn(setting.key(f"weights {n_outputs}"), x, None, architecture, _BETA)["f"]
        density = _normal_density(y, np.asarray(f))
        name = f"evidence, {n_outputs} outputs, {widths}"
        rows += independent(name, np.exp(_evidence(found)[0]), density)
    return rows


def _two_outputs(seed: int) -> tuple[CompressedData, Architecture]:
    x, y, x_test = data_set(seed, 2, 8)
    architecture = Architecture((6,), n_outputs=2)
    return compress(x, y, architecture, x_test), architecture


def methods_agree(setting: Setting) -> list[Row]:
    """Evidence and mean by importance sampling and by tempering are those of a quadrature."""
    data, architecture = _two_outputs(setting.seed)
    reference = solvers.posterior(data, architecture, _BETA, method="quadrature")
    rows: list[Row] = []
    methods: tuple[Any, ...] = ("laplace", "smc")
    for method in methods:
        found = solvers.posterior(
            data, architecture, _BETA, method=method, key=setting.key(method), progress=False
        )
        mean, error = found.expectation(lambda mixing: mixing)
        entries = np.tril_indices(2)
        rows += estimates(f"{method}: log evidence", _evidence(reference)[0], *_evidence(found))
        rows += estimates(
            f"{method}: E Q", np.asarray(reference.mixing_mean)[entries],
            np.asarray(mean)[entries], np.asarray(error)[entries],
        )  # fmt: skip
    return rows


def mixing_by_nuts(setting: Setting) -> list[Row]:
    """Mixing matrices drawn by NUTS, all else integrated out, have the moments of a quadrature."""
    data, architecture = _two_outputs(setting.seed)
    reference = solvers.posterior(data, architecture, _BETA, method="quadrature")
    n_draws = setting.draws(700, 5000)
    drawn = run_chains(
        NUTS(network.collapsed_model), setting.key("collapsed"), data, architecture, _BETA,
        num_warmup=500, num_samples=n_draws,
    )["mixing"]  # fmt: skip
    entries = np.tril_indices(2)

    def mean_given(mixing: jax.Array) -> jax.Array:
        return conditional_moments(mixing, data, _BETA)[0]

    means = jax.vmap(jax.vmap(mean_given))(jnp.asarray(drawn))
    return [
        *compare("E Q", np.asarray(reference.mixing_mean)[entries],
                 drawn[..., entries[0], entries[1]]),
        *compare("E f", reference.predict().mean, np.asarray(means)),
    ]  # fmt: skip


def weights_by_nuts(setting: Setting) -> list[Row]:
    """Weights drawn by NUTS have the mixing matrix and the predictions of a quadrature."""
    x, y, x_test = data_set(setting.seed, 2, 8)
    data, architecture = _two_outputs(setting.seed)
    reference = solvers.posterior(data, architecture, _BETA, method="quadrature")
    n_draws = setting.draws(700, 5000)
    drawn = run_chains(
        NUTS(network.weights_model), setting.key("weights"), x, y, architecture, _BETA, x_test,
        num_warmup=500, num_samples=n_draws,
    )  # fmt: skip
    predicted = reference.predict()
    mean = np.asarray(predicted.mean)
    variance = np.diagonal(np.asarray(predicted.covariance), axis1=1, axis2=2)
    entries = np.tril_indices(2)
    return [
        *compare("E Q", np.asarray(reference.mixing_mean)[entries],
                 drawn["mixing"][..., entries[0], entries[1]]),
        *compare("E f", mean, drawn["f"]),
        *compare("Var f", variance, (drawn["f"] - mean) ** 2),
    ]  # fmt: skip


def infinite_width_is_a_gaussian_process(setting: Setting) -> list[Row]:
    """Infinite width is regression with a fixed kernel, and large widths come near."""
    x, y, x_test = data_set(setting.seed, 1)
    kernel, cross = x @ x.T / 3, x @ x_test.T / 3
    gram = kernel + np.eye(len(x)) / _BETA
    evidence = stats.multivariate_normal.logpdf(y[:, 0], np.zeros(len(x)), gram)
    mean = cross.T @ np.linalg.solve(gram, y[:, 0])
    wide = Architecture((10**7, 10**7))
    data = compress(x, y, wide, x_test)
    limit = solvers.infinite_width(data, wide, _BETA)
    near = solvers.posterior(data, wide, _BETA)
    return [
        # dense algebra of five points
        exact("log evidence", evidence, _evidence(limit)[0], tolerance=1e-10),
        exact("E f", mean, np.asarray(limit.predict().mean)[:, 0], tolerance=1e-10),
        # one over the width, times numbers of order one
        exact("log evidence of 10^7 units", evidence, _evidence(near)[0], tolerance=3e-6),
        exact("E f of 10^7 units", mean, np.asarray(near.predict().mean)[:, 0], tolerance=3e-6),
    ]


def saddle_is_lowest(setting: Setting) -> list[Row]:
    """Posteriors of many units concentrate where a scan of the rate function is lowest."""
    x, y, _ = data_set(setting.seed, 1)
    architecture = Architecture((5, 3))
    data = compress_kernel(x @ x.T / 3, 2.0 * y)
    found = large_deviations.minimizer(data, architecture, _BETA)

    def rate(log_q: float) -> float:
        q = [[math.exp(log_q)]]
        return large_deviations.rate_function(q, data, architecture, _BETA)

    scan = min(np.linspace(-5.0, 3.0, 81), key=rate)
    lowest = optimize.minimize_scalar(
        rate, bounds=(scan - 0.2, scan + 0.2), method="bounded", options={"xatol": 1e-9}
    )
    # a minimum is found to the root of the rounding of its value
    return [exact("log q", lowest.x, np.log(found.mixing[0, 0]), tolerance=1e-6)]


def convolutions(setting: Setting) -> list[Row]:
    """Convolutions by quadrature, by importance sampling, and by all weights drawn."""
    found = conv_network.conv_posterior(_IMAGES, _LABELS, _CONV, _BETA, method="quadrature")
    weighted = conv_network.conv_posterior(
        _IMAGES, _LABELS, _CONV, _BETA, method="laplace", key=setting.key("laplace")
    )
    model = partial(conv_network.conv_weights_model, _IMAGES, None, _CONV, _BETA)
    drawn = Predictive(model, num_samples=setting.draws(10_000, 400_000))(setting.key("weights"))
    density = _normal_density(_LABELS[:, None], np.asarray(drawn["f"]))
    return [
        *estimates("log evidence", _evidence(found)[0], *_evidence(weighted)),
        *independent("evidence by weights", np.exp(_evidence(found)[0]), density),
    ]  # fmt: skip


def mixing_is_calibrated(setting: Setting) -> list[Row]:
    """Mixing factors in truth lie anywhere in their posteriors given targets drawn with them."""
    architecture = Architecture((4, 3))
    rng = np.random.default_rng(setting.seed)
    where, key = [], setting.key("calibration")
    law = mixture.mixing_prior(architecture)
    for replica in range(setting.draws(60, 600)):
        keys = jax.random.split(jax.random.fold_in(key, replica))
        truth = float(law.sample(keys[0])[0, 0])
        x = rng.normal(size=(6, 3))
        covariance = truth * (x @ x.T) / 3 + np.eye(6) / 4.0
        y = rng.multivariate_normal(np.zeros(6), covariance)
        found = solvers.posterior(compress(x, y, architecture), architecture, 4.0)
        drawn = np.asarray(found.sample_mixing(keys[1], 99))[:, 0, 0]
        where.append(places(truth, drawn, rng))
    return [calibration("mixing factor", where)]


CHECKS = (
    mixing_density,
    prior_of_networks,
    posterior_by_grid,
    evidence_by_weights,
    methods_agree,
    mixing_by_nuts,
    infinite_width_is_a_gaussian_process,
    saddle_is_lowest,
    convolutions,
    mixing_is_calibrated,
)
FULL_CHECKS = (weights_by_nuts,)
"""Its program takes long to compile."""
