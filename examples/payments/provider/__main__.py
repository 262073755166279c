"""`python -m examples.payments.provider`: the outside world, which the payments' services know only by HTTP.

A mock is right here, and only here: it has its own process, its own ledger, and faults on request.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler

from examples.payments.provider.ledger import Ledger
from examples.service import http_server, run_service, setting

_TRIES: Final = 60
"""How often a callback is tried, every half second, until it is taken."""


@dataclass(frozen=True)
class Behaviour:
    """How requests are answered, and what the callbacks are like."""

    mode: str = "up"
    """up; error: 503 to all; busy: 429; refuse: connections are refused; lose: does the work and never answers."""
    delay: tuple[float, float] = (0, 0)
    """Least and most seconds until a request is answered."""
    outcome: str = "captured"
    """captured; declined: by callback; refused: by 402."""
    callback_after: float = 0.05
    """Seconds from the charge to its callback."""
    repeats: tuple[int, int] = (1, 1)
    """Least and most times that a callback is sent."""
    silent_share: float = 0
    """Share of the charges without a callback."""
    early_share: float = 0
    """Share of the charges whose callback comes before the answer."""
    contradicts: bool = False
    """Whether a second callback says the opposite of the first one."""


class Provider:
    """Charges, voids and text messages, and a control API on a port of its own."""

    def __init__(self, ledger: Ledger, session: aiohttp.ClientSession, port: int) -> None:
        self._ledger, self._session, self._port = ledger, session, port
        self._callbacks: set[asyncio.Task[None]] = set()
        self._general = Behaviour()
        self._for_user: dict[str, Behaviour] = {}
        public = web.Application(middlewares=[self._faults])
        public.router.add_post("/charges", self._charge)
        public.router.add_post("/voids", self._void)
        public.router.add_post("/sms", self._sms)
        self._runner = web.AppRunner(public, handle_signals=False, shutdown_timeout=1)
        self._site: web.TCPSite | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen for the length of a `with` block. Callbacks that are not sent by then are lost, as in a crash."""
        await self._runner.setup()
        try:
            await self._listen()
            yield
        finally:
            for callback in self._callbacks:
                callback.cancel()
            await asyncio.gather(*self._callbacks, return_exceptions=True)
            await self._runner.cleanup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()

    def control(self) -> web.Application:
        """Return the control API.

        `PUT /` sets the behaviour, with `"user"` that for one user's charges. `POST /callbacks/ID` sends a callback.
        """
        application = web.Application()
        application.router.add_get("/", self._get_behaviour)
        application.router.add_put("/", self._set_behaviour)
        application.router.add_post("/callbacks/{id}", self._call_back_now)
        return application

    @web.middleware
    async def _faults(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        general = self._general
        await asyncio.sleep(random.uniform(*general.delay))
        if general.mode == "refuse" and request.transport is not None:
            request.transport.abort()  # a connection that was open before
        if general.mode in ("error", "refuse"):
            return web.Response(status=503)
        if general.mode == "busy":
            return web.Response(status=429, headers={"Retry-After": "1"})
        response: web.StreamResponse = await handler(request)
        if general.mode == "lose" and request.transport is not None:
            request.transport.abort()  # what was asked for is done, and nobody learns it
        return response

    async def _charge(self, request: web.Request) -> web.Response:
        body, payment_id = await request.json(), request.headers["Idempotency-Key"]
        behaviour = self._for_user.get(body["user_id"], self._general)
        refused = behaviour.outcome == "refused"
        state = self._ledger.accept(payment_id, body["amount"], "declined" if refused else "accepted")
        if state == "voided":
            return web.json_response({"error": "this charge was voided"}, status=409)
        if refused:
            return web.json_response({"error": "declined"}, status=402)
        if state == "accepted" and random.random() >= behaviour.silent_share:
            callback = asyncio.create_task(self._call_back(payment_id, behaviour))
            self._callbacks.add(callback)
            callback.add_done_callback(self._callbacks.discard)
            if random.random() < behaviour.early_share:
                await asyncio.wait([callback], timeout=2)
        elif state == "accepted":
            self._ledger.finish(payment_id, behaviour.outcome)  # its callback is lost, the money is not
        return web.json_response({"state": "accepted"}, status=202)

    async def _void(self, request: web.Request) -> web.Response:
        return web.json_response({"state": self._ledger.void(request.headers["Idempotency-Key"])})

    async def _sms(self, request: web.Request) -> web.Response:
        body = await request.json()
        self._ledger.text(request.headers["Idempotency-Key"], body["phone"], body["text"])
        return web.Response(status=202)

    async def _call_back(self, payment_id: str, behaviour: Behaviour) -> None:
        await asyncio.sleep(behaviour.callback_after)
        state = self._ledger.finish(payment_id, behaviour.outcome)
        if state == "voided":
            return
        opposite = "declined" if state == "captured" else "captured"
        words = [state] * random.randint(*behaviour.repeats) + [opposite] * behaviour.contradicts
        for number, word in enumerate(words):
            await asyncio.sleep(random.uniform(0, 0.1) if number else 0)
            await self._send(json.dumps({"payment_id": payment_id, "status": word}).encode())

    async def _send(self, body: bytes) -> None:
        signature = hmac.new(setting("PAYMENTS_CALLBACK_SECRET").encode(), body, hashlib.sha256).hexdigest()
        url = f"{setting('PAYMENTS_API_URL')}/gateway/callbacks"
        for _ in range(_TRIES):
            with suppress(aiohttp.ClientError, TimeoutError):
                async with self._session.post(url, data=body, headers={"X-Signature": signature}) as response:
                    if response.status < 500:
                        return
            await asyncio.sleep(0.5)

    async def _call_back_now(self, request: web.Request) -> web.Response:
        await self._call_back(request.match_info["id"], Behaviour(callback_after=0))
        return web.Response()

    async def _get_behaviour(self, _: web.Request) -> web.Response:
        return web.json_response(asdict(self._general))

    async def _set_behaviour(self, request: web.Request) -> web.Response:
        values = await request.json()
        if user := values.pop("user", None):
            self._for_user[user] = replace(self._for_user.get(user, Behaviour()), **values)
            return web.Response()
        self._general = replace(self._general, **values)
        if self._general.mode == "refuse" and self._site is not None:
            await self._site.stop()
            self._site = None
        elif self._general.mode != "refuse" and self._site is None:
            await self._listen()
        return web.Response()


@asynccontextmanager
async def provider(port: int) -> AsyncIterator[None]:
    """Run the provider, and its control API on `port`."""
    ledger = Ledger(Path(setting("PAYMENTS_PROVIDER_LEDGER")))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        one = Provider(ledger, session, int(setting("PAYMENTS_PROVIDER_PORT", "8082")))
        async with one.listening(), http_server(one.control(), port):
            yield


if __name__ == "__main__":
    run_service(provider)
