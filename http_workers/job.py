"""A job in a worker: what the stream said of it and what the claim added."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.exceptions import TimeoutType

from delegator.contracts import DEFAULT_OPTIONS
from delegator.errors import WireError
from delegator.store.queue_table import Claimed
from delegator.wire.options import decode_options


class Job:
    """One job that this worker holds."""

    __slots__ = (
        "attempt",
        "beat_at",
        "begun",
        "broken",
        "cancel_requested",
        "deadline",
        "details",
        "details_changed",
        "due_at",
        "due_kind",
        "enqueued_at",
        "given_back",
        "has_waiter",
        "header",
        "heartbeat_details",
        "input",
        "job_id",
        "job_type",
        "lease_token",
        "lost",
        "namespace",
        "options",
        "previous_details",
        "run_id",
        "started_at",
        "task",
        "task_token",
        "timed_out",
        "workflow_id",
    )

    def __init__(self, record: Mapping[str, Any]) -> None:
        """Read a streamed row. What only its execution needs may be unreadable: then the job is `broken`.

        Raises:
            WireError: a column that names the job is missing or has the wrong type.
        """
        try:
            self.job_id: str = record["job_id"]
            self.job_type: str = record["job_type"]
            self.namespace: str | None = record["namespace"]
            self.workflow_id: str | None = record["workflow_id"]
            self.run_id: str | None = record["run_id"]
            self.task_token = _bytes(record["task_token"])
            self.enqueued_at: str | None = record.get("enqueued_at")
            self.has_waiter = record["waiter_id"] is not None
            self.lease_token: int = record["lease_token"]
            self.attempt: int = record["attempt"] + 1
        except (KeyError, TypeError, ValueError) as error:
            raise WireError(f"a streamed row can't be read: {type(error).__name__}") from None
        self.broken: str | None = None
        try:
            self.input = _bytes(record["input"])
            self.header = _bytes(record["header"])
            self.options = decode_options(record["options"])
        except (KeyError, TypeError, ValueError, WireError):
            self.broken = "the job's input, header or options can't be read"
            self.input = self.header = None
            self.options = DEFAULT_OPTIONS
        self.heartbeat_details: bytes | None = None
        self.previous_details: Sequence[Any] = ()
        self.cancel_requested = False
        self.deadline: float | None = None
        self.started_at = 0.0
        self.due_at: float | None = None
        """When the running handler has taken too long, monotonic; None: never, or none runs."""
        self.due_kind = TimeoutType.START_TO_CLOSE
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """The task has run: one that is cancelled before it has would never come to its end."""
        self.beat_at = 0.0
        self.details: Sequence[Payload] | None = None
        """Of this attempt's last heartbeat; None: it has not sent one."""
        self.details_changed = False
        self.lost = False
        """The lease is lost: another worker may run the job, its outcome here counts for nothing."""
        self.given_back = False
        """This worker stops, and leaves the job to others."""
        self.timed_out: TimeoutType | None = None
        """The timeout that ended the attempt; None: none did."""

    def claimed(self, claim: Claimed) -> None:
        """Take over what the claim returned."""
        self.lease_token = claim.lease_token
        self.attempt = claim.attempt
        self.heartbeat_details = claim.heartbeat_details
        self.cancel_requested = claim.cancel_requested
        self.has_waiter = claim.has_waiter
        if claim.deadline_ms is not None:
            self.deadline = time.monotonic() + claim.deadline_ms / 1000

    @property
    def is_ours(self) -> bool:
        """Whether this worker is to run the job, or go on running it."""
        return not (self.lost or self.given_back)

    def stop(self) -> None:
        """Break the attempt off; one that has not begun will see why it must not."""
        if self.task is not None and self.begun:
            self.task.cancel()

    def time_out(self, kind: TimeoutType) -> None:
        """Break the attempt off because it has taken too long."""
        if self.timed_out is None:
            self.timed_out = kind
            self.stop()

    @property
    def held(self) -> tuple[str, int]:
        """Job id and fence, as the statements take them."""
        return self.job_id, self.lease_token

    def enqueued_time(self) -> datetime | None:
        """Return when the job was first enqueued."""
        if self.enqueued_at is None:
            return None
        return datetime.fromisoformat(self.enqueued_at)


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value[2:])
