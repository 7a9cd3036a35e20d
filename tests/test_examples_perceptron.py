"""The examples of dense regions run as a user runs them, and fail when a number is wrong."""

import numpy as np
import pytest
from suite_helpers import load_example, remember, run_example


@pytest.mark.slow
@pytest.mark.statistical
def test_dense_regions_agree_and_a_wrong_theory_is_found_out(tmp_path, capsys, monkeypatch):
    module = load_example("dense_regions")
    remember(monkeypatch, module, "search")
    remember(
        monkeypatch, module.theory, "franz_parisi", "large_deviation", "vanishing_external_entropy"
    )
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert "DISAGREES" not in printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.stat().st_size < 300_000
    assert [row["load"] for row in numbers] == [0.4, 0.6]
    assert all(row["unsolved"]["entropy-driven search"] == 0 for row in numbers)

    exact = module.theory.franz_parisi

    def denser(load, distance):
        found = exact(load, distance)
        return found._replace(entropy=found.entropy + 0.06)

    monkeypatch.setattr(module.theory, "franz_parisi", denser)
    status, printed, *_ = run_example(module, tmp_path, capsys)
    assert status == 1
    assert "(typical solution)" in printed


@pytest.mark.slow
@pytest.mark.statistical
def test_entropy_driven_search_agrees_and_a_failing_search_is_found_out(
    tmp_path, capsys, monkeypatch
):
    module = load_example("entropy_driven_search")
    status, printed, figure, numbers = run_example(module, tmp_path, capsys)
    assert status == 0, printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    table = np.array(numbers["perceptron, load 0.3"]["batches"])
    assert table.shape == (3, 4, 3)
    assert np.isfinite(table).all()

    tasks = {"4-SAT, density 8": module.TASKS["4-SAT, density 8"]}
    monkeypatch.setattr(module, "TASKS", tasks)
    exact = module.ksat.entropy_driven_monte_carlo

    def cut_short(formula, **options):
        return exact(formula, max_steps=2, **options)

    monkeypatch.setattr(module.ksat, "entropy_driven_monte_carlo", cut_short)
    status, printed, *_ = run_example(module, tmp_path, capsys)
    assert status == 1
    assert "batches leave an instance unsolved" in printed


def test_growth_recovers_its_own_law():
    module = load_example("entropy_driven_search")
    sizes = np.array([100, 200, 400, 800])
    noise = np.random.default_rng(0).lognormal(0.0, 0.05, (4, 10))
    power = module.growth(sizes, 2.0 * sizes[:, None] ** 1.3 * noise, exponential=False)
    assert power[1] < 1.3 < power[2]
    assert power[2] - power[1] < 0.2
    rate = module.growth(sizes, np.exp(0.01 * sizes[:, None]) * noise, exponential=True)
    assert rate[1] < 0.01 < rate[2]
    assert module.growth(sizes, np.full((4, 10), np.nan), exponential=False) is None
