"""The examples of replicas run as a user runs them, and fail when a number is wrong."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(module, tmp_path, capsys):
    figure, out = tmp_path / "new" / "figure.png", tmp_path / "other" / "numbers.json"
    status = module.main(["--quick", "--seed", "0", "--figure", str(figure), "--out", str(out)])
    return status, capsys.readouterr().out, figure, json.loads(out.read_text())


@pytest.mark.slow
@pytest.mark.statistical
def test_perceptron_learning_agrees_and_a_wrong_theory_is_found_out(tmp_path, capsys, monkeypatch):
    module = example("perceptron_learning")
    status, printed, figure, numbers = run(module, tmp_path, capsys)
    assert status == 0, printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert {row[0] for row in numbers["race"]} >= {"focusing BP", "entropy-driven", "annealing"}
    exact = module.theory.teacher_student

    def wrong(load):
        found = exact(load)
        return found._replace(overlap=0.8 * found.overlap)

    monkeypatch.setattr(module.theory, "teacher_student", wrong)
    status, printed, *_ = run(module, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  load 1.2: expected" in printed


@pytest.mark.slow
@pytest.mark.statistical
def test_robust_ensemble_agrees_and_replicas_without_attraction_are_found_out(
    tmp_path, capsys, monkeypatch
):
    module = example("robust_ensemble")
    monkeypatch.setattr(module, "LOADS", {"annealing": (0.35, 0.4), "SGD": (0.45, 0.5)})
    status, printed, figure, numbers = run(module, tmp_path, capsys)
    assert status == 0, printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert np.shape(numbers["flatness"])[1:] == (2, 6)

    coupled = module.replicated_annealing

    def apart(problem, **options):
        return coupled(problem, couplings=lambda sweep: 0.0 * sweep, **options)

    monkeypatch.setattr(module, "replicated_annealing", apart)
    monkeypatch.setattr(module, "LOADS", {"annealing": (0.35, 0.4), "SGD": (0.45,)})
    status, printed, *_ = run(module, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  annealing:" in printed
