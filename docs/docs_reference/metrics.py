"""The series that the processes expose, from the calls that register them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from delegator.relay.metrics import RelayCollector
from delegator.relay.state import StreamState
from delegator.relay.store import Stream
from docs_reference.markdown import code, table
from docs_reference.sources import modules, process_of, text_of

_TYPES = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "Summary": "summary",
    "Info": "info",
    "Counts": "counter",
    "DurationHistogram": "histogram",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
    "HistogramMetricFamily": "histogram",
}
"""Calls that register a series, and its type."""


@dataclass(frozen=True)
class Series:
    """A series, or a family of them that differ in the values of labels."""

    name: str
    """As Prometheus shows it; of a histogram without `_bucket`, `_count` and `_sum`."""
    type: str
    """Prometheus's type."""
    labels: tuple[str, ...]
    """Names of its labels."""
    meaning: str
    """What it says."""
    process: str
    """Which process exposes it."""


def all_series() -> list[Series]:
    """Return every series of the engine, in the order of processes and names."""
    found = {series.name: series for series in (*_registered(), *_of_relay())}
    return sorted(found.values(), key=lambda series: (series.process, series.name))


def metrics_page() -> str:
    """Return the Markdown of the series."""
    parts = []
    series = all_series()
    for process in dict.fromkeys(one.process for one in series):
        title = "Every process that talks to the server in question" if process == "several" else f"`{process}`"
        rows = [
            [code(one.name), one.type, ", ".join(map(code, one.labels)), one.meaning]
            for one in series
            if one.process == process
        ]
        parts.append(f"## {title}\n\n" + table(["series", "type", "labels", "meaning"], rows))
    return "\n".join(parts)


def _registered() -> Iterator[Series]:
    for path, tree in modules():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) < 2:
                continue
            name, meaning = text_of(call.args[0]), text_of(call.args[1])
            if call.func.id not in _TYPES or name is None or meaning is None or not name.startswith("delegator_"):
                continue
            kind = _TYPES[call.func.id]
            yield Series(_exposed(name, kind), kind, _labels(call), meaning, process_of(path))


def _labels(call: ast.Call) -> tuple[str, ...]:
    given = [*call.args[2:3], *(keyword.value for keyword in call.keywords if keyword.arg in ("labels", "labelnames"))]
    for node in given:
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(text for item in node.elts if (text := text_of(item)) is not None)
    return ()


def _of_relay() -> Iterator[Series]:
    """The relay builds the names of its series: read them from a collector without streams."""
    streams: dict[str, Stream] = {}
    states: dict[str, StreamState] = {}
    for family in RelayCollector(streams, states, CollectorRegistry()).collect():
        yield Series(_exposed(family.name, family.type), family.type, ("stream",), family.documentation, "relay")


def _exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
