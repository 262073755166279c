from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from delegator.dev import RunningStack
from examples.bonuses.__main__ import add, is_right, open_shop, running_bonuses
from examples.bonuses.rule import bonus
from examples.bonuses.workflow import Job, Report
from examples.database import connection, fetch_value
from examples.local import Dispatch, System


@pytest.fixture(scope="module")
async def system(servers: RunningStack) -> AsyncIterator[System]:
    async with running_bonuses() as system:
        yield system


@pytest.fixture
def job() -> Job:
    """Bonuses of a shop that no other test has."""
    return Job(f"shop-{uuid.uuid4().hex[:8]}", "2026-11")


async def balance_of(shop: str) -> object:
    return await fetch_value("SELECT sum(balance)::bigint FROM bonuses.users WHERE shop = %s", shop)


async def test_command(run_command, servers: RunningStack) -> None:
    """The pool is killed in mid-run and users come and go; the command checks the entries in SQL."""
    ended = await run_command("bonuses", "--users", "2000")
    assert (ended.code, ended.errors) == (0, "")
    lines = ended.output.splitlines()
    assert len(lines) <= 25
    assert len([line for line in lines if line.startswith("proven: ")]) == 4


async def test_too_few(run_command) -> None:
    """The workers can only be killed in mid-run if a job has several transactions."""
    ended = await run_command("bonuses", "--users", "10")
    assert ended.code == 2
    assert "argument --users: at least 1000" in ended.errors


@pytest.mark.parametrize(
    ("spent", "cents"), [(0, 0), (99, 0), (100, 1), (99_999, 999), (100_000, 2_000), (249_999, 4_999), (10**15, 5_000)]
)
def test_rule(spent: int, cents: int) -> None:
    assert bonus(spent) == cents


async def test_many(system: System, job: Job) -> None:
    """A hundred thousand users get theirs; histories of a million would have less than two thousand events."""
    await open_shop(job.shop, 100_000)
    report, events = await add(system.client, job)
    assert report == Report(100_000)
    assert await is_right(job.shop)
    by_rule = sum(bonus(number * 7919 % 400_000) for number in range(1, 100_001))
    assert await balance_of(job.shop) == by_rule
    assert events * 10 < 2_000


async def test_two_runs_at_once(system: System, job: Job) -> None:
    """Two runs of one period, as of two schedules, add each bonus once. So does another run after them."""
    await open_shop(job.shop, 3_000)
    small = replace(job, users_per_page=100, most_pages=10)
    for _ in range(2):
        reports = await asyncio.gather(add(system.client, small), add(system.client, small))
        assert [report for report, _ in reports] == [Report(3_000)] * 2
        assert await is_right(job.shop)


async def test_bad_user(system: System, job: Job) -> None:
    """A page that fails is reported and stops no other; when its user is mended, a run of the same period adds it."""
    await open_shop(job.shop, 1_000)
    one = "(SELECT min(id) + 150 FROM bonuses.users WHERE shop = %s)"
    async with connection() as opened:
        await opened.execute(f"UPDATE bonuses.users SET spent = -spent WHERE id = {one}".encode(), (job.shop,))
    small = replace(job, users_per_page=100)
    report, _ = await add(system.client, small)
    assert (report.users, report.failures) == (900, 1)
    (failure,) = report.examples
    assert "spent -" in failure
    assert not await is_right(job.shop)
    async with connection() as opened:
        await opened.execute("UPDATE bonuses.users SET spent = -spent WHERE shop = %s AND spent < 0", (job.shop,))
    assert (await add(system.client, small))[0] == Report(1_000)
    assert await is_right(job.shop)


async def test_classic(servers: RunningStack, job: Job) -> None:
    """Ordinary activities do the same."""
    await open_shop(job.shop, 1_000)
    async with running_bonuses(Dispatch.CLASSIC) as system:
        report, _ = await add(system.client, replace(job, users_per_page=100, classic=True))
    assert report == Report(1_000)
    assert await is_right(job.shop)
