"""Types of cells by sums over all assignments, by ascent, and by sampling."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import partial

import numpy as np
from numpyro.infer import NUTS
from scipy import special

from inference import point_process
from inference.calibration import calibration, places
from inference.certificates import (
    Certificate,
    Row,
    Setting,
    at_most,
    certify,
    exact,
    independent,
    run_chains,
)
from inference.checks import Floats
from inference.comparison import compare
from inference.progress import Stop, never

from . import exact as sums
from . import gibbs_sampler, known_maps, likelihood, marked
from .bayesian import mixture_model
from .benchmark_data import simulate_benchmark
from .counts import Bins, bin_points
from .em import cavi, em
from .emissions import GridDensity, TruncatedGaussian
from .mark_emissions import AxialVonMises, LogNormal
from .points import Points, Window

_TABLE = np.array([[2, 1, 0], [0, 1, 2], [1, 0, 2]])
_CONCENTRATION, _MAP_CONCENTRATION = 0.5, 0.8
_KNOWN_MAPS = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]])
_KNOWN_COUNTS = np.array([[4, 3, 1, 0], [0, 1, 2, 5], [2, 2, 2, 3]])
_SHAPE, _RATE = 1.5, 0.5
_EXACT = 1e-9
"""Sums of some thousand terms of one sign, relative to numbers of order one to ten."""
_SQUARE = Window((0.0, 1.0), (0.0, 1.0))


def certificate(
    *,
    full: bool = False,
    seed: int = 0,
    only: Iterable[str] | None = None,
    should_stop: Stop = never,
    progress: bool | None = None,
) -> Certificate:
    """Compare exact sums, ascent and samples; see `inference.certificates.certify`."""
    return certify(
        "cell-types", CHECKS, full=full, seed=seed, only=only, should_stop=should_stop,
        progress=progress,
    )  # fmt: skip


def weights_by_quadrature(setting: Setting) -> list[Row]:
    """Weights at known maps by sums over types are those of a quadrature over the weights."""
    rate = _RATE + 1.0
    # prior and compensators are the weight of the rule, the rest is a polynomial
    nodes, weights = special.roots_genlaguerre(12, _SHAPE - 1.0)
    beta = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2) / rate
    found = sums.exact_weights(_KNOWN_COUNTS, _KNOWN_MAPS, shape=_SHAPE, rate=_RATE)
    scale = (_RATE / rate) ** _SHAPE / special.gamma(_SHAPE)
    evidence, means = [], []
    for counts in _KNOWN_COUNTS:
        mass = np.outer(weights, weights).ravel() * ((beta @ _KNOWN_MAPS) ** counts).prod(axis=1)
        evidence.append(np.log(mass.sum() * scale**2 / special.factorial(counts).prod()))
        means.append(mass @ beta / mass.sum())
    return [
        exact("log evidence", evidence, found.log_evidence, tolerance=_EXACT),
        exact("E weights", means, found.mean, tolerance=_EXACT),
    ]


def posterior_by_urns(setting: Setting) -> list[Row]:
    """Evidence by sums is that of cells drawn from urns, intensities those of one more cell."""

    def urn(table: np.ndarray) -> float:
        """Draw the cells one after another, the types of all before being known."""
        n_genes, n_bins = table.shape
        cells = [place for place in np.ndindex(n_genes, n_bins) for _ in range(table[place])]
        total = 0.0
        for types in itertools.product(range(2), repeat=len(cells)):
            of_gene, of_type = np.zeros((n_genes, 2)), np.zeros((2, n_bins))
            probability = 1.0
            for (gene, place), kind in zip(cells, types):
                given = _CONCENTRATION * 2 + of_gene[gene].sum()
                probability *= (_CONCENTRATION + of_gene[gene, kind]) / given
                given = _MAP_CONCENTRATION * n_bins + of_type[kind].sum()
                probability *= (_MAP_CONCENTRATION + of_type[kind, place]) / given
                of_gene[gene, kind] += 1
                of_type[kind, place] += 1
            total += probability
        return float(np.log(total))

    small = np.array([[2, 1], [0, 2], [1, 0]])
    found = _exact_posterior(small)
    start = urn(small)
    one_more = [
        [np.exp(urn(small + np.eye(6, dtype=int)[2 * g + v].reshape(3, 2)) - start) for v in (0, 1)]
        for g in range(3)
    ]
    return [
        exact("log evidence", start, found.log_evidence, tolerance=_EXACT),
        exact("E intensity", one_more, found.intensity, tolerance=_EXACT),
    ]


def _exact_posterior(table: np.ndarray) -> sums.ExactPosterior:
    return sums.exact_posterior(
        table, 2, concentration=_CONCENTRATION, map_concentration=_MAP_CONCENTRATION
    )


def _against_sums(membership: Floats, maps: Floats) -> list[Row]:
    """Compare draws ``(chain, draw, ...)`` in what no order of the types changes."""
    found = _exact_posterior(_TABLE)
    pairs = np.triu_indices(len(_TABLE))
    overlap = np.einsum("cngk,cnhk->cngh", membership, membership)[..., pairs[0], pairs[1]]
    return [
        *compare("E overlap", found.overlap[pairs], overlap),
        *compare("E intensity", found.intensity, membership @ maps),
    ]


def gibbs_by_sums(setting: Setting) -> list[Row]:
    """Memberships and maps drawn by Gibbs sampling follow the exact posterior of nine cells."""
    draws = gibbs_sampler.gibbs(
        _TABLE, 2, concentration=_CONCENTRATION, map_concentration=_MAP_CONCENTRATION,
        num_samples=setting.draws(10_000, 100_000), seed=setting.seed, progress=False,
    )  # fmt: skip
    return _against_sums(draws.membership.astype(float), draws.maps.astype(float))


def nuts_by_sums(setting: Setting) -> list[Row]:
    """Memberships and maps drawn by NUTS, types summed out, follow the exact posterior."""
    model = partial(
        mixture_model, concentration=_CONCENTRATION, map_concentration=_MAP_CONCENTRATION
    )
    draws = run_chains(
        NUTS(model, target_accept_prob=0.97), setting.key("nuts"), _TABLE, 2, num_warmup=500,
        num_samples=setting.draws(1000, 8000),
    )  # fmt: skip
    return _against_sums(draws["membership"], draws["maps"])


def bound_below_evidence(setting: Setting) -> list[Row]:
    """Mean field bounds the evidence from below, and is the evidence with one type."""
    rng = np.random.default_rng(setting.seed)
    bounds = [
        cavi(
            _TABLE, rng.dirichlet(np.ones(2), 3), rng.dirichlet(np.ones(3), 2),
            concentration=_CONCENTRATION, map_concentration=_MAP_CONCENTRATION,
        ).elbo
        for _ in range(4)
    ]  # fmt: skip
    one_type = cavi(
        _TABLE, np.ones((3, 1)), np.full((1, 3), 1 / 3), concentration=_CONCENTRATION,
        map_concentration=_MAP_CONCENTRATION,
    )  # fmt: skip
    evidence = sums.exact_posterior(
        _TABLE, 1, concentration=_CONCENTRATION, map_concentration=_MAP_CONCENTRATION
    ).log_evidence
    return [
        at_most(
            "bound over evidence", bounds, np.full(4, _exact_posterior(_TABLE).log_evidence),
            tolerance=_EXACT,
        ),
        exact("bound of one type", evidence, one_type.elbo, tolerance=_EXACT),
    ]  # fmt: skip


def em_is_stationary(setting: Setting) -> list[Row]:
    """Memberships and maps at the mode of EM have no slope along their simplices."""
    data = simulate_benchmark(setting.seed, n_genes=12, n_types=3, shape=(3, 4))
    counts = data.counts.values
    rng = np.random.default_rng(setting.seed)
    extra = 0.5
    found = em(
        data.counts, rng.dirichlet(np.ones(3), 12), rng.dirichlet(np.ones(12), 3),
        concentration=1 + extra, map_concentration=1 + extra, tol=1e-16, max_steps=50_000,
        check_every=500,
    )  # fmt: skip
    ratio = counts / (found.membership @ found.maps)
    by_membership = ratio @ found.maps.T + extra / found.membership
    by_maps = found.membership.T @ ratio + extra / found.maps
    rows: list[Row] = []
    for name, slope, at in (
        ("membership", by_membership, found.membership),
        ("maps", by_maps, found.maps),
    ):
        # along a simplex: less its mean under the point itself, in units of that
        level = (slope * at).sum(axis=1, keepdims=True)
        # EM stops where its gain drowns in the rounding of the objective, 1e-12 of some thousand
        # nats: slopes of the root of that. Entries may be small, and count by their size
        step = at * (slope / level - 1)
        rows.append(exact(f"slope by {name}", np.zeros(at.shape), step, tolerance=1e-6))
    return rows


def _cells(seed: int, n_cells: int = 400) -> Points:
    rng = np.random.default_rng(seed)
    marks = {"size": rng.lognormal(2.3, 0.3, n_cells), "angle": rng.uniform(0, np.pi, n_cells)}
    names = ("a", "b", "c")
    gene = rng.integers(3, size=n_cells).astype(np.int32)
    return Points(gene, rng.random((n_cells, 2)), names, _SQUARE, marks)


def likelihood_in_bins(setting: Setting) -> list[Row]:
    """Cells in space have the likelihood of their counts, and EM of both takes the same steps."""
    points, rng = _cells(setting.seed), np.random.default_rng(setting.seed)
    bins = Bins(_SQUARE, 4, 3)
    counts = bin_points(points, bins)
    maps = rng.dirichlet(np.ones(12), 2)
    beta = rng.gamma(2.0, 50.0, (3, 2))
    space = GridDensity(bins, maps)
    continuous = likelihood.log_likelihood_points(points, beta, [space])
    binned = likelihood.log_likelihood_counts(counts, beta, maps)
    change = special.gammaln(counts.values + 1.0).sum() - (counts.values * np.log(bins.area)).sum()
    membership = rng.dirichlet(np.ones(2), 3)
    options = {"concentration": 1.1, "max_steps": 30, "tol": 0.0}
    steps = marked.em_points(points, membership, [space], on_failure="ignore", **options)  # type: ignore[arg-type]
    plain = em(
        counts, membership, maps, check_every=1, on_failure="ignore", **options  # type: ignore[arg-type]
    )  # fmt: skip
    return [
        # rounding of sums of 400 logarithms
        exact("log likelihood", binned + change, continuous, tolerance=1e-8),
        exact("memberships", plain.membership, steps.membership, tolerance=1e-9),
    ]


def densities_integrate_to_one(setting: Setting) -> list[Row]:
    """Laws of positions and of marks integrate to one over all cells that can be."""
    n = 400
    middle = (np.arange(n) + 0.5) / n
    x = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    gene = np.zeros(len(x), np.int32)
    here = Points(gene, x, ("a",), _SQUARE, {})
    gaussian = TruncatedGaussian(
        np.array([[0.25, 0.25], [0.9, 0.7]]), np.array([[0.15, 0.2], [0.1, 0.15]]), _SQUARE
    )
    positions = np.exp(gaussian.log_density(here)).mean(axis=0)
    sizes, angles = np.exp(6 * middle - 1), np.pi * middle
    center = np.full((n, 2), 0.5)
    cells = Points(np.zeros(n, np.int32), center, ("a",), _SQUARE, {"size": sizes, "angle": angles})
    size = LogNormal("size", np.log([9.0, 13.0]), np.array([0.25, 0.3]))
    angle = AxialVonMises("angle", np.array([0.3, 2.0]), np.array([1.0, 4.0]))
    by_size = (np.exp(size.log_density(cells)) * sizes[:, None]).sum(axis=0) * 6 / n
    by_angle = np.exp(angle.log_density(cells)).sum(axis=0) * np.pi / n
    one = np.ones(2)
    return [
        # midpoints of 400 a side: an error of (1/400)^2 / 24 times a curvature of about 50
        exact("positions", one, positions, tolerance=1e-4),
        # smooth and periodic, or nothing at the ends (six deviations away): by far more digits
        exact("sizes", one, by_size, tolerance=1e-6),
        exact("angles", one, by_angle, tolerance=1e-9),
    ]


def weights_are_a_mode(setting: Setting) -> list[Row]:
    """Most likely weights at known maps have no slope."""
    found = known_maps.beta_given_maps(_KNOWN_COUNTS, _KNOWN_MAPS, shape=2.0, rate=0.5)
    slope = (_KNOWN_COUNTS / (found.beta @ _KNOWN_MAPS)) @ _KNOWN_MAPS.T - 1
    slope = slope + (2.0 - 1) / found.beta - 0.5
    # the ascent stops where ten steps gain less than 3e-10 nats: slopes of the root of that
    return [exact("slope by weights", np.zeros(found.beta.shape), slope, tolerance=2e-5)]


def k_function_by_pairs(setting: Setting) -> list[Row]:
    """Ripley's K is that of all pairs, and on average that of no interaction."""
    sides, radii = np.array([2.0, 1.0]), np.array([0.05, 0.1, 0.2])
    rng = np.random.default_rng(setting.seed)

    def found(points: np.ndarray) -> Floats:
        return point_process.ripley_k(points, radii, (0.0, 2.0), (0.0, 1.0)).k

    points = rng.random((40, 2)) * sides
    total = np.zeros(len(radii))
    for a, b in itertools.permutations(points, 2):
        overlap = (sides - np.abs(a - b)).prod()
        total += (np.hypot(*(a - b)) <= radii) / overlap
    by_pairs = total * sides.prod() ** 2 / (40 * 39)
    simulated = [found(rng.random((60, 2)) * sides) for _ in range(setting.draws(200, 2000))]
    return [
        # rounding of sums of 1560 terms of one sign
        exact("all pairs", by_pairs, found(points), tolerance=1e-10),
        *independent("K of no interaction", np.pi * radii**2, simulated),
    ]


