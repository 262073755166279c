"""`python -m examples.heartbeat`: three jobs are broken off at their fourth step, each in another way."""

from __future__ import annotations

import asyncio
import uuid

from examples.command import claim, run_example, until
from examples.database import fetch_all, fetch_value
from examples.heartbeat import tasks
from examples.heartbeat.tasks import FROZEN_STEP, STEPS
from examples.heartbeat.workflow import LongJob
from examples.local import SHORT_LEASE, Pool, System, local_system

POOL = Pool([tasks], environment=SHORT_LEASE)


async def main() -> None:
    """Break off a coroutine, a thread and a process."""
    async with local_system(POOL, workflows={"heartbeat": [LongJob]}) as system:
        frozen, thread = await asyncio.gather(run(system, "coroutine", 1), run(system, "thread", 1))
        await until("the frozen thread wakes and is told", lambda: effects(thread, 0, 0))
        print(f"{thread}: the frozen thread woke, was told at its next line, and stopped")
        killed = await run(system, "process", 600)
        for job in (frozen, thread, killed):
            steps = [*range(1, STEPS + 1)]
            claim(await effects(job, 1, STEPS) == steps, f"{job}: each of the {STEPS} steps was done once")


async def run(system: System, way: str, heartbeat_seconds: int) -> str:
    """Run a job to its end, and return its name."""
    job = f"{way}-{uuid.uuid4().hex[:8]}"
    arguments = [job, way == "thread", heartbeat_seconds]
    handle = await system.client.start_workflow(LongJob.run, args=arguments, id=job, task_queue="heartbeat")
    if way == "process":
        await until("a heartbeat is in the queue's row", lambda: is_reported(job))
        await system.pools["default"].restart()
    print(f"{job}: broken off at step {FROZEN_STEP}, resumed at step {await handle.result()}")
    return job


async def is_reported(job: str) -> bool:
    """Return whether the details are stored: that is done about twice a second. A process that dies loses the rest."""
    reported = "SELECT heartbeat_details IS NOT NULL FROM custom_task_queue WHERE workflow_id = %s"
    return await effects(job, FROZEN_STEP - 1, STEPS) != [] and await fetch_value(reported, job) is True


async def effects(job: str, first: int, last: int) -> list[int]:
    """Return which of some steps have taken effect, as often as they did."""
    select = "SELECT step FROM heartbeat.effects WHERE job = %s AND step BETWEEN %s AND %s ORDER BY step"
    return [step for (step,) in await fetch_all(select, job, first, last)]


if __name__ == "__main__":
    run_example(main())
