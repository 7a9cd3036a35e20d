"""Files that hold graphs: DIMACS CNF, read in whole-array steps, refused with the exact line."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import INT32_MAX, integer_array, whole_number

_BLANK = rb"[ \t\r\v\f]"
# comments and blank lines, then the header; possessive, so that no failure is tried twice
_HEADER = re.compile(
    rb"(?:%(b)s*+(?:c[^\n]*+)?+\n)*+%(b)s*+p%(b)s++cnf%(b)s++(\d{1,10})%(b)s++(\d{1,18})%(b)s*+(?:\n|\Z)"
    % {b"b": _BLANK}
)
_COMMENT = re.compile(rb"^%b*+c[^\n]*" % _BLANK, re.MULTILINE)
_END_MARK = re.compile(rb"^%b*+%%%b*+$" % (_BLANK, _BLANK), re.MULTILINE)
_INTEGER = re.compile(rb"-?[0-9]+\Z")
_EXPECTED_HEADER = "expected a header 'p cnf VARIABLES CLAUSES'"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BODY_BYTES = b"0123456789- \t\r\v\f\n"
_LINES_PER_WRITE = 1 << 16


class CnfFile(NamedTuple):
    """The clauses of a file, in its order and with nothing simplified."""

    literals: NDArray[np.int32]
    """``(n_literals,)`` signed and counted from 1, one clause after the other."""
    offsets: NDArray[np.int64]
    """``(n_clauses + 1,)``: clause ``a`` is ``literals[offsets[a]:offsets[a + 1]]``."""
    n_variables: int
    """As the header says, also counting variables in no clause."""


def read_dimacs(path: str | os.PathLike[str]) -> CnfFile:
    r"""Read a formula in DIMACS CNF.

    Parameters
    ----------
    path
        File. Comment lines may stand anywhere, clauses may span lines or share one, and the ending
        of SATLIB (a line ``%``, a line ``0``) is understood.

    Returns
    -------
    CnfFile
        Literals, offsets and the number of variables.

    Raises
    ------
    ValueError
        ``PATH:LINE: what was expected, what came``, if the file breaks the format in any way.
    OSError
        If it cannot be read.

    Notes
    -----
    O(size), about a second for 1e6 clauses of 3 literals. The format: "Satisfiability Suggested
    Format", DIMACS (1993). Lines end at a line feed; a carriage return is blank space.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from graphs.formats import read_dimacs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "small.cnf")
    ...     _ = path.write_text("c two clauses\np cnf 3 2\n1 -3 0 2\n3 -1 0\n")
    ...     formula = read_dimacs(path)
    >>> formula.literals.tolist(), formula.offsets.tolist(), formula.n_variables
    ([1, -3, 2, 3, -1], [0, 2, 5], 3)
    """
    data = Path(path).read_bytes().removeprefix(_BYTE_ORDER_MARK)
    return _read_at_once(data) or _read_by_line(data, os.fspath(path))


def write_dimacs(
    path: str | os.PathLike[str],
    literals: ArrayLike,
    offsets: ArrayLike,
    n_variables: int,
    *,
    comments: Iterable[str] = (),
) -> None:
    """Write a formula in DIMACS CNF, one clause a line, comments first.

    Parameters
    ----------
    path
        File, overwritten.
    literals
        ``(n_literals,)`` signed and counted from 1.
    offsets
        ``(n_clauses + 1,)``: clause ``a`` is ``literals[offsets[a]:offsets[a + 1]]``.
    n_variables
        At least the largest absolute value in ``literals``.
    comments
        Lines of text; what holds line breaks becomes several comment lines.

    Raises
    ------
    TypeError, ValueError
        If the arrays are no formula; nothing is written then.
    OSError
        If the file cannot be written.

    See Also
    --------
    read_dimacs : Reads back the same arrays.
    """
    n_variables = whole_number("n_variables", n_variables)
    literals = integer_array("literals", literals, ndim=1)
    offsets = integer_array("offsets", offsets, ndim=1)
    if not offsets.size or offsets[0] != 0 or offsets[-1] != literals.size:
        raise ValueError(
            f"offsets: expected to start at 0 and end at {literals.size}, the number of literals; "
            f"got {offsets[[0, -1]].tolist() if offsets.size else 'nothing'}"
        )
    if (np.diff(offsets) < 0).any():
        raise ValueError("offsets: expected numbers that never fall")
    wrong = np.flatnonzero((literals == 0) | (literals < -n_variables) | (literals > n_variables))
    if wrong.size:
        raise ValueError(
            f"literals: {_expected_literal(n_variables)}, got {literals[wrong[0]]} at {wrong[0]}"
        )
    if isinstance(comments, str):
        raise TypeError(f"comments: expected a sequence of lines, got one string {comments!r:.60}")
    remarks = [line for text in comments for line in text.splitlines() or [""]]
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"c {line}\n" if line else "c\n" for line in remarks)
        file.write(f"p cnf {n_variables} {len(offsets) - 1}\n")
        file.writelines(_clause_lines(literals, offsets))


def _clause_lines(literals: NDArray[np.int64], offsets: NDArray[np.int64]) -> Iterator[str]:
    for first in range(0, len(offsets) - 1, _LINES_PER_WRITE):
        part = offsets[first : first + _LINES_PER_WRITE + 1]
        inside = part - part[0]
        terminated = np.insert(literals[part[0] : part[-1]], inside[1:], 0)
        words = list(map(str, terminated.tolist()))
        bounds = (inside + np.arange(len(inside))).tolist()
        lines = [" ".join(words[a:b]) for a, b in itertools.pairwise(bounds)]
        yield "\n".join(lines) + "\n"


def _read_at_once(data: bytes) -> CnfFile | None:
    """Read a regular file in whole-array steps; None means only that the careful pass is needed."""
    header = _HEADER.match(data)
    if header is None:
        return None
    n_variables, n_clauses = int(header[1]), int(header[2])
    body = data[header.end() :]
    if b"c" in body:
        body = _COMMENT.sub(b"", body)
    end = _END_MARK.search(body) if b"%" in body else None
    if end is not None:
        if body[end.end() :].strip() not in (b"", b"0"):
            return None
        body = body[: end.start()]
    if n_variables > INT32_MAX or body.translate(None, _BODY_BYTES):
        return None
    framed = np.frombuffer(b"\n" + body + b"\n", np.uint8)
    minus = np.flatnonzero(framed == ord("-"))
    if (framed[minus - 1] > ord(" ")).any() or (framed[minus + 1] <= ord("0")).any():
        return None  # a minus sign inside a number, alone, doubled, or before 0
    # An integer too large for 64 bits becomes the largest one, which is out of range as well.
    numbers = np.fromstring(body, dtype=np.int64, sep=" ") if body.strip() else np.empty(0, int)
    is_end = numbers == 0
    ends = np.flatnonzero(is_end)
    if ends.size != n_clauses or (numbers.size and not is_end[-1]):
        return None
    literals = numbers[~is_end]
    if literals.size and max(literals.max(), -int(literals.min())) > n_variables:
        return None
    offsets = np.zeros(n_clauses + 1, np.int64)
    offsets[1:] = ends - np.arange(n_clauses)
    return CnfFile(literals.astype(np.int32), offsets, n_variables)


def _read_by_line(data: bytes, path: str) -> CnfFile:
    """Read any file token by token, for the line of its first error."""

    def refuse(line: int, message: str) -> NoReturn:
        raise ValueError(f"{path}:{line}: {message}")

    header: tuple[int, int] | None = None
    literals: list[int] = []
    offsets = [0]
    last_line = surplus_line = 0
    marked = False
    line = 0
    for line, text in enumerate(data.split(b"\n"), start=1):
        tokens = text.split()
        if not tokens or tokens[0].startswith(b"c"):
            continue
        _refuse_binary(text, path, line)
        if tokens[0].startswith(b"p"):
            if header is not None:
                refuse(line, f"expected one header, got a second one, {_shown(text)}")
            header = _parse_header(tokens) or refuse(
                line,
                f"{_EXPECTED_HEADER} with numbers from 0 to {INT32_MAX}, got {_shown(text)}",
            )
            continue
        if header is None:
            refuse(line, f"{_EXPECTED_HEADER} before the first clause, got {_shown(text)}")
        if marked:
            if tokens != [b"0"]:
                refuse(line, f"expected nothing but a 0 after the end mark %, got {_shown(text)}")
            continue
        for token in tokens:
            if token == b"%" and tokens == [token]:
                marked = True
                break
            if not token.strip(b"0"):
                offsets.append(len(literals))
                if len(offsets) - 1 > header[1]:
                    surplus_line = surplus_line or line
                continue
            if not _INTEGER.match(token):
                refuse(line, f"expected an integer, got {_shown(token)}")
            digits = token.lstrip(b"-0")
            if len(digits) > 10 or not 0 < int(digits or b"0") <= header[0]:
                refuse(line, f"{_expected_literal(header[0])}, got {_shown(token)}")
            literals.append(int(token))
            last_line = line
    n_lines = max(1, line - data.endswith(b"\n"))
    if header is None:
        refuse(n_lines, f"{_EXPECTED_HEADER}, got {'the end of the' if data else 'an empty'} file")
    if offsets[-1] != len(literals):
        refuse(last_line, "expected a 0 at the end of the last clause, got the end of the file")
    if len(offsets) - 1 != header[1]:
        counts = f"expected {header[1]} clauses as in the header, got {len(offsets) - 1}"
        refuse(surplus_line or n_lines, counts)
    return CnfFile(np.array(literals, np.int32), np.array(offsets, np.int64), header[0])


def _parse_header(tokens: list[bytes]) -> tuple[int, int] | None:
    numbers = tokens[2:]
    if tokens[:2] != [b"p", b"cnf"] or len(numbers) != 2 or not all(map(bytes.isdigit, numbers)):
        return None
    if max(map(len, numbers)) > 18 or max(map(int, numbers)) > INT32_MAX:
        return None
    return int(numbers[0]), int(numbers[1])


def _refuse_binary(text: bytes, path: str, line: int) -> None:
    strange = re.search(rb"[^\t-\r -~]", text)
    if strange:
        raise ValueError(
            f"{path}:{line}: expected plain text, got the byte 0x{strange[0][0]:02x}; "
            "unpack a compressed file first"
        )


def _expected_literal(n_variables: int) -> str:
    if n_variables == 0:
        return "expected no literal (there are 0 variables)"
    return f"expected a literal from -{n_variables} to {n_variables} other than 0"


def _shown(text: bytes) -> str:
    words = " ".join(text.decode("ascii", "backslashreplace").split())
    return repr(words if len(words) <= 40 else words[:37] + "...")
