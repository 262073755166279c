"""A job with a start delay, as its workflow sees it."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.common import Priority

from tests.integration.delegator import order_flows as flows
from tests.integration.delegator.environment import PATIENT, Environment


@pytest.mark.parametrize(
    "timeouts",
    [{}, {"schedule_to_start_timeout": 30.0, "schedule_to_close_timeout": 30.0}, {"start_to_close_timeout": 30.0}],
    ids=["no timeout", "schedule to close", "start to close"],
)
async def test_start_delay(engine: Environment, timeouts: dict[str, float]) -> None:
    """The job runs after its delay and not before; its timeouts count from the end of the delay.

    The workflow task does not wait for it: other jobs of the same task come back at once.
    """
    async with engine.worker(PATIENT, workflows=flows.ALL) as task_queue:
        result: dict[str, Any] = await engine.execute(
            flows.Delayed.run, {"start_delay": 1.0, **timeouts}, 0, task_queue=task_queue
        )
    assert result["ended"] == "completed"
    assert result["delayed"] >= 1.0 and result["delayed"] > result["plain"]


async def test_times_out_after_delay(engine: Environment) -> None:
    """A job that takes too long times out when delay and timeout are over."""
    async with engine.worker(PATIENT, workflows=flows.ALL) as task_queue:
        options = {"start_delay": 0.5, "schedule_to_start_timeout": 20.0, "schedule_to_close_timeout": 1.0}
        result = await engine.execute(flows.Delayed.run, options, 60, task_queue=task_queue)
    assert result["ended"] in ("SCHEDULE_TO_CLOSE", "SCHEDULE_TO_START")  # the latter if a busy machine runs it late
    assert result["delayed"] >= 1.5


async def test_cancelled_in_delay(engine: Environment) -> None:
    """A job that is cancelled during its delay never runs. (A priority that it inherits changes nothing here.)"""
    async with engine.worker(PATIENT, workflows=flows.ALL) as task_queue:
        handle = await engine.start(flows.CancelsDelayed.run, task_queue=task_queue, priority=Priority(priority_key=1))
        assert await engine.result(handle) == "CancelledError"
    assert engine.ledger(handle.id) == []
