"""Finds the tests that use an activity, from their source, so that the others need not run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_ACTIVITY = re.compile(r"activity\.defn|(execute|start)_(local_)?activity|KSExecuteActivityAction|activities=\[")

FOR_OTHER_LIBRARIES = (
    "deepagents",
    "google_adk_agents",
    "google_genai",
    "langgraph",
    "langsmith",
    "openai_agents",
    "strands",
)
"""Folders of `tests/contrib` about libraries for agents, whose integrations are packages of their own. Name a file of
theirs to run it, when its library is installed."""


def files_with_activities(source: Path) -> list[str]:
    """Return the test files that use activities, or that stand beside a module that does.

    Args:
        source: the folder that holds `tests`.
    """
    tests = source / "tests"
    users = {path for path in tests.rglob("*.py") if _ACTIVITY.search(path.read_text())}
    folders = {path.parent for path in users if not path.name.startswith("test_")}
    return sorted(
        str(path.relative_to(source))
        for path in tests.rglob("test_*.py")
        if (path in users or path.parent in folders) and not {*path.parts} & {*FOR_OTHER_LIBRARIES}
    )


def uses_activity(source: Path, file: Path, function: str) -> bool:
    """Return whether a test runs activities, or anything of the tests that it refers to does.

    Args:
        source: the folder that holds `tests`.
        file: the test's file.
        function: the test's name, with its class's name and a dot before it if it has one.
    """
    todo = [(file, function.partition(".")[0])]
    seen: set[tuple[Path, str]] = set()
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        module, name = place
        definition = _definitions(module).get(name)
        if definition is None:
            origin = _imports(source, module).get(name)
            if origin is not None:
                todo.append(origin)
            continue
        text, names = definition
        if _ACTIVITY.search(text):
            return True
        todo += [(module, other) for other in names]
    return False


@cache
def _definitions(module: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Return the source of what a module defines at its top level, and the names in it."""
    text = module.read_text()
    lines = text.splitlines()
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for node in ast.parse(text).body:
        for name in _defined(node):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.arg for part in ast.walk(node) if isinstance(part, ast.arg)}  # fixtures
            # The lines of decorators, too, which stand before the node's own.
            first = min([node.lineno, *(part.lineno for part in getattr(node, "decorator_list", ()))])
            found[name] = ("\n".join(lines[first - 1 : node.end_lineno]), frozenset(names))
    return found


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (target.id for target in node.targets if isinstance(target, ast.Name))


@cache
def _imports(source: Path, module: Path) -> dict[str, tuple[Path, str]]:
    """Return where the names come from that a module imports from other modules of the tests."""
    found: dict[str, tuple[Path, str]] = {}
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tests":
            base = source.joinpath(*node.module.split("."))
            for path in (base.with_suffix(".py"), base / "__init__.py"):
                if path.exists():
                    found |= {alias.asname or alias.name: (path, alias.name) for alias in node.names}
    return found
