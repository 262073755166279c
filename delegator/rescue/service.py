"""`delegator serve`: a delegator process. Any number may run; one of them sweeps."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta

from prometheus_client import CollectorRegistry

from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.connection_state import ConnectionMetrics, ConnectionState
from delegator.health.liveness import Liveness
from delegator.health.server import HealthServer, LocalHealth
from delegator.lease import holder_name
from delegator.migrate.check import check
from delegator.rescue.leader import Leadership
from delegator.rescue.metrics import RescueMetrics
from delegator.rescue.sweeper import Sweeper, SweepOptions
from delegator.shutdown import shutdown_signals
from delegator.startup import wait_for
from delegator.store.queue_table import QueueTable
from delegator.temporal import connect_temporal, load_data_converter

_log = logging.getLogger(__name__)
_STALL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What `delegator serve` is told on its command line."""

    host: str = "127.0.0.1"
    """Address of the health and metrics server."""
    port: int = 0
    """Its TCP port; 0: none."""
    sweep: SweepOptions = field(default_factory=SweepOptions)
    """How often the sweeper looks."""


async def serve(options: ServeOptions, settings: Settings) -> None:
    """Run a delegator process until it is asked to stop.

    Args:
        options: the command line.
        settings: the environment.

    Raises:
        ConfigurationError: a setting is wrong, or the schema is not what is declared.
        DependencyError: PostgreSQL can't be reached at the start.
    """
    registry = CollectorRegistry()
    metrics = RescueMetrics(registry)
    connections = ConnectionMetrics(registry)
    database, temporal = ConnectionState("postgresql", connections), ConnectionState("temporal", connections)
    liveness = Liveness()
    checks = {"postgresql": database.problem, "temporal": temporal.problem}
    server: AbstractContextManager[object] = nullcontext()
    if options.port:
        health = LocalHealth(registry, liveness, checks)
        server = HealthServer(health, host=options.host, port=options.port)
    converter = load_data_converter(settings.data_converter)
    with server:
        async with AsyncExitStack() as stack:
            shutdown = await stack.enter_async_context(shutdown_signals())
            await stack.enter_async_context(liveness.watch_event_loop(_STALL))
            identity = f"delegator {holder_name()}"
            client = await connect_temporal(converter, identity=identity)
            if not await wait_for(lambda: check(settings), settings.start_timeout, database, shutdown.requested):
                return
            signals = SignalSender(client, identity=identity, state=temporal)
            stack.push_async_callback(signals.close)
            sweeper = Sweeper(
                [QueueTable(queue) for queue in settings.queues],
                signals=signals,
                converter=converter,
                identity=identity,
                metrics=metrics,
                options=options.sweep,
            )

            def on_change(leads: bool) -> None:
                metrics.leader.set(leads)

            leadership = Leadership(settings.database_url.get_secret_value(), on_change)
            leading = asyncio.create_task(leadership.run(sweeper.run), name="leadership")
            stopping = asyncio.create_task(shutdown.requested.wait(), name="stop")
            _log.info("delegator_started", extra={"queues": ",".join(settings.queues)})
            try:
                await asyncio.wait((leading, stopping), return_when=asyncio.FIRST_COMPLETED)
                if leading.done():
                    leading.result()
            finally:
                leading.cancel()
                stopping.cancel()
                await asyncio.gather(leading, stopping, return_exceptions=True)
            _log.info("delegator_stopped")
