"""A helper that passes everything would hide every defect."""

import numpy as np
import pytest
from suite_helpers import assert_z

pytestmark = pytest.mark.float32


def test_estimates_within_their_error_pass():
    assert_z([1.0, 2.0], [1.03, 1.9], [0.01, 0.05])
    assert_z(1.0, 1.03, 0.01, ess=400.0)


@pytest.mark.parametrize(
    ("value", "expected", "standard_error", "options", "message"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.1, {}, r"z = -5\.00.*±4 at index \(1,\): got 2, expected 2\.5"),
        (2.5, 2.0, 0.1, {}, r"z = 5\.00, allowed are ±4: got 2\.5"),
        (2.3, 2.0, 0.1, {"limit": 2}, r"z = 3\.00, allowed are ±2"),
        ([9.0, np.nan], [1.0, 1.0], 0.1, {}, r"z = nan.*at index \(1,\)"),
        (1.0, 1.0, 0.0, {}, "standard error of zero"),
        (1.0, 1.0, np.nan, {}, "standard error of zero"),
        (1.0, 1.0, 0.1, {"ess": [5000.0, 12.0]}, "effective sample size 12 is below 400"),
    ],
)
def test_everything_else_fails_and_says_where(value, expected, standard_error, options, message):
    with pytest.raises(AssertionError, match=message):
        assert_z(value, expected, standard_error, **options)
