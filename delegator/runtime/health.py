"""The health and metrics server: `/metrics`, `/livez` and `/readyz`.

It runs in its own thread with its own event loop, because `/livez` must also report a blocked event loop.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from delegator.errors import ConfigurationError
from delegator.runtime.connections import ServingLimits
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import ServerTls, TlsFiles
from delegator.runtime.serving import serving

_BACKLOG: Final = 64
_START_LIMIT_SECONDS: Final = 10.0
_SCRAPE_GRACE_SECONDS: Final = 1.0
_LIMITS: Final = ServingLimits(connections=100, body_seconds=10)
"""Probes and scrapers are few. One that asks for something gets in, however many connections ask for nothing."""
_MAX_BODY: Final = 65_536

Check = Callable[[], str | None]
"""Returns what is wrong with a dependency; None: nothing. It is called from the health server's thread."""


class Health(Protocol):
    """The answers of a health server. It calls these methods in its own event loop."""

    async def stalled(self) -> Mapping[str, str]:
        """Return the loops that make no progress, each with a message."""

    async def problems(self) -> Mapping[str, str | None]:
        """Return every dependency with what is wrong; None: nothing."""

    async def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""


class LocalHealth:
    """The health of this process."""

    def __init__(self, registry: CollectorRegistry, liveness: Liveness, checks: Mapping[str, Check]) -> None:
        """Answer with the state that the process's loops write.

        Args:
            registry: the metrics.
            liveness: the loops that must make progress.
            checks: the checks by dependency. They are called from the server's thread and must not block.
        """
        self._registry = registry
        self._liveness = liveness
        self._checks = dict(checks)

    async def stalled(self) -> Mapping[str, str]:
        """Return the loops that make no progress."""
        return self._liveness.stalled()

    async def problems(self) -> Mapping[str, str | None]:
        """Return every dependency with what is wrong."""
        return {name: check() for name, check in self._checks.items()}

    async def metrics(self) -> bytes:
        """Return the registry in Prometheus's text format."""
        return generate_latest(self._registry)


class HealthServer(AbstractContextManager["HealthServer"]):
    """Serves a `Health` while its context is open."""

    def __init__(
        self,
        health: Health,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: Path | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        """Prepare the server; nothing is bound yet.

        Args:
            health: what to answer with.
            host: address to listen on.
            port: TCP port; 0: a free one, see `port`.
            path: listen on this Unix socket instead of TCP.
            tls: serve TLS with this certificate; None: plain HTTP.

        Raises:
            ConfigurationError: the certificate can't be used.
        """
        self._health = health
        self._host = host
        self._wanted_port = port
        self._path = path
        self._tls = None if tls is None else ServerTls(tls).context
        self._port: int | None = None
        self._thread: threading.Thread | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._stop: Callable[[], object] = lambda: None

    @property
    def port(self) -> int | None:
        """The TCP port; None: the server is not open, or it uses a Unix socket."""
        return self._port

    def __enter__(self) -> Self:
        """Start to listen.

        Raises:
            ConfigurationError: the address is taken or can't be listened on.
        """
        listener = self._listen()
        self._thread = threading.Thread(target=self._run, args=(listener,), name="health", daemon=True)
        self._thread.start()
        started = self._ready.wait(_START_LIMIT_SECONDS)
        if self._failure is not None or not started:
            listener.close()
            raise RuntimeError("the health server did not start") from self._failure
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._thread is not None:
            self._thread.join(_START_LIMIT_SECONDS)
        self._port = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _listen(self) -> socket.socket:
        try:
            if self._path is not None:
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(str(self._path))
                listener.listen(_BACKLOG)
            else:
                family, _, _, _, address = socket.getaddrinfo(
                    self._host, self._wanted_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )[0]
                listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
                self._port = listener.getsockname()[1]
        except (OSError, OverflowError) as error:
            raise ConfigurationError(self._why(error)) from None
        listener.setblocking(False)
        return listener

    def _why(self, error: Exception) -> str:
        if self._path is not None:
            return f"can't listen on the Unix socket {self._path}: {_said(error)}"
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return f"port {self._wanted_port} on {self._host} is taken; choose another with --port, or 0 for none"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM):
            return f"port {self._wanted_port} on {self._host} is not allowed; choose one above 1023 with --port"
        return f"can't listen on {self._host}:{self._wanted_port}: {_said(error)}; check --host and --port"

    def _run(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listener))
        except BaseException as error:
            self._failure = error
            self._ready.set()

    async def _serve(self, listener: socket.socket) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def request_stop() -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)

        async with serving(
            health_app(self._health),
            [listener],
            name="health",
            limits=_LIMITS,
            tls=self._tls,
            shutdown_seconds=_SCRAPE_GRACE_SECONDS,
        ):
            self._stop = request_stop
            self._ready.set()
            await stop.wait()


def health_app(health: Health) -> web.Application:
    """Build the aiohttp application.

    Args:
        health: what to answer with.
    """
    app = web.Application(client_max_size=_MAX_BODY)
    add_health_routes(app.router, health)
    return app


def add_health_routes(router: web.UrlDispatcher, health: Health) -> None:
    """Add `/metrics`, `/livez` and `/readyz` to an application.

    Args:
        router: of the application.
        health: what to answer with.
    """

    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=await health.metrics(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    async def livez(request: web.Request) -> web.Response:
        stalled = dict(await health.stalled())
        return _json({"live": not stalled, "stalled": stalled}, ok=not stalled)

    async def readyz(request: web.Request) -> web.Response:
        problems = dict(await health.problems())
        missing = [name for name, problem in problems.items() if problem is not None]
        return _json({"ready": not missing, "missing": missing, "dependencies": problems}, ok=not missing)

    router.add_get("/metrics", metrics)
    router.add_get("/livez", livez)
    router.add_get("/readyz", readyz)


def _json(body: Any, *, ok: bool) -> web.Response:
    return web.Response(
        body=orjson.dumps(body),
        status=200 if ok else 503,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or os.strerror(errno.EINVAL)
