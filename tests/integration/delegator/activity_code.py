"""Activities as they stand in applications, with nothing of the delegator in them."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

NOTES: defaultdict[str | None, list[Any]] = defaultdict(list)
"""What activities noted, by the id of their workflow. They run in the test's own process."""


def note(*what: Any) -> None:
    NOTES[activity.info().workflow_id].append(list(what))


def told() -> list[Any]:
    """What an activity can ask about its cancellation."""
    details = activity.cancellation_details()
    reasons = [] if details is None else [name for name, value in vars(details).items() if value]
    return [activity.is_cancelled(), sorted(reasons)]


@activity.defn
def loops() -> str:
    """Heartbeats until an exception comes, and lets it through."""
    note("started", told())
    try:
        while True:
            activity.heartbeat()
            time.sleep(0.02)
    except CancelledError as error:
        note(type(error).__name__, told())
        raise


@activity.defn
def computes() -> str:
    """Does not heartbeat; the exception comes between two lines."""
    note("started")
    try:
        while True:
            sum(range(1000))
    except CancelledError as error:
        note(type(error).__name__, told())
        raise


@activity.defn
def shielded() -> str:
    """Finishes what must not be interrupted, then gets the exception."""
    note("started")
    try:
        with activity.shield_thread_cancel_exception():
            with activity.shield_thread_cancel_exception():
                while not activity.is_cancelled():
                    activity.heartbeat()
                    time.sleep(0.02)
            note("finished")
        note("never")
    except CancelledError:
        note("CancelledError", told())
        raise
    return "not cancelled"


@activity.defn(no_thread_cancel_exception=True)
def polls() -> str:
    """Asks whether it is cancelled. No exception comes."""
    note("started")
    while not activity.is_cancelled():
        activity.heartbeat()
        time.sleep(0.02)
    time.sleep(0.1)
    activity.wait_for_cancelled_sync(1)
    return f"stopped by itself: {told()}"


@activity.defn
def swallows() -> str:
    """Catches the exception and returns a result."""
    note("started")
    try:
        while True:
            activity.heartbeat()
            time.sleep(0.02)
    except CancelledError:
        return "all the same"


@activity.defn
async def silent() -> str:
    """Does not heartbeat, so Temporal does not tell it of a cancellation."""
    note("started")
    try:
        for _ in range(15):
            await asyncio.sleep(0.1)
    except asyncio.CancelledError:
        note("interrupted")
        raise
    return f"ran to its end: {told()}"


@activity.defn
async def beats() -> str:
    note("started")
    try:
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        await activity.wait_for_cancelled()
        note("interrupted", told())
        raise


