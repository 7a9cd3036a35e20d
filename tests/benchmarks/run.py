"""Run every benchmark script here and judge its ratios; exit status 1 if one disappoints.

    python tests/benchmarks/run.py [--quick] [--compare results/base.json]

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


def label(row):
    return f"{row['name']} {' '.join(f'{k}={v}' for k, v in row['params'].items())}"


def table(rows):
    """Return the rows as a Markdown table."""
    lines = ["| benchmark | ours | peer | ratio | required |", "|---|---|---|---|---|"]
    for row in rows:
        required = row["required"]
        if isinstance(required, list):
            required = f"{required[0]:g} to {required[1]:g}"
        elif required is not None:
            required = f"{required:g}"
        own, peer = f"{row['run_s_median']:.2g}", f"{row['reference_s_median']:.2g}"
        lines.append(f"| {label(row)} | {own} | {peer} | {row['ratio']:.3g} | {required or ''} |")
    return "\n".join(lines)


def measure(script, out, quick):
    """Run one script in a process of its own; return its rows, or None if it failed."""
    command = [sys.executable, str(script), "--out", str(out), *(["--quick"] if quick else [])]
    # one BLAS thread, from the first import
    done = subprocess.run(command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False)
    return harness.load(out) if done.returncode == 0 else None


def main(argv=None):
    """Measure, print the table and what disappoints; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small sizes; keeps no results")
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
            measured = measure(script, folder / f"{topic}.json", args.quick)
            if measured is None:
                found.append(f"{script.name}: failed, see above")
            else:
                rows += measured
    found += failures(rows, base)
    print(f"\n{table(rows)}\n")
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
