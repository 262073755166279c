"""Checks the processes of the engine: maintenance, workers, and what they serve."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from delegator.config import Settings
from delegator.operating.doctor.check import Check, failed, note, ok
from delegator.operating.overview import Overview, QueueState
from delegator.operating.states import State
from delegator.postgres.lease_reports import WorkerReport
from delegator.postgres.leases import WorkerLease


def check_engine(overview: Overview, settings: Settings, skew: timedelta) -> list[Check]:
    """Check that a maintenance process leads, and that live workers serve every queue and every type that has jobs.

    Args:
        overview: the queues.
        settings: the length of a lease.
        skew: how far a worker's clock may be ahead of the database's.
    """
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
        checks += _check_queue(queue)
        checks += _check_clocks(queue.facts.workers, skew)
    return checks


def _check_queue(queue: QueueState) -> list[Check]:
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
    if not unserved:
        checks.append(ok(link, f"{len(queue.facts.workers)} live, with {_slots(queue.facts.workers)} slots"))
    return checks


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
