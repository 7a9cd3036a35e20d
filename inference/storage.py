"""Files: numeric tables in, ArviZ data containers out and in."""

from __future__ import annotations

import csv
import hashlib
import importlib
import importlib.util
import io
import math
import numbers
import os
import zipfile
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .checks import Floats
from .files import PathLike, replacing

SCHEMA_VERSION = 1
"""Layout of the files that :func:`save` writes; raised when old readers would misread them."""

_MAX_SHOWN = 10
_SCHEMA = "schema_version"
_LIBRARY = "cavity_version"
_SEAL = b"\ncavity sha256 "
"""At the end of a file, before the digest of all before it."""

Attribute = str | int | float


@dataclass(frozen=True, eq=False)
class Table:
    """A table of finite numbers with named columns."""

    columns: tuple[str, ...]
    """Distinct names, one a column."""
    values: Floats
    """Array ``(n_rows, n_columns)``, float64."""

    def select(self, names: Sequence[str]) -> Floats:
        """Return the named columns, in the order asked for.

        Parameters
        ----------
        names
            Column names; a single string is taken as one name.

        Returns
        -------
        ndarray
            Copy of shape ``(n_rows, len(names))``, float64.

        Raises
        ------
        ValueError
            If a name is not a column; the message lists the columns.
        """
        wanted = [names] if isinstance(names, str) else list(names)
        unknown = [name for name in wanted if name not in self.columns]
        if unknown:
            raise ValueError(
                f"unknown column {', '.join(map(repr, unknown))}; "
                f"the table has {', '.join(map(repr, self.columns))}"
            )
        return self.values[:, [self.columns.index(name) for name in wanted]]


class _Errors:
    """The defects of one file: all are counted, the first ones are kept."""

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        self.messages: list[str] = []
        self.count = 0

    def add(self, line: int, what: str) -> None:
        self.count += 1
        if self.count <= _MAX_SHOWN:
            self.messages.append(f"{self.path}:{line}: {what}")

    def throw(self) -> None:
        """Raise one ``ValueError`` for everything collected; callers print its first line alone."""
        if not self.count:
            return
        first, *others = self.messages
        if self.count > 1:
            first += f" (and {self.count - 1} more)"
        raise ValueError("\n".join([first, *others]))


def read_table(path: PathLike) -> Table:
    r"""Read a comma-separated file of numbers with one header line.

    Parameters
    ----------
    path
        A UTF-8 file (a byte-order mark is accepted). The first line names the columns; every
        other line holds one finite number for each. Empty lines may end the file and occur
        nowhere else: in a table of one column they would be missing values.

    Returns
    -------
    Table
        The columns and the values ``(n_rows, n_columns)``.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is not such a table. The first line of the message is complete in itself,
        ``file.csv:17: column 'day': expected a number, got 'x' (and 3 more)``; the following
        lines hold the other defects, ten in all at most.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "table.csv"
    ...     _ = path.write_text("day,count\n1,10\n2,12.5\n")
    ...     table = read_table(path)
    >>> table.columns
    ('day', 'count')
    >>> table.select(["count"])
    array([[10. ],
           [12.5]])
    """
    errors = _Errors(path)
    rows = _rows(path, errors)
    line, header = next(rows, (1, []))
    columns = tuple(name.strip() for name in header)
    _check_header(columns, line, errors)
    errors.throw()  # without a header no other line can be judged
    numbers = array("d")
    for line, row in rows:
        if len(row) != len(columns):
            errors.add(line, f"expected {len(columns)} cells as in the header, got {len(row)}")
            continue
        for name, cell in zip(columns, row, strict=True):
            try:
                number = float(cell)
            except ValueError:
                number = math.nan
            # float() also reads "1_000", which no other program takes for a number
            if math.isfinite(number) and "_" not in cell:
                numbers.append(number)
            else:
                errors.add(line, f"column {name!r}: {_complaint(cell)}")
    errors.throw()
    if not numbers:
        raise ValueError(f"{errors.path}:{line}: expected rows of numbers below the header")
    return Table(columns, np.array(numbers, dtype=np.float64).reshape(-1, len(columns)))


def _rows(path: PathLike, errors: _Errors) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(line, cells)``; empty lines at the end are dropped, others have no cells."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = fault.object[: fault.start].count(b"\n") + 1
        raise ValueError(f"{errors.path}:{line}: expected UTF-8 text, got other bytes") from fault
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    empty: list[int] = []
    while True:
        try:
            row = next(reader, None)
        except csv.Error as fault:
            errors.add(reader.line_num, f"not comma-separated values: {fault}")
            return
        if row is None:
            return
        if not row:
            empty.append(reader.line_num)
            continue
        yield from ((line, []) for line in empty)
        empty.clear()
        yield reader.line_num, row


