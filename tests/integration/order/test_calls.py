"""Priorities of delegated calls: given, declared, inherited, refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle
from temporalio.common import Priority

from tests.integration.delegator import order_flows as flows
from tests.integration.delegator.environment import SIGNALLED
from tests.integration.order.conftest import OrderedEngine

ROWS = """
SELECT get_byte(input, length(input) - 1) - 48 AS number, priority, lane, options -> 'fairness_weight' AS weight
FROM custom_task_queue WHERE workflow_id = %s AND outcome IS NULL ORDER BY 1
"""


@pytest.fixture
async def task_queue(ordered: OrderedEngine) -> AsyncIterator[str]:
    async with ordered.engine.worker(SIGNALLED, workflows=flows.ALL) as task_queue:
        yield task_queue


async def waiting(ordered: OrderedEngine, handle: WorkflowHandle[Any, Any], count: int = 3) -> list[dict[str, Any]]:
    async def all_there() -> list[dict[str, Any]] | None:
        rows = await ordered.engine.query(ROWS, handle.id)
        return rows if len(rows) == count else None

    found: list[dict[str, Any]] = await ordered.eventually(all_there)
    return found


async def forget(ordered: OrderedEngine, handle: WorkflowHandle[Any, Any]) -> None:
    await handle.terminate()
    await ordered.engine.query("DELETE FROM custom_task_queue WHERE workflow_id = %s RETURNING 1", handle.id)


async def test_inherited(ordered: OrderedEngine, task_queue: str) -> None:
    """A field that a call leaves open is taken from its workflow; weights are limited as Temporal's server does."""
    priority = Priority(priority_key=4, fairness_key="tenant", fairness_weight=2.0)
    handle = await ordered.engine.start(flows.Prioritized.run, task_queue=task_queue, priority=priority)
    assert await waiting(ordered, handle) == [
        {"number": 1, "priority": 4, "lane": "6:tenantnoted", "weight": 2.0},
        {"number": 2, "priority": 1, "lane": "6:tenantnoted", "weight": 2.0},
        {"number": 3, "priority": 4, "lane": "3:ownnoted", "weight": 1000.0},
    ]
    await forget(ordered, handle)


async def test_defaults(ordered: OrderedEngine, task_queue: str) -> None:
    """Without a priority anywhere a job has key 3, the empty fairness key and weight 1."""
    handle = await ordered.engine.start(flows.Prioritized.run, task_queue=task_queue)
    rows = await waiting(ordered, handle)
    assert rows[0] == {"number": 1, "priority": 3, "lane": "0:noted", "weight": None}
    await forget(ordered, handle)


async def test_activity_task(ordered: OrderedEngine) -> None:
    """The activity of another worker's workflow keeps its priority, and its workflow's fairness key, in the queue."""
    priority = Priority(priority_key=5, fairness_key="tenant")
    async with ordered.engine.activity_worker(workflows=flows.ALL) as task_queue:
        handle = await ordered.engine.start(flows.Scheduled.run, task_queue=task_queue, priority=priority)
        (row,) = await waiting(ordered, handle, 1)
        assert row == {"number": 4, "priority": 2, "lane": "6:tenantnoted", "weight": None}
        await forget(ordered, handle)
