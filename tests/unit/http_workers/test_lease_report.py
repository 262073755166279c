"""What a worker says of itself in its lease."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from delegator.postgres.lease_reports import WorkerReport
from http_workers.lease_report import LeaseReport
from http_workers.metrics import WorkerMetrics


def test_recent_runs() -> None:
    """The claims and the durations of the last minute are those since the reading of a minute ago, over all types."""
    metrics, clock = WorkerMetrics(CollectorRegistry()), [0.0]
    report = LeaseReport(4, list, metrics, clock=lambda: clock[0])
    metrics.claim_size.observe(100)
    metrics.run_seconds.labels("a").observe(0.02)
    assert report().recent is None
    for step in range(1, 15):
        clock[0] = 10.0 * step
        metrics.claim_size.observe(20)
        metrics.run_seconds.labels("a" if step % 2 else "b").observe(0.02)
        recent = report().recent
        assert recent is not None
        assert recent.claimed / recent.seconds == 2
        assert sum(recent.durations) == recent.claimed / 20 == recent.seconds / 10
    assert recent.seconds <= 60
    read = WorkerReport.read(report().to_json())
    assert read.recent is not None and read.recent.claimed > 0


def test_other_releases() -> None:
    """A report without it, or with other classes, says nothing of it."""
    assert WorkerReport.read({"slots": 1}).recent is None
    assert WorkerReport.read({"recent": {"seconds": 1.0, "claimed": 1, "durations": [1]}}).recent is None
    assert WorkerReport.read({"recent": {"seconds": 0, "claimed": 1, "durations": []}}).recent is None
