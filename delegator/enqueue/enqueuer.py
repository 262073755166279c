"""Inserts jobs idempotently. Concurrent requests share a commit."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from datetime import timedelta
from types import TracebackType
from typing import Self

import psycopg
from prometheus_client import CollectorRegistry
from temporalio.exceptions import ApplicationError

from delegator.enqueue.metrics import EnqueueMetrics
from delegator.errors import DatabaseError, first_line
from delegator.postgres.connections import DatabaseAddress, Pool, connection_pool
from delegator.postgres.error_classes import ErrorClass, classify, without_values
from delegator.postgres.queue_table import NewJob, QueueTable
from delegator.runtime.backoff import Backoff
from delegator.runtime.batching import Batcher
from delegator.runtime.startup import Listener

GATHER = timedelta(milliseconds=100)
"""How long jobs gather by default in a worker that is short of processor time."""

ENQUEUE_PATIENCE = timedelta(seconds=1)
"""How long a workflow task waits for a connection. Then it is closed, and a timer begins the next attempt."""

_LOCK_LIMIT = timedelta(seconds=3)
"""How long a statement of a workflow task waits for a lock. Then the task is closed, too: it uses a slot of the worker
that the workflows of other queues need."""

_MAX_BATCH = 4_000
_PARALLEL = 2
_EXPECT_REPEATS_SECONDS = 60.0  # after one job was in the queue already, others probably are


def enqueue_pool(
    address: str | DatabaseAddress, *, size: int, queues: int, silence: timedelta
) -> AbstractAsyncContextManager[Pool]:
    """Return the pool of a Temporal worker that enqueues.

    Args:
        address: of the database.
        size: largest number of connections that a queue uses.
        queues: how many queues there are.
        silence: how long packets may stay unacknowledged before a connection counts as lost.
    """
    return connection_pool(
        address,
        application_name="delegator plugin",
        size=size,
        queues=queues,
        silence=silence,
        lock_limit=_LOCK_LIMIT,
        by_key=True,
    )


class Enqueuer:
    """Inserts jobs of all queues. Concurrent calls share a commit. Use as an async context manager."""

    def __init__(
        self,
        pool: Pool,
        tables: Sequence[QueueTable],
        namespace: str | None,
        state: Listener | None = None,
        gather: Callable[[], float] = lambda: 0.0,
        *,
        patience: timedelta | None = None,
        metrics: EnqueueMetrics | None = None,
    ) -> None:
        """Prepare the enqueuer.

        Args:
            pool: connections.
            tables: the declared queues' tables.
            namespace: the Temporal namespace whose workflows wait for the outcomes.
            state: gets the health of the database connection.
            gather: returns for how many seconds a small batch may wait for more jobs.
            patience: how long `enqueue` waits while the database can't be asked; None: as long as it takes, also for a
                table that is locked.
            metrics: this process's series; None: they are shown nowhere.
        """
        self._metrics = metrics or EnqueueMetrics(CollectorRegistry())
        self._pool = pool
        self._namespace = namespace
        self._state = state
        self._gather = gather
        self._patience = patience
        self._asking: Counter[str] = Counter()
        self._tables = {table.queue: table for table in tables}
        self._repeats_until = 0.0
        self._batchers: dict[str, Batcher[NewJob, bool | psycopg.Error]] = {}
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self._patience is not None:
            watch = asyncio.create_task(self._watch(self._patience.total_seconds()), name="enqueue-watch")
            self._exits.push_async_callback(_ended, watch)
        for table in self._tables.values():
            batcher: Batcher[NewJob, bool | psycopg.Error] = Batcher(
                lambda jobs, table=table: self._insert(table, jobs),  # type: ignore[misc]
                max_items=_MAX_BATCH,
                parallel=_PARALLEL,
                gather=self._gather,
            )
            self._batchers[table.queue] = await self._exits.enter_async_context(batcher)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def table(self, queue: str) -> QueueTable:
        """Return the table of a declared queue.

        Raises:
            ApplicationError: the queue is not declared here. Temporal retries it: a roll-out may declare the queue.
        """
        table = self._tables.get(queue)
        if table is None:
            raise ApplicationError(
                f"queue {queue!r} is not declared: add it to DELEGATOR_QUEUES and run `delegator migrate`",
                type="UnknownQueue",
            )
        return table

    async def enqueue(self, queue: str, jobs: Sequence[NewJob]) -> Sequence[bool]:
        """Insert jobs, and return for each whether it is new. It waits while the database does not answer.

        Raises:
            ApplicationError: the queue is not declared, a privilege or a table is missing, or a job's own values are
                refused. Temporal retries all but the last.
            DatabaseError: with a patience: there was no connection for as long as it lasts, or the queue's table stayed
                locked. Another attempt inserts what this one has not.
        """
        self.table(queue)
        began = time.monotonic()
        results = await self._batchers[queue].submit(jobs)
        self._metrics.seconds.labels(queue).observe(time.monotonic() - began)
        for result in results:
            if isinstance(result, psycopg.Error):
                raise ApplicationError(
                    f"PostgreSQL refuses the values of a job: {without_values(result)}",
                    type="RefusedRow",
                    non_retryable=True,
                )
        return results  # type: ignore[return-value]

    async def _watch(self, patience_seconds: float) -> None:
        """Send the callers of a queue away while there is no connection for it.

        Never while a statement runs: it may succeed after its caller has gone, and the jobs would run twice.
        """
        while True:
            await asyncio.sleep(patience_seconds / 4)
            for queue, batcher in self._batchers.items():
                if not self._asking[queue] and batcher.stalled_seconds > patience_seconds:
                    batcher.give_up(
                        DatabaseError(
                            f"no connection to PostgreSQL for queue {queue!r}: it can't be reached "
                            "(DELEGATOR_DATABASE_URL), or the queue's table is locked"
                        )
                    )

    async def _insert(self, table: QueueTable, jobs: Sequence[NewJob]) -> Sequence[bool | psycopg.Error]:
        """Insert a batch. If it holds a bad row, insert its halves, so that only the bad row gets the error."""
        backoff = Backoff()
        while True:
            try:
                async with self._pool.share(table.queue).connection() as connection:
                    repeats = time.monotonic() < self._repeats_until
                    self._asking[table.queue] += 1
                    try:
                        new = await table.insert(connection, self._namespace, jobs, repeats=repeats)
                    finally:
                        self._asking[table.queue] -= 1
                if self._state is not None:
                    self._state.restored()
                self._metrics.batch.labels(table.queue).observe(len(jobs))
                self._metrics.jobs.labels(table.queue).inc(len(new))
                if len(new) < len(jobs):
                    self._metrics.known.labels(table.queue).inc(len(jobs) - len(new))
                    self._repeats_until = time.monotonic() + _EXPECT_REPEATS_SECONDS
                return [job.job_id in new for job in jobs]
            except psycopg.Error as error:
                error_class = classify(error)
                self._metrics.failures.labels(error_class.value).inc()
                if isinstance(error, psycopg.errors.LockNotAvailable) and self._patience is not None:
                    raise DatabaseError(f"queue {table.queue!r} is locked: {first_line(error)}") from None
                if error_class is ErrorClass.DATA:
                    if len(jobs) == 1:
                        return [error]
                    half = len(jobs) // 2
                    return [*await self._insert(table, jobs[:half]), *await self._insert(table, jobs[half:])]
                if self._state is not None:
                    self._state.lost(first_line(error))
                if error_class is ErrorClass.REFUSED:
                    raise ApplicationError(
                        f"PostgreSQL refuses to enqueue: {first_line(error)}", type=type(error).__name__
                    ) from None
                await backoff.sleep()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
