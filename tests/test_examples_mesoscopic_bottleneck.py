import numpy as np
import pytest
from suite_helpers import load_example, run_example


@pytest.mark.slow
def test_what_irreversibility_buys(tmp_path, capsys):
    module = load_example("mesoscopic_bottleneck")
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert "agrees" in printed
    assert 10_000 < figure.stat().st_size < 150_000
    assert numbers["information"][0] > 0.43 > numbers["symmetric"] > numbers["no_couplings"]
    assert (np.diff(numbers["dissipation"]) <= 0).all()
    assert numbers["langevin_error"] < 1e-6
    assert np.abs(numbers["couplings"]).max() <= 2


def test_a_claim_that_fails(tmp_path, capsys, monkeypatch):
    module = load_example("mesoscopic_bottleneck")
    monkeypatch.setattr(module, "QUICK_PRICES", (100.0,))
    status, printed, _, _ = run_example(module, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  parity: expected at least 0.43 nats free" in printed
