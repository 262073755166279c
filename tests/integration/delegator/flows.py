"""Workflows of the integration tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, TimeoutError

from delegator import delegate, delegate_map, delegate_starmap

with workflow.unsafe.imports_passed_through():
    import tests.integration.delegator.queued_tasks as queued_tasks
    import tests.integration.delegator.tasks as tasks
    from tests.integration.delegator.tasks import Order, Point

TIMEOUT = timedelta(seconds=30)
WAYS = (
    "delegate",
    "delegate by name",
    "delegate_map",
    "delegate_starmap",
    "execute_activity",
    "execute_activity by name",
)
CALLS = {
    "dataclass": (tasks.mirror, (Point(1, 2),), Point(2, 1)),
    "bytes": (tasks.backwards, (b"\x00\xffab",), b"ba\xff\x00"),
    "None": (tasks.nothing, (None,), None),
    "several arguments": (tasks.describe, ("n", 3, Point(1, 2)), "n 3 1/2"),
}
PYDANTIC_CALLS = {
    **CALLS,
    "pydantic model": (
        tasks.extend,
        (Order(name="a", lines=[Point(1, 2)]),),
        Order(name="A", lines=[Point(1, 2), Point(0, 0)]),
    ),
}


async def call(way: str, shape: str, shapes: Any = PYDANTIC_CALLS) -> Any:
    """Make one call and return its result."""
    function, args, expected = shapes[shape]
    name = function.__name__
    result_type = type(expected)
    match way:
        case "delegate":
            return await delegate(function, *args)
        case "delegate by name":
            return await delegate(name, *args, result_type=result_type)
        case "delegate_map":
            return (await delegate_map(function, args))[0]
        case "delegate_starmap":
            return (await delegate_starmap(function, [args]))[0]
        case "execute_activity":
            return await workflow.execute_activity(function, args=args, start_to_close_timeout=TIMEOUT)
        case "execute_activity by name":
            return await workflow.execute_activity(
                name, args=args, start_to_close_timeout=TIMEOUT, result_type=result_type
            )
    raise AssertionError(way)


@workflow.defn
class Travel:
    """One call; says whether its result is what it should be."""

    @workflow.run
    async def run(self, way: str, shape: str) -> str:
        result = await call(way, shape)
        expected = PYDANTIC_CALLS[shape][2]
        if result != expected or type(result) is not type(expected):
            raise ApplicationError(f"{way}: {result!r} is not {expected!r}", non_retryable=True)
        return "right"


@workflow.defn
class Sequence_:
    """Calls one after the other."""

    @workflow.run
    async def run(self, way: str, calls: int) -> list[int]:
        results = []
        for number in range(calls):
            if way == "delegate":
                results.append(await delegate(tasks.noted, number))
            else:
                results.append(await workflow.execute_activity(tasks.noted, number, start_to_close_timeout=TIMEOUT))
        return results


@workflow.defn
class Many:
    """Many calls at once; results in order."""

    @workflow.run
    async def run(self, way: str, jobs: int) -> bool:
        numbers = range(jobs)
        match way:
            case "delegate_map":
                results = await delegate_map(tasks.double, numbers)
            case "delegate":
                results = await asyncio.gather(*(delegate(tasks.double, number) for number in numbers))
            case _:
                results = await asyncio.gather(
                    *(
                        workflow.execute_activity(tasks.double, number, start_to_close_timeout=TIMEOUT)
                        for number in numbers
                    )
                )
        return results == [number * 2 for number in numbers]


@workflow.defn
class Mixed:
    """Different types, and one job for each way, in one gather."""

    @workflow.run
    async def run(self) -> list[Any]:
        return await asyncio.gather(
            delegate(tasks.double, 1),
            workflow.execute_activity(tasks.double, 2, start_to_close_timeout=TIMEOUT),
            delegate_map(tasks.double, [3, 4]),
            delegate(tasks.describe, "a", 1, Point(1, 1)),
            delegate(tasks.in_thread, 1),
            workflow.sleep(timedelta(milliseconds=1)),
        )


@workflow.defn
class Elsewhere:
    """Contracts whose handlers are in another module, one of them behind another queue."""

    @workflow.run
    async def run(self) -> list[Any]:
        return [
            await delegate(tasks.elsewhere, Point(1, 2)),
            await delegate_map(queued_tasks.in_other_queue, [1, 2, 3]),
            await workflow.execute_activity(tasks.elsewhere, Point(3, 4), start_to_close_timeout=TIMEOUT),
            await delegate("in_other_queue", 5, queue="other", result_type=int),
        ]


@workflow.defn
class BothPools:
    """Jobs of two types on one queue, whose handlers are in two modules."""

    @workflow.run
    async def run(self, jobs: int) -> bool:
        numbers, points = await asyncio.gather(
            delegate_map(tasks.noted, range(jobs)),
            delegate_map(tasks.elsewhere, [Point(number, 0) for number in range(jobs)]),
        )
        return numbers == list(range(jobs)) and points == [Point(number + 1, 1) for number in range(jobs)]


@workflow.defn
class BothQueues:
    """One job in each of two queues, at once."""

    @workflow.run
    async def run(self) -> list[Any]:
        return await asyncio.gather(
            delegate(tasks.elsewhere, Point(1, 2)), delegate("in_other_queue", 5, queue="other", result_type=int)
        )


@workflow.defn
class Fails:
    """Makes a call that fails and tells how."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any], attempts: int, not_retried: list[str]) -> dict[str, Any]:
        policy = RetryPolicy(
            initial_interval=timedelta(milliseconds=1),
            maximum_attempts=attempts,
            non_retryable_error_types=not_retried or None,
        )
        try:
            if way == "delegate":
                await delegate(name, *args, retry_policy=policy)
            else:
                await workflow.execute_activity(name, args=args, retry_policy=policy, start_to_close_timeout=TIMEOUT)
        except ActivityError as error:
            return describe_failure(error)
        return {}


