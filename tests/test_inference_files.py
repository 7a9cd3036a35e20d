"""Whole files, one writer."""

import signal
import subprocess
import sys

import pytest

from inference.files import InUseError, replacing, sole_writer


def test_a_block_that_raises_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")

    def fail():
        with replacing(path) as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_ends_well_replaces_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert (path.read_text(), partial.suffix) == ("old", ".csv")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_one_writer_at_a_time_and_no_trace_after_it(tmp_path):
    path = tmp_path / "results"
    with sole_writer(path):
        refused = pytest.raises(InUseError, match=r"results: another process is writing to it")
        with refused, sole_writer(path):
            pass
        with sole_writer(tmp_path / "others"):
            pass
    with sole_writer(path):
        pass
    assert list(tmp_path.iterdir()) == []


HOLDER = """
import sys
from inference.files import sole_writer
with sole_writer(sys.argv[1]):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_kept_out_until_it_is_killed(tmp_path):
    path = tmp_path / "results"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "mine\n"
        with pytest.raises(InUseError), sole_writer(path):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with sole_writer(path):
            pass
    finally:
        holder.kill()
        holder.communicate()
