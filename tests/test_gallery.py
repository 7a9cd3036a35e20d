"""The gallery: every example with its picture, its command and names that exist."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from suite_helpers import EXAMPLES, load_example

ROOT = EXAMPLES.parent
PAGE = (EXAMPLES / "README.md").read_text(encoding="utf-8")
SECTIONS = {
    name: text.partition("\n## ")[0]
    for name, text in re.findall(r"^### `(\w+)\.py`\n(.*?)(?=^### |\Z)", PAGE, re.S | re.M)
}
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
every_example = pytest.mark.parametrize("name", SCRIPTS)


def test_the_gallery_has_all_examples_and_no_others():
    assert sorted(SECTIONS) == SCRIPTS
    for name in SCRIPTS:
        assert f"(#{name}py)" in PAGE.partition("\n## ")[0], "not in the table of contents"


@every_example
def test_a_picture_is_small_and_can_be_opened(name):
    (shown,) = re.findall(r"!\[.+\]\((.+)\)", SECTIONS[name])
    assert shown == f"{name}.png"
    size = (EXAMPLES / shown).stat().st_size
    assert 10_000 < size < 150_000
    with Image.open(EXAMPLES / shown) as image:
        assert min(image.size) > 300


@every_example
def test_the_command_of_the_picture_is_understood(name, capsys):
    (command,) = re.findall(r"`python (examples/.+?)`", SECTIONS[name], re.S)
    script, *options = shlex.split(command)
    assert script == f"examples/{name}.py"
    assert options[-2:] == ["--figure", f"examples/{name}.png"]
    # an option that nobody knows, last: whatever else is wrong would be named beside it, or first
    with pytest.raises(SystemExit) as end:
        load_example(name).main([*options, "--quick", "--seed", "0", "--nobody-knows-this"])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.endswith("error: unrecognized arguments: --nobody-knows-this\n")


@every_example
def test_what_is_to_be_changed_exists(name):
    (change,) = re.findall(r"- \*\*Change\*\* (.*?)\Z", SECTIONS[name], re.S)
    constants = re.findall(r"`([A-Z][A-Z_]+)`", change)
    module = load_example(name)
    assert constants
    for constant in constants:
        assert hasattr(module, constant), constant
    for keyword in ("- **Run** (", "- **Expect** "):
        assert keyword in SECTIONS[name]


def test_pictures_of_the_front_page():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[.+\]\((.+)\)", page)
    assert len(shown) == 3
    assert all(Path(ROOT / picture).exists() for picture in shown)
    for name in re.findall(r"examples/README\.md#(\w+)py", page):
        assert name in SCRIPTS
