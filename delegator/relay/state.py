"""What the relay says of itself, in health and metrics."""

from __future__ import annotations

from delegator.relay.ingest import Ingest
from delegator.relay.pgoutput import format_lsn
from delegator.relay.replication import CopyStream


class RelayState:
    """The state of the replication side."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._copy: CopyStream | None = None
        self._past_stalls = 0
        self.started = False
        self.stopping = False
        self.reconnects = self.slot_recreated = self.reemitted = 0
        self.confirmed = 0
        self.problem: str | None = None

    @property
    def connected(self) -> bool:
        """The WAL is streamed."""
        return self._copy is not None

    @property
    def stalled(self) -> bool:
        """Streaming waits for room in the store."""
        return self._copy is not None and self._copy.stalled

    @property
    def stalls(self) -> int:
        """How often the store was full."""
        return self._past_stalls + (self._copy.stalls if self._copy is not None else 0)

    @property
    def lag(self) -> int:
        """Bytes of WAL that the server sent and that are not confirmed."""
        confirmed = self._copy.confirmed if self._copy is not None else self.confirmed
        return max(0, self._ingest.wal_end - confirmed) if confirmed else 0

    def streaming(self, copy: CopyStream) -> None:
        """Streaming began."""
        self.reconnects += self.started
        self.started = True
        self.problem = None
        self._copy = copy

    def ended(self) -> None:
        """Streaming ended."""
        if self._copy is not None:
            self._past_stalls += self._copy.stalls
            self.confirmed = max(self.confirmed, self._copy.confirmed)
            self._copy = None

    def name(self) -> str:
        """One word."""
        if self.stopping:
            return "stopping"
        if self._copy is not None:
            return "stalled" if self._copy.stalled else "streaming"
        return "reconnecting" if self.started else "starting"

    def health(self) -> dict[str, object]:
        """Return the body of `/health`."""
        return {
            "ok": self.connected,
            "state": self.name(),
            "problem": self.problem,
            "confirmed_lsn": format_lsn(self._copy.confirmed if self._copy is not None else self.confirmed),
            "lag_bytes": self.lag,
            "reconnects": self.reconnects,
            "slot_recreated": self.slot_recreated,
        }
