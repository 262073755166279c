"""The workers' statements on the table of an ordered queue: which jobs wait in which lines, and the claim by line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from delegator_schema.columns import RATE_TABLE
from delegator_schema.options import FAIRNESS_KEY, FAIRNESS_WEIGHT, LARGEST_WEIGHT, LEAST_WEIGHT

from delegator.postgres.arrays import int4_array, int8_array, text_array
from delegator.postgres.connections import Connection
from delegator.postgres.queue_statements import QueueStatements
from delegator.postgres.queue_worker import CLAIMED, STARTED_DEADLINE, Claimed

CATCH_UP: Final = timedelta(milliseconds=50)
"""How much of a rate a worker that looks late may make up for."""

# The index is read once for each line: from the first job of a line the search goes on behind the line (PostgreSQL
# wiki, "Loose indexscan"). The last row says whether the inserts that the stream has announced are visible.
_LANES = f"""
WITH RECURSIVE lanes AS (
    ({{first}} AND (q.priority, q.lane) > (%(priority)s::int2, %(after)s::text) {{in_order}})
    UNION ALL
    SELECT next.* FROM lanes CROSS JOIN LATERAL (
        {{first}} AND (q.priority, q.lane) > (lanes.priority, lanes.lane) {{in_order}}
    ) AS next
), found AS (SELECT * FROM lanes LIMIT %(limit)s)
SELECT priority, lane, job_type, coalesce(options ->> '{FAIRNESS_KEY}', ''),
       options ->> '{FAIRNESS_WEIGHT}', date_part('epoch', published_at)
FROM found
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL
WHERE EXISTS (
    SELECT FROM unnest(%(token)b::int8[]) AS token
    WHERE NOT pg_visible_in_snapshot(token::text::xid8, pg_current_snapshot())
)
"""
_FIRST: Final = """SELECT q.priority, q.lane, q.job_type, q.options, q.published_at FROM {table} AS q
        WHERE {waits_in_lane}"""
_IN_ORDER: Final = "ORDER BY q.priority, q.lane, q.published_at LIMIT 1"

# The claim takes the job out of its line, and so out of the index. SKIP LOCKED leaves the rows of other claims to them.
_TAKE = f"""
UPDATE {{table}} AS q
SET lease_id = %(lease_id)s,
    fencing_token = {{next_fencing_token}},
    attempt = q.attempt + 1,
    deadline = {STARTED_DEADLINE},
    lane = NULL,
    permit = {{permit}}
WHERE q.job_id = ANY(ARRAY({{picked}}))
RETURNING {CLAIMED.format(attempt="q.attempt", deadline="q.deadline")}
"""
_PICKED_FROM_ONE: Final = """
    SELECT q.job_id FROM {table} AS q
    WHERE q.priority = %(priority)b::int2 AND q.lane = %(lane)b::text AND {waits_in_lane} AND {own_lease_is_live}
    ORDER BY q.published_at LIMIT %(most)b::int8 FOR UPDATE SKIP LOCKED
"""
_PICKED_FROM_SEVERAL: Final = """
    SELECT next.job_id
    FROM unnest(%(priority)b::int4[], %(lane)b::text[], %(most)b::int4[]) AS place (priority, lane, most)
    CROSS JOIN LATERAL (
        SELECT q.job_id FROM {table} AS q
        WHERE q.priority = place.priority AND q.lane = place.lane AND {waits_in_lane}
        ORDER BY q.published_at LIMIT place.most FOR UPDATE SKIP LOCKED
    ) AS next
    WHERE {own_lease_is_live}
"""
_FIRST_OF_LANE = """
SELECT q.job_id, q.fencing_token FROM {table} AS q
WHERE q.priority = %(priority)b::int2 AND q.lane = %(lane)b::text AND {waits_in_lane}
ORDER BY q.published_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_PERMIT: Final = "CASE WHEN q.job_type = ANY(%(limited)b::text[]) THEN q.job_type END"

_RECLAIM = f"""
UPDATE {{table}} AS q SET fencing_token = {{next_fencing_token}}
WHERE q.job_id = ANY(ARRAY(
    SELECT q.job_id FROM {{table}} AS q
    WHERE q.lease_id = %(lease_id)s AND q.outcome IS NULL AND q.job_id <> ALL(%(held)b::text[])
      AND {{own_lease_is_live}}
    LIMIT %(most)s FOR UPDATE SKIP LOCKED
))
RETURNING {CLAIMED.format(attempt="q.attempt", deadline="q.deadline")}
"""

