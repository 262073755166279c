"""Reading the packages' source files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The root of the repository."""
PACKAGES = ("delegator", "http_workers")
"""Packages that processes run."""

_PROCESS_BY_FOLDER = {
    "http_workers": "http-worker",
    "delegator/maintenance": "serve",
    "delegator/relay": "relay",
    "delegator/codec_server": "codec-server",
    "delegator/ui": "ui",
    "delegator/gateway": "gateway",
    "delegator/migrate": "migrate",
    "delegator/dev": "dev",
    "delegator/enqueue": "Temporal worker",
    "delegator/workflow": "Temporal worker",
    "delegator/worker": "Temporal worker",
    "delegator/testing": "tests",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Return each module of the packages: its path from the root, and its syntax tree."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def process_of(path: str) -> str:
    """Return the process that runs a module: "several" for one that more than one process uses.

    Args:
        path: from the root.
    """
    for folder, process in _PROCESS_BY_FOLDER.items():
        if path.startswith(f"{folder}/"):
            return process
    return "several"


def text_of(node: ast.expr | None) -> str | None:
    """Return the text of a string literal; None: it is something else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
