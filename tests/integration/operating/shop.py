"""Handlers and a workflow for the tests of operators' commands."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import current_job, delegate, delegated, heartbeat

SECONDS = timedelta(seconds=1)


def _directory() -> Path:
    return Path(os.environ["DELEGATOR_TEST_DIRECTORY"])


@delegated(retry_policy=RetryPolicy(initial_interval=600 * SECONDS), schedule_to_close_timeout=3600 * SECONDS)
async def charge(amount: str) -> str:
    """Fail until the test ships the fix."""
    if not (_directory() / "fixed").exists():
        raise ApplicationError("no route to the bank", type="BankUnreachable")
    return f"charged {amount}"


@delegated(retry_policy=RetryPolicy(maximum_attempts=1))
async def refund(amount: str) -> str:
    """Fail for good until the test ships the fix."""
    if not (_directory() / "fixed").exists():
        raise ApplicationError("no such card", type="CardRefused")
    (_directory() / f"refunded-{amount}").touch()
    return f"refunded {amount}"


@delegated(start_to_close_timeout=60 * SECONDS)
async def pack(name: str) -> str:
    """Run until the test lets it through."""
    (_directory() / f"packing-{current_job().job_id}").touch()
    heartbeat(name)
    while not (_directory() / "packed").exists():
        await asyncio.sleep(0.02)
    return f"packed {name}"


@delegated(schedule_to_close_timeout=4 * SECONDS)
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Purchase:
    @workflow.run
    async def run(self, activity_type: str, argument: str) -> str:
        """Delegate one job."""
        return await delegate(
            {"charge": charge, "refund": refund, "pack": pack, "greet": greet}[activity_type], argument
        )
