"""The ids of plain jobs that stay taken for a while."""

from __future__ import annotations

from typing import Final

from delegator_schema.columns import UNIQUE_TABLE

from delegator.postgres.connections import Connection

_FORGET: Final = f"""
DELETE FROM {UNIQUE_TABLE} WHERE unique_id IN (
    SELECT unique_id FROM {UNIQUE_TABLE} WHERE expires_at <= clock_timestamp() LIMIT 10000 FOR UPDATE SKIP LOCKED)
""".encode()


async def forget_expired(connection: Connection) -> None:
    """Delete ids that are free again."""
    await connection.execute(_FORGET)
