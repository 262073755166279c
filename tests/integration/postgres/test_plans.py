"""The frequent statements find their rows by an index, with custom and generic plans, whatever the queue's length.

Each is run as the engine runs it; auto_explain says how PostgreSQL did it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg.errors import Diagnostic

from delegator.postgres import leases
from delegator.postgres.connections import Connection, connect, connection_pool
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.queue_order import OrderStatements, Place
from delegator.postgres.queue_table import AttemptOutcome, NextAttempt, QueueTable
from tests.support import Databases

TABLE = "custom_task_queue"
ROWS = 200_000
BATCH = 100
PRIMARY_KEY, PUBLISHED, RETRY, DEADLINE, LANE, PERMIT = (
    f"{TABLE}_{name}" for name in ("pkey", "published_at", "retry_at", "deadline", "lane", "permit")
)
GRACE = timedelta(minutes=1)

# A backlog as it may be: a tenth runs, a tenth waits for a retry, a few are finished, all have a deadline. Physical
# order has nothing to do with ids or times. A twentieth waits in the lines of an ordered queue.
FILL = f"""
INSERT INTO custom_task_lease (role, holder, queue, expires_at, delivery_watermark)
VALUES ('worker', 'test', 'default', now() + interval '1 h', now() - interval '59 min');
INSERT INTO {TABLE} (job_id, job_type, input, options, namespace, workflow_id, run_id, published_at, deadline, lease_id,
                     fencing_token, retry_at, waiter_id, outcome, completed_at, priority, lane, permit)
SELECT 'run-' || n % 997 || ':' || n, 'resize', repeat('x', 100)::bytea, '{{"start_to_close_ms": 1000}}', 'ns', 'wf',
       gen_random_uuid(), now() - random() * interval '1 h', now() + random() * interval '1 h' - interval '2 s',
       CASE WHEN n % 10 = 1 THEN (SELECT max(lease_id) FROM custom_task_lease) END, n,
       CASE WHEN n % 10 = 2 THEN now() + random() * interval '1 h' - interval '2 s' END,
       CASE WHEN n % 3 = 0 THEN 1 END, CASE WHEN n % 50 = 3 THEN 'completed' END, CASE WHEN n % 50 = 3 THEN now() END,
       CASE WHEN n % 20 = 5 THEN 3 END, CASE WHEN n % 20 = 5 THEN 'lane ' || n / 20 % 25 END,
       CASE WHEN n % 2000 = 1 THEN 'resize' END
