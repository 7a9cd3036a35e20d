"""Importing the library only defines names, and refuses foreign packages of the same names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

QUIET_IMPORT = """
import logging, sys, warnings
import jax, numpy, numpyro, scipy.special  # these change global state themselves
from jax._src import xla_bridge

def state():
    logger = logging.getLogger()
    return {
        "jax config": dict(jax.config.values),
        "numpy errors": numpy.geterr(),
        "numpy print options": numpy.get_printoptions(),
        "warning filters": list(warnings.filters),
        "root logger": (logger.level, list(logger.handlers), list(logger.filters)),
        "path": list(sys.path),
    }

before = state()
import graphs, inference, models, models.cli, models.deep_linear, models.ksat, models.perceptron
import models.cell_types, models.contact_tracing, models.mesoscopic
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, f"importing changed {changed}"
# first the question whether a backend runs: asking for live arrays starts one
assert not xla_bridge.backends_are_initialized(), "importing started a backend"
assert not jax.live_arrays(), "importing created arrays"
loaded = {"arviz", "matplotlib", "pandas", "sklearn"} & set(sys.modules)
assert not loaded, f"importing loaded {loaded}"
"""


def python(code, *paths, cwd):
    """Run ``code`` in a fresh interpreter that sees ``paths`` and then the repository."""
    path = os.pathsep.join(map(str, [*paths, ROOT]))
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_three_packages_share_one_root():
    import graphs
    import inference
    import models

    assert {Path(p.__file__).parent.parent for p in (graphs, inference, models)} == {ROOT}


def test_importing_changes_nothing_global(tmp_path):
    result = python(QUIET_IMPORT, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_importing_models_loads_no_numerics(tmp_path):
    code = "import sys, models, models.cli; print({'jax', 'numpy', 'inference'} & set(sys.modules))"
    result = python(code, cwd=tmp_path)
    assert result.stdout.strip() == "set()", result.stdout + result.stderr


@pytest.mark.parametrize(
    ("planted", "imported"),
    [("inference", "models"), ("graphs", "models"), ("graphs", "inference")],
)
@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_foreign_package_is_named_and_refused(tmp_path, planted, imported, kind):
    if kind == "package":
        foreign = tmp_path / planted
        foreign.mkdir()
        (foreign / "__init__.py").write_text("raise SystemExit('the guard must not import it')")
    else:
        foreign = tmp_path / f"{planted}.py"
        foreign.write_text("raise SystemExit('the guard must not import it')")
    result = python(f"import {imported}", tmp_path, cwd=tmp_path)
    assert result.returncode == 1
    error = result.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert str(foreign) in error
    assert str(ROOT / planted) in error
    assert "virtual environment" in error


def test_the_two_guards_are_twins():
    def guard(package):
        source = (ROOT / package / "__init__.py").read_text(encoding="utf-8")
        return source[source.index("def _refuse_foreign") : source.index("\n\n\n_refuse_foreign(")]

    assert guard("inference") == guard("models")


def test_graphs_are_found_in_their_package_once_asked_for():
    import graphs
    from graphs import ContactNetwork
    from graphs.temporal import ContactNetwork as there

    assert ContactNetwork is there
    assert graphs.FactorGraph.__module__ == "graphs.factor_graph"
    assert graphs.PairwiseGraph.__module__ == "graphs.pairwise"
    with pytest.raises(AttributeError, match="'graphs' has no attribute 'Graph'"):
        _ = graphs.Graph
