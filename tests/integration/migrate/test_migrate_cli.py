"""`delegator migrate` as it is typed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import psycopg
import pytest

from delegator.migrate.directory import migrations_directory, read_migrations
from tests.conftest import MakeDatabase

FILES = [file.name for file in read_migrations(migrations_directory())]
ATLAS = """#!/bin/sh
echo 'Error: sql/migrate: no luck today' >&2
exit 1
"""


async def delegator(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "delegator",
        "migrate",
        *arguments,
        env={**os.environ, "DELEGATOR_ATLAS": "off", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_what_it_prints(make_database: MakeDatabase) -> None:
    database = await make_database(migrated=False)
    url = ("--database-url", database.url)
    last = "the database is as declared (queues: default, video)\n"

    code, out, err = await delegator("--check", *url)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"delegator: not applied yet: {', '.join(FILES)}: run `delegator migrate` with")

    code, out, err = await delegator("--dry-run", *url, DELEGATOR_QUEUES="default,video")
    planned = [*(f"would apply {name}" for name in FILES), "would create queue video (table custom_task_queue_video)"]
    assert (code, out.splitlines(), err) == (0, planned, "")

    code, out, err = await delegator(*url, "--queues", "default,video")
    assert (code, err) == (0, "")
    assert out == "\n".join(planned).replace("would apply", "applied").replace("would create", "created") + "\n" + last

    for arguments in ((), ("--check",), ("--dry-run",)):
        assert await delegator(*arguments, *url, "--queues", "default,video") == (0, last, "")

    code, _, err = await delegator("--check", *url, "--queues", "audio")
    assert code == 2
    assert err == (
        "delegator: table custom_task_queue_audio is missing: run `delegator migrate` with DELEGATOR_QUEUES=audio\n"
    )


async def test_drift_is_an_error_with_a_fix_it_line(make_database: MakeDatabase) -> None:
    database = await make_database()
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("ALTER TABLE custom_task_queue SET (fillfactor = 100)")

    expected = (
        "delegator: table custom_task_queue has other storage settings: fillfactor (100):"
        ' ALTER TABLE "custom_task_queue" SET (fillfactor = 50)\n'
    )
    assert await delegator("--check", "--database-url", database.url) == (2, "", expected)
    assert await delegator("--database-url", database.url) == (2, "", expected)


async def test_a_refusing_atlas(make_database: MakeDatabase, tmp_path: Path) -> None:
    database = await make_database(migrated=False)
    binary = tmp_path / "atlas"
    binary.write_text(ATLAS)
    binary.chmod(0o755)

    code, _, err = await delegator("--database-url", database.url, DELEGATOR_ATLAS=str(binary))

    assert code == 2
    assert err == f"delegator: `{binary} migrate apply` failed: sql/migrate: no luck today\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--database-url", "postgresql://x:secret@127.0.0.1:1/x"),
            "can't connect to PostgreSQL (DELEGATOR_",
        ),
        (("--database-url", "no such thing"), "DELEGATOR_DATABASE_URL is neither a URL"),
        (("--queues", "Not A Queue"), "DELEGATOR_QUEUES"),
    ],
)
async def test_bad_input_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    code, out, err = await delegator(*arguments)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert "secret" not in err
