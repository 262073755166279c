"""Delegated functions, as an application might have them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import contract, current_job, delegated, heartbeat, resource


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class CardRefusedError(Exception):
    pass


@delegated
async def mirror(point: Point) -> Point:
    return Point(point.y, point.x)


@delegated
def in_thread(number: int) -> list[Any]:
    heartbeat("thread", number)
    return [threading.current_thread() is threading.main_thread(), current_job().job_id]


@delegated
@activity.defn
async def existing(number: int) -> list[Any]:
    activity.heartbeat("half", number)
    return [activity.info().activity_id, current_job().attempt]


@delegated
async def refuse_card() -> None:
    raise CardRefusedError("card refused")


@delegated
async def unusable_result() -> object:
    return object()


@delegated
async def resume(pages: int) -> int:
    """Read pages, from the one after the last heartbeat on."""
    done = int(current_job().heartbeat_details[0]) if current_job().heartbeat_details else 0
    for page in range(done + 1, pages + 1):
        heartbeat(page)
    return done


@delegated
async def until_cancelled(clean_up: bool = True) -> None:
    heartbeat("started")
    try:
        await asyncio.Event().wait()
    finally:
        if clean_up:
            heartbeat("cleaned up", current_job().is_cancel_requested())


@delegated(heartbeat_timeout=timedelta(milliseconds=50), retry_policy=RetryPolicy(maximum_attempts=2))
async def silent() -> None:
    heartbeat("page", 12)
    await asyncio.Event().wait()


@delegated(retry_policy=RetryPolicy(maximum_attempts=4))
async def succeed_at(attempt: int) -> int:
    if current_job().attempt < attempt:
        heartbeat(current_job().attempt)
        raise ApplicationError("not yet", type="NotYet")
    return current_job().attempt


@delegated(schedule_to_close_timeout=timedelta(seconds=10))
async def never_works() -> None:
    raise ApplicationError("no", type="No")


@delegated(max_concurrent=1)
async def one_at_a_time(number: int) -> list[int]:
    heartbeat()
    await asyncio.sleep(0.01)
    return [number]


@contract()
async def elsewhere(point: Point) -> Point: ...


@resource
async def shelf() -> AsyncIterator[list[int]]:
    opened: list[int] = []
    yield opened
    opened.clear()


@delegated
async def put(item: int) -> int:
    shelf.get().append(item)
    return len(shelf.get())


class Emails:
    def __init__(self, sender: str) -> None:
        self.sender = sender

    @delegated
    async def send(self, text: str) -> str:
        return f"{self.sender}: {text}"


@activity.defn
async def unedited(number: int) -> int:
    heartbeat(number)
    return number * 2
