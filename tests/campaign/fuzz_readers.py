"""Readers without a quick command, or behind one, and what is known of what they read."""

import functools

import numpy as np
from fuzz_answers import clauses_of, rows_of

# ------------------------------------------------------------------ binary files


def netcdf(folder):
    from inference.interop import to_arviz
    from inference.storage import save

    path = folder / "draws.nc"
    save(to_arviz(_draws()), path, attrs={"seed": 7, "command": "fuzz"})
    return path.read_bytes()


def _draws():
    rng = np.random.default_rng(4)
    return {"mu": rng.normal(size=(2, 5)), "theta": rng.normal(size=(2, 5, 3))}


def read_netcdf(path):
    from inference.storage import load

    return load(path)


def same_draws(answer, data):
    from inference.interop import posterior_array

    for name, draws in _draws().items():
        if not np.array_equal(posterior_array(answer, name), draws):
            return f"other draws of {name} than were saved"
    return None if answer.attrs["seed"] == 7 else "another attribute than was saved"


def _state():
    return {"step": 3, "texts": ("a", None, [1.5, True]), "spins": np.arange(6.0).reshape(2, 3)}


def checkpoint(folder):
    from inference.checkpoints import kept

    path = folder / "run.npz"
    with kept(path, "walk", seed=0) as keeper:
        keeper.offer(_state, last=True)
    return path.read_bytes()


def read_checkpoint(path):
    from inference.checkpoints import kept

    with kept(path, "walk", seed=0) as keeper:
        return keeper.restored


def same_state(answer, data):
    wanted = _state()
    if repr(answer) != repr(wanted):
        return "another state than was saved"
    return None


def _mitigate(folder):
    from graphs.contacts import static_contacts
    from models.contact_tracing import Epidemic, RandomRanking, mitigate

    return mitigate(
        {"random": RandomRanking()},
        functools.partial(static_contacts, 12, 4, mean_degree=3),
        Epidemic(0.2, 0.1),
        seeds=[0],
        folder=folder,
        progress=False,
    ).runs["random"][0]


def mitigation(folder):
    _mitigate(folder)
    return (folder / "random-0.npz").read_bytes()


def read_mitigation(path):
    return _mitigate(path.parent)


@functools.cache
def _run_without_file():
    return _mitigate(None)


def same_run(answer, data):
    return None if repr(answer) == repr(_run_without_file()) else "another run than was kept"


# ------------------------------------------------------------------ readers behind the commands


def read_training(path):
    from models.commands._deep_linear_tables import inputs_and_targets

    return inputs_and_targets(str(path), ("y",))


def training_numbers(answer, data):
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    names, x, y = answer
    if len(names) != len(known[0]) - 1:
        return f"inputs {names}"
    wanted = np.array(known[1], dtype=float)
    same = np.array_equal(np.sort(np.hstack([x, y]), axis=1), np.sort(wanted, axis=1))
    return None if same else "other numbers than those of the file"


def read_clauses(path):
    from models.ksat import Formula

    return Formula.from_dimacs(path)


def same_clauses(answer, data):
    try:
        n_variables, clauses = clauses_of(data)
    except (ValueError, IndexError) as fault:
        return f"of a file that splitting words cannot read: {fault}"
    found = [list(answer.clause(a)) for a in range(answer.n_clauses)]
    same = answer.n_variables == n_variables and found == clauses
    return None if same else "other clauses than those of the file"


def read_meetings(path):
    from graphs.contact_files import read_contacts

    return read_contacts(path)


def read_results(path):
    from graphs.contact_files import read_tests

    return read_tests(path)


def same_people(answer, data):
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    header, rows = known
    for name in ("person_a", "person_b", "person", "day"):
        if hasattr(answer, name):
            texts = [row[header.index(name)].strip() for row in rows]
            wanted = [int(float(text)) for text in texts] if name == "day" else texts
            if list(getattr(answer, name)) != wanted:
                return f"other {name} than those of the file"
    columns = [
        getattr(answer, n, None) for n in ("transmission", "false_positive", "false_negative")
    ]
    given = [column for column in columns if column is not None]
    right = all(((column >= 0) & (column <= 1)).all() for column in given)
    return None if right else "a probability outside 0 to 1"


def read_expression(path):
    from models.cell_types import read_profiles

    return read_profiles(path)


def finite_profiles(answer, data):
    known = rows_of(data)
    if known is None:
        return "of a file that the csv module cannot read"
    if answer.values.shape != (len(answer.types), len(answer.genes)):
        return f"{answer.values.shape} values"
    n_rows = len(known[1])
    if n_rows not in (len(answer.genes), answer.values.size):
        return f"{answer.values.size} values of {n_rows} rows"
    return None if np.isfinite(answer.values).all() else "a value is not finite"


def read_image(path):
    from models.commands.cell_types import _read_image

    return _read_image(str(path))


def numbers(answer, data):
    return None if answer.dtype.kind in "biuf" else f"pixels of the kind {answer.dtype}"
