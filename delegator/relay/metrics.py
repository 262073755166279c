"""The relay's series. They are read from the state when they are scraped: the hot path counts in plain integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from delegator.relay.state import RelayState, StreamState
from delegator.relay.store import Stream

_T = TypeVar("_T")
_COUNTERS: Final[tuple[tuple[str, str, Callable[[Stream], float]], ...]] = (
    ("received", "Messages read from the WAL", lambda stream: stream.received),
    ("delivered", "Messages delivered to pollers, redeliveries included", lambda stream: stream.delivered),
    ("acked", "Messages acknowledged", lambda stream: stream.acked),
    ("nacked", "Messages given back by their poller", lambda stream: stream.nacked),
    ("redelivered", "Messages that became visible again", lambda stream: stream.redelivered),
)
_GAUGES: Final[tuple[tuple[str, str, Callable[[Stream], float]], ...]] = (
    ("buffered_messages", "Messages read and not acknowledged", lambda stream: len(stream)),
    ("buffered_bytes", "Memory that these messages take", lambda stream: stream.size),
    ("waiting_pollers", "Requests that wait for a message", lambda stream: stream.pollers),
)
_STATE_COUNTERS: Final[tuple[tuple[str, str, Callable[[StreamState], float]], ...]] = (
    ("reconnects", "How often streaming began again after it had ended", lambda state: state.reconnects),
    ("stalls", "How often the stream's share of the store was full", lambda state: state.stalls),
    ("slot_recreated", "How often the slot was lost and created again", lambda state: state.slot_recreated),
    ("republished", "Jobs republished because the slot was new", lambda state: state.republished),
)
_STATE_GAUGES: Final[tuple[tuple[str, str, Callable[[StreamState], float]], ...]] = (
    ("connected", "1 while the WAL is streamed", lambda state: state.connected),
    ("stalled", "1 while the stream's share of the store is full and the WAL is not read", lambda state: state.stalled),
    ("slot_lag_bytes", "WAL written by the server beyond the confirmed position", lambda state: state.lag),
    (
        "slot_lag_seconds",
        "Age of the oldest message that is not acknowledged; 0 when there is none",
        lambda state: state.lag_seconds,
    ),
    ("slot_retained_bytes", "WAL that the server keeps for the slot", lambda state: state.retained),
)


class RelayCollector(Collector):
    """Shows each stream and its replication."""

    def __init__(self, streams: Mapping[str, Stream], state: RelayState, registry: CollectorRegistry) -> None:
        """Register the series.

        Args:
            streams: by name.
            state: of the relay.
            registry: where they are exposed.
        """
        self._streams = streams
        self._state = state
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read the state."""
        active = GaugeMetricFamily("delegator_relay_active", "1 for the relay that streams, 0 for a standby")
        active.add_metric([], float(self._state.active))
        yield active
        yield from _families(CounterMetricFamily, _COUNTERS, self._streams)
        yield from _families(GaugeMetricFamily, _GAUGES, self._streams)
        yield from _families(GaugeMetricFamily, _STATE_GAUGES, self._state.streams)
        yield from _families(CounterMetricFamily, _STATE_COUNTERS, self._state.streams)


def _families(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    series: tuple[tuple[str, str, Callable[[_T], float]], ...],
    by_name: Mapping[str, _T],
) -> Iterator[Metric]:
    for name, text, read in series:
        family = kind(f"delegator_relay_{name}", text, labels=["stream"])
        for stream, source in by_name.items():
            family.add_metric([stream], float(read(source)))
        yield family