_LOCK = b"""
SELECT name FROM unnest(%(name)b::text[]) AS name
WHERE pg_try_advisory_xact_lock(hashtextextended('delegator limit ' || %(queue)b::text || ' ' || name, 0))
"""

_RUNNING = f"""
SELECT q.permit, coalesce(q.options ->> '{FAIRNESS_KEY}', ''), count(*)
FROM {{table}} AS q
WHERE q.permit = ANY(%(limited)b::text[]) AND q.outcome IS NULL AND {{lease_is_live}}
GROUP BY 1, 2
"""

_RATES = f"""
SELECT limit_id, date_part('epoch', next_start_at - clock_timestamp()) FROM {RATE_TABLE}
WHERE limit_id = ANY(%(limit_id)b::text[])
""".encode()

_STARTED = f"""
INSERT INTO {RATE_TABLE} (limit_id, next_start_at)
SELECT started.limit_id, greatest(rate.next_start_at, clock_timestamp() - %(catch_up)s::interval)
                         + started.micros * interval '1 microsecond'
FROM unnest(%(limit_id)b::text[], %(micros)b::int8[]) AS started (limit_id, micros)
LEFT JOIN {RATE_TABLE} AS rate ON rate.limit_id = started.limit_id
ON CONFLICT (limit_id) DO UPDATE SET next_start_at = EXCLUDED.next_start_at
""".encode()

_PLACE_UNPLACED = """
UPDATE {table} AS q SET priority = {priority}, lane = {lane}
WHERE q.priority IS NULL AND q.lease_id IS NULL AND q.outcome IS NULL AND q.retry_at IS NULL
"""
_FORGET_RATES = f"DELETE FROM {RATE_TABLE} WHERE next_start_at < now() - interval '1 hour'".encode()


class Lane(NamedTuple):
    """A line in which jobs wait. What is not the line's name is that of its first job."""

    priority: int
    name: str
    job_type: str
    fairness_key: str
    weight: float
    published_at: float
    """When the first job was published, in seconds since 1970."""


class Place(NamedTuple):
    """How many jobs to take from a line."""

    priority: int
    lane: str
    most: int


