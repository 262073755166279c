"""Checks the processes of the engine: maintenance, workers, and what they serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from delegator.contracts import DelegatedType
from delegator.operating.doctor.check import Check, failed, note, ok
from delegator.operating.overview import Overview, QueueState
from delegator.operating.states import State
from delegator.postgres.lease_reports import WorkerReport
from delegator.postgres.leases import WorkerLease


def check_engine(overview: Overview, declared: Iterable[DelegatedType], skew: timedelta) -> list[Check]:
    """Check that a maintenance process leads, and that live workers serve every queue and every type.

    Args:
        overview: the queues.
        declared: types that must be served even if they have no jobs.
        skew: how far a worker's clock may be ahead of the database's.
    """
    by_queue: dict[str, list[str]] = {}
    for one in declared:
        by_queue.setdefault(one.queue, []).append(one.name)
    checks = [
        ok("maintenance", "a maintenance process leads")
        if overview.has_leader
        else failed(
            "maintenance",
            "no maintenance process runs: retries, timeouts and lost jobs wait",
            "start `delegator serve`",
        )
    ]
    for queue in overview.queues:
        checks += _check_queue(queue, by_queue.pop(queue.queue, []))
        checks += _check_clocks(queue.facts.workers, skew)
    for name, types in by_queue.items():
        fix = f"add {name} to DELEGATOR_QUEUES and run `delegator migrate`, or correct the queue of the types"
        checks.append(failed(f"workers of queue {name}", f"no such queue, and it is that of {_names(types)}", fix))
    return checks


def _check_queue(queue: QueueState, declared: Sequence[str]) -> list[Check]:
    checks = []
    for pause in queue.facts.pauses:
        what = f"queue {pause.queue}" if pause.job_type is None else f"type {pause.job_type}"
        command = f"queues resume {pause.queue}" if pause.job_type is None else f"types resume {pause.job_type}"
        checks.append(
            note(f"pause in queue {queue.queue}", f"{what} is paused by {pause.paused_by}", f"`delegator {command}`")
        )
    link = f"workers of queue {queue.queue}"
    if not queue.facts.workers:
        fix = f"`http-worker --queue {queue.queue} --import MODULE`, with the modules of its types"
        return [*checks, failed(link, "no live worker serves it", fix)]
    unserved = [
        one for one in queue.types if not one.is_served and one.jobs[State.WAITING] + one.jobs[State.BACKING_OFF]
    ]
    for one in unserved:
        jobs = one.jobs[State.WAITING] + one.jobs[State.BACKING_OFF]
        fix = f"give the workers of queue {queue.queue} the module of {one.job_type} (`--import`), or correct the name"
        checks.append(failed(link, f"{jobs} jobs of type {one.job_type} wait, and no live worker has a handler", fix))
    told = {one.job_type for one in unserved}
    missing = sorted(name for name in declared if name not in told and not queue.facts.serves(name))
    if missing:
        fix = f"start a worker of queue {queue.queue} that has a handler for it, in the language of the handler"
        checks.append(failed(link, f"no live worker has a handler for the declared {_names(missing)}", fix))
    if not unserved and not missing:
        checks.append(ok(link, f"{len(queue.facts.workers)} live, with {_slots(queue.facts.workers)} slots"))
    return checks


def _names(types: Sequence[str]) -> str:
    return f"type{'s' if len(types) > 1 else ''} {', '.join(types)}"


def _check_clocks(workers: Sequence[WorkerLease], skew: timedelta) -> list[Check]:
    """A report is made before the renewal that carries it, so it is never later by a right clock."""
    checks = []
    for worker in workers:
        at = None if worker.report is None else WorkerReport.read(worker.report).at
        if at is not None and worker.renewed_at is not None and at > worker.renewed_at + skew:
            ahead = (at - worker.renewed_at).total_seconds()
            checks.append(
                failed(
                    f"clock of worker {worker.holder}",
                    f"it is {ahead:.1f} s ahead of the database's",
                    "keep all clocks right by NTP (chrony, systemd-timesyncd)",
                )
            )
    return checks


def _slots(workers: Sequence[WorkerLease]) -> int:
    return sum(worker.slots or 0 for worker in workers)
