"""Activities that were moved over: the same code as an ordinary activity, delegated, and in the testing engine."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import AsyncActivityCancelledError, AsyncActivityHandle, Client, WorkflowHandle
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Interceptor, Worker

from delegator import DelegatorPlugin, PluginOptions, existing_activities
from delegator.dev.temporal import NAMESPACE, TemporalServer
from delegator.testing import DelegatorTestPlugin
from http_workers import HttpWorker
from tests.integration.delegator import activity_code
from tests.integration.delegator.activity_code import NOTES
from tests.integration.delegator.activity_flows import Calls, Hears
from tests.integration.delegator.environment import environment, eventually
from tests.support import Databases

NO_CLIENT = (
    "No client available. The client is only available in `async def` activities; not in `def` activities. "
    "In tests you can pass a client when creating ActivityEnvironment."
)
TICK = timedelta(milliseconds=50)


@dataclass
class Way:
    """One of the ways to run the same activities."""

    client: Client
    task_queue: str

    async def start(self, name: str, *args: Any, attempts: int = 1, **seconds: float) -> WorkflowHandle[Any, list[Any]]:
        return await self.client.start_workflow(
            Calls.run,
            args=[name, list(args), {"start_to_close": 30, **seconds}, attempts],
            id=f"{name}-{uuid.uuid4()}",
            task_queue=self.task_queue,
            execution_timeout=timedelta(seconds=60),
        )

    async def execute(self, name: str, *args: Any, **options: Any) -> tuple[list[Any], list[Any]]:
        """Return how an activity ended, and what it noted."""
        handle = await self.start(name, *args, **options)
        result = await handle.result()
        return result, NOTES[handle.id]

    async def cancelled(self, name: str, *args: Any) -> tuple[list[Any], list[Any]]:
        """Cancel an activity that runs; return as `execute` does."""
        handle = await self.start(name, *args)
        await noted(handle.id, "started")
        await handle.signal(Calls.cancel)
        result = await handle.result()
        return result, NOTES[handle.id]


async def noted(workflow_id: str, what: str) -> None:
    async def seen() -> bool:
        return any(line[0] == what for line in NOTES[workflow_id])

    await eventually(seen)


@asynccontextmanager
async def running(
    kind: str,
    databases: Databases,
    temporal: TemporalServer,
    interceptors: Sequence[Interceptor] = (),
    options: PluginOptions | None = None,
) -> AsyncIterator[Way]:
    """Run the activities in one of the ways."""
    task_queue = f"queue-{uuid.uuid4()}"
    handlers = existing_activities(activity_code, activity_code.GREETERS)
    async with AsyncExitStack() as stack:
        config: dict[str, Any] = {"task_queue": task_queue, "workflows": [Calls, Hears], "interceptors": interceptors}
        if kind == "delegated":
            engine = await stack.enter_async_context(environment(databases, temporal, http_worker=False))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setenv("TEMPORAL_ADDRESS", temporal.address)
            patch.setenv("TEMPORAL_NAMESPACE", NAMESPACE)
            plugin = DelegatorPlugin(handlers, options=options, settings=engine.settings, intercept=True)
            client = await Client.connect(temporal.address, namespace=NAMESPACE, plugins=[plugin])
            worker = HttpWorker(handlers, settings=engine.settings, grace=timedelta(0), interceptors=interceptors)
            await stack.enter_async_context(worker)
        else:
            plugins = []
            if kind == "in memory":
                plugins.append(
                    DelegatorTestPlugin(handlers, options=options, intercept=True, interceptors=interceptors)
                )
            client = await Client.connect(temporal.address, namespace=NAMESPACE, plugins=plugins)
            if kind == "ordinary":
                threads = stack.enter_context(ThreadPoolExecutor(50))
                config |= {
                    "activities": list({one.type.name: one.function for one in handlers if one.function}.values()),
                    "activity_executor": threads,
                    "max_concurrent_activities": 50,
                    "max_heartbeat_throttle_interval": TICK,
                    "default_heartbeat_throttle_interval": TICK,
                }
        await stack.enter_async_context(Worker(client, **config))
        yield Way(client, task_queue)


KINDS = ["ordinary", "delegated", "in memory"]


@pytest.fixture(scope="module", params=KINDS)
async def way(request: pytest.FixtureRequest, databases: Databases, temporal: TemporalServer) -> AsyncIterator[Way]:
    async with running(request.param, databases, temporal) as way:
        yield way


@pytest.fixture(scope="module", params=KINDS)
async def watched(request: pytest.FixtureRequest, databases: Databases, temporal: TemporalServer) -> AsyncIterator[Way]:
    interceptors = [activity_code.Watching("outer"), activity_code.Watching("inner")]
    async with running(request.param, databases, temporal, interceptors) as way:
        yield way


async def hears(way: Way, name: str, *args: Any, seconds: float = 30) -> list[Any]:
    return await way.client.execute_workflow(
        Hears.run, args=[name, list(args), seconds], id=f"{name}-{uuid.uuid4()}", task_queue=way.task_queue
    )


async def test_signals_its_workflow(way: Way):
    """What an activity sends to its own workflow comes before its result."""
    assert await hears(way, "signals_home", 3) == ["result", [f"signal {number}" for number in range(3)]]
    failure, heard = await hears(way, "fails_home")
    assert (failure[-1], heard) == (["ApplicationError", None, "no result"], ["signal before failure"])


@pytest.mark.parametrize("kind", KINDS)
async def test_asks_its_workflow(kind: str, databases: Databases, temporal: TemporalServer):
    """A workflow can answer its activity, because nobody waits inline for an activity that asks for the client."""
    options = PluginOptions(inline_wait=timedelta(seconds=8))
    async with running(kind, databases, temporal, options=options) as way:
        answers = ["answer to update", ["update"]]
        assert await hears(way, "asks_home", seconds=4) == [answers, ["update"]]


async def test_thread_is_told(way: Way):
    """A cancelled plain function gets Temporal's exception in its thread, wherever it is."""
    result, notes = await way.cancelled("loops")
    assert result[0] == "failed" and result[-1] == ["CancelledError", []], result
    assert notes == [["started", [False, []]], ["CancelledError", [True, ["cancel_requested"]]]]


