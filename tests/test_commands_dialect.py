"""All verbs alike: the same four options, the same one-line failures, whole files."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from inference.files import sole_writer
from models import cli
from models.commands import _arguments, deep_linear, ksat
from models.commands._session import held_interrupts

CNF = "p cnf 3 2\n1 -2 0\n2 3 0\n"
CONTACTS = "person_a,person_b,day\nann,bob,0\nbob,cid,1\n"
TESTS = "person,day,result,false_positive,false_negative\nann,1,+,0.01,0.1\n"
PROFILES = "gene,A,B\n" + "".join(f"g{i},{1 + i},{9 - i}\n" for i in range(8))


def points_csv():
    """Return cells of four genes, two of them on either side."""
    rng = np.random.default_rng(0)
    rows = []
    for gene in range(4):
        for x, y in rng.uniform(size=(75, 2)).tolist():
            rows.append(f"g{gene},{(x + gene % 2) / 2!r},{y!r}\n")
    return "gene,x,y\n" + "".join(rows)


def image():
    skimage = pytest.importorskip("skimage.io")
    from models.cell_types import simulate_ish

    pixels = simulate_ish(0, "easy", shape=(96, 96), n_cells=6).image
    skimage.imsave("Gad1.png", np.round(pixels * 255).astype(np.uint8), check_contrast=False)


def write_inputs():
    table = np.random.default_rng(0).normal(size=(12, 3))
    rows = [",".join(map(repr, row)) for row in table.tolist()]
    for name, text in {
        "train.csv": "\n".join(["u,v,a", *rows]) + "\n",
        "f.cnf": CNF,
        "c.csv": CONTACTS,
        "t.csv": TESTS,
        "profiles.csv": PROFILES,
        "points.csv": points_csv(),
    }.items():
        Path(name).write_text(text, encoding="utf-8")


TRAIN = ("train.csv", "--targets", "a", "--widths", "3", "--beta", "4")
VERBS = {
    "deep-linear evidence": (TRAIN, "out.json"),
    "deep-linear fit": (TRAIN, "folder"),
    "ksat solve": (("f.cnf", "--method", "local"), "out.txt"),
    "contact-tracing risk": (("c.csv", "t.csv"), "out.csv"),
    "cell-types detect": (("Gad1.png", "--radius", "5"), "points-out.csv"),
    "cell-types fit": (
        ("points.csv", "--types", "2", "--restarts", "1", "--bins", "4", "--draws", "0"),
        "folder",
    ),
    "cell-types validate": (("profiles.csv", "profiles.csv", "--min-common", "3"), "out.csv"),
}
DOCUMENTED = {"ksat solve": 10}

pytestmark = pytest.mark.usefixtures("_folder")
every_verb = pytest.mark.parametrize("verb", VERBS)


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, verb, *more, out=True):
    """Return exit code, standard output and the lines on standard error of a small run."""
    write_inputs()
    given, place = VERBS[verb]
    if verb == "cell-types detect":
        image()
    where = ("--out", place) if out else ()
    code = cli.main([*verb.split(), *given, *where, *map(str, more)])
    printed, err = capsys.readouterr()
    return code, printed, err.splitlines()


def verbs_of(parser):
    """Yield the name and the parser of every verb."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                deeper = list(verbs_of(inner))
                yield from ((f"{name} {verb}".strip(), p) for verb, p in deeper or [("", inner)])


def test_every_verb_of_the_parser_is_in_this_table():
    assert {name for name, _ in verbs_of(cli._parser())} >= set(VERBS)


def test_every_verb_has_the_four_options_in_the_same_words():
    helps = {}
    for name, parser in verbs_of(cli._parser()):
        options = {text: action for action in parser._actions for text in action.option_strings}
        assert {"--seed", "--out", "--quiet", "--json"} <= set(options), name
        helps[name] = [options[text].help for text in ("--quiet", "--json")]
        assert options["--seed"].help in (_arguments.SEED, _arguments.NO_SEED), name
        assert options["--seed"].default == 0
    assert len({tuple(texts) for texts in helps.values()}) == 1


@every_verb
def test_json_is_one_strict_object_that_begins_alike(capsys, verb):
    code, out, _ = run(capsys, verb, "--json", "--seed", 7)

    def refuse(word):
        raise AssertionError(f"not JSON: {word}")

    report = json.loads(out, parse_constant=refuse)
    assert code == DOCUMENTED.get(verb, 0)
    assert list(report)[:4] == ["schema_version", "command", "seed", "status"]
    assert report["command"] == verb
    assert report["seed"] == 7
    assert isinstance(report["status"], str)
    assert Path(VERBS[verb][1]).exists()


