"""The Python API: every public name, for mkdocstrings to describe."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Mapping
from types import MappingProxyType

API_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "delegator": "What applications use: declare types, delegate from workflows, connect, know the current job.",
        "delegator.outbox": "Start, signal and cancel workflows, and enqueue jobs, in an application's transaction.",
        "delegator.testing": "Run delegated functions in a test's own process.",
        "delegator.encryption": "Encryption of payloads: the codec, its keys, and a data converter with both.",
        "http_workers": "The pool of workers, as an object for programs that run it in their own event loop.",
        "delegator.dev": "The embedded stack, for development and tests.",
        "delegator.relay": "The embedded relay.",
        "delegator.migrate": "What `delegator migrate` does, for programs.",
        "delegator.errors": "Every error that the engine raises. Workflows see Temporal's own errors, never these.",
    }
)
"""The packages with public names, and what each is for."""


def public_names(package: str) -> list[str]:
    """Return a package's public names: its `__all__`, or of a module without one the classes that it defines.

    A module among them is left out: `API_PACKAGES` names it.
    """
    module = importlib.import_module(package)
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return [name for name in exported if not inspect.ismodule(getattr(module, name))]
    if hasattr(module, "__path__"):
        return []
    return [name for name, value in vars(module).items() if inspect.isclass(value) and value.__module__ == package]


def api_page() -> str:
    """Return the Markdown of the API."""
    parts = []
    for package, purpose in API_PACKAGES.items():
        if importlib.util.find_spec(package) is None:
            continue
        names = public_names(package)
        if names:
            parts.append(f"## {package}\n\n{purpose}\n")
            parts += [f"::: {package}.{name}\n" for name in names]
    return "\n".join(parts)
