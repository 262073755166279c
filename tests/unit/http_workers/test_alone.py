"""A job whose workers died again and again runs alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.converter import DataConverter

from delegator.wire.lost_attempts import lost_in_a_row
from http_workers.attempt import AttemptRunner, Ended
from http_workers.job import Job
from http_workers.job_pool import JobPool
from http_workers.limits import TypeLimits
from http_workers.metrics import WorkerMetrics
from http_workers.slots import Slots
from tests.support.claims import claimed


class Finisher:
    """Keeps what has ended until the test finishes it."""

    backlog = 0

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    @property
    def is_idle(self) -> bool:
        return not self.ended

    def add(self, ended: Ended) -> None:
        self.ended.append(ended)

    def finish(self, jobs: JobPool) -> None:
        for ended in self.ended:
            jobs.finished(ended.job)
        self.ended.clear()


class Worker:
    """A pool whose attempts end when the test says so."""

    def __init__(self) -> None:
        metrics = WorkerMetrics(CollectorRegistry())
        runner: Any = AttemptRunner({}, DataConverter.default, "default", metrics)
        runner.run = self._run
        self.slots, self.finisher = Slots(8), Finisher()
        self.jobs = JobPool(runner, TypeLimits({}), self.slots, metrics)
        self.begun: list[str] = []
        self.may_end: dict[str, asyncio.Event] = {}

    async def _run(self, job: Job) -> Ended:
        self.begun.append(job.job_id)
        await self.may_end.setdefault(job.job_id, asyncio.Event()).wait()
        return Ended(job, result=b"")

    async def take(self, job_id: str, lost: int = 0) -> None:
        self.slots._free -= 1
        options = json.dumps({"attempts": [{"error": "WorkerLost", "attempt": n + 1} for n in range(lost)]})
        self.jobs.start(Job(claimed(job_id, attempt=lost + 1, options=options)), self.finisher)  # type: ignore[arg-type]
        await asyncio.sleep(0)

    async def end(self, job_id: str) -> None:
        task = self.jobs.held[job_id].task
        assert task is not None
        self.may_end[job_id].set()
        await task

    async def has_begun(self, *job_ids: str) -> None:
        async with asyncio.timeout(10):
            while self.begun != list(job_ids):
                await asyncio.sleep(0.001)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    yield worker
    running = [job.task for job in worker.jobs.held.values() if job.task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_suspect_is_alone(worker: Worker) -> None:
    """It begins when the others have ended and their ends are written. Nobody gets a slot until it has ended."""
    await worker.take("other")
    await worker.take("suspect", lost=2)
    assert not worker.slots.is_open
    await worker.end("other")
    worker.jobs.finished(worker.finisher.ended[0].job)
    await asyncio.sleep(0.05)
    assert worker.begun == ["other"]  # the end of the other is not written
    worker.finisher.ended.clear()
    await worker.has_begun("other", "suspect")
    await worker.end("suspect")
    assert worker.slots.is_open


async def test_others_are_given_back(worker: Worker) -> None:
    """What was claimed together with a suspect is free again, and its attempt does not count."""
    with worker.slots.claiming():
        for job_id, lost in (("suspect", 2), ("another", 3), ("other", 0), ("once", 1)):
            await worker.take(job_id, lost)
    snoozed = [(ended.job.job_id, ended.snooze is not None) for ended in worker.finisher.ended]
    assert snoozed == [("another", True), ("other", True), ("once", True)]
    assert worker.begun == []
    worker.finisher.finish(worker.jobs)
    await worker.has_begun("suspect")


async def test_claim_on_its_way(worker: Worker) -> None:
    """A suspect does not begin while a claim of this worker is on its way: its jobs would be hit before they begin."""
    with worker.slots.claiming():
        await worker.take("suspect", lost=2)
        await asyncio.sleep(0.05)
        assert worker.begun == []
    await worker.has_begun("suspect")


async def test_wait_is_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another job runs on, the suspect begins beside it in the end. After a while others may begin beside both."""
    monkeypatch.setattr("http_workers.alone._FIRST_PATIENCE", timedelta(milliseconds=20))
    await worker.take("other")
    await worker.take("suspect", lost=2)
    await worker.has_begun("other", "suspect")
    async with asyncio.timeout(10):
        await worker.slots.reserve(1)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        (["WorkerLost", "WorkerLost"], 2),
        (["WorkerLost", "ValueError"], 0),
        (["WorkerLost", "ValueError", "WorkerLost"], 1),
        ([], 0),
    ],
)
def test_only_the_last_count(errors: list[str], expected: int) -> None:
    assert lost_in_a_row(json.dumps({"attempts": [{"error": error} for error in errors]})) == expected


@pytest.mark.parametrize("options", [None, "{}", '"WorkerLost"', '{"attempts": "WorkerLost"}', '{"WorkerLost"'])
def test_odd_options_say_nothing(options: str | None) -> None:
    assert lost_in_a_row(options) == 0
