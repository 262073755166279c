"""Finishing in batches: an outcome that is refused delays no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from delegator.completion.failures import failure_of
from delegator.postgres.queue_table import AttemptOutcome
from http_workers.attempt import Ended
from http_workers.failure_log import log_failure
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

    async def delete_held(self, connection: Any, held: Sequence[tuple[str, int]]) -> None:
        pass

    async def retry(self, connection: Any, failed: Sequence[tuple[Any, ...]]) -> set[str]:
        self.snooze += failed
        return {job[0] for job in failed}


def ended(job_id: str, data: bytes) -> Ended:
    job = Job(claimed(job_id, has_waiter=True, workflow_id="w"))
    return Ended(job, result=Payloads(payloads=[Payload(data=data)]).SerializeToString())


def made(table: Table, on_finished: Callable[[Job], None] = lambda job: None) -> Finisher:
    return Finisher(
        pool=Pool(),  # type: ignore[arg-type]
        table=table,  # type: ignore[arg-type]
        signals=Mock(),
        activity_tasks=AsyncMock(hurry=Mock()),
        codec=Codec(),
        identity="i",
        metrics=Mock(),
        database=Mock(),
        on_finished=on_finished,
        refusal_grace=timedelta(days=1),
    )


async def test_codec_refuses():
    """An outcome that the codec refuses is snoozed alone; the other outcomes of its batch are stored."""
    table, finished = Table(), []
    finisher = made(table, lambda job: finished.append(job.job_id))
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


def log_failed(error: ApplicationError, *, log_messages: bool) -> None:
    job = Job(claimed("a", has_waiter=True, workflow_id="w"))
    log_failure(job, failure_of(error, DataConverter.default), "tasks.py:12:pack", log_messages=log_messages)


@pytest.mark.parametrize(("category", "level"), [("UNSPECIFIED", logging.WARNING), ("BENIGN", logging.DEBUG)])
def test_failure_log_level(category: str, level: int, caplog: pytest.LogCaptureFixture):
    """An ordinary failure is logged as a warning and a benign one below it, with its place but no message."""
    caplog.set_level(logging.DEBUG)
    error = ApplicationError("a secret", type="Busy", category=ApplicationErrorCategory[category])
    log_failed(error, log_messages=False)
    (record,) = caplog.records
    fields = vars(record)
    assert (record.levelno, fields["error"], fields["at"]) == (level, "Busy", "tasks.py:12:pack")
    assert "a secret" not in str(fields)


def test_failure_message_on_demand(caplog: pytest.LogCaptureFixture):
    """With DELEGATOR_LOG_MESSAGES the log line of a failure has its message and traceback."""
    try:
        raise ApplicationError("a reason", type="Busy")
    except ApplicationError as error:
        log_failed(error, log_messages=True)
    (record,) = caplog.records
    assert vars(record)["reason"] == "a reason"
    assert "in test_failure_message_on_demand" in vars(record)["traceback"]


async def test_failed_activity_task(caplog: pytest.LogCaptureFixture):
    """The failure of an activity task is logged, too; Temporal alone decides about retries."""
    finisher = made(Table())
    job = Job(claimed("a", task_token=b"token"))
    finisher.add(Ended(job, failure=failure_of(ApplicationError("a secret", type="Busy"), DataConverter.default)))
    running = asyncio.create_task(finisher.run())
    async with asyncio.timeout(60):
        await finisher.flush()
    running.cancel()
    await asyncio.wait([running])
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["error"]) == ("attempt_failed", "Busy")
