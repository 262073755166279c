"""Waits for the results of plain jobs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload

import psycopg
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter

from delegator.config import Settings
from delegator.contracts import DelegatedType
from delegator.errors import ConfigurationError, DatabaseError, WireError
from delegator.postgres.connections import DatabaseAddress, Pool, connect, connection_pool
from delegator.postgres.queue_results import KeptOutcome, ResultStatements, listen_for_results
from delegator.runtime.backoff import Backoff
from delegator.runtime.temporal_client import load_data_converter
from delegator.wire.codec import decode_outcome
from delegator.wire.contexts import Conversions, row_origin
from delegator.wire.outcomes import OutcomeStatus
from delegator.wire.rows import row_problem
from delegator.workflow.api import type_called

R = TypeVar("R")

_LOOK_EVERY: Final = timedelta(seconds=1)


class JobResults:
    """Waits for the results of plain jobs that were enqueued with `keep_result=True`. Use as an async context manager.

    It has connections of its own, because the application's transaction does not see what others commit.
    """

    def __init__(self, settings: Settings | None = None, data_converter: DataConverter | None = None) -> None:
        """Prepare.

        Args:
            settings: by default read from the environment.
            data_converter: the data converter of the workers; by default what `DELEGATOR_DATA_CONVERTER` names.

        Raises:
            ConfigurationError: a setting is wrong.
        """
        self._settings = settings or Settings.load()
        self._converter = data_converter or load_data_converter(self._settings.data_converter)
        self._conversions = Conversions(self._converter)
        self._address = DatabaseAddress.of(self._settings)
        self._ended: dict[str, asyncio.Event] = {}
        self._callers: dict[str, int] = defaultdict(int)
        self._exits = AsyncExitStack()
        self._pool: Pool | None = None

    async def __aenter__(self) -> Self:
        self._pool = await self._exits.enter_async_context(
            connection_pool(
                self._address, application_name="delegator results", size=2, queues=len(self._settings.queues)
            )
        )
        listener = asyncio.create_task(self._listen(), name="results-listener")
        self._exits.push_async_callback(_stopped, listener)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()
        self._pool = None

    @overload
    async def wait(self, function: Callable[..., Awaitable[R]], /, job_id: str) -> R: ...
    @overload
    async def wait(self, function: Callable[..., R], /, job_id: str) -> R: ...
    @overload
    async def wait(self, function: str, /, job_id: str, *, queue: str | None = None, result_type: type[R]) -> R: ...
    @overload
    async def wait(self, function: str, /, job_id: str, *, queue: str | None = None) -> Any: ...
    async def wait(self, function: Any, /, job_id: str, *, queue: str | None = None, result_type: Any = None) -> Any:
        """Wait until a job has ended, and return its result. `asyncio.timeout` bounds the wait.

        The job must have been committed with `keep_result=True`. Its result is kept for `DELEGATOR_RESULT_RETENTION`.

        Args:
            function: the job's type: what is declared with `@delegated` or `@contract`, or its name.
            job_id: the job's id.
            queue: the queue, for a type given by name.
            result_type: the type of the result, for a type given by name.

        Raises:
            temporalio.exceptions.ActivityError: the job failed or timed out; its cause says why.
            LookupError: there is no such job: it was not committed, or its result was deleted.
            ConfigurationError: the job was enqueued without `keep_result=True`, or `function` is not declared.
            WireError: the outcome can't be read.
        """
        if self._pool is None:
            raise RuntimeError("use JobResults as an async context manager")
        declared = type_called(function, queue, result_type)
        table = ResultStatements(declared.queue)
        ended = self._ended.setdefault(job_id, asyncio.Event())
        self._callers[job_id] += 1
        try:
            while True:
                ended.clear()
                row = await self._read(self._pool, table, job_id)
                if row is None:
                    raise LookupError(
                        f"queue {declared.queue} has no job {job_id!r}: its transaction has not committed, or its "
                        "result was deleted (DELEGATOR_RESULT_RETENTION)"
                    )
                if not row.is_kept:
                    raise ConfigurationError(f"job {job_id!r} keeps no result: enqueue it with keep_result=True")
                if row.outcome is not None:
                    return await self._result(declared, job_id, row)
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY.total_seconds()):
                        await ended.wait()
        finally:
            self._callers[job_id] -= 1
            if not self._callers[job_id]:
                del self._callers[job_id], self._ended[job_id]

    async def _result(self, declared: DelegatedType, job_id: str, row: KeptOutcome) -> Any:
        if (problem := row_problem(row.format_version)) is not None:
            raise WireError(problem)
        conversion = self._conversions.of(
            row_origin(
                job_id=job_id,
                job_type=declared.name,
                namespace=None,
                workflow_id=None,
                run_id=None,
                options=row.options,
            )
        )
        outcome = await decode_outcome(row.outcome or "", row.result or b"", conversion.codec)
        if outcome.status is OutcomeStatus.COMPLETED:
            hints = None if declared.return_type is None else [declared.return_type]
            results = conversion.values.decode(outcome.body, hints)
            return results[0] if results else None
        failure = Failure.FromString(outcome.body)
        converter = conversion.converter
        raise converter.failure_converter.from_failure(failure, converter.payload_converter)

    async def _read(self, pool: Pool, table: ResultStatements, job_id: str) -> KeptOutcome | None:
        backoff = Backoff()
        while True:
            try:
                async with pool.share(table.queue).connection() as connection:
                    return await table.read(connection, job_id)
            except psycopg.errors.UndefinedTable:
                raise ConfigurationError(f"queue {table.queue} has no table: run `delegator migrate`") from None
            except psycopg.OperationalError:
                await backoff.sleep()

    async def _listen(self) -> None:
        backoff = Backoff()
        while True:
            try:
                async with await connect(
                    self._address, application_name="delegator results", session_for="the notifications of results"
                ) as connection:
                    await listen_for_results(connection)
                    backoff.reset()
                    for ended in self._ended.values():
                        ended.set()
                    async for notification in connection.notifies():
                        for job_id in notification.payload.split("\n"):
                            if (ended_job := self._ended.get(job_id)) is not None:
                                ended_job.set()
            except (psycopg.Error, DatabaseError):
                await backoff.sleep()


async def _stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
