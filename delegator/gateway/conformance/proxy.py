"""Stands between the worker and the gateway: notes what the worker sends, and answers for the gateway when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson
from aiohttp import web

_PATIENCE_SECONDS: Final = 90.0
_PASSED: Final = ("Authorization", "Content-Type")
_PASSED_BACK: Final = ("Content-Type", "Retry-After")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request of the worker, and its answer."""

    at: float
    """When it came: seconds of the event loop's clock."""
    route: str
    """The last part of its path."""
    body: Any
    """Its body; None: it is not JSON."""
    status: int
    """The status of the answer; 0: the connection was closed without one."""
    answer: Any = None
    """The body of the answer."""

    @property
    def tokens(self) -> list[str]:
        """The job tokens in the request."""
        if self.route == "poll" or not isinstance(self.body, dict):
            return []
        return [_token_of(entry) for entry in self.body.get("jobs", [])]

    @property
    def given(self) -> list[Any]:
        """The jobs in the answer to a poll."""
        return list(self.answer.get("jobs", [])) if self.route == "poll" and self.status == 200 else []


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer in place of the gateway's."""

    status: int = 0
    """The status; 0: the connection is closed."""
    body: Any = None
    """The body."""
    retry_after: int | None = None
    """The header `Retry-After`."""
    forwards: bool = False
    """Whether the gateway gets the request, and only its answer is lost."""


@dataclass(slots=True)
class Proxy:
    """What a check sees, and what it makes of requests."""

    url: str = ""
    """Where the worker finds it."""
    seen: list[Seen] = field(default_factory=list)
    """The requests so far, in the order of their answers."""
    faults: list[Callable[[str, Any], Fault | None]] = field(default_factory=list)
    """Return what to answer to a request, by route and body; None: what the gateway answers."""
    came: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with each request."""

    async def until(self, wanted: Callable[[Seen], bool]) -> Seen:
        """Wait for a request."""
        while True:
            for one in self.seen:
                if wanted(one):
                    return one
            self.came.clear()
            await self.came.wait()

    def fault(self, route: str, body: Any) -> Fault | None:
        """Return what to answer in place of the gateway; None: what the gateway answers."""
        return next((found for fault in self.faults if (found := fault(route, body)) is not None), None)

    def names(self, body: Any, job_id: str, attempt: int = 1) -> bool:
        """Return whether a request is about an attempt of a job."""
        token = self.token_of(job_id, attempt)
        return isinstance(body, dict) and token is not None and token in map(_token_of, body.get("jobs", []))

    def token_of(self, job_id: str, attempt: int = 1) -> str | None:
        """Return the job token that the worker got for an attempt; None: it has not got it."""
        for one in self.seen:
            for job in one.given:
                if (job["job_id"], job["attempt"]) == (job_id, attempt):
                    return str(job["token"])
        return None

    def sent(self, route: str, token: str | None) -> list[Seen]:
        """Return the requests of a route that name a job token."""
        return [one for one in self.seen if one.route == route and token in one.tokens]


@asynccontextmanager
async def running_proxy(gateway: str) -> AsyncIterator[Proxy]:
    """Run a proxy on this event loop.

    Args:
        gateway: base URL of the gateway.
    """
    proxy = Proxy()
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def pass_on(request: web.Request) -> web.StreamResponse:
            data = await request.read()
            route = request.path.rsplit("/", 1)[-1]
            body = _json(data)
            now = asyncio.get_running_loop().time()
            fault = proxy.fault(route, body)
            if fault is not None and not fault.forwards:
                _note(proxy, Seen(now, route, body, fault.status, fault.body))
                return _answer(request, fault)
            headers = {
                name: request.headers[name] for name in ("Authorization", "Content-Type") if name in request.headers
            }
            try:
                async with session.request(request.method, gateway + request.path, data=data, headers=headers) as reply:
                    answer = await reply.read()
            except aiohttp.ClientError:
                _note(proxy, Seen(now, route, body, 0))
                return _answer(request, Fault())
            else:
                _note(proxy, Seen(now, route, body, reply.status, _json(answer)))
                if fault is not None:
                    return _answer(request, fault)
                passed = {
                    name: reply.headers[name] for name in ("Content-Type", "Retry-After") if name in reply.headers
                }
                return web.Response(body=answer, status=reply.status, headers=passed)

        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", pass_on)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield proxy
        finally:
            await runner.cleanup()


def _token_of(entry: Any) -> str:
    return str(entry.get("token", "")) if isinstance(entry, dict) else ""


def _note(proxy: Proxy, seen: Seen) -> None:
    proxy.seen.append(seen)
    proxy.came.set()


def _answer(request: web.Request, fault: Fault) -> web.StreamResponse:
    if not fault.status:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()  # it goes nowhere
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return web.Response(
        body=orjson.dumps(fault.body), status=fault.status, content_type="application/json", headers=headers
    )


def _json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
