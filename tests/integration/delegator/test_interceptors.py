"""Users' interceptors see a delegated activity call as they see an ordinary one."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import temporalio.client
import temporalio.worker
from temporalio import activity, workflow
from temporalio.api.common.v1 import Header, Payload
from temporalio.client import Client
from temporalio.common import Priority
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    HandleSignalInput,
    StartActivityInput,
    StartLocalActivityInput,
    Worker,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from delegator import DelegatorPlugin, delegated
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.testing import DelegatorTestPlugin
from delegator.wire.requests import activity_id_in
from tests.integration.delegator.environment import SIGNALLED, Environment, eventually

SEEN: list[str] = []
TIMEOUT = timedelta(seconds=30)


class Traces(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    """Notes what passes, adds its name to the argument and to the headers."""

    def __init__(self, name: str) -> None:
        self.name = name

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        name = self.name

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                kind = activity.info().activity_type
                if kind != "extend":  # elsewhere, if it is delegated
                    SEEN.append(f"{name} runs {kind}")
                return await super().execute_activity(input)

        return Inbound(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        name = self.name

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
                SEEN.append(f"{name} starts {input.activity}")
                headers = {**input.headers, name: Payload(data=b"header of " + name.encode())}
                changed = replace(input, args=[f"{input.args[0]} {name}"], headers=headers)
                return super().start_activity(changed)

            def info(self) -> workflow.Info:
                SEEN.append(f"{name} is asked for the workflow's info")
                return super().info()

            def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
                SEEN.append(f"{name} starts locally {input.activity}")
                return super().start_local_activity(input)

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

            async def handle_signal(self, input: HandleSignalInput) -> None:
                SEEN.append(f"{name} handles {input.signal}")
                await super().handle_signal(input)

        return Inbound


@delegated
async def extend(text: str) -> str:
    return f"{text}!"


@activity.defn
async def stay(text: str) -> str:
    return text


@workflow.defn(sandboxed=False)
class Traced:
    @workflow.run
    async def run(self, activity_queue: str | None = None) -> list[str]:
        await workflow.wait_condition(lambda: self.told)
        return [
            await workflow.execute_activity(
                extend, "said", task_queue=activity_queue, activity_id="mine", start_to_close_timeout=TIMEOUT
            ),
            await workflow.execute_local_activity(stay, "local", start_to_close_timeout=TIMEOUT),
        ]

    told = False

    @workflow.signal
    def tell(self) -> None:
        self.told = True


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


async def run(client: Client, activities: list[Any], **config: Any) -> tuple[list[str], list[str]]:
    """Return what a workflow returns, and what the interceptors saw."""
    SEEN.clear()
    task_queue = f"traced-{uuid.uuid4()}"
    async with Worker(
        client,
        task_queue=task_queue,
        workflows=[Traced],
        activities=activities,
        interceptors=[Traces("worker's first"), Traces("worker's second")],
        **config,
    ):
        handle = await client.start_workflow(Traced.run, id=task_queue, task_queue=task_queue)
        await handle.signal(Traced.tell)
        return await handle.result(), list(SEEN)


@pytest.mark.parametrize("place", ["client", "worker"])
async def test_workflow_interceptors(temporal: TemporalServer, place: str):
    """They run before the delegation, in Temporal's order, and see nothing of the engine's own traffic."""
    plugin = DelegatorTestPlugin([extend], options=SIGNALLED, intercept=True)

    async def connect(plugins: list[Any]) -> Client:
        return await Client.connect(
            temporal.address, namespace=NAMESPACE, interceptors=[Traces("client's")], plugins=plugins
        )

    ordinary = await run(await connect([]), [extend, stay])
    if place == "client":
        delegated_ones = await run(await connect([plugin]), [stay])
    else:
        delegated_ones = await run(await connect([]), [stay], plugins=[plugin])
    assert delegated_ones[0] == ordinary[0]
    if place == "worker":  # its client was connected before; its interceptors come first
        own = [f"client's {what}" for what in ("runs delegator.enqueue", "handles delegator.outcomes")]
        delegated_ones = (delegated_ones[0], [line for line in delegated_ones[1] if line not in own])
    assert delegated_ones[1] == ordinary[1]
    assert [job.args for job in plugin.engine.jobs] == [["said worker's second worker's first client's"]]


@pytest.mark.postgres_only
@pytest.mark.parametrize("intercept", [True, False], ids=["interceptor", "activity worker"])
async def test_headers_are_stored(idle_engine: Environment, intercept: bool):
    """The headers that interceptors add are in the job's row, with the activity's id and priority."""
    plugin = DelegatorPlugin([extend], settings=idle_engine.settings, options=SIGNALLED, intercept=True)
    task_queue = f"headers-{uuid.uuid4()}"
    async with (
        idle_engine.activity_worker() as activity_queue,
        Worker(
            idle_engine.client,
            task_queue=task_queue,
            workflows=[Traced],
            interceptors=[Traces("one"), Traces("other")],
            plugins=[plugin] if intercept else [],
        ),
    ):
        handle = await idle_engine.client.start_workflow(
            Traced.run,
            None if intercept else activity_queue,
            id=task_queue,
            task_queue=task_queue,
            priority=Priority(priority_key=4),
        )
        await handle.signal(Traced.tell)

        async def stored() -> list[dict[str, Any]]:
            return await idle_engine.rows("workflow_id = %s", handle.id)

        ((row,),) = [await eventually(stored)]
        headers = Header.FromString(row["header"]).fields
        assert {key: payload.data for key, payload in headers.items()} == {
            "one": b"header of one",
            "other": b"header of other",
        }
        assert row["options"].items() >= {"priority_key": 4, "start_to_close_ms": 30_000}.items()
        assert "mine" in (row["options"].get("activity_id"), activity_id_in(row["job_id"]))
        await idle_engine.query("DELETE FROM custom_task_queue WHERE job_id = %s RETURNING 1", row["job_id"])
        await handle.terminate()
