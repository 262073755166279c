"""Finds out, in a replay, that workflow code asks for other jobs than it did when its history was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from temporalio import workflow

from delegator.wire.outcomes import Reply, unpack_reply
from delegator.wire.requests import Asked, asked_for, runs
from delegator.workflow.calls import Call

_SHOWN_RUNS = 5


def call_runs(calls: Sequence[Call]) -> list[tuple[int, int]]:
    """Return how many jobs each caller has, in the form of `EnqueueRequest.call_runs`."""
    callers = [call.caller for call in calls]
    distinct = len(set(callers))
    if distinct == 1:
        return [(len(calls), 1)]
    if distinct == len(calls):
        return [(1, len(calls))]
    return runs(size for _, size in runs(callers))


def read_reply(frame: bytes, calls: Sequence[Call]) -> Reply:
    """Return the reply to the request for these calls.

    Types and the numbers of jobs must be those that were recorded. The queue may be another one, as the task queue of
    an ordinary activity may: the job is in the recorded queue.

    Raises:
        WireError: it is not a reply, or a later release wrote it.
        NondeterminismError: it replies to another request, so the workflow's code has changed since.
    """
    reply = unpack_reply(frame)
    recorded = reply.asked
    asked = asked_for((call.spec.job for call in calls), call_runs(calls))
    differ = recorded.types != asked.types or recorded.calls not in (None, asked.calls)
    if differ or len(reply.outcomes) != len(calls):
        raise workflow.NondeterminismError(
            f"the recorded reply is for {_described(recorded)}, and the workflow asks for {_described(asked)}: "
            "its code has changed since it ran; use workflow.patched() where it differs"
        )
    return reply


def fail_task(error: Exception) -> bool:
    """Fail the workflow task with an error that workflow code can't catch, as Temporal does when a replay differs.

    Returns:
        Whether that is possible: the SDK has no public way. If not, raise the error where the workflow waits.
    """
    loop = asyncio.get_running_loop()
    if not hasattr(loop, "_current_activation_error"):
        return False
    loop._current_activation_error = error
    return True


def _described(asked: Asked) -> str:
    """Return what a request asks for, such as `3 x charge, 1 x ship in calls of 3, 1 jobs`."""
    types = _listed([f"{count} x {name}" for name, count in asked.types])
    if asked.calls is None or all(size == 1 for size, _ in asked.calls):
        return types
    return f"{types} in calls of {_listed([str(size) for size, count in asked.calls for _ in range(count)])} jobs"


def _listed(parts: Sequence[str]) -> str:
    shown = ", ".join(parts[:_SHOWN_RUNS])
    return f"{shown}, ..." if len(parts) > _SHOWN_RUNS else shown
