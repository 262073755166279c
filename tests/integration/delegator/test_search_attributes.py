"""People find workflows by the jobs that they wait for, if the search attributes are on."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Replayer, Worker

from delegator import delegate
from delegator.contracts.search_attributes import KINDS, RETRYING, TYPES
from delegator.dev.temporal import TemporalServer
from delegator.errors import ConfigurationError
from delegator.runtime.search_attributes import check_search_attributes, create_search_attributes
from delegator.testing import DelegatorTestPlugin
from tests.integration.delegator import tasks
from tests.integration.delegator.environment import PATIENT, Environment, eventually

WATCHFUL = replace(PATIENT, inline_wait=timedelta(0), look_after=timedelta(milliseconds=200))


@workflow.defn(sandboxed=False)
class Patient:
    """A job whose second attempt the test holds back, and after it another one of the same type."""

    @workflow.run
    async def run(self) -> int:
        first = await delegate(tasks.succeed_when_let, 2)
        return first + await delegate(tasks.succeed_when_let, 1)


@workflow.defn(sandboxed=False)
class Quick:
    """A job that ends inline."""

    @workflow.run
    async def run(self) -> int:
        return await delegate(tasks.succeed_at, 1)


@pytest.fixture
async def searchable(engine: Environment) -> AsyncIterator[Environment]:
    variant = engine.searchable()
    yield variant
    await variant.nothing_left()


async def upserts(handle: WorkflowHandle[Patient, int]) -> list[set[str]]:
    """The names that each event of the history sets."""
    return [
        set(event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields)
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    ]


async def test_retried_job(engine: Environment, searchable: Environment) -> None:
    """A workflow is found by the type of the job that it waits for, and while the job is retried.

    Each value is set once, so the second job of the type costs no event. The history replays without the setting.
    """
    workflow_id = f"patient-{uuid.uuid4()}"
    query = f"WorkflowId = '{workflow_id}' AND {TYPES.name} = 'succeed_when_let' AND {RETRYING.name} = {{}}"

    async def found(retrying: bool) -> bool:
        asked = searchable.client.list_workflows(query.format(str(retrying).lower()))
        return [one.id async for one in asked] == [workflow_id]

    async with searchable.worker(WATCHFUL, workflows=[Patient]) as task_queue:
        with searchable.held(workflow_id):
            handle = await searchable.start(Patient.run, id=workflow_id, task_queue=task_queue)
            await eventually(lambda: found(True))
        assert await searchable.result(handle) == 3
        await eventually(lambda: found(False))
    assert await upserts(handle) == [{TYPES.name}, {RETRYING.name}, {RETRYING.name}]
    replayer = Replayer(workflows=[Patient], plugins=[engine.plugin(PATIENT)])
    await replayer.replay_workflow(await handle.fetch_history())


async def test_inline(searchable: Environment) -> None:
    """A workflow whose jobs end inline sets none: nobody could find it in time, and each costs an event."""
    async with searchable.worker(PATIENT, workflows=[Quick]) as task_queue:
        handle = await searchable.start(Quick.run, task_queue=task_queue)
        assert await searchable.result(handle) == 1
        assert await upserts(handle) == []


async def test_off(engine: Environment) -> None:
    """Without the setting nothing is set, however long a workflow waits."""
    workflow_id = f"patient-{uuid.uuid4()}"
    async with engine.worker(WATCHFUL, workflows=[Patient]) as task_queue:
        with engine.held(workflow_id):
            handle = await engine.start(Patient.run, id=workflow_id, task_queue=task_queue)
            await engine.noted(workflow_id, "started")
        assert await engine.result(handle) == 3
        assert await upserts(handle) == []


async def test_missing(temporal: TemporalServer) -> None:
    """A namespace that lacks them is refused, with the command that creates them."""
    name = f"bare-{uuid.uuid4()}"
    client = await Client.connect(temporal.address, namespace=name)
    retention = Duration(seconds=86_400)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=retention)
    )

    async def is_known() -> str:
        try:
            await check_search_attributes(client)
        except ConfigurationError as error:
            return str(error)
        return ""

    error = await eventually(is_known)
    for attribute, kind in KINDS:
        assert f"{attribute} ({kind})" in error and f"--name {attribute} --type {kind}" in error
    assert f"temporal operator search-attribute create --namespace {name}" in error
    plugin = DelegatorTestPlugin([tasks], search_attributes=True)
    worker = Worker(client, task_queue="none", workflows=[Quick], plugins=[plugin])
    with pytest.raises(ConfigurationError, match="lacks the search attributes"):
        await worker.run()
    await create_search_attributes(client)

    async def is_there() -> bool:
        return not await is_known()

    await eventually(is_there)