def describe_failure(error: ActivityError) -> dict[str, Any]:
    """Return what a workflow sees of a failed activity."""
    seen: dict[str, Any] = {
        "message": str(error),
        "activity_type": error.activity_type,
        "has_id": bool(error.activity_id),
        "retry_state": error.retry_state.name if error.retry_state is not None else None,
        "cause": type(error.cause).__name__,
    }
    cause = error.cause
    if isinstance(cause, ApplicationError):
        seen |= {
            "type": cause.type,
            "cause_message": cause.message,
            "details": list(cause.details),
            "non_retryable": cause.non_retryable,
            "cause_of_cause": type(cause.cause).__name__ if cause.cause else None,
        }
    elif isinstance(cause, TimeoutError):
        seen |= {"type": cause.type.name if cause.type else None, "details": list(cause.last_heartbeat_details)}
    if cause is not None and cause.failure is not None:  # type: ignore[attr-defined]
        seen["stack_trace"] = cause.failure.stack_trace  # type: ignore[attr-defined]
    return seen


@workflow.defn
class CallsOne:
    """Calls a type by name, with options in seconds; tells the result or the failure."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any], options: dict[str, float]) -> Any:
        attempts = int(options.pop("attempts", 0))
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=attempts)
        timeouts = {key: timedelta(seconds=value) for key, value in options.items()}
        try:
            if way == "delegate":
                return await delegate(name, *args, retry_policy=policy, **timeouts)  # type: ignore[call-overload]
            return await workflow.execute_activity(
                name, args=args, retry_policy=policy, **{"start_to_close_timeout": TIMEOUT, **timeouts}
            )
        except ActivityError as error:
            return describe_failure(error)


@workflow.defn
class OneFails:
    """A map of which one item fails while an earlier one still runs."""

    @workflow.run
    async def run(self, return_exceptions: bool) -> list[str]:
        first = ["succeed"] if return_exceptions else ["sleep", "back off"]
        items = [*first, "fail", "succeed"]
        try:
            results = await delegate_map(tasks.item, items, return_exceptions=return_exceptions)
        except ActivityError as error:
            return [type(error.cause).__name__, str(error.cause)]
        return [type(result).__name__ for result in results]


@workflow.defn
class Cancellable:
    """Waits for one call; tells how its cancellation ended."""

    @workflow.init
    def __init__(self, way: str, name: str, args: list[Any], kind: str) -> None:
        self.cancel_asked = False

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any], kind: str) -> str:
        task = asyncio.create_task(self.call(way, name, args, workflow.ActivityCancellationType[kind]))
        waiter = asyncio.create_task(workflow.wait_condition(lambda: self.cancel_asked))
        try:
            await workflow.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
            task.cancel()
            return await self.outcome(task)
        except asyncio.CancelledError:
            task.cancel()
            return "workflow cancelled, " + await self.outcome(task)

    @staticmethod
    async def outcome(task: asyncio.Task[Any]) -> str:
        try:
            return f"result {await task}"
        except ActivityError as error:
            if isinstance(error.cause, CancelledError):
                return "activity cancelled"
            raise

    @workflow.signal
    def cancel(self) -> None:
        self.cancel_asked = True

    @staticmethod
    async def call(way: str, name: str, args: list[Any], kind: workflow.ActivityCancellationType) -> Any:
        if way == "delegate":
            return await delegate(name, *args, cancellation_type=kind)
        if way == "delegate_map":
            return await delegate_map(getattr(tasks, name), args, cancellation_type=kind)
        return await workflow.execute_activity(name, args=args, start_to_close_timeout=TIMEOUT, cancellation_type=kind)


@workflow.defn
class WaitsDirectly:
    """Awaits a call in its main task, so that a cancellation of the workflow hits it."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any]) -> Any:
        if way == "delegate":
            return await delegate(name, *args)
        return await workflow.execute_activity(name, args=args, start_to_close_timeout=TIMEOUT)


