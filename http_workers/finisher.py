"""Finishes attempts in batches: stores or signals outcomes, schedules retries, stores dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import psycopg
from temporalio.api.enums.v1 import RetryState
from temporalio.api.failure.v1 import Failure
from temporalio.converter import PayloadCodec

from delegator.completion.failures import error_type, failed_outcome
from delegator.completion.signals import SignalSender
from delegator.postgres import dead_letters, leases
from delegator.postgres.connections import Connection
from delegator.postgres.database_watch import DatabaseWatch, until_taken
from delegator.postgres.dead_letters import NewDeadLetter, Reason
from delegator.postgres.error_classes import without_values
from delegator.postgres.queue_table import AttemptOutcome, NextAttempt, QueueTable
from delegator.postgres.shares import Lender
from delegator.wire.codec import encode_outcome
from delegator.wire.outcomes import Outcome, OutcomeStatus
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import Ended
from http_workers.job import Job
from http_workers.left_open import LeftOpen
from http_workers.metrics import WorkerMetrics
from http_workers.refusals import Refusals, is_stored, next_attempt
from http_workers.run_signals import RunSignals
from http_workers.sorter import Sorter, Ways
from http_workers.stored_forms import StoredForms
from http_workers.task_ends import TaskEnds

_log = logging.getLogger(__name__)
T = TypeVar("T")

_MAX_BATCH = 1_000
_PARALLEL = 4
_MILLISECOND = timedelta(milliseconds=1)
_MAX_DELIVERING = 20_000
_SNOOZE = timedelta(seconds=10)


class Finisher:
    """Finishes ended attempts. While batches are written, the next one gathers."""

    def __init__(
        self,
        *,
        pool: Lender,
        table: QueueTable,
        signals: SignalSender,
        activity_tasks: ActivityTasks,
        codec: PayloadCodec | None,
        identity: str,
        metrics: WorkerMetrics,
        database: DatabaseWatch,
        on_finished: Callable[[Job], None],
        refusal_grace: timedelta,
        log_messages: bool = False,
        on_written: Callable[[Sequence[Ended]], None] | None = None,
    ) -> None:
        """Prepare the finisher.

        Args:
            pool: connections.
            table: the queue's table.
            signals: sends outcomes to workflows.
            activity_tasks: completes Temporal activity tasks.
            codec: the data converter's codec.
            identity: this worker's name in failures.
            metrics: this process's series.
            database: gets each success and each error of the statements.
            on_finished: called when this worker has finished a job.
            refusal_grace: how long a job may be refused in all.
            log_messages: also log the message and the traceback of a failed attempt.
            on_written: called with attempts of which everything is written; None: nobody needs to know.
        """
        self._pool = pool
        self._table = table
        self._left_open = LeftOpen(table, activity_tasks)
        self._signals = signals
        self._run_signals = RunSignals(signals, self._delete, self._keep, metrics)
        self._activity_tasks = activity_tasks
        self._codec = codec
        self._forms = StoredForms(codec)
        self._identity = identity
        self._metrics = metrics
        self._database = database
        self._on_finished = on_finished
        self._on_written = on_written
        self._sorter = Sorter(
            identity=identity,
            refusals=Refusals(metrics, log_messages=log_messages),
            refusal_grace=refusal_grace,
            log_messages=log_messages,
            forget=self._forget,
        )
        self._task_ends = TaskEnds(activity_tasks, self._delete, self._keep)
        self._burying = asyncio.Semaphore(1)
        self._queue: list[Ended] = []
        self._arrived = asyncio.Event()
        self._busy = 0
        self._delivering = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def backlog(self) -> int:
        """Number of ended attempts that wait for the database, or exceed the number that may wait for Temporal.

        Outcomes for a busy run wait until they are signalled together. The worker need not run fewer jobs then.
        """
        return len(self._queue) + self._busy - min(self._delivering, _MAX_DELIVERING)

    @property
    def is_idle(self) -> bool:
        """Whether everything that was added is finished."""
        return self._idle.is_set()

    def add(self, ended: Ended) -> None:
        """Take an ended attempt."""
        if not self._queue:
            self._idle.clear()
            self._arrived.set()
        self._queue.append(ended)

    async def run(self) -> None:
        """Finish what is added, until cancelled."""
        slots = asyncio.Semaphore(_PARALLEL)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._arrived.wait()
                await slots.acquire()
                batch, self._queue = self._queue[:_MAX_BATCH], self._queue[_MAX_BATCH:]
                if not self._queue:
                    self._arrived.clear()
                if not batch:
                    slots.release()
                    continue
                self._busy += len(batch)
                tasks.create_task(self._finish(batch, slots), name="finish")

    async def flush(self) -> None:
        """Finish everything that was added. Outcomes do not gather any more."""
        self._signals.hurry()
        self._activity_tasks.hurry()
        await self._idle.wait()

    async def _finish(self, batch: list[Ended], slots: asyncio.Semaphore) -> None:
        try:
            try:
                await self._finish_batch(batch, slots)
            except Exception:
                _log.exception("finish_failed", extra={"jobs": len(batch)})
                await self._finish_one_by_one(batch, slots)
        finally:
            for ended in batch:
                self._forget(ended)
            if self._on_written is not None:
                self._on_written(batch)
            self._busy -= len(batch)
            if not self._queue and not self._busy:
                self._idle.set()

    async def _finish_one_by_one(self, batch: Sequence[Ended], slots: asyncio.Semaphore) -> None:
        """Finish each attempt of a batch by itself, so that a refused outcome does not stop the others."""
        for ended in batch:
            await slots.acquire()
            try:
                await self._finish_batch([ended], slots)
            except Exception as error:
                await self._snooze(ended.job, error)

    async def _snooze(self, job: Job, error: Exception) -> None:
        """Let a job whose outcome can't be written run again later."""
        _log.error("job_snoozed", extra={"job_id": job.job_id, "reason": type(error).__name__})
        row = NextAttempt(*job.held, _SNOOZE // _MILLISECOND, None, job.attempt)
        try:
            await self._write(lambda db: self._table.retry(db, [row]))
        except psycopg.Error as refusal:
            await self.give_up(job.job_id, job.fencing_token, without_values(refusal))

    async def give_up(self, job_id: str, fencing_token: int, reason: str) -> None:
        """Make a job whose row can't be used a dead letter. A workflow that waits for it gets the failure.

        Args:
            job_id: the job.
            fencing_token: of its row.
            reason: what is wrong, without values of the row.
        """
        _log.error("row_unreadable", extra={"job_id": job_id, "reason": reason})
        failure = Failure(message=f"a value in the job's row can't be used: {reason}")
        failure.application_failure_info.type = "UnreadableRow"
        failure.application_failure_info.non_retryable = True
        outcome = failed_outcome(
            failure,
            job_id=job_id,
            job_type="",
            identity=self._identity,
            retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
        )
        try:
            encoded = await encode_outcome(outcome, self._codec)
            dead = NewDeadLetter(
                job_id, fencing_token, outcome.status.value, encoded, Reason.UNREADABLE.value, "UnreadableRow"
            )
            if await self._write(lambda db: dead_letters.store_dead_letters(db, self._table, [dead])):
                self._metrics.dead_letters.labels(Reason.UNREADABLE.value).inc()
        except Exception as error:  # of a codec, or of a row that can't be moved either
            _log.error("dead_letter_not_stored", extra={"job_id": job_id, "reason": type(error).__name__})

    def _forget(self, ended: Ended) -> None:
        if not ended.forgotten:
            ended.forgotten = True
            self._on_finished(ended.job)

    async def _finish_batch(self, batch: list[Ended], slots: asyncio.Semaphore) -> None:
        ways = self._sorter.sort(batch)
        released = False
        try:
            await self._prepare(batch, ways)
            to_signal = await self._store_outcomes(ways.waited) if ways.waited else []
            # The next steps wait for Temporal, or for the table of dead letters. In the meantime the next batch may use
            # the database.
            slots.release()
            released = True
            self._delivering += len(batch)
            async with asyncio.TaskGroup() as group:
                if to_signal:
                    group.create_task(self._run_signals.send(to_signal))
                if ways.dead:
                    group.create_task(self._bury(ways.dead))
                if ways.tasks:
                    group.create_task(self._task_ends.complete(ways.tasks))
                if ways.plain:
                    group.create_task(self._delete([ended.job for ended in ways.plain]))
            self._metrics.batch_finished(len(batch), (ended.job for ended in ways.final))
        finally:
            if released:
                self._delivering -= len(batch)
            else:
                slots.release()

    async def _prepare(self, batch: Sequence[Ended], ways: Ways) -> None:
        """Do what comes before the outcomes, and sort what the database must sort."""
        if asked := [ended.job.held for ended in batch if ended.job.asked_for_client]:
            await self._write(lambda db: self._table.leave_to_signal(db, asked))
        if ways.overdue:
            await self._sort_overdue(ways)
        if ways.snoozed:
            rows = [NextAttempt(*job.held, delay // _MILLISECOND, None, job.attempt - 1) for job, delay in ways.snoozed]
            await self._write(lambda db: self._table.retry(db, rows))
        if ways.unknown:
            await self._sorter.sort_unknown(ways, self._served_types)
        if ways.retries:
            await self._retry(ways.retries)
        if ways.asynchronous:
            await self._left_open.leave([ended.job for ended in ways.asynchronous], self._write)

    async def _sort_overdue(self, ways: Ways) -> None:
        held = [ended.job.held for ended in ways.overdue]
        stored = await self._write(lambda db: self._table.last_failures(db, held))
        for ended in ways.overdue:
            last_failure = await self._forms.failure_in(ended.job, stored.get(ended.job.job_id))
            self._sorter.sort_overdue(ended, last_failure, ways)

    async def _store_outcomes(self, waited: Sequence[tuple[Ended, Outcome]]) -> list[tuple[Job, Outcome]]:
        """Store outcomes that an enqueuer waits for inline. Return those that must be signalled."""
        by_id = {ended.job.job_id: (ended, outcome) for ended, outcome in waited}
        encoded = await self._forms.of_all(list(by_id.values()))
        inline: list[AttemptOutcome] = []
        rest: list[tuple[str, int]] = []
        for (ended, outcome), result in zip(by_id.values(), encoded, strict=True):
            job = ended.job
            if job.row.has_waiter:
                inline.append(AttemptOutcome._make((job.job_id, job.fencing_token, outcome.status, result)))
            else:
                rest.append(job.held)
        if inline:
            stored = await self._write(lambda db: self._table.store_outcomes(db, inline))
            rest += [(row.job_id, row.fencing_token) for row in inline if row.job_id not in stored]
        unwaited: set[str] = set()
        if rest:
            unwaited = await self._write(lambda db: self._table.unwaited(db, rest))
            self._count_fenced(len(rest) - len(unwaited))
        return [(ended.job, outcome) for job_id, (ended, outcome) in by_id.items() if job_id in unwaited]

    async def _bury(self, dead: Sequence[tuple[Ended, Outcome, Reason]]) -> None:
        """Store dead letters. If that table can't be written, other outcomes do not wait for it."""
        async with self._burying:
            to_signal = await self._store_dead_letters(dead)
        if to_signal:
            await self._run_signals.send(to_signal)

    async def _store_dead_letters(self, dead: Sequence[tuple[Ended, Outcome, Reason]]) -> list[tuple[Job, Outcome]]:
        rows = []
        for ended, outcome, reason in dead:
            job = ended.job
            error = error_type(ended.failure) if ended.failure is not None else ""
            encoded = await self._forms.of(job, outcome)
            rows.append(
                NewDeadLetter(job.job_id, job.fencing_token, outcome.status.value, encoded, reason.value, error)
            )
        has_waiter = await self._write(lambda db: dead_letters.store_dead_letters(db, self._table, rows))
        for ended, _, reason in dead:
            job = ended.job
            if job.job_id in has_waiter:
                self._metrics.dead_letters.labels(reason.value).inc()
                _log.warning(
                    "dead_letter_stored",
                    extra={"job_id": job.job_id, "job_type": job.job_type, "reason": reason.value},
                )
        self._count_fenced(len(dead) - len(has_waiter))
        return [(ended.job, outcome) for ended, outcome, _ in dead if has_waiter.get(ended.job.job_id) is False]

    async def _keep(self, outcomes: Sequence[tuple[Job, Outcome]], *, delivered: bool = False) -> None:
        """Store outcomes for the signaller, or for a second enqueue, so that no handler runs again because of them."""
        kept = [
            AttemptOutcome(*job.held, outcome.status, await self._forms.of(job, outcome)) for job, outcome in outcomes
        ]
        await self._write(lambda db: self._table.keep_outcomes(db, kept, delivered=delivered))

    async def _served_types(self) -> set[str]:
        return await self._write(lambda db: leases.served_types(db, self._table.queue))

    async def _retry(self, retries: Sequence[tuple[Ended, timedelta, Failure]]) -> None:
        beats = await self._activity_tasks.last_details([ended.job for ended, _, _ in retries])
        if beats:
            await self._write(lambda db: self._table.heartbeat(db, beats))
        rows = []
        for ended, delay, failure in retries:
            # Before the row is free: the message of the next attempt may come before this batch is finished.
            self._forget(ended)
            encoded = None
            if not is_stored(ended):
                last = Outcome(OutcomeStatus.FAILED, failure.SerializeToString())
                encoded = await self._forms.of(ended.job, last)
            rows.append(next_attempt(ended, delay, encoded))
        scheduled = await self._write(lambda db: self._table.retry(db, rows))
        self._count_fenced(len(rows) - len(scheduled))
        self._metrics.retries.inc(len(scheduled))

    async def _delete(self, jobs: Sequence[Job]) -> None:
        held = [job.held for job in jobs]
        await self._write(lambda db: self._table.delete_held(db, held))

    async def offer_refused(self, job_types: Sequence[str]) -> None:
        """Have jobs of these types offered again at once that other workers refused for want of a handler or a key."""
        for reason in (Reason.UNKNOWN_TYPE, Reason.LOCKED):
            await self._write(partial(self._table.offer_refused, job_types=job_types, reason=reason))

    async def release(self, jobs: Sequence[Job], lease_id: int) -> None:
        """Give jobs back, so that other workers take them at once. The broken-off attempts do not count."""
        if jobs:
            job_ids = [job.job_id for job in jobs]
            await self._write(lambda db: self._table.release(db, job_ids, lease_id))

    def _count_fenced(self, count: int) -> None:
        if count > 0:
            self._metrics.fenced.inc(count)

    async def _write(self, statement: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a statement, and repeat it until the server takes it. The fencing token makes the repetition harmless.

        Raises:
            psycopg.Error: a value of the statement is bad.
        """
        return await until_taken(self._pool, self._database, statement)
