"""Every field of an activity call reaches its job, or is refused by name."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from delegator_schema.queues import queue_table
from temporalio import workflow
from temporalio.api.common.v1 import Payloads
from temporalio.client import WorkflowFailureError
from temporalio.common import Priority
from temporalio.worker import StartActivityInput, StartLocalActivityInput, Worker

from tests.integration.delegator import field_flows as flows
from tests.integration.delegator import tasks
from tests.integration.delegator.conftest import StartEngine
from tests.integration.delegator.environment import SIGNALLED, Environment, eventually

TASK_QUEUES = {"mapped": "other", "ordinary workers": None}
OPTIONS = dataclasses.replace(SIGNALLED, task_queues=TASK_QUEUES)
USUAL = {"start_to_close_ms": 30_000}
STORED: dict[str, dict[str, Any] | None] = {
    "activity": USUAL,
    "activity_id": {**USUAL, "activity_id": "mine"},
    "task_queue": USUAL,
    "schedule_to_close_timeout": {**USUAL, "schedule_to_close_ms": 41_000},
    "schedule_to_start_timeout": {**USUAL, "schedule_to_start_ms": 42_000},
    "start_to_close_timeout": {"start_to_close_ms": 43_000},
    "heartbeat_timeout": {**USUAL, "heartbeat_ms": 44_000},
    "retry_policy": {**USUAL, "retry": {"initial_interval_ms": 2_000, "maximum_attempts": 3}},
    "priority": {**USUAL, "priority_key": 2, "fairness_key": "tenant", "fairness_weight": 0.001},
    "versioning_intent": USUAL,
    "summary": USUAL,
}
"""The options in the row of the call that gives a field. The workflow has a fairness key, which all inherit."""
ELSEWHERE = {
    "args": "the argument says which call it is",
    "cancellation_type": "test_alike.py: in_wait_for, cancelled_while_it_runs",
    "headers": "test_interceptors.py",
    "disable_eager_execution": "the worker of the workflow never runs a job, so there is nothing to disable",
    "arg_types": "they are for a converter that needs them to encode; the SDK itself does not use them",
    "ret_type": "test_alike.py: by_name",
    "event_groups": "test_event_groups",
}
"""Where the other fields are tested, or why they have no effect."""


@pytest.fixture(scope="module")
async def engine_of_two_queues(start_engine: StartEngine) -> AsyncIterator[Environment]:
    async with start_engine(queues=("default", "other"), http_worker=False) as engine:
        yield engine


def test_every_field_is_known():
    """A field that a newer SDK has must be honoured or refused: add it to the table when it is."""
    names = {field.name for field in dataclasses.fields(StartActivityInput)}
    assert names <= set(STORED) | set(ELSEWHERE)
    # All that `LocalActivities` gives.
    local = {field.name for field in dataclasses.fields(StartLocalActivityInput)}
    assert local <= names | {"local_retry_threshold"}


@pytest.mark.postgres_only
async def test_fields(engine_of_two_queues: Environment):
    engine = engine_of_two_queues
    async with engine.worker(OPTIONS, intercept=True, workflows=flows.ALL) as task_queue:
        priority = Priority(fairness_key="tenant")
        handle = await engine.start(flows.GivesFields.run, task_queue=task_queue, priority=priority)

        async def rows() -> list[dict[str, Any]]:
            found = []
            for queue in ("default", "other"):
                table = await engine.query(f"SELECT * FROM {queue_table(queue)} WHERE workflow_id = %s", handle.id)
                found += [{**row, "queue": queue} for row in table]
            return found if len(found) == len(flows.NAMES) else []

        found = {}
        for row in await eventually(rows):
            payloads = Payloads.FromString(row["input"]).payloads
            found[flows.NAMES[int(payloads[0].data)]] = row
        stored = {name: {"fairness_key": "tenant", **(options or {})} for name, options in STORED.items()}
        stored["task_queue"]["task_queue"] = (
            "mapped"  # the others say nothing of it: the handler has no activity context
        )
        assert {name: row["options"] for name, row in found.items()} == stored
        assert {name for name, row in found.items() if row["queue"] == "other"} == {"task_queue"}
        assert {row["job_type"] for row in found.values()} == {"double"}
        markers = [event for event in (await handle.fetch_history()).events if event.HasField("user_metadata")]
        shown = [marker.user_metadata.summary.data.decode() for marker in markers]
        assert shown == [f'"{len(flows.NAMES)} x double: in short"', f'"waits for {len(flows.NAMES)} x double"']
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    await engine.nothing_left()


async def test_refusals(engine_of_two_queues: Environment):
    """What can't be honoured is refused with an error that says what to do."""
    engine = engine_of_two_queues
    async with engine.worker(OPTIONS, intercept=True, workflows=flows.ALL) as task_queue:
        refused = await engine.execute(flows.GivesWhatIsRefused.run, task_queue=task_queue)
    beginnings = [
        "ConfigurationError: double: no queue is declared for the task queue 'unknown': add it to DELEGATOR_TASK_QUEU",
        "ConfigurationError: double: versioning_intent=COMPATIBLE is for workers with build ids",
        "ValueError: activity id 'twice' is that of an activity that has not ended",
        "ConfigurationError: double: priority: fairness_key must be a text of at most 64 bytes",
        "ValueError: Activity must have start_to_close_timeout or schedule_to_close_timeout",
    ]
    assert [message[: len(begin)] for message, begin in zip(refused, beginnings, strict=True)] == beginnings


@pytest.mark.skipif(not hasattr(workflow, "create_event_group"), reason="this SDK has no event groups")
async def test_event_groups(engine: Environment):
    """The event of a local activity is in the groups of all of its calls."""
    async with engine.worker(SIGNALLED, intercept=True, workflows=flows.ALL) as task_queue:
        handle = await engine.start(flows.GivesEventGroups.run, task_queue=task_queue)
        await engine.result(handle)
    groups = [str(event.event_group_markers) for event in (await handle.fetch_history()).events]
    (shown,) = filter("[]".__ne__, groups)
    assert "first" in shown and "second" in shown


async def test_stays_ordinary(engine_of_two_queues: Environment):
    """A local activity stays local, and a task queue without a queue keeps its ordinary activities."""
    engine = engine_of_two_queues
    async with (
        engine.worker(OPTIONS, intercept=True, workflows=flows.ALL, activities=[tasks.double]) as task_queue,
        Worker(engine.client, task_queue="ordinary workers", activities=[tasks.double]),
    ):
        handle = await engine.start(flows.StaysOrdinary.run, task_queue=task_queue)
        assert await asyncio.wait_for(handle.result(), 30) == [2, 4]
    await engine.nothing_left()
