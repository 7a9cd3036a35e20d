"""The wheel holds the three packages, typed, and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_exactly_the_three_packages(wheel):
    folders = {PurePosixPath(name).parts[0] for name in wheel.namelist()}
    packages = {name for name in folders if not name.endswith(".dist-info")}
    assert packages == {"graphs", "inference", "models"}


def test_the_wheel_holds_every_module_and_the_markers_of_types(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in ("graphs", "inference", "models")
        for path in (ROOT / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    got = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {f"{package}/py.typed" for package in ("graphs", "inference", "models")} <= expected
    assert expected <= got
    assert not [name for name in got if "__pycache__" in name]


def test_the_wheel_carries_licence_command_and_refused_releases(wheel):
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"cavity = models.cli:main" in wheel.read(f"{info}/entry_points.txt")
    metadata = wheel.read(f"{info}/METADATA").decode()
    for distribution in ("jax", "jaxlib"):
        (line,) = [
            line
            for line in metadata.splitlines()
            if line.startswith(f"Requires-Dist: {distribution}!")
        ]
        assert {"!=0.10.2", "!=0.11.0", "!=0.11.1"} <= set(line.split(distribution)[1].split(","))
