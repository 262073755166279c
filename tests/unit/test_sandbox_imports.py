"""Modules that a workflow passes through the sandbox are not imported again for each workflow."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("examples", "loadtest", "tests")
BLOCK = "imports_passed_through()"


def files() -> list[str]:
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    own = Path(__file__)
    return sorted(str(path.relative_to(ROOT)) for path in found if path != own and BLOCK in path.read_text())


def imported_again(source: str) -> list[str]:
    """Return the modules that stand in `from package import module` within the block."""
    blocks = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.With) and ast.unparse(node.items[0].context_expr).endswith(BLOCK)
    ]
    names = [
        (node.module, alias.name)
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    ]
    return [f"{package}.{name}" for package, name in names if is_module(package, name)]


def is_module(package: str, name: str) -> bool:
    # Imports nothing but packages. What can't be found belongs to an application of its own within the tests.
    path = ROOT / Path(*package.split("."))
    return path.is_dir() and find_spec(f"{package}.{name}") is not None


@pytest.mark.parametrize("file", files())
def test_modules_pass_through(file: str):
    """The SDK imports a module again, even within the block, if it is imported as `from package import module`.

    The workflow's own package is imported in the sandbox, and Python's import looks for the module in it without the
    SDK. `import package.module as module` is passed through.
    """
    assert imported_again((ROOT / file).read_text()) == []


def test_finds_what_is_imported_again():
    """A module is found, a function of a module is not."""
    imports = "    from examples.trip import tasks\n    from examples.trip.tasks import reserve\n"
    source = f"with workflow.unsafe.{BLOCK}:\n{imports}"
    assert imported_again(source) == ["examples.trip.tasks"]
