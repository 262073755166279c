"""Running attempts, without servers."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import logging
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from delegator_schema.columns import FORMAT_VERSION
from prometheus_client import CollectorRegistry
from temporalio import activity
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.enums.v1 import TimeoutType
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from delegator import current_job, delegated, existing_activities
from delegator.contracts import DYNAMIC_TYPE, Handler, JobOptions, collect_handlers
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from delegator.runtime.logs import TEMPORAL_FAILURE, configure_logging
from http_workers.activity_tasks import ActivityTasks
from http_workers.attempt import AttemptRunner, Ended
from http_workers.invocation import LEAST_WATCHED_SECONDS, activity_info
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.monitor import Monitor
from tests.support.claims import claimed

_CONVERTER = DataConverter.default


@delegated
@activity.defn(name="legacy")
async def legacy(number: int) -> list[Any]:
    activity.heartbeat("half")
    return [activity.info().activity_type, activity.info().attempt, number]


@delegated
@activity.defn
def legacy_sync(number: int) -> list[Any]:
    activity.heartbeat("half")
    return [activity.info().activity_type, current_job().job_id, number]


@activity.defn(dynamic=True)
async def anything(arguments: Sequence[RawValue]) -> None: ...


@delegated
async def waits() -> None:
    await asyncio.Event().wait()


@delegated
async def waits_briefly() -> str:
    await asyncio.sleep(0)
    return "in time"


def _fail() -> None:
    json.loads("no JSON")


@delegated
async def fails() -> None:
    _fail()


@delegated
def fails_in_a_thread() -> None:
    _fail()


@delegated
@activity.defn
async def fails_as_an_activity() -> None:
    _fail()


async def _run(handler: Callable[..., Any], *args: Any, change: Callable[[Job], None] | None = None) -> Ended:
    handlers = collect_handlers([handler])
    with ThreadPoolExecutor(1) as threads:
        return await _run_in(threads, handlers, *args, change=change)


async def _run_in(
    threads: ThreadPoolExecutor | None, handlers: dict[str, Handler], *args: Any, change: Callable[[Job], None] | None
) -> Ended:
    runner = AttemptRunner(handlers, _CONVERTER, "default", WorkerMetrics(CollectorRegistry()), threads)
    job = _job(next(iter(handlers)), *args)
    if change is not None:
        change(job)
    job.task = asyncio.current_task()  # type: ignore[assignment]
    job.begun = True
    return await runner.run(job)


def _job(job_type: str, *args: Any) -> Job:
    payloads = Payloads(payloads=_CONVERTER.payload_converter.to_payloads(args))
    return Job(claimed("job", job_type=job_type, workflow_id="workflow", input=payloads.SerializeToString()))


def _result(ended: Ended) -> Any:
    assert ended.result is not None
    return _CONVERTER.payload_converter.from_payloads(Payloads.FromString(ended.result).payloads)[0]


async def test_activity_context() -> None:
    """A function with @activity.defn finds Temporal's activity context."""
    assert _result(await _run(legacy, 7)) == ["legacy", 1, 7]
    assert _result(await _run(legacy_sync, 7)) == ["legacy_sync", "job", 7]


async def test_activity_heartbeat() -> None:
    """activity.heartbeat() sets the job's heartbeat details."""
    seen: list[Job] = []
    await _run(legacy, 7, change=seen.append)
    assert _CONVERTER.payload_converter.from_payloads(seen[0].details) == ["half"]
    assert seen[0].details_changed


async def test_heartbeat_at_the_end() -> None:
    """The end of an attempt stores the last heartbeat details again, because their delivery may be incomplete."""
    client = await Client.connect("127.0.0.1:1", lazy=True)
    tasks = ActivityTasks(
        client, identity="", state=ConnectionState("temporal", ConnectionMetrics(CollectorRegistry()))
    )
    seen: list[Job] = []
    await _run(legacy, 7, change=seen.append)
    taken = await tasks.details(seen)
    assert taken
    assert await tasks.details(seen) == []
    assert await tasks.last_details(seen) == taken
    silent: list[Job] = []
    await _run(waits_briefly, change=silent.append)
    assert await tasks.last_details(silent) == []


