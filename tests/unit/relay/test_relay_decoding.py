"""What the relay reads from a walsender, and the bytes that it makes of a row."""

import json
from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.errors import SchemaError, WireError
from delegator.postgres.replication import format_lsn, parse_lsn
from delegator.relay import pgoutput
from delegator.relay.message import Message, answer, json_text, message_template, render
from delegator.relay.progress import Transaction
from delegator.relay.source import Source

from .walsender import COLUMNS, SOURCE, TABLE, begin, commit, insert, keepalive, relation, wal
from .walsender import ingest as make_ingest

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50)
tokens = st.integers(-(2**63), 2**63 - 1)


def message(
    job: str, token: int, lsn: int = 77, micros: int = 0, index: int = 0, source: Source = SOURCE, number: int = 0
) -> Message:
    made = Message()
    raw_job, raw_token = pgoutput.parse_insert(insert(5, job, str(token)), 25)
    made.ack_id, made.template = b"00000000-0000-4000-8000-00000000000%d" % number, message_template(source)
    made.job_id, made.fencing_token = json_text(raw_job), raw_token
    made.transaction, made.index = Transaction(lsn, micros), index
    return made


def rendered(*arguments: Any, **named: Any) -> dict[str, Any]:
    (body,) = render([message(*arguments, **named)])
    data: dict[str, Any] = orjson.loads(body)["data"]
    return data


def test_bytes_are_those_of_sequin() -> None:
    """The answer to `receive` is exactly this, byte for byte."""
    source = Source("127.0.0.1", "db%d", "public", TABLE, "delegator_publication")
    batch = [
        message('run/1:"é"%\n', 41, 4711, 1_500_000, 0, source),
        message("j2", -42, 4711, 1_500_000, 1, source, number=1),
    ]
    shared = (
        '"changes":null,"action":"insert","metadata":{"table_schema":"public","table_name":"custom_task_queue",'
        '"database_name":"db%d","transaction_annotations":null,"enrichment":null,"consumer":{'
        '"id":"58ce45e1-71f4-5cac-beaf-bd941ee163c0","name":"custom_task_queue","annotations":{}},"database":{'
        '"id":"3cda3d05-6e7b-5de3-9cc5-bbe6e545c78c","name":"db%d","annotations":{},"database":"db%d",'
        '"hostname":"127.0.0.1"},"commit_timestamp":"2000-01-01T00:00:01.500000Z","commit_lsn":4711,'
    )
    expected = (
        '{"data":[{"ack_id":"00000000-0000-4000-8000-000000000000","data":{"record":{"job_id":'
        r'"run/1:\"é\"%\n","fencing_token":41},'
        + shared
        + r'"idempotency_key":"NDcxMTow","commit_idx":0,"record_pks":["run/1:\"é\"%\n"]}}},'
        '{"ack_id":"00000000-0000-4000-8000-000000000001","data":{"record":{"job_id":"j2","fencing_token":-42},'
        + shared
        + '"idempotency_key":"NDcxMTox","commit_idx":1,"record_pks":["j2"]}}}]}'
    )
    assert answer(batch) == expected.encode()


@given(names, st.lists(names, max_size=8))
def test_relation_as_announced(table: str, columns: list[str]) -> None:
    parsed = pgoutput.parse_relation(relation(5, table, *columns), 26)
    assert (parsed.oid, parsed.schema, parsed.table) == (5, "public", table)
    assert parsed.columns == tuple(columns)


@given(texts, tokens, texts)
def test_any_row_arrives_unchanged(job: str, token: int, database: str) -> None:
    data = rendered(job, token, source=Source("host", database, "public", TABLE, "p"))
    assert data["record"] == {"job_id": job, "fencing_token": token}
    assert data["metadata"]["record_pks"] == [job]
    assert data["metadata"]["database_name"] == database


@given(st.integers(1, 2**64 - 1), st.integers(0, 10**7), st.integers(-(10**15), 10**16))
def test_position_and_time(lsn: int, index: int, micros: int) -> None:
    metadata = rendered("job", 1, lsn, micros, index)["metadata"]
    assert (metadata["commit_lsn"], metadata["commit_idx"]) == (lsn, index)
    assert b64decode(metadata["idempotency_key"], validate=True) == f"{lsn}:{index}".encode()
    moment = datetime.fromisoformat(metadata["commit_timestamp"])
    assert moment == pgoutput.EPOCH + timedelta(microseconds=micros)
    assert len(metadata["commit_timestamp"]) == 27


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert json_text(b"a\xffb") == "a\ufffdb".encode()


