"""Statements are counted for work of a known size, and for the two ways of a fan-out."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import sql

from delegator.dev import RunningStack, StackOptions, embedded_stack
from delegator.errors import ConfigurationError
from loadtest.meters import statement_log, statements
from loadtest.meters.cost_meter import CostMeter, CostSources
from loadtest.meters.statement_log import LoggingServer
from loadtest.meters.statements import StatementMeter, create_extension
from loadtest.progress import Progress
from loadtest.results.statements import QUEUE, TEMPORAL
from loadtest.runs import arm_run, traced_run
from loadtest.runs.arm_rounds import compare
from loadtest.runs.plan import Plan
from loadtest.runs.traced_run import trace
from loadtest.servers.stack import Servers, TemporalChoice, servers
from loadtest.workload.scenarios import Load
from tests.support import Database
from tests.support.temporal_programs import needs_temporal_server


@pytest.fixture
async def counting(stack: RunningStack) -> str:
    """URL of a database of a server that counts statements, and whose list of them is empty."""
    url = stack.postgres.url("postgres")
    await create_extension(url)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SELECT pg_stat_statements_reset()")
    return url


async def test_known_work(counting: str) -> None:
    """Each statement counts as often as it ran, and the sum is that of PostgreSQL's view."""
    name = f"counted_{uuid.uuid4().hex[:8]}"
    view = "SELECT sum(calls), sum(rows), sum(wal_bytes) FROM pg_stat_statements WHERE query LIKE %s"
    async with await psycopg.AsyncConnection.connect(counting, autocommit=True) as connection:
        table = sql.Identifier(name)

        async def insert(count: int) -> None:
            for number in range(count):
                await connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(table, number))

        await connection.execute(sql.SQL("CREATE TABLE {} (id int)").format(table))
        await insert(5)
        async with CostMeter(CostSources(statement_urls={QUEUE: counting})) as meter:
            await insert(37)
            await connection.execute(sql.SQL("UPDATE {} SET id = 0 WHERE id < 20").format(table))
            await connection.execute(sql.SQL("DELETE /* loadtest */ FROM {}").format(table))
        cursor = await connection.execute(view, (f"%{name}%",))
        in_view = await cursor.fetchone()
        await connection.execute(sql.SQL("DROP TABLE {}").format(table))
    counted = meter.costs.statements[QUEUE]
    ours = {one.verb: one for one in counted.statements if one.table == name}
    assert {verb: (one.calls, one.rows) for verb, one in ours.items()} == {"INSERT": (37, 37), "UPDATE": (1, 25)}
    assert all(one.wal_bytes > 0 and len(one.query) <= 200 for one in ours.values())
    assert counted.own_calls >= 1
    assert not counted.incomplete
    assert in_view is not None
    # The view also has what ran before the window, a statement and five, and the load test's own deletion of all rows.
    assert in_view[0] == sum(one.calls for one in ours.values()) + 1 + 5 + 1
    assert in_view[1] == sum(one.rows for one in ours.values()) + 5 + 42


async def test_evicted_statements(counting: str) -> None:
    """PostgreSQL forgets statements when its list is full. Then the numbers are said to be incomplete."""
    async with (
        StatementMeter(counting) as meter,
        await psycopg.AsyncConnection.connect(counting, autocommit=True) as connection,
    ):
        await meter.begin()
        await connection.execute("SELECT 1")
        assert not (await meter.end()).incomplete
        await meter.begin()
        async with connection.pipeline():
            for number in range(600):  # the list of this stack has 500 places
                # Other types make another statement, other numbers do not.
                columns = [sql.Literal("text" if number >> bit & 1 else 1) for bit in range(10)]
                await connection.execute(sql.SQL("SELECT {}").format(sql.SQL(", ").join(columns)))
        assert (await meter.end()).incomplete


