"""The options of a request that go into the job's row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from delegator_schema.options import (
    FAIRNESS_KEY,
    FAIRNESS_WEIGHT,
    INHERITED_PRIORITY,
    INLINE_WAIT_MS,
    PRIORITY_KEY,
)
from temporalio.exceptions import ApplicationError

_ORDER: Final = frozenset((PRIORITY_KEY, FAIRNESS_KEY, FAIRNESS_WEIGHT))
_LEFT_OUT: Final = frozenset((INLINE_WAIT_MS, INHERITED_PRIORITY))


def kept_options(options: Mapping[str, Any], job_type: str, queue: str, *, ordered: bool) -> dict[str, Any]:
    """Return the options for the row. Those that only the enqueuer needs are left out.

    A priority that the job only inherits from its workflow is left out too, if the queue has no order.

    Args:
        options: the options of the request.
        job_type: the delegated activity type, for the message.
        queue: the job's queue.
        ordered: whether the queue is ordered.

    Raises:
        ApplicationError: the job has a priority of its own, and the queue is not ordered. Temporal retries it: a
            roll-out may declare the queue as ordered.
    """
    left_out = _LEFT_OUT
    if not ordered and not _ORDER.isdisjoint(options):
        if not options.get(INHERITED_PRIORITY):
            raise unordered_queue(job_type, queue)
        left_out = left_out | _ORDER
    return {key: value for key, value in options.items() if key not in left_out}


def unordered_queue(job_type: str, queue: str) -> ApplicationError:
    """Return the error of a job with a priority in a queue that has no order."""
    return ApplicationError(
        f"{job_type} has a priority, and queue {queue!r} is not ordered: add it to DELEGATOR_ORDERED_QUEUES, "
        "for the workers and `delegator serve` too",
        type="UnorderedQueue",
    )
