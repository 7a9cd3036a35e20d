"""The example of validation runs with and without scanpy's cells, and can fail."""

import numpy as np
import pytest
from suite_helpers import load_example, run_example

EXAMPLE = load_example("cell_type_validation")


def no_cells():
    raise ImportError("scanpy")


def made_up_cells():
    """Expression in which each type has genes of its own."""
    rng = np.random.default_rng(0)
    kind = np.repeat(np.arange(6), 30)
    mean = rng.gamma(0.3, size=(6, 300))
    return rng.gamma(2.0, mean[kind] / 2.0), [f"type {k}" for k in kind]


def test_quick_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(EXAMPLE, "blood_cells", no_cells)
    status, printed, figure, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 0
    assert printed.startswith("blood cells: skipped")
    assert printed.endswith("\nvalidated\n")
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert list(numbers) == ["simulated"]
    raw, share = numbers["simulated"]["raw"], numbers["simulated"]["fraction"]
    assert share["n_right"] == 6
    assert share["p"] == 0.001
    assert raw["mean_correlation"] < 0.5 < share["mean_correlation"]
    assert share["null_max"] < share["mean_correlation"]


def test_an_unrelated_reference_fails(tmp_path, capsys, monkeypatch):
    make = EXAMPLE.simulated_study

    def unrelated(rng, *rest):
        study = make(rng, *rest)
        return study._replace(cells=rng.permutation(study.cells.T).T)

    monkeypatch.setattr(EXAMPLE, "simulated_study", unrelated)
    monkeypatch.setattr(EXAMPLE, "blood_cells", made_up_cells)
    status, printed, _, numbers = run_example(EXAMPLE, tmp_path, capsys)
    assert status == 1
    assert "NOT VALIDATED  simulated: p 0." in printed
    assert "NOT VALIDATED  simulated: r 0." in printed
    assert "NOT VALIDATED  blood" not in printed
    assert printed.endswith("\nnot validated\n")
    assert numbers["blood"]["fraction"]["n_right"] == 6


def test_blood_cells_of_scanpy():
    pytest.importorskip("scanpy")
    study = EXAMPLE.halved_study(*EXAMPLE.blood_cells(), np.random.default_rng(0))
    assert study.membership.shape == (765, 6)
    result = EXAMPLE.compare(study, 0)
    assert EXAMPLE.dissent("blood", result) == []
    assert result["found"]["fraction"]["n_right"] == 6


def test_many_small_p_values_of_unrelated_references_fail():
    share = {
        "n_right": 1,
        "test": EXAMPLE.permutation_test(*np.random.default_rng(1).random((2, 2, 30))),
    }
    share["ceiling"] = 0.0
    result = {"names": ["a"], "found": {"fraction": share}, "controls": [0.01] * 8 + [0.5] * 32}
    assert "a: 8 of 40 unrelated references have p below .05" in EXAMPLE.dissent("a", result)
    result["controls"][0] = 0.5
    assert not any("unrelated" in sentence for sentence in EXAMPLE.dissent("a", result))


def test_halves_are_apart_and_even():
    cells, labels = made_up_cells()
    study = EXAMPLE.halved_study(cells, labels, np.random.default_rng(2))
    np.testing.assert_allclose(study.membership.sum(axis=1), 1.0)
    assert np.bincount(study.kind).tolist() == [15] * 6
    rows = {tuple(row) for row in cells.tolist()}
    second = {tuple(row) for row in study.cells.tolist()}
    first = rows - second
    assert len(second) == len(first) == 90
    kinds = dict(zip(map(tuple, cells.tolist()), labels))
    means = [np.mean([row for row in first if kinds[row] == name], axis=0) for name in study.names]
    share = np.array(means) + 1e-9
    np.testing.assert_allclose(study.membership, (share / share.sum(axis=0)).T)
