"""The handler of the bulk path: it returns at once, so that a run measures the queue alone."""

from __future__ import annotations

from delegator import delegated
from loadtest.bulk.ledger import record


@delegated(name="loadtest_bulk")
async def swallow(payload: bytes) -> None:
    """Take a job."""
    record(payload)
