"""What the API takes: bodies and headers are checked here, before anything is changed."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Literal

from aiohttp import web
from pydantic import BaseModel, Field

from examples.json_api import body_of, refusal
from examples.payments.contracts import Payment, payment_id_of

Name = Annotated[str, Field(pattern=r"^\P{C}{1,100}$")]
"""Without control characters."""


class PaymentBody(BaseModel, extra="forbid", strict=True):
    """Asks for a payment."""

    user_id: Name
    amount: Annotated[int, Field(gt=0, le=10**15)]
    """In minor units."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    """ISO 4217."""
    method: Literal["card", "bank", "wallet"]


class ReviewBody(BaseModel):
    """A person's verdict."""

    verdict: Literal["pass", "fail"]
    reviewer: Name


class CallbackBody(BaseModel):
    """What the provider says of a charge."""

    payment_id: str
    status: Literal["captured", "declined"]


async def payment_of(request: web.Request) -> Payment:
    """Return the payment that a request asks for. The same user and key give the same id.

    Raises:
        HTTPException: see `body_of`.
    """
    body, key = await body_of(request, PaymentBody), request.headers.get("Idempotency-Key", uuid.uuid4().hex)
    if not 1 <= len(key) <= 100:
        raise refusal({"Idempotency-Key": "1 to 100 characters"})
    return Payment(payment_id_of(body.user_id, key), **body.model_dump())


def wait_seconds(request: web.Request) -> float | None:
    """Return how long the client prefers to wait for the decision (RFC 7240); None: not at all."""
    found = re.search(r"\bwait=(\d{1,3})\b", request.headers.get("Prefer", ""))
    return min(float(found[1]), 30) if found else None
