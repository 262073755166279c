"""Finishing in batches: an outcome that is refused delays no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from delegator.completion.failures import failure_of
from delegator.postgres.queue_table import AttemptOutcome
from http_workers.attempt import Ended
from http_workers.finisher import Finisher
from http_workers.job import Job
from tests.support.claims import claimed

POISON = b"poison"


class Codec(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if any(payload.data == POISON for payload in payloads):
            raise ValueError("the key service refuses")
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)


class Pool:
    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield None


class Table:
    name = "custom_task_queue"
    queue = "default"

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.snooze: list[tuple[Any, ...]] = []

    async def store_outcomes(self, connection: Any, outcomes: Sequence[AttemptOutcome]) -> set[str]:
        ids = [job.job_id for job in outcomes]
        self.stored += ids
        return set(ids)

    async def retry(self, connection: Any, failed: Sequence[tuple[Any, ...]]) -> set[str]:
        self.snooze += failed
        return {job[0] for job in failed}


def ended(job_id: str, data: bytes) -> Ended:
    job = Job(claimed(job_id, has_waiter=True, workflow_id="w"))
    return Ended(job, result=Payloads(payloads=[Payload(data=data)]).SerializeToString())


async def test_codec_refuses():
    """An outcome that the codec refuses is snoozed alone; the other outcomes of its batch are stored."""
    table, finished = Table(), []
    finisher = Finisher(
        pool=Pool(),  # type: ignore[arg-type]
        table=table,  # type: ignore[arg-type]
        signals=Mock(),
        activity_tasks=Mock(),
        codec=Codec(),
        identity="i",
        metrics=Mock(),
        state=Mock(),
        on_finished=lambda job: finished.append(job.job_id),
    )
    for job_id, data in (("a", b"1"), ("b", POISON), ("c", b"3")):
        finisher.add(ended(job_id, data))
    running = asyncio.create_task(finisher.run())
    async with asyncio.timeout(60):
        await finisher.flush()
    running.cancel()
    await asyncio.wait([running])
    assert sorted(table.stored) == ["a", "c"]
    assert [(job[0], job[3]) for job in table.snooze] == [("b", None)]
    assert sorted(finished) == ["a", "b", "c"]


@pytest.mark.parametrize(("category", "level"), [("UNSPECIFIED", logging.WARNING), ("BENIGN", logging.DEBUG)])
def test_failure_log_level(category: str, level: int, caplog: pytest.LogCaptureFixture):
    """An ordinary failure is logged as a warning and a benign one below it; neither line holds the message."""
    caplog.set_level(logging.DEBUG)
    error = ApplicationError("a secret", type="Busy", category=ApplicationErrorCategory[category])
    failure = failure_of(error, DataConverter.default)
    Finisher._log_failure(ended("a", b"1").job, failure)
    (record,) = caplog.records
    assert (record.levelno, vars(record)["error"]) == (level, "Busy")
    assert "a secret" not in caplog.text
