"""Reads the replication stream of one queue and fills its store."""

from __future__ import annotations

from struct import Struct
from struct import error as StructError
from typing import Final

from delegator.errors import WireError
from delegator.relay import pgoutput
from delegator.relay.message import json_text, message_template
from delegator.relay.pgoutput import BEGIN, COMMIT, INSERT, RELATION
from delegator.relay.progress import Progress, Transaction
from delegator.relay.source import Source, check_columns
from delegator.relay.store import Stream

_WAL_DATA, _KEEPALIVE = b"wk"
_PAYLOAD: Final = 25
"""Where a message of pgoutput begins, behind the walsender's header."""
_KEEPALIVE_BODY = Struct(">QqB")
_OID = Struct(">I").unpack_from
_WHOLE: Final = 1 << 62


class Ingest:
    """Reads what a walsender sends, over any number of connections.

    After a reconnection the server sends every transaction again that is not confirmed. Transactions come in
    the order of their commit positions. So a message at or before the highest position seen is known: it is buffered
    under its ack_id, or acked. It must not be delivered again.
    """

    def __init__(self, stream: Stream) -> None:
        """Begin with nothing seen.

        Args:
            stream: takes the messages.
        """
        self.progress = Progress()
        self.wal_end = 0
        """The highest position that the server has sent."""
        self._stream = stream
        self._source: Source | None = None
        self._template = b""
        self._table_oid: int | None = None
        self._seen_lsn = 0
        self._seen_count = 0
        self._in_transaction = False
        self._lsn = 0
        self._count = self._known = 0
        self._micros = 0
        self._open: Transaction | None = None

    def connected(self, source: Source, confirmed: int = 0) -> None:
        """Begin with a new connection: the server announces its tables again, and repeats what is not confirmed.

        Args:
            source: the stream's table.
            confirmed: the slot's confirmed position; 0: not known.
        """
        self.progress.reached(confirmed)
        self._source = source
        self._template = message_template(source)
        self._table_oid = None
        if self._in_transaction and self._lsn == self._seen_lsn:
            self._seen_count = max(self._seen_count, self._count)
        self._in_transaction = False

    def new_history(self) -> None:
        """Forget the positions seen so far: this is another server, or another timeline of it."""
        self._seen_lsn = self._seen_count = self.wal_end = 0
        self.new_slot(0)

    def start_over(self) -> None:
        """Forget the positions seen so far and every message: another relay has delivered them meanwhile."""
        self._stream.clear()
        self.new_history()

    def new_slot(self, confirmed: int) -> None:
        """Begin with a new slot: nothing that is buffered holds it back.

        Args:
            confirmed: where it begins; 0: not known.
        """
        self.progress.reset(confirmed)
        self._open = None

    def handle(self, data: bytes) -> bool:
        """Take one message of the walsender.

        Returns:
            True when the server asks for a status update at once.

        Raises:
            SchemaError: other columns are published than messages have a place for.
            WireError: the message does not follow the protocol.
        """
        try:
            if data[0] != _WAL_DATA:
                return self._keepalive(data)
            if data[_PAYLOAD] != INSERT:
                self._message(data)
                return False
            index = self._count
            self._count = index + 1
            if index < self._known or _OID(data, _PAYLOAD + 1)[0] != self._table_oid:
                return False
            job_id, fencing_token = pgoutput.parse_insert(data, _PAYLOAD)
        except (IndexError, StructError):
            raise WireError("message of the replication stream is cut short") from None
        transaction = self._open
        if transaction is None:
            transaction = self._open = Transaction(self._lsn, self._micros)
            self.progress.add(transaction)
        self._stream.put(transaction, index, self._template, json_text(job_id), fencing_token)
        return False

    def flush(self) -> None:
        """Hand what was read since the last call to the pollers that wait for it."""
        self._stream.flush()

    def _keepalive(self, data: bytes) -> bool:
        if data[0] != _KEEPALIVE:
            raise WireError(f"unknown message of the replication stream: {data[:1]!r}")
        wal_end, _clock, reply = _KEEPALIVE_BODY.unpack_from(data, 1)
        self.wal_end = max(self.wal_end, wal_end)
        if not self._in_transaction:
            self.progress.reached(wal_end)
        return bool(reply)

    def _message(self, data: bytes) -> None:
        message_type = data[_PAYLOAD]
        if message_type == BEGIN:
            self._begin(*pgoutput.parse_begin(data, _PAYLOAD + 1))
        elif message_type == COMMIT:
            self._commit(pgoutput.parse_commit(data, _PAYLOAD + 1))
        elif message_type == RELATION:
            self._relation(pgoutput.parse_relation(data, _PAYLOAD + 1))

    def _relation(self, relation: pgoutput.Relation) -> None:
        source = self._source
        if source is None or (relation.schema, relation.table) != (source.schema, source.table):
            return
        check_columns(relation.columns, source.table, source.publication)
        self._table_oid = relation.oid

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
