"""Bars for people, silence for files."""

import io

import pytest

from inference.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "enabled", "drawn"),
    [
        (Terminal, None, True),
        (io.StringIO, None, False),
        (io.StringIO, True, True),
        (Terminal, False, False),
    ],
)
def test_a_bar_is_drawn_on_a_terminal_or_on_demand(monkeypatch, stream, enabled, drawn):
    stderr = stream()
    monkeypatch.setattr("sys.stderr", stderr)
    with progress_bar(4, "sampling", enabled) as bar:
        for _ in range(2):
            bar.update(2)
    text = stderr.getvalue()
    assert bool(text) == drawn
    if drawn:
        assert "sampling" in text
        assert "4/4" in text
