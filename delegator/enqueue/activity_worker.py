"""The activity worker: workflows in any language call `execute_activity` unchanged.

A Temporal worker takes the activity tasks of delegated types and enqueues each as a job with its task token. The
http-worker completes the task. Temporal owns retries, timeouts, heartbeats and cancellation.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson
from delegator_schema.options import ACTIVITY_ID, HEARTBEAT_MS, START_TO_CLOSE_MS
from temporalio import activity
from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.client import Client
from temporalio.common import Priority, RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor, Worker

from delegator.completion.failures import MAX_INPUT_BYTES, too_large
from delegator.contracts import DelegatedType, merged_priority
from delegator.contracts.types import TypesByName
from delegator.enqueue.enqueuer import Enqueuer
from delegator.enqueue.payloads import facts_for_rows, origin_of_call
from delegator.postgres.queue_table import NewJob
from delegator.wire.codec import encode_header, encode_payloads
from delegator.wire.contexts import Conversions
from delegator.wire.options import encode_priority, encode_task_retry
from delegator.wire.probe import make_probe
from delegator.wire.requests import task_job_id

_log = logging.getLogger(__name__)
_headers: ContextVar[Mapping[str, Payload]] = ContextVar("delegator_activity_headers")
_CONCURRENCY: Final = 1_000
_POLLERS: Final = 10
_MILLISECOND: Final = timedelta(milliseconds=1)


def activity_worker(client: Client, task_queue: str, types: Iterable[DelegatedType], enqueuer: Enqueuer) -> Worker:
    """Return the Temporal worker that delegates the activity tasks of a task queue.

    Args:
        client: Temporal's client.
        task_queue: the task queue that the workflows schedule these activities on.
        types: the delegated activity types to take. Tasks of other types fail, and Temporal retries them.
        enqueuer: enqueues the jobs.
    """
    by_name = TypesByName({declared.name: declared for declared in types})
    for declared in by_name.values():
        if declared.options.retry_policy is not None:
            _log.warning("retry_policy_unused", extra={"job_type": declared.name, "task_queue": task_queue})
    return Worker(
        client,
        task_queue=task_queue,
        activities=[delegating_activity(by_name, enqueuer, client.data_converter)],
        interceptors=[_KeepsHeaders()],
        max_concurrent_activities=_CONCURRENCY,
        max_concurrent_activity_task_polls=_POLLERS,
    )


def delegating_activity(
    types: Mapping[str, DelegatedType], enqueuer: Enqueuer, converter: DataConverter
) -> Callable[[Sequence[RawValue]], Awaitable[Any]]:
    """Return the activity that enqueues its task as a job. The http-worker completes the task later.

    Args:
        types: the types, by name.
        enqueuer: enqueues the job.
        converter: the client's data converter.
    """
    jobs = _Jobs(converter)

    # The SDK passes any number of unconverted arguments only to a dynamic activity.
    @activity.defn(dynamic=True)
    async def delegate_task(args: Sequence[RawValue]) -> Any:
        name = activity.info().activity_type
        declared = types.get(name)
        if declared is None:
            # As Temporal's worker says it, and retried as there.
            raise ApplicationError(
                f"Activity function {name} is not registered on this activity worker (--import, --activities), "
                f"available activities: {', '.join(sorted(types))}",
                type="NotFoundError",
            )
        await enqueuer.enqueue(declared.queue, [await jobs.make(declared, args)])
        activity.raise_complete_async()

    return delegate_task


class _Jobs:
    """Makes jobs of activity tasks."""

    def __init__(self, converter: DataConverter) -> None:
        self._codec = converter.payload_codec
        self._conversions = Conversions(converter)
        self._probe: str | None = None

    async def make(self, declared: DelegatedType, args: Iterable[RawValue]) -> NewJob:
        """Return the job of the running activity."""
        info = activity.info()
        conversion = self._conversions.of(origin_of_call(declared.name, info, info.activity_id))
        if self._probe is None and self._codec is not None:
            self._probe = await make_probe(self._codec)
        payloads = Payloads(payloads=[argument.payload for argument in args])
        data = await encode_payloads(payloads.SerializeToString(), conversion.codec)
        if len(data) > MAX_INPUT_BYTES:
            raise too_large(f"the input of {declared.name}", len(data), MAX_INPUT_BYTES)
        heartbeats = info.heartbeat_details
        details = conversion.converter.payload_converter.to_payloads(heartbeats) if heartbeats else []
        encoded = await encode_payloads(Payloads(payloads=details).SerializeToString(), conversion.codec)
        headers = _headers.get({})
        header = await encode_header(Header(fields=headers).SerializeToString(), conversion.codec) if headers else b""
        facts = facts_for_rows(self._conversions, self._probe, info, has_options=True)
        if self._conversions.uses_contexts:  # the workflow decodes with the activity's id, not with the job's
            facts[ACTIVITY_ID] = info.activity_id
        return _job(declared, info, facts, data=data, header=header, heartbeat_details=encoded)


def _job(
    declared: DelegatedType,
    info: activity.Info,
    facts: Mapping[str, str],
    *,
    data: bytes,
    header: bytes,
    heartbeat_details: bytes,
) -> NewJob:
    options: dict[str, object] = {
        name: timeout // _MILLISECOND
        for name, timeout in (
            (START_TO_CLOSE_MS, info.start_to_close_timeout),
            (HEARTBEAT_MS, info.heartbeat_timeout),
        )
        if timeout
    }
    options |= facts
    if info.retry_policy is not None:
        options |= encode_task_retry(info.retry_policy)
    # Temporal has merged the priorities of the activity and of its workflow. The type fills what they leave open.
    priority = merged_priority(info.priority, declared.options.priority or Priority.default)
    if priority is not None:
        options |= encode_priority(priority)
    return NewJob(
        job_id=task_job_id(info.workflow_run_id or info.activity_run_id, info.activity_id, info.attempt),
        job_type=declared.name,
        input=data or None,
        header=header or None,
        options=orjson.dumps(options).decode(),
        workflow_id=info.workflow_id,
        run_id=info.workflow_run_id,
        task_token=info.task_token,
        deadline_ms=_due_ms(info),
        waiter_id=None,
        attempt=info.attempt - 1,
        heartbeat_details=heartbeat_details or None,
    )


class _KeepsHeaders(Interceptor):
    """Keeps the headers of an activity task for its job. The SDK gives them to interceptors only."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _HeaderKeeper(next)


class _HeaderKeeper(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        _headers.set(input.headers)
        return await super().execute_activity(input)


def _due_ms(info: activity.Info) -> int | None:
    now = datetime.now(UTC)
    left = []
    if info.start_to_close_timeout:
        left.append(info.started_time + info.start_to_close_timeout - now)
    if info.schedule_to_close_timeout:
        left.append(info.scheduled_time + info.schedule_to_close_timeout - now)
    return max(1, min(left) // _MILLISECOND) if left else None
