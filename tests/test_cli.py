"""The ``cavity`` command: fast help, one line a failure, exit codes, and the numbers of the API."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from inference.status import ConvergenceError, Status
from models import cli
from models.commands import (
    _arguments,
    _deep_linear_fit,
    _deep_linear_tables,
    _results,
    _session,
    deep_linear,
)

ROOT = Path(__file__).parent.parent
EVIDENCE = ("deep-linear", "evidence")
FIT = ("deep-linear", "fit")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A small table: two inputs, two targets, in mixed order."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(12, 2))
    y = x @ np.array([[1.0, -0.5], [0.3, 2.0]]) + 0.1 * rng.normal(size=(12, 2))
    path = tmp_path_factory.mktemp("cli") / "train.csv"
    values = np.column_stack([y[:, 1], x[:, 0], y[:, 0], x[:, 1]])
    np.savetxt(path, values, delimiter=",", header="b,u,a,v", comments="", fmt="%.17g")
    return path, x, y


def run(capsys, *arguments):
    """Return exit code, standard output and the lines on standard error."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def evidence(capsys, path, *options):
    """Run the verb; later options replace these."""
    usual = ("--targets", "a,b", "--widths", "5", "--beta", "4")
    return run(capsys, *EVIDENCE, path, *usual, *options)


def fit(capsys, path, *options):
    """Run the verb on cheap terms; later options replace these."""
    usual = ("--targets", "a,b", "--widths", "none", "--beta", "4")
    return run(capsys, *FIT, path, *usual, *options)


def command_line(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_fast_and_names_the_systems():
    times = []
    for _ in range(5):  # the best of several: the machine may be busy
        start = time.perf_counter()
        result = command_line("-m", "models", "--help")
        times.append(time.perf_counter() - start)
    assert result.returncode == 0, result.stderr
    assert "deep-linear" in result.stdout
    assert min(times) < 0.2


@pytest.mark.parametrize("verb", ["evidence", "fit"])
def test_help_loads_no_numerics(verb):
    code = (
        "import sys\nfrom models.cli import main\n"
        f"try: main(['deep-linear', '{verb}', '--help'])\nexcept SystemExit: pass\n"
        "print({'jax', 'numpy', 'inference'} & set(sys.modules))"
    )
    result = command_line("-c", code)
    assert result.stdout.splitlines()[-1] == "set()", result.stderr


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cavity {version('cavity')}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ("SYSTEM", "cavity --help")),
        (("perceptrum",), ("'perceptrum'", "deep-linear")),
        (("deep-linear",), ("VERB", "cavity deep-linear --help")),
        (("deep-linear", "evidnce"), ("'evidnce'", "evidence")),
        (EVIDENCE, ("TRAIN.csv", "--targets", "--widths", "--beta")),
    ],
)
def test_an_incomplete_command_line_is_one_line(capsys, arguments, parts):
    code, out, err = run(capsys, *arguments)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("cavity: ")
    for part in parts:
        assert part in err[0]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--targets", "a,c"), ("'c'", "'u'")),
        (("--targets", "a,a"), ("--targets", "distinct", "'a,a'")),
        (("--targets", "a,b,u,v"), ("train.csv", "no input")),
        (("--widths", "5,x"), ("--widths", "whole numbers", "'5,x'")),
        (("--widths", "2.5"), ("--widths", "whole numbers", "'2.5'")),
        (("--widths", "0"), ("widths", "at least 1", "0")),
        (("--beta", "hot"), ("--beta", "'hot'")),
        (("--beta", "-1"), ("beta", "positive", "-1")),
        (("--beta", "nan"), ("beta", "positive", "nan")),
        (("--beta", "inf"), ("beta",)),  # noise-free targets, but more rows than inputs
        (("--precisions", "1,2,3"), ("precisions", "2", "3")),
        (("--precisions", "one"), ("--precisions", "numbers", "'one'")),
        (("--method", "magic"), ("--method", "'magic'", "quadrature")),
        (("--out", "no/such/folder/x.json"), ("no/such/folder",)),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, table, options, parts):
    code, out, err = evidence(capsys, table[0], *options)
    assert (code, out, len(err)) == (2, "", 1), err
    assert err[0].startswith("cavity: ")
    for part in parts:
        assert part in err[0]


