"""The statements with which applications write to the outbox, in their own transactions.

Every driver takes one text parameter, so a statement has only one: the rows as JSON. `{rows}` stands for it.
"""

from __future__ import annotations

from typing import Final

from delegator_schema.columns import FORMAT_VERSION, OUTBOX_TABLE, UNIQUE_TABLE
from delegator_schema.ddl import quote
from delegator_schema.options import START_DELAY_MS
from delegator_schema.outbox import OUTBOX_CHANNEL
from delegator_schema.queues import queue_table

from delegator.postgres.fragments import DELAYED_UNTIL, LANE, MAINTENANCE_CHANNEL, PRIORITY

ROWS: Final = "{rows}"
"""Stands for the parameter in a statement."""

# `DO NOTHING` leaves the transaction sound, and waits for another one that has inserted the same key.
_OPERATIONS: Final = """
WITH written AS (
    INSERT INTO {table} (operation, namespace, workflow_id, workflow_type, task_queue, name, input, signal_input,
                         options, request_id, key, format_version)
    SELECT operation, namespace, workflow_id, workflow_type, task_queue, name, decode(input, 'base64'),
           decode(signal_input, 'base64'), options, request_id, key, {format_version}
    FROM json_to_recordset(CAST({rows} AS json)) AS new (
        operation text, namespace text, workflow_id text, workflow_type text, task_queue text, name text, input text,
        signal_input text, options jsonb, request_id uuid, key text)
    ON CONFLICT DO NOTHING
    RETURNING CAST(request_id AS text) AS id
)
SELECT id{notify} FROM written
"""

_JOBS: Final = """
WITH new AS MATERIALIZED (
    SELECT new.*, greatest(CAST(ceil(extract(epoch FROM due_at - clock_timestamp()) * 1000) AS int8), 0) AS due_ms
    FROM json_to_recordset(CAST({rows} AS json)) AS new (
        job_id text, job_type text, input text, options jsonb, deadline_ms int8, due_at timestamptz, unique_ms int8,
        waiter_id int8, header text)
){taken}, placed AS (
    SELECT job_id, job_type, decode(input, 'base64') AS input, decode(header, 'base64') AS header, waiter_id,
           CASE WHEN due_ms > 0 THEN coalesce(options, jsonb_build_object())
                                     || jsonb_build_object('{start_delay_ms}', due_ms)
                ELSE options END AS options,
           clock_timestamp() + (deadline_ms + coalesce(due_ms, 0)) * interval '1 millisecond' AS deadline
    FROM new{only_taken}
), written AS (
    INSERT INTO {table} (job_id, job_type, input, header, options, waiter_id, deadline, retry_at,
                         format_version{columns})
    SELECT job_id, job_type, input, header, options, waiter_id, deadline, {delayed_until}, {format_version}{values}
    FROM placed AS q
    ON CONFLICT (job_id) DO NOTHING
    RETURNING job_id AS id, retry_at
)
SELECT id{notify} FROM written
"""
_TAKEN: Final = """, taken AS (
    INSERT INTO {unique} AS taken (unique_id, expires_at)
    SELECT '{queue}/' || job_id, clock_timestamp() + unique_ms * interval '1 millisecond'
    FROM new WHERE unique_ms IS NOT NULL
    ON CONFLICT (unique_id) DO UPDATE SET expires_at = excluded.expires_at
        WHERE taken.expires_at <= clock_timestamp()
    RETURNING unique_id
)"""
_ONLY_TAKEN: Final = " WHERE unique_ms IS NULL OR '{queue}/' || job_id IN (SELECT unique_id FROM taken)"
_NOTIFY: Final = ", CAST(pg_notify('{channel}', '') AS text) AS notified"
_NOTIFY_OF_DELAY: Final = (
    ", CASE WHEN retry_at IS NOT NULL THEN CAST(pg_notify('{channel}', '') AS text) END AS notified"
)


def insert_operations(schema: str, *, notify: bool) -> str:
    """Return the statement that writes operations on workflows. It returns the request ids of the new ones.

    Args:
        schema: where the table is.
        notify: wake the dispatcher when the transaction commits.
    """
    return _OPERATIONS.format(
        table=_in(schema, OUTBOX_TABLE),
        rows=ROWS,
        format_version=FORMAT_VERSION,
        notify=_NOTIFY.format(channel=OUTBOX_CHANNEL) if notify else "",
    )


def insert_jobs(schema: str, queue: str, *, ordered: bool, unique: bool, notify: bool) -> str:
    """Return the statement that enqueues plain jobs. It returns the ids of the new ones.

    Args:
        schema: where the tables are.
        queue: the queue.
        ordered: it hands jobs out by priority and fairness.
        unique: an id of a job is to be taken for a while.
        notify: tell the maintenance process of start delays when the transaction commits.

    Raises:
        ValueError: `queue` is not a queue name.
    """
    lane = f"CASE WHEN {DELAYED_UNTIL} IS NULL THEN {LANE} END"
    return _JOBS.format(
        table=_in(schema, queue_table(queue)),
        rows=ROWS,
        start_delay_ms=START_DELAY_MS,
        delayed_until=DELAYED_UNTIL,
        format_version=FORMAT_VERSION,
        taken=_TAKEN.format(unique=_in(schema, UNIQUE_TABLE), queue=queue) if unique else "",
        only_taken=_ONLY_TAKEN.format(queue=queue) if unique else "",
        columns=", priority, lane, published_at" if ordered else "",
        values=f", {PRIORITY}, {lane}, clock_timestamp()" if ordered else "",
        notify=_NOTIFY_OF_DELAY.format(channel=MAINTENANCE_CHANNEL) if notify else "",
    )


def _in(schema: str, table: str) -> str:
    return f"{quote(schema)}.{quote(table)}"
