"""Packs array parameters in PostgreSQL's binary form (`array_recv`).

psycopg adapts an array element by element, in Python. That is slow for batches with several arrays of a thousand
elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack
from typing import Final

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_BYTEA, _INT8, _INT4, _TEXT = 17, 20, 23, 25
_HEADER: Final = Struct(">iiIii").pack
_EMPTY: Final = Struct(">iiI").pack
_LENGTH: Final = Struct(">i").pack
_NULL: Final = _LENGTH(-1)


class TextArray(bytes):
    """A packed `text[]`."""


class ByteaArray(bytes):
    """A packed `bytea[]`."""


class Int8Array(bytes):
    """A packed `int8[]`."""


class Int4Array(bytes):
    """A packed `int4[]`."""


def text_array(items: Sequence[str | None]) -> TextArray:
    """Pack strings; None: NULL."""
    return TextArray(_pack([None if item is None else item.encode() for item in items], _TEXT))


def bytea_array(items: Sequence[bytes | None]) -> ByteaArray:
    """Pack byte strings; None: NULL."""
    return ByteaArray(_pack(items, _BYTEA))


def int8_array(items: Sequence[int | None]) -> Int8Array:
    """Pack integers of 64 bits; None: NULL.

    Raises:
        struct.error: one does not fit.
    """
    return Int8Array(_integers(items, "q", 8, _INT8))


def int4_array(items: Sequence[int | None]) -> Int4Array:
    """Pack integers of 32 bits; None: NULL.

    Raises:
        struct.error: one does not fit.
    """
    return Int4Array(_integers(items, "i", 4, _INT4))


def with_arrays() -> AdaptersMap:
    """Return psycopg's adapters and those of packed arrays, for the `context` of a connection."""
    adapters = AdaptersMap(psycopg.adapters)
    for array, dumper in ((TextArray, _Texts), (ByteaArray, _Byteas), (Int8Array, _Int8s), (Int4Array, _Int4s)):
        adapters.register_dumper(array, dumper)
    return adapters


class _Packed(Dumper):
    format = Format.BINARY

    def dump(self, obj: bytes) -> bytes:
        return obj


class _Texts(_Packed):
    oid = 1009


class _Byteas(_Packed):
    oid = 1001


class _Int8s(_Packed):
    oid = 1016


class _Int4s(_Packed):
    oid = 1007


def _integers(items: Sequence[int | None], code: str, size: int, oid: int) -> bytes:
    if not items or None in items:
        one = Struct(f">{code}").pack
        return _pack([None if item is None else one(item) for item in items], oid)
    elements: list[int | None] = [size] * (2 * len(items))
    elements[1::2] = items
    return pack(f">iiIii{f'i{code}' * len(items)}", 1, 0, oid, len(items), 1, *elements)


def _pack(items: Sequence[bytes | None], oid: int) -> bytes:
    if not items:
        return _EMPTY(0, 0, oid)
    if None in items:
        elements = [_NULL if item is None else _LENGTH(len(item)) + item for item in items]
        return _HEADER(1, 1, oid, len(items), 1) + b"".join(elements)
    parts: list[bytes] = [b""] * (2 * len(items) + 1)
    parts[0] = _HEADER(1, 0, oid, len(items), 1)
    parts[1::2] = map(_LENGTH, map(len, items))  # type: ignore[arg-type]
    parts[2::2] = items  # type: ignore[assignment]
    return b"".join(parts)
