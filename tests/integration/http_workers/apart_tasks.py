"""Handlers of two queues."""

from __future__ import annotations

import asyncio

from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated


@delegated
async def fails_at_once() -> None:
    raise ApplicationError("no", non_retryable=True)


@delegated
async def ends() -> None:
    """Just end."""


@delegated(queue="other")
async def fails_once() -> None:
    if current_job().attempt == 1:
        raise ApplicationError("the first time")


@delegated(queue="other")
async def waits() -> None:
    await asyncio.Event().wait()
