"""`python -m examples.payments.orchestrator.api`: the HTTP API of the payments."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from temporalio.service import RPCError, RPCStatusCode

from delegator import connect
from examples.database import connection, create_tables
from examples.payments.contracts import CONTRACTS, Review, Times
from examples.payments.orchestrator.requests import (
    MOST_BYTES,
    CallbackBody,
    Refused,
    ReviewBody,
    body_of,
    payment_of,
    wait_seconds,
)
from examples.payments.orchestrator.temporal import Payments
from examples.service import http_server, run_service, setting

_JOBS = {contract.__name__ for contract in CONTRACTS}
_KEEP_LATE = "INSERT INTO payments_orchestrator.late_callbacks (payment_id, status) VALUES (%s, %s)"


class Api:
    """The API's routes."""

    def __init__(self, payments: Payments, secret: bytes) -> None:
        self._payments = payments
        self._secret = secret  # signs callbacks

    def application(self) -> web.Application:
        """Return the application."""
        application = web.Application(middlewares=[_errors], client_max_size=MOST_BYTES)
        application.router.add_post("/payments", self._create)
        application.router.add_get("/payments/{id}", self._get)
        application.router.add_post("/payments/{id}/cancel", self._cancel)
        application.router.add_post("/payments/{id}/jobs/{job}/{how:retry|resolve}", self._intervene)
        application.router.add_post("/fraud/{id}", self._review)
        application.router.add_post("/gateway/callbacks", self._callback)
        return application

    async def _create(self, request: web.Request) -> web.Response:
        payment = await payment_of(request)
        wait = wait_seconds(request)
        new = await self._payments.start(payment, wait)
        if new is None:
            raise Refused(409, error="another payment was asked for with this Idempotency-Key")
        body: dict[str, Any] = {"payment_id": payment.payment_id, "status": "pending"}
        if wait is not None or not new:
            state = await self._payments.state(payment.payment_id)
            body |= {"status": state["status"], "reason": state.get("reason")}
        base = f"/payments/{payment.payment_id}"
        body["links"] = {"self": base, "cancel": f"{base}/cancel"}
        return web.json_response(body, status=202 if new else 200)

    async def _get(self, request: web.Request) -> web.Response:
        return web.json_response(await self._payments.state(request.match_info["id"]))

    async def _cancel(self, request: web.Request) -> web.Response:
        payment_id = request.match_info["id"]
        cancelled = await self._payments.try_cancel(payment_id)
        return web.json_response(await self._payments.state(payment_id), status=202 if cancelled else 409)

    async def _intervene(self, request: web.Request) -> web.Response:
        payment_id, job, how = (request.match_info[name] for name in ("id", "job", "how"))
        if job not in _JOBS:
            raise Refused(404, error="there is no such job")
        if not await self._payments.signal(payment_id, how, job):
            raise Refused(409, error="the payment has ended")
        return web.json_response({"payment_id": payment_id}, status=202)

    async def _review(self, request: web.Request) -> web.Response:
        payment_id, body = request.match_info["id"], await body_of(request, ReviewBody)
        review = Review(payment_id, body.verdict, body.reviewer)
        if not await self._payments.signal(payment_id, "fraud_verdict", review, to="fraud"):
            raise Refused(409, error="no fraud check of this payment waits for a verdict")
        return web.json_response({"payment_id": payment_id}, status=202)

    async def _callback(self, request: web.Request) -> web.Response:
        signature = hmac.new(self._secret, await request.read(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature.encode(), request.headers.get("X-Signature", "").encode()):
            raise Refused(401, error="the signature is wrong")
        body = await body_of(request, CallbackBody)
        if await self._payments.signal(body.payment_id, "gateway_callback", body.status):
            return web.json_response({"result": "taken"})
        async with connection() as late:
            await late.execute(_KEEP_LATE, (body.payment_id, body.status))
        return web.json_response({"result": "too late"})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON, and say 503 when Temporal or every worker is away."""
    try:
        return await handler(request)
    except Refused:
        raise
    except web.HTTPException as error:
        return web.json_response({"error": error.reason}, status=error.status)
    except (RPCError, TimeoutError) as error:
        if isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND:
            return web.json_response({"error": "there is no such payment"}, status=404)
        answer = {"error": "the payments are not available now"}
        return web.json_response(answer, status=503, headers={"Retry-After": "2"})


@asynccontextmanager
async def api(port: int) -> AsyncIterator[None]:
    """Run the API."""
    await create_tables(Path(__file__).with_name("schema.sql"))
    client = await connect(lazy=True)  # it starts, and answers 503, while Temporal is away
    payments = Payments(client, Times(**json.loads(setting("PAYMENTS_TIMES", "{}"))))
    async with http_server(Api(payments, setting("PAYMENTS_CALLBACK_SECRET").encode()).application(), port):
        yield


if __name__ == "__main__":
    run_service(api)
