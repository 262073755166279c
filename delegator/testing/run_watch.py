"""Ends the jobs of closed runs in an engine in memory, as maintenance does in production."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError

from delegator.completion.closed_runs import ClosedRuns, RunState
from delegator.completion.runs import RunKey
from delegator.testing.rows import Row

_INTERVAL_SECONDS: Final = 0.5
_AGE_SECONDS: Final = 1.0


async def watch_runs(client: Client, rows: Callable[[], Iterable[Row]], end: Callable[[set[str]], None]) -> None:
    """Watch until cancelled.

    Args:
        client: Temporal's client.
        rows: returns the jobs of the engine.
        end: removes jobs that wait, and tells running ones to stop.
    """
    closed = ClosedRuns(client)
    while True:
        await asyncio.sleep(_INTERVAL_SECONDS)
        old = time.time() - _AGE_SECONDS
        by_run: dict[RunKey, list[str]] = defaultdict(list)
        for row in rows():
            is_asked = row.outcome is None and not row.cancel_requested and row.enqueued_at < old
            if is_asked and row.workflow_id is not None and row.run_id is not None:
                by_run[RunKey(row.namespace or client.namespace, row.workflow_id, row.run_id)].append(row.job_id)
        for key, job_ids in by_run.items():
            try:
                if await closed.state(key) is not RunState.OPEN:
                    end(await closed.unwanted(key, job_ids))
            except (RPCError, RuntimeError):  # Temporal does not answer: ask again
                break
