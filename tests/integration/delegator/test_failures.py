"""Failures, retries, timeouts and dead letters, as a workflow and an operator see them."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.integration.delegator import flows
from tests.integration.delegator.environment import SIGNALLED, Environment, SeenDeadLetter, eventually
from tests.integration.delegator.tasks import Point

WAYS = ["delegate", "execute_activity"]


@activity.defn
async def mirror(point: Point) -> Point:
    """An ordinary activity with the name and the arguments of `tasks.mirror`."""
    raise AssertionError("the argument can't be decoded")


@pytest.fixture(params=["inline", "signal"])
def task_queue(request: pytest.FixtureRequest, inline_queue: str, signal_queue: str) -> str:
    return inline_queue if request.param == "inline" else signal_queue


@pytest.mark.parametrize("way", WAYS)
async def test_failure_is_an_activity_error(engine: Environment, task_queue: str, way: str):
    """The workflow gets an ActivityError with the same fields that an ordinary activity's failure has."""
    handle = await engine.start(flows.Fails.run, way, "fail", ["Unlucky", True], 0, [], task_queue=task_queue)
    failure = await engine.result(handle)
    trace = failure.pop("stack_trace")
    assert 'raise ApplicationError("no such luck"' in trace
    assert failure == {
        "message": "Activity task failed",
        "activity_type": "fail",
        "has_id": True,
        "retry_state": "NON_RETRYABLE_FAILURE",
        "cause": "ApplicationError",
        "type": "Unlucky",
        "cause_message": "no such luck",
        "details": [{"at": 7}, "more"],
        "non_retryable": True,
        "cause_of_cause": None,
    }
    assert engine.ledger(handle.id) == [("started", 1)]
    assert await engine.dead_letters(handle.id) == []


@pytest.mark.parametrize("way", WAYS)
async def test_custom_exception(engine: Environment, task_queue: str, way: str):
    """An application's own exception arrives as an ApplicationError whose type is the name of its class."""
    handle = await engine.start(flows.Fails.run, way, "refuse_card", [], 0, ["CardRefusedError"], task_queue=task_queue)
    failure = await engine.result(handle)
    assert (failure["type"], failure["cause_message"], failure["cause_of_cause"], failure["retry_state"]) == (
        "CardRefusedError",
        "card refused",
        "ApplicationError",
        "NON_RETRYABLE_FAILURE",
    )
    assert engine.ledger(handle.id) == [("started", 1)]


@pytest.mark.parametrize("way", WAYS)
async def test_failed_attempts_are_repeated(engine: Environment, task_queue: str, way: str):
    handle = await engine.start(flows.CallsOne.run, way, "succeed_at", [3], {}, task_queue=task_queue)
    assert await engine.result(handle) == 3
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2), ("started", 3)]


async def test_type_retry_policy(engine: Environment, inline_queue: str):
    """The retry policy of the declared type applies to a call that has none."""
    assert await engine.execute(
        flows.WaitsDirectly.run, "delegate", "fail_first_then_soon", [], task_queue=inline_queue
    )


@pytest.mark.parametrize("name", ["cancel_itself", "exits"])
async def test_handler_cancels_itself(engine: Environment, inline_queue: str, name: str):
    """A handler that cancels itself has failed, and is retried."""
    handle = await engine.start(flows.CallsOne.run, "delegate", name, [], {}, task_queue=inline_queue)
    assert await engine.result(handle) == 2
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


@pytest.mark.parametrize(("name", "type_"), [("unusable_failure", None), ("unusable_heartbeat", "TypeError")])
async def test_result_that_can_not_be_encoded(engine: Environment, task_queue: str, name: str, type_: str | None):
    """A result or failure that can't be encoded is a failure of the attempt."""
    handle = await engine.start(flows.CallsOne.run, "delegate", name, [], {"attempts": 1}, task_queue=task_queue)
    failure = await engine.result(handle)
    assert (failure["cause"], failure["type"]) == ("ApplicationError", type_)


