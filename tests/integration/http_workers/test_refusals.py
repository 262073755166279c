"""Whatever PostgreSQL answers for a moment, no process ends, and all work is done after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from temporalio.api.common.v1 import Payloads
from temporalio.converter import DataConverter

from delegator.dev.temporal import TemporalServer
from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment, environment, eventually
from tests.support import Databases

END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
RENAMED = "ALTER TABLE custom_task_queue RENAME TO put_aside"
BACK = "ALTER TABLE put_aside RENAME TO custom_task_queue"
REFUSALS = {
    "read-only": (
        ["ALTER DATABASE {name} SET default_transaction_read_only = on", END_SESSIONS],
        ["ALTER DATABASE {name} RESET default_transaction_read_only", END_SESSIONS],
    ),
    "statement timeout": (
        ["ALTER DATABASE {name} SET statement_timeout = '1ms'", END_SESSIONS],
        ["ALTER DATABASE {name} RESET statement_timeout", END_SESSIONS],
    ),
    "table renamed": ([RENAMED], [BACK]),
}


@pytest.fixture(scope="module")
async def engine(databases: Databases, temporal: TemporalServer) -> AsyncIterator[Environment]:
    async with environment(databases, temporal, http_worker=False) as engine:
        yield engine


async def run_all(engine: Environment, statements: list[str]) -> None:
    """Run statements in a session that the refusal does not reach."""
    url = engine.settings.database_url.get_secret_value()
    options = "-c default_transaction_read_only=off -c statement_timeout=0"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, options=options) as connection:
        for statement in statements:
            text = statement.format(name=connection.info.dbname)
            if text.startswith("SELECT pg_terminate_backend"):
                text += f" AND pid <> {connection.info.backend_pid}"
            await connection.execute(text.encode())


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_moment_of_refusal(engine: Environment, refusal: str) -> None:
    """Enqueuer, pool, relay and sweeper outlive the moment, and every workflow completes."""
    begin, end = REFUSALS[refusal]
    async with engine.worker() as task_queue, engine.http_worker() as worker:
        workflow_id = f"held by {refusal}"
        with engine.held(workflow_id):
            held = await engine.start(flows.Sequence_.run, "delegate", 3, task_queue=task_queue, id=workflow_id)
            await engine.noted(workflow_id, "started")
            await run_all(engine, begin)
        others = [await engine.start(flows.Sequence_.run, "delegate", 3, task_queue=task_queue) for _ in range(3)]

        async def is_known() -> bool:
            text = worker.log.read_text()
            return "connection_lost" in text or "database_refused" in text

        await eventually(is_known)
        await run_all(engine, end)
        assert await asyncio.gather(*map(engine.result, [held, *others])) == [[0, 1, 2]] * 4
        assert worker.process.returncode is None
        assert "Traceback" not in worker.log.read_text()


async def test_bad_row(engine: Environment) -> None:
    """A row whose values can't be used becomes a dead letter. The other rows of its batch run."""
    number = Payloads(payloads=DataConverter.default.payload_converter.to_payloads([1])).SerializeToString()
    async with engine.http_worker() as worker:
        await engine.query(
            "INSERT INTO custom_task_queue (job_id, job_type, input, options, attempt)"
            " SELECT 'bad options', 'double', NULL::bytea, "
            '   \'{"schedule_to_start_ms": "x", "schedule_to_close_ms": "x"}\'::jsonb, 0'
            " UNION ALL SELECT 'last attempt', 'double', NULL, NULL, 2147483647"
            " UNION ALL SELECT 'good ' || n, 'double', %s, NULL, 0 FROM generate_series(1, 5) AS n RETURNING job_id",
            number,
        )

        async def is_empty() -> bool:
            return not await engine.query("SELECT job_id FROM custom_task_queue WHERE outcome IS NULL")

        await eventually(is_empty)
        letters = await engine.query("SELECT job_id, reason FROM custom_task_dead_letter ORDER BY job_id")
        assert [tuple(letter.values()) for letter in letters] == [
            ("bad options", "unreadable"),
            ("last attempt", "unreadable"),
        ]
        assert worker.process.returncode is None