@every_verb
def test_quiet_says_nothing_beside_the_result(capsys, verb):
    code, out, err = run(capsys, verb, "--quiet")
    assert code == DOCUMENTED.get(verb, 0)
    assert err == []
    assert out == ""


@every_verb
def test_a_second_writer_is_refused_at_once(capsys, verb):
    place = VERBS[verb][1]
    with sole_writer(place):
        code, out, err = run(capsys, verb)
    assert (code, out) == (2, "")
    assert err == [f"cavity: {place}: another process is writing to it"]
    assert not any(Path(place).iterdir()) if Path(place).is_dir() else not Path(place).exists()


@every_verb
def test_an_output_without_a_folder_is_refused_at_once(capsys, verb):
    write_inputs()
    code = cli.main([*verb.split(), *VERBS[verb][0], "--out", "no/where/x"])
    err = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(err) == 1
    assert "no/where" in err[0]


@every_verb
def test_the_same_seed_writes_the_same_files(capsys, verb):
    place = Path(VERBS[verb][1])
    contents = []
    for _ in range(2):
        run(capsys, verb, "--quiet", "--seed", 3)
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        # of these two, which hold the seconds that it took, other tests compare the rest
        timed = ("summary.json", "report.html")
        contents.append([file.read_bytes() for file in files if file.name not in timed])
        assert not list(Path().glob(".partial-*")) + list(Path().glob(".*.lock"))
    assert contents[0] == contents[1]


@pytest.mark.parametrize("seed", ["-1", "1.5", "x", "4294967296", "1_0"])
def test_seeds_are_whole_numbers_of_32_bits(capsys, seed):
    code, _, err = run(capsys, "ksat solve", "--seed", seed)
    assert code == 2
    assert err == [
        "cavity: argument --seed: expected a whole number, got "
        f"{seed!r} (see cavity ksat solve --help)"
    ]


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (MemoryError(), 2, "cavity: too large for the memory"),
        (MemoryError("x.csv"), 2, "cavity: x.csv: too large for the memory"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nmore"), 2, "cavity: RESOURCE_EXHAUSTED"),
        (KeyboardInterrupt(), 130, "cavity: interrupted at once"),
        (BrokenPipeError(32, "Broken pipe"), 141, None),
        (ImportError("plots need matplotlib: pip install 'cavity[plot]'"), 2, "cavity: plots need"),
        (OSError(28, "No space left on device", "x.csv"), 2, "cavity: x.csv: No space left"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_of_the_machine_are_one_line(capsys, monkeypatch, fault, code, message):
    def fail(_):
        raise fault

    monkeypatch.setattr(deep_linear, "_evidence", fail)
    monkeypatch.setattr(cli, "_discard_output", lambda: None)  # it is pytest's
    got, out, err = run(capsys, "deep-linear evidence")
    assert (got, out) == (code, "")
    assert len(err) == (message is not None)
    assert all(line.startswith(message) for line in err)


@pytest.mark.parametrize("fault", [ImportError("no module"), RuntimeError("odd"), KeyError("x")])
def test_defects_keep_their_traceback(capsys, monkeypatch, fault):
    def fail(_):
        raise fault

    monkeypatch.setattr(ksat, "_solve", fail)
    with pytest.raises(type(fault)):
        run(capsys, "ksat solve")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--figure", "x.png", "--out", "x.png"), "expected different files for --figure, --out"),
        (("--figure", "x.doc"), "x.doc: expected the name of a picture, ending in "),
        (("--figure", "x"), "x: expected the name of a picture"),
        (("--figure", os.devnull), f"{os.devnull}: expected a file to write, got a device"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_the_work(capsys, options, message):
    code, out, err = run(capsys, "contact-tracing risk", *options, out=False)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith(f"cavity: {message}")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    write_inputs()
    program = [sys.executable, "-m", "models", "contact-tracing", "risk", "c.csv", "t.csv"]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    with subprocess.Popen(
        [*program, "--quiet"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
    ) as running:
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 141


def test_a_second_interrupt_that_compiled_code_lost_is_raised_at_the_end():
    reached = []

    def press_twice():
        with held_interrupts() as pressed:
            signal.raise_signal(signal.SIGINT)
            with contextlib.suppress(KeyboardInterrupt):  # as a compiler does
                signal.raise_signal(signal.SIGINT)
            reached.append(len(pressed))

    with pytest.raises(KeyboardInterrupt):
        press_twice()
    assert reached == [2]
    with held_interrupts() as pressed:
        signal.raise_signal(signal.SIGINT)
    assert len(pressed) == 1