def test_a_missing_file_is_named(capsys, tmp_path):
    code, _, err = evidence(capsys, tmp_path / "none.csv")
    assert code == 2
    assert err == [f"cavity: {tmp_path / 'none.csv'}: No such file or directory"]


def test_a_malformed_table_is_named_with_file_and_line(capsys, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a,b,u\n1,2,3\n4,five,6\n7,8,nine\n")
    code, _, err = evidence(capsys, path)
    assert code == 2
    assert len(err) == 1
    assert err[0].startswith(f"cavity: {path}:3: column 'b': ")
    assert "'five'" in err[0]


def test_a_constant_column_cannot_be_standardized(capsys, tmp_path):
    path = tmp_path / "constant.csv"
    path.write_text("a,b,u\n1,2,0.1\n4,5,0.1\n7,9,0.1\n")
    code, _, err = evidence(capsys, path, "--standardize")
    assert code == 2
    assert len(err) == 1
    assert "'u'" in err[0]


@pytest.mark.parametrize("fault", [ConvergenceError("stuck\nmore"), ValueError("wrong\nmore")])
def test_a_failure_prints_the_first_line_of_its_message(capsys, monkeypatch, table, fault):
    def fail(_):
        raise fault

    monkeypatch.setattr(deep_linear, "_evidence", fail)
    code, _, err = evidence(capsys, table[0])
    assert code == (1 if isinstance(fault, ConvergenceError) else 2)
    assert err == [f"cavity: {str(fault).splitlines()[0]}"]


@pytest.mark.parametrize("fault", [RuntimeError("defect"), ZeroDivisionError(), KeyError("x")])
def test_a_defect_keeps_its_traceback(capsys, monkeypatch, table, fault):
    def fail(_):
        raise fault

    monkeypatch.setattr(deep_linear, "_evidence", fail)
    with pytest.raises(type(fault)):
        evidence(capsys, table[0])


def test_python_dev_mode_shows_the_traceback_of_every_failure():
    result = command_line("-X", "dev", "-m", "models", "deep-linear")
    assert "Traceback" in result.stderr
    assert result.returncode == 1


@pytest.mark.parametrize(
    ("widths", "options"),
    [
        ((5,), ()),
        ((), ()),
        ((4, 3), ("--precisions", "1,0.5,2", "--seed", "3")),
        ((), ("--standardize",)),
    ],
    ids=str,
)
def test_the_json_holds_the_numbers_of_the_api(capsys, table, tmp_path, widths, options):
    import jax

    from models.deep_linear import Architecture, compress, posterior

    path, x, y = table
    if "--standardize" in options:
        x, y = ((v - v.mean(axis=0)) / v.std(axis=0) for v in (x, y))
    architecture = Architecture(
        widths, n_outputs=2, precisions=(1.0, 0.5, 2.0) if "--precisions" in options else 1.0
    )
    key = jax.random.key(3 if "--seed" in options else 0)
    expected = posterior(compress(x, y, architecture), architecture, 4.0, method="auto", key=key)

    written = tmp_path / "result.json"
    text = ",".join(map(str, widths)) or "none"
    code, out, err = evidence(capsys, path, "--widths", text, "--json", "--out", written, *options)
    assert (code, err) == (0, [])
    got = json.loads(out)
    assert json.loads(written.read_text()) == got
    assert got["inputs"] == ["u", "v"]
    assert got["targets"] == ["a", "b"]
    assert got["n_rows"] == 12
    assert got["precisions"] == list(architecture.precisions)
    assert got["method"] == expected.method
    assert got["status"] == expected.status.name == "CONVERGED"
    np.testing.assert_allclose(got["mixing_mean"], expected.mixing_mean, rtol=1e-10)
    for name in ("log_evidence", "log_evidence_error", "ess", "pareto_k"):
        number = getattr(expected, name)
        assert got[name] == (number if number is None else pytest.approx(number, rel=1e-10)), name


def test_the_table_shows_what_the_json_holds(capsys, table):
    code, out, err = evidence(capsys, table[0], "--targets", "a")
    assert (code, err) == (0, [])
    report = json.loads(evidence(capsys, table[0], "--targets", "a", "--json")[1])
    lines = dict(line.split(maxsplit=1) for line in out.splitlines() if line[0] != " ")
    assert lines["rows"] == "12"
    assert lines["inputs"] == "3"
    assert lines["targets"] == "a"
    assert lines["status"] == "CONVERGED"
    assert f"{report['log_evidence']:.6g} ± " in out
    ((number,),) = report["mixing_mean"]
    assert f"{number:.4g}" in out


def test_quiet_prints_nothing_but_writes_the_file(capsys, table, tmp_path):
    written = tmp_path / "result.json"
    options = ("--widths", "none", "--quiet", "--out", written)
    assert evidence(capsys, table[0], *options) == (0, "", [])
    assert json.loads(written.read_text())["status"] == "CONVERGED"


def test_an_answer_that_cannot_be_trusted_is_printed_and_exits_with_1(capsys, monkeypatch, table):
    import models.deep_linear

    trusted = models.deep_linear.posterior

    def unreliable(*args, **kwargs):
        return dataclasses.replace(
            trusted(*args, **kwargs), status=Status.UNRELIABLE_WEIGHTS, log_evidence=float("nan")
        )

    monkeypatch.setattr(models.deep_linear, "posterior", unreliable)
    code, out, err = evidence(capsys, table[0], "--widths", "none", "--json")
    assert code == 1
    assert len(err) == 1
    assert err[0].startswith("cavity: deep-linear evidence: UNRELIABLE_WEIGHTS")
    report = json.loads(out)
    assert report["status"] == "UNRELIABLE_WEIGHTS"
    assert report["log_evidence"] == "nan"  # strict JSON has no NaN


# --- fit -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Tables to predict: inputs in another order, with and without the targets."""
    rng = np.random.default_rng(6)
    x = rng.normal(size=(25, 2))
    y = x @ np.array([[1.0, -0.5], [0.3, 2.0]]) + 0.1 * rng.normal(size=(25, 2))
    folder = tmp_path_factory.mktemp("new")
    save = {"delimiter": ",", "comments": "", "fmt": "%.17g"}
    np.savetxt(folder / "alone.csv", x[:, ::-1], header="v,u", **save)
    everything = np.column_stack([x[:, 1], y, x[:, 0], np.arange(25)])
    np.savetxt(folder / "judged.csv", everything, header="v,a,b,u,extra", **save)
    return folder, x, y


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"widths": (), "beta": 4.0}, ()),
        (
            {"widths": (), "beta": 4.0, "standardize": False, "precisions": 2.0},
            ("--no-standardize", "--precisions", "2"),
        ),
    ],
    ids=["standardized", "only centred"],
)
def test_a_fit_is_that_of_the_regressor(capsys, table, new, tmp_path, arguments, options):
    from models.deep_linear.regressor import DeepLinearRegressor

    path, x, y = table
    folder, x_new, y_new = new
    out = tmp_path / "out"
    more = ("--predict", folder / "judged.csv", "--out", out, "--json")
    code, printed, err = fit(capsys, path, *options, *more)
    assert (code, err) == (0, [])
    report = json.loads(printed)
    assert json.loads((out / "fit.json").read_text()) == report
    assert report["schema_version"] == 1
    model = DeepLinearRegressor(**arguments).fit(x, y)
    mean, std = model.predict(x_new, return_std=True)
    assert report["inputs"] == ["u", "v"]
    assert report["log_evidence"] == pytest.approx(model.log_evidence_, rel=1e-10)
    assert report["status"] == "CONVERGED"
    np.testing.assert_allclose(report["noise_std"], model.noise_std_, rtol=1e-10)
    for place, name in enumerate("ab"):
        np.testing.assert_allclose(report["predictions"][name], mean[:, place], rtol=1e-8)
        np.testing.assert_allclose(report["predictions"][f"{name}_std"], std[:, place], rtol=1e-8)
        rmse = np.sqrt(np.mean((mean - y_new)[:, place] ** 2))
        assert report["held_out"]["rmse"][name] == pytest.approx(rmse, rel=1e-8)
    density = model.log_prob(x_new, y_new).mean()
    assert report["held_out"]["log_density"] == pytest.approx(density, rel=1e-8)
    written = np.genfromtxt(out / "predictions.csv", delimiter=",", names=True)
    assert written.dtype.names == ("a", "a_std", "b", "b_std")
    np.testing.assert_array_equal(written["a_std"], report["predictions"]["a_std"])
    assert (out / "predictions.png").read_bytes().startswith(b"\x89PNG")
    assert len((out / "architectures.csv").read_text().splitlines()) == 2


