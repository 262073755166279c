"""A workflow that tells everything of an activity's failure. A worker without the plugin runs it, too."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    FailureError,
    ServerError,
    TimeoutError,
)

with workflow.unsafe.imports_passed_through():
    from delegator import delegate

TIMEOUT = timedelta(seconds=30)


@workflow.defn
class TellsFailure:
    """Calls one type by name, and tells the result or the failure."""

    @workflow.run
    async def run(self, way: str, name: str, args: list[Any], options: dict[str, Any]) -> Any:
        cancel = options.pop("cancel", None)
        policy = RetryPolicy(
            initial_interval=timedelta(seconds=options.pop("initial_interval", 0.001)),
            maximum_attempts=options.pop("attempts", 1),
            non_retryable_error_types=options.pop("not_retried", None),
        )
        settings: dict[str, Any] = {key: timedelta(seconds=value) for key, value in options.items()}
        if not {"start_to_close_timeout", "schedule_to_close_timeout"} & settings.keys():
            settings["start_to_close_timeout"] = TIMEOUT
        settings["retry_policy"] = policy
        if cancel is not None:
            settings["cancellation_type"] = workflow.ActivityCancellationType[cancel]
        call = self.call(way, name, args, settings)
        try:
            if cancel is None:
                return await call
            task = asyncio.create_task(call)
            await workflow.sleep(0.3)
            task.cancel()
            return await task
        except ActivityError as error:
            return tell(error)

    @staticmethod
    async def call(way: str, name: str, args: list[Any], settings: dict[str, Any]) -> Any:
        if way == "delegate":
            return await delegate(name, *args, **settings)
        return await workflow.execute_activity(name, args=args, **settings)


def tell(error: FailureError) -> dict[str, Any]:
    """Return every field of a failure, the chain of its causes, and the failure's own bytes."""
    told = [tell_one(cause) for cause in chain(error)]
    failure = error.failure
    return {"chain": told, "failure": b64encode(failure.SerializeToString()).decode() if failure else None}


def chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *chain(error.__cause__)]


def tell_one(error: BaseException) -> dict[str, Any]:
    told: dict[str, Any] = {"class": type(error).__name__, "str": str(error), "args": [str(arg) for arg in error.args]}
    if isinstance(error, FailureError):
        told["message"] = error.message
    match error:
        case ActivityError():
            told |= {
                "activity_type": error.activity_type,
                "retry_state": name_of(error.retry_state),
                "has_id": bool(error.activity_id),
                "has_identity": bool(error.identity),
            }
        case ApplicationError():
            told |= {
                "type": error.type,
                "details": str(list(error.details)),
                "non_retryable": error.non_retryable,
                "next_retry_delay": str(error.next_retry_delay),
                "category": error.category.name,
            }
        case TimeoutError():
            told |= {"type": name_of(error.type), "last_heartbeat_details": list(error.last_heartbeat_details)}
        case CancelledError():
            told["details"] = list(error.details)
        case ChildWorkflowError():
            told |= {"workflow": error.workflow_id, "retry_state": name_of(error.retry_state)}
        case ServerError():
            told["non_retryable"] = error.non_retryable
    return told


def name_of(value: Any) -> str | None:
    return None if value is None else value.name
