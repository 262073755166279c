"""The series that the processes expose, from the calls that register them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from delegator.relay.metrics import RelayCollector
from delegator.relay.state import RelayState
from delegator.relay.store import Stream
from delegator.runtime.connection_state import ConnectionMetrics, ConnectionState
from docs_reference.markdown import code, table
from docs_reference.sources import modules, process_of, text_of
from http_workers.children import PROCESS_LABEL

_TYPES = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "Summary": "summary",
    "Info": "info",
    "Counts": "counter",
    "DurationHistogram": "histogram",
    "SizeHistogram": "histogram",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
    "HistogramMetricFamily": "histogram",
}
"""Calls that register a series, and its type."""

_SUPERVISOR = "http_workers/supervisor.py"
_PER_PROCESS = {
    "http-worker": (
        f"With `--processes` above 1, each worker process has its own samples of a series. The label `{PROCESS_LABEL}` "
        "holds the number of the process, from 0. It stands in brackets here, because a single process does not have "
        "it.\n\n"
    ),
    "several": (
        f"`http-worker` with `--processes` above 1 adds the label `{PROCESS_LABEL}`: the number of the worker process, "
        "from 0.\n\n"
    ),
}
"""What the page says before the series that each process of a pool has."""


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
    per_process: bool = False
    """Whether `http-worker --processes` adds the label `process`."""


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
        rows = [[code(one.name), one.type, _shown_labels(one), one.meaning] for one in series if one.process == process]
        parts.append(
            f"## {title}\n\n{_PER_PROCESS.get(process, '')}" + table(["series", "type", "labels", "meaning"], rows)
        )
    return "\n".join(parts)


def _shown_labels(series: Series) -> str:
    labels = [code(label) for label in series.labels]
    return ", ".join(
        [*labels, f"({code(PROCESS_LABEL)})"] if series.per_process and series.process != "several" else labels
    )


def _registered() -> Iterator[Series]:
    for path, tree in modules():
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or len(call.args) < 2:
                continue
            name, meaning = text_of(call.args[0]), text_of(call.args[1])
            if call.func.id not in _TYPES or name is None or meaning is None or not name.startswith("delegator_"):
                continue
            kind = _TYPES[call.func.id]
            process = process_of(path)
            yield Series(
                name=_exposed(name, kind),
                type=kind,
                labels=_labels(call),
                meaning=meaning,
                process=process,
                per_process=process == "several" or (process == "http-worker" and path != _SUPERVISOR),
            )


def _labels(call: ast.Call) -> tuple[str, ...]:
    given = [*call.args[2:3], *(keyword.value for keyword in call.keywords if keyword.arg in ("labels", "labelnames"))]
    for node in given:
        if isinstance(node, ast.List | ast.Tuple):
            return tuple(text for item in node.elts if (text := text_of(item)) is not None)
    return ()


def _of_relay() -> Iterator[Series]:
    """The relay builds the names of its series: read them from a collector without streams."""
    streams: dict[str, Stream] = {}
    registry = CollectorRegistry()
    state = RelayState({}, ConnectionState("postgresql", ConnectionMetrics(registry)))
    for family in RelayCollector(streams, state, registry).collect():
        labels = () if family.samples else ("stream",)
        yield Series(_exposed(family.name, family.type), family.type, labels, family.documentation, "relay")


def _exposed(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" and not name.endswith("_total") else name