async def test_all_of_sequins_metadata() -> None:
    ingest, stream = make_ingest()
    ingest.handle(begin(4711, 1_500_000))
    ingest.handle(insert(2, "9"))
    ingest.handle(insert(1, "job", "5"))
    batch = stream.take(10)
    stream.stop()
    (found,) = json.loads(answer(batch))["data"]
    metadata = found["data"].pop("metadata")
    assert found == {
        "ack_id": batch[0].ack_id.decode(),
        "data": {"record": {"job_id": "job", "fencing_token": 5}, "changes": None, "action": "insert"},
    }
    consumer, database = metadata.pop("consumer"), metadata.pop("database")
    assert metadata == {
        "table_schema": "public",
        "table_name": TABLE,
        "database_name": "db",
        "commit_timestamp": "2000-01-01T00:00:01.500000Z",
        "commit_lsn": 4711,
        "commit_idx": 1,
        "transaction_annotations": None,
        "idempotency_key": b64encode(b"4711:1").decode(),
        "record_pks": ["job"],
        "enrichment": None,
    }
    assert set(consumer) == {"id", "name", "annotations"} and consumer["name"] == TABLE
    assert set(database) == {"id", "name", "annotations", "database", "hostname"}


@pytest.mark.parametrize(
    "columns", [(), ("job_id",), ("job_id", "job_type"), ("fencing_token", "job_id"), (*COLUMNS, "input")]
)
def test_other_columns_are_refused(columns: tuple[str, ...]) -> None:
    """A table that is announced with other columns ends the stream, with one line that names the fix."""
    ingest, _ = make_ingest()
    with pytest.raises(SchemaError, match=r"^publication delegator_publication .*: run `delegator migrate`$"):
        ingest.handle(relation(1, TABLE, *columns))


async def test_other_tables_are_ignored() -> None:
    """A table of the same name in another schema is not the stream's, whatever its columns are."""
    ingest, stream = make_ingest()
    ingest.handle(relation(3, TABLE, "a", schema="elsewhere"))
    ingest.handle(begin(9))
    ingest.handle(insert(3, "1"))
    assert len(stream) == 0


@pytest.mark.parametrize("row", [(None, "5"), ("job", None), ("job",), ("job", "5", "6"), ()])
def test_malformed_row(row: tuple[str | None, ...]) -> None:
    """A row that does not fit the announced columns raises a WireError."""
    ingest, _ = make_ingest()
    ingest.handle(begin(9))
    with pytest.raises(WireError):
        ingest.handle(insert(1, *row))


@pytest.mark.parametrize(
    "whole", [begin(1), commit(1, 2), relation(1, TABLE, *COLUMNS), insert(1, "job", "5"), keepalive(3)]
)
def test_bytes_cut_short_are_a_wire_error(whole: bytes) -> None:
    for length in range(27 if whole[:1] == b"w" else 1, len(whole)):
        ingest, _ = make_ingest()
        ingest.handle(begin(9))
        with pytest.raises(WireError):
            ingest.handle(whole[:length])


def test_an_unknown_message_is_a_wire_error() -> None:
    ingest, _ = make_ingest()
    with pytest.raises(WireError):
        ingest.handle(b"x")


def test_an_unknown_change_is_skipped() -> None:
    ingest, _ = make_ingest()
    ingest.handle(wal(b"Tanything"))


def test_a_binary_value_is_a_wire_error() -> None:
    ingest, _ = make_ingest()
    ingest.handle(begin(9))
    with pytest.raises(WireError):
        ingest.handle(insert(1, "a", "1").replace(b"t\0\0\0\1a", b"b\0\0\0\1a"))


def test_lsn_format() -> None:
    """Positions are written and read in PostgreSQL's form."""
    assert format_lsn(0x16B374D848) == "16/B374D848"
    assert parse_lsn("16/B374D848") == 0x16B374D848
