import json
from base64 import b64encode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from delegator.errors import WireError
from delegator.relay import pgoutput
from delegator.relay.render import Renderer

from .walsender import SOURCE, TABLE, begin, commit, insert, keepalive, relation, wal
from .walsender import ingest as make_ingest

names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=20)
values = st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=50)


@given(names, st.dictionaries(names, st.integers(0, 2**32 - 1), max_size=8))
def test_a_relation_is_read_as_announced(table: str, columns: dict[str, int]) -> None:
    parsed = pgoutput.parse_relation(relation(5, table, columns), 26)
    assert (parsed.oid, parsed.schema, parsed.table) == (5, "public", table)
    assert {column.name: column.type_oid for column in parsed.columns} == columns


@given(st.dictionaries(names, values, min_size=1, max_size=8))
def test_any_text_arrives_unchanged(row: dict[str, str | None]) -> None:
    announced = pgoutput.parse_relation(relation(5, TABLE, dict.fromkeys(row, 25)), 26)
    renderer = Renderer(announced, SOURCE, {})
    renderer.start_transaction(77, pgoutput.EPOCH)
    record, keys = renderer.record(insert(5, *row.values()), 31)
    message = orjson.loads(renderer.message(b"id", record, keys, 77, 3))
    assert message["data"]["record"] == row
    assert message["data"]["metadata"]["record_pks"] == [value for name, value in row.items() if name == "job_id"]


def test_a_message_has_all_of_sequins_metadata() -> None:
    ingest, stream = make_ingest()
    stream.put = (taken := []).append  # type: ignore[method-assign]
    ingest.handle(begin(4711, 1_500_000))
    ingest.handle(insert(2, "9"))
    ingest.handle(insert(1, "job", "5"))
    message = json.loads(taken[0].body)
    metadata = message["data"].pop("metadata")
    assert message == {
        "ack_id": taken[0].ack_id.decode(),
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
