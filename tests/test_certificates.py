"""Certificates: what is wrong, missing or no number never agrees; and the command."""

import importlib
import json
import math
import os
import signal
import sys
import types
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

from inference.calibration import Calibration, calibration, places, places_among
from inference.certificates import (
    Certificate,
    Outcome,
    Setting,
    at_most,
    certify,
    estimates,
    exact,
    failures_of,
    independent,
    markdown_table,
    summary_table,
)
from inference.comparison import Comparison
from inference.files import sole_writer
from inference.status import CavityWarning, ConvergenceError
from models import cli
from models.commands.certify import SYSTEMS

GOOD = exact("one", 1.0, 1.0, tolerance=1e-12)
BAD = exact("two", 1.0, 1.5, tolerance=1e-3)
SAMPLED = Comparison("x", 0.0, 0.0, 0.1, 0.1, 1.0, 1000.0, 1.0)


def agreeing(setting):
    """Agree with itself."""
    return [GOOD, SAMPLED]


def disagreeing(setting):
    """Disagree."""
    return [BAD]


def failing(setting):
    """Fail to converge."""
    raise ConvergenceError("no fixed point\nat all")


def warned(setting):
    """Warn."""
    warnings.warn("not converged", CavityWarning, stacklevel=1)
    return [GOOD]


def silent(setting):
    """Compare nothing."""
    return []


def run(*checks, **options):
    return certify("toy", checks, progress=False, **options)


# rows


def test_exact_rows_take_the_largest_difference():
    row = exact("x", [1.0, 2.0, 3.0], [1.0, 2.5, 2.9], tolerance=0.5)
    assert (row.n, row.error) == (3, 0.5)
    assert failures_of(row) == []
    assert failures_of(row._replace(tolerance=0.499)) == ["x: off by 0.5, expected at most 0.5"]


@pytest.mark.parametrize(
    ("expected", "found"),
    [(math.nan, 0.0), (0.0, math.nan), (math.inf, math.inf), ([0.0, 1.0], [0.0, math.nan])],
)
def test_what_is_no_number_disagrees(expected, found):
    assert len(failures_of(exact("x", expected, found, tolerance=1e300))) == 1


@pytest.mark.parametrize(("expected", "found"), [([1.0], [[1.0]]), ([], []), (1.0, [1.0])])
def test_exact_rows_refuse_other_shapes_and_nothing(expected, found):
    with pytest.raises(ValueError, match=r"x: expected arrays of one shape, got \("):
        exact("x", expected, found, tolerance=1.0)


def test_bounds_count_only_what_exceeds_them():
    assert at_most("x", [1.0, 2.0], [5.0, 1.75], tolerance=0.1).error == 0.25
    assert at_most("x", [1.0, 2.0], [5.0, 2.0], tolerance=0.1).error == 0.0
    assert failures_of(at_most("x", math.nan, 1.0, tolerance=1e9))


def test_estimates_are_judged_by_their_standard_errors():
    rows = estimates("x", [1.0, 2.0], [1.2, 1.0], [0.1, 0.2])
    assert [row.quantity for row in rows] == ["x[0]", "x[1]"]
    np.testing.assert_allclose([row.z for row in rows], [2.0, -5.0])
    assert [len(failures_of(row)) for row in rows] == [0, 1]
    assert "|z| = 5, expected at most 4" in failures_of(rows[1])[0]


@pytest.mark.parametrize(("found", "error"), [(1.0, 0.0), (math.nan, 0.1), (1.0, math.nan)])
def test_estimates_without_an_error_or_a_value_disagree(found, error):
    (row,) = estimates("x", 1.0, found, error)
    assert math.isnan(row.z)
    assert len(failures_of(row)) == 1


def test_independent_draws_have_the_error_of_their_mean():
    draws = np.array([[1.0, 10.0], [2.0, 10.0], [6.0, 16.0]])
    rows = independent("x", [2.0, 13.0], draws)
    np.testing.assert_allclose(
        [row.standard_error for row in rows], [math.sqrt(7 / 3), math.sqrt(12 / 3)]
    )
    np.testing.assert_allclose([row.z for row in rows], [1 / math.sqrt(7 / 3), -0.5])


