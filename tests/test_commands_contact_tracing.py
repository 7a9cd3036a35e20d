"""``cavity contact-tracing risk``: the numbers of the library, and one line for every bad file."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphs.temporal import ContactNetwork
from inference.status import Status
from models import cli, contact_tracing
from models.contact_tracing import Epidemic, Observations
from models.contact_tracing.exact import exact_posterior

ROOT = Path(__file__).parent.parent
CONTACTS = "person_a,person_b,day\nann,bob,0\nbob,cid,1\ncid,dan,2\nann,bob,2\n"
TESTS = "person,day,result,false_positive,false_negative\nann,1,+,0.01,0.1\ndan,3,-,0.01,0.1\n"
CHAIN = ([0, 1, 2, 0], [1, 2, 3, 1], [0, 1, 2, 2])  # the same contacts, by index
HEADER = ["person", "p_susceptible", "p_infected", "p_recovered", "rank"]

pytestmark = pytest.mark.usefixtures("_folder")


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(capsys, contacts=CONTACTS, tests=TESTS, *options):
    """Return exit code, standard output and the lines on standard error."""
    for name, content in (("c.csv", contacts), ("t.csv", tests)):
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    capsys.readouterr()
    code = cli.main(["contact-tracing", "risk", "c.csv", "t.csv", *map(str, options)])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def table(text):
    header, *rows = csv.reader(text.splitlines())
    assert header == HEADER
    numbers = np.array([[float(cell) for cell in row[1:]] for row in rows])
    return [row[0] for row in rows], numbers[:, :3], numbers[:, 3]


def exact(transmission=0.02, recovery=0.1, seed_prob=0.01, n_days=3):
    """Return the posterior of the chain of four, where message passing is exact."""
    network = ContactNetwork.from_events(*CHAIN, transmission, n_days=n_days, symmetric=True)
    tests = Observations.from_tests(
        [0, 3], [1, 3], [True, False], false_positive=0.01, false_negative=0.1
    )
    return exact_posterior(network, tests, Epidemic(seed_prob, recovery))


def test_the_table_has_the_exact_probabilities(capsys):
    code, out, err = run(capsys)
    people, probs, rank = table(out)
    assert code == 0
    assert people == ["ann", "bob", "cid", "dan"]
    expected = exact()
    np.testing.assert_allclose(probs, expected.state_prob[:, 3], atol=1e-6)
    np.testing.assert_allclose(probs.sum(axis=1), 1.0, atol=1e-12)
    assert rank.tolist() == [1, 2, 3, 4]
    assert err[0] == "c.csv: 4 people, 4 contacts, days 0 to 2"
    assert err[1] == "t.csv: 2 tests, 1 positive, days 1 to 3"
    assert "transmission 0.02, recovery 0.1, seed probability 0.01" in err[2]
    assert "CONVERGED" in err[3]
    assert float(err[3].split("log-evidence ")[1]) == pytest.approx(
        float(expected.log_evidence), rel=1e-5
    )
    assert len(err) == 5


@pytest.mark.parametrize(("day", "n_days"), [(0, 3), (2, 3), (3, 3), (6, 6)])
def test_another_day_and_other_parameters(capsys, day, n_days):
    options = ("--day", day, "--transmission", 0.4, "--recovery", 0.3, "--seed-prob", 0.2)
    code, out, _ = run(capsys, CONTACTS, TESTS, *options)
    people, probs, rank = table(out)
    assert code == 0
    expected = exact(0.4, 0.3, 0.2, n_days).state_prob[:, day]
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    assert people == ["ann", "bob", "cid", "dan"]
    assert np.argsort(rank).tolist() == np.argsort(-expected[:, 1]).tolist()


def test_a_column_of_probabilities(capsys):
    lines = CONTACTS.splitlines()
    probs = [0.1, 0.5, 1.0, 0.0]
    content = "\n".join(
        [f"{lines[0]},transmission"]
        + [f"{line},{prob}" for line, prob in zip(lines[1:], probs, strict=True)]
    )
    code, out, err = run(capsys, content)
    assert code == 0
    np.testing.assert_allclose(table(out)[1], exact(probs).state_prob[:, 3], atol=1e-6)
    assert "transmission as in c.csv" in err[2]
    code, out, err = run(capsys, content, TESTS, "--transmission", 0.1)
    assert (code, out) == (2, "")
    assert err == [
        "cavity: --transmission: expected none, because c.csv has a column 'transmission'"
    ]


def test_repeats_are_counted(capsys):
    _, _, err = run(capsys, CONTACTS + "bob,ann,0\nann,bob,0\n")
    assert err[0] == "c.csv: 4 people, 4 contacts (2 repeats combined), days 0 to 2"


def test_the_table_goes_to_a_file(capsys):
    code, out, err = run(capsys, CONTACTS, TESTS, "--out", "risk.csv")
    assert (code, out, len(err)) == (0, "", 5)
    written = Path("risk.csv").read_text(encoding="utf-8")
    assert written == run(capsys)[1]


def test_a_label_with_a_comma_is_one_cell(capsys):
    code, out, _ = run(capsys, CONTACTS.replace("bob", '"Lee, Bob"'))
    assert code == 0
    assert table(out)[0] == ["ann", "Lee, Bob", "cid", "dan"]


@pytest.mark.slow
def test_parameters_are_fitted(capsys):
    rng = np.random.default_rng(0)
    pairs = [(i, i + 1) for i in range(29)]
    contacts = "person_a,person_b,day\n" + "".join(
        f"p{i},p{j},{day}\n" for i, j in pairs for day in range(5)
    )
    tests = "person,day,result,false_negative,false_positive\n" + "".join(
        f"p{i},{day},{'+' if rng.random() < 0.2 else '-'},0.1,0.05\n"
        for i in range(30)
        for day in (2, 5)
    )
    plain = run(capsys, contacts, tests)
    fitted = run(capsys, contacts, tests, "--fit")
    assert (plain[0], fitted[0]) == (0, 0)
    evidence = [float(err[3].split("log-evidence ")[1]) for *_, err in (plain, fitted)]
    assert evidence[1] > evidence[0] + 1.0
    assert fitted[2][2].startswith("fitted: transmission ")
    assert fitted[2][2].endswith("(± standard errors; CONVERGED)")
    # the numbers that it prints give the same risks
    words = fitted[2][2].replace(",", " ").split()
    found = [float(words[words.index(name) + 1]) for name in ("transmission", "recovery")]
    seed_prob = float(words[words.index("probability") + 1])
    options = ("--transmission", found[0], "--recovery", found[1], "--seed-prob", seed_prob)
    again = run(capsys, contacts, tests, *options)
    np.testing.assert_allclose(table(again[1])[1], table(fitted[1])[1], atol=1e-4)


@pytest.mark.parametrize("status", [Status.CONVERGED, Status.MAX_STEPS])
def test_a_fit_of_given_probabilities_is_of_their_factor(capsys, monkeypatch, status):
    def fit(network, observations, epidemic, **options):
        assert options == {"tol": 0.02, "progress": None}
        assert network.common_prob == 0.2
        names = ("transmission_prob", "recovery_prob", "seed_prob")
        values, errors = (1.5, 0.3, 0.1), (0.5, 0.02, np.inf)
        return contact_tracing.FitResult(
            Epidemic(0.1, 0.3),
            1.5,
            dict(zip(names, values, strict=True)),
            dict(zip(names, errors, strict=True)),
            -1.0,
            0.0,
            5,
            status,
        )

    monkeypatch.setattr(contact_tracing, "fit_epidemic", fit)
    content = "\n".join(f"{line},0.2" for line in CONTACTS.splitlines())
    content = content.replace("day,0.2", "day,transmission")
    code, out, err = run(capsys, content, TESTS, "--fit")
    assert err[2] == (
        "fitted: transmission 1.5 ± 0.5 times that in c.csv, recovery 0.3 ± 0.02, "
        f"seed probability 0.1 (at a bound) (± standard errors; {status.name})"
    )
    np.testing.assert_allclose(table(out)[1], exact(0.3, 0.3, 0.1).state_prob[:, 3], atol=1e-6)
    assert code == (status is not Status.CONVERGED)
    if code:
        assert err[-1].startswith("cavity: contact-tracing risk, the fit: MAX_STEPS")


def test_nothing_can_be_fitted_where_nothing_passes(capsys):
    code, out, err = run(capsys, CONTACTS, TESTS, "--fit", "--transmission", 0)
    assert (code, out) == (2, "")
    assert err[-1] == "cavity: network: expected a contact that can transmit, got none"


@pytest.mark.parametrize("size", ["small", "large"])
def test_pictures(capsys, size):
    contacts = CONTACTS
    if size == "large":
        contacts += "".join(f"p{i},p{i + 1},0\n" for i in range(300))
    code, _, _ = run(capsys, contacts, TESTS, "--figure", "risk.png")
    assert code == 0
    assert Path("risk.png").read_bytes().startswith(b"\x89PNG")


def test_without_convergence_the_table_is_written_all_the_same(capsys, monkeypatch):
    proper = contact_tracing.infer
    monkeypatch.setattr(
        contact_tracing, "infer", lambda *given, **options: proper(*given, **options, max_steps=1)
    )
    code, out, err = run(capsys, CONTACTS, TESTS, "--transmission", 0.5)
    assert code == 1
    assert len(table(out)[0]) == 4
    assert Status.MAX_STEPS.name in err[3]
    assert err[-1].startswith("cavity: contact-tracing risk: MAX_STEPS")


C_HEAD, T_HEAD = "person_a,person_b,day\n", "person,day,result\n"
BAD_CONTACTS = [
    ("", "c.csv:1: header: expected a column 'person_a'"),
    ("person_a,day\nann,0\n", "c.csv:1: header: expected a column 'person_b'"),
    ("ann,bob,0\n", "c.csv:1: header: expected the columns"),
    (C_HEAD, "c.csv:1: expected rows below the header"),
    (C_HEAD + "ann,bob\n", "c.csv:2: expected 3 cells"),
    (C_HEAD + "ann,bob,0\nann,bob,0,0.5\n", "c.csv:3: expected 3 cells"),
    (C_HEAD + "ann,bob,-1\n", "c.csv:2: column 'day'"),
    (C_HEAD + "ann,bob,0.5\n", "c.csv:2: column 'day'"),
    (C_HEAD + "ann,bob,\n", "c.csv:2: column 'day'"),
    (C_HEAD + "ann,bob,99999\n", "c.csv:2: column 'day'"),
    (C_HEAD + "ann,ann,0\n", "c.csv:2: column 'person_b': expected somebody else than 'ann'"),
    (C_HEAD + ",ann,0\n", "c.csv:2: column 'person_a': expected the label of a person"),
    ("person_a,person_b,day,transmission\na,b,0,1.5\n", "c.csv:2: column 'transmission'"),
    ("person_a,person_b,day,transmission\na,b,0,nan\n", "c.csv:2: column 'transmission'"),
    (C_HEAD + 'ann,"bob,0\n', "c.csv:2: expected comma-separated values"),
    (C_HEAD.encode() + b"ann,\xff,0\n", "c.csv:2: expected UTF-8 text"),
]
BAD_TESTS = [
    ("", "t.csv:1: header: expected a column 'person'"),
    (T_HEAD, "t.csv:1: expected rows below the header"),
    (T_HEAD + "ann,1,perhaps\n", "t.csv:2: column 'result': expected positive or negative"),
    (T_HEAD + "ann,-1,+\n", "t.csv:2: column 'day'"),
    (T_HEAD + "ann,1.5,+\n", "t.csv:2: column 'day'"),
    (T_HEAD + "ann,1,+\nzed,1,-\n", "t.csv:3: column 'person': expected somebody in c.csv"),
    ("person,day,result,false_positive\nann,1,+,2\n", "t.csv:2: column 'false_positive'"),
    ("person,day,result,specificity\nann,1,+,1\n", "t.csv:1: header: expected the columns"),
    (
        T_HEAD + "ann,1,+\nbob,1,+\nann,1,-\n",
        "t.csv:4: column 'result': expected the result of line 2, because tests of person 'ann' "
        "on day 1",
    ),
    (
        T_HEAD + "ann,2,-\nann,3,+\nann,1,+\n",
        "t.csv:3: tests of person 'ann' that cannot be wrong contradict each other: infected on "
        "day 1 (line 4), not on day 2 (line 2), again on day 3",
    ),
]


@pytest.mark.parametrize(
    ("contacts", "tests", "message"),
    [(content, TESTS, message) for content, message in BAD_CONTACTS]
    + [(CONTACTS, content, message) for content, message in BAD_TESTS],
)
def test_a_bad_file_is_one_line_with_its_place(capsys, contacts, tests, message):
    code, out, err = run(capsys, contacts, tests, "--out", "risk.csv")
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith(f"cavity: {message}")
    assert not Path("risk.csv").exists()


def test_tests_that_may_be_wrong_contradict_nothing(capsys):
    tests = "person,day,result,false_negative\nann,1,+,0\nann,1,-,0.1\nann,2,-,0.1\nann,3,+,0\n"
    assert run(capsys, CONTACTS, tests)[0] == 0
    # a positive result excludes no state if it can be false
    tests = "person,day,result,false_positive\nann,1,-,0\nann,1,+,0.1\n"
    assert run(capsys, CONTACTS, tests)[0] == 0


def test_evidence_that_nothing_explains_names_the_person(capsys):
    """Two who meet on day 2 alone: one is not infected on day 3, the other suddenly on day 4."""
    contacts = "person_a,person_b,day\nann,bob,2\n"
    tests = "person,day,result\nann,3,-\nann,0,-\nbob,2,-\nbob,4,+\n"
    code, out, err = run(capsys, contacts, tests, "--recovery", 0, "--transmission", 0.5)
    assert (code, out) == (2, "")
    assert err[-1].startswith(("cavity: person ann: the evidence", "cavity: person bob: the evid"))
    assert "day" in err[-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--transmission", "2"), "argument --transmission: expected a probability from 0 to 1"),
        (("--recovery", "nan"), "argument --recovery: expected a probability from 0 to 1"),
        (("--seed-prob", "x"), "argument --seed-prob: expected a probability from 0 to 1"),
        (("--day", "-1"), "argument --day: expected a whole number from 0 to 32767, got '-1'"),
        (("--day", "1.5"), "argument --day: expected a whole number from 0 to 32767"),
        (("--day", "99999"), "argument --day: expected a whole number from 0 to 32767"),
        (("--out", "none/risk.csv"), "none/risk.csv: there is no folder none"),
        (("--figure", "."), ".: expected a file to write, got a folder"),
    ],
)
def test_bad_options(capsys, options, message):
    code, out, err = run(capsys, CONTACTS, TESTS, *options)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith(f"cavity: {message}")


def test_a_file_that_is_not_there(capsys):
    run(capsys)
    assert cli.main(["contact-tracing", "risk", "c.csv", "none.csv"]) == 2
    assert capsys.readouterr().err == "cavity: none.csv: No such file or directory\n"


@pytest.mark.slow
def test_as_a_program():
    Path("c.csv").write_text(CONTACTS)
    Path("t.csv").write_text(TESTS)
    result = subprocess.run(
        [sys.executable, "-m", "models", "contact-tracing", "risk", "c.csv", "t.csv"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert len(table(result.stdout)[0]) == 4
    assert len(result.stderr.splitlines()) == 5
