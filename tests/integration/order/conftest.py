"""An engine whose default queue is ordered, and workers inside the test's process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import orjson
import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.common import Priority
from temporalio.converter import DataConverter

from delegator.contracts import JobOptions
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from delegator.wire.options import encode_options
from http_workers import HttpWorker
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.support import Databases


class OrderedEngine:
    """An engine without workers, and what a test does with it."""

    def __init__(self, engine: Environment) -> None:
        self.engine = engine
        self._numbers = itertools.count()

    def worker(self, *handlers: Any, concurrency: int = 1) -> AbstractAsyncContextManager[HttpWorker]:
        return HttpWorker(handlers, concurrency=concurrency, settings=self.engine.settings, grace=timedelta(seconds=5))

    async def enqueue(
        self,
        job_type: str,
        arguments: Sequence[Any],
        priority: Priority | None = None,
        start_delay: timedelta | None = None,
        *,
        ordered: bool = True,
    ) -> list[str]:
        """Enqueue a plain job for each argument, in one statement; the ids of the jobs.

        Without a priority, an argument that is one is the priority of its job.
        """
        jobs = []
        for argument in arguments:
            own = argument if priority is None and isinstance(argument, Priority) else priority
            options = encode_options(JobOptions(priority=own, start_delay=start_delay))
            text = orjson.dumps(options).decode() if options else None
            value = argument.fairness_key if isinstance(argument, Priority) else argument
            job_id = f"{job_type}-{next(self._numbers):06}"
            jobs.append(NewJob(job_id, job_type, encoded(value), None, text, *[None] * 5))
        async with await connect(self.engine.settings.database_url.get_secret_value(), application_name="test") as db:
            await QueueTable("default", ordered=ordered).insert(db, None, jobs)
        return [job.job_id for job in jobs]

    async def emptied(self) -> None:
        await self.engine.nothing_left()

    async def eventually(self, probe: Callable[[], Awaitable[Any]]) -> Any:
        return await eventually(probe)


def encoded(argument: Any) -> bytes:
    return Payloads(payloads=DataConverter.default.payload_converter.to_payloads([argument])).SerializeToString()


@pytest.fixture(scope="package")
async def ordered_environment(databases: Databases, temporal: TemporalServer) -> AsyncIterator[OrderedEngine]:
    async with environment(databases, temporal, http_worker=False, ordered=("default",)) as engine:
        yield OrderedEngine(engine)


@pytest.fixture
async def ordered(
    ordered_environment: OrderedEngine, temporal: TemporalServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[OrderedEngine]:
    """The engine; nothing may be left in its queue when the test ends."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal.address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", NAMESPACE)
    yield ordered_environment
    await ordered_environment.emptied()


async def until(condition: Any) -> None:
    """Wait until a plain function returns something true."""

    async def probe() -> Any:
        await asyncio.sleep(0)
        return condition()

    await eventually(probe)
