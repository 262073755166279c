"""What refused jobs cost, and what the log says of them."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry
from temporalio.common import RetryPolicy
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from delegator.completion.failures import failure_of
from delegator.completion.retry import Retry
from delegator.contracts import JobOptions
from delegator.postgres.dead_letters import Reason
from delegator.wire.options import refused_time
from http_workers.attempt import Ended
from http_workers.job import Job
from http_workers.metrics import WorkerMetrics
from http_workers.refusals import Refusals, next_attempt
from http_workers.verdict import FinalFailure, judge
from tests.support.claims import claimed

UNKNOWN = Reason.UNKNOWN_TYPE
DAY = timedelta(days=1)


def refused(refused_ms: int = 0, reason: Reason = UNKNOWN, job_type: str = "t", **row: Any) -> Ended:
    options = orjson.dumps({"refused": {"reason": reason, "ms": refused_ms}}).decode() if refused_ms else None
    failure = failure_of(ApplicationError("no handler", type="NotFoundError"), DataConverter.default)
    counted_as = "" if reason is UNKNOWN else job_type
    job = Job(claimed(job_type=job_type, options=options, **row))
    return Ended(job, failure=failure, refusal=reason, counted_as=counted_as)


async def made(*served: str) -> tuple[Refusals, CollectorRegistry]:
    async def ask() -> set[str]:
        return set(served)

    registry = CollectorRegistry()
    refusals = Refusals(WorkerMetrics(registry))
    await refusals.look(ask)
    return refusals, registry


@pytest.mark.parametrize(
    ("served", "refused_ms", "seconds"),
    [(["t"], 0, 0.01), (["t"], 400, 0.4), (["t"], 9_000_000, 1), ([], 0, 0.5), ([], 4_000, 4), ([], 9_000_000, 30)],
)
async def test_delays(served: list[str], refused_ms: int, seconds: float):
    """The delay doubles up to a bound: a second if another pool has the type, else half a minute."""
    refusals, _ = await made(*served)
    delay = refusals.offer_after(refused(refused_ms).job).total_seconds()
    assert 0.75 * seconds <= delay <= 1.25 * seconds


async def test_crowds():
    """The more jobs of a type that nobody serves, the longer each waits: the database is not kept busy."""
    refusals, _ = await made()
    for _ in range(6_000):
        refusals.note(refused(), UNKNOWN)
    assert timedelta(seconds=45) <= refusals.offer_after(refused().job) <= timedelta(seconds=75)
    for _ in range(200_000):
        refusals.note(refused(), UNKNOWN)
    assert refusals.offer_after(refused().job) <= timedelta(minutes=5) * 1.25
    assert refusals.offer_after(refused(job_type="other").job) < timedelta(seconds=1)


async def test_one_line_a_type(caplog: pytest.LogCaptureFixture):
    """A thousand refused jobs are one line for each type, and an error only if no pool has the type."""
    caplog.set_level(logging.INFO)
    refusals, registry = await made("served")
    for _ in range(1_000):
        for job_type, reason in (("t", UNKNOWN), ("served", UNKNOWN), ("t", Reason.UNDECODABLE)):
            refusals.note(refused(job_type=job_type, reason=reason), reason)
    seen = [(record.levelname, vars(record)["job_type"], vars(record)["reason"]) for record in caplog.records]
    assert seen == [("ERROR", "t", "unknown_type"), ("INFO", "served", "unknown_type"), ("ERROR", "t", "undecodable")]
    for job_type, reason in (("", "unknown_type"), ("", "served_elsewhere"), ("t", "undecodable")):
        labels = {"job_type": job_type, "reason": reason}
        assert registry.get_sample_value("delegator_worker_jobs_refused_total", labels) == 1_000


async def test_made_up_types(caplog: pytest.LogCaptureFixture):
    """Of any number of types a thousand are remembered. A type that nobody has comes with its cure."""
    refusals, _ = await made()
    for name in ("first", *map(str, range(1_000)), "first"):
        refusals.note(refused(job_type=name), UNKNOWN)
    assert [vars(record)["job_type"] for record in caplog.records].count("first") == 2
    assert "deploy its handler" in vars(caplog.records[0])["cure"]


@pytest.mark.parametrize("log_messages", [True, False])
async def test_messages_on_demand(log_messages: bool, caplog: pytest.LogCaptureFixture):
    """Why arguments can't be decoded is logged with DELEGATOR_LOG_MESSAGES only."""
    refusals = Refusals(WorkerMetrics(CollectorRegistry()), log_messages=log_messages)
    refusals.note(refused(reason=Reason.UNDECODABLE), Reason.UNDECODABLE)
    (said,) = (vars(record) for record in caplog.records if record.name == "http_workers.refusals")
    assert ("no handler" in str(said)) is log_messages


def verdict(ended: Ended, grace: timedelta, **policy: Any) -> Retry | FinalFailure:
    ended.job.options = JobOptions(retry_policy=RetryPolicy(**policy))
    assert ended.failure is not None
    after = timedelta(seconds=30)
    return judge(ended, ended.failure, identity="i", now=0.0, grace=grace, offer_after=after)


@pytest.mark.parametrize(
    ("reason", "attempt", "refused_ms", "policy", "grace", "retried"),
    [
        (UNKNOWN, 1, 0, {"maximum_attempts": 1}, DAY, True),
        (UNKNOWN, 1, 60_000, {}, timedelta(minutes=1), False),
        (UNKNOWN, 1, 0, {"non_retryable_error_types": ["NotFoundError"]}, DAY, False),
        (Reason.UNDECODABLE, 1, 0, {"maximum_attempts": 1}, DAY, False),
        (Reason.UNDECODABLE, 1, 0, {"maximum_attempts": 2}, DAY, True),
        (Reason.UNDECODABLE, 9, 60_000, {}, timedelta(minutes=1), False),
        (Reason.LOCKED, 1, 0, {"maximum_attempts": 1}, DAY, True),
        (Reason.LOCKED, 1, 60_000, {"maximum_attempts": 1}, timedelta(0), True),
    ],
)
def test_verdicts(
    reason: Reason, attempt: int, refused_ms: int, policy: dict[str, Any], grace: timedelta, retried: bool
):
    """A refused job becomes a dead letter for the reason of its refusal, when its policy or the grace ends.

    One whose key is missing never does.
    """
    found = verdict(refused(refused_ms, reason, attempt=attempt), grace, **policy)
    assert isinstance(found, Retry) is retried
    if isinstance(found, FinalFailure):
        assert found.dead_letter_reason is reason


def test_waiting_for_a_key_costs_nothing():
    """No attempt counts while a key is missing, and hardly any of the grace is used."""
    days = 2 * DAY // timedelta(milliseconds=1)
    seen = [
        next_attempt(refused(before, reason, attempt=3), timedelta(hours=1), None)
        for before, reason in ((0, Reason.LOCKED), (days, Reason.LOCKED), (0, UNKNOWN), (0, Reason.UNDECODABLE))
    ]
    assert [(one.attempt, one.refused_ms) for one in seen] == [(2, 60_000), (2, days), (2, 3_600_000), (3, 3_600_000)]


@pytest.mark.parametrize("text", [None, "{}", "[]", '"refused"', '{"refused": 1}', '{"refused": {"ms": "x"}}', "?"])
def test_unreadable_refusals(text: str | None):
    """Options of any shape say how long a job was refused: not at all."""
    assert refused_time(text) == timedelta(0)
