"""Handlers that fail in every way. An ordinary Temporal worker runs them as activities, too."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,
    TimeoutType,
)

from delegator import current_job, delegated, heartbeat

LARGE = 3 * 1024 * 1024


class CardError(Exception):
    pass


class StrangeError(BaseException):
    pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@delegated
async def fails_plainly() -> None:
    raise ValueError("bad value")


@delegated
async def fails_without_message() -> None:
    raise CardError


@delegated
async def fails_with_chain() -> None:
    try:
        try:
            raise KeyError("innermost")
        except KeyError as error:
            raise CardError("card") from error
    except CardError as error:
        raise ApplicationError("order", type="Order") from error


@delegated
async def fails_in_handling() -> None:
    try:
        raise CardError("first")
    except CardError:
        raise ApplicationError("second", {"a": 1}, type="Second")  # noqa: B904


@delegated
async def fails_in_handling_plainly() -> None:
    try:
        raise CardError("first")
    except CardError:
        raise ValueError("second")  # noqa: B904


@delegated
async def fails_with_details() -> None:
    raise ApplicationError("no luck", {"at": 7}, [1, None], b"\x00\xff", type="Unlucky", non_retryable=True)


@delegated
async def fails_without_type() -> None:
    raise ApplicationError("")


@delegated
async def fails_with_delay() -> None:
    raise ApplicationError("later", next_retry_delay=timedelta(milliseconds=3))


@delegated
async def fails_with_long_delay() -> None:
    raise ApplicationError("much later", next_retry_delay=timedelta(hours=1))


@delegated
async def fails_benignly() -> None:
    raise ApplicationError("expected", category=ApplicationErrorCategory.BENIGN, non_retryable=True)


@delegated
async def raises_cancelled() -> None:
    raise CancelledError("mine", {"so": "far"})


@delegated
async def raises_asyncio_cancelled() -> None:
    raise asyncio.CancelledError("mine")


@delegated
async def raises_timeout(kind: int) -> None:
    raise TimeoutError("mine", type=TimeoutType(kind) if kind else None, last_heartbeat_details=["page", 3])


@delegated
async def raises_asyncio_timeout() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.sleep(60)


@delegated
async def raises_group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), CardError("two")])


@delegated
async def raises_child_error() -> None:
    error = ChildWorkflowError(
        "child",
        namespace="n",
        workflow_id="w",
        run_id="r",
        workflow_type="t",
        initiated_event_id=1,
        started_event_id=2,
        retry_state=RetryState.TIMEOUT,
    )
    raise error from ApplicationError("inner", 1, type="Inner")


@delegated
async def raises_activity_error() -> None:
    error = ActivityError(
        "activity",
        scheduled_event_id=1,
        started_event_id=2,
        identity="i",
        activity_type="t",
        activity_id="a",
        retry_state=RetryState.IN_PROGRESS,
    )
    raise error from CancelledError("inner")


@delegated
async def raises_server_error(non_retryable: bool) -> None:
    raise ServerError("server", non_retryable=non_retryable)


@delegated
async def raises_terminated() -> None:
    raise TerminatedError("terminated", "detail")


@delegated
async def raises_base_exception(name: str) -> None:
    raise {"SystemExit": SystemExit, "StrangeError": StrangeError, "KeyboardInterrupt": KeyboardInterrupt}[name](3)


@delegated
async def raises_stop_iteration() -> None:
    raise StopIteration(1)


@delegated
async def fails_with_strange_details() -> None:
    raise ApplicationError("strange", object(), type="Strange", non_retryable=True)


@delegated
async def fails_with_strange_text() -> None:
    raise ValueError("half a pair: \ud800")


@delegated
async def fails_mutely() -> None:
    raise MuteError


@delegated
async def fails_with_large_details() -> None:
    raise ApplicationError("large", "x" * LARGE, type="Large", non_retryable=True)


@delegated
async def returns_strange() -> Any:
    return object()


@delegated
async def returns_large() -> str:
    return "x" * LARGE


@delegated
async def overruns() -> None:
    await asyncio.sleep(60)


@delegated
async def overruns_after_heartbeat() -> None:
    heartbeat("page", 12)
    await asyncio.sleep(60)


@delegated
async def fails_then_overruns() -> None:
    if current_job().attempt == 1:
        heartbeat("page", 12)
        raise ValueError("first")
    await asyncio.sleep(60)


@delegated
async def overruns_quietly_at_last() -> None:
    if current_job().attempt == 1:
        heartbeat("page", 12)
    await asyncio.sleep(60)


@delegated
async def stops_when_cancelled(how: str) -> str:
    """Heartbeat until cancelled; then end as asked."""
    try:
        while True:
            heartbeat("alive")
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        match how:
            case "fails":
                raise ValueError("while it stops") from None
            case "raises":
                raise CancelledError("its own", {"so": "far"}) from None
            case "returns":
                return "done all the same"
        raise