def test_a_choice_by_evidence_leaves_its_table_and_picture(capsys, table, tmp_path):
    options = ("--select", "--targets", "a", "--out", tmp_path)
    code, out, err = run(capsys, *FIT, table[0], *options)
    assert (code, err) == (0, [])
    summary, tried = out.split("\n\n")
    lines = dict(line.split("  ", 1) for line in summary.splitlines())
    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["selected"] is True
    head, best, *others, last = tried.splitlines()
    assert head.startswith("widths ")
    assert "log evidence  probability  method" in head
    assert best.startswith(" ".join(map(str, report["widths"])))
    assert last == f"... {report['n_compared'] - 1 - len(others)} more (--out DIR writes all)"
    assert len(report["architectures"]) == report["n_compared"]
    assert ",".join(map(str, report["widths"])) == lines["widths"].strip().replace("none", "")
    rows = (tmp_path / "architectures.csv").read_text().splitlines()
    assert rows[0].startswith("widths,precisions,bias_scale,beta,log_evidence,")
    assert len(rows) == report["n_compared"] + 1 > 100
    assert rows[1].split(",")[0] == " ".join(map(str, report["widths"]))
    assert (tmp_path / "evidence.png").read_bytes().startswith(b"\x89PNG")


def test_predictions_without_targets_are_not_judged(capsys, table, new):
    code, out, err = fit(capsys, table[0], "--predict", new[0] / "alone.csv")
    assert (code, err) == (0, [])
    assert "NEW" not in out
    assert "... 5 more" in out
    assert "a_std" in out
    code, judged, _ = fit(capsys, table[0], "--predict", new[0] / "judged.csv")
    assert "RMSE on NEW" in judged
    assert judged.splitlines()[-3:] == out.splitlines()[-3:]  # the same rows, the same numbers


