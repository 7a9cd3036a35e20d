"""A library with one function wrong is found out, by the comparison that is to see it."""

import pytest
from campaign.faults import FAULTS, compare, planted

from models.commands.certify import SYSTEMS

pytestmark = [pytest.mark.slow, pytest.mark.statistical]


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_system_has_three_faults_that_two_comparisons_see(system):
    found = [fault for fault in FAULTS if fault.system == system]
    assert len({fault.place for fault in found}) >= 3
    assert len({fault.caught_by for fault in found}) >= 2


@pytest.mark.parametrize(
    ("system", "comparison"), dict.fromkeys((fault.system, fault.caught_by) for fault in FAULTS)
)
def test_the_right_library_agrees_and_each_wrong_one_does_not(system, comparison):
    assert compare(system, comparison).failures() == []
    for fault in FAULTS:
        if (fault.system, fault.caught_by) != (system, comparison):
            continue
        with planted(fault):
            wrong = compare(system, comparison)
        assert wrong.failures(), fault.what
        assert not wrong.broken, fault.what  # by its numbers
