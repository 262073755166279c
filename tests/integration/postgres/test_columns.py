"""A worker finds in the claimed row what was enqueued, whatever the jobs of the batch have in common."""

from __future__ import annotations

import uuid
from contextlib import nullcontext
from datetime import timedelta

import orjson
import pytest

from delegator.postgres import leases
from delegator.postgres.connections import connect
from delegator.postgres.queue_table import Claimed, NewJob, QueueTable
from tests.support import Database

TABLE = QueueTable("default")
RUN = str(uuid.uuid4())

PLAIN = NewJob("plain", "t", None, None, None, None, None, None, None, None)
FULL = NewJob(
    job_id="full, \N{SNOWMAN}",
    job_type="u",
    input=b"\x00\xff",
    header=b"h",
    options='{"heartbeat_ms": 5}',
    workflow_id="wf",
    run_id=RUN,
    task_token=b"token",
    deadline_ms=60_000,
    waiter_id=7,
    heartbeat_details=b"half",
    attempt=3,
)


def as_claimed(job: NewJob, claimed: Claimed) -> bool:
    options = None if claimed.options is None else orjson.loads(claimed.options)
    expected = claimed._replace(
        job_id=job.job_id,
        attempt=job.attempt + 1,
        job_type=job.job_type,
        input=job.input,
        header=job.header,
        namespace="ns",
        workflow_id=job.workflow_id,
        run_id=job.run_id,
        task_token=job.task_token,
        heartbeat_details=job.heartbeat_details,
        cancel_requested=False,
        has_waiter=job.waiter_id is not None,
    )
    due = claimed.deadline_ms
    return (
        claimed == expected
        and options == (None if job.options is None else orjson.loads(job.options))
        and (due is None if job.deadline_ms is None else due is not None and 0 < due <= job.deadline_ms)
    )


@pytest.mark.parametrize("jobs", [[PLAIN], [FULL], [PLAIN, FULL], [FULL, FULL._replace(job_id="other", input=b"x")]])
@pytest.mark.parametrize("is_claimed", [True, False])
async def test_claim_returns_all_columns(database: Database, jobs: list[NewJob], is_claimed: bool) -> None:
    """A claim returns every column as it was inserted, for the current fencing token only."""
    by_id = {job.job_id: job for job in jobs}
    async with await connect(database.url, application_name="test") as db:
        assert await TABLE.insert(db, "ns", jobs) == set(by_id)
        assert await TABLE.insert(db, "ns", jobs) == set()
        cursor = await db.execute("SELECT job_id, fencing_token FROM custom_task_queue")
        streamed = await cursor.fetchall()
        if is_claimed:
            lease = await leases.grant(db, "worker", "test", "default", timedelta(minutes=1))
            claimed, again = await TABLE.claim(db, streamed, lease)
        else:
            claimed, again = await TABLE.look(db, streamed)
            stale = [(job_id, token - 1) for job_id, token in streamed]
            assert await TABLE.look(db, stale) == ([], set())
        assert again == set()
        assert len(claimed) == len(jobs)
        assert all(as_claimed(by_id[one.job_id], one) for one in claimed)


@pytest.mark.parametrize("repeats", [True, False])
@pytest.mark.parametrize("in_transaction", [True, False])
async def test_insert_keeps_existing_rows(database: Database, repeats: bool, in_transaction: bool) -> None:
    """An insert leaves rows alone that exist already."""
    there, new = PLAIN._replace(job_id="there", input=b"first"), PLAIN._replace(job_id="new", input=b"second")
    async with await connect(database.url, application_name="test") as db:
        async with db.transaction() if in_transaction else nullcontext():
            assert await TABLE.insert(db, "ns", [there], repeats=repeats) == {"there"}
            again = [new, there._replace(input=b"second"), new._replace(input=b"third")]
            assert await TABLE.insert(db, "ns", again, repeats=repeats) == {"new"}
        cursor = await db.execute("SELECT job_id, input FROM custom_task_queue")
        assert dict(await cursor.fetchall()) == {"there": b"first", "new": b"second"}


async def test_times_in_a_long_transaction(database: Database) -> None:
    """A job is enqueued, and its deadline counts, from the moment of its insert, not from the transaction's begin."""
    async with await connect(database.url, application_name="test") as db, db.transaction():
        before = (await (await db.execute("SELECT now(), clock_timestamp()")).fetchone()) or ()
        await TABLE.insert(db, "ns", [PLAIN._replace(deadline_ms=60_000)])
        cursor = await db.execute(
            "SELECT now(), enqueued_at, published_at, deadline - interval '1 minute' FROM custom_task_queue"
        )
        began, *times = (await cursor.fetchone()) or ()
        assert before[0] == began < before[1]
        assert all(time > before[1] for time in times)
