"""What workflows do with activities: every scenario gives the same result whether they are delegated or not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.workflow import ActivityCancellationType, ActivityHandle

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.tasks as tasks
    from tests.integration.delegator.tasks import Point

SECONDS = timedelta(seconds=1)
SOON: Any = {"start_to_close_timeout": 30 * SECONDS, "heartbeat_timeout": 10 * SECONDS}
WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
ABANDON = ActivityCancellationType.ABANDON


def quick(number: int = 1, **options: Any) -> ActivityHandle[int]:
    return workflow.start_activity(tasks.double, number, **{**SOON, **options})


def slow(*, ignores_it: bool = False, **options: Any) -> ActivityHandle[str]:
    return workflow.start_activity(tasks.until_told_to_stop, ignores_it, **{**SOON, **options})


def failing(**options: Any) -> ActivityHandle[None]:
    return workflow.start_activity(tasks.fail, args=["Unlucky", True], **{**SOON, **options})


async def turn() -> None:
    """Let everything that is ready run."""
    await workflow.sleep(timedelta(milliseconds=1))


async def told(awaitable: Awaitable[Any]) -> Any:
    """Return a result, or what was raised."""
    try:
        return await awaitable
    except BaseException as error:
        return said(error)


def said(error: BaseException) -> list[Any]:
    """Return the types of an error, of its causes and of the errors in a group."""
    if isinstance(error, BaseExceptionGroup):
        return [type(error).__name__, *(said(one) for one in error.exceptions)]
    cause = error.__cause__
    return [type(error).__name__, *([type(cause).__name__] if isinstance(error, ActivityError) else [])]


async def as_completed() -> Any:
    return sorted([await done for done in workflow.as_completed([quick(number) for number in range(5)])])


async def as_completed_fails() -> Any:
    return [await told(done) for done in workflow.as_completed([failing()])]


async def as_completed_times_out() -> Any:
    handle = slow()
    seen = [await told(done) for done in workflow.as_completed([handle, quick()], timeout=1.0)]
    handle.cancel()
    return [seen, await told(handle)]


async def wait_for_all() -> Any:
    done, pending = await workflow.wait([quick(number) for number in range(3)])
    return [[handle.result() for handle in done], len(pending)]


async def wait_for_first() -> Any:
    stays = slow()
    done, pending = await workflow.wait([stays, quick()], return_when=asyncio.FIRST_COMPLETED)
    stays.cancel()
    return [[handle.result() for handle in done], pending == [stays], await told(stays)]


async def wait_for_failure() -> Any:
    stays = slow()
    done, _ = await workflow.wait([stays, failing()], return_when=asyncio.FIRST_EXCEPTION)
    stays.cancel()
    return [[said(handle.exception() or ValueError()) for handle in done], await told(stays)]


async def wait_times_out() -> Any:
    stays = slow()
    done, pending = await workflow.wait([stays], timeout=0.2)
    stays.cancel()
    return [done, pending == [stays], await told(stays)]


async def shielded() -> Any:
    """A shield keeps the cancellation from the activity."""
    handle = quick(3)
    outer = asyncio.create_task(told(asyncio.shield(handle)))
    await asyncio.sleep(0)
    outer.cancel()
    return [await told(outer), await told(handle)]


async def shield_in_wait_for() -> Any:
    handle = slow()
    ended = await told(asyncio.wait_for(asyncio.shield(handle), 0.2))
    was_done = handle.done()
    handle.cancel()
    return [ended, was_done, await told(handle)]


async def in_wait_for() -> Any:
    """A time limit ends the call as its cancellation type says."""
    return [
        await told(asyncio.wait_for(slow(), 0.2)),
        await told(asyncio.wait_for(slow(cancellation_type=WAIT), 0.2)),
        await told(asyncio.wait_for(slow(cancellation_type=ABANDON), 0.2)),
        await told(asyncio.wait_for(slow(ignores_it=True, cancellation_type=WAIT), 0.2)),
        await told(asyncio.wait_for(quick(), 20)),
    ]


async def in_timeout() -> Any:
    async def limited(**options: Any) -> Any:
        async with asyncio.timeout(0.2):
            return await slow(**options)

    return [await told(limited()), await told(limited(cancellation_type=WAIT))]


async def in_task_group() -> Any:
    """A failure ends the siblings."""

    async def group(**options: Any) -> None:
        async with asyncio.TaskGroup() as tasks_of_group:
            tasks_of_group.create_task(told_and_raised(slow(**options)))
            tasks_of_group.create_task(told_and_raised(failing()))

    seen: list[Any] = []

    async def told_and_raised(handle: ActivityHandle[Any]) -> None:
        try:
            await handle
        except BaseException as error:
            seen.append(said(error))
            raise

    return [await told(group()), await told(group(cancellation_type=WAIT)), seen]


async def in_gather() -> Any:
    results = await asyncio.gather(quick(1), failing(), quick(2), return_exceptions=True)
    first = await told(asyncio.gather(quick(1), failing()))
    both = asyncio.gather(slow(), slow())
    await turn()
    both.cancel()
    return [[said(one) if isinstance(one, BaseException) else one for one in results], first, await told(both)]


async def handle_is_a_task() -> Any:
    """A handle has what a task has."""
    handle, called = quick(4), []
    same = asyncio.ensure_future(handle) is handle
    handle.add_done_callback(lambda done: called.append(done is handle))
    never = called.append
    handle.add_done_callback(never)
    removed = handle.remove_done_callback(never)
    before = [handle.done(), handle.cancelled(), told_now(handle.result), told_now(handle.exception)]
    result = await handle
    after = [
        handle.done(),
        handle.cancelled(),
        handle.result(),
        handle.exception(),
        handle.cancel(),
        handle.cancelling(),
    ]
    kinds = [isinstance(handle, kind) for kind in (asyncio.Task, asyncio.Future, ActivityHandle)]
    named = handle.get_name().startswith("activity: double")
    handle.set_name("mine")
    forbidden = [told_now(handle.set_result, 1), told_now(handle.set_exception, ValueError())]
    return [same, before, result, after, kinds, named, handle.get_name(), called, removed, forbidden, await handle]


def told_now(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:
        return type(error).__name__


async def cancelled_before_it_began() -> Any:
    handle = slow()
    return [handle.cancel("never mind"), await told(handle), handle.cancelled()]


async def cancelled_with_its_caller_before_it_began() -> Any:
    async def caller() -> str:
        return await slow()

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()
    return await told(task)


async def cancelled_while_it_runs() -> Any:
    ends = []
    for options in ({}, {"cancellation_type": WAIT}, {"cancellation_type": ABANDON}):
        handle = slow(**options)
        await workflow.sleep(timedelta(milliseconds=300))
        # What it returns is not compared: if Temporal runs the workflow task again, the job may have ended by then.
        handle.cancel()
        ends.append([await told(handle), handle.cancelled(), handle.cancel()])
    handle = slow(ignores_it=True, cancellation_type=WAIT)
    await workflow.sleep(timedelta(milliseconds=300))
    handle.cancel()
    return [ends, await told(handle)]


async def cancelled_but_quick() -> Any:
    """A cancelled call ends as cancelled, also if its activity ends in that moment."""

    async def caller() -> int:
        return await quick()

    tasks_cancelled = [asyncio.create_task(caller()) for _ in range(3)]
    handles = [quick() for _ in range(3)]
    await turn_without_timer()
    # If Temporal runs the workflow task again, they may have ended by now.
    pending = [task for task in (*tasks_cancelled, *handles) if not task.done()]
    for task in pending:
        task.cancel()
    ends = [await told(task) for task in pending]
    await turn()  # Temporal runs a task again if signals arrive while it ends the workflow
    return all(end == ["ActivityError", "CancelledError"] for end in ends)


async def turn_without_timer() -> None:
    """Let everything that is ready run, in the same workflow task."""
    for _ in range(5):
        await asyncio.sleep(0)


async def chain_is_cancelled() -> Any:
    """A chain ends at the call that is cancelled."""
    steps: list[int] = []

    async def chain() -> None:
        for number in range(50):
            steps.append(await quick(number))

    task = asyncio.create_task(chain())
    await workflow.wait_condition(lambda: len(steps) >= 3)
    task.cancel()
    return [await told(task), len(steps) < 10]


async def cancelled_when_the_outcome_is_there() -> Any:
    """A caller that is cancelled between the outcome and its own next step is cancelled."""

    async def caller(handle: ActivityHandle[int]) -> int:
        return await handle

    handle = quick()
    handle.add_done_callback(lambda _: task.cancel())
    task = asyncio.create_task(caller(handle))
    return [await told(task), task.cancelled(), await handle]


async def caller_counts_its_cancellation() -> Any:
    async def caller() -> Any:
        task = asyncio.current_task()
        assert task is not None
        # A job that is asked to stop may tell so before its caller is cancelled, if the workflow task runs again.
        ended = await told(slow(cancellation_type=ABANDON))
        return [ended, task.cancelling(), await told(quick(2))]

    task = asyncio.create_task(caller())
    await turn()
    task.cancel()
    return await told(task)


async def by_name() -> Any:
    """Without a type, the result is what the converter makes of JSON."""
    point = Point(1, 2)
    by_type = await workflow.execute_activity("mirror", point, result_type=Point, **SOON)
    return [
        await workflow.execute_activity("mirror", point, **SOON),
        type(by_type).__name__,
        type(await workflow.execute_activity(tasks.mirror, point, **SOON)).__name__,
    ]


async def ids_of_activities() -> Any:
    options = {**SOON, "heartbeat_timeout": 7 * SECONDS}
    first = await workflow.execute_activity(tasks.informed, activity_id="mine", **options)
    again = await workflow.execute_activity(tasks.informed, activity_id="mine", summary="again", **options)
    try:
        await failing(activity_id="fails")
    except ActivityError as error:
        failed = [error.activity_id, error.activity_type]
    handle = slow(activity_id="cancelled")
    await turn()
    handle.cancel()
    try:
        await handle
    except ActivityError as error:
        cancelled = [error.activity_id, error.activity_type]
    return [first, again, failed, cancelled]


async def fields_that_change_no_result() -> Any:
    return await workflow.execute_activity(
        tasks.double,
        2,
        task_queue=workflow.info().task_queue,
        schedule_to_start_timeout=30 * SECONDS,
        schedule_to_close_timeout=30 * SECONDS,
        retry_policy=RetryPolicy(maximum_attempts=3),
        priority=Priority(priority_key=2, fairness_key="tenant", fairness_weight=2.0),
        summary="twice",
        versioning_intent=workflow.VersioningIntent.DEFAULT,
    )


async def without_a_timeout() -> Any:
    return told_now(lambda: workflow.start_activity(tasks.double, 1))


async def methods() -> Any:
    return [
        await workflow.execute_activity_method(tasks.Counter.count, 1, **SOON),
        await workflow.execute_activity_method(tasks.Counter.count_alone, **SOON),
        await workflow.start_activity_method(tasks.Counter.count, 2, **SOON),
        await workflow.execute_activity(tasks.Counter.count, 3, **SOON),
    ]


async def failure() -> Any:
    try:
        await failing()
    except ActivityError as error:
        cause = error.cause
        assert isinstance(cause, ApplicationError)
        return [str(error), error.retry_state, cause.type, list(cause.details), cause.non_retryable]


SCENARIOS: dict[str, Callable[[], Awaitable[Any]]] = {
    scenario.__name__: scenario
    for scenario in (
        as_completed,
        as_completed_fails,
        as_completed_times_out,
        wait_for_all,
        wait_for_first,
        wait_for_failure,
        wait_times_out,
        shielded,
        shield_in_wait_for,
        in_wait_for,
        in_timeout,
        in_task_group,
        in_gather,
        handle_is_a_task,
        cancelled_before_it_began,
        cancelled_with_its_caller_before_it_began,
        cancelled_while_it_runs,
        cancelled_but_quick,
        chain_is_cancelled,
        cancelled_when_the_outcome_is_there,
        caller_counts_its_cancellation,
        by_name,
        ids_of_activities,
        fields_that_change_no_result,
        methods,
        without_a_timeout,
        failure,
    )
}


@workflow.defn(sandboxed=False)  # a sandbox of its own for each run would take most of the time
class Plays:
    """Plays one scenario."""

    @workflow.run
    async def run(self, scenario: str) -> Any:
        return await SCENARIOS[scenario]()
