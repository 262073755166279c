"""Handlers of the integration tests, run by HTTP workers in processes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from temporalio import activity
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import contract, current_job, delegated, heartbeat

DIRECTORY_VARIABLE = "DELEGATOR_TEST_DIRECTORY"
TEST_IS_OVER = "test-is-over"
QUICK = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_interval=timedelta(milliseconds=5))


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class Order(BaseModel):
    name: str
    lines: list[Point]


class CardRefusedError(Exception):
    pass


def note(event: str) -> None:
    """Write down what happens to the job, for the test to read."""
    job = current_job()
    line = json.dumps(
        {"event": event, "job": job.job_id, "type": job.job_type, "workflow": job.workflow_id, "attempt": job.attempt}
    )
    with (Path(os.environ[DIRECTORY_VARIABLE]) / "ledger").open("a") as ledger:
        ledger.write(line + "\n")


async def begin() -> None:
    """Note the start; then wait while the test holds this workflow's jobs back."""
    note("started")
    await let_through()


def gate_of_workflow() -> Path:
    """Return the file that exists while the test holds this workflow's jobs back."""
    return Path(os.environ[DIRECTORY_VARIABLE]) / f"hold-{current_job().workflow_id}"


async def let_through() -> None:
    gate = gate_of_workflow()
    while gate.exists():
        await asyncio.sleep(0.01)


@delegated(start_to_close_timeout=timedelta(seconds=30))
async def mirror(point: Point) -> Point:
    await begin()
    return Point(point.y, point.x)


@delegated
async def backwards(data: bytes) -> bytes:
    await begin()
    return data[::-1]


@delegated
async def nothing(value: None) -> None:
    await begin()


@delegated
async def describe(name: str, number: int, point: Point) -> str:
    await begin()
    return f"{name} {number} {point.x}/{point.y}"


@delegated
async def extend(order: Order) -> Order:
    await begin()
    return Order(name=order.name.upper(), lines=[*order.lines, Point(0, 0)])


@delegated
async def double(number: int) -> int:
    return number * 2


@delegated
def in_thread(number: int) -> int:
    note("started")
    return number + 1


@delegated
async def noted(number: int) -> int:
    await begin()
    return number


@delegated
async def unless_held(number: int) -> int:
    """Fail while the test holds this workflow's jobs back."""
    note("started")
    if gate_of_workflow().exists():
        raise ApplicationError("held back")
    return number


@delegated
async def holds_on(number: int) -> int:
    """Take as long to stop as the test holds this workflow's jobs back."""
    try:
        await begin()
    except asyncio.CancelledError:
        note("told to stop")
        await let_through()
        raise
    return number


@delegated
async def blocks(number: int) -> None:
    """Blocks the worker's event loop, as no handler should, while the test holds it."""
    note("started")
    gate = gate_of_workflow()
    while gate.exists():
        time.sleep(0.05)  # noqa: ASYNC251


@delegated(max_concurrent=1)
async def one_at_a_time(number: int) -> int:
    await begin()
    return number


@delegated(retry_policy=QUICK)
async def fail(type_: str, non_retryable: bool) -> None:
    note("started")
    raise ApplicationError("no such luck", {"at": 7}, "more", type=type_, non_retryable=non_retryable)


@delegated(retry_policy=QUICK)
async def refuse_card() -> None:
    note("started")
    try:
        raise OSError("line is down")
    except OSError as error:
        raise CardRefusedError("card refused") from error


@delegated(retry_policy=QUICK)
async def succeed_at(attempt: int) -> int:
    note("started")
    if current_job().attempt < attempt:
        raise ApplicationError("not yet", type="NotYet")
    return current_job().attempt


@delegated(retry_policy=QUICK)
async def succeed_when_let(attempt: int) -> int:
    """Fail before an attempt, which waits while the test holds the workflow's jobs back."""
    if current_job().attempt < attempt:
        raise ApplicationError("not yet", type="NotYet")
    await begin()
    return attempt


@delegated
async def fail_first_then_soon() -> int:
    note("started")
    if current_job().attempt == 1:
        raise ApplicationError("not yet", next_retry_delay=timedelta(milliseconds=1))
    return current_job().attempt


@delegated(retry_policy=QUICK)
async def cancel_itself() -> int:
    note("started")
    if current_job().attempt == 1:
        raise asyncio.CancelledError
    return current_job().attempt


