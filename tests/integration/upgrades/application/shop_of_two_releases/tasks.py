"""Handlers that both releases run. Each run is noted in a file, with the release that ran it."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from datetime import timedelta

from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from delegator import current_job, delegated


@dataclass
class Item:
    """What a job is given."""

    order: str
    number: int
    ms: int = 10
    fails_once: bool = False


@delegated(
    start_to_close_timeout=timedelta(minutes=2),
    retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
)
async def work(item: Item) -> int:
    job = current_job()
    await asyncio.sleep(item.ms / 1000)
    if item.fails_once and job.attempt == 1:
        raise ApplicationError("not yet")
    line = {"job": job.job_id, "order": item.order, "number": item.number, "release": os.environ["RELEASE"]}
    ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(ledger, json.dumps(line).encode() + b"\n")
    finally:
        os.close(ledger)
    return item.number
