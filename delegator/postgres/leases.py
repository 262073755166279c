"""The statements of `custom_task_lease`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from delegator_schema.columns import PAUSE_TABLE
from psycopg.types.json import Jsonb

from delegator.postgres.connections import Connection
from delegator.postgres.lease_reports import RecentRuns, RunningJob, WorkerReport

_GRANT = b"""
INSERT INTO custom_task_lease (role, holder, queue, job_types, version, cluster, renewed_at, expires_at)
VALUES (%s, %s, %s, %s::text[], %s, %s, now(), now() + %s)
RETURNING lease_id
"""
_RENEW = f"""
UPDATE custom_task_lease AS own
SET expires_at = now() + %(duration)s,
    delivery_watermark = greatest(delivery_watermark, now() - %(watermark_age)s::interval),
    renewed_at = now(),
    report = %(report)s
WHERE lease_id = %(lease_id)s
RETURNING EXISTS (SELECT FROM {PAUSE_TABLE} AS pause WHERE pause.queue = own.queue)
""".encode()
# The lease expires but is not deleted. The sweeper deletes it when no row names it.
_REVOKE = b"UPDATE custom_task_lease SET expires_at = now() WHERE lease_id = %s"

_NAME_TYPES = b"UPDATE custom_task_lease SET job_types = %s::text[] WHERE lease_id = %s"

_IS_LIVE = b"SELECT EXISTS (SELECT FROM custom_task_lease WHERE lease_id = %s AND expires_at > now())"

_SERVED = b"""
SELECT DISTINCT unnest(job_types) FROM custom_task_lease
WHERE role = 'worker' AND queue = %s AND expires_at > now()
"""

_WORKERS = b"""
SELECT lease_id, holder, queue, job_types, granted_at, expires_at, renewed_at, version, report, expires_at > now(),
       now()
FROM custom_task_lease
WHERE role = 'worker' AND queue = ANY(%s) AND (expires_at > now() OR %s)
ORDER BY queue, lease_id
"""

_WATERMARK = b"SELECT max(delivery_watermark) FROM custom_task_lease WHERE queue = %s"

_EXPIRED = b"""
SELECT lease_id FROM custom_task_lease
WHERE expires_at < now() AND pg_postmaster_start_time() < now() - %s
ORDER BY lease_id FOR UPDATE SKIP LOCKED
"""
_DELETE = b"DELETE FROM custom_task_lease WHERE lease_id = ANY(%s)"

# A namespace's name may hold a slash, and its id holds none.
_OTHER_CLUSTER = b"""
SELECT holder, cluster FROM custom_task_lease
WHERE cluster <> %(cluster)s AND expires_at > now()
  AND regexp_replace(cluster, '/[^/]*$', '') = regexp_replace(%(cluster)s, '/[^/]*$', '')
ORDER BY lease_id LIMIT 1
"""

Role = Literal["worker", "enqueuer", "maintenance"]
"""The use of a lease: a worker holds running jobs, an enqueuer waits inline for outcomes. A maintenance process holds
nothing, and says which cluster it signals."""


class WorkerLease(NamedTuple):
    """The lease of a worker."""

    lease_id: int
    holder: str
    """The process: `<pid>@<host>`."""
    queue: str
    job_types: list[str] | None
    """The types that it has handlers for; None: it does not say."""
    granted_at: datetime
    expires_at: datetime
    renewed_at: datetime | None
    """When it was last renewed; None: the process is of a release that does not say."""
    version: str | None
    """The release of the process; None: as for `renewed_at`."""
    report: dict[str, Any] | None
    is_live: bool
    """Whether it has not expired."""
    now: datetime
    """The database's clock."""

    @property
    def slots(self) -> int | None:
        """How many jobs the worker may run at once; None: not said yet."""
        return None if self.report is None else WorkerReport.read(self.report).slots

    @property
    def running(self) -> int | None:
        """How many jobs the worker ran when it renewed its lease; None: not said yet."""
        return None if self.report is None else WorkerReport.read(self.report).running

    @property
    def has_pauses(self) -> bool | None:
        """Whether the worker reads the pauses at each claim; None: not said."""
        return None if self.report is None else WorkerReport.read(self.report).has_pauses

    @property
    def recent(self) -> RecentRuns | None:
        """What the worker has done lately; None: not said."""
        return None if self.report is None else WorkerReport.read(self.report).recent

    @property
    def jobs(self) -> Sequence[RunningJob]:
        """The jobs that it has run longest, the oldest first."""
        return () if self.report is None else WorkerReport.read(self.report).jobs

    @property
    def oldest_job(self) -> RunningJob | None:
        """The job that it has run longest; None: it runs none."""
        return next(iter(self.jobs), None)


