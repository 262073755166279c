"""What the jobs of one spec in an enqueue request have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import orjson
from delegator_schema.options import (
    INLINE_WAIT_MS,
    SCHEDULE_TO_CLOSE_MS,
    SCHEDULE_TO_START_MS,
    START_DELAY_MS,
)
from temporalio.converter import PayloadCodec

from delegator.enqueue.policy import InlineLimit, InlinePolicy
from delegator.wire.requests import JobSpec


@dataclass(frozen=True, slots=True)
class Terms:
    """What the jobs of one spec in a request have in common."""

    limit: InlineLimit
    """How long to wait inline for the outcome."""
    waiter_id: int | None
    """The value of the row's `waiter_id`."""
    options: str | None
    """The `options` column. Options that only the enqueuer needs are left out."""
    codec: PayloadCodec | None
    """Encodes the payloads."""
    deadline_ms: int | None
    """Milliseconds until the job times out. With a schedule-to-start timeout the first claim changes the deadline."""


def terms_of(
    spec: JobSpec,
    policy: InlinePolicy,
    waiting: int,
    lease_id: int,
    task_began_at: float | None,
    facts: Callable[..., dict[str, str]],
    codec: PayloadCodec | None,
) -> Terms:
    """Return what the jobs of a spec have in common. Nobody waits inline for a job with a start delay.

    Args:
        spec: the type, the queue and the options.
        policy: decides how long to wait inline.
        waiting: number of local activities that wait now.
        lease_id: this process's lease.
        task_began_at: when the workflow task began; None: not known.
        facts: returns what the row holds of the call; `has_options` says whether the row has options without it.
        codec: encodes the payloads.
    """
    options = spec.options or {}
    delay_ms = options.get(START_DELAY_MS, 0)
    asked_ms = 0 if delay_ms else options.get(INLINE_WAIT_MS)
    limit = policy.limit_for(spec.type, asked_ms, waiting, task_began_at)
    kept = {key: value for key, value in options.items() if key != INLINE_WAIT_MS}
    kept = facts(has_options=bool(kept)) | kept
    due = [ms + delay_ms for key in (SCHEDULE_TO_CLOSE_MS, SCHEDULE_TO_START_MS) if (ms := options.get(key))]
    return Terms(
        limit=limit,
        waiter_id=lease_id if limit.seconds else None,
        options=orjson.dumps(kept).decode() if kept else None,
        codec=codec,
        deadline_ms=min(due, default=None),
    )
