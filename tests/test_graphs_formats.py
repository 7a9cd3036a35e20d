"""DIMACS CNF: every layout reads alike, every fault is named with its line."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs import formats
from graphs.formats import read_dimacs, write_dimacs


@st.composite
def written_formulas(draw):
    """Clauses, number of variables, and the bytes of a file that says so in some odd way."""
    n_variables = draw(st.integers(1, 2**31 - 1) | st.integers(1, 30))
    literal = st.integers(1, n_variables).flatmap(lambda v: st.sampled_from([v, -v]))
    clauses = draw(st.lists(st.lists(literal, max_size=5), max_size=8))
    comment = st.sampled_from(["c", "c p cnf 1 1", "cfoo % 0", " c 1 -2 0", "c naïve λ", "", "  "])
    remarks = st.lists(comment, max_size=2)
    newline = draw(st.sampled_from(["\n", "\r\n", " \n"]))
    lines = [*draw(remarks), draw(st.sampled_from(["p cnf %d %d", " p\tcnf  %d  %d "]))]
    lines[-1] %= (n_variables, len(clauses))
    line = ""
    for clause in clauses:
        for word in [*map(str, clause), "0"]:
            if draw(st.booleans()):
                line += draw(st.sampled_from([" ", "\t", "   "])) + word
            else:
                lines += [line, *draw(remarks)]
                line = word
    lines += [line, *draw(remarks)]
    if draw(st.booleans()):
        lines += ["%", *draw(st.sampled_from([[], ["0"], ["0", "", ""]]))]
    text = newline.join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return clauses, n_variables, mark + text.encode()


def assert_holds(formula, clauses, n_variables):
    assert formula.literals.dtype == np.int32
    assert formula.offsets.dtype == np.int64
    bounds = itertools.pairwise(formula.offsets)
    assert [formula.literals[a:b].tolist() for a, b in bounds] == clauses
    assert formula.offsets[-1] == len(formula.literals)
    assert formula.n_variables == n_variables


@given(written_formulas())
def test_every_layout_reads_alike(tmp_path_factory, written):
    clauses, n_variables, data = written
    path = tmp_path_factory.getbasetemp() / "layout.cnf"
    path.write_bytes(data)
    assert_holds(read_dimacs(path), clauses, n_variables)
    # both passes, each alone
    data = data.removeprefix(b"\xef\xbb\xbf")
    assert_holds(formats._read_by_line(data, "x"), clauses, n_variables)
    assert_holds(formats._read_at_once(data), clauses, n_variables)


@given(
    st.binary(max_size=60)
    | st.text("0123456789-pcnf %\n\r\t", max_size=60).map(str.encode)
    | st.text("012-c% \n", max_size=30).map(lambda text: b"p cnf 2 2\n" + text.encode())
)
def test_the_quick_pass_accepts_nothing_that_the_careful_one_refuses(data):
    quick = formats._read_at_once(data)
    try:
        careful = formats._read_by_line(data, "x")
    except ValueError:
        careful = None
    if careful is None:
        assert quick is None
    elif quick is not None:
        for one, other in zip(quick, careful):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("data", "clauses", "n_variables"),
    [
        (b"p cnf 0 0", [], 0),
        (b"p cnf 0 0\n", [], 0),
        (b"p cnf 4 0\nc nothing\n%\n0\n\n", [], 4),
        (b"p cnf 0 2\n0 0\n", [[], []], 0),
        (b"c\np cnf 2 3\n1 0 -1 2 0 0", [[1], [-1, 2], []], 2),
        (b"p cnf 3 1\n1\n-2\nc inside\n3\n0\n", [[1, -2, 3]], 3),
        (b"p cnf 3 1\r\n 1 2 -3 0\r\n%\r\n0\r\n\r\n", [[1, 2, -3]], 3),
        (b"p cnf 2 1\n01 -02 00\n", [[1, -2]], 2),
        (b"c latin \xe9 and \x00\np cnf 1 1\n1 1 -1 0\nc \xff", [[1, 1, -1]], 1),
    ],
)
def test_unusual_files(tmp_path, data, clauses, n_variables):
    path = tmp_path / "unusual.cnf"
    path.write_bytes(data)
    assert_holds(read_dimacs(path), clauses, n_variables)


MALFORMED = [
    (b"", 1, "expected a header 'p cnf VARIABLES CLAUSES', got an empty file"),
    (b"\n\n", 2, "expected a header 'p cnf VARIABLES CLAUSES', got the end of the file"),
    (b"c only\nc comments\n", 2, "got the end of the file"),
    (b"c\n1 2 0\np cnf 2 1\n", 2, "before the first clause, got '1 2 0'"),
    (b"%\n0\n", 1, "before the first clause, got '%'"),
    (b"p cnf 2 1\n1 2 0\np cnf 2 1\n", 3, "expected one header, got a second one, 'p cnf 2 1'"),
    (b"p cnf 2 x\n", 1, "with numbers from 0 to 2147483647, got 'p cnf 2 x'"),
    (b"\np cnf 2\n1 0\n", 2, "got 'p cnf 2'"),
    (b"p cnf 2 1 3\n1 0\n", 1, "got 'p cnf 2 1 3'"),
    (b"p cnf -2 1\n1 0\n", 1, "got 'p cnf -2 1'"),
    (b"p cnf 2.0 1\n1 0\n", 1, "got 'p cnf 2.0 1'"),
    (b"p sat 2\n(1)\n", 1, "got 'p sat 2'"),
    (b"p  wcnf 2 1\n1 1 0\n", 1, "got 'p wcnf 2 1'"),
    (b"pcnf 2 1\n1 0\n", 1, "got 'pcnf 2 1'"),
    (b"p cnf 2147483648 1\n1 0\n", 1, "got 'p cnf 2147483648 1'"),
    (b"p cnf 99999999999999999999 1\n1 0\n", 1, "got 'p cnf 99999999999999999999 1'"),
    (b"p cnf 2 1\n1 0\n\n2 0 -1 0\n", 4, "expected 1 clauses as in the header, got 3"),
    (b"p cnf 2 3\n1 0\n2 0\n", 3, "expected 3 clauses as in the header, got 2"),
    (b"p cnf 2 3\n1 0\n2 0\n%\n0\n", 5, "expected 3 clauses as in the header, got 2"),
    (b"p cnf 2 1\n", 1, "expected 1 clauses as in the header, got 0"),
    (b"p cnf 2 1\n1 3 0\n", 2, "expected a literal from -2 to 2 other than 0, got '3'"),
    (b"p cnf 2 2\n1 0\n1 -3 0\n", 3, "other than 0, got '-3'"),
    (b"p cnf 0 1\n1 0\n", 2, "expected no literal (there are 0 variables), got '1'"),
    (b"p cnf 2 1\n\n1 2147483648 0\n", 3, "got '2147483648'"),
    (b"p cnf 2 1\n1 -18446744073709551615 0\n", 2, "got '-18446744073709551615'"),
    (b"p cnf 2 1\n1 " + b"9" * 5000 + b" 0\n", 2, "got '9999999999999999999999999999999999999...'"),
    (b"p cnf 2 1\n1 -0 2 0\n", 2, "other than 0, got '-0'"),
    (b"p cnf 2 1\n1 x2 0\n", 2, "expected an integer, got 'x2'"),
    (b"p cnf 2 1\n1 2.0 0\n", 2, "expected an integer, got '2.0'"),
    (b"p cnf 2 1\n1 +2 0\n", 2, "expected an integer, got '+2'"),
    (b"p cnf 2 1\n1 - 2 0\n", 2, "expected an integer, got '-'"),
    (b"p cnf 2 1\n1-2 0\n", 2, "expected an integer, got '1-2'"),
    (b"p cnf 2 1\n1 --2 0\n", 2, "expected an integer, got '--2'"),
    (b"p cnf 2 1\n1 1_0 0\n", 2, "expected an integer, got '1_0'"),
    (b"p cnf 2 1\n1 0 c late\n", 2, "expected an integer, got 'c'"),
    (b"p cnf 2 1\n1 0 % 0\n", 2, "expected an integer, got '%'"),
    (b"p cnf 2 2\n1 0\n-1\n2\n", 4, "expected a 0 at the end of the last clause"),
    (b"p cnf 2 1\n1 2\n%\n0\n", 2, "expected a 0 at the end of the last clause"),
    (b"p cnf 2 1\n1 2 0\n%\n0\n1 0\n", 5, "expected nothing but a 0 after the end mark %"),
    (b"p cnf 2 1\n1 \x002 0\n", 2, "expected plain text, got the byte 0x00"),
    (b"p cnf 2 1\nc ok\n1 2 0 \xe9\n", 3, "expected plain text, got the byte 0xe9"),
    (b"\x1f\x8b\x08\x00rest", 1, "got the byte 0x1f; unpack a compressed file first"),
]


@pytest.mark.parametrize(("data", "line", "message"), MALFORMED)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, data, line, message):
    path = tmp_path / "bad.cnf"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:{line}: ')}expected ") as refusal:
        read_dimacs(path)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_dimacs(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_dimacs(tmp_path / "none.cnf")


def test_the_writer_puts_comments_first_and_a_clause_a_line(tmp_path):
    path = tmp_path / "out.cnf"
    comments = ["two\nlines\r\nand λ", "", "p cnf 1 1"]
    write_dimacs(path, [1, -3, 2], [0, 2, 2, 3], 4, comments=comments)
    text = "c two\nc lines\nc and λ\nc\nc p cnf 1 1\np cnf 4 3\n1 -3 0\n0\n2 0\n"
    assert path.read_bytes() == text.encode()
    write_dimacs(path, [], [0], 0)
    assert path.read_bytes() == b"p cnf 0 0\n"


@pytest.mark.parametrize("n_clauses", [0, 1, 6, 7, 8, 50])
def test_what_is_written_reads_back(tmp_path, monkeypatch, n_clauses):
    monkeypatch.setattr(formats, "_LINES_PER_WRITE", 7)
    rng = np.random.default_rng(n_clauses)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 5, n_clauses))])
    literals = rng.integers(1, 2**31, offsets[-1]) * rng.choice([-1, 1], offsets[-1])
    path = tmp_path / "formula.cnf"
    write_dimacs(path, literals, offsets, 2**31 - 1, comments=["a", "b"])
    formula = read_dimacs(path)
    np.testing.assert_array_equal(formula.literals, literals)
    np.testing.assert_array_equal(formula.offsets, offsets)
    assert formula.n_variables == 2**31 - 1


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"literals": [1, 0]}, ValueError, "literals: .* from -2 to 2 other than 0, got 0 at 1"),
        ({"literals": [1, -3]}, ValueError, "literals: .* got -3 at 1"),
        ({"literals": [1, -(2**63)]}, ValueError, "literals: .* got -9223372036854775808 at 1"),
        ({"literals": [1.0, 2.0]}, TypeError, "literals: .* integers, got the type float64"),
        ({"literals": [[1, 2]]}, ValueError, r"literals: .* 1-dimensional, got shape \(1, 2\)"),
        ({"offsets": []}, ValueError, "offsets: .* got nothing"),
        ({"offsets": [0, 1]}, ValueError, r"offsets: .* end at 2.* got \[0, 1\]"),
        ({"offsets": [1, 2]}, ValueError, r"offsets: .* start at 0.* got \[1, 2\]"),
        ({"offsets": [0, 2, 1, 2]}, ValueError, "offsets: expected numbers that never fall"),
        ({"n_variables": -1}, ValueError, "n_variables: .* at least 0, got -1"),
        ({"n_variables": 2.0}, ValueError, "n_variables: .* integer .*, got 2.0"),
        ({"n_variables": 2**31}, ValueError, "n_variables: .* at most 2147483647"),
        ({"comments": "text"}, TypeError, "comments: .* got one string 'text'"),
    ],
)
def test_the_writer_refuses_what_is_no_formula(tmp_path, changed, error, message):
    arguments = {"literals": [1, -2], "offsets": [0, 2], "n_variables": 2, **changed}
    path = tmp_path / "never.cnf"
    with pytest.raises(error, match=f"^{message}"):
        write_dimacs(path, **arguments)
    assert not path.exists()


def test_a_hundred_thousand_clauses_take_the_quick_pass(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_read_by_line", lambda *_: pytest.fail("the slow pass ran"))
    rng = np.random.default_rng(0)
    literals = rng.integers(1, 20_001, 300_000) * rng.choice([-1, 1], 300_000)
    path = tmp_path / "large.cnf"
    write_dimacs(path, literals, np.arange(0, 300_001, 3), 20_000, comments=["c"])
    with path.open("a") as file:
        file.write("%\n0\n\n")
    np.testing.assert_array_equal(read_dimacs(path).literals, literals)


@pytest.mark.parametrize(
    ("module", "loaded"), [("graphs", "set()"), ("graphs.formats, graphs.generators", "{'numpy'}")]
)
def test_files_and_generators_load_neither_jax_nor_networkx(module, loaded):
    code = (
        f"import sys, {module}; print({{'jax', 'networkx', 'numpy', 'scipy'}} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(formats.__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == loaded, result.stderr
