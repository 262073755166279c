"""What the receivers of plain and of ordered queues are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from delegator.postgres.database_watch import DatabaseWatch
from delegator.postgres.shares import Lender
from delegator.runtime.connection_state import ConnectionState
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.slots import Slots
from http_workers.source import StreamSource


class HeldRow(Protocol):
    """A job that this process holds."""

    @property
    def fencing_token(self) -> int:
        """The token under which it holds the row."""


class ClaimLease(Protocol):
    """The lease that claims name."""

    @property
    def lease_id(self) -> int:
        """The lease."""

    @property
    def has_pauses(self) -> bool:
        """Whether the queue, or one of its types, is paused."""

    def note_delivery_watermark(self) -> None:
        """Note that the stream has delivered everything up to now."""

    async def renew(self) -> None:
        """Renew the lease now. If it is gone, get a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverParts:
    """What a receiver works with."""

    source: StreamSource
    """The stream."""
    acknowledge: Callable[[Sequence[str]], None]
    """Acknowledges messages soon."""
    pool: Lender
    """Connections for claims."""
    lease: ClaimLease
    """This process's lease."""
    slots: Slots
    """Jobs that may still be taken."""
    metrics: WorkerMetrics
    """This process's series."""
    stream_state: ConnectionState
    """Gets the stream's health."""
    database: DatabaseWatch
    """Gets each success and each error of the claims."""
    wait: timedelta
    """How long the stream may wait for a message. It is less than a lease: when this worker is killed, its open request
    must end before its jobs are republished."""
    held: Mapping[str, HeldRow]
    """The jobs that this process holds."""
    start: Callable[[Job], None]
    """Starts a claimed job. The receiver has reserved its slot, and the end of the job frees it."""
    give_up: Callable[[str, int, str], Awaitable[None]]
    """Makes a job whose row can't be read a dead letter. It takes the job id, the row's fencing token and the reason.
    It raises nothing."""
