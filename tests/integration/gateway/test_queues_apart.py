"""The queues of one gateway do not wait for each other."""

from __future__ import annotations

import asyncio

from delegator.postgres.connections import connect
from delegator.postgres.queue_table import NewJob, QueueTable
from tests.integration.delegator.environment import Environment, eventually
from tests.integration.gateway.support import Caller

MORE_THAN_THE_POOL = 15


async def test_locked_table(engine: Environment, caller: Caller) -> None:
    """While heartbeats of a locked queue's job wait, the other queue's job is given out and ends."""
    url = engine.settings.database_url.get_secret_value()

    async def enqueue(queue: str) -> None:
        job = NewJob(f"apart-{queue}", "apart", None, None, None, None, None, None, None, None)
        async with await connect(url, application_name="test") as db:
            await QueueTable(queue).insert(db, None, [job])

    await enqueue("default")
    held = await caller.job("apart")
    async with await connect(url, application_name="test") as db:
        async with db.transaction():
            await db.execute(b"LOCK TABLE custom_task_queue IN ACCESS EXCLUSIVE MODE")
            beats = [asyncio.create_task(caller.say("heartbeat", held)) for _ in range(MORE_THAN_THE_POOL)]

            async def many_wait() -> bool:
                blocked = await engine.query("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'relation'")
                return len(blocked) >= 10

            await eventually(many_wait)
            await enqueue("other")
            job = await caller.job("apart", queue="other")
            assert await caller.say("complete", job, result=1) == "accepted"

            async def is_gone() -> bool:
                return not await engine.query("SELECT FROM custom_task_queue_other")

            await eventually(is_gone)
        assert {await beat for beat in beats} == {"held"}
    assert await caller.say("complete", held, result=1) == "accepted"
