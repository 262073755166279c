"""What is said of a job, by its row and what is known of its queue."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from delegator.operating.states import QueueFacts, Reason, State, explain
from delegator.operating.timeline import completion_path, timeline
from delegator.postgres.job_views import JobRow
from delegator.postgres.lease_reports import RunningJob, WorkerReport
from delegator.postgres.leases import WorkerLease
from delegator.postgres.pauses import Pause

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=5)
SOON = NOW + timedelta(minutes=5)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def job(**given: Any) -> JobRow:
    values: dict[str, Any] = {
        "queue": "default", "job_id": "a", "job_type": "greet", "state": "waiting", "namespace": "ns",
        "workflow_id": "wf", "run_id": None, "attempt": 0, "enqueued_at": EARLIER, "published_at": EARLIER,
        "deadline": None, "retry_at": None, "lease_id": None, "cancel_requested": False, "has_waiter": False,
        "is_activity_task": False, "outcome": None, "completed_at": None, "waits_in_lane": False, "permit": None,
        "options": None, "input_bytes": 0, "format_version": 1, "holder": None, "lease_expires_at": None,
        "lease_renewed_at": None, "report": None, "now": NOW,
    }  # fmt: skip
    return JobRow(**{**values, **given})


def worker(*types: str, slots: int = 2, running: int = 0) -> WorkerLease:
    report = WorkerReport(slots, running, at=NOW).to_json()
    return WorkerLease(1, "7@here", "default", list(types), EARLIER, SOON, NOW, "1", report, True, NOW)


def facts(*workers: WorkerLease, pauses: tuple[Pause, ...] = (), has_leader: bool = True) -> QueueFacts:
    return QueueFacts(workers, pauses, has_leader)


FAILED = {"attempt": 1, "failed_ms": ms(EARLIER), "error": "Broken", "delay_ms": 600_000, "holder": "7@here"}
CASES: dict[str, tuple[JobRow, QueueFacts, State, Reason | None, str]] = {
    "no worker": (job(), facts(), State.WAITING, Reason.NO_WORKER, "http-worker --queue default"),
    "unknown type": (job(), facts(worker("other")), State.WAITING, Reason.UNKNOWN_TYPE, "type greet"),
    "busy": (job(), facts(worker("greet", running=2)), State.WAITING, Reason.WORKER, "All 2 slots"),
    "free": (job(), facts(worker("greet")), State.WAITING, Reason.WORKER, "The stream has not brought it"),
    "dynamic": (job(), facts(worker("(dynamic)")), State.WAITING, Reason.WORKER, "The stream"),
    "canary": (job(job_type="delegator.canary"), facts(worker("greet")), State.WAITING, Reason.WORKER, "The stream"),
    "paused type": (
        job(),
        facts(worker("greet"), pauses=(Pause("default", "greet", EARLIER, "me@here", "broken"),)),
        State.WAITING,
        Reason.PAUSED,
        "delegator types resume greet",
    ),
    "other type paused": (
        job(),
        facts(worker("greet"), pauses=(Pause("default", "other", EARLIER, "me@here", None),)),
        State.WAITING,
        Reason.WORKER,
        "The stream",
    ),
    "start delay": (
        job(retry_at=SOON, options={"start_delay_ms": 600_000}),
        facts(worker("greet")),
        State.WAITING,
        Reason.DUE,
        "start delay",
    ),
    "limit": (job(retry_at=SOON), facts(worker("greet")), State.WAITING, Reason.LIMIT, "limit of type greet"),
    "limit after a failure": (
        job(state="backing_off", attempt=1, retry_at=SOON + timedelta(minutes=5), options={"attempts": [FAILED]}),
        facts(worker("greet")),
        State.BACKING_OFF,
        Reason.LIMIT,
        "limit",
    ),
    "failed": (
        job(state="backing_off", attempt=1, retry_at=SOON, options={"attempts": [FAILED]}),
        facts(worker("greet")),
        State.BACKING_OFF,
        Reason.FAILED,
        "Attempt 1 failed with Broken.",
    ),
    "failed, no serve": (
        job(state="backing_off", attempt=1, retry_at=SOON, options={"attempts": [FAILED]}),
        facts(worker("greet"), has_leader=False),
        State.BACKING_OFF,
        Reason.NO_MAINTENANCE,
        "start `delegator serve`",
    ),
    "refused": (
        job(retry_at=SOON, options={"refused": {"reason": "unknown_type", "ms": 1}}),
        facts(worker("other")),
        State.WAITING,
        Reason.REFUSED,
        "no handler for type greet",
    ),
    "locked": (
        job(retry_at=SOON, options={"refused": {"reason": "locked", "ms": 1}}),
        facts(worker("greet")),
        State.WAITING,
        Reason.REFUSED,
        "DELEGATOR_DATA_CONVERTER",
    ),
    "worker lost": (
        job(attempt=1, lease_id=3, holder="8@there", lease_expires_at=EARLIER),
        facts(worker("greet")),
        State.WAITING,
        Reason.WORKER_LOST,
        "8@there",
    ),
    "running": (
        job(state="running", attempt=2, lease_id=3, holder="8@there"),
        facts(worker("greet")),
        State.RUNNING,
        None,
        "Attempt 2 runs on 8@there.",
    ),
    "asked to stop": (
        job(state="running", attempt=2, lease_id=3, holder="8@there", cancel_requested=True),
        facts(worker("greet")),
        State.RUNNING,
        Reason.CANCELING,
        "asked to stop",
    ),
    "left to a client": (
        job(state="running", attempt=1, lease_id=3, holder="asynchronous completion"),
        facts(worker("greet")),
        State.RUNNING,
        Reason.CLIENT,
        "a client completes it",
    ),
    "delivering": (
        job(state="delivering", outcome="completed", completed_at=EARLIER),
        facts(worker("greet")),
        State.DELIVERING,
        None,
        "signalled to workflow wf",
    ),
    "stored": (
        job(state="stored", outcome="failed", completed_at=EARLIER, has_waiter=True),
        facts(worker("greet")),
        State.STORED,
        None,
        "reads the outcome",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_explanation(name: str) -> None:
    """State, reason, and a sentence that names what is so or what to do."""
    row, known, state, reason, words = CASES[name]
    explanation = explain(row, known)
    assert (explanation.state, explanation.reason) == (state, reason)
    assert words in f"{explanation.text} {explanation.needs}"


def test_running_since() -> None:
    """A job that its worker names has its own start; one that it does not name has begun since the report."""
    named = WorkerReport(1, 1, [RunningJob("a", EARLIER, None)], NOW).to_json()
    silent = WorkerReport(1, 0, [], NOW).to_json()
    assert explain(job(state="running", lease_id=1, report=named), facts()).since == EARLIER
    assert explain(job(state="running", lease_id=1, report=silent), facts()).since == NOW


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": "x", "paused": 3, "refused": None, "start_delay_ms": "y"},
        {"attempts": [1, {"failed_ms": "x"}, {"failed_ms": 1e300}], "paused_ms": []},
        {"paused": {"since_ms": None}},
    ],
    ids=["wrong types", "wrong attempts", "wrong pause"],
)
def test_foreign_values(options: dict[str, Any]) -> None:
    """Whatever another program wrote into the options, the job is listed."""
    row = job(retry_at=SOON, options=options, report={"jobs": [1], "slots": "x", "at_ms": "y"})
    assert row.attempts == []
    assert explain(row, facts(worker("greet"))).state is State.WAITING
    assert [moment.event for moment in timeline(row, explain(row, facts()))] == ["enqueued"]


def test_completion_path() -> None:
    """The row says how the outcome goes to whoever waits."""
    paths = [
        completion_path(job(has_waiter=True)),
        completion_path(job()),
        completion_path(job(is_activity_task=True)),
        completion_path(job(workflow_id=None)),
    ]
    assert paths == ["inline", "signal", "activity task", "none"]
