"""What a local activity that carries calls shows to people who read the history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from delegator.workflow.calls import Call

_SHOWN_TYPES = 3
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
    return text.encode()[:_LONGEST_SUMMARY].decode(errors="ignore")


def event_groups_of(calls: Sequence[Call]) -> list[Any]:
    """Return the SDK's event groups of the calls."""
    specs = {id(call.spec): call.spec for call in calls}.values()
    return list(dict.fromkeys(group for spec in specs for group in spec.event_groups))
