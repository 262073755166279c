"""The relay as a whole: one process that follows the WAL and serves its streams."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry

from delegator.connection_state import ConnectionMetrics, ConnectionState
from delegator.errors import ConfigurationError
from delegator.relay.follower import Follower
from delegator.relay.http import PullApi
from delegator.relay.ingest import Ingest
from delegator.relay.metrics import RelayCollector
from delegator.relay.options import RelayOptions
from delegator.relay.state import RelayState
from delegator.relay.store import Budget, Stream
from schema.queues import queue_table

_SHUTDOWN: Final = 2.0

log = logging.getLogger(__name__)


class Relay:
    """Serves the declared queues. `start`, then `run`, then `stop`; each once."""

    def __init__(self, options: RelayOptions, registry: CollectorRegistry) -> None:
        self.options = options
        self._budget = Budget(options.max_messages, options.max_bytes, options.low_water)
        names = [queue_table(queue) for queue in options.queues]
        self.streams = {name: Stream(name, self._budget, options.visibility_timeout) for name in names}
        self._ingest = Ingest(self.streams, options.max_record_bytes)
        self.state = RelayState(self._ingest)
        connection = ConnectionState("postgresql", ConnectionMetrics(registry))
        self.follower = Follower(options, self._ingest, self._budget, self.state, connection)
        RelayCollector(self.streams.values(), self.state, registry)
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
        await self.follower.run()

    async def stop(self) -> None:
        """Answer what waits, and close."""
        self.state.stopping = True
        for stream in self.streams.values():
            stream.stop()
        with contextlib.suppress(asyncio.CancelledError):
            await self._runner.cleanup()
        log.info("relay_stopped")
