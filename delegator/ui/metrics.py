"""The metrics of the page."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram


class UiMetrics:
    """The series of one page; make one per registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            registry: where they are exposed.
        """
        self.requests = Counter(
            "delegator_ui_requests_total", "Requests to the page, by route and status", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "delegator_ui_requests_refused_total",
            "Requests that the page has refused: a wrong token (token), another host's name (host), a form that was "
            "not made for this login (form), a change while the page only reads (read_only)",
            ["reason"],
            registry=registry,
        )
        self.changes = Counter(
            "delegator_ui_changes_total", "What people have changed by the page", ["action"], registry=registry
        )
        self.read_seconds = Histogram(
            "delegator_ui_read_seconds",
            "How long the page read the database",
            ["what"],
            registry=registry,
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
