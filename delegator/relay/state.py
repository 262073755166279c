"""What the relay says of itself, in health and metrics."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from delegator.postgres.relay_lock import SlotLag
from delegator.postgres.replication import format_lsn
from delegator.relay.copy_stream import CopyStream
from delegator.relay.ingest import Ingest
from delegator.relay.pgoutput import EPOCH
from delegator.runtime.connection_state import ConnectionState

_LEADERLESS_SECONDS: Final = 2.0
"""How long a relay without the locks answers with nothing before it refuses. A restart of PostgreSQL takes about as
long. Then this relay has the locks again and no worker looks for another one."""

_log = logging.getLogger(__name__)


class StreamState:
    """The state of one queue's replication."""

    def __init__(self, ingest: Ingest) -> None:
        """Begin with a stream that has not started.

        Args:
            ingest: knows how much of the WAL was read.
        """
        self._ingest = ingest
        self._copy: CopyStream | None = None
        self._past_stalls = 0
        self.started = False
        """The WAL has been streamed before or is streamed now."""
        self.reconnects = self.slot_recreated = self.republished = 0
        self.confirmed = 0
        """The slot's confirmed position when streaming last began or ended; 0: not known."""
        self.problem: str | None = None
        """Why the WAL is not streamed; None: it is, or was not tried yet."""
        self.slot: SlotLag | None = None
        """How far the slot is behind, as the server said last; None: not known, or there is no slot."""
        self._endangered = False

    @property
    def connected(self) -> bool:
        """True while the WAL is streamed."""
        return self._copy is not None

    @property
    def stalled(self) -> bool:
        """True while streaming waits for room in the store."""
        return self._copy is not None and self._copy.stalled

    @property
    def stalls(self) -> int:
        """How often the store was full."""
        return self._past_stalls + (self._copy.stalls if self._copy is not None else 0)

    @property
    def lag(self) -> int:
        """Bytes of WAL that are not confirmed: of all that was written, if the server said so, or of what was read."""
        if self.slot is not None:
            return self.slot.lag_bytes
        confirmed = self._copy.confirmed if self._copy is not None else self.confirmed
        return max(0, self._ingest.wal_end - confirmed) if confirmed else 0

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest transaction that holds the slot back; 0: there is none, or the WAL is not streamed."""
        micros = self._ingest.progress.oldest_micros if self._copy is not None else None
        return 0.0 if micros is None else max(0.0, time.time() - EPOCH.timestamp() - micros / 1_000_000)

    @property
    def retained(self) -> int:
        """Bytes of WAL that the server keeps for the slot, as it said last; 0: not known."""
        return 0 if self.slot is None else self.slot.retained_bytes

    def slot_seen(self, name: str, slot: SlotLag | None) -> None:
        """Note how far the slot is behind. It is logged once when the slot may soon lose WAL.

        Args:
            name: of the slot.
            slot: what the server says of it; None: it does not exist.
        """
        self.slot = slot
        endangered = slot is not None and slot.endangered
        if slot is None or endangered == self._endangered:
            return
        self._endangered = endangered
        extra = {"slot": name, "retained_bytes": slot.retained_bytes, "safe_bytes": slot.safe_bytes}
        if endangered:
            _log.error("relay_slot_endangered", extra=extra | {"fix": "start workers, or raise max_slot_wal_keep_size"})
        else:
            _log.info("relay_slot_safe", extra=extra)

    def streaming(self, copy: CopyStream) -> None:
        """Note that streaming began.

        Args:
            copy: streams.
        """
        self.reconnects += self.started
        self.started = True
        self.problem = None
        self._copy = copy

    def ended(self) -> None:
        """Note that streaming ended."""
        if self._copy is not None:
            self._past_stalls += self._copy.stalls
            self.confirmed = max(self.confirmed, self._copy.confirmed)
            self._copy = None

    def name(self) -> str:
        """Return the state in one word."""
        if self._copy is not None:
            return "stalled" if self._copy.stalled else "streaming"
        return "reconnecting" if self.started else "starting"

    def health(self) -> dict[str, object]:
        """Return what `/health` says of the stream."""
        return {
            "ok": self.connected,
            "state": self.name(),
            "problem": self.problem,
            "confirmed_lsn": format_lsn(self._copy.confirmed if self._copy is not None else self.confirmed),
            "lag_bytes": self.lag,
            "reconnects": self.reconnects,
            "slot_recreated": self.slot_recreated,
        }


class RelayState:
    """The state of the whole relay: the worst state of its streams, and the sums of their counts."""

    def __init__(self, streams: Mapping[str, StreamState], connection: ConnectionState) -> None:
        """Begin with streams that have not started.

        Args:
            streams: by name.
            connection: the process's connection to PostgreSQL; up while every stream is streamed.
        """
        self.streams = streams
        self.stopping = False
        self.active = False
        """This relay holds the locks of its slots."""
        self.term = 0
        """How often this relay got the locks."""
        self.relieved = 0
        """How often this relay found that another one holds the locks."""
        self._standby = False
        self._leaderless_since = time.monotonic()
        self._connection = connection
        self._down = set(streams)

    @property
    def connected(self) -> bool:
        """True while every stream is streamed."""
        return all(stream.connected for stream in self.streams.values())

    @property
    def stalled(self) -> bool:
        """True while a stream waits for room in its store."""
        return any(stream.stalled for stream in self.streams.values())

    @property
    def stalls(self) -> int:
        """How often a store was full."""
        return sum(stream.stalls for stream in self.streams.values())

    @property
    def reconnects(self) -> int:
        """How often streaming began again, over all streams."""
        return sum(stream.reconnects for stream in self.streams.values())

    @property
    def slot_recreated(self) -> int:
        """How often a slot was lost and created again."""
        return sum(stream.slot_recreated for stream in self.streams.values())

    @property
    def problem(self) -> str | None:
        """Why one of the streams is not streamed; None: all are, or were not tried yet."""
        return next((stream.problem for stream in self.streams.values() if stream.problem is not None), None)

    @property
    def standby(self) -> bool:
        """True while another session holds the locks."""
        return self._standby

    @property
    def deposed(self) -> bool:
        """True if this relay lost the locks a while ago. Workers that find nothing here must ask another relay."""
        return not self.active and bool(self.term) and time.monotonic() > self._leaderless_since + _LEADERLESS_SECONDS

    def lead(self) -> None:
        """Note that this relay got the locks."""
        self.active, self._standby = True, False
        self.term += 1
        # Now it counts whether the streams come up.
        self._down = set(self.streams)

    def resign(self) -> None:
        """Note that this relay lost the locks, or gives them back."""
        self.active = False
        self._leaderless_since = time.monotonic()
        for stream in self.streams.values():
            stream.slot = None

    def stand_by(self, problem: str | None) -> None:
        """Note that another session holds the locks.

        Args:
            problem: why that is wrong; None: the session belongs to a relay.
        """
        if problem is None and not self._standby:
            self.relieved += 1
        self._standby = problem is None
        for stream in self.streams.values():
            stream.problem = problem
        if problem is None:
            self._connection.restored()
        else:
            self._connection.lost(problem, refused=True)

    def unreachable(self, reason: str) -> None:
        """Note that the database can't be asked for the locks.

        Args:
            reason: one line for people, without payloads or secrets.
        """
        self._standby = False
        for name in self.streams:
            self.lost(name, reason)

    def lost(self, name: str, reason: str) -> None:
        """Note that a stream ended, or could not be started.

        Args:
            name: of the stream.
            reason: one line for people, without payloads or secrets.
        """
        self.streams[name].problem = reason
        self._down.add(name)
        self._connection.lost(reason)

    def restored(self, name: str) -> None:
        """Note that a stream is streamed.

        Args:
            name: of the stream.
        """
        self._down.discard(name)
        if not self._down:
            self._connection.restored()

    def name(self) -> str:
        """Return the state of the stream that is worst off, in one word."""
        if self.stopping:
            return "stopping"
        if self._standby:
            return "standby"
        names = {stream.name() for stream in self.streams.values()}
        return next(name for name in ("reconnecting", "starting", "stalled", "streaming") if name in names)

    def health(self) -> dict[str, object]:
        """Return the body of `/health`."""
        return {
            "ok": self.connected,
            "state": self.name(),
            "active": self.active,
            "problem": self.problem,
            "reconnects": self.reconnects,
            "slot_recreated": self.slot_recreated,
            "streams": {name: stream.health() for name, stream in self.streams.items()},
        }
