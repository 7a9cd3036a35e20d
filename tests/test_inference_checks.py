"""Every refusal names the argument, what was expected, and what came."""

import numpy as np
import pytest

from inference import checks
from inference.checks import finite_array, one_of, positive, positive_int, same_length
from inference.precision import require_x64
from inference.status import PrecisionError

pytestmark = pytest.mark.float32


def refused(error, argument, *parts):
    """Expect ``error`` with a message that starts with the argument and holds every part."""
    pattern = "".join(f"(?=.*{part})" for part in parts)
    return pytest.raises(error, match=f"^{argument}: {pattern}")


@pytest.mark.parametrize("value", [[1, 2.5], np.float32([1, 2]), [True, False], np.arange(3)])
def test_numbers_of_every_kind_become_float64(value):
    array = finite_array("x", value, ndim=1)
    assert array.dtype == np.float64
    np.testing.assert_array_equal(array, np.array(value, dtype=float))


def test_one_of_several_numbers_of_axes_is_accepted():
    assert finite_array("x", [1.0], ndim=(1, 2)).ndim == 1
    assert finite_array("x", [[1.0]], ndim=(1, 2)).ndim == 2
    assert finite_array("x", 3.0, ndim=0) == 3.0


@pytest.mark.parametrize(
    ("value", "ndim", "error", "parts"),
    [
        (["a"], 1, TypeError, ("array of numbers", r"\['a'\]")),
        ([[1], [1, 2]], 2, TypeError, ("array of numbers",)),
        ([[1.0]], 1, ValueError, ("1-dimensional", r"\(1, 1\)")),
        ([[[1.0]]], (1, 2), ValueError, ("1-dimensional or 2-dimensional", r"\(1, 1, 1\)")),
        (np.ones((0, 3)), 2, ValueError, ("at least one", r"\(0, 3\)")),
        ([[1, 2], [3, np.nan]], 2, ValueError, ("finite", "nan", r"\(1, 1\)")),
        ([1, -np.inf], 1, ValueError, ("finite", "-inf", r"\(1,\)")),
    ],
)
def test_other_arrays_are_refused(value, ndim, error, parts):
    with refused(error, "x", *parts):
        finite_array("x", value, ndim=ndim)


def test_the_first_of_several_defects_is_named():
    with refused(ValueError, "x", r"\(0, 2\)"):
        finite_array("x", [[0, 1, np.inf], [np.nan, 0, 0]], ndim=2)


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (np.float32(0.5), 0.5), ("2", 2.0)])
def test_positive_numbers_pass(value, number):
    result = positive("beta", value)
    assert type(result) is float
    assert result == number


@pytest.mark.parametrize(
    ("value", "error", "parts"),
    [
        (0, ValueError, ("positive finite", r"0\.0")),
        (-1.5, ValueError, ("positive finite", r"-1\.5")),
        (float("nan"), ValueError, ("positive finite", "nan")),
        (float("inf"), ValueError, ("positive finite", "inf")),
        (None, TypeError, ("positive", "None")),
        ([1, 2], TypeError, ("positive", r"\[1, 2\]")),
    ],
)
def test_other_numbers_are_refused(value, error, parts):
    with refused(error, "beta", *parts):
        positive("beta", value)


def test_infinity_passes_where_it_has_a_meaning():
    assert positive("beta", np.inf, allow_inf=True) == np.inf
    for wrong in (-np.inf, np.nan, 0.0):
        with refused(ValueError, "beta", "expected a positive number", str(wrong)):
            positive("beta", wrong, allow_inf=True)


@pytest.mark.parametrize("value", [1, np.int64(7)])
def test_counts_pass(value):
    result = positive_int("n_steps", value)
    assert type(result) is int
    assert result == value


@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-3, ValueError), (2.0, ValueError), ("2", ValueError), (True, ValueError)],
)
def test_other_counts_are_refused(value, error):
    with refused(error, "n_steps", "integer of at least 1", str(value)):
        positive_int("n_steps", value)


def test_a_choice_outside_the_list_is_refused():
    one_of("method", "smc", ("auto", "smc"))
    with refused(ValueError, "method", "auto, smc", "'mcmc'"):
        one_of("method", "mcmc", ("auto", "smc"))


def test_axes_of_different_lengths_are_refused():
    same_length("y", 5, "x", 5)
    with refused(ValueError, "y", "5 rows", "in x", "got 4"):
        same_length("y", 4, "x", 5)


def test_double_precision_is_asked_for_with_its_cure():
    import jax

    with jax.enable_x64(True):
        require_x64("quadrature")
    with (
        jax.enable_x64(False),
        pytest.raises(PrecisionError, match=r'^quadrature .*jax_enable_x64", True'),
    ):
        require_x64("quadrature")


def test_plus_minus_one_copies_signs_and_names_the_first_other_entry():
    given = np.array([[1, -1], [-1, 1]])
    copied = checks.plus_minus_one("x", given, ndim=2)
    given[0, 0] = 7
    assert copied.dtype == np.int8
    assert copied.tolist() == [[1, -1], [-1, 1]]
    with pytest.raises(ValueError, match=r"x: expected \+1 or -1, got 7 at index \(0, 0\)"):
        checks.plus_minus_one("x", given, ndim=2)
    for wrong in ([1, 0, 1], [1, 2, 1], [1.0, np.nan, 1.0], [1.0, 0.5, -1.0]):
        with pytest.raises(ValueError, match="at index 1"):
            checks.plus_minus_one("x", wrong, ndim=1)
    with pytest.raises(ValueError, match="x: expected a 2-dimensional array"):
        checks.plus_minus_one("x", [1, -1], ndim=2)
    for wrong in (["a"], [True]):
        with pytest.raises(TypeError, match="x: expected an array of ±1"):
            checks.plus_minus_one("x", wrong, ndim=1)
    assert checks.plus_minus_one("x", np.zeros(0), ndim=1).size == 0


def test_at_least_zero():
    assert checks.at_least_zero("x", 0) == 0.0
    for wrong in (-1e-300, np.inf, np.nan):
        with pytest.raises(ValueError, match="x: expected a finite number of at least 0"):
            checks.at_least_zero("x", wrong)
    with pytest.raises(TypeError, match="x: expected a number"):
        checks.at_least_zero("x", "much")


def test_distributions_sum_to_one_along_the_last_axis():
    rows = checks.distributions("p", [[0.25, 0.75], [1, 0]], ndim=2)
    assert rows.dtype == np.float64
    assert checks.distributions("p", [0.5, 0.5 + 9e-9], ndim=1).size == 2
    with pytest.raises(ValueError, match="p: expected probabilities that sum to 1, got a"):
        checks.distributions("p", [[0.25, 0.75], [0.9, 0]], ndim=2)
    with pytest.raises(ValueError, match=r"p: expected probabilities, got -0\.5"):
        checks.distributions("p", [1.5, -0.5], ndim=1)
    with pytest.raises(ValueError, match="p: expected finite numbers"):
        checks.distributions("p", [np.nan, 1.0], ndim=1)
