"""Turns the rows of one table into whole messages, as JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from struct import Struct
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from orjson import dumps

from delegator.errors import WireError
from delegator.relay import values
from delegator.relay.pgoutput import NULL, TEXT, Column, Relation

_LENGTH: Final = Struct(">I").unpack_from
_VERBATIM, _STRING, _OTHER, _KEY = range(4)
_VERBATIM_TYPES: Final = frozenset({values.INT2, values.INT4, values.INT8, values.OID, values.JSON, values.JSONB})
_STRING_TYPES: Final = frozenset({values.TEXT, values.UUID, values.VARCHAR, values.BPCHAR, values.NUMERIC, values.DATE})


@dataclass(frozen=True)
class Source:
    """The database that rows come from."""

    database: str
    """Its name."""
    host: str
    """Its server."""
    keys: Mapping[tuple[str, str], frozenset[str]]
    """Primary key columns of each served table, by schema and name."""


class Renderer:
    """Renders the rows of one relation. What does not change from row to row is encoded once."""

    def __init__(self, relation: Relation, source: Source, types: Mapping[int, str]) -> None:
        """Prepare for rows.

        Args:
            relation: as announced.
            source: where the rows come from.
            types: names of the types that are not built in.
        """
        key = source.keys.get((relation.schema, relation.table), frozenset())
        self.relation = relation
        names = [dumps(column.name) + b":" for column in relation.columns]
        self._columns = [
            (
                (b"," if at else b"") + name,
                (b"," if at else b"") + name + b"null",
                _KEY if column.name in key else _kind(column),
                values.renderer(column.type_oid, types.get(column.type_oid, "")),
            )
            for at, (name, column) in enumerate(zip(names, relation.columns, strict=True))
        ]
        self._static = dumps(_metadata(relation, source))[:-1]
        self._transaction = b""

    def start_transaction(self, commit_lsn: int, committed_at: datetime) -> None:
        """Encode what all messages of a transaction share."""
        moment = dumps(committed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        self._transaction = (
            b'},"changes":null,"action":"insert","metadata":%b,"commit_timestamp":%b,"commit_lsn":%d'
            % (
                self._static,
                moment,
                commit_lsn,
            )
        )

    def record(self, data: bytes, at: int) -> tuple[bytes, list[str]]:
        """Render a row.

        Args:
            data: a pgoutput message.
            at: where its TupleData begins.

        Returns:
            The members of the record, without braces, and the values of its key.

        Raises:
            WireError: the row does not fit the relation.
        """
        parts: list[bytes] = []
        add = parts.append
        keys: list[str] = []
        at += 2
        for prefix, null, kind, render in self._columns:
            mark = data[at]
            if mark == TEXT:
                start = at + 5
                at = start + _LENGTH(data, at + 1)[0]
                add(prefix)
                if kind == _STRING:
                    add(dumps(str(data[start:at], "utf-8", "replace")))
                elif kind == _VERBATIM:
                    add(data[start:at])
                elif kind == _OTHER:
                    add(render(data[start:at]))
                else:
                    keys.append(str(data[start:at], "utf-8", "replace"))
                    add(render(data[start:at]))
            elif mark == NULL:
                add(null)
                at += 1
            else:
                raise WireError(f"pgoutput row of {self.relation.table} has a value of unknown kind {mark}")
        if at != len(data):
            raise WireError(f"pgoutput row of {self.relation.table} does not fit its table")
        return b"".join(parts), keys

    def message(self, ack_id: bytes, record: bytes, keys: list[str], commit_lsn: int, index: int) -> bytes:
        """Assemble the JSON of a message, as `receive` answers it."""
        return b'{"ack_id":"%b","data":{"record":{%b%b,"commit_idx":%d,"idempotency_key":"%b","record_pks":%b}}}' % (
            ack_id,
            record,
            self._transaction,
            index,
            b64encode(b"%d:%d" % (commit_lsn, index)),
            dumps(keys),
        )


def _kind(column: Column) -> int:
    if column.type_oid in _VERBATIM_TYPES:
        return _VERBATIM
    return _STRING if column.type_oid in _STRING_TYPES else _OTHER


def _metadata(relation: Relation, source: Source) -> dict[str, object]:
    return {
        "table_schema": relation.schema,
        "table_name": relation.table,
        "database_name": source.database,
        "transaction_annotations": None,
        "enrichment": None,
        "consumer": {
            "id": str(uuid5(NAMESPACE_URL, f"delegator:stream:{relation.table}")),
            "name": relation.table,
            "annotations": {},
        },
        "database": {
            "id": str(uuid5(NAMESPACE_URL, f"delegator:database:{source.host}/{source.database}")),
            "name": source.database,
            "annotations": {},
            "database": source.database,
            "hostname": source.host,
        },
    }
