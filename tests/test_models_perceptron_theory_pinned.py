"""Franz-Parisi entropies against printed tables, a threefold quadrature, derivatives and limits."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import log_ndtr, xlogy

from inference.status import ConvergenceError, Status
from models.perceptron import theory

# load: distance, entropy and field, computed elsewhere by a threefold quadrature; as printed
TABLE = {
    0.3: [
        (0.30, ".44924953", ".246139"),
        (0.20, ".37452538", ".509387"),
        (0.10, ".23937458", ".869763"),
        (0.05, ".13888342", "1.164895"),
        (0.03, ".08882781", "1.348741"),
        (0.02, ".06065688", "1.473455"),
        (0.01, ".02963694", "1.635409"),
        (0.005, ".01285329", "1.714566"),
        (0.002, ".00264089", "1.637935"),
        (0.001, "-.000443", "1.3836"),
    ],
    0.6: [
        (0.30, ".22773426", ".011326"),
        (0.20, ".20014163", ".266545"),
        (0.10, ".11868655", ".559396"),
        (0.05, ".05394374", ".739133"),
        (0.03, ".02298677", ".804207"),
        (0.02, ".00677818", ".809679"),
        (0.01, "-.00874347", ".704235"),
        (0.005, "-.01469627", ".422985"),
        (0.002, "-.01592219", ".025280"),
    ],
}
OVERLAPS = {
    (0.3, 0.1): (".664764", ".201688"),
    (0.6, 0.1): (".703661", ".410418"),
    (0.6, 0.01): (".967995", ".393133"),
}


def digits(printed):
    """Tolerance: half a unit of the last printed digit."""
    return pytest.approx(float(printed), abs=0.500001 * 10.0 ** -len(printed.partition(".")[2]))


def normal(reach, n):
    nodes = np.linspace(-reach, reach, n)
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()


@pytest.mark.slow
@pytest.mark.parametrize("load", TABLE)
def test_the_table(load):
    distances = [row[0] for row in TABLE[load]]
    found = theory.franz_parisi(load, distances)
    assert (found.status == Status.CONVERGED).all()
    assert (found.residual < 1e-10).all()
    for place, (distance, entropy, field) in enumerate(TABLE[load]):
        assert found.entropy[place] == digits(entropy)
        assert found.conjugate_field[place] == digits(field)
        if (load, distance) in OVERLAPS:
            q, cross = OVERLAPS[load, distance]
            assert found.q[place] == digits(q)
            assert found.cross[place] == digits(cross)


@pytest.mark.parametrize("load", [0.05, 0.3, 0.6, 0.8])
def test_at_the_typical_distance_are_all_solutions(load):
    typical = theory.replica_symmetric(load)
    found = theory.franz_parisi(load, (1 - typical.overlap) / 2)
    assert found.status is Status.CONVERGED
    assert found.entropy == pytest.approx(typical.entropy, abs=1e-10)
    assert found.conjugate_field == pytest.approx(0, abs=1e-9)
    assert found.q == pytest.approx(typical.overlap, abs=1e-9)
    assert found.cross == pytest.approx(typical.overlap, abs=1e-9)


@pytest.mark.parametrize(("load", "distance"), [(0.3, 0.1), (0.6, 0.02), (0.6, 0.4), (0.1, 0.001)])
def test_the_slope_in_the_distance_is_twice_the_field(load, distance):
    h = 1e-2 * distance
    found = theory.franz_parisi(load, distance + h * np.arange(-2, 3))
    slope = found.entropy @ np.array([1, -8, 0, 8, -1]) / (12 * h)
    # S'' is about 1 / distance, and so on: the stencil errs by (h / distance)^4 / 30 or so
    assert slope == pytest.approx(2 * found.conjugate_field[2], abs=1e-7)


@pytest.mark.parametrize(("load", "distance"), [(0.3, 0.05), (0.6, 0.1)])
def test_the_saddle_by_a_threefold_quadrature(load, distance):
    # field of the chosen solution u > -a by Gauss-Legendre, t and z by the trapezoid rule
    found, typical = theory.franz_parisi(load, distance), theory.replica_symmetric(load)
    q, hat_q = typical.overlap, typical.conjugate_overlap
    p, big_q, cross = 1 - 2 * distance, found.q, found.cross
    (z, w_z), (t, w_t) = normal(7.5, 121), normal(7.0, 81)
    a = math.sqrt(q / (1 - q)) * z
    reach = np.maximum(-a, 0) + 9 + a
    v, w_v = np.polynomial.legendre.leggauss(64)
    v, w_v = (v + 1) / 2, w_v / 2
    u = -a[:, None] + reach[:, None] * v**2
    inside = np.exp(-(u**2) / 2 - log_ndtr(a)[:, None]) / math.sqrt(2 * math.pi)
    weights = w_z[:, None] * inside * 2 * v * w_v * reach[:, None]
    assert weights.sum() == pytest.approx(1, abs=1e-9)
    along = (p - cross) / math.sqrt(1 - q)
    across = math.sqrt(big_q - cross**2 / q - along**2)
    gap = math.sqrt(1 - big_q)

    def mean(function):
        mean_t = sum(
            w * function((cross / math.sqrt(q) * z[:, None] + along * u + across * node) / gap)
            for node, w in zip(t, w_t, strict=True)
        )
        return (weights * mean_t).sum()

    def hazard(x):
        return np.exp(-(x**2) / 2 - log_ndtr(x)) / math.sqrt(2 * math.pi)

    reference = hazard(a) / math.sqrt(1 - q)
    hat = load * mean(lambda y: hazard(y) ** 2) / gap**2
    hat_cross = load * mean(lambda y: reference[:, None] * hazard(y)) / gap

    def spins(pin):
        """Fields and weights by (z, t, J)."""
        sign = np.array([1, -1])[:, None, None]
        spread = math.sqrt(hat - hat_cross**2 / hat_q)
        h = hat_cross / math.sqrt(hat_q) * z[:, None] + spread * t + (pin - hat_cross) * sign
        chosen = 1 / (1 + np.exp(-2 * math.sqrt(hat_q) * z[:, None] * sign))
        return h, w_z[:, None] * w_t * chosen, sign

    def reached(pin):
        h, w, sign = spins(pin)
        return (w * sign * np.tanh(h)).sum() - p

    pin = brentq(reached, -5, 20, xtol=1e-13)
    h, w, _ = spins(pin)
    assert found.q == pytest.approx((w * np.tanh(h) ** 2).sum(), abs=1e-8)
    other = np.tanh(math.sqrt(hat_q) * z[:, None])
    assert found.cross == pytest.approx((w * other * np.tanh(h)).sum(), abs=1e-8)
    free = (w * np.logaddexp(h, -h)).sum() + load * mean(log_ndtr)
    entropy = cross * hat_cross - p * pin - hat * (1 - big_q) / 2 + free
    assert found.entropy == pytest.approx(entropy, abs=1e-8)
    edge = (cross / math.sqrt(q) * z - along * a)[:, None] + across * t
    pull = load * (w_z * reference) @ (hazard(edge / gap) @ w_t) / gap
    assert found.conjugate_field == pytest.approx(pin - pull, abs=1e-8)


@pytest.mark.parametrize("distance", [0.05, 0.2])
def test_few_patterns_cost_what_one_costs_a_pair(distance):
    # S = H2(D) + 2 load int_0^inf Du ln Phi(p u / sqrt(1 - p^2)) + O(load^2)
    p = 1 - 2 * distance
    slope = p / math.sqrt(1 - p**2)
    one = 2 * quad(lambda u: math.exp(-(u**2) / 2) * log_ndtr(slope * u), 0, 12)[0]
    one /= math.sqrt(2 * math.pi)
    free = -xlogy(distance, distance) - xlogy(1 - distance, 1 - distance)
    costs = np.array(
        [(theory.franz_parisi(load, distance).entropy - free) / load - one for load in (5e-4, 1e-3)]
    )
    assert (np.abs(costs) < 2e-4).all()
    assert costs[1] / costs[0] == pytest.approx(2, rel=0.01)


class TestZero:
    @pytest.mark.parametrize(
        ("load", "expected"), [(0.1, "5.407e-5"), (0.3, ".00115602"), (0.6, ".01577542")]
    )
    def test_distances_on_record(self, load, expected):
        zero = theory.franz_parisi_zero(load)
        assert zero == pytest.approx(float(expected), rel=1e-4 if "e" in expected else 1e-5)
        if "e" not in expected:
            assert zero == digits(expected)

    @pytest.mark.slow
    @pytest.mark.parametrize("load", [0.3, 0.8])
    def test_typical_solutions_are_isolated(self, load):
        zero = theory.franz_parisi_zero(load)
        below, at, above = theory.franz_parisi(load, [0.8 * zero, zero, 1.25 * zero]).entropy
        assert below < 0 < above
        assert at == pytest.approx(0, abs=1e-9)

    def test_out_of_range(self):
        for load in (0.84, 2.0):
            with pytest.raises(ValueError, match="less than the capacity"):
                theory.franz_parisi_zero(load)
        with pytest.raises(ConvergenceError, match=r"load 0\.01 is too small"):
            theory.franz_parisi_zero(0.01)


def test_a_lost_saddle_is_reported_and_harms_no_other():
    found = theory.franz_parisi(0.6, [0.0008, 0.1, 0.2])
    assert found.status[0] != Status.CONVERGED
    assert (found.status[1:] == Status.CONVERGED).all()
    assert found.entropy[1] == digits(".11868655")
    assert np.isfinite([found.entropy, found.conjugate_field, found.q, found.cross]).all()


def test_the_order_of_distances_does_not_matter():
    distances = np.array([0.02, 0.3, 0.1])
    found = theory.franz_parisi(0.6, distances)
    np.testing.assert_array_equal(found.distance, distances)
    for place, distance in enumerate(distances):
        alone = theory.franz_parisi(0.6, distance)
        assert isinstance(alone.entropy, float)
        assert alone.entropy == pytest.approx(found.entropy[place], abs=1e-9)


def test_bad_input_is_refused():
    for distance in (0, 0.5, -0.1, 0.7, math.nan, [0.1, 0.0], [], [[0.1]]):
        with pytest.raises(ValueError, match="distance: expected"):
            theory.franz_parisi(0.3, distance)
    with pytest.raises(TypeError, match="distance: expected"):
        theory.franz_parisi(0.3, "near")
    for load in (0, -0.3, math.nan, [0.3], 1.3):
        with pytest.raises(ValueError, match="load: expected"):
            theory.franz_parisi(load, 0.1)
        with pytest.raises(ValueError, match="load: expected"):
            theory.franz_parisi_zero(load)
    with pytest.raises(ConvergenceError, match="TRUNCATED"):
        theory.franz_parisi(1.272, 0.1)
