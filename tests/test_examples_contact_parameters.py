"""The example of learnt parameters runs, draws, and can fail."""

import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("contact_tracing_parameters")


@pytest.mark.slow
@pytest.mark.statistical
def test_agrees_and_wrong_answers_are_found_out(tmp_path, capsys, monkeypatch):
    run, remembered = EXAMPLE.run_nuts, {}

    def run_once(evidence, *rest):
        if evidence not in remembered:
            remembered[evidence] = run(evidence, *rest)
        return remembered[evidence]

    monkeypatch.setattr(EXAMPLE, "run_nuts", run_once)
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0, printed
    assert printed.endswith("agrees\n")
    assert "bethe: E transmission recovery" in printed
    assert "R-hat" in printed
    assert 20_000 < figure.stat().st_size < 400_000
    assert np.shape(numbers["places"]) == (25, 2)
    assert len(numbers["rows"]) == 10

    monkeypatch.setattr(EXAMPLE, "PRIORS", EXAMPLE.PRIORS | {"recovery_prob": (12.0, 2.0)})
    calibration = EXAMPLE.calibration

    def certain(*arguments):
        places, means, truths = calibration(*arguments)
        return 0.5 + 0.2 * (places - 0.5), means, truths

    monkeypatch.setattr(EXAMPLE, "calibration", certain)
    status, printed, *_ = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  bethe: E recovery: |z|" in printed
    assert "DISAGREES  transmission_prob: the truth is not uniform" in printed


def test_every_pair_of_the_tree_meets_and_the_tests_follow_the_epidemic():
    network = EXAMPLE.tree(30, 0)
    assert network.common_prob == 1.0
    values = {"transmission_prob": 0.9, "recovery_prob": 0.05}
    many = EXAMPLE.tests_of(network, values, 4000, 0)
    few = EXAMPLE.tests_of(network, values | {"transmission_prob": 0.0}, 4000, 0)
    positive = [(tests.likelihood[:, 1] > 0.5).mean() for tests in (many, few)]
    assert positive[0] > positive[1] + 0.2
