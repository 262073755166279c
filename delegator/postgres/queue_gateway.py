"""The gateway's statements on a queue's table. A job token names a row; any gateway may go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from delegator.postgres.arrays import bytea_array, int8_array
from delegator.postgres.connections import Connection
from delegator.postgres.queue_statements import QueueStatements, held_rows
from delegator.postgres.queue_worker import CLAIMED, Claimed

_OPEN: Final = "q.outcome IS NULL AND q.lease_id IS NOT NULL AND q.retry_at IS NULL"
"""The attempt runs. With `retry_at` a client completes it."""
_RUNNING: Final = (
    CLAIMED.replace("q.input", "NULL::bytea")
    .replace("q.header", "NULL::bytea")
    .format(attempt="q.attempt", deadline="q.deadline")
)
"""The columns of a claimed row without what only its handler needs."""

_FIND_ALL = f"SELECT {_RUNNING} FROM {{held}} JOIN {{table}} AS q ON {{is_held}} WHERE {_OPEN}"
_FIND_ONE = f"""
SELECT {_RUNNING} FROM {{table}} AS q
WHERE q.job_id = %(job_id)b AND q.fencing_token = %(fencing_token)b::int8 AND {_OPEN}
"""

_KEEP = f"""
UPDATE {{table}} AS q
SET lease_id = kept.lease_id, heartbeat_details = coalesce(kept.details, q.heartbeat_details)
FROM unnest(%(job_id)b::text[], %(fencing_token)b::int8[], %(lease_id)b::int8[], %(details)b::bytea[])
     AS kept (job_id, fencing_token, lease_id, details)
WHERE q.job_id = kept.job_id AND q.fencing_token = kept.fencing_token AND {_OPEN}
RETURNING q.job_id, q.cancel_requested
"""

_UNDER_LEASE = """
SELECT q.job_id FROM {held} JOIN {table} AS q ON {is_held} WHERE q.lease_id = %(lease_id)s AND q.outcome IS NULL LIMIT 1
"""


class Kept(NamedTuple):
    """What a sign of life changes in the row of a running job."""

    job_id: str
    fencing_token: int
    lease_id: int
    """The lease that holds it from now on."""
    details: bytes | None = None
    """Details of a heartbeat, a serialized `Payloads` in stored form; None: those in the row stay."""


class GatewayStatements(QueueStatements):
    """The statements of one queue's table that a gateway runs beside those of a worker."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        self._find_all = self.statement(_FIND_ALL)
        self._find_one = self.statement(_FIND_ONE)
        self._keep = self.statement(_KEEP)
        self._under_lease = self.statement(_UNDER_LEASE)

    async def find(self, connection: Connection, held: Sequence[tuple[str, int]]) -> dict[str, Claimed]:
        """Return the rows of running attempts by job id, without arguments. Those that have ended are left out.

        Args:
            connection: where to.
            held: the rows, as (job id, fencing token).
        """
        if len(held) == 1:
            ((job_id, token),) = held
            parameters = {"job_id": job_id, "fencing_token": token}
            cursor = await connection.execute(self._find_one, parameters, binary=True)
        else:
            cursor = await connection.execute(self._find_all, held_rows(held), binary=True, prepare=False)
        return {row[0]: Claimed._make(row) for row in await cursor.fetchall()}

    async def keep(self, connection: Connection, kept: Sequence[Kept]) -> dict[str, bool]:
        """Put running jobs under other leases. Return the ids of those that still run, and whether each is to stop."""
        ordered = sorted(kept)
        cursor = await connection.execute(
            self._keep,
            {
                **held_rows([row[:2] for row in ordered]),
                "lease_id": int8_array([row.lease_id for row in ordered]),
                "details": bytea_array([row.details for row in ordered]),
            },
            prepare=False,  # see WorkerStatements
        )
        return dict(await cursor.fetchall())

    async def is_used(self, connection: Connection, lease_id: int, held: Sequence[tuple[str, int]]) -> bool:
        """Return whether a lease still holds one of these rows, given as (job id, fencing token)."""
        parameters = {**held_rows(held), "lease_id": lease_id}
        return await (await connection.execute(self._under_lease, parameters, prepare=False)).fetchone() is not None
