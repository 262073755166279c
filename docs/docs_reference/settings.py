"""The settings, from `delegator.config.Settings`."""

from __future__ import annotations

import ast
import inspect
from datetime import timedelta
from typing import Any

from pydantic import SecretStr, TypeAdapter

from delegator import config
from delegator.config import Settings
from docs_reference.markdown import code, table

_PREFIX = str(Settings.model_config.get("env_prefix", ""))


def variables() -> dict[str, tuple[str, str]]:
    """Return each environment variable with its default, as it would be written there, and its meaning."""
    meanings = _field_docstrings()
    return {
        str(field.validation_alias or f"{_PREFIX}{name}".upper()): (_written(field.default), meanings[name])
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
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _field_docstrings() -> dict[str, str]:
    """Return the docstring below each field of `Settings`; a field without one is left out.

    The module's source is read, because a public class says that it belongs to the package.
    """
    tree = ast.parse(inspect.getsource(config))
    (settings,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == Settings.__name__]
    found = {}
    for field, after in zip(settings.body, settings.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = str(after.value.value)
    return found
