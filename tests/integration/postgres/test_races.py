"""Two statements on the same rows at once: side by side, or one waiting for the other's commit."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest

from delegator.enqueue.inline import stop_waiting, take_over
from delegator.postgres.connections import Connection, connect
from tests.integration.postgres import database as steps
from tests.integration.postgres.database import HOUR, MAINTENANCE, NOW, TABLE
from tests.support import Database

T = TypeVar("T")
JOBS = [f"job-{number:03}" for number in range(240)]
CHUNK = 12
ROUNDS = 3


@dataclass(frozen=True)
class Pair:
    """Two connections, and one that looks."""

    one: Connection
    other: Connection
    observer: Connection

    async def rows(self, condition: str = "true") -> dict[str, dict[str, Any]]:
        cursor = await self.observer.execute(f"SELECT job_id, to_jsonb(q) FROM custom_task_queue q WHERE {condition}")
        return dict(await cursor.fetchall())

    async def lease(self, role: str = "worker") -> int:
        return await steps.grant(self.observer, role)

    async def held(self, lease: int, jobs: Sequence[str] = JOBS, waiter: int | None = None) -> dict[str, int]:
        """Enqueue and claim jobs; return their fencing tokens."""
        await steps.insert(self.observer, jobs, waiter)
        claimed, _ = await TABLE.claim(self.observer, [(job, 0) for job in jobs], lease)
        return {job.job_id: job.fencing_token for job in claimed}

    async def late(
        self, first: Callable[[Connection], Awaitable[Any]], second: Callable[[Connection], Awaitable[T]]
    ) -> T:
        """Let `second` begin when `first` is done and not yet committed; its result."""
        async with self.one.transaction():
            await first(self.one)
            waiting = asyncio.ensure_future(second(self.other))
            await self.blocked(self.other)
        return await waiting

    async def blocked(self, connection: Connection) -> None:
        """Wait until a connection's statement waits for another's."""
        async with asyncio.timeout(60):
            blocked: Any = False
            while not blocked:
                query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
                cursor = await self.observer.execute(query, (connection.info.backend_pid,))
                ((blocked,),) = await cursor.fetchall()


@pytest.fixture
async def pair(database: Database) -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(3):
            connection = await connect(database.url, application_name="race")
            connections.append(await stack.enter_async_context(connection))
        yield Pair(*connections)


async def chunked(
    connection: Connection, jobs: Sequence[str], step: Callable[[Connection, list[str]], Awaitable[T]]
) -> list[T]:
    """Make a step on a few jobs after the other, in an order of its own; a deadlock is tried again, as everywhere."""
    order = random.sample(list(jobs), len(jobs))
    results = []
    for start in range(0, len(order), CHUNK):
        chunk = order[start : start + CHUNK]
        while True:
            try:
                results.append(await step(connection, chunk))
                break
            except psycopg.errors.DeadlockDetected:
                continue
    return results


def union(sets: Sequence[Any]) -> set[str]:
    return set().union(*sets)


@pytest.fixture(params=range(ROUNDS))
def again(request: pytest.FixtureRequest) -> int:
    return int(request.param)


async def test_concurrent_claims(pair: Pair, again: int) -> None:
    """Two workers that claim the same jobs get each job once."""
    await steps.insert(pair.observer, JOBS, None)
    leases = [await pair.lease(), await pair.lease()]

    async def claim_all(connection: Connection, lease: int) -> set[str]:
        results = await chunked(connection, JOBS, lambda db, jobs: steps.claim(db, jobs, lease))
        return union([claimed for claimed, _ in results])

    first, second = await asyncio.gather(claim_all(pair.one, leases[0]), claim_all(pair.other, leases[1]))

    assert first | second == set(JOBS)
    assert not first & second
    for lease, claimed in zip(leases, (first, second), strict=True):
        assert set(await pair.rows(f"lease_id = {lease} AND attempt = 1")) == claimed


async def test_inline_or_signal(pair: Pair, again: int) -> None:
    """An outcome is either read by its waiter or left to the signal, never both."""
    tokens = await pair.held(await pair.lease(), waiter=await pair.lease("enqueuer"))

    completed, read = await asyncio.gather(
        chunked(pair.one, JOBS, lambda db, jobs: steps.store_outcomes(db, {job: tokens[job] for job in jobs})),
        chunked(pair.other, JOBS, lambda db, jobs: stop_waiting(db, TABLE, jobs)),
    )

    stored, unwaited = union([stored for stored, _ in completed]), union([unwaited for _, unwaited in completed])
    assert {found.job_id for outcomes in read for found in outcomes} == stored
    assert unwaited == set(JOBS) - stored
    assert set(await pair.rows("outcome IS NULL AND waiter_id IS NULL")) == unwaited


async def test_complete_or_time_out(pair: Pair, again: int) -> None:
    """A job is either completed or timed out, never both."""
    tokens = await pair.held(await pair.lease(), waiter=await pair.lease("enqueuer"))

    completed, timed_out = await asyncio.gather(
        chunked(pair.one, JOBS, lambda db, jobs: steps.store_outcomes(db, {job: tokens[job] for job in jobs})),
        chunked(pair.other, JOBS, lambda db, jobs: steps.time_out(db, {job: tokens[job] for job in jobs})),
    )

    stored = union([stored for stored, _ in completed])
    assert union([unwaited for _, unwaited in completed]) == set()
    assert sum(timed_out) == len(JOBS) - len(stored)
    assert set(await pair.rows("outcome = 'completed'")) == stored
    assert set(await pair.rows("outcome = 'failed'")) == set(JOBS) - stored


async def test_claim_or_republish(pair: Pair, again: int) -> None:
    """A job is either claimed or published again with a new fencing token."""
    await steps.insert(pair.observer, JOBS, None)
    lease = await pair.lease()
    await steps.renew(pair.observer, lease, stream_empty=True)
    before = await pair.rows()

    claims, _ = await asyncio.gather(
        chunked(pair.one, JOBS, lambda db, jobs: steps.claim(db, jobs, lease)),
        MAINTENANCE.republish_undelivered(pair.other, NOW),
    )

    claimed = union([claimed for claimed, _ in claims])
    after = await pair.rows()
    assert set(after) == set(JOBS)
    assert {job for job, row in after.items() if row["lease_id"] == lease} == claimed
    for job in set(JOBS) - claimed:
        assert after[job]["published_at"] > before[job]["published_at"]
        assert after[job]["fencing_token"] > before[job]["fencing_token"]


async def test_cancel_waiting_or_claimed(pair: Pair, again: int) -> None:
    """A cancelled job is removed while it waits, and marked once it is claimed."""
    await steps.insert(pair.observer, JOBS, None)
    lease = await pair.lease()

    claims, cancels = await asyncio.gather(
        chunked(pair.one, JOBS, lambda db, jobs: steps.claim(db, jobs, lease)),
        chunked(pair.other, JOBS, lambda db, jobs: TABLE.cancel(db, jobs)),
    )

    claimed = union([claimed for claimed, _ in claims])
    removed, marked = union([removed for removed, _ in cancels]), union([marked for _, marked in cancels])
    assert removed | marked == set(JOBS)
    assert (claimed, claimed & removed) == (marked, set())
    assert set(await pair.rows("cancel_requested")) == marked


async def test_stop_waiting_during_republish(pair: Pair) -> None:
    """A waiter that leaves while its row is published again leaves no waiter_id behind."""
    tokens = await pair.held(await pair.lease(), ["a", "b"], await pair.lease("enqueuer"))
    await steps.retry(pair.observer, {"a": (tokens["a"], 1)}, "due")

    found = await pair.late(MAINTENANCE.republish_retries, lambda db: stop_waiting(db, TABLE, ["a", "b"]))

    assert found == []
    assert {row["waiter_id"] for row in (await pair.rows()).values()} == {None}


async def test_stop_waiting_during_completion(pair: Pair) -> None:
    """A waiter that leaves while an outcome is stored reads it."""
    tokens = await pair.held(await pair.lease(), ["a", "b"], await pair.lease("enqueuer"))

    found = await pair.late(
        lambda db: steps.store_outcomes(db, {"a": tokens["a"]}), lambda db: stop_waiting(db, TABLE, ["a", "b", "gone"])
    )

    assert [outcome.job_id for outcome in found] == ["a"]
    assert (await pair.rows("waiter_id IS NULL")).keys() == {"b"}


async def test_adopt_after_release(pair: Pair) -> None:
    """A second waiter does not take over a job whose outcome the signal will deliver."""
    first, second = await pair.lease("enqueuer"), await pair.lease("enqueuer")
    tokens = await pair.held(await pair.lease(), ["released", "named", "finished"], first)
    await TABLE.release_waiter(pair.one, ["released"])
    await steps.store_outcomes(pair.one, {"finished": tokens["finished"]})

    assert await TABLE.adopt(pair.one, ["released", "named", "finished", "gone"], second) == {"named", "finished"}

    assert {job: row["waiter_id"] for job, row in (await pair.rows()).items()} == {
        "released": None, "named": second, "finished": second,
    }  # fmt: skip


@pytest.mark.parametrize("waits", [True, False])
async def test_old_waiter_keeps_rows(pair: Pair, waits: bool) -> None:
    """A former waiter does not delete a row that its successor has taken over."""
    first, second = await pair.lease("enqueuer"), await pair.lease("enqueuer")
    tokens = await pair.held(await pair.lease(), ["a", "b"], first)
    await steps.store_outcomes(pair.one, tokens)

    jobs = {"a", "gone"}
    taken = await take_over(pair.other, TABLE, jobs, jobs if waits else set(), second)

    assert (taken.adopted, [found.job_id for found in taken.found]) == (({"a"}, []) if waits else (set(), ["a"]))
    assert taken.gone == {"gone"}
    assert await TABLE.delete_read(pair.one, ["a", "b"], first) == 1
    assert (await pair.rows()).keys() == {"a"}
    assert await TABLE.delete_read(pair.one, ["a"], second) == 1


@pytest.mark.parametrize("how", ["is granted", "is renewed"])
async def test_claim_skips_new_lease(pair: Pair, how: str) -> None:
    """A claim leaves a row alone that was claimed under a lease granted or renewed after the claim began."""
    mine = await pair.lease()
    await steps.insert(pair.observer, ["a", "b", "c"], None)
    theirs = await pair.lease() if how == "is renewed" else 0
    if theirs:
        await steps.run_out(pair.observer, theirs)

    async def take(db: Connection) -> None:
        lease = theirs
        if how == "is granted":
            lease = await steps.grant(pair.observer, "worker")
        else:
            await steps.renew(pair.observer, lease, stream_empty=False)
        assert await steps.claim(pair.observer, ["b"], lease) == ({"b": 1}, set())

    async with pair.one.transaction():
        await pair.one.execute("SELECT FROM custom_task_queue WHERE job_id = 'a' FOR UPDATE")
        claiming = asyncio.ensure_future(steps.claim(pair.other, ["a", "b", "c"], mine))
        await pair.blocked(pair.other)
        await take(pair.observer)
    assert await claiming == ({"a": 1, "c": 1}, set())


async def test_cancel_sees_new_lease(pair: Pair) -> None:
    """A cancellation marks a job that was claimed under a lease granted after the cancellation began."""
    await steps.insert(pair.observer, ["a", "b"], None)
    async with pair.one.transaction():
        await pair.one.execute("SELECT FROM custom_task_queue WHERE job_id = 'a' FOR UPDATE")
        cancelling = asyncio.ensure_future(TABLE.cancel(pair.other, ["a", "b"]))
        await pair.blocked(pair.other)
        await steps.claim(pair.observer, ["b"], await pair.lease())
    assert await cancelling == ({"a"}, {"b"})


async def test_restored_fencing_token(pair: Pair) -> None:
    """A row restored from a dump can be claimed, though no transaction here has reached its fencing token."""
    mine = await pair.lease()
    await steps.insert(pair.observer, ["a"], None)
    await pair.observer.execute("UPDATE custom_task_queue SET fencing_token = 1000000000000")
    claimed, again = await TABLE.claim(pair.one, [("a", 1_000_000_000_000)], mine)
    assert ([claim.attempt for claim in claimed], again) == ([1], set())


async def test_cancel_during_republish(pair: Pair) -> None:
    """A cancellation marks a job that is published again at the same time."""
    tokens = await pair.held(await pair.lease(), ["a"])
    await steps.retry(pair.observer, {"a": (tokens["a"], 1)}, "due")

    assert await pair.late(MAINTENANCE.republish_retries, lambda db: TABLE.cancel(db, ["a"])) == (set(), {"a"})

    assert (await pair.rows())["a"]["cancel_requested"]


async def test_cancel_during_retry(pair: Pair) -> None:
    """A job that fails while it is cancelled is due at once; it does not wait for its retry."""
    tokens = await pair.held(await pair.lease(), ["a", "b"])

    await pair.late(lambda db: steps.retry(db, {"a": (tokens["a"], 1)}, "later"), lambda db: TABLE.cancel(db, ["a"]))
    await TABLE.cancel(pair.one, ["b"])
    await steps.retry(pair.one, {"b": (tokens["b"], 1)}, "later")

    assert set(await pair.rows("cancel_requested AND retry_at <= now()")) == {"a", "b"}


BY_TOKEN: dict[str, Callable[[Connection, str, int], Awaitable[Any]]] = {
    "settle": lambda db, job, token: steps.store_outcomes(db, {job: token}),
    "delete": lambda db, job, token: TABLE.delete_held(db, [(job, token)]),
    "retry": lambda db, job, token: steps.retry(db, {job: (token, 1)}, "due"),
    "store_dead_letters": lambda db, job, token: steps.store_dead_letters(db, {job: token}),
    "heartbeat": lambda db, job, token: TABLE.heartbeat(db, [(job, token, b"half")]),
    "held": lambda db, job, token: TABLE.held(db, [(job, token)]),
    "time_out": lambda db, job, token: steps.time_out(db, {job: token}),
}


@pytest.mark.parametrize("name", BY_TOKEN)
@pytest.mark.parametrize("waits", [True, False])
async def test_stale_fencing_token(pair: Pair, name: str, waits: bool) -> None:
    """No statement changes a row with a fencing token that is not the row's."""
    first, second = await pair.lease(), await pair.lease()
    waiter = await pair.lease("enqueuer") if waits else None
    tokens = await pair.held(first, ["republished", "taken", "finished", "deleted"], waiter)
    await steps.run_out(pair.observer, first)
    await steps.claim(pair.observer, ["taken"], second)
    await steps.time_out(pair.observer, {"finished": tokens["finished"]})
    await TABLE.delete_held(pair.observer, [("deleted", tokens["deleted"])])
    assert await steps.sweep_leases(pair.observer) == {first}
    await steps.insert(pair.observer, ["deleted"], waiter)
    await steps.claim(pair.observer, ["deleted"], second)
    before = await pair.rows()

    for job, token in tokens.items():
        result = await BY_TOKEN[name](pair.one, job, token)
        assert not any(result) if isinstance(result, tuple) else not result

    assert await pair.rows() == before


