"""Runs the engine's local activities from workflow code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError
from temporalio.worker import StartLocalActivityInput, WorkflowOutboundInterceptor
from temporalio.workflow import ActivityCancellationType

from delegator.errors import WireError
from delegator.wire.frames import from_payload, to_raw_value
from delegator.wire.requests import PAYLOAD_ERROR, PAYLOADS_TOO_LARGE

# The engine's activities are idempotent, so a lost database only delays them: retry without end.
_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=10))
# A longer pause before a retry is a timer: it closes the workflow task, so that signals and cancellation get through.
_LONGEST_PAUSE_IN_TASK = timedelta(seconds=1)
_FAIL_TASK = (PAYLOAD_ERROR, PAYLOADS_TOO_LARGE)


class LocalActivities:
    """Calls local activities at the end of the chain of interceptors, behind those of users."""

    __slots__ = ("_sdk",)

    def __init__(self, sdk: WorkflowOutboundInterceptor) -> None:
        """Prepare.

        Args:
            sdk: the SDK's own outbound interceptor.
        """
        self._sdk = sdk

    async def run(
        self,
        name: str,
        frame: bytes,
        *,
        start_to_close_timeout: timedelta | None = None,
        schedule_to_close_timeout: timedelta | None = None,
        cancellation_type: ActivityCancellationType = ActivityCancellationType.TRY_CANCEL,
        summary: str | None = None,
        event_groups: Sequence[Any] = (),
    ) -> bytes:
        """Run a local activity, and return the frame that it returns.

        Args:
            name: its type.
            frame: its argument.
            start_to_close_timeout: longest run of one attempt.
            schedule_to_close_timeout: longest time until it ends, retries included.
            cancellation_type: what happens to it when the caller is cancelled.
            summary: what history says about it.
            event_groups: the SDK's `EventGroup`s of it.

        Raises:
            FailureError: it failed.
            WireError: the reply was encoded with another data converter.
        """
        # An older SDK has no event groups. It gives none, either.
        more: dict[str, Any] = {"event_groups": event_groups} if event_groups else {}
        reply: RawValue = await self._sdk.start_local_activity(
            StartLocalActivityInput(
                activity=name,
                args=[to_raw_value(frame)],
                activity_id=None,
                schedule_to_close_timeout=schedule_to_close_timeout,
                schedule_to_start_timeout=None,
                start_to_close_timeout=start_to_close_timeout,
                retry_policy=_RETRY,
                local_retry_threshold=_LONGEST_PAUSE_IN_TASK,
                cancellation_type=cancellation_type,
                headers={},
                summary=summary,
                arg_types=None,
                ret_type=RawValue,
                **more,
            )
        )
        return from_payload(reply.payload)


def as_seen(error: Exception) -> Exception:
    """Return an error as the callers get it. What is wrong with payloads fails the workflow task, not the workflow."""
    cause = error.__cause__ if isinstance(error, ActivityError) else error
    return WireError(cause.message) if isinstance(cause, ApplicationError) and cause.type in _FAIL_TASK else error


def is_timeout(error: Exception) -> bool:
    """Return whether a local activity has not ended in time, its retries included."""
    return isinstance(error, ActivityError) and isinstance(error.cause, TimeoutError)
