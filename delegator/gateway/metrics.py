"""The gateway's own series. Those of a worker (`delegator_worker_...`) count its jobs, too."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class GatewayMetrics:
    """The series of one gateway; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.requests = Counter(
            "delegator_gateway_requests_total",
            "Requests of workers, by path and HTTP status",
            ["path", "status"],
            registry=registry,
        )
        self.answers = Counter(
            "delegator_gateway_answers_total",
            "Entries of requests about jobs, by request and by what was answered",
            ["request", "status"],
            registry=registry,
        )
        self.handed_out = Counter(
            "delegator_gateway_jobs_handed_out_total", "Jobs that workers have got", registry=registry
        )
        self.polls = Gauge("delegator_gateway_polls_waiting", "Polls that wait for a job", registry=registry)
