"""The statements of attempts that a client completes, because their handlers have returned without an outcome.

Such a row is held by a lease that never expires, so that every other statement takes it for a running job. `retry_at`
says when the attempt times out, unless a heartbeat comes before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from delegator_schema.columns import FORMAT_VERSION
from delegator_schema.options import ASYNCHRONOUS_UNTIL_MS, HEARTBEAT_MS

from delegator.postgres.arrays import int8_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.fragments import DEADLINE_LEFT, MAINTENANCE_CHANNEL, OUTCOME_STORED
from delegator.postgres.queue_statements import QueueStatements

HOLDER: Final = "asynchronous completion"
"""The holder of the lease under which such rows are held."""
_LEASE: Final = "SELECT min(lease_id) FROM custom_task_lease WHERE holder = %s AND expires_at > now()"
_GRANT: Final = """
INSERT INTO custom_task_lease (role, holder, expires_at) VALUES ('worker', %s, '9999-01-01Z') RETURNING lease_id
"""

_NOW_MS: Final = "(date_part('epoch', now()) * 1000)"
_UNTIL: Final = f"to_timestamp((q.options ->> '{ASYNCHRONOUS_UNTIL_MS}')::float8 / 1000)"
_NEXT_HEARTBEAT: Final = f"now() + (q.options ->> '{HEARTBEAT_MS}')::int8 * interval '1 millisecond'"

_LEAVE_OPEN = f"""
UPDATE {{table}} AS q
SET lease_id = %(lease_id)s,
    retry_at = least({_NEXT_HEARTBEAT}, now() + left_open.left_ms * interval '1 millisecond'),
    options = CASE WHEN left_open.left_ms IS NULL THEN q.options
                   ELSE coalesce(q.options, '{{{{}}}}') ||
                        jsonb_build_object('{ASYNCHRONOUS_UNTIL_MS}', {_NOW_MS} + left_open.left_ms) END
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(left_ms)b::int8[])
     AS left_open (job_id, fencing_token, left_ms)
WHERE q.job_id = left_open.job_id AND q.fencing_token = left_open.fencing_token AND q.outcome IS NULL
RETURNING q.job_id, pg_notify('{{maintenance}}', '')
"""

_FIND = f"""
SELECT job_id, job_type, fencing_token, attempt, options::text, workflow_id, cancel_requested,
       {DEADLINE_LEFT.format(deadline="deadline")}, format_version
FROM {{table}} AS q WHERE outcome IS NULL AND lease_id IS NOT NULL AND
"""
_BY_TOKEN = _FIND + "job_id = %(job_id)s AND fencing_token = %(fencing_token)s"
_BY_JOB_ID = _FIND + (
    "job_id = %(activity_id)s AND workflow_id IS NOT DISTINCT FROM %(workflow_id)s "
    "AND (%(run_id)s::uuid IS NULL OR run_id = %(run_id)s::uuid)"
)
_BY_ACTIVITY_ID = _FIND + (
    "options ->> 'activity_id' = %(activity_id)s AND workflow_id = %(workflow_id)s "
    "AND (%(run_id)s::uuid IS NULL OR run_id = %(run_id)s::uuid) ORDER BY enqueued_at DESC LIMIT 1"
)

_HEARTBEAT = f"""
UPDATE {{table}} AS q
SET heartbeat_details = %(details)s,
    retry_at = CASE WHEN q.retry_at IS NOT NULL THEN least({_NEXT_HEARTBEAT}, {_UNTIL}) END
WHERE job_id = %(job_id)s AND fencing_token = %(fencing_token)s AND outcome IS NULL
RETURNING cancel_requested
"""

_RESOLVE = """
WITH stored AS (
    UPDATE {table} AS q
    SET outcome = %(outcome)s, result = %(result)s, {store_outcome}, fencing_token = {next_fencing_token}
    WHERE job_id = %(job_id)s AND fencing_token = %(fencing_token)s AND outcome IS NULL
    RETURNING job_id, waiter_id
)
SELECT CASE WHEN waiter_id IS NULL THEN pg_notify('{maintenance}', '{outcome_stored}')
            ELSE pg_notify('{channel}' || waiter_id, job_id) END
FROM stored
"""

_OVERDUE = f"""
SELECT job_id, job_type, fencing_token, attempt, options::text, workflow_id,
       {DEADLINE_LEFT.format(deadline="deadline")}, format_version,
       coalesce({_UNTIL} <= now(), false), heartbeat_details
FROM {{table}} AS q
WHERE retry_at <= now() AND lease_id IS NOT NULL AND outcome IS NULL
ORDER BY job_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
"""


class OpenRow(NamedTuple):
    """A row whose attempt runs, or is completed asynchronously."""

    job_id: str
    job_type: str
    fencing_token: int
    attempt: int
    options: str | None
    """JSON."""
    workflow_id: str | None
    cancel_requested: bool
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    format_version: int = FORMAT_VERSION
    """Of what the row holds."""


class OverdueAttempt(NamedTuple):
    """An attempt that is completed asynchronously, and has taken too long."""

    job_id: str
    job_type: str
    fencing_token: int
    attempt: int
    options: str | None
    """JSON."""
    workflow_id: str | None
    deadline_ms: int | None
    """Milliseconds left until the job's deadline; None: it has none."""
    format_version: int
    """Of what the row holds."""
    is_closed: bool
    """Whether its start-to-close timeout has passed. Otherwise a heartbeat is missing."""
    heartbeat_details: bytes | None
    """Those of the last heartbeat."""


