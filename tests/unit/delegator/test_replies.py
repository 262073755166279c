"""Replies to enqueue requests are kept within their limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

from delegator.enqueue.activities import DelegatorActivities, _Batch
from delegator.wire.outcomes import Outcome, OutcomeStatus

LIMIT = 100


class Waiter:
    def __init__(self) -> None:
        self.left: dict[str, list[str]] = {}
        self.brought: dict[str, list[str]] = {}

    async def hand_over(self, table: str, job_ids: Sequence[str]) -> None:
        self.left[table] = list(job_ids)

    def delete_later(self, table: str, job_ids: Sequence[str]) -> None:
        self.brought[table] = list(job_ids)


def outcomes(*sizes: int) -> dict[int, Outcome]:
    return {position: Outcome(OutcomeStatus.COMPLETED, b"x" * size) for position, size in enumerate(sizes)}


async def fit(known: dict[int, Outcome], batches: dict[str, _Batch], refused: set[int]) -> Waiter:
    waiter = Waiter()
    parts: Any = Mock(waiter=waiter)
    parts.enqueuer.table = lambda queue: queue
    await DelegatorActivities()._fit(parts, known, LIMIT, batches, refused)
    return waiter


async def test_reply_limit() -> None:
    """Outcomes that the reply has no room for are left in their rows, for the signal."""
    known = outcomes(60, 50, 40, 0)
    batches = {"fast": _Batch(positions={"a": 0, "b": 1, "e": 4}), "slow": _Batch(positions={"c": 2, "d": 3})}
    waiter = await fit(known, batches, set())
    assert set(known) == {0, 2, 3}
    assert waiter.left == {"fast": ["b"]}
    assert waiter.brought == {"fast": ["a"], "slow": ["c", "d"]}


async def test_refused_jobs_first() -> None:
    """Outcomes of refused jobs are always in the reply, because they have no rows."""
    known = outcomes(60, 30, 90)
    waiter = await fit(known, {"fast": _Batch(positions={"a": 0, "b": 1})}, {2})
    assert set(known) == {2}
    assert waiter.left == {"fast": ["a", "b"]}
    assert waiter.brought == {"fast": []}
