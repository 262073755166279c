"""Runs a gateway: serves workers over HTTP, until it is asked to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from delegator_schema.roles import WORKER
from prometheus_client import CollectorRegistry
from temporalio.client import Client

from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.gateway.access import ScopedTokens
from delegator.gateway.assembly import Assembled, Shared, assemble
from delegator.gateway.http import GatewayApi
from delegator.gateway.metrics import GatewayMetrics
from delegator.gateway.options import GatewayOptions
from delegator.gateway.queue import GatewayQueue
from delegator.postgres.connections import DatabaseAddress, connection_pool
from delegator.postgres.lease_keeper import holder_name
from delegator.postgres.schema_check import check
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState, SharedConnection
from delegator.runtime.connections import ServingLimits
from delegator.runtime.exception_groups import unwrapped
from delegator.runtime.health import LocalHealth
from delegator.runtime.liveness import Liveness
from delegator.runtime.server_tls import ServerTls, base_url, cannot_listen
from delegator.runtime.serving import listen, serving
from delegator.runtime.startup import wait_for
from delegator.runtime.temporal_client import (
    connect_temporal,
    load_data_converter,
    refuse_wrong_namespace,
    watch_temporal,
)
from http_workers.activity_tasks import ActivityTasks
from http_workers.metrics import WorkerMetrics

_CONNECTIONS: Final = 10
_PATIENCE: Final = timedelta(seconds=30)
_MORE_CONNECTIONS: Final = 1_000
_MOST_ENDING: Final = 20_000
_REPLIES_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


class Gateway:
    """One gateway process."""

    def __init__(
        self,
        options: GatewayOptions,
        settings: Settings,
        registry: CollectorRegistry,
        *,
        client: Client | None = None,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            options: what to serve.
            settings: where the servers are.
            registry: takes the metrics.
            client: Temporal's client, with the data converter; None: one that the settings describe.

        Raises:
            ConfigurationError: the file of tokens or the certificate can't be used.
        """
        self._options = options
        self._settings = settings
        self._registry = registry
        self._client = client
        self._tokens = ScopedTokens(options.token_file)
        self._tls = None if options.tls is None else ServerTls(options.tls).context
        self._worker_metrics = WorkerMetrics(registry)
        self._metrics = GatewayMetrics(registry)
        connections = ConnectionMetrics(registry)
        self._states = {name: ConnectionState(name, connections) for name in ("stream", "postgresql", "temporal")}
        self._liveness = Liveness()
        self._assembled: dict[str, Assembled] = {}
        self.queues: Mapping[str, GatewayQueue] = {}
        """The queues that it serves."""
        self.draining = False
        """Whether it stops."""
        self.url = ""
        """Base URL, without a slash at the end; empty before it listens."""
        self._metrics.polls.set_function(self._polls)
        self._worker_metrics.running.set_function(
            lambda: sum(len(queue.leases.held) for queue in self._assembled.values())
        )

    def _polls(self) -> int:
        return sum(queue.dispatcher.polls for queue in self._assembled.values())

    def refuse_poll(self) -> bool:
        """Return whether too many polls wait."""
        return self._polls() >= self._options.max_polls

    def refuse_end(self) -> bool:
        """Return whether too many attempts wait for the database."""
        return sum(queue.finisher.backlog for queue in self._assembled.values()) > _MOST_ENDING

    def _problem(self) -> str | None:
        return "it stops" if self.draining else None

    @asynccontextmanager
    async def running(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Serve while the context is open. At its end the gateway drains.

        Args:
            stop: set when it must stop before it has started. Then the context does not serve.

        Raises:
            ConfigurationError: a setting is wrong, the schema is not what is declared, or the address can't be
                listened on.
            DependencyError: a server can't be reached at the start.
        """
        settings, identity = self._settings, f"gateway {holder_name()}"
        async with AsyncExitStack() as stack:
            client = self._client
            if client is None:
                client = await connect_temporal(load_data_converter(settings.data_converter), identity=identity)

            async def checked() -> None:
                await check(settings, queues=self._options.queues, process=WORKER)

            if not await wait_for(checked, settings.start_timeout, self._states["postgresql"], stop):
                yield
                return
            await refuse_wrong_namespace(client, self._states["temporal"])
            shared = await self._shared(client, identity, checked, stack)
            for name in self._options.queues:
                self._assembled[name] = await assemble(name, shared, stack)
            self.queues = {name: one.queue for name, one in self._assembled.items()}
            queues = list(self._assembled.values())
            loops = [loop for one in queues for loop in one.loops]
            with unwrapped():
                async with _background([*loops, watch_temporal(client, self._states["temporal"])]):
                    async with self._listening():
                        async with _background([loop for one in queues for loop in one.receivers]):
                            _log.info("gateway_started", extra={"url": self.url, "queues": ",".join(self.queues)})
                            yield
                            self.draining = True
                            _log.info("gateway_stopping", extra={"polls": self._polls()})
                            for one in queues:
                                await one.drain()
                        with suppress(TimeoutError):
                            async with asyncio.timeout(self._options.grace.total_seconds()):
                                for one in queues:
                                    await one.finishing.idle()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_FLUSH_SECONDS):
                            for one in queues:
                                await one.finisher.flush()
                                await one.acks.flush()
        _log.info("gateway_stopped")

    async def _shared(
        self, client: Client, identity: str, checked: Callable[[], Awaitable[None]], stack: AsyncExitStack
    ) -> Shared:
        settings = self._settings
        pool = await stack.enter_async_context(
            connection_pool(
                DatabaseAddress.of(settings),
                application_name="delegator gateway",
                size=_CONNECTIONS,
                queues=len(self._options.queues),
                silence=settings.lease,
                by_key=True,
            )
        )
        signals = SignalSender(client, identity=identity, state=self._states["temporal"], patience=_PATIENCE)
        stack.push_async_callback(signals.close)
        return Shared(
            settings=settings,
            pool=pool,
            client=client,
            signals=signals,
            activity_tasks=ActivityTasks(client, identity=identity, state=self._states["temporal"], patience=_PATIENCE),
            identity=identity,
            metrics=self._worker_metrics,
            states=self._states,
            database=SharedConnection(self._states["postgresql"]),
            check=checked,
            liveness=self._liveness,
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Answer requests. At the end those that are under way are answered first."""
        options = self._options
        checks = {name: state.problem for name, state in self._states.items()}
        health = LocalHealth(self._registry, self._liveness, {**checks, "draining": self._problem})
        api = GatewayApi(
            self, self._tokens, health, self._metrics, max_body_bytes=options.max_body_bytes, types=options.types
        )
        try:
            listeners = listen(options.host, options.port)
        except OSError as error:
            raise cannot_listen(error, options.host, options.port) from None
        self.url = base_url(listeners[0].getsockname()[:2], has_tls=self._tls is not None)
        async with serving(
            api.application(),
            listeners,
            name="gateway",
            limits=ServingLimits(connections=options.max_polls * 2 + _MORE_CONNECTIONS),
            tls=self._tls,
            handler_cancellation=True,
            shutdown_seconds=_REPLIES_SECONDS,
        ):
            yield


@asynccontextmanager
async def _background(coroutines: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run coroutines while the context is open. None of them ends by itself."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        yield
        for task in tasks:
            task.cancel()


async def serve(options: GatewayOptions, settings: Settings, stop: asyncio.Event) -> None:
    """Run a gateway until it is asked to stop.

    Args:
        options: what to serve.
        settings: where the servers are.
        stop: asks for a graceful stop when it is set.

    Raises:
        ConfigurationError: it can't run as configured.
        DependencyError: a server can't be reached at the start.
    """
    gateway = Gateway(options, settings, CollectorRegistry())
    async with gateway.running(stop):
        await stop.wait()