async def test_shielded_thread(way: Way):
    """The exception comes at the end of the outermost shield."""
    result, notes = await way.cancelled("shielded")
    assert result[0] == "failed" and result[-1] == ["CancelledError", []], result
    assert notes == [["started"], ["finished"], ["CancelledError", [True, ["cancel_requested"]]]]


async def test_no_thread_cancel_exception(way: Way):
    """A plain function that wants no exception asks, and its result counts."""
    result, _ = await way.cancelled("polls")
    assert result == ["result", "stopped by itself: [True, ['cancel_requested']]"]


async def test_swallowed_exception(way: Way):
    """The result of a plain function that catches the exception counts."""
    assert (await way.cancelled("swallows"))[0] == ["result", "all the same"]


async def test_silent_handler_is_not_interrupted(way: Way):
    """A cancellation reaches an activity only by its heartbeat."""
    result, notes = await way.cancelled("silent")
    assert (result, notes) == (["result", "ran to its end: [False, []]"], [["started"]])


async def test_beating_handler_is_interrupted(way: Way):
    result, notes = await way.cancelled("beats")
    assert result[0] == "failed" and result[-1] == ["CancelledError", []], result
    assert notes == [["started"], ["interrupted", [True, ["cancel_requested"]]]]


@pytest.mark.parametrize("name", ["loops", "computes"])
async def test_thread_is_told_of_its_timeout(way: Way, name: str):
    """A plain function that has timed out gets the exception, too."""
    handle = await way.start(name, start_to_close=1)
    assert await handle.result() == [
        "failed",
        ["ActivityError", name, "MAXIMUM_ATTEMPTS_REACHED"],
        ["TimeoutError", "START_TO_CLOSE", []],
    ]
    await noted(handle.id, "CancelledError")
    is_cancelled, reasons = NOTES[handle.id][-1][1]
    assert is_cancelled and "not_found" in reasons  # and "timed_out", unless a heartbeat hears of it first


@pytest.mark.parametrize("name", ["ignores_its_timeout", "never_ends"])
async def test_timeout_ends_the_attempt(way: Way, name: str):
    """Whatever its handler does then: its result comes too late."""
    handle = await way.start(name, start_to_close=1)
    result = await handle.result()
    NOTES[handle.id].append(["let go"])
    assert result == [
        "failed",
        ["ActivityError", name, "MAXIMUM_ATTEMPTS_REACHED"],
        ["TimeoutError", "START_TO_CLOSE", []],
    ]


