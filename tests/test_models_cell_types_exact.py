"""Exact posteriors: reference numbers, quadrature, brute force, and what one more cell says."""

import itertools

import numpy as np
import pytest
from scipy.special import factorial, gamma, roots_genlaguerre

from models.cell_types import (
    AxialVonMises,
    Counts,
    LogNormal,
    Points,
    TruncatedGaussian,
    Window,
    cavi,
    exact_posterior,
    exact_weights,
    exact_weights_points,
)

MAPS = np.array([[0.5, 0.3, 0.15, 0.05], [0.05, 0.15, 0.3, 0.5]])
VALUES = np.array([[4, 3, 1, 0], [0, 1, 2, 5], [2, 2, 2, 3]])
GAMMA = {"shape": 1.5, "rate": 0.5}
TABLE = np.array([[2, 1, 0], [0, 1, 2], [1, 0, 2]])
DIRICHLET = {"concentration": 0.5, "map_concentration": 0.8}


def test_reference_weights():
    found = exact_weights(VALUES, MAPS, **GAMMA)
    evidence = [-7.2208971377295, -7.3278977530236, -6.7914203425947]
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-12)
    mean = [
        [5.77848475954, 1.5548485738],
        [1.4584224363, 5.87491089703],
        [3.49213313481, 4.50786686519],
    ]
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10)
    sd = [
        [2.07012741689, 1.21229949476],
        [1.14361172006, 2.062079874],
        [1.851118599, 2.02578278397],
    ]
    np.testing.assert_allclose(found.sd, sd, rtol=1e-9)


def test_weights_by_quadrature():
    """Prior and compensators are the weight of Gauss-Laguerre, the rest is a polynomial."""
    rate = GAMMA["rate"] + 1.0
    nodes, weights = roots_genlaguerre(12, GAMMA["shape"] - 1.0)
    beta = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2) / rate
    mass = np.outer(weights, weights).ravel() * ((beta @ MAPS) ** VALUES[0]).prod(axis=1)
    total = mass.sum()
    scale = (GAMMA["rate"] / rate) ** GAMMA["shape"] / gamma(GAMMA["shape"])
    log_evidence = np.log(total * scale**2 / factorial(VALUES[0]).prod())
    assert log_evidence == pytest.approx(-7.220897136, abs=2e-9)  # by adaptive quadrature
    found = exact_weights(VALUES[:1], MAPS, **GAMMA)
    assert found.log_evidence[0] == pytest.approx(log_evidence, rel=1e-12)
    mean = mass @ beta / total
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-11)
    covariance = (mass[:, None] * beta).T @ beta / total - np.outer(mean, mean)
    np.testing.assert_allclose(found.covariance[0], covariance, rtol=1e-9)


def test_weights_of_three_types_by_one_more_cell():
    """``E (beta map_v)`` is the evidence of one more cell in v over that of the counts."""
    rng = np.random.default_rng(0)
    maps, exposure = rng.dirichlet(np.ones(3), 3), rng.uniform(0.5, 1.5, (1, 3))
    values = np.array([[6, 2, 4]])

    def found(values):
        return exact_weights(Counts(values, exposure=exposure), maps, shape=0.7, rate=0.3)

    start = found(values)
    for v, one in enumerate(np.eye(3, dtype=int)):
        first, second = (
            np.exp(found(values + n * one).log_evidence[0] - start.log_evidence[0]) for n in (1, 2)
        )
        rates = exposure[0, v] * maps[:, v]
        mean = rates @ start.mean[0]
        assert mean == pytest.approx(first * (values[0, v] + 1), rel=1e-11)
        square = second * (values[0, v] + 1) * (values[0, v] + 2)
        assert mean**2 + rates @ start.covariance[0] @ rates == pytest.approx(square, rel=1e-11)


def test_with_one_type_weights_are_gamma():
    found = exact_weights([[3, 2, 0, 1], [0, 0, 0, 0]], MAPS[:1], shape=2.0, rate=0.5)
    np.testing.assert_allclose(found.mean[:, 0], [8 / 1.5, 2 / 1.5])
    np.testing.assert_allclose(found.sd[:, 0], np.sqrt([8, 2]) / 1.5)
    assert found.log_evidence[1] == pytest.approx(2 * np.log(0.5 / 1.5))


def test_reference_weights_of_marked_cells():
    cells = np.array(
        [
            [0.20, 0.30, 8.0, 0.30],
            [0.25, 0.20, 9.5, 0.10],
            [0.70, 0.80, 15.0, 1.40],
            [0.65, 0.60, 12.0, 3.00],
            [0.50, 0.50, 10.0, 2.00],
        ]
    )
    square = Window((0.0, 1.0), (0.0, 1.0))
    marks = {"size": cells[:, 2], "orientation": cells[:, 3]}
    points = Points(np.zeros(5, int), cells[:, :2], ("gene",), square, marks)
    laws = (
        TruncatedGaussian(
            np.array([[0.25, 0.25], [0.7, 0.7]]), np.array([[0.15, 0.2], [0.1, 0.15]]), square
        ),
        LogNormal("size", np.log([9.0, 13.0]), np.array([0.25, 0.3])),
        AxialVonMises("orientation", np.array([0.2, 1.5]), np.array([2.0, 0.5])),
    )
    found = exact_weights_points(points, laws, shape=2.0, rate=0.5)
    np.testing.assert_allclose(found.log_evidence, [-8.165821988451], rtol=1e-11)
    np.testing.assert_allclose(found.mean, [[2.74249018237, 3.25750981763]], rtol=1e-10)
    np.testing.assert_allclose(found.sd, [[1.36924728437, 1.48935709259]], rtol=1e-10)


