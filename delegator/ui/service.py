"""Runs the page."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry

from delegator.config import Settings
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.connections import ServingLimits
from delegator.runtime.health import LocalHealth, add_health_routes
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import ServerTls, base_url, cannot_listen
from delegator.runtime.serving import listen, serving
from delegator.runtime.shutdown import shutdown_signals
from delegator.ui.api import Api
from delegator.ui.changes import Changes
from delegator.ui.guard import Guard
from delegator.ui.logins import Logins
from delegator.ui.metrics import UiMetrics
from delegator.ui.options import UiOptions
from delegator.ui.pages import Pages
from delegator.ui.payloads import PayloadReader, RemoteCodec
from delegator.ui.reads import Reads
from delegator.ui.rendering import Renderer
from delegator.ui.sessions import Sessions

_MAX_BODY: Final = 4 * 1024 * 1024
_LIMITS: Final = ServingLimits(connections=200)
"""A browser has six at a time."""

_log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def running_ui(options: UiOptions, settings: Settings) -> AsyncIterator[str]:
    """Run the page on this event loop, and give its URL; it ends with the context.

    Args:
        options: what to serve.
        settings: where the database is, and which queues there are.

    Raises:
        ConfigurationError: the address can't be listened on, or the certificate can't be used.
    """
    tls = None if options.tls is None else ServerTls(options.tls)
    registry = CollectorRegistry()
    state = ConnectionState("postgresql", ConnectionMetrics(registry))
    metrics = UiMetrics(registry)
    reads = Reads(settings, state, metrics)
    async with contextlib.AsyncExitStack() as stack:
        payloads = None
        if options.codec_url is not None:
            session = await stack.enter_async_context(aiohttp.ClientSession())
            payloads = PayloadReader(RemoteCodec(session, options.codec_url, options.codec_token))
        health = LocalHealth(registry, Liveness(), {"postgresql": state.problem})
        app = _application(options, reads, metrics, health, payloads)
        try:
            listeners = listen(options.host, options.port)
        except OSError as error:
            raise cannot_listen(error, options.host, options.port) from None
        address = base_url(listeners[0].getsockname()[:2], has_tls=tls is not None)
        context = None if tls is None else tls.context
        await stack.enter_async_context(serving(app, listeners, name="ui", limits=_LIMITS, tls=context))
        watch = asyncio.create_task(reads.watch(), name="ui-watch")
        try:
            _log.info("ui_listening", extra={"url": address})
            yield address
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def serve_ui(options: UiOptions, settings: Settings) -> None:
    """Run the page until SIGTERM or SIGINT.

    Args:
        options: what to serve.
        settings: as for `running_ui`.

    Raises:
        ConfigurationError: as `running_ui`.
    """
    async with shutdown_signals() as shutdown, running_ui(options, settings):
        await shutdown.requested.wait()


def _application(
    options: UiOptions, reads: Reads, metrics: UiMetrics, health: LocalHealth, payloads: PayloadReader | None
) -> web.Application:
    renderer = Renderer()
    sessions = Sessions(options.tokens)
    pages = Pages(reads, renderer, sessions, options, payloads)
    guard = Guard(options, sessions, renderer, metrics)
    app = web.Application(middlewares=[guard.middleware], client_max_size=_MAX_BODY)
    add_health_routes(app.router, health)
    app.router.add_get("/static/{version}/{name}", renderer.asset)
    app.router.add_routes(
        [
            *pages.routes(),
            *Changes(reads, pages, sessions, options, metrics).routes(),
            *Logins(options, sessions, renderer, metrics).routes(),
            *Api(reads).routes(),
        ]
    )
    return app
