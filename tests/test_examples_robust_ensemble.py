"""The examples of replicas run as a user runs them, and fail when a number is wrong."""

import numpy as np
import pytest
from suite_helpers import load_example, remember, run_example


@pytest.mark.slow
@pytest.mark.statistical
def test_perceptron_learning_agrees_and_a_wrong_theory_is_found_out(tmp_path, capsys, monkeypatch):
    module = load_example("perceptron_learning")
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert {row[0] for row in numbers["race"]} >= {"focusing BP", "entropy-driven", "annealing"}
    exact = module.theory.teacher_student

    def wrong(load):
        found = exact(load)
        return found._replace(overlap=0.8 * found.overlap)

    monkeypatch.setattr(module.theory, "teacher_student", wrong)
    status, printed, *_ = run_example(module, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  load 1.2: expected" in printed


@pytest.mark.slow
@pytest.mark.statistical
def test_robust_ensemble_agrees_and_replicas_without_attraction_are_found_out(
    tmp_path, capsys, monkeypatch
):
    module = load_example("robust_ensemble")
    monkeypatch.setattr(module, "LOADS", {"annealing": (0.35, 0.4), "SGD": (0.45, 0.5)})
    remember(monkeypatch, module, "flatness", "thermodynamics")
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert np.shape(numbers["flatness"])[1:] == (2, 6)

    coupled = module.replicated_annealing

    def apart(problem, **options):
        return coupled(problem, couplings=lambda sweep: 0.0 * sweep, **options)

    monkeypatch.setattr(module, "replicated_annealing", apart)
    monkeypatch.setattr(module, "LOADS", {"annealing": (0.35, 0.4), "SGD": (0.45,)})
    status, printed, *_ = run_example(module, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  annealing:" in printed