@delegated(retry_policy=QUICK)
async def kills_its_worker() -> None:
    note("started")
    os.kill(os.getpid(), signal.SIGKILL)


@delegated
async def as_it_is() -> None:
    note("started")
    await asyncio.sleep(0.05)  # so that many of them run when one of them ends the worker


@delegated(retry_policy=QUICK)
async def exits() -> int:
    note("started")
    if current_job().attempt == 1:
        raise SystemExit(3)
    return current_job().attempt


@delegated
async def large_result(size: int) -> bytes:
    return bytes(size)


@delegated
async def secret_failure(secret: str) -> None:
    raise ApplicationError(f"can't use {secret}", secret, type="Refused", non_retryable=True)


@delegated(retry_policy=QUICK)
async def secret_retry(secret: str) -> str:
    heartbeat(secret)
    note("started")
    if current_job().attempt == 1:
        raise ApplicationError(f"can't use {secret}", secret)
    await begin()
    return f"{secret} and {list(current_job().heartbeat_details)}"


@delegated
async def until_cancelled(clean_up: bool) -> str:
    note("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        if clean_up:
            await asyncio.sleep(0.01)
            await let_through()
            note("cleaned up")
        note("cancelled")
        raise
    return "not cancelled"


@delegated
async def fails_when_cancelled(clean_up: bool) -> None:
    note("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("cancelled")
        raise ValueError(clean_up) from None


@delegated
async def heartbeats_until_cancelled() -> None:
    note("started")
    try:
        while True:
            heartbeat()
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        note("cancelled")
        raise


@delegated
async def ignores_cancellation() -> str:
    note("started")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note("cancelled")
    return "finished all the same"


@delegated(retry_policy=QUICK)
async def silent_once() -> str:
    note("started")
    if current_job().attempt > 1:
        return f"attempt {current_job().attempt} knows {list(current_job().heartbeat_details)}"
    heartbeat("page", 12)
    await asyncio.sleep(60)
    return "never stopped"


@delegated
async def beats(pauses: list[float]) -> str:
    """Heartbeats, and pauses after each of them."""
    for number, pause in enumerate(pauses):
        heartbeat("beat", number)
        await asyncio.sleep(pause)
    return "in time"


@delegated
async def sleeps(seconds: float) -> str:
    note("started")
    await asyncio.sleep(seconds)
    return "awake"


@delegated
async def left_to_client() -> str:
    heartbeat("waits")
    note(current_job().task_token.hex())
    activity.raise_complete_async()


@contract(start_to_close_timeout=timedelta(seconds=20))
async def elsewhere(point: Point) -> Point: ...


@contract()
async def implemented_nowhere(number: int) -> int: ...


@delegated
async def item(kind: str) -> None:
    note(kind)
    match kind:
        case "sleep":
            await asyncio.sleep(60)
        case "back off":
            raise ApplicationError("later", next_retry_delay=timedelta(minutes=1))
        case "fail":
            await begin()
            raise ApplicationError("bad item", type="BadItem", non_retryable=True)


@delegated
async def unusable_failure() -> None:
    raise ApplicationError("odd", object(), type="Odd")


@delegated
async def unusable_heartbeat() -> None:
    heartbeat(object())


@delegated(retry_policy=QUICK)
async def until_told_to_stop(ignores_it: bool) -> str:
    """Heartbeats, as an activity does that can be cancelled, until it is cancelled or the test is over."""
    note("started")
    over = Path(os.environ[DIRECTORY_VARIABLE]) / TEST_IS_OVER
    try:
        while not over.exists():
            heartbeat()
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note("cancelled")
        if not ignores_it:
            raise
    return "finished all the same"


@delegated
@activity.defn
async def informed() -> list[Any]:
    """Tell what the activity knows of its call."""
    info = activity.info()
    return [info.activity_id, info.activity_type, info.heartbeat_timeout == timedelta(seconds=7)]


class Counter:
    """Activities as methods, and one as a callable object."""

    def __init__(self, step: int) -> None:
        self.step = step

    @delegated
    async def count(self, number: int) -> int:
        return number + self.step

    @delegated
    async def count_alone(self) -> int:
        return self.step


COUNTER = Counter(10)
