"""`python -m examples.bonuses [--users N] [--dispatch classic]`: bonuses for all users of a shop, each once."""

from __future__ import annotations

import argparse
import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial

from temporalio.client import Client, ScheduleHandle

from examples.bonuses import tasks
from examples.bonuses.workflow import AddBonuses, Job, Report
from examples.command import claim, run_example, until
from examples.database import connection, execute, fetch_value
from examples.local import SHORT_LEASE, Dispatch, Pool, System, add_dispatch, local_system
from examples.recurring import Rule, schedule_spec, start_schedule

MONTHLY = Rule("monthly", day=1, hour=3)
_ONE_BY_ONE = 10
"""There are so many times fewer users in the shop whose users have a job each."""
# The rule once more, in SQL: a check that shares no line with what it checks.
_IS_RIGHT = """
SELECT bool_and(coalesce(count, 0) = %s AND least = most AND balance = sum AND most = CASE
    WHEN spent >= 250000 THEN 5000 WHEN spent >= 100000 THEN spent / 50 ELSE spent / 100 END)
FROM bonuses.users LEFT JOIN (
    SELECT user_id, count(*), min(amount) AS least, max(amount) AS most, sum(amount) FROM bonuses.entries GROUP BY 1
) AS added ON user_id = id WHERE shop = %s
"""


def running_bonuses(dispatch: Dispatch = Dispatch.DELEGATED) -> AbstractAsyncContextManager[System]:
    """Run the pool and the Temporal worker."""
    pool = Pool([tasks], environment=SHORT_LEASE)
    return local_system(pool, dispatch=dispatch, workflows={"bonuses": [AddBonuses]})


async def main(users: int, dispatch: Dispatch) -> None:
    """Add bonuses while the workers are killed and users come and go; once more; and with a job for each user."""
    run, classic = uuid.uuid4().hex[:8], dispatch is Dispatch.CLASSIC
    async with running_bonuses(dispatch) as system:
        job = Job(f"shop-{run}", "2026-10", classic=classic)
        await open_shop(job.shop, users)
        print(f"{job.shop} has {users:,} users")
        async with held_user(job.shop):  # so that the run can't be over when the workers are killed
            running = asyncio.create_task(add(system.client, job))
            await until("the first bonuses", partial(entries_of, job.shop))
            await system.pools["default"].kill()
            await close_accounts(job.shop, users // 100)
            await open_shop(job.shop, users // 100)
        print(f"killed the workers in mid-run, removed {users // 100:,} users, and added as many")
        name, monthly = f"bonuses-{job.shop}", replace(job, period=None)
        when = schedule_spec(MONTHLY)
        schedule = await start_schedule(system.client, name, when, AddBonuses.run, monthly, task_queue="bonuses")
        await trigger_twice(schedule)
        print("a schedule has started a run for another month, and skipped one, because its first is not over")
        await system.pools["default"].start()
        report, events = await running
        print(f"{report.users:,} bonuses in {events} events of histories")
        await until("the schedule's run has ended", partial(has_ended, schedule))
        await schedule.delete()
        claim(await is_right(job.shop, 2), "each user has got exactly one bonus a period, and it is the right one")
        before = await entries_of(job.shop)
        again, _ = await add(system.client, job)
        claim(again.users == users and await entries_of(job.shop) == before, "the same period again adds nothing")
        few = replace(job, shop=f"{job.shop}-one-by-one", users_per_page=1, window=1_000, most_pages=10_000)
        for naive in (replace(few, shop=f"{job.shop}-pages", users_per_page=5_000, window=20), few):
            await open_shop(naive.shop, users // _ONE_BY_ONE)
            begin = time.perf_counter()
            report, events = await add(system.client, naive)
            rate = report.users / (time.perf_counter() - begin)
            print(f"{dispatch}, {naive.users_per_page} users a job: {rate:,.0f} users/s, {events} events")
            claim(await is_right(naive.shop), f"each of {report.users:,} users has got one bonus")


async def trigger_twice(schedule: ScheduleHandle) -> None:
    """Let a schedule fire again while its run is not over: there are no workers."""

    async def has(started: int, skipped: int) -> bool:
        info = (await schedule.describe()).info
        return (info.num_actions, info.num_actions_skipped_overlap) == (started, skipped)

    await schedule.trigger()
    await until("the schedule has started a run", partial(has, 1, 0))  # of two triggers at once Temporal keeps one
    await schedule.trigger()
    await until("the schedule has skipped a run", partial(has, 1, 1))


async def has_ended(schedule: ScheduleHandle) -> bool:
    """Return whether no run of a schedule is under way."""
    return not (await schedule.describe()).info.running_actions


async def add(client: Client, job: Job) -> tuple[Report, int]:
    """Run a job, and return its report and how many events the histories of its runs have."""
    name = f"bonuses-{job.shop}-{uuid.uuid4().hex[:8]}"
    handle = await client.start_workflow(AddBonuses.run, job, id=name, task_queue="bonuses")
    report = await handle.result()
    events, run = 0, handle.first_execution_run_id
    while run:
        history = await client.get_workflow_handle(name, run_id=run).fetch_history()
        events += len(history.events)
        run = history.events[-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return report, events


async def open_shop(shop: str, users: int) -> None:
    """Add users to a shop."""
    insert = "INSERT INTO bonuses.users (shop, spent) SELECT %s, n * 7919 %% 400000 FROM generate_series(1, %s) n"
    await execute(insert, shop, users)


@asynccontextmanager
async def held_user(shop: str) -> AsyncIterator[None]:
    """Lock the last user of a shop. The job that comes to this user waits."""
    async with connection() as opened, opened.transaction():
        await opened.execute("SELECT FROM bonuses.users WHERE shop = %s ORDER BY id DESC LIMIT 1 FOR UPDATE", (shop,))
        yield


async def close_accounts(shop: str, users: int) -> None:
    """Remove users from the middle of a shop."""
    some = "SELECT id FROM bonuses.users WHERE shop = %s ORDER BY id OFFSET %s LIMIT %s"
    await execute(f"DELETE FROM bonuses.users WHERE id IN ({some})", shop, users * 50, users)


async def entries_of(shop: str) -> object:
    """Return how many bonuses the users of a shop have got, of all periods."""
    count = "SELECT count(*) FROM bonuses.entries JOIN bonuses.users ON id = user_id WHERE shop = %s"
    return await fetch_value(count, shop)


async def is_right(shop: str, periods: int = 1) -> bool:
    """Return whether each user of a shop has the right bonus, once for each period."""
    return await fetch_value(_IS_RIGHT, periods, shop) is True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m examples.bonuses", description=__doc__)
    add_dispatch(parser)
    parser.add_argument("--users", type=int, default=100_000, help="how many users there are (default: 100000)")
    arguments = parser.parse_args()
    if arguments.users < 2 * tasks.CHUNK:
        parser.error(f"argument --users: at least {2 * tasks.CHUNK} are needed to kill the workers in mid-run")
    run_example(main(arguments.users, arguments.dispatch))
