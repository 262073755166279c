"""Logging, set up the same way in every process: one event a line, as text or JSON.

Log an event by name with its fields in `extra`: `log.info("sweep_done", extra={"rows": 3})`. The standard library
keeps a few names for itself there (`name`, `args`, `process`, `module`, `message`, ...) and raises KeyError for them.

A record belongs to one of three:

- The user: every logger that the other two do not have, `current_job().logger`, and what workflow and activity code
  logs with Temporal's loggers. It is written as it is, with the message and the traceback of an exception.
- The engine. It never writes what a payload codec could hide. For an exception it writes the type and the place. It
  writes the message only if the exception is the engine's own or the operating system's.
- A library that the engine uses. It writes warnings and above, and only the first line of a message. The connection
  pool of psycopg writes nothing: the engine logs a lost connection once.

`DELEGATOR_LOG_MESSAGES` lets the engine and the libraries write messages and tracebacks, too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum, StrEnum
from itertools import dropwhile
from pathlib import PurePath
from typing import Any, Final, TextIO

import orjson
import temporalio

from delegator.context import JOB_LOGGER
from delegator.errors import DelegatorError

TRACEBACK: Final = "traceback"
"""The field that holds a traceback. In text format it stands below its line."""

TEMPORAL_FAILURE: Final = "__temporal_error_identifier"
"""What a record of Temporal's loggers has that tells of a failure. In the engine's own, an event tells the same."""

_ENGINE: Final = frozenset({"delegator", "http_workers", "delegator_schema"})
_LIBRARIES: Final = frozenset(
    {"aiohttp", "asyncio", "concurrent", "grpc", "psycopg", "py", "sqlalchemy", "temporal_sdk", "temporalio"}
)
_POOL: Final = "psycopg.pool"
"""The pool's logger. It warns of every attempt to connect; `connection_lost` says it once."""
_SHARED: Final = frozenset({"temporalio.workflow", "temporalio.activity"})
_SDK: Final = f"{next(iter(temporalio.__path__))}{os.sep}"
_CALLERS: Final = frozenset({"delegator", "http_workers", "temporalio", "asyncio", "concurrent"})
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


class _Owner(Enum):
    USER = 0
    ENGINE = 1
    LIBRARY = 2


def configure_logging(
    log_format: LogFormat = LogFormat.TEXT,
    level: int | str = logging.INFO,
    stream: TextIO | None = None,
    *,
    messages: bool = False,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Send the events of all loggers to one stream. This replaces an earlier set-up.

    Args:
        log_format: text or JSON.
        level: the least level written; the engine's libraries write warnings and above unless it is DEBUG.
        stream: where to write; None: standard error.
        messages: write the messages and tracebacks of the engine's and the libraries' exceptions, too.
        fields: added to every event.

    Raises:
        ValueError: `level` is not a level.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    formatter = JsonFormatter if log_format is LogFormat.JSON else TextFormatter
    handler.setFormatter(formatter(messages=messages, fields=fields))
    handler.addFilter(_loud_enough)
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers[:] = [handler]
    logging.captureWarnings(True)


class _EventFormatter(logging.Formatter):
    def __init__(self, *, messages: bool = False, fields: Mapping[str, object] | None = None) -> None:
        """Prepare the formatter.

        Args:
            messages: write the messages and tracebacks of the engine's and the libraries' exceptions, too.
            fields: added to every event.
        """
        super().__init__()
        self._messages = messages
        self._constant = dict(fields or {})

    def event(self, record: logging.LogRecord) -> str:
        """Return the event's name, or the user's message."""
        message = record.getMessage()
        # asyncio and others append the repr of a task. Its exception may quote a payload.
        cut = _owner(record) is _Owner.LIBRARY and not self._messages
        return message.partition("\n")[0] if cut else message

    def fields(self, record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
        """Return the event's fields, the exception's last."""
        given = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        yield from given.items()
        yield from ((key, value) for key, value in self._constant.items() if key not in given)
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return
        yield "error", type(error).__qualname__
        if self._messages or _owner(record) is _Owner.USER:
            yield "reason", str(error)
            yield TRACEBACK, "".join(traceback.format_exception(error)).rstrip()
            return
        if isinstance(error, DelegatorError):
            yield "reason", str(error)
        elif isinstance(error, OSError) and error.strerror:
            yield "reason", error.strerror
        yield "at", place_of(error)


class TextFormatter(_EventFormatter):
    """Writes `time level logger event key=value ...` on one line, and a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one event."""
        fields = dict(self.fields(record))
        trace = fields.pop(TRACEBACK, None)
        head = f"{_time(record)} {record.levelname.lower()} {record.name} {_one_line(self.event(record))}"
        line = head + "".join(f" {key}={_text(value)}" for key, value in fields.items())
        return f"{line}\n{trace}" if trace else line


class JsonFormatter(_EventFormatter):
    """Writes one JSON object a line: `time`, `level`, `logger`, `event` and the event's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Render one event."""
        event: dict[str, Any] = dict(self.fields(record))
        event |= {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self.event(record),
        }
        return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode()


def place_of(error: BaseException, *, within_handler: bool = False) -> str:
    """Return where an error was raised, as `file:line:function`: the innermost call, then its callers after `<`.

    Args:
        error: the error.
        within_handler: leave out the calls from the engine down to the user's handler.
    """
    frames = [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not frame.f_code.co_filename.startswith("<frozen")
    ]
    if within_handler:
        below = dropwhile(lambda entry: _package(str(entry[0].f_globals.get("__name__", ""))) in _CALLERS, frames)
        frames = list(below) or frames[-1:]
    if len(frames) > _FRAMES:
        frames = [*frames[:1], *frames[-_FRAMES + 1 :]] if within_handler else frames[-_FRAMES:]
    return " < ".join(
        f"{PurePath(frame.f_code.co_filename).name}:{line}:{frame.f_code.co_name}" for frame, line in reversed(frames)
    )


def _package(name: str) -> str:
    return name.partition(".")[0]


def _loud_enough(record: logging.LogRecord) -> bool:
    if record.name in _SHARED and hasattr(record, TEMPORAL_FAILURE) and not record.pathname.startswith(_SDK):
        return False
    return (
        (record.levelno >= logging.WARNING and record.name != _POOL)
        or _owner(record) is not _Owner.LIBRARY
        or logging.getLogger().level <= logging.DEBUG
    )


def _owner(record: logging.LogRecord) -> _Owner:
    if record.name == JOB_LOGGER:
        return _Owner.USER
    if record.name in _SHARED:
        return _Owner.LIBRARY if record.pathname.startswith(_SDK) else _Owner.USER
    package = _package(record.name)
    if package in _ENGINE:
        return _Owner.ENGINE
    return _Owner.LIBRARY if package in _LIBRARIES else _Owner.USER


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text, ensure_ascii=False)


def _text(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if text and _PLAIN.issuperset(text) else json.dumps(text, ensure_ascii=False)
