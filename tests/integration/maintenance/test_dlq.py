"""`delegator dlq` as it is typed, on dead letters that the engine's own statements stored."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
from psycopg.rows import dict_row
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import RetryState
from temporalio.exceptions import ApplicationError

from delegator.cli.main import build_app, run
from delegator.completion.failures import failed_outcome, failure_of
from delegator.maintenance import dead_letters
from delegator.postgres import dead_letters as dead_letter_rows
from delegator.postgres import leases
from delegator.postgres.connections import Connection, connect
from delegator.postgres.dead_letters import NewDeadLetter, Selection
from delegator.postgres.queue_table import NewJob, QueueTable
from delegator.wire.codec import encode_outcome, encode_payloads
from tests.integration.maintenance.converters import scrambled
from tests.support import Database, Databases

ROOT = Path(__file__).parents[3]
CONVERTER = {"DELEGATOR_DATA_CONVERTER": "tests.integration.maintenance.converters:scrambled"}
QUEUES = ("default", "video")
RUN = "0b1f6c1e-6d0a-4c53-9f0e-0d1f6c1e6d0a"
KEYS = [
    "id", "kind", "queue", "type", "reason", "error", "attempt", "job_id", "namespace", "workflow_id", "run_id",
    "enqueued_at", "died_at",
]  # fmt: skip
SECRET = "sesame"


@dataclass(frozen=True)
class DeadLetterQueue:
    """A database with dead letters."""

    database: Database
    connection: Connection

    async def add(self, job_id: str, **given: Any) -> int:
        """Make a dead letter as a worker does, delete the row as after the signal unless `kept`, and return its id."""
        given = {"queue": "default", "type": "resize", "reason": "attempts_exhausted", "workflow_id": "wf", **given}
        table = QueueTable(given["queue"])
        workflow_id = given["workflow_id"]
        argument = scrambled.payload_converter.to_payloads([SECRET])
        job = NewJob(
            job_id=job_id,
            job_type=given["type"],
            input=await encode_payloads(Payloads(payloads=argument).SerializeToString(), scrambled.payload_codec),
            header=None,
            options=orjson.dumps(given.get("options") or {"start_to_close_ms": 1000}).decode(),
            workflow_id=workflow_id,
            run_id=workflow_id and RUN,
            task_token=None,
            deadline_ms=None,
            waiter_id=None,
        )
        await table.insert(self.connection, "ns", [job])
        lease = await leases.grant(self.connection, "worker", "test", given["queue"], timedelta(minutes=1))
        ((claimed,), _) = await table.claim(self.connection, [(job_id, 0)], lease)
        error = ApplicationError("no pixels", SECRET, type="Broken", non_retryable=True)
        outcome = failed_outcome(
            failure_of(error, scrambled),
            job_id=job_id,
            job_type=given["type"],
            identity="worker 1",
            retry_state=RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED,
        )
        encoded = await encode_outcome(outcome, scrambled.payload_codec)
        dead = NewDeadLetter(job_id, claimed.fencing_token, "failed", encoded, given["reason"], "Broken")
        assert await dead_letter_rows.store_dead_letters(self.connection, table, [dead]) == {job_id: False}
        if not given.get("kept"):
            await table.delete_held(self.connection, [(job_id, claimed.fencing_token)])
        (row,) = await self.query("SELECT max(dead_letter_id) AS id FROM custom_task_dead_letter")
        if "ago" in given:
            await self.query(
                "UPDATE custom_task_dead_letter SET died_at = now() - %s WHERE dead_letter_id = %s RETURNING 1",
                given["ago"],
                row["id"],
            )
        return int(row["id"])

    async def query(self, statement: str, *parameters: Any) -> list[dict[str, Any]]:
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def rows(self, table: str = "custom_task_queue") -> list[dict[str, Any]]:
        return await self.query(f"SELECT * FROM {table} ORDER BY job_id")

    async def ids(self) -> list[int]:
        rows = await self.query("SELECT dead_letter_id AS id FROM custom_task_dead_letter ORDER BY 1")
        return [row["id"] for row in rows]

    async def dlq(self, *arguments: object, **environment: str) -> tuple[int | None, str, str]:
        return await dlq(
            *arguments,
            **{"DELEGATOR_DATABASE_URL": self.database.url, "DELEGATOR_QUEUES": ",".join(QUEUES), **environment},
        )

    async def dlq_json(self, *arguments: object, **environment: str) -> Any:
        code, out, err = await self.dlq(*arguments, "--json", **environment)
        assert (code, err, out.count("\n")) == (0, "", 1)
        return json.loads(out)


async def dlq(*arguments: object, **environment: str) -> tuple[int | None, str, str]:
    """Run the command in this process, where starting it costs nothing."""

    def run_here() -> int:
        with (
            mock.patch.object(sys, "argv", ["delegator", "dlq", *map(str, arguments)]),
            mock.patch.dict(os.environ, {"COLUMNS": "200", **environment}),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            return run(lambda: build_app("dlq"), "delegator")

    out, err = io.StringIO(), io.StringIO()
    code = await asyncio.to_thread(run_here)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture
async def letters(databases: Databases) -> AsyncIterator[DeadLetterQueue]:
    async with databases.fresh(QUEUES) as database:
        connection = await connect(database.url, application_name="test")
        async with connection:
            yield DeadLetterQueue(database, connection)


async def test_list_finds_by_every_filter(letters: DeadLetterQueue) -> None:
    first = await letters.add("a", ago=timedelta(hours=3))
    second = await letters.add("b", queue="video", type="encode", reason="unknown_type", ago=timedelta(hours=2))
    third = await letters.add("c", workflow_id="odd \x1b[31m id", ago=timedelta(minutes=5))
    fourth = await letters.add("d", workflow_id=None, reason="timed_out")

    listed = await letters.dlq_json("list")
    assert [letter["id"] for letter in listed] == [fourth, third, second, first]
    assert all(list(letter) == KEYS for letter in listed)
    assert listed[2] | {"enqueued_at": "", "died_at": ""} == {
        "id": second, "kind": "job", "queue": "video", "type": "encode", "reason": "unknown_type", "error": "Broken",
        "attempt": 1, "job_id": "b", "namespace": "ns", "workflow_id": "wf", "run_id": RUN,
        "enqueued_at": "", "died_at": "",
    }  # fmt: skip
    moment = (await letters.query("SELECT died_at FROM custom_task_dead_letter WHERE job_id = 'b'"))[0]["died_at"]
    for arguments, expected in {
        ("--queue", "video"): [second],
        ("--type", "resize"): [fourth, third, first],
        ("--reason", "timed_out"): [fourth],
        ("--workflow-id", "wf"): [second, first],
        ("--since", "1h"): [fourth, third],
        ("--until", "1h", "--since", "2h30m"): [second],
        ("--since", moment.isoformat()): [fourth, third, second],
        ("--until", moment.isoformat()): [first],
        ("--limit", "1"): [fourth],
        ("--queue", "video", "--type", "resize"): [],
    }.items():
        assert [letter["id"] for letter in await letters.dlq_json("list", *arguments)] == expected, arguments

    code, out, err = await letters.dlq("list")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == ["id", *map(str, (fourth, third, second, first))]
    assert "odd \\x1b[31m id" in out
    assert SECRET not in out
    code, out, err = await letters.dlq("list", "--limit", 2)
    assert (code, len(out.splitlines()), err.count("--limit")) == (0, 3, 1)
    code, out, err = await letters.dlq("list", "--limit", 1)
    assert err == "There may be more than this one: narrow the choice, or raise --limit.\n"
    assert await letters.dlq("list", "--type", "none") == (0, "", "no dead letters\n")


async def test_list_into_pipe(letters: DeadLetterQueue) -> None:
    """Where no terminal reads the list, each dead letter is one line, and no id is cut."""
    job_id, workflow_id = "j" * 300, "w" * 300
    await letters.add(job_id, workflow_id=workflow_id)
    _, out, _ = await letters.dlq("list", COLUMNS="80")
    _, line = out.splitlines()
    assert line.split()[-2:] == [job_id, workflow_id]


async def test_show(letters: DeadLetterQueue) -> None:
    """`show` decodes the failure, and prints payloads with --payloads only."""
    dead = await letters.add("a", options={"start_to_close_ms": 5})

    shown = await letters.dlq_json("show", dead, **CONVERTER)
    assert list(shown) == [*KEYS, "options", "input_bytes", "failure", "unreadable_failure"]
    assert (shown["failure"]["type"], shown["failure"]["message"]) == ("Broken", "no pixels")
    assert shown["failure"]["retry_state"] == "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED"
    assert shown["options"] == {"start_to_close_ms": 5}
    assert SECRET not in json.dumps(shown)

    shown = await letters.dlq_json("show", dead, "--payloads", **CONVERTER)
    assert shown["input"] == [{"encoding": "json/plain", "value": SECRET}]
    assert shown["failure"]["details"] == shown["input"]

    code, out, err = await letters.dlq("show", dead, **CONVERTER)
    assert (code, err) == (0, "")
    assert "Broken: no pixels (non-retryable)" in out
    assert SECRET not in out

    shown = await letters.dlq_json("show", dead)
    assert shown["failure"] is None
    assert "DELEGATOR_DATA_CONVERTER" in shown["unreadable_failure"]


async def streamed(letters: DeadLetterQueue) -> int:
    """How many inserts the publications have streamed."""
    publications = "delegator_publication,delegator_publication_video"
    rows = await letters.query(
        "SELECT count(*) AS inserts FROM pg_logical_slot_peek_binary_changes('probe', NULL, NULL, "
        f"'proto_version', '1', 'publication_names', '{publications}') WHERE get_byte(data, 0) = ascii('I')"
    )
    return int(rows[0]["inserts"])


async def test_replay(letters: DeadLetterQueue) -> None:
    """`replay` enqueues the job again with a new fencing token, and publishes it."""
    dead = await letters.add("a", options={"schedule_to_close_ms": 3_600_000, "schedule_to_start_ms": 60_000})
    signalled_id = await letters.add("b", queue="video")
    (row,) = await letters.query("SELECT pg_current_xact_id()::text::int8 AS token")
    await letters.query("SELECT pg_create_logical_replication_slot('probe', 'pgoutput')")

    code, out, err = await letters.dlq("replay", dead, "--yes")
    assert (code, out, err) == (0, "replayed 1 dead letter\n", "")
    result = await letters.dlq_json("replay", "--queue", "video", "--signal", "-y")
    assert [letter["id"] for letter in result["replayed"]] == [signalled_id]
    assert (result["in_queue"], result["gone"]) == ([], [])

    assert await letters.ids() == []
    async with asyncio.timeout(60):
        while await streamed(letters) < 2:  # a slot shows what is flushed, which a commit here does not wait for
            await asyncio.sleep(0.05)
    assert await streamed(letters) == 2
    (plain,) = await letters.rows()
    assert [plain[name] for name in ("job_id", "attempt", "namespace", "workflow_id", "run_id", "waiter_id")] == [
        "a", 0, None, None, None, None,
    ]  # fmt: skip
    assert plain["input"]
    assert timedelta(seconds=50) < plain["deadline"] - plain["enqueued_at"] <= timedelta(seconds=60)
    (signalled,) = await letters.rows("custom_task_queue_video")
    assert [str(signalled[name]) for name in ("namespace", "workflow_id", "run_id")] == ["ns", "wf", RUN]
    lease = await leases.grant(letters.connection, "worker", "test", "default", timedelta(minutes=1))
    ((claimed,), _) = await QueueTable("default").claim(letters.connection, [("a", 0)], lease)
    assert claimed.attempt == 1
    assert claimed.fencing_token > row["token"]


async def test_replay_queued_job(letters: DeadLetterQueue) -> None:
    """`replay` leaves a dead letter alone whose job is already in the queue."""
    older, newer = (
        await letters.add("a", type="older"),
        await letters.add("a", type="newer"),
    )

    code, out, err = await letters.dlq("replay", "--all", "--yes")
    assert (code, out) == (1, "replayed 1 dead letter\n")
    assert err == f"left 1 dead letter of queue default ({older}): jobs with the same ids wait or run there\n"
    assert await letters.ids() == [older]
    assert [row["job_type"] for row in await letters.rows()] == ["newer"]

    code, out, err = await letters.dlq("replay", older, "--yes", "--json")
    assert code == 1
    assert [letter["id"] for letter in json.loads(out)["in_queue"]] == [older]
    assert len(await letters.rows()) == 1
    assert newer not in await letters.ids()


async def test_replay_after_death(letters: DeadLetterQueue) -> None:
    """`replay` sums up the dead letters whose completed rows are still there, and says when to try again."""
    ids = [await letters.add(f"job {number:02}", kept=True) for number in range(12)]

    code, out, err = await letters.dlq("replay", "--all", "--yes")
    assert (code, out) == (1, "replayed 0 dead letters\n")
    assert err == (
        f"left 12 dead letters of queue default ({', '.join(map(str, ids[:10]))} and 2 more): "
        "the completed rows of their jobs are kept for a few seconds more; try again then\n"
    )
    assert await letters.ids() == ids


async def test_concurrent_replays(letters: DeadLetterQueue) -> None:
    """Several replays at once enqueue each job once."""
    ids = [await letters.add(f"job {number}") for number in range(20)]
    settings = letters.database.settings
    found = await dead_letters.find(settings, Selection(ids=ids))

    results = await asyncio.gather(*(dead_letters.replay(settings, found, signal=False) for _ in range(3)))

    assert sorted(letter.id for result in results for letter in result.replayed) == ids
    assert [len(result.replayed) + len(result.in_queue) + len(result.gone) for result in results] == [20] * 3
    assert (len(await letters.rows()), await letters.ids()) == (20, [])


async def test_purge(letters: DeadLetterQueue) -> None:
    """`purge` deletes the selected dead letters and prints their number."""
    first, second = await letters.add("a"), await letters.add("b")
    third = await letters.add("c", queue="video")
    assert await letters.dlq("purge", first, first, "--yes") == (0, "purged 1 dead letter\n", "")
    assert await letters.ids() == [second, third]
    assert await letters.dlq_json("purge", "--queue", "video", "--yes") == {"purged": 1}
    nothing = "no such dead letters: nothing to do\n"
    assert await letters.dlq("purge", "--queue", "video", "--yes") == (0, "", nothing)
    assert await letters.ids() == [second]
    assert await letters.rows() == []


@pytest.mark.parametrize("action", ["replay", "purge"])
async def test_no_terminal(letters: DeadLetterQueue, action: str) -> None:
    """Without a terminal the command refuses to act unless --yes is given."""
    dead = await letters.add("a")
    code, out, err = await letters.dlq(action, dead)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--yes" in err
    assert (await letters.ids(), await letters.rows()) == ([dead], [])


async def answer(letters: DeadLetterQueue, reply: bytes, arguments: Sequence[object]) -> tuple[int | None, str]:
    """Run on a terminal, and answer the question."""
    terminal, end = pty.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "delegator", "dlq", *map(str, arguments)),
            cwd=ROOT,
            env={**os.environ, "DELEGATOR_DATABASE_URL": letters.database.url},
            stdin=end,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        os.write(terminal, reply)
        out, err = await process.communicate()
        return process.returncode, (out + err).decode()
    finally:
        for descriptor in (terminal, end):
            with suppress(OSError):
                os.close(descriptor)


async def test_confirmation(letters: DeadLetterQueue) -> None:
    """On a terminal the command asks first, and acts only after a yes."""
    first, second = await letters.add("a"), await letters.add("b", queue="video")
    code, said = await answer(letters, b"n\n", ["purge", "--all"])
    assert code == 1
    assert "purge 2 dead letters (1 of default, 1 of video) for good? [y/N]" in said
    assert "nothing was changed" in said
    assert await letters.ids() == [first, second]
    code, said = await answer(letters, b"y\n", ["replay", first])
    assert code == 0
    assert "as plain jobs?" in said
    assert (await letters.ids(), len(await letters.rows())) == ([second], 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("list --queue No", "--queue No"),
        ("list --queue foo", "--queue foo: not a declared queue (DELEGATOR_QUEUES declares default)"),
        ("list --reason bored", "attempts_exhausted"),
        ("list --since tomorrow", "--since tomorrow"),
        ("list --limit 0", "--limit 0"),
        ("show one", "one: not the id"),
        ("show 99999999999999999999", "not the id"),
        ("show 404", "no dead letter 404"),
        ("replay --yes", "--all"),
        ("replay 1 --all --yes", "say which"),
        ("purge 1 --queue default --yes", "say which"),
        ("purge 403 404 --yes", "no dead letter 403, 404"),
    ],
)
async def test_bad_arguments(module_database: Database, arguments: str, said: str) -> None:
    """Bad arguments end the command with one line."""
    code, out, err = await dlq(*arguments.split(), DELEGATOR_DATABASE_URL=module_database.url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("delegator: ")
    assert said in err


@pytest.mark.parametrize("url", ["postgresql://x:sesame@127.0.0.1:1/x", "no such thing"])
async def test_unreachable_database(url: str) -> None:
    """A database that does not answer ends the command with one line."""
    for arguments in (["list"], ["show", "1"], ["replay", "1", "--yes"], ["purge", "1", "--yes"]):
        code, out, err = await dlq(*arguments, "--database-url", url)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "DELEGATOR_DATABASE_URL" in err
        assert SECRET not in err


async def test_missing_queue_table(letters: DeadLetterQueue) -> None:
    """`replay` into a queue without a table ends with one line, and keeps the dead letter."""
    dead = await letters.add("a", queue="video")
    await letters.connection.execute("DROP TABLE custom_task_queue_video")
    code, out, err = await letters.dlq("replay", dead, "--yes")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "delegator migrate" in err
    assert await letters.ids() == [dead]


async def test_unmigrated_database(databases: Databases) -> None:
    """A database without our tables ends the command with one line that names `delegator migrate`."""
    async with databases.fresh(migrated=False) as empty:
        code, out, err = await dlq("list", DELEGATOR_DATABASE_URL=empty.url)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "delegator migrate" in err
