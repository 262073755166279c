"""What aiohttp's server says of requests that it could not handle: a line a minute, and not one for each."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

_EVERY_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


class RequestLog:
    """Stands in for the logger that aiohttp's server writes to."""

    def __init__(self, server: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing said.

        Args:
            server: its name in the log.
            clock: in seconds.
        """
        self._server = server
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def debug(self, *_args: object, **_fields: object) -> None:
        """Drop what aiohttp says for its own developers."""

    def exception(self, *_args: object, exc_info: BaseException | bool | None = None, **_fields: object) -> None:
        """Say what went wrong, unless the same was said within the last minute.

        Args:
            exc_info: the error; True or None: the one that is handled.
        """
        error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        kind = type(error).__name__
        now = self._clock()
        if now < self._said.get(kind, -_EVERY_SECONDS) + _EVERY_SECONDS:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._said[kind] = now
        fields = {"server": self._server, "error": kind, "unsaid": self._unsaid.pop(kind, 0)}
        if isinstance(error, HttpProcessingError | web.RequestPayloadError | ConnectionError):
            _log.warning("requests_malformed", extra=fields)
        else:
            _log.error("requests_failed", extra=fields, exc_info=error)
