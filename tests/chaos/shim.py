"""Stands between workers and the relay as an unreliable stream would: repeats every message, or loses them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson
from aiohttp import web

_ROUND_MS = 500


class Shim:
    """Passes `receive`, `ack` and `nack` on; remembers every message that it has seen."""

    def __init__(self, relay_url: str, session: aiohttp.ClientSession) -> None:
        self.port = 0
        self.losing = False
        self.lost = 0
        self.repeated = 0
        self._relay_url = relay_url
        self._session = session
        self._seen: dict[str, list[Any]] = {}
        self._again: dict[str, list[Any]] = {}

    @property
    def seen(self) -> int:
        return sum(map(len, self._seen.values()))

    def replay(self) -> None:
        """Deliver every message seen so far once more."""
        for path, messages in self._seen.items():
            again = [{**message, "ack_id": str(uuid.uuid4())} for message in messages]
            self._again.setdefault(path, []).extend(again)
            self.repeated += len(again)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json()
        if not request.path.endswith("/receive"):
            return await self._pass_on(request, body)
        until = time.monotonic() + body.get("wait_for", 0) / 1000
        while True:
            again = self._again.get(request.path)
            if again:
                most = body.get("batch_size", 1)
                # Its head and its tail, so that what runs and what has ended are both in one batch.
                self._again[request.path], batch = again[most:], again[:most]
                return _reply(batch)
            response = await self._pass_on(request, {**body, "wait_for": _ROUND_MS})
            if response.status != 200:
                return response
            messages = orjson.loads(response.body)["data"]
            if messages and self.losing:
                self.lost += len(messages)
                ids = [message["ack_id"] for message in messages]
                await self._pass_on(request, {"ack_ids": ids}, request.path.replace("/receive", "/ack"))
                messages = []
            if messages:
                self._seen.setdefault(request.path, []).extend(messages)
            if messages or time.monotonic() >= until:
                return response if messages else _reply([])

    async def _pass_on(self, request: web.Request, body: Any, path: str | None = None) -> web.Response:
        headers = {name: request.headers[name] for name in ("Accept", "Authorization", "Content-Type")}
        try:
            async with self._session.post(
                self._relay_url + (path or request.path), data=orjson.dumps(body), headers=headers
            ) as response:
                return _reply(None, await response.read(), response.status)
        except aiohttp.ClientError:
            return _reply(None, b'{"summary":"away"}', 500)


def _reply(messages: list[Any] | None, body: bytes = b"", status: int = 200) -> web.Response:
    data = body if messages is None else orjson.dumps({"data": messages})
    return web.Response(body=data, status=status, content_type="application/json")


@asynccontextmanager
async def shim(relay_port: int) -> AsyncIterator[Shim]:
    """Run a shim in front of the relay for the length of a block."""
    async with aiohttp.ClientSession() as session:
        made = Shim(f"http://127.0.0.1:{relay_port}", session)
        app = web.Application()
        app.router.add_post("/{path:.*}", made.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            made.port = runner.addresses[0][1]
            yield made
        finally:
            await asyncio.shield(runner.cleanup())
