"""The handlers of the chaos tests. Each run is noted in a file, which no fault of the engine can change."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated

LEDGER_VARIABLE = "CHAOS_LEDGER"
SLOW_QUEUE = "slow"
_TIMEOUT = timedelta(minutes=2)
_RETRIES = RetryPolicy(initial_interval=timedelta(milliseconds=20), maximum_interval=timedelta(seconds=1))


@dataclass
class Item:
    """What a job is given."""

    workflow: str
    number: int
    ms: int
    kind: str = "good"


NUMBERED = "numbered"
"""Kind of an item whose job also tells its attempt."""
_ATTEMPTS = 1_000


def answer(item: Item) -> int:
    """What a job must return."""
    return sum(map(ord, item.workflow)) * 1_000 + item.number


def told(item: Item, attempt: int) -> int:
    """What a job returns that tells its attempt."""
    return answer(item) * _ATTEMPTS + attempt if item.kind == NUMBERED else answer(item)


def parted(result: int) -> tuple[int, int]:
    """Return the answer in a result that tells its attempt, and the attempt."""
    return divmod(result, _ATTEMPTS)


def note(event: str, item: Item) -> None:
    job = current_job()
    line = {
        "event": event,
        "workflow": item.workflow,
        "number": item.number,
        "job": job.job_id,
        "attempt": job.attempt,
        "pid": os.getpid(),
        "time": time.time(),
    }
    ledger = os.open(os.environ[LEDGER_VARIABLE], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(ledger, json.dumps(line).encode() + b"\n")
    finally:
        os.close(ledger)


@delegated(start_to_close_timeout=_TIMEOUT, retry_policy=_RETRIES)
async def work(item: Item) -> int:
    note("start", item)
    await asyncio.sleep(item.ms / 1000)
    note("end", item)
    return current_job().attempt if item.kind == "attempt" else told(item, current_job().attempt)


@delegated(start_to_close_timeout=_TIMEOUT, retry_policy=_RETRIES)
async def block(item: Item) -> int:
    """Blocks the worker's event loop, as no handler should."""
    note("start", item)
    if item.kind == "block":
        time.sleep(item.ms / 1000)  # noqa: ASYNC251
    note("end", item)
    return told(item, current_job().attempt)


@delegated(queue=SLOW_QUEUE, start_to_close_timeout=_TIMEOUT, retry_policy=_RETRIES)
async def crawl(item: Item) -> int:
    note("start", item)
    await asyncio.sleep(item.ms / 1000)
    note("end", item)
    return told(item, current_job().attempt)


@delegated(start_to_close_timeout=_TIMEOUT, retry_policy=_RETRIES)
async def fail(item: Item) -> Any:
    """Goes wrong in the way that its item names."""
    note("start", item)
    note("failed", item)
    match item.kind:
        case "flaky":
            if current_job().attempt < 3:
                raise ApplicationError("not yet", next_retry_delay=timedelta(0))
            note("start", item)
            note("end", item)
            return answer(item)
        case "nul type":
            raise ApplicationError("no", type="with a \x00", non_retryable=True)
        case "nul message":
            raise ApplicationError("with a \x00 and a \ud800", non_retryable=True)
        case "exhausted":
            raise ValueError("always")
        case "exit":
            raise SystemExit(3)
        case "interrupt":
            raise KeyboardInterrupt
        case "generator":
            raise GeneratorExit
        case "cancel":
            raise asyncio.CancelledError
        case "unencodable":
            return object()
        case "huge":
            return "x" * 3_000_000
        case "deep":
            return _deep(100_000)
        case "group":
            raise ExceptionGroup("several", [ValueError("a"), TypeError("b")])
    raise AssertionError(item.kind)


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value
