"""Logging, set up the same way in every process: one event a line, as text or JSON.

Log an event by name with its fields in `extra`: `log.info("sweep_done", extra={"rows": 3})`. The standard library
keeps a few names for itself there (`name`, `args`, `process`, `module`, `message`, ...) and raises KeyError for them.

Nothing a user's data could hide in is written: of an exception only its type and where it was raised, and its
message only when it is one of ours or the operating system's; of another library's message its first line.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Final, TextIO

import orjson

from delegator.errors import DelegatorError

_OURS: Final = frozenset({"delegator", "http_workers", "delegator_schema"})
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_FRAMES: Final = 12
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@+,%")


class LogFormat(StrEnum):
    """How a line is written."""

    TEXT = "text"
    """`time level logger event key=value ...`"""
    JSON = "json"
    """One JSON object."""


class LogLevel(StrEnum):
    """The least level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """The level as `logging` numbers it."""
        return logging.getLevelNamesMapping()[self.name]


def configure_logging(
    log_format: LogFormat = LogFormat.TEXT, level: int | str = logging.INFO, stream: TextIO | None = None
) -> None:
    """Send every logger's events to one stream; replaces what was set up before.

    Args:
        log_format: text or JSON.
        level: the least level written; other libraries write warnings and above unless it is DEBUG.
        stream: None: standard error.

    Raises:
        ValueError: `level` is not a level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else TextFormatter())
    handler.addFilter(_quiet)
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers[:] = [handler]
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """Writes `time level logger event key=value ...` on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one event."""
        head = f"{_time(record)} {record.levelname.lower()} {record.name} {_one_line(_event(record))}"
        return head + "".join(f" {key}={_text(value)}" for key, value in _fields(record))


class JsonFormatter(logging.Formatter):
    """Writes one JSON object a line: `time`, `level`, `logger`, `event` and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one event."""
        event: dict[str, Any] = dict(_fields(record))
        event |= {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode()


def _quiet(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING or _is_ours(record) or logging.getLogger().level <= logging.DEBUG


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in _OURS


def _event(record: logging.LogRecord) -> str:
    message = record.getMessage()
    # asyncio and others append the repr of a task, whose exception may quote a payload.
    return message if _is_ours(record) else message.partition("\n")[0]


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for key, value in vars(record).items():
        if key not in _STANDARD:
            yield key, value
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        yield "error", type(error).__qualname__
        if isinstance(error, DelegatorError):
            yield "reason", str(error)
        elif isinstance(error, OSError) and error.strerror:
            yield "reason", error.strerror
        yield "at", " < ".join(_frames(error))


def _frames(error: BaseException) -> Iterator[str]:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    for frame in reversed(frames[-_FRAMES:]):
        yield f"{PurePath(frame.filename).name}:{frame.lineno}:{frame.name}"


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