@pytest.mark.parametrize(
    ("name", "value"),
    [("z", 4.1), ("z", math.nan), ("ess", 399.0), ("ess", math.nan), ("r_hat", 1.04),
     ("r_hat", math.nan)],
)  # fmt: skip
def test_chains_must_agree_and_mix(name, value):
    assert failures_of(SAMPLED) == []
    assert len(failures_of(SAMPLED._replace(**{name: value}))) == 1


def test_calibrations_fail_by_their_p_value():
    assert failures_of(Calibration("x", 100, 0.1, 1e-4)) == []
    for p in (0.99e-4, math.nan):
        assert len(failures_of(Calibration("x", 100, 0.1, p))) == 1


# calibration


def test_places_are_ranks_spread_over_their_intervals():
    rng = np.random.default_rng(0)
    draws = np.arange(9.0)
    for truth, rank in ((-1.0, 0), (3.5, 4), (9.0, 9)):
        found = np.array([places(truth, draws, rng) for _ in range(50)])
        assert rank / 10 <= found.min()
        assert found.max() <= (rank + 1) / 10
    ties = [places(1.0, np.ones(9), rng) for _ in range(400)]
    assert calibration("ties anywhere", ties).p_value > 1e-3


def test_calibration_tells_right_posteriors_from_narrow_ones():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=300)
    seen = truth + rng.normal(size=300)
    right = seen / 2 + rng.normal(size=(99, 300)) / math.sqrt(2)
    narrow = seen / 2 + rng.normal(size=(99, 300)) / 3
    assert calibration("right", places(truth, right, rng)).p_value > 1e-3
    assert calibration("narrow", places(truth, narrow, rng)).p_value < 1e-4


def test_places_of_discrete_draws_are_uniform_under_their_law():
    rng = np.random.default_rng(2)
    law = np.array([0.5, 0.2, 0.3])
    drawn = rng.choice(3, size=500, p=law)
    assert calibration("right", places_among(law, drawn, rng)).p_value > 1e-3
    assert calibration("wrong", places_among(law[::-1], drawn, rng)).p_value < 1e-4


@pytest.mark.parametrize("where", [[], [0.5, math.nan]])
def test_calibrations_of_nothing_or_of_no_numbers_are_refused(where):
    with pytest.raises(ValueError, match=r"^x: "):
        calibration("x", where)


# certificates


def test_a_certificate_sums_up_its_comparisons():
    found = run(agreeing, disagreeing)
    summary = found.summary()
    assert (summary.system, summary.n_comparisons, summary.n_quantities) == ("toy", 2, 3)
    assert (summary.worst_error, summary.worst_share, summary.worst_z) == (0.5, 500.0, 1.0)
    assert math.isnan(summary.smallest_p)
    assert summary.verdict == "1 disagree"
    assert found.failures() == ["toy, disagreeing: two: off by 0.5, expected at most 0.001"]
    assert run(agreeing).summary().verdict == "agrees"


def test_no_comparison_is_no_agreement():
    assert Certificate("toy", ()).failures() == ["toy: nothing was compared"]
    assert run().summary().verdict == "1 disagree"
    found = run(agreeing, silent)
    assert found.failures() == ["toy, silent: nothing was compared"]
    assert not found.agrees()


@pytest.mark.parametrize(
    ("check", "why"),
    [
        (failing, "failing: ConvergenceError: no fixed point"),
        (warned, "warned: CavityWarning: not converged"),
    ],
)
def test_algorithms_that_fail_are_rows_that_fail_and_the_others_go_on(check, why):
    found = run(check, agreeing)
    assert found.failures() == [f"toy, {why}"]
    assert [len(outcome.rows) for outcome in found.outcomes] == [0, 2]
    assert f"FAILED: {why.partition(': ')[2]}" in str(found)


