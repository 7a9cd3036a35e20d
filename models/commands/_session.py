"""How a command runs JAX: in double precision, keeping what it compiled for the next run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

NO_CACHE = "CAVITY_NO_CACHE"


@contextlib.contextmanager
def held_interrupts() -> Iterator[list[int]]:
    """Count Ctrl-C instead of raising; the list that is yielded holds one entry a press.

    An exception out of nowhere breaks half-done imports, and compilers and compiled code lose it.
    What runs long looks at the list; a second press raises ``KeyboardInterrupt`` after all, at
    once and, for code that lost it, again at the end.
    """
    pressed: list[int] = []

    def press(number: int, _: Any) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGINT, press)
    except ValueError:  # not the main thread, where no signal arrives
        yield pressed
        return
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
    if len(pressed) > 1:
        raise KeyboardInterrupt


def start_jax() -> None:
    """Turn on double precision and, unless ``CAVITY_NO_CACHE=1``, the compilation cache.

    A cache folder that the caller has already chosen (``JAX_COMPILATION_CACHE_DIR``) is kept.
    """
    # XLA's log, else hundreds of lines about CPU features on a cache hit (jaxlib 0.10)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    jax.config.update("jax_enable_x64", True)
    chosen = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if chosen or os.environ.get(NO_CACHE, "0") not in ("", "0"):
        return
    with contextlib.suppress(OSError, RuntimeError):  # no home, or a read-only one: only slower
        folder = compilation_cache()
        folder.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def compilation_cache(user: str = "command") -> Path:
    """Return the folder for the programs that ``user`` compiles, one for every jaxlib and CPU.

    A home folder may be shared between machines, and a program compiled for one CPU may crash on
    another.
    """
    machine = hashlib.sha256(_cpu().encode()).hexdigest()[:12]
    return _user_cache() / "cavity" / user / f"jaxlib-{version('jaxlib')}-{machine}"


def _user_cache() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # x86 says "flags", Arm says "Features"
    features = [line for line in lines if line.startswith(("flags", "Features"))]
    return features[0] if features else f"{platform.machine()} {platform.processor()}"
