"""The statements of `custom_task_lease`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from delegator.postgres.connections import Connection

_GRANT = b"""
INSERT INTO custom_task_lease (role, holder, queue, job_types, expires_at) VALUES (%s, %s, %s, %s::text[], now() + %s)
RETURNING lease_id
"""
_RENEW = b"""
UPDATE custom_task_lease
SET expires_at = now() + %(duration)s,
    delivery_watermark = greatest(delivery_watermark, now() - %(watermark_age)s::interval)
WHERE lease_id = %(lease_id)s
"""
# The lease expires but is not deleted. The sweeper deletes it when no row names it.
_REVOKE = b"UPDATE custom_task_lease SET expires_at = now() WHERE lease_id = %s"

_IS_LIVE = b"SELECT EXISTS (SELECT FROM custom_task_lease WHERE lease_id = %s AND expires_at > now())"

_SERVED = b"""
SELECT DISTINCT unnest(job_types) FROM custom_task_lease
WHERE role = 'worker' AND queue = %s AND expires_at > now()
"""

_WATERMARK = b"SELECT max(delivery_watermark) FROM custom_task_lease WHERE queue = %s"

_EXPIRED = b"""
SELECT lease_id FROM custom_task_lease
WHERE expires_at < now() AND pg_postmaster_start_time() < now() - %s
ORDER BY lease_id FOR UPDATE SKIP LOCKED
"""
_DELETE = b"DELETE FROM custom_task_lease WHERE lease_id = ANY(%s)"

Role = Literal["worker", "enqueuer"]
"""The use of a lease: a worker holds running jobs, an enqueuer waits inline for outcomes."""


async def grant(
    connection: Connection,
    role: Role,
    holder: str,
    queue: str | None,
    duration: timedelta,
    job_types: Sequence[str] | None = None,
) -> int:
    """Grant a lease and return its id.

    Args:
        connection: where to.
        role: the use of the lease.
        holder: the name of the process.
        queue: the queue that a worker serves.
        duration: how long the lease lives without a renewal, by the database's clock.
        job_types: the types that a worker has handlers for; None: not said.
    """
    types = None if job_types is None else list(job_types)
    cursor = await connection.execute(_GRANT, (role, holder, queue, types, duration))
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("INSERT ... RETURNING returned no row")
    return int(row[0])


async def renew(connection: Connection, lease_id: int, duration: timedelta, watermark_age: timedelta | None) -> bool:
    """Renew a lease. All rows that name it stay held.

    Args:
        connection: where to.
        lease_id: the lease.
        duration: how long it lives from now.
        watermark_age: age of the delivery watermark; None: not known.

    Returns:
        False if the lease is gone. It had expired, and others may have taken its rows.
    """
    parameters = {"lease_id": lease_id, "duration": duration, "watermark_age": watermark_age}
    return (await connection.execute(_RENEW, parameters)).rowcount == 1


async def is_live(connection: Connection, lease_id: int) -> bool:
    """Return whether a lease has not expired."""
    row = await (await connection.execute(_IS_LIVE, (lease_id,))).fetchone()
    return row is not None and bool(row[0])


async def revoke(connection: Connection, lease_id: int) -> None:
    """End a lease at once."""
    await connection.execute(_REVOKE, (lease_id,))


async def served_types(connection: Connection, queue: str) -> set[str]:
    """Return the types that live workers of a queue have handlers for."""
    return {row[0] for row in await (await connection.execute(_SERVED, (queue,))).fetchall()}


async def delivery_watermark(connection: Connection, queue: str) -> datetime | None:
    """Return the delivery watermark of a queue; None: not known."""
    row = await (await connection.execute(_WATERMARK, (queue,))).fetchone()
    return None if row is None else row[0]


async def lock_expired(connection: Connection, restart_grace: timedelta = timedelta(0)) -> list[int]:
    """Lock and return expired leases. Their holders can't renew them until the transaction ends.

    Args:
        connection: in a transaction.
        restart_grace: how long after a start of the server no lease counts as expired. Before the start no process
            could renew.
    """
    cursor = await connection.execute(_EXPIRED, (restart_grace,))
    return [row[0] for row in await cursor.fetchall()]


async def delete(connection: Connection, lease_ids: Sequence[int]) -> None:
    """Delete leases whose jobs were republished."""
    await connection.execute(_DELETE, (list(lease_ids),))
