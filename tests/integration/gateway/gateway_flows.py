"""Workflows whose jobs workers in other languages run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, is_cancelled_exception

from delegator import delegate


@dataclass
class Sum:
    """What a worker in another language returns."""

    value: int
    words: list[str]


@workflow.defn
class Adds:
    """Calls a type by name, and gets its result as a class of its own."""

    @workflow.run
    async def run(self, count: int, word: str) -> Sum:
        return await delegate("add", count, {"words": [word]}, result_type=Sum)


@workflow.defn
class Tells:
    """Calls a type by name, with options in seconds; tells the result or the failure."""

    @workflow.run
    async def run(self, job_type: str, args: list[Any], options: dict[str, float]) -> Any:
        attempts = options.pop("attempts", 0)
        timeouts: dict[str, Any] = {name: timedelta(seconds=seconds) for name, seconds in options.items()}
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=int(attempts))
        try:
            return await delegate(job_type, *args, retry_policy=policy, **timeouts)
        except ActivityError as error:
            cause = error.cause
            if isinstance(cause, TimeoutError):
                return ["timed out", cause.type.name if cause.type else "", list(cause.last_heartbeat_details)]
            if isinstance(cause, ApplicationError):
                return [cause.type, cause.message, list(cause.details), cause.non_retryable]
            return [type(cause).__name__, "cancelled" if is_cancelled_exception(error) else "", []]


@workflow.defn
class Many:
    """Calls a type many times at once."""

    @workflow.run
    async def run(self, job_type: str, count: int) -> list[Any]:
        import asyncio

        return list(await asyncio.gather(*(delegate(job_type, number) for number in range(count))))


@workflow.defn
class SendsBytes:
    """Sends and gets what is not JSON."""

    @workflow.run
    async def run(self) -> str:
        return (await delegate("bytes", b"\x00\xff", result_type=bytes)).hex()


@workflow.defn
class Ordinary:
    """Calls an activity as Temporal's own, and knows nothing of delegation."""

    @workflow.run
    async def run(self, name: str, args: list[Any]) -> Any:
        timeout = timedelta(seconds=60)
        try:
            return await workflow.execute_activity(
                name,
                args=args,
                start_to_close_timeout=timeout,
                heartbeat_timeout=timeout,
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except ActivityError as error:
            return type(error.cause).__name__


ALL = (Adds, Tells, Many, SendsBytes, Ordinary)
