"""Jobs that do not get on, grouped by what they have in common: the type, the state and the error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from delegator.operating.overview import Overview
from delegator.operating.states import UNFINISHED, State
from delegator.postgres.job_views import JobCount


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs of a queue that have a type, a state and an error in common."""

    queue: str
    job_type: str
    state: State
    error: str | None
    """The error of their last attempts; None: none has failed."""
    jobs: int
    oldest: datetime
    """When the first of them was enqueued."""
    most_attempts: int
    is_paused: bool


_GROUPED: Final = (*UNFINISHED, State.DELIVERING)


def groups(overview: Overview) -> list[Group]:
    """Return the groups: those that retry come first, then those whose oldest job is the oldest.

    Args:
        overview: what was counted.
    """
    found: dict[tuple[str, str, State, str | None, bool], list[JobCount]] = {}
    for queue in overview.queues:
        for one in queue.types:
            for count in one.counts:
                key = (queue.queue, one.job_type, State(count.state), count.last_error, count.paused)
                found.setdefault(key, []).append(count)
    made = [
        Group(
            queue,
            job_type,
            state,
            error,
            sum(count.jobs for count in counts),
            min(count.oldest for count in counts),
            max(count.most_attempts for count in counts),
            is_paused,
        )
        for (queue, job_type, state, error, is_paused), counts in found.items()
        if state in _GROUPED
    ]
    return sorted(made, key=lambda group: (group.state is not State.BACKING_OFF, group.error is None, group.oldest))
