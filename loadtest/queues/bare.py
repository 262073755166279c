"""The yardsticks: how fast PostgreSQL, psycopg and one Python process can be with rows like ours.

`bare` inserts, claims and deletes rows of a table like ours, in batches, over a few connections. Every statement is a
transaction of its own, as safe as the queue's. It knows the ids of its rows, so it needs no stream, no search for work
and no locks; it runs nothing and renews no lease. `bare-run` also decodes each job's payload and runs the handler. The
batch size and the number of connections are the fastest ones on two cores.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Final

from delegator_schema.models import queued_job
from delegator_schema.storage import storage_of
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable
from temporalio.converter import DataConverter

from delegator.postgres.connections import Connection, connect
from delegator.wire.values import ValueConverter, is_default
from loadtest.queues.executions import swallow
from loadtest.queues.load import NUMBER_DIGITS, BulkLoad, Mode
from loadtest.results.queue_result import BulkResult

BARE: Final = "bare"
"""Inserts, claims and deletes."""
BARE_RUN: Final = "bare-run"
"""Runs the handler too."""
YARDSTICKS: Final = (BARE, BARE_RUN)
BATCH: Final = 2_000
CONNECTIONS: Final = 3

_CONVERTER: Final = DataConverter.default
_VALUES: Final = ValueConverter(_CONVERTER.payload_converter, is_default=is_default(_CONVERTER))
_TYPE: Final = "loadtest_bulk"
_TABLE: Final = queued_job.name
_INSERT: Final = f"""
INSERT INTO {_TABLE} (job_id, job_type, input)
SELECT job_id, '{_TYPE}', input FROM unnest(%b::text[], %b::bytea[]) AS new (job_id, input)
""".encode()
_CLAIM: Final = f"""
UPDATE {_TABLE} SET lease_id = 1, fencing_token = fencing_token + 1, attempt = attempt + 1
WHERE job_id = ANY(%b::text[]) AND lease_id IS NULL
RETURNING job_id, fencing_token, input
""".encode()
_DELETE: Final = f"DELETE FROM {_TABLE} WHERE job_id = ANY(%b::text[])".encode()


async def create_table(url: str) -> None:
    """Create a table like the queue's, with its indexes and storage settings.

    Args:
        url: of the database.
    """
    table = queued_job
    assert isinstance(table, Table)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    async with await connect(url, application_name="loadtest bare") as connection:
        await connection.execute(str(CreateTable(table).compile(dialect=dialect)).encode())
        for index in table.indexes:
            await connection.execute(str(CreateIndex(index).compile(dialect=dialect)).encode())
        settings = ", ".join(f"{name} = {value}" for name, value in storage_of(_TABLE).parameters)
        await connection.execute(f"ALTER TABLE {_TABLE} SET ({settings})".encode())


async def run_bare(name: str, url: str, load: BulkLoad, advance: Callable[[int], None]) -> BulkResult:
    """Run the load once.

    Args:
        name: which yardstick.
        url: of the database that has the table.
        load: bulk or backlog.
        advance: called with a number of jobs that are done.
    """
    handle = _run if name == BARE_RUN else _ignore
    async with await connect(url, application_name="loadtest bare") as connection:
        await connection.execute(f"VACUUM (TRUNCATE) {_TABLE}".encode())
    run = uuid.uuid4().hex[:12]
    connections = [await connect(url, application_name="loadtest bare") for _ in range(CONNECTIONS)]
    try:
        done = 0
        begin = time.perf_counter()
        filled = begin
        if load.mode is Mode.BACKLOG:
            await _fill(connections, load, run)
            filled = time.perf_counter()

        async def work(connection: Connection, chunks: list[int]) -> None:
            nonlocal done
            while chunks:
                first = chunks.pop()
                payloads = load.payloads(first, min(first + BATCH, load.jobs))
                ids = _ids(run, payloads)
                if load.mode is not Mode.BACKLOG:
                    await connection.execute(_INSERT, (ids, _encoded(payloads)), prepare=True)
                cursor = await connection.execute(_CLAIM, (ids,), prepare=True, binary=True)
                claimed = await cursor.fetchall()
                await handle([row[2] for row in claimed])
                deleted = await connection.execute(_DELETE, ([row[0] for row in claimed],), prepare=True)
                done += deleted.rowcount
                advance(deleted.rowcount)

        await _share(connections, load, work)
        end = time.perf_counter()
        cursor = await connections[0].execute(f"SELECT count(*) FROM {_TABLE}".encode())
        row = await cursor.fetchone()
        left = row[0] if row is not None else 0
    finally:
        for connection in connections:
            await connection.close()
    return BulkResult(
        contender=name,
        mode=load.mode,
        jobs=load.jobs,
        payload_bytes=load.payload_bytes,
        rate=None,
        completed=done - left,
        failed=load.jobs - done + left,
        duration_s=end - filled,
        jobs_per_s=done / (end - filled),
        enqueued_per_s=load.jobs / ((filled if load.mode is Mode.BACKLOG else end) - begin),
        job_start_ms=None,
        relay_peak_rss_bytes=None,
        cpu_ms_per_job={},
    )


async def _fill(connections: list[Connection], load: BulkLoad, run: str) -> None:
    async def insert(connection: Connection, chunks: list[int]) -> None:
        while chunks:
            first = chunks.pop()
            payloads = load.payloads(first, min(first + BATCH, load.jobs))
            await connection.execute(_INSERT, (_ids(run, payloads), _encoded(payloads)), prepare=True)

    await _share(connections, load, insert)


async def _share(
    connections: list[Connection], load: BulkLoad, work: Callable[[Connection, list[int]], Coroutine[Any, Any, None]]
) -> None:
    """Let each connection take batches, in the order of their numbers, until none is left."""
    chunks = list(range(0, load.jobs, BATCH))[::-1]
    async with asyncio.TaskGroup() as group:
        for connection in connections:
            group.create_task(work(connection, chunks))


def _ids(run: str, payloads: list[bytes]) -> list[str]:
    return [f"bulk-{run}-{payload[:NUMBER_DIGITS].decode()}" for payload in payloads]


def _encoded(payloads: list[bytes]) -> list[bytes]:
    encode = _VALUES.encode
    return [encode((payload,)) for payload in payloads]


async def _run(inputs: list[bytes]) -> None:
    decode = _VALUES.decode
    for data in inputs:
        (payload,) = decode(data, (bytes,))
        await swallow(payload)


async def _ignore(inputs: list[bytes]) -> None:
    """Run nothing."""
