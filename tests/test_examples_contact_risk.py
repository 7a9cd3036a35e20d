"""The example of contact tracing runs, draws, and can fail."""

import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("contact_tracing_risk")


@pytest.mark.slow
def test_quick_run(tmp_path, capsys):
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0
    assert printed.endswith("agrees\n")
    assert figure.stat().st_size > 20_000
    tree, loops = numbers["tree"], numbers["loops"]
    np.testing.assert_allclose(tree["belief_propagation"], tree["exact"], atol=1e-12)
    assert 1e-3 < loops["largest_error"] < 0.2  # an approximation, and the example says so
    assert "by Ben on day" in printed


@pytest.mark.slow
def test_a_wrong_exact_answer_fails(tmp_path, capsys, monkeypatch):
    exact = EXAMPLE.exact_posterior

    def shifted(*args):
        result = exact(*args)
        return result._replace(state_prob=np.roll(result.state_prob, 1, axis=0))

    monkeypatch.setattr(EXAMPLE, "exact_posterior", shifted)
    status, printed, *_ = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  tree: belief propagation is exact" in printed


def test_the_networks_are_what_they_are_called():
    network = EXAMPLE.contacts(EXAMPLE.TREE, 0)
    assert network.people == EXAMPLE.PEOPLE
    pairs = set(zip(network.first.tolist(), network.second.tolist()))
    assert len(pairs) == len(EXAMPLE.PEOPLE) - 1
