"""People see in Temporal which jobs a workflow waits for."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from delegator import delegate_map, delegated
from delegator.testing import DelegatorTestPlugin
from tests.integration.delegator.environment import SIGNALLED, eventually

OPEN = asyncio.Event()


@delegated
async def wait_for_opening(number: int) -> int:
    await OPEN.wait()
    return number


@workflow.defn(sandboxed=False)
class Waits:
    @workflow.run
    async def run(self) -> int:
        return sum(await delegate_map(wait_for_opening, range(3)))


async def test_pending_query(temporal_client: Client):
    """The query without arguments is answered with the jobs as JSON; when they have ended, it says so."""
    OPEN.clear()
    name = f"pending-{uuid.uuid4()}"
    plugin = DelegatorTestPlugin([wait_for_opening], options=SIGNALLED)
    async with Worker(temporal_client, task_queue=name, workflows=[Waits], plugins=[plugin]):
        handle = await temporal_client.start_workflow(Waits.run, id=name, task_queue=name)

        async def running() -> bool:
            return len(plugin.engine.jobs) == 3

        await eventually(running)
        answer: dict[str, Any] = await handle.query("delegator.pending")
        assert answer["jobs"] == 3
        assert answer["types"] == {"wait_for_opening": 3}
        assert {(job["type"], job["queue"], job["state"]) for job in answer["first"]} == {
            ("wait_for_opening", "default", "waiting")
        }
        assert len({job["job_id"] for job in answer["first"]}) == 3
        OPEN.set()
        assert await handle.result() == 3
        assert (await handle.query("delegator.pending"))["jobs"] == 0
