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
    ReviewBody,
    body_of,
    payment_of,
    wait_seconds,
)
from examples.payments.orchestrator.temporal import Payments
from examples.service import http_server, run_service, setting

_JOBS = {contract.__name__ for contract in CONTRACTS}
_KEEP_LATE = "INSERT INTO payments_orchestrator.late_callbacks (payment_id, status) VALUES (%s, %s)"
_PAYMENTS = web.AppKey("payments", Payments)
routes = web.RouteTableDef()


@routes.post("/payments")
async def _create(request: web.Request) -> web.Response:
    payments, payment, wait = request.app[_PAYMENTS], await payment_of(request), wait_seconds(request)
    new = await payments.start(payment, wait)
    if new is None:
        raise web.HTTPConflict(reason="another payment was asked for with this Idempotency-Key")
    body: dict[str, Any] = {"payment_id": payment.payment_id, "status": "pending"}
    if wait is not None or not new:
        state = await payments.state(payment.payment_id)
        body |= {"status": state["status"], "reason": state.get("reason")}
    base = f"/payments/{payment.payment_id}"
    body["links"] = {"self": base, "cancel": f"{base}/cancel"}
    return web.json_response(body, status=202 if new else 200)


@routes.get("/payments/{id}")
async def _get(request: web.Request) -> web.Response:
    return web.json_response(await request.app[_PAYMENTS].state(request.match_info["id"]))


@routes.post("/payments/{id}/cancel")
async def _cancel(request: web.Request) -> web.Response:
    payments, payment_id = request.app[_PAYMENTS], request.match_info["id"]
    cancelled = await payments.try_cancel(payment_id)
    return web.json_response(await payments.state(payment_id), status=202 if cancelled else 409)


@routes.post("/payments/{id}/jobs/{job}/{how:retry|resolve}")
async def _intervene(request: web.Request) -> web.Response:
    payment_id, job, how = (request.match_info[name] for name in ("id", "job", "how"))
    if job not in _JOBS:
        raise web.HTTPNotFound(reason="there is no such job")
    if not await request.app[_PAYMENTS].signal(payment_id, how, job):
        raise web.HTTPConflict(reason="the payment has ended")
    return web.json_response({"payment_id": payment_id}, status=202)


@routes.post("/fraud/{id}")
async def _review(request: web.Request) -> web.Response:
    payment_id, body = request.match_info["id"], await body_of(request, ReviewBody)
    review = Review(payment_id, body.verdict, body.reviewer)
    if not await request.app[_PAYMENTS].signal(payment_id, "fraud_verdict", review, to="fraud"):
        raise web.HTTPConflict(reason="no fraud check of this payment waits for a verdict")
    return web.json_response({"payment_id": payment_id}, status=202)


@routes.post("/gateway/callbacks")
async def _callback(request: web.Request) -> web.Response:
    secret = setting("PAYMENTS_CALLBACK_SECRET").encode()
    signature = hmac.new(secret, await request.read(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature.encode(), request.headers.get("X-Signature", "").encode()):
        raise web.HTTPUnauthorized(reason="the signature is wrong")
    body = await body_of(request, CallbackBody)
    if await request.app[_PAYMENTS].signal(body.payment_id, "gateway_callback", body.status):
        return web.json_response({"result": "taken"})
    async with connection() as late:
        await late.execute(_KEEP_LATE, (body.payment_id, body.status))
    return web.json_response({"result": "too late"})


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer in JSON, and say 503 when Temporal or every worker is away."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.content_type == "application/json":
            raise
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
    application = web.Application(middlewares=[_errors], client_max_size=MOST_BYTES)
    application[_PAYMENTS] = Payments(client, Times(**json.loads(setting("PAYMENTS_TIMES", "{}"))))
    application.add_routes(routes)
    async with http_server(application, port):
        yield


if __name__ == "__main__":
    run_service(api)
