"""Failures are values with a sentence and a hint, and become errors or warnings on request."""

import inspect
import warnings

import numpy as np
import pytest

import inference
from inference.status import (
    CavityWarning,
    ConvergenceError,
    PrecisionError,
    Status,
    raise_for_status,
    report_status,
    worst_status,
)

pytestmark = pytest.mark.float32

FAILURES = [status for status in Status if status is not Status.CONVERGED]


def test_success_is_the_lowest_code():
    # worst_status takes the maximum
    assert int(Status.CONVERGED) == 0
    assert min(map(int, FAILURES)) > 0


@pytest.mark.parametrize("status", FAILURES, ids=lambda s: s.name)
def test_every_failure_says_what_happened_and_what_to_try(status):
    assert len(status.message) > 10
    assert len(status.hint) > 10
    with pytest.raises(ConvergenceError) as caught:
        raise_for_status(status, "the sampler")
    message = str(caught.value)
    assert message.startswith("the sampler: ")
    for part in (status.name, status.message, status.hint):
        assert part in message


def test_the_worst_of_many_codes_decides():
    codes = np.array([[0, 1], [2, 0]])
    assert worst_status(codes) is Status.NON_FINITE
    with pytest.raises(ConvergenceError, match="NON_FINITE"):
        raise_for_status(codes)


@pytest.mark.parametrize("status", [Status.CONVERGED, 0, np.zeros(3, int)], ids=str)
@pytest.mark.parametrize("on_failure", ["warn", "raise", "ignore"])
def test_success_is_silent(status, on_failure):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raise_for_status(status)
        report_status(status, "the solver", on_failure=on_failure)


def test_on_failure_chooses_between_a_warning_an_error_and_silence():
    with pytest.warns(CavityWarning, match="the solver: MAX_STEPS"):
        report_status(Status.MAX_STEPS, "the solver", on_failure="warn")
    with pytest.raises(ConvergenceError, match="the solver: MAX_STEPS"):
        report_status(Status.MAX_STEPS, "the solver", on_failure="raise")
    report_status(Status.MAX_STEPS, "the solver", on_failure="ignore")


@pytest.mark.parametrize("status", [Status.CONVERGED, Status.MAX_STEPS])
def test_an_unknown_mode_is_refused_even_on_success(status):
    with pytest.raises(ValueError, match=r"on_failure.*'shout'"):
        report_status(status, "the solver", on_failure="shout")


def test_the_warning_points_at_the_caller_of_the_library():
    def entry_point():
        report_status(Status.MAX_STEPS, "the solver", on_failure="warn")

    line_of_call = inspect.currentframe().f_lineno + 2
    with pytest.warns(CavityWarning) as caught:
        entry_point()
    assert (caught[0].filename, caught[0].lineno) == (__file__, line_of_call)


def test_an_unknown_code_is_not_taken_for_success():
    with pytest.raises(ValueError, match="99"):
        worst_status(99)


def test_the_package_offers_the_same_objects():
    for thing in (CavityWarning, ConvergenceError, PrecisionError, Status, raise_for_status):
        assert getattr(inference, thing.__name__) is thing
