"""graphs <- inference <- models; no system imports another; commands parse without numerics."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("graphs", "inference", "models")
SHARED = ("commands", "datasets")
SYSTEMS = sorted(
    folder.name
    for folder in (ROOT / "models").iterdir()
    if any(folder.glob("*.py")) and folder.name not in SHARED
)


def imported(source, package, *, module_level_only=False):
    """Return the absolute names of the modules that ``source``, in ``package``, imports."""
    nodes = _run_at_import(ast.parse(source)) if module_level_only else ast.walk(ast.parse(source))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parents = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update({base, *(f"{base}.{alias.name}" for alias in node.names)})
    return names


def _run_at_import(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _run_at_import(child)


def modules(folder):
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield path, ".".join(path.relative_to(ROOT).parent.parts)


def within(name, *packages):
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize(
    ("layer", "above"), [("graphs", ("inference", "models")), ("inference", ("models",))]
)
def test_a_layer_never_imports_one_above_it(layer, above):
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, package in modules(layer)
        for name in imported(path.read_text(encoding="utf-8"), package)
        if within(name, *above)
    ]
    assert not offences


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_never_imports_another(system):
    others = [f"models.{other}" for other in SYSTEMS if other != system]
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, package in modules(f"models/{system}")
        for name in imported(path.read_text(encoding="utf-8"), package)
        if within(name, *others, "models.commands", "models.cli")
    ]
    assert not offences


def test_the_command_line_parses_with_the_standard_library_alone():
    files = [*modules("models/commands"), (ROOT / "models/cli.py", "models")]
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path, package in files
        for name in imported(path.read_text(encoding="utf-8"), package, module_level_only=True)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not within(name, "models.commands")
    ]
    assert not offences


def test_nothing_in_the_packages_imports_tests_or_examples():
    offences = [
        f"{path.relative_to(ROOT)} imports {name}"
        for layer in LAYERS
        for path, package in modules(layer)
        for name in imported(path.read_text(encoding="utf-8"), package)
        if within(name, "tests", "examples", "suite_helpers", "conftest")
    ]
    assert not offences


def test_the_reader_of_imports_sees_every_form():
    source = (
        "import a.b as c\nfrom ..other import x\nfrom . import y\nif True:\n    import inside\n"
        "def f():\n    import lazy\nif TYPE_CHECKING:\n    import typed\n"
    )
    eager = {"a.b", "models.other", "models.other.x", "models.one", "models.one.y", "inside"}
    assert imported(source, "models.one", module_level_only=True) == eager
    assert imported(source, "models.one") == eager | {"lazy", "typed"}
