"""``cavity cell-types validate``: the numbers of the library, and one line for every bad file."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from models import cli
from models.cell_types import ProfileTable, permutation_test

GENES = tuple(f"Gene{i}" for i in range(40))


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def validate(capsys, *options):
    """Return exit code, standard output, and the lines on standard error."""
    code = cli.main(["cell-types", "validate", *map(str, options)])
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


@pytest.fixture
def tables():
    """Profiles as the verb fit writes them, and a wide reference, one type more."""
    rng = np.random.default_rng(0)
    beta = rng.gamma(0.5, 100.0, size=(3, 40))
    known = np.vstack(
        [beta[[2, 0, 1]] * np.exp(0.5 * rng.standard_normal((3, 40))), rng.random(40)]
    )
    share = beta / beta.sum(axis=0)
    with Path("profiles.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["type", "gene", "beta", "fraction", "low", "high"])
        for k in range(3):
            for g, gene in enumerate(GENES):
                writer.writerow([k + 1, gene, beta[k, g], share[k, g], 0.0, 1.0])
    with Path("reference.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["gene", "Sst", "Pvalb", "Vip", "Lamp5"])
        writer.writerows([gene.upper(), *column] for gene, column in zip(GENES, known.T))
    names = ("Sst", "Pvalb", "Vip", "Lamp5")
    return ProfileTable(("1", "2", "3"), GENES, beta), ProfileTable(names, GENES, known)


def test_the_table_is_that_of_the_library(capsys, tables):
    code, out, err = validate(
        capsys, "profiles.csv", "reference.csv", "--permutations", 99, "--seed", 3, "--out", "v.csv"
    )
    assert (code, err) == (0, [])
    test = permutation_test(*tables, n_permutations=99, seed=3)
    assert [test.match.reference_types[j] for j in test.match.partner] == ["Pvalb", "Vip", "Sst"]
    with Path("v.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["type"] for row in rows] == ["1", "2", "3"]
    assert [row["reference_type"] for row in rows] == ["Pvalb", "Vip", "Sst"]
    for name, numbers in (
        ("correlation", test.match.correlation),
        ("p", test.type_p_value),
        ("p_holm", test.type_p_holm),
    ):
        np.testing.assert_allclose([float(row[name]) for row in rows], numbers, rtol=1e-12)
    lines = out.splitlines()
    assert lines[0] == "40 common genes of 40 and 40, profiles as fraction"
    assert lines[2].split(" | ") == ["type", "reference", "     r", "     p", "Holm p"]
    assert lines[3].split()[:5] == ["1", "|", "Pvalb", "|", f"{test.match.correlation[0]:.3f}"]
    assert lines[-2].startswith(f"mean r {test.match.mean_correlation:.4f} of 3 pairs, p 0.01 (99 ")
    assert lines[-1] == "of the reference unmatched: Lamp5"


def test_json_and_a_picture(capsys, tables):
    code, out, _ = validate(
        capsys, "reference.csv", "profiles.csv", "--transform", "raw", "--json", "--figure", "v.png"
    )
    assert code == 0
    report = json.loads(out)
    test = permutation_test(*tables[::-1], transform="raw")
    assert report["p"] == test.p_value
    np.testing.assert_allclose(report["correlations"], test.match.table)
    assert report["transform"] == "raw"
    lamp5 = report["types"][3]
    assert lamp5 == {
        "type": "Lamp5", "reference_type": None, "correlation": None, "p": None, "p_holm": None
    }  # fmt: skip
    assert Path("v.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("profiles.csv", "none.csv"), "none.csv: No such file or directory"),
        (("profiles.csv", "bad.csv"), "bad.csv:3: column 'Vip': expected a finite number, got 'x'"),
        (("bad.csv", "few.csv"), "bad.csv:3: column 'Vip'"),
        (("profiles.csv", "few.csv"), "genes: expected at least 30 common ones, got 2 of 40 and 2"),
        (("profiles.csv", "minus.csv"), "genes: expected at least 30 common ones, got 2 of"),
        (("profiles.csv", "minus.csv", "--min-common", "1"), "reference: expected numbers of at"),
        (("profiles.csv", "few.csv", "--out", "no/v.csv"), "no/v.csv: there is no folder no"),
        (("profiles.csv", "few.csv", "--permutations", "0"), "argument --permutations: expected"),
        (("profiles.csv",), "the following arguments are required: REFERENCE.csv"),
    ],
)
def test_bad_input_is_one_line(capsys, options, message):
    Path("few.csv").write_text("gene,a,b\ngene0,1,2\nGENE1,3,4\n", encoding="utf-8")
    Path("bad.csv").write_text("gene,Sst,Vip\nGene0,1,2\nGene1,3,x\n", encoding="utf-8")
    Path("minus.csv").write_text("gene,a,b\nGene0,1,-2\nGene1,2,1\n", encoding="utf-8")
    code, out, err = validate(capsys, *options)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("cavity: ")
    assert message in err[0]
