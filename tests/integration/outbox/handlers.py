"""Handlers of the plain jobs that the outbox's tests enqueue."""

from __future__ import annotations

from datetime import timedelta

from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated

RAN: list[str] = []
"""The ids of jobs, in the order in which they began."""


@delegated(start_to_close_timeout=timedelta(seconds=30))
async def double(number: int) -> dict[str, int]:
    RAN.append(current_job().job_id)
    return {"twice": 2 * number}


@delegated
async def refuse(why: str) -> None:
    RAN.append(current_job().job_id)
    raise ApplicationError(why, type="Refusal", non_retryable=True)
