"""Large deviations against printed tables, a brute-force functional, derivatives and limits."""

import math

import numpy as np
import pytest
from scipy.special import log_ndtr, logsumexp, xlogy

from inference import fixed_point as driver
from inference.status import ConvergenceError, Status
from models.perceptron import theory

FIELDS = ("free_entropy", "q1", "q0", "distance", "local_entropy", "external_entropy")
# load 0.6, computed elsewhere on a uniform grid of 401 x many nodes; as printed
TABLE = {
    (2, 0.5): ("1.471293", ".580163", ".437921", ".199139", ".161587", ".546397"),
    (2, 1.0): ("2.245747", ".869377", ".474319", ".049467", ".045815", ".351985"),
    (2, 1.2): (None, ".957993", ".453136", ".018493", ".005956", ".30"),
    (7, 0.5): ("4.129961", ".682518", ".583489", ".098402", ".161616", ".187469"),
    (7, 1.0): ("7.273626", ".912064", ".630438", ".023048", ".071793", ".0937"),
    (10, 0.5): ("5.836004", ".700848", ".623043", ".088302", ".160875", ".110277"),
    (10, 1.0): ("10.362913", ".906747", ".683931", ".024243", ".081417", ".033596"),
    (20, 0.5): ("11.607954", ".723182", ".679666", ".078525", ".158037", ".017729"),
    (20, 1.0): ("20.739501", ".902600", ".774997", ".025158", ".090674", "-.0676"),
}
# coupling: y*, q1, q0, distance, local entropy, H2(distance), Franz-Parisi entropy there
BALANCED = {
    0.5: ("24.742", ".727686", ".691874", ".076788", ".157101", ".270854", ".090871"),
    0.6: ("17.069", ".784872", ".718422", ".059024", ".137660", ".224272", ".066980"),
    0.7: ("13.919", ".827842", ".727426", ".046302", ".121190", ".187479", ".048427"),
    0.9: ("12.182", ".885297", ".721343", ".030019", ".095451", ".134807", ".023017"),
    1.1: ("12.880", ".919676", ".706232", ".020678", ".076934", ".100667", ".007877"),
    1.3: ("14.957", ".941001", ".691604", ".015042", ".063497", ".07806", "-.001156"),
    1.5: ("18.329", ".954890", ".679289", ".011435", ".053445", ".062494", "-.006672"),
}


def digits(printed):
    """Tolerance: half a unit of the last printed digit."""
    return pytest.approx(float(printed), abs=0.500001 * 10.0 ** -len(printed.partition(".")[2]))


def binary_entropy(p):
    return -xlogy(p, p) - xlogy(1 - p, 1 - p)


@pytest.fixture(scope="module")
def balanced():
    return theory.vanishing_external_entropy(0.6, list(BALANCED))


@pytest.mark.parametrize("n_replicas", [2, 7, 10, 20])
def test_the_table(n_replicas):
    couplings = [gamma for y, gamma in TABLE if y == n_replicas]
    found = theory.large_deviation(0.6, couplings, n_replicas)
    assert (found.status == Status.CONVERGED).all()
    assert not found.jumped.any()
    for place, coupling in enumerate(couplings):
        for field, printed in zip(FIELDS, TABLE[n_replicas, coupling], strict=True):
            if printed:
                assert getattr(found, field)[place] == digits(printed), (field, coupling)


