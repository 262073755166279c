"""`delegator doctor`: it finds each of these broken set-ups and names the fix."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from delegator_schema.publications import REPLICA_IDENTITY
from delegator_schema.queues import queue_slot
from pydantic import SecretStr

from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.operating.doctor import DoctorOptions, Status, examine
from delegator.operating.doctor.stream import check_stream
from delegator.relay import RelayOptions, running_relay
from tests.integration.operating.commands import Ran, delegator
from tests.integration.operating.conftest import SHOP, Operator
from tests.support import Database, Databases

NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True)
class Fault:
    """A broken set-up, and what must be said of it."""

    link: str
    fix: str
    breaks: Sequence[str] = ()
    """SQL."""
    mends: Sequence[str] = ()
    """SQL that undoes it."""
    variables: dict[str, str] = field(default_factory=dict)


QUEUE = "custom_task_queue"
FAULTS = {
    "misspelt setting": Fault("settings", "DELEGATOR_QUEUES", variables={"DELEGATOR_QUEUE": "mails"}),
    "no database": Fault(
        "postgresql", "DELEGATOR_DATABASE_URL", variables={"DELEGATOR_DATABASE_URL": f"postgresql://a@{NOWHERE}/b"}
    ),
    "no table of a queue": Fault(
        "queue mails",
        "`delegator migrate` with DELEGATOR_QUEUES=default,mails",
        variables={"DELEGATOR_QUEUES": "default,mails"},
    ),
    "missing column": Fault(
        "column",
        'ADD COLUMN "note"',
        ["ALTER TABLE custom_task_pause DROP COLUMN note"],
        ["ALTER TABLE custom_task_pause ADD COLUMN note text"],
    ),
    "missing index": Fault(
        "index",
        "CREATE INDEX CONCURRENTLY",
        ["DROP INDEX custom_task_queue_permit"],
        [f"CREATE INDEX custom_task_queue_permit ON {QUEUE} (permit) WHERE permit IS NOT NULL"],
    ),
    "replica identity": Fault(
        "replica identity",
        f'ALTER TABLE "{QUEUE}" REPLICA IDENTITY',
        [f"ALTER TABLE {QUEUE} REPLICA IDENTITY FULL"],
        [f"ALTER TABLE {QUEUE} REPLICA IDENTITY {REPLICA_IDENTITY}"],
    ),
    "publication of updates": Fault(
        "publication",
        "SET (publish = 'insert')",
        ["ALTER PUBLICATION {publication} SET (publish = 'insert, update')"],
        ["ALTER PUBLICATION {publication} SET (publish = 'insert')"],
    ),
    "table not published": Fault(
        "publication",
        "ADD TABLE",
        [f"ALTER PUBLICATION {{publication}} DROP TABLE {QUEUE}"],
        [f"ALTER PUBLICATION {{publication}} ADD TABLE {QUEUE} (job_id, fencing_token)"],
    ),
    "no slot": Fault("slot of queue default", "`delegator relay`"),
    "no stream": Fault("stream", "DELEGATOR_STREAM_URL", variables={"DELEGATOR_STREAM_URL": f"http://{NOWHERE}"}),
    "no Temporal": Fault("temporal", "TEMPORAL_ADDRESS", variables={"TEMPORAL_ADDRESS": NOWHERE}),
    "wrong namespace": Fault("temporal", "TEMPORAL_NAMESPACE", variables={"TEMPORAL_NAMESPACE": "elsewhere"}),
    "ignored Temporal setting": Fault("temporal", "TEMPORAL_ADDRESS", variables={"TEMPORAL_HOST": NOWHERE}),
    "no data converter": Fault(
        "data converter", "DELEGATOR_DATA_CONVERTER", variables={"DELEGATOR_DATA_CONVERTER": "no.module:here"}
    ),
    "no maintenance": Fault("maintenance", "`delegator serve`"),
    "no worker": Fault("workers of queue default", "`http-worker --queue default --import MODULE`"),
    "type that nobody serves": Fault(
        "workers of queue default",
        "give the workers of queue default the module of sing",
        [
            f"INSERT INTO {QUEUE} (job_id, job_type) VALUES ('a', 'sing')",
            "INSERT INTO custom_task_lease (role, holder, queue, job_types, expires_at)"
            " VALUES ('worker', '1@here', 'default', ARRAY['dance'], now() + interval '1 hour')",
        ],
        [f"DELETE FROM {QUEUE}", "DELETE FROM custom_task_lease"],
    ),
    "clock of a worker": Fault(
        "clock of worker 2@there",
        "NTP",
        [
            "INSERT INTO custom_task_lease (role, holder, queue, expires_at, renewed_at, report)"
            " VALUES ('worker', '2@there', 'default', now() + interval '1 hour', now(), jsonb_build_object("
            "'at_ms', (date_part('epoch', now() + interval '1 minute') * 1000)::int8))"
        ],
        ["DELETE FROM custom_task_lease"],
    ),
    "slot without a reader": Fault(
        "slot of queue default",
        "`delegator relay`",
        ["SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"],
        ["SELECT pg_drop_replication_slot('{slot}')"],
    ),
}


@dataclass(frozen=True)
class Patient:
    """A migrated database, and servers, without the engine's processes."""

    database: Database
    variables: dict[str, str]

    async def run(self, statements: Sequence[str]) -> None:
        settings = self.database.settings
        names = {"publication": settings.publication, "slot": queue_slot("default", settings.slot)}
        async with await psycopg.AsyncConnection.connect(self.database.url, autocommit=True) as connection:
            for statement in statements:
                await connection.execute(statement.format(**names).encode())

    async def doctor(self, *arguments: str, **variables: str) -> Ran:
        return await delegator("doctor", "--no-canary", "--json", *arguments, **{**self.variables, **variables})


