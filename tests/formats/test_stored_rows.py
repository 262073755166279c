"""Stored rows, loaded into a fresh database, are run, answered, signalled and replayed as the current release's are."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from delegator_schema.columns import FORMAT_VERSION
from temporalio.client import WorkflowHandle

from delegator.dev.temporal import TemporalServer
from delegator.errors import ConfigurationError
from delegator.maintenance import dead_letters
from delegator.maintenance.dead_letter_report import describe
from delegator.postgres.dead_letters import Selection
from delegator.wire.outcomes import unpack_signal
from tests.formats import flows
from tests.formats.folders import folder, stored, version_of
from tests.formats.histories import CONVERTERS, JOBS, worker
from tests.formats.rows import OUTCOMES, RUN_ID, WORKFLOW_ID, job_id_of
from tests.integration.delegator.environment import OUTCOMES_SIGNAL, SIGNALLED, Environment, environment, eventually
from tests.support import Databases

INLINE = {"completed-inline", "failed-inline"}
SNOOZED = {"waiting": 0, "policy": 0, "backing-off": 1}
"""Jobs that a worker would run, and the attempts they have had."""
TASK_QUEUE = "stored rows"


@asynccontextmanager
async def engine_for(databases: Databases, temporal: TemporalServer, converter: str) -> AsyncIterator[Environment]:
    async with (
        environment(databases, temporal, data_converter=CONVERTERS[converter], http_worker=False) as engine,
        engine.http_worker(modules=[JOBS]),
    ):
        yield engine


async def load(engine: Environment, path: Path, *changes: str) -> WorkflowHandle[Any, Any]:
    """Start the workflow that waits for the stored jobs, on a task queue without workers yet, and load the rows."""
    handle = await engine.start(flows.Stored.run, version_of(path), task_queue=TASK_QUEUE)
    run_id = handle.first_execution_run_id
    assert run_id is not None
    statements = path.read_text().replace(WORKFLOW_ID, handle.id).replace(RUN_ID, run_id)
    url = engine.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for statement in (statements, *changes):
            await connection.execute(statement.encode())
    return handle


async def letters(engine: Environment) -> list[dict[str, Any]]:
    """Return the dead letters as `delegator dlq show --payloads` does."""
    described = []
    for letter in await dead_letters.find(engine.settings, Selection()):
        content = await dead_letters.content(engine.settings, letter.id)
        described.append(await describe(letter, content, engine.client.data_converter, payloads=True))
    return described


async def signalled(engine: Environment, handle: WorkflowHandle[Any, Any]) -> set[str]:
    """Return the ids of the jobs whose outcomes came by signal."""
    job_ids: set[str] = set()
    for event in (await handle.fetch_history()).events:
        signal = event.workflow_execution_signaled_event_attributes
        if signal.signal_name == OUTCOMES_SIGNAL:
            payloads = list(signal.input.payloads)
            codec = engine.client.data_converter.payload_codec
            if codec is not None:
                payloads = await codec.decode(payloads)
            job_ids |= {job_id for job_id, _ in unpack_signal(payloads[0].data)}
    return job_ids


@pytest.mark.parametrize("path", stored("rows"), ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
async def test_stored_rows_reach_their_workflow(path: Path, databases: Databases, temporal: TemporalServer):
    version = version_of(path)
    async with engine_for(databases, temporal, path.stem) as engine:
        handle = await load(engine, path)
        (letter,) = [shown for shown in await letters(engine) if shown["job_id"] == job_id_of("dead", version)]
        assert letter["failure"]["message"] == "refused: stored"
        assert letter["failure"]["details"] == [{"encoding": "json/plain", "value": {"reason": "stored"}}]
        assert letter["input"] == [{"encoding": "json/plain", "value": 21}]
        found = await dead_letters.find(engine.settings, Selection(ids=[letter["id"]]))
        replayed = await dead_letters.replay(engine.settings, found, signal=True)
        assert len(replayed.replayed) == 1
        await engine.nothing_left()  # so all that is to come by signal has been sent
        async with worker(engine, SIGNALLED, TASK_QUEUE):
            assert await engine.result(handle) == OUTCOMES

            async def rows_are_gone() -> bool:
                return not await engine.rows()

            await eventually(rows_are_gone)
        assert await signalled(engine, handle) == {job_id_of(name, version) for name in OUTCOMES if name not in INLINE}
        (exhausted,) = await letters(engine)
        assert (exhausted["job_id"], exhausted["attempt"]) == (job_id_of("policy", version), 2)


async def test_rows_of_a_later_format_wait_for_a_newer_release(
    databases: Databases, temporal: TemporalServer, caplog: pytest.LogCaptureFixture
):
    """Every process refuses them by name and leaves them as they are; once they can be read, all goes on."""
    later = FORMAT_VERSION + 1
    path = folder(FORMAT_VERSION, "rows") / "plain.sql"
    problem = f"the row has format {later}, this release reads up to {FORMAT_VERSION}: update temporal-delegator"
    make_later = [
        f"UPDATE {table} SET format_version = {later}" for table in ("custom_task_queue", "custom_task_dead_letter")
    ]
    caplog.set_level(logging.ERROR)
    async with engine_for(databases, temporal, "plain") as engine:
        handle = await load(engine, path, *make_later)
        found = await dead_letters.find(engine.settings, Selection())
        with pytest.raises(ConfigurationError, match=problem):
            await dead_letters.replay(engine.settings, found, signal=True)
        ((shown,), given) = await letters(engine), ["unreadable_failure", "unreadable_input"]
        assert [shown[name] for name in given] == [problem, problem]
        await engine.query(f"UPDATE custom_task_dead_letter SET format_version = {FORMAT_VERSION} RETURNING 1")
        found = await dead_letters.find(engine.settings, Selection())
        assert len((await dead_letters.replay(engine.settings, found, signal=True)).replayed) == 1

        async def all_refused() -> bool:
            here = "\n".join(str(vars(record)) for record in caplog.records)
            return all(
                (
                    *(is_refused("job_snoozed", engine.logs(), name) for name in SNOOZED),
                    *(is_refused("outcome_unreadable", here, name) for name in ("completed-signal", "failed-signal")),
                    is_refused("timeout_not_stored", here, "overdue"),
                )
            )

        def is_refused(event: str, log: str, name: str) -> bool:
            return any(event in line and job_id_of(name) in line and problem in line for line in log.splitlines())

        async def all_snoozed() -> bool:
            rows = await engine.rows("lease_id IS NULL AND retry_at > now() AND outcome IS NULL")
            attempts = {row["job_id"]: row["attempt"] for row in rows}
            return attempts == {job_id_of(name): attempt for name, attempt in {**SNOOZED, "overdue": 1}.items()}

        async def all_handed_over() -> bool:
            rows = await engine.rows("waiter_id IS NULL AND outcome IS NOT NULL")
            names = [name for name in OUTCOMES if name.startswith(("completed", "failed"))]
            return {row["job_id"] for row in rows} == set(map(job_id_of, names))

        await eventually(all_refused)
        await eventually(all_snoozed)
        async with worker(engine, SIGNALLED, TASK_QUEUE):
            await eventually(all_handed_over)
            rows = await engine.rows()
            assert {row["format_version"] for row in rows} == {later}
            assert len(rows) == len(OUTCOMES) - 1  # all but the replayed dead letter
            # As if a newer release had come.
            await engine.query(
                f"UPDATE custom_task_queue SET format_version = {FORMAT_VERSION}, retry_at = CASE "
                "WHEN deadline < now() THEN retry_at WHEN retry_at IS NOT NULL THEN now() END RETURNING 1"
            )
            assert await engine.result(handle) == OUTCOMES