class TestBalanced:
    def test_the_table(self, balanced):
        assert (balanced.status == Status.CONVERGED).all()
        np.testing.assert_allclose(balanced.external_entropy, 0, atol=1e-9)
        fields = ("n_replicas", "q1", "q0", "distance", "local_entropy")
        for place, row in enumerate(BALANCED.values()):
            for field, printed in zip(fields, row, strict=False):
                assert getattr(balanced, field)[place] == digits(printed), field
            assert binary_entropy(balanced.distance[place]) == digits(row[5])

    def test_dense_regions_hold_more_than_typical_neighbourhoods(self, balanced):
        # the last column belongs to the distances as printed: half a digit of them is too much
        printed = [float(row[3]) for row in BALANCED.values()]
        typical = theory.franz_parisi(0.6, printed).entropy
        for found, row in zip(typical, BALANCED.values(), strict=True):
            assert found == digits(row[6])
        assert (typical < balanced.local_entropy).all()
        assert (balanced.local_entropy < binary_entropy(balanced.distance)).all()

    def test_the_root_is_a_point_of_the_large_deviations(self, balanced):
        again = theory.large_deviation(0.6, 0.7, balanced.n_replicas[2])
        for field in FIELDS:
            assert getattr(again, field) == pytest.approx(getattr(balanced, field)[2], abs=1e-8)

    def test_no_root_is_reported_not_invented(self):
        found = theory.vanishing_external_entropy(0.6, 0.1)
        assert found.status is Status.MAX_STEPS
        assert found.residual == found.external_entropy > 0.01
        assert 100 < found.n_replicas <= 200


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_one_replica_weighs_all_solutions_alike(load):
    couplings = np.array([0.0, 0.05, 0.5, 1.0, 2.0])
    found = theory.large_deviation(load, couplings, 1)
    typical = theory.replica_symmetric(load)
    expected = typical.entropy + np.log(2 * np.cosh(couplings))
    np.testing.assert_allclose(found.free_entropy, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.q0, typical.overlap, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found.distance, (1 - np.tanh(couplings)) / 2, rtol=0, atol=1e-10)


def test_without_coupling_replicas_are_typical_and_references_free():
    found = theory.large_deviation(0.6, 0, 3.5)
    typical = theory.replica_symmetric(0.6)
    assert found.q1 == pytest.approx(typical.overlap, abs=1e-10)
    assert found.q0 == pytest.approx(typical.overlap, abs=1e-10)
    assert found.distance == pytest.approx(0.5, abs=1e-12)
    assert found.local_entropy == pytest.approx(typical.entropy, abs=1e-10)
    assert found.external_entropy == pytest.approx(math.log(2), abs=1e-10)


@pytest.mark.parametrize(("coupling", "n_replicas"), [(0.5, 2.5), (0.9, 7.0), (0.8, 15.0)])
def test_derivatives_of_the_free_entropy_are_the_entropies(coupling, n_replicas):
    h = 1e-3
    stencil = np.array([1, -8, 0, 8, -1]) / (12 * h)
    steps = h * np.arange(-2, 3)
    along = theory.large_deviation(0.6, coupling + steps, n_replicas)
    # errors: rounding of phi (1e-11 / h) and the fourth-order stencil (h^4)
    assert along.free_entropy @ stencil / n_replicas == pytest.approx(
        1 - 2 * along.distance[2], abs=1e-7
    )
    across = [theory.large_deviation(0.6, coupling, n_replicas + step) for step in steps]
    overlap = 1 - 2 * across[2].distance
    slope = np.array([found.free_entropy for found in across]) @ stencil
    local = across[2].local_entropy + coupling * overlap
    assert slope == pytest.approx(local, abs=1e-7)
    assert across[2].external_entropy == pytest.approx(
        across[2].free_entropy - n_replicas * local, abs=1e-12
    )


class BruteForce:
    """The functional on uniform grids wide and fine enough for everything; NumPy alone."""

    def __init__(self, load, coupling, n_replicas):
        self.load, self.coupling, self.y = load, coupling, n_replicas
        self.z = np.linspace(-8, 8, 401)[:, None]
        self.t = np.linspace(-20, 20, 1601)[None, :]
        self.w = np.exp(-(self.z[:, 0] ** 2) / 2)
        self.w /= self.w.sum()
        self.log_dt = -(self.t**2) / 2 - 0.5 * math.log(2 * math.pi) + math.log(40 / 1600)

    def patterns(self, q1, q0):
        x = (math.sqrt(q0) * self.z + math.sqrt(q1 - q0) * self.t) / math.sqrt(1 - q1)
        return self.w @ logsumexp(self.log_dt + self.y * log_ndtr(x), axis=1)

    def weights(self, hat1, hat0):
        h = math.sqrt(hat0) * self.z + math.sqrt(hat1 - hat0) * self.t
        both = [np.logaddexp(h + s, -h - s) for s in (self.coupling, -self.coupling)]
        peaks = np.logaddexp(self.y * both[0], self.y * both[1])
        return self.w @ logsumexp(self.log_dt + peaks, axis=1)

    def slopes(self, function, a, b, h=1e-4):
        return (
            (function(a + h, b) - function(a - h, b)) / (2 * h),
            (function(a, b + h) - function(a, b - h)) / (2 * h),
        )


