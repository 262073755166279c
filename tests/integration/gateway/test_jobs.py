"""Workflows delegate to workers that speak HTTP only."""

from __future__ import annotations

from tests.integration.delegator.environment import Environment
from tests.integration.gateway.gateway_flows import Adds, Sum
from tests.integration.gateway.support import Caller


async def test_typed_result(engine: Environment, task_queue: str, caller: Caller) -> None:
    """A workflow gets the typed result of a job that was polled and completed over HTTP."""
    handle = await engine.start(Adds.run, 3, "é", task_queue=task_queue)
    job = await caller.job("add")
    assert (job["type"], job["attempt"], job["args"]) == ("add", 1, [3, {"words": ["é"]}])
    assert (job["workflow_id"], job["payloads"], job["timeout_seconds"]) == (handle.id, None, None)
    assert await caller.say("complete", job, result={"value": 4, "words": ["é", "ß"]}) == "accepted"
    assert await engine.result(handle) == Sum(4, ["é", "ß"])
    assert await caller.say("complete", job, result=5) == "lost"
