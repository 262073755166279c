"""What holds the canary: jobs that pass it on, fail with it, and are given up with it."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from delegator import current_job, delegate, delegated, heartbeat

_QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=2)


@delegated(retry_policy=_QUICK)
async def passes_on(canary: str, seconds: float) -> str:
    """Fail once, then return the canary."""
    heartbeat(canary)
    if current_job().attempt == 1:
        raise ApplicationError(f"no {canary}", canary)
    return canary


@delegated(retry_policy=_QUICK)
async def fails(canary: str) -> None:
    """Fail until the job is given up."""
    raise RuntimeError(f"no {canary}")


@delegated(retry_policy=_QUICK)
async def refuses(canary: int) -> None:
    """Get an argument that can't be converted."""


@workflow.defn
class Carrier:
    """Carries the canary everywhere."""

    @workflow.run
    async def run(self, canary: str) -> str:
        """Return the canary after its jobs have ended."""
        answer = await delegate(passes_on, canary, 0.0)
        for failing in (delegate(fails, canary), delegate(refuses, canary)):  # type: ignore[arg-type]
            try:
                await failing
            except ActivityError as error:
                assert isinstance(error.cause, ApplicationError)
        return answer
