"""Jobs as a gateway gives them to this worker: made into the form of a claimed row, so that attempts do not differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import orjson
from delegator_schema.options import CODEC_PROBE, TASK_QUEUE, WORKFLOW_TYPE
from temporalio.api.common.v1 import Header, Payloads
from temporalio.common import Priority, RetryPolicy

from delegator.contracts import JobOptions
from delegator.errors import WireError
from delegator.postgres.queue_table import Claimed
from delegator.wire.options import encode_options, encode_task_retry
from delegator.wire.raw_payloads import payload_of
from delegator.wire.worker_protocol import Call, RawPayload, Retries
from delegator.wire.worker_protocol import Job as JobBody
from http_workers.job import Job


class RemoteJob(Job):
    """A job that a gateway holds for this worker."""

    def __init__(self, row: Claimed, body: JobBody, call: Call) -> None:
        """Take a job.

        Args:
            row: what a database worker would have claimed.
            body: the job as the gateway has sent it.
            call: what the caller has set.
        """
        super().__init__(row)
        self.token = body.token
        """Names the attempt in requests."""
        self.lost_in_a_row = call.lost_attempts
        self.lease_seconds = body.lease_seconds
        """How long this worker may be silent about the job."""
        self.signed_at = self.claimed_at
        """Monotonic time of the last sign of life that was sent."""
        self.lease_until = self.claimed_at + body.lease_seconds
        """Monotonic time at which other workers may get the job, unless another sign of life is taken."""
        self.beat_at = 0.0
        """Monotonic time at which the details of a heartbeat were sent last; 0: never."""


def remote_job(body: JobBody) -> RemoteJob:
    """Return a job of a poll's reply.

    Raises:
        WireError: it is not what the protocol says.
    """
    call, payloads = body.call, body.payloads
    if call is None or payloads is None:
        raise WireError("the gateway sent a job without `call` or `payloads`, which the poll asked for: update it")
    try:
        details = [msgspec.json.decode(value, type=RawPayload) for value in body.heartbeat_details]
        enqueued_at = datetime.fromisoformat(body.enqueued_at).timestamp()
    except (msgspec.DecodeError, ValueError):
        raise WireError("the gateway sent a job with malformed heartbeat details or time") from None
    row = Claimed(
        job_id=body.job_id,
        fencing_token=call.fencing_token,
        attempt=body.attempt,
        job_type=body.type,
        input=serialized(payloads),
        header=_header(call),
        options=_options(call),
        namespace=call.namespace,
        workflow_id=body.workflow_id,
        run_id=body.run_id,
        task_token=call.task_token,
        enqueued_at=enqueued_at,
        heartbeat_details=serialized(details),
        cancel_requested=False,
        # Whether somebody waits inline is not known here. If so, an outcome by signal must be asked for.
        has_waiter=body.workflow_id is not None,
        deadline_ms=None if call.left_seconds is None else round(call.left_seconds * 1000),
        waited_seconds=call.waited_seconds,
    )
    return RemoteJob(row, body, call)


def serialized(payloads: Sequence[RawPayload]) -> bytes | None:
    """Return raw payloads as a serialized `Payloads`; None: there are none."""
    return Payloads(payloads=map(payload_of, payloads)).SerializeToString() if payloads else None


def _header(call: Call) -> bytes | None:
    if not call.headers:
        return None
    return Header(fields={name: payload_of(value) for name, value in call.headers.items()}).SerializeToString()


def _options(call: Call) -> str | None:
    """Return the text that the row's `options` has, as far as attempts use it."""
    policy = None if call.retry_policy is None else _policy(call.retry_policy)
    weight = call.priority
    is_task = call.task_token is not None
    options = JobOptions(
        start_to_close_timeout=_duration(call.start_to_close_seconds),
        schedule_to_close_timeout=_duration(call.schedule_to_close_seconds),
        heartbeat_timeout=_duration(call.heartbeat_seconds),
        retry_policy=None if is_task else policy,
        priority=None
        if weight is None
        else Priority(
            priority_key=weight.priority_key,
            fairness_key=weight.fairness_key,
            fairness_weight=weight.fairness_weight,
        ),
        activity_id=call.activity_id,
    )
    encoded: dict[str, Any] = encode_options(options) or {}
    if is_task and policy is not None:
        encoded |= encode_task_retry(policy)
    for key, value in ((WORKFLOW_TYPE, call.workflow_type), (TASK_QUEUE, call.task_queue)):
        if value is not None:
            encoded[key] = value
    if call.codec_probe is not None:
        encoded[CODEC_PROBE] = call.codec_probe
    return orjson.dumps(encoded).decode() if encoded else None


def _policy(retries: Retries) -> RetryPolicy:
    return RetryPolicy(
        initial_interval=timedelta(seconds=retries.initial_interval_seconds),
        backoff_coefficient=retries.backoff_coefficient,
        maximum_interval=_duration(retries.maximum_interval_seconds),
        maximum_attempts=retries.maximum_attempts,
        non_retryable_error_types=retries.non_retryable_error_types or None,
    )


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
