"""Jobs of an ordered queue run by priority, then by fairness."""

from __future__ import annotations

from temporalio.common import Priority

from delegator import delegated
from tests.integration.order.conftest import OrderedEngine, until


async def test_priorities(ordered: OrderedEngine) -> None:
    """Lower priority keys run first, whatever came first; within a key, what came first runs first."""
    seen: list[tuple[int, int]] = []

    @delegated
    async def note(pair: list[int]) -> None:
        seen.append((pair[0], pair[1]))

    for priority in (4, 2, 5, 1, 3):
        key = None if priority == 3 else Priority(priority_key=priority)
        await ordered.enqueue("note", [[priority, number] for number in range(20)], key)
    async with ordered.worker(note):
        await until(lambda: len(seen) == 100)
    assert seen == [(priority, number) for priority in range(1, 6) for number in range(20)]
