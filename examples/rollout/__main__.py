"""`python -m examples.rollout`: a migration that nobody answers for, one that fails midway, and one that works."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from psycopg.sql import SQL, Identifier
from temporalio.client import WorkflowFailureError
from temporalio.worker import Worker

from examples.command import claim, run_example
from examples.database import connection
from examples.local import Pool, System, local_system
from examples.rollout import tasks
from examples.rollout.workflow import Plan, Rollout

_APP = """
CREATE SCHEMA app;
CREATE TABLE app.version (number integer NOT NULL);
INSERT INTO app.version VALUES (1);
CREATE TABLE app.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL);
INSERT INTO app.users (email) SELECT 'user' || n || '@example.org' FROM generate_series(1, 100) AS n;
"""
MIGRATION = """
ALTER TABLE app.users ADD COLUMN email_key text GENERATED ALWAYS AS (lower(email)) STORED;
CREATE UNIQUE INDEX users_email_key ON app.users (email_key);
"""


async def main() -> None:
    """Roll out three times over six databases."""
    run = uuid.uuid4().hex[:8]
    async with running_rollout() as system, shop_databases([f"rollout_{run}_{number}" for number in range(6)]) as names:
        await execute(names[4], "INSERT INTO app.users (email) VALUES ('USER1@example.org')")
        plan = Plan(f"rollout-1-{run}", names, 2, MIGRATION, batch_size=2, wait_seconds=1)
        await roll_out(system, plan, None)
        await roll_out(system, replace(plan, rollout=f"rollout-2-{run}", wait_seconds=60), True)
        claim(
            [await version(name) for name in names] == [1] * 6,
            "after two rollouts that failed all databases are as before",
        )
        await execute(names[4], "DELETE FROM app.users WHERE email = 'USER1@example.org'")
        await roll_out(system, replace(plan, rollout=f"rollout-3-{run}", wait_seconds=60), True)
        claim([await version(name) for name in names] == [2] * 6, "after the third one all are migrated")


@asynccontextmanager
async def running_rollout() -> AsyncIterator[System]:
    """Run the pool and the Temporal worker."""
    async with local_system(Pool([tasks]), start_pools=False) as system:
        environment = {tasks.DUMPS: str(system.directory), "DELEGATOR_LEASE": "1s"}
        await system.start_pool(Pool([tasks], environment=environment))
        async with Worker(system.client, task_queue="rollout", workflows=[Rollout]):
            yield system


async def roll_out(system: System, plan: Plan, go: bool | None) -> None:
    """Run a rollout, and answer for its canary, if a person does."""
    handle = await system.client.start_workflow(Rollout.run, plan, id=plan.rollout, task_queue="rollout")
    if go is not None:
        await handle.signal(Rollout.decide, go)
    try:
        await handle.result()
        print(f"{plan.rollout}: all {len(plan.databases)} databases are migrated")
    except WorkflowFailureError as failed:
        print(f"{plan.rollout}: rolled back, because {failed.cause.__cause__ or failed.cause}")


@asynccontextmanager
async def shop_databases(names: list[str]) -> AsyncIterator[list[str]]:
    """Have databases for as long as a `with` block."""
    async with connection() as server:
        try:
            for name in names:
                await server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
                await execute(name, _APP)
            yield names
        finally:
            for name in names:
                await server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))


async def execute(database: str, statements: str) -> Sequence[object]:
    """Run statements in a database. Return the first row, if there is one."""
    async with tasks.connect(database) as opened:
        cursor = await opened.execute(statements.encode())
        return (await cursor.fetchone() or ()) if cursor.description else ()


async def version(database: str) -> object:
    """Return a database's version; None if it is still locked, or its schema is not that of the version."""
    number, columns, users = await execute(
        database,
        "SELECT number, (SELECT count(*) FROM pg_attribute WHERE attrelid = 'app.users'::regclass AND attnum > 0), "
        "(SELECT count(*) FROM app.users) FROM app.version",
    )
    locked = await execute(database, "SELECT to_regclass('rollout.lock') IS NOT NULL")
    held = locked == (True,) and await execute(database, "SELECT count(*) FROM rollout.lock") != (0,)
    return number if not held and columns == {1: 2, 2: 3}.get(int(str(number))) and int(str(users)) >= 100 else None


if __name__ == "__main__":
    run_example(main())
