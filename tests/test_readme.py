"""The README's examples print what the README says, and its commands run."""

import contextlib
import glob
import io
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from models import cli
from models.cell_types import simulate_ish

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

BLOCK = "((?:(?!```).)*)```"
EXAMPLES = re.findall(rf"```python\n{BLOCK}\n\n```\n{BLOCK}", README, re.S)
SNIPPETS = [
    code
    for code in re.findall(rf"```python\n{BLOCK}", README, re.S)
    if code not in [shown for shown, _ in EXAMPLES]
]
# in fences without a language: commands, and what the examples print
COMMANDS = [
    line
    for block in re.findall(rf"\n\n```\n{BLOCK}", README, re.S)
    for line in block.splitlines()
    if line.startswith(("cavity ", "python", ".venv"))
]
CAVITY = [line for line in COMMANDS if line.startswith("cavity ")]
EXIT_CODES = {"cavity ksat": 10}


@pytest.mark.parametrize(("code", "printed"), EXAMPLES)
def test_the_examples_print_what_is_written_below_them(code, printed):
    assert len(code.splitlines()) <= 25
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})
    assert output.getvalue().split() == printed.split()


def test_every_system_has_one():
    assert len(EXAMPLES) == 6


@pytest.mark.slow
@pytest.mark.parametrize("code", SNIPPETS)
def test_what_prints_nothing_runs(code):
    rng = np.random.default_rng(0)
    names = {"x": rng.normal(size=(30, 2)), "x_new": rng.normal(size=(3, 2))}
    names["y"] = names["x"] @ [1.0, -1.0] + 0.1 * rng.normal(size=30)
    exec(compile(code, "README.md", "exec"), names)
    if "mean" in names:
        assert names["mean"].shape == names["std"].shape == (3,)
    else:
        assert names["found"].energy == 0


def test_the_commands_are_those_that_are_tried():
    assert len(SNIPPETS) == 2
    assert {line.split()[1] for line in CAVITY} >= {
        "deep-linear", "ksat", "contact-tracing", "cell-types",
    }  # fmt: skip
    others = [line for line in COMMANDS if line not in CAVITY]
    assert len(others) == 2


def test_the_lines_that_install_and_test_are_run_by_the_checks_of_every_change():
    install, tests = re.findall(
        r"^(python3 -m venv .*|\.venv/bin/python -m pytest.*)$", README, re.M
    )
    assert install.endswith("examples/deep_linear_posterior.py")
    assert tests == ".venv/bin/python -m pytest -n 2"
    # it cuts them out of the README and runs them, in a folder of its own
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "from_readme '^python3 -m venv'" in script
    assert "from_readme '^.venv/bin/python -m pytest'" in script


def test_the_table_of_evidence_is_that_of_the_last_certificates():
    kept = (ROOT / "tests" / "campaign" / "results" / "certify.md").read_text(encoding="utf-8")
    table, verdict = kept.strip().split("\n\n")
    assert table in README
    assert verdict.split(" (")[0].capitalize() in README
    assert all(row.endswith("| agrees |") for row in table.splitlines()[2:])


def tables():
    """Write the files that the commands name, as small as they can be."""
    rng = np.random.default_rng(0)

    def table(header, rows):
        return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"

    inputs = rng.normal(size=(20, 2))
    numbers = np.column_stack([inputs, inputs @ [[1.0, 0.5], [0.2, -1.0]]])
    genes = [f"Gene{i}" for i in range(32)]
    for name, text in {
        "TRAIN.csv": table("u,v,a,b", numbers.tolist()),
        "NEW.csv": table("u,v", rng.normal(size=(3, 2)).tolist()),
        "FORMULA.cnf": "p cnf 3 3\n1 -2 0\n2 3 0\n-1 -3 0\n",
        "CONTACTS.csv": table("person_a,person_b,day", [("a", "b", 0), ("b", "c", 1)]),
        "TESTS.csv": table(
            "person,day,result,false_positive,false_negative", [("c", 2, 1, 0.01, 0.1)]
        ),
        "REFERENCE.csv": table("gene,A,B", [(g, *rng.exponential(size=2)) for g in genes]),
    }.items():
        Path(name).write_text(text, encoding="utf-8")
    imsave = pytest.importorskip("skimage.io").imsave
    Path("images").mkdir()
    for i, gene in enumerate(genes):
        cells = simulate_ish(i, "easy", shape=(96, 96), n_cells=12).image
        empty = np.full(cells.shape, np.median(cells))
        sides = (cells, empty) if i % 2 else (empty, cells)  # of two types
        pixels = np.round(np.hstack(sides) * 255).astype(np.uint8)
        imsave(f"images/{gene}.png", pixels, check_contrast=False)


@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tables()
    for line in CAVITY:
        if line.startswith("cavity certify"):  # minutes; test_certificates runs it on a fake
            continue
        words = [sorted(glob.glob(w)) if "*" in w else [w] for w in shlex.split(line)[1:]]
        code = cli.main([word for several in words for word in several])
        err = capsys.readouterr().err
        assert code == EXIT_CODES.get(" ".join(line.split()[:2]), 0), (line, err)
        for option, place in re.findall(r"--(out|figure|marginals) (\S+)", line):
            assert Path(place).exists(), (line, option)