def test_defects_are_not_hidden():
    def broken(setting):
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        run(broken)


def test_the_largest_numbers_show_what_is_no_number():
    nan = exact("x", 0.0, math.nan, tolerance=1.0)
    z = SAMPLED._replace(z=math.nan)
    summary = Certificate("toy", (Outcome("a", "A", (GOOD, nan, SAMPLED, z), 0.0),)).summary()
    assert math.isnan(summary.worst_error)
    assert math.isnan(summary.worst_z)
    assert summary.verdict == "2 disagree"


def test_only_some_and_stopped_in_between():
    assert [one.name for one in run(agreeing, disagreeing, only=["disagreeing"]).outcomes] == [
        "disagreeing"
    ]
    with pytest.raises(ValueError, match="only: expected names among agreeing, silent; got 'x'"):
        run(agreeing, silent, only=["x"])
    asked = iter([False, True])
    found = run(agreeing, disagreeing, should_stop=lambda: next(asked))
    assert not found.complete
    assert found.summary().verdict == "agrees so far"


def test_settings_have_keys_by_name_and_numbers_by_mode():
    keys = [Setting(seed, False).key(name) for seed in (0, 1) for name in "ab"]
    assert len({tuple(np.asarray(jax.random.key_data(key))) for key in keys}) == 4
    assert (Setting(0, False).draws(1, 9), Setting(0, True).draws(1, 9)) == (1, 9)


def test_tables_show_every_row_and_the_verdict():
    found = run(agreeing, disagreeing)
    text = str(found)
    for word in ("agreeing: Agree with itself", "one", "two", "x ", "tolerance", "MCSE"):
        assert word in text
    header, line = summary_table([found]).splitlines()
    assert header.startswith("system")
    assert line.endswith("1 disagree")
    rows = markdown_table([found, found]).splitlines()
    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert "| - |" in rows[2]  # no calibration


@pytest.mark.parametrize("system", SYSTEMS)
def test_comparisons_of_a_system_have_names_and_titles_of_their_own(system):
    module = importlib.import_module(f"models.{system.replace('-', '_')}.certificate")
    checks = [*module.CHECKS, *getattr(module, "FULL_CHECKS", ())]
    names = [check.__name__ for check in checks]
    titles = [(check.__doc__ or "").splitlines()[:1] for check in checks]
    assert len(set(names)) == len(names) > 5
    assert len({tuple(title) for title in titles if title}) == len(names)
    assert module.certificate(only=[], progress=False).failures() == [
        f"{system}: nothing was compared"
    ]


# the command


@pytest.fixture
def systems(monkeypatch, tmp_path):
    """Two systems in place of the real ones, and an empty working folder; what they are asked."""
    monkeypatch.chdir(tmp_path)
    asked = []

    def system(name, *checks):
        def certificate(**options):
            asked.append((name, options))
            options = {**options, "only": None}
            return certify(name, checks, **options)

        module = types.ModuleType("certificate")
        module.certificate = certificate
        monkeypatch.setitem(sys.modules, f"models.{name}.certificate", module)

    system("ksat", agreeing)
    system("perceptron", agreeing, disagreeing)
    system("mesoscopic", interrupted, agreeing)
    return asked


def interrupted(setting):
    """Press Ctrl-C while this runs."""
    os.kill(os.getpid(), signal.SIGINT)
    return [GOOD]


