"""Counting a long queue costs no more than counting a shorter one."""

from __future__ import annotations

from delegator.postgres.connections import connect
from delegator.postgres.queue_table import QueueTable
from tests.support import Database

INSERT = """
INSERT INTO custom_task_queue (job_id, job_type, namespace, workflow_id, run_id, enqueued_at, outcome)
SELECT i, 'type', 'default', 'wf', gen_random_uuid(), now() - interval '1 hour',
       CASE WHEN i % 4 = 0 THEN 'completed' END
FROM generate_series(1, 120000) AS i
"""


async def test_depth_of_long_queue(database: Database) -> None:
    """The states of 100,000 rows are counted; the length beyond that is PostgreSQL's estimate, once there is one."""
    table = QueueTable("default")
    async with await connect(database.url, application_name="test") as connection:
        assert sum((await table.depth(connection)).by_state.values()) == 0
        await connection.execute("ALTER TABLE custom_task_queue SET (autovacuum_enabled = off)")
        await connection.execute(INSERT.encode())
        counted = await table.depth(connection)
        assert (counted.waiting, counted.delivering) == (75_000, 25_000)
        assert 3_600 <= counted.oldest_seconds < 4_000
        await connection.execute("ANALYZE custom_task_queue")
        estimated = await table.depth(connection)
        assert 80_000 < estimated.waiting < 100_000
        assert 25_000 < estimated.delivering < 35_000
