"""PostgreSQL and Temporal: restarted, disconnected, exhausted."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from contextlib import AsyncExitStack

import psycopg
import pytest

from delegator.dev.postgres import StopMode
from tests.chaos.arena import INLINE, LEASE, NOBODY_DIES, SIGNALLED, Arena
from tests.chaos.load import LONG, SCALE, Finish, Load

TURNS = 5 if LONG else 1


@pytest.mark.parametrize(("mode", "task_queue"), [("fast", SIGNALLED), ("immediate", INLINE)])
async def test_restart_postgresql(field: Arena, finish: Finish, mode: StopMode, task_queue: str) -> None:
    load = Load(field, f"restart PostgreSQL, {mode}", task_queue, task_timeout=NOBODY_DIES)
    for turn in range(TURNS):
        await load.add(6 * SCALE, 15)
        await load.noted("start", 10 * (turn + 1))
        await field.postgres.stop_by(mode)
        await field.postgres.start()
        load.fault_over()
    await finish(load)


async def test_postgresql_outage_past_leases(field: Arena, finish: Finish) -> None:
    """No lease ends while PostgreSQL is away, because no process can renew one; so no running job is run again."""
    load = Load(field, "PostgreSQL away for longer than leases", SIGNALLED)
    await load.add(6 * SCALE, 8, ms=lambda number: 5_000 if number < 4 else 100, one_by_one=0)
    await load.noted("start", 15)
    await field.postgres.stop_by("immediate")
    await asyncio.sleep(30 if LONG else LEASE)
    # The sweeper is back first.
    for worker in field.http:
        worker.signal(signal.SIGSTOP)
    await field.postgres.start()
    ((since,),) = await field.query("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())::float8")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LEASE / 2 - since):  # then every process must have renewed its lease
            await field.leader()
            await asyncio.sleep(LEASE)
    for worker in field.http:
        worker.signal(signal.SIGCONT)
    load.fault_over()
    outcome = await finish(load)
    assert not outcome.doubles


async def test_terminate_all_backends(field: Arena, finish: Finish) -> None:
    load = Load(field, "terminate all backends", INLINE, task_timeout=NOBODY_DIES)
    await load.add(6 * SCALE, 15)
    for turn in range(3 * TURNS):
        await load.noted("start", 5 + 3 * turn)
        await field.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()"
        )
    load.fault_over()
    await finish(load)


async def test_locked_table(field: Arena, finish: Finish) -> None:
    """Leases are renewed although every connection of every pool waits for a lock, for longer than a lease lasts."""
    load = Load(field, "connection pools exhausted", SIGNALLED)
    await load.add(6 * SCALE, 15)
    await load.noted("start", 10)
    async with await psycopg.AsyncConnection.connect(field.postgres.url()) as connection:
        await connection.execute("LOCK TABLE custom_task_queue IN SHARE ROW EXCLUSIVE MODE")
        await asyncio.sleep(LEASE * 1.7)
    load.fault_over()
    await finish(load)


async def test_no_connection_left(field: Arena, finish: Finish) -> None:
    """Work goes on after PostgreSQL has ended all connections and has accepted no new one for a while."""
    load = Load(field, "PostgreSQL refuses connections", INLINE)
    await load.add(6 * SCALE, 15)
    await load.noted("start", 10)
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(
            await psycopg.AsyncConnection.connect(field.postgres.url("postgres"), autocommit=True)
        )
        await connection.execute("ALTER DATABASE delegator ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'delegator'")
        await asyncio.sleep(LEASE / 2)
        await connection.execute("ALTER DATABASE delegator ALLOW_CONNECTIONS true")
    load.fault_over()
    await finish(load)


@pytest.mark.parametrize(("how", "task_queue"), [("stop", SIGNALLED), ("kill -9", INLINE)])
async def test_restart_temporal(field: Arena, finish: Finish, how: str, task_queue: str) -> None:
    load = Load(field, f"restart Temporal, {how}", task_queue)
    for turn in range(TURNS):
        await load.add(6 * SCALE, 15)
        await load.noted("start", 10 * (turn + 1))
        await (field.temporal.stop() if how == "stop" else field.temporal.kill())
        await field.temporal.start()
        load.fault_over()
    await finish(load)
