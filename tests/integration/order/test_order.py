"""Jobs of an ordered queue run by priority, then by fairness."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import ConfigurationError, FleetLimits, current_job, delegated
from delegator.maintenance import dead_letters
from delegator.postgres import leases
from delegator.postgres.connections import connect
from delegator.postgres.dead_letters import Selection
from delegator.postgres.queue_order import OrderStatements, Place
from http_workers import HttpWorker
from http_workers.options import ClaimMode
from tests.integration.order.conftest import OrderedEngine, until

ROWS = "SELECT job_id, priority, lane, permit, attempt FROM custom_task_queue ORDER BY job_id"


SPOILT = """
UPDATE custom_task_queue SET options = '{"schedule_to_start_ms": 1, "schedule_to_close_ms": "soon"}'
WHERE job_id = %s RETURNING job_id
"""


async def test_priorities(ordered: OrderedEngine) -> None:
    """Lower priority keys run first, whatever came first; within a key, what came first runs first."""
    seen: list[list[int]] = []

    @delegated
    async def note(pair: list[int]) -> None:
        seen.append(pair)

    for priority in (4, 2, 5, 1, 3):
        key = None if priority == 3 else Priority(priority_key=priority)
        await ordered.enqueue("note", [[priority, number] for number in range(20)], key)
    async with ordered.worker(note):
        await until(lambda: len(seen) == 100)
    assert seen == [[priority, number] for priority in range(1, 6) for number in range(20)]


async def test_urgent_under_load(ordered: OrderedEngine) -> None:
    """An urgent job is the next one of a busy pool that has a long backlog."""
    seen: list[str] = []
    go = asyncio.Event()

    @delegated
    async def work(name: str) -> None:
        seen.append(name)
        await go.wait()

    await ordered.enqueue("work", ["plain"] * 1000)
    async with ordered.worker(work, concurrency=10):
        await until(lambda: len(seen) == 10)
        await ordered.enqueue("work", ["urgent"], Priority(priority_key=1))
        go.set()
        await until(lambda: len(seen) == 1001)
    assert "urgent" in seen[10:20]


async def test_free_slots(ordered: OrderedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """One claim fills the free slots from all priorities. So a steady flow of a few urgent jobs holds up no others."""
    seen: list[str] = []
    looks: list[int] = []
    lanes = OrderStatements.lanes

    async def counted(*arguments: Any, **options: Any) -> Any:
        looks.append(len(seen))
        return await lanes(*arguments, **options)

    monkeypatch.setattr(OrderStatements, "lanes", counted)

    @delegated
    async def work(name: str) -> None:
        seen.append(name)

    for priority in (4, 2):
        for tenant in ("a", "b"):
            await ordered.enqueue("work", [f"{tenant}{priority}"] * 3, Priority(priority, fairness_key=tenant))
    async with ordered.worker(work, concurrency=100):
        await until(lambda: len(seen) == 12)
    assert [name[1] for name in seen] == ["2"] * 6 + ["4"] * 6
    assert looks.count(0) == 1


async def test_bad_row_of_a_later_turn(ordered: OrderedEngine) -> None:
    """A row that can't be read loses no job that the same claim has got before."""
    seen: list[str] = []

    @delegated
    async def work(name: str) -> None:
        seen.append(name)

    await ordered.enqueue("work", ["good"] * 3, Priority(priority_key=1))
    (bad,) = await ordered.enqueue("work", ["bad"])
    assert await ordered.engine.query(SPOILT, bad)
    async with ordered.worker(work, concurrency=10):
        await until(lambda: len(seen) == 3)
        await ordered.emptied()
    await ordered.engine.query("DELETE FROM custom_task_dead_letter WHERE job_id = %s RETURNING 1", bad)


async def test_lines_at_a_limit(ordered: OrderedEngine) -> None:
    """Lines that have reached a limit hide no other lines, of their priority or of the next."""
    seen: list[str] = []
    go = asyncio.Event()

    @delegated(fleet_limits=FleetLimits(max_concurrent=1))
    async def limited(name: str) -> None:
        seen.append(name)
        await go.wait()

    @delegated
    async def free(name: str) -> None:
        seen.append(name)

    for number in range(40):
        await ordered.enqueue("limited", ["limited"], Priority(2, fairness_key=f"a{number:02}"))
    async with ordered.worker(limited, free, concurrency=5):
        await until(lambda: len(seen) == 1)
        await ordered.enqueue("free", ["same priority"], Priority(2, fairness_key="z"))
        await ordered.enqueue("free", ["next priority"], Priority(3))
        await until(lambda: len(seen) == 3)
        go.set()
        await until(lambda: len(seen) == 42)


