"""Failures, retries, timeouts and dead letters, as a workflow and an operator see them."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from tests.integration.delegator import flows
from tests.integration.delegator.environment import SIGNALLED, Environment, SeenDeadLetter, eventually

WAYS = ["delegate", "execute_activity"]


@pytest.fixture(params=["inline", "signal"])
def task_queue(request: pytest.FixtureRequest, inline_queue: str, signal_queue: str) -> str:
    return inline_queue if request.param == "inline" else signal_queue


@pytest.mark.parametrize("way", WAYS)
async def test_a_failure_arrives_as_temporal_users_expect_it(engine: Environment, task_queue: str, way: str):
    handle = await engine.start(flows.Fails.run, way, "fail", ["Unlucky", True], 0, [], task_queue=task_queue)
    told = await engine.result(handle)
    trace = told.pop("stack_trace")
    assert 'raise ApplicationError("no such luck"' in trace
    assert told == {
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
async def test_an_exception_class_of_ones_own(engine: Environment, task_queue: str, way: str):
    handle = await engine.start(flows.Fails.run, way, "refuse_card", [], 0, ["CardRefusedError"], task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["type"], told["cause_message"], told["cause_of_cause"], told["retry_state"]) == (
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


async def test_the_type_says_how_attempts_are_repeated(engine: Environment, inline_queue: str):
    assert await engine.execute(
        flows.WaitsDirectly.run, "delegate", "fail_first_then_soon", [], task_queue=inline_queue
    )


@pytest.mark.parametrize("name", ["cancel_itself", "exits"])
async def test_a_handler_that_breaks_itself_off_has_failed(engine: Environment, inline_queue: str, name: str):
    handle = await engine.start(flows.CallsOne.run, "delegate", name, [], {}, task_queue=inline_queue)
    assert await engine.result(handle) == 2
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


@pytest.mark.parametrize(
    ("name", "type_"), [("unusable_failure", "ApplicationError"), ("unusable_heartbeat", "TypeError")]
)
async def test_what_cannot_be_encoded_is_a_failure_of_its_handler(
    engine: Environment, task_queue: str, name: str, type_: str
):
    handle = await engine.start(flows.CallsOne.run, "delegate", name, [], {"attempts": 1}, task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["cause"], told["type"]) == ("ApplicationError", type_)


@pytest.mark.parametrize("way", WAYS)
async def test_attempts_exhausted_is_a_dead_letter_and_the_workflow_is_told(
    engine: Environment, task_queue: str, way: str
):
    handle = await engine.start(flows.Fails.run, way, "fail", ["Unlucky", False], 2, [], task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["retry_state"], told["type"], told["non_retryable"]) == ("MAXIMUM_ATTEMPTS_REACHED", "Unlucky", False)
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]
    (letter,) = await engine.dead_letters(handle.id)
    assert letter == SeenDeadLetter("attempts_exhausted", "Unlucky", "fail", 2, "default", is_complete=True)


async def test_an_unknown_type_is_a_dead_letter_and_the_workflow_is_told(engine: Environment, task_queue: str):
    handle = await engine.start(flows.CallsOne.run, "delegate", "no_such_type", [], {}, task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["type"], told["non_retryable"], told["activity_type"]) == ("UnknownActivityType", True, "no_such_type")
    (letter,) = await engine.dead_letters(handle.id)
    assert (letter.reason, letter.job_type) == ("unknown_type", "no_such_type")


@pytest.mark.parametrize("way", WAYS)
async def test_an_undecodable_argument_is_a_dead_letter_and_the_workflow_is_told(
    engine: Environment, task_queue: str, way: str
):
    handle = await engine.start(flows.CallsOne.run, way, "mirror", ["no point"], {}, task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["type"], told["non_retryable"]) == ("UndecodableInput", True)
    assert "no point" not in told["cause_message"]
    assert engine.ledger(handle.id) == []
    (letter,) = await engine.dead_letters(handle.id)
    assert letter.reason == "undecodable"


@pytest.mark.parametrize("way", WAYS)
async def test_an_attempt_that_runs_too_long_times_out(engine: Environment, task_queue: str, way: str):
    handle = await engine.start(
        flows.CallsOne.run, way, "sleeps", [60], {"start_to_close_timeout": 0.1, "attempts": 2}, task_queue=task_queue
    )
    told = await engine.result(handle)
    assert (told["cause"], told["type"], told["retry_state"]) == (
        "TimeoutError",
        "START_TO_CLOSE",
        "MAXIMUM_ATTEMPTS_REACHED",
    )
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_that_takes_too_long_times_out(engine: Environment, task_queue: str, way: str):
    options = {"schedule_to_close_timeout": 0.3}
    handle = await engine.start(flows.CallsOne.run, way, "sleeps", [60], options, task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["cause"], told["type"]) == ("TimeoutError", "SCHEDULE_TO_CLOSE")


@pytest.mark.parametrize("way", WAYS)
async def test_a_job_that_nobody_runs_times_out(idle_engine: Environment, way: str):
    async with idle_engine.worker(SIGNALLED, intercept=True, workflows=[flows.CallsOne]) as task_queue:
        options = {"schedule_to_close_timeout": 0.3}
        handle = await idle_engine.start(flows.CallsOne.run, way, "sleeps", [0], options, task_queue=task_queue)
        told = await idle_engine.result(handle)
        assert (told["cause"], told["retry_state"]) == ("TimeoutError", "TIMEOUT")
        assert told["type"] in ("SCHEDULE_TO_CLOSE", "SCHEDULE_TO_START")
        await idle_engine.nothing_left()


@pytest.mark.parametrize("way", WAYS)
async def test_a_silent_handler_times_out_and_the_next_attempt_knows_its_last_heartbeat(
    engine: Environment, task_queue: str, way: str
):
    handle = await engine.start(
        flows.CallsOne.run, way, "silent_once", [], {"heartbeat_timeout": 0.2}, task_queue=task_queue
    )
    assert await engine.result(handle) == "attempt 2 knows ['page', 12]"
    assert engine.ledger(handle.id) == [("started", 1), ("started", 2)]


async def test_a_heartbeat_timeout_tells_the_last_heartbeat(engine: Environment, inline_queue: str):
    handle = await engine.start(
        flows.CallsOne.run,
        "delegate",
        "silent_once",
        [],
        {"heartbeat_timeout": 0.2, "attempts": 1},
        task_queue=inline_queue,
    )
    told = await engine.result(handle)
    assert (told["cause"], told["type"], told["details"]) == ("TimeoutError", "HEARTBEAT", ["page", 12])


@pytest.mark.parametrize("way", WAYS)
async def test_arguments_that_are_too_large_are_refused_before_anything_is_written(
    engine: Environment, task_queue: str, way: str
):
    handle = await engine.start(flows.Large.run, way, 2 * 1024 * 1024, task_queue=task_queue)
    told = await engine.result(handle)
    assert (told["type"], told["non_retryable"], told["retry_state"]) == (
        "PayloadTooLarge",
        True,
        "NON_RETRYABLE_FAILURE",
    )
    assert "backwards" in told["cause_message"] and "2097152" in told["cause_message"]
    assert engine.ledger(handle.id) == []
    assert await engine.jobs(handle.id) == []


async def test_a_megabyte_passes(engine: Environment, task_queue: str):
    assert await engine.execute(flows.Large.run, "delegate", 1_000_000, task_queue=task_queue) == 1_000_000


async def test_large_results_of_one_workflow_task(engine: Environment, task_queue: str):
    sizes = [400_000] * 10
    assert await engine.execute(flows.LargeResults.run, sizes, task_queue=task_queue) == sizes


async def test_the_largest_result(engine: Environment, task_queue: str):
    largest = 2 * 1024 * 1024 - 65 * 1024
    assert await engine.execute(flows.LargeResults.run, [largest], task_queue=task_queue) == [largest]


@pytest.mark.parametrize(("name", "args"), [("large_result", [2 * 1024 * 1024]), ("large_failure", [])])
async def test_a_workflow_is_told_of_an_outcome_too_large_to_travel(
    engine: Environment, task_queue: str, name: str, args: list[Any]
):
    handle = await engine.start(flows.CallsOne.run, "delegate", name, args, {}, task_queue=task_queue)
    told = await engine.result(handle)
    assert told["retry_state"] == "NON_RETRYABLE_FAILURE"
    assert "over the limit" in told["cause_message"]


async def test_one_bad_item_of_a_map_fails_it_and_stops_the_others(engine: Environment, signal_queue: str):
    with engine.held("one fails"):
        handle = await engine.start(flows.OneFails.run, False, id="one fails", task_queue=signal_queue)
        await engine.noted(handle.id, "sleep")
        await engine.backs_off(handle.id)
    assert await engine.result(handle) == ["ApplicationError", "BadItem: bad item"]


async def test_a_map_can_return_its_failures(engine: Environment, task_queue: str):
    handle = await engine.start(flows.OneFails.run, True, task_queue=task_queue)
    assert await engine.result(handle) == ["NoneType", "ActivityError", "NoneType"]


async def test_a_bad_option_fails_the_workflow_task_with_a_clear_error(engine: Environment, inline_queue: str):
    handle = await engine.start(flows.BadOptions.run, task_queue=inline_queue)
    try:
        message = await failed_task(handle)
    finally:
        await handle.terminate()
    assert message == "double: start_to_close_timeout must be positive"


async def test_a_worker_without_the_plugin_fails_the_workflow_task_with_a_clear_error(engine: Environment):
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
