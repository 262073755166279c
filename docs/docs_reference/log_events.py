"""The log events, from the calls that write them."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from docs_reference.markdown import code, table
from docs_reference.sources import modules, process_of, text_of

_LEVELS = ("debug", "info", "warning", "error", "critical", "exception", "log")
_LOGGERS = ("_log", "log", "_logger", "logger")
_OF_ACTIVITIES = "activity.logger"  # its records are the SDK's, or the user's


@dataclass(frozen=True)
class LogEvent:
    """One kind of line that a process writes."""

    name: str
    """The event's name: the line's message."""
    levels: tuple[str, ...]
    """At which it is written."""
    fields: tuple[str, ...]
    """Names of the fields beside it."""
    processes: tuple[str, ...]
    """Which processes write it."""


def log_events() -> list[LogEvent]:
    """Return every event, in the order of names."""
    found: dict[str, list[tuple[str, tuple[str, ...], str]]] = {}
    for path, tree in modules():
        named = _named_fields(tree)
        for call in ast.walk(tree):
            if isinstance(call, ast.Call):
                for name, level, fields in _event(call, named):
                    found.setdefault(name, []).append((level, fields, process_of(path)))
    return [
        LogEvent(
            name,
            tuple(dict.fromkeys(level for level, _, _ in calls)),
            tuple(dict.fromkeys(field for _, fields, _ in calls for field in fields)),
            tuple(sorted({process for _, _, process in calls})),
        )
        for name, calls in sorted(found.items())
    ]


def meanings() -> dict[str, str]:
    """Return what each event means and what to do: the part of the page that no code can say."""
    text = Path(__file__).with_name("log_events.toml").read_text(encoding="utf-8")
    return {str(name): str(meaning) for name, meaning in tomllib.loads(text).items()}


def log_events_page() -> str:
    """Return the Markdown of the events."""
    said = meanings()
    rows = [
        [
            code(event.name),
            ", ".join(event.levels),
            ", ".join(event.processes),
            ", ".join(map(code, event.fields)),
            said.get(event.name, ""),
        ]
        for event in log_events()
    ]
    return table(["event", "level", "process", "fields", "meaning"], rows)


def _event(call: ast.Call, named: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    function = call.func
    if not isinstance(function, ast.Attribute) or function.attr not in _LEVELS or not call.args:
        return
    if _last_name(function.value) not in _LOGGERS or ast.unparse(function.value) == _OF_ACTIVITIES:
        return
    index = 1 if function.attr == "log" else 0
    message = text_of(call.args[index]) if len(call.args) > index else None
    if message is None:
        return
    level = {"exception": "error", "log": "varies"}.get(function.attr, function.attr)
    yield message.split()[0].rstrip(":"), level, _fields(call, named)


def _last_name(node: ast.expr) -> str | None:
    """Return `c` of `a.b.c`."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else None


def _fields(call: ast.Call, named: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    for keyword in call.keywords:
        if keyword.arg == "extra":
            if isinstance(keyword.value, ast.Dict):
                return _keys(keyword.value)
            return named.get(_last_name(keyword.value) or "", ())
    return ()


def _named_fields(tree: ast.Module) -> dict[str, tuple[str, ...]]:
    """Return the fields that a module first puts into a variable, by its name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and isinstance(node.value, ast.Dict):
                found[target.id] = _keys(node.value)
    return found


def _keys(node: ast.Dict) -> tuple[str, ...]:
    return tuple(text for key in node.keys if (text := text_of(key)) is not None)
