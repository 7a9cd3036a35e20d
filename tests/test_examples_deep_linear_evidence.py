"""The example runs as a user runs it, and fails when its evidence is wrong or its choice is bad."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "deep_linear_evidence.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("deep_linear_evidence", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.statistical
def test_agrees_and_leaves_its_picture(example, tmp_path, capsys):
    figure = tmp_path / "new" / "evidence.png"
    assert example.main(["--quick", "--figure", str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "standard error of the best" in printed
    assert "laplace" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.statistical
def test_a_shifted_evidence_is_found_out(example, tmp_path, capsys, monkeypatch):
    truth = example.posterior

    def shifted(*args, **kwargs):
        found = truth(*args, **kwargs)
        return dataclasses.replace(found, log_evidence=found.log_evidence + 0.1)

    monkeypatch.setattr(example, "posterior", shifted)
    monkeypatch.setattr(example, "NOISE", {"diabetes": (1.8, 2.2)})
    monkeypatch.setattr(example, "held_out", lambda split, selection: np.zeros((14, 9)))
    monkeypatch.setattr(example, "picture", lambda results: None)
    monkeypatch.setattr(example, "save_figure", lambda figure, path: path)
    assert example.main(["--quick", "--figure", str(tmp_path / "evidence.png")]) == 1
    printed = capsys.readouterr().out
    assert "DISAGREES  diabetes (" in printed
    assert "z = " in printed


def test_a_bad_choice_is_measured(example):
    rng = np.random.default_rng(0)
    network = example.Architecture((3,))

    class Chosen:
        architectures = example.Architecture(()), network
        best = type("Best", (), {"architecture": network})

    densities = rng.normal(size=(2, 100))
    densities[0] += 1.0
    chosen, best, worse, error, paired = example.judge(Chosen, densities)
    assert (chosen, best) == (1, 0)
    difference = densities[0] - densities[1]
    assert worse == pytest.approx(difference.mean())
    assert error == pytest.approx(densities[0].std(ddof=1) / 10)
    assert paired == pytest.approx(difference.std(ddof=1) / 10)
    assert worse > error


def test_the_halves_are_centred_by_the_first(example):
    for name in example.NOISE:
        x, y, x_test, y_test = example.load(name, 0)
        assert abs(len(x) - len(x_test)) <= 1
        assert len(y_test) == len(x_test)
        np.testing.assert_allclose(x.mean(0), 0.0, atol=1e-12)
        np.testing.assert_allclose(y.mean(), 0.0, atol=1e-12)


def test_there_are_fifty_candidates(example):
    assert len(example.candidates(quick=False)) == 50
