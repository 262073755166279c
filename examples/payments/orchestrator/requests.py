"""What the API takes: bodies and headers are checked here, before anything is changed."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any, Final

from aiohttp import web

from examples.payments.contracts import Payment, payment_id_of

MOST_BYTES: Final = 64 * 1024
_MOST: Final = 10**15
_METHODS: Final = ("card", "bank", "wallet")


class Refused(web.HTTPException):
    """A request that is answered with an error in JSON."""

    def __init__(self, status: int, **body: Any) -> None:
        self.status_code = status
        super().__init__(text=json.dumps(body), content_type="application/json")


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the body's object.

    Raises:
        Refused: it is none.
        HTTPRequestEntityTooLarge: it has more than 64 KiB.
    """
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refused(400, error="the body is no JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, error="the body must be a JSON object")
    return body


def payment_of(body: dict[str, Any], key: str | None) -> Payment:
    """Return the payment that a request asks for. The same user and key give the same id.

    Raises:
        Refused: fields are wrong; all of them are listed.
    """
    errors: dict[str, str] = {}
    user, amount, currency, method = (body.get(name) for name in ("user_id", "amount", "currency", "method"))
    if not isinstance(user, str) or not 1 <= len(user) <= 100 or not user.isprintable():
        errors["user_id"] = "1 to 100 printable characters"
    if isinstance(amount, bool) or not isinstance(amount, int) or not 0 < amount <= _MOST:
        errors["amount"] = f"an integer from 1 to {_MOST}, in minor units"
    if not isinstance(currency, str) or not re.fullmatch(r"[A-Z]{3}", currency):
        errors["currency"] = "three capital letters (ISO 4217)"
    if method not in _METHODS:
        errors["method"] = f"one of {', '.join(_METHODS)}"
    if key is not None and not 1 <= len(key) <= 100:
        errors["Idempotency-Key"] = "1 to 100 characters"
    if unknown := body.keys() - {"user_id", "amount", "currency", "method"}:
        errors |= dict.fromkeys(sorted(unknown), "is not known")
    if errors:
        raise Refused(422, errors=errors)
    assert isinstance(user, str)
    return Payment(payment_id_of(user, key or uuid.uuid4().hex), **body)


def wait_seconds(request: web.Request) -> float | None:
    """Return how long the client prefers to wait for the decision (RFC 7240); None: not at all."""
    found = re.search(r"\bwait=(\d{1,3})\b", request.headers.get("Prefer", ""))
    return min(float(found[1]), 30) if found else None
