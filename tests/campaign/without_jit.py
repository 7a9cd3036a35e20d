"""Compare every kernel of the library, compiled by Numba, with the same function of plain Python.

    python tests/campaign/without_jit.py

Runs the cases of tests/kernel_cases.py twice, each in processes of its own, once with
``NUMBA_DISABLE_JIT=1``. Whole numbers, those of random walks among them, must be equal; real ones
up to rounding. Exit status 1 if something differs or a kernel was not called; the table is kept in
results/without_jit.md.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import kernel_cases  # noqa: E402


def main():
    """Run all cases and write the table; return the exit status."""
    rows, wrong, called = [], [], set()
    with tempfile.TemporaryDirectory() as folder:
        plain, compiled = Path(folder) / "plain.npz", Path(folder) / "compiled.npz"
        for name in kernel_cases.CASES:
            began = time.perf_counter()
            kernels = kernel_cases.without_compilation(plain, name)
            subprocess.run([sys.executable, kernel_cases.__file__, compiled, name], check=True)
            sentences, largest = kernel_cases.differences(plain, compiled)
            wrong += sentences
            called |= kernels
            rows.append(
                f"| {name.replace('_', ' ')} | {len(kernels)} | {largest:.1e} "
                f"| {len(sentences)} | {time.perf_counter() - began:.0f} |"
            )
            print(rows[-1], flush=True)
    kernels = kernel_cases.all_kernels()
    wrong += [f"{kernel}: not called" for kernel in sorted(kernels - called)]
    last = f"{len(called)} of {len(kernels)} kernels were called, wrong: {len(wrong)}"
    head = "| case | kernels | largest error | wrong | seconds |\n|---|---|---|---|---|"
    table = "\n".join(["# Kernels without compilation", "", head, *rows, "", last, ""])
    (HERE / "results" / "without_jit.md").write_text(table, encoding="utf-8")
    for sentence in wrong:
        print(f"DISAGREES  {sentence}")
    print(last)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
