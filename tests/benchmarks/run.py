"""Run every benchmark script here and judge its ratios; exit status 1 if one disappoints.

    python tests/benchmarks/run.py [--quick | --kept] [--compare results/base.json]

Judged is never a time, only the ratio to a peer timed in the same run: it must reach what the row
requires, and must not fall by more than a quarter below the same row of the base.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import harness

HERE = Path(__file__).parent
LARGEST_LOSS = 0.25


def failures(rows, base=()):
    """Return a sentence for every missed or fallen ratio, and for answers that disagree."""
    before = {harness.identity(row): row for row in base}
    found = []
    for row in rows:
        ratio, required = row["ratio"], row["required"]
        low, high = required if isinstance(required, list) else (required, None)
        # "not >=" rather than "<": a NaN fails
        if low is not None and not ratio >= low:
            found.append(f"{label(row)}: ratio {ratio:g}, required at least {low:g}")
        if high is not None and not ratio <= high:
            found.append(f"{label(row)}: ratio {ratio:g}, required at most {high:g}")
        if row["tolerance"] is not None and not row["difference"] <= row["tolerance"]:
            found.append(
                f"{label(row)}: both sides differ by {row['difference']:g}, "
                f"allowed are {row['tolerance']:g}"
            )
        old = before.get(harness.identity(row))
        if old is not None and not ratio >= (1 - LARGEST_LOSS) * old["ratio"]:
            found.append(f"{label(row)}: ratio fell from {old['ratio']:g} to {ratio:g}")
    return found


FRONT_PAGE = (
    ("deep linear network of width 100 on digits: effective samples a second",
     "effective_samples_per_second", {"data": "digits", "width": 100}),
    ("evidence of 49 networks at 16 noise levels", "evidences", {}),
    ("3-SAT at 4.23, 10,000 variables: seconds to a solution", "solved", {"k": 3, "alpha": 4.23}),
    ("4-SAT at 9.5, 10,000 variables: seconds to a solution", "solved", {"k": 4, "alpha": 9.5}),
    ("1001 binary weights learn 701 patterns", "focusing", {"load": 0.7}),
    ("1601 binary weights at load 0.3: solved share in equal seconds",
     "search", {"system": "perceptron", "load": 0.3, "n": 1601, "variant": "batches"}),
    ("single-spin Metropolis of a perceptron", "twin", {}),
    ("a sweep of messages over new contacts every day, 15 days",
     "against_dense", {"contacts": "fresh", "n_days": 15}),
    ("ten cell types from 1500 genes, one start", "single_start", {"peer": "tomotopy"}),
    ("the same beside scikit-learn", "single_start", {"peer": "LDA"}),
    ("jumps of ten spins with both entropy productions", "spins_of_peer",
     {"gathered": "mean spins, entropy production"}),
    ("exact path of eight Langevin units", "exact_paths", {"d": 8, "peer": "inside jit"}),
)  # fmt: skip
"""What the README shows of all: what is measured, and the row."""


def front_page(rows):
    """Return the table of the README."""
    lines = ["| task | peer | times faster |", "|---|---|---|"]
    for what, name, params in FRONT_PAGE:
        (row,) = (r for r in rows if r["name"] == name and params.items() <= r["params"].items())
        lines.append(f"| {what} | {row['reference']} | {row['ratio']:.3g} |")
    return "\n".join(lines)


def label(row):
    return f"{row['name']} {' '.join(f'{k}={v}' for k, v in row['params'].items())}"


def table(rows):
    """Return the rows as a Markdown table."""
    lines = ["| benchmark | peer | ours | peer's | ratio | required |", "|---|---|---|---|---|---|"]
    for row in rows:
        required = row["required"]
        if isinstance(required, list):
            required = f"{required[0]:g} to {required[1]:g}"
        elif required is not None:
            required = f"{required:g}"
        own, peer = f"{row['run_s_median']:.2g}", f"{row['reference_s_median']:.2g}"
        cells = [label(row), row["reference"], own, peer, f"{row['ratio']:.3g}", required or ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def provenance(rows):
    """Return a line that says when, where and with what the rows were measured."""
    dates = sorted({row["date"] for row in rows if "date" in row}) or ["unknown"]
    machines = sorted({row["cpu"] for row in rows})
    versions = sorted({f"jax {row['versions']['jax']}" for row in rows})
    span = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"{len(rows)} ratios, measured {span} on {'; '.join(machines)}, {', '.join(versions)}"


def measure(script, out, quick):
    """Run one script in a process of its own; return its rows, or None if it failed."""
    command = [sys.executable, str(script), "--out", str(out), *(["--quick"] if quick else [])]
    # one BLAS thread, from the first import
    done = subprocess.run(command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False)
    return harness.load(out) if done.returncode == 0 else None


def main(argv=None):
    """Measure, print the table and what disappoints; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", action="store_true", help="small sizes; keeps no results")
    how.add_argument("--kept", action="store_true", help="judge the kept rows, measure nothing")
    parser.add_argument("--front", action="store_true", help="print what the README shows")
    parser.add_argument("--compare", type=Path, help="rows of an earlier run")
    args = parser.parse_args(argv)
    base = []
    if args.compare is not None:  # now: this run may replace the file
        given = args.compare
        base = harness.load(given if given.exists() else HERE / given)
    rows, found = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if args.quick else harness.RESULTS
        for script in sorted(HERE.glob("bench_*.py")):
            topic = script.stem.removeprefix("bench_")
            kept = harness.RESULTS / f"{topic}.json"
            if args.kept:
                measured = harness.load(kept) if kept.exists() else None
            else:
                measured = measure(script, folder / kept.name, args.quick)
            if measured is None:
                found.append(f"{script.name}: {'not kept' if args.kept else 'failed, see above'}")
            else:
                rows += measured
    found += failures(rows, base)
    print(f"\n{front_page(rows) if args.front else table(rows)}\n")
    print(provenance(rows))
    if base:
        known = {harness.identity(row) for row in base}
        n_compared = sum(harness.identity(row) in known for row in rows)
        print(f"compared with {n_compared} of {len(base)} rows of {args.compare}")
    for sentence in found:
        print(f"FAILED  {sentence}")
    print(f"{len(rows)} ratios: {'failed' if found else 'all as required'}")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
