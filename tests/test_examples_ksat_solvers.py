"""The example of the solvers runs as a user runs it, and fails when a number is wrong."""

import json

import numpy as np
import pytest
from suite_helpers import load_example, remember

from models.ksat import Formula, random_formula


@pytest.fixture(scope="module")
def example():
    """The example with its long work remembered: verdicts for the price of one."""
    module = load_example("ksat_solvers")
    with pytest.MonkeyPatch.context() as monkeypatch:
        remember(monkeypatch, module, "solved_counts", "complexities", "entropies")
        yield module


@pytest.fixture
def run(example, tmp_path, capsys):
    """Run the example in a folder of its own; return exit status, what it printed, its files."""

    def main(*options):
        figure, out = tmp_path / "new" / "solvers.png", tmp_path / "other" / "solvers.json"
        arguments = ["--quick", "--seed", "0", "--figure", str(figure), "--out", str(out), *options]
        status = example.main(arguments)
        return status, capsys.readouterr().out, figure, json.loads(out.read_text())

    return main


@pytest.mark.slow
@pytest.mark.statistical
class TestKsatSolvers:
    def test_agrees_and_leaves_its_tables_numbers_and_picture(self, run):
        status, printed, figure, report = run()
        assert status == 0
        assert "DISAGREES" not in printed
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert figure.stat().st_size < 300_000
        assert "19 |        64 | 0.23105 | 0.21521 |   -0.01584 | CONVERGED" in printed
        assert len(report["loops"]) == 20
        assert {row["method"] for row in report["solved"]} == {
            "local search", "reinforced BP", "surveys + local search", "solve"
        }  # fmt: skip
        easy = [row for row in report["solved"] if row["alpha"] in (4.0, 9.0)]
        assert all(row["solved"] == row["of"] for row in easy if row["method"] == "solve")
        zeros = {row["k"]: (row["zero"], row["error"]) for row in report["complexity"]}
        assert zeros[3][0] == pytest.approx(4.267, abs=0.04)
        assert zeros[4][0] == pytest.approx(9.931, abs=0.05)
        assert 0 < zeros[3][1] < 0.02

    def test_a_shifted_threshold_is_found_out(self, example, run, monkeypatch):
        shifted = {
            k: known._replace(satisfiability=known.satisfiability + 0.1)
            for k, known in example.THRESHOLDS.items()
        }
        monkeypatch.setattr(example, "THRESHOLDS", shifted)
        status, printed, *_ = run()
        assert status == 1
        assert "DISAGREES  3-SAT: the complexity vanishes at 4.2" in printed
        assert "DISAGREES  4-SAT: the complexity vanishes at 9.9" in printed

    def test_a_shifted_entropy_is_found_out(self, example, run, monkeypatch):
        truth = example.belief_propagation

        def shifted(*args, **kwargs):
            found = truth(*args, **kwargs)
            return found._replace(log_partition=found.log_partition + 1e-9)

        monkeypatch.setattr(example, "belief_propagation", shifted)
        status, printed, *_ = run()
        assert status == 1
        assert "DISAGREES  trees: expected differences below 1e-10, got 1.0e-09" in printed

    def test_an_easy_formula_missed_by_one_is_found_out(self, example, run, monkeypatch):
        truth = example.solved_counts

        def missed(k, *args):
            results = dict(truth(k, *args))
            solved, work = results[example.EASY[k], "solve"]
            results[example.EASY[k], "solve"] = solved - (k == 4), work
            return results

        monkeypatch.setattr(example, "solved_counts", missed)
        status, printed, *_ = run()
        assert status == 1
        assert "DISAGREES  4-SAT at 9: solve found 4 of 5" in printed
        assert "DISAGREES  3-SAT" not in printed


def test_surveys_must_be_told_apart_from_local_search(example):
    work = np.zeros((8, 3))
    results = {(4.2, method): (8, work) for method in example.METHODS}
    (sentence,) = example.solver_failures(3, results, quick=False)
    assert "got 8 and 8 of 8" in sentence
    assert example.solver_failures(3, results, quick=True) == []
    results[4.2, "local search"] = 0, work
    assert example.solver_failures(3, results, quick=False) == []
    results[4.2, "local search"] = 4, work  # a difference that eight formulas do not show
    assert len(example.solver_failures(3, results, quick=False)) == 1


def test_the_zero_of_a_line_and_its_error(example):
    alphas = (4.0, 4.2, 4.3)
    rng = np.random.default_rng(0)
    zeros = 4.25 + 0.01 * rng.normal(size=50)
    values = 0.08 * (zeros[:, None] - np.array(alphas))
    zero, error, allowed = example.threshold(alphas, values, 1000)
    assert zero == pytest.approx(zeros.mean(), abs=1e-12)
    assert error == pytest.approx(zeros.std(ddof=1) / np.sqrt(50), rel=1e-6)
    assert allowed == pytest.approx(4 * error + 1.0 / (1000 * 0.08) + 5e-4)
    beyond, slope = example.zero_of(alphas, values.mean(axis=0) + 0.08 * 0.1)
    assert (beyond, slope) == (pytest.approx(zeros.mean() + 0.1), pytest.approx(-0.08))


def test_formulas_are_cut_and_fixed(example):
    formula = random_formula(50, 200, 3, seed=0)
    shorter = example.prefix(formula, 2.0)
    assert [shorter.clause(a) for a in range(100)] == [formula.clause(a) for a in range(100)]
    assert shorter.n_clauses == 100
    fixed = example.with_units(Formula.from_clauses([[1, 2, -3]]), np.array([0, -1, 1], np.int8))
    assert [fixed.clause(a) for a in range(3)] == [(1, 2, -3), (-2,), (3,)]
    assert fixed.n_variables == 3
