"""The routes of the protocol. The server, the OpenAPI document and the tests are made from this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from delegator.gateway import problems
from delegator.gateway.problems import Code
from delegator.wire.worker_protocol import (
    Answers,
    Completions,
    DeclaredTypes,
    Extensions,
    Heartbeats,
    JobFailures,
    Jobs,
    Poll,
    Releases,
    Request,
    TypesAsked,
)

PREFIX: Final = "/v1"
_COMMON: Final = (
    problems.INVALID_REQUEST,
    problems.UNAUTHORIZED,
    problems.FORBIDDEN,
    problems.UNKNOWN_QUEUE,
    problems.BODY_TOO_LARGE,
    problems.UNSUPPORTED_MEDIA_TYPE,
    problems.TOO_MANY_REQUESTS,
    problems.INTERNAL,
    problems.DRAINING,
    problems.UNAVAILABLE,
)


@dataclass(frozen=True, slots=True)
class Route:
    """A path that workers post to."""

    name: str
    """The last part of the path."""
    request: type[Request]
    """The body of a request."""
    reply: type[msgspec.Struct]
    """The body of the reply with the status 200."""
    summary: str
    """What it does."""
    codes: tuple[Code, ...] = _COMMON
    """The errors of a whole request."""

    @property
    def path(self) -> str:
        """The path."""
        return f"{PREFIX}/{self.name}"

    def decoder(self) -> Callable[[bytes], Any]:
        """Return what decodes a request's body."""
        return msgspec.json.Decoder(self.request).decode


POLL: Final = Route("poll", Poll, Jobs, "Wait for jobs and take them.")
HEARTBEAT: Final = Route("heartbeat", Heartbeats, Answers, "Say that jobs still run, and ask whether they should stop.")
EXTEND: Final = Route("extend", Extensions, Answers, "Let the worker be silent about jobs for longer.")
COMPLETE: Final = Route("complete", Completions, Answers, "End attempts with their results.")
FAIL: Final = Route("fail", JobFailures, Answers, "End attempts that failed.")
RELEASE: Final = Route("release", Releases, Answers, "Give jobs back. The attempts do not count.")
TYPES: Final = Route("types", TypesAsked, DeclaredTypes, "Return the JSON Schemas of the declared types.")

ROUTES: Final = (POLL, HEARTBEAT, EXTEND, COMPLETE, FAIL, RELEASE, TYPES)
"""All of them."""
OPENAPI_PATH: Final = f"{PREFIX}/openapi.json"
"""Where the OpenAPI document is."""
