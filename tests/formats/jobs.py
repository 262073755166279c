"""Handlers of the recorded workflows and rows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated


@delegated(retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=1))
async def refuse(reason: str) -> None:
    raise ApplicationError(f"refused: {reason}", {"reason": reason}, type="Refused", non_retryable=True)


@delegated
async def double(number: int) -> int:
    return number * 2


@delegated
async def never_ends() -> None:
    await asyncio.sleep(3_600)


@delegated
async def unlucky() -> None:
    """Fails as often as its retry policy allows."""
    raise ApplicationError(f"attempt {current_job().attempt}", type="Unlucky")


@delegated
async def resume() -> list[Any]:
    """Tell what an earlier attempt left."""
    return [*current_job().heartbeat_details, current_job().attempt]