@pytest.mark.parametrize("name", ["tells_async", "tells_in_thread"])
async def test_what_an_activity_can_ask(way: Way, name: str):
    """`activity.info()` in full, and the other functions."""
    result, _ = await way.execute(name, 7, schedule_to_close=25, heartbeat=20)
    assert result == [
        "result",
        {
            "activity_type": repr(name),
            "attempt": "1",
            "heartbeat_details": "[]",
            "heartbeat_timeout": repr(timedelta(seconds=20)),
            "is_local": "False",
            "namespace": "'default'",
            "schedule_to_close_timeout": repr(timedelta(seconds=25)),
            "start_to_close_timeout": repr(timedelta(seconds=25)),
            "workflow_namespace": "'default'",
            "workflow_type": "'Calls'",
            "priority": repr(Priority.default),
            "retry_policy": repr(
                RetryPolicy(
                    initial_interval=timedelta(milliseconds=10),
                    maximum_interval=timedelta(seconds=1),
                    maximum_attempts=1,
                )
            ),
            "activity_run_id": "None",
            "are times": [True] * 3,
            "in order": True,
            "has id and token": True,
            "in_workflow": True,
            "client": "default" if name == "tells_async" else NO_CLIENT,
            "payload": "7",
            "shutdown": False,
            "told": [False, []],
            "context variable": "not set",
        },
    ]


async def test_next_attempt(way: Way):
    """The next attempt knows the details of the last heartbeat, and when it was scheduled."""
    result, _ = await way.execute("remembers", attempts=2)
    assert result == ["result", [2, ["page", {"number": 12}], True]]


async def test_logger(way: Way, caplog: pytest.LogCaptureFixture):
    """The logger adds what the SDK's adds, beside the caller's own fields."""
    caplog.set_level(logging.INFO, "temporalio.activity")
    handle = await way.start("logs")
    await handle.result()
    (record,) = [record for record in caplog.records if record.message.startswith("it logs")]
    details = vars(record)["temporal_activity"]
    assert set(details) == {
        *("activity_id", "activity_type", "attempt", "namespace", "task_queue"),
        *("workflow_id", "workflow_run_id", "workflow_type"),
    }
    assert (details["workflow_id"], details["workflow_type"], vars(record)["own"]) == (handle.id, "Calls", 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("greets", "good day Ann"),
        ("greets in a thread", "good day Ann in "),
        ("greets_statically", "hello Ann"),
        ("CallableGreeter", "good evening Ann, says an object"),
    ],
)
async def test_objects(way: Way, name: str, expected: str):
    """Methods and callable objects are activities, too."""
    result, _ = await way.execute(name, "Ann")
    assert result[0] == "result" and result[1].startswith(expected), result


async def test_dynamic_activity(way: Way):
    """A dynamic activity runs every type that has no other handler, and gets its arguments unconverted."""
    for args in ((), (1, 2)):
        assert (await way.execute("anything", *args))[0] == ["result", ["anything", *args]]


@pytest.mark.parametrize("name", ["is_watched", "is_watched_in_thread"])
async def test_interceptors(watched: Way, name: str):
    """Activity interceptors see each attempt, its headers, its heartbeats and its end, in Temporal's order."""
    is_async = name == "is_watched"
    result, notes = await watched.execute(name, True, attempts=2)
    namespace, variables = "default outer inner", "not set, outer, inner"
    assert result == ["result", f"outer(inner({namespace} | ['half', 'inner', 'outer'] | {variables}))"]
    headers = ['inner: "from inner"', 'outer: "from outer"']
    begins = [
        ["outer", "begins", name, [True], is_async, is_async, headers],
        ["inner", "begins", name, [True], is_async, is_async, headers],
    ]
    assert notes == [
        *begins,
        ["inner", "heartbeat", ["half"], True],
        ["outer", "heartbeat", ["half", "inner"], True],
        ["inner", "sees", "ValueError"],
        ["inner", "ends"],
        ["outer", "sees", "ValueError"],
        ["outer", "ends"],
        *begins,
        ["inner", "ends"],
        ["outer", "ends"],
    ]


async def test_interceptors_see_a_cancellation(watched: Way):
    """The error of a cancelled activity passes through the interceptors."""
    result, notes = await watched.cancelled("loops")
    assert result[0] == "failed" and result[-1] == ["CancelledError", []], result
    assert ["outer", "sees", "CancelledError"] in notes


NEVER = 99


