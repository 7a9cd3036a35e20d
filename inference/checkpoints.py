"""Runs that go on after they were killed: their state in a file, whole or not there.

A run names itself and everything that decides its numbers; only the same run may go on from its
file. What goes on has the numbers of a run that was never stopped, to the last bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .files import PathLike, replacing, sole_writer
from .progress import Stop, never
from .storage import read_arrays

SCHEMA_VERSION = 1
EVERY = 10.0
"""Seconds from one saved state to the next."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A file for the state of a run, and how often it is written."""

    path: PathLike
    every: float = EVERY
    """Least number of seconds from one saved state to the next."""


Place = PathLike | Checkpoint


class Keeper:
    """What a run asks for its earlier state, and tells its new one."""

    def __init__(self, place: Checkpoint | None, header: dict[str, Any], restored: Any) -> None:
        self._place = place
        self._header = header
        self._results: dict[str, Any] = {}
        self._unsaved = False
        self._saved = time.monotonic()
        self.restored: Any = restored
        """The last state that was saved by :meth:`offer`, or None."""

    def offer(self, state: Callable[[], Any], *, last: bool = False) -> None:
        """Save a state, if the last time is long enough ago or this is the end of the run.

        Parameters
        ----------
        state
            Called only if it is saved. Numbers, texts, arrays, None, generators of NumPy, and
            lists, tuples and dictionaries (of texts) of these; a named tuple comes back as a tuple.
        last
            Whether the run ends here.
        """
        if self._place is None:
            return
        if last or self._due(self._place):
            self._save(self._place, state())

    def once(self, name: str, compute: Callable[[], T], *, cut: Stop = never) -> T:
        """Return what an earlier run computed under this name, else compute and save it.

        For runs made of pieces whose results are small, in place of :meth:`offer`. What was
        computed since the last saved state is also saved where the run ends or raises.

        Parameters
        ----------
        name
            Of the piece.
        compute
            Returns a state as for :meth:`offer`.
        cut
            Asked after it; True says that it may have stopped early: then it is not kept.
        """
        if self._place is None:
            return compute()
        if not self._results and self.restored is not None:
            self._results = dict(self.restored)
        if name in self._results:
            return self._results[name]  # type: ignore[no-any-return]
        result = compute()
        if not cut():
            self._results[name] = result
            self._unsaved = True
            if self._due(self._place):
                self._save(self._place, self._results)
        return result

    def flush(self) -> None:
        """Save the results that :meth:`once` has not saved yet."""
        if self._place is not None and self._unsaved:
            self._save(self._place, self._results)

    def _due(self, place: Checkpoint) -> bool:
        return time.monotonic() - self._saved >= place.every

    def _save(self, place: Checkpoint, state: Any) -> None:
        _write(Path(place.path), self._header, state)
        self._saved, self._unsaved = time.monotonic(), False


NOWHERE = Keeper(None, {}, None)
"""Keeps nothing."""


@contextlib.contextmanager
def kept(checkpoint: Place | None, run: str, **decides: Any) -> Iterator[Keeper]:
    """Open the file of a run for as long as the run lasts.

    Parameters
    ----------
    checkpoint
        Where; None keeps nothing.
    run
        Name of the algorithm.
    decides
        Everything that decides the numbers of the run. Functions count by their names only.

    Raises
    ------
    InUseError
        If another process is at it.
    ValueError
        If the file is no checkpoint, a damaged one, or that of another run.
    """
    if checkpoint is None:
        yield NOWHERE
        return
    place = checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)
    path = Path(place.path)
    header = {"schema_version": SCHEMA_VERSION, "run": run, "digest": digest(decides)}
    with sole_writer(path):
        for left_behind in path.parent.glob(f".partial-*-{glob.escape(path.name)}"):
            left_behind.unlink()  # by a process that was killed while it wrote
        keeper = Keeper(place, header, _read(path, header) if path.exists() else None)
        try:
            yield keeper
        finally:
            keeper.flush()


def digest(value: object) -> str:
    """Return a text that is the same in every process for equal values, and only for those.

    Knows dataclasses, arrays, JAX keys, generators of NumPy, collections, and functions, which
    count by their names.
    """
    return hashlib.sha256(_text(value).encode()).hexdigest()


def _text(value: Any) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        own = [(f.name, _text(getattr(value, f.name))) for f in dataclasses.fields(value)]
        return f"{type(value).__qualname__}{own}"
    if isinstance(value, functools.partial):
        return f"partial({_text(value.func)}, {_text(value.args)}, {_text(value.keywords)})"
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            return f"key{_text(jax.random.key_data(value))}"
        value = np.asarray(value)
    if isinstance(value, (np.ndarray, np.generic)):
        content = hashlib.sha256(value.tobytes()).hexdigest()
        return f"{value.dtype}{value.shape}{content}"
    if isinstance(value, np.random.Generator):
        return repr(value.bit_generator.state)
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(key)}: {_text(item)}' for key, item in value.items())}}}"
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return f"{getattr(value, '__module__', '')}.{name}"
    return repr(value)


def _write(path: Path, header: dict[str, Any], state: Any) -> None:
    arrays: list[np.ndarray[Any, Any]] = []
    text = json.dumps({**header, "state": _packed(state, arrays)})
    path.parent.mkdir(parents=True, exist_ok=True)
    named: dict[str, Any] = {str(i): array for i, array in enumerate(arrays)}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, text=np.array(text), **named)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, header: dict[str, Any]) -> Any:
    try:
        arrays = read_arrays(path)
        written = json.loads(str(arrays["text"]))
        version, owner = written["schema_version"], (written["run"], written["digest"])
        if version == SCHEMA_VERSION:
            state = _unpacked(written["state"], arrays)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ValueError(f"{path}: no checkpoint, or a damaged one") from fault
    if version != SCHEMA_VERSION:
        raise ValueError(f"{path}: expected schema_version {SCHEMA_VERSION}, got {version!r}")
    if owner != (header["run"], header["digest"]):
        raise ValueError(
            f"{path}: holds a run of {owner[0]} with other arguments than this one of "
            f"{header['run']}; choose another file or remove it"
        )
    return state


def _packed(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """Return what JSON can say, and add the arrays to the list."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, float, str)) or value is None:
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (np.ndarray, jax.Array)):
        arrays.append(np.asarray(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, tuple):
        return {"tuple": [_packed(item, arrays) for item in value]}
    if isinstance(value, list):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"dict": {key: _packed(item, arrays) for key, item in value.items()}}
    raise TypeError(f"state: expected numbers, texts, arrays and their collections, got {value!r}")


def _unpacked(value: Any, file: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, file) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "array":
        return file[str(content)]
    if kind == "generator":
        generator = np.random.Generator(getattr(np.random, content["bit_generator"])())
        generator.bit_generator.state = content
        return generator
    if kind == "tuple":
        return tuple(_unpacked(item, file) for item in content)
    return {key: _unpacked(item, file) for key, item in content.items()}
