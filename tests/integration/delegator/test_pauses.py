"""Pauses of types and queues, alike on the whole engine and on that of `delegator.testing`."""

from __future__ import annotations

import time

from tests.integration.delegator import flows
from tests.integration.delegator.environment import Environment, eventually

LIMIT_SECONDS = 4.0


async def test_deadlines_stand_still(engine: Environment, signal_queue: str) -> None:
    """Jobs of a paused type wait beyond their deadline, delegated or intercepted, and complete afterwards."""
    options = {"schedule_to_close_timeout": LIMIT_SECONDS}
    began = time.monotonic()

    async def is_past_deadline() -> bool:
        return time.monotonic() - began > LIMIT_SECONDS + 0.5

    async with engine.paused("noted"):
        handles = [
            await engine.start(flows.CallsOne.run, way, "noted", [1], options, task_queue=signal_queue)
            for way in ("delegate", "intercept")
        ]
        began = time.monotonic()
        await eventually(is_past_deadline)
        assert [engine.ledger(handle.id) for handle in handles] == [[], []]
    assert [await engine.result(handle) for handle in handles] == [1, 1]
    assert [len(engine.ledger(handle.id)) for handle in handles] == [1, 1]
