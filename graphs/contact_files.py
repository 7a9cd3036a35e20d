"""Comma-separated tables of contacts and of tests: a refusal names file, line and column."""

from __future__ import annotations

import csv
import functools
import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from ._contact_rows import MAX_DAYS

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
PathLike = str | os.PathLike[str]

_WHOLE = re.compile(r"[0-9]{1,9}(\.0*)?\Z")
_RESULTS = {
    **dict.fromkeys(("1", "+", "positive", "pos", "true"), True),
    **dict.fromkeys(("0", "-", "\N{MINUS SIGN}", "negative", "neg", "false"), False),
}


class ContactRows(NamedTuple):
    """The rows of a table of contacts, in the order of the file."""

    person_a: list[str]
    """``(n_rows,)`` labels."""
    person_b: list[str]
    day: Integers
    transmission: Floats | None
    """``(n_rows,)`` probabilities; None if the file has no such column."""
    line: Integers
    """``(n_rows,)``: where in the file each row stands, the header in line 1."""


class ResultRows(NamedTuple):
    """The rows of a table of tests, in the order of the file."""

    person: list[str]
    """``(n_rows,)`` labels."""
    day: Integers
    positive: NDArray[np.bool_]
    false_positive: Floats
    """``(n_rows,)`` probabilities; 0 if the file has no such column."""
    false_negative: Floats
    line: Integers
    """``(n_rows,)``: where in the file each row stands, the header in line 1."""


def read_contacts(path: PathLike) -> ContactRows:
    r"""Read contacts, ``person_a,person_b,day`` and perhaps ``transmission``.

    Parameters
    ----------
    path
        A UTF-8 file whose first line names the columns, in any order. Persons are labels, kept as
        text without the blanks around them; days are whole numbers from 0; ``transmission`` is the
        probability of the contact to pass the infection. Empty lines are skipped.

    Returns
    -------
    ContactRows
        For `ContactNetwork.from_events`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        ``PATH:LINE: column 'day': expected ..., got ...`` for the first defect of the file, which
        may also be a column that is missing, unknown or there twice, a person that meets itself, a
        row that is too short or too long, or no row at all.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from graphs.contact_files import read_contacts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "contacts.csv")
    ...     _ = path.write_text("person_a,person_b,day\nann,bob,0\nbob,cid,3\n")
    ...     rows = read_contacts(path)
    >>> rows.person_a, rows.person_b, rows.day.tolist(), rows.line.tolist()
    (['ann', 'bob'], ['bob', 'cid'], [0, 3], [2, 3])
    """
    table = _Table(path, ("person_a", "person_b", "day"), ("transmission",))
    person_a: list[str] = []
    person_b: list[str] = []
    day, transmission = array("q"), array("d")
    for row in table.rows():
        person_a.append(one := table.value(row, "person_a", _label))
        person_b.append(other := table.value(row, "person_b", _label))
        if one == other:
            table.refuse("person_b", f"expected somebody else than {one!r}", other)
        day.append(table.value(row, "day", _contact_day))
        if "transmission" in table.place:
            transmission.append(table.value(row, "transmission", _probability))
    given = np.array(transmission) if "transmission" in table.place else None
    return ContactRows(person_a, person_b, np.array(day), given, table.line_numbers())


def read_tests(path: PathLike) -> ResultRows:
    r"""Read tests, ``person,day,result`` and perhaps ``false_positive`` and ``false_negative``.

    Parameters
    ----------
    path
        As in `read_contacts`. Results are ``1``, ``positive``, ``pos``, ``true``, ``+`` or ``0``,
        ``negative``, ``neg``, ``false``, ``-``, in small or capital letters. The other two columns
        are the probabilities of a wrong result; without them a test is never wrong.

    Returns
    -------
    ResultRows
        For `Observations.from_tests`.

    Raises
    ------
    OSError, ValueError
        As in `read_contacts`.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from graphs.contact_files import read_tests
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "tests.csv")
    ...     _ = path.write_text("person,day,result,false_negative\nann,2,Positive,0.1\n")
    ...     rows = read_tests(path)
    >>> rows.positive.tolist(), rows.false_positive.tolist(), rows.false_negative.tolist()
    ([True], [0.0], [0.1])
    """
    rates = ("false_positive", "false_negative")
    table = _Table(path, ("person", "day", "result"), rates)
    person: list[str] = []
    day, positive = array("q"), array("b")
    wrong = {name: array("d") for name in rates}
    for row in table.rows():
        person.append(table.value(row, "person", _label))
        day.append(table.value(row, "day", _test_day))
        positive.append(table.value(row, "result", _result))
        for name in rates:
            given = name in table.place
            wrong[name].append(table.value(row, name, _probability) if given else 0.0)
    return ResultRows(
        person,
        np.array(day),
        np.array(positive, bool),
        np.array(wrong["false_positive"]),
        np.array(wrong["false_negative"]),
        table.line_numbers(),
    )


