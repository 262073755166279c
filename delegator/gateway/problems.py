"""The errors of whole requests, as RFC 9457 writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from delegator.wire.worker_protocol import Problem

CONTENT_TYPE: Final = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of error."""

    name: str
    """Its stable name."""
    status: int
    """Its HTTP status."""
    title: str
    """Its name in words."""
    meaning: str
    """What it means, for the documentation."""


INVALID_REQUEST: Final = Code("invalid-request", 400, "Invalid request", "The body is not what the protocol says.")
UNAUTHORIZED: Final = Code("unauthorized", 401, "Unauthorized", "The token is missing or not known.")
FORBIDDEN: Final = Code("forbidden", 403, "Forbidden", "The token is not for this queue, or not for these types.")
UNKNOWN_QUEUE: Final = Code("unknown-queue", 404, "Unknown queue", "The gateway does not serve the queue.")
NOT_FOUND: Final = Code("not-found", 404, "Not found", "There is no such path.")
METHOD_NOT_ALLOWED: Final = Code("method-not-allowed", 405, "Method not allowed", "`Allow` names the method.")
BODY_TOO_LARGE: Final = Code("body-too-large", 413, "Body too large", "Send fewer jobs in one request.")
UNSUPPORTED_MEDIA_TYPE: Final = Code(
    "unsupported-media-type", 415, "Unsupported media type", "Send `Content-Type: application/json`."
)
TOO_MANY_REQUESTS: Final = Code("too-many-requests", 429, "Too many requests", "Wait for `Retry-After` seconds.")
INTERNAL: Final = Code("internal", 500, "Internal error", "A fault of the gateway.")
DRAINING: Final = Code("draining", 503, "Draining", "The gateway stops. Another one may answer.")
UNAVAILABLE: Final = Code("unavailable", 503, "Unavailable", "The database can't be reached.")

CODES: Final = (
    INVALID_REQUEST,
    UNAUTHORIZED,
    FORBIDDEN,
    UNKNOWN_QUEUE,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    BODY_TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    TOO_MANY_REQUESTS,
    INTERNAL,
    DRAINING,
    UNAVAILABLE,
)
"""All of them."""


class ProblemError(Exception):
    """A request that is answered with an error."""

    def __init__(self, code: Code, detail: str, *, headers: dict[str, str] | None = None) -> None:
        """Take what went wrong.

        Args:
            code: the kind.
            detail: what went wrong here, for people. It holds no payload and no token.
            headers: of the reply.
        """
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> web.Response:
        """Return the reply."""
        code = self.code
        body = Problem(f"urn:temporal-delegator:{code.name}", code.title, code.status, code.name, self.detail)
        return web.Response(
            body=msgspec.json.encode(body), status=code.status, content_type=CONTENT_TYPE, headers=self.headers
        )


def come_back(code: Code, detail: str, seconds: int = 1) -> ProblemError:
    """Return an error after which the same request may succeed.

    Args:
        code: the kind.
        detail: what went wrong.
        seconds: when to repeat the request.
    """
    return ProblemError(code, detail, headers={"Retry-After": str(seconds)})