class OrderStatements(QueueStatements):
    """The workers' statements on one ordered queue's table."""

    def __init__(self, queue: str) -> None:
        """Prepare the statements for `queue`.

        Raises:
            ValueError: `queue` is not a queue name.
        """
        super().__init__(queue)
        first = self.statement(_FIRST).decode()
        self._lanes = self.statement(_LANES, first=first, in_order=_IN_ORDER)
        one, several = (self.statement(picked).decode() for picked in (_PICKED_FROM_ONE, _PICKED_FROM_SEVERAL))
        self._take_from_one = self.statement(_TAKE, picked=one, permit="NULL")
        self._take = self.statement(_TAKE, picked=several, permit=_PERMIT)
        self._first = self.statement(_FIRST_OF_LANE)
        self._reclaim = self.statement(_RECLAIM)
        self._running = self.statement(_RUNNING)
        self._place_unplaced = self.statement(_PLACE_UNPLACED)

    async def lanes(
        self, connection: Connection, limit: int, announced: Collection[int] = (), after: tuple[int, str] = (0, "")
    ) -> tuple[list[Lane], bool]:
        """Return the lines in which jobs wait, those with the lowest priority number first.

        Args:
            connection: where to.
            limit: largest number of lines.
            announced: fencing tokens of inserts that the stream has announced.
            after: the priority and the name of the line behind which to begin.

        Returns:
            The lines, and whether all announced inserts are visible. The stream may be faster than a commit's end.
        """
        cursor = await connection.execute(
            self._lanes,
            {"limit": limit, "token": int8_array(list(announced)), "priority": after[0], "after": after[1]},
            binary=True,
        )
        rows = await cursor.fetchall()
        visible = not rows or rows[-1][0] is not None
        found = rows if visible else rows[:-1]
        return [Lane._make((*row[:4], _weight(row[4]), row[5])) for row in found], visible

    async def take(
        self, connection: Connection, places: Sequence[Place], lease_id: int, limited: Collection[str] = ()
    ) -> list[Claimed]:
        """Claim the jobs that have waited longest in some lines. Each gets a new fencing token.

        Args:
            connection: where to.
            places: how many jobs to take from which line.
            lease_id: this worker's lease. If it has expired, nothing is claimed.
            limited: types whose running jobs are counted.
        """
        if len(places) == 1 and not limited:
            parameters = {**places[0]._asdict(), "lease_id": lease_id}
            cursor = await connection.execute(self._take_from_one, parameters, binary=True)
        else:
            priorities, lanes, most = zip(*places, strict=True)
            parameters = {
                "priority": int4_array(priorities),
                "lane": text_array(lanes),
                "most": int4_array(most),
                "limited": text_array(sorted(limited)),
                "lease_id": lease_id,
            }
            cursor = await connection.execute(self._take, parameters, binary=True)
        return list(map(Claimed._make, await cursor.fetchall()))

    async def first(self, connection: Connection, lane: Lane) -> tuple[str, int] | None:
        """Lock the first job of a line until the transaction ends; its id and fencing token. None: there is none."""
        parameters = {"priority": lane.priority, "lane": lane.name}
        return await (await connection.execute(self._first, parameters)).fetchone()

    async def reclaim(self, connection: Connection, lease_id: int, held: Sequence[str], most: int) -> list[Claimed]:
        """Claim again what this worker's lease holds and the worker does not know: a claim's answer was lost.

        It reads the whole table, so it is for the time after a lost connection.

        Args:
            connection: where to.
            lease_id: this worker's lease.
            held: ids of the jobs that the worker holds.
            most: largest number of jobs.
        """
        parameters = {"lease_id": lease_id, "held": text_array(held), "most": most}
        cursor = await connection.execute(self._reclaim, parameters, binary=True)
        return list(map(Claimed._make, await cursor.fetchall()))

    async def lock_limits(self, connection: Connection, types: Collection[str]) -> set[str]:
        """Lock the limits of types until the transaction ends. Return those that no other worker has locked."""
        parameters = {"name": text_array(sorted(types)), "queue": self.queue}
        cursor = await connection.execute(_LOCK, parameters)
        return {row[0] for row in await cursor.fetchall()}

    async def running(self, connection: Connection, types: Collection[str]) -> dict[tuple[str, str], int]:
        """Return how many jobs of types run under a live lease, by type and fairness key."""
        cursor = await connection.execute(self._running, {"limited": text_array(sorted(types))}, binary=True)
        return {(job_type, key): count for job_type, key, count in await cursor.fetchall()}

    async def rates(self, connection: Connection, limit_ids: Collection[str]) -> dict[str, float]:
        """Return in how many seconds each rate allows the next start; negative: since when it has done so."""
        cursor = await connection.execute(_RATES, {"limit_id": text_array(sorted(limit_ids))}, binary=True)
        return dict(await cursor.fetchall())

    async def started(self, connection: Connection, taken: Mapping[str, timedelta]) -> None:
        """Note starts.

        Args:
            connection: where to.
            taken: by limit, the time that the rate needs for the starts.
        """
        ordered = sorted(taken)
        micros = int8_array([taken[limit_id] // timedelta(microseconds=1) for limit_id in ordered])
        parameters = {"limit_id": text_array(ordered), "micros": micros, "catch_up": CATCH_UP}
        await connection.execute(_STARTED, parameters)

    async def place_unplaced(self, connection: Connection) -> int:
        """Give waiting jobs a line that were enqueued before the queue was declared as ordered. Return the number."""
        return (await connection.execute(self._place_unplaced)).rowcount


def _weight(text: str | None) -> float:
    """Return the weight in a row's options. A program of another kind may have written anything there."""
    try:
        weight = 1.0 if text is None else float(text)
    except ValueError:
        return 1.0
    return min(max(weight, LEAST_WEIGHT), LARGEST_WEIGHT) if weight == weight else 1.0


async def forget_rates(connection: Connection) -> None:
    """Delete the rates that have not been used for an hour."""
    await connection.execute(_FORGET_RATES)
