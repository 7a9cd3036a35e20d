"""``cavity cell-types fit``: its files against the truth and each other, Ctrl-C, bad input."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from suite_helpers import assert_z

from models import cli
from models.cell_types import read_points

SHAPE = (9, 8)
"""Columns and rows."""
WINDOW = "0,9,0,8"

pytestmark = pytest.mark.usefixtures("_folder")


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def simulate(path="points.csv", seed=0, n_genes=80, n_types=3, cells=150, marks=False):
    """Write cells drawn from the model with its usual priors; return memberships and maps."""
    rng = np.random.default_rng(seed)
    columns, rows = SHAPE
    membership = rng.dirichlet(np.full(n_types, 0.1), n_genes)
    maps = rng.dirichlet(np.ones(columns * rows), n_types)
    gene = rng.permutation(np.repeat(np.arange(n_genes), cells))
    kind = np.array([rng.choice(n_types, p=membership[g]) for g in gene])
    place = np.array([rng.choice(columns * rows, p=maps[k]) for k in kind])
    x, y = place % columns + rng.random(len(gene)), place // columns + rng.random(len(gene))
    table = {"gene": [f"g{g}" for g in gene], "x": x, "y": y}
    if marks:
        table["size"] = np.exp(4 + kind + 0.3 * rng.standard_normal(len(gene)))
        table["orientation"] = np.degrees(kind + rng.vonmises(0, 4, len(gene)) / 2) % 180
    with Path(path).open("w", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values()))
    return membership, maps


def fit(capsys, *options):
    """Return exit code, the lines on standard error, and the summary if there is one."""
    code = cli.main(["cell-types", "fit", *map(str, options)])
    out, err = capsys.readouterr()
    assert out == ""
    summary = Path("out/summary.json")
    return code, err.splitlines(), json.loads(summary.read_text()) if summary.exists() else None


def column(name, key, dtype=float):
    with Path("out", name).open(encoding="utf-8", newline="") as file:
        return np.array([row[key] for row in csv.DictReader(file)], dtype)


def by_type(n_types, key):
    """Return genes in their order g0, g1, ... and a column of the profiles, genes by types."""
    genes = column("profiles.csv", "gene", str).reshape(n_types, -1)[0]
    order = np.argsort([int(gene[1:]) for gene in genes])
    return column("profiles.csv", key).reshape(n_types, -1)[:, order].T


def test_the_files_hold_the_types_and_agree_with_each_other(capsys):
    membership, maps = simulate(n_genes=200)
    code, err, summary = fit(
        capsys, "points.csv", "--types", 3, "--bins", "9,8", "--window", WINDOW, "--out", "out"
    )
    assert code == 0
    assert err[0] == "points.csv: 30,000 cells of 200 genes"
    found = np.load("out/maps.npy")
    assert found.shape == (3, 8, 9)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1.0)
    found = found.reshape(3, -1)
    unit, true = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (found, maps))
    order = linear_sum_assignment(-unit @ true.T)[1]
    assert np.einsum("kv,kv->k", unit, true[order]).min() > 0.98
    share = by_type(3, "fraction")
    np.testing.assert_allclose(share.sum(axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(by_type(3, "beta").sum(axis=1), 150, rtol=1e-6)
    # the 90 % intervals cover; a gene's two free shares count once
    low, high = by_type(3, "low"), by_type(3, "high")
    inside = ((low <= membership[:, order]) & (membership[:, order] <= high)).mean(axis=1)
    assert_z(inside.mean(), 0.9, np.sqrt(0.9 * 0.1 / len(inside)))
    assert summary["intervals"]["draws"] == 300
    # cells in their order, and their types by Bayes
    before, after = read_points("points.csv"), read_points("out/cells.csv")
    np.testing.assert_array_equal(after.position, before.position)
    assert [after.genes[g] for g in after.gene] == [before.genes[g] for g in before.gene]
    row = np.array([int(gene[1:]) for gene in before.genes])[before.gene]
    x, y = before.position.T.astype(int)
    weight = share[row] * found[:, 9 * y + x].T
    weight /= weight.sum(axis=1, keepdims=True)
    given = np.column_stack([after.marks[f"p_type_{k}"] for k in (1, 2, 3)])
    np.testing.assert_allclose(given, weight, atol=6e-5)
    density = before.local_density(summary["local_density_radius"])
    np.testing.assert_allclose(
        column("features.csv", "local_density"), density @ weight / weight.sum(axis=0), rtol=1e-3
    )
    np.testing.assert_allclose(column("features.csv", "share"), share.mean(axis=0), rtol=1e-6)
    # starts, once in each place
    starts = [start["start"] for start in summary["starts"]]
    assert sorted(starts) == ["random 1", "random 2", "random 3", "random 4", "spectral"]
    assert list(dict.fromkeys(column("bound.csv", "start", str))) == starts
    assert column("stability.csv", "solution", str).tolist() == starts
    last = np.flatnonzero(column("bound.csv", "start", str) == starts[0])[-1]
    assert column("bound.csv", "bound")[last] == pytest.approx(summary["bound"], rel=1e-6)
    assert not Path("out/held_out.csv").exists()
    written = {path.name for path in Path("out").iterdir()}
    assert set(summary["files"]) == written - {"summary.json"}
    assert {"reading", "fit", "intervals", "files", "pictures"} <= set(summary["seconds"])


def test_the_number_of_types_is_chosen_and_shown(capsys):
    simulate()
    options = ("points.csv", "--bins", 8, "--draws", 0, "--restarts", 1, "--out", "out")
    code, err, summary = fit(capsys, *options)
    assert code == 0
    assert summary["n_types"] == 3
    assert err[1].startswith("3 types by 2,")
    numbers, behind = column("held_out.csv", "types"), column("held_out.csv", "below_best")
    assert numbers.tolist() == summary["held_out"]["tried"]
    assert behind[0] > 10 * column("held_out.csv", "standard_error")[1] > 0
    assert behind[numbers == 3] <= column("held_out.csv", "standard_error")[numbers == 3]
    assert summary["intervals"] == "none: too few draws"
    with pytest.raises(KeyError):
        column("profiles.csv", "low")
    for name in ("maps", "profiles", "bound", "held_out"):
        assert Path("out", f"{name}.png").stat().st_size > 1000
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert 'src="data' in page
    assert "http" not in page
    # one seed, one answer, whoever says the number
    first = Path("out/profiles.csv").read_bytes()
    _, err, _ = fit(capsys, *options, "--types", 3, "--quiet")
    assert not err
    assert Path("out/profiles.csv").read_bytes() == first


def test_cells_anywhere_are_of_one_type(capsys):
    rng = np.random.default_rng(0)
    rows = [f"g{i % 40},{x},{y}" for i, (x, y) in enumerate(rng.random((2500, 2)))]
    Path("points.csv").write_text("gene,x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    options = ("points.csv", "--restarts", 0, "--draws", 0, "--out", "out")
    code, err, summary = fit(capsys, *options)
    assert code == 0
    assert summary["bins"] == [11, 11]  # 2500 / 20 cells a bin
    assert summary["n_types"] == 1
    _, err, _ = fit(capsys, *options, "--types", 1, "--bins", 12)
    assert err[1].startswith("few cells a bin")


def test_marks_tell_types_apart(capsys):
    membership, _ = simulate(n_genes=40, marks=True)
    code, _, summary = fit(
        capsys, "points.csv", "--types", 3, "--marks", "size,orientation", "--degrees", "--bins",
        4, "--restarts", 2, "--out", "out",
    )  # fmt: skip
    assert code == 0
    assert summary["intervals"].startswith("none: there is no sampler")
    # kind k has sizes about exp(4 + k) and orientations about k
    kind = np.rint(np.log(column("features.csv", "size")) - 4).astype(int)
    assert sorted(kind) == [0, 1, 2]
    angle = np.radians(column("features.csv", "orientation"))
    np.testing.assert_allclose(np.sin(angle - kind), 0.0, atol=0.1)
    np.testing.assert_allclose(by_type(3, "fraction"), membership[:, kind], atol=0.12)
    before, after = (read_points(p, angle_unit="degrees") for p in ("points.csv", "out/cells.csv"))
    np.testing.assert_allclose(after.marks["orientation"], before.marks["orientation"])
    assert Path("out/marks.png").exists()
    assert not Path("out/stability.csv").exists()


def test_strange_names_and_a_missing_matplotlib(capsys, monkeypatch):
    strange = ['<b>&"x"', "$a_b$", "a,b"]
    rows = [f"{g},{x},{y}" for x in range(8) for y in range(8) for g in ('"<b>&""x"""', "$a_b$")]
    text = "gene,x,y\n" + "\n".join([*rows, '"a,b",1,2', '"a,b",5,2']) + "\n"
    Path("points.csv").write_text(text, encoding="utf-8")
    options = ("points.csv", "--types", 1, "--bins", 4, "--draws", 0, "--out", "out")
    code, *_ = fit(capsys, *options)
    assert code == 0
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;&amp;&quot;x&quot;" in page
    assert "<b>" not in page
    assert sorted(read_points("out/cells.csv").genes) == sorted(strange)

    seen = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "matplotlib" else seen(name, *a),
    )
    code, err, _ = fit(capsys, *options)
    assert code == 0
    assert any(line.startswith("no pictures: they need matplotlib") for line in err)
    assert "<img" not in Path("out/report.html").read_text(encoding="utf-8")


