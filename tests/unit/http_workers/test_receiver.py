"""A row is claimed once, however often the stream delivers it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, Mock

from delegator.postgres.queue_table import Claimed
from http_workers.job import Job
from http_workers.options import ClaimMode
from http_workers.receiver import Receiver
from http_workers.receiver_parts import ReceiverParts
from http_workers.slots import Slots
from http_workers.source import Data, Message, Record
from tests.support.claims import claimed


class Table:
    queue = "default"

    def __init__(self) -> None:
        self.claims: list[list[str]] = []
        self.gate = asyncio.Event()

    async def claim(
        self, connection: Any, wanted: Sequence[Any], *rest: Any, **options: Any
    ) -> tuple[list[Claimed], set[str]]:
        ids = [job_id for job_id, _ in wanted]
        self.claims.append(ids)
        await self.gate.wait()
        return [claimed(job_id, fencing_token=len(self.claims)) for job_id in ids], set()


class Pool:
    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        yield None


def message(job_id: str, ack_id: str) -> Message:
    return Message(ack_id, Data(Record(job_id, 1)))


async def test_second_delivery():
    """A message that is delivered again while its row is claimed is acked, and not claimed again."""
    table, slots = Table(), Slots(10)
    acked: list[str] = []
    started: dict[str, Job] = {}
    parts = ReceiverParts(
        source=Mock(),
        acknowledge=acked.extend,
        pool=Pool(),  # type: ignore[arg-type]
        lease=Mock(lease_id=7, has_pauses=False),
        slots=slots,
        metrics=Mock(),
        stream_state=Mock(),
        database=Mock(),
        wait=timedelta(seconds=1),
        held=started,
        start=lambda job: started.update({job.job_id: job}),
        give_up=AsyncMock(),
    )
    receiver = Receiver(parts, table=table, claim_mode=ClaimMode.LEASE)  # type: ignore[arg-type]
    reserved = await slots.reserve(4)
    assert reserved == 4
    takes = [
        asyncio.create_task(receiver._take([message("a", "1"), message("b", "2")])),
        asyncio.create_task(receiver._take([message("a", "3"), message("c", "4")])),
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    table.gate.set()
    await asyncio.gather(*takes)
    assert table.claims == [["a", "b"], ["c"]]
    assert sorted(started) == ["a", "b", "c"] and started["a"].fencing_token == started["b"].fencing_token
    assert sorted(acked) == ["1", "2", "3", "4"]
    assert await slots.reserve(10) == 7
