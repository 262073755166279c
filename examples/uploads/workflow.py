"""The workflows, written with ordinary activities: `--dispatch` alone decides whether these become delegated jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from examples.uploads import tasks
    from examples.uploads.stores import Staged
    from examples.uploads.tasks import Delivery


@dataclass(frozen=True)
class Limits:
    """How long, and how often."""

    heartbeat_seconds: int = 60
    """How long a part may take."""
    give_up_seconds: int = 43_200
    """How long a store may be away. The sweeper's age is longer, so it never takes what is still being uploaded."""
    rounds: int = 3
    """How often a file may change while it is uploaded."""


@workflow.defn
class UploadFile:
    """Brings one file to all stores. Its id has the file's name, so that no two runs upload the same name at once."""

    @workflow.run
    async def run(self, name: str, stores: list[str], limits: Limits) -> list[str]:
        """Return the keys. If it fails, the stores have nothing unfinished, and the file stays in the work folder."""
        for left in reversed(range(limits.rounds)):
            file: Staged = await _run(tasks.stage, [name], limits)
            try:
                # All of them end, well or not, before anything is decided: a delivery that failed cleans up first.
                deliveries = [_deliver(Delivery(file, store), limits) for store in stores]
                ended = await asyncio.gather(*deliveries, return_exceptions=True)
                for error in ended:
                    if isinstance(error, BaseException):
                        raise error
                await _run(tasks.remove, [file], limits)
                return [str(key) for key in ended]
            except ActivityError as error:
                if not left or not _is_mismatch(error):
                    raise
        raise AssertionError("the last round returns or raises")


@workflow.defn
class Sweep:
    """Removes what uploads have left that nobody ended. A schedule starts it."""

    @workflow.run
    async def run(self, stores: list[str], older_than_seconds: int) -> int:
        """Return how much was removed."""
        removed = [_run(tasks.clean, [store, None, older_than_seconds], Limits()) for store in stores]
        return sum(await asyncio.gather(*removed))


async def _deliver(delivery: Delivery, limits: Limits) -> str:
    try:
        key: str = await _run(tasks.upload, [delivery], limits)
        await _run(tasks.confirm, [replace(delivery, key=key)], limits)
        return key
    except (ActivityError, asyncio.CancelledError):
        # If the store refuses this, too, the sweeper does it one day. No other upload of the name runs, so all that is
        # unfinished is ours; the store's clock may be ahead.
        of_name = [delivery.store, delivery.file.name, -3600]
        undoing = asyncio.ensure_future(_run(tasks.clean, of_name, limits, maximum_attempts=5))
        while not undoing.done():
            # A second cancellation of the workflow ends this wait, and not the cleaning.
            with suppress(ActivityError, asyncio.CancelledError):
                await asyncio.shield(undoing)
        raise


async def _run(job: Callable[..., Any], arguments: list[Any], limits: Limits, maximum_attempts: int = 0) -> Any:
    return await workflow.execute_activity(
        job,
        args=arguments,
        task_queue="default",
        schedule_to_close_timeout=timedelta(seconds=limits.give_up_seconds),
        heartbeat_timeout=timedelta(seconds=limits.heartbeat_seconds),
        retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=30), maximum_attempts=maximum_attempts),
        # Waits for a cancelled upload to stop. Otherwise the cleaning might come before its last part.
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def _is_mismatch(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == "Mismatch"
