"""The example runs as a user runs it, and its comparison notices a wrong number."""

import dataclasses

import pytest
from suite_helpers import load_example


@pytest.mark.slow
@pytest.mark.statistical
def test_agrees_leaves_its_picture_and_notices_a_shift(tmp_path, capsys, monkeypatch):
    example = load_example("deep_linear_conv")
    compared, comparison = [], example.comparison
    monkeypatch.setattr(
        example, "comparison", lambda *args: compared.append(args) or comparison(*args)
    )
    figure = tmp_path / "new" / "sites.png"
    assert example.main(["--quick", "--figure", str(figure)]) == 0
    assert "agrees" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")
    [(result, predicted, weights)] = compared
    shifted = dataclasses.replace(result, mixing_mean=1.2 * result.mixing_mean)
    assert comparison(shifted, predicted, weights).failures(max_r_hat=None, min_ess=None)