async def test_small_tenant(ordered: OrderedEngine) -> None:
    """A tenant with many jobs does not hold up one with ten, also if its jobs came first."""
    seen: list[str] = []

    @delegated
    async def serve(tenant: str) -> None:
        seen.append(tenant)

    await ordered.enqueue("serve", ["large"] * 1500, Priority(fairness_key="large"))
    await ordered.enqueue("serve", ["small"] * 10, Priority(fairness_key="small"))
    async with ordered.worker(serve, concurrency=5), ordered.worker(serve, concurrency=5):
        await until(lambda: len(seen) == 1510)
    last = max(number for number, tenant in enumerate(seen) if tenant == "small")
    assert last < 60, "ten turns of each tenant, and what ran at once"


async def test_weights(ordered: OrderedEngine) -> None:
    """Tenants get jobs run in proportion to their weights; jobs without a key are one tenant of weight 1."""
    seen: list[str] = []

    @delegated
    async def serve(tenant: str) -> None:
        seen.append(tenant)

    await ordered.enqueue("serve", [""] * 200)
    await ordered.enqueue("serve", ["one"] * 200, Priority(fairness_key="one"))
    await ordered.enqueue("serve", ["three"] * 300, Priority(fairness_key="three", fairness_weight=3.0))
    async with ordered.worker(serve, concurrency=4):
        await until(lambda: len(seen) == 700)
    shares = Counter(seen[:300])
    assert abs(shares["three"] - 180) <= 8 and abs(shares["one"] - 60) <= 8 and abs(shares[""] - 60) <= 8


async def test_fair_within_priority(ordered: OrderedEngine) -> None:
    """The priority comes first; fairness shares out the jobs of one priority."""
    seen: list[str] = []

    @delegated
    async def serve(name: str) -> None:
        seen.append(name)

    await ordered.enqueue("serve", ["a3"] * 20, Priority(fairness_key="a"))
    for tenant in "ab":
        await ordered.enqueue("serve", [f"{tenant}2"] * 20, Priority(priority_key=2, fairness_key=tenant))
    async with ordered.worker(serve):
        await until(lambda: len(seen) == 60)
    assert seen == ["a2", "b2"] * 20 + ["a3"] * 20


async def test_retry_keeps_order(ordered: OrderedEngine) -> None:
    """A failed job comes back with its priority, and runs before jobs that have waited longer."""
    seen: list[str] = []
    retried = asyncio.Event()

    @delegated(retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1)))
    async def work(name: str) -> None:
        seen.append(name)
        if name == "urgent" and current_job().attempt == 1:
            raise ApplicationError("again")
        if len(seen) == 3:
            await retried.wait()

    await ordered.enqueue("work", ["plain"] * 50)
    await ordered.enqueue("work", ["urgent"], Priority(priority_key=2))
    async with ordered.worker(work):
        await until(lambda: len(seen) == 3)

        async def is_back() -> bool:
            rows = await ordered.engine.query("SELECT FROM custom_task_queue WHERE priority = 2 AND lane IS NOT NULL")
            return bool(rows)

        await ordered.eventually(is_back)
        retried.set()
        await until(lambda: len(seen) == 52)
    assert seen.count("urgent") == 2 and "urgent" in seen[3:5]


async def test_dead_letter_keeps_order(ordered: OrderedEngine) -> None:
    """A replayed dead letter has the priority and the fairness key that the job had."""
    seen: list[str] = []

    @delegated
    async def work(name: str) -> None:
        seen.append(name)
        if name == "urgent" and seen.count("urgent") == 1:
            raise ApplicationError("no", non_retryable=True)

    await ordered.enqueue("work", ["urgent"], Priority(priority_key=1, fairness_key="k"), timedelta(milliseconds=5))
    async with ordered.worker(work):
        await until(lambda: seen)
        await ordered.emptied()
    await ordered.enqueue("work", ["plain"] * 5)
    settings = ordered.engine.settings
    found = await dead_letters.find(settings, Selection())
    assert len((await dead_letters.replay(settings, found, signal=True)).replayed) == 1
    rows = {row["lane"]: row["priority"] for row in await ordered.engine.query(ROWS)}
    assert rows == {"0:work": 3, "1:kwork": 1}
    async with ordered.worker(work):
        await until(lambda: len(seen) == 7)
    assert seen[1] == "urgent"