@workflow.defn
class CancelsAtOnce:
    """Starts activities and cancels them before the event loop has turned."""

    @workflow.run
    async def run(self, way: str) -> str:
        if way == "delegate":
            handle: asyncio.Task[Any] = asyncio.create_task(delegate(tasks.noted, 1))
        else:
            handle = workflow.start_activity(tasks.noted, 1, start_to_close_timeout=TIMEOUT)
        handle.cancel()
        try:
            await handle
        except (ActivityError, asyncio.CancelledError):
            await workflow.sleep(timedelta(milliseconds=1))
            return "cancelled"
        return "not cancelled"


@workflow.defn
class SameId:
    """Gives a job an id of its own, twice."""

    @workflow.run
    async def run(self, job_id: str) -> list[Any]:
        first = await delegate(tasks.noted, 1, job_id=job_id)
        try:
            return [first, await delegate(tasks.noted, 2, job_id=job_id)]
        except ValueError as error:
            return [first, str(error)]


@workflow.defn
class OwnIds:
    """Jobs with ids of their own, many at once."""

    @workflow.run
    async def run(self, ids: list[str]) -> list[int]:
        return await asyncio.gather(
            *(delegate(tasks.noted, number, job_id=job_id) for number, job_id in enumerate(ids))
        )


@workflow.defn
class AttemptOutcome:
    """One call; then waits for a signal."""

    def __init__(self) -> None:
        self.finish_asked = False
        self.result: int | None = None

    @workflow.run
    async def run(self) -> list[int | None]:
        self.result = await delegate(tasks.noted, 5)
        await workflow.wait_condition(lambda: self.finish_asked)
        return [self.result, await delegate(tasks.noted, 6)]

    @workflow.signal
    def finish(self) -> None:
        self.finish_asked = True


@workflow.defn
class LeavesJobs:
    """Starts jobs, and ends without their outcomes when it is told to."""

    def __init__(self) -> None:
        self.may_end = False

    @workflow.run
    async def run(self, how: str) -> None:
        jobs = [
            asyncio.create_task(delegate(tasks.heartbeats_until_cancelled)),
            asyncio.create_task(delegate(tasks.item, "back off")),
        ]
        await workflow.wait_condition(lambda: self.may_end)
        if how == "continues":
            workflow.continue_as_new("returns")
        if how == "fails":
            raise ApplicationError(f"{len(jobs)} jobs are left", non_retryable=True)

    @workflow.signal
    def end(self) -> None:
        self.may_end = True


