"""The sweeper: republishes lost jobs and due retries, and times out overdue jobs. It never waits for Temporal."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadCodec

from delegator.completion.failures import Ending, failed_outcome, overdue
from delegator.errors import WireError
from delegator.maintenance.left_open import LeftOpenAttempts
from delegator.maintenance.lost_attempts import GivenUp, LostAttempts
from delegator.maintenance.measures import QueueMeasures
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.outbox import OutboxDispatcher
from delegator.maintenance.paused import PausedJobs
from delegator.maintenance.queues_apart import QueuesApart
from delegator.maintenance.run_watch import RunWatch
from delegator.maintenance.signaller import Signaller
from delegator.maintenance.slot_watch import SlotWatch
from delegator.maintenance.snoozed import SnoozedJobs
from delegator.postgres import dead_letters, leases, unique_ids
from delegator.postgres.connections import Connection, give_up_locks
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.dead_letters import NewDeadLetter, Reason
from delegator.postgres.fragments import OUTCOME_STORED, PAUSES_CHANGED
from delegator.postgres.notifications import listen_for_maintenance
from delegator.postgres.queue_maintenance import MaintenanceStatements, OverdueJob
from delegator.postgres.queue_order import OrderStatements, forget_rates
from delegator.runtime.exception_groups import unwrapped
from delegator.wire.codec import decode_outcome, decode_payloads, encode_outcome
from delegator.wire.contexts import Conversions
from delegator.wire.outcomes import Outcome
from delegator.wire.probe import ProbeReader
from delegator.wire.rows import row_problem

_log = logging.getLogger(__name__)
LOCK_LIMIT = timedelta(seconds=5)
"""How long a statement of the maintenance waits for a lock, such as that of an ALTER TABLE. The sweeps of other
queues wait, too."""


@dataclass(frozen=True, slots=True)
class SweeperOptions:
    """How often the sweeper looks, and how long it waits for others to act first."""

    interval: timedelta = timedelta(seconds=1)
    """Time between two looks at leases, retries and deadlines. A retry that is due earlier does not wait for it."""
    full_interval: timedelta = timedelta(seconds=15)
    """Time between two looks at whole tables: completed rows, unknown leases, depth."""
    delivery_grace: timedelta = timedelta(seconds=5)
    """How much older than the delivery watermark an unclaimed row must be to count as lost."""
    restart_grace: timedelta = timedelta(0)
    """How long after a start of the database no lease counts as expired: the length of a lease. Before the start no
    process could renew its lease."""
    deadline_grace: timedelta = timedelta(seconds=5)
    """How long a live worker may take to report a timeout itself."""
    result_retention: timedelta = timedelta(minutes=5)
    """How long a completed row waits for its enqueuer."""


class Sweeper:
    """Sweeps the queues on the connection that holds the leader's lock. Every step may be repeated or interrupted."""

    def __init__(
        self,
        queues: Sequence[str],
        *,
        ordered: Collection[str] = (),
        signallers: Sequence[Signaller],
        run_watch: RunWatch | None = None,
        outbox: OutboxDispatcher | None = None,
        slots: SlotWatch | None = None,
        database: DatabaseWatch,
        converter: DataConverter,
        identity: str,
        metrics: MaintenanceMetrics,
        options: SweeperOptions,
    ) -> None:
        """Prepare the sweeper.

        Args:
            queues: the declared queues.
            ordered: those of them that are ordered.
            signallers: signal stored outcomes, one for each queue.
            run_watch: ends the jobs of closed runs; None: they outlive their run.
            outbox: sends what applications have committed; None: another process does.
            slots: measures the slots, and says which are missing; None: another process does.
            database: gets each success, and each refusal of the server.
            converter: the data converter, for timeouts.
            identity: shown in failures.
            metrics: this process's series.
            options: how often it looks.
        """
        self._measures = QueueMeasures(metrics)
        self._queues = [MaintenanceStatements(queue) for queue in queues]
        self._order = {queue: OrderStatements(queue) for queue in queues if queue in ordered}
        self._signallers = signallers
        self._run_watch = run_watch
        self._outbox = outbox
        self._slots = slots
        self._database = database
        self._conversions = Conversions(converter)
        self._probes = ProbeReader(converter.payload_codec)
        self._identity = identity
        self._metrics = metrics
        self._options = options
        self._snoozed = SnoozedJobs()
        self._paused = PausedJobs(queues)
        self._sweep_fully_at = 0.0
        self._lost = LostAttempts(converter, identity, metrics)
        self._left_open = LeftOpenAttempts(converter, self._lost)
        self._apart = QueuesApart(self._queues, database)
        self._letters_apart = QueuesApart(self._queues, database)  # no retry waits for the table of dead letters

    async def run(self, connection: Connection) -> None:
        """Sweep until cancelled.

        After any other error than a lost connection it pauses and goes on. The leader keeps its lock meanwhile.

        Raises:
            psycopg.Error: the connection was lost, and with it the leader's lock.
        """
        with unwrapped():
            async with asyncio.TaskGroup() as group:
                for signaller in self._signallers:
                    group.create_task(signaller.run(), name="signaller")
                if self._run_watch is not None:
                    group.create_task(self._run_watch.run(), name="run-watch")
                if self._outbox is not None:
                    group.create_task(self._outbox.run(), name="outbox")
                await self._sweep_repeatedly(connection)

    def _ask_signallers(self) -> None:
        for signaller in self._signallers:
            signaller.ask()

    async def _sweep_repeatedly(self, connection: Connection) -> None:
        listens = False
        while True:
            try:
                if not listens:
                    await give_up_locks(connection, LOCK_LIMIT)
                    await listen_for_maintenance(connection)
                    listens = True
                await self.sweep(connection)
                if time.monotonic() >= self._sweep_fully_at:
                    await self.sweep_fully(connection)
                    self._sweep_fully_at = time.monotonic() + self._options.full_interval.total_seconds()
                self._letters_apart.worked(reports=False)
                self._apart.worked(reports=self._letters_apart.are_whole)
                await self._pause(connection)
            except Exception as error:
                if connection.closed:
                    raise
                await self._database.failed(error)

    async def sweep(self, connection: Connection) -> None:
        """Do the steps that use an index or a small table: leases, retries, deadlines, lost deliveries."""
        async with connection.transaction():
            expired = await leases.lock_expired(connection, self._options.restart_grace)
            given_up: dict[MaintenanceStatements, list[GivenUp]] = {}
            if expired:
                await self._apart.each(connection, lambda queue: self._free(connection, queue, expired, given_up))
                if self._apart.are_whole:  # else jobs of the other queue still name the lease
                    await leases.delete(connection, expired)
        for queue in given_up:
            await self._letters_apart.one(
                connection, queue, lambda one: self._lost.give_up(connection, one, given_up[one])
            )
            self._ask_signallers()
        await self._apart.each(connection, lambda queue: self._sweep_queue(connection, queue))

    async def _free(
        self,
        connection: Connection,
        queue: MaintenanceStatements,
        expired: Sequence[int],
        given_up: dict[MaintenanceStatements, list[GivenUp]],
    ) -> None:
        """Free the jobs of expired leases, all or none of them."""
        async with connection.transaction():
            jobs = await self._lost.back_off(connection, queue, expired)
            freed = await queue.republish_abandoned(connection, expired)
        given_up[queue] = jobs
        self._count_republished(queue, "lease_expired", freed)

    async def _sweep_queue(self, connection: Connection, queue: MaintenanceStatements) -> None:
        await self._paused.pause_due(connection, queue.queue)
        if await self._left_open.time_out(connection, queue):
            self._ask_signallers()
        self._count_republished(queue, "retry_due", await queue.republish_retries(connection))
        if queue.queue not in self._order:  # there the workers look for jobs, whatever the stream has lost
            grace = self._options.delivery_grace
            self._count_republished(queue, "undelivered", await queue.republish_undelivered(connection, grace))
        late = await queue.overdue(connection, self._options.deadline_grace, self._snoozed.ids())
        if late:
            await self._time_out(connection, queue, late)
            self._ask_signallers()

    async def sweep_fully(self, connection: Connection) -> None:
        """Do the steps that read whole tables."""
        await self._paused.look(connection)
        if self._slots is not None:
            await self._slots.look(connection)
        await self._apart.each(connection, lambda queue: self._sweep_table(connection, queue))
        await self._letters_apart.each(connection, lambda queue: self._measures.dead_letters(connection, queue.queue))
        await forget_rates(connection)
        await unique_ids.forget_expired(connection)
        self._metrics.last_sweep.set_to_current_time()

    async def _sweep_table(self, connection: Connection, queue: MaintenanceStatements) -> None:
        await self._paused.sweep(connection, queue.queue)
        self._count_republished(queue, "unknown_lease", await queue.republish_unknown_lease(connection))
        if queue.queue in self._order:
            await self._order[queue.queue].place_unplaced(connection)
        unread = await queue.delete_unread(connection, self._options.result_retention)
        self._metrics.unread.inc(unread)
        await self._measures.depth(connection, queue.table)

    async def _pause(self, connection: Connection) -> None:
        pauses = [self._options.interval.total_seconds()]

        async def look(queue: MaintenanceStatements) -> None:
            due = await queue.next_retry(connection)
            if due is not None:
                pauses.append(max(due, 0.005))

        await self._apart.each(connection, look)
        async for notify in connection.notifies(timeout=min(pauses), stop_after=1):
            if notify.payload == OUTCOME_STORED:
                self._ask_signallers()
            elif notify.payload == PAUSES_CHANGED:
                self._sweep_fully_at = 0.0

    async def _time_out(self, connection: Connection, queue: MaintenanceStatements, late: Sequence[OverdueJob]) -> None:
        rows: list[tuple[str, int, bytes]] = []
        dead: list[NewDeadLetter] = []
        dropped: list[str] = []
        for job in late:
            if job.task_token is not None:
                dropped.append(job.job_id)  # Temporal has timed the activity out itself
                continue
            problem = row_problem(job.format_version) or await self._probes.problem(job.options)
            if problem is not None:  # the outcome would have to be in the row's own format, by the client's codec
                self._snooze(queue, job, problem)
                continue
            try:
                codec = self._conversions.of_row(job).codec
                encoded = await encode_outcome(await self._timeout(job, codec), codec, stand_in=False)
            except Exception as error:  # a codec or a failure converter may raise any error
                self._snooze(queue, job, type(error).__name__)
                continue
            if job.workflow_id is None:
                dead.append(
                    NewDeadLetter(job.job_id, job.fencing_token, "failed", encoded, Reason.TIMED_OUT, "TimeoutError")
                )
            else:
                rows.append((job.job_id, job.fencing_token, encoded))
        if rows:
            self._metrics.timed_out.labels(queue.table.queue).inc(await queue.time_out(connection, rows))
        if dropped:
            await queue.delete_overdue(connection, dropped)
        if dead:  # at last: a table of dead letters that can't be written keeps nothing else waiting

            async def store(queue: MaintenanceStatements) -> None:
                await dead_letters.store_dead_letters(connection, queue.table, dead)

            await self._letters_apart.one(connection, queue, store)
        if timed_out := len(rows) + len(dead) + len(dropped):
            _log.info("jobs_timed_out", extra={"queue": queue.table.queue, "jobs": timed_out})

    def _snooze(self, queue: MaintenanceStatements, job: OverdueJob, reason: str) -> None:
        _log.error("timeout_not_stored", extra={"job_id": job.job_id, "reason": reason})
        self._metrics.snoozed.labels(queue.table.queue).inc()
        self._snoozed.add([job.job_id])

    async def _timeout(self, job: OverdueJob, codec: PayloadCodec | None) -> Outcome:
        details: Sequence[Payload] = ()
        last_failure = None
        try:
            if job.heartbeat_details is not None:
                details = Payloads.FromString(await decode_payloads(job.heartbeat_details, codec)).payloads
            if job.last_failure is not None:
                last_failure = Failure.FromString((await decode_outcome("failed", job.last_failure, codec)).body)
        except Exception as error:  # a codec may raise any error
            reason = str(error) if isinstance(error, WireError) else type(error).__name__
            _log.error("failure_unreadable", extra={"job_id": job.job_id, "reason": reason})
        return failed_outcome(
            overdue(job.attempt, details, last_failure),
            job_id=job.job_id,
            job_type=job.job_type,
            identity=self._identity,
            retry_state=RetryState.RETRY_STATE_TIMEOUT,
            ending=Ending.TIMED_OUT,
        )

    def _count_republished(self, queue: MaintenanceStatements, reason: str, count: int) -> None:
        if count:
            self._metrics.republished.labels(queue.table.queue, reason).inc(count)
            level = logging.DEBUG if reason == "retry_due" else logging.WARNING
            _log.log(level, "jobs_republished", extra={"queue": queue.table.queue, "reason": reason, "jobs": count})