def _check_header(columns: tuple[str, ...], line: int, errors: _Errors) -> None:
    if not columns:
        errors.add(line, "expected a header with the names of the columns, got nothing")
        return
    for place, name in enumerate(columns, start=1):
        if not name:
            errors.add(line, f"header: column {place} has no name")
        elif name in columns[: place - 1]:
            errors.add(line, f"header: column {name!r} occurs twice")
    if all(map(_is_number, columns)):
        errors.add(line, "expected a header with the names of the columns, got only numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _complaint(cell: str) -> str:
    if not cell.strip():
        return "empty cell; drop or impute missing values first"
    kind = "a finite number" if _is_number(cell) and "_" not in cell else "a number"
    shown = cell if len(cell) <= 40 else cell[:37] + "..."
    return f"expected {kind}, got {shown!r}"


def read_arrays(path: PathLike) -> dict[str, np.ndarray[Any, Any]]:
    """Read all arrays of an ``npz`` file.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        ``PATH: ...`` if it is no such file or a damaged one, or if it holds pickled objects.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "a.npz"
    ...     np.savez(path, spins=np.array([1, -1]))
    ...     arrays = read_arrays(path)
    >>> arrays["spins"].tolist()
    [1, -1]
    """
    with Path(path).open("rb") as raw:
        try:
            # not np.load(raw): it returns bytes, perhaps none, for what does not begin as an array
            with zipfile.ZipFile(raw) as archive:
                return {
                    name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)))
                    for name in archive.namelist()
                }
        except Exception as fault:  # those of zipfile, zlib, NumPy and the parser of its headers
            raise ValueError(f"{os.fspath(path)}: no npz file, or a damaged one") from fault


def save(data: Any, path: PathLike, *, attrs: Mapping[str, Attribute] | None = None) -> Path:
    """Write an ArviZ data container to a netCDF file.

    The file appears under its name only when it is complete: an interrupted run leaves the old
    file or none.

    Parameters
    ----------
    data
        An ArviZ data container (of either major version of ArviZ), left as it is.
    path
        File to write or replace; its folder is created if need be.
    attrs
        Attributes of the whole file next to the container's own, for instance the seed and the
        command line. The version of the library and of the file layout are added.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    ImportError
        If ``h5netcdf`` or ``h5py`` is not installed.
    TypeError
        If ``data`` cannot be written to netCDF or an attribute is neither text nor a number.
    ValueError
        If an attribute has a reserved name.
    """
    target = Path(path)
    stamps = dict(attrs or {})
    for name, value in stamps.items():
        if name in (_SCHEMA, _LIBRARY):
            raise ValueError(f"attrs: {name!r} is reserved, choose another name")
        # netCDF has no Boolean attributes
        if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
            raise TypeError(f"attrs: expected text or a number for {name!r}, got {value!r}")
    if not hasattr(data, "to_netcdf"):
        raise TypeError(
            f"data: expected an ArviZ data container, got {type(data).__name__}; "
            "make one with inference.interop.to_arviz"
        )
    h5netcdf = _import_h5netcdf()
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial:
        data.to_netcdf(str(partial), engine="h5netcdf")
        with h5netcdf.File(partial, "a") as file:
            file.attrs.update({**stamps, _SCHEMA: SCHEMA_VERSION, _LIBRARY: _library_version()})
        _seal(partial)
    return target


def load(path: PathLike) -> Any:
    """Read a file written by :func:`save`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ArviZ data container
        What the installed ArviZ uses, wholly in memory (the file is closed); ``.attrs`` holds
        the attributes of the file.

    Raises
    ------
    ImportError
        If ``h5netcdf`` or ``h5py`` is not installed.
    OSError
        If the file cannot be opened.
    ValueError
        If it is not a netCDF file written by :func:`save` in a layout known to this version, or
        no longer what was written.
    """
    h5netcdf = _import_h5netcdf()
    # numbers of HDF5 have no check of their own, and its library hangs in some damaged files
    if not _is_sealed(path):
        raise ValueError(
            f"{os.fspath(path)}: only files that inference.storage.save wrote, and nobody changed, "
            "can be read; this one is another file or a damaged one"
        )
    with h5netcdf.File(path, "r") as file:
        found = file.attrs[_SCHEMA]
        writer = file.attrs[_LIBRARY]
    if found != SCHEMA_VERSION:
        raise ValueError(
            f"{os.fspath(path)}: expected {_SCHEMA} {SCHEMA_VERSION}, got {found} "
            f"(written by cavity {writer}, this is {_library_version()})"
        )
    from .interop import read_netcdf

    return read_netcdf(path)


def _seal(path: Path) -> None:
    """Add a digest of the file at its end, where HDF5 does not look."""
    with path.open("r+b") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, os.SEEK_END)
        file.write(_SEAL + digest)


def _is_sealed(path: PathLike) -> bool:
    """Return whether a file is as :func:`_seal` left it."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        left = file.seek(0, os.SEEK_END) - len(_SEAL) - total.digest_size
        file.seek(0)
        while left > 0:
            part = file.read(min(left, 1 << 20))
            total.update(part)
            left -= len(part)
        return file.read() == _SEAL + total.digest()


def _import_h5netcdf() -> Any:
    missing = [name for name in ("h5netcdf", "h5py") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"netCDF files need {' and '.join(missing)}: pip install 'cavity[netcdf]'"
        )
    return importlib.import_module("h5netcdf")


def _library_version() -> str:
    try:
        return version("cavity")
    except PackageNotFoundError:  # a source tree on the path, never installed
        return "unknown"
