"""Takes the replication stream apart and fills the store."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError
from typing import Final

from delegator.errors import WireError
from delegator.relay import pgoutput
from delegator.relay.pgoutput import BEGIN, COMMIT, INSERT, RELATION, TYPE
from delegator.relay.progress import Progress, Transaction
from delegator.relay.render import Renderer, Source
from delegator.relay.store import Stream

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
        self._source = Source("", "", {})
        self._types: dict[int, str] = {}
        self._tables: dict[int, tuple[Renderer, Stream]] = {}
        self._seen_lsn = 0
        self._seen_count = 0
        self._in_transaction = False
        self._lsn = 0
        self._count = self._known = 0
        self._micros = 0
        self._open: Transaction | None = None

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
        if self._in_transaction and self._lsn == self._seen_lsn:
            self._seen_count = max(self._seen_count, self._count)
        self._in_transaction = False

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
            if data[0] != _WAL_DATA:
                return self._keepalive(data)
            if data[_PAYLOAD] != INSERT:
                self._message(data)
                return False
            index = self._count
            self._count = index + 1
            if index < self._known:
                return False
            table = self._tables.get(_OID(data, _PAYLOAD + 1)[0])
            if table is None:
                return False
            renderer, stream = table
            key, rest = renderer.record(data)
        except (IndexError, StructError):
            raise WireError("message of the replication stream is cut short") from None
        # A record is never longer than its parts and what is fixed.
        if len(key) + len(rest) + renderer.fixed > self._max_record:
            length = renderer.length(key, rest)
            if length > self._max_record:
                stream.dropped += 1
                extra = {"stream": stream.name, "bytes": length, "limit": self._max_record}
                log.error("relay_message_dropped", extra=extra)
                return False
        transaction = self._open
        if transaction is None:
            transaction = self._open = Transaction(self._lsn, self._micros)
            self.progress.add(transaction)
        stream.put(transaction, index, renderer.template, key, rest)
        return False

    def flush(self) -> None:
        """Hand what was read since the last call to the pollers that wait for it."""
        for stream in self._streams.values():
            stream.flush()

    def _keepalive(self, data: bytes) -> bool:
        if data[0] != _KEEPALIVE:
            raise WireError(f"unknown message of the replication stream: {data[:1]!r}")
        wal_end, _clock, reply = _KEEPALIVE_BODY.unpack_from(data, 1)
        self.wal_end = max(self.wal_end, wal_end)
        if not self._in_transaction:
            self.progress.reached(wal_end)
        return bool(reply)

    def _message(self, data: bytes) -> None:
        kind = data[_PAYLOAD]
        if kind == BEGIN:
            self._begin(*pgoutput.parse_begin(data, _PAYLOAD + 1))
        elif kind == COMMIT:
            self._commit(pgoutput.parse_commit(data, _PAYLOAD + 1))
        elif kind == RELATION:
            self._relation(pgoutput.parse_relation(data, _PAYLOAD + 1))
        elif kind == TYPE:
            oid, name = pgoutput.parse_type(data, _PAYLOAD + 1)
            self._types[oid] = name

    def _relation(self, relation: pgoutput.Relation) -> None:
        stream = self._streams.get(relation.table)
        if stream is None or (relation.schema, relation.table) not in self._source.keys:
            self._tables.pop(relation.oid, None)
        else:
            self._tables[relation.oid] = Renderer(relation, self._source, self._types), stream

    def _begin(self, commit_lsn: int, micros: int) -> None:
        self._in_transaction = True
        self._lsn = commit_lsn
        self._micros = micros
        self._count = 0
        if commit_lsn > self._seen_lsn:
            self._seen_lsn = commit_lsn
            self._seen_count = self._known = 0
            self._open = None
        else:
            self._known = self._seen_count if commit_lsn == self._seen_lsn else _WHOLE

    def _commit(self, end_lsn: int) -> None:
        self._in_transaction = False
        if end_lsn > self.wal_end:
            self.wal_end = end_lsn
        if self._lsn == self._seen_lsn:
            self._seen_count = _WHOLE
            if self._open is not None:
                self._open.end_lsn = end_lsn
                self._open = None
            self.progress.reached(end_lsn)
