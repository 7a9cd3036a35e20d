"""The benchmarks are not run here: only that a bad ratio is found out, and that peers agree."""

import importlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

FOLDER = Path(__file__).parent / "benchmarks"


@pytest.fixture(scope="module")
def load():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module


@pytest.fixture(scope="module")
def run(load):
    return load("run")


@pytest.fixture(scope="module")
def bench(load):
    return load("bench_deep_linear")


def made(ratio, required=None, *, width=10, **more):
    """A row as the scripts write it."""
    row = {"name": "speed", "params": {"width": width}, "ratio": ratio, "required": required}
    return {
        **row, "difference": None, "tolerance": None, "run_s_median": 1.0,
        "reference_s_median": 2.0,
        "reference": "a peer", "date": "2026-01-02", "cpu": "abacus", "versions": {"jax": "1.2"},
    } | more  # fmt: skip


@pytest.mark.parametrize(
    ("ratio", "required", "sentence"),
    [
        (9.0, 10, "speed width=10: ratio 9, required at least 10"),
        (0.7, [0.8, 1.2], "speed width=10: ratio 0.7, required at least 0.8"),
        (1.3, [0.8, 1.2], "speed width=10: ratio 1.3, required at most 1.2"),
        (np.nan, 10, "speed width=10: ratio nan, required at least 10"),
    ],
)
def test_a_missed_ratio_is_found(run, ratio, required, sentence):
    assert run.failures([made(ratio, required)]) == [sentence]


def test_a_ratio_that_fell_by_more_than_a_quarter_is_found(run):
    base = [made(100.0), made(100.0, width=20)]
    rows = [made(74.0), made(76.0, width=20), made(1.0, width=30)]  # the last has no base
    assert run.failures(rows, base) == ["speed width=10: ratio fell from 100 to 74"]


@pytest.mark.parametrize("difference", [1e-3, np.nan])
def test_answers_that_disagree_are_found(run, difference):
    (sentence,) = run.failures([made(2.0, difference=difference, tolerance=1e-9)])
    assert "both sides differ" in sentence


def test_good_ratios_pass(run):
    rows = [made(10.0, 10), made(1.0, [0.8, 1.2], difference=1e-12, tolerance=1e-9)]
    assert run.failures(rows, rows) == []


@pytest.mark.parametrize(
    ("ratio", "status", "verdict"), [(9.0, 0, "as required"), (7.0, 1, "ratio fell from 10 to 7")]
)
def test_the_exit_status_tells(run, load, tmp_path, monkeypatch, capsys, ratio, status, verdict):
    base = tmp_path / "base.json"
    load("harness").save(base, [made(10.0, 5)])
    rows = {"bench_deep_linear": [made(ratio, 5)]}  # the other scripts have none
    monkeypatch.setattr(run, "measure", lambda script, out, quick: rows.get(script.stem, []))
    assert run.main(["--quick", "--compare", str(base)]) == status
    printed = capsys.readouterr().out
    assert verdict in printed
    assert "compared with 1 of 1 rows" in printed


def test_kept_rows_are_judged_without_measuring(run, load, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(load("harness"), "RESULTS", tmp_path)
    monkeypatch.setattr(run.harness, "RESULTS", tmp_path)
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("measured"))
    for script in run.HERE.glob("bench_*.py"):
        load("harness").save(tmp_path / f"{script.stem.removeprefix('bench_')}.json", [])
    load("harness").save(tmp_path / "ksat.json", [made(10.0, 5)])
    assert run.main(["--kept"]) == 0
    printed = capsys.readouterr().out
    assert "| speed width=10 | a peer | 1 | 2 | 10 | 5 |" in printed
    assert "1 ratios, measured 2026-01-02 on abacus, jax 1.2" in printed
    (tmp_path / "ksat.json").unlink()
    assert run.main(["--kept"]) == 1
    assert "bench_ksat.py: not kept" in capsys.readouterr().out


def test_the_front_page_shows_the_kept_rows(run, capsys):
    assert run.main(["--kept", "--front"]) == 0
    printed, provenance, _ = capsys.readouterr().out.strip().rsplit("\n", 2)
    readme = (FOLDER.parent.parent / "README.md").read_text(encoding="utf-8")
    assert printed.strip() in readme
    assert provenance.split(" on ")[0] in " ".join(readme.split())


def test_a_script_that_fails_fails_the_run(run, monkeypatch, capsys):
    monkeypatch.setattr(run, "measure", lambda script, out, quick: None)
    assert run.main(["--quick"]) == 1
    assert "bench_deep_linear.py: failed" in capsys.readouterr().out


def test_a_rerun_of_one_benchmark_keeps_the_rows_of_the_others(load, tmp_path, capsys):
    harness, out = load("harness"), tmp_path / "rows.json"
    benchmarks = {
        "first": lambda quick: [made(1.0)],
        "second": lambda quick: [made(2.0, width=20)],
    }
    harness.save(out, [made(8.0, width=20), made(9.0)])
    assert harness.main("topic", benchmarks, "Title.", ["first", "--out", str(out)]) == 0
    assert [row["ratio"] for row in harness.load(out)] == [8.0, 1.0]


def test_the_evidence_and_its_dense_peer_agree(bench):
    problem = bench.setup_evidence(n_samples=12, n_inputs=5, n_outputs=3)
    own, own_args = bench.own_gradient, (problem.data,)
    dense, dense_args = bench.dense_gradient, (problem.kernel, problem.targets)
    assert bench.worst_difference(own, own_args, dense, dense_args, problem.mixing) < 1e-11

    def wrong(mixing, data):  # as autodiff of eigh is at the identity
        value, gradient = own(mixing, data)
        return value, jnp.where(jnp.all(mixing == jnp.eye(3)), jnp.nan, gradient)

    assert np.isnan(bench.worst_difference(wrong, own_args, dense, dense_args, problem.mixing))
