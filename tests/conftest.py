"""Before anything imports NumPy or JAX: one BLAS thread, and a cache of compiled programs."""

import os

from models.commands._session import compilation_cache  # the standard library alone

# OpenBLAS threads spin: two test processes on two cores become 40 times slower.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(compilation_cache("tests")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import zlib
from pathlib import Path

import hypothesis
import jax
import pytest

X64 = os.environ.get("JAX_ENABLE_X64", "1").lower() not in ("0", "false")
jax.config.update("jax_enable_x64", X64)
# No jax_numpy_rank_promotion="raise": NumPyro's own distributions promote ranks.

# Single precision: files without a test for it are left alone, some need doubles at import.
if not X64:
    collect_ignore = [
        path.name
        for path in Path(__file__).parent.glob("test_*.py")
        if "float32" not in path.read_text(encoding="utf-8")
    ]

# Compilation makes the time of the first example meaningless.
hypothesis.settings.register_profile("cavity", deadline=None, derandomize=True)
hypothesis.settings.load_profile("cavity")


def pytest_collection_modifyitems(config, items):
    if X64:
        return
    kept = [item for item in items if item.get_closest_marker("float32")]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give a process neighbouring tests: what the first of a file compiles, its others use."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture
def key(request):
    """A key of the test's own, the same in every order and on every worker."""
    # crc32, because Python's hash() is salted per process
    return jax.random.fold_in(jax.random.key(0), zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="module", autouse=True)
def _release_compiled_programs():
    """Forget the programs of a file after it.

    Every compiled program holds memory maps; two thousand tests hold more than the 65,530 that
    Linux allows a process, and the next one to be loaded crashes it.
    """
    yield
    jax.clear_caches()