FROM generate_series(1, {ROWS}) AS n ORDER BY random();
"""

_SETTINGS = (
    "auto_explain.log_min_duration = 0",
    "auto_explain.log_analyze = on",
    "auto_explain.log_timing = off",
    "auto_explain.log_format = json",
    "auto_explain.log_level = notice",
)


@dataclass
class Plans:
    """A connection that says how its statements were executed."""

    connection: Connection
    lease_id: int
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def listen(self) -> None:
        await self.connection.execute("LOAD 'auto_explain'")
        for setting in _SETTINGS:
            await self.connection.execute(f"SET {setting}".encode())
        self.connection.add_notice_handler(self.hear)

    def hear(self, notice: Diagnostic) -> None:
        text = notice.message_primary or ""
        if "plan:" in text:
            self.seen.append(json.loads(text.partition("plan:")[2]))

    async def of(self, run: Callable[[Connection], Awaitable[object]]) -> list[dict[str, Any]]:
        """Run in a transaction that is rolled back, and return the plans' nodes that read the queue's table."""
        self.seen.clear()
        async with self.connection.transaction(force_rollback=True):
            await run(self.connection)
        return [node for plan in self.seen for node in nodes(plan["Plan"]) if reads_the_queue(node)]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def reads_the_queue(node: dict[str, Any]) -> bool:
    if node["Node Type"] == "ModifyTable":
        return False
    return node.get("Relation Name") == TABLE or node.get("Index Name", "").startswith(TABLE)


def looked_at(node: dict[str, Any]) -> float:
    """How many rows a node read, those that it dropped included."""
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float((node["Actual Rows"] + removed) * node["Actual Loops"])


@pytest.fixture(scope="module", params=["force_generic_plan", "force_custom_plan"])
async def plans(request: pytest.FixtureRequest, backlog: str) -> AsyncIterator[Plans]:
    connection = await connect(backlog, application_name="plans")
    async with connection:
        connection.prepare_threshold = 0
        await connection.execute(f"SET plan_cache_mode = {request.param}".encode())
        row = await (await connection.execute("SELECT max(lease_id) FROM custom_task_lease")).fetchone()
        assert row is not None
        plans = Plans(connection, row[0])
        await plans.listen()
        yield plans


@pytest.fixture(scope="module")
async def backlog(databases: Databases) -> AsyncIterator[str]:
    async with databases.fresh() as database:
        async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
            await connection.execute(FILL.encode())
            await connection.execute(f"VACUUM ANALYZE {TABLE}".encode())
            await connection.execute("ANALYZE custom_task_lease")
        yield database.url


IDS = [f"run-{n % 997}:{n}" for n in range(1, ROWS, ROWS // BATCH)]
HELD = [(job_id, int(job_id.partition(":")[2])) for job_id in IDS]
QUEUE = QueueTable("default")
MAINTENANCE = MaintenanceStatements("default")

BY_ID: dict[str, Callable[[Connection, int], Awaitable[object]]] = {
    "claim": lambda db, lease: QUEUE.claim(db, HELD, lease),
    "store_outcomes": lambda db, _: QUEUE.store_outcomes(
        db, [AttemptOutcome(job_id, token, "completed", b"x") for job_id, token in HELD]
    ),
    "store_one": lambda db, _: QUEUE.store_outcomes(db, [AttemptOutcome(*HELD[0], "completed", b"x")]),
    "read": lambda db, _: QUEUE.read(db, IDS),
    "adopt": lambda db, lease: QUEUE.adopt(db, IDS, lease),
    "release_waiter": lambda db, _: QUEUE.release_waiter(db, IDS),
    "hand_over": lambda db, _: QUEUE.hand_over(db, IDS),
    "delete_held": lambda db, _: QUEUE.delete_held(db, HELD),
    "delete_one": lambda db, _: QUEUE.delete_held(db, HELD[:1]),
    "delete_read": lambda db, _: QUEUE.delete_read(db, IDS, 1),
    "unwaited": lambda db, _: QUEUE.unwaited(db, HELD),
    "look": lambda db, _: QUEUE.look(db, HELD),
    "held": lambda db, _: QUEUE.held(db, HELD),
    "heartbeat": lambda db, _: QUEUE.heartbeat(db, [(*held, b"x") for held in HELD]),
    "retry": lambda db, _: QUEUE.retry(db, [NextAttempt(*held, 1000, b"x", 1) for held in HELD]),
    "cancel": lambda db, _: QUEUE.cancel(db, IDS),
    "cancel of a run": lambda db, _: QUEUE.cancel(db, IDS, str(uuid.uuid4())),
    "take_back": lambda db, _: QUEUE.take_back(db, IDS, "workflow", str(uuid.uuid4())),
    "time_out": lambda db, _: MAINTENANCE.time_out(db, [(*held, b"x") for held in HELD]),
    "delete_overdue": lambda db, _: MAINTENANCE.delete_overdue(db, IDS),
    "delete_delivered": lambda db, _: MAINTENANCE.delete_delivered(db, IDS),
}


@pytest.mark.parametrize("name", BY_ID)
async def test_by_id_reads_named_rows(plans: Plans, name: str) -> None:
    """A statement that names jobs reads the rows of these jobs only."""
    read = await plans.of(lambda db: BY_ID[name](db, plans.lease_id))
    assert read, "auto_explain said nothing"
    for node in read:
        assert node["Node Type"] != "Seq Scan", node
        if name == "delete_overdue" and node.get("Index Name") == DEADLINE:
            continue  # what is past its deadline may be less than what is named
        assert node.get("Index Name", PRIMARY_KEY) == PRIMARY_KEY
        assert looked_at(node) <= 3 * BATCH or name == "delete_overdue", node


NAMED_AND_JOINED = (
    "store_outcomes",
    "store_one",
    "unwaited",
    "read",
    "adopt",
    "release_waiter",
    "delete_held",
    "delete_one",
    "held",
    "heartbeat",
    "retry",
)


@pytest.mark.parametrize("by_key", [False, True])
async def test_plans_of_short_queue(databases: Databases, by_key: bool) -> None:
    """A plan made for an empty queue still uses indexes when a backlog comes before the next ANALYZE.

    Claims run only in sessions for statements that name their rows.
    """
    names = ("claim",) if by_key else NAMED_AND_JOINED
    async with (
        databases.fresh() as database,
        connection_pool(database.url, application_name="plans", size=1, by_key=by_key) as pool,
        pool.connection() as connection,
    ):
        await connection.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)".encode())
        connection.prepare_threshold = 0
        plans = Plans(connection, await leases.grant(connection, "worker", "test", "default", GRACE))
        for _ in range(8):
            for name in names:
                await BY_ID[name](connection, plans.lease_id)
        await connection.execute(
            f"INSERT INTO {TABLE} (job_id, job_type) SELECT 'run-' || n % 997 || ':' || n, 't' "
            f"FROM generate_series(1, {ROWS // 2}) AS n ORDER BY random()".encode()
        )
        await plans.listen()
        for name in names:
            read = await plans.of(lambda db, name=name: BY_ID[name](db, plans.lease_id))  # type: ignore[misc]
            assert read, "auto_explain said nothing"
            for node in read:
                assert node["Node Type"] != "Seq Scan", (name, node)
                assert looked_at(node) <= 2 * BATCH, (name, node)


async def test_table_of_empty_pages(databases: Databases) -> None:
    """A batch reads no whole table after a burst, although nothing has been vacuumed."""
    async with (
        databases.fresh() as database,
        connection_pool(database.url, application_name="plans", size=1, by_key=True) as pool,
        pool.connection() as connection,
    ):
        await connection.execute(f"ALTER TABLE {TABLE} SET (autovacuum_enabled = off)".encode())
        plans = Plans(connection, await leases.grant(connection, "worker", "test", "default", GRACE))
        await connection.execute(
            f"INSERT INTO {TABLE} (job_id, job_type, input, waiter_id) "
            "SELECT 'run-' || n % 997 || ':' || n, 't', repeat('x', 300)::bytea, 1 "
            f"FROM generate_series(1, {ROWS // 100}) AS n ORDER BY random()".encode()
        )
        await connection.execute(f"ANALYZE {TABLE}".encode())
        await connection.execute(f"DELETE FROM {TABLE} WHERE right(job_id, 1) <> '1'".encode())
        await plans.listen()
        for name in ("claim", "store_outcomes", "delete_held", "held"):
            for node in await plans.of(lambda db, name=name: BY_ID[name](db, plans.lease_id)):  # type: ignore[misc]
                assert node["Node Type"] != "Seq Scan", (name, node)


BY_TIME: dict[str, tuple[str, Callable[[Connection], Awaitable[object]]]] = {
    "retries": (RETRY, MAINTENANCE.republish_retries),
    "next_retry": (RETRY, MAINTENANCE.next_retry),
    "overdue": (DEADLINE, lambda db: MAINTENANCE.overdue(db, timedelta(0))),
    "undelivered": (PUBLISHED, lambda db: MAINTENANCE.republish_undelivered(db, timedelta(seconds=50))),
}


@pytest.mark.parametrize("name", BY_TIME)
async def test_by_time_reads_due_rows(plans: Plans, name: str) -> None:
    """A statement that looks for due rows reads few others."""
    index, run = BY_TIME[name]
    read = await plans.of(run)
    assert {node["Index Name"] for node in read if "Index Name" in node} <= {index, PRIMARY_KEY}
    assert any(node.get("Index Name") == index for node in read)
    for node in read:
        assert node["Node Type"] != "Seq Scan", node
        assert looked_at(node) <= 2_000, node


async def test_watermark_reads_leases(plans: Plans) -> None:
    """The delivery watermark is read from the leases only."""
    await plans.of(lambda db: MAINTENANCE.republish_undelivered(db, timedelta(hours=2)))
    assert plans.seen[0]["Query Text"].strip().startswith("SELECT max(delivery_watermark)")
    leases = [node for node in nodes(plans.seen[0]["Plan"]) if node.get("Relation Name")]
    assert {node["Relation Name"] for node in leases} == {"custom_task_lease"}


LANES = 20
ORDER = OrderStatements("default")
ORDERED: dict[str, tuple[str, int, Callable[[Connection, int], Awaitable[object]]]] = {
    "lanes": (LANE, 40, lambda db, _: ORDER.lanes(db, LANES, [1])),
    "take": (LANE, 2 * BATCH, lambda db, lease: ORDER.take(db, [Place(3, "lane 1", BATCH)], lease)),
    "take_several": (
        LANE,
        4 * BATCH,
        lambda db, lease: ORDER.take(db, [Place(3, f"lane {n}", BATCH // 2) for n in range(4)], lease, {"resize"}),
    ),
    "running": (PERMIT, 100, lambda db, _: ORDER.running(db, {"resize"})),
}


@pytest.mark.parametrize("name", ORDERED)
async def test_order_reads_its_index(plans: Plans, name: str) -> None:
    """The statements of an ordered queue read the lines' first rows only."""
    index, most, run = ORDERED[name]
    read = await plans.of(lambda db: run(db, plans.lease_id))
    assert any(node.get("Index Name") == index for node in read)
    for node in read:
        assert node["Node Type"] != "Seq Scan", node
        assert node.get("Index Name", index) in (index, PRIMARY_KEY)
        assert looked_at(node) <= most, node


async def test_plain_queue_is_heap_only(plans: Plans) -> None:
    """Claims of plain rows are heap-only: no index of an ordered queue holds a column that they change."""

    async def counted() -> tuple[int, int]:
        statement = f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = '{TABLE}'"
        row = await (await plans.connection.execute(statement.encode())).fetchone()
        return row or (0, 0)

    async with plans.connection.transaction(force_rollback=True):
        before = await counted()
        await QUEUE.claim(plans.connection, HELD, plans.lease_id)
        after = await counted()
    assert after[0] - before[0] == after[1] - before[1] == len(HELD)