async def test_start_to_close_timeout() -> None:
    """An attempt that runs longer than its start-to-close timeout times out."""

    def hurry(job: Job) -> None:
        job.options = JobOptions(start_to_close_timeout=timedelta(milliseconds=10))

    async def late(change: Callable[[Job], None]) -> Ended:
        return await asyncio.create_task(_run(waits, change=change))

    ended = await late(hurry)
    assert ended.failure is not None
    assert ended.failure.timeout_failure_info.timeout_type == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
    assert _result(await _run(waits_briefly, change=hurry)) == "in time"


async def test_long_timeout() -> None:
    """The monitor ends attempts whose timeout is long."""
    running: set[Job] = set()

    def watch(job: Job) -> None:
        job.options = JobOptions(start_to_close_timeout=timedelta(seconds=LEAST_WATCHED_SECONDS))
        running.add(job)

    monitor = Monitor(
        pool=Mock(), table=Mock(), activity_tasks=Mock(), running=running, database=Mock(), claims=False, report=Mock()
    )
    watching = asyncio.create_task(monitor.run())
    async with asyncio.timeout(LEAST_WATCHED_SECONDS * 5):
        ended = await asyncio.create_task(_run(waits, change=watch))
    watching.cancel()
    await asyncio.wait([watching])
    assert ended.failure is not None
    assert ended.failure.timeout_failure_info.timeout_type == TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE


async def test_cancelled_attempt() -> None:
    """A cancelled attempt is released if the worker gives it back, and is canceled if its workflow asked for that."""

    async def broken_off(change: Callable[[Job], None] | None) -> Ended:
        running = asyncio.create_task(_run(waits, change=change))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        running.cancel()
        return await running

    def give_back(job: Job) -> None:
        job.given_back = True

    assert (await broken_off(give_back)).released
    assert not (await broken_off(None)).released

    def ask(job: Job) -> None:
        asyncio.get_running_loop().call_soon(job.request_cancel)

    ended = await broken_off(ask)
    assert ended.failure is not None
    assert ended.failure.HasField("canceled_failure_info")


async def test_refusals() -> None:
    """A worker refuses an unknown type and arguments that it can't decode, in the words of Temporal's worker."""

    def rename(job: Job) -> None:
        job.job_type = "nobody"

    def spoil(job: Job) -> None:
        job.row = job.row._replace(input=b"\xff\xff")

    unknown = await _run(legacy, 7, change=rename)
    assert unknown.refusal == "unknown_type" and unknown.failure is not None
    assert unknown.failure.application_failure_info.type == "NotFoundError"
    assert unknown.failure.message == (
        "Activity function nobody for workflow workflow is not registered on this worker, available activities: legacy"
    )
    undecodable = await _run(legacy, 7, change=spoil)
    assert undecodable.refusal == "undecodable" and undecodable.failure is not None
    assert undecodable.failure.message == "Failed decoding arguments" and undecodable.failure.HasField("cause")


async def test_refusal_of_a_dynamic_handler() -> None:
    """It is counted under the handler's one name, not under the name that the workflow made up."""

    def spoil(job: Job) -> None:
        job.job_type = "made up"
        job.broken = "unreadable"

    ended = await _run_in(None, collect_handlers([existing_activities(anything)]), change=spoil)
    assert (ended.refusal, ended.counted_as) == ("undecodable", DYNAMIC_TYPE)


@pytest.mark.parametrize("field", ["job_type", "broken"])
async def test_a_refused_job_that_was_cancelled(field: str) -> None:
    """It ends as cancelled: nobody has to decode its arguments for that."""

    def spoil(job: Job) -> None:
        setattr(job, field, "nobody")
        job.cancel_requested = True

    ended = await _run(legacy, 7, change=spoil)
    assert ended.refusal is None and ended.failure is not None
    assert ended.failure.HasField("canceled_failure_info")


