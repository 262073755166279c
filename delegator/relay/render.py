"""Turns the rows of one table into whole messages, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from struct import Struct
from struct import error as StructError
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from orjson import dumps

from delegator.errors import WireError
from delegator.relay import values
from delegator.relay.pgoutput import NULL, TEXT, Column, Relation

_TUPLE: Final = 31
"""Where the values of a row begin: behind the walsender's header, the message's type, the table's oid and `N`."""
_FIRST: Final = Struct(">HBI").unpack_from
_FIRST_VALUE: Final = _TUPLE + 7
_SECOND: Final = Struct(">BI").unpack_from
_LENGTH: Final = Struct(">I").unpack_from
_TEMPLATE: Final = (
    b'{"ack_id":"%%b","data":{"record":{%b},"changes":null,"action":"insert","metadata":%b,"commit_timestamp":%%b%%b",'
    b'"commit_idx":%%b,"record_pks":[%b]}}}'
)
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
        names = [(b"," if at else b"") + dumps(column.name) + b":" for at, column in enumerate(relation.columns)]
        self._columns = [
            (
                name,
                name + b"null",
                _KEY if column.name in key else _kind(column),
                values.renderer(column.type_oid, types.get(column.type_oid, "")),
            )
            for name, column in zip(names, relation.columns, strict=True)
        ]
        self._is_reference = _is_reference(relation, key)
        if self._is_reference:
            members, keys = b'%b"%%b"%b%%b' % tuple(map(_escaped, names)), b'"%b"'
        else:
            # A precision of 0 leaves the key out of a record that has it among its members.
            members, keys = b"%.0b%b", b"%b"
        self.fixed = 2 + (sum(map(len, names)) + 2 if self._is_reference else 0)
        """Bytes of a record, as JSON, that stand in the template."""
        self.template = _TEMPLATE % (members, _escaped(dumps(_metadata(relation, source))[:-1]), keys)
        """The JSON of a message, with places for its ack_id, the two parts of its row, its transaction, the rest of the
        idempotency key, its index within the transaction, and the first part of its row again."""

    def record(self, data: bytes) -> tuple[bytes, bytes]:
        """Render a row.

        Args:
            data: an Insert message as the walsender sends it.

        Returns:
            What fills the template's places for the row: of a reference (a text key and one more value that is JSON as
            it is) the key without its quotes, and the other value; else the values of the key, separated by commas,
            and all members of the record.

        Raises:
            WireError: the row does not fit the relation.
            struct.error: it is cut short; so is IndexError.
        """
        if not self._is_reference:
            return self._members(data)
        try:
            columns, first, length = _FIRST(data, _TUPLE)
            end = _FIRST_VALUE + length
            second, size = _SECOND(data, end)
            start = end + 5
            if columns == 2 and first == second == TEXT and start + size == len(data):
                # The slice gives back most of the kilobyte that each of orjson's results occupies.
                return dumps(data[_FIRST_VALUE:end].decode())[1:-1], data[start:]
        except (StructError, UnicodeDecodeError):
            pass
        keys, members = self._members(data)
        if keys == b"null":
            raise WireError(f"pgoutput row of {self.relation.table} has no key")
        key = keys[1:-1]
        return key, members[self.fixed - 2 + len(key) :]

    def length(self, key: bytes, rest: bytes) -> int:
        """Return the length of a record as JSON, in bytes, from what `record` returned."""
        return self.fixed + len(rest) + (len(key) if self._is_reference else 0)

    def _members(self, data: bytes) -> tuple[bytes, bytes]:
        parts: list[bytes] = []
        add = parts.append
        keys: list[str | None] = []
        at = _TUPLE + 2
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
                if kind == _KEY:
                    keys.append(None)
            else:
                raise WireError(f"pgoutput row of {self.relation.table} has a value of unknown kind {mark}")
        if at != len(data):
            raise WireError(f"pgoutput row of {self.relation.table} does not fit its table")
        return dumps(keys)[1:-1], b"".join(parts)


def _escaped(text: bytes) -> bytes:
    return text.replace(b"%", b"%%")


def _is_reference(relation: Relation, key: frozenset[str]) -> bool:
    """Say whether rows have the form that is published of a queue: a text key, then one value that is JSON as it is."""
    if len(relation.columns) != 2:
        return False
    first, second = relation.columns
    return key == {first.name} and first.type_oid in _STRING_TYPES and second.type_oid in _VERBATIM_TYPES


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
