"""The signaller: signals stored outcomes that no process waits for.

It may wait for Temporal. The sweeper does not wait for the signaller.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from temporalio.converter import DataConverter, PayloadCodec

from delegator.completion.mailbox import Delivery
from delegator.completion.runs import RunKey
from delegator.completion.signals import SignalSender
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


class Signaller:
    """Delivers outcomes from their rows to workflows, with its own connections."""

    def __init__(
        self,
        queues: Sequence[str],
        *,
        pool: Pool,
        database: DatabaseWatch,
        signals: SignalSender,
        codec: PayloadCodec | None = None,
        converter: DataConverter | None = None,
        metrics: MaintenanceMetrics,
        interval: timedelta = _INTERVAL,
    ) -> None:
        """Prepare the signaller.

        Args:
            queues: the declared queues.
            pool: connections.
            database: gets each success and each error of these connections.
            signals: sends the signals.
            codec: the data converter's codec, for stored outcomes; not needed beside `converter`.
            converter: the data converter.
            metrics: this process's series.
            interval: time between two looks at whole tables, unless `ask` is called.
        """
        self._queues = [MaintenanceStatements(queue) for queue in queues]
        self._pool = pool
        self._database = database
        self._signals = signals
        self._conversions = Conversions(converter or DataConverter(payload_codec=codec))
        self._probes = ProbeReader(codec if converter is None else converter.payload_codec)
        self._metrics = metrics
        self._interval = interval.total_seconds()
        self._asked = asyncio.Event()
        self._snoozed = SnoozedJobs()

    def ask(self) -> None:
        """Look now, because outcomes were stored that no other process delivers."""
        self._asked.set()

    async def run(self) -> None:
        """Deliver outcomes until cancelled."""
        try:
            await self._deliver_repeatedly()
        finally:
            self._database.ended()

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
        """Signal outcomes and delete their rows, until none is left. It waits as long as Temporal does not answer.

        An outcome that can't be read or sent is snoozed: the data converter may be wrong, or its keys not available.

        Args:
            age: an outcome must be stored for this time. Usually the worker that stored it also delivers it.
        """
        for queue in self._queues:
            while undelivered := await self._undelivered_outcomes(queue, age):
                delivered = await self._signal(undelivered)
                async with self._pool.connection() as connection:
                    await queue.delete_delivered(connection, delivered)
                self._metrics.delivered.inc(len(delivered))
                if len(delivered) < len(undelivered):
                    self._metrics.snoozed.labels(queue.table.queue).inc(len(undelivered) - len(delivered))
                    self._snoozed.add({row.job_id for row in undelivered} - set(delivered))

    async def _undelivered_outcomes(self, queue: MaintenanceStatements, age: timedelta) -> list[UndeliveredOutcome]:
        async with self._pool.connection() as connection:
            return await queue.undelivered(connection, age, self._snoozed.ids())

    async def _signal(self, undelivered: Sequence[UndeliveredOutcome]) -> list[str]:
        """Signal outcomes. Return the ids of the rows to delete."""
        delivered: list[str] = []
        runs: dict[RunKey, list[tuple[str, Outcome]]] = defaultdict(list)
        for row in undelivered:
            if row.namespace is None or row.workflow_id is None or row.run_id is None:
                delivered.append(row.job_id)
                continue
            problem = row_problem(row.format_version) or await self._probes.problem(row.options)
            if problem is not None:
                _log.error("outcome_unreadable", extra={"job_id": row.job_id, "reason": problem})
                continue
            try:
                outcome = await decode_outcome(row.outcome, row.result, self._conversions.of_row(row).codec)
            except WireError as error:
                _log.error("outcome_unreadable", extra={"job_id": row.job_id, "reason": str(error)})
                continue
            runs[RunKey(row.namespace, row.workflow_id, row.run_id)].append((row.job_id, outcome))
        async with asyncio.TaskGroup() as group:
            for key, outcomes in runs.items():
                group.create_task(self._signal_run(key, outcomes, delivered))
        return delivered

    async def _signal_run(self, key: RunKey, outcomes: Sequence[tuple[str, Outcome]], delivered: list[str]) -> None:
        try:
            delivery = await self._signals.deliver(key, outcomes)
        except Exception as error:  # a codec may raise any error
            _log.error("outcomes_unsendable", extra={"jobs": len(outcomes), "reason": type(error).__name__})
            return
        if delivery is Delivery.ORPHANED:
            self._metrics.orphaned.inc(len(outcomes))
        delivered += [job_id for job_id, _ in outcomes]
