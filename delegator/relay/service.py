"""The relay as a whole: follows the WAL for each queue and serves their streams, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Final

import psycopg
from prometheus_client import CollectorRegistry

from delegator.errors import DatabaseError
from delegator.relay.election import Election
from delegator.relay.follower import Follower
from delegator.relay.http import PullApi
from delegator.relay.ingest import Ingest
from delegator.relay.metrics import RelayCollector
from delegator.relay.options import RelayOptions
from delegator.relay.state import RelayState, StreamState
from delegator.relay.store import Budget, Stream
from delegator.runtime.build_info import show_build
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.connections import ServingLimits
from delegator.runtime.health import LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import ServerTls, base_url, cannot_listen
from delegator.runtime.serving import listen, serving
from delegator.runtime.shutdown import shutdown_signals
from delegator.runtime.tokens import Tokens

_SHUTDOWN: Final = 2.0
_LIMITS: Final = ServingLimits(connections=20_000)
"""Each connection of a worker is mostly a request that waits for messages."""

_log = logging.getLogger(__name__)


class Relay:
    """Serves the declared queues. Call `start`, then `run`, then `stop`; each once.

    Each queue has a follower, a store and a bound of its own. They share the event loop and the HTTP surface, but no
    queue can use up what another one needs. While another relay holds the locks, this one is a standby: it answers 503.
    """

    def __init__(self, options: RelayOptions, registry: CollectorRegistry) -> None:
        """Prepare; nothing is connected yet.

        Args:
            options: what to serve.
            registry: where the metrics go.

        Raises:
            ConfigurationError: the file of tokens or the certificate can't be used.
        """
        self.options = options
        feeds = options.feeds
        budgets = {feed.table: _share(options, len(feeds)) for feed in feeds}
        self.streams = {name: Stream(name, budget, options.visibility_timeout) for name, budget in budgets.items()}
        ingests = {name: Ingest(stream) for name, stream in self.streams.items()}
        states = {name: StreamState(ingest) for name, ingest in ingests.items()}
        connection = ConnectionState("postgresql", ConnectionMetrics(registry))
        self.state = RelayState(states, connection)
        self._followers = [
            Follower(options, feed, ingests[feed.table], budgets[feed.table], self.state) for feed in feeds
        ]
        self._election = Election(options, self.state)
        RelayCollector(self.streams, self.state, registry)
        show_build(registry)
        # No loop is watched: `/livez` is answered by the event loop that does everything, so a blocked one answers
        # nothing.
        health = LocalHealth(registry, Liveness(), {connection.dependency: connection.problem})
        tokens = Tokens([] if options.token is None else [options.token], file=options.token_file)
        self._tls = None if options.tls is None else ServerTls(options.tls).context
        api = PullApi(self.streams, tokens, health, self.state, gives_back=not options.like_sequin)
        self._app = api.application()
        self._serving = contextlib.AsyncExitStack()
        self.url = ""
        """Base URL of the HTTP surface, without a slash at the end; empty before `start`."""

    async def start(self) -> None:
        """Listen; requests are answered from now on.

        Raises:
            ConfigurationError: a queue can't be streamed as the database is, the role may not stream the WAL, or the
                address can't be listened on.
        """
        await self._check()
        options = self.options
        try:
            listeners = listen(options.host, options.port)
        except OSError as error:
            raise cannot_listen(error, options.host, options.port) from None
        self.url = base_url(listeners[0].getsockname()[:2], has_tls=self._tls is not None)
        await self._serving.enter_async_context(
            serving(
                self._app, listeners, name="relay", limits=_LIMITS, tls=self._tls, shutdown_seconds=_SHUTDOWN,
                handler_cancellation=not options.like_sequin,
            )
        )  # fmt: skip
        _log.info("relay_listening", extra={"url": self.url})

    async def _check(self) -> None:
        """Refuse what can't work, before anything listens. A server that is away is waited for later."""
        for follower in self._followers:
            with contextlib.suppress(DatabaseError, TimeoutError, psycopg.Error):
                await follower.check()

    async def run(self) -> None:
        """Follow the WAL whenever no other relay does, until cancelled.

        Raises:
            ConfigurationError: a queue can't be streamed as the database is.
            DatabaseError: PostgreSQL could not be reached at the start.
        """
        await self._election.run(self._follow)

    async def _follow(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for follower in self._followers:
                    tasks.create_task(follower.run(), name="relay-follower")
        finally:
            for stream in self.streams.values():
                stream.release_pollers()

    async def streaming(self) -> None:
        """Wait until every queue is streamed."""
        for follower in self._followers:
            await follower.streaming.wait()

    async def stop(self) -> None:
        """Answer the requests that wait, and close."""
        self.state.stopping = True
        for stream in self.streams.values():
            stream.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._serving.aclose()
        _log.info("relay_stopped")


@dataclass(frozen=True)
class RelayHandle:
    """A relay that runs."""

    url: str
    """Base URL of its HTTP surface, without a slash at the end."""
    relay: Relay
    """The relay itself, for a look at its state."""
    task: asyncio.Task[None]
    """Follows the WAL; ends only by an error or by being cancelled."""


@contextlib.asynccontextmanager
async def running_relay(
    options: RelayOptions, registry: CollectorRegistry | None = None, *, wait: bool = True
) -> AsyncIterator[RelayHandle]:
    """Run a relay on this event loop; it ends with the context.

    Args:
        options: what to serve.
        registry: where its metrics go; None: one of its own.
        wait: begin only when every queue is streamed. A standby never gets there.

    Raises:
        ConfigurationError: it can't run as configured.
        DatabaseError: PostgreSQL could not be reached at the start.
    """
    relay = Relay(options, registry or CollectorRegistry())
    await relay.start()
    task = asyncio.create_task(relay.run(), name="relay")
    try:
        if wait:
            await _first(task, relay.streaming())
        yield RelayHandle(relay.url, relay, task)
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        await relay.stop()


async def serve(options: RelayOptions) -> None:
    """Run a relay until SIGTERM or SIGINT.

    Args:
        options: what to serve.

    Raises:
        ConfigurationError: it can't run as configured.
        DatabaseError: PostgreSQL could not be reached at the start.
    """
    async with shutdown_signals() as shutdown, running_relay(options, wait=False) as handle:
        await _first(handle.task, shutdown.requested.wait())


async def _first(task: asyncio.Task[None], event: Coroutine[None, None, object]) -> None:
    """Wait for an event, or until a task fails, whose error is raised then."""
    waiter = asyncio.create_task(event)
    try:
        await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiter.cancel()
        await asyncio.wait([waiter])
    if task.done():
        task.result()


def _share(options: RelayOptions, queues: int) -> Budget:
    return Budget(max(1, options.max_messages // queues), max(1, options.max_bytes // queues), options.low_water)
