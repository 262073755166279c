"""Rows as a claim returns them."""

from __future__ import annotations

from typing import Any

from delegator.postgres.queue_table import Claimed


def claimed(job_id: str = "a", **changes: Any) -> Claimed:
    row = Claimed(
        job_id=job_id,
        fencing_token=1,
        attempt=1,
        job_type="t",
        input=None,
        header=None,
        options=None,
        namespace=None,
        workflow_id=None,
        run_id=None,
        task_token=None,
        enqueued_at=0.0,
        heartbeat_details=None,
        cancel_requested=False,
        has_waiter=False,
        deadline_ms=None,
        waited_seconds=0.0,
        format_version=1,
    )
    return row._replace(**changes)
