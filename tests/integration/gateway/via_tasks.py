"""Handlers that a worker at the database and one behind a gateway run alike."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, CancelledError

from delegator import current_job, delegated, heartbeat
from tests.integration.delegator.tasks import QUICK, note


async def look_around(info: activity.Info) -> dict[str, Any]:
    """Return what the handler sees around it, but for what differs from run to run."""
    job = current_job()
    if job.attempt == 1:
        heartbeat({"page": 1}, "so far")
        raise ApplicationError("again")
    assert job.deadline is not None
    left = info.current_attempt_scheduled_time - info.scheduled_time
    return {
        "job": [job.queue, job.attempt, list(job.heartbeat_details), job.job_id == info.activity_id],
        "workflow": [job.workflow_id == info.workflow_id, job.run_id == info.workflow_run_id, info.workflow_type],
        "times": [timedelta(0) <= left < timedelta(minutes=1), job.enqueued_at == info.scheduled_time],
        "limits": [str(info.heartbeat_timeout), str(info.start_to_close_timeout), str(info.schedule_to_close_timeout)],
        "policy": {key: str(value) for key, value in asdict(info.retry_policy).items()} if info.retry_policy else None,
        "namespace": info.namespace,
        "details": list(info.heartbeat_details),
        "priority": asdict(info.priority),
        "token": len(info.task_token) > 0 and info.task_token == job.task_token,
    }


@delegated(retry_policy=QUICK)
@activity.defn
async def behind_a_gateway() -> dict[str, Any]:
    return await look_around(activity.info())


@delegated(retry_policy=QUICK)
async def works(_number: int) -> int:
    """Work for a while, and return the number of the attempt."""
    note("started")
    await asyncio.sleep(1)
    note("done")
    return current_job().attempt


@delegated(retry_policy=QUICK)
async def works_once_told() -> int:
    """Work until the first attempt is stopped; return the number of the second one."""
    note("started")
    try:
        await asyncio.sleep(60 if current_job().attempt == 1 else 0)
    except asyncio.CancelledError:
        note("stopped")
        raise
    return current_job().attempt


@delegated
def in_thread_until_cancelled() -> str:
    note("started")
    try:
        for _ in range(3000):
            heartbeat()
            time.sleep(0.02)
    except CancelledError:
        note("cancelled")
        raise
    return "not cancelled"


@delegated
async def leaves_it() -> str:
    activity.raise_complete_async()


@delegated(name="conformance.echo")
async def echo(*args: Any) -> list[Any]:
    return list(args)


@delegated(name="conformance.add")
async def add(first: int, second: int) -> int:
    return first + second


@delegated(name="conformance.fail")
async def fail(said: dict[str, Any]) -> None:
    raise ApplicationError(
        said.get("message", ""),
        *said.get("details", []),
        type=said.get("type", ""),
        non_retryable=said.get("non_retryable", False),
    )


@delegated(name="conformance.flaky")
async def flaky(attempts: int) -> int:
    if current_job().attempt <= attempts:
        raise ApplicationError("not yet", type="Flaky")
    return current_job().attempt


@delegated(name="conformance.slow")
async def slow(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        heartbeat()
        await asyncio.sleep(0.2)
    return "done"


@delegated(name="conformance.resume")
async def resume() -> list[Any]:
    if current_job().attempt == 1:
        heartbeat("halfway")
        raise ApplicationError("later", type="Resume")
    return list(current_job().heartbeat_details)


@delegated(name="conformance.cancel")
async def cancel() -> str:
    await asyncio.sleep(60)
    return "not canceled"