def test_without_matplotlib_there_is_no_picture(capsys, monkeypatch, table, new, tmp_path):
    monkeypatch.setattr(_deep_linear_fit.importlib.util, "find_spec", lambda name: None)
    options = ("--predict", new[0] / "alone.csv", "--out", tmp_path, "--quiet")
    assert fit(capsys, table[0], *options) == (0, "", [])
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"architectures.csv", "fit.json", "predictions.csv"}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--select",), ("--select", "not allowed", "--widths")),
        (("--beta", "0"), ("beta", "positive", "0")),
        (("--targets", "a,c"), ("'c'", "'u'")),
        (("--out", "no/such/folder"), ("no/such/folder",)),
        (("--predict", "none.csv"), ("none.csv", "No such file")),
    ],
    ids=" ".join,
)
def test_a_bad_fit_is_one_line(capsys, table, options, parts):
    code, out, err = fit(capsys, table[0], *options)
    assert (code, out, len(err)) == (2, "", 1), err
    for part in parts:
        assert part in err[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("u,w\n1,2\n", (":1: ", "'v' missing", "'u', 'w'")),
        ("u,v\n1,2\n3,x\n", (":3: ", "'v'", "'x'")),
        ("", (":1: ", "header")),
    ],
)
def test_a_malformed_new_table_is_named_with_file_and_line(capsys, table, tmp_path, text, parts):
    path = tmp_path / "new.csv"
    path.write_text(text)
    code, out, err = fit(capsys, table[0], "--predict", path)
    assert (code, out, len(err)) == (2, "", 1), err
    assert err[0].startswith(f"cavity: {path}:")
    for part in parts:
        assert part in err[0]