async def grant(
    connection: Connection,
    role: Role,
    holder: str,
    queue: str | None,
    duration: timedelta,
    job_types: Sequence[str] | None = None,
    version: str | None = None,
    cluster: str | None = None,
) -> int:
    """Grant a lease and return its id.

    Args:
        connection: where to.
        role: the use of the lease.
        holder: the name of the process.
        queue: the queue that a worker serves.
        duration: how long the lease lives without a renewal, by the database's clock.
        job_types: the types that a worker has handlers for; None: not said.
        version: the release of the process; None: not said.
        cluster: the process's namespace and the namespace's id, as `name/id`; None: not known.
    """
    types = None if job_types is None else list(job_types)
    cursor = await connection.execute(_GRANT, (role, holder, queue, types, version, cluster, duration))
    row = await cursor.fetchone()
    if row is None:
        raise AssertionError("INSERT ... RETURNING returned no row")
    return int(row[0])


class Renewed(NamedTuple):
    """The answer to a renewal."""

    has_pauses: bool
    """Whether the lease's queue, or one of its types, is paused."""


async def renew(
    connection: Connection,
    lease_id: int,
    duration: timedelta,
    watermark_age: timedelta | None,
    report: WorkerReport | None = None,
) -> Renewed | None:
    """Renew a lease. All rows that name it stay held.

    Args:
        connection: where to.
        lease_id: the lease.
        duration: how long it lives from now.
        watermark_age: age of the delivery watermark; None: not known.
        report: what a worker says of itself; None: nothing.

    Returns:
        None if the lease is gone. It had expired, and others may have taken its rows.
    """
    parameters = {
        "lease_id": lease_id,
        "duration": duration,
        "watermark_age": watermark_age,
        "report": None if report is None else Jsonb(report.to_json()),
    }
    row = await (await connection.execute(_RENEW, parameters)).fetchone()
    return None if row is None else Renewed(bool(row[0]))


async def workers(connection: Connection, queues: Sequence[str], *, expired: bool = False) -> list[WorkerLease]:
    """Return the leases of workers.

    Args:
        connection: where to.
        queues: the queues that they serve.
        expired: also those that have expired and are not deleted yet.
    """
    cursor = await connection.execute(_WORKERS, (list(queues), expired))
    return [WorkerLease(*row) for row in await cursor.fetchall()]


async def name_types(connection: Connection, lease_id: int, job_types: Sequence[str]) -> None:
    """Say which types the holder of a lease serves from now on."""
    await connection.execute(_NAME_TYPES, (list(job_types), lease_id))


async def is_live(connection: Connection, lease_id: int) -> bool:
    """Return whether a lease has not expired."""
    row = await (await connection.execute(_IS_LIVE, (lease_id,))).fetchone()
    return row is not None and bool(row[0])


async def other_cluster(connection: Connection, cluster: str) -> tuple[str, str] | None:
    """Return a live process whose namespace has the same name in another cluster.

    Args:
        connection: where to.
        cluster: the own namespace and its id, as `name/id`.

    Returns:
        The holder of its lease, and its `name/id`; None: there is none.
    """
    row = await (await connection.execute(_OTHER_CLUSTER, {"cluster": cluster})).fetchone()
    return None if row is None else (row[0], row[1])


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
