"""Jobs, queues and workers as plain values with stable keys, for `--json`, for tables and for the JSON API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from delegator_schema.options import ATTEMPTS, PAUSED, PAUSED_MS

from delegator.operating.flow import claims_per_second, run_quantile
from delegator.operating.jobs import ExplainedJob
from delegator.operating.overview import Overview, QueueState
from delegator.operating.states import Explanation, State
from delegator.operating.timeline import Moment, completion_path
from delegator.postgres.leases import WorkerLease
from delegator.postgres.pauses import Pause

_TOLD: Final = frozenset({ATTEMPTS, PAUSED, PAUSED_MS})
"""Options of a row that the timeline tells."""


def job_summary(found: ExplainedJob) -> dict[str, Any]:
    """Return what `jobs list` shows of a job. It holds nothing that a codec hides."""
    job, explanation = found.job, found.explanation
    return {
        "job_id": job.job_id,
        "queue": job.queue,
        "type": job.job_type,
        "state": explanation.state.value,
        "reason": None if explanation.reason is None else explanation.reason.value,
        "since": _text(explanation.since),
        "next_at": _text(explanation.next_look_at),
        "attempt": job.attempt,
        "error": job.attempts[-1].error if job.attempts else None,
        "worker": job.holder,
        "namespace": job.namespace,
        "workflow_id": job.workflow_id,
        "run_id": None if job.run_id is None else str(job.run_id),
        "enqueued_at": _text(job.enqueued_at),
    }


def explanation_summary(found: ExplainedJob) -> dict[str, Any]:
    """Return what `explain` says of a job."""
    job, explanation = found.job, found.explanation
    return {
        "job_id": job.job_id,
        "queue": job.queue,
        "type": job.job_type,
        **_explanation(explanation),
        "deadline": _text(job.deadline),
    }


def job_details(found: ExplainedJob, moments: Sequence[Moment]) -> dict[str, Any]:
    """Return everything about a job but its payloads."""
    job = found.job
    return {
        **job_summary(found),
        **_explanation(found.explanation),
        "published_at": _text(job.published_at),
        "deadline": _text(job.deadline),
        "completion": completion_path(job),
        "cancel_requested": job.cancel_requested,
        "input_bytes": job.input_bytes,
        "options": {name: value for name, value in (job.options or {}).items() if name not in _TOLD},
        "timeline": timeline_report(moments),
    }


def timeline_report(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Return a timeline."""
    return [{"at": _text(moment.at), "event": moment.event, "detail": moment.detail} for moment in moments]


def overview_report(overview: Overview) -> dict[str, Any]:
    """Return the state of all queues."""
    return {
        "at": _text(overview.now),
        "maintenance": overview.has_leader,
        "queues": [queue_report(queue) for queue in overview.queues],
        "dead_letters_last_hour": [{**one._asdict(), "last_at": _text(one.last_at)} for one in overview.dead],
        "troubles": overview.troubles,
    }


def queue_report(queue: QueueState) -> dict[str, Any]:
    """Return the state of a queue."""
    pause = next((pause for pause in queue.facts.pauses if pause.job_type is None), None)
    return {
        "queue": queue.queue,
        **_counts(queue.jobs),
        "paused": queue.paused,
        "is_partial": queue.is_partial,
        "oldest": _text(queue.oldest),
        "workers": len(queue.facts.workers),
        "slots": sum(worker.slots or 0 for worker in queue.facts.workers),
        "claims_per_second": claims_per_second(queue),
        "run_p50_seconds": _seconds(run_quantile(queue, 0.5)),
        "run_p99_seconds": _seconds(run_quantile(queue, 0.99)),
        "pause": None if pause is None else pause_report(pause),
        "slot": None if queue.slot is None else queue.slot._asdict(),
        "types": [
            {
                "type": one.job_type,
                **_counts(one.jobs),
                "paused": one.paused,
                "oldest": _text(one.oldest),
                "last_error": one.last_error,
                "is_served": one.is_served,
            }
            for one in queue.types
        ],
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def worker_report(worker: WorkerLease) -> dict[str, Any]:
    """Return what a worker says of itself."""
    return {
        "worker": worker.holder,
        "queue": worker.queue,
        "version": worker.version,
        "slots": worker.slots,
        "running": worker.running,
        "jobs": [
            {
                "job_id": job.job_id,
                "started_at": _text(job.started_at),
                "heartbeat_at": _text(job.heartbeat_at),
            }
            for job in worker.jobs
        ],
        "types": worker.job_types,
        "lease": worker.lease_id,
        "granted_at": _text(worker.granted_at),
        "renewed_at": _text(worker.renewed_at),
        "expires_at": _text(worker.expires_at),
        "is_live": worker.is_live,
    }


def pause_report(pause: Pause) -> dict[str, Any]:
    """Return a pause."""
    return {
        "queue": pause.queue,
        "type": pause.job_type,
        "paused_at": _text(pause.paused_at),
        "paused_by": pause.paused_by,
        "note": pause.note,
    }


def _counts(jobs: Counter[State]) -> dict[str, int]:
    return {state.value: jobs[state] for state in State if state is not State.DEAD}


def _explanation(explanation: Explanation) -> dict[str, Any]:
    return {
        "state": explanation.state.value,
        "reason": None if explanation.reason is None else explanation.reason.value,
        "since": _text(explanation.since),
        "text": explanation.text,
        "needs": explanation.needs,
        "next_look_at": _text(explanation.next_look_at),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