@activity.defn
async def ignores_its_timeout() -> str:
    note("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("interrupted", told())
    return "too late"


@activity.defn
async def never_ends() -> str:
    """Goes on after its timeout, until the test has seen that the workflow knows of it."""
    note("started")
    workflow_id = activity.info().workflow_id
    while ["let go"] not in NOTES[workflow_id]:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            note("interrupted")
    return "too late"


@activity.defn
async def tells_async(number: int) -> dict[str, Any]:
    return tell(number)


@activity.defn
async def signals_home(count: int) -> str:
    """Signals its own workflow, and does not wait."""
    for number in range(count):
        await home().signal("hear", f"signal {number}")
    return "result"


@activity.defn
async def asks_home() -> list[Any]:
    """Waits for the answers of its own workflow."""
    return [await home().execute_update("answer", "update"), await home().query("heard")]


@activity.defn
async def fails_home() -> None:
    await home().signal("hear", "signal before failure")
    raise ApplicationError("no result", non_retryable=True)


def home() -> WorkflowHandle[Any, Any]:
    return activity.client().get_workflow_handle(activity.info().workflow_id or "")


@activity.defn
def tells_in_thread(number: int) -> dict[str, Any]:
    return tell(number)


def tell(number: int) -> dict[str, Any]:
    """Return what an activity can ask, as plain values."""
    info = activity.info()
    fields = {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}
    times = [info.scheduled_time, info.current_attempt_scheduled_time, info.started_time]
    try:
        client = activity.client().namespace
    except RuntimeError as error:
        client = str(error)
    payload = activity.payload_converter().to_payload(number)
    activity.metric_meter().create_counter("delegator_test_calls").add(1)
    return {
        **{name: repr(value) for name, value in fields.items() if name not in UNLIKE},
        "are times": [
            time.tzinfo is not None and abs((datetime.now(UTC) - time).total_seconds()) < 30 for time in times
        ],
        "in order": times == sorted(times),
        "has id and token": bool(info.activity_id and info.task_token),
        "in_workflow": info.in_workflow,
        "client": client,
        "payload": bytes(payload.data).decode(),
        "shutdown": activity.is_worker_shutdown(),
        "told": told(),
        "context variable": VARIABLE.get(),
    }


UNLIKE = {
    "activity_id",
    "task_token",
    "task_queue",
    "scheduled_time",
    "current_attempt_scheduled_time",
    "started_time",
    "workflow_id",
    "workflow_run_id",
}
"""Fields of `activity.info()` that differ from run to run; `task_queue` is the queue's name."""

VARIABLE: ContextVar[str] = ContextVar("variable", default="not set")


@activity.defn
def remembers() -> list[Any]:
    """Fails once, so that the next attempt has heartbeat details."""
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat("page", {"number": 12})
        raise RuntimeError("not yet")
    return [info.attempt, list(info.heartbeat_details), info.current_attempt_scheduled_time > info.scheduled_time]


@activity.defn
async def logs() -> None:
    activity.logger.info("it logs", extra={"own": 1})


class Greeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @activity.defn
    async def greets(self, name: str) -> str:
        return f"{self.greeting} {name}"

    @activity.defn(name="greets in a thread")
    def greets_in_thread(self, name: str) -> str:
        return f"{self.greeting} {name} in {threading.current_thread().name[:3]}"

    @staticmethod
    @activity.defn
    def greets_statically(name: str) -> str:
        return f"hello {name}"


@activity.defn
class CallableGreeter:
    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    async def __call__(self, name: str) -> str:
        return f"{self.greeting} {name}, says an object"


@activity.defn(dynamic=True)
async def catches_all(args: Sequence[RawValue]) -> list[Any]:
    converter = activity.payload_converter()
    return [activity.info().activity_type, *(converter.from_payload(arg.payload, int) for arg in args)]


GREETERS = [Greeter("good day"), CallableGreeter("good evening")]


class Watching(Interceptor):
    """Notes what passes, in and out, under a name of its own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _WatchingInbound(next, self.name)

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        name = self.name

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                super().init(Outbound(outbound))

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
                value = workflow.payload_converter().to_payload(f"from {name}")
                input.headers = {**input.headers, name: value}
                return super().start_activity(input)

        return Inbound


class _WatchingInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, name: str) -> None:
        super().__init__(next)
        self._name = name

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        super().init(_WatchingOutbound(outbound, self._name))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        is_async, args = inspect.iscoroutinefunction(input.fn), list(input.args)
        headers = sorted(f"{name}: {payload.data.decode()}" for name, payload in input.headers.items())
        note(self._name, "begins", activity.info().activity_type, args, is_async, input.executor is None, headers)
        token = VARIABLE.set(f"{VARIABLE.get()}, {self._name}")
        try:
            return f"{self._name}({await super().execute_activity(input)})"
        except BaseException as error:
            note(self._name, "sees", type(error).__name__)
            raise
        finally:
            VARIABLE.reset(token)
            note(self._name, "ends")


class _WatchingOutbound(ActivityOutboundInterceptor):
    def __init__(self, next: ActivityOutboundInterceptor, name: str) -> None:
        super().__init__(next)
        self._name = name

    def info(self) -> activity.Info:
        info = super().info()
        return dataclasses.replace(info, namespace=f"{info.namespace} {self._name}")

    def heartbeat(self, *details: Any) -> None:
        note(self._name, "heartbeat", list(details), threading.current_thread() is threading.main_thread())
        super().heartbeat(*details, self._name)


@activity.defn
async def is_watched(fails: bool) -> str:
    return watched(fails)


@activity.defn
def is_watched_in_thread(fails: bool) -> str:
    return watched(fails)


def watched(fails: bool) -> str:
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat("half")
    if fails and info.attempt == 1:
        raise ValueError("not yet")
    return f"{info.namespace} | {list(info.heartbeat_details)} | {VARIABLE.get()}"


@activity.defn
async def leaves_open(result_at: int) -> str:
    return left_open(result_at)


@activity.defn
def leaves_open_in_thread(result_at: int) -> str:
    return left_open(result_at)


def left_open(result_at: int) -> str:
    """Leave the attempt to a client, up to the attempt that returns a result."""
    info = activity.info()
    note("open", info.attempt, info.task_token, info.activity_id, list(info.heartbeat_details))
    if info.attempt < result_at:
        activity.raise_complete_async()
    return f"by itself, attempt {info.attempt} after {list(info.heartbeat_details)}"
