"""The SQL functions: for triggers and other languages, with the privileges of the role `delegator_enqueue`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psycopg
import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.client import Client
from temporalio.converter import DataConverter

from delegator.outbox import Outbox
from tests.integration.outbox.conftest import TASK_QUEUE
from tests.integration.outbox.flows import Mailbox
from tests.integration.outbox.support import eventually, is_empty, result, status
from tests.support import Database

pytestmark = pytest.mark.usefixtures("serving", "worker")


def new_id() -> str:
    return f"sql-{uuid.uuid4()}"


@pytest.fixture(scope="module")
async def app(module_database: Database) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection of a role that may only enqueue, and that has another search_path."""
    role = f"shop_{module_database.name}"
    async with await psycopg.AsyncConnection.connect(module_database.url, autocommit=True) as owner:
        await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' IN ROLE delegator_enqueue".encode())
        await owner.execute(f"ALTER ROLE {role} SET search_path = pg_temp".encode())
        parts = urlsplit(module_database.url)
        url = f"postgresql://{role}:x@{parts.hostname}:{parts.port}{parts.path}"
        try:
            async with await psycopg.AsyncConnection.connect(url) as connection:
                yield connection
        finally:
            await owner.execute(f"DROP ROLE {role}".encode())


async def test_workflows(app: psycopg.AsyncConnection, temporal_client: Client, module_database: Database) -> None:
    """Start, signal, signal with start and cancel, in order, each if the transaction commits."""
    echo, box, other, lost = (new_id() for _ in range(4))

    async def call(function: str, *arguments: object) -> bool:
        places = ", ".join(["%s"] * len(arguments))
        row = await (await app.execute(f"SELECT public.{function}({places})".encode(), arguments)).fetchone()
        assert row is not None
        return bool(row[0])

    assert await call("delegator_start_workflow", "Echo", echo, TASK_QUEUE, '["ä", 5]')
    assert await call("delegator_start_workflow", "Mailbox", box, TASK_QUEUE)
    assert await call("delegator_signal_workflow", box, "put", "[1]")
    assert await call("delegator_signal_workflow", box, "put", "[2]", f"key {box}")
    assert not await call("delegator_signal_workflow", box, "put", "[2]", f"key {box}")
    assert await call("delegator_cancel_workflow", box)
    assert await call("delegator_signal_with_start_workflow", "Mailbox", other, TASK_QUEUE, "[]", "put", "[3]")
    assert await call("delegator_signal_workflow", other, "close")
    await app.commit()
    await call("delegator_start_workflow", "Echo", lost, TASK_QUEUE, '["x", 5]')
    await app.rollback()
    assert await result(temporal_client, echo) == ["ä", 5]
    assert await result(temporal_client, box) == [1, 2, -1]
    assert await result(temporal_client, other) == [3]
    await eventually(lambda: is_empty(module_database.url))
    assert await status(temporal_client, lost) is None


async def test_same_request_id(app: psycopg.AsyncConnection, outbox: Outbox, temporal_client: Client) -> None:
    """A key gives the same request id in SQL and in Python."""
    name = new_id()
    with psycopg.connect(app.info.dsn, password="x") as db:
        outbox.start_workflow(db, Mailbox.run, id=name, task_queue=TASK_QUEUE)
        outbox.signal_workflow(db, name, Mailbox.put, 1, key=f"ü {name}")
        db.commit()
        await eventually(lambda: is_empty(str(db.info.dsn) + " password=x options=-csearch_path=public"))
        db.execute("SELECT public.delegator_signal_workflow(%s, 'put', '[1]', %s)", (name, f"ü {name}"))
        outbox.signal_workflow(db, name, Mailbox.close)
    assert await result(temporal_client, name) == [1]


async def test_refused(app: psycopg.AsyncConnection) -> None:
    """Wrong arguments are refused, and a role that may only enqueue can't take or change what others have written."""
    for statement in (
        b"SELECT public.delegator_start_workflow('Echo', '', 'q')",
        b"SELECT public.delegator_start_workflow('Echo', 'x', NULL)",
        b"SELECT public.delegator_signal_workflow('x', NULL)",
        b"""SELECT public.delegator_start_workflow('Echo', 'x', 'q', '{"no": "array"}')""",
        b"SELECT public.delegator_enqueue('', '[]')",
        b"SELECT public.delegator_enqueue('t', '[]', NULL, 'Bad; DROP')",
    ):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            await app.execute(statement)
        await app.rollback()
    for statement in (
        b"DELETE FROM public.custom_task_outbox",
        b"UPDATE public.custom_task_queue SET attempt = 0",
        b"SELECT FROM public.custom_task_dead_letter",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await app.execute(statement)
        await app.rollback()


@pytest.mark.parametrize("size", [0, 1, 100, 101, 127, 128, 129, 200, 16_000, 17_000, 1_500_000])
async def test_payloads(app: psycopg.AsyncConnection, size: int) -> None:
    """The functions write payloads as the SDK's default converter reads them, whatever their size."""
    arguments = ["x" * size, None, {"a": [1.5, True]}]
    cursor = await app.execute(
        "SELECT public.delegator_payloads(%s)", (psycopg.types.json.Jsonb(arguments),), binary=True
    )
    row = await cursor.fetchone()
    assert row is not None
    payloads = Payloads.FromString(row[0]).payloads
    assert DataConverter.default.payload_converter.from_payloads(payloads) == arguments
    assert payloads[0].metadata == {"encoding": b"json/plain"}


async def test_enqueue(app: psycopg.AsyncConnection) -> None:
    """`delegator_enqueue` writes a plain job; an id that is in the queue is left alone; a delay puts it off."""
    job_id = new_id()
    rows = await app.execute(
        b"SELECT public.delegator_enqueue('t', '[1]', %(id)s), public.delegator_enqueue('t', '[1]', %(id)s), "
        b"public.delegator_enqueue('t', '[1]', %(id)s || '-later', 'default', interval '1 hour')",
        {"id": job_id},
    )
    assert await rows.fetchone() == (True, False, True)
    found = await app.execute(
        b"SELECT job_type, options, retry_at > now() FROM public.custom_task_queue WHERE starts_with(job_id, %s) "
        b"ORDER BY job_id",
        (job_id,),
    )
    assert await found.fetchall() == [("t", None, None), ("t", {"start_delay_ms": 3_600_000}, True)]
    await app.rollback()


async def test_trigger(module_database: Database, app: psycopg.AsyncConnection, temporal_client: Client) -> None:
    """A trigger on a table of the application starts a workflow for each deleted row."""
    name = new_id()
    async with await psycopg.AsyncConnection.connect(module_database.url) as owner:
        await owner.execute(b"CREATE TABLE person (name text)")
        await owner.execute(b"GRANT ALL ON person TO PUBLIC")
        await owner.execute(
            b"""CREATE FUNCTION person_deleted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM public.delegator_start_workflow('Echo', OLD.name, 'outbox', jsonb_build_array(OLD.name, 7));
            RETURN NULL; END $$"""
        )
        await owner.execute(
            b"CREATE TRIGGER person_deleted AFTER DELETE ON person FOR EACH ROW EXECUTE FUNCTION person_deleted()"
        )
    await app.execute("INSERT INTO public.person VALUES (%s)", (name,))
    await app.execute(b"DELETE FROM public.person")
    await app.commit()
    assert await result(temporal_client, name) == [name, 7]
