"""The relay as a whole: one process that follows the WAL for each queue and serves their streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from delegator.errors import ConfigurationError
from delegator.relay.follower import Follower
from delegator.relay.http import PullApi
from delegator.relay.ingest import Ingest
from delegator.relay.metrics import RelayCollector
from delegator.relay.options import RelayOptions
from delegator.relay.state import RelayState, StreamState
from delegator.relay.store import Budget, Stream
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState

_SHUTDOWN: Final = 2.0

log = logging.getLogger(__name__)


class Relay:
    """Serves the declared queues. `start`, then `run`, then `stop`; each once.

    Each queue has a follower, a store and a bound of its own. They share the event loop and the HTTP surface, and
    nothing that one could use up for the others.
    """

    def __init__(self, options: RelayOptions, registry: CollectorRegistry) -> None:
        self.options = options
        feeds = options.feeds
        budgets = {feed.table: _share(options, len(feeds)) for feed in feeds}
        self.streams = {name: Stream(name, budget, options.visibility_timeout) for name, budget in budgets.items()}
        ingests = {name: Ingest({name: stream}, options.max_record_bytes) for name, stream in self.streams.items()}
        states = {name: StreamState(ingest) for name, ingest in ingests.items()}
        self.state = RelayState(states, ConnectionState("postgresql", ConnectionMetrics(registry)))
        self._followers = [
            Follower(options, feed, ingests[feed.table], budgets[feed.table], self.state) for feed in feeds
        ]
        RelayCollector(self.streams, states, registry)
        api = PullApi(self.streams, options.token, registry, self.state)
        self._runner = web.AppRunner(
            api.application(), access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN
        )
        self.url = ""

    async def start(self) -> None:
        """Listen; requests are answered from now on.

        Raises:
            ConfigurationError: the address can't be listened on.
        """
        await self._runner.setup()
        options = self.options
        try:
            site = web.TCPSite(self._runner, options.host, options.port, backlog=1024)
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise ConfigurationError(
                    f"port {options.port} on {options.host} is in use: choose another with --port"
                ) from None
            raise ConfigurationError(
                f"can't listen on {options.host}:{options.port}: {error.strerror}: choose with --host and --port"
            ) from None
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info("relay_listening", extra={"url": self.url})

    async def run(self) -> None:
        """Follow the WAL until cancelled.

        Raises:
            ConfigurationError: the database can't be streamed from as it is.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for follower in self._followers:
                    tasks.create_task(follower.run(), name="relay-follower")
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def streaming(self) -> None:
        """Wait until every queue is streamed."""
        for follower in self._followers:
            await follower.streaming.wait()

    async def stop(self) -> None:
        """Answer what waits, and close."""
        self.state.stopping = True
        for stream in self.streams.values():
            stream.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._runner.cleanup()
        log.info("relay_stopped")


def _share(options: RelayOptions, queues: int) -> Budget:
    return Budget(max(1, options.max_messages // queues), max(1, options.max_bytes // queues), options.low_water)
