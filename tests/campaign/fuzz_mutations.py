"""Damage of files: bytes, lines, cells; and changes that keep what a file says."""

import numpy as np

TOKENS = [
    b"nan", b"NaN", b"inf", b"-inf", b"-1", b"1e999", b"1e-320", b"1_000", b"", b" ", b'"', b'""',
    b'"a', b"\x00", b"\xef\xbb\xbf", b"\xff", "٣".encode(), "１".encode(), "²".encode(),
    b"9" * 30, b"-" + b"9" * 400, b"9" * 5000, b"-0", b"-0.0", b"0", b"1", b"0x10", b"1e5", b"2.5",
    b"1e308", b"1.7e308", b"1e-300", b"true", b"None", b",", b"0.5", b"2147483648", b"99999",
    b"32767", b"x" * 70000, b"\r", b"\x1a", b"+1", b"--1", b"1,2", b"a;b", "\u2028".encode(),
]  # fmt: skip


def mutated(whole, text, rng):
    """Return what was done, the new bytes, and whether they say the same.

    Parameters
    ----------
    whole
        A valid file.
    text
        ``"table"``: comma-separated; ``"lines"``: of words; None: binary.
    rng
        Generator of NumPy.
    """
    if text and rng.random() < 0.1:
        change = rng.choice(KEEPING[text])
        return change.__name__, change(whole, rng), True
    names, data = [], whole
    for _ in range(1 + int(rng.random() < 0.3)):
        choice = BYTES if text is None or rng.random() < 0.3 else LINES
        change = rng.choice(choice)
        names.append(change.__name__)
        data = change(data, rng)
    return ", ".join(names), data, data == whole


def _place(data, rng):
    return int(rng.integers(len(data) + 1))


def _span(data, rng):
    start = _place(data, rng)
    return start, min(len(data), start + int(rng.geometric(0.1)))


def flip_a_bit(data, rng):
    if not data:
        return data
    changed = bytearray(data)
    changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def set_bytes(data, rng):
    a, b = _span(data, rng)
    return data[:a] + rng.bytes(b - a) + data[b:]


def zero_bytes(data, rng):
    a, b = _span(data, rng)
    return data[:a] + bytes(b - a) + data[b:]


def delete_bytes(data, rng):
    a, b = _span(data, rng)
    return data[:a] + data[b:]


def repeat_bytes(data, rng):
    a, b = _span(data, rng)
    return data[:b] + data[a:b] + data[b:]


def insert_bytes(data, rng):
    a = _place(data, rng)
    return data[:a] + rng.bytes(int(rng.integers(1, 9))) + data[a:]


def truncate(data, rng):
    return data[: _place(data, rng)]