async def test_claim_under_ended_lease(pair: Pair) -> None:
    """A claim under a lease that has ended takes nothing, and asks for a repetition under the renewed lease."""
    lease = await pair.lease()
    await pair.held(lease, ["a"])
    await steps.insert(pair.observer, ["b"], None)
    await steps.run_out(pair.observer, lease)
    assert await steps.claim(pair.one, ["a", "b", "gone"], lease) == ({}, {"a", "b", "gone"})
    await steps.renew(pair.observer, lease, stream_empty=False)
    assert await steps.claim(pair.one, ["a", "b", "gone"], lease) == ({"a": 2, "b": 1}, set())


async def test_claim_skips_live_lease(pair: Pair) -> None:
    """A claim that waited for another claim's commit leaves that claim's rows alone."""
    mine, theirs = await pair.lease(), await pair.lease()
    await steps.insert(pair.observer, ["a", "b"], None)
    claimed, again = await pair.late(
        lambda db: steps.claim(db, ["a"], theirs), lambda db: steps.claim(db, ["a", "b"], mine)
    )
    assert (claimed, again) == ({"b": 1}, set())


async def test_overdue_by_database_clock(pair: Pair) -> None:
    """Overdue rows and ended leases are found by the clock of the database."""
    lease = await pair.lease()
    await pair.held(lease, ["held"])
    await steps.insert(pair.observer, ["free"], None)
    for job in ("held", "free"):
        await steps.pass_deadline(pair.observer, job)
    assert {job for job, _ in await steps.overdue(pair.one, with_grace=True)} == {"free"}
    assert {job for job, _ in await steps.overdue(pair.one, with_grace=False)} == {"held", "free"}
    await steps.run_out(pair.observer, lease)
    assert {row.job_id for row in await MAINTENANCE.overdue(pair.one, HOUR)} == {"held", "free"}
    assert await steps.sweep_leases(pair.one) == {lease}
    assert {row["lease_id"] for row in (await pair.rows()).values()} == {None}
