"""What the API takes: bodies and headers are checked here, before anything is changed."""

from __future__ import annotations

import json
import re
import uuid
from typing import Annotated, Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, Field, ValidationError

from examples.payments.contracts import Payment, payment_id_of

MOST_BYTES: Final = 64 * 1024


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


Body = TypeVar("Body", bound=BaseModel)


async def body_of(request: web.Request, model: type[Body]) -> Body:
    """Return the body.

    Raises:
        HTTPBadRequest: it is no JSON object.
        HTTPUnprocessableEntity: fields are wrong; all of them are listed.
        HTTPRequestEntityTooLarge: it has more than 64 KiB.
    """
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as error:
        wrong = {".".join(map(str, one["loc"])): one["msg"] for one in error.errors()}
    if "" in wrong:
        raise web.HTTPBadRequest(reason="the body must be a JSON object")
    raise _refusal(wrong)


async def payment_of(request: web.Request) -> Payment:
    """Return the payment that a request asks for. The same user and key give the same id.

    Raises:
        HTTPException: see `body_of`.
    """
    body, key = await body_of(request, PaymentBody), request.headers.get("Idempotency-Key", uuid.uuid4().hex)
    if not 1 <= len(key) <= 100:
        raise _refusal({"Idempotency-Key": "1 to 100 characters"})
    return Payment(payment_id_of(body.user_id, key), **body.model_dump())


def wait_seconds(request: web.Request) -> float | None:
    """Return how long the client prefers to wait for the decision (RFC 7240); None: not at all."""
    found = re.search(r"\bwait=(\d{1,3})\b", request.headers.get("Prefer", ""))
    return min(float(found[1]), 30) if found else None


def _refusal(errors: dict[str, str]) -> web.HTTPException:
    return web.HTTPUnprocessableEntity(text=json.dumps({"errors": errors}), content_type="application/json")