async def test_a_row_too_new_to_read_is_snoozed(caplog: pytest.LogCaptureFixture) -> None:
    """Even if no handler has its type: a newer worker may have one. Its options are not looked at."""
    runner = AttemptRunner({}, _CONVERTER, "default", WorkerMetrics(CollectorRegistry()))
    job = Job(claimed("job", job_type="unknown", options="?", format_version=FORMAT_VERSION + 1))
    ended = await runner.run(job)
    assert ended.snooze and ended.failure is None and ended.refusal is None
    (record,) = caplog.records
    assert (record.message, record.job_id) == ("job_snoozed", "job")  # type: ignore[attr-defined]
    assert f"reads up to {FORMAT_VERSION}: update" in record.reason  # type: ignore[attr-defined]


@pytest.mark.parametrize("handler", [fails, fails_in_a_thread, fails_as_an_activity])
async def test_a_failure_says_where(handler: Callable[..., Any]) -> None:
    """From the call that raised down to the handler's own line, without the engine's calls around it."""
    ended = await _run(handler)
    assert re.search(rf" < test_attempt\.py:\d+:_fail < test_attempt\.py:\d+:{handler.__name__}$", ended.at), ended.at
    assert ended.at.startswith("decoder.py:")


@pytest.mark.usefixtures("restored_logging")
async def test_a_failed_activity_is_logged_as_in_temporal(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers of the user get the record of Temporal's worker, and the engine's own handler leaves it out."""
    await _run(fails_as_an_activity)
    (record,) = [one for one in caplog.records if one.name == "temporalio.activity"]
    assert record.getMessage().startswith("Completing activity as failed")
    assert vars(record)[TEMPORAL_FAILURE] == "ActivityFailure"
    assert vars(record)["temporal_activity"]["activity_type"] == "fails_as_an_activity"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], json.JSONDecodeError)
    configure_logging(stream=(lines := io.StringIO()))
    logging.getLogger().handle(record)
    assert lines.getvalue() == ""


def test_activity_info_is_full() -> None:
    """Every field of the SDK's `activity.Info` has a value of the job; a field that the SDK adds needs one, too."""
    known = {
        *("activity_id", "activity_type", "attempt", "current_attempt_scheduled_time", "heartbeat_details"),
        *("heartbeat_timeout", "is_local", "namespace", "schedule_to_close_timeout", "scheduled_time"),
        *("start_to_close_timeout", "started_time", "task_queue", "task_token", "workflow_id", "workflow_namespace"),
        *("workflow_run_id", "workflow_type", "priority", "retry_policy", "activity_run_id"),
    }
    assert {field.name for field in dataclasses.fields(activity.Info)} == known
    context = {field.name for field in dataclasses.fields(activity._Context) if not field.name.startswith("_")}
    assert context == {
        *("info", "heartbeat", "cancelled_event", "worker_shutdown_event", "shield_thread_cancel_exception"),
        *("payload_converter_class_or_instance", "runtime_metric_meter", "client", "cancellation_details"),
    }


def test_info_of_an_activity_task() -> None:
    """A job of the activity worker has the activity's id and Temporal's token, and Temporal has its retry policy."""
    row = claimed("activity:run:an:id:3", task_token=b"token", options='{"activity_id": "an:id"}')
    info = activity_info(Job(row), "default")
    assert (info.activity_id, info.task_token, info.retry_policy) == ("an:id", b"token", None)


class _Headers(Interceptor):
    """Keeps the headers that it sees."""

    def __init__(self) -> None:
        self.seen: list[dict[str, bytes]] = []

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        seen = self.seen

        class Inbound(ActivityInboundInterceptor):
            async def execute_activity(self, input: ExecuteActivityInput) -> Any:
                seen.append({name: payload.data for name, payload in input.headers.items()})
                return await super().execute_activity(input)

        return Inbound(next)


async def test_headers_reach_interceptors() -> None:
    """An interceptor gets the headers of the call, also for a handler that is no activity."""
    interceptor = _Headers()
    header = Header(fields={"trace": Payload(data=b"7")}).SerializeToString()
    handlers, metrics = collect_handlers([waits_briefly]), WorkerMetrics(CollectorRegistry())
    runner = AttemptRunner(handlers, _CONVERTER, "default", metrics, interceptors=[interceptor])
    for row in (claimed(job_type="waits_briefly", header=header), claimed(job_type="waits_briefly")):
        assert _result(await asyncio.create_task(runner.run(Job(row)))) == "in time"
    assert interceptor.seen == [{"trace": b"7"}, {}]