@pytest.mark.parametrize("way", WAYS)
async def test_attempts_exhausted(engine: Environment, task_queue: str, way: str):
    """A job that has used all its attempts becomes a dead letter, and the workflow gets the last failure."""
    handle = await engine.start(flows.Fails.run, way, "fail", ["Unlucky", False], 2, [], task_queue=task_queue)
    failure = await engine.result(handle)
    assert (failure["retry_state"], failure["type"], failure["non_retryable"]) == (
        "MAXIMUM_ATTEMPTS_REACHED",
        "Unlucky",
        False,
    )
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]
    (letter,) = await engine.dead_letters(handle.id)
    assert letter == SeenDeadLetter("attempts_exhausted", "Unlucky", "fail", 2, "default", is_complete=True)


async def test_unknown_type(engine: Environment, task_queue: str):
    """A job of an unknown type becomes a dead letter at once if its retry policy excludes Temporal's error."""
    handle = await engine.start(
        flows.Fails.run, "delegate", "no_such_type", [], 0, ["NotFoundError"], task_queue=task_queue
    )
    failure = await engine.result(handle)
    assert (failure["type"], failure["retry_state"], failure["activity_type"]) == (
        "NotFoundError",
        "NON_RETRYABLE_FAILURE",
        "no_such_type",
    )
    (letter,) = await engine.dead_letters(handle.id)
    assert (letter.reason, letter.job_type) == ("unknown_type", "no_such_type")


@pytest.mark.parametrize("way", WAYS)
async def test_undecodable_argument(engine: Environment, task_queue: str, way: str):
    """A job with an argument that can't be decoded is retried; then it is a dead letter, and its workflow is told."""
    handle = await engine.start(flows.Fails.run, way, "mirror", ["no point"], 2, [], task_queue=task_queue)
    failure = await engine.result(handle)
    async with engine.worker(SIGNALLED, activities=[mirror]) as plain_queue:
        ordinary = await engine.execute(
            flows.Fails.run, "execute_activity", "mirror", ["no point"], 2, [], task_queue=plain_queue
        )
    del failure["stack_trace"], ordinary["stack_trace"]
    assert failure == ordinary
    assert engine.ledger(handle.id) == []
    (letter,) = await engine.dead_letters(handle.id)
    assert (letter.reason, letter.attempt) == ("undecodable", 2)


@pytest.mark.parametrize("way", WAYS)
async def test_start_to_close_timeout(engine: Environment, task_queue: str, way: str):
    """An attempt that runs longer than its start-to-close timeout times out, and is retried like any failure."""
    handle = await engine.start(
        flows.CallsOne.run, way, "sleeps", [60], {"start_to_close_timeout": 0.1, "attempts": 2}, task_queue=task_queue
    )
    failure = await engine.result(handle)
    assert (failure["cause"], failure["type"], failure["retry_state"]) == (
        "TimeoutError",
        "START_TO_CLOSE",
        "MAXIMUM_ATTEMPTS_REACHED",
    )
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


@pytest.mark.parametrize("way", WAYS)
async def test_schedule_to_close_timeout(engine: Environment, task_queue: str, way: str):
    """A job that takes longer than its schedule-to-close timeout times out."""
    options = {"schedule_to_close_timeout": 0.3}
    handle = await engine.start(flows.CallsOne.run, way, "sleeps", [60], options, task_queue=task_queue)
    failure = await engine.result(handle)
    assert (failure["cause"], failure["type"]) == ("TimeoutError", "SCHEDULE_TO_CLOSE")


@pytest.mark.parametrize("way", WAYS)
async def test_timeout_without_worker(idle_engine: Environment, way: str):
    """A job times out although no HTTP worker runs."""
    async with idle_engine.worker(SIGNALLED, intercept=True, workflows=[flows.CallsOne]) as task_queue:
        options = {"schedule_to_close_timeout": 0.3}
        handle = await idle_engine.start(flows.CallsOne.run, way, "sleeps", [0], options, task_queue=task_queue)
        failure = await idle_engine.result(handle)
        assert (failure["cause"], failure["retry_state"]) == ("TimeoutError", "TIMEOUT")
        assert failure["type"] in ("SCHEDULE_TO_CLOSE", "SCHEDULE_TO_START")
        await idle_engine.nothing_left()


@pytest.mark.parametrize("way", WAYS)
async def test_heartbeat_timeout_retries(engine: Environment, task_queue: str, way: str):
    """A handler without heartbeats times out, and the next attempt gets the last heartbeat details."""
    handle = await engine.start(
        flows.CallsOne.run, way, "silent_once", [], {"heartbeat_timeout": 0.2}, task_queue=task_queue
    )
    assert await engine.result(handle) == "attempt 2 knows ['page', 12]"
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


