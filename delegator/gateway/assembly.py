"""Puts one queue of a gateway together, from the parts of a worker pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client

from delegator.completion.signals import SignalSender
from delegator.config import Settings
from delegator.gateway.attempts import Attempts
from delegator.gateway.dispatch import Dispatcher
from delegator.gateway.finishing import Finishing
from delegator.gateway.leases import TermLeases
from delegator.gateway.queue import GatewayQueue
from delegator.gateway.served_types import ServedTypes
from delegator.operating.canary_type import CANARY, CANARY_HANDLER
from delegator.postgres.connections import DatabaseAddress, Pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.lease_keeper import LeaseKeeper
from delegator.postgres.lease_reports import WorkerReport
from delegator.postgres.queue_gateway import GatewayStatements
from delegator.postgres.queue_table import QueueTable
from delegator.runtime.connection_state import ConnectionState, SharedConnection
from delegator.runtime.liveness import Liveness
from delegator.wire.contexts import codec_of
from delegator.wire.worker_protocol import LEASE_SECONDS
from http_workers.acks import Acknowledger
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import AttemptRunner, Ended
from http_workers.finisher import Finisher
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.options import ClaimMode
from http_workers.receiver import Receiver
from http_workers.receiver_parts import ReceiverParts
from http_workers.source import MAX_BATCH, StreamSource, StreamTimeouts
from http_workers.start_checks import refuse_wrong_stream

_KEPT_SECONDS: Final = 3.0
"""How much longer than a worker's lease a claim lasts: so long a job may wait for a poll."""
_POLLERS: Final = 2
_LONGEST_WAIT: Final = timedelta(seconds=10)
_LONGEST_ROUND: Final = timedelta(seconds=40)
_CLAIMS_LIMIT_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shared:
    """What all queues of a gateway use."""

    settings: Settings
    """Where the servers are."""
    pool: Pool
    """Connections."""
    client: Client
    """Temporal's client."""
    signals: SignalSender
    """Sends outcomes to workflows."""
    activity_tasks: ActivityTasks
    """Completes Temporal's activity tasks."""
    identity: str
    """Shown in failures."""
    metrics: WorkerMetrics
    """This process's series of a worker."""
    states: Mapping[str, ConnectionState]
    """The health of the connections, by server."""
    database: SharedConnection
    """The database's health."""
    check: Callable[[], Awaitable[object]]
    """The check of the schema."""
    liveness: Liveness
    """The loops that must make progress."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """One queue, ready to run."""

    queue: GatewayQueue
    """Answers requests."""
    dispatcher: Dispatcher
    """Has the polls that wait."""
    finisher: Finisher
    """Writes how attempts ended."""
    finishing: Finishing
    """Knows which attempts are being finished."""
    leases: TermLeases
    """Hold the jobs."""
    loops: tuple[Coroutine[Any, Any, None], ...]
    """What runs until the gateway stops."""
    receivers: tuple[Coroutine[Any, Any, None], ...]
    """What takes jobs from the stream, until the gateway drains."""
    acks: Acknowledger
    """Acknowledges messages."""
    receiver: Receiver
    """Claims rows."""

    async def drain(self) -> None:
        """Answer the polls that wait, and give back what no worker has got."""
        self.dispatcher.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLAIMS_LIMIT_SECONDS):
                await self.receiver.claims_ended()


async def assemble(name: str, shared: Shared, stack: AsyncExitStack) -> Assembled:
    """Connect one queue, and return its parts.

    Args:
        name: the queue.
        shared: what all queues use.
        stack: closes what is opened.

    Raises:
        ConfigurationError: the stream refuses the queue.
        DatabaseError: the database grants no lease.
    """
    settings, metrics = shared.settings, shared.metrics
    converter = shared.client.data_converter
    table, statements = QueueTable(name), GatewayStatements(name)
    pool = shared.pool.share(name)

    def watched(loop: str) -> DatabaseWatch:
        return DatabaseWatch(shared.database.part(f"{loop} {name}"), shared.check)

    source = await stack.enter_async_context(
        StreamSource(
            url=settings.stream_url,
            queue=name,
            token=settings.stream_token,
            ca_file=settings.stream_ca_file,
            timeouts=StreamTimeouts(margin=min(StreamTimeouts().margin, settings.lease / 3)),
        )
    )
    await refuse_wrong_stream(source, shared.states["stream"])
    attempts = Attempts(name, converter)
    finishing = Finishing(lambda ended: finisher.add(ended))
    dispatcher = Dispatcher(
        snooze=lambda job, delay: finishing.start(Ended(job, snooze=delay)),
        refuse=lambda job: finishing.start(attempts.unknown(job)),
    )

    def report() -> WorkerReport:
        running = 0 if not term_leases else len(term_leases[0].held)
        return WorkerReport(running + dispatcher.demand.total, running)

    term_leases: list[TermLeases] = []
    keeper = await stack.enter_async_context(
        LeaseKeeper(
            DatabaseAddress.of(settings),
            "worker",
            duration=settings.lease,
            queue=name,
            job_types=[],
            state=shared.database.part(f"lease {name}"),
            report=report,
        )
    )
    leases = TermLeases(
        pool=pool,
        statements=statements,
        keeper=keeper,
        database=watched("term leases"),
        claim_seconds=LEASE_SECONDS + _KEPT_SECONDS,
        clock=time.monotonic,
    )
    term_leases.append(leases)
    await leases.renew()
    finisher = Finisher(
        pool=pool,
        table=table,
        signals=shared.signals,
        activity_tasks=shared.activity_tasks,
        codec=codec_of(converter),
        identity=shared.identity,
        metrics=metrics,
        database=watched("finisher"),
        on_finished=lambda job: leases.forget(*job.held),
        refusal_grace=settings.refusal_grace,
        log_messages=settings.log_messages,
        on_written=finishing.written,
    )
    canary = AttemptRunner({CANARY: CANARY_HANDLER}, converter, name, metrics)
    acks = Acknowledger(source, shared.states["stream"])

    def start(job: Job) -> None:
        leases.claimed(*job.held)
        if job.job_type == CANARY:
            canaries.put_nowait(job)
        else:
            dispatcher.give(job)
        dispatcher.demand.release()

    canaries: asyncio.Queue[Job] = asyncio.Queue()

    async def sing() -> None:
        while True:
            finishing.start(await canary.run(await canaries.get()))

    receiver = Receiver(
        ReceiverParts(
            source=source,
            acknowledge=acks.add,
            pool=pool,
            lease=leases,
            slots=dispatcher.demand,
            metrics=metrics,
            stream_state=shared.states["stream"],
            database=watched("claims"),
            wait=min(_LONGEST_WAIT, settings.lease * 2 / 3),
            held=leases.held,
            start=start,
            give_up=finisher.give_up,
        ),
        table=table,
        claim_mode=ClaimMode.LEASE,
    )
    queue = GatewayQueue(
        pool=pool,
        statements=statements,
        attempts=attempts,
        leases=leases,
        dispatcher=dispatcher,
        finishing=finishing,
        activity_tasks=shared.activity_tasks,
        database=watched("running jobs"),
    )
    served = ServedTypes(pool, keeper, dispatcher, finisher.offer_refused, watched("served types"))

    async def receive(number: int) -> None:
        with shared.liveness.watch(f"receive_{number} {name}", _LONGEST_ROUND) as progress:
            await receiver.poll(progress, MAX_BATCH)

    return Assembled(
        queue=queue,
        dispatcher=dispatcher,
        finisher=finisher,
        finishing=finishing,
        leases=leases,
        loops=(finisher.run(), acks.run(), queue.run(), served.run(), sing()),
        receivers=tuple(receive(number) for number in range(_POLLERS)),
        acks=acks,
        receiver=receiver,
    )