def invariants(membership: Floats, maps: Floats, table: np.ndarray) -> dict[str, Floats]:
    """Return what no order of the types changes, ``(...)`` each, of memberships and maps."""
    mean = membership @ maps
    return {
        "overlap of two genes": (membership[..., 0, :] * membership[..., 1, :]).sum(axis=-1),
        "intensity": mean[..., 0, 0],
        "log likelihood": np.sum(table * np.log(mean), axis=(-1, -2)),
        "largest membership": membership[..., 0, :].max(axis=-1),
        "distance of maps": np.abs(maps[..., 0, :] - maps[..., 1, :]).sum(axis=-1),
    }


def gibbs_is_calibrated(setting: Setting) -> list[Row]:
    """Types in truth lie anywhere among Gibbs draws given data simulated from them."""
    rng = np.random.default_rng(setting.seed)
    where: dict[str, list[Floats]] = {}
    for replica in range(setting.draws(100, 1500)):
        membership = rng.dirichlet(np.full(2, 0.7), 6)
        maps = rng.dirichlet(np.ones(6), 2)
        table = np.array([rng.multinomial(30, row) for row in membership @ maps])
        draws = gibbs_sampler.gibbs(
            table, 2, concentration=0.7, num_warmup=300, num_samples=49, thinning=25,
            num_chains=1, seed=replica + 10_000 * setting.seed, progress=False,
        )  # fmt: skip
        drawn = invariants(draws.membership[0].astype(float), draws.maps[0].astype(float), table)
        for name, truth in invariants(membership, maps, table).items():
            where.setdefault(name, []).append(places(truth, drawn[name], rng))
    return [calibration(name, found) for name, found in where.items()]


CHECKS = (
    weights_by_quadrature,
    posterior_by_urns,
    gibbs_by_sums,
    nuts_by_sums,
    bound_below_evidence,
    em_is_stationary,
    weights_are_a_mode,
    likelihood_in_bins,
    densities_integrate_to_one,
    k_function_by_pairs,
    gibbs_is_calibrated,
)
