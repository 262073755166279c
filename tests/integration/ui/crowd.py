"""A queue with very many jobs, in every state."""

from __future__ import annotations

from typing import Final

import psycopg

from tests.support import Database

JOBS: Final = 100_000
LONG: Final = "order-2026-11-30-berlin-0123456789abcdef0123456789abcdef"
PATHS: Final = {
    "overview": "/",
    "problems": "/problems",
    "jobs": f"/jobs?workflow_id={LONG}-7",
    "job": f"/job?id={LONG}/78",
    "letters": f"/dead-letters?workflow_id={LONG}-7",
    "queues": "/queues",
    "workers": "/workers",
    "pause": "/pause?queue=default&type=charge",
    "none": "/job?id=none",
    "login": "/login",
}
"""A page of each kind, with the crowd on it."""

_LEASES: Final = """
INSERT INTO custom_task_lease (role, holder, queue, job_types, version, granted_at, renewed_at, expires_at, report)
SELECT 'worker', 4711 + n || '@worker-' || n || '.shop.internal', 'default', ARRAY['charge', 'pack', 'greet'], '0.1.0',
       now() - interval '5 hours', now(), now() + interval '1 hour',
       jsonb_build_object('slots', 100, 'running', 40, 'at_ms', ms, 'jobs',
           jsonb_build_array(jsonb_build_array('{long}/1/' || n, ms - 40000, NULL)))
FROM generate_series(1, 3) AS n, round(date_part('epoch', now()) * 1000) AS ms
"""
# Of each 1,000 jobs 10 run, 40 back off, 20 must be delivered and the others wait.
_JOBS: Final = """
INSERT INTO custom_task_queue (job_id, job_type, input, namespace, workflow_id, run_id, attempt, enqueued_at,
                               published_at, lease_id, retry_at, outcome, completed_at, options)
SELECT '{long}/' || n, CASE WHEN n % 25 = 3 THEN 'charge' WHEN n % 3 = 0 THEN 'pack' ELSE 'greet' END, '\\x00',
       'default', '{long}-' || n / 10, gen_random_uuid(), CASE WHEN n % 25 IN (1, 2, 3) THEN 2 ELSE 0 END, born, born,
       CASE WHEN n % 100 = 1 THEN (SELECT min(lease_id) FROM custom_task_lease) END,
       CASE WHEN n % 25 = 3 THEN now() + interval '5 minutes' END,
       CASE WHEN n % 50 = 2 THEN 'completed' END, CASE WHEN n % 50 = 2 THEN now() - interval '3 seconds' END,
       CASE WHEN n % 25 = 3 THEN jsonb_build_object('attempts', jsonb_build_array(jsonb_build_object(
           'attempt', 2, 'failed_ms', round(date_part('epoch', now()) * 1000) - 9000, 'error', 'BankUnreachable',
           'delay_ms', 309000, 'holder', '4712@worker-1.shop.internal'))) END
FROM (SELECT n, now() - ({jobs} - n) * interval '10 milliseconds' AS born FROM generate_series(1, {jobs}) AS n) AS made
"""
_LETTERS: Final = """
INSERT INTO custom_task_dead_letter (queue, reason, error, job_id, job_type, namespace, workflow_id, attempt,
                                     enqueued_at, died_at)
SELECT 'default', 'attempts_exhausted', CASE WHEN n % 3 = 0 THEN 'CardRefused' ELSE 'BankUnreachable' END,
       '{long}/dead/' || n, 'charge', 'default', '{long}-' || n, 5, now() - interval '1 hour',
       now() - n * interval '3 seconds'
FROM generate_series(1, {letters}) AS n
"""


async def crowd(database: Database, jobs: int = JOBS) -> None:
    """Fill the default queue."""
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        for statement in (_LEASES, _JOBS, _LETTERS, "ANALYZE"):
            text = statement.replace("{long}", LONG).replace("{jobs}", str(jobs)).replace("{letters}", str(jobs // 50))
            await connection.execute(text.encode())
