"""Entropies, capacities and the teacher against Gauss-Hermite sums, limits and printed tables."""

import math

import jax
import numpy as np
import pytest
from scipy.special import log_ndtr

from inference.status import PrecisionError, Status
from models.perceptron import theory

# load: entropy, overlap, conjugate (120-node Gauss-Hermite, computed elsewhere)
TABLE = {
    0.1: (0.622779, 0.06343, 0.07214),
    0.2: (0.550120, 0.12686, 0.16493),
    0.3: (0.474829, 0.19084, 0.28598),
    0.4: (0.396455, 0.25584, 0.44719),
    0.5: (0.314390, 0.32239, 0.66803),
    0.6: (0.227785, 0.39105, 0.98230),
    0.7: (0.135400, 0.46257, 1.45359),
    0.75: (0.086477, 0.49970, 1.78486),
    0.8: (0.035306, 0.53794, 2.21532),
    0.83: (0.003340, 0.56150, 2.53959),
}
HIDDEN = [1, 3, math.inf]


def hermite(n):
    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def log_stored(q, n_hidden):
    """E ln P(stored), by products of Gauss-Hermite rules."""
    if n_hidden == math.inf:
        q = 2 / math.pi * math.asin(q)
    slope = math.sqrt(q / (1 - q))
    if n_hidden != 3:
        z, w = hermite(120)
        return w @ log_ndtr(slope * z)
    z, w = hermite(64)
    yes = np.exp(log_ndtr(slope * z))
    a, b, c = np.meshgrid(yes, yes, yes, indexing="ij", sparse=True)
    return np.einsum("ijk,i,j,k->", np.log(a * b + b * c + c * a - 2 * a * b * c), w, w, w)


def action(q, conjugate, load, n_hidden):
    z, w = hermite(120)
    free = w @ np.log(2 * np.cosh(math.sqrt(conjugate) * z))
    return free - conjugate * (1 - q) / 2 + load * log_stored(q, n_hidden)


def slope_of(function, x, h=1e-4):
    return (8 * (function(x + h) - function(x - h)) - function(x + 2 * h) + function(x - 2 * h)) / (
        12 * h
    )


class TestTypical:
    def test_the_table(self):
        found = theory.replica_symmetric(list(TABLE))
        table = np.array(list(TABLE.values()))
        assert (found.status == Status.CONVERGED).all()
        np.testing.assert_allclose(found.entropy, table[:, 0], rtol=0, atol=5.1e-7)
        np.testing.assert_allclose(found.overlap, table[:, 1], rtol=0, atol=5.1e-6)
        np.testing.assert_allclose(found.conjugate_overlap, table[:, 2], rtol=0, atol=5.1e-6)

    @pytest.mark.parametrize("n_hidden", HIDDEN)
    def test_the_saddle_is_stationary_by_another_quadrature(self, n_hidden):
        load = 0.6
        found = theory.replica_symmetric(load, n_hidden=n_hidden)
        q, conjugate = found.overlap, found.conjugate_overlap
        # Gauss-Hermite sums of this order are good to 1e-9, differences of fourth order to 1e-11
        assert found.entropy == pytest.approx(action(q, conjugate, load, n_hidden), abs=1e-8)
        assert slope_of(lambda x: action(x, conjugate, load, n_hidden), q) == pytest.approx(
            0, abs=1e-6
        )
        assert slope_of(lambda x: action(q, x, load, n_hidden), conjugate) == pytest.approx(
            0, abs=1e-6
        )

    @pytest.mark.parametrize("n_hidden", HIDDEN)
    def test_entropy_changes_by_the_log_probability_of_one_more_pattern(self, n_hidden):
        h = 1e-3
        loads = 0.5 + h * np.array([-2, -1, 0, 1, 2])
        found = theory.replica_symmetric(loads, n_hidden=n_hidden)
        slope = found.entropy @ np.array([1, -8, 0, 8, -1]) / (12 * h)
        assert slope == pytest.approx(log_stored(found.overlap[2], n_hidden), abs=1e-8)

    @pytest.mark.parametrize("n_hidden", HIDDEN)
    def test_few_patterns_halve_the_solutions_one_by_one(self, n_hidden):
        # S = (1 - load) ln 2 + O(load^2), below the annealed bound
        first, second = theory.replica_symmetric([1e-4, 2e-4], n_hidden=n_hidden).entropy
        gaps = np.array([1 - 1e-4, 1 - 2e-4]) * math.log(2) - [first, second]
        assert (gaps > 0).all()
        assert gaps[1] / gaps[0] == pytest.approx(4, rel=1e-3)

    @pytest.mark.parametrize(
        ("n_hidden", "expected"), [(1, 0.8330786), (3, 0.9206194), (math.inf, 0.9469524)]
    )
    def test_capacities(self, n_hidden, expected):
        found = theory.capacity(n_hidden)
        assert found == pytest.approx(expected, abs=5.1e-8)
        # the entropy of another quadrature vanishes there, too; its slope is about -1
        saddle = theory.replica_symmetric(found, n_hidden=n_hidden)
        left = action(saddle.overlap, saddle.conjugate_overlap, found, n_hidden)
        assert left == pytest.approx(0, abs=1e-7)

    def test_beyond_the_capacity_the_entropy_is_negative(self):
        assert theory.replica_symmetric(1.0).entropy < 0
        assert theory.replica_symmetric(1.0).status is Status.CONVERGED

    def test_an_overlap_near_one_is_reported(self):
        found = theory.replica_symmetric([0.6, 1.272])
        assert found.status.tolist() == [Status.CONVERGED, Status.TRUNCATED]
        with pytest.raises(ValueError, match="4/pi"):
            theory.replica_symmetric([0.6, 1.28])
        beyond = theory.replica_symmetric(1.28, n_hidden=math.inf)
        assert beyond.status is Status.CONVERGED

    def test_shapes(self):
        loads = np.array([[0.1, 0.2], [0.3, 0.4]])
        found = theory.replica_symmetric(loads)
        assert found.entropy.shape == found.status.shape == (2, 2)
        assert found.entropy[1, 0] == theory.replica_symmetric(0.3).entropy
        assert isinstance(theory.replica_symmetric(0.3).entropy, float)


