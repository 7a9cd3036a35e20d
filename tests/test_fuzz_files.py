"""Damaged files of every format: refused in one line that names them, or rightly answered."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "campaign"))

import fuzz_files

COMMANDS = [name for name, form in fuzz_files.FORMATS.items() if form.arguments]


def handled(name, n_files, folder, **options):
    refused, answered, faults = fuzz_files.fuzzed(name, n_files, 0, 1, folder, **options)
    assert not faults, f"{faults[0][0]}: {faults[0][2]}\n{faults[0][1][:300]!r}"
    assert refused + answered == n_files
    return refused, answered


@pytest.mark.parametrize("name", fuzz_files.FORMATS)
def test_damaged_files_are_refused_in_one_line_or_rightly_read(name, tmp_path):
    refused, answered = handled(name, 200, tmp_path, quick=True)
    # both kinds occur, or the damage is too mild or too wild to show anything
    assert refused > 30
    assert answered > 0


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_answer_rightly_what_they_do_not_refuse(name, tmp_path):
    # 20 to 50 ms a file; the script does the thousands
    handled(name, 10, tmp_path)


def test_what_is_mishandled_is_seen(tmp_path):
    form = fuzz_files.FORMATS["table to predict"]
    path = tmp_path / form.file
    path.write_text("a,b\n1,2\n")
    for found, complaint in [
        ((70, None, "Traceback", ()), "exit 70"),
        ((2, None, f"cavity: {path}:1: no\nmore\n", ()), "2 lines"),
        ((2, None, "cavity: expected numbers\n", ()), "not named"),
        ((0, ([[1.0, 2.0]], None), "", ("overflow",)), "a warning escaped"),
        ((0, ([[1.0, 3.0]], None), "", ()), "other inputs"),
    ]:
        said = fuzz_files.complaint_about(form, tmp_path, path.read_bytes(), found)
        assert complaint in said
    right = (0, ([[1.0, 2.0]], None), "", ())
    assert fuzz_files.complaint_about(form, tmp_path, path.read_bytes(), right) is None
