"""Handlers that would end their worker, or never end."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import suppress

from temporalio import activity

from delegator import current_job, delegated

_FOR_EVER = 100_000.0


async def _exit() -> None:
    sys.exit(3)


async def _interrupt() -> None:
    raise KeyboardInterrupt


@delegated
async def exits_in_a_task() -> None:
    await asyncio.gather(_exit(), asyncio.sleep(_FOR_EVER))


@delegated
async def interrupts_in_a_task() -> None:
    await asyncio.create_task(_interrupt())


@delegated
async def exits_in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)
    raise ValueError("went on")


@delegated
async def stops_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)
    raise ValueError("went on")


@delegated
def exits_in_a_thread() -> None:
    sys.exit(3)


@delegated
def has_no_more() -> None:
    next(iter(()))


@delegated
@activity.defn
def as_activity_has_no_more() -> None:
    next(iter(()))


@delegated
async def fine() -> None:
    """Just end."""


@delegated
def never_ends() -> None:
    current_job().logger.info("begun")
    time.sleep(_FOR_EVER)


@delegated
async def refuses_to_end() -> None:
    threading.Thread(target=time.sleep, args=(_FOR_EVER,)).start()
    current_job().logger.info("begun")
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(_FOR_EVER)
