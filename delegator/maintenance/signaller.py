"""The signaller: signals stored outcomes that no process waits for.

It may wait for Temporal. The sweeper does not wait for the signaller.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
from temporalio.converter import DataConverter, PayloadCodec

from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import SignalSender, may_come_again
from delegator.completion.task_outcomes import TaskOutcomes
from delegator.errors import WireError
from delegator.maintenance.metrics import MaintenanceMetrics
from delegator.maintenance.snoozed import SnoozedJobs
from delegator.postgres.connections import Pool
from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.queue_maintenance import MaintenanceStatements, UndeliveredOutcome
from delegator.runtime.cancellation import run_apart
from delegator.wire.codec import decode_outcome
from delegator.wire.contexts import Conversions
from delegator.wire.outcomes import Outcome
from delegator.wire.probe import ProbeReader
from delegator.wire.rows import row_problem

_log = logging.getLogger(__name__)
_INTERVAL = timedelta(seconds=15)
_AGE = timedelta(seconds=1)
_TOGETHER_SECONDS = 1.0
_NO_RUN = ""
_MOST_LATE_RUNS = 500
"""A namespace with so many runs whose signals Temporal does not take is left alone until it takes some."""


@dataclass(frozen=True)
class _Sent:
    """What became of the outcomes of a run."""

    delivered: list[str] = field(default_factory=list)
    """Jobs whose rows are not needed any more."""
    late: list[str] = field(default_factory=list)
    """Delivered ones whose rows are kept: the run may enqueue these jobs again, without having seen the signal."""


class Signaller:
    """Delivers outcomes of one queue from their rows to workflows. A queue that is locked delays no other one."""

    def __init__(
        self,
        queue: str,
        *,
        pool: Pool,
        database: DatabaseWatch,
        signals: SignalSender,
        tasks: TaskOutcomes | None = None,
        codec: PayloadCodec | None = None,
        converter: DataConverter | None = None,
        metrics: MaintenanceMetrics,
        interval: timedelta = _INTERVAL,
    ) -> None:
        """Prepare the signaller.

        Args:
            queue: the queue.
            pool: connections.
            database: gets each success and each error of these connections.
            signals: sends the signals.
            tasks: completes activity tasks; None: there are none.
            codec: the data converter's codec, for stored outcomes; not needed beside `converter`.
            converter: the data converter.
            metrics: this process's series.
            interval: time between two looks at whole tables, unless `ask` is called.
        """
        self._queue = MaintenanceStatements(queue)
        self._pool = pool.share(queue)
        self._database = database
        self._signals = signals
        self._conversions = Conversions(converter or DataConverter(payload_codec=codec))
        self._probes = ProbeReader(codec if converter is None else converter.payload_codec)
        self._metrics = metrics
        self._interval = interval.total_seconds()
        self._asked = asyncio.Event()
        self._snoozed = SnoozedJobs()
        self._tasks = tasks
        self._late: dict[RunKey, asyncio.Task[None]] = {}
        """Runs whose outcomes Temporal does not take now. The others do not wait for them."""

    def ask(self) -> None:
        """Look now, because outcomes were stored that no other process delivers."""
        self._asked.set()

    async def run(self) -> None:
        """Deliver outcomes until cancelled."""
        try:
            await self._deliver_repeatedly()
        finally:
            await self.stop()
            self._database.ended()

    async def stop(self) -> None:
        """Leave what Temporal does not take now in its rows."""
        late = list(self._late.values())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _deliver_repeatedly(self) -> None:
        age = _AGE
        while True:
            try:
                await run_apart(self.deliver(age))
            except Exception as error:
                await self._database.failed(error)
                continue
            self._database.works()
            age = timedelta(0)
            try:
                async with asyncio.timeout(self._interval):
                    await self._asked.wait()
            except TimeoutError:
                age = _AGE
            self._asked.clear()

    async def deliver(self, age: timedelta) -> None:
        """Signal outcomes and delete their rows, until none is left but those that Temporal does not take now.

        An outcome that can't be read or sent is snoozed: the data converter may be wrong, or its keys not available.

        Args:
            age: an outcome must be stored for this time. Usually the worker that stored it also delivers it.
        """
        while undelivered := await self._undelivered_outcomes(age):
            await self._deliver(undelivered)

    async def _undelivered_outcomes(self, age: timedelta) -> list[UndeliveredOutcome]:
        counts = Counter(key.namespace for key in self._late)
        late_jobs = [key.workflow_id for key in self._late if key.run_id is _NO_RUN]
        async with self._pool.connection() as connection:
            return await self._queue.undelivered(
                connection,
                age,
                [*self._snoozed.ids(), *late_jobs],
                [key.run_id for key in self._late if key.run_id is not _NO_RUN],
                [namespace for namespace, count in counts.items() if count >= _MOST_LATE_RUNS],
            )

    async def _deliver(self, undelivered: Sequence[UndeliveredOutcome]) -> None:
        runs: dict[RunKey, list[UndeliveredOutcome]] = defaultdict(list)
        unwaited: list[str] = []
        for row in undelivered:
            if row.namespace is not None and row.workflow_id is not None and row.run_id is not None:
                runs[RunKey(row.namespace, row.workflow_id, row.run_id)].append(row)
            elif row.namespace is not None and row.task_token is not None:  # an activity that no workflow has called
                runs[RunKey(row.namespace, row.job_id, _NO_RUN)].append(row)
            else:
                unwaited.append(row.job_id)
        sending = {asyncio.create_task(self._deliver_run(key, rows)): (key, rows) for key, rows in runs.items()}
        try:
            if sending:
                await asyncio.wait(sending, timeout=_TOGETHER_SECONDS)
        except BaseException:
            for task in sending:
                task.cancel()
            raise
        ended: list[UndeliveredOutcome] = []
        sent = [_Sent(unwaited)]
        for task, (key, rows) in sending.items():
            if task.done():
                ended += rows
                sent.append(task.result())
            else:
                self._late[key] = asyncio.create_task(self._wait_for(key, rows, task), name="late-signals")
        await self._end_rows(ended, sent)

    async def _wait_for(
        self,
        key: RunKey,
        rows: Sequence[UndeliveredOutcome],
        sending: asyncio.Task[_Sent],
    ) -> None:
        try:
            await self._end_rows(rows, [await sending])
        except psycopg.Error:
            pass  # they are signalled again, and the workflow ignores them
        finally:
            sending.cancel()
            del self._late[key]
            self.ask()

    async def _end_rows(self, rows: Sequence[UndeliveredOutcome], sent: Sequence[_Sent]) -> None:
        """Delete or keep the rows whose outcomes were delivered, and snooze the others."""
        delivered = [job_id for one in sent for job_id in one.delivered]
        late = [job_id for one in sent for job_id in one.late]
        async with self._pool.connection() as connection:
            await self._queue.delete_delivered(connection, delivered)
            if late:
                await self._queue.keep_delivered(connection, late)
        self._metrics.delivered.inc(len(delivered) + len(late))
        if left := {row.job_id for row in rows}.difference(delivered, late):
            self._metrics.snoozed.labels(self._queue.table.queue).inc(len(left))
            self._snoozed.add(left)

    async def _deliver_run(self, key: RunKey, rows: Sequence[UndeliveredOutcome]) -> _Sent:
        """Deliver the outcomes of one run. It raises nothing."""
        try:
            return await self._send(key, rows)
        except Exception as error:  # a codec may raise any error
            _log.error("outcomes_unsendable", extra={"jobs": len(rows), "reason": type(error).__name__})
            return _Sent()

    async def _send(self, key: RunKey, rows: Sequence[UndeliveredOutcome]) -> _Sent:
        delivered: list[str] = []
        outcomes: list[tuple[str, Outcome]] = []
        for row in rows:
            problem = row_problem(row.format_version) or await self._probes.problem(row.options)
            if problem is not None:
                _log.error("outcome_unreadable", extra={"job_id": row.job_id, "reason": problem})
                continue
            codec = self._conversions.of_row(row).codec
            try:
                if row.task_token is None:
                    outcomes.append((row.job_id, await decode_outcome(row.outcome, row.result, codec)))
                elif self._tasks is not None:
                    await self._tasks.deliver(key.namespace, row.task_token, row.outcome, row.result, codec)
                    delivered.append(row.job_id)
            except WireError as error:
                _log.error("outcome_unreadable", extra={"job_id": row.job_id, "reason": str(error)})
        try:
            delivery = await self._signals.deliver(key, outcomes)
        except Exception as error:  # a codec may raise any error
            _log.error("outcomes_unsendable", extra={"jobs": len(outcomes), "reason": type(error).__name__})
            return _Sent(delivered)
        if delivery is Delivery.ORPHANED:
            self._metrics.orphaned.inc(len(outcomes))
        signalled = [job_id for job_id, _ in outcomes]
        late = may_come_again(delivery, key, signalled)
        return _Sent([*delivered, *(job_id for job_id in signalled if job_id not in late)], sorted(late))