@pytest.fixture(scope="module")
async def patient(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Patient]:
    async with databases.fresh() as database:
        settings = database.settings
        variables = {
            "DELEGATOR_DATABASE_URL": database.url,
            "DELEGATOR_SLOT": settings.slot,
            "DELEGATOR_PUBLICATION": settings.publication,
            "TEMPORAL_ADDRESS": temporal.address,
            "TEMPORAL_NAMESPACE": NAMESPACE,
            "DELEGATOR_STREAM_URL": f"http://{NOWHERE}",
        }
        yield Patient(database, variables)


@pytest.mark.parametrize("name", FAULTS)
async def test_fault(patient: Patient, name: str) -> None:
    """The fault is found, and its fix is named."""
    fault = FAULTS[name]
    await patient.run(fault.breaks)
    try:
        ran = await patient.doctor(**fault.variables)
        assert ran.code == 1, ran
        failures = [check for check in ran.json["checks"] if check["status"] == "failed"]
        found = [f"{check['text']} -> {check['fix']}" for check in failures if check["link"] == fault.link]
        assert found, failures
        assert any(fault.fix in text for text in found), found
    finally:
        await patient.run(fault.mends)


async def test_declared_types(patient: Patient) -> None:
    """A declared type is missed even if it has no jobs: nobody serves it, or there is no such queue."""
    lease = "('worker', '1@here', 'default', ARRAY['charge', 'pack', 'refund'], now() + interval '1 hour')"
    await patient.run([f"INSERT INTO custom_task_lease (role, holder, queue, job_types, expires_at) VALUES {lease}"])
    try:
        ran = await patient.doctor("--import", SHOP, "--import", "tests.integration.delegator.queued_tasks")
        found = {check["text"]: check["fix"] for check in ran.json["checks"] if check["link"].startswith("workers of")}
        assert found == {
            "no live worker has a handler for the declared type greet": "start a worker of queue default that has a"
            " handler for it, in the language of the handler",
            "no such queue, and it is that of type in_other_queue": "add other to DELEGATOR_QUEUES and run"
            " `delegator migrate`, or correct the queue of the types",
        }
    finally:
        await patient.run(["DELETE FROM custom_task_lease"])


async def test_not_migrated(databases: Databases) -> None:
    """An empty database and one whose role has no privileges are told apart."""
    async with databases.fresh(migrated=False) as empty:
        ran = await delegator("doctor", "--no-canary", "--json", DELEGATOR_DATABASE_URL=empty.url)
        (migrations,) = [check for check in ran.json["checks"] if check["link"] == "migrations"]
        assert "delegator migrate" in migrations["fix"]


