"""The statements of `custom_task_lease`."""

from __future__ import annotations

from datetime import timedelta

from delegator.postgres.connections import Connection

_GRANT = b"""
INSERT INTO custom_task_lease (role, holder, queue, expires_at) VALUES (%s, %s, %s, now() + %s)
RETURNING lease_id
"""
_RENEW = b"""
UPDATE custom_task_lease
SET expires_at = now() + %(duration)s,
    delivery_watermark = greatest(delivery_watermark, now() - %(drained)s::interval)
WHERE lease_id = %(lease_id)s
"""
# Expired, not deleted: the sweeper deletes a lease once nothing is held under it any more.
_REVOKE = b"UPDATE custom_task_lease SET expires_at = now() WHERE lease_id = %s"

_IS_LIVE = b"SELECT EXISTS (SELECT FROM custom_task_lease WHERE lease_id = %s AND expires_at > now())"


async def grant(connection: Connection, role: str, holder: str, queue: str | None, duration: timedelta) -> int:
    """Grant a lease and return its id.

    Args:
        connection: where to.
        role: `worker` or `enqueuer`.
        holder: the process, for people.
        queue: the queue a worker serves.
        duration: how long the lease lives without a renewal, by the database's clock.
    """
    cursor = await connection.execute(_GRANT, (role, holder, queue, duration))
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("INSERT ... RETURNING returned no row")
    return int(row[0])


async def renew(connection: Connection, lease_id: int, duration: timedelta, drained: timedelta | None) -> bool:
    """Renew a lease, with everything it holds.

    Args:
        connection: where to.
        lease_id: the lease.
        duration: how long it lives from now.
        drained: how long ago the stream was seen empty by this holder; None: unknown.

    Returns:
        False if the lease is gone: it had expired, and others have taken what it held.
    """
    cursor = await connection.execute(_RENEW, {"lease_id": lease_id, "duration": duration, "drained": drained})
    return cursor.rowcount == 1


async def is_live(connection: Connection, lease_id: int) -> bool:
    """Say whether a lease has not expired."""
    row = await (await connection.execute(_IS_LIVE, (lease_id,))).fetchone()
    return row is not None and bool(row[0])


async def revoke(connection: Connection, lease_id: int) -> None:
    """End a lease at once."""
    await connection.execute(_REVOKE, (lease_id,))
