"""The command line, from the programs themselves."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator
from enum import EnumType
from pathlib import Path
from typing import Any

import typer

from delegator.cli.main import build_app
from docs_reference.markdown import code, table

_NAMES = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "FILE"}


def programs() -> Iterator[tuple[str, Any]]:
    """Return every command that does something, as its words and what typer makes of it."""
    yield from _leaves("delegator", typer.main.get_command(build_app()))
    yield from _leaves("http-worker", typer.main.get_command(importlib.import_module("http_workers.cli").app))


def cli_page() -> str:
    """Return the Markdown of the programs."""
    return "\n".join(_section(words, command) for words, command in programs())


def _leaves(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield words, command
        return
    if words != "delegator" and command.params:  # a group that does something itself
        yield words, command
    for name, child in children.items():
        yield from _leaves(f"{words} {name}", child)


def _section(words: str, command: Any) -> str:
    parts = [f"## {words}\n", inspect.cleandoc(command.help or "") + "\n"]
    types = typing.get_type_hints(inspect.unwrap(command.callback))
    shown = [one for one in command.params if not one.hidden and one.name != "help"]
    arguments = [[code(one.metavar or one.name.upper()), one.help or ""] for one in shown if not _is_option(one)]
    options = [[_names(one, types.get(one.name)), _default(one), one.help or ""] for one in shown if _is_option(one)]
    if arguments:
        parts.append(table(["argument", "meaning"], arguments))
    if options:
        parts.append(table(["option", "default", "meaning"], options))
    return "\n".join(parts)


def _is_option(parameter: Any) -> bool:
    return bool(parameter.opts[0].startswith("-"))


def _names(option: Any, annotation: Any) -> str:
    names = ", ".join(option.opts)
    if option.secondary_opts:
        return code(f"{names} / {', '.join(option.secondary_opts)}")
    return code(names if option.is_flag else f"{names} {option.metavar or _value(annotation)}".rstrip())


def _value(annotation: Any) -> str:
    """Return what stands for an option's value, by its type; of a union the first that says something."""
    inner = typing.get_args(annotation)
    if inner and all(isinstance(one, str) for one in inner):  # a Literal
        return "|".join(inner)
    if isinstance(annotation, EnumType):
        members: list[Any] = list(annotation)
        return "|".join(str(member.value) for member in members)
    return _NAMES.get(annotation) or next((name for one in inner if (name := _value(one))), "")


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "required"
    if value is None or option.is_flag or callable(value):
        return ""
    return code(str(getattr(value, "value", value)))
