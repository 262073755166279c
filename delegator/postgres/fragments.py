"""Pieces of SQL that several statements use. Each has one name.

They use the alias `q` for a queue's table. A statement names them as `{lease_is_live}` and so on; see
`QueueStatements.statement`.
"""

from __future__ import annotations

from typing import Final

from delegator_schema.columns import LEASE_TABLE, PAUSE_TABLE
from delegator_schema.options import (
    ATTEMPT,
    ATTEMPTS,
    DELAY_MS,
    ERROR,
    FAILED_MS,
    FAIRNESS_KEY,
    HOLDER,
    MOST_ATTEMPTS,
    PAUSED_MS,
    PRIORITY_KEY,
    START_DELAY_MS,
    STARTED_MS,
)

OUTCOME_CHANNEL: Final = "delegator_outcomes_"
"""Prefix of the channel that notifies an enqueuer of stored outcomes. The id of its lease follows."""
MAINTENANCE_CHANNEL: Final = "delegator_maintenance"
"""The channel that notifies the sweeper that something is due earlier than it knew."""
OUTCOME_STORED: Final = "outcome"
"""Payload of a notification on `MAINTENANCE_CHANNEL`: the signaller must deliver an outcome."""

PAUSES_CHANGED: Final = "pauses"
"""Payload of a notification on `MAINTENANCE_CHANNEL`: a pause has begun or ended."""

LEASE_IS_LIVE: Final = (
    f"EXISTS (SELECT FROM {LEASE_TABLE} AS lease WHERE lease.lease_id = q.lease_id AND lease.expires_at > now())"
)
"""A live process holds the row."""

OWN_LEASE_IS_LIVE: Final = (
    f"EXISTS (SELECT FROM {LEASE_TABLE} AS own WHERE own.lease_id = %(lease_id)s AND own.expires_at > now())"
)
"""The lease of the process that runs the statement has not expired."""

# After a wait for a row lock PostgreSQL reads the row's newest version, but leases as they were when the statement
# began. So a lease that the statement does not see may be younger than the statement. Then the claim that named the
# lease is younger too. The fencing token is the id of that claim's transaction, and it is not visible.
HOLDER_IS_GONE: Final = (
    f"NOT {LEASE_IS_LIVE} AND pg_visible_in_snapshot(q.fencing_token::text::xid8, pg_current_snapshot())"
)
"""The row names a lease, and no live process holds it."""

NEXT_FENCING_TOKEN: Final = "greatest(q.fencing_token + 1, pg_current_xact_id()::text::int8)"
"""A token that is greater than the row's token, and at least the id of the transaction that sets it."""

STORE_OUTCOME: Final = "completed_at = now(), lease_id = NULL, retry_at = NULL, lane = NULL, permit = NULL"
"""What a row also changes when `outcome` and `result` are stored."""

# `date_part` returns floating point. `extract` returns a decimal number and takes three times as long.
DEADLINE_LEFT: Final = "CASE WHEN isfinite({deadline}) THEN (date_part('epoch', {deadline} - now()) * 1000)::int8 END"
"""Milliseconds until a deadline; NULL: there is none. A deadline of infinity is none."""

HELD: Final = "unnest(%(job_id)b::text[], %(fencing_token)b::int8[]) AS held (job_id, fencing_token)"
"""The rows that a process names, each with the token under which it holds the row."""

IS_HELD: Final = "q.job_id = held.job_id AND q.fencing_token = held.fencing_token"
"""Joins `q` with `HELD`: the row is still held under that token."""

# The length comes first, so that no two pairs of key and type give the same text.
LANE: Final = (
    f"length(coalesce(q.options ->> '{FAIRNESS_KEY}', '')) || ':' || coalesce(q.options ->> '{FAIRNESS_KEY}', '')"
    " || q.job_type"
)
"""The line in which a job of an ordered queue waits: one for each fairness key and type."""

_PRIORITY_KEY: Final = f"q.options ->> '{PRIORITY_KEY}'"
PRIORITY: Final = (
    f"CASE WHEN {_PRIORITY_KEY} IN ('1', '2', '3', '4', '5') THEN ({_PRIORITY_KEY})::int2 ELSE 3::int2 END"
)
"""A job's priority. Temporal's default is 3, the middle of 1 to 5."""

NEVER: Final = "'9999-01-01Z'::timestamptz"
"""When the next attempt of a paused job is due. It is not infinity, because PostgreSQL 16 can't subtract that."""

PAUSES_OF_JOB: Final = f"""
    FROM {PAUSE_TABLE} AS pause
    WHERE pause.queue = %(queue)s AND (pause.job_type IS NULL OR pause.job_type = q.job_type)
"""
"""The pauses that hold the job `q`, as the end of a query."""

START_DELAY: Final = (
    f"(coalesce((q.options ->> '{START_DELAY_MS}')::int8, 0) + coalesce((q.options ->> '{PAUSED_MS}')::int8, 0))"
    " * interval '1 millisecond'"
)
"""A job's start delay, and the time for which it was paused. Its timeouts do not count this time."""

_KEPT_ATTEMPTS: Final = (
    f"CASE WHEN jsonb_typeof(q.options -> '{ATTEMPTS}') IS DISTINCT FROM 'array' THEN jsonb_build_array()"
    f" WHEN jsonb_array_length(q.options -> '{ATTEMPTS}') < {MOST_ATTEMPTS} THEN q.options -> '{ATTEMPTS}'"
    f" ELSE (q.options -> '{ATTEMPTS}') - 0 END"
)
WITH_ATTEMPT: Final = (
    f"jsonb_build_object('{ATTEMPTS}', {_KEPT_ATTEMPTS} || jsonb_strip_nulls(jsonb_build_object("
    f"'{ATTEMPT}', q.attempt, '{FAILED_MS}', round(date_part('epoch', now()) * 1000)::int8, '{ERROR}', failed.error,"
    f" '{DELAY_MS}', failed.delay_ms, '{STARTED_MS}', failed.started_ms, '{HOLDER}', failed.holder)))"
)
"""What the options of a row get when an attempt has failed, over `q` and `failed`."""

DELAYED_UNTIL: Final = (
    f"CASE WHEN q.options ? '{START_DELAY_MS}'"
    f" THEN clock_timestamp() + (q.options ->> '{START_DELAY_MS}')::int8 * interval '1 millisecond' END"
)
"""The end of a new job's start delay; NULL: it has none."""

WAITS_IN_LANE: Final = "q.lane IS NOT NULL AND q.lease_id IS NULL AND q.outcome IS NULL AND q.retry_at IS NULL"
"""The job waits in its line. A worker that does not know the queue as ordered leaves the line's name in the row."""

BY_NAME: Final = {
    "channel": OUTCOME_CHANNEL,
    "maintenance": MAINTENANCE_CHANNEL,
    "outcome_stored": OUTCOME_STORED,
    "lease_is_live": LEASE_IS_LIVE,
    "own_lease_is_live": OWN_LEASE_IS_LIVE,
    "holder_is_gone": HOLDER_IS_GONE,
    "next_fencing_token": NEXT_FENCING_TOKEN,
    "store_outcome": STORE_OUTCOME,
    "held": HELD,
    "is_held": IS_HELD,
    "with_attempt": WITH_ATTEMPT,
    "lane": LANE,
    "priority": PRIORITY,
    "delayed_until": DELAYED_UNTIL,
    "waits_in_lane": WAITS_IN_LANE,
}
"""The fragments by the names that statements use."""
