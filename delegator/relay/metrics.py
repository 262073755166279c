"""The relay's series. They are read from the live state when scraped, so that the hot path counts in plain integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from delegator.relay.state import RelayState
from delegator.relay.store import Stream

_Reader = Callable[[Stream], float]
_COUNTERS: Final[tuple[tuple[str, str, _Reader], ...]] = (
    ("received", "Messages read from the WAL", lambda stream: stream.received),
    ("delivered", "Messages answered to pollers, redeliveries included", lambda stream: stream.delivered),
    ("acked", "Messages acknowledged", lambda stream: stream.acked),
    ("nacked", "Messages given back by their poller", lambda stream: stream.nacked),
    ("redelivered", "Messages that became visible again", lambda stream: stream.redelivered),
    ("dropped", "Messages dropped because their record is too large", lambda stream: stream.dropped),
)
_GAUGES: Final[tuple[tuple[str, str, _Reader], ...]] = (
    ("buffered_messages", "Messages read and not acknowledged", lambda stream: len(stream)),
    ("buffered_bytes", "Memory taken by them", lambda stream: stream.bytes),
    ("waiting_pollers", "Requests that wait for a message", lambda stream: stream.pollers),
)


class RelayCollector(Collector):
    """Shows streams and replication."""

    def __init__(self, streams: Iterable[Stream], state: RelayState, registry: CollectorRegistry) -> None:
        self._streams = tuple(streams)
        self._state = state
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Read the state."""
        for name, text, read in _COUNTERS:
            counter = CounterMetricFamily(f"delegator_relay_{name}", text, labels=["stream"])
            for stream in self._streams:
                counter.add_metric([stream.name], read(stream))
            yield counter
        for name, text, read in _GAUGES:
            gauge = GaugeMetricFamily(f"delegator_relay_{name}", text, labels=["stream"])
            for stream in self._streams:
                gauge.add_metric([stream.name], read(stream))
            yield gauge
        state = self._state
        for name, text, value in (
            ("connected", "1 while the WAL is streamed", float(state.connected)),
            ("stalled", "1 while the store is full and the WAL is not read", float(state.stalled)),
            ("slot_lag_bytes", "WAL sent by the server beyond the confirmed position", float(state.lag)),
        ):
            yield GaugeMetricFamily(f"delegator_relay_{name}", text, value=value)
        for name, text, value in (
            ("reconnects", "How often streaming began again after it had ended", state.reconnects),
            ("stalls", "How often the store was full", state.stalls),
            ("slot_recreated", "How often the slot was lost and made anew", state.slot_recreated),
            ("reemitted", "Rows inserted anew because the slot was new", state.reemitted),
        ):
            yield CounterMetricFamily(f"delegator_relay_{name}", text, value=value)
