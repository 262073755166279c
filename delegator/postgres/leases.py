"""The statements of `custom_task_lease`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from delegator.postgres.connections import Connection

_GRANT = b"""
INSERT INTO custom_task_lease (role, holder, queue, expires_at) VALUES (%s, %s, %s, now() + %s)
RETURNING lease_id
"""
_RENEW = b"""
UPDATE custom_task_lease
SET expires_at = now() + %(duration)s,
    delivery_watermark = greatest(delivery_watermark, now() - %(watermark_age)s::interval)
WHERE lease_id = %(lease_id)s
"""
# The lease expires and is not deleted: the sweeper deletes it once no row names it any more.
_REVOKE = b"UPDATE custom_task_lease SET expires_at = now() WHERE lease_id = %s"

_IS_LIVE = b"SELECT EXISTS (SELECT FROM custom_task_lease WHERE lease_id = %s AND expires_at > now())"

_WATERMARK = b"SELECT max(delivery_watermark) FROM custom_task_lease WHERE queue = %s"

_EXPIRED = b"""
SELECT lease_id FROM custom_task_lease
WHERE expires_at < now() AND pg_postmaster_start_time() < now() - %s
ORDER BY lease_id FOR UPDATE SKIP LOCKED
"""
_DELETE = b"DELETE FROM custom_task_lease WHERE lease_id = ANY(%s)"

Role = Literal["worker", "enqueuer"]
"""What a process has a lease for: to hold running jobs, or to wait inline for outcomes."""


async def grant(connection: Connection, role: Role, holder: str, queue: str | None, duration: timedelta) -> int:
    """Grant a lease and return its id.

    Args:
        connection: where to.
        role: what the lease is for.
        holder: the process, for people.
        queue: the queue that a worker serves.
        duration: how long the lease lives without a renewal, by the database's clock.
    """
    cursor = await connection.execute(_GRANT, (role, holder, queue, duration))
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("INSERT ... RETURNING returned no row")
    return int(row[0])


async def renew(connection: Connection, lease_id: int, duration: timedelta, watermark_age: timedelta | None) -> bool:
    """Renew a lease, and with it the hold on every row that names it.

    Args:
        connection: where to.
        lease_id: the lease.
        duration: how long it lives from now.
        watermark_age: how long ago the stream had nothing left to deliver to this holder; None: unknown.

    Returns:
        False if the lease is gone: it had expired, and others have taken what it held.
    """
    parameters = {"lease_id": lease_id, "duration": duration, "watermark_age": watermark_age}
    return (await connection.execute(_RENEW, parameters)).rowcount == 1


async def is_live(connection: Connection, lease_id: int) -> bool:
    """Say whether a lease has not expired."""
    row = await (await connection.execute(_IS_LIVE, (lease_id,))).fetchone()
    return row is not None and bool(row[0])


async def revoke(connection: Connection, lease_id: int) -> None:
    """End a lease at once."""
    await connection.execute(_REVOKE, (lease_id,))


async def delivery_watermark(connection: Connection, queue: str) -> datetime | None:
    """Return the moment before which every published row of a queue was offered to a worker; None: unknown."""
    row = await (await connection.execute(_WATERMARK, (queue,))).fetchone()
    return None if row is None else row[0]


async def lock_expired(connection: Connection, restart_grace: timedelta = timedelta(0)) -> list[int]:
    """Lock and return expired leases; their holders can't renew them until the transaction ends.

    Args:
        connection: in a transaction.
        restart_grace: time that holders get after a start of the server, before which they could not renew.
    """
    cursor = await connection.execute(_EXPIRED, (restart_grace,))
    return [row[0] for row in await cursor.fetchall()]


async def delete(connection: Connection, lease_ids: Sequence[int]) -> None:
    """Delete leases whose jobs were published again."""
    await connection.execute(_DELETE, (list(lease_ids),))