def test_a_constant_target_is_named(capsys, tmp_path):
    path = tmp_path / "constant.csv"
    path.write_text("a,b,u\n1,2,0.1\n1,5,0.4\n1,9,0.2\n")
    code, _, err = fit(capsys, path)
    assert code == 2
    assert "column 'a'" in err[0]
    path.write_text("a,b,u\n1,2,0.1\n2,5,0.1\n3,9,0.1\n")
    code, _, err = fit(capsys, path)
    assert (code, len(err)) == (2, 1)
    assert f"{path}: expected an input that varies, got the same 'u' in every row" in err[0]


def test_tables_of_the_commands(tmp_path):
    path = tmp_path / "columns.csv"
    _results.write_table(path, ["a", "b"], [[1.0, 2.0], [0.1, 3.0]])
    assert path.read_text() == "a,b\n1.0,2.0\n0.1,3.0\n"
    found, targets = _deep_linear_tables.new_inputs(path, ("b",), ("a",))
    assert (found.tolist(), targets.tolist()) == ([[2.0], [3.0]], [[1.0], [0.1]])
    assert _deep_linear_tables.new_inputs(path, ("b",), ("c",))[1] is None
    names, x, y = _deep_linear_tables.inputs_and_targets(path, ("a",))
    assert (names, x.tolist(), y.tolist()) == (("b",), [[2.0], [3.0]], [[1.0], [0.1]])
    assert json.loads(_results.as_json({"x": (1, float("inf"))})) == {"x": [1, "inf"]}
    assert _deep_linear_tables.widths("none") == ()
    assert _arguments.names("a, b") == ("a", "b")
    assert _deep_linear_tables.precisions("1,2") == (1.0, 2.0)


# --- as a user runs it -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_works_alone_and_keeps_what_it_compiled(table, tmp_path):
    arguments = ("deep-linear", "evidence", table[0], "--targets", "a", "--widths", "5")
    # as a user runs it, with none of the settings of the test suite
    settings = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JAX_", "TF_", "OPENBLAS_", "CAVITY_"))
    }

    def run_alone(**environment):
        result = subprocess.run(
            [sys.executable, "-m", "models", *arguments, "--beta", "4"],
            cwd=ROOT,
            env={**settings, "XDG_CACHE_HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout, {path for path in tmp_path.rglob("*-cache")}

    _, compiled = run_alone(CAVITY_NO_CACHE="1")
    assert not compiled
    first, compiled = run_alone()
    assert compiled
    second, compiled_again = run_alone()
    assert second == first
    assert compiled_again == compiled


def test_the_cache_of_a_machine_is_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_session, "_cpu", lambda: "flags: sse avx")
    first = _session.compilation_cache()
    monkeypatch.setattr(_session, "_cpu", lambda: "flags: sse")
    second = _session.compilation_cache()
    assert first.parent == second.parent
    assert first != second
    assert version("jaxlib") in first.name
