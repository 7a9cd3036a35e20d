"""``cavity ksat solve``: the output of the SAT competitions, checked by a reader of its own."""

import csv
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import models.ksat
from models import cli
from models.commands._session import held_interrupts
from models.ksat import Formula, Satisfiability, exact_marginals, planted_formula, random_formula

ROOT = Path(__file__).parent.parent
SOLVE = ("ksat", "solve")
METHODS = ("auto", "survey", "reinforce", "local")
# every sign pattern on three variables: no solution, and no unit clause to show it
ALL_EIGHT = [[a, 2 * b, 3 * c] for a, b, c in itertools.product([1, -1], repeat=3)]


def solve(capsys, *arguments):
    """Return exit code, lines on standard output and lines on standard error."""
    capsys.readouterr()
    code = cli.main([str(argument) for argument in (*SOLVE, *arguments)])
    out, err = capsys.readouterr()
    return code, out.splitlines(), err.splitlines()


def command_line(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "models", *SOLVE, *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def written(path, clauses, n_variables=None):
    Formula.from_clauses(clauses, n_variables).to_dimacs(path)
    return path


def read_clauses(path):
    """Clauses and number of variables of a well-formed file, without the library."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("c")]
    n_variables = int(lines[0].split()[2])
    clauses, clause = [], []
    for word in " ".join(lines[1:]).split():
        if word == "0":
            clauses.append(clause)
            clause = []
        else:
            clause.append(int(word))
    return clauses, n_variables


def assert_solves(path, lines):
    """The lines have the form of a competition, and their values satisfy the file."""
    assert {line[:2] for line in lines} <= {"c ", "s ", "v "}
    assert [line for line in lines if line[0] == "s"] == ["s SATISFIABLE"]
    values = [line for line in lines if line[0] == "v"]
    assert lines[-len(values) :] == values
    assert max(map(len, values)) <= 78
    words = " ".join(line[2:] for line in values).split()
    assert words.count("0") == 1
    assert words.pop() == "0"
    literals = set(map(int, words))
    clauses, n_variables = read_clauses(path)
    assert sorted(map(abs, literals)) == list(range(1, n_variables + 1))
    assert len(words) == n_variables
    assert all(literals.intersection(clause) for clause in clauses)
    return literals


# --- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("k", "alpha"), [(3, 3.9), (4, 8.0)])
def test_every_method_solves_and_the_values_satisfy_the_file(capsys, tmp_path, method, k, alpha):
    path = tmp_path / "random.cnf"
    random_formula(1000, int(alpha * 1000), k, seed=k).to_dimacs(path, comments=["random"])
    code, lines, err = solve(capsys, path, "--method", method)
    assert (code, err) == (10, [])
    assert lines[0] == f"c {path}: 1000 variables, {int(alpha * 1000)} clauses"
    assert_solves(path, lines)


def test_a_seed_gives_one_answer(capsys, tmp_path):
    path = tmp_path / "random.cnf"
    random_formula(500, 1800, 3, seed=1).to_dimacs(path)
    answers = []
    for seed in (5, 5, 6):
        code, lines, _ = solve(capsys, path, "--seed", seed)
        assert code == 10
        assert f"c seed {seed}" in lines
        answers.append(assert_solves(path, lines))
    assert answers[0] == answers[1] != answers[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("clauses", "named"),
    [
        ([[1, 2], [1], [-1, 3], [-3]], ("2: 1 0", "3: -1 3 0", "4: -3 0")),
        ([[1, 2], [], [1, -2]], ("2: 0",)),
        ([[]], ("1: 0",)),
        ([[4, 4], [-4, -4]], ("1: 4 4 0", "2: -4 -4 0")),
    ],
    ids=["units", "an empty clause", "nothing else", "repeated literals"],
)
def test_a_contradiction_of_units_is_unsatisfiable(capsys, tmp_path, method, clauses, named):
    path = written(tmp_path / "refuted.cnf", clauses, 4)
    code, lines, err = solve(capsys, path, "--method", method)
    assert (code, err) == (20, [])
    assert lines[-1] == "s UNSATISFIABLE"
    assert lines[-2].startswith("c unit propagation violates clause ")
    assert lines[-2].removeprefix("c unit propagation violates clause ") in named
    assert all(line.startswith("c ") for line in lines[:-1])


@pytest.mark.parametrize("method", METHODS)
def test_what_no_search_finds_stays_unknown(capsys, tmp_path, method):
    path = written(tmp_path / "eight.cnf", ALL_EIGHT)
    code, lines, err = solve(capsys, path, "--method", method, "--time-limit", 0.2)
    assert (code, err) == (0, [])
    assert lines[-2:] == ["c 1 violated clauses at best", "s UNKNOWN"]
    assert not any(line.startswith("v") for line in lines)


def test_a_wrong_claim_of_the_solver_is_not_repeated(capsys, tmp_path, monkeypatch):
    path = written(tmp_path / "two.cnf", [[1, 2], [-1, -2]])
    truth = models.ksat.solve

    def boast(*args, **kwargs):
        wrong = np.array([1, 1], np.int8)
        return truth(*args, **kwargs)._replace(
            assignment=wrong, energy=0, status=Satisfiability.SATISFIABLE
        )

    monkeypatch.setattr(models.ksat, "solve", boast)
    code, lines, _ = solve(capsys, path)
    assert code == 0
    assert lines[-2:] == ["c 1 violated clauses at best", "s UNKNOWN"]


# --- ordinary formulas -----------------------------------------------------------------------


def n_solutions(clauses, n_variables):
    """The number of solutions, by looking at every assignment."""
    spins = np.array(list(itertools.product([1, -1], repeat=n_variables)), int)
    spins = spins.reshape(2**n_variables, n_variables)
    good = np.ones(len(spins), bool)
    for clause in clauses:
        variables = np.abs(np.array(clause, int)) - 1
        good &= (spins[:, variables] == np.sign(np.array(clause, int))).any(axis=1)
    return int(good.sum())


@pytest.mark.parametrize(
    ("clauses", "n_variables"),
    [
        ([], 0),
        ([], 40),
        ([[1], [-2], [3]], 3),
        ([[1, 2, 3], [1, -2], [1, 3]], 3),  # 1 is pure
        ([[1, -1], [2, -2, 3]], 3),
        ([[1, 1, 1], [-1, -1, 2], [1, 2, 2, 1]], 2),
        ([[1, -2]] * 5 + [[2, 1]] * 5, 2),
        ([[3, -7]], 30),  # most variables in no clause
        ([[1, -1], [1], [1, 1]], 2),
        ([[1], [-1, 2], [-2, 3], [-3, 4, 5], [-4, -5], [-1, -5]], 5),
    ],
    ids=[
        "empty", "no clauses", "units", "a pure literal", "tautologies", "repeated literals",
        "repeated clauses", "unused variables", "unit and tautology", "a chain of units",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", METHODS)
def test_ordinary_formulas_are_solved(capsys, tmp_path, method, clauses, n_variables):
    path = written(tmp_path / "ordinary.cnf", clauses, n_variables)
    code, lines, err = solve(capsys, path, "--method", method)
    assert (code, err) == (10, [])
    assert_solves(path, lines)


def test_mixed_formulas_get_the_answers_of_brute_force(capsys, tmp_path):
    rng = np.random.default_rng(11)
    answers = {10: 0, 20: 0, 0: 0}
    for case in range(60):
        n = int(rng.integers(1, 11))
        # short clauses are rare enough that both answers come up
        lengths = rng.choice(8, size=rng.integers(1, 4 * n), p=[0.06, 0.16, *[0.13] * 6]) + 1
        clauses = [
            (rng.integers(1, n + 1, size) * rng.choice([-1, 1], size)).tolist() for size in lengths
        ]
        clauses += [clauses[0]] * (case % 3)
        path = written(tmp_path / f"{case}.cnf", clauses, n)
        satisfiable = n_solutions(clauses, n) > 0
        limit = () if satisfiable else ("--time-limit", 0.05)
        code, lines, err = solve(capsys, path, *limit)
        assert err == []
        answers[code] += 1
        if satisfiable:
            assert code == 10, path.read_text()
            assert_solves(path, lines)
        else:
            assert code in (20, 0), path.read_text()
    assert answers[10] >= 30
    assert answers[20] >= 5


def test_planted_formulas_of_mixed_lengths_are_solved(capsys, tmp_path):
    rng = np.random.default_rng(12)
    n = 400
    hidden = rng.choice([-1, 1], n)
    clauses = []
    for size in rng.integers(1, 9, 900).tolist():
        if size == 1 and rng.random() < 0.8:
            size = 4
        variables = rng.choice(n, size, replace=False)
        signs = rng.choice([-1, 1], size)
        signs[0] = hidden[variables[0]]
        clauses.append(((variables + 1) * signs).tolist())
    path = written(tmp_path / "mixed.cnf", clauses, n)
    for method in METHODS:
        code, lines, _ = solve(capsys, path, "--method", method)
        assert code == 10, method
        assert_solves(path, lines)


def test_the_ending_of_satlib_and_clauses_over_lines_are_read(capsys, tmp_path):
    path = tmp_path / "uf3.cnf"
    path.write_text("c\np cnf 3  3 \n 1 -2\n 3 0 -1\n0\nc inside\n2 0\n%\n0\n\n")
    code, lines, _ = solve(capsys, path)
    assert code == 10
    (values,) = [line for line in lines if line[0] == "v"]
    assert values == "v -1 2 3 0"


# --- marginals -------------------------------------------------------------------------------


def test_marginals_on_a_tree_are_exact(capsys, tmp_path):
    tree = [[1, -2, 3], [-3, 4], [4, -5, 6, -7], [7, 8], [-8, 9, 10], [2, 11], [-11]]
    path = written(tmp_path / "tree.cnf", tree, 12)
    target = tmp_path / "marginals.csv"
    code, lines, err = solve(capsys, path, "--marginals", target)
    assert (code, err) == (10, [])
    assert_solves(path, lines)
    exact = exact_marginals(Formula.from_clauses(tree, 12))
    with target.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["variable", "probability"]
    assert [int(row[0]) for row in rows] == list(range(1, 13))
    found = [float(row[1]) for row in rows]
    np.testing.assert_allclose(found, exact.marginals, rtol=0, atol=1e-10)
    assert found[10] == 0.0
    assert f"c Bethe log number of solutions {exact.log_partition:.6g} nats" in lines


def test_a_missing_folder_is_refused_at_once(capsys, tmp_path):
    target = tmp_path / "no" / "marginals.csv"
    arguments = (tmp_path / "not even this.cnf", "--marginals", target)
    folder = tmp_path / "no"
    refused = [f"cavity: {target}: there is no folder {folder}"]
    assert solve(capsys, *arguments) == (2, [], refused)
    folder.mkdir()
    code, out, err = solve(capsys, tmp_path / "no.cnf", "--marginals", folder)
    assert (code, out) == (2, [])
    assert err == [f"cavity: {folder}: expected a file to write, got a folder"]


def test_after_a_contradiction_no_marginals_are_written(capsys, tmp_path):
    path = written(tmp_path / "refuted.cnf", [[1, 2], [3], [-3]])
    target = tmp_path / "marginals.csv"
    code, lines, err = solve(capsys, path, "--marginals", target)
    assert (code, err) == (20, [])
    assert not target.exists()
    (said,) = [line for line in lines if "not written" in line]
    assert said.startswith(f"c {target}: not written, belief propagation: ")
    assert lines[-1] == "s UNSATISFIABLE"


def test_marginals_without_convergence_come_with_a_warning(capsys, tmp_path):
    path = tmp_path / "hard.cnf"
    random_formula(300, 1350, 3, seed=4).to_dimacs(path)
    target = tmp_path / "marginals.csv"
    options = ("--marginals", target, "--method", "local", "--time-limit", 0.01)
    _, lines, _ = solve(capsys, path, *options)
    assert any(line.startswith("c warning: the step limit was reached") for line in lines)
    assert len(target.read_text().splitlines()) == 301


# --- bad input -------------------------------------------------------------------------------

MALFORMED = {
    "empty file": (b"", 1),
    "blank lines": (b"\n\n", 2),
    "only comments": (b"c only\nc comments\n", 2),
    "no header": (b"1 2 0\n-1 0\n", 1),
    "header after a clause": (b"c\n1 2 0\np cnf 2 1\n", 2),
    "two headers": (b"p cnf 2 1\n1 2 0\np cnf 2 1\n", 3),
    "header without counts": (b"\np cnf\n1 0\n", 2),
    "header with a word": (b"p cnf 2 x\n1 0\n", 1),
    "header of another format": (b"p wcnf 2 1\n1 1 0\n", 1),
    "negative count": (b"p cnf -2 1\n1 0\n", 1),
    "count beyond 2**31": (b"p cnf 2147483648 1\n1 0\n", 1),
    "too many clauses": (b"p cnf 2 1\n1 0\n\n2 0 -1 0\n", 4),
    "too few clauses": (b"p cnf 2 3\n1 0\n2 0\n", 3),
    "too few clauses before the end mark": (b"p cnf 2 3\n1 0\n2 0\n%\n0\n", 5),
    "literal out of range": (b"p cnf 2 2\n1 0\n1 -3 0\n", 3),
    "literal without variables": (b"p cnf 0 1\n1 0\n", 2),
    "literal beyond 64 bits": (b"p cnf 2 1\n1 -18446744073709551617 0\n", 2),
    "a word": (b"p cnf 2 1\n1 x2 0\n", 2),
    "a fraction": (b"p cnf 2 1\n1 2.0 0\n", 2),
    "a plus sign": (b"p cnf 2 1\n1 +2 0\n", 2),
    "signs apart": (b"p cnf 2 1\n1 - 2 0\n", 2),
    "a late comment": (b"p cnf 2 1\n1 0 c late\n", 2),
    "truncated last clause": (b"p cnf 3 2\n1 2 0\n-1\n3\n", 4),
    "compressed": (b"\x1f\x8b\x08\x00\x9c\xff\x00\x03", 1),
    "binary after the header": (b"p cnf 2 1\n\x00\x01\x02\n", 2),
    "UTF-16": ("p cnf 1 1\n1 0\n".encode("utf-16"), 1),
    "an unbreakable space": ("p cnf 2 1\n1\N{NO-BREAK SPACE}2 0\n".encode(), 2),
    "more after the end mark": (b"p cnf 2 1\n1 0\n%\n0\n2 0\n", 5),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_line_with_file_and_line(capsys, tmp_path, name):
    data, line = MALFORMED[name]
    path = tmp_path / "bad.cnf"
    path.write_bytes(data)
    code, out, err = solve(capsys, path)
    assert (code, out, len(err)) == (2, [], 1), err
    assert err[0].startswith(f"cavity: {path}:{line}: expected ")
    assert len(err[0]) < len(str(path)) + 150
    assert err[0].isprintable()


@pytest.mark.parametrize(
    ("place", "fault"),
    [("", "Is a directory"), ("none.cnf", "No such file or directory")],
    ids=["a folder", "a missing file"],
)
def test_what_is_no_file_is_named(capsys, tmp_path, place, fault):
    path = tmp_path / place
    assert solve(capsys, path) == (2, [], [f"cavity: {path}: {fault}"])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (("--method", "cdcl"), ("--method", "'cdcl'", "survey")),
        (("--seed", "one"), ("--seed", "'one'")),
        (("--seed", "-1"), ("seed", "-1")),
        (("--time-limit", "0"), ("--time-limit", "positive", "0")),
        (("--time-limit", "nan"), ("--time-limit", "nan")),
        (("--time-limit", "soon"), ("--time-limit", "'soon'")),
        (("two.cnf",), ("two.cnf",)),
    ],
    ids=" ".join,
)
def test_a_bad_option_is_one_line(capsys, tmp_path, options, parts):
    path = written(tmp_path / "one.cnf", [[1]])
    code, out, err = solve(capsys, path, *options)
    assert (code, len(err)) == (2, 1), err
    assert not any(line.startswith("s ") for line in out)
    assert err[0].startswith("cavity: ")
    for part in parts:
        assert part in err[0]


@pytest.mark.parametrize(("step", "size"), [("solve", ": 1 variables, 1 clauses"), ("Formula", "")])
def test_a_formula_beyond_the_memory_is_one_line(capsys, tmp_path, monkeypatch, step, size):
    def exhausted(*_, **__):
        raise MemoryError

    path = written(tmp_path / "large.cnf", [[1]])
    if step == "solve":
        monkeypatch.setattr(models.ksat, step, exhausted)
    else:
        monkeypatch.setattr(models.ksat.Formula, "from_dimacs", exhausted)
    code, _, err = solve(capsys, path)
    assert (code, err) == (2, [f"cavity: {path}{size}: too large for the memory"])


# --- as a user runs it -----------------------------------------------------------------------


def test_help_loads_no_numerics():
    code = (
        "import sys\nfrom models.cli import main\n"
        "try: main(['ksat', 'solve', '--help'])\nexcept SystemExit: pass\n"
        "print({'jax', 'numba', 'numpy', 'inference'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.stdout.splitlines()[-1] == "set()", result.stderr
    for word in ("FORMULA.cnf", "--time-limit", "--marginals", "reinforce"):
        assert word in result.stdout


def test_the_command_solves_and_draws_no_bar_into_a_pipe(tmp_path):
    path = tmp_path / "planted.cnf"
    planted_formula(300, 1200, 3, seed=0)[0].to_dimacs(path)
    result = command_line(path)
    assert (result.returncode, result.stderr) == (10, "")
    assert_solves(path, result.stdout.splitlines())


def test_the_command_refutes_and_refuses(tmp_path):
    path = written(tmp_path / "refuted.cnf", [[1], [-1]])
    result = command_line(path)
    assert (result.returncode, result.stderr) == (20, "")
    assert result.stdout.splitlines()[-1] == "s UNSATISFIABLE"
    path.write_text("p cnf 1 1\n2 0\n")
    result = command_line(path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"cavity: {path}:2: expected a literal from -1 to 1 other than 0, got '2'\n"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a signal there ends the process")
def test_an_interrupted_search_says_how_far_it_came(tmp_path):
    path = tmp_path / "hard.cnf"
    random_formula(20_000, 88_000, 3, seed=0).to_dimacs(path)
    with subprocess.Popen(
        [sys.executable, "-m", "models", *SOLVE, str(path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            first = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert first == f"c {path}: 20000 variables, 88000 clauses\n"
    assert (process.returncode, err) == (0, "")
    *comments, said, verdict = out.splitlines()
    assert all(line.startswith("c ") for line in comments)
    assert verdict == "s UNKNOWN"
    assert said.startswith("c interrupted")
    assert "violated clauses" in said
    (number,) = [int(word) for word in said.split() if word.isdigit()]
    assert 0 < number < 88_000 / 4


@pytest.mark.parametrize("moment", ["read", "belief", "solve"])
def test_ctrl_c_at_any_moment_ends_in_good_order(capsys, tmp_path, monkeypatch, moment):
    path = written(tmp_path / "eight.cnf", ALL_EIGHT)
    place, name = {
        "read": (models.ksat.Formula, "from_dimacs"),
        "belief": (models.ksat, "belief_propagation"),
        "solve": (models.ksat, "solve"),
    }[moment]
    undisturbed = getattr(place, name)

    def disturbed(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)
        return undisturbed(*args, **kwargs)

    monkeypatch.setattr(place, name, disturbed)
    code, lines, err = solve(capsys, path, "--marginals", tmp_path / "out.csv")
    assert (code, err) == (0, [])
    assert lines[-2:] == ["c interrupted: 1 violated clauses at best", "s UNKNOWN"]
    assert (tmp_path / "out.csv").exists() == (moment != "read")


def test_a_second_ctrl_c_ends_at_once(capsys, tmp_path, monkeypatch):
    def deaf(*_, **__):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)
        raise AssertionError("the second one raises")

    monkeypatch.setattr(models.ksat, "solve", deaf)
    code, lines, err = solve(capsys, written(tmp_path / "eight.cnf", ALL_EIGHT))
    assert (code, err) == (0, [])
    assert lines[-2:] == ["c interrupted at once", "s UNKNOWN"]


def test_interrupts_are_held_and_the_handler_comes_back():
    def blocks():
        with held_interrupts() as pressed:
            done.append(signal.getsignal(signal.SIGINT))
            if threading.current_thread() is threading.main_thread():
                os.kill(os.getpid(), signal.SIGINT)
            done.append(len(pressed))

    before, done = signal.getsignal(signal.SIGINT), []
    blocks()
    assert done[0] is not before
    assert done[1] == 1
    assert signal.getsignal(signal.SIGINT) is before
    done.clear()
    elsewhere = threading.Thread(target=blocks)
    elsewhere.start()
    elsewhere.join()
    assert done == [before, 0]
