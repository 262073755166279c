"""Applies the migrations with the Atlas CLI, if there is one."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg import AsyncConnection

from delegator.errors import ConfigurationError, SchemaError
from delegator.migrate.database import LOCK_TIMEOUT_SECONDS
from delegator.migrate.directory import MigrationFile
from delegator.migrate.locks import LOCK_WAIT_MS, until_locked
from delegator.migrate.revisions import read_revisions, revisions_schema
from delegator.runtime.child_processes import send_signal

_log = logging.getLogger(__name__)
# Atlas v0.13 and older print this with PostgreSQL 16 and newer. They have changed nothing then.
_TOO_OLD = "unexpected number of rows"
_NO_LOCK = "canceling statement due to lock timeout"
_URL_VARIABLE = "DELEGATOR_ATLAS_URL"


def find_atlas(environment: Mapping[str, str]) -> Path | None:
    """Return the Atlas binary to use: DELEGATOR_ATLAS (`off`: none), else `atlas` on PATH, else None.

    Raises:
        ConfigurationError: DELEGATOR_ATLAS does not name a program.
    """
    chosen = environment.get("DELEGATOR_ATLAS", "")
    if chosen == "off":
        return None
    found = shutil.which(chosen or "atlas", path=environment.get("PATH"))
    if chosen and found is None:
        raise ConfigurationError(f"DELEGATOR_ATLAS: no program at {chosen}; name an atlas binary, or `off`")
    return Path(found) if found else None


async def apply_with_atlas(
    binary: Path, connection: AsyncConnection, directory: Path, files: Sequence[MigrationFile]
) -> bool:
    """Run `atlas migrate apply` on the connection's database and schema.

    Args:
        binary: the Atlas CLI.
        connection: gives the server, the database and the schema. Atlas opens its own connection.
        directory: the migrations, with their atlas.sum.
        files: those that are not applied yet.

    Returns:
        False if this Atlas is too old for the server. It has changed nothing then.

    Raises:
        SchemaError: Atlas failed. The message is that of Atlas.
        psycopg.errors.LockNotAvailable: others have held a lock for `LOCK_TIMEOUT_SECONDS`.
    """
    for is_short, group in itertools.groupby(files, key=lambda file: file.transactional):
        together = tuple(group)
        # CREATE INDEX CONCURRENTLY, which runs without a transaction, waits for transactions and holds up none.
        wait_ms = LOCK_WAIT_MS if is_short else LOCK_TIMEOUT_SECONDS * 1000

        async def attempt(together: Sequence[MigrationFile] = together, wait_ms: int = wait_ms) -> bool:
            applied = {revision.version for revision in await read_revisions(connection)}
            left = sum(file.version not in applied for file in together)
            return left == 0 or await _apply(binary, connection, directory, left, wait_ms)

        if not await until_locked(attempt, what=together[0].name):
            return False
    _log.info("migrations_applied_by_atlas", extra={"binary": str(binary)})
    return True


async def _apply(binary: Path, connection: AsyncConnection, directory: Path, number: int, wait_ms: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="delegator-atlas-") as scratch:
        project = Path(scratch, "atlas.hcl")
        project.write_text(_project(directory, await revisions_schema(connection)), encoding="utf-8")  # noqa: ASYNC240 - a few lines, once
        # The URL holds the password. It goes into the environment, because every user can list command lines.
        process = await asyncio.create_subprocess_exec(
            binary,
            "migrate",
            "apply",
            str(number),
            "--env=delegator",
            f"--config=file://{project}",
            # The queue is in the application's own database, so Atlas finds tables that are not ours.
            "--allow-dirty",
            f"--lock-timeout={LOCK_TIMEOUT_SECONDS}s",
            env={
                **os.environ,
                _URL_VARIABLE: f"{await database_url(connection)}&lock_timeout={wait_ms}",
                "ATLAS_NO_UPDATE_NOTIFIER": "true",
                "ATLAS_NO_ANON_TELEMETRY": "true",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            output = (await process.communicate())[0].decode(errors="replace")
        except asyncio.CancelledError:
            send_signal(process, signal.SIGTERM)
            await process.wait()
            raise
    if process.returncode == 0:
        return True
    if _NO_LOCK in output:
        raise psycopg.errors.LockNotAvailable
    if _TOO_OLD in output:
        _log.warning("atlas_too_old", extra={"binary": str(binary), "server_version": connection.info.server_version})
        return False
    raise SchemaError(f"`{binary} migrate apply` failed: {_reason(output, connection.info.password)}")


def _project(directory: Path, revisions: str) -> str:
    return f"""env "delegator" {{
  url = getenv("{_URL_VARIABLE}")
  migration {{
    dir              = "file://{directory}"
    revisions_schema = "{revisions}"
  }}
}}
"""


def _reason(output: str, password: str) -> str:
    errors = re.findall(r"^(?:\s*)Error: (.*)$", output, re.MULTILINE)
    line = errors[-1] if errors else (output.strip().splitlines() or ["no output"])[-1]
    return line.replace(password, "***") if password else line


async def database_url(connection: AsyncConnection) -> str:
    """Return the connection's server, database and schema as the URL that Atlas expects."""
    info, parameters = connection.info, connection.info.get_parameters()
    row = await (await connection.execute("SELECT current_schema()::text")).fetchone()
    query = {"search_path": row[0] if row else "public"}
    if connection.pgconn.ssl_in_use:
        # Atlas's driver does not know `prefer`, libpq's default.
        mode = parameters.get("sslmode", "require")
        query["sslmode"] = mode if mode in ("verify-ca", "verify-full") else "require"
        query |= {key: parameters[key] for key in ("sslrootcert", "sslcert", "sslkey") if key in parameters}
    else:
        query["sslmode"] = "disable"
    host = info.host
    if host.startswith(("/", "@")):
        query["host"] = host
        host = ""
    elif ":" in host:
        host = f"[{host}]"
    user = quote(info.user, safe="")
    if info.password:
        user += ":" + quote(info.password, safe="")
    location = f"{host}:{info.port}" if host else ""
    if not host:
        query["port"] = str(info.port)
    return f"postgres://{user}@{location}/{quote(info.dbname, safe='')}?{urlencode(query)}"
