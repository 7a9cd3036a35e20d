"""The example of the widths runs as a user runs it, and fails when a number is wrong."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "deep_linear_widths.py"


@pytest.fixture(scope="module")
def example():
    """The example with its sampler run and its curves remembered: verdicts for the price of one."""
    spec = importlib.util.spec_from_file_location("deep_linear_widths", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("run_nuts", "finite_width_curve"):
        setattr(module, name, remembering(getattr(module, name)))
    return module


def remembering(function):
    """Answer from memory, call by call in order: every run of the example asks the same."""
    answers, calls = [], iter(())

    def call(*args, **kwargs):
        found = next(calls, None)
        if found is None:
            found = function(*args, **kwargs)
            answers.append(found)
        return found

    def rewind():
        nonlocal calls
        calls = iter(tuple(answers))

    call.rewind = rewind
    return call


@pytest.fixture
def run(example, tmp_path):
    """Run the example in a folder of its own; return its exit status and the picture."""
    for name in ("run_nuts", "finite_width_curve"):
        getattr(example, name).rewind()

    def main():
        figure = tmp_path / "new" / "widths.png"
        return example.main(["--quick", "--seed", "0", "--figure", str(figure)]), figure

    return main


@pytest.mark.slow
@pytest.mark.statistical
class TestDeepLinearWidths:
    def test_agrees_and_leaves_its_tables_and_picture(self, run, capsys):
        status, figure = run()
        assert status == 0
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert figure.stat().st_size < 150_000
        printed = capsys.readouterr().out
        assert "1.79104785" in printed
        assert "barrier 0.0370 N" in printed
        assert "NUTS, N = 40: E Q[1,0]" in printed
        assert "DISAGREES" not in printed

    def test_a_shifted_limit_is_found_out(self, example, run, capsys, monkeypatch):
        truth = example.finite_width_curve

        def shifted(*args, **kwargs):
            curve = truth(*args, **kwargs)
            return dataclasses.replace(curve, limit=curve.limit + 1e-3)

        monkeypatch.setattr(example, "finite_width_curve", shifted)
        status, _ = run()
        assert status == 1
        assert "DISAGREES  feature, L = 1: E q" in capsys.readouterr().out

    def test_a_shifted_posterior_is_found_out(self, example, run, capsys, monkeypatch):
        truth = example.run_nuts
        monkeypatch.setattr(example, "run_nuts", lambda *args: truth(*args) + 0.1)
        status, _ = run()
        assert status == 1
        assert "DISAGREES  NUTS, N = 40: E Q[0,0]: |z|" in capsys.readouterr().out
