"""What every benchmark script shares: paired timing, one row a ratio, the command line.

A benchmark is a generator ``benchmark(quick)`` of rows, and a row is a ratio to a named peer that
was measured in turns with it, in the same process. See README.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"
DISTRIBUTIONS = ("arviz", "jax", "jaxlib", "numpy", "numpyro", "scipy")


def compiled(function, *args):
    """Return the compiled program of ``function`` and the seconds that compilation took."""
    start = time.perf_counter()
    program = jax.jit(function).lower(*args).compile()
    return program, time.perf_counter() - start


def seconds(function):
    """Return the wall time of one call, its arrays ready."""
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def in_turns(own, peer, n_pairs):
    """Time both in turns, after one call of each unseen; return two arrays of seconds.

    A machine that slows down for a while slows down both members of a pair.
    """
    seconds(own), seconds(peer)
    pairs = [(seconds(own), seconds(peer)) for _ in range(n_pairs)]
    return np.array(pairs).T


def row(
    name,
    params,
    *,
    reference,
    own_s,
    reference_s,
    unit="s",
    compile_s=None,
    required=None,
    difference=None,
    tolerance=None,
    **detail,
):
    """Return one result.

    Parameters
    ----------
    name, params
        What was measured, on which problem; together they identify the row.
    reference
        The peer, in words.
    own_s, reference_s
        Costs of one unit of work, pair by pair. The ratio is the median of
        ``reference_s / own_s``: larger is better.
    unit
        Of the two costs: what they are per, or that they are not seconds.
    compile_s
        Seconds to compile our side.
    required
        None, the smallest ratio, or ``[smallest, largest]``.
    difference, tolerance
        How far the answers of both sides are apart, and how far they may be.
    detail
        Further numbers worth keeping.
    """
    own_s, reference_s = np.atleast_1d(own_s), np.atleast_1d(reference_s)
    low, median, high = np.percentile(own_s, [25, 50, 75])
    return {
        "name": name,
        "params": params,
        "reference": reference,
        "ratio": significant(np.median(reference_s / own_s)),
        "required": required,
        "unit": unit,
        "run_s_median": significant(median),
        "run_s_iqr": significant(high - low),
        "reference_s_median": significant(np.median(reference_s)),
        "compile_s": compile_s if compile_s is None else significant(compile_s),
        "n": len(own_s),
        "difference": difference if difference is None else significant(difference, 2),
        "tolerance": tolerance,
        **{key: [significant(v) for v in np.atleast_1d(value)] for key, value in detail.items()},
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
        "cpu": cpu(),
    }


def identity(result):
    """Return what a row shares with the row of the same benchmark in another run."""
    return result["name"], json.dumps(result["params"], sort_keys=True)


def significant(value, digits=4):
    """Round to significant digits, so that files stay readable."""
    return float(f"{float(value):.{digits}g}")


def versions():
    found = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    return {"python": platform.python_version(), **found}


def cpu():
    """Return the model and the number of cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores"


def load(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def save(path, rows):
    """Write rows, one a line: a rerun changes only the lines of what it measured."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(result) for result in rows)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main(topic, benchmarks, description, argv=None):
    """Run the named benchmarks (all by default), print their rows and keep them."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(benchmarks)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats")
    parser.add_argument(
        "--out", type=Path, help=f"default: results/{topic}.json here; with --quick nowhere"
    )
    args = parser.parse_args(argv)
    unknown = sorted(set(args.names) - set(benchmarks))
    if unknown:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(benchmarks)}")
    rows = []
    for name in args.names or benchmarks:
        for result in benchmarks[name](args.quick):
            print(json.dumps(result), flush=True)
            rows.append(result)
    out = args.out or (None if args.quick else RESULTS / f"{topic}.json")
    if out is not None:
        if args.names and out.exists():  # keep what was not measured again
            fresh = {identity(result): result for result in rows}
            kept = [fresh.pop(identity(result), result) for result in load(out)]
            rows = kept + list(fresh.values())
        save(out, rows)
    return 0
