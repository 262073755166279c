"""What a caller has set for a job, as workers see it."""

from __future__ import annotations

from datetime import timedelta

import orjson
from delegator_schema.options import CODEC_PROBE
from temporalio.api.common.v1 import Header
from temporalio.common import Priority, RetryPolicy
from temporalio.converter import PayloadCodec

from delegator.wire.codec import decode_header
from delegator.wire.contexts import row_facts
from delegator.wire.options import decode_task_retry
from delegator.wire.raw_payloads import raw_payload
from delegator.wire.worker_protocol import Call, Retries, Weight
from http_workers.job import Job


async def call_of(job: Job, codec: PayloadCodec | None, *, raw: bool) -> Call:
    """Return what the caller has set for a claimed job.

    Args:
        job: the job. Its options can be read.
        codec: decodes the headers.
        raw: leave the headers as the client has encoded them.

    Raises:
        Exception: what the codec raises.
    """
    row, options = job.row, job.options
    facts = row_facts(row.options)
    header = row.header or b""
    if not raw:
        header = await decode_header(header, codec)
    is_task = row.task_token is not None
    policy = decode_task_retry(row.options) if is_task else options.retry_policy
    return Call(
        fencing_token=row.fencing_token,
        namespace=row.namespace,
        workflow_type=facts.workflow_type,
        task_queue=facts.task_queue,
        activity_id=facts.activity_id,
        headers={name: raw_payload(value) for name, value in Header.FromString(header).fields.items()},
        start_to_close_seconds=_seconds(options.start_to_close_timeout),
        schedule_to_close_seconds=_seconds(options.schedule_to_close_timeout),
        heartbeat_seconds=_seconds(options.heartbeat_timeout),
        left_seconds=None if row.deadline_ms is None else row.deadline_ms / 1000,
        waited_seconds=row.waited_seconds,
        retry_policy=None if policy is None else _retries(policy),
        priority=None if options.priority is None else _weight(options.priority),
        codec_probe=_probe(row.options),
        lost_attempts=job.lost_in_a_row,
        task_token=row.task_token,
    )


def _retries(policy: RetryPolicy) -> Retries:
    return Retries(
        policy.initial_interval.total_seconds(),
        policy.backoff_coefficient,
        _seconds(policy.maximum_interval),
        policy.maximum_attempts,
        list(policy.non_retryable_error_types or ()),
    )


def _weight(priority: Priority) -> Weight:
    return Weight(priority.priority_key, priority.fairness_key, priority.fairness_weight)


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _probe(options: str | None) -> str | None:
    probe = None if options is None else orjson.loads(options).get(CODEC_PROBE)
    return probe if isinstance(probe, str) else None
