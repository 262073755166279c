"""Runs existing activity functions as handlers. `activity.info()`, `activity.heartbeat()` and the like work in them."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from temporalio.converter import PayloadConverter
from temporalio.testing import ActivityEnvironment

from delegator.context import JobContext
from http_workers.job import Job

# The SDK has no other public way to run a function as an activity outside its own worker.


def activity_environment(job: Job, context: JobContext, payload_converter: PayloadConverter) -> ActivityEnvironment:
    """Return the environment that runs a handler with `@activity.defn` in an activity context.

    Args:
        job: the job.
        context: the job's context.
        payload_converter: the payload converter of the data converter.
    """
    environment = ActivityEnvironment()
    environment.payload_converter = payload_converter
    environment.on_heartbeat = context.send_heartbeat
    now = datetime.now(UTC)
    scheduled = context.enqueued_at or now
    options = job.options
    environment.info = dataclasses.replace(
        environment.info,
        activity_id=job.options.activity_id or job.job_id,
        activity_type=job.job_type,
        attempt=job.attempt,
        current_attempt_scheduled_time=scheduled,
        heartbeat_details=list(context.heartbeat_details),
        heartbeat_timeout=options.heartbeat_timeout,
        namespace=job.row.namespace or "",
        schedule_to_close_timeout=options.schedule_to_close_timeout,
        scheduled_time=scheduled,
        start_to_close_timeout=options.start_to_close_timeout or timedelta(0),
        started_time=now,
        task_queue=context.queue,
        task_token=job.row.task_token or b"",
        workflow_id=job.row.workflow_id,
        workflow_namespace=job.row.namespace,
        workflow_run_id=job.row.run_id,
        workflow_type=None,
        retry_policy=options.retry_policy,
    )
    return environment
