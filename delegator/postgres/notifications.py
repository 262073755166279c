"""LISTEN: notifications wake a process. They carry no data, so a lost notification only costs time."""

from __future__ import annotations

from delegator_schema.outbox import OUTBOX_CHANNEL
from psycopg import sql

from delegator.postgres.connections import Connection
from delegator.postgres.fragments import MAINTENANCE_CHANNEL, OUTCOME_CHANNEL


async def listen_for_outcomes(connection: Connection, lease_id: int) -> None:
    """Listen on this connection for outcomes that wait for the enqueuer with this lease."""
    await _listen(connection, f"{OUTCOME_CHANNEL}{lease_id}")


async def listen_for_maintenance(connection: Connection) -> None:
    """Listen on this connection for retries, timeouts and outcomes that need the maintenance process soon."""
    await _listen(connection, MAINTENANCE_CHANNEL)


async def listen_for_outbox(connection: Connection) -> None:
    """Listen on this connection for operations that an application has committed."""
    await _listen(connection, OUTBOX_CHANNEL)


async def _listen(connection: Connection, channel: str) -> None:
    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