async def test_token(databases: Databases) -> None:
    """A wrong token and a queue that the stream does not know are found at the stream."""
    async with databases.fresh(("default", "mails")) as database:
        settings = database.settings.model_copy(update={"queues": ("default",), "stream_token": SecretStr("right")})
        options = RelayOptions.from_settings(settings, port=0)
        async with running_relay(options) as relay:
            variables = {
                "DELEGATOR_DATABASE_URL": database.url,
                "DELEGATOR_QUEUES": "default,mails",
                "DELEGATOR_SLOT": settings.slot,
                "DELEGATOR_PUBLICATION": settings.publication,
                "DELEGATOR_STREAM_URL": relay.url,
            }
            for token, link, fix in (
                ("wrong", "stream of queue default", "DELEGATOR_STREAM_TOKEN"),
                ("right", "stream of queue mails", "DELEGATOR_QUEUES of the relay"),
            ):
                ran = await delegator("doctor", "--no-canary", "--json", **variables, DELEGATOR_STREAM_TOKEN=token)
                fixes = [check["fix"] for check in ran.json["checks"] if check["link"] == link]
                assert len(fixes) == 1
                assert fix in fixes[0]


async def test_several_streams(database: Database) -> None:
    """Each of several servers is checked; one that streams is enough, and the queues are asked of that one."""
    settings = database.settings
    async with (
        running_relay(RelayOptions.from_settings(settings, port=0)) as first,
        running_relay(RelayOptions.from_settings(settings, port=0), wait=False) as second,
    ):
        async with asyncio.timeout(60):
            while not second.relay.state.standby:
                await asyncio.sleep(0.02)
        dead = f"http://{NOWHERE}"
        urls = f"{dead}, {second.url}/,{first.url}"
        found = {check.link: check for check in await check_stream(settings.model_copy(update={"stream_url": urls}))}
        assert (found["stream"].status, found["stream"].text) == (Status.OK, f"{first.url} answers, of 3 servers")
        assert found[f"stream server {second.url}"].text == f"{second.url} stands by"
        assert found[f"stream server {dead}"].status is Status.NOTE
        assert found["stream of queue default"].status is Status.OK
        # Nobody is told of the other relay.
        only = settings.model_copy(update={"stream_url": second.url})
        alone = {check.link: check for check in await check_stream(only)}
        assert alone["stream"].status is Status.FAILED
        assert "name all relays" in str(alone["stream"].fix)
        none = await check_stream(settings.model_copy(update={"stream_url": f"{dead},{second.url}"}))
        assert [check.status for check in none[:3]] == [Status.FAILED] * 3


async def test_old_transaction(patient: Patient) -> None:
    """A transaction that has been open for long keeps dead rows, and is named."""
    async with await psycopg.AsyncConnection.connect(patient.database.url, application_name="forgotten") as connection:
        await connection.execute(b"SELECT pg_current_xact_id()")
        options = DoctorOptions(canary=False, oldest_transaction=timedelta(0))
        found = [check async for check in examine(lambda: patient.database.settings, options) if check.link == "vacuum"]
        assert [check.status for check in found] == [Status.FAILED]
        assert "forgotten" in found[0].text
        assert f"pg_terminate_backend({connection.info.backend_pid})" in str(found[0].fix)


async def test_healthy(operator: Operator) -> None:
    """On an engine that works every link is right, a job goes through it, and a pause is what stops it."""
    async with operator.worker():
        ran = await operator.run("doctor", "--json", "--timeout", "60s", "--import", SHOP)
        statuses: dict[str, Any] = {check["link"]: check["status"] for check in ran.json["checks"]}
        assert (ran.code, ran.json["ok"]) == (0, True), ran.out
        assert statuses["canary in queue default"] == "ok"
        await operator.run("queues", "pause", "default")
        ran = await operator.run("doctor", "--timeout", "1s")
        assert ran.code == 1
        assert (
            "FAILED  canary in queue default: the job did not come through within 1 s: Queue default was paused"
            in ran.out
        )
        assert "-> `delegator queues resume default`" in ran.out
        await operator.run("queues", "resume", "default")
    assert (await operator.run("doctor", "--no-canary")).out.count("FAILED") == 1
