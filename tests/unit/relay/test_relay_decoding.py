import json
from base64 import b64decode, b64encode
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.errors import WireError
from delegator.relay import pgoutput
from delegator.relay.message import Message, answer, render
from delegator.relay.progress import Transaction
from delegator.relay.render import Renderer, Source

from .walsender import SOURCE, TABLE, begin, commit, insert, keepalive, relation, wal
from .walsender import ingest as make_ingest

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)


@given(names, st.dictionaries(names, st.integers(0, 2**32 - 1), max_size=8))
def test_a_relation_is_read_as_announced(table: str, columns: dict[str, int]) -> None:
    parsed = pgoutput.parse_relation(relation(5, table, columns), 26)
    assert (parsed.oid, parsed.schema, parsed.table) == (5, "public", table)
    assert {column.name: column.type_oid for column in parsed.columns} == columns


def rendered(
    columns: dict[str, int], row: list[str | None], lsn: int = 77, micros: int = 0, index: int = 0, database: str = "db"
) -> dict[str, Any]:
    source = Source(database, "host", SOURCE.keys)
    renderer = Renderer(pgoutput.parse_relation(relation(5, TABLE, columns), 26), source, {})
    key, rest = renderer.record(insert(5, *row))
    transaction = Transaction(lsn, micros)
    message = Message()
    message.ack_id, message.template, message.key, message.rest = b"id", renderer.template, key, rest
    message.transaction, message.index = transaction, index
    (body,) = render([message])
    whole: dict[str, Any] = orjson.loads(body)
    assert renderer.length(key, rest) == len(body.split(b'"record":')[1].split(b',"changes":')[0])
    assert whole.pop("ack_id") == "id"
    return whole["data"]  # type: ignore[no-any-return]


texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50).filter(
    lambda text: '"record":' not in text and '"changes":' not in text
)


@given(st.dictionaries(names, st.none() | texts, min_size=1, max_size=8))
def test_any_text_arrives_unchanged(row: dict[str, str | None]) -> None:
    data = rendered(dict.fromkeys(row, 25), list(row.values()))
    assert data["record"] == row
    assert data["metadata"]["record_pks"] == [value for name, value in row.items() if name == "job_id"]


@given(texts, st.none() | st.integers(-(2**63), 2**63 - 1), names, texts)
def test_a_reference_is_rendered_like_a_whole_row(job: str, token: int | None, column: str, database: str) -> None:
    column += "_"
    row = [job, None if token is None else str(token)]
    reference = rendered({"job_id": 25, column: 20}, row, database=database)
    whole = rendered({"job_id": 25, column: 20, "more": 25}, [*row, None], database=database)
    assert reference["record"] == {"job_id": job, column: token}
    assert whole["record"].pop("more", "") is None
    assert reference == whole


@given(st.integers(1, 2**64 - 1), st.integers(0, 10**7), st.integers(-(10**15), 10**16))
def test_a_messages_position_and_moment(lsn: int, index: int, micros: int) -> None:
    for columns in ({"job_id": 25, "n": 20}, {"job_id": 25}):
        metadata = rendered(columns, ["job", "1"][: len(columns)], lsn, micros, index)["metadata"]
        assert (metadata["commit_lsn"], metadata["commit_idx"]) == (lsn, index)
        assert b64decode(metadata["idempotency_key"], validate=True) == f"{lsn}:{index}".encode()
        moment = datetime.fromisoformat(metadata["commit_timestamp"])
        assert moment == pgoutput.EPOCH + timedelta(microseconds=micros)
        assert len(metadata["commit_timestamp"]) == 27


def test_bytes_that_are_no_text_are_replaced_in_a_reference_too() -> None:
    renderer = Renderer(pgoutput.parse_relation(relation(5, TABLE, {"job_id": 25, "n": 20}), 26), SOURCE, {})
    row = insert(5, "a?b", "5").replace(b"a?b", b"a\xffb")
    assert renderer.record(row) == ("a\ufffdb".encode(), b"5")


def test_a_reference_without_a_key_is_a_wire_error() -> None:
    ingest, _ = make_ingest()
    ingest.handle(begin(9))
    with pytest.raises(WireError):
        ingest.handle(insert(1, None, "5"))


async def test_a_message_has_all_of_sequins_metadata() -> None:
    ingest, stream = make_ingest()
    ingest.handle(begin(4711, 1_500_000))
    ingest.handle(insert(2, "9"))
    ingest.handle(insert(1, "job", "5"))
    batch = stream.take(10)
    stream.stop()
    (message,) = json.loads(answer(batch))["data"]
    metadata = message["data"].pop("metadata")
    assert message == {
        "ack_id": batch[0].ack_id.decode(),
        "data": {"record": {"job_id": "job", "n": 5}, "changes": None, "action": "insert"},
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
    "whole", [begin(1), commit(1, 2), relation(5, TABLE, {"a": 25}), insert(1, "job", "5"), keepalive(3)]
)
def test_bytes_cut_short_are_a_wire_error(whole: bytes) -> None:
    for length in range(27 if whole[:1] == b"w" else 1, len(whole)):
        ingest, _ = make_ingest()
        ingest.handle(begin(9))
        with pytest.raises(WireError):
            ingest.handle(whole[:length])


def test_an_unknown_message_is_a_wire_error_and_an_unknown_kind_of_change_is_skipped() -> None:
    ingest, _ = make_ingest()
    with pytest.raises(WireError):
        ingest.handle(b"x")
    ingest.handle(wal(b"Tanything"))


def test_a_value_of_unknown_kind_is_a_wire_error() -> None:
    ingest, _ = make_ingest()
    ingest.handle(begin(9))
    with pytest.raises(WireError):
        ingest.handle(insert(1, "a", "1").replace(b"t\0\0\0\1a", b"b\0\0\0\1a"))


def test_positions_are_written_as_postgresql_does() -> None:
    assert pgoutput.format_lsn(0x16B374D848) == "16/B374D848"
    assert pgoutput.parse_lsn("16/B374D848") == 0x16B374D848
