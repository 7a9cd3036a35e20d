"""The table that says whether draws agree with an analytic answer."""

import math

import numpy as np
import pytest
from suite_helpers import assert_z

from inference.comparison import Comparison, ComparisonTable, compare, compare_table

GOOD = Comparison(
    quantity="E x",
    analytic=1.0,
    analytic_error=0.0,
    sampled=1.02,
    mcse=0.01,
    z=2.0,
    ess=1000.0,
    r_hat=1.001,
)


def draws_of_mean(mean, *, seed=0, shape=(4, 500)):
    return mean + np.random.default_rng(seed).exponential(size=shape) - 1


def test_a_row_holds_the_two_numbers_and_their_distance():
    draws = draws_of_mean(2.0)
    (row,) = compare("E x", 1.9, draws, analytic_error=0.04)
    assert row.quantity == "E x"
    assert (row.analytic, row.analytic_error) == (1.9, 0.04)
    assert row.sampled == pytest.approx(draws.mean(), rel=1e-14)
    # 2000 independent draws of standard deviation 1
    assert row.mcse == pytest.approx(1 / math.sqrt(2000), rel=0.15)
    assert row.ess == pytest.approx(2000, rel=0.15)
    assert row.r_hat == pytest.approx(1, abs=0.01)
    expected = (row.sampled - 1.9) / math.sqrt(row.mcse**2 + 0.04**2)
    assert row.z == pytest.approx(expected, rel=1e-14)
    assert 1 < row.z < 4


@pytest.mark.statistical
def test_z_is_standard_normal_when_both_sides_are_right():
    n = 100
    rng = np.random.default_rng(1)
    error = 0.05
    analytic = 2.0 + error * rng.normal(size=n)
    draws = 2.0 + rng.normal(size=(4, 400, n))
    z = np.array([row.z for row in compare("E x", analytic, draws, analytic_error=error)])
    assert_z(z.mean(), 0.0, 1 / math.sqrt(n))
    assert_z((z**2).sum(), n, math.sqrt(2 * n))


def test_elements_are_labelled_by_their_index():
    draws = np.random.default_rng(2).normal(size=(4, 100, 2, 3))
    analytic = np.arange(6.0).reshape(2, 3)
    rows = compare("E Q", analytic, draws, analytic_error=analytic / 10)
    assert [row.quantity for row in rows] == [f"E Q[{i},{j}]" for i in range(2) for j in range(3)]
    np.testing.assert_array_equal([row.analytic for row in rows], np.arange(6.0))
    np.testing.assert_array_equal([row.analytic_error for row in rows], np.arange(6.0) / 10)
    np.testing.assert_allclose(
        [row.sampled for row in rows], draws.mean(axis=(0, 1)).ravel(), rtol=1e-12
    )


def test_a_right_answer_agrees_and_a_wrong_one_does_not():
    draws = {"E x": draws_of_mean(2.0)}
    assert compare_table({"E x": 2.0}, draws).agrees()
    wrong = compare_table({"E x": 2.2}, draws)
    assert not wrong.agrees()
    (sentence,) = wrong.failures()
    assert sentence.startswith("E x: |z| = ")
    assert "expected at most 5 (analytic 2.2, sampled " in sentence
    assert compare_table({"E x": (2.2, 0.1)}, draws).agrees(), "within the analytic error"


def test_chains_that_disagree_are_caught_even_if_their_mean_is_right():
    draws = draws_of_mean(0.0) + np.array([[-1.0], [1.0], [-1.0], [1.0]])
    (row,) = compare("E x", 0.0, draws)
    assert abs(row.z) < 5
    sentences = ComparisonTable((row,)).failures()
    assert [sentence.split(" = ")[0] for sentence in sentences] == ["E x: R-hat", "E x: ESS"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"z": -5.0, "r_hat": 1.01, "ess": 400.0}, []),
        ({"z": 5.01}, ["E x: |z| = 5.01, expected at most 5 (analytic 1, sampled 1.02)"]),
        ({"z": -7.0}, ["E x: |z| = 7, expected at most 5 (analytic 1, sampled 1.02)"]),
        ({"r_hat": 1.0101}, ["E x: R-hat = 1.0101, expected at most 1.01; run longer chains"]),
        ({"ess": 399.0}, ["E x: ESS = 399, expected at least 400; run longer chains"]),
        ({"z": math.nan}, ["E x: |z| = nan, expected at most 5 (analytic 1, sampled 1.02)"]),
        ({"z": math.inf}, ["E x: |z| = inf, expected at most 5 (analytic 1, sampled 1.02)"]),
        ({"r_hat": math.nan}, ["E x: R-hat = nan, expected at most 1.01; run longer chains"]),
        ({"r_hat": math.inf}, ["E x: R-hat = inf, expected at most 1.01; run longer chains"]),
        ({"ess": math.nan}, ["E x: ESS = nan, expected at least 400; run longer chains"]),
        ({"ess": math.inf}, ["E x: ESS = inf, expected at least 400; run longer chains"]),
    ],
)
def test_thresholds(changes, expected):
    table = ComparisonTable((GOOD, GOOD._replace(**changes)))
    assert table.failures() == expected
    assert table.agrees() == (not expected)


