"""The workflows, written with ordinary activities: `--dispatch` alone decides whether these become delegated jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from examples.jobs import run_job

with workflow.unsafe.imports_passed_through():
    import examples.uploads.tasks as tasks
    from examples.stores import File


@dataclass(frozen=True)
class Limits:
    """How long, and how often."""

    heartbeat_seconds: int = 60
    """How long a part may take."""
    give_up_seconds: int = 43_200
    """How long a store may be away: less than the sweeper's age, so it never takes what is still being uploaded."""
    rounds: int = 3
    """How often a file may change while it is uploaded."""


@workflow.defn
class UploadFile:
    """Brings one file to all stores. Its id has the file's name, so that no two runs upload the same name at once."""

    @workflow.run
    async def run(self, name: str, stores: list[str], limits: Limits) -> list[str]:
        """Return the keys. If it fails, the stores have nothing unfinished, and the file stays in the work folder."""
        for left in reversed(range(limits.rounds)):
            file: File = await _run(limits, tasks.stage, name)
            try:
                # All of them end, well or not, before anything is decided: a delivery that failed cleans up first.
                deliveries = [_deliver(store, file, limits) for store in stores]
                ended = await asyncio.gather(*deliveries, return_exceptions=True)
                for error in ended:
                    if isinstance(error, BaseException):
                        raise error
                await _run(limits, tasks.remove, file)
                return [str(key) for key in ended]
            except ActivityError as error:
                has_changed = isinstance(error.cause, ApplicationError) and error.cause.type == "Mismatch"
                if not left or not has_changed:
                    raise
        raise AssertionError("the last round returns or raises")


@workflow.defn
class Sweep:
    """Removes what uploads have left that nobody ended. A schedule starts it."""

    @workflow.run
    async def run(self, stores: list[str], older_than_seconds: int) -> int:
        """Return how much was removed."""
        return sum([await _run(Limits(), tasks.clean, store, None, older_than_seconds) for store in stores])


async def _deliver(store: str, file: File, limits: Limits) -> str:
    try:
        key: str = await _run(limits, tasks.upload, store, file)
        await _run(limits, tasks.confirm, store, file, key)
        return key
    except (ActivityError, asyncio.CancelledError):
        # If the store refuses this, too, or a second cancellation comes, the sweeper does it one day. Under these keys
        # there is only this upload, of whatever time: the store's clock may be ahead.
        with suppress(ActivityError):
            await _run(limits, tasks.clean, store, file.keys, -3600, retry_policy=RetryPolicy(maximum_attempts=5))
        raise


async def _run(limits: Limits, job: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    patience = timedelta(seconds=limits.give_up_seconds)
    return await run_job(
        job,
        *arguments,
        start_to_close_timeout=patience,
        schedule_to_close_timeout=patience,
        heartbeat_timeout=timedelta(seconds=limits.heartbeat_seconds),
        # Waits for a cancelled upload to stop. Otherwise the cleaning might come before its last part.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        **options,
    )