def concatenate(data, rng):
    return data + data[_place(data, rng) // 2 :]


def insert_a_token(data, rng):
    a = _place(data, rng)
    return data[:a] + TOKENS[rng.integers(len(TOKENS))] + data[a:]


def _lines(data):
    return data.splitlines(keepends=True) or [b""]


def repeat_a_line(data, rng):
    lines = _lines(data)
    lines.insert(int(rng.integers(len(lines) + 1)), lines[rng.integers(len(lines))])
    return b"".join(lines)


def delete_a_line(data, rng):
    lines = _lines(data)
    del lines[rng.integers(len(lines))]
    return b"".join(lines)


def swap_lines(data, rng):
    lines = _lines(data)
    a, b = rng.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def insert_an_empty_line(data, rng):
    lines = _lines(data)
    lines.insert(int(rng.integers(len(lines) + 1)), b"\n")
    return b"".join(lines)


def _separator(data):
    return b"," if b"," in data else b" "


def _change_cells(data, rng, change):
    """Change the list of cells of one line; ``change`` may alter it in place."""
    lines, mark = _lines(data), _separator(data)
    i = int(rng.integers(len(lines)))
    end = b"\n" if lines[i].endswith(b"\n") else b""
    cells = lines[i].removesuffix(b"\n").split(mark)
    change(cells)
    lines[i] = mark.join(cells) + end
    return b"".join(lines)


def replace_a_cell(data, rng):
    def change(cells):
        cells[rng.integers(len(cells))] = TOKENS[rng.integers(len(TOKENS))]

    return _change_cells(data, rng, change)


def delete_a_cell(data, rng):
    return _change_cells(data, rng, lambda cells: cells.pop(rng.integers(len(cells))))


def repeat_a_cell(data, rng):
    return _change_cells(data, rng, lambda cells: cells.append(cells[rng.integers(len(cells))]))


def swap_cells(data, rng):
    def change(cells):
        a, b = rng.integers(len(cells), size=2)
        cells[a], cells[b] = cells[b], cells[a]

    return _change_cells(data, rng, change)


def add_a_column(data, rng):
    mark, token = _separator(data), TOKENS[rng.integers(len(TOKENS))]
    head, *rest = _lines(data)
    name = [b"more", head.strip().split(mark)[0], token][rng.integers(3)]
    body = [line.rstrip(b"\n") + mark + token + b"\n" for line in rest]
    return head.rstrip(b"\n") + mark + name + b"\n" + b"".join(body)


def fill_a_column(data, rng):
    """Give all rows one value in a column."""
    mark = _separator(data)
    head, *rest = _lines(data)
    place = int(rng.integers(len(head.split(mark))))
    value = TOKENS[rng.integers(len(TOKENS))]
    rows = [line.rstrip(b"\n").split(mark) for line in rest]
    filled = [mark.join([*row[:place], value, *row[place + 1 :]]) + b"\n" for row in rows]
    return head + b"".join(filled)


def repeat_the_header(data, rng):
    return data + _lines(data)[0]


def only_some_lines(data, rng):
    lines = _lines(data)
    return b"".join(lines[: int(rng.integers(len(lines) + 1))])


def shuffle_lines(data, rng):
    return b"".join(rng.permutation(np.array(_lines(data), dtype=object)))


def lone_carriage_returns(data, rng):
    return data.replace(b"\n", b"\r")


def end_in_the_middle_of_a_character(data, rng):
    return data + "é".encode()[:1]


def quote_the_rest(data, rng):
    a = _place(data, rng)
    return data[:a] + b'"' + data[a:]


def repeat_all(data, rng):
    return data * int(rng.integers(2, 5))


# ---------------------------------------------------------------- what keeps the meaning


def windows_line_ends(data, rng):
    return data.replace(b"\n", b"\r\n")


def byte_order_mark(data, rng):
    return b"\xef\xbb\xbf" + data


def no_last_line_end(data, rng):
    return data.removesuffix(b"\n")


def empty_lines_at_the_end(data, rng):
    return data + b"\n" * int(rng.integers(1, 4))


def quoted_cells(data, rng):
    rows = [line.split(b",") for line in data.splitlines()]
    return b"".join(b",".join(b'"' + cell + b'"' for cell in row) + b"\n" for row in rows)


def blanks_around_cells(data, rng):
    return data.replace(b",", b" ,\t")


def blanks_between_words(data, rng):
    return data.replace(b" ", b"\t  ")


def comments_between_lines(data, rng):
    return data.replace(b"\n", b"\nc 1 0 %\n")


BYTES = np.array(
    [flip_a_bit, set_bytes, zero_bytes, delete_bytes, repeat_bytes, insert_bytes, truncate,
     concatenate, insert_a_token],
    dtype=object,
)  # fmt: skip
LINES = np.array(
    [repeat_a_line, delete_a_line, swap_lines, insert_an_empty_line, replace_a_cell,
     replace_a_cell, replace_a_cell, replace_a_cell, delete_a_cell, repeat_a_cell, swap_cells,
     add_a_column, fill_a_column, repeat_the_header, only_some_lines, shuffle_lines,
     lone_carriage_returns, end_in_the_middle_of_a_character, quote_the_rest, repeat_all],
    dtype=object,
)  # fmt: skip
_ALWAYS = [windows_line_ends, byte_order_mark, no_last_line_end, empty_lines_at_the_end]
KEEPING = {
    "table": np.array([*_ALWAYS, quoted_cells, blanks_around_cells], dtype=object),
    "lines": np.array([*_ALWAYS, blanks_between_words, comments_between_lines], dtype=object),
}
