"""Checks a history: what the handlers noted of each job, and the result that its workflow got.

The ledger's order is the order of events: each line was appended by one write.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

Job = tuple[str, int]
"""The workflow, and the number of its job."""


def violations(
    lines: Iterable[Mapping[str, Any]], results: Mapping[str, Sequence[int]], most_attempts: int | None = None
) -> list[str]:
    """Return what a history has that the guarantees exclude.

    Args:
        lines: of the ledger, in its order. Each has `event` (`start` or `end`), `workflow`, `number`, `job` and
            `attempt`.
        results: by workflow that has ended: for each of its jobs the attempt whose result it got.
        most_attempts: the retry policy's limit; None: there is none.
    """
    events: dict[Job, list[tuple[str, int]]] = defaultdict(list)
    ids: dict[Job, set[str]] = defaultdict(set)
    for line in lines:
        job = line["workflow"], line["number"]
        events[job].append((line["event"], line["attempt"]))
        ids[job].add(line["job"])
    found: list[str] = []
    for workflow, attempts in results.items():
        for number, attempt in enumerate(attempts):
            job = workflow, number
            found += (f"{workflow} {number}: {problem}" for problem in _of_job(events[job], attempt, most_attempts))
            if len(ids[job]) > 1:
                found.append(f"{workflow} {number}: ran as several jobs, {sorted(ids[job])}")
    return found


def _of_job(events: Sequence[tuple[str, int]], attempt: int, most_attempts: int | None) -> list[str]:
    if ("start", attempt) not in events or ("end", attempt) not in events:
        return [f"the result is of attempt {attempt}, which has not run to its end: {events}"]
    begun = [number for event, number in events if event == "start"]
    found = []
    if most_attempts is not None and max(begun) > most_attempts:
        found.append(f"attempt {max(begun)} of {most_attempts} began: {events}")
    ended = events.index(("end", attempt))
    if any(event == "start" and number > attempt for event, number in events[:ended]):
        found.append(f"the result is of attempt {attempt}, which ended when it was fenced: {events}")
    return found


def signalled_while_retried(events: Iterable[HistoryEvent]) -> bool:
    """Return whether a signal came while a workflow task ran that had timed out before.

    Such a task enqueues again what it had enqueued. A signal that comes just then has completed these jobs and deleted
    their rows, and the task has not seen it: they run twice, as docs/explanation/guarantees.md says.

    Args:
        events: of a history. The time of a signal that came during a task lies within the task, though its event
            comes after it.
    """
    timed_out = False
    started = ended = 0
    for event in events:
        time = event.event_time.ToNanoseconds()
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
                timed_out = True
            case EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED:
                started = time
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                ended = time if timed_out else 0
                timed_out = False
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED if started <= time <= ended:
                return True
    return False
