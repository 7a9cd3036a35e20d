"""Kill long runs with SIGKILL at random moments, resume them, and compare with runs left alone.

    python tests/campaign/kill_and_resume.py [--kills 10] [--seed 0] [NAME ...]

Every run is a process of its own that saves its state as often as it can. After each kill the file
must be whole: it is opened by the same run again, which goes on from it. The numbers at the end
must be those of a run that was never killed, to the last bit. While one process holds the file,
another one that asks for it must be refused in one line. Exit status 1 if anything is mishandled;
the table is kept in results/kill_and_resume.md.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from inference.files import sole_writer  # noqa: E402

ONE_RUN = """
import sys
sys.path[:0] = sys.argv[4:]
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
import test_resume
from inference.checkpoints import Checkpoint
name, place, out = sys.argv[1:4]
result = test_resume.RUNS[name](Checkpoint(place, every=0.0) if place else None)
np.savez(out, *test_resume.numbers(result))
"""


def start(name, place, out):
    """Start one run in a process of its own."""
    arguments = [name, str(place or ""), str(out), *sys.path[:2]]
    return subprocess.Popen(
        [sys.executable, "-c", ONE_RUN, *arguments], stderr=subprocess.PIPE, text=True
    )


def finished(process):
    """Return the exit status and the last line of standard error."""
    errors = process.communicate()[1].strip().splitlines()
    return process.returncode, errors[-1] if errors else ""


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def equal(one, other):
    """Return whether two runs have the same numbers, to the last bit."""
    pairs = zip(arrays(one), arrays(other), strict=True)
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs
    )


def tried(name, n_kills, rng, folder):
    """Return kills, whether resumed and the second writer refused, and what was mishandled."""
    alone, out, place = folder / "alone.npz", folder / "out.npz", folder / "run.npz"
    began = time.perf_counter()
    status, error = finished(start(name, None, alone))
    if status:
        return 0, False, False, [f"{name}: {error}"]
    length, faults, n_killed = time.perf_counter() - began, [], 0
    with sole_writer(place):
        status, error = finished(start(name, place, out))
    refused = bool(status) and error.endswith("another process is writing to it")
    if not refused:
        faults.append(f"{name}: the second writer ended with {status}, {error}")
    while n_killed < n_kills and not faults[1:]:
        process = start(name, place, out)
        # the time of imports is a good part of it: half of the kills come after the first save
        if rng.random() < 0.5:
            while process.poll() is None and not place.exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 0.3 * length))
        else:
            time.sleep(rng.uniform(0.0, length))
        process.kill()
        status, error = finished(process)
        n_killed += status == -9
        if status not in (-9, 0):
            faults.append(f"{name}: {error}")
        if status == 0:  # it was faster: the next kills are of another run
            same = equal(out, alone)
            faults += [] if same else [f"{name}: other numbers than those of a run left alone"]
            place.unlink()
    status, error = finished(start(name, place, out))
    if status:
        return n_killed, False, refused, [*faults, f"{name}: {error}"]
    same = equal(out, alone)
    if not same:
        faults.append(f"{name}: other numbers than those of a run left alone")
    return n_killed, same, refused, faults


def main(argv=None):
    """Kill, resume, compare; return the exit status."""
    import test_resume

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs (default: all)")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    rows, mishandled = [], []
    for number, name in enumerate(args.names or test_resume.RUNS):
        began = time.perf_counter()
        rng = np.random.default_rng([args.seed, number])
        with tempfile.TemporaryDirectory() as folder:
            killed, resumed, refused, faults = tried(name, args.kills, rng, Path(folder))
        mishandled += faults
        said = ["yes" if value else "no" for value in (resumed, refused)]
        rows.append(
            f"| {name} | {killed} | {said[0]} | {said[1]} | {len(faults)} "
            f"| {time.perf_counter() - began:.0f} |"
        )
        print(rows[-1], flush=True)
    head = "| run | killed | same numbers | second writer refused | mishandled | seconds |"
    table = "\n".join([head, "|---|---|---|---|---|---|", *rows])
    if not args.names:
        kept = HERE / "results" / "kill_and_resume.md"
        kept.write_text(f"# Killed and resumed\n\n{table}\n", encoding="utf-8")
    for sentence in mishandled:
        print(f"MISHANDLED  {sentence}")
    print(f"{len(rows)} runs, mishandled: {len(mishandled)}")
    return 1 if mishandled else 0


if __name__ == "__main__":
    raise SystemExit(main())
