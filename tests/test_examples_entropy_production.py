"""The example of inferred entropy production runs, draws, and can fail."""

import jax
import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("entropy_production_inference")


@pytest.mark.slow
@pytest.mark.statistical
def test_agrees_and_leaves_its_numbers(tmp_path, capsys):
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0, printed
    assert printed.endswith("agrees\n")
    assert 20_000 < figure.stat().st_size < 300_000
    assert numbers["repetitions"] == 6
    for system in ("langevin", "spins"):
        assert np.shape(numbers["rows"][system]) == (6, 5)


def test_wrong_intervals_are_found_out_and_finished_ones_are_kept(tmp_path, capsys, monkeypatch):
    calls = []

    class Certain:
        """Posteriors of no width beside the truth."""

        def __init__(self, system, n_draws):
            self.n_draws, self.truth = n_draws, EXAMPLE.truths()[system]

        def __call__(self, key):
            calls.append(key)
            noise = 1e-3 * np.random.default_rng(0).normal(size=self.n_draws)
            return self.truth + 0.003 + noise, 0

    monkeypatch.setattr(EXAMPLE, "Sampler", Certain)
    arguments = ["--quick", "--repetitions", "12", "--checkpoint", str(tmp_path / "run.npz")]
    arguments += ["--figure", str(tmp_path / "figure.png")]
    assert EXAMPLE.main(arguments) == 1
    printed = capsys.readouterr().out
    assert "DISAGREES  langevin: expected from 7 to 12 intervals that hold the truth, got 0" in (
        printed
    )
    assert len(calls) == 2 * 13
    assert EXAMPLE.main(arguments) == 1
    assert len(calls) == 2 * 13  # nothing is run again


def test_data_are_those_of_the_truth_and_bounds_are_those_of_the_claim():
    assert EXAMPLE.truths() == pytest.approx({"langevin": 0.98, "spins": 1.0372144815015514})
    moments = EXAMPLE.langevin_data(jax.random.key(0))
    assert float(moments.n_steps.sum()) == 1000
    assert (EXAMPLE.spin_data(jax.random.key(0)).sum(axis=1) == 5000).all()
    assert EXAMPLE.bounds(100) == (80.0, 98.0)