async def test_heartbeat_timeout_details(engine: Environment, inline_queue: str):
    """The failure of a heartbeat timeout holds the last heartbeat details."""
    handle = await engine.start(
        flows.CallsOne.run,
        "delegate",
        "silent_once",
        [],
        {"heartbeat_timeout": 0.2, "attempts": 1},
        task_queue=inline_queue,
    )
    failure = await engine.result(handle)
    assert (failure["cause"], failure["type"], failure["details"]) == ("TimeoutError", "HEARTBEAT", ["page", 12])


@pytest.mark.parametrize("way", WAYS)
async def test_arguments_too_large(engine: Environment, task_queue: str, way: str):
    """Arguments that are too large fail the workflow task, as an ordinary activity's do. Nothing is written."""
    handle = await engine.start(flows.Large.run, way, 2 * 1024 * 1024, task_queue=task_queue)
    try:
        message = await failed_task(handle)
    finally:
        await handle.terminate()
    assert "TMPRL1103" in message and "backwards" in message and "2097152" in message
    assert engine.ledger(handle.id) == []
    assert await engine.jobs(handle.id) == []


async def test_large_argument(engine: Environment, task_queue: str):
    """An argument of one megabyte is accepted."""
    assert await engine.execute(flows.Large.run, "delegate", 1_000_000, task_queue=task_queue) == 1_000_000


async def test_large_results_together(engine: Environment, task_queue: str):
    """Ten large results that end together all reach the workflow."""
    sizes = [400_000] * 10
    assert await engine.execute(flows.LargeResults.run, sizes, task_queue=task_queue) == sizes


async def test_largest_result(engine: Environment, task_queue: str):
    """A result of the largest permitted size reaches the workflow."""
    largest = 2 * 1024 * 1024 - 65 * 1024
    assert await engine.execute(flows.LargeResults.run, [largest], task_queue=task_queue) == [largest]


async def test_map_stops_at_failure(engine: Environment, signal_queue: str):
    """One failed item fails the whole map, and the other items are cancelled."""
    with engine.held("one fails"):
        handle = await engine.start(flows.OneFails.run, False, id="one fails", task_queue=signal_queue)
        await engine.noted(handle.id, "sleep")
        await engine.backs_off(handle.id)
    assert await engine.result(handle) == ["ApplicationError", "BadItem: bad item"]


async def test_map_returns_failures(engine: Environment, task_queue: str):
    """A map can return the failures of its items beside the results."""
    handle = await engine.start(flows.OneFails.run, True, task_queue=task_queue)
    assert await engine.result(handle) == ["NoneType", "ActivityError", "NoneType"]


async def test_bad_option(engine: Environment, inline_queue: str):
    """A wrong option fails the workflow task, with an error that names the option."""
    handle = await engine.start(flows.BadOptions.run, task_queue=inline_queue)
    try:
        message = await failed_task(handle)
    finally:
        await handle.terminate()
    assert message == "double: start_to_close_timeout must be positive"


async def test_missing_plugin(engine: Environment):
    """A worker without the plugin fails, with an error that names DelegatorPlugin."""
    with pytest.raises(RuntimeError) as raised:
        Worker(engine.client, task_queue="no plugin", workflows=[flows.WaitsDirectly])
    assert "DelegatorPlugin" in str(raised.value.__cause__)
    runner = UnsandboxedWorkflowRunner()
    async with Worker(engine.client, task_queue="no plugin", workflows=[flows.WaitsDirectly], workflow_runner=runner):
        handle = await engine.start(flows.WaitsDirectly.run, "delegate", "noted", [1], task_queue="no plugin")
        try:
            message = await failed_task(handle)
        finally:
            await handle.terminate()
    assert "DelegatorPlugin" in message


async def failed_task(handle: Any) -> str:
    """Wait until a workflow task has failed; its error's message."""

    async def message() -> str | None:
        for event in (await handle.fetch_history()).events:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED:
                return str(event.workflow_task_failed_event_attributes.failure.message)
        return None

    return str(await eventually(message))
