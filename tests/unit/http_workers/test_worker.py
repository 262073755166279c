"""The worker object, without servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

import http_workers.worker
from delegator import delegated
from delegator.contracts import collect_handlers
from delegator.errors import ConfigurationError, DatabaseError
from http_workers import HttpWorker
from http_workers.options import WorkerOptions
from http_workers.pool import types_served


@delegated
async def nothing() -> None: ...


@delegated
def in_thread() -> None: ...


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put something else in the place of the pool."""

    def use(function: Callable[..., Any]) -> None:
        async def run(
            options: Any, settings: Any, declared: Any, surroundings: Any, stop: Any, started: Any, **_: Any
        ) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(function(stop, started))

        monkeypatch.setattr(http_workers.worker, "serve", run)

    return use


@delegated(queue="video")
async def encode() -> None: ...


def test_types_served() -> None:
    """A worker names the types of its own queue, though it was given others."""
    handlers = collect_handlers([nothing, encode])
    assert (types_served(handlers, "default"), types_served(handlers, "video")) == (["nothing"], ["encode"])


async def test_worker_fails(serve: Any) -> None:
    """A worker that fails cancels the block and raises its error; the task that held the block goes on."""

    async def fails_soon(stop: asyncio.Event, started: Callable[[], None]) -> None:
        started()
        await asyncio.sleep(0)
        raise DatabaseError("gone")

    serve(fails_soon)
    with pytest.raises(DatabaseError, match="gone"):
        async with HttpWorker([nothing]):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None and not task.cancelling()


async def test_block_fails(serve: Any) -> None:
    """An error of the block stops the worker and is raised unchanged."""
    stopped = []

    async def until_stopped(stop: asyncio.Event, started: Callable[[], None]) -> None:
        started()
        await stop.wait()
        stopped.append(True)

    serve(until_stopped)
    with pytest.raises(ZeroDivisionError):
        async with HttpWorker([nothing]):
            raise ZeroDivisionError
    assert stopped == [True]


async def test_start_is_cancelled(serve: Any) -> None:
    """A start that is cancelled stops the worker."""
    stopped = []

    async def never_starts(stop: asyncio.Event, started: Callable[[], None]) -> None:
        await stop.wait()
        stopped.append(True)

    serve(never_starts)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), HttpWorker([nothing]):
            raise AssertionError("it has started")
    assert stopped == [True]


async def test_run_raises(serve: Any) -> None:
    """run() raises the error of a worker that fails."""

    async def fails(stop: asyncio.Event, started: Callable[[], None]) -> None:
        raise DatabaseError("gone")

    serve(fails)
    worker = HttpWorker([nothing], grace=timedelta(0))
    with pytest.raises(DatabaseError, match="gone"):
        await worker.run()
    await worker.shutdown()
    assert await worker.health.problems() == dict.fromkeys(("stream", "postgresql", "temporal"), "has not answered yet")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activity_executor": ProcessPoolExecutor(1)}, "ProcessPoolExecutor can't run handlers"),
        ({"activity_executor": ThreadPoolExecutor(1), "threads": 2}, "give one of the two"),
        ({"threads": 0}, "threads 0: must be from 1"),
        ({"interceptors": [object()]}, "builtins.object is no temporalio.worker.Interceptor"),
    ],
)
def test_refused_options(options: dict[str, Any], message: str) -> None:
    """What a worker can't use is refused when it is made."""
    with pytest.raises(ConfigurationError, match=message):
        HttpWorker([nothing], **options)


def test_no_more_slots_than_threads() -> None:
    """A worker whose handlers all need a thread takes no more jobs than it has threads."""
    handlers = collect_handlers([nothing, in_thread])
    options = WorkerOptions(concurrency=10, threads=3)
    assert options.for_handlers({"in_thread": handlers["in_thread"]}).concurrency == 3
    assert options.for_handlers(handlers).concurrency == 10