class _Table:
    """A file with a header, read row by row; it knows the line that it is in."""

    def __init__(self, path: PathLike, needed: Sequence[str], optional: Sequence[str]) -> None:
        self.path = os.fspath(path)
        self.line = 1
        self._lines = array("q")
        self._columns = (*needed, *optional)
        self._needed = needed
        self.place: dict[str, int] = {}

    def rows(self) -> Iterator[list[str]]:
        """Check the header, then yield the cells of each row."""
        try:
            with Path(self.path).open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, strict=True)
                header = self._next(reader)
                self._read_header(header or [])
                while (row := self._next(reader)) is not None:
                    if len(row) != len(self.place):
                        self._stop(
                            f"expected {len(self.place)} cells as in the header, got {len(row)}"
                        )
                    self._lines.append(self.line)
                    yield row
        except UnicodeDecodeError:
            self._refuse_bytes()
        if not self._lines:
            self._stop("expected rows below the header, got none")

    def value(self, row: Sequence[str], name: str, parse: Callable[[str], Any]) -> Any:
        """Return the parsed cell of a column."""
        cell = row[self.place[name]]
        try:
            return parse(cell)
        except ValueError as fault:
            self.refuse(name, str(fault), cell)

    def refuse(self, name: str, expected: str, cell: str) -> NoReturn:
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        self._stop(f"column {name!r}: {expected}, got {shown!r}")

    def line_numbers(self) -> Integers:
        """Return the lines of the rows so far."""
        return np.array(self._lines)

    def _next(self, reader: Any) -> list[str] | None:
        """Return the next row that is not an empty line, None at the end of the file."""
        row: list[str] | None = []
        while row == []:
            try:
                row = next(reader, None)
            except csv.Error as fault:
                self.line = max(reader.line_num, 1)
                self._stop(f"expected comma-separated values, got a defect: {fault}")
            if row is not None:
                self.line = reader.line_num
        return row

    def _read_header(self, header: list[str]) -> None:
        names = [name.strip().lower() for name in header]
        for place, name in enumerate(names):
            if name not in self._columns:
                known = ", ".join(self._columns)
                self._stop(f"header: expected the columns {known}, got {header[place]!r:.60}")
            if name in self.place:
                self._stop(f"header: expected each column once, got {name!r} twice")
            self.place[name] = place
        for name in self._needed:
            if name not in self.place:
                got = ", ".join(map(repr, names)) or "an empty file"
                self._stop(f"header: expected a column {name!r}, got {got}")

    def _refuse_bytes(self) -> NoReturn:
        data = Path(self.path).read_bytes()
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as fault:
            self.line = data[: fault.start].count(b"\n") + 1
        self._stop("expected UTF-8 text, got other bytes")

    def _stop(self, message: str) -> NoReturn:
        raise ValueError(f"{self.path}:{self.line}: {message}") from None


_cached = functools.lru_cache(maxsize=1 << 16)


def _label(cell: str) -> str:
    label = cell.strip()
    if not label:
        raise ValueError("expected the label of a person")
    return _shared(label)


@functools.lru_cache(maxsize=1 << 20)
def _shared(label: str) -> str:
    return label  # one object for all rows of a person


@_cached
def _contact_day(cell: str) -> int:
    return _whole(cell, MAX_DAYS - 1)


@_cached
def _test_day(cell: str) -> int:
    return _whole(cell, MAX_DAYS)


def _whole(cell: str, most: int) -> int:
    text = cell.strip()
    if not _WHOLE.match(text) or int(text.partition(".")[0]) > most:
        raise ValueError(f"expected a whole number from 0 to {most}")
    return int(text.partition(".")[0])


@_cached
def _probability(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = -1.0
    # float() also reads "1_0", which no other program takes for a number
    if not 0.0 <= number <= 1.0 or "_" in cell:
        raise ValueError("expected a probability from 0 to 1")
    return number


@_cached
def _result(cell: str) -> bool:
    result = _RESULTS.get(cell.strip().lower())
    if result is None:
        raise ValueError("expected positive or negative, 1 or 0, true or false, + or -")
    return result