def command(capsys, *arguments):
    code = cli.main(["certify", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def test_exit_codes_and_the_verdict_last(systems, capsys):
    code, out, err = command(capsys, "ksat", "--seed", "3")
    assert code == 0
    assert out.splitlines()[-1] == "all 2 numbers agree"
    assert "ksat: agrees, 0 s" in err
    name, options = systems[0]
    assert (name, options["seed"], options["full"]) == ("ksat", 3, False)
    code, out, _ = command(capsys, "ksat", "perceptron", "ksat", "--full")
    assert code == 1
    assert [name for name, _ in systems[1:]] == ["ksat", "perceptron"]
    assert systems[1][1]["full"]
    assert out.splitlines()[-1] == "1 disagree"
    assert "DISAGREES  perceptron, disagreeing: two: off by 0.5" in out


def test_all_systems_by_default():
    arguments = cli._parser().parse_args(["certify"])
    assert arguments.systems == []
    assert len(SYSTEMS) == 6


def test_an_unknown_system_is_one_line(systems, capsys):
    code, out, err = command(capsys, "ksat", "ising")
    assert (code, out, systems) == (2, "", [])
    (line,) = err.splitlines()
    assert line.startswith("cavity: argument SYSTEM: expected one of deep-linear, ")
    assert "got 'ising'" in line


def test_json_is_one_strict_object(systems, capsys):
    code, out, err = command(capsys, "perceptron", "--json", "--quiet")
    answer = json.loads(out, parse_constant=lambda word: pytest.fail(f"not JSON: {word}"))
    assert (code, err) == (1, "")
    assert list(answer)[:4] == ["schema_version", "command", "seed", "status"]
    assert (answer["command"], answer["status"]) == ("certify", "DISAGREES")
    (certificate,) = answer["certificates"]
    assert [one["name"] for one in certificate["comparisons"]] == ["agreeing", "disagreeing"]
    assert certificate["comparisons"][0]["rows"][1]["kind"] == "comparison"
    assert certificate["failures"] == answer["failures"] != []
    assert certificate["smallest_p"] == "nan"


def test_out_is_a_folder_of_tables_that_the_seed_determines(systems, capsys, tmp_path):
    texts = []
    for _ in range(2):
        assert command(capsys, "ksat", "perceptron", "--out", "found")[0] == 1
        names = sorted(path.name for path in (tmp_path / "found").iterdir())
        assert names == ["certificates.json", "ksat.txt", "perceptron.txt", "summary.md"]
        texts.append((tmp_path / "found" / "summary.md").read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    lines = texts[0].splitlines()
    assert lines[0].startswith("| system | comparisons |")
    assert lines[3].endswith("| 1 disagree |")
    assert lines[-1].startswith("1 disagree (quick, seed 0; python 3.")
    assert f"jax {jax.__version__}" in lines[-1]
    answer = json.loads((tmp_path / "found" / "certificates.json").read_text(encoding="utf-8"))
    assert len(answer["certificates"]) == 2
    assert "two" in (tmp_path / "found" / "perceptron.txt").read_text(encoding="utf-8")


def test_what_a_system_found_is_kept_if_the_next_one_has_a_defect(systems, monkeypatch, capsys):
    def fail(**_):
        raise KeyError("no such thing")

    monkeypatch.setattr(sys.modules["models.perceptron.certificate"], "certificate", fail)
    with pytest.raises(KeyError):
        command(capsys, "ksat", "perceptron", "--out", "found")
    assert "Agree with itself" in Path("found/ksat.txt").read_text(encoding="utf-8")


def test_a_second_writer_is_refused(systems, capsys):
    with sole_writer("found"):
        code, out, err = command(capsys, "ksat", "--out", "found")
    assert (code, out, systems) == (2, "", [])
    assert err == "cavity: found: another process is writing to it\n"


def test_ctrl_c_ends_after_the_comparison_with_what_is_done(systems, capsys, tmp_path):
    code, out, _ = command(capsys, "ksat", "mesoscopic", "perceptron", "--out", "found")
    assert code == 130
    assert [name for name, _ in systems] == ["ksat", "mesoscopic"]
    assert out.splitlines()[-1] == "interrupted: all 3 numbers agree so far"
    assert "agrees so far" in out
    answer = json.loads((tmp_path / "found" / "certificates.json").read_text(encoding="utf-8"))
    assert answer["status"] == "INTERRUPTED"
    assert [one["complete"] for one in answer["certificates"]] == [True, False]
    assert not answer["complete"]
