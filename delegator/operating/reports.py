"""Jobs, queues and workers as plain values with stable keys, for `--json`, for tables and for the JSON API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from delegator.operating.jobs import ExplainedJob
from delegator.operating.states import Explanation
from delegator.operating.timeline import Moment, completion_path


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
        "options": job.options or {},
        "timeline": timeline_report(moments),
    }


def timeline_report(moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Return a timeline."""
    return [{"at": _text(moment.at), "event": moment.event, "detail": moment.detail} for moment in moments]


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
