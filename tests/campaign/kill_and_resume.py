"""Kill long runs with SIGKILL at random moments, resume them, and compare with runs left alone.

    python tests/campaign/kill_and_resume.py [--kills 10] [--seed 0] [NAME ...]

Every run of long_runs.py is a process of its own that saves its state as often as it can. A third
of the kills hit it while it writes a file. After each kill every file must be whole, and the same
run is started again and must go on from it. The numbers at the end must be those of a run that was
never killed, to the last bit. While one process holds the file, another one that asks for it must
be refused in one line. Exit status 1 if anything is mishandled; the table is kept in
results/kill_and_resume.md, where rows of runs that are not named stay as they are.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from inference.files import sole_writer  # noqa: E402

HEAD = (
    "| run | kills | of these within a save | resumed equal | half-read files "
    "| second writer refused | mishandled | seconds |"
)
RULE = "|---|---|---|---|---|---|---|---|"
TITLE = "# Killed and resumed"
RESULTS = HERE / "results" / "kill_and_resume.md"
PATIENCE = 60.0
"""Seconds to wait for a first file, or for a file that is being written."""


def one_run(name, place, out, said):
    """Do one run, in a process of its own, and keep its numbers or why it failed."""
    import jax
    import long_runs
    import test_resume

    from inference.checkpoints import Checkpoint

    jax.config.update("jax_enable_x64", True)
    try:
        result = long_runs.RUNS[name](Checkpoint(place, every=0.0) if place else None)
        np.savez(out, *test_resume.numbers(result))
    except BaseException as fault:
        said.write_text(f"{type(fault).__name__}: {fault}", encoding="utf-8")
        os._exit(1)


def start(name, place, out):
    """Start one run in a process of its own, a copy of this one with all its imports."""
    said = out.with_suffix(".txt")
    said.unlink(missing_ok=True)
    process = multiprocessing.get_context("fork").Process(
        target=one_run, args=(name, place, out, said), daemon=True
    )
    process.start()
    return process


def finished(process, out):
    """Return the exit status and what the process said of its failure."""
    process.join()
    said = out.with_suffix(".txt")
    return process.exitcode, said.read_text(encoding="utf-8") if said.exists() else ""


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def equal(one, other):
    """Return whether two runs have the same numbers, to the last bit."""
    pairs = zip(arrays(one), arrays(other), strict=True)
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs
    )


def saved(place):
    """Return the files of a run: that of its state, or those in its folder."""
    if place.is_dir():
        return [path for path in place.iterdir() if not path.name.startswith(".")]
    return [place] if place.exists() else []


def n_half_read(place):
    """Return how many files cannot be read to their end."""
    broken = 0
    for path in saved(place):
        try:
            arrays(path)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            broken += 1
    return broken


def half_written(place):
    """Return the files that somebody writes, or wrote when it was killed."""
    folder = place if place.is_dir() else place.parent
    return {path.name for path in folder.glob(".partial-*")}


def wait(process, condition):
    """Wait until something is the case or the process ends."""
    deadline = time.monotonic() + PATIENCE
    while process.is_alive() and not condition() and time.monotonic() < deadline:
        time.sleep(0.0002)


def moment(process, place, length, rng):
    """Wait for the moment of a kill."""
    kind = rng.integers(3)
    if kind == 0:  # any time
        time.sleep(rng.uniform(0.0, length))
        return
    n_before = len(saved(place))  # it has begun to work with the next file
    left = half_written(place)
    wait(process, lambda: half_written(place) - left or len(saved(place)) > n_before)
    time.sleep(rng.uniform(0.0, 0.3 * length))
    if kind == 1:
        left = half_written(place)
        wait(process, lambda: half_written(place) - left)


class Tally:
    """What happened to one run."""

    def __init__(self):
        self.killed = self.amid_saves = self.half_read = 0
        self.resumed = False
        self.refused = "-"
        self.faults = []


def tried(name, n_kills, rng, folder):
    """Kill one run and resume it."""
    tally = Tally()
    alone, out, place = folder / "alone.npz", folder / "out.npz", folder / "run.npz"
    began = time.perf_counter()
    status, error = finished(start(name, None, alone), alone)
    if status:
        tally.faults.append(f"{name}: {error}")
        return tally
    length = time.perf_counter() - began

    def compare():
        tally.resumed = equal(out, alone)
        if not tally.resumed:
            tally.faults.append(f"{name}: other numbers than those of a run left alone")

    if "folder" not in name:
        with sole_writer(place):
            status, error = finished(start(name, place, out), out)
        tally.refused = "yes"
        if not (status and error.endswith("another process is writing to it")):
            tally.refused = "no"
            tally.faults.append(f"{name}: the second writer ended with {status}, {error}")
    while tally.killed < n_kills and len(tally.faults) < 2:
        process = start(name, place, out)
        left = half_written(place)
        moment(process, place, length, rng)
        process.kill()
        status, error = finished(process, out)
        tally.killed += status == -9
        tally.amid_saves += status == -9 and bool(half_written(place) - left)
        tally.half_read += n_half_read(place)
        if status not in (-9, 0):
            tally.faults.append(f"{name}: {error}")
        if status == 0:  # it was faster: the next kills are of another run
            compare()
            shutil.rmtree(place) if place.is_dir() else place.unlink()
    status, error = finished(start(name, place, out), out)
    if status:
        tally.resumed = False
        tally.faults.append(f"{name}: {error}")
    else:
        compare()
    return tally


def kept_rows(names):
    """Return the rows of earlier runs of this script by name, so that it may run in parts."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    if HEAD not in lines:
        return {}
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("| ")}
    return {name: rows[name] for name in names if name in rows}


def main(argv=None):
    """Kill, resume, compare; return the exit status."""
    import long_runs

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs (default: all)")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rows, mishandled = kept_rows(long_runs.RUNS), []
    for number, name in enumerate(long_runs.RUNS):
        if args.names and name not in args.names:
            continue
        began = time.perf_counter()
        rng = np.random.default_rng([args.seed, number])
        with tempfile.TemporaryDirectory() as folder:
            tally = tried(name, args.kills, rng, Path(folder))
        wrong = len(tally.faults) + tally.half_read
        mishandled += tally.faults
        rows[name] = (
            f"| {name} | {tally.killed} | {tally.amid_saves} | {'yes' if tally.resumed else 'no'} "
            f"| {tally.half_read} | {tally.refused} | {wrong} | {time.perf_counter() - began:.0f} |"
        )
        if tally.half_read:
            mishandled.append(f"{name}: {tally.half_read} files were half written")
        print(rows[name], flush=True)
        ordered = [rows[one] for one in long_runs.RUNS if one in rows]
        RESULTS.write_text("\n".join([TITLE, "", HEAD, RULE, *ordered, ""]), encoding="utf-8")
    for sentence in mishandled:
        print(f"MISHANDLED  {sentence}")
    print(f"mishandled: {len(mishandled)}")
    return 1 if mishandled else 0


if __name__ == "__main__":
    raise SystemExit(main())
