"""Run the fast tests with the oldest versions that pyproject.toml allows.

    python3.11 tests/campaign/lowest_bounds.py [--keep FOLDER] [PYTEST ARGUMENT ...]

Makes a virtual environment, installs the lower bound of every dependency and of every package of
the extra ``test``, and runs ``pytest -m "not slow"`` there, or with the arguments given. The last
line is kept in results/lowest_bounds.md. Exit status of pytest, or 2 if the
bounds cannot be installed together.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def lowest(requirement):
    """Return ``name[extra]==version`` for the lower bound of a requirement."""
    name, bound = re.match(r"([\w.-]+(?:\[[\w,]+\])?)\s*>=\s*([\w.]+)", requirement).groups()
    return f"{name}=={bound}"


def bounds():
    """Return the lower bounds of what is needed to run and to test."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(map(lowest, [*project["dependencies"], *project["optional-dependencies"]["test"]]))


def main(argv=None):
    """Install and test; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--keep", type=Path, help="folder of the environment, used again if there")
    args, chosen = parser.parse_known_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary) / "venv"
        python = folder / "bin" / "python"
        wanted = bounds()
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for packages in (wanted, ["--no-deps", "-e", str(ROOT)]):
            done = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages])
            if done.returncode:
                return 2
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        command = [python, "-m", "pytest", "-q", *(chosen or ["-m", "not slow", "-n", "2"])]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
    print(done.stdout)
    version, last = sys.version.split()[0], done.stdout.strip().splitlines()[-1]
    lines = ["# Lowest versions", "", f"Python {version}: {', '.join(wanted)}."]
    lines += ["", f"`pytest {' '.join(command[3:])}`:", "", last, ""]
    (HERE / "results" / "lowest_bounds.md").write_text("\n".join(lines), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
