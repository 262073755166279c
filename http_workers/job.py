"""A job in a worker: its row as it was claimed, and its state here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from delegator_schema.columns import FORMAT_VERSION
from temporalio.api.common.v1 import Payload
from temporalio.exceptions import TimeoutType

from delegator.contracts import DEFAULT_OPTIONS
from delegator.errors import WireError
from delegator.postgres.queue_table import Claimed
from delegator.wire.contexts import Conversion, JobOrigin, row_origin
from delegator.wire.options import decode_options
from delegator.wire.rows import row_problem


class Job:
    """One job that this worker holds."""

    # Defaults of the class, because most jobs never change them.
    broken: str | None = None
    """Why the job can't run; None: it can."""
    too_new: str | None = None
    """Why only a newer release can read the row; None: this release can."""
    conversion: Conversion | None = None
    """How its payloads are converted and encoded; None: as those of all jobs."""
    last_heartbeat_details: Sequence[object] = ()
    earlier_details: bytes = b""
    """The same, as a serialized `Payloads`, not encoded by the codec."""
    deadline: float | None = None
    """Monotonic time of the job's deadline; None: it has none."""
    started_at: float = 0.0
    due_at: float | None = None
    """Monotonic time at which the running attempt times out; None: it does not, or none runs."""
    due_timeout_type: TimeoutType = TimeoutType.START_TO_CLOSE
    task: asyncio.Task[None] | None = None
    begun: bool = False
    """Whether the task has begun. A task that is cancelled before that never runs its cleanup."""
    heartbeat_at: float = 0.0
    details: Sequence[Payload] | None = None
    """Details of this attempt's last heartbeat; None: there was none."""
    details_changed: bool = False
    lost: bool = False
    """Whether the lease is lost. Another worker may run the job, and the outcome of this attempt is dropped."""
    given_back: bool = False
    """Whether this worker stops and gives the job to others."""
    timed_out: TimeoutType | None = None
    """The timeout that ended the attempt; None: there was none."""

    def __init__(self, claimed: Claimed) -> None:
        """Take the values of the row. Options that can't be decoded make the job `broken`."""
        self.row = claimed
        self.job_id, self.fencing_token, self.attempt, self.job_type, *_ = claimed
        self.cancel_requested = claimed.cancel_requested
        self.options = DEFAULT_OPTIONS
        if claimed.format_version > FORMAT_VERSION:
            self.too_new = row_problem(claimed.format_version)
        elif claimed.options is not None:
            try:
                self.options = decode_options(claimed.options)
            except WireError:
                self.broken = "the job's options can't be read"
        if claimed.deadline_ms is not None:
            self.deadline = time.monotonic() + claimed.deadline_ms / 1000

    @property
    def is_ours(self) -> bool:
        """Whether this worker may run the job."""
        return not (self.lost or self.given_back)

    def stop(self) -> None:
        """Break the attempt off. An attempt that has not begun checks `is_ours` first."""
        if self.task is not None and self.begun:
            self.task.cancel()

    def time_out(self, timeout_type: TimeoutType) -> None:
        """Break the attempt off because it has taken too long."""
        if self.timed_out is None:
            self.timed_out = timeout_type
            self.stop()

    @property
    def held(self) -> tuple[str, int]:
        """Job id and fencing token, in the form of the statements."""
        return self.job_id, self.fencing_token

    def enqueued_time(self) -> datetime:
        """Return when the job was first enqueued."""
        return datetime.fromtimestamp(self.row.enqueued_at, UTC)


def origin_of(row: Claimed) -> JobOrigin:
    """Return what a serialization context says of a claimed job."""
    return row_origin(
        job_id=row.job_id,
        job_type=row.job_type,
        namespace=row.namespace,
        workflow_id=row.workflow_id,
        run_id=row.run_id,
        options=row.options,
    )
