from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Replayer

from delegator import DelegatorPlugin
from delegator.dev import RunningStack
from examples.command import until
from examples.local import System
from examples.rollout import tasks
from examples.rollout.__main__ import MIGRATION, execute, running_rollout, shop_databases, version
from examples.rollout.workflow import Plan, Rollout


@pytest.fixture(scope="module")
async def system(servers: RunningStack) -> AsyncIterator[System]:
    async with running_rollout() as system:
        yield system


@pytest.fixture
async def names() -> AsyncIterator[list[str]]:
    async with shop_databases([f"rollout_{uuid.uuid4().hex[:8]}_{number}" for number in range(3)]) as names:
        yield names


async def start(system: System, names: list[str], **options: Any) -> WorkflowHandle[Rollout, None]:
    plan = Plan(f"rollout-{uuid.uuid4()}", names, 2, MIGRATION, **options)
    return await system.client.start_workflow(Rollout.run, plan, id=plan.rollout, task_queue="rollout")


async def failure(handle: WorkflowHandle[Rollout, None]) -> BaseException:
    """Return why a rollout failed. Its history replays."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    await Replayer(workflows=[Rollout], plugins=[DelegatorPlugin()]).replay_workflow(await handle.fetch_history())
    return failed.value.cause.__cause__ or failed.value.cause


async def waits_for_a_person(handle: WorkflowHandle[Rollout, None]) -> bool:
    return await handle.query(Rollout.state) == "waiting for a person"


async def test_command(run_command, servers: RunningStack) -> None:
    """Of three rollouts the first gets no answer, the second fails in its middle, and the third works."""
    ended = await run_command("rollout")
    assert (ended.code, ended.errors) == (0, "")
    first, second, before, third, after = ended.output.splitlines()
    assert "nobody said go" in first and "UniqueViolation" in second and "all 6" in third
    assert before.startswith("proven: ") and after.startswith("proven: ")


async def test_canary(system: System, names: list[str]) -> None:
    """Until a person says go, only the canary is migrated, and locked. Only the first answer counts."""
    handle = await start(system, names)
    await until("it waits", lambda: waits_for_a_person(handle))
    assert await execute(names[0], "SELECT number FROM app.version") == (2,)
    assert await version(names[0]) is None, "it is locked"
    assert [await version(name) for name in names[1:]] == [1, 1]
    await handle.signal(Rollout.decide, True)
    await handle.signal(Rollout.decide, False)
    await handle.result()
    assert [await version(name) for name in names] == [2, 2, 2]


@pytest.mark.parametrize("how", ["a person says no", "cancelled"])
async def test_stopped(system: System, names: list[str], how: str) -> None:
    """The canary is restored: it loses what the migration did, and nothing else."""
    handle = await start(system, names)
    await until("it waits", lambda: waits_for_a_person(handle))
    if how == "cancelled":
        await handle.cancel()
    else:
        await handle.signal(Rollout.decide, False)
    error = await failure(handle)
    assert isinstance(error, CancelledError if how == "cancelled" else ApplicationError)
    assert [await version(name) for name in names] == [1, 1, 1]


async def test_locked(system: System, names: list[str]) -> None:
    """Another rollout holds a database: this one touches nothing of it, and undoes the rest."""
    await tasks.lock(tasks.Target("another", names[2]))
    handle = await start(system, names)
    await handle.signal(Rollout.decide, True)
    error = await failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "Locked"
    assert [await version(name) for name in names] == [1, 1, None]
    assert await execute(names[2], "SELECT holder FROM rollout.lock") == ("another",)


async def test_killed_pool(system: System, names: list[str]) -> None:
    """A pool is killed in the middle of a migration: the next one finishes it, once."""
    async with AsyncExitStack() as holding:
        blocking = await holding.enter_async_context(tasks.connect(names[1]))
        await blocking.execute("LOCK TABLE app.users IN SHARE MODE")
        handle = await start(system, names)
        await handle.signal(Rollout.decide, True)

        async def is_blocked() -> bool:
            here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            return await execute(names[1], f"SELECT count(*) FROM pg_locks WHERE {here} AND NOT granted") == (1,)

        await until("the migration waits", is_blocked)
        await system.pools["default"].kill()
        await system.pools["default"].start()
    await asyncio.wait_for(handle.result(), 60)
    assert [await version(name) for name in names] == [2, 2, 2]
