"""The example of posteriors of cell types runs, draws, and can fail."""

import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("cell_type_posterior")


@pytest.mark.slow
@pytest.mark.statistical
def test_agrees_and_wrong_answers_are_found_out(tmp_path, capsys, monkeypatch):
    run_nuts, run_small, remembered = EXAMPLE.run_nuts, EXAMPLE.run_small, {}

    def nuts_once(model, *rest, **options):
        if model not in remembered:
            remembered[model] = run_nuts(model, *rest, **options)
        return remembered[model]

    def small_once(seed):
        if seed not in remembered:
            remembered[seed] = run_small(seed)
        return remembered[seed]

    monkeypatch.setattr(EXAMPLE, "run_nuts", nuts_once)
    monkeypatch.setattr(EXAMPLE, "run_small", small_once)
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0, printed
    assert printed.endswith("agrees\n")
    assert "NUTS: E theta1.theta2" in printed
    assert 20_000 < figure.stat().st_size < 400_000
    assert len(numbers["rows"]) == 42
    assert numbers["bound"] < numbers["log_evidence"]
    assert np.shape(numbers["coverage"]["Gibbs"]) == (4,)
    assert numbers["sd_ratio"]["memberships"] < 0.5 < 0.8 < numbers["sd_ratio"]["maps"]

    def other_prior(table, n_types, **prior):
        return exact(table, n_types, **prior | {"concentration": 0.7})

    exact = EXAMPLE.exact_posterior
    monkeypatch.setattr(EXAMPLE, "exact_posterior", other_prior)
    places = {"Gibbs": np.linspace(0.2, 0.8, 50), "mean field": np.linspace(0.0, 1.0, 50)}
    for seed in range(4):
        draws, found, _, *rest = remembered[seed]
        remembered[seed] = (draws, found, places, *rest)
    status, printed, *_ = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 1
    assert "DISAGREES  Gibbs: E theta0.theta0: |z|" in printed
    assert "DISAGREES  NUTS: E theta0.theta0: |z|" in printed
    assert "DISAGREES  Gibbs: intervals hold the truth in 1.000" in printed
    assert "DISAGREES  mean field: intervals are not too narrow" in printed


def test_coverage_counts_the_truths_inside():
    places = np.array([0.02, 0.06, 0.5, 0.94, 0.98])
    assert EXAMPLE.coverage(places, 0.9) == pytest.approx(0.6)
    assert 10_000 < EXAMPLE.small_problem(0).counts.n_cells < 15_000
