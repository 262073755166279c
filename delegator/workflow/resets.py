"""Finds out that a run was reset.

A run that has closed has lost its jobs. When it is reset, its code waits for them again, so they are enqueued again.
Temporal likewise schedules the activities again that are pending at the point of a reset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from operator import attrgetter

from temporalio import workflow

from delegator.wire.requests import JobRequest
from delegator.workflow.calls import Call

PATCH_ID = "delegator.reset"
"""Begins the patch markers of resets after which jobs were enqueued again. In a replay of a reset that an older release
made, there is none."""


def watch_resets(was_reset: Callable[[str], None]) -> None:
    """Call back at each reset.

    Temporal gives a run another random seed at the point of a reset. The SDK tells so in that activation, whenever it
    is replayed. So commands made then replay.

    Args:
        was_reset: called with the id of the reset's patch marker; no event loop runs then. Each reset has a marker of
            its own, because the SDK decides on an id once in a run.
    """
    register = getattr(workflow, "register_random_seed_callback", None)  # an older SDK does not tell
    if register is not None:
        numbers = count(1)
        register(lambda seed: was_reset(f"{PATCH_ID}-{next(numbers)}"))


def enqueued(calls: Iterable[Call]) -> list[Call]:
    """Return those calls that a local activity has enqueued, by their sequence numbers."""
    return sorted((call for call in calls if call.sent is not None and call.sent.done()), key=attrgetter("sequence"))


def request_again(call: Call) -> JobRequest:
    """Return the request for a call whose job is to be enqueued again: with the id and in the queue that it had."""
    return call.request._replace(spec=call.spec.job, job_id=call.job_id)