async def test_stopped_worker_gives_back(ordered: OrderedEngine) -> None:
    """Jobs that a stopping worker gives back take their place in the order again."""
    seen: list[str] = []

    @delegated
    async def work(name: str) -> None:
        seen.append(name)
        await asyncio.sleep(0 if len(seen) > 1 else 3600)

    await ordered.enqueue("work", ["plain"] * 3)
    await ordered.enqueue("work", ["urgent"], Priority(priority_key=1))
    async with HttpWorker([work], concurrency=1, settings=ordered.engine.settings, grace=timedelta(0)):
        await until(lambda: seen)
    rows = await ordered.engine.query(ROWS)
    assert {(row["priority"], row["lane"], row["attempt"]) for row in rows} == {(3, "0:work", 0), (1, "0:work", 0)}
    async with ordered.worker(work):
        await until(lambda: len(seen) == 5)
    assert seen == ["urgent", "urgent", "plain", "plain", "plain"]


async def test_jobs_from_before(ordered: OrderedEngine) -> None:
    """Jobs that were enqueued before the queue was declared as ordered get a place, and run."""
    seen: list[int] = []

    @delegated
    async def work(number: int) -> None:
        seen.append(number)

    await ordered.enqueue("work", list(range(50)), ordered=False)
    async with ordered.worker(work, concurrency=5):
        await until(lambda: len(seen) == 50)


async def test_many_lanes(ordered: OrderedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """With more tenants than one look reads, all have their turn."""
    monkeypatch.setattr("http_workers.ordered._MOST_LANES", 8)
    seen: list[str] = []

    @delegated
    async def serve(tenant: str) -> None:
        seen.append(tenant)

    tenants = [Priority(fairness_key=f"{number:02}") for number in range(30)]
    await ordered.enqueue("serve", [tenant for tenant in tenants for _ in range(3)])
    async with ordered.worker(serve, concurrency=4):
        await until(lambda: len(seen) == 90)
    assert len(set(seen[:40])) == 30


async def test_refusals(ordered: OrderedEngine) -> None:
    """What needs an ordered queue is refused by name where the queue is not one."""
    plain = ordered.engine.settings.model_copy(update={"ordered_queues": ()})

    @delegated(fleet_limits=FleetLimits(max_concurrent=1))
    async def alone() -> None: ...

    @delegated(priority=Priority(priority_key=1))
    async def urgent() -> None: ...

    for function, option in ((alone, "fleet_limits"), (urgent, "priority")):
        with pytest.raises(ConfigurationError, match=f"{option} needs an ordered queue: .*DELEGATOR_ORDERED_QUEUES"):
            async with HttpWorker([function], settings=plain):
                pass
    with pytest.raises(ConfigurationError, match="without --claim none"):
        async with HttpWorker([alone], settings=ordered.engine.settings, claim=ClaimMode.NONE):
            pass


async def test_bad_row(ordered: OrderedEngine) -> None:
    """A row that no worker can claim becomes a dead letter, and holds up no other job of its line."""
    seen: list[int] = []

    @delegated
    async def work(number: int) -> None:
        seen.append(number)

    good = await ordered.enqueue("work", list(range(10)))
    assert await ordered.engine.query(SPOILT, good[3])
    async with ordered.worker(work, concurrency=4):
        await until(lambda: len(seen) == 9)
        await ordered.emptied()
    letters = await ordered.engine.query("SELECT job_id, reason FROM custom_task_dead_letter WHERE job_type = 'work'")
    assert letters == [{"job_id": good[3], "reason": "unreadable"}] and 3 not in seen


async def test_lost_answer(ordered: OrderedEngine) -> None:
    """A worker takes again what it has claimed without getting the answer; the attempt counts once."""
    await ordered.enqueue("work", [1, 2, 3])
    order = OrderStatements("default")
    url = ordered.engine.settings.database_url.get_secret_value()
    async with await connect(url, application_name="test") as db:
        lease = await leases.grant(db, "worker", "test", "default", timedelta(minutes=1))
        taken = await order.take(db, [Place(3, "0:work", 2)], lease)
        again = await order.reclaim(db, lease, [taken[0].job_id], 5)
        assert [(row.job_id, row.attempt) for row in again] == [(taken[1].job_id, 1)]
        assert again[0].fencing_token > taken[1].fencing_token
        await leases.revoke(db, lease)
    await ordered.engine.query("DELETE FROM custom_task_queue RETURNING 1")
