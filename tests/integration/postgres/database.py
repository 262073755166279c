"""The real tables, driven by the engine's own statements; times are moved instead of waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from delegator.enqueue import inline
from delegator.enqueue.inline import stop_waiting
from delegator.postgres import dead_letters, leases
from delegator.postgres.connections import Connection, connect
from delegator.postgres.dead_letters import NewDeadLetter
from delegator.postgres.queue_maintenance import MaintenanceStatements
from delegator.postgres.queue_table import AttemptOutcome, NewJob, NextAttempt, QueueTable
from tests.integration.postgres.model import LATER

TABLE = QueueTable("default")
MAINTENANCE = MaintenanceStatements("default")
HOUR, NOW = timedelta(hours=1), timedelta(0)
RUN = "0b1f6c1e-6d0a-4c53-9f0e-0d1f6c1e6d0a"
_SET_UP = """
CREATE TABLE published (job_id text);
CREATE FUNCTION publish() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO published VALUES (new.job_id); RETURN NULL; END $$;
CREATE TRIGGER publish AFTER INSERT ON custom_task_queue FOR EACH ROW EXECUTE FUNCTION publish();
"""
_WIPE = """
WITH a AS (DELETE FROM custom_task_queue), b AS (DELETE FROM custom_task_lease), c AS (DELETE FROM published)
DELETE FROM custom_task_dead_letter
"""
_LOOK = """
SELECT (SELECT jsonb_object_agg(job_id, jsonb_build_array(
            fencing_token, attempt, lease_id,
            CASE WHEN retry_at IS NULL THEN NULL WHEN retry_at <= now() THEN 'due' ELSE 'later' END,
            waiter_id, outcome, cancel_requested, coalesce(deadline <= now(), false)))
        FROM custom_task_queue),
       ARRAY(SELECT lease_id FROM custom_task_lease WHERE expires_at > now() ORDER BY 1),
       ARRAY(SELECT lease_id FROM custom_task_lease WHERE expires_at <= now() ORDER BY 1),
       (SELECT count(*) FROM custom_task_dead_letter),
       (SELECT jsonb_object_agg(job_id, n) FROM (SELECT job_id, count(*) AS n FROM published GROUP BY 1) AS e)
