"""The light series are exposed as the library's own are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from delegator.runtime.series import SECONDS, Counts, DurationHistogram


def exposed(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return [line for line in lines if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 1000) | st.sampled_from(SECONDS))))
def test_histograms(seen: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    histogram = DurationHistogram("run_seconds", "How long.", ["job_type"], ours)
    expected = Histogram("run_seconds", "How long.", ["job_type"], buckets=SECONDS, registry=theirs)
    for label, seconds in seen:
        histogram.labels(label).observe(seconds)
        expected.labels(label).observe(seconds)
    assert exposed(ours) == exposed(theirs)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"))))
def test_counters(seen: list[tuple[str, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("attempts", "How many.", ["job_type", "result"], ours)
    expected = Counter("attempts", "How many.", ["job_type", "result"], registry=theirs)
    for labels in seen:
        counts.labels(*labels).inc()
        expected.labels(*labels).inc()
    assert exposed(ours) == exposed(theirs)
