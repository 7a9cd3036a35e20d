"""Damage files of every format that the library reads, and judge what comes of it.

    python tests/campaign/fuzz_files.py [--files 5000] [--subprocesses 50] [--seed 0] [FORMAT ...]

Every damaged file is read in this process, through the command that reads it where there is one
that is quick, and some by a process of their own. A reading is right if it is refused with exit
code 2 and exactly one line that names the file, or answered with finite numbers that agree with
what this script knows of the file by itself; damage that keeps the meaning must keep the answer.
A traceback, a warning, a second line, 20 seconds without an answer, or a number that is none is
mishandled. Exit status 1 if anything is; the row of a format with 1000 files and more is kept in
results/fuzz.md.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent)]

import fuzz_answers  # noqa: E402
import fuzz_readers  # noqa: E402
import numpy as np  # noqa: E402
from fuzz_mutations import mutated  # noqa: E402

from inference.files import replacing  # noqa: E402

PATIENCE = 20
MOST_BYTES = 6 * 2**30
"""Address space beyond what is taken at the start: a file may ask for more memory than there is."""


@dataclass(frozen=True)
class Format:
    """One format: a valid file, how it is read, and what a right answer is."""

    file: str
    """Name of the damaged file; a second format may read a file of the same name elsewhere."""
    seed: Callable[[Path], bytes]
    """A small valid file; called with its folder, where it may write what goes with it."""
    arguments: tuple[str, ...] | None = None
    """Of the command, with the files as {name}; None where no quick command reads it."""
    call: Callable[[Path], object] | None = None
    """Reads the file in place of the command."""
    right: Callable[[object, bytes], str | None] = lambda answer, data: None
    """What is wrong about an answer, given the file; None if nothing is."""
    text: str | None = None
    """``"table"`` or ``"lines"``; None is binary."""
    codes: tuple[int, ...] = (0, 1)
    """Exit codes of answers."""
    reader: tuple[Callable[[Path], object], Callable[[object, bytes], str | None]] | None = None
    """What the command reads the file with, and what is wrong about what was read."""


class Hang(BaseException):
    """No answer in time; no handler of the library may swallow it."""


def _alarm(*_):
    raise Hang


def answer_in_process(form, folder):
    """Return exit code, what was printed or returned, standard error, and warnings."""
    out, err = io.StringIO(), io.StringIO()
    code, answer = 0, None
    signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(PATIENCE)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            warnings.simplefilter("always")
            if form.call is not None:
                try:
                    answer = form.call(folder / form.file)
                except (ValueError, OSError) as fault:
                    first = str(fault).partition("\n")[0]
                    code = 2
                    print(f"cavity: {first}", file=sys.stderr)
            else:
                from models.cli import main

                code = main(command_of(form, folder))
                answer = out.getvalue()
    except Hang:
        return 124, None, f"no answer after {PATIENCE} s", []
    except BaseException:
        return 70, None, traceback.format_exc(), []
    finally:
        signal.alarm(0)
    return code, answer, err.getvalue(), [str(w.message) for w in caught]


def command_of(form, folder):
    return [word.format(folder=folder) for word in form.arguments]


def answer_by_process(form, name, folder):
    """Return the same from a process of its own; of a call, only that it has an answer."""
    if form.call is not None:
        line = [sys.executable, __file__, "--read", str(folder), name]
    else:
        line = [sys.executable, "-m", "models", *command_of(form, folder)]
    try:
        ended = subprocess.run(
            line, capture_output=True, text=True, timeout=6 * PATIENCE, cwd=HERE.parent.parent
        )
    except subprocess.TimeoutExpired:
        return 124, None, f"no answer after {6 * PATIENCE} s", []
    return ended.returncode, ended.stdout, ended.stderr, []


def complaint_about(form, folder, data, found, *, wanted=None, whole=True):
    """Return what is mishandled, or None; ``wanted`` is the answer that must be kept."""
    code, answer, errors, caught = found
    lines = errors.splitlines()
    if caught:
        return f"a warning escaped: {caught[0]}"
    if code == 2:
        if len(lines) != 1:
            return f"exit 2 with {len(lines)} lines: {errors[-800:]}"
        names = [path.name for path in folder.iterdir()] + [form.file]
        if not any(name in lines[0] for name in names):
            return f"the file is not named: {lines[0]}"
        if "Traceback" in lines[0] or not lines[0].startswith("cavity: "):
            return f"no message of ours: {lines[0]}"
        return None if wanted is None else f"refused, though it means the same: {lines[0]}"
    if code not in form.codes:
        return f"exit {code}: {errors[-1500:]}"
    if len(lines) != (code == 1):
        return f"exit {code} with {len(lines)} lines on standard error: {errors[-800:]}"
    if form.call is not None:
        if not whole:
            return None
        wrong = form.right(answer, data)
    else:
        try:
            parsed = json.loads(answer, parse_constant=lambda word: math.nan)
        except ValueError:
            return f"no JSON object: {answer[:200]!r}"
        wrong = fuzz_answers.not_finite(parsed) or form.right(parsed, data)
        if wanted is not None and not wrong:
            wrong = fuzz_answers.different(parsed, json.loads(wanted))
    return wrong and f"answer: {wrong}"


def fuzzed(name, n_files, n_processes, seed, folder, *, quick=False):
    """Damage files of a format; return numbers refused and answered, and the mishandled ones.

    With ``quick`` files are read by what the command reads them with, and not by the command.
    """
    form = FORMATS[name]
    if quick and form.reader is not None:
        call, right = form.reader
        form = dataclasses.replace(form, arguments=None, call=call, right=right)
    place = folder / name
    place.mkdir()
    path = place / form.file
    whole = form.seed(place)
    path.write_bytes(whole)
    untouched = {p.name: p.read_bytes() for p in place.iterdir()}
    answer_in_process(form, place)  # compiles, which a time limit counts
    first = answer_in_process(form, place)
    wrong = complaint_about(form, place, whole, first)
    if wrong or first[0] == 2:
        return 0, 0, [("the valid file", whole, wrong or first[2])]
    refused = answered = 0
    faults = []
    for number in range(n_files + n_processes):
        rng = np.random.default_rng([seed, sum(name.encode()), number])
        how, data, keeps = mutated(whole, form.text, rng)
        for other, content in untouched.items():
            (place / other).write_bytes(content)
        path.write_bytes(data)
        alone = number >= n_files
        found = answer_by_process(form, name, place) if alone else answer_in_process(form, place)
        wanted = first[1] if keeps and form.call is None and not alone else None
        wrong = complaint_about(form, place, data, found, wanted=wanted, whole=not alone)
        if keeps and form.call is not None and found[0] == 2:
            wrong = f"refused, though it means the same: {found[2]}"
        if wrong:
            faults.append((f"file {number}, {how}", data, wrong))
        elif found[0] == 2:
            refused += 1
        else:
            answered += 1
    return refused, answered, faults


def _limit_memory():
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, -1))


QUIET = ("--quiet", "--json")
FORMATS = {
    "table to train": Format(
        "train.csv",
        fuzz_answers.training_table,
        ("deep-linear", "evidence", "{folder}/train.csv", "--targets", "y", "--widths", "none",
         "--beta", "4", *QUIET),
        right=fuzz_answers.training_rows,
        text="table",
        reader=(fuzz_readers.read_training, fuzz_readers.training_numbers),
    ),
    "table to predict": Format(
        "new.csv",
        fuzz_answers.prediction_table,
        call=fuzz_answers.read_new,
        right=fuzz_answers.prediction_rows,
        text="table",
    ),
    "DIMACS": Format(
        "formula.cnf",
        fuzz_answers.formula,
        ("ksat", "solve", "{folder}/formula.cnf", "--method", "local", "--time-limit", "1",
         *QUIET),
        right=fuzz_answers.satisfied,
        text="lines",
        codes=(0, 10, 20),
        reader=(fuzz_readers.read_clauses, fuzz_readers.same_clauses),
    ),
    "contacts": Format(
        "contacts.csv",
        fuzz_answers.contacts,
        ("contact-tracing", "risk", "{folder}/contacts.csv", "{folder}/tests.csv", *QUIET),
        right=functools.partial(fuzz_answers.risks, columns=("person_a", "person_b")),
        text="table",
        reader=(fuzz_readers.read_meetings, fuzz_readers.same_people),
    ),
    "tests": Format(
        "tests.csv",
        fuzz_answers.tests,
        ("contact-tracing", "risk", "{folder}/contacts.csv", "{folder}/tests.csv", *QUIET),
        right=functools.partial(fuzz_answers.risks, columns=None),
        text="table",
        reader=(fuzz_readers.read_results, fuzz_readers.same_people),
    ),
    "points": Format(
        "points.csv",
        fuzz_answers.points,
        call=fuzz_answers.read_cells,
        right=fuzz_answers.cells,
        text="table",
    ),
    "profiles": Format(
        "profiles.csv",
        fuzz_answers.profiles,
        ("cell-types", "validate", "{folder}/profiles.csv", "{folder}/reference.csv",
         "--min-common", "2", "--permutations", "9", *QUIET),
        right=fuzz_answers.matches,
        text="table",
        reader=(fuzz_readers.read_expression, fuzz_readers.finite_profiles),
    ),
    "reference": Format(
        "reference.csv",
        fuzz_answers.reference,
        ("cell-types", "validate", "{folder}/profiles.csv", "{folder}/reference.csv",
         "--min-common", "2", "--permutations", "9", *QUIET),
        right=fuzz_answers.matches,
        text="table",
        reader=(fuzz_readers.read_expression, fuzz_readers.finite_profiles),
    ),
    **{
        kind: Format(
            f"image.{kind}",
            functools.partial(fuzz_answers.image, kind),
            ("cell-types", "detect", "{folder}/image." + kind, "--radius", "3",
             "--out", "{folder}/found.csv", *QUIET),
            right=fuzz_answers.detected,
            reader=(fuzz_readers.read_image, fuzz_readers.numbers),
        )
        for kind in ("png", "tiff", "jpeg")
    },
    "netCDF": Format(
        "draws.nc",
        fuzz_readers.netcdf,
        call=fuzz_readers.read_netcdf,
        right=fuzz_readers.same_draws,
    ),
    "checkpoint": Format(
        "run.npz",
        fuzz_readers.checkpoint,
        call=fuzz_readers.read_checkpoint,
        right=fuzz_readers.same_state,
    ),
    "mitigation": Format(
        "random-0.npz",
        fuzz_readers.mitigation,
        call=fuzz_readers.read_mitigation,
        right=fuzz_readers.same_run,
    ),
}  # fmt: skip


def _read_one(folder, name):
    """Read one file as a process of its own does; return the exit status."""
    code, _, errors, caught = answer_in_process(FORMATS[name], Path(folder))
    print(errors, end="", file=sys.stderr)
    for text in caught:
        print(f"warning: {text}", file=sys.stderr)
    return code


def _keep(rows):
    """Put rows into the table that is kept, in place of older ones of the same formats."""
    place = HERE / "results" / "fuzz.md"
    lines = place.read_text(encoding="utf-8").splitlines() if place.exists() else []
    known = {line.split("|")[1].strip(): line for line in [*lines, *rows] if line.startswith("| ")}
    head = "| format | in process | subprocess | refused | answered | mishandled | seconds |"
    table = [head, "|---|---|---|---|---|---|---|", *(known[n] for n in FORMATS if n in known)]
    with replacing(place) as partial:
        partial.write_text("\n".join(["# Damaged files", "", *table, ""]), encoding="utf-8")


def main(argv=None):
    """Damage, read, judge; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="FORMAT", help=f"of {', '.join(FORMATS)}")
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--subprocesses", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that were mishandled")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    fuzz_answers.prepare()
    if args.read:
        return _read_one(*args.read)
    _limit_memory()
    rows, n_mishandled = [], 0
    for name in args.names or FORMATS:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            refused, answered, faults = fuzzed(
                name, args.files, args.subprocesses, args.seed, Path(folder)
            )
        n_mishandled += len(faults)
        rows.append(
            f"| {name} | {args.files} | {args.subprocesses} | {refused} | {answered} "
            f"| {len(faults)} | {time.perf_counter() - began:.0f} |"
        )
        print(rows[-1], flush=True)
        if args.files >= 1000:
            _keep(rows[-1:])
        for how, data, wrong in faults[:8]:
            print(f"MISHANDLED {how}: {wrong}\n  {data[:300]!r}", flush=True)
        if args.keep:
            args.keep.mkdir(exist_ok=True, parents=True)
            for i, (_, data, _) in enumerate(faults[:50]):
                (args.keep / f"{name}-{i}").write_bytes(data)
    print(f"{len(rows)} formats, mishandled: {n_mishandled}")
    return 1 if n_mishandled else 0


if __name__ == "__main__":
    raise SystemExit(main())
