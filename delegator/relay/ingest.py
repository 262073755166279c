"""Takes the replication stream apart and fills the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from struct import Struct
from struct import error as StructError
from typing import Final

from delegator.errors import WireError
from delegator.relay import pgoutput
from delegator.relay.progress import Progress, Transaction
from delegator.relay.render import Renderer, Source
from delegator.relay.store import AckIds, Message, Stream

_WAL_DATA, _KEEPALIVE = b"wk"
_PAYLOAD: Final = 25
_KEEPALIVE_BODY = Struct(">QqB")
_OID = Struct(">I").unpack_from
_WHOLE: Final = 1 << 62

log = logging.getLogger(__name__)


class Ingest:
    """Reads what a walsender sends, over any number of connections.

    After a reconnection the server sends again every transaction that is not confirmed. Transactions come in
    the order of their commit positions, so whatever lies at or before the highest message seen is known: it
    is buffered, with the ack_id it has, or acked; neither must be delivered anew.
    """

    def __init__(self, streams: Mapping[str, Stream], max_record_bytes: int) -> None:
        self.progress = Progress()
        self.wal_end = 0
        self._streams = streams
        self._max_record = max_record_bytes
        self._ack_id = AckIds()
        self._source = Source("", "", {})
        self._types: dict[int, str] = {}
        self._tables: dict[int, tuple[Renderer, Stream]] = {}
        self._seen_lsn = 0
        self._seen_count = 0
        self._in_transaction = False
        self._lsn = 0
        self._count = 0
        self._committed_at: datetime = pgoutput.EPOCH
        self._open: Transaction | None = None
        self._renderer: Renderer | None = None
        self._touched: set[Stream] = set()

    def connected(self, source: Source, confirmed: int = 0) -> None:
        """A new connection begins: the server announces relations anew, and repeats what is unconfirmed.

        Args:
            source: the database.
            confirmed: the slot's confirmed position; 0: not known.
        """
        self.progress.reached(confirmed)
        self._source = source
        self._types.clear()
        self._tables.clear()
        self._in_transaction = False
        self._renderer = None

    def new_history(self) -> None:
        """Positions seen so far mean nothing any more: this is another server, or another timeline of it."""
        self._seen_lsn = self._seen_count = 0
        self.new_slot(0)

    def new_slot(self, confirmed: int) -> None:
        """The slot begins anew, at `confirmed`: nothing buffered holds it back."""
        self.progress.reset(confirmed)
        self._open = None

    def handle(self, data: bytes) -> bool:
        """Take one message of the walsender.

        Returns:
            True when the server asks for a status update at once.

        Raises:
            WireError: it does not follow the protocol.
        """
        try:
            if data[0] == _WAL_DATA:
                self._message(data)
                return False
            if data[0] != _KEEPALIVE:
                raise WireError(f"unknown message of the replication stream: {data[:1]!r}")
            wal_end, _clock, reply = _KEEPALIVE_BODY.unpack_from(data, 1)
        except (IndexError, StructError):
            raise WireError("message of the replication stream is cut short") from None
        self.wal_end = max(self.wal_end, wal_end)
        if not self._in_transaction:
            self.progress.reached(wal_end)
        return bool(reply)

    def flush(self) -> None:
        """Hand what was read since the last call to the pollers that wait for it."""
        for stream in self._touched:
            stream.flush()
        self._touched.clear()

    def _message(self, data: bytes) -> None:
        kind = data[_PAYLOAD]
        if kind == pgoutput.INSERT:
            self._insert(data)
        elif kind == pgoutput.BEGIN:
            self._begin(pgoutput.parse_begin(data, _PAYLOAD + 1))
        elif kind == pgoutput.COMMIT:
            self._commit(pgoutput.parse_commit(data, _PAYLOAD + 1))
        elif kind == pgoutput.RELATION:
            self._relation(pgoutput.parse_relation(data, _PAYLOAD + 1))
        elif kind == pgoutput.TYPE:
            oid, name = pgoutput.parse_type(data, _PAYLOAD + 1)
            self._types[oid] = name

    def _relation(self, relation: pgoutput.Relation) -> None:
        self._renderer = None
        stream = self._streams.get(relation.table)
        if stream is None or (relation.schema, relation.table) not in self._source.keys:
            self._tables.pop(relation.oid, None)
        else:
            self._tables[relation.oid] = Renderer(relation, self._source, self._types), stream

    def _begin(self, begin: pgoutput.Begin) -> None:
        self._in_transaction = True
        self._renderer = None
        self._lsn = begin.commit_lsn
        self._committed_at = begin.committed_at
        self._count = 0
        if begin.commit_lsn > self._seen_lsn:
            self._seen_lsn, self._seen_count = begin.commit_lsn, 0
            self._open = None

    def _insert(self, data: bytes) -> None:
        index = self._count
        self._count = index + 1
        if self._lsn < self._seen_lsn or index < self._seen_count:
            return
        self._seen_count = index + 1
        table = self._tables.get(_OID(data, _PAYLOAD + 1)[0])
        if table is None:
            return
        renderer, stream = table
        if renderer is not self._renderer:
            renderer.start_transaction(self._lsn, self._committed_at)
            self._renderer = renderer
        record, keys = renderer.record(data, _PAYLOAD + 6)
        if len(record) + 2 > self._max_record:
            stream.dropped += 1
            extra = {"stream": stream.name, "bytes": len(record) + 2, "limit": self._max_record}
            log.error("relay_message_dropped", extra=extra)
            return
        transaction = self._open
        if transaction is None:
            transaction = self._open = Transaction(self._lsn)
            self.progress.add(transaction)
        transaction.pending += 1
        ack_id = self._ack_id()
        stream.put(Message(ack_id, renderer.message(ack_id, record, keys, self._lsn, index), transaction))
        self._touched.add(stream)

    def _commit(self, end_lsn: int) -> None:
        self._in_transaction = False
        self.wal_end = max(self.wal_end, end_lsn)
        if self._lsn == self._seen_lsn:
            self._seen_count = _WHOLE
            if self._open is not None:
                self._open.end_lsn = end_lsn
                self._open = None
            self.progress.reached(end_lsn)
