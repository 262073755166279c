"""How workflows call their jobs that run with both dispatches."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

_MINUTE = timedelta(minutes=1)


async def run_job(job: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Run a job as an ordinary activity. With `--dispatch delegated` the plugin delegates the call.

    Args:
        job: the delegated function.
        arguments: its arguments.
        options: those of `workflow.execute_activity`. Unless they say otherwise, an attempt may take a minute, and the
            job is tried without end, at least once a minute.
    """
    options.setdefault("start_to_close_timeout", _MINUTE)
    options.setdefault("retry_policy", RetryPolicy(maximum_interval=_MINUTE))
    return await workflow.execute_activity(job, args=arguments, task_queue="default", **options)