def test_reference_posterior():
    found = exact_posterior(TABLE, 2, **DIRICHLET)
    assert found.log_evidence == pytest.approx(-10.711410363931, rel=1e-12)
    ways = np.log([3, 3, 3]).sum()  # the orders of the three cells of each gene
    assert found.log_evidence + ways == pytest.approx(-7.415573497927, rel=1e-12)
    upper = [0.753032247789, 0.434813619001, 0.464556812230,
             0.745595458019, 0.534109368751, 0.736307205156]  # fmt: skip
    np.testing.assert_allclose(found.overlap[np.triu_indices(3)], upper, rtol=1e-11)
    np.testing.assert_array_equal(found.overlap, found.overlap.T)
    intensity = [
        [0.405266532976, 0.283204658230, 0.311528808794],
        [0.269798963062, 0.269251519430, 0.460949517509],
        [0.323009166405, 0.227096784070, 0.449894049524],
    ]
    np.testing.assert_allclose(found.intensity, intensity, rtol=1e-11)


def urn(cells, types, n_types, n_bins, alpha, eta):
    """Return the probability of cells ``(gene, bin)`` with these types, drawn one by one."""
    probability, past = 1.0, []
    for (gene, place), kind in zip(cells, types):
        own = [k for g, _, k in past if g == gene]
        there = [v for _, v, k in past if k == kind]
        probability *= (alpha + own.count(kind)) / (n_types * alpha + len(own))
        probability *= (eta + there.count(place)) / (n_bins * eta + len(there))
        past.append((gene, place, kind))
    return probability


def test_evidence_by_brute_force():
    table = np.array([[2, 1], [0, 3], [1, 0]])
    cells = [tuple(place) for place in np.argwhere(table) for _ in range(table[tuple(place)])]
    total = sum(
        urn(cells, types, 3, 2, 0.4, 1.3)
        for types in itertools.product(range(3), repeat=len(cells))
    )
    found = exact_posterior(table, 3, concentration=0.4, map_concentration=1.3)
    assert found.log_evidence == pytest.approx(np.log(total), rel=1e-12)


def test_intensities_by_one_more_cell():
    """The mean intensity is the probability that the next cell lies there, given the others."""
    start = exact_posterior(TABLE, 3, **DIRICHLET)
    np.testing.assert_allclose(start.intensity.sum(axis=1), 1.0)
    for g, v in itertools.product(range(3), repeat=2):
        more = np.zeros((3, 3), int)
        more[g, v] = 1
        first, second = (
            np.exp(exact_posterior(TABLE + n * more, 3, **DIRICHLET).log_evidence
                   - start.log_evidence)
            for n in (1, 2)
        )  # fmt: skip
        assert start.intensity[g, v] == pytest.approx(first, rel=1e-11)
        assert start.intensity_sd[g, v] == pytest.approx(np.sqrt(second - first**2), rel=1e-10)


def test_the_bound_is_below_the_exact_evidence():
    rng = np.random.default_rng(3)
    evidence = exact_posterior(TABLE, 2, **DIRICHLET).log_evidence
    for _ in range(3):
        bound = cavi(
            Counts(TABLE), rng.dirichlet(np.ones(2), 3), rng.dirichlet(np.ones(3), 2), **DIRICHLET
        )
        assert evidence - 3 < bound.elbo < evidence


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exact_weights([[10_000, 0, 0, 9000]], np.tile(MAPS, (2, 1)), **GAMMA),
         r"expected at most 5e\+08 additions, got .* for up to 19000 cells of 4 types"),
        (lambda: exact_weights([[4, 3]], [[1.0, 0.0]], **GAMMA), "maps: expected none of 1 bins"),
        (lambda: exact_weights(VALUES, MAPS, shape=0.0, rate=1.0), "shape: expected a positive"),
        (lambda: exact_weights(VALUES, MAPS, shape=1.0, rate=0.0), "rate: expected a positive"),
        (lambda: exact_posterior(TABLE * 20, 3), r"at most 4194304 ways .*gibbs"),
        (lambda: exact_posterior(TABLE, 0), "n_types: expected an integer"),
        (lambda: exact_posterior(TABLE, 2, concentration=-1.0), "concentration: expected"),
        (lambda: exact_posterior(Counts(TABLE, exposure=np.ones((3, 3))), 2), "no exposure"),
    ],
)  # fmt: skip
def test_what_has_no_exact_answer_is_refused_at_once(call, message):
    with pytest.raises(ValueError, match=message):
        call()
