"""The settings, from `delegator.config.Settings`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from datetime import timedelta
from typing import Any

from delegator.config import Settings
from pydantic import SecretStr, TypeAdapter

from docs_reference.markdown import code, table

_PREFIX = str(Settings.model_config.get("env_prefix", ""))


def variables() -> dict[str, tuple[str, str]]:
    """Return each environment variable with its default, as it would be written there, and its meaning."""
    meanings = _field_docstrings(Settings)
    return {
        f"{_PREFIX}{name}".upper(): (_written(field.default), meanings[name])
        for name, field in Settings.model_fields.items()
    }


def settings_page() -> str:
    """Return the Markdown of the settings."""
    rows = [[code(name), code(default), meaning] for name, (default, meaning) in variables().items()]
    return table(["variable", "default", "meaning"], rows)


def _written(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, timedelta):
        written: str = TypeAdapter(timedelta).dump_python(value, mode="json")
        return written
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _field_docstrings(model: type) -> dict[str, str]:
    """Return the docstring below each field of a class.

    Raises:
        KeyError: later, for a field without one: each has to say what it means.
    """
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = str(after.value.value)
    return found