class AsynchronousStatements(QueueStatements):
    """The statements of one queue's table about attempts that are completed asynchronously."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._leave_open = self.statement(_LEAVE_OPEN)
        self._by_token = self.statement(_BY_TOKEN)
        self._by_job_id = self.statement(_BY_JOB_ID)
        self._by_activity_id = self.statement(_BY_ACTIVITY_ID)
        self._heartbeat = self.statement(_HEARTBEAT)
        self._resolve = self.statement(_RESOLVE)
        self._overdue = self.statement(_OVERDUE)

    async def leave_open(self, connection: Connection, attempts: Sequence[tuple[str, int, int | None]]) -> set[str]:
        """Leave attempts to be completed by a client.

        Args:
            connection: where to.
            attempts: as (job id, fencing token, milliseconds until the start-to-close timeout or None).

        Returns:
            The ids of the jobs. An attempt that a client has completed already is left out.
        """
        lease_id = await _lease(connection)
        ordered = sorted(attempts, key=lambda attempt: attempt[0])
        cursor = await self.notifying.execute(
            connection,
            self._leave_open,
            {
                "lease_id": lease_id,
                "job_id": text_array([job_id for job_id, _, _ in ordered]),
                "fencing_token": int8_array([token for _, token, _ in ordered]),
                "left_ms": int8_array([left for _, _, left in ordered]),
            },
            prepare=False,  # see WorkerStatements
        )
        return {row[0] for row in await cursor.fetchall()}

    async def find(self, connection: Connection, job_id: str, fencing_token: int) -> OpenRow | None:
        """Return the row of an attempt; None: it has ended."""
        return await _one(connection, self._by_token, {"job_id": job_id, "fencing_token": fencing_token})

    async def find_by_id(
        self, connection: Connection, workflow_id: str | None, run_id: str | None, activity_id: str
    ) -> OpenRow | None:
        """Return the row of a workflow's activity whose attempt runs, or is completed asynchronously; None: none does.

        Args:
            connection: where to.
            workflow_id: the workflow; None: no workflow waits for the job.
            run_id: its run; None: any.
            activity_id: the caller's id of the activity, or the job's id.
        """
        parameters = {"workflow_id": workflow_id, "run_id": run_id, "activity_id": activity_id}
        row = await _one(connection, self._by_job_id, parameters)
        return await _one(connection, self._by_activity_id, parameters) if row is None else row

    async def heartbeat(
        self, connection: Connection, job_id: str, fencing_token: int, details: bytes | None
    ) -> bool | None:
        """Store a heartbeat. Return whether the job was asked to stop; None: the attempt has ended."""
        parameters = {"job_id": job_id, "fencing_token": fencing_token, "details": details}
        row = await (await connection.execute(self._heartbeat, parameters)).fetchone()
        return None if row is None else bool(row[0])

    async def resolve(
        self, connection: Connection, job_id: str, fencing_token: int, outcome: str, result: bytes
    ) -> bool:
        """Store an attempt's outcome, and notify who delivers it. Return False if the attempt has ended."""
        parameters = {"job_id": job_id, "fencing_token": fencing_token, "outcome": outcome, "result": result}
        return (await self.notifying.execute(connection, self._resolve, parameters)).rowcount == 1

    async def notify_of_outcome(self, connection: Connection) -> None:
        """Tell maintenance of an outcome that it must deliver."""
        await self._notify_maintenance(connection, OUTCOME_STORED)

    async def notify_of_retry(self, connection: Connection) -> None:
        """Tell maintenance of an attempt that may be due earlier than it knows."""
        await self._notify_maintenance(connection, "")

    async def _notify_maintenance(self, connection: Connection, payload: str) -> None:
        parameters = {"channel": MAINTENANCE_CHANNEL, "payload": payload}
        await self.notifying.execute(connection, b"SELECT pg_notify(%(channel)s, %(payload)s)", parameters)

    async def overdue(self, connection: Connection, limit: int) -> list[OverdueAttempt]:
        """Lock and return attempts that are completed asynchronously and have taken too long.

        Args:
            connection: in a transaction.
            limit: largest number.
        """
        cursor = await connection.execute(self._overdue, {"limit": limit}, binary=True)
        return [OverdueAttempt(*row) for row in await cursor.fetchall()]


async def _lease(connection: Connection) -> int:
    """Return the lease that holds these rows. If two processes make one at a time, there are two, and both hold."""
    for statement in (_LEASE, _GRANT):
        row = await (await connection.execute(statement, (HOLDER,))).fetchone()
        if row is not None and row[0] is not None:
            return int(row[0])
    raise AssertionError("INSERT ... RETURNING returned no row")


async def _one(connection: Connection, statement: bytes, parameters: Mapping[str, object]) -> OpenRow | None:
    row = await (await connection.execute(statement, parameters)).fetchone()
    return None if row is None else OpenRow(*row)