class TestTeacher:
    LOADS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4)
    OVERLAPS = (0.2374837, 0.3477081, 0.4548210, 0.5607147, 0.6686614, 0.7896990)

    def test_overlaps_on_record(self):
        found = theory.teacher_student(self.LOADS)
        np.testing.assert_allclose(found.overlap, self.OVERLAPS, rtol=0, atol=5.1e-8)
        np.testing.assert_allclose(
            found.generalisation_error, np.arccos(found.overlap) / np.pi, rtol=1e-14
        )
        assert (found.status == Status.CONVERGED).all()
        assert (found.residual < 1e-13).all()

    @pytest.mark.parametrize("load", [0.2, 1.0, 1.45])
    def test_iteration_from_nothing_arrives_at_the_same_overlap(self, load):
        z, w = hermite(120)
        overlap = 0.0
        for _ in range(2000):
            tail = log_ndtr(math.sqrt(overlap / (1 - overlap)) * z)
            squares = np.exp(-overlap / (1 - overlap) * z**2 - tail) / (2 * math.pi)
            conjugate = 2 * load / (1 - overlap) * (w @ squares)
            overlap = w @ np.tanh(math.sqrt(conjugate) * z + conjugate)
        assert theory.teacher_student(load).overlap == pytest.approx(overlap, abs=1e-8)

    @pytest.mark.parametrize("load", [0.3, 1.2])
    def test_entropy_changes_by_the_information_of_one_more_label(self, load):
        h = 1e-3
        found = theory.teacher_student(load + h * np.array([-2, -1, 0, 1, 2]))
        z, w = hermite(120)
        tail = log_ndtr(math.sqrt(found.overlap[2] / (1 - found.overlap[2])) * z)
        slope = found.entropy @ np.array([1, -8, 0, 8, -1]) / (12 * h)
        assert slope == pytest.approx(2 * w @ (np.exp(tail) * tail), abs=1e-8)

    def test_thresholds(self):
        found = theory.teacher_student_thresholds()
        assert found.first_order == pytest.approx(1.2446840, abs=5.1e-8)
        assert found.spinodal == pytest.approx(1.4926318, abs=5.1e-8)
        at, before, after = theory.teacher_student(
            [found.first_order, found.spinodal - 1e-6, found.spinodal + 1e-6]
        )[:3]
        assert at[0] == pytest.approx(0.6937602, abs=5.1e-8)
        # load = spinodal - c (R - R_s)^2: 1e-6 below it R is still near that of the spinodal
        assert at[1] == pytest.approx(0.8936614, abs=2e-3)
        assert (at[2], before[2], after[2]) == (1.0, 0.0, 0.0)
        assert after[0] == pytest.approx(0, abs=1e-12)
        assert after[1] < 0 < theory.teacher_student(1.24).entropy

    def test_few_labels_teach_in_proportion(self):
        # R = R' = 2 load E phi(0)^2 / Phi(0) = 2 load / pi to leading order
        assert theory.teacher_student(1e-9).overlap == pytest.approx(2e-9 / math.pi, rel=1e-7)


@pytest.mark.parametrize("call", [theory.replica_symmetric, theory.teacher_student])
@pytest.mark.parametrize("load", [0, -0.1, math.nan, math.inf, [0.3, 0.0], []])
def test_bad_loads_are_refused(call, load):
    with pytest.raises(ValueError, match="load: expected"):
        call(load)
    with pytest.raises(TypeError, match="load: expected"):
        call("many")


@pytest.mark.parametrize("n_hidden", [0, 2, 5, -1, math.nan, "3"])
def test_other_committees_are_refused(n_hidden):
    with pytest.raises(ValueError, match=r"n_hidden: expected 1, 3 or math\.inf"):
        theory.replica_symmetric(0.3, n_hidden=n_hidden)
    with pytest.raises(ValueError, match="n_hidden"):
        theory.capacity(n_hidden)


def test_single_precision_is_refused():
    calls = (
        lambda: theory.replica_symmetric(0.3),
        lambda: theory.teacher_student(0.3),
        theory.teacher_student_thresholds,
        lambda: theory.franz_parisi(0.3, 0.1),
        lambda: theory.franz_parisi_zero(0.3),
        lambda: theory.large_deviation(0.3, 0.1, 2),
        lambda: theory.vanishing_external_entropy(0.3, 0.1),
    )
    with jax.enable_x64(False):
        for call in calls:
            with pytest.raises(PrecisionError, match="double precision"):
                call()