# at the last one the plain iteration of the saddle equations oscillates for ever
@pytest.mark.parametrize(
    ("load", "coupling", "y"), [(0.6, 0.6, 3.0), (0.6, 0.9, 8.5), (0.7, 0.54, 10.0)]
)
def test_the_saddle_is_stationary_in_brute_force(load, coupling, y):
    found, brute = theory.large_deviation(load, coupling, y), BruteForce(load, coupling, y)
    assert found.status is Status.CONVERGED
    assert not found.jumped
    slope1, slope0 = brute.slopes(brute.patterns, found.q1, found.q0)
    hat1, hat0 = 2 * load / (y * (y - 1)) * slope1, -2 * load / y**2 * slope0
    free = (
        -y * (y - 1) / 2 * found.q1 * hat1
        + y**2 / 2 * found.q0 * hat0
        - y / 2 * hat1
        + brute.weights(hat1, hat0)
        + load * brute.patterns(found.q1, found.q0)
    )
    assert found.free_entropy == pytest.approx(free, abs=1e-8)
    slope1, slope0 = brute.slopes(brute.weights, hat1, hat0)
    # central differences are good to h^2 times third derivatives of order y^2
    assert found.q1 == pytest.approx(2 / (y * (y - 1)) * (slope1 - y / 2), abs=1e-5)
    assert found.q0 == pytest.approx(-2 / y**2 * slope0, abs=1e-5)


def test_the_dense_branch_ends_in_a_jump():
    # two replicas: between 1.20 and 1.22, found elsewhere by warm starts
    couplings = [1.0, 1.2, 1.22, 1.5]
    found = theory.large_deviation(0.6, couplings, 2)
    assert found.jumped.tolist() == [False, False, True, True]
    assert found.status.tolist() == [Status.CONVERGED] * 2 + [Status.TRUNCATED] * 2
    assert (found.q1[2:] > 0.99).all()
    assert all(np.isfinite(getattr(found, field)).all() for field in FIELDS)
    # seven replicas hold on longer
    assert not theory.large_deviation(0.6, 1.22, 7).jumped


def test_at_small_loads_the_branch_goes_on():
    found = theory.large_deviation(0.1, [1.0, 2.0, 3.0], 7)
    assert not found.jumped.any()
    assert (found.status == Status.CONVERGED).all()
    assert found.q1[2] > 0.99
    assert (np.diff(found.distance) < 0).all()


def test_a_scalar_is_the_entry_of_an_array_and_compiles_nothing_new():
    array = theory.large_deviation(0.6, [0.25, 0.5, 0.75], 7)
    n_programs = driver._iterate._cache_size()
    scalar = theory.large_deviation(0.6, 0.75, 7)
    assert isinstance(scalar.q1, float)
    assert scalar.status is Status.CONVERGED
    assert scalar.jumped is False
    for field in FIELDS:
        assert getattr(scalar, field) == pytest.approx(getattr(array, field)[2], abs=1e-9)
    theory.large_deviation(0.45, 0.6, 12.5)
    assert driver._iterate._cache_size() == n_programs


def test_bad_input_is_refused():
    for coupling in (-0.1, math.nan, [0.1, math.inf], [0.5, 0.5], [0.5, 0.2], [], [[0.1]]):
        for call in (
            lambda c: theory.large_deviation(0.6, c, 2),
            lambda c: theory.vanishing_external_entropy(0.6, c),
        ):
            with pytest.raises(ValueError, match="coupling: expected"):
                call(coupling)
    for n_replicas in (0, -3, math.nan, math.inf, 1001):
        with pytest.raises(ValueError, match="n_replicas: expected"):
            theory.large_deviation(0.6, 0.1, n_replicas)
    for load in (0, -1, math.nan, [0.3, 0.6], 1.3):
        with pytest.raises(ValueError, match="load: expected"):
            theory.large_deviation(load, 0.1, 2)
    with pytest.raises(TypeError, match="n_replicas: expected"):
        theory.large_deviation(0.6, 0.1, "two")
    with pytest.raises(ConvergenceError, match=r"replica_symmetric\(1\.272\): TRUNCATED"):
        theory.large_deviation(1.272, 0.1, 2)
