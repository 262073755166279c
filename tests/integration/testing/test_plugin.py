"""Workflows tested with no server but Temporal's."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from delegator import PluginOptions, existing_activities, resource
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.errors import ResourceError
from delegator.testing import AttemptStatus, DelegatorTestPlugin, Delivery, JobStatus
from tests.integration.delegator import front_flows, front_tasks
from tests.integration.delegator.environment import eventually
from tests.integration.testing import shop

SIGNALLED = PluginOptions(inline_wait=timedelta(0))
PATIENT = PluginOptions(inline_wait=timedelta(seconds=8))
WORKFLOWS: Any = [shop.Order, shop.DropIn, shop.Shipping, shop.Packing, shop.Asking]


def plugin_of(options: PluginOptions = PATIENT, **arguments: Any) -> tuple[DelegatorTestPlugin, AsyncMock]:
    mail = AsyncMock(return_value=None)
    fakes = {shop.send_mail: mail, "weigh": lambda items: sum(items) / 2}
    return DelegatorTestPlugin([shop], fakes=fakes, options=options, **arguments), mail


@pytest.fixture
def task_queue() -> Iterator[str]:
    yield f"test-{uuid.uuid4()}"


def worker(client: Client, task_queue: str, *plugins: DelegatorTestPlugin) -> Worker:
    return Worker(client, task_queue=task_queue, workflows=WORKFLOWS, plugins=plugins)


@pytest.mark.parametrize("delivery", [Delivery.INLINE, Delivery.SIGNAL])
async def test_workflow(temporal_client: Client, task_queue: str, delivery: Delivery):
    plugin, mail = plugin_of(PATIENT if delivery is Delivery.INLINE else SIGNALLED)
    async with worker(temporal_client, task_queue, plugin):
        receipt = await temporal_client.execute_workflow(shop.Order.run, "a", id=task_queue, task_queue=task_queue)
    assert receipt == "receipt of a"
    mail.assert_awaited_once_with("receipt of a: [0, 1, 2], 1.5 kg")
    (charged,) = plugin.engine.jobs_of(shop.charge)
    assert (charged.args, charged.result, charged.workflow_id) == (["a"], "receipt of a", task_queue)
    assert [attempt.status for attempt in charged.attempts] == [AttemptStatus.FAILED] * 2 + [AttemptStatus.COMPLETED]
    assert [job.args for job in plugin.engine.jobs_of("pack")] == [[0], [1], [2]]
    assert {job.delivery for job in plugin.engine.jobs} == {delivery}


async def test_client_with_plugin(temporal: TemporalServer, task_queue: str):
    """One plugin for a client serves its workers, too, in Temporal's own test environment."""
    plugin, mail = plugin_of()
    client = await Client.connect(temporal.address, namespace=NAMESPACE, plugins=[plugin])
    async with WorkflowEnvironment.from_client(client) as environment, worker(environment.client, task_queue):
        await environment.client.execute_workflow(shop.Order.run, "a", id=task_queue, task_queue=task_queue)
    mail.assert_awaited_once()


async def test_fake_fails(temporal_client: Client, task_queue: str):
    plugin, mail = plugin_of()
    mail.side_effect = [OSError("no line"), OSError("no line"), None]
    async with worker(temporal_client, task_queue, plugin):
        await temporal_client.execute_workflow(shop.Order.run, "a", id=task_queue, task_queue=task_queue)
    (sent,) = plugin.engine.jobs_of(shop.send_mail)
    assert [attempt.retry_delay for attempt in sent.attempts] == [timedelta(seconds=1), timedelta(seconds=2), None]


@pytest.mark.parametrize("intercept", [True, False])
async def test_drop_in(temporal_client: Client, task_queue: str, intercept: bool):
    """Unchanged `execute_activity` works, delegated or as the ordinary activity that it was."""
    plugin, _ = plugin_of(intercept=intercept)
    activities: Any = [] if intercept else [shop.charge]
    async with Worker(
        temporal_client, task_queue=task_queue, workflows=WORKFLOWS, activities=activities, plugins=[plugin]
    ):
        await temporal_client.execute_workflow(shop.DropIn.run, "a", id=task_queue, task_queue=task_queue)
    assert len(plugin.engine.jobs) == intercept


async def test_paused_engine(temporal_client: Client, task_queue: str):
    """A job waits while the engine is paused, and runs after it resumes."""
    plugin, _ = plugin_of(replace(PATIENT, inline_wait=timedelta(milliseconds=10)), paused=True)
    async with worker(temporal_client, task_queue, plugin):
        handle = await temporal_client.start_workflow(shop.Packing.run, 4, id=task_queue, task_queue=task_queue)

        async def waits() -> bool:
            return [job.status for job in plugin.engine.jobs] == [JobStatus.WAITING]

        await eventually(waits)
        plugin.engine.resume()
        assert await handle.result() == 4


async def test_worker_is_started_again(temporal_client: Client, task_queue: str):
    """The job that the first worker broke off runs under the second one, as the same attempt."""
    plugin, _ = plugin_of(SIGNALLED)
    async with worker(temporal_client, task_queue, plugin):
        handle = await temporal_client.start_workflow(shop.Shipping.run, "a", id=task_queue, task_queue=task_queue)

        async def runs() -> bool:
            return [job.status for job in plugin.engine.jobs] == [JobStatus.RUNNING]

        await eventually(runs)
    (job,) = plugin.engine.jobs
    assert [attempt.status for attempt in job.attempts] == [AttemptStatus.RELEASED]
    async with worker(temporal_client, task_queue, plugin):
        await handle.signal(shop.Shipping.stop)
        assert await handle.result() == "stopped"
    (job,) = plugin.engine.jobs
    assert [attempt.number for attempt in job.attempts] == [1, 1]
    assert job.attempts[-1].status is AttemptStatus.CANCELED


