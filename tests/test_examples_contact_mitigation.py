import numpy as np
import pytest
from suite_helpers import load_example, run_example

PAIRS = (
    "contact tracing - random",
    "mean field - contact tracing",
    "belief propagation - mean field",
)


@pytest.mark.slow
def test_policies_on_a_small_town(tmp_path, capsys):
    module = load_example("contact_tracing_mitigation")
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert "agrees" in printed
    assert figure.stat().st_size > 10_000
    infected = {name: np.array(curves) for name, curves in numbers["infected"].items()}
    assert list(infected) == [
        "random",
        "contact tracing",
        "mean field",
        "belief propagation",
        "oracle",
    ]
    for pair in PAIRS:
        one, other = (infected[name][:, -1] for name in pair.split(" - "))
        mean, low, high = numbers["differences"][pair]
        assert mean == pytest.approx((one - other).mean())
        assert low <= mean <= high
    # before the first tests everybody faces the same epidemics
    for curves in infected.values():
        np.testing.assert_array_equal(curves[:, :11], infected["random"][:, :11])
