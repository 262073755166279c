"""Plays a walsender: builds the messages that it sends."""

from struct import pack

from delegator.relay.ingest import Ingest
from delegator.relay.source import Source
from delegator.relay.store import Budget, Stream

TABLE = "custom_task_queue"
SOURCE = Source("host", "db", "public", TABLE, "delegator_publication")
COLUMNS = ("job_id", "fencing_token")


def wal(payload: bytes) -> bytes:
    return pack(">cQQq", b"w", 0, 0, 0) + payload


def keepalive(wal_end: int, reply: bool = False) -> bytes:
    return pack(">cQqB", b"k", wal_end, 0, reply)


def begin(commit_lsn: int, micros: int = 0) -> bytes:
    return wal(pack(">cQqI", b"B", commit_lsn, micros, 7))


def commit(commit_lsn: int, end_lsn: int) -> bytes:
    return wal(pack(">cBQQq", b"C", 0, commit_lsn, end_lsn, 0))


def relation(oid: int, table: str, *columns: str, schema: str = "public") -> bytes:
    body = pack(">cI", b"R", oid) + schema.encode() + b"\0" + table.encode() + b"\0d" + pack(">H", len(columns))
    for name in columns:
        body += b"\1" + name.encode() + b"\0" + pack(">Ii", 25, -1)
    return wal(body)


def insert(oid: int, *values: str | None) -> bytes:
    body = pack(">cIcH", b"I", oid, b"N", len(values))
    for value in values:
        raw = None if value is None else value.encode()
        body += b"n" if raw is None else pack(">cI", b"t", len(raw)) + raw
    return wal(body)


def ingest() -> tuple[Ingest, Stream]:
    stream = Stream(TABLE, Budget(1000, 1 << 20, 0.5), 30.0)
    fresh = Ingest(stream)
    connect(fresh)
    return fresh, stream


def connect(target: Ingest) -> None:
    target.connected(SOURCE)
    target.handle(relation(1, TABLE, *COLUMNS))
    target.handle(relation(2, "other", "id"))