def test_thresholds_can_be_moved_and_waived():
    row = GOOD._replace(z=6.0, r_hat=1.2, ess=10.0)
    table = ComparisonTable((row,))
    assert len(table.failures()) == 3
    assert table.agrees(max_z=7, max_r_hat=1.3, min_ess=5)
    assert len(table.failures(max_r_hat=None, min_ess=None)) == 1
    assert table.agrees(max_z=None, max_r_hat=None, min_ess=None)


def test_draws_that_never_change_confirm_nothing():
    table = compare_table({"E x": 1.0}, {"E x": np.ones((4, 500))})
    (row,) = table.rows
    assert all(math.isnan(number) for number in (row.mcse, row.z, row.ess, row.r_hat))
    (sentence,) = table.failures(max_r_hat=None, min_ess=None)
    assert sentence.startswith("E x: all draws equal 1, ")
    assert not table.agrees(max_z=None, max_r_hat=None, min_ess=None)


def test_the_worst_z_is_that_of_largest_size():
    rows = [GOOD._replace(z=z) for z in (1.0, -3.0, 2.0)]
    assert ComparisonTable(tuple(rows)).worst_z == 3.0
    rows.append(GOOD._replace(z=math.nan))
    assert math.isnan(ComparisonTable(tuple(rows)).worst_z)


def test_the_table_is_printed_aligned():
    rows = (
        GOOD,
        GOOD._replace(quantity="E Q[0,1]", analytic_error=0.5, sampled=-12345.678, r_hat=1.0104),
        GOOD._replace(z=math.nan, mcse=math.nan, ess=math.nan),
    )
    lines = str(ComparisonTable(rows)).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.split(" | ")] for line in lines]
    assert cells[0] == ["quantity", "analytic", "sampled", "MCSE", "z", "ESS", "R-hat"]
    assert cells[1] == ["E x", "1", "1.02", "0.01", "+2.00", "1000", "1.0010"]
    assert cells[2] == ["E Q[0,1]", "1 +/- 0.5", "-12345.7", "0.01", "+2.00", "1000", "1.0104"]
    assert cells[3] == ["E x", "1", "1.02", "nan", "+nan", "nan", "1.0010"]


def test_the_table_becomes_a_data_frame():
    frame = ComparisonTable((GOOD, GOOD._replace(quantity="E y"))).to_pandas()
    assert list(frame.columns) == list(Comparison._fields)
    assert list(frame["quantity"]) == ["E x", "E y"]
    assert frame["mcse"].dtype == np.float64


def test_quantities_keep_the_order_of_the_analytic_side():
    draws = np.random.default_rng(3).normal(size=(4, 100))
    table = compare_table(
        {"b": [0.0, 0.0], "a": 0.0}, {"a": draws, "b": np.stack([draws, -draws], axis=-1)}
    )
    assert [row.quantity for row in table.rows] == ["b[0]", "b[1]", "a"]


GOOD_DRAWS = np.random.default_rng(4).normal(size=(4, 100, 2))


@pytest.mark.parametrize(
    ("analytic", "draws", "error", "message"),
    [
        (
            0.0,
            GOOD_DRAWS,
            0,
            r"analytic value of Q: expected a 1-dimensional array, got shape \(\)",
        ),
        ([0.0], GOOD_DRAWS, 0, r"analytic value of Q: expected shape \(2,\) as of one draw"),
        ([0, np.nan], GOOD_DRAWS, 0, "analytic value of Q: expected finite numbers"),
        ([0, 0], GOOD_DRAWS, [0.1] * 3, r"analytic error of Q: expected a scalar or shape \(2,\)"),
        ([0, 0], GOOD_DRAWS, [0.1, -0.1], "analytic error of Q: expected no negative"),
        ([0, 0], GOOD_DRAWS, np.inf, "analytic error of Q: expected finite"),
        (0.0, np.zeros(100), 0, "draws of Q: expected a 2-dimensional array"),
        (0.0, np.zeros((100, 4)), 0, "draws of Q: expected at least 8 draws a chain"),
        ([0, 0], np.where(GOOD_DRAWS > 2, np.nan, GOOD_DRAWS), 0, "draws of Q: expected finite"),
    ],
)
def test_bad_input_is_named_by_its_quantity(analytic, draws, error, message):
    with pytest.raises(ValueError, match=message):
        compare("Q", analytic, draws, analytic_error=error)


def test_the_two_sides_must_name_the_same_quantities():
    draws = np.random.default_rng(5).normal(size=(4, 100))
    with pytest.raises(ValueError, match="expected the same names, they differ in b, c"):
        compare_table({"a": 0.0, "b": 0.0}, {"a": draws, "c": draws})
    with pytest.raises(ValueError, match="expected the same names, they differ in b"):
        compare_table({"a": 0.0}, {"a": draws, "b": draws})
    with pytest.raises(ValueError, match="at least one quantity"):
        compare_table({}, {})
    with pytest.raises(ValueError, match=r"value of a: expected \(mean, standard error\).*of 3"):
        compare_table({"a": (0.0, 0.0, 0.0)}, {"a": np.zeros((4, 100, 3))})
