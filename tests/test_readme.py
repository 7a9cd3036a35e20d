"""The README's examples print what the README says."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


BLOCK = "((?:(?!```).)*)```"
EXAMPLES = re.findall(rf"```python\n{BLOCK}\n\n```\n{BLOCK}", README, re.S)


@pytest.mark.parametrize(("code", "printed"), EXAMPLES)
def test_the_examples_print_what_is_written_below_them(code, printed):
    assert len(code.splitlines()) <= 25
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, "README.md", "exec"), {})
    assert output.getvalue().split() == printed.split()


def test_every_system_has_one():
    assert len(EXAMPLES) == 6
