"""Small valid files of every format, their readers, and what is known of a right answer."""

import csv
import io
import itertools
import math

import numpy as np

NAMES = ("inputs", "targets", "person", "type", "reference_type", "unmatched_reference")
"""Texts of the file, which may be any word."""
MAY_BE_NAN = ("ess", "pareto_k", "correlations", "residual")
"""Numbers that do not exist for some methods and data, and are then written as nan."""


def prepare():
    """Start JAX as the commands do."""
    from models.commands._session import start_jax

    start_jax()


def not_finite(value, key=""):
    """Return which number of an answer is none, or None."""
    if isinstance(value, dict):
        parts = ((n, part) for n, part in value.items() if n not in (*MAY_BE_NAN, *NAMES))
    elif isinstance(value, list):
        parts = ((key, part) for part in value)
    elif isinstance(value, float):
        return None if math.isfinite(value) else f"{key} is {value}"
    else:
        return f"{key} is {value}" if value in ("nan", "inf", "-inf") else None
    return next((fault for name, part in parts if (fault := not_finite(part, name))), None)


def different(one, other, key=""):
    """Return which number of two answers differs beyond rounding, or None."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return f"{key} has other entries"
        parts = ((name, one[name], other[name]) for name in one if name != "stats")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = ((key, a, b) for a, b in zip(one, other))
    elif isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return None if math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12) else f"{key} differs"
    else:
        return None if one == other else f"{key} is {one!r}, not {other!r}"
    return next((fault for name, a, b in parts if (fault := different(a, b, name))), None)


def rows_of(data):
    """Return header and rows by the csv module alone, or None if it cannot read the file."""
    try:
        text = data.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        return None
    return [cell.strip().lower() for cell in rows[0]], rows[1:]


# ------------------------------------------------------------------ tables of numbers


def _table(rng, header, n_rows):
    rows = rng.normal(size=(n_rows, len(header))).round(3).tolist()
    return "\n".join([",".join(header), *(",".join(map(str, row)) for row in rows), ""]).encode()


def training_table(folder):
    return _table(np.random.default_rng(0), ("a", "b", "y"), 5)


def training_rows(answer, data):
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    header, rows = known
    if answer["n_rows"] != len(rows):
        return f"n_rows is {answer['n_rows']}, not {len(rows)}"
    if len(answer["inputs"]) != len(header) - 1:
        return f"{len(answer['inputs'])} inputs of {len(header)} columns"
    x = np.array([[float(c) for n, c in zip(header, row) if n != "y"] for row in rows])
    y = np.array([float(row[header.index("y")]) for row in rows])
    if max(abs(x).max(), abs(y).max()) > 1e6:
        return None  # this formula loses its digits
    covariance = x @ x.T / x.shape[1] + np.eye(len(y)) / 4.0
    wanted = -0.5 * (
        y @ np.linalg.solve(covariance, y)
        + np.linalg.slogdet(covariance)[1]
        + len(y) * math.log(2 * math.pi)
    )
    close = math.isclose(answer["log_evidence"], wanted, rel_tol=1e-4, abs_tol=1e-4)
    return None if close else f"log evidence {answer['log_evidence']}, not {wanted}"


def prediction_table(folder):
    return _table(np.random.default_rng(1), ("b", "y", "a"), 4)


def read_new(path):
    from models.commands._deep_linear_tables import new_inputs

    return new_inputs(str(path), ("a", "b"), ("y",))


def prediction_rows(answer, data):
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    # names as they are written, but for case
    header = [
        cell.strip() for cell in next(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    ]
    wanted = [[float(row[header.index(name)]) for name in ("a", "b")] for row in known[1]]
    return None if np.array_equal(answer[0], wanted) else "other inputs than those of the file"


# ------------------------------------------------------------------ formulas


def formula(folder):
    return b"c small\np cnf 6 7\n1 -2 3 0\n-1 4 0\n2 5 -6 0\n-3 -4 0\n6 0\n1 2 0\n-5 -1 3 0\n"


def clauses_of(data):
    """Return number of variables and clauses, by splitting words alone."""
    words = []
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        parts = line.split()
        if parts == [b"%"]:
            break
        if parts and not parts[0].startswith(b"c"):
            words += parts
    n_variables, n_clauses = int(words[2]), int(words[3])
    clauses, clause = [], []
    for literal in map(int, words[4:]):
        clause.append(literal)
        if literal == 0:
            clauses.append(clause[:-1])
            clause = []
    if len(clauses) != n_clauses or clause:
        raise ValueError("other clauses than the header says")
    return n_variables, clauses


def satisfied(answer, data):
    try:
        n_variables, clauses = clauses_of(data)
    except (ValueError, IndexError) as fault:
        return f"of a file that splitting words cannot read: {fault}"
    if (answer["n_variables"], answer["n_clauses"]) != (n_variables, len(clauses)):
        return "other sizes than those of the file"
    if answer["status"] == "SATISFIABLE":
        true = set(answer["assignment"])
        if len(true) != n_variables or any(-literal in true for literal in true):
            return "no assignment of all variables"
        broken = [clause for clause in clauses if not true.intersection(clause)]
        return f"clause {broken[0]} is violated" if broken else None
    used = sorted({abs(literal) for clause in clauses for literal in clause})
    if answer["status"] == "UNSATISFIABLE" and len(used) <= 12:
        for signs in itertools.product((-1, 1), repeat=len(used)):
            true = {v * s for v, s in zip(used, signs)}
            if all(true.intersection(clause) for clause in clauses):
                return "it is satisfiable"
    return None


# ------------------------------------------------------------------ contacts and tests

CONTACTS = b"""person_a,person_b,day,transmission
ann,bob,0,0.2
bob,cid,1,0.5
cid,dee,1,0.1
ann,dee,2,0.3
"""
TESTS = b"""person,day,result,false_positive,false_negative
ann,1,positive,0.01,0.1
dee,3,negative,0.02,0.2
cid,2,0,0.0,0.1
"""


def contacts(folder):
    (folder / "tests.csv").write_bytes(TESTS)
    return CONTACTS


def tests(folder):
    (folder / "contacts.csv").write_bytes(CONTACTS)
    return TESTS


def risks(answer, data, *, columns):
    """Judge the risks; ``columns`` of the file hold all people, None: it holds the tests."""
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    header, rows = known
    table = answer["risk"]
    prob = np.array([table[f"p_{name}"] for name in ("susceptible", "infected", "recovered")])
    if (prob < -1e-9).any() or not np.allclose(prob.sum(axis=0), 1.0, atol=1e-6):
        return "the probabilities of a person do not sum to 1"
    if columns is None:
        found = answer["n_tests"], 4
        wanted = len(rows), len(table["person"])
    else:
        people = {row[header.index(name)].strip() for row in rows for name in columns}
        found, wanted = set(table["person"]), people
    return None if found == wanted else f"{found} in place of {wanted}"


# ------------------------------------------------------------------ cell types


def points(folder):
    rng = np.random.default_rng(2)
    rows = [
        f"{gene},{x:.3f},{y:.3f},{size:.3f}"
        for gene, (x, y), size in zip("ABAABB", rng.random((6, 2)), 1.0 + rng.random(6))
    ]
    return "\n".join(["gene,x,y,area", *rows, ""]).encode()


def read_cells(path):
    from models.cell_types import bin_points, read_points

    cells = read_points(path)
    return cells, bin_points(cells, 3)


def cells(answer, data):
    found, counts = answer
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    header, rows = known
    columns = found.columns()
    for name in ("gene", "x", "y"):
        texts = [row[header.index(name)].strip() for row in rows]
        wanted = texts if name == "gene" else [float(text) for text in texts]
        if list(columns[name]) != wanted:
            return f"other {name} than those of the file"
    if not all(np.isfinite(mark).all() for mark in found.marks.values()):
        return "a mark is not finite"
    if counts.n_cells != len(rows):
        return f"{counts.n_cells} cells in bins of {len(rows)}"
    return None


def _wide(rng, types, genes):
    rows = (",".join([gene, *map(str, rng.gamma(1.0, size=len(types)).round(3))]) for gene in genes)
    return "\n".join([",".join(["gene", *types]), *rows, ""]).encode()


def _long(rng, types, genes):
    rows = (f"{t},{g},{rng.gamma(1.0):.3f},0.5" for t in types for g in genes)
    return "\n".join(["type,gene,beta,fraction", *rows, ""]).encode()


def profiles(folder):
    rng = np.random.default_rng(3)
    (folder / "reference.csv").write_bytes(_wide(rng, ["Sst", "Vip"], "ABCDE"))
    return _long(rng, ["type_1", "type_2"], "ABCDE")


def reference(folder):
    rng = np.random.default_rng(3)
    (folder / "profiles.csv").write_bytes(_long(rng, ["type_1", "type_2"], "ABCDE"))
    return _wide(rng, ["Sst", "Vip"], "ABCDE")


def matches(answer, data):
    if rows_of(data) is None:
        return "of a file that the csv module cannot read"
    for row in answer["types"]:
        if row["correlation"] is not None and not abs(row["correlation"]) <= 1 + 1e-9:
            return f"a correlation of {row['correlation']}"
        for name in ("p", "p_holm"):
            if row[name] is not None and not 0 < row[name] <= 1:
                return f"{name} is {row[name]}"
    return None if 0 < answer["p"] <= 1 else f"p is {answer['p']}"


def image(kind, folder):
    from imageio.v3 import imwrite

    y, x = np.mgrid[:24, :24]
    grey = np.full((24, 24), 220.0)
    for centre in ((6, 7), (16, 15)):
        grey -= 150.0 * np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / 8.0)
    return imwrite("<bytes>", grey.astype(np.uint8), extension=f".{kind}")


def detected(answer, data):
    (found,) = answer["images"]
    n_cells = found["n_cells"]
    return None if n_cells >= 0 and isinstance(n_cells, int) else f"{n_cells} cells"