@workflow.defn
class EnqueuesTwice:
    """Enqueues a job, and another one after a signal."""

    def __init__(self) -> None:
        self.may_go_on = False

    @workflow.run
    async def run(self) -> int:
        first = asyncio.create_task(delegate(tasks.noted, 1))
        await workflow.wait_condition(lambda: self.may_go_on)
        second = asyncio.create_task(delegate(tasks.heartbeats_until_cancelled))
        result = await first
        second.cancel()
        return result

    @workflow.signal
    def go_on(self) -> None:
        self.may_go_on = True


@workflow.defn
class TwoSteps:
    """An activity, a signal, an activity."""

    def __init__(self) -> None:
        self.done = 0
        self.may_go_on = False

    @workflow.run
    async def run(self) -> list[int]:
        results = []
        for number in (1, 2):
            results.append(await workflow.execute_activity(tasks.noted, number, start_to_close_timeout=TIMEOUT))
            self.done = number
            await workflow.wait_condition(lambda: self.may_go_on)
        return results

    @workflow.signal
    def go_on(self) -> None:
        self.may_go_on = True

    @workflow.query
    def steps(self) -> int:
        return self.done


@workflow.defn
class CatchesSignals:
    """Has a dynamic signal handler, set from the start and once more."""

    def __init__(self) -> None:
        self.caught: list[str] = []

    @workflow.signal(dynamic=True)
    async def any_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.caught.append(name)

    @workflow.run
    async def run(self) -> list[Any]:
        number = await delegate(tasks.double, 4)
        await workflow.wait_condition(lambda: bool(self.caught))
        return [number, self.caught]


BEGUN: Counter[str] = Counter()
"""How often the code of each workflow began."""


@workflow.defn(sandboxed=False)
class SecondThoughts:
    """Its first workflow task calls one type, and fails. When the task is run again it calls another type."""

    @workflow.run
    async def run(self) -> Any:
        workflow_id = workflow.info().workflow_id
        BEGUN[workflow_id] += 1
        if BEGUN[workflow_id] == 1:
            await delegate(tasks.double, 1)
            raise RuntimeError("this workflow task fails")
        return await delegate(tasks.backwards, b"ab")


@workflow.defn
class ContinuesAsNew:
    """Leaves a job behind, goes on as a new run."""

    @workflow.run
    async def run(self, runs: int) -> str:
        if runs > 0:
            left_behind = asyncio.create_task(delegate(tasks.noted, 1))
            await workflow.wait([left_behind], timeout=0.001)
            workflow.continue_as_new(runs - 1)
        return str(await delegate(tasks.noted, 2))


@workflow.defn
class Uses:
    """Options given for one map."""

    @workflow.run
    async def run(self) -> list[int]:
        return await delegate_map(tasks.double, [1, 2], inline_wait=timedelta(0))


@workflow.defn
class BadOptions:
    """Gives an option that can't be."""

    @workflow.run
    async def run(self) -> None:
        await delegate(tasks.double, 1, start_to_close_timeout=timedelta(0))


@workflow.defn
class Large:
    """A call with a large argument."""

    @workflow.run
    async def run(self, way: str, size: int) -> Any:
        try:
            if way == "delegate":
                return len(await delegate(tasks.backwards, b"x" * size))
            return len(await workflow.execute_activity(tasks.backwards, b"x" * size, start_to_close_timeout=TIMEOUT))
        except ActivityError as error:
            return describe_failure(error)


@workflow.defn
class LargeResults:
    """Calls with large results."""

    @workflow.run
    async def run(self, sizes: list[int]) -> list[int]:
        return [len(result) for result in await delegate_map(tasks.large_result, sizes)]


@workflow.defn
class BeginsAgain:
    """Fails, is retried, and goes on as a new run: three runs, of which only the first begins at once."""

    @workflow.run
    async def run(self, runs: int = 0) -> int:
        if workflow.info().attempt == 1 and not runs:
            raise ApplicationError("to be retried")
        if not runs:
            workflow.continue_as_new(1)
        return runs

    @workflow.query
    def answers(self) -> bool:
        """Make a worker that forgot this run replay it."""
        return True


ALL = [value for value in list(globals().values()) if hasattr(value, "__temporal_workflow_definition")]