def test_more_types_than_patterns_is_told(capsys):
    rows = [f"g{g},{x},{x % 2}" for g in range(4) for x in range(4) for _ in range(9)]
    Path("points.csv").write_text("gene,x,y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    code, err, summary = fit(
        capsys, "points.csv", "--types", 2, "--bins", 4, "--draws", 0, "--quiet", "--out", "out"
    )
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith("cavity: cell-types fit: DEGENERATE")
    assert summary["status"] == "DEGENERATE"


def start(*options):
    """Start the command in a process of its own."""
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen(
        [sys.executable, "-m", "models", "cell-types", "fit", *options],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip


def lines_until(process, text):
    lines = []
    for line in process.stderr:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} in {lines}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_one_interrupt_leaves_the_best_fit_so_far_with_all_files():
    simulate(n_genes=300, n_types=6)
    with start("points.csv", "--out", "out") as process:
        lines_until(process, "45,000 cells")
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 1
    assert "interrupted, finishing with the best so far" in err
    assert err.endswith("cavity: interrupted, the best so far is in out\n")
    assert "Traceback" not in err
    summary = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert summary["interrupted"]
    n_types = summary["n_types"]
    assert n_types < 6
    np.testing.assert_allclose(by_type(n_types, "beta").sum(axis=1), 150, rtol=1e-6)
    assert len(column("cells.csv", "p_type_1")) == 45_000
    assert "Interrupted" in Path("out/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_a_second_interrupt_ends_at_once():
    simulate(n_genes=300, n_types=6)
    with start("points.csv", "--out", "out") as process:
        lines_until(process, "45,000 cells")
        process.send_signal(signal.SIGINT)
        lines_until(process, "Ctrl-C again ends at once")
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert err.endswith("cavity: interrupted at once, not everything is written\n")
    assert not Path("out/summary.json").exists()


def test_cells_outside_the_window_are_dropped_if_asked(capsys):
    simulate(n_genes=20)
    inside = read_points("points.csv")
    with Path("points.csv").open("a", encoding="utf-8") as file:
        file.write("g0,1e4,1\ng1,-1e4,1\n")
    code, err, summary = fit(
        capsys, "points.csv", "--types", 3, "--window", WINDOW, "--clip", "--draws", 0,
        "--restarts", 0, "--out", "out",
    )  # fmt: skip
    assert code == 0
    assert err[0] == "points.csv: 2 cells outside the window were dropped"
    assert summary["n_cells"] == len(inside)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("gene,x,y\na,1,2\nb,1,x\n", (), "points.csv:3: column 'y': expected a finite number"),
        ("gene,x\na,1\n", (), "points.csv:1: header: expected a column 'y'"),
        ("gene,x,y\na,1,2\n", (), "points.csv: x_range: expected a window with an area"),
        (None, ("--window", "0,1,0,1"), "points.csv: position: expected all cells in the window"),
        (None, ("--clip",), "--clip: expected --window, beyond which cells are dropped"),
        (None, ("--window", "1,0,0,1"), "argument --window: expected rising X0,X1 and Y0,Y1"),
        (None, ("--types", "0"), "argument --types: expected a number of types or auto, got '0'"),
        (None, ("--types", "9"), "n_types: expected at most 2, got 9"),
        (None, ("--bins", "1,2,3"), "argument --bins: expected one or two numbers of bins"),
        (None, ("--holdout", "1"), "argument --holdout: expected a number between 0 and 1"),
        (None, ("--concentration", "-1"), "argument --concentration: expected a positive number"),
        (None, ("--marks", "size"), "points.csv:1: header: expected columns of --marks, got no"),
        (None, ("--marks", "depth", "--types", "2"), "points.csv: column 'depth': expected posit"),
        (None, ("--restarts", "-1"), "argument --restarts: expected a whole number, got '-1'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(capsys, text, options, message):
    rows = text or "gene,x,y,depth\na,0,0,-1\na,1,1,2\nb,3,2,1\n"
    Path("points.csv").write_text(rows, encoding="utf-8")
    code, err, _ = fit(capsys, "points.csv", *options, "--quiet", "--out", "out")
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith(f"cavity: {message}")


def test_the_folder_is_checked_before_the_table_is_read(capsys):
    Path("file").touch()
    for folder, message in (("file", "File exists"), ("no/folder", "No such file or directory")):
        code, err, _ = fit(capsys, "missing.csv", "--out", folder)
        assert code == 2
        assert err == [f"cavity: {folder}: {message}"]
    code, err, _ = fit(capsys, "missing.csv", "--out", "out")
    assert err == ["cavity: missing.csv: No such file or directory"]


def test_the_same_command_goes_on_after_it_was_killed(capsys, monkeypatch):
    simulate(n_genes=20, cells=40)
    options = ("points.csv", "--bins", 4, "--restarts", 1, "--draws", 40, "--quiet")
    assert fit(capsys, *options, "--out", "whole")[0] == 0
    from models.cell_types import fitting
    from models.commands import _cell_types_report

    def kill(*_):
        raise SystemError("killed")

    with monkeypatch.context() as killing:
        killing.setattr(_cell_types_report, "draw_pictures", kill)
        with pytest.raises(SystemError):
            fit(capsys, *options, "--out", "out")
    unfinished = Path("out/.unfinished")
    assert {path.name for path in unfinished.iterdir()} == {"choice.npz", "fit.npz", "draws.npz"}
    code, err, _ = fit(capsys, *options, "--out", "out", "--seed", 1)  # another run
    assert code == 2
    (line,) = err
    assert line.startswith(f"cavity: {unfinished / 'choice.npz'}: ")
    with monkeypatch.context() as watching:  # what is done is not done again
        watching.setattr(fitting, "ascend", kill)
        code, err, summary = fit(capsys, *options, "--out", "out")
    assert (code, err) == (0, [])
    assert summary["status"] == "CONVERGED"
    assert not unfinished.exists()
    for name in ("profiles.csv", "cells.csv", "maps.npy", "bound.csv", "held_out.csv"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