async def test_two_workers(temporal_client: Client, task_queue: str):
    """With two workers of one plugin a job is run once, and goes on when its worker stops."""
    plugin, _ = plugin_of(SIGNALLED)
    other = f"other-{task_queue}"
    async with worker(temporal_client, task_queue, plugin):
        async with worker(temporal_client, other, plugin):
            handle = await temporal_client.start_workflow(shop.Shipping.run, "a", id=task_queue, task_queue=task_queue)

            async def runs() -> bool:
                return [job.status for job in plugin.engine.jobs] == [JobStatus.RUNNING]

            await eventually(runs)
        await eventually(runs)
        await handle.signal(shop.Shipping.stop)
        assert await handle.result() == "stopped"
    (job,) = plugin.engine.jobs
    assert [attempt.status for attempt in job.attempts] == [AttemptStatus.RELEASED, AttemptStatus.CANCELED]


async def test_terminated_workflow(temporal_client: Client, task_queue: str):
    """The outcome of a job whose workflow was terminated counts as orphaned."""
    plugin, _ = plugin_of(SIGNALLED, paused=True)
    async with worker(temporal_client, task_queue, plugin):
        handle = await temporal_client.start_workflow(shop.Packing.run, 4, id=task_queue, task_queue=task_queue)

        async def enqueued() -> bool:
            return bool(plugin.engine.jobs)

        await eventually(enqueued)
        await handle.terminate()
        plugin.engine.resume()

        async def orphaned() -> bool:
            return plugin.engine.jobs[0].delivery is Delivery.ORPHANED

        await eventually(orphaned)


async def test_handler_is_in_no_activity(temporal_client: Client, task_queue: str):
    """A handler does not find the local activity that enqueued it, as in a worker."""
    plugin, _ = plugin_of()
    async with worker(temporal_client, task_queue, plugin):
        assert await temporal_client.execute_workflow(shop.Asking.run, id=task_queue, task_queue=task_queue) is False


async def test_handlers_of_every_kind(temporal_client: Client, task_queue: str):
    """All kinds of handlers run, as on the whole engine in `test_front_door.py`."""
    plugin = DelegatorTestPlugin([front_tasks, front_tasks.Emails("me")], options=PATIENT)
    async with Worker(temporal_client, task_queue=task_queue, workflows=[front_flows.EveryKind], plugins=[plugin]):
        result = await temporal_client.execute_workflow(front_flows.EveryKind.run, id=task_queue, task_queue=task_queue)
    assert result == front_flows.EVERY_KIND


async def test_existing_activities(temporal_client: Client, task_queue: str):
    existing = existing_activities(front_tasks)
    plugin = DelegatorTestPlugin(existing, options=PATIENT, intercept=True)
    async with Worker(temporal_client, task_queue=task_queue, workflows=[front_flows.Unedited], plugins=[plugin]):
        result = await temporal_client.execute_workflow(front_flows.Unedited.run, id=task_queue, task_queue=task_queue)
    assert result == ["old_async one", "old sync two 2", "from the object three"]
    assert len(plugin.engine.jobs) == 3


@pytest.mark.parametrize("provided", [True, False])
async def test_resources(temporal_client: Client, task_queue: str, provided: bool):
    """Handlers and the worker's own activities share resources; the worker opens them or the test provides them."""
    shelf = ["a book"]
    plugin = DelegatorTestPlugin(
        [shop.put], resources=[shop], provide={shop.shelf: shelf} if provided else None, options=PATIENT
    )
    async with Worker(
        temporal_client,
        task_queue=task_queue,
        workflows=[shop.Shelving],
        activities=[shop.count],
        plugins=[plugin],
    ):
        counted = await temporal_client.execute_workflow(shop.Shelving.run, "x", id=task_queue, task_queue=task_queue)
    assert counted == 1 + provided
    assert shelf == ["a book", *["x"] * provided]


@resource
async def closed_door() -> AsyncIterator[None]:
    raise OSError("the door is closed")
    yield


async def test_resource_can_not_be_opened(temporal_client: Client, task_queue: str):
    """A worker whose resource can't be opened says so and ends, as in production."""
    plugin = DelegatorTestPlugin([shop, closed_door])
    with pytest.raises(ResourceError, match="closed_door can't be opened"):
        await worker(temporal_client, task_queue, plugin).run()


async def test_environment_is_not_read(temporal_client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch):
    """Settings name servers, of which a test needs none: wrong ones do no harm."""
    monkeypatch.setenv("DELEGATOR_QUEUES", "no queue!")
    monkeypatch.setenv("DELEGATOR_DATABASE_URL", "postgresql://nowhere.invalid/none")
    plugin, _ = plugin_of()
    async with worker(temporal_client, task_queue, plugin):
        assert await temporal_client.execute_workflow(shop.Packing.run, 4, id=task_queue, task_queue=task_queue) == 4


async def test_hundred_workflows(temporal_client: Client, task_queue: str):
    """A hundred workflows run one after the other with one plugin."""
    plugin, _ = plugin_of()
    async with worker(temporal_client, task_queue, plugin):
        for number in range(100):
            result = await temporal_client.execute_workflow(
                shop.Packing.run, number, id=f"{task_queue}-{number}", task_queue=task_queue
            )
            assert result == number
