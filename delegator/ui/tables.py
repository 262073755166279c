"""The tables of the pages, from what `delegator.operating` returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from delegator.operating.groups import Group
from delegator.operating.jobs import ExplainedJob
from delegator.operating.overview import Overview, QueueState, TypeState, size_text
from delegator.operating.states import State
from delegator.postgres.dead_letters import DeadLetter
from delegator.postgres.leases import WorkerLease
from delegator.ui.cells import Button, Cell, Row, Table, age, job, number, shortened, state, url

_SHOWN = (State.WAITING, State.RUNNING, State.BACKING_OFF, State.DELIVERING)
_COUNTED = tuple(one.value.replace("_", " ") for one in _SHOWN)
_TONES = {State.BACKING_OFF: "warn", State.DELIVERING: "warn"}


def queues_table(overview: Overview, *, may_change: bool) -> Table:
    """Return the queues, with their pauses."""
    rows = []
    for queue in overview.queues:
        pause = next((one for one in queue.facts.pauses if one.job_type is None), None)
        slots = sum(worker.slots or 0 for worker in queue.facts.workers)
        used = sum(worker.running or 0 for worker in queue.facts.workers)
        is_missed = bool(queue.jobs[State.WAITING] and not queue.facts.workers)
        cells = [
            Cell(queue.queue, kind="code"),
            *(number(queue.jobs[one], tone=_TONES.get(one, ""), href=_jobs(queue.queue, one)) for one in _SHOWN),
            number(queue.paused, tone="warn"),
            age(overview.now, queue.oldest),
            Cell(str(len(queue.facts.workers)), "/workers", "number", tone="bad" if is_missed else ""),
            Cell(f"{used} of {slots}", kind="number"),
            _slot(queue),
            _pausing(queue.queue, None, is_paused=pause is not None, may_change=may_change),
        ]
        rows.append(Row(cells))
    return Table(
        "Queues",
        ("queue", *_COUNTED, "paused", "oldest", "workers", "slots in use", "stream lag", "pause"),
        rows,
    )


def types_table(overview: Overview, *, steers: bool, may_change: bool) -> Table:
    """Return the types that have jobs, a worker or a pause.

    Args:
        overview: what was counted.
        steers: whether to say which are paused, and to offer to change that.
        may_change: whether the person may.
    """
    rows = []
    for queue in overview.queues:
        seen = {one.job_type: one for one in queue.types}
        handled = {name for worker in queue.facts.workers for name in worker.job_types or ()}
        paused = {pause.job_type for pause in queue.facts.pauses}
        for name in sorted(handled | set(seen) | {one for one in paused if one is not None}):
            one = seen.get(name)
            counts = [0 if one is None else one.jobs[each] for each in _SHOWN]
            cells = [
                Cell(name, url("/jobs", queue=queue.queue, type=name), "code"),
                *(
                    number(count, tone=_TONES.get(each, ""), href=_jobs(queue.queue, each, name))
                    for each, count in zip(_SHOWN, counts, strict=True)
                ),
                number(0 if one is None else one.paused, tone="warn"),
                age(overview.now, None if one is None else one.oldest),
                _last_error(one),
                Cell(queue.queue),
            ]
            if steers:
                cells.append(_pausing(queue.queue, name, is_paused=name in paused, may_change=may_change))
            rows.append(Row(cells))
    columns = ("type", *_COUNTED, "paused", "oldest", "last error", "queue", *(("pause",) if steers else ()))
    return Table("Types", columns, rows, "No type: no live worker, and no job.")


def groups_table(overview: Overview, groups: Iterable[Group], whys: Sequence[str]) -> Table:
    """Return groups of jobs, each with why the first of it is where it is."""
    rows = [
        Row(
            [
                Cell(group.job_type, kind="code"),
                state(group.state.value),
                Cell(group.error or ""),
                number(group.jobs, href=_jobs(group.queue, group.state, group.job_type, group.error)),
                number(group.most_attempts),
                age(overview.now, group.oldest),
                Cell(why),
                Cell(group.queue),
            ]
        )
        for group, why in zip(groups, whys, strict=True)
    ]
    columns = ("type", "state", "last error", "jobs", "most attempts", "oldest", "why the first one is there", "queue")
    return Table("Jobs by type, state and error", columns, rows, "Nothing waits, runs or fails.")


def jobs_table(found: Sequence[ExplainedJob], *, may_change: bool) -> Table:
    """Return jobs, with checkboxes for those who may change them."""
    rows = []
    for one in found:
        row, explanation = one.job, one.explanation
        at = explanation.next_look_at
        rows.append(
            Row(
                [
                    job(row.job_id),
                    state(explanation.state.value),
                    Cell("" if explanation.reason is None else explanation.reason.value.replace("_", " ")),
                    Cell(row.job_type, kind="code"),
                    number(row.attempt),
                    age(row.now, row.enqueued_at),
                    Cell() if at is None else Cell(_in(row.now, at), kind="number", at=at),
                    Cell(row.attempts[-1].error if row.attempts else ""),
                    Cell(row.holder or "", kind="code"),
                    _workflow(row.workflow_id),
                    Cell(row.queue),
                ],
                row.job_id if may_change else None,
            )
        )
    columns = (
        "job", "state", "reason", "type", "attempt", "age", "next look", "last error", "worker", "workflow", "queue",
    )  # fmt: skip
    return Table("Jobs", columns, rows, "No such jobs.")


def letters_table(letters: Sequence[DeadLetter], now: datetime, *, may_change: bool) -> Table:
    """Return dead letters."""
    rows = [
        Row(
            [
                Cell(str(letter.id), url("/dead-letter", id=letter.id), "number"),
                age(now, letter.died_at),
                Cell(letter.type, kind="code"),
                Cell(letter.reason.replace("_", " ")),
                Cell(letter.error),
                number(letter.attempt),
                job(letter.job_id) if letter.operation is None else Cell(letter.job_id, kind="code"),
                _workflow(letter.workflow_id),
                Cell(letter.queue),
            ],
            str(letter.id) if may_change else None,
        )
        for letter in letters
    ]
    columns = ("dead letter", "died", "type", "reason", "error", "attempts", "job", "workflow", "queue")
    return Table("Dead letters", columns, rows, "No such dead letters.")


def dead_counts_table(overview: Overview) -> Table:
    """Return the dead letters of the last hour."""
    rows = [
        Row(
            [
                Cell(one.type, kind="code"),
                number(
                    one.jobs, tone="bad", href=url("/dead-letters", queue=one.queue, type=one.type, error=one.error)
                ),
                Cell(one.reason.replace("_", " ")),
                Cell(one.error),
                age(overview.now, one.last_at),
                Cell(one.queue),
            ]
        )
        for one in overview.dead
    ]
    columns = ("type", "dead letters", "reason", "error", "last one", "queue")
    return Table("Dead letters of the last hour", columns, rows, "None in the last hour.")


def workers_table(workers: Sequence[WorkerLease]) -> Table:
    """Return workers."""
    rows = []
    for worker in workers:
        oldest = worker.oldest_job
        rows.append(
            Row(
                [
                    Cell(worker.holder, kind="code"),
                    Cell(worker.queue),
                    Cell("" if worker.slots is None else f"{worker.running} of {worker.slots}", kind="number"),
                    Cell() if oldest is None else _running(worker.now, oldest.job_id, oldest.started_at),
                    Cell(", ".join(sorted(worker.job_types or ()))),
                    Cell(worker.version or ""),
                    age(worker.now, worker.granted_at),
                    age(worker.now, worker.renewed_at),
                    number(worker.lease_id),
                ]
            )
        )
    columns = ("worker", "queue", "slots in use", "oldest job", "types", "release", "up", "renewed", "lease")
    return Table("Workers", columns, rows, "No live worker.")


def _last_error(one: TypeState | None) -> Cell:
    if one is None:
        return Cell()
    return Cell(one.last_error or "") if one.is_served else Cell("no handler in any live worker", tone="bad")


def _jobs(queue: str, of: State, job_type: str | None = None, error: str | None = None) -> str:
    return url("/jobs", queue=queue, state=of.value, type=job_type, error=error)


def _running(now: datetime, job_id: str, since: datetime) -> Cell:
    return Cell(age(now, since).text, url("/job", id=job_id), "number", since)


def _workflow(workflow_id: str | None) -> Cell:
    return (
        Cell() if workflow_id is None else Cell(shortened(workflow_id), url("/jobs", workflow_id=workflow_id), "code")
    )


def _slot(queue: QueueState) -> Cell:
    if queue.slot is None:
        return Cell("no slot", kind="number", tone="bad")
    return Cell(size_text(queue.slot.lag_bytes), kind="number", tone="" if queue.slot.active else "bad")


def _pausing(queue: str, job_type: str | None, *, is_paused: bool, may_change: bool) -> Cell:
    fields = {"queue": queue, **({} if job_type is None else {"type": job_type})}
    about = f"queue {queue}" if job_type is None else f"type {job_type} in queue {queue}"
    if not may_change:
        return Cell("paused", tone="warn") if is_paused else Cell()
    if is_paused:
        return Cell("paused", tone="warn", buttons=[Button("Resume", "/do", {"action": "resume", **fields}, about)])
    return Cell("Pause …", url("/pause", **fields))


def _in(now: datetime, at: datetime) -> str:
    return f"in {age(at, now).text}" if at > now else "now"
