"""`python -m examples.heartbeat`: three jobs are broken off at their fourth step, each in another way."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from temporalio.worker import Worker

from examples.command import claim, run_example, until
from examples.database import create_tables, fetch_value
from examples.heartbeat import tasks
from examples.heartbeat.tasks import FROZEN_STEP, STEPS, Work
from examples.heartbeat.workflow import LongJob
from examples.local import Pool, System, local_system

SCHEMA = Path(__file__).with_name("schema.sql")
# The lease says how long a dead process keeps its jobs: 15 seconds unless set. Nobody wants to watch that.
POOL = Pool([tasks], environment={"DELEGATOR_LEASE": "1s"})
_HEARTBEAT_SECONDS = 1
_LONG_SECONDS = 600


async def main() -> None:
    """Break off a coroutine, a thread and a process."""
    async with (
        local_system(POOL) as system,
        Worker(system.client, task_queue="heartbeat", workflows=[LongJob]),
    ):
        await create_tables(SCHEMA)
        frozen, thread = await asyncio.gather(
            run(system, "coroutine", _HEARTBEAT_SECONDS), run(system, "thread", _HEARTBEAT_SECONDS)
        )
        await until("the frozen thread wakes and is told", lambda: has(thread, "step = 0"))
        print(f"{thread}: the frozen thread woke, was told at its next line, and stopped")
        killed = await run(system, "process", _LONG_SECONDS)
        for job in (frozen, thread, killed):
            await check(job)


async def run(system: System, way: str, heartbeat_seconds: int) -> str:
    """Run a job to its end, and return its name."""
    job = f"{way}-{uuid.uuid4().hex[:8]}"
    asked = Work(job, 3 * heartbeat_seconds)
    handle = await system.client.start_workflow(
        LongJob.run, args=[asked, way == "thread", heartbeat_seconds], id=job, task_queue="heartbeat"
    )
    if way == "process":
        await until("a heartbeat is in the queue's row", lambda: is_reported(job))
        await system.pools["default"].kill()
        await system.pools["default"].start()
    print(f"{job}: broken off at step {FROZEN_STEP}, resumed at step {await handle.result()}")
    return job


async def is_reported(job: str) -> bool:
    """Return whether the details are stored: that is done about twice a second. A process that dies loses the rest."""
    reported = "SELECT heartbeat_details IS NOT NULL FROM custom_task_queue WHERE workflow_id = %s"
    return await has(job, f"step = {FROZEN_STEP - 1}") and bool(await fetch_value(reported, job))


async def has(job: str, condition: str) -> bool:
    """Return whether a job has such an effect."""
    return bool(await fetch_value(f"SELECT count(*) FROM heartbeat.effects WHERE job = %s AND {condition}", job))


async def check(job: str) -> None:
    """Prove from the effects that nothing was left out, and that nothing before the freeze was done again."""
    steps = await fetch_value(
        "SELECT array_agg(step ORDER BY step) FROM heartbeat.effects WHERE job = %s AND step > 0", job
    )
    claim(steps == list(range(1, STEPS + 1)), f"{job}: each of the {STEPS} steps was done once")


if __name__ == "__main__":
    run_example(main())