async def opened(way: Way, workflow_id: str, by: str, attempt: int = 1) -> AsyncActivityHandle:
    """Wait until a handler has left an attempt open; return the client's handle for it."""

    async def seen() -> bool:
        return any(line[:2] == ["open", attempt] for line in NOTES[workflow_id])

    await eventually(seen)
    _, _, token, activity_id, _ = next(line for line in NOTES[workflow_id] if line[:2] == ["open", attempt])
    if by == "token":
        return way.client.get_async_activity_handle(task_token=token)
    handle = way.client.get_workflow_handle(workflow_id)
    run_id = (await handle.describe()).run_id if by == "id with run" else None
    return way.client.get_async_activity_handle(workflow_id=workflow_id, run_id=run_id, activity_id=activity_id)


@pytest.mark.parametrize("name", ["leaves_open", "leaves_open_in_thread"])
@pytest.mark.parametrize("by", ["token", "id", "id with run"])
async def test_client_completes(way: Way, name: str, by: str):
    """A client completes what the handler has left open, once."""
    handle = await way.start(name, NEVER)
    open_attempt = await opened(way, handle.id, by)
    await open_attempt.heartbeat("half")
    await open_attempt.complete("by the client")
    assert await handle.result() == ["result", "by the client"]
    for again in (open_attempt.complete("again"), open_attempt.heartbeat()):
        with pytest.raises(RPCError) as raised:
            await again
        assert raised.value.status is RPCStatusCode.NOT_FOUND
    assert len(NOTES[handle.id]) == 1


@pytest.mark.parametrize("by", ["token", "id"])
async def test_client_fails(way: Way, by: str):
    """A failure by the client is a failed attempt: the retry policy decides, and the details stay."""
    handle = await way.start("leaves_open", 3, attempts=3)
    await (await opened(way, handle.id, by)).fail(ValueError("not yet"), last_heartbeat_details=["page", 1])
    second = await opened(way, handle.id, by, 2)
    await second.heartbeat("page", 2)
    await second.fail(ApplicationError("not yet", next_retry_delay=timedelta(milliseconds=1)))
    assert await handle.result() == ["result", "by itself, attempt 3 after ['page', 2]"]


async def test_client_fails_for_good(way: Way):
    """The workflow gets the client's error."""
    handle = await way.start("leaves_open", NEVER, attempts=3)
    await (await opened(way, handle.id, "token")).fail(ApplicationError("no", type="No", non_retryable=True))
    assert await handle.result() == [
        "failed",
        ["ActivityError", "leaves_open", "NON_RETRYABLE_FAILURE"],
        ["ApplicationError", "No", "no"],
    ]
    exhausted = await way.start("leaves_open", NEVER, attempts=1)
    await (await opened(way, exhausted.id, "token")).fail(ValueError("no"))
    assert await exhausted.result() == [
        "failed",
        ["ActivityError", "leaves_open", "MAXIMUM_ATTEMPTS_REACHED"],
        ["ApplicationError", "ValueError", "no"],
    ]


async def test_client_hears_of_a_cancellation(way: Way):
    """A heartbeat tells the client of the cancellation, and its report ends the activity."""
    handle = await way.start("leaves_open", NEVER)
    open_attempt = await opened(way, handle.id, "token")
    await handle.signal(Calls.cancel)

    async def told() -> bool:
        try:
            await open_attempt.heartbeat()
        except AsyncActivityCancelledError:
            return True
        return False

    await eventually(told)
    await open_attempt.report_cancellation("cleaned up")
    result = await handle.result()
    assert result[0] == "failed" and result[-1] == ["CancelledError", ["cleaned up"]], result


async def test_client_is_late(way: Way):
    """What no client completes in time, or keeps alive, is a timed-out attempt."""
    handle = await way.start("leaves_open", 2, attempts=2, start_to_close=1)
    late = await opened(way, handle.id, "token")
    assert await handle.result() == ["result", "by itself, attempt 2 after []"]
    with pytest.raises(RPCError):
        await late.complete("too late")
    silent = await way.start("leaves_open", NEVER, attempts=1, heartbeat=1)
    await (await opened(way, silent.id, "token")).heartbeat("last words")
    assert await silent.result() == [
        "failed",
        ["ActivityError", "leaves_open", "MAXIMUM_ATTEMPTS_REACHED"],
        ["TimeoutError", "HEARTBEAT", ["last words"]],
    ]


async def test_ordinary_id_is_unknown(way: Way):
    """Ids that neither side knows are refused as Temporal refuses them."""
    nobody = way.client.get_async_activity_handle(workflow_id="nobody", run_id=None, activity_id="nothing")
    with pytest.raises(RPCError) as raised:
        await nobody.complete()
    assert raised.value.status is RPCStatusCode.NOT_FOUND
