"""Files that others may read or write meanwhile: whole ones only, and one writer at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

PathLike = str | os.PathLike[str]


@contextlib.contextmanager
def replacing(path: PathLike) -> Iterator[Path]:
    """Yield the path of a new file, which takes the place of ``path`` when the block ends well.

    Whoever reads ``path`` sees the old file or the whole new one; if the block raises or the
    process is killed, the old one stays.

    Parameters
    ----------
    path
        File to write or replace. Its folder must exist.

    Yields
    ------
    Path
        A file beside ``path`` (a rename is atomic only within one file system), of the same suffix.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = pathlib.Path(folder) / "a.txt"
    ...     with replacing(target) as partial:
    ...         _ = partial.write_text("whole")
    ...         before = target.exists()
    ...     before, target.read_text()
    (False, 'whole')
    """
    target = Path(path)
    partial = target.with_name(f".partial-{uuid.uuid4().hex}-{target.name}")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


class InUseError(OSError):
    """Another process is writing to the same place."""


@contextlib.contextmanager
def sole_writer(path: PathLike) -> Iterator[None]:
    """Keep every other process that asks for the same ``path`` out until the block ends.

    Parameters
    ----------
    path
        File or folder, which need not exist; its parent must.

    Raises
    ------
    InUseError
        At once, if another process (or another block of this one) has it.

    Notes
    -----
    A file ``.NAME.lock`` lies beside ``path`` meanwhile. What counts is the lock of the operating
    system on it, which ends with the process however that ends: a file left behind by one that was
    killed keeps nobody out.
    """
    target = Path(path).absolute()
    place = target.with_name(f".{target.name}.lock")
    descriptor = _locked(place)
    if descriptor is None:
        raise InUseError(f"{os.fspath(path)}: another process is writing to it")
    try:
        yield
    finally:
        # while still locked: whoever opened the file before finds that it is gone, and asks anew
        with contextlib.suppress(OSError):  # Windows removes no open file
            place.unlink()
        os.close(descriptor)


def _locked(place: Path) -> int | None:
    """Return the descriptor of the locked file, or None if another one has the lock."""
    while True:
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
        except OSError as fault:
            os.close(descriptor)
            if fault.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return None
            raise  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(place)):
                return descriptor
        os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
