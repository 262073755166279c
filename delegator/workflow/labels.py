"""What people see of the calls: in the history, and by the query `delegator.pending`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

from delegator.workflow.calls import Call

_SHOWN_TYPES = 3
_SHOWN_JOBS = 100
_LONGEST_SUMMARY = 200
"""Temporal allows 200 bytes by default; see `limit.userMetadataSummarySize` of its server."""


def summary_of(calls: Sequence[Call]) -> str:
    """Return how many jobs of which types the calls are for, and what their callers say about them.

    A single call that has a summary gets just this, as an ordinary activity does.
    """
    if len(calls) == 1 and calls[0].spec.summary:
        return calls[0].spec.summary
    specs = list({id(call.spec): call.spec for call in calls}.values())
    types = sorted({spec.job.type for spec in specs})
    more = "" if len(types) <= _SHOWN_TYPES else f" and {len(types) - _SHOWN_TYPES} more"
    said = "; ".join(dict.fromkeys(spec.summary for spec in specs if spec.summary))
    text = f"{len(calls)} x {', '.join(types[:_SHOWN_TYPES])}{more}"
    text = f"{text}: {said}" if said else text
    return _cut(text)


def waits_summary(pending: Collection[Call]) -> str:
    """Return what a timer says that runs while a workflow waits for jobs."""
    return _cut(f"waits for {_counted(pending)}")


def look_summary(calls: Collection[Call]) -> str:
    """Return what the local activity says that asks the queues whether they have jobs."""
    return _cut(f"asks for {_counted(calls)}")


def cancel_summary(calls: Collection[Call]) -> str:
    """Return what the local activity says that cancels jobs."""
    return _cut(f"cancels {_counted(calls)}")


def _counted(calls: Collection[Call]) -> str:
    """Return how many jobs of which types there are, such as `3 x charge, 1 x ship`."""
    types = Counter(call.spec.job.type for call in calls).most_common()
    shown = ", ".join(f"{count} x {name}" for name, count in types[:_SHOWN_TYPES])
    return f"{shown} and {len(types) - _SHOWN_TYPES} more types" if len(types) > _SHOWN_TYPES else shown


def _cut(text: str) -> str:
    return text.encode()[:_LONGEST_SUMMARY].decode(errors="ignore")


def event_groups_of(calls: Sequence[Call]) -> list[Any]:
    """Return the SDK's event groups of the calls."""
    specs = {id(call.spec): call.spec for call in calls}.values()
    return list(dict.fromkeys(group for spec in specs for group in spec.event_groups))


def shown(pending: Collection[Call]) -> dict[str, Any]:
    """Return the jobs that a workflow waits for, as JSON for people: their number, by type, and the first hundred."""
    return {
        "jobs": len(pending),
        "types": dict(Counter(call.spec.job.type for call in pending).most_common()),
        "first": [
            {
                "job_id": call.job_id,
                "type": call.spec.job.type,
                "queue": call.spec.job.queue,
                "state": "cancel_requested" if call.is_cancelled else "waiting",
            }
            for call in islice(pending, _SHOWN_JOBS)
        ],
    }
