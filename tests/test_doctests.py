"""The examples in the docstrings run as printed."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMPT = re.compile(r"^\s*>>> ", re.MULTILINE)


def modules_with_examples():
    # by file, not by pkgutil.walk_packages: that skips a package whose import fails
    for package in ("graphs", "inference", "models"):
        for path in sorted((ROOT / package).rglob("*.py")):
            n_examples = len(PROMPT.findall(path.read_text(encoding="utf-8")))
            if n_examples:
                parts = path.relative_to(ROOT).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                yield pytest.param(name, n_examples, id=name)


@pytest.mark.parametrize(("name", "n_examples"), list(modules_with_examples()))
def test_examples_run_as_printed(name, n_examples):
    result = doctest.testmod(importlib.import_module(name), verbose=False)
    assert result.failed == 0, "see the captured output"
    assert result.attempted == n_examples, "doctest did not find every example in the file"
