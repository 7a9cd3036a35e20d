"""Every example runs as a user runs it, and fails when its analytic answer is wrong."""

import dataclasses

import pytest
from suite_helpers import load_example

from inference.storage import load


@pytest.fixture(scope="module")
def deep_linear():
    """The example with its sampler runs remembered: two verdicts for the price of one."""
    module = load_example("deep_linear_posterior")
    run, remembered = module.run_nuts, {}

    def run_once(model, key, *rest):
        if model not in remembered:
            remembered[model] = run(model, key, *rest)
        return remembered[model]

    module.run_nuts = run_once
    return module


@pytest.mark.slow
@pytest.mark.statistical
class TestDeepLinearPosterior:
    def test_agrees_and_leaves_its_table_picture_and_draws(self, deep_linear, tmp_path, capsys):
        figure, draws = tmp_path / "new" / "bands.png", tmp_path / "draws.nc"
        arguments = ["--quick", "--seed", "0", "--figure", str(figure), "--out", str(draws)]
        assert deep_linear.main(arguments) == 0
        printed = capsys.readouterr().out
        assert "quantity" in printed
        assert "R-hat" in printed
        assert "weights: E Q[2,1]" in printed
        assert figure.read_bytes().startswith(b"\x89PNG")
        saved = load(draws)
        assert saved["posterior"]["mixing"].shape == (4, 300, 3, 3)

    def test_a_shifted_analytic_mean_is_found_out(self, deep_linear, tmp_path, capsys, monkeypatch):
        truth = deep_linear.posterior

        def shifted(*args, **kwargs):
            result = truth(*args, **kwargs)
            return dataclasses.replace(result, mixing_mean=result.mixing_mean + 0.5)

        monkeypatch.setattr(deep_linear, "posterior", shifted)
        figure, draws = tmp_path / "bands.png", tmp_path / "draws.nc"
        assert deep_linear.main(["--quick", "--figure", str(figure), "--out", str(draws)]) == 1
        assert "DISAGREES" in capsys.readouterr().out