async def test_servers_that_do_not_count(database: Database) -> None:
    """One line says what the server or the user lacks."""
    role = f"reader_{uuid.uuid4().hex[:8]}"
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match=r"^--statements: PostgreSQL has no extension .*CREATE EXTENSION"):
            async with StatementMeter(database.url):
                pass
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        with pytest.raises(ConfigurationError, match=r"^--statements: .*shared_preload_libraries, restart"):
            async with StatementMeter(database.url):
                pass
        await connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(sql.Identifier(role)))
        try:
            url = psycopg.conninfo.make_conninfo(database.url, user=role, password="secret")
            with pytest.raises(ConfigurationError, match="GRANT pg_read_all_stats"):
                async with StatementMeter(url):
                    pass
        finally:
            await connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_deployments(stack: RunningStack, counting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a deployment the database of the queue must have the extension. Temporal's server is not known."""
    for name in ("TEMPORAL_ADDRESS", "DELEGATOR_DATABASE_URL"):
        monkeypatch.setenv(name, stack.environment[name])
    with pytest.raises(ConfigurationError, match="^--statements: PostgreSQL has no extension"):
        async with servers(delegates=True, statements=True):
            pass
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", counting)
    async with servers(delegates=False, statements=True) as deployed:
        assert (deployed.statement_urls, deployed.temporal_database_url) == ({QUEUE: counting}, None)
    monkeypatch.delenv("DELEGATOR_DATABASE_URL")
    with pytest.raises(ConfigurationError, match="DELEGATOR_DATABASE_URL is not set"):
        async with servers(delegates=False, statements=True):
            pass


@pytest.fixture
async def on_postgres() -> AsyncIterator[RunningStack]:
    settings = {**statements.SETTINGS, **statement_log.SETTINGS}
    options = StackOptions(usual_ports=False, headless=True, temporal="postgres", postgres_settings=settings)
    async with embedded_stack(options) as running:
        yield running


@needs_temporal_server
async def test_temporals_statements(on_postgres: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A delegated job costs Temporal's database less than a tenth of the statements of an activity."""
    for module in (arm_run, traced_run):
        monkeypatch.setattr(module, "_IDLE_SECONDS", 1.0)
    available = Servers.of(on_postgres, TemporalChoice.POSTGRES, statements=True)
    for url in available.statement_urls.values():
        await create_extension(url)
    plan = Plan("classic", "fanout", Load(workflows=2, jobs=40, concurrency=2))
    found = await compare(["classic", "delegated"], plan, 1, available, Progress())
    assert found.failed == 0
    per_job = {arm: run.costs_per_job for arm, run in found.arms.items()}
    classic, delegated = per_job["classic"], per_job["delegated"]
    assert classic is not None
    assert delegated is not None
    assert classic.statements[TEMPORAL] >= 10 * delegated.statements[TEMPORAL] > 0
    assert classic.temporal_wal_bytes is not None
    assert delegated.temporal_wal_bytes is not None
    assert classic.temporal_wal_bytes > 2 * delegated.temporal_wal_bytes > 0
    costs = found.arms["delegated"].costs
    assert costs is not None
    jobs = [one for one in costs.statements[QUEUE].statements if one.group == ("INSERT", "custom_task_queue")]
    assert sum(one.rows for one in jobs) == 80
    assert not costs.statements[TEMPORAL].incomplete
    assert found.arms["delegated"].settings["statements"] is True

    own = on_postgres.temporal_postgres
    assert own is not None
    logging = {
        name: LoggingServer(server.url("postgres"), on_postgres.logs[server.name])
        for name, server in ((TEMPORAL, own), (QUEUE, on_postgres.postgres))
    }
    traced = (await trace("floor", available, logging, Progress())).servers
    groups = {
        name: [(one.verb, one.table) for transaction in server.transactions for one in transaction.statements]
        for name, server in traced.items()
    }
    assert ("INSERT", "custom_task_queue") not in groups[QUEUE]
    assert groups[TEMPORAL].count(("INSERT", "executions")) == 1
    assert ("INSERT", "activity_info_maps") not in groups[TEMPORAL]