"""
_IS_BLOCKED = "SELECT cardinality(pg_blocking_pids(%s)) > 0"

Run = Callable[[Connection], Awaitable[Any]]


class Seen(NamedTuple):
    """What stands in the tables."""

    rows: dict[str, list[Any]]
    """By job: fencing token, attempt, lease, retry, waiter, outcome, cancel, overdue."""
    live: list[int]
    expired: list[int]
    dead_letters: int
    publications: dict[str, int]


class Store:
    """Three connections to one database, and the loop they live on."""

    def __init__(self, url: str, runner: asyncio.Runner) -> None:
        self._runner = runner
        self.first, self.second, self.observer = (self.run(self._connected(url)) for _ in range(3))
        self.run(self.first.execute(_SET_UP.encode(), prepare=False))

    @staticmethod
    async def _connected(url: str) -> Connection:
        connection = await connect(url, application_name="state machine")
        connection.prepare_threshold = 0
        return connection

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        for connection in (self.first, self.second, self.observer):
            self.run(connection.close())

    def wipe(self) -> None:
        self.run(self.first.execute(_WIPE.encode()))

    def do(self, step: Run) -> Any:
        return self.run(step(self.first))

    def race(self, first: Run, second: Run) -> tuple[Any, Any]:
        """Let `second` begin when `first` is done and not yet committed."""
        return self.run(self._race(first, second))  # type: ignore[no-any-return]

    async def _race(self, first: Run, second: Run) -> tuple[Any, Any]:
        async with self.first.transaction():
            early = await first(self.first)
            late = asyncio.ensure_future(second(self.second))
            pid = self.second.info.backend_pid
            while not late.done() and not await self._is_blocked(pid):
                await asyncio.sleep(0)
        return early, await late

    async def _is_blocked(self, pid: int) -> bool:
        row = await (await self.observer.execute(_IS_BLOCKED.encode(), (pid,))).fetchone()
        return row is not None and row[0]

    def look(self) -> Seen:
        return self.run(self._look())  # type: ignore[no-any-return]

    async def _look(self) -> Seen:
        row = await (await self.observer.execute(_LOOK.encode())).fetchone()
        assert row is not None
        return Seen(row[0] or {}, row[1], row[2], row[3], row[4] or {})


async def grant(db: Connection, role: str) -> int:
    return await leases.grant(db, role, "test", "default" if role == "worker" else None, HOUR)


async def renew(db: Connection, lease: int, stream_empty: bool) -> bool:
    if stream_empty:
        # The sweeper waits longer for what was published before, by seconds that pass here or don't.
        await db.execute(b"UPDATE custom_task_queue SET enqueued_at = published_at")
    return await leases.renew(db, lease, HOUR, NOW if stream_empty else None) is not None


async def run_out(db: Connection, lease: int) -> None:
    await db.execute(b"UPDATE custom_task_lease SET expires_at = now() - interval '1 s' WHERE lease_id = %s", (lease,))


async def make_due(db: Connection) -> None:
    await db.execute(b"UPDATE custom_task_queue SET retry_at = now() WHERE retry_at > now()")


async def pass_deadline(db: Connection, job: str) -> None:
    await db.execute(
        b"UPDATE custom_task_queue SET deadline = now() - interval '1 min' WHERE job_id = %s AND outcome IS NULL",
        (job,),
    )


async def insert(db: Connection, jobs: Sequence[str], waiter: int | None, plain: bool = False) -> set[str]:
    new = [
        NewJob(job, "t", None, None, None, None if plain else "wf", None if plain else RUN, None, 3_600_000, waiter)
        for job in jobs
    ]
    return await TABLE.insert(db, "ns", new)


async def read(db: Connection, jobs: Sequence[str]) -> dict[str, str]:
    return {found.job_id: found.outcome for found in await TABLE.read(db, list(jobs))}


async def stop(db: Connection, jobs: Sequence[str]) -> dict[str, str]:
    return {found.job_id: found.outcome for found in await stop_waiting(db, TABLE, jobs)}


async def take_over(db: Connection, jobs: Sequence[str], waiter: int) -> tuple[dict[str, str], set[str]]:
    taken = await inline.take_over(db, TABLE, set(jobs), set(), waiter)
    return {found.job_id: found.outcome for found in taken.found}, taken.gone


async def claim(db: Connection, jobs: Sequence[str], lease: int) -> tuple[dict[str, int], set[str]]:
    claimed, again = await TABLE.claim(db, [(job, 0) for job in jobs], lease)
    return {job.job_id: job.attempt for job in claimed}, again


async def store_outcomes(db: Connection, tokens: Mapping[str, int]) -> tuple[set[str], set[str]]:
    """As the finisher does."""
    stored = await TABLE.store_outcomes(
        db, [AttemptOutcome(job, token, "completed", b"x") for job, token in tokens.items()]
    )
    rest = [(job, token) for job, token in tokens.items() if job not in stored]
    return stored, await TABLE.unwaited(db, rest) if rest else set()


async def retry(db: Connection, held: Mapping[str, tuple[int, int]], when: str) -> set[str]:
    """Retry jobs, given by their token and attempt."""
    delay = 3_600_000 if when == LATER else 0
    return await TABLE.retry(
        db, [NextAttempt(job, token, delay, b"f", attempt) for job, (token, attempt) in held.items()]
    )


async def store_dead_letters(db: Connection, tokens: Mapping[str, int]) -> dict[str, bool]:
    dead = [NewDeadLetter(job, token, "failed", b"f", "attempts_exhausted", "E") for job, token in tokens.items()]
    return await dead_letters.store_dead_letters(db, TABLE, dead)


async def give_back(db: Connection, jobs: Sequence[str], lease: int) -> int:
    return await TABLE.release(db, list(jobs), lease)


async def sweep_leases(db: Connection) -> set[int]:
    async with db.transaction():
        expired = await leases.lock_expired(db)
        await MAINTENANCE.republish_abandoned(db, expired)
        await leases.delete(db, expired)
    return set(expired)


async def overdue(db: Connection, with_grace: bool) -> set[tuple[str, int]]:
    return {(row.job_id, row.fencing_token) for row in await MAINTENANCE.overdue(db, HOUR if with_grace else NOW)}


async def time_out(db: Connection, tokens: Mapping[str, int]) -> int:
    return await MAINTENANCE.time_out(db, [(job, token, b"t") for job, token in tokens.items()])


async def undelivered(db: Connection) -> set[str]:
    return {row.job_id for row in await MAINTENANCE.undelivered(db, -HOUR)}


async def delete_delivered(db: Connection, jobs: Collection[str]) -> None:
    await MAINTENANCE.delete_delivered(db, list(jobs))
