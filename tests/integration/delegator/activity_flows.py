"""Workflows that call activities in the ordinary way and tell how it ended."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    FailureError,
    TimeoutError,
)
from temporalio.workflow import ActivityCancellationType


def described(error: BaseException | None) -> list[Any]:
    """Return an error and its causes, as plain values."""
    found: list[Any] = []
    while error is not None:
        match error:
            case ActivityError():
                found.append(["ActivityError", error.activity_type, error.retry_state and error.retry_state.name])
            case ApplicationError():
                found.append(["ApplicationError", error.type, error.message])
            case TimeoutError():
                found.append(["TimeoutError", error.type and error.type.name, list(error.last_heartbeat_details)])
            case CancelledError():
                found.append(["CancelledError", list(error.details)])
            case FailureError():
                found.append([type(error).__name__, error.message])
        error = error.cause if isinstance(error, FailureError) else None
    return found


@workflow.defn
class Calls:
    """Calls one activity by its name."""

    def __init__(self) -> None:
        self._cancels = asyncio.Event()

    @workflow.run
    async def run(self, name: str, args: list[Any], seconds: dict[str, float], attempts: int) -> list[Any]:
        handle = workflow.start_activity(
            name,
            args=args,
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=attempts),
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            **{f"{key}_timeout": timedelta(seconds=value) for key, value in seconds.items()},  # type: ignore[arg-type]
        )
        cancels = asyncio.create_task(self._cancels.wait())
        await workflow.wait([handle, cancels], return_when=asyncio.FIRST_COMPLETED)
        if not handle.done():
            handle.cancel()
        try:
            return ["result", await handle]
        except FailureError as error:
            return ["failed", *described(error)]

    @workflow.signal
    async def cancel(self) -> None:
        self._cancels.set()


@workflow.defn
class Hears:
    """Calls one activity, which sends messages home, and tells what it had heard when the activity ended."""

    def __init__(self) -> None:
        self._heard: list[str] = []

    @workflow.run
    async def run(self, name: str, args: list[Any], seconds: float) -> list[Any]:
        try:
            result = await workflow.execute_activity(
                name,
                args=args,
                start_to_close_timeout=timedelta(seconds=seconds),
                retry_policy=RetryPolicy(maximum_attempts=1),
            )
        except FailureError as error:
            result = described(error)
        heard = list(self._heard)
        # Temporal runs a task again that would close a workflow with signals that it has not seen.
        await workflow.sleep(0.01)
        return [result, heard]

    @workflow.signal
    async def hear(self, what: str) -> None:
        self._heard.append(what)

    @workflow.update
    async def answer(self, question: str) -> str:
        self._heard.append(question)
        return f"answer to {question}"

    @workflow.query
    def heard(self) -> list[str]:
        return self._heard
